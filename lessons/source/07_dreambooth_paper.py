# %% [markdown]
r"""
# 07 · DreamBooth, the paper

The model of lesson 06 draws any robot you can describe. It cannot draw *this* robot, Pip, whom it has never met, and no description will ever be Pip. In 2022 Nataniel Ruiz and colleagues at Google showed how three to five pictures are enough to introduce somebody: *DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation* (arXiv:2208.12242). We read the paper as one should read every paper: what is new, why should it work, how was it measured; and then we do its experiments again, in small, and see what holds.

**After this lesson you can**

- say what DreamBooth does that neither cut-and-paste nor a better prompt can do;
- derive the prior-preservation loss, and say what it holds on to;
- compute DINO, CLIP-I, CLIP-T and DIV, say what PRES adds, and how each can be fooled;
- read the paper's tables, and tell a difference from chance;
- name the ways in which it fails, and the people whom it can harm.

**Time** about 100 minutes, 7 exercises. **You need** lesson 02 for the loss, lesson 05 for prompts and CLIP; lesson 06 for the model.
"""

# %%
import inspect
from textwrap import fill

import numpy as np
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.paper_tables import LABELS, NAMES, table_1, table_3, table_4
from tlab_diffusion.course.stored import METHODS, load_settings, load_sheet, load_tables
from tlab_diffusion.course.toy_data import smile
from tlab_diffusion.course.widgets import before_after
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.dreambooth.training import loss
from tlab_diffusion.evaluation import identity
from tlab_diffusion.evaluation.encoders import shipped_encoders
from tlab_diffusion.evaluation.subject_prompts import ten_prompts
from tlab_diffusion.evaluation.subjects import average, differences
from tlab_diffusion.picturebook import random_scene, render, subject_pictures, subject_scene
from tlab_diffusion.pipelines import load
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL

STEPS = 15  # of every sampling run in this lesson

pipeline = load("picturebook")
draw = fast_sampler(pipeline, MEASURING_SMALL.override(steps=STEPS))
references = np.stack(subject_pictures("pip"))
plots.picture_strip(references, 5 * [""], title="The subject: five pictures of Pip")

# %% [markdown]
r"""
## 1. What nobody could do before

**A better prompt?** Imagen, DALL-E 2, Parti, CogView2 and Stable Diffusion draw what words say. But words name *kinds*. Here is the best that our model can be told about Pip, a plain turquoise robot, happy, on the moon:
"""

# %%
described = draw(5 * ["a happy plain turquoise robot on the moon"], seed=0)
plots.picture_strip(described, 5 * [""], title="As described: is any of them Pip?")

# %% [markdown]
r"""
What was said may be there; Pip is not, for nobody described a key, a star or that face. More words would help a little. A thousand would not be a face.

**Cut and paste?** The other way is old: cut the subject out of a picture and put it into another one (*image composition*). We can do it well, because we can see the same Pip in two places: the pixels that do not change are Pip. For an empty stage we take, pixel by pixel, the median of many scenes in one place; some ghosts remain.
"""


# %%
def pip_in(place):
    return render(subject_scene("pip", 0, place=place))


def empty(place):
    """What is left of a place when everybody who passes is forgotten."""
    scenes = [render(random_scene(seed, place=place, style="cartoon")) for seed in range(100)]
    return np.median(scenes, axis=0).astype(np.uint8)


somewhere = [pip_in(place) for place in ("meadow", "desert", "sea", "stage")]
is_pip = np.all([view == somewhere[0] for view in somewhere], axis=(0, 3))[..., None]  # (H, W, 1)
places = ["moon", "rain", "forest", "room"]
pasted = [np.where(is_pip, somewhere[0], empty(place)) for place in places]
wanted = [
    render(subject_scene("pip", 20, place="moon", accessory="crown")),
    render(subject_scene("pip", 21, place="night", view="side")),
    render(subject_scene("pip", 22, place="rain", view="back")),
    render(subject_scene("pip", 23, place="forest", style="watercolour")),
]
plots.picture_grid(
    np.stack(pasted + wanted),
    [f"pasted: {place}" for place in places]
    + ["a crown", "from the side", "from behind", "in watercolour"],
    columns=4,
    title="Above, what pasting gives; below, what we want",
)

