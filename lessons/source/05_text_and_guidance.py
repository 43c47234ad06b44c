# %% [markdown]
r"""
# 05 · Text and guidance

So far a model drew what it liked. How does a sentence tell it what to draw? It takes four steps:

1. Words become **tokens**.
2. Tokens become **vectors** that know about pictures.
3. Every place of the picture reads these vectors, by **cross-attention**.
4. **Guidance** exaggerates what the words change.

This lesson takes each step by hand, on the course's own text-to-image model.

**After this lesson you can**

- say what a tokenizer does with common words, rare words and made-up names;
- write the loss that ties pictures to captions, and train a tiny CLIP in seconds;
- compute cross-attention from a network's own weights, and read its attention maps;
- explain caption dropout and classifier-free guidance, and say what a large guidance scale costs.

**Time** about 90 minutes, 5 exercises. **You need** lessons 01 and 02, and DDIM from lesson 04. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import textwrap

import torch
import torch.nn.functional as F
from torch import nn

from tlab_diffusion import pipelines, plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.widgets import attention_explorer, guidance_explorer
from tlab_diffusion.course.widgets.attention import attention_film
from tlab_diffusion.diffusion import guidance, parameterization, samplers
from tlab_diffusion.diffusion.conditioning import contrastive_loss as contrast
from tlab_diffusion.diffusion.conditioning import cross_attention as attend
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.schedules import alphas_cumprod, cosine_betas
from tlab_diffusion.picturebook import IDENTIFIERS, caption, random_scene, render
from tlab_diffusion.pipelines.attention import record_attention, word_maps, word_tokens

STEPS = 12  # denoising steps of every picture of this lesson

pipeline = pipelines.load("picturebook")
device = pipeline.device

# %% [markdown]
r"""
`picturebook` is a small model with the parts of Stable Diffusion: a tokenizer, a text encoder, a U-Net and an autoencoder. The U-Net works on 4 numbers at each of 16 × 16 places, the *latents*. The autoencoder turns finished latents into 64 × 64 pixels. Lesson 06 explains it. Here we only use it at the end of each picture.

## 1. Words become tokens

A network reads numbers. The **tokenizer** cuts a text into pieces from a fixed list. Each piece has a number.

The list is made by byte-pair encoding. It begins with all letters. Then it joins the pair of pieces that is most frequent in a large text, again and again. So a common word becomes one piece. A rare word stays a row of pieces, in the worst case single letters. The mark `</w>` ends a word.
"""

# %% tags=["nbval-check-output"]
tokenizer = pipeline.tokenizer
for text in ("a striped red cat in the snow", "a crocodile", "a cat eating photosynthesis"):
    pieces = tokenizer.tokenize(text)
    print(f"{text}: {len(text.split())} words, {len(pieces)} tokens\n    {' '.join(pieces)}")

# %% [markdown]
r"""
Two checks follow. Every word of our world's captions is one token. So is each of the twenty **identifiers**, which are short made-up words.

The identifiers are in the tokenizer's list and have no meaning. In training, about one caption in fifty carried one at random. Afterwards their vectors were replaced by random blends of known words' vectors.

In lesson 08 one of them becomes the name of *one* character. A name that falls into several pieces would bring the meanings of those pieces.
"""

# %% tags=["nbval-check-output"]
captions = [caption(random_scene(seed)).replace(",", "") for seed in range(300)]
words_of_world = {word for text in captions for word in text.split()}
whole = [word for word in words_of_world if len(tokenizer.tokenize(word)) == 1]
print(f"{len(whole)} of {len(words_of_world)} words of the captions are one token each")
for name in (*IDENTIFIERS[:2], "sparkletail"):
    print(f"{name}: {' '.join(tokenizer.tokenize(name))}")
single = [name for name in IDENTIFIERS if len(tokenizer.tokenize(name)) == 1]
print(f"{len(single)} of {len(IDENTIFIERS)} identifiers are one token each")

# %% [markdown]
r"""
All captions get the same length: a start mark, the tokens, and end marks that fill the row. What is too long is cut off.
"""

# %% tags=["nbval-check-output"]
PROMPT = "a striped red cat wearing a crown in the snow"


def token_ids(prompts):
    """Token numbers (B, 32) of B prompts."""
    return tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids


print(token_ids(PROMPT))

# %% [markdown]
r"""
## 2. Tokens become vectors

