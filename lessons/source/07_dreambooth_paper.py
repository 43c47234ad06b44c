# %% [markdown]
r"""
# 07 · DreamBooth, the paper

The model of lesson 06 draws robots from a description. It cannot draw *this* robot, Pip. It has never met Pip, and a description fits many robots.

In 2022 Nataniel Ruiz and colleagues at Google showed that three to five pictures are enough: *DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation* (arXiv:2208.12242). This lesson asks what is new in the paper, why it works and how it was measured. Then we repeat its experiments on a small scale.

![Five prompts. Left of a line the original model's picture, right of it the picture of the model that has met Pip. The last prompt names only the class](figures/before_after.png)

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
from tlab_diffusion.course.paper_pictures import drawn_by, effects_figure
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
tables, settings, sheet = load_tables(), load_settings(), load_sheet()  # results of section 5
draw = fast_sampler(pipeline, MEASURING_SMALL.override(steps=STEPS))
references = np.stack(subject_pictures("pip"))
plots.picture_strip(references, 5 * [""], title="The subject: five pictures of Pip")

# %% [markdown]
r"""
## 1. What nobody could do before

**A better prompt?** Imagen, DALL-E 2, Parti, CogView2 and Stable Diffusion draw what a prompt says. But words name *kinds* of things. The next cell gives our model a full description of Pip:
"""

# %%
described = draw(5 * ["a happy plain turquoise robot on the moon"], seed=0)
plots.picture_strip(described, 5 * [""], title="As described: is any of them Pip?")

# %% [markdown]
r"""
The pictures follow the description. None of them is Pip: nobody described the key, the star or the face. More words would help a little, but they would still fit many robots.

**Cut and paste?** The other way is older. Cut the subject out of a picture and paste it into another one. The field calls this *image composition*.

The next cell does it with two tricks:

- It compares Pip in four places. The pixels that do not change belong to Pip.
- It draws a hundred scenes in one place and takes the median of each pixel. That leaves the place almost empty. Some ghosts remain.
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
The pasted Pip is right in almost every pixel. But it always has the same pose, the same face and the same light. Pasting cannot turn Pip around or put a crown on that head.

The lower row shows what we want. The picture book drew it, because it knows Pip. No model has drawn it yet.

So the task has two halves:

- **subject fidelity**: the picture shows the same subject;
- **prompt fidelity**: the picture does what the words say.

The paper calls the task *subject-driven generation*. It claims to be the first to reach both halves at once. Its idea:

> Fine-tune the whole model on a few pictures of the subject. Train them under a prompt with a rare word, so that the word becomes the subject's name. Keep the model from forgetting the subject's class.

The paper shows six uses: new contexts, new views, accessories, changed properties ("a purple [V] robot"), art styles and expressions. Lesson 08 tries each of them. This lesson asks why the method works.

## 2. A name among words

The pictures need a prompt to be trained under. The paper's prompt is **"a [V] [class noun]"**. [V] is the *identifier*, a rare word. The *class noun* is the kind of the subject. For Pip this gives "a zwx robot".

The class noun ties the subject to what the model knows of its kind. Robots can stand on the moon, be seen from behind and wear a crown. Section 5 shows what happens without the noun.

The identifier must be a word that has no meaning yet. A common word such as "unique" brings its own meaning. A long random string is cut into common pieces (lesson 05).

The paper draws one to three rare tokens at random. Each has at most three characters. They come from numbers 5000 to 10 000 of the tokenizer's vocabulary, which in Imagen has about 32 000 entries.

A second prompt names the class alone: "a [class noun]".
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

**The first term** is the loss of lesson 02, with two changes. The model also gets a condition $c$, the embedding of the instance prompt. And $x$ is one of the subject's pictures.

The paper writes the loss in terms of the clean picture. It uses these letters:

| letter | what it is |
|---|---|
| $\hat x_\theta$ | the clean picture that the network predicts |
| $w_t$ | the weight of the error at timestep $t$; it has nothing to do with guidance |
| $\alpha_t$ | the factor of the signal, our $\sqrt{\bar\alpha_t}$ |
| $\sigma_t$ | the factor of the noise, our $\sqrt{1-\bar\alpha_t}$ |

$$\mathbb{E}\left[\, w_t\, \lVert \hat x_\theta(\alpha_t x + \sigma_t \epsilon,\; c) - x \rVert^2 \,\right].$$

Our network predicts the noise instead. Put $x_t = \sqrt{\bar\alpha_t}\, x + \sqrt{1-\bar\alpha_t}\, \epsilon$ in, and the two errors are proportional:

$$\hat x_\theta - x = -\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}\,(\epsilon_\theta - \epsilon).$$

The squares differ by the factor $(1-\bar\alpha_t) / \bar\alpha_t$. That is $1/\mathrm{SNR}_t$, one over the signal-to-noise ratio. So with $w_t = \mathrm{SNR}_t$ the paper's loss is our $\lVert \epsilon - \epsilon_\theta \rVert^2$. The next cell checks it:
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
**What goes wrong with one term.** The network has millions of weights and sees five pictures. It learns the pictures, and everything else that they share. The paper names two problems:

- *Language drift.* The instance prompt contains the class noun. A step that moves "a zwx robot" towards Pip also moves "a robot" towards Pip. In the end every robot is Pip.
- *Less diversity.* The pictures show few poses and few places. The model then draws no others.

The stored results show the first problem. All pictures below were drawn for "a robot", without the identifier:
"""

# %%
drawn_by(
    sheet,
    ["original", "without_prior", "dreambooth"],
    "A robot: the original, after one term, after both terms",
    last=2,
)

# %% [markdown]
r"""
**The second term** prevents this. The model teaches itself:

1. *Before* training, the frozen original draws pictures $x_\mathrm{pr}$ of the class, under the class prompt. Call that prompt's embedding $c_\mathrm{pr}$.
2. During training, these pictures are trained on as well.

The class pictures have their own noise $\epsilon'$ and their own timestep $t'$. The weight $\lambda$ says how much they count. The paper takes $\lambda = 1$, and so do we. This is the **prior-preservation loss**:

$$\mathbb{E}\Big[\, w_t\, \lVert \hat x_\theta(\alpha_t x + \sigma_t \epsilon,\, c) - x \rVert^2 \;+\; \lambda\, w_{t'}\, \lVert \hat x_\theta(\alpha_{t'} x_\mathrm{pr} + \sigma_{t'} \epsilon',\, c_\mathrm{pr}) - x_\mathrm{pr} \rVert^2 \,\Big]$$

**Why does it work?** Take any network $f$ under the class prompt. Let $\epsilon^*(x_t, t) = \mathbb{E}[\epsilon \mid x_t, t]$ be the best prediction that the class pictures allow. Then the square splits in two:

$$\mathbb{E}\lVert \epsilon - f(x_t, t) \rVert^2 = \mathbb{E}\lVert \epsilon - \epsilon^*(x_t, t) \rVert^2 + \mathbb{E}\lVert \epsilon^*(x_t, t) - f(x_t, t) \rVert^2 .$$

There is no mixed term. For given $x_t$ and $t$, the mean of $\epsilon - \epsilon^*$ is zero.

The first term on the right does not depend on $f$. So the loss pulls $f$ towards $\epsilon^*$, and nowhere else.

The class pictures came from the original model. In the ideal case $\epsilon^*$ *is* the original model. The ideal case has unlimited pictures, an exact sampler without guidance, and a model that is itself the mean of its own samples. Then the class term is the **squared distance from the original model**, plus a constant.

In practice this is an approximation. Our trainer has a hundred pictures, fifteen solver steps and a guidance scale of 2.5. It preserves a model slightly clearer than the original. A network that trained very long would learn the hundred pictures by heart.

The next cell checks the split. It uses a distribution whose $\epsilon^*$ is a formula (lesson 02), and a network that has drifted:
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
The last two numbers add up to the first.

The term holds the model at the words "a robot" only. It says nothing about "a robot on the moon" or "a cat". Those are kept only if the network generalises. Section 5 measures whether it does.

Now the same in code. The first half of a batch holds the subject's samples, the second half as many of the class.
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
The trainer writes the same loss as one sum over samples. Each sample has a weight: $1/B$ in the first half, $\lambda/B$ in the second.

This form has two uses. A batch can be processed in parts, which saves memory. And a sample's weight may depend on its timestep (min-SNR, lesson 02). `tlab dreambooth` minimises this loss:
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
The paper trains for about 1000 steps with about 1000 class pictures. The learning rate is $10^{-5}$ for Imagen and $5 \cdot 10^{-6}$ for Stable Diffusion. That takes five minutes on one A100 or TPUv4.

We train for 600 steps with a hundred class pictures, at a learning rate of $3\cdot10^{-4}$. Lesson 09 searches for these numbers.

## 4. How to measure it

The paper draws pictures of 30 subjects, with 25 prompts each and 4 pictures for each prompt. It asks two questions of each picture. How near is it to the real pictures? How near is it to its prompt?

Nearness is the cosine of two feature vectors. A network computes them, and the meaning of the number depends on that network. Five measures follow:

| measure | features of | compares | good is |
|---|---|---|---|
| **DINO** | a network that learned from pictures alone, without labels | generated pictures with real ones, all pairs | high: it is the subject |
| **CLIP-I** | CLIP's image encoder | the same | high |
| **CLIP-T** | CLIP's two encoders | each picture with its prompt, the identifier left out | high: it obeys |
| **PRES** | DINO | pictures of the bare *class* with the real ones | low: the class is not the subject |
| **DIV** | LPIPS, a perceptual distance | pictures of one prompt with each other | high: they differ |

DINO's network is a vision transformer, ViT-S/16. It cuts a picture into patches and makes one token of each. One more token, the *class token*, stands for the whole picture. DINO compares the class tokens.

The authors prefer DINO to CLIP-I. CLIP learned to match captions, and one caption fits all yellow clocks. DINO learned what is particular to a picture.

Our small world has two small encoders in these roles:

- The *image-only* encoder learned to recognise a character wherever it stands. In training it was told which pictures show the same character. DINO was not.
- The *image-text* encoder learned to match pictures with captions, as CLIP did.

Their cosines have another scale than the paper's. **Do not compare our numbers with the paper's.** Compare which of two methods is higher.
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
First we test the measures, on pictures whose quality we know. Ten prompts ask for Pip in new places, with accessories, in other styles and so on. Three pretended models answer:

- **perfect**: the picture book draws Pip as asked;
- **strangers**: it draws some turquoise robot as asked. It obeys, and it is never Pip;
- **copier**: it returns the five references, whatever is asked.

A fourth row, **described**, holds the five pictures of section 1. They had one prompt of their own, so compare only their DINO with the other rows.

Here are two answers of each of the three, and then the measures of all ten. DIV is taken over all pictures of a row.
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
two = {name: answers[name][:2] for name in ("perfect", "strangers", "copier")}
plots.picture_strip(
    np.concatenate(list(two.values())),
    [f"{name}:\n{fill(text, 18)}" for name in two for text in plain[:2]],
    title="Two prompts, answered by three pretended models",
)

# %%
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
The last line shows a trap. The copier is nearer to the references than the perfect model, because its pictures *are* the references. So always report subject fidelity together with prompt fidelity. The course also counts **copies** separately.

The other measures have traps too:

- CLIP-T and DIV do not ask who is there. The strangers do as well as the perfect model.
- PRES is best for a model that has learned nothing.

Our world also allows direct questions:

- `identity` is the share of pictures that show the subject. The picture's nearest neighbour is searched among all subjects and fifty strangers, and it must be the subject. A copy counts as a miss.
- `prompt_accuracy` is the share of pictures that show the place, accessory, style, mood, view, colour or pattern asked for. Recognisers judge this. They do not ask whether a robot is there, so read it together with `identity`.

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

The paper's tables rest on Imagen and Stable Diffusion. Ours rest on `picturebook`. For each subject we draw 4 pictures of ten prompts, and 50 of the bare class.

Every method was trained with the default settings of `tlab dreambooth`, except for what is compared. There is one more exception, the number of steps. The tool takes 600 steps, measures three times and keeps the best. Here DreamBooth takes 500 steps and the last one is judged, because a measure that chooses the step gives too good a result.

The training takes too long for a lesson, so the results are stored. `python -m benchmarks.paper_tables` computes them again. The next cell shows the settings.
"""

# %% tags=["nbval-check-output"]
subjects = [each.subject for each in tables["dreambooth"]]
print(f"{len(subjects)} subjects:", ", ".join(subjects))
steps = {way: training["max_steps"] for way, training in settings["training"].items()}
print("steps of training:", steps)
print("weight of the class:", settings["training"]["dreambooth"]["prior_loss_weight"])
print("guidance scale of all pictures:", settings["guidance_scale"])
print(f"computed in {settings['minutes']} minutes of one processor core")

# %% [markdown]
r"""
Look at the pictures first. The original model and the tuned one get the same prompts and the same noise. [V] stands for the identifier. The last two columns show the bare class.
"""

# %%
drawn_by(sheet, ["original", "dreambooth"], "Before and after")

# %% [markdown]
r"""
The widget shows five of these pairs with a border that you can move. The original is left of it, DreamBooth is right of it. The picture at the top of the lesson is the same as a still.
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

Table 1 compares DreamBooth with **Textual Inversion** (Gal and others, arXiv:2208.01618), which appeared in the same month.

- Textual Inversion leaves the model as it is. It learns one new embedding, a word for the subject. Its prompt is "a [V]", without a noun.
- DreamBooth changes the model itself. Ours trains the U-Net and the text encoder, which is everything except the autoencoder.