# %% [markdown]
r"""
Pasting keeps the subject almost to the last pixel (only its outline, blended with what was behind, is lost), and that is its limit: always the same pose, the same face, the same light. It can neither turn Pip around nor put a crown on that head. (What we want was drawn by the picture book itself, which knows Pip. No model has done it yet.)

So the task has two halves that pull in different directions: **subject fidelity**, it is the same one; and **prompt fidelity**, it does what the words say. The paper calls it *subject-driven generation*, and claims to be the first to have both at once. Its idea is one sentence long:

> Fine-tune the whole model on a few pictures of the subject, under a prompt with a rare word in it, so that the word becomes its name; and keep the model from forgetting the subject's class.

What that is good for, it shows in six uses: new contexts, new views, accessories, changed properties ("a purple [V] robot"), art styles and expressions. Lesson 08 tries each of them; here we ask why it works at all.

## 2. A name among words

The pictures need a prompt to be trained under. The paper's is as short as can be: **"a [V] [class noun]"**, with an identifier [V] and the coarse class of the subject, "a zwx robot". Both words matter. The *class noun* ties the newcomer to all that the model knows of its kind: robots can stand on the moon, be seen from behind, wear a crown. (Section 5 shows what happens without.) The *identifier* must be a word that means nothing yet. The paper takes one to three rare tokens, each of at most three characters, drawn at random from the rarer tokens of the tokenizer's vocabulary (numbers 5000 to 10 000 of some 32 000 in Imagen's). A common word would bring its own meaning along ("unique", "special"), and a long random string is cut into common pieces, as you saw in lesson 05.

For the class alone, a second prompt: "a [class noun]".
"""

# %% [markdown]
r"""
### Exercise: two prompts

`dreambooth.prompts` · easy · 5 minutes

Return the instance prompt, which names the subject, and the class prompt, which does not.
"""


# %% exercise="dreambooth.prompts"
def prompts(identifier, class_noun):
    """Two words; returns two strings: the instance prompt and the class prompt."""
    ### BEGIN SOLUTION
    return f"a {identifier} {class_noun}", f"a {class_noun}"
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("dreambooth.prompts", prompts)

# %% [markdown]
r"""
## 3. The loss

**The first term** you know from lesson 02, now with a condition $c$, the embedding of the instance prompt, and with $x$ one of the subject's pictures. The paper writes it in terms of the clean picture: $\hat x_\theta$ is what the network takes it to be, and $w_t$ weighs the error in $x$ at timestep $t$ (in lesson 02 it weighed the error in $\epsilon$; it is no guidance scale). Its letters $\alpha_t$ and $\sigma_t$, for signal and noise, are our $\sqrt{\bar\alpha_t}$ and $\sqrt{1-\bar\alpha_t}$:

$$\mathbb{E}\left[\, w_t\, \lVert \hat x_\theta(\alpha_t x + \sigma_t \epsilon,\; c) - x \rVert^2 \,\right].$$

A network that predicts the noise says the same thing in other words. In our letters, from $x_t = \sqrt{\bar\alpha_t}\, x + \sqrt{1-\bar\alpha_t}\, \epsilon$ follows $\hat x_\theta - x = -\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}\,(\epsilon_\theta - \epsilon)$, so the two squared errors differ by the factor $(1-\bar\alpha_t) / \bar\alpha_t$, one over the signal-to-noise ratio. With $w_t = \mathrm{SNR}_t$ the paper's loss *is* our $\lVert \epsilon - \epsilon_\theta \rVert^2$:
"""

# %% tags=["nbval-check-output"]
alphas_cumprod = schedules.alphas_cumprod(schedules.linear_betas(1000))
generator = torch.Generator().manual_seed(0)
x, eps, eps_pred = torch.randn(3, 6, 4, 16, 16, generator=generator, dtype=torch.float64)
t = torch.tensor([0, 100, 300, 500, 700, 999])
x_t = process.q_sample(x, t, eps, alphas_cumprod.double())
x_pred = reference("loss.x0_from_eps")(x_t, t, eps_pred, alphas_cumprod.double())
snr = schedules.snr(alphas_cumprod.double())[t]
papers = snr * (x_pred - x).square().mean(dim=(1, 2, 3))
ours = (eps_pred - eps).square().mean(dim=(1, 2, 3))
print("the paper's term and ours are the same at every t:", torch.allclose(papers, ours))

