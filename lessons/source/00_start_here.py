# %% [markdown]
r"""
# 00 · Start here

In this course you take a diffusion model apart. You derive the loss that trains it, you build it, and you teach one a subject of your own with **DreamBooth**. Everything runs on this computer. No account, no download and no GPU is needed.

**After this lesson you can**

- say what a diffusion model does, and name fields where such models work;
- draw scenes of the small world that this course uses;
- type a prompt, and have a diffusion model draw it;
- solve an exercise, have it checked, get a hint, and see your progress.

**Time** about 20 minutes, 1 exercise. **You need** a little Python.

> **New to notebooks?** A notebook is a page of text and code cells. Click a cell and press <kbd>Shift</kbd>+<kbd>Enter</kbd> to run it and go on to the next. Run the cells from top to bottom. This is your own copy, in the folder `work/`. You can change anything.
"""

# %%
from textwrap import fill

import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, exercises, hint, progress, reference, solution
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.picturebook import (
    SUBJECTS,
    caption,
    parse,
    random_scene,
    render,
    scene_from_caption,
    subject_scenes,
)
from tlab_diffusion.pipelines import load, prompt_warnings, sample

# %% [markdown]
r"""
## What is a diffusion model?

Take a picture and add a little noise. Do this a thousand times, until only noise is left. This direction needs no learning.

Now go the other way. Suppose a machine can take *one* step back, from a noisy picture to a slightly less noisy one. A thousand such steps turn pure noise into a new picture.

A **diffusion model** is that machine. It is a neural network that looks at a noisy picture and says which part of it is noise. A little of this noise is then taken away.

![The two chains of a diffusion model. Above, noise is added step by step until a picture has become pure noise. Below, a network removes it step by step. The equations of both chains stand beside their arrows, the jump from the clean picture to a noisy one above them, the loss between the rows.](figures/chains.png)

You need not read the formulas yet. In this picture $x_0$ is the clean picture. Step number $t$ makes $x_t$ from $x_{t-1}$, and $t$ runs from 1 to $T$. The course counts like this everywhere. Lesson 01 explains the upper row, lesson 02 the lower row and the loss.

The next cell shows Pip, a small robot, after 1, 101 and up to 1000 steps. The code jumps to each step directly. Lesson 01 shows why this is allowed.
"""

# %%
picture = torch.from_numpy(render(subject_scenes("pip")[0]))
x0 = picture.permute(2, 0, 1)[None] / 127.5 - 1  # numbers from -1 to 1

alphas_cumprod = schedules.alphas_cumprod(schedules.linear_betas(1000))
t = torch.tensor([0, 100, 200, 300, 500, 999])  # Python counts from 0: step 1 is index 0
noise = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
noisy = process.q_sample(x0.expand(6, -1, -1, -1), t, noise, alphas_cumprod)

plots.picture_strip(
    noisy, [f"t = {index + 1}" for index in t.tolist()], title="Pip, on the way to noise"
)

# %% [markdown]
r"""
**Why steps?** To draw a picture in one go, a model must choose among all pictures at once. To take a little noise away is a small question with a best answer (lesson 02). A network can learn that answer from examples.

**And text?** While the network learns, it gets a caption along with each noisy picture. It learns to remove noise *towards that caption*. This is text-to-image.

## Where such models work

Anything that can be written as numbers can be noised and denoised.

| field | what is made | from what | for example |
|---|---|---|---|
| pictures | an image | a caption | DALL-E 2 (arXiv:2204.06125), Imagen (arXiv:2205.11487), Stable Diffusion (arXiv:2112.10752) |
| video | a short clip | a caption | Make-A-Video (arXiv:2209.14792) |
| speech | a waveform | a spectrogram | DiffWave (arXiv:2009.09761) |
| regression | a distribution of answers, which shows the uncertainty | the inputs | CARD (arXiv:2206.07275) |
| classification | the label under which the noise is best predicted | an image | Diffusion Classifier (arXiv:2303.16203) |
| molecules | atoms in space | wanted properties | equivariant diffusion (arXiv:2203.17003) |
| materials | a stable crystal | nothing, or a wanted property | CDVAE (arXiv:2110.06197) |
| astronomy | a galaxy's spectrum | its images | galaxy spectroscopy without spectra (arXiv:2406.18175) |
| cosmology | the dark matter, which is invisible | the galaxies (in simulations) | debiasing with diffusion (arXiv:2403.10648) |

In science one sample is seldom enough. When the data leave several answers open, a diffusion model can draw many samples. They show the answers and how likely each is.
"""

# %% [markdown]
r"""
## A small world: the picture book

Stable Diffusion learned from billions of pictures on hundreds of GPUs. We want to *understand*, and to train in minutes. So we use a small world: a picture book.

Each page shows one character. It has a colour, a pattern, a mood and a place, and it may wear something. A program draws the page from a list of these choices, the **scene**. A grammar writes its **caption**.
"""

# %%
scenes = [random_scene(seed) for seed in range(12)]
pages = [render(scene, size=192) for scene in scenes]
captions = [fill(caption(scene, seed=seed + 100), 28) for seed, scene in enumerate(scenes)]
plots.picture_grid(pages, captions, columns=4, title="Twelve pages of the picture book")

