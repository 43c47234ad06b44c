# %% [markdown]
r"""
# 09 · Grid search

How large a learning rate should one take, and how many steps? The project from which this course grew taught a cartoon character to Stable Diffusion. It found its two numbers by **grid search**: a learning rate of $3\cdot10^{-4}$ and 1000 steps.

Here we do the same for Pip. Both numbers are on our grid. Are they the best for our small model too? And how would one know?

![A heat map of learning rate against steps with a number in each cell and a star on the highest, beside the pictures that the chosen cell drew](figures/grid.png)

**After this lesson you can**

- lay out a grid of learning rates and steps, and get many cells out of one training;
- read a heat map, explain its ridge, and say how sure its best cell is;
- say what overfitting looks like, in pictures and in numbers;
- run a search that survives a power cut and is shared by several workers.

**Time** about 60 minutes, 3 exercises. **You need** lesson 08, where a training like one row of this grid was run.
"""

# %%
import tempfile
from pathlib import Path

import numpy as np
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.stored import load_grid
from tlab_diffusion.course.widgets import results_browser, trade_off_explorer
from tlab_diffusion.course.widgets.trade_off import one_row
from tlab_diffusion.dreambooth.grid.result import format_rate
from tlab_diffusion.picturebook import subject_pictures

STEPS = (10, 20)  # where the small grid of section 7 is measured; its trainings end at the last

# %% [markdown]
r"""
## 1. Where to look

Good learning rates lie between one millionth and one hundredth, depending on the model. They differ by *factors*. From $10^{-5}$ to $2\cdot10^{-5}$ is as large a change as from $10^{-3}$ to $2\cdot10^{-3}$.

So a grid of learning rates should be even on a **logarithmic** scale. Each value is a fixed factor above the one before.

The same holds for steps if their range is wide. Ours is 200 to 1000, a factor of five, so it need not be so exact.
"""

# %% [markdown]
r"""
### Exercise: evenly on a logarithmic scale

`grid.log_spaced` · easy · 8 minutes

`num` values from `low` to `high`, both among them, each the same multiple of the one before.
"""


# %% exercise="grid.log_spaced"
def log_spaced(low, high, num):
    """low, high: positive numbers; num: 2 or more. Returns a rising tensor (num,)."""
    ### BEGIN SOLUTION
    factor = (high / low) ** (1 / (num - 1))
    return low * factor ** torch.arange(num)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("grid.log_spaced", log_spaced)

# %% tags=["nbval-check-output"]
log_spaced = reference("grid.log_spaced")
even, evenly = torch.linspace(1e-5, 1e-2, 7), log_spaced(1e-5, 1e-2, 7)
for name, rates in (("even steps", even), ("even factors", evenly)):
    print(f"{name:13}", "  ".join(f"{rate:.0e}" for rate in rates.tolist()))
# 9e-4, for 1e-3 itself is on the second grid, up to rounding.
print("below 1e-3:", (even < 9e-4).sum().item(), "of 7 and", (evenly < 9e-4).sum().item(), "of 7")

# %% [markdown]
r"""
With even steps, only one value lies below $10^{-3}$, where two of the three decades are.

## 2. One training, many cells

A grid of $R$ learning rates and $C$ step counts has $R \cdot C$ cells. It does not need as many trainings.

At a **constant** learning rate, a training of 1000 steps is after 300 steps the same as a training of 300 steps. It has the same weights and the same numbers. So we train once for each learning rate, up to the largest count, and stop on the way to measure.
"""

# %% tags=["nbval-check-output"]
stored = load_grid()
grid = stored.grid
print("learning rates:", "  ".join(map(format_rate, grid.learning_rates)))
print("steps:         ", "  ".join(map(str, grid.steps)))
rows, columns = len(grid.learning_rates), len(grid.steps)
one_by_one, by_rows = rows * sum(grid.steps), rows * max(grid.steps)
print(f"{rows * columns} cells: {one_by_one} steps one by one, {by_rows} row by row")
print("3e-4 and 1000 are on it:", 3e-4 in grid.learning_rates, 1000 in grid.steps)
text_learns, weight = grid.settings["train_text_encoder"], grid.settings["prior_loss_weight"]
print(f"the text encoder {'learns along' if text_learns else 'is frozen'}, lambda {weight:g}")