# %% [markdown]
r"""
**What goes wrong with one term.** Five pictures and a network of millions of weights: it will learn them, and whatever else they share. The paper names two diseases.

- *Language drift.* The instance prompt contains the class noun. Every step that pulls "a zwx robot" towards Pip pulls "a robot" along, until all robots are Pip.
- *Less diversity.* The pictures show few poses and few places, and the model comes to draw no others.

**The second term** is the cure, and a charming one: let the model be its own teacher. *Before* training, the frozen original draws pictures $x_\mathrm{pr}$ of the class, under the class prompt $c_\mathrm{pr}$. During training these are trained on alongside:

$$\mathbb{E}\Big[\, w_t\, \lVert \hat x_\theta(\alpha_t x + \sigma_t \epsilon,\, c) - x \rVert^2 \;+\; \lambda\, w_{t'}\, \lVert \hat x_\theta(\alpha_{t'} x_\mathrm{pr} + \sigma_{t'} \epsilon',\, c_\mathrm{pr}) - x_\mathrm{pr} \rVert^2 \,\Big]$$

with its own noise $\epsilon'$ and its own timestep $t'$, and with a weight $\lambda$: the paper takes 1, and so do we. This is the **prior-preservation loss**.

Why should learning one's own pictures keep one from changing? Write $\epsilon^*(x_t, t) = \mathbb{E}[\epsilon \mid x_t, t]$ for the best prediction that the class pictures allow. For any network $f$ (under the class prompt), insert it and take the square apart:

$$\mathbb{E}\lVert \epsilon - f(x_t, t) \rVert^2 = \mathbb{E}\lVert \epsilon - \epsilon^*(x_t, t) \rVert^2 + \mathbb{E}\lVert \epsilon^*(x_t, t) - f(x_t, t) \rVert^2 .$$

The mixed term is gone: given $x_t$ and $t$, the mean of $\epsilon - \epsilon^*$ is zero. The first term on the right does not depend on $f$. So the loss pulls $f$ towards $\epsilon^*$ and nowhere else. And the pictures came from the original model. In the ideal case, with as many of them as one likes, drawn by an exact sampler without guidance, from a model that is itself such a mean, $\epsilon^*$ *is* the original model. Then the class term is, up to a constant, the **squared distance from what the model was**, measured where its class lives. A hundred pictures, fifteen solver steps and a guidance scale of 2.5 make it an approximation: our trainer holds on to a slightly more decided version of the original, and a network that trained long enough would learn the hundred by heart.

Check it, with a distribution whose $\epsilon^*$ is a formula (lesson 02), and a network that has drifted:
"""

# %% tags=["nbval-check-output"]
face = smile()
original = face.denoiser(alphas_cumprod)  # the exact E[noise | x_t, t]


def drifted(x_t, t):
    return original(x_t, t) + 0.3 * torch.sin(2 * x_t)


generator = torch.Generator().manual_seed(0)
x_pr = face.sample(200_000, generator)
eps = torch.randn(x_pr.shape, generator=generator)
t = torch.randint(1000, (len(x_pr),), generator=generator)
x_t = process.q_sample(x_pr, t, eps, alphas_cumprod)


def mean_square(difference):
    return difference.square().mean().item()


print(f"loss of the drifted model:        {mean_square(eps - drifted(x_t, t)):.3f}")
print(f"loss of the original:             {mean_square(eps - original(x_t, t)):.3f}")
print(f"squared distance of the two:      {mean_square(original(x_t, t) - drifted(x_t, t)):.3f}")

# %% [markdown]
r"""
The last two add up to the first. Note what the term does *not* say: it holds the model at the words "a robot", not at "a robot on the moon" and not at "a cat". Those are kept by generalisation only, and one has to measure whether they are.

Now in code. A batch holds the subject's samples first, then as many of the class.
"""

# %% [markdown]
r"""
### Exercise: the prior-preservation loss

`dreambooth.prior_preservation_loss` · medium · 12 minutes

`pred` and `target` have the shape $(2B, \dots)$. Each half has its own mean; `prior_weight` is $\lambda$.
"""


# %% exercise="dreambooth.prior_preservation_loss"
def prior_preservation_loss(pred, target, prior_weight):
    """pred, target: (2B, ...), the subject's half first. Returns a scalar."""
    ### BEGIN SOLUTION
    pred, class_pred = pred.chunk(2)
    target, class_target = target.chunk(2)
    subject = ((pred - target) ** 2).mean()
    return subject + prior_weight * ((class_pred - class_target) ** 2).mean()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("dreambooth.prior_preservation_loss", prior_preservation_loss)

# %% [markdown]
r"""
The trainer's own code is written a little differently: as one sum over samples, each with its weight, $1/B$ in the first half and $\lambda/B$ in the second. Then a batch can be worked through in parts, to save memory, and a sample's weight may depend on its timestep (min-SNR, lesson 02). This is the loss that `tlab dreambooth` minimises:
"""

# %%
print(inspect.getsource(loss.sample_weights))
print(inspect.getsource(loss.weighted_errors))

# %% tags=["nbval-check-output"]
prior_preservation_loss = reference("dreambooth.prior_preservation_loss")

generator = torch.Generator().manual_seed(1)
layer = torch.nn.Linear(8, 8).requires_grad_(True)
inputs, target = torch.randn(
    2, 6, 8, generator=generator
)  # three of the subject, three of its class


def gradient(value):
    return torch.autograd.grad(value, layer.weight)[0]


whole = gradient(prior_preservation_loss(layer(inputs), target, 0.7))
weights = loss.sample_weights(3, 3, 0.7)
parts = sum(
    gradient(loss.weighted_errors(layer(inputs[i]), target[i], weights[i]).sum())
    for i in (torch.tensor([0, 3]), torch.tensor([1, 5]), torch.tensor([2, 4]))
)
print("in one batch or in three parts, the same gradient:", torch.allclose(whole, parts, atol=1e-6))

