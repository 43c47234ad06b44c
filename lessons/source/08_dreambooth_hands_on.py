# %% [markdown]
r"""
# 08 · DreamBooth, hands on

You teach the model somebody new. It takes five pictures, one word and about three
minutes of training.

You begin with Tock, a bird that is learnt quickly. You end with Pip, a robot that is hard.

**After this lesson you can**

- choose a word for a subject, and check pictures and settings before a run;
- say what a run needs of memory;
- watch a training, stop it and go on with it;
- choose a checkpoint by its measures;
- say for which uses a tuned model is good, and for which it is not.

**Time** about 60 minutes, 3 exercises. **You need** lesson 07 for the idea of
DreamBooth, and lesson 03 for the training loop.
"""

# %%
import tempfile
from pathlib import Path
from textwrap import fill

import numpy as np
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, solution
from tlab_diffusion.course.stored import load_grid
from tlab_diffusion.course.subject_pages import gpu_table, untidy_folder, uses
from tlab_diffusion.course.subject_training import measured, own_folder, train_subject
from tlab_diffusion.course.widgets import before_after, trade_off_explorer
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import SUBJECTS, subject_pictures
from tlab_diffusion.pipelines import load

SUBJECT = "tock"
CLASS_NOUN = SUBJECTS[SUBJECT].class_noun  # "bird"
STEPS = 300  # of training

original = load("picturebook")
references = np.stack(subject_pictures(SUBJECT))
labels = [f"picture {n}" for n in range(1, 6)]
NAME = SUBJECT.capitalize()
plots.picture_strip(references, labels, title=f"{NAME}: these five pictures are all that we have")

# %% [markdown]
r"""
Tock has a propeller on its head and a clock on its belly. No bird of the picture book
has them. The model has never seen Tock.

## 1. A word for Tock

A new meaning needs a word. The tokenizer cuts words into **tokens**, and the model has
one learned vector, an **embedding**, for each token.

A good word is **one token**, so that one embedding carries the meaning. It is **rare**,
so that it has no other meaning yet.

Here the course looks at three words:
"""

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.data.identifier import token_report

for word in ("zwx", "red", "sparkletail"):
    print(token_report(original.tokenizer, word, f"a {word} bird", "a bird"), end="\n\n")

# %% [markdown]
r"""
### Exercise: a rare token

`hands_on.choose_identifier` · easy · 8 minutes

Choose the candidate that is fit to be an identifier.

`tokenize(word)` gives the list of a word's tokens. `known_words` are words that captions
use.
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
We take `zwx`. Before training the word means nothing, and the model draws any bird:
"""

# %%
IDENTIFIER = "zwx"
draw_original = fast_sampler(original)
plots.picture_strip(
    draw_original(4 * [f"a {IDENTIFIER} {CLASS_NOUN}"], seed=0),
    4 * [""],
    title=f"“a zwx {CLASS_NOUN}”, drawn by the original model",
)

# %% [markdown]
r"""
## 2. The pictures

Three to five pictures are enough. They should differ in pose, mood and place. What all
of them show becomes part of the name.

A folder of a phone is not tidy. This one holds a hidden file and a text. One picture
lies on its side, with a note in its EXIF data to turn it. One picture is there twice.

`audit` says what becomes of each file:
"""

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.data.images import audit

folder = untidy_folder(SUBJECT, Path(tempfile.mkdtemp()) / SUBJECT)
for finding in audit(folder, resolution=64).findings:
    print(finding)

# %% [markdown]
r"""
A damaged or a very small picture would be *refused*, and the run would not start.

A copy is only reported. It would count twice. We delete it:
"""

# %% tags=["nbval-check-output"]
(folder / f"{SUBJECT}-6.jpg").unlink()
pictures = audit(folder, resolution=64).pictures
print(pictures.shape, "upright again:", np.array_equal(pictures[1], references[1]))

# %% [markdown]
r"""
## 3. Before the run

All settings are one object, `DreamBoothConfig`. A setting that you leave out gets a
default that suits the model.

`preflight` checks settings, pictures, model and memory. It reports everything that is
wrong before a model is loaded:
"""

# %% tags=["nbval-check-output"]
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.preflight.checks import preflight