The **text encoder** is a small transformer. It turns the row of numbers into a row of vectors, one for each token.

Each vector knows its own word *and the words before it*. It cannot look ahead. So if we change the last word of a caption, only the vectors from there on change:
"""


# %% tags=["nbval-check-output"]
@torch.inference_mode()
def encode(prompts):
    """What the U-Net reads of B prompts: (B, tokens, width)."""
    return pipeline.text_encoder(token_ids(prompts).to(device)).last_hidden_state


cat, dog = encode(["a red cat", "a red dog"])
print(f"shape of one caption: {tuple(cat.shape)}")
for position, name in enumerate(["start", "a", "red", "cat / dog", "end"]):
    print(f"{name:10} same vector: {torch.allclose(cat[position], dog[position], atol=1e-4)}")

# %% [markdown]
r"""
The end mark differs too. It comes last, so it has read the whole caption. CLIP takes its vector as the meaning of the sentence.

## 3. CLIP: vectors that know about pictures

How does a text encoder learn that "red" is a colour? It learns from pairs of pictures and captions. **CLIP** (Radford and others 2021) has one encoder for pictures and one for captions. Both return a vector of the same size.

Take a batch of $B$ pairs. Let $u_i$ be the vector of picture $i$ and $s_j$ the vector of caption $j$. Compare every picture with every caption by the cosine of their vectors:

$$\text{logits}_{ij} = \frac{\cos(u_i, s_j)}{\tau}.$$

The *temperature* $\tau$ is a small number. Dividing by it spreads the cosines, which lie close together.

The loss asks two questions about this table of $B \times B$ numbers:

- Row $i$: which of the $B$ captions belongs to picture $i$? This is a classification, and the right class is $i$.
- Column $j$: which of the $B$ pictures belongs to caption $j$? The right class is $j$.

The loss is the mean of the two cross-entropies.

Nobody tells the encoders what red *is*. But an encoder that ignores red guesses wrong whenever two captions differ only in that word.
"""

# %% [markdown]
r"""
### Exercise: the contrastive loss

`guidance.contrastive_loss` · medium · 15 minutes

The features come as they are, not yet of length 1. Return one number.
"""


# %% exercise="guidance.contrastive_loss"
def contrastive_loss(image_features, text_features, temperature):
    """CLIP's loss. image_features, text_features: (B, D), pair by pair. Returns a scalar."""
    ### BEGIN SOLUTION
    images = F.normalize(image_features, dim=1)
    texts = F.normalize(text_features, dim=1)
    logits = images @ texts.T / temperature
    own = torch.arange(len(logits))
    of_images = F.cross_entropy(logits, own)
    of_texts = F.cross_entropy(logits.T, own)
    return (of_images + of_texts) / 2
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("guidance.contrastive_loss", contrastive_loss)

# %% [markdown]
r"""
Now we train a tiny CLIP. A picture is shrunk to 8 × 8 pixels. A caption is a list of which tokens it has. Each encoder is a single matrix.

We train on 500 scenes of the world and test on 64 others. By chance it would find one caption in 64, which is 2 %. The batches have 128 pairs, so a network that knows nothing has the loss $\log 128$. The first loss is higher, because random matrices give confident wrong answers.
"""

# %%
scenes = [random_scene(seed) for seed in range(564)]
texts = [caption(scene) for scene in scenes]
pixels = torch.stack([torch.from_numpy(render(scene)) for scene in scenes])
small = F.avg_pool2d(pixels.permute(0, 3, 1, 2) / 127.5 - 1, 8).flatten(1)
has_token = torch.zeros(len(texts), len(tokenizer)).scatter(1, token_ids(texts), 1.0)