# %% [markdown]
r"""
With it the paper trains about 1000 steps at a learning rate of $10^{-5}$ (Imagen) or $5 \cdot 10^{-6}$ (Stable Diffusion), with about 1000 class pictures: five minutes on one A100 or TPUv4. Ours is trained at a larger rate, $3\cdot10^{-4}$, for 600 steps, with a hundred class pictures: lesson 09 searches.

## 4. How to measure it

A picture says more than a number, and proves less. The paper's protocol: 30 subjects × 25 prompts × 4 pictures, and for each picture, how near is it to the real ones, and to its prompt? Nearness is the cosine of two feature vectors. What the number means depends on *whose* features they are:

| measure | features of | compares | good is |
|---|---|---|---|
| **DINO** | the class token of a ViT-S/16 that learned from pictures alone, without labels | generated with real pictures, all pairs | high: it is the subject |
| **CLIP-I** | CLIP's image encoder | the same | high |
| **CLIP-T** | CLIP's two encoders | each picture with its prompt, the identifier left out | high: it obeys |
| **PRES** | DINO | pictures of the bare *class* with the real ones | low: the class is not the subject |
| **DIV** | LPIPS, a perceptual distance | pictures of one prompt with each other | high: they differ |

(A ViT, a vision transformer, cuts a picture into patches, one token for each; the output of one more, the *class token*, stands for the whole picture.)

The authors prefer DINO to CLIP-I: CLIP learned to match captions, and to a caption all yellow clocks are alike; DINO learned from each picture what is its own.

Our small world has small encoders in the same two roles. One looks at pictures alone; unlike DINO, it was told which of them show the same character, and learned to recognise a character wherever it stands. The other learned to match pictures with captions. Their cosines have a scale of their own, so **our numbers are not to be compared with the paper's**. What can be compared is which of two methods is higher.
"""

# %% [markdown]
r"""
### Exercise: is it the subject?

`metrics.image_similarity` · easy · 8 minutes

The mean cosine over *all* pairs of a generated and a real picture. Features are not normalised: divide each by its own norm.
"""


# %% exercise="metrics.image_similarity"
def image_similarity(generated, real):
    """generated: (N, D), real: (M, D). Returns a scalar."""
    ### BEGIN SOLUTION
    generated = torch.nn.functional.normalize(generated, dim=1)
    real = torch.nn.functional.normalize(real, dim=1)
    return (generated @ real.T).mean()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("metrics.image_similarity", image_similarity)

# %% [markdown]
r"""
### Exercise: does it obey the prompt?

`metrics.prompt_similarity` · easy · 6 minutes

Picture $i$ was drawn from prompt $i$: the mean cosine of these pairs.
"""


# %% exercise="metrics.prompt_similarity"
def prompt_similarity(image_features, text_features):
    """Both (N, D), pair by pair. Returns a scalar."""
    ### BEGIN SOLUTION
    images = torch.nn.functional.normalize(image_features, dim=1)
    texts = torch.nn.functional.normalize(text_features, dim=1)
    return (images * texts).sum(dim=1).mean()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("metrics.prompt_similarity", prompt_similarity)

# %% [markdown]
r"""
### Exercise: how much do pictures differ?

`metrics.diversity` · medium · 10 minutes

The mean of $1 - \cos$ over distinct pairs. (We take it with the image-only encoder, in place of LPIPS.)
"""


# %% exercise="metrics.diversity"
def diversity(features):
    """features: (N, D). Returns a scalar."""
    ### BEGIN SOLUTION
    features = torch.nn.functional.normalize(features, dim=1)
    cosine = features @ features.T
    distinct = ~torch.eye(len(features), dtype=torch.bool)
    return (1 - cosine[distinct]).mean()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("metrics.diversity", diversity)

# %% [markdown]
r"""
Before a measure judges a model, it should itself be judged, on pictures of which we know what they deserve. Ten prompts ask for Pip in new places, with accessories, in other styles and so on. Three kinds of "model" answer, and a fourth stands beside them:

- **perfect**: the picture book draws Pip as asked;
- **strangers**: it draws some turquoise robot, as asked. It obeys, and is never Pip;
- **copier**: it returns the five references, whatever is asked;
- **described**: for comparison, the five pictures of section 1, which were asked for in other words, "a happy plain turquoise robot on the moon".

(DIV is taken over all pictures of a row here. The last row has one prompt, the others have ten: of its numbers, only DINO is to be compared with theirs.)
"""

# %%
image_similarity = reference("metrics.image_similarity")
prompt_similarity = reference("metrics.prompt_similarity")
diversity = reference("metrics.diversity")

