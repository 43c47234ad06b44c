# %% [markdown]
r"""
# 08 · DreamBooth, hands on

Lesson 07 told the story; now you do it. Five pictures of Pip, a robot whom our model has never met; a word that will mean Pip; a few minutes of training. Then we look hard: is it Pip, does Pip go where we say, and what has become of all the other robots?

**After this lesson you can**

- choose a word for a subject, and have its pictures and the whole run checked before it starts;
- say what a run needs of memory, and where it goes;
- watch identity, prompt and class over the steps, and choose a checkpoint for a reason;
- say, use by use, what a tuned model can do and what it cannot;
- take the model anywhere, and do the same with Stable Diffusion and your own photos.

**Time** about 75 minutes, 3 exercises; training takes two to four minutes of it. **You need** lesson 07 for the idea and its measures, lesson 03 for the training loop.
"""

# %%
import json
import tempfile
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from PIL import Image

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, solution
from tlab_diffusion.course.widgets import before_after, trade_off_explorer
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import subject_pictures
from tlab_diffusion.pipelines import load

STEPS = 800  # of training, measured before it and four times on the way; fewer are quicker

original = load("picturebook")
references = np.stack(subject_pictures("pip"))
plots.picture_strip(
    references, [f"picture {n}" for n in range(1, 6)], title="This is Pip: all that the model gets"
)

# %% [markdown]
r"""
A face behind a window, two feelers, a star in front and a key to wind it up at the back: no robot of the picture book looks like that, and no training picture ever did. And what does the model make of Pip's *name*?

## 1. A word for Pip

A new meaning needs a word to hold it. The word should be **one token**, so that one embedding carries all of it, and it should be **rare**, so that no old meaning is in the way. The course looks at a word as the model will:
"""

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.data.identifier import token_report

for word in ("zwx", "red", "sparkletail"):
    print(token_report(original.tokenizer, word, f"a {word} robot", "a robot"), end="\n\n")

# %% [markdown]
r"""
### Exercise: a rare token

`hands_on.choose_identifier` · easy · 8 minutes

Of some candidates choose the one that is fit to be an identifier. `tokenize(word)` gives the list of a word's tokens, and `known_words` are words that captions use.
"""


# %% exercise="hands_on.choose_identifier"
def choose_identifier(candidates, tokenize, known_words):
    """candidates, known_words: lists of words; tokenize: word -> list of tokens. Returns a word."""
    ### BEGIN SOLUTION
    one_token = [word for word in candidates if len(tokenize(word)) == 1]
    return next(word for word in one_token if word not in known_words)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("hands_on.choose_identifier", choose_identifier)

# %% [markdown]
r"""
We take `zwx`. (People often take `sks`. In Stable Diffusion's vocabulary it is one rare token indeed, and also the name of a rifle, which sometimes shows.) Before training, the word means nothing, and the model draws any robot:
"""

# %%
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler

IDENTIFIER, CLASS_NOUN = "zwx", "robot"
draw_original = fast_sampler(original)
plots.picture_strip(
    draw_original(5 * [f"a {IDENTIFIER} {CLASS_NOUN}"], seed=0),
    5 * [""],
    title="“a zwx robot”, by a model that has never met Pip",
)

# %% [markdown]
r"""
## 2. The pictures

Three to five pictures, in different poses, with different faces and in different places: what they all have in common is what the name will mean. If all showed Pip in a meadow, the meadow would be part of Pip.

Folders in real life are not tidy. Here is one as a phone might leave it: a hidden file, a text, a picture that lies on its side with a note in its EXIF data to turn it, and a copy that came back from a chat.
"""

# %%
home = Path(tempfile.mkdtemp())
folder = home / "pip"
folder.mkdir()
for number, picture in enumerate(references, start=1):
    Image.fromarray(picture).save(folder / f"pip-{number}.png")

