# %% [markdown]
r"""
# 00 · Start here

Welcome. Here you will take a diffusion model apart, derive the one line that trains it, build it, and teach one a subject of your own with **DreamBooth**. Everything runs on this computer: no account, no download, no GPU needed.

**After this lesson you can**

- say what a diffusion model does, and name fields where such models work;
- draw scenes of the small world that this course uses instead of the internet;
- type a prompt, and have a diffusion model draw it;
- solve an exercise, have it checked, get a hint, and see your progress.

**Time** about 20 minutes, 1 exercise. **You need** a little Python.

> **New to notebooks?** A notebook is a page of text and code cells. Click a cell and press <kbd>Shift</kbd>+<kbd>Enter</kbd> to run it and go on to the next. Run the cells from top to bottom. This is your own copy, in the folder `work/`: change anything you like.
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

Take a picture and add a little noise. Again, and again, a thousand times, until nothing but noise is left. That direction is easy: it needs no learning at all.

Now run the film backwards. If some machine could take *one* such step back, from a picture to a slightly less noisy one, then a thousand of its steps would turn pure noise into a picture that nobody has ever seen. A **diffusion model** is that machine: a neural network that looks at a noisy picture and says which part of it is noise, so that a little of it can be taken away.

![The two chains of a diffusion model. Above, noise is added step by step until a picture has become pure noise. Below, a network removes it step by step. The equations of both chains stand beside their arrows, the jump from the clean picture to a noisy one above them, the loss between the rows.](figures/chains.png)

(Steps are counted from 1 here, as papers do.) The two equations and the loss in this picture are the heart of the course. Lesson 01 takes the upper one apart, lesson 02 derives the lower one and the loss. For now, see how Pip, a small robot whom you will meet below, looks after 1, 101 and up to 1000 steps. (The code jumps there directly; lesson 01 shows why it may.)
"""

# %%
picture = torch.from_numpy(render(subject_scenes("pip")[0]))
x0 = picture.permute(2, 0, 1)[None] / 127.5 - 1  # numbers from -1 to 1

alphas_cumprod = schedules.alphas_cumprod(schedules.linear_betas(1000))
t = torch.tensor([0, 100, 200, 300, 500, 999])
noise = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
noisy = process.q_sample(x0.expand(6, -1, -1, -1), t, noise, alphas_cumprod)

plots.picture_strip(
    noisy, [f"step {step + 1}" for step in t.tolist()], title="Pip, on the way to noise"
)

# %% [markdown]
r"""
**Why steps?** Drawing a picture in one go means choosing among all pictures at once. Taking a little noise away is a small question with a best answer (lesson 02), and a network can learn it from examples. The long way round is the easy one.

**And text?** Give the network a caption along with the noisy picture while it learns, and it learns to remove noise *towards that caption*. That is text-to-image.

## Where such models work

Anything that can be written as numbers can be noised and denoised.

| field | what is made | from what | for example |
|---|---|---|---|
| pictures | an image | a caption | DALL-E 2 (arXiv:2204.06125), Imagen (arXiv:2205.11487), Stable Diffusion (arXiv:2112.10752) |
| video | a short clip | a caption | Make-A-Video (arXiv:2209.14792) |
| speech | a waveform | a spectrogram | DiffWave (arXiv:2009.09761) |
| regression | not one answer but a distribution of answers: uncertainty | the inputs | CARD (arXiv:2206.07275) |
| classification | the label under which the noise is best predicted | an image | Diffusion Classifier (arXiv:2303.16203) |
| molecules | atoms in space | wanted properties | equivariant diffusion (arXiv:2203.17003) |
| materials | a stable crystal | nothing, or a wanted property | CDVAE (arXiv:2110.06197) |
| astronomy | a galaxy's spectrum | its images | galaxy spectroscopy without spectra (arXiv:2406.18175) |
| cosmology | the dark matter nobody can see | the galaxies that we do (in simulations) | debiasing with diffusion (arXiv:2403.10648) |

In science the point is seldom one beautiful sample. It is *many*: when data leave several answers open, a diffusion model can show them all, with their odds.
"""

# %% [markdown]
r"""
## A small world: the picture book

Stable Diffusion learned from billions of pictures on hundreds of GPUs. We want to *understand*, and to train for real in minutes, so we make a world that is small enough: a picture book. Every page shows one character, of some colour, pattern and mood, somewhere, perhaps wearing something. A page is drawn by a program from a **scene**, and a grammar writes its **caption**.
"""