torch.manual_seed(0)
of_picture, of_caption = nn.Linear(small.shape[1], 64), nn.Linear(len(tokenizer), 64)
optimizer = torch.optim.Adam([*of_picture.parameters(), *of_caption.parameters()], lr=3e-3)
losses = []
for _ in range(300):
    batch = torch.randperm(500)[:128]  # no scene twice: each has one right caption
    loss = contrast(of_picture(small[batch]), of_caption(has_token[batch]), 0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

with torch.no_grad():
    u = F.normalize(of_picture(small[500:]), dim=1)
    s = F.normalize(of_caption(has_token[500:]), dim=1)
found = (u @ s.T).argmax(dim=1)
right = found == torch.arange(64)
print(f"loss: {losses[0]:.1f} at first, {losses[-1]:.1f} at the end (log 128 = 4.9 knows nothing)")
print(f"new pictures whose caption is found among 64: {right.float().mean():.0%}")

# %%
chosen = [
    textwrap.fill(f"{'✓' if right[i] else '✗'} {texts[500 + found[i]]}", 30) for i in range(8)
]
plots.picture_grid(
    pixels[500:508].numpy(),
    chosen,
    columns=4,
    title="The caption that two matrices find for a new picture, among 64",
)

# %% [markdown]
r"""
This is far better than chance, with only 192 blurred numbers for a picture. Place, style and colour can be seen even at 8 × 8 pixels. Together they nearly identify a caption.

The text encoder of `picturebook` was trained with a real network for the pictures. That network was then dropped. The text encoder went on learning together with the U-Net. Stable Diffusion's text encoder is CLIP's own, frozen.

## 4. Words reach the picture: cross-attention

Inside the U-Net the picture is a grid of places, each with a vector. The picture below shows, for each telling word, which places read it most. Section 8 makes these maps.

![One picture drawn by the model, and the same picture in grey with a heat map for each telling word of its caption, which shows the places that looked at this word most](figures/attention.png)

Three matrices make this reading possible. They are learned with everything else:

- a place $i$ makes a **query** $q_i$: what am I looking for?
- a token $j$ makes a **key** $k_j$: what am I?
- a token $j$ also makes a **value** $v_j$: what do I have to say?

$D$ is how many numbers a query or a key has. The attention $a_{ij}$ is the share that place $i$ gives to token $j$:

$$a_{ij} = \operatorname{softmax}_j\!\left(\frac{q_i\cdot k_j}{\sqrt D}\right), \qquad \text{out}_i = \sum_j a_{ij}\,v_j .$$

The shares of one place add up to 1. The place reads the mean of the values, weighted by its shares.

Why $\sqrt D$? A sum of $D$ products of independent numbers of mean 0 and variance 1 has variance $D$. Divided by $\sqrt D$, the scores have variance 1. Without that, the softmax would settle on one word before anything is learned.
"""

# %% [markdown]
r"""
### Exercise: cross-attention

`guidance.cross_attention` · medium · 12 minutes

For a batch: `query` is (B, places, D), `key` (B, tokens, D), `value` (B, tokens, E).
"""


# %% exercise="guidance.cross_attention"
def cross_attention(query, key, value):
    """query: (B, N, D), key: (B, M, D), value: (B, M, E). Returns (B, N, E)."""
    ### BEGIN SOLUTION
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ value
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("guidance.cross_attention", cross_attention)

# %% [markdown]
r"""
**Check.** The next cell computes the same equation with the U-Net's own matrices, and compares it with the layer itself.

The layer has several *heads*. The channels are cut into groups, and each group attends on its own. The results are laid side by side, and one more matrix, `to_out`, mixes them.
"""

# %% tags=["nbval-check-output"]
words, no_words = encode([PROMPT, ""]).split(1)
layer = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn2
places = torch.randn(1, 64, layer.to_q.in_features).to(device)  # 8 x 8 places, any features


def into_heads(x):
    """(1, N, heads * D) to (heads, N, D)."""
    return x.unflatten(-1, (layer.heads, -1))[0].transpose(0, 1)


with torch.inference_mode():
    query, key, value = layer.to_q(places), layer.to_k(words), layer.to_v(words)
    read = attend(into_heads(query), into_heads(key), into_heads(value))  # (heads, N, D)
    by_hand = layer.to_out[0](read.transpose(0, 1).flatten(1))
    print("by hand as by the layer:", torch.allclose(by_hand, layer(places, words)[0], atol=1e-4))

reading = [name for name, _ in pipeline.unet.named_modules() if name.endswith("attn2")]
print(f"layers of the U-Net that read the caption: {len(reading)}")

# %% [markdown]
r"""
## 5. A model that also answers without words

Guidance needs to know what the words *change*. So the model must also be able to answer without words.

In training, a caption is sometimes replaced by the empty one, `""`. A share of 10 % is usual. One network then learns both answers. For it, "no caption" is one more caption, of a start mark and end marks.
"""

# %% [markdown]
r"""
### Exercise: caption dropout

`guidance.drop_captions` · easy · 8 minutes

Return a new list. Draw from the `generator` that you are given.
"""


# %% exercise="guidance.drop_captions"
def drop_captions(captions, p, generator):
    """Each of the B captions becomes "" with probability p. Returns a list of B strings."""
    ### BEGIN SOLUTION
    draws = torch.rand(len(captions), generator=generator)
    return ["" if draw < p else text for text, draw in zip(captions, draws, strict=True)]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("guidance.drop_captions", drop_captions)

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
dropped = guidance.drop_captions(["a cat"] * 10_000, 0.1, generator)
print(f"{dropped.count('') / 10_000:.1%} of 10 000 captions were dropped")

# %% [markdown]
r"""
Now ask our model. All pictures below are its prediction of the clean picture, $\hat x_0$ (lesson 02). They come from the same pure noise at the last step, $t = 1000$, whose index in code is `t = 999`. Only the caption differs.

The prediction is a *mean*: of all pictures, or of all red cats. Look at colours and large shapes. The speckles are not part of that mean. At $t = 1000$ every small error in the noise is about 15 times as large in $\hat x_0$ (lesson 02, section 9).
"""


# %%
def model(x_t, t, condition):
    """The U-Net as a function: which noise is in x_t, given a caption's vectors?"""
    return pipeline.unet(x_t, t, condition).sample


def to_pictures(latents):
    """From the U-Net's numbers to pictures (N, 64, 64, 3), from 0 to 255."""
    x = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


alpha_bar = pipeline.scheduler.alphas_cumprod.to(device)
x_T = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(0)).to(device)