encoders = shipped_encoders()
pip = identity.picturebook_subject("pip")
asked = ten_prompts("zwx", "robot", pip.places, pip.colour)
expected = [prompt.expected for prompt in asked]
answers = {
    "perfect": identity.perfect(pip, expected),
    "strangers": identity.strangers(pip, expected),
    "copier": references[np.arange(len(asked)) % len(references)],
    "described": described,
}
plain = [prompt.plain for prompt in asked]
scores = {}
print(f"{'':12}{'DINO':>8}{'CLIP-I':>8}{'CLIP-T':>8}{'DIV':>8}")
for name, pictures in answers.items():
    words = plain if name != "described" else 5 * ["a happy plain turquoise robot on the moon"]
    who, what = encoders.identity(pictures), encoders.image(pictures)
    scores[name] = {
        "DINO": image_similarity(who, encoders.identity(references)).item(),
        "CLIP-I": image_similarity(what, encoders.image(references)).item(),
        "CLIP-T": prompt_similarity(what, encoders.text(words)).item(),
        "DIV": diversity(who).item(),
    }
    print(f"{name:12}" + "".join(f"{value:8.3f}" for value in scores[name].values()))

# %% tags=["nbval-check-output"]
perfect, strangers, copier = (scores[name] for name in ("perfect", "strangers", "copier"))
print("DINO knows Pip from strangers:", perfect["DINO"] > strangers["DINO"] + 0.1)
print("CLIP-T knows who obeys:", perfect["CLIP-T"] > copier["CLIP-T"] + 0.1)
print("DINO prefers the copier to the perfect model:", copier["DINO"] > perfect["DINO"])

# %% [markdown]
r"""
The last line is the trap. A measure of likeness to the references rewards the references themselves: a model that learned nothing but five pictures beats one that draws Pip as asked. That is why subject fidelity should never be reported without prompt fidelity, and why the course counts **copies** separately. The other measures have traps of their own: CLIP-T and DIV never ask who is there, so strangers do as well by them as the perfect model does; and PRES is best of all for a model that has learned nothing.

In our world we can ask more directly, too: `identity`, the share of pictures whose nearest neighbour among all subjects and fifty strangers is the subject (a copy counts as a miss); and `prompt_accuracy`, the share that shows the place, accessory, style, mood, view, colour or pattern asked for, in the eyes of recognisers. (Whether a robot stands there at all it does not ask; read it beside `identity`.)

### Find the bug

Four snippets about measures. All run, and each has one faulty line.
"""

# %%
snippets("metrics.find_the_bug")

# %% [markdown]
r"""
### Exercise: find the bug

`metrics.find_the_bug` · medium · 12 minutes

Return the number of the faulty line.
"""


# %% exercise="metrics.find_the_bug"
def find_the_bug_in_metrics(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 5, 2: 5, 3: 4, 4: 4}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("metrics.find_the_bug", find_the_bug_in_metrics)

# %% [markdown]
r"""
## 5. The experiments again, in small

The paper's tables rest on Imagen and Stable Diffusion. Ours rest on `picturebook`, and on ten prompts × 4 pictures and 50 pictures of the bare class for each subject. Every method was trained with its own default settings of `tlab dreambooth`, but for the one thing that is compared, and for the steps of DreamBooth: the tool takes 600, measures itself three times, and keeps the best; here it takes 500, and the last is judged, whichever it is. (A measure that chooses the step flatters itself.) That is too long for a lesson, so the results are stored: the next cell says for which subjects, `python -m benchmarks.paper_tables` computes them, and `--collect` writes them down.
"""

# %% tags=["nbval-check-output"]
tables, settings, sheet = load_tables(), load_settings(), load_sheet()
subjects = [each.subject for each in tables["dreambooth"]]
print(f"{len(subjects)} subjects:", ", ".join(subjects))
steps = {way: training["max_steps"] for way, training in settings["training"].items()}
print("steps of training:", steps)
print("weight of the class:", settings["training"]["dreambooth"]["prior_loss_weight"])
print("guidance scale of all pictures:", settings["guidance_scale"])
print(f"computed in {settings['minutes']} minutes of one processor core")

# %% [markdown]
r"""
Look first. The same prompts and the same noise, by the original model and by the one that has met Pip; [V] stands for the identifier. The last two are the bare class.
"""


# %%
def show(methods, title, name="pip"):
    """What the models of some methods draw: a row each."""
    captions = [
        f"{METHODS[method]}:\n{fill(text, 20)}"
        for method in methods
        for text in sheet.captions[name]
    ]
    pictures = np.concatenate([sheet.pictures[name][method] for method in methods])
    return plots.picture_grid(pictures, captions, columns=len(sheet.captions[name]), title=title)


show(["original", "dreambooth"], "Before and after")

# %% [markdown]
r"""
Five of these pairs with a border to move: left of it the original, right of it DreamBooth. (The still picture is the one above.)
"""

# %%
before_after(
    sheet.pictures["pip"]["original"][:5],
    sheet.pictures["pip"]["dreambooth"][:5],
    sheet.captions["pip"][:5],
)