# %%
scenes = [random_scene(seed) for seed in range(12)]
pages = [render(scene, size=192) for scene in scenes]
captions = [fill(caption(scene, seed=seed + 100), 28) for seed, scene in enumerate(scenes)]
plots.picture_grid(pages, captions, columns=4, title="Twelve pages of the picture book")

# %% [markdown]
r"""
Captions leave things out, as people do: "a robot" may be any robot. So the word alone must stand for the whole variety of robots. Remember this; DreamBooth will put it at risk. (Now and then a caption holds a made-up word, like *xem* on the last page. It means nothing, on purpose: later you will give such a word a meaning.)

It also works the other way. Write a caption, and the program draws a page that fits; what you leave open is drawn at random. Try your own:
"""

# %%
my_caption = "a happy striped green cat wearing a crown in the snow"

print("understood:", parse(my_caption).factors)
print("not understood:", parse(my_caption).unknown_words)
pages = [render(scene_from_caption(my_caption, seed), size=192) for seed in range(5)]
plots.picture_strip(pages, [f"seed {seed}" for seed in range(5)], title=my_caption)

# %% [markdown]
r"""
Here a **program** draws, and it knows what a cat is because we told it. A diffusion model is told nothing: it sees pictures and captions, and finds out.

## Type a prompt, see a picture

Here is one that has found out: `picturebook`, a small Stable Diffusion, trained on pages of this book by a recipe that comes with the course. It starts from noise, takes it away in 25 steps (not a thousand: lesson 04 shows why a few will do), and listens to your words. Nobody told it how to draw. It has seen cats and it has seen green things, but never a green cat: that pair was kept out of its pages. See what it makes of one.
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
Change the prompt and run the cell again. Leave things out: what does the model choose? Ask for something that the world does not have: the cell names the words that the world does not know, and the model does what it can. Another `seed` is other noise, and so another picture.

It is not perfect, and that is a good thing to look at: what does it get right always, what only often? The world gives us what real photographs never could: we know the truth behind every picture, so we can *measure* whether a model understood. From lesson 05 on, you take this very model apart.

## Meet Pip

The program can draw a few more characters, who are on no page of the book. No caption can single one of them out: of Pip it can say *a turquoise robot*, which many robots are. These five pictures are all that a model will ever see of Pip:
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
Can a model that has never met Pip learn from five pictures to draw Pip on the moon, in watercolour, wearing a crown? And can it do so *without forgetting* what all the other characters of Pip's kind look like? **DreamBooth** (arXiv:2208.12242) answers the first question; its answer to the second is the clever part. Both are what this course is heading for.

## How exercises work

You learn this by writing it. An exercise is a function with its body missing. Here is the first, and it is one that you will really use: pictures come as whole numbers from 0 to 255, and a model wants numbers from $-1$ to $1$, colour channels first.
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
A check runs your function on inputs that you have not seen. It has four answers: **passed**; **not yet**, with the mistake named if it is one that we know; **it raised an error**, with the traceback of your own code; and **not attempted**.

Stuck? Ask for a hint. Each hint has tiers, from a nudge to nearly the code:
"""

# %%
hint("start.to_model_range")

# %% [markdown]
r"""
`hint("start.to_model_range", 2)` says more, and `solution("start.to_model_range")` shows our own answer. Looking is allowed. Trying first is how it sticks.

Try a wrong answer too, on purpose; being told what is wrong is half of what checks are for. Let the function return `pixels.permute(2, 0, 1) / 255`, say, and check that.

Your progress is kept in a file beside your notebooks, and it survives a restart. Here it is:
"""

# %%
progress()

# %% [markdown]
r"""
## What to keep

- Noising is easy and needs no learning. A diffusion model learns the small step back; many of them make a picture out of noise.
- The picture book is our laboratory: for every picture the truth is known. `picturebook` is the model that learned from it.
- Exercises are functions; `check`, `hint`, `solution` and `progress` are your tools.

**Read on** Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models* (arXiv:2006.11239), the introduction; Ruiz and others, *DreamBooth* (arXiv:2208.12242), its first two pages.

**Next** in [lesson 01](01_noising.ipynb): what exactly happens in one step of noise?
"""