# %% [markdown]
r"""
Captions leave things out: "a robot" may be any robot. So the word alone stands for all kinds of robots. DreamBooth can damage this, as lesson 07 will show.

Now and then a caption holds a made-up word, like *xem* on the last page. It means nothing. Later you will give such a word a meaning.

The program can also go from a caption to a page. What the caption leaves open is drawn at random. Change the caption in this cell and run it:
"""

# %%
my_caption = "a happy striped green cat wearing a crown in the snow"

print("understood:", parse(my_caption).factors)
print("not understood:", parse(my_caption).unknown_words)
pages = [render(scene_from_caption(my_caption, seed), size=192) for seed in range(5)]
plots.picture_strip(pages, [f"seed {seed}" for seed in range(5)], title=my_caption)

# %% [markdown]
r"""
Here a **program** draws. It knows what a cat is because we told it. A diffusion model is told nothing. It sees only pictures and captions.

## Type a prompt, see a picture

`picturebook` is a small Stable Diffusion that was trained on pages of this book. The course contains the recipe. The model starts from noise and takes it away in 25 steps. (Lesson 04 shows why 25 steps are enough.)

The model has seen cats, and it has seen green things, but never a green cat. That pair was kept out of its pages. See what it draws:
"""

# %%
pipeline = load("picturebook")

# %%
prompt = "a happy striped green cat wearing a crown in the snow"

for warning in prompt_warnings(pipeline.tokenizer, prompt):
    print("Beware:", warning)
pictures = sample(pipeline, [prompt], num=5, seed=0)
plots.picture_strip(list(pictures), [""] * 5, title=prompt)

# %% [markdown]
r"""
Change the prompt and run the cell again. Leave things out, and see what the model chooses. Ask for something that the world does not have: the cell then names the words that are unknown. Another `seed` is other noise, and so another picture.

The model is not perfect. What does it always get right, and what only often? In this world we know the truth behind every picture, so we can *measure* that. From lesson 05 on, you take this model apart.

## Meet Pip

The program can draw a few more characters, who are on no page of the book. One of them is Pip. A caption can only say *a turquoise robot*, and many robots are turquoise. A model will see only these five pictures of Pip:
"""

# %%
references = subject_scenes("pip")
plots.picture_strip(
    [render(scene, size=192) for scene in references],
    [scene.place for scene in references],
    title=f"Pip: {SUBJECTS['pip'].description}",
)

# %% [markdown]
r"""
Can a model learn from five pictures to draw Pip on the moon, in watercolour, wearing a crown? **DreamBooth** (arXiv:2208.12242) does this. And can the model do it *without forgetting* what other robots look like? The second part of DreamBooth solves this problem. You will build both parts.

## How exercises work

An exercise is a function whose body is missing. The first one is a function that you will really use. Pictures come as whole numbers from 0 to 255. A model wants numbers from $-1$ to $1$, with the colour channels first.
"""

# %% [markdown]
r"""
### Exercise: from pixels to a model's numbers

`start.to_model_range` · easy · 5 minutes

`pixels` is a tensor of shape (H, W, 3) with `dtype=torch.uint8`. Return a floating-point tensor of shape (3, H, W), where 0 has become $-1$ and 255 has become $1$. (`tensor.permute` reorders axes, `tensor.float()` makes floating-point numbers.)

First run the next two cells as they are, to see what "not attempted" looks like. Then replace the line `raise NotImplementedError(...)` with your code, run the cell, and run the check below it again.
"""


# %% exercise="start.to_model_range"
def to_model_range(pixels):
    """Pixels (H, W, 3), uint8 from 0 to 255, to (3, H, W), floating point from -1 to 1."""
    ### BEGIN SOLUTION
    return pixels.permute(2, 0, 1).float() / 127.5 - 1
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("start.to_model_range", to_model_range)

# %% [markdown]
r"""
A check runs your function on inputs that you have not seen. It has four answers:

- **passed**;
- **not yet**, with the mistake named if it is a known one;
- **it raised an error**, with the traceback of your own code;
- **not attempted**.

If you are stuck, ask for a hint. The first hint says little, the last one nearly gives the code:
"""

# %%
hint("start.to_model_range")

# %% [markdown]
r"""
`hint("start.to_model_range", 2)` says more, and `solution("start.to_model_range")` shows our own answer. You learn more if you try first.

Try a wrong answer on purpose, too. Let the function return `pixels.permute(2, 0, 1) / 255`, say, and run the check.

Your progress is kept in a file beside your notebooks. It survives a restart:
"""

# %%
progress()

# %% [markdown]
r"""
## What to keep

- Noising is easy and needs no learning. A diffusion model learns the small step back. Many of these steps make a picture out of noise.
- The picture book is our small world: the truth behind every picture is known. `picturebook` is the model that learned from it.
- Exercises are functions. `check`, `hint`, `solution` and `progress` are your tools.

**Read on** Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models* (arXiv:2006.11239), the introduction; Ruiz and others, *DreamBooth* (arXiv:2208.12242), its first two pages.

**Next** in [lesson 01](01_noising.ipynb): what exactly happens in one step of noise?
"""