# %% [markdown]
r"""
These are stored results, because the whole grid takes long on two processor cores. `tlab grid` computes it again (section 7).

Each cell was measured with the ten prompts of lesson 08. There are four pictures of each prompt and fifty of the bare class. All cells start from the same noise. The other settings are those of lesson 08.

The first map below shows the harmonic mean of identity, prompt and prior, which lesson 08 calls "together". The other three maps show its parts. In all four, the ★ marks the cell that is best *together*.
"""

# %%
names = ("identity", "prompt", "prior")
maps = {"together": grid.table("score")} | {name: grid.table(name) for name in names}
maps = {name: table[::-1] for name, table in maps.items()}  # the highest learning rate on top
plots.heat_maps(
    [format_rate(rate) for rate in reversed(grid.learning_rates)],
    [str(steps) for steps in grid.steps],
    maps,
    labels=("learning rate", "steps"),
    best=np.unravel_index(np.nanargmax(maps["together"]), maps["together"].shape),
    title="The harmonic mean of three qualities, and the three",
)

# %%
best, theirs = grid.best, grid.trials[3e-4, 1000]
rate, steps = best.point
print(f"the best cell: learning rate {format_rate(rate)}, {steps} steps")
for name, cell in (("the best cell", best), ("3e-4 and 1000 steps", theirs)):
    print(f"{name:20}: {cell.qualities}, together {cell.score:.2f}")

# %% [markdown]
r"""
The source's numbers come from another subject and another model. Its U-Net has 860 million weights, about seventy times as many as our 13 million. So it matters little whether they win here. The *shape* of the map carries over from one project to another, and so does the way to search. The best cell does not.

## 3. Play

Move to any cell, choose a prompt, and let the map show another quality. The picture at the top of the lesson shows the widget as a still.

1. Where is identity high, where is the prior? Where are both?
2. Go along the row of the best cell, from few steps to many. When does Pip appear? Does the last picture, the bare class, change too, and does it ever look like Pip?
3. Compare the cells of one column, from the lowest learning rate to the highest. What does a rate that is too high do to a picture?
4. Find two cells with nearly the same pictures. What do they have in common?
"""

# %%
results_browser(stored)

# %% [markdown]
r"""
## 4. Is there a ridge?

In such maps the good cells often lie on a slanted ridge. Half the learning rate wants about twice the steps, as if only the *product*, learning rate × steps, mattered. Our three rates differ by a factor of about three. So a third of the rate should want three times the steps.

Why should there be a ridge? Look at what AdamW does with a gradient $g$. It keeps two running means, $m$ of the gradient and $v$ of its square:

$$m \leftarrow 0.9\,m + 0.1\,g, \qquad v \leftarrow 0.999\,v + 0.001\,g^2 .$$

Both begin at 0, so in the first steps they are too small. The factors are known. With $n$ the number of the step, counted from 1:

$$\hat m = \frac{m}{1 - 0.9^n}, \qquad \hat v = \frac{v}{1 - 0.999^n} .$$

Then every weight moves by

$$-\,\eta\,\frac{\hat m}{\sqrt{\hat v} + 10^{-8}} .$$

In this lesson $\eta$ is the learning rate, and $v$ has nothing to do with velocity.

Our trainer does four more things. It shrinks every weight a little in each step, takes $10^{-6}$ in place of $10^{-8}$, shortens gradients that are too long, and averages the weights. The argument stays the same.
"""

# %% [markdown]
r"""
### Exercise: how far does a step go?

`grid.adam_update` · medium · 15 minutes

Return three things: the change of the weights, the new $m$ and the new $v$. `step` is $n$ and counts from 1, `learning_rate` is $\eta$.
"""


# %% exercise="grid.adam_update"
def adam_update(gradient, m, v, step, learning_rate):
    """gradient, m, v: tensors of one shape; step: a whole number from 1; learning_rate: a number.
    Returns the change (to be added to the weights), the new m and the new v, of that shape."""
    ### BEGIN SOLUTION
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * gradient.square()
    m_hat = m / (1 - 0.9**step)
    v_hat = v / (1 - 0.999**step)
    return -learning_rate * m_hat / (v_hat.sqrt() + 1e-8), m, v
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("grid.adam_update", adam_update)

# %% [markdown]
r"""
**Check.** The next cell compares this with PyTorch's optimizer. It also shows why it matters: gradients that are a thousand times larger move the weights no further.
"""

