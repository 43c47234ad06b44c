# %% [markdown]
r"""
# 09 · Grid search

How large a learning rate, and how many steps? The project from which this course grew taught a cartoon character to Stable Diffusion, and found its two numbers by **grid search**: a learning rate of $3\cdot10^{-4}$ and 1000 steps. Here we do the same for Pip. Both numbers are on our grid; are they the best place for our small model too? And how would one know?

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

Two knobs, and nobody tells their values. Learning rates that make sense for one model or another lie between one millionth and one hundredth: they differ by *factors*, not by amounts. From $10^{-5}$ to $2\cdot10^{-5}$ is as large a change as from $10^{-3}$ to $2\cdot10^{-3}$. So a grid of learning rates should be even on a **logarithmic** scale: each value a fixed factor above the one before. The same goes for steps where their range is wide; ours, 200 to 1000, is a factor of five, and need not be so exact.
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
In even steps a single value would have covered two of the three decades.

## 2. One training, many cells

A grid of $R$ learning rates and $C$ step counts has $R \cdot C$ cells, but it does not take as many trainings. At a **constant** learning rate, a training of 1000 steps *is*, after 300 of them, a training of 300 steps: same weights, same numbers. So we train once for each learning rate, up to the largest count, and stop on the way to measure.
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
These are stored results: the whole grid takes a while on two processor cores, and `tlab grid` recomputes it (section 7). Every cell was measured with the ten prompts of lesson 08, only more thoroughly, with four pictures of each and fifty of the bare class, and all cells from the same noise. What is shown is the harmonic mean of identity, prompt and prior, which lesson 08 calls "together", and beside it the three; the ★ marks the cell that is best *together*, in all four. (All other settings are those of lesson 08.)
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
Whether or not the source's numbers win here, make little of it: that was another model, about seventy times larger (860 million weights in its U-Net against 13 million), and another subject. What carries over from one project to another is not the cell but the *shape* of the map, and the way to search.

## 3. Play

Slide to any cell, choose a prompt, and let the map show another quality.

1. Where is identity high, where is the prior? Where are both?
2. Go along the row of the best cell, from few steps to many. When does Pip appear? Does the last picture, the bare class, change too, and does it ever look like Pip?
3. Compare the cells of one column, from the lowest learning rate to the highest. What does a rate that is too high do to a picture?
4. Find two cells with nearly the same pictures. What do they have in common?

![A heat map of learning rate against steps with a number in each cell and a star on the highest, beside the pictures that the chosen cell drew](figures/grid.png)
"""

# %%
results_browser(stored)

# %% [markdown]
r"""
## 4. Is there a ridge?

In maps of this kind the good cells often lie on a slanted ridge: half the learning rate wants about twice the steps, as if what mattered were the *product*, learning rate × steps. With three rates, each about three times the one before, the map above can show it only roughly: a third of the rate should want three times the steps. Below, a correlation puts a number on one half of it, how identity rises with the product; where prompt and prior fall is the other half. Why should there be one at all?

Look at what AdamW does with a gradient $g$. It keeps two running means, of the gradient and of its square:

$$m \leftarrow 0.9\,m + 0.1\,g, \qquad v \leftarrow 0.999\,v + 0.001\,g^2 .$$

Both begin at 0, so in the first steps they are too small, by known factors; $\hat m = m / (1 - 0.9^n)$ and $\hat v = v / (1 - 0.999^n)$ make up for that in step $n$. Then every weight moves by

$$-\,\eta\,\frac{\hat m}{\sqrt{\hat v} + 10^{-8}} ,$$

with $\eta$ the learning rate (DDIM's $\eta$ of lesson 04 is another), $n$ the step, and $v$ no velocity. (AdamW also shrinks every weight a little in each step. Our trainer takes $10^{-6}$ for $10^{-8}$, shortens gradients that are too long, and averages the weights. None of this changes the picture.)
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
**Check.** The same as PyTorch's, and the point of it all: gradients a thousand times larger move the weights no further.
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
So while gradients keep their size, no weight gets much further than about **learning rate × steps** (section 2.1 of the Adam paper has the exact bounds). One whose gradients agree, the last of the four, goes nearly all of that way; one whose gradients are noise goes much less far. The product is the length of a leash, not the way gone. Along a diagonal of the map the leash has one length.

If the leash is what decides, the same numbers plotted over the product should fall on one curve, more or less. A rank correlation says how closely: 1 if identity always rises with it.
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
"About", "nearly", "more or less": the leash is no law. A high learning rate cannot settle, for it overshoots with every step; far enough up, the model breaks at *any* number of steps. And a very low one may not get out of the valley in which it began. A grid finds out; the product only tells where to look first: if $3\cdot10^{-4}$ and 400 steps were good, one would try $10^{-4}$ with 1200.

And equal products are not equal cells. Here is what the two highest rates do at nearly the same one:
"""

# %%
for place in ((1e-3, 200), (3e-4, 700)):
    cell = grid.trials[place]
    print(f"{format_rate(place[0])} x {place[1]} = {place[0] * place[1]:.2f}: {cell.qualities}")