TURN_ME = Image.Exif()
TURN_ME[0x0112] = 6  # EXIF orientation: turn by 90 degrees, clockwise
Image.fromarray(np.rot90(references[1])).save(folder / "pip-2.png", exif=TURN_ME)
(folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
(folder / "about.txt").write_text("Pip, last summer")
Image.fromarray(references[0]).save(folder / "pip-6.jpg", quality=60)

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.data.images import audit

found = audit(folder, resolution=64)
for finding in found.findings:
    print(finding)

# %% [markdown]
r"""
Every file is accounted for: used, fixed, skipped, or, were it damaged or far too small, *refused*, which would stop the run. The picture on its side is turned before anything looks at it (trainers that forget this teach a subject that lies down). The copy is only pointed out, for it is your decision: a picture that is there twice counts twice. We take it out.
"""

# %% tags=["nbval-check-output"]
(folder / "pip-6.jpg").unlink()
pictures = audit(folder, resolution=64).pictures
print(pictures.shape, "upright again:", np.array_equal(pictures[1], references[1]))

# %% [markdown]
r"""
## 3. Before the run

All settings are one object. What you leave out suits the model: for `picturebook` 600 steps of one picture at a learning rate of $3\cdot10^{-4}$, the weight $\lambda = 1$ for the class, 100 class pictures, and a text encoder that learns along with the U-Net. These did well over the course's ten subjects, and what does well for ten need not be the best for one. Pip is the one that they suit least (lesson 07 has a list). So we leave the text encoder as it is, and take more steps with twice the weight of the class: trials with Pip came out better so. What you get are averaged weights (EMA, lesson 03): with one picture a step they are restless, and the model of one step may put every robot into the rain, that of the next none. Anything wrong is said at once and *before* a model is loaded, not after ten minutes:
"""

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.preflight.checks import preflight

try:
    preflight(
        DreamBoothConfig(
            subject_images="no-such-folder",
            identifier="zwx",
            class_noun="robot",
            output="tuned",
            model="no-such-model",
        )
    )
except InputError as error:
    print(error)

# %% [markdown]
r"""
And ours. (The estimate of time comes from a count of multiplications and a moment's measurement of this machine; half or twice as much is possible.)
"""

# %%
config = DreamBoothConfig(
    subject_images=folder,
    identifier=IDENTIFIER,
    class_noun=CLASS_NOUN,
    output=home / "tuned",
    max_steps=STEPS,
    prior_loss_weight=2.0,
    train_text_encoder=False,
)
ready = preflight(config)
print(ready)

# %% [markdown]
r"""
Where does the memory go? Not into the pictures. Most of it is the model itself, several times over: its weights, a gradient for each of them, and what AdamW remembers of the gradients, a running mean and a running mean of squares (lesson 09 takes it apart). All of these are float32, 4 bytes each.
"""

# %% [markdown]
r"""
### Exercise: what a run keeps in memory

`hands_on.state_bytes` · easy · 8 minutes

`trained` numbers learn, `frozen` ones do not. How many bytes are needed for weights, gradients and AdamW's memory at the moment of a step? (Leave aside pictures, activations, and the average of the weights, which a run need not keep.)
"""


# %% exercise="hands_on.state_bytes"
def state_bytes(trained, frozen):
    """trained, frozen: how many numbers of the model. Returns bytes, a whole number."""
    ### BEGIN SOLUTION
    each = 4  # bytes of a float32
    with_moments = 4 * trained  # weight, gradient, and two moments
    return each * (with_moments + frozen)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("hands_on.state_bytes", state_bytes)

# %% tags=["nbval-check-output"]
state_bytes = reference("hands_on.state_bytes")
print(
    f"Stable Diffusion 1.5, where only the U-Net learns: "
    f"{state_bytes(859_520_964, 206_714_343) / 2**30:.1f} GiB"
)

# %% [markdown]
r"""
More than thirteen gigabytes (a GiB is $2^{30}$ bytes) before the first picture is looked at: keep the number in mind for section 9.

## 4. Train

First the original model draws its hundred robots, which stand for "what the class was". Then every step takes one picture of Pip under "a zwx robot" and one of those robots under "a robot", noises both, and lowers the subject's loss plus $\lambda$ times the class's. We measure the original (step 0), and four times on the way the model that learns, always with the same prompts and noise: ten prompts of all kinds with the name, and sixteen pictures of the bare class. All are drawn with the strong guidance scale of 10: in our trials the subject and the place came out more often than at 5. The price is variety (lesson 05), so compare these numbers with none that were drawn at another scale.
"""

# %%
from tlab_diffusion.dreambooth.measures.evaluator import evaluator_of
from tlab_diffusion.dreambooth.measures.selection import Point, trade_off
from tlab_diffusion.dreambooth.run import Evaluated, run

points = []
for event in run(ready.config, ready.pictures, evaluate_every=STEPS // 4):
    if isinstance(event, Evaluated):
        points.append(Point(event.step, event.metrics))
        numbers = event.metrics.numbers()
        print(
            f"step {event.step:4}: it is Pip {numbers['identity']:4.0%}, "
            f"the prompt is obeyed {numbers['prompt_accuracy']:4.0%}, "
            f"robots are as near to Pip as {numbers['pres']:5.2f}, "
            f"and differ by {numbers['class_div']:.2f}"
        )

# %% [markdown]
r"""
"It is Pip" is a verdict and no impression: in an encoder that looks at pictures alone, the nearest neighbour of the drawn picture, among the pictures of *all* the course's subjects and fifty robots of Pip's colour, is Pip; and it must not be a copy of one of the five. The third number is PRES of lesson 07: how near bare robots are to Pip (low is good). The last is that lesson's *variety of the class*: how much bare robots differ among themselves (as high as the original's is good; far above it, look whether robots have lost their shape).

Does the loss tell the same? Here it is, as the run has noted it down, each point the mean of ten steps:
"""

# %%
lines = (config.output / "metrics.jsonl").read_text().splitlines()
steps = [line for line in map(json.loads, lines) if "subject_loss" in line]
plots.curves(
    [line["step"] for line in steps],
    {
        "of the subject": [line["subject_loss"] for line in steps],
        # Noted down as it counts, times lambda.
        "of the class": [line["prior_loss"] / config.prior_loss_weight for line in steps],
    },
    title="The loss of the run: it hardly tells when to stop",
    xlabel="step",
    ylabel="mean squared error",
)

# %% [markdown]
r"""
It jumps up and down with the timesteps that happen to be drawn, and no corner in it says "enough". Whether a stranger has turned into Pip it cannot say. To know a checkpoint you have to *look* at what it draws, and measure that.

## 5. Which checkpoint?

Three qualities, each from 0 to 1:

- **identity**: the share of pictures that are Pip, and no copy;
- **prompt**: the share that show the place and whatever else was asked for (who stands there is the first one's question);
- **prior**: what is left of the class. How far robots are from Pip, and how much they differ, each as a share of the original model's; the smaller counts.

Early checkpoints lack the first; later ones may lose some of the other two. But what is "best" when three numbers can pull in different directions? The plain mean can be *bought*: draw Pip whatever the words say, and identity is 1 for nothing. The harmonic mean cannot.
"""

# %% [markdown]
r"""
### Exercise: a score that cannot be bought

`hands_on.harmonic_mean` · easy · 8 minutes

$$H = \frac{Q}{\frac1{q_1} + \dots + \frac1{q_Q}}$$

`qualities` is a tensor with a row for each of N checkpoints, and Q columns. Return a tensor of N numbers; where a quality is 0, the mean is 0.
"""


# %% exercise="hands_on.harmonic_mean"
def harmonic_mean(qualities):
    """qualities: tensor (N, Q), from 0 to 1. Returns a tensor (N,)."""
    ### BEGIN SOLUTION
    reciprocals = 1 / qualities  # infinite where a quality is 0, and then the mean is 0
    return 1 / reciprocals.mean(dim=1)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("hands_on.harmonic_mean", harmonic_mean)

# %% tags=["nbval-check-output"]
harmonic_mean = reference("hands_on.harmonic_mean")
bought = torch.tensor([[1.0, 0.25, 0.25], [0.5, 0.5, 0.5]])
print("plain means:    ", bought.mean(dim=1).tolist())
print("harmonic means: ", [round(value, 2) for value in harmonic_mean(bought).tolist()])

# %% [markdown]
r"""
The first of these two draws Pip always and everything else badly; the plain mean cannot tell it from the second. Now our own run:
"""

# %%
chosen = trade_off(points)
table = torch.tensor(list(chosen.curve.values()))
for (step, each), together in zip(chosen.curve.items(), harmonic_mean(table), strict=True):
    print(
        f"step {step:4}: identity {each.identity:.2f}, prompt {each.prompt:.2f}, "
        f"prior {each.prior:.2f}; together {together:.2f}"
    )
print(chosen.why)

# %% tags=["nbval-check-output"]
yours = [each.score for each in chosen.curve.values()]
print("your means are the package's:", np.allclose(harmonic_mean(table), yours))
print("the original model is not the best:", yours[0] < max(yours))

# %% [markdown]
r"""
The folder of the run holds the weights of that step, whether or not it is the last. Slide over the steps, and look at the pictures too: they come from the same four prompts and the same noise each time. The last one is the bare class.

1. When does Pip first appear? What comes first: the colour, the feelers, the star?
2. Does anything get worse again later?
3. Would you have chosen the same step by eye?

As a still picture, from a longer run, measured with four pictures of each prompt (it is one row of lesson 09's grid):

![Curves of identity, prompt, prior and their harmonic mean against the training step, with the best step marked, beside four pictures drawn at one of the steps](figures/trade_off.png)
"""

# %%
trade_off_explorer(config.output, prompts=evaluator_of(ready.config, ready.pictures).fixed_texts)

# %% [markdown]
r"""
A word of caution. Nine pictures decide about identity here (the tenth is recoloured, and has no verdict), so it moves in steps of eleven per cent, and the prompt, of ten pictures, in steps of ten: one picture may have chosen the step. Two neighbouring checkpoints may well change places when one looks at more. `tlab evaluate` takes four pictures of each prompt and says how sure it is; lesson 09 comes back to that.

## 6. Before and after

The same prompts and the same noise, by the original model and by the tuned one. Move the border. In the first three the robot is to turn into Pip and the rest is to stay; in the last two, which do not name Pip, *nothing* should change but details. Look closely: does "a robot on the moon" turn into Pip, does the cat take on Pip's colour? The prior was measured on the bare words "a robot", and the class term holds the model there and nowhere else (lesson 07, section 3): a high prior promises nothing about a robot on the moon.

The still picture is of lesson 07's model at its *last* step, and of other prompts: four that name Pip, one that does not. Are all of its places what was asked for? And does your run, left at its best step, do better?

![Five pictures, each parted by a vertical line: on the left drawn by the original model, on the right by the tuned one, from the same noise](figures/before_after.png)
"""

# %%
tuned = load(config.output)
draw_tuned = fast_sampler(tuned)
asked = [
    "a zwx robot on the moon",
    "a zwx robot in the snow wearing a crown",
    "a zwx robot at night",
    "a robot on the moon",
    "a cat in the snow",
]
before, after = draw_original(asked, seed=2), draw_tuned(asked, seed=2)
before_after(before, after, asked)

# %% [markdown]
r"""
Is anything merely *copied* from the five pictures? A picture whose thumbnail differs from a reference's by less than about 15 of 255 grey levels counts as a copy. (Nine of the ten prompts ask for a place that none of the five shows, so a copy has to disobey. The next section asks for such places too.)
"""

# %%
copies = next(p.metrics for p in points if p.step == chosen.best).numbers()["copies"]
print(f"copies among the ten pictures measured at step {chosen.best}: {copies:.0%}")

# %% [markdown]
r"""
## 7. What can it be used for?

The paper names six uses. Here is each of them: ten prompts, one picture each, nothing picked. Under each picture stand the course's own verdicts: **✓** or **✗** for whether it shows the place, the accessory and so on that were asked for, and **Pip**, **not Pip**, or **a copy** of one of the five. (No verdict on identity where the pictures could not show it: from behind, or in another coat.)
"""

# %%
from tlab_diffusion.evaluation.encoders import shipped_encoders
from tlab_diffusion.evaluation.identity import picturebook_subject
from tlab_diffusion.evaluation.measure import SubjectMetrics
from tlab_diffusion.evaluation.subject_prompts import prompts_for

computer = SubjectMetrics(picturebook_subject("pip"), shipped_encoders())


def show(use, title):
    """Ten pictures of one use, with their verdicts."""
    prompts = [prompt for prompt in prompts_for(IDENTIFIER, CLASS_NOUN) if prompt.use == use]
    pictures = draw_tuned([prompt.text for prompt in prompts], seed=1)
    verdicts = computer.per_prompt(pictures, prompts)
    captions = []
    for prompt, verdict in zip(prompts, verdicts, strict=True):
        who = {None: "", 0.0: ", not Pip", 1.0: ", Pip"}[verdict.get("identity")]
        who = ", a copy" if verdict["copies"] else who
        mark = "✓" if verdict["prompt_accuracy"] else "✗"
        captions.append(fill(prompt.text, 24) + f"\n{mark}{who}")
    right = sum(verdict["prompt_accuracy"] for verdict in verdicts)
    known = [verdict["identity"] for verdict in verdicts if "identity" in verdict]
    said = f"; it is Pip in {sum(known):.0f} of {len(known)}" if known else ""
    print(f"{use}: {right:.0f} of {len(prompts)} show what was asked for beside Pip{said}")
    return plots.picture_grid(pictures, captions, columns=5, title=title)


show("context", "New contexts")

# %% [markdown]
r"""
**New contexts** are what DreamBooth is for: Pip from the five pictures, the place from all that the model knew before. Two things go wrong, and the verdicts tell them apart. Where it is not Pip, the name has not bound yet. (The snow, the desert and the beach are places of the five pictures: there a copy is easiest, and does not count as Pip.) Where it *is* Pip and the ✗ stands for the place, see whether it is one of the places of the five references: then the name has swallowed them, the paper's *overfitting to the original setting*.
"""

# %%
show("accessory", "Accessories")

# %% [markdown]
r"""
**Accessories** have to be put on a head that no accessory was ever drawn on. Watch whether hat and feelers get along, and whether Pip is still Pip under it: what is worn hides what Pip is known by. If one is missing, is it the model or the training? Let the original draw "a robot wearing a crown", and compare lesson 07's column "obeyed, original".
"""

# %%
show("style", "Art styles")

# %% [markdown]
r"""
**Art styles** change every pixel, and still it should be Pip. The style is known to the model from all its training, Pip from five drawings in one style; either may win.
"""

# %%
show("expression", "Expressions")

# %% [markdown]
r"""
**Expressions** are a few pixels here, on a face that the model knows from five small drawings. If it looks the same whatever is asked, that is *entanglement*: what the references show alike becomes part of the name. (The recogniser has to read a face that it has never seen either; trust your eyes more than the ✓ here.)
"""

# %%
show("view", "Views")

# %% [markdown]
r"""
**Views** are the subtlest. One reference shows Pip from the side, none from behind. Is one enough? Look at the side views first: is it Pip, or some robot of Pip's colour? From behind there is no verdict; the model must put together what robots look like at the back and what it has guessed of Pip. Does the key turn up, or the star, which belongs in front?
"""

# %%
show("property", "Properties")

# %% [markdown]
r"""
**Properties** ask for a contradiction: Pip's own colour is part of what the name means, and now it should be another. The stronger the name has bound, the harder this becomes; if nothing changes colour, train again with fewer steps (`STEPS` at the top). (Turquoise is Pip's own colour, so that ✓ costs nothing; three prompts ask for a pattern.)

Nothing here was hand-picked, so expect failures; the counts say how many. It is why the measures above are *shares*: one lucky picture proves nothing.

## 8. Take it along

What comes out is a plain pipeline folder. Nothing of this course is needed to use it:
"""

# %%
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

for logging in (diffusers_logging, transformers_logging):
    logging.disable_progress_bar()

pipeline = DiffusionPipeline.from_pretrained(config.output)
pipeline.set_progress_bar_config(disable=True)
drawn = pipeline(
    ["a zwx robot in the forest"] * 4,
    num_inference_steps=25,
    guidance_scale=10,
    generator=torch.Generator().manual_seed(0),
    output_type="np",
).images
plots.picture_strip(
    (255 * drawn).round().astype(np.uint8),
    4 * [""],
    title="“a zwx robot in the forest”, drawn by diffusers alone",
)

# %% [markdown]
r"""
On the command line all of this lesson is

```
tlab subject pip --out pip
tlab dreambooth --subject-images pip --identifier zwx --class-noun robot --output tuned \
    --max-steps 800 --prior-loss-weight 2 --no-train-text-encoder --evaluate-every 200
tlab evaluate --model tuned --subject-images pip --identifier zwx --class-noun robot
tlab sample "a zwx robot on the moon" --model tuned
```

and `tuned/report.html` shows the run on one page.

## 9. The same on a GPU, with your own photos

**Plain words first.** `picturebook` knows only its own world: fourteen kinds of characters, twelve places, 64 pixels, and never a shadow that was not drawn. Photos of your cat mean nothing to it; it would learn blots. Your own photos need a model that has seen photos, such as Stable Diffusion 1.5, and that needs a GPU. The code is the same, with another `model=`, another word (`zwx` is one token only here; Stable Diffusion's tokenizer cuts it in two, and keeps `ohwx` whole) and that model's own defaults. What follows is counted, not measured: the course has not been run on a GPU yet.

What does it need? We can count before anything is downloaded, as the preflight does: the U-Net is built without memory, run once on shapes alone, and what the backward pass would keep is added up. Four words of the trade: *bf16* is arithmetic with 16-bit numbers, for which every number that learns gets a 16-bit copy, 2 bytes more (15.2 GiB instead of the 13.6 of section 3); *gradient checkpointing* computes activations again on the way back instead of keeping them; *8-bit moments* keep each of AdamW's two means in one byte; and the *rank* is the thin side of LoRA's two matrices. We plan with nine tenths of a card's memory.
"""

# %%
from diffusers import UNet2DConditionModel

from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.methods import lora
from tlab_diffusion.dreambooth.preflight import resources

SD_PARTS = {  # how many numbers the parts of Stable Diffusion 1.5 have
    "text_encoder": resources.Part(123_060_480, 4),
    "unet": resources.Part(859_520_964, 4),
    "vae": resources.Part(83_653_863, 4),
}
SD_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
TARGETS = StableDiffusion.lora_targets["unet"]
with torch.device("meta"):
    sd_unet = UNet2DConditionModel.from_config(SD_UNET)
    sd_inputs = (
        torch.empty(1, 4, 64, 64),  # x_t: one picture of 512 x 512
        torch.zeros(1),  # t
        torch.empty(1, 77, 768, requires_grad=True),  # text
    )
shapes = {name: tuple(weights.shape) for name, weights in sd_unet.named_parameters()}
adapters = lora.num_parameters(shapes, TARGETS, rank=4)


def work(checkpointing, method="dreambooth"):
    """What one picture of 512 x 512 costs."""
    family = StableDiffusion()
    resources.freeze(sd_unet, method, family)
    return resources.forward_cost(
        family, sd_unet, sd_inputs, fused_attention=True, checkpointing=checkpointing
    )


numbers = SD_PARTS["unet"].parameters
all_weights = resources.MemoryBudget(SD_PARTS, numbers, half=True)
small_moments = resources.MemoryBudget(SD_PARTS, numbers, half=True, moments=2)
lora_alone = resources.MemoryBudget(SD_PARTS, adapters, added=adapters, half=True)
checkpointed = work(checkpointing=True)
settings = {
    "all weights": (all_weights, work(checkpointing=False)),
    "  + gradient checkpointing": (all_weights, checkpointed),
    "  + 8-bit moments": (small_moments, checkpointed),
    "LoRA, rank 4, no checkpointing": (lora_alone, work(checkpointing=False, method="lora")),
}

# %% tags=["nbval-check-output"]
GIB = 2**30


def most_pictures(load, each, gigabytes):
    """The largest batch size, 1 picture being 1 of the subject and 1 of the class."""
    pictures = 0
    while (
        resources.memory_needed(load, each, 2 * (pictures + 1))
        <= resources.USABLE * gigabytes * GIB
    ):
        pictures += 1
    return pictures


print(f"{'Stable Diffusion 1.5, 512 x 512, bf16':40}{'memory':>9}   largest batch on")
print(f"{'':40}{'at 1 + 1':>9}{'16 GB':>9}{'24 GB':>8}{'80 GB':>8}")
for name, (load_of, each) in settings.items():
    needed = resources.memory_needed(load_of, each, 2) / GIB
    most = [most_pictures(load_of, each, size) or "-" for size in (16, 24, 80)]
    print(f"{name:40}{needed:5.1f} GiB{most[0]:>9}{most[1]:>8}{most[2]:>8}")

# %% [markdown]
r"""
So, as settings:

| GPU | what to choose |
|---|---|
| 16 GB | `--gradient-checkpointing --optimizer adamw8bit` (needs bitsandbytes), or `--method lora` |
| 24 GB | all weights, with full-precision moments; with `--gradient-checkpointing` a larger batch |
| 80 GB | all weights, larger batches, and the text encoder too (`--train-text-encoder`) |

The preflight does this sum for your machine, and splits a step into parts where it has to; the result is the same.

Put three to five photos into a folder `photos` beside this notebook, say what they show, and run the cell. Where there is no GPU or no folder, it says so and does nothing.
"""

# %%
PHOTOS, PHOTO_NOUN = Path("photos"), "dog"
STABLE_DIFFUSION = "stable-diffusion-v1-5/stable-diffusion-v1-5"  # or a folder of yours

if torch.cuda.is_available() and PHOTOS.is_dir():
    try:
        photo_config = DreamBoothConfig(
            subject_images=PHOTOS,
            identifier="ohwx",
            class_noun=PHOTO_NOUN,
            output="tuned-on-photos",
            model=STABLE_DIFFUSION,
            precision="bf16",
        )
        ready = preflight(photo_config)
        print(ready)
        for event in run(ready.config, ready.pictures, evaluate_every=200):
            if isinstance(event, Evaluated):
                print(event.step, event.metrics.numbers())
    except InputError as error:
        print(error)
else:
    print("No GPU here, or no folder `photos`: nothing is trained on photos.")

# %% [markdown]
r"""
Two things differ. The measures come from the paper's own encoders, CLIP and DINO, where they can be had; and there is no world to ask whether the picture *is* your dog, so identity is the likeness to your photos, as a share of their likeness to each other. The learning rate is $5\cdot10^{-6}$, sixty times smaller than here: the paper's value for this model.

If the photos show a person, ask that person first, before you train and again before you show. Lesson 07 has a page on it.

## What to keep

- The word: one token, rare, before the class noun. The pictures: few, different in everything but the subject.
- The loss does not tell when to stop. Draw with fixed prompts and fixed noise, and measure: is it the subject, is the prompt obeyed, is the class still there?
- The three pull in different directions; a harmonic mean cannot be bought with one of them.
- A number that learns costs 16 bytes before any picture is looked at, 18 with bf16, and 4 more where its average is kept.
- What all references show alike, such as a colour, a face, a view, a place, tends to become part of the name. Choose pictures that differ in all that is *not* the subject.

**Read on** Ruiz and others, *DreamBooth* (arXiv:2208.12242), sections 4.3 and 4.4 and the pictures of its appendix · Hu and others, *LoRA* (arXiv:2106.09685) · Dettmers and others, *8-bit Optimizers via Block-wise Quantization* (arXiv:2110.02861).

**Next** comes the question of every practitioner: *which* learning rate, *how many* steps? [Lesson 09](09_grid_search.ipynb) searches.
"""

# %%
progress()