# %% tags=["nbval-check-output"]
adam_update = reference("grid.adam_update")
gradients = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
gradients += torch.tensor([0.0, 0.5, 1.0, 3.0])  # the four weights know better and better where to


def travel(gradients, learning_rate):
    """Where the weights are after all these gradients, from 0."""
    weights, m, v = (torch.zeros_like(gradients[0]) for _ in range(3))
    for step, gradient in enumerate(gradients, start=1):
        change, m, v = adam_update(gradient, m, v, step, learning_rate)
        weights = weights + change
    return weights


theirs_too = torch.zeros(4, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.Adam([theirs_too], lr=0.01)
for gradient in gradients:
    theirs_too.grad = gradient.clone()
    optimizer.step()
print("as torch's:", torch.allclose(travel(gradients, 0.01), theirs_too))
for factor in (1, 1000):
    share = -travel(factor * gradients, 0.01) / (0.01 * len(gradients))
    print(f"gradients x {factor:4}: way / (rate x steps) =", [round(x, 2) for x in share.tolist()])

# %% [markdown]
r"""
While gradients keep their size, no weight moves much further than **learning rate × steps**. Section 2.1 of the Adam paper has the exact bounds.

How far a weight really moves depends on its gradients. The last of the four weights has gradients that agree, and it goes nearly that far. The first has gradients of pure noise, and it goes much less far. The product is an upper limit, and it is the same along a diagonal of the map.

If this limit decides, then identity plotted over the product should fall on about one curve. A rank correlation measures how well identity rises with the product. It is 1 if identity always rises.
"""


# %%
def rank_correlation(x, y):
    """Spearman's: the correlation of the ranks, equal values sharing theirs."""

    def ranks(values):
        values = np.asarray(values)
        return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])

    return np.corrcoef(ranks(x), ranks(y))[0, 1]


identity = [cell.qualities.identity for cell in grid.trials.values()]
over = {
    "learning rate x steps": [rate * steps for rate, steps in grid.trials],
    "learning rate": [rate for rate, _ in grid.trials],
    "steps": [steps for _, steps in grid.trials],
}
for name, values in over.items():
    print(f"identity over {name:21}: rank correlation {rank_correlation(values, identity):5.2f}")


# %%
def over_the_product(row):
    """A learning rate's cells: products, and identities."""
    cells = [cell for place, cell in grid.trials.items() if place.learning_rate == row]
    return [row * cell.point.steps for cell in cells], [c.qualities.identity for c in cells]


plots.dotted(
    {f"learning rate {format_rate(row)}": over_the_product(row) for row in grid.learning_rates},
    title="Identity over the product: do the rows of the grid fall together?",
    xlabel="learning rate x steps",
    ylabel="identity",
    log="x",
)

# %% [markdown]
r"""
The limit is only a rule of thumb. A very high learning rate overshoots with every step, and the model breaks at *any* number of steps. A very low one may never leave the region where it began.

So the product says where to look first, and the grid decides. If $3\cdot10^{-4}$ with 400 steps is good, try $10^{-4}$ with 1200.

Cells with the same product are not equal. Here are two of nearly the same product, at the two highest rates:
"""

# %%
for place in ((1e-3, 200), (3e-4, 700)):
    cell = grid.trials[place]
    print(f"{format_rate(place[0])} x {place[1]} = {place[0] * place[1]:.2f}: {cell.qualities}")

# %% [markdown]
r"""
Both have nearly the same limit. The faster one has lost the prompt on the way, so its rate is too high. The ridge ends there.

## 5. What overfitting looks like

Here is one row of the map as pictures, at $3\cdot10^{-4}$. The number of steps grows from left to right. Each row is one prompt, always drawn from the same noise.
"""


# %%
def side_by_side(places, labels, title):
    """A column of pictures for each place, a row for each prompt."""
    columns = [stored.pictures[place] for place in places]
    pictures = np.stack(columns, axis=1)  # (prompts, places, H, W, 3)
    captions = [*labels] + [""] * (len(places) * (len(pictures) - 1))
    print("rows: " + " · ".join(grid.settings["prompts"]))
    return plots.picture_grid(
        pictures.reshape(-1, *pictures.shape[2:]), captions, columns=len(places), title=title
    )