asked = ["", "a red cat", "a green dragon", "a cat in the snow", "a cat at night"]
with torch.inference_mode():
    x_t, t = x_T[:1].expand(5, -1, -1, -1), torch.full((5,), 999, device=device)
    eps = model(x_t, t, encode(asked))
    guesses = to_pictures(parameterization.x0_from_eps(x_t, t, eps, alpha_bar))

plots.picture_strip(
    guesses, [text or "(no caption)" for text in asked], title="One noise, five captions"
)

# %% [markdown]
r"""
## 6. Classifier-free guidance

A model that is told "a red cat" draws everything that had such a caption in training, including the unclear examples. Often we want a clearer picture. Here is what guidance does, in pictures of our model and in a plane with two known classes:

![Six guidance scales side by side: above, pictures that the model draws from the same noise for one caption; below, points guided towards one of two known classes, which obey more and spread less as the scale grows](figures/guidance.png)

The method asks the model twice, without words and with them. Then it goes further in the direction of the difference (Ho and Salimans 2022). Let $c$ be the vectors of the caption and $\varnothing$ those of the empty caption. $w$ is the **guidance scale**:

$$\hat\epsilon = \epsilon_\theta(x_t, t, \varnothing) + w\,\big(\epsilon_\theta(x_t, t, c) - \epsilon_\theta(x_t, t, \varnothing)\big).$$

- $w = 0$ ignores the caption.
- $w = 1$ is the plain conditional model: guidance is off.
- $w > 1$ exaggerates.

The paper counts from the conditional answer. Its $w$ is our $w - 1$.
"""

# %% [markdown]
r"""
### Exercise: classifier-free guidance

`guidance.cfg` · easy · 5 minutes
"""


# %% exercise="guidance.cfg"
def cfg(eps_uncond, eps_cond, guidance_scale):
    """The guided prediction. eps_uncond, eps_cond: (B, ...). Returns the same shape."""
    ### BEGIN SOLUTION
    return eps_uncond + guidance_scale * (eps_cond - eps_uncond)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("guidance.cfg", cfg)