# %% [markdown]
r"""
### Table 1: is it the subject, and does it obey?

**Textual Inversion** (Gal and others, arXiv:2208.01618) appeared in the same month. It leaves the whole model as it is and learns a single new embedding, a word for the subject. The prompt is "a [V]", without a noun, since the new word has to say it all.

DreamBooth changes the model itself: ours trains the U-Net and the text encoder, that is all of it but the autoencoder.

For every measure: our mean over subjects with its 95 % interval, and the paper's number. Below, the differences, paired by subject, so that what makes one subject easier than another cancels. A difference is claimed only if its interval leaves out 0.

Read that with some salt. The intervals come from a bootstrap (Efron, 1979): subjects are drawn again and again, with replacement, and 95 % of the means lie within. With few subjects it promises too much: it should leave out 0 by pure chance in one case of twenty, and a cell below counts how often it does. And we test more than a dozen differences, so one or two false claims would be no surprise.

The paper gives no intervals. Of its numbers we call a difference clear from 0.005 up. That line is ours: the authors only say that users notice about 0.1 in DINO and 0.05 in CLIP-T, and in these two the differences of Table 3 are smaller than that.
"""

# %% tags=["nbval-check-output"]
learning = (pipeline.unet, pipeline.text_encoder)
weights = sum(each.numel() for part in learning for each in part.parameters())
print(f"numbers that DreamBooth changes here:         {weights:10,}")
print(
    f"numbers that Textual Inversion changes here:  {pipeline.text_encoder.config.hidden_size:10,}"
)

# %% tags=["nbval-check-output"]
print(table_1(tables))

# Experiments in which nothing differs: how often does their interval leave out 0 all the same?
num = len(subjects)
rng = np.random.default_rng(0)
nothing = rng.normal(size=(2000, num))
drawn_again = rng.multinomial(num, np.full(num, 1 / num), size=1000) / num
low, high = np.percentile(nothing @ drawn_again.T, (2.5, 97.5), axis=1)
print(f"\nclaimed by chance, with {num} subjects: {np.mean((low > 0) | (high < 0)):.0%} of cases")

# %% [markdown]
r"""
("*A* beside *B*: higher" says that *A* is higher than *B*.) In pictures; the captions are DreamBooth's prompts, and Textual Inversion was asked the same without "robot":
"""

# %%
show(["dreambooth", "textual_inversion"], "DreamBooth and Textual Inversion")

# %% [markdown]
r"""
Textual Inversion hardly learns our subjects, with its one row of numbers; in the paper it comes within 0.1 DINO of DreamBooth. So DreamBooth's lead is the paper's, and larger. And that our Textual Inversion obeys is no merit: it draws somebody else, as asked.

The paper's two methods are both on Stable Diffusion here; on Imagen, DreamBooth reaches .696, .812 and .306. Real pictures are compared among themselves: no method needs to be higher than that. A DINO below that of the real pictures is no failure by itself: the prompts ask for Pip in new places, in watercolour or with a crown on, and the five references show none of that.

### Table 3: with and without the prior-preservation loss

(The paper's numbers in this table and the next differ from those above: here it tunes Imagen, and asks other subjects.) Read PRES and DIV with care. PRES is *high* where the bare class has become the subject. DIV is that of pictures of the subject under one prompt; the paper's is LPIPS, so only the directions are compared.
"""

# %% tags=["nbval-check-output"]
print(table_3(tables))

# %%
show(["dreambooth", "without_prior"], "With and without the prior-preservation loss")

# %% [markdown]
r"""
The paper's story in one line: without the second term you get a little more of the subject, and lose its class. How much of the class is left? Here is by how much PRES and the variety of the *bare class* rise or fall, from the original model to the tuned one, over all subjects. (As differences: where PRES begins near 0, a percentage of it would say little.) Two more stand beside. **LoRA** was not in the paper: it freezes the weights, and adds to some matrices $W$ a product $BA$ of two thin ones, which alone learn (arXiv:2106.09685). Textual Inversion is the control: all that changed is the embedding of one word, and "a robot" does not contain it.

(DIV above is no praise by itself: a model that never draws the subject, such as the original, has most of it. And ours leans on one subject, Yaga, whose pictures differ partly because they are not always Yaga.)
"""

# %% tags=["nbval-check-output"]
for method in ("dreambooth", "without_prior", "lora", "textual_inversion"):
    change = differences(tables[method], tables["original"])
    for name, words in (("pres", "PRES"), ("class_div", "variety of the class")):
        each = change[name]
        print(
            f"{METHODS[method]:26}{words:22}{each.mean:+7.2f}  "
            f"(95 %: {each.low:+.2f} to {each.high:+.2f})"
        )

# %% [markdown]
r"""
### Table 4: does the class noun matter?

Three prompts for the same pictures: "a [V] robot"; "a [V] fish", which is wrong; and "a [V]". (Which wrong noun each subject got stands in `settings["wrong_nouns"]`.) Each model is asked in the words that it was taught, and judged by the true ones; the captions below always show the true ones. Without a noun, the class term keeps the true class; a wrong noun is wrong in both terms, as it is for a person who errs. Ours is as far away as this world allows, the paper's was drawn at random.
"""