row = [place for place in grid.trials if place.learning_rate == 3e-4]
side_by_side(row, [f"{place.steps} steps" for place in row], "Learning rate 3e-4")

# %% [markdown]
r"""
Look for three stages. You may not find all of them.

1. The name is unknown. Some robot stands where it was asked to stand.
2. It is Pip, more and more certainly.
3. There is little left to gain, and the model begins to lose something. Places fade into those of the five references. Accessories and styles are left out. In the last row, the bare class looks like Pip or loses its shape.

The third stage is overfitting: the model answers with what it has seen last, whatever is asked.

The colour alone is no sign. From this noise the original model's robot is turquoise too. And only four prompts are shown. What a number loses may be in the others.

Here is the same at the largest number of steps, with the learning rate growing from left to right:
"""

# %%
most = max(grid.steps)
column = [place for place in grid.trials if place.steps == most]
side_by_side(column, [format_rate(place.learning_rate) for place in column], f"{most} steps")

# %% [markdown]
r"""
The same as a curve, for one learning rate. The widget shows the numbers and the verdict at every step:
"""

# %%
trade_off_explorer(*one_row(stored, 3e-4))

# %% [markdown]
r"""
### Would another mean choose another cell?

The search needs one number for each cell, and it has three. *How* they are combined decides what is found. Here are three ways:
"""

# %%
ways = {
    "identity alone": lambda cell: cell.qualities.identity,
    "plain mean": lambda cell: sum(cell.qualities.by_name().values()) / 3,
    "harmonic mean": lambda cell: cell.score,
}
winners = {way: max(grid.trials.values(), key=score) for way, score in ways.items()}
for way, cell in winners.items():
    rate, steps = cell.point
    print(f"{way:15}: {format_rate(rate)}, {steps:5} steps: {cell.qualities}")

# %%
side_by_side([cell.point for cell in winners.values()], winners, "Three ways to choose a cell")

# %% [markdown]
r"""
- Identity alone ignores what the model has forgotten.
- The plain mean lets a high number make up for a low one.
- The harmonic mean needs all three. If one part is 0, so is the whole.

The two means may choose the same cell here and different ones in another grid. If you need something else, choose by something else. One example is a model that only ever has to draw Pip.

## 6. How sure is the best cell?

Each cell was measured on a limited number of pictures, so its numbers are uncertain. Here are the five highest cells, with 95 % intervals of identity and of prompt. The intervals come from a bootstrap as in lesson 07, with the prompts drawn again.
"""

# %%
by_score = sorted(grid.trials.values(), key=lambda cell: cell.score, reverse=True)
for cell in by_score[:5]:
    (rate, steps), samples = cell.point, cell.metrics.samples
    identity, prompt = samples["identity"], samples["prompt_accuracy"]
    print(
        f"{format_rate(rate)}, {steps:5} steps: together {cell.score:.2f}, "
        f"identity {identity.mean:.2f} ({identity.low:.2f} to {identity.high:.2f}), "
        f"prompt {prompt.mean:.2f} ({prompt.low:.2f} to {prompt.high:.2f})"
    )

# %% [markdown]
r"""
Each interval belongs to one cell, over its ten prompts (nine for identity). Where all prompts agree the interval is a single point. That does not mean certainty.

Do not rank cells whose intervals overlap by a lot. They are *one* answer. Quote a region: here it is $3\cdot10^{-4}$ with 700 to 1000 steps. The cells share prompts and noise, so the difference of two cells, prompt by prompt, is more certain than either number (lesson 07).

There is one more trap. The best of many noisy numbers is partly the luckiest. To report how good the chosen cell is, measure it again, with other noise and with more prompts: `tlab evaluate` with `--full --seed 1`.

### Exercise: find the bug

`grid.find_the_bug` · medium · 12 minutes

Four pieces of search code, each with one faulty line. Which? Return the line's number; the first line of each is `def`.
"""

# %%
snippets("grid.find_the_bug")