# %% [markdown]
r"""
**Why "classifier-free"?** The score of lesson 02 is the slope of $\log q(x_t)$. A prediction of the noise is minus the score, times $\sqrt{1-\bar\alpha_t}$.

Bayes' rule says $q(x_t\mid c) \propto q(x_t)\,p(c\mid x_t)$. Take logarithms and slopes:

$$\nabla\log q(x_t\mid c) - \nabla\log q(x_t) = \nabla \log p(c\mid x_t).$$

The right side is the slope of a classifier. It says in which direction $x_t$ becomes more clearly a $c$. In terms of noise the same equation reads

$$\epsilon_\theta(x_t,t,c)-\epsilon_\theta(x_t,t,\varnothing) = -\sqrt{1-\bar\alpha_t}\;\nabla\log p(c\mid x_t).$$

Guidance follows this slope $w$ times as strongly. Nobody trained a classifier.

**Check.** We use a world of single numbers with three bumps, equally likely. One class has the bumps at $-1.2$ and $0.2$, the other class the one at $0.9$. The model is told the first class. The cell measures the slope of $\log p(c\mid x_t)$ by a finite difference. Then it computes the difference of the two exact denoisers, turned into scores:
"""

# %% tags=["nbval-check-output"]
bumps = torch.tensor([[-1.2], [0.2], [0.9]], dtype=torch.float64)
everything, told = IsotropicMixture(bumps, 0.3), IsotropicMixture(bumps[:2], 0.3)
abar = alphas_cumprod(cosine_betas(1000).double())
exact, exact_told = everything.denoiser(abar), told.denoiser(abar)


def log_p_told(x, t):
    """log p(c | x_t): the share of the first two bumps."""
    return everything.responsibilities(x, t, abar)[:, :2].sum(dim=1, keepdim=True).log()


x, t, h = torch.linspace(-1, 1.5, 5, dtype=torch.float64)[:, None], torch.full((5,), 300), 1e-5
slope = (log_p_told(x + h, t) - log_p_told(x - h, t)) / (2 * h)
difference = -(exact_told(x, t) - exact(x, t)) / (1 - abar[300]).sqrt()
print("slope of the classifier:", [f"{value:+.4f}" for value in slope.flatten()])
print("difference, as scores: ", [f"{value:+.4f}" for value in difference.flatten()])

# %% [markdown]
r"""
Next we sample with guidance in this world. We draw 6000 numbers at each scale, from the same noise, and compare them with what was asked for:
"""