# %% tags=["nbval-check-output"]
print(table_4(tables))

# %%
show(["dreambooth", "wrong_noun", "no_noun"], "The right noun, a wrong one, none")

# %% [markdown]
r"""
### Where we agree and where not

Counted over all differences of the three tables:
"""

# %% tags=["nbval-check-output"]
comparisons = [table_1(tables), table_3(tables), table_4(tables)]
effects = [effect for table in comparisons for effect in table.effects]
clear = [effect for effect in effects if effect.in_paper != "no clear difference"]
agreeing = [effect for effect in clear if effect.verdict == "agrees"]
print(
    f"of {len(effects)} differences, {len(clear)} are clear in the paper; {len(agreeing)} of them here too"
)

differing = [effect for effect in effects if effect.verdict != "agrees"]
for effect in differing:
    print(f"\n{LABELS[effect.metric]}, {NAMES[effect.one]} beside {NAMES[effect.other]}:")
    print(f"    {effect.verdict} ({effect.in_paper} in the paper; here {effect.ours})")

surprising = [effect for effect in differing if effect.verdict in ("the opposite", "only here")]
POSSIBLE_REASONS = {
    "dino": "Our encoder was trained to know characters, the paper's to see what is particular "
    "to a picture. And a model whose pictures resemble the references more is not always better: "
    "copies resemble them very much.",
    "clip_i": "Our image-text encoder looks for what captions speak of: the place, the colour, "
    "what is worn. It rewards the right place as much as the right subject, and a method may gain "
    "or lose by either.",
    "clip_t": "All our prompts are made of words that the model was trained on. A method that "
    "changes less of the model, or learns less of the subject, obeys them as the original does.",
    "pres": "Our classes are narrow: a robot shares much with any robot, so PRES may move for other "
    "reasons than in the paper.",
    "div": "The paper's is LPIPS, which sees every detail. Ours sees who is there, so pictures "
    "in which the subject is right are alike, and that is no fault.",
}
print("\nWhat may be behind a claim that is not the paper's:" if surprising else "")
for measure in dict.fromkeys(effect.metric for effect in surprising):
    said = f"{LABELS[measure]}. {POSSIBLE_REASONS[measure]}"
    print(fill(said, 96, initial_indent="  ", subsequent_indent="    "))

# %% [markdown]
r"""
"Not clear here" is not "no effect": with this many subjects, small differences drown in the subjects' own. And where the paper claims a difference, it gives no interval; Table 4 rests on 5 subjects, Table 3 on 15.

### What the paper could not measure

Here are all methods by the measures that only a world like ours has.
"""

# %% tags=["nbval-check-output"]
print(f"{'':24}{'identity':>10}{'copies':>10}{'accuracy':>10}")
for method, results in tables.items():
    mean = average(results)
    row = [mean[name].mean for name in ("identity", "copies", "prompt_accuracy")]
    print(f"{METHODS[method]:24}" + "".join(f"{value:10.0%}" for value in row))

# %% [markdown]
r"""
## 6. What people said

Encoders are not people. So the authors asked 72 people, 25 questions each: which of two pictures shows the subject of these references, and which fits this text better?

| | DreamBooth | Textual Inversion | cannot say |
|---|---|---|---|
| subject fidelity | 68 % | 22 % | 10 % |
| prompt fidelity | 81 % | 12 % | 7 % |

How sure is that? Three people answered each questionnaire, and the table counts their majorities: of 72 × 25 = 1800 answers, 600 questions remain. Nor are these independent. If each of the 30 subjects decides, there are 30; and if each person held one opinion, a questionnaire's majority is one opinion, 72 / 3 = 24:
"""

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
for what, shares in {"subject": (0.68, 0.22, 0.10), "prompt": (0.81, 0.12, 0.07)}.items():
    for independent in (600, 30, 24):
        drawn = rng.multinomial(independent, shares, size=20_000) / independent
        low, high = np.percentile(drawn[:, 0] - drawn[:, 1], (2.5, 97.5))
        print(f"{what:8} {independent:5} independent answers: lead of {low:.0%} to {high:.0%}")

# %% [markdown]
r"""
Even so the lead is clear.

## 7. How it fails

The paper is frank about it. Its failures, and where to look for them in our own numbers:

- **Wrong context**: what was asked for is not there, because the model hardly knows such scenes (*a weak prior*), or because the subject has never been seen with them. Then the original model should fail as well: compare `prompt_accuracy` of the two.
- **Entanglement of context and appearance**: the new place changes the subject itself, its colour above all. Then `identity` is low for new contexts.
- **Overfitting to the original setting**: where the prompt is close to the setting of the references, the picture repeats it. Nine of our ten prompts ask for a place that no reference shows. There `copies` shows the stronger failure, a reference drawn where another place was asked for. (The tenth, `property`, asks for a colour and no place.)
- Some subjects are **easier**: dogs and cats more than what is rare.
- Some features are **invented**, as anybody would who has seen a subject from the front only.
"""