The captions below are DreamBooth's prompts. Textual Inversion was asked the same without "robot".
"""

# %%
drawn_by(sheet, ["dreambooth", "textual_inversion"], "DreamBooth and Textual Inversion")

# %% tags=["nbval-check-output"]
learning = (pipeline.unet, pipeline.text_encoder)
weights = sum(each.numel() for part in learning for each in part.parameters())
print(f"numbers that DreamBooth changes here:         {weights:10,}")
print(
    f"numbers that Textual Inversion changes here:  {pipeline.text_encoder.config.hidden_size:10,}"
)

# %% [markdown]
r"""
The next picture has one row for each difference. The dot is the mean over subjects. The bar is its 95 % interval. Two methods are compared subject by subject, so it does not matter that some subjects are easier.

A difference is claimed only where the interval leaves out 0. Each label gives the direction in the paper.
"""

# %%
effects_figure(table_1(tables))

# %% [markdown]
r"""
The printed table says more. "*A* beside *B*: higher" means that *A* is higher than *B*.

**How often is a claim wrong?** The interval comes from a bootstrap (Efron, 1979). It draws the subjects again and again, with replacement, and 95 % of the means lie within. With no true effect, it should leave out 0 in one case of twenty. With few subjects it does so more often. The last line of the cell counts how often.

We test more than a dozen differences. So expect one or two false claims.

**What is clear in the paper?** The paper gives no intervals. We call a difference of its numbers clear from 0.005 up. The authors only say that users notice about 0.1 in DINO and 0.05 in CLIP-T. The differences of Table 3 in these two are smaller than that.
"""

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
Textual Inversion hardly learns our subjects. It has one row of numbers for them. In the paper it comes within 0.1 DINO of DreamBooth. So DreamBooth leads in both, and by more in ours.

Our Textual Inversion obeys the prompt as well as DreamBooth. That is easy for it, because it draws somebody else.

Real pictures are compared with each other. No method needs a higher number than theirs. A lower DINO alone is no failure either: the prompts ask for new places, watercolour or a crown, and the references show none of these.

Both of the paper's methods are on Stable Diffusion in this table. On Imagen, DreamBooth reaches .696, .812 and .306.

### Table 3: with and without the prior-preservation loss

Table 3 asks what the second term of the loss does. Look at the last two columns, the bare class:
"""

# %%
drawn_by(sheet, ["dreambooth", "without_prior"], "With and without the prior-preservation loss")

# %%
effects_figure(table_3(tables))

# %% [markdown]
r"""
Two measures need care:

- PRES is *high* where the bare class has become the subject. Low is good.
- DIV here is the variety of the subject's pictures under one prompt. The paper's DIV is LPIPS, so compare only directions. A high DIV alone is no success: the original never draws the subject and has most of it. In ours, one subject counts for much, Yaga. Its pictures differ partly because they do not always show Yaga.

The paper's numbers in Tables 3 and 4 differ from those in Table 1. It tunes Imagen there, with other subjects.
"""

# %% tags=["nbval-check-output"]
print(table_3(tables))

# %% [markdown]
r"""
The paper says: without the second term you get a little more of the subject, and you lose its class.

How much of the class is left? The next cell compares each tuned model with the original. It shows the change of PRES and of the variety of the *bare class*, over all subjects. It shows differences and no percentages, because PRES begins near 0.

Two methods stand beside DreamBooth:

- **LoRA** freezes the weights and adds to some matrices $W$ a product $BA$ of two thin matrices. Only $A$ and $B$ learn (arXiv:2106.09685). The paper did not test it.
- Textual Inversion is the control. It changes the embedding of one word, and "a robot" does not contain that word.
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

Three prompts teach the same pictures: "a [V] robot", "a [V] fish", which is wrong, and "a [V]". Each model is asked in the words that it was taught. Each is judged by the true words, which are also the captions below.

The class term differs too. Without a noun in the prompt, it still preserves the true class. With a wrong noun, it preserves the wrong class. `settings["wrong_nouns"]` lists the wrong nouns. Ours are as far from the true class as this world allows. The paper drew its nouns at random.
"""

# %%
drawn_by(sheet, ["dreambooth", "wrong_noun", "no_noun"], "The right noun, a wrong one, none")

# %%
effects_figure(table_4(tables))

# %% tags=["nbval-check-output"]
print(table_4(tables))