# %%
def sample_guided(scale):
    """6000 numbers, guided towards the class told by exact denoisers."""
    noise = torch.randn(6000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def denoiser(x_t, t):
        return guidance.cfg(exact(x_t, t), exact_told(x_t, t), scale)

    *_, last = samplers.ddim(denoiser, noise, abar, samplers.spaced_timesteps(1000, 50))
    return last.x.flatten()


grid = torch.linspace(-2.6, 2.6, 1001, dtype=torch.float64)
normals = torch.exp(-((grid - bumps) ** 2) / (2 * 0.3**2)) / (0.3 * (2 * torch.pi) ** 0.5)
data, of_class = normals.mean(dim=0), normals[:2].mean(dim=0)
sharpened = of_class**4 * data**-3  # q(x) p(c | x)^4, up to a factor
sharpened = sharpened / torch.trapezoid(sharpened, grid)

sampled = {scale: sample_guided(scale) for scale in (0, 1, 4)}
plots.density(
    grid,
    {"all data": data, "the class told": of_class, "the class, sharpened": sharpened},
    samples=sampled[4],
    xlabel="value",
    title="Guided at scale 4, samples leave the doubtful bump; sharpened data would not",
)

# %% tags=["nbval-check-output"]
for scale, numbers in sampled.items():
    doubtful = (numbers > -0.5).double().mean()
    print(
        f"scale {scale}: mean {numbers.mean():+.2f}, standard deviation {numbers.std():.2f}, "
        f"above -0.5 {doubtful:.0%}"
    )
print(f"sharpened: above -0.5 {torch.trapezoid(sharpened * (grid > -0.5), grid):.0%}")

# %% [markdown]
r"""
At scale 0 we get all data. At scale 1 each bump of the class gets half of the samples, as it should.

At scale 4 the bump at $0.2$ is nearly empty. It holds half of the class, but it lies near the other class and might be mistaken for it. So guidance makes samples **clearer and less varied**.

**A common mistake.** A common explanation says that guidance samples from a *sharpened* distribution, $q(x)\,p(c\mid x)^w$. That is the green curve. It would keep four tenths of its samples in the doubtful bump. The experiment disagrees.

The reason: to sample the sharpened distribution, one has to add noise to *it*. Guidance sharpens the noised distribution instead, and that is not the same (Bradley and Nakkiran 2024). At high noise the bumps overlap. There the direction "away from the other class" carries nearly everything to the far bump, and a little beyond it.

## 7. Guidance on pictures

Now the same on the model, with four noises and six scales. All 24 pictures are one batch, and every sample has a scale of its own. `guided` sends both questions through the U-Net together. Guidance doubles the work, because each step needs two answers.
"""

# %%
scales = (0, 1, 2, 4, 8, 15)
each = torch.tensor(scales).repeat_interleave(4).reshape(-1, 1, 1, 1).to(device)
denoiser = guidance.guided(model, words.expand(24, -1, -1), no_words.expand(24, -1, -1), each)
timesteps = samplers.spaced_timesteps(1000, STEPS)
with torch.inference_mode():
    *_, last = samplers.ddim(denoiser, x_T.repeat(6, 1, 1, 1), alpha_bar, timesteps)
    drawn = to_pictures(last.x)
by_scale = {scale: drawn[4 * i : 4 * i + 4] for i, scale in enumerate(scales)}

rows = [by_scale[scale][noise] for noise in range(4) for scale in scales]
labels = [f"scale {scale}" if noise == 0 else "" for noise in range(4) for scale in scales]
plots.picture_grid(rows, labels, columns=6, title=f"{PROMPT}: a noise a row, a scale a column")

# %% [markdown]
r"""
Read a row from left to right:

- At 0 the caption is ignored.
- At 1 the picture already shows it: red cat, crown, snow.
- Up to 4 the red grows fuller.
- At 8 and 15 faces fade and outlines smear. The prediction has left the region where the model was trained.

Compare the columns, too. How much do the four pictures of one column have in common?

**Check.** Scale 1 is exactly the conditional answer, and scale 0 the unconditional one. The cell after that gives two numbers: the contrast of the pictures, and how far the four of a column lie apart.
"""

# %% tags=["nbval-check-output"]
with torch.inference_mode():
    t = torch.full((4,), 500, device=device)
    conditions = words.expand(4, -1, -1), no_words.expand(4, -1, -1)
    for scale, condition in ((1, conditions[0]), (0, conditions[1])):
        both = guidance.guided(model, *conditions, scale)(x_T, t)
        same = torch.allclose(both, model(x_T, t, condition), atol=1e-3)
        print(f"scale {scale}: one answer alone gives the same: {same}")

# %%
for scale, pictures in by_scale.items():
    shown = torch.from_numpy(pictures).float() / 255
    apart = torch.pdist(shown.flatten(1)).mean() / shown[0].numel() ** 0.5
    print(f"scale {scale:2}: contrast {shown.std():.2f}, distance within the column {apart:.2f}")

# %% [markdown]
r"""
From scale 1 on the numbers hardly change. This caption settles nearly everything in our small world. Section 6 shows the loss of variety better.

In the widget you choose the scale. On the right is the same experiment in a plane where everything is known. There are two classes of three bumps each, and the orange one is told. Which of its bumps is given up first, and why? At which scale do the points leave the data?
"""

# %%
guidance_explorer(by_scale, PROMPT)

# %% [markdown]
r"""
The picture in section 6 shows the same without a kernel.

## 8. Who looks at which word?

Cross-attention can be watched. At each step and in each layer, every place divides its attention among the tokens. We record these shares and take their mean over heads and layers. Each word then has a map of the picture that says which places read it.

The recording computes the shares beside each layer and does not change the layer.
"""

# %% tags=["nbval-check-output"]
denoiser = guidance.guided(model, words, no_words, 4.0)


def draw():
    with torch.inference_mode():
        return list(samplers.ddim(denoiser, x_T[:1], alpha_bar, timesteps))


with record_attention(pipeline.unet) as attention:
    steps = draw()

maps = attention.maps()[:, 1].cpu()  # of each step's two questions the one with words
print(f"steps, tokens, places: {tuple(maps.shape)}")
sums = maps.sum(dim=1)
print("every place shares out one unit:", torch.allclose(sums, torch.ones_like(sums), atol=1e-4))
print("the same picture without recording:", torch.allclose(draw()[-1].x, steps[-1].x, atol=1e-3))

# %%
named = word_tokens(tokenizer, PROMPT)  # each word and where its tokens stand
of_words = word_maps(maps, named)  # (steps, words, 8, 8)
last_picture = to_pictures(steps[-1].x)
telling = [i for i, (word, _) in enumerate(named) if word not in ("a", "in", "the")]
overlays = plots.heat_over([last_picture[0]] * len(telling), of_words.mean(dim=0)[telling])
plots.picture_strip(
    [last_picture[0], *overlays],
    ["the picture", *(named[i][0] for i in telling)],
    title="Bright places look at the word more than other places do (mean over all steps)",
)

# %% [markdown]
r"""
The maps have only 8 × 8 places, because this U-Net reads the caption only there. Each map has its own scale, so compare places and not words. In the widget below you choose a word and a step. The bars give the words' shares. Some things to find:

1. How do the maps change from the first step, when there is only noise, to the last?
2. Which word gets most attention? Does that change on the way? The end marks together get about half of it, and more towards the end. They have read the whole caption (section 2), so what can a place learn there? Also, a place that needs no word has to give its share to some token.
3. A vector knows all words before its own (section 2). What else, besides the snow, may a place learn from the vector of "snow"?

The third point is a warning. An attention map shows where a vector was *read*. It does not show what was taken from it.
"""

# %%
attention_explorer(attention_film(pipeline, PROMPT, num_inference_steps=STEPS))

# %% [markdown]
r"""
The picture in section 4 shows the maps without a kernel.

## 9. Find the bug

Four snippets about guidance, each with one faulty line. To keep them short, `noise_loss` and `ddim_step` fill in what is left out here. That is not the bug.
"""

# %%
snippets("guidance.find_the_bug")

# %% [markdown]
r"""
### Exercise: find the bug

`guidance.find_the_bug` · medium · 12 minutes

Return the number of the faulty line. If mending a snippet would take more than one change, name the line where guidance is applied in the wrong place or to the wrong thing.
"""


# %% exercise="guidance.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 5, 2: 4, 3: 6, 4: 3}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("guidance.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## What to keep

- A tokenizer keeps common words whole and cuts rare ones into pieces. Identifiers are whole and have no meaning yet.
- CLIP's loss is a guessing game among the pairs of a batch. It makes the vectors of captions depend on what can be seen.
- In cross-attention each place divides one unit of attention among the tokens and reads the mean of their values.
- Caption dropout teaches one network both answers. Guidance goes $w$ times the way from one to the other. $w=0$ ignores the words and $w=1$ is off. A larger $w$ gives clearer and less varied pictures, and in the end damaged ones.

**Read on** Radford and others, *CLIP* (arXiv:2103.00020), section 2 · Vaswani and others, *Attention Is All You Need* (arXiv:1706.03762), section 3.2 · Ho, Salimans, *Classifier-Free Diffusion Guidance* (arXiv:2207.12598) · Bradley, Nakkiran, *Classifier-Free Guidance is a Predictor-Corrector* (arXiv:2408.09000) · Hertz and others, *Prompt-to-Prompt* (arXiv:2208.01626), which edits pictures by their attention maps.

**Next** in [lesson 06](06_latent_diffusion.ipynb) comes latent diffusion: why the U-Net draws 4 × 16 × 16 numbers and not pixels, and what the parts of Stable Diffusion do.
"""

# %%
progress()