# %% [markdown]
r"""
Both have gone equally far, and the faster one has lost the prompt on the way: its rate is too high already, and the ridge ends there.

## 5. What overfitting looks like

One row of the map, at $3\cdot10^{-4}$, as pictures. From left to right the same model has had more and more steps; each row is one prompt, always drawn from the same noise.
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
Look for three stages; you may not find all of them. First the name is unknown, and some robot stands where it was asked to stand. Then it is Pip, more and more certainly. After that there is little left to gain, and things may begin to go: places fade into those of the five references, accessories and styles are left out, or, in the last row, the bare class comes to look like Pip or loses its shape. (The colour alone is no sign: from this noise the original's robot is turquoise too. And four prompts are not all: what a number loses may be in those that are not shown, such as faces and colours.) That is what overfitting means here: the model answers with what it has seen last, whatever the question.

And the same at the largest number of steps, with higher and higher learning rates:
"""

# %%
most = max(grid.steps)
column = [place for place in grid.trials if place.steps == most]
side_by_side(column, [format_rate(place.learning_rate) for place in column], f"{most} steps")

# %% [markdown]
r"""
As a curve, for one learning rate, with the verdict on every step:
"""

# %%
trade_off_explorer(*one_row(stored, 3e-4))

# %% [markdown]
r"""
### Would another mean choose another cell?

The search has to reduce three numbers to one, and *which* one decides what it finds. Three ways to choose:
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
Identity alone does not care what the model has forgotten. The plain mean lets a high number pay for a low one. The harmonic mean asks for all three; where its weakest part is 0, so is the whole. Where the two means choose the same cell, they need not in the next grid. (If you need something else, say a model that only ever has to draw Pip, choose by something else. A search finds what it is told to look for.)

## 6. How sure is the best cell?

Each cell was measured on a limited number of pictures, and a share of so many is uncertain. The five highest cells, with the 95 % intervals of identity and of prompt (a bootstrap as in lesson 07; what is drawn again are the prompts):
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
Each interval is of one cell alone, over its ten prompts (nine for identity). Where all prompts agree it shrinks to a point, which is no certainty. The cells share prompts and noise, so the difference of two, prompt by prompt, would be surer than either (lesson 07); but cells whose intervals overlap by a lot should not be ranked. They are *one* answer: "somewhere here". Quote a region, not a cell; here that is $3\cdot10^{-4}$ with 700 to 1000 steps. There is one more trap: the best of many noisy numbers is partly the luckiest. To report how good the chosen cell is, measure it again, with other noise and with more prompts than had a say in the choice (`tlab evaluate` with `--full --seed 1`).

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
It leaves a table, a heat map and a page of pictures in the folder `grid`, and the pipeline of the best cell in `grid/best`. Every cell is a *trial*, and it is written down in `grid/grid.json` as soon as its numbers are known. Three things follow:

- **Kill it when you like.** The same command with `--resume` goes on: cells that are known are not trained again, and a training that was cut short goes on from its last checkpoint.
- **Many hands.** `--workers 2` starts two processes; or type the same command with `--resume` in another terminal, and it joins in. Machines that share the folder can share the search.
- **Let it grow.** `--resume` with more learning rates or more steps fills only what is new.

Here is a very small one, live: two learning rates, measured after 10 and after 20 steps. (That is far too few to learn anybody; a score above 0 is one lucky picture of nine. It is the machinery that we look at. `subject_images` is only a name here, for the pictures are handed over, and what is left out has its default.) After the first cell we pull the plug:
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
And on again. The cell that is known is not measured twice:
"""

# %% tags=["nbval-check-output"]
rest = list(new_cells(search(config, pictures, **plan, resume=True)))
print(f"{1 + len(rest)} cells, {len(rest)} of them after the power cut")
print("none twice:", first.point not in [cell.point for cell in rest])

# %% [markdown]
r"""
The record of the search is one JSON file. `load_grid` reads it, for your own tables too:
"""

# %%
for point, trial in load_grid(home / "grid").grid.trials.items():
    print(f"{format_rate(point.learning_rate)}, {point.steps} steps: score {trial.score:.2f}")
print("in the folder:", ", ".join(sorted(path.name for path in (home / "grid").iterdir())))

# %% [markdown]
r"""
To look at a grid of yours as at the stored one: `results_browser("grid")`.

## What to keep

- Learning rates and step counts differ by factors: space them on a logarithmic scale.
- With a constant learning rate one training gives a whole row of the grid.
- While gradients keep their size, Adam moves each weight by at most about the learning rate in a step, however large they are. So learning rate × steps is a length: try cells with the same product first, until the rate is too high for any number of steps.
- Choose by a score that cannot be bought; look at the pictures; quote a region, and measure the winner again.
- What carries over from someone else's search is the shape of the map, not the cell.

**What to try next**: another subject (`tlab subject --list`), and see whether the ridge moves; `--prior-loss-weight 0`, and see whether it moves then; a text encoder that learns along (`--train-text-encoder`, and `--prior-loss-weight 1`); LoRA, whose good learning rates lie elsewhere (`--method lora`). With a GPU, the same command with `--model` and a Stable Diffusion folder.

**Read on** Bergstra, Bengio, *Random Search for Hyper-Parameter Optimization* (JMLR 13, 2012), on when a grid is *not* the best choice · Kingma, Ba, *Adam* (arXiv:1412.6980) · Loshchilov, Hutter, *Decoupled Weight Decay Regularization* (arXiv:1711.05101), which is AdamW.

**Next**: you have gone all the way, from one noising step to a model that knows somebody new. What else diffusion models do, from spectra to molecules, is for lessons that are being written.
"""

# %%
progress()