try:
    preflight(
        DreamBoothConfig(
            subject_images="no-such-folder",
            identifier="zwx",
            class_noun="bird",
            output="tuned",
            model="no-such-model",
        )
    )
except InputError as error:
    print(error)

# %% [markdown]
r"""
These are our settings. `own_folder` is a folder for models beside your notebooks.

`resume=True` goes on with an earlier run in that folder, if there is one. So you can run
this cell and the training cell again at any time.
"""

# %%
config = DreamBoothConfig(
    subject_images=folder,
    identifier=IDENTIFIER,
    class_noun=CLASS_NOUN,
    output=own_folder(SUBJECT),
    max_steps=STEPS,
    num_class_images=32,
    checkpoint_every=50,
)
ready = preflight(config, resume=True, evaluate_every=STEPS // 2)
print(ready)

# %% [markdown]
r"""
The estimate of time counts multiplications and measures this machine for a moment. Half
of it or twice as much is possible.

Most of the memory holds the model, several times over. For each number that learns
there are four: the number itself, its gradient, and two running means of AdamW (lesson
09). Each is a float32 of 4 bytes.
"""

# %% [markdown]
r"""
### Exercise: what a run keeps in memory

`hands_on.state_bytes` · easy · 8 minutes

`trained` numbers of a model learn. `frozen` numbers do not.

How many bytes do weights, gradients and AdamW's running means take during a step? Leave
aside pictures, activations and the average of the weights.
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
A GiB is $2^{30}$ bytes.

## 4. Train

The run first measures the original model. Then it trains, and each step lowers a sum of
two losses:

- the loss of a picture of Tock under “a zwx bird”;
- $\lambda$ times a loss that holds the class, “a bird”, where it was. $\lambda$ is
  the setting `prior_loss_weight`, here 1.

Run the next cell and watch. On the left is the loss. The four pictures belong to four
fixed prompts, always with the same noise. They are drawn again every few seconds.

Look for these things:

1. What comes first: the colour, the clock or the propeller?
2. Which of the four prompts is followed last?
3. The fourth prompt has no name in it. Does the bare bird change?

**Stop and go on.** Press the stop button (■) at any time. The run saves its step, and
the cells below work with what is learned so far. Run the cell again to go on. This works
after a restart of the kernel too.
"""

# %%
tuned_model = train_subject(ready, evaluate_every=STEPS // 2)

# %% [markdown]
r"""
The grey line of the loss jumps, because every step draws another timestep. Even the mean
does not say when Tock is learnt. We have to look at pictures, and to measure them.

## 5. Which checkpoint?

The run measured the original (step 0) and the tuned model at half of the steps and at
the end. It used the same prompts and noise each time: ten prompts with the name, and
others without it.

There are three **qualities**, each from 0 to 1:

- **identity**: the share of pictures that show Tock and copy none of the five. An
  image encoder decides: the picture must be nearer to Tock than to any other subject of
  the course and to fifty pink birds.
- **prompt**: the share of pictures that show the place, and what else was asked for.
- **prior**: what is left of the class. It compares birds with those of the original
  model: how far they are from Tock, how much they differ, and how often Tock or its
  colour shows where it was not asked for. The smallest share counts.

A model is good if all three are high. The plain mean hides a bad one. The harmonic mean
does not.
"""

# %% [markdown]
r"""
### Exercise: a mean that shows the worst

`hands_on.harmonic_mean` · easy · 8 minutes

$$H = \frac{Q}{\frac1{q_1} + \dots + \frac1{q_Q}}$$

$q_1$ to $q_Q$ are the qualities of a checkpoint, and $Q$ is their number.

`qualities` is a tensor with a row for each of N checkpoints and Q columns. Return a
tensor of N numbers. Where a quality is 0, the mean is 0.
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
two = torch.tensor([[1.0, 0.25, 0.25], [0.5, 0.5, 0.5]])
print("plain means:    ", two.mean(dim=1).tolist())
print("harmonic means: ", [round(value, 2) for value in harmonic_mean(two).tolist()])

# %% [markdown]
r"""
The first of these two models always draws the subject and does everything else badly.
Its plain mean is as high as the second one's.

Now the steps of our run:
"""

# %%
from tlab_diffusion.dreambooth.measures.selection import trade_off

points, samples = measured(ready)
chosen = trade_off(points)
table = torch.tensor(list(chosen.curve.values()))
for (step, each), together in zip(chosen.curve.items(), harmonic_mean(table), strict=True):
    print(f"step {step:4}: {each}; together {together:.2f}")
print(chosen.why)

# %% tags=["nbval-check-output"]
package = [each.score for each in chosen.curve.values()]
print("your means are the package's:", np.allclose(harmonic_mean(table), package))

# %% [markdown]
r"""
The folder of the run holds the weights of the best step.

Slide over the steps, and compare the pictures. The still picture shows a longer run,
which was measured more often:

![Curves of identity, prompt, prior and their harmonic mean against the training step, with the best step marked, beside four pictures drawn at one of the steps](figures/trade_off.png)
"""

# %%
trade_off_explorer(points, samples)

# %% [markdown]
r"""
These numbers are rough. Nine pictures decide about identity, so one picture is eleven
per cent. `tlab evaluate` draws four pictures for each prompt, and gives intervals.

## 6. Before and after

The same prompts and the same noise, by the original model and by the tuned one. Move the
border.

The first three prompts name Tock. The bird should turn into Tock, and the rest should
stay. The last two do not name Tock, so nothing should change but details. Do they?

The still picture shows another model:

![Five pictures, each parted by a vertical line: on the left drawn by the original model, on the right by the tuned one, from the same noise](figures/before_after.png)
"""

# %%
draw_tuned = fast_sampler(load(tuned_model))
asked = [
    f"a zwx {CLASS_NOUN} on the moon",
    f"a zwx {CLASS_NOUN} in the forest wearing a scarf",
    f"a zwx {CLASS_NOUN} at night",
    f"a {CLASS_NOUN} on the moon",
    "a cat in the snow",
]
before, after = draw_original(asked, seed=2), draw_tuned(asked, seed=2)
before_after(before, after, asked)

# %% [markdown]
r"""
## 7. What can it be used for?

The paper names six uses. Each row below is one of them, with four prompts and one
picture for each. No picture is picked.

Under each prompt stand two verdicts of the course:

- **✓** or **✗**: whether the picture shows what was asked for;
- **Tock**, **not Tock**, or **a copy** of one of the five pictures. There is no verdict
  from behind or in another colour, because the encoder is not sure there.
"""

# %%
uses(draw_tuned, SUBJECT, IDENTIFIER)

# %% [markdown]
r"""
Read the rows one by one.

- **Contexts** are what DreamBooth is for. A ✗ with *Tock* often means that the place
  became one of the five places: the name has taken them in.
- **Accessories** share the head with the propeller.
- **Styles** change every pixel. Either the style or Tock may win.
- **Expressions** are a few pixels. If all faces are alike, the face of the five pictures
  has become part of the name.
- **Views**: one picture shows Tock from the side, none from behind.
- **Properties** ask for a contradiction: pink is part of what the name means.

## 8. The hard case

Tock is learnt in a few hundred steps. Pip, a robot, is not. The strips below are stored
results with more steps and a frozen text encoder. Each row is a prompt. It begins with the
picture of the original model, and goes on with the tuned one from the same noise.
"""

# %%
stored = load_grid()
row = [place for place in stored.grid.trials if place.learning_rate == 3e-4]
prompts = stored.grid.settings["prompts"]
strips = [stored.original, *(stored.pictures[place] for place in row)]
names = [f"step {place.steps}" for place in row]
captions = [caption for prompt in prompts for caption in [fill(prompt, 24), *names]]
plots.picture_grid(
    np.stack(strips, axis=1).reshape(-1, 64, 64, 3),
    captions,
    columns=len(strips),
    title="Pip: the original model, and after more and more steps",
)

# %% tags=["nbval-check-output"]
print("steps   identity   prompt   prior")
for place in row:
    each = stored.grid.trials[place].qualities
    print(f"{place.steps:5}   {each.identity:8.2f}   {each.prompt:6.2f}   {each.prior:5.2f}")

# %% [markdown]
r"""
At 200 steps Pip is not there. Later the feelers and the star come, and some prompts are
followed less well. No step is best in everything.

**Try it.** Change `SUBJECT` to `"pip"` and `STEPS` to 800 at the top, and run all cells.
Pip gets a folder of its own. The other settings of the strips are in lesson 09.

## 9. Take it along

The result is a plain folder of diffusers. Nothing of this course is needed to use it:
"""

# %% tags=["hide-input"]
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

for logging in (diffusers_logging, transformers_logging):
    logging.disable_progress_bar()

# %%
pipeline = DiffusionPipeline.from_pretrained(load(tuned_model).name_or_path)
pipeline.set_progress_bar_config(disable=True)
drawn = pipeline(
    [f"a zwx {CLASS_NOUN} in the forest"] * 3,
    num_inference_steps=20,
    guidance_scale=10,
    generator=torch.Generator().manual_seed(0),
    output_type="np",
).images
plots.picture_strip(
    (255 * drawn).round().astype(np.uint8),
    3 * [""],
    title=f"“a zwx {CLASS_NOUN} in the forest”, drawn by diffusers alone",
)

# %% [markdown]
r"""
On the command line this lesson is

```
tlab subject tock --out tock
tlab dreambooth --subject-images tock --identifier zwx --class-noun bird --output tuned \
    --max-steps 300 --num-class-images 32 --evaluate-every 150
tlab evaluate --model tuned --subject-images tock --identifier zwx --class-noun bird
tlab sample "a zwx bird on the moon" --model tuned
```

and `tuned/report.html` shows the run on one page.

## 10. The same on a GPU, with your own photos

`picturebook` knows only its own world. It cannot learn from photos.

For photos you need a model that has seen photos, such as Stable Diffusion 1.5, and a
GPU. The code is the same. Three settings differ: the model, the word, and the learning
rate, which is $5\cdot10^{-6}$ by default. We use the word `ohwx`, which is one rare
token of that model.

How much memory does it need? The numbers below are counted from the shapes of the
network, not measured on a GPU.

- *bf16* is arithmetic with 16-bit numbers. Each number that learns gets a 16-bit copy
  of 2 bytes more.
- *Gradient checkpointing* computes activations a second time instead of keeping them.
- *8-bit moments* keep each of AdamW's two means in one byte.
- The *rank* of LoRA is the thin side of its two matrices.

"1 + 1" is one photo of the subject and one picture of the class in a step.
"""

# %% tags=["nbval-check-output"]
print(gpu_table())

# %% [markdown]
r"""
| GPU | what to choose |
|---|---|
| 16 GB | `--gradient-checkpointing --optimizer adamw8bit`, or `--method lora` |
| 24 GB | all weights; with `--gradient-checkpointing` a larger batch |
| 80 GB | all weights, a larger batch, and `--train-text-encoder` |

`adamw8bit` needs the package bitsandbytes.

Put three to five photos into a folder `photos` beside this notebook, and say what they
show. Without a GPU or without the folder the cell does nothing.

If the photos show a person, ask that person first. Lesson 07 has a page on it.
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
            output=own_folder("photos"),
            model=STABLE_DIFFUSION,
            precision="bf16",
        )
        train_subject(preflight(photo_config, resume=True), evaluate_every=200)
    except InputError as error:
        print(error)
else:
    print("No GPU here, or no folder `photos`: nothing is trained on photos.")

# %% [markdown]
r"""
With photos nobody knows whether a picture *is* your dog. There, identity is the likeness
to your photos, as a share of their likeness to each other.

## What to keep

- The word is one rare token before the class noun. The pictures are few, and differ in
  everything but the subject.
- The loss does not say when to stop. Draw fixed prompts with fixed noise, and measure
  identity, prompt and prior.
- The harmonic mean of the three is low if one of them is.
- A number that learns costs 16 bytes, before any picture is looked at.
- What all pictures show becomes part of the name: a colour, a face, a place.

**Read on** Ruiz and others, *DreamBooth* (arXiv:2208.12242), sections 4.3 and 4.4 · Hu
and others, *LoRA* (arXiv:2106.09685) · Dettmers and others, *8-bit Optimizers via
Block-wise Quantization* (arXiv:2110.02861).

**Next**: which learning rate, and how many steps? [Lesson 09](09_grid_search.ipynb)
searches.
"""

# %%
progress()