# %% exercise="grid.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    faulty = {1: 3, 2: 5, 3: 4, 4: 3}
    return faulty[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("grid.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## 7. Your own grid

The stored grid came from these two commands:
"""

# %% tags=["nbval-check-output"]
rates = ",".join(map(format_rate, grid.learning_rates))
counts = ",".join(map(str, grid.steps))
print("tlab subject pip --out pip")
print("tlab grid --subject-images pip --identifier zwx --class-noun robot --output grid \\")
print(f"    --learning-rates {rates} --steps {counts} \\")
print(f"    --{'' if text_learns else 'no-'}train-text-encoder --prior-loss-weight {weight:g}")

# %% [markdown]
r"""
The second command writes a table, a heat map and a page of pictures to the folder `grid`. The pipeline of the best cell goes to `grid/best`. Every cell is a *trial*. It is written to `grid/grid.json` as soon as its numbers are known. Three things follow:

- **You can kill it at any time.** The same command with `--resume` goes on. Known cells are not trained again. A training that was cut short goes on from its last checkpoint.
- **Several workers can share it.** `--workers 2` starts two processes. Or type the same command with `--resume` in another terminal. Machines that share the folder can share the search.
- **It can grow.** `--resume` with more learning rates or more steps fills only what is new.

Here is a very small search: two learning rates, measured after 10 and after 20 steps. That is far too few to learn a subject. A score above 0 is one lucky picture of nine. We only look at how the search works.

`subject_images` is only a name here, because the pictures are passed to `search`. After the first cell we stop it, as a power cut would:
"""

# %%
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.grid.search import search
from tlab_diffusion.dreambooth.grid.worker import Measured
from tlab_diffusion.evaluation.measure import SampleCounts

home = Path(tempfile.mkdtemp())
config = DreamBoothConfig(
    subject_images="pip",
    identifier="zwx",
    class_noun="robot",
    output=home / "grid",
    num_class_images=20,
    checkpoint_every=STEPS[0],
)
counts = SampleCounts(per_prompt=1, per_class=16)  # few pictures: a rough measure
plan = {"learning_rates": [3e-4, 1e-3], "steps": STEPS, "counts": counts}
pictures = np.stack(subject_pictures("pip"))


def new_cells(events):
    """The cells that a search measures, one by one."""
    for event in events:
        if isinstance(event, Measured):
            place = event.trial.point
            print(f"measured: {format_rate(place.learning_rate)}, {place.steps} steps")
            yield event.trial


events = search(config, pictures, **plan)
first = next(new_cells(events))
events.close()  # as if the power had failed

# %% [markdown]
r"""
Now it goes on. The known cell is not measured twice:
"""

# %% tags=["nbval-check-output"]
rest = list(new_cells(search(config, pictures, **plan, resume=True)))
print(f"{1 + len(rest)} cells, {len(rest)} of them after the power cut")
print("none twice:", first.point not in [cell.point for cell in rest])

# %% [markdown]
r"""
The record of the search is one JSON file. `load_grid` reads it, also for your own searches:
"""

# %%
for point, trial in load_grid(home / "grid").grid.trials.items():
    print(f"{format_rate(point.learning_rate)}, {point.steps} steps: score {trial.score:.2f}")
print("in the folder:", ", ".join(sorted(path.name for path in (home / "grid").iterdir())))

# %% [markdown]
r"""
`results_browser("grid")` shows a grid of your own, as above the stored one.

## What to keep

- Learning rates and step counts differ by factors: space them on a logarithmic scale.
- With a constant learning rate one training gives a whole row of the grid.
- While gradients keep their size, Adam moves each weight by at most about the learning rate in a step. So learning rate × steps is a limit on the way. Try cells with the same product first, until the rate is too high for any number of steps.
- Choose by a score that needs all qualities. Look at the pictures. Quote a region, and measure the winner again.
- The shape of the map carries over from someone else's search. The best cell does not.

**What to try next**: another subject (`tlab subject --list`), and see whether the ridge moves; `--prior-loss-weight 0`, and see whether it moves then; a text encoder that learns along (`--train-text-encoder`, and `--prior-loss-weight 1`); LoRA, whose good learning rates lie elsewhere (`--method lora`). With a GPU, the same command with `--model` and a Stable Diffusion folder.

**Read on** Bergstra, Bengio, *Random Search for Hyper-Parameter Optimization* (JMLR 13, 2012), on when a grid is *not* the best choice · Kingma, Ba, *Adam* (arXiv:1412.6980) · Loshchilov, Hutter, *Decoupled Weight Decay Regularization* (arXiv:1711.05101), which is AdamW.

**Next**: you have gone all the way from one noising step to a model that knows a new subject. Later lessons show what else diffusion models do.
"""

# %%
progress()