# %% tags=["nbval-check-output"]
def mean_of(method, use, name):
    values = [each.uses[use][name].mean for each in tables[method] if name in each.uses[use]]
    return f"{np.mean(values):.0%}" if values else "-"


columns = {
    "accuracy, original": ("original", "prompt_accuracy"),
    "accuracy": ("dreambooth", "prompt_accuracy"),
    "identity": ("dreambooth", "identity"),
    "copies": ("dreambooth", "copies"),
    "copies, no prior": ("without_prior", "copies"),
}
print(f"{'':12}" + "".join(f"{title:>18}" for title in columns))
for use in tables["dreambooth"][0].uses:
    row = [mean_of(method, use, name) for method, name in columns.values()]
    print(f"{use:12}" + "".join(f"{cell:>18}" for cell in row))

easiest = sorted(tables["dreambooth"], key=lambda each: each.numbers()["identity"])
print("\nidentity, from the hardest subject to the easiest:")
for each in easiest:
    print(f"  {each.subject:10}{each.numbers()['identity']:.0%}")

# %% [markdown]
r"""
(No verdict on identity where pictures cannot show it: from behind, or in another coat. `context` rests on five prompts of each subject, every other row on one, and `view` has a verdict on identity only where it is from the side.)

Read it: the original draws nearly all of this, so a weak prior is not to blame here; what is not obeyed any more, tuning has cost. New contexts hardly lower identity; the view from the side does: only one of the five references shows it.

### Find the bug

Four snippets of DreamBooth itself. All run, and each has one faulty line; you will meet all four mistakes in the wild.
"""

# %%
snippets("dreambooth.find_the_bug")

# %% [markdown]
r"""
### Exercise: find the bug

`dreambooth.find_the_bug` · medium · 12 minutes

Return the number of the line that you would change.
"""


# %% exercise="dreambooth.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 4, 2: 4, 3: 4, 4: 3}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("dreambooth.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## 8. Whose face, whose hand?

Pip does not mind. A person may. The method needs three to five pictures, which anybody can take from a profile page, and the result shows that person doing what they never did. The authors say so themselves: such tools can be used to mislead. With this course you are able to do it, so here is what we ask of you.

**People.** Train on a person only if that person has said yes: to the training, to the purpose, and to whoever will get the pictures or the model. Ask again when one of these changes. For a child, parents can say yes, and should rarely. For the dead, ask those who were closest to them. Never make sexual or degrading pictures of a real person; in many countries that is a crime, and it is a harm everywhere. Somebody who takes back a yes is owed the deletion of pictures, of latents, of checkpoints *and* of the tuned model: all of these hold the face.

**Artists.** A style can be learned as easily as a face, from somebody's life's work. That a picture can be downloaded does not mean that it may be trained on: look at its licence, ask, pay, name. Do not sell imitations of a living artist, and do not pass them off as theirs.

**What you make.** Say that a picture is generated, in the picture's own data and beside it. Do not use it as evidence of anything. Do not publish a tuned model of a person: whoever has it can make all the pictures you would not.

**What you have.** Keep photos of people on your own machine; everything in this course runs there, and nothing is sent anywhere.

And two questions that help when rules do not: *Would I do this if they were sitting beside me? Would I want it done to me?*

## What to keep

- Subject-driven generation wants two things at once: the same subject, and what the prompt says. Pasting gives the first, prompting the second.
- DreamBooth fine-tunes the model itself (here its U-Net and text encoder) under "a [V] class". The noun brings in what is known, the identifier what is new.
- The prior-preservation loss trains on pictures that the frozen model drew of the class: in the ideal case that is, up to a constant, the squared distance from what the model was.
- Likeness alone is won by a copier. Report it with obedience, count copies, and look at the class.
- A difference is claimed when its interval, paired by subject, leaves out 0.
- Faces and styles belong to people.

**Read on** the paper itself, arXiv:2208.12242, and its appendix on limits · Gal and others, *Textual Inversion* (arXiv:2208.01618) · Hu and others, *LoRA* (arXiv:2106.09685) · Kumari and others, *Custom Diffusion* (arXiv:2212.04488), which trains less and several subjects at once · Caron and others, *DINO* (arXiv:2104.14294) · Zhang and others, *LPIPS* (arXiv:1801.03924) · Shan and others, *Glaze* (arXiv:2302.04222), how artists can protect their work.

**Next** in [lesson 08](08_dreambooth_hands_on.ipynb) you do it yourself: five pictures, one word, a few minutes.
"""

# %%
progress()