# %% [markdown]
r"""
### Where we agree and where not

The next cell counts all differences of the three tables:
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
"Not clear here" does not mean "no effect". We have few subjects, and they differ much among themselves. The paper has few too: 5 in Table 4 and 15 in Table 3.

### What the paper could not measure

These are all methods by the measures of section 4 that only our world has:
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

The authors also asked 72 people, with 25 questions each. Which of two pictures shows the subject of these references? Which fits this text better?

| | DreamBooth | Textual Inversion | cannot say |
|---|---|---|---|
| subject fidelity | 68 % | 22 % | 10 % |
| prompt fidelity | 81 % | 12 % | 7 % |

How sure is the lead? It depends on how many answers are independent:

- 72 people gave 72 × 25 = 1800 answers. Three people answered each question and the majority counts. That leaves 600.
- The answers about one subject may all depend on that subject. Then 30 are independent, one for each subject.
- The answers of one person may all be one opinion. Three people share a questionnaire, so 72 / 3 = 24 are independent.
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
The lead is clear in all three cases.

## 7. How it fails

The paper names its failures. Each can be looked for in our numbers:

- **Wrong context**: the picture does not show what was asked for. Perhaps the model hardly knows such scenes (*a weak prior*). Then the original model fails too: compare `prompt_accuracy` of the two.
- **Entanglement of context and appearance**: a new place changes the subject, most often its colour. Then `identity` is low for new contexts.
- **Overfitting to the original setting**: the picture repeats the setting of the references. `copies` counts the extreme case, a picture that repeats a reference. Nine of our ten prompts ask for a place that no reference shows. The tenth, `property`, asks for a colour and no place.
- Some subjects are **easier**: dogs and cats are easier than rare things.
- Some features are **invented**. The references may show the subject from the front only.
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
`identity` has no value where a picture cannot show it, from behind or in another colour. The row `view` counts side views only. The row `context` rests on five prompts of each subject, every other row on one.

What the table says:

- The original model draws nearly everything that was asked for. So a weak prior is not the reason here. Where the tuned model obeys less, tuning is the reason.
- New contexts hardly lower identity.
- The side view lowers it. Only one of the five references shows it.

### Find the bug

Four snippets of DreamBooth itself. All run, and each has one faulty line.
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

The method needs three to five pictures. Anybody can take them from a person's profile page. The result shows that person doing what they never did. The authors say themselves that such tools can be used to mislead. After this course you can do it, so here is what we ask of you.

**People.** Train on a person only with that person's consent: to the training, to the purpose, and to whoever will get the pictures or the model. Ask again when one of these changes. For a child, parents can consent, and should do so rarely. For the dead, ask those who were closest to them.

Never make sexual or degrading pictures of a real person. In many countries that is a crime, and it is a harm everywhere.

If a person withdraws consent, delete the pictures, the latents, the checkpoints *and* the tuned model. All of these hold the face.

**Artists.** A style can be learned as easily as a face. That a picture can be downloaded does not mean that it may be trained on. Look at its licence, ask, pay, and name the artist. Do not sell imitations of a living artist, and do not pass them off as theirs.

**What you make.** Say that a picture is generated, in the picture's own data and beside it. Do not use it as evidence of anything. Do not publish a tuned model of a person: whoever has it can make every picture that you would not make.

**What you have.** Keep photos of people on your own machine. Everything in this course runs there, and nothing is sent anywhere.

Two questions help where rules do not: *Would I do this if they were sitting beside me? Would I want it done to me?*

## What to keep

- Subject-driven generation wants two things at once: the same subject, and what the prompt says. Pasting gives the first, prompting the second.
- DreamBooth fine-tunes the model itself (here its U-Net and text encoder) under "a [V] class". The noun brings in what is known, the identifier what is new.
- The prior-preservation loss trains on pictures that the frozen model drew of the class. In the ideal case that is the squared distance from the original model, up to a constant.
- A copier wins on likeness alone. Report likeness together with obedience, count copies, and look at the class.
- A difference is claimed when its interval, paired by subject, leaves out 0.
- Faces and styles belong to people.

**Read on** the paper itself, arXiv:2208.12242, and its appendix on limits · Gal and others, *Textual Inversion* (arXiv:2208.01618) · Hu and others, *LoRA* (arXiv:2106.09685) · Kumari and others, *Custom Diffusion* (arXiv:2212.04488), which trains less and several subjects at once · Caron and others, *DINO* (arXiv:2104.14294) · Zhang and others, *LPIPS* (arXiv:1801.03924) · Shan and others, *Glaze* (arXiv:2302.04222), how artists can protect their work.

**Next** in [lesson 08](08_dreambooth_hands_on.ipynb) you do it yourself: five pictures, one word, a few minutes.
"""

# %%
progress()
