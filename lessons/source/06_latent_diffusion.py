# %% [markdown]
r"""
# 06 · Latent diffusion

So far our models worked directly on points or pixels. Stable Diffusion does not work on pixels. An autoencoder first makes the picture small. Noise, U-Net and sampler then work on the small version, the *latents*. That saves most of the computation.

In this lesson you take such a model apart. Then you run it with a sampling loop of your own, and compare your picture with the library's.

**After this lesson you can**

- say what latents are, what the squeeze costs and what it saves, in numbers;
- name every part of Stable Diffusion, with the shapes that go in and out;
- sample from a real latent diffusion model with a loop of your own, and prove it right;
- redraw a picture instead of drawing one, and walk between two noises.

**Time** about 90 minutes, 5 exercises. **You need** DDIM (lesson 04), guidance (lesson 05), and the closed form of lesson 01. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import copy
from textwrap import fill

import torch
import torch.nn.functional as F

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, solution
from tlab_diffusion.course.widgets import latent_walk
from tlab_diffusion.diffusion import guidance, samplers, schedules
from tlab_diffusion.picturebook import caption, random_scene, render, subject_scenes
from tlab_diffusion.pipelines import PICTUREBOOK, load

STEPS = 25  # of every sampling run in this lesson; it should divide 1000, as section 7 will tell

torch.set_grad_enabled(False)  # nothing is trained today
pipeline = load(
    "picturebook", device="cpu"
)  # we compare digits, and every CPU gives nearly the same

# %% [markdown]
r"""
## 1. Why not pixels?

`picturebook` is our own small Stable Diffusion. It has the same parts under the same names, and was trained on the picture book. Its pictures have $64 \times 64$ pixels. Its U-Net sees $16 \times 16$ places with 4 numbers each.

What would the same U-Net cost on pixels? We can count this without computing it. PyTorch has a device called "meta". A tensor there has a shape and no numbers. A counter adds up the multiplications and additions that a call *would* do.

On "meta" we can also count for Stable Diffusion 1.5, whose U-Net has 860 million parameters. We leave the number of input channels as it is, since 4 or 3 makes no difference here.
"""

# %%
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

with torch.device("meta"):
    sd_unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=768,
        attention_head_dim=8,
    )


def gflop(unet, side, tokens):
    """Multiplications and additions of one call on a square of this side, in billions."""
    unet = copy.deepcopy(unet).to("meta")
    x_t = torch.empty(1, unet.config.in_channels, side, side, device="meta")
    words = torch.empty(1, tokens, unet.config.cross_attention_dim, device="meta")
    with FlopCounterMode(display=False) as counter:
        unet(x_t, torch.empty(1, device="meta"), encoder_hidden_states=words)
    return counter.get_total_flops() / 1e9


# %% tags=["nbval-check-output"]
for name, unet, latent_side, pixel_side, tokens in (
    ("picturebook", pipeline.unet, 16, 64, 32),
    ("Stable Diffusion 1.5", sd_unet, 64, 512, 77),
):
    small, large = gflop(unet, latent_side, tokens), gflop(unet, pixel_side, tokens)
    print(f"{name}, one call of the U-Net")
    print(f"    on latents {latent_side:3} x {latent_side:3}: {small:11,.1f} GFLOP")
    print(f"    on pixels  {pixel_side:3} x {pixel_side:3}: {large:11,.1f} GFLOP")
    print(
        f"    {(pixel_side / latent_side) ** 2:.0f} times the places, {large / small:.0f} times the work"
    )

# %% [markdown]
r"""
A convolution does the same work at every place. Its cost grows with the number of places.

Self-attention compares each place with every other one. Four times the side means 16 times the places, and 256 times the comparisons. So the work grows faster than the number of places. For Stable Diffusion at $512 \times 512$ it grows very much faster.

One picture takes tens of such calls. A training step costs about three calls for each picture in its batch, and a training sees millions of pictures. Latents made this affordable.

## 2. The autoencoder

The autoencoder is a network of its own. It is trained first and then frozen. It has two parts:

- the **encoder** turns a picture into latents;
- the **decoder** turns latents into a picture.

It knows nothing of noise or words. It learned to copy pictures of our world through few numbers. Its loss is the distance of the copy from the original, plus the same for their outlines. Stable Diffusion's autoencoder has a perceptual and an adversarial term in place of the outlines. They make textures look right.

The scenes below have seeds that were never used in training.
"""

# %%
from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED

to_model_range = reference("start.to_model_range")
vae = pipeline.vae

scenes = [random_scene(FIRST_TEST_SEED + number) for number in range(64)]
x = torch.stack([to_model_range(torch.from_numpy(render(scene))) for scene in scenes])
posterior = vae.encode(x).latent_dist
x_hat = vae.decode(posterior.mean).sample

# %% tags=["nbval-check-output"]
print(
    f"pictures {tuple(x.shape)}, latents {tuple(posterior.mean.shape)}, copies {tuple(x_hat.shape)}"
)
print(
    f"{x[0].numel()} numbers become {posterior.mean[0].numel()}: {x[0].numel() // posterior.mean[0].numel()} times fewer"
)

# %% [markdown]
r"""
How good is the copy? The usual measure is the **peak signal-to-noise ratio** in decibels (dB). It compares the mean squared error of two pictures $a$ and $b$ with the square of the *peak*. The peak is the largest difference that two pixels can have:

$$\mathrm{PSNR}(a, b) = 10\,\log_{10}\frac{\text{peak}^2}{\text{mean}\,(a-b)^2}.$$

At 20 dB the error is a tenth of the range, at 40 dB a hundredth.
"""

# %% [markdown]
r"""
### Exercise: how good is a copy?

`latent.psnr` · easy · 5 minutes

`a` and `b` are batches of pictures, (B, C, H, W), with values in $[-1, 1]$. Return one number of decibels for **each** picture, (B,).
"""


# %% exercise="latent.psnr"
def psnr(a, b):
    """Decibels of each pair of pictures. a, b: (B, C, H, W) in [-1, 1]. Returns (B,)."""
    ### BEGIN SOLUTION
    error = (a - b).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("latent.psnr", psnr)

# %% [markdown]
r"""
A number alone says little, so we compare it with two others. One is for pictures shrunk to $16 \times 16$ pixels and enlarged again. The other is for pictures of pure noise, sent through the autoencoder. They come from outside its world.
"""

# %%
psnr = reference("latent.psnr")


def shrink(pictures):
    """Down to 16 x 16 pixels, each the mean of 4 x 4, and smoothly up again."""
    small = F.interpolate(pictures, size=16, mode="area")
    return F.interpolate(small, size=64, mode="bicubic").clamp(-1, 1)


generator = torch.Generator().manual_seed(0)
noise_picture = 2 * torch.rand(4, 3, 64, 64, generator=generator) - 1
copies = {
    "scenes, through the autoencoder": psnr(x, x_hat),
    "scenes, shrunk and blown up": psnr(x, shrink(x)),
    "noise, through the autoencoder": psnr(
        noise_picture, vae.decode(vae.encode(noise_picture).latent_dist.mean).sample
    ),
}
for name, decibels in copies.items():
    print(f"{name:32} {decibels.mean():5.1f} dB on average, {decibels.min():5.1f} at worst")

# %% tags=["nbval-check-output"]
through_vae, shrunk, noisy = (decibels.mean() for decibels in copies.values())
print("better than shrinking, by more than 3 dB:", (through_vae > shrunk + 3).item())
print("noise does not get through:", (noisy < through_vae - 10).item())

# %% [markdown]
r"""
The autoencoder does not compress every kind of picture. It learned what pictures *of this world* look like. Its 1024 numbers describe what differs between them.

What the decoder cannot draw is lost: no U-Net can bring it back.

Where are the losses? The third row shows the error, four times as strong. Grey means no error.
"""

# %%
shown = slice(0, 6)
rows = torch.cat([x[shown], x_hat[shown].clamp(-1, 1), 4 * (x_hat - x)[shown]])
labels = [name for name in ("original", "copy", "error x 4") for _ in range(6)]
plots.picture_grid(
    rows, labels, columns=6, title="Six unseen scenes, their copies, and what was lost"
)

# %% tags=["nbval-check-output"]
error = (x_hat - x).abs().mean(dim=1)[:, 1:, 1:]  # (64, 63, 63)
steepness = x.diff(dim=2)[..., 1:].abs().mean(dim=1) + x.diff(dim=3)[:, :, 1:].abs().mean(dim=1)
edges = steepness > steepness.flatten().quantile(0.9)  # the steepest tenth of all pixels
print(
    "on outlines the error is more than twice that elsewhere:",
    (error[edges].mean() > 2 * error[~edges].mean()).item(),
)

# %% [markdown]
r"""
Flat colour is copied well. The errors lie on outlines, eyes and fine patterns.

## 3. A cloud, not a point

The encoder does not return one latent for a picture. It returns a normal distribution, with a mean and a variance for each of the 1024 numbers. This makes it a *variational* autoencoder, VAE. Think of a cloud around a point.

Two things shape the clouds in training:

- The decoder gets a draw from the cloud instead of its centre. So two pictures must lie further apart than a cloud is wide, or they are confused.
- A second term of the loss pulls all clouds towards the standard normal distribution. So the clouds stay near 0 and do not shrink to points.

The network returns the *logarithm* of the variance, because every number is a valid logarithm.

**The scaling factor.** Our schedules assume data of variance 1 (lesson 01). Latents come in the units that the autoencoder happened to choose. So they are multiplied by one constant, the **scaling factor**. It is one over their standard deviation. It was measured once and is written into the model's configuration.
"""

# %% [markdown]
r"""
### Exercise: into the latents

`latent.encode` · easy · 8 minutes

Draw the latents and scale them. `mean`, `logvar` (the logarithm of the variance) and `noise` all have the shape (B, ...).
"""


# %% exercise="latent.encode"
def encode(mean, logvar, noise, scaling_factor):
    """Scaled latents, drawn from N(mean, exp(logvar)). All (B, ...); returns the same shape."""
    ### BEGIN SOLUTION
    return (mean + torch.exp(0.5 * logvar) * noise) * scaling_factor
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("latent.encode", encode)

# %%
encode = reference("latent.encode")

noise = torch.randn(posterior.mean.shape, generator=generator)
scaling_factor = vae.config.scaling_factor
latents = encode(posterior.mean, posterior.logvar, noise, scaling_factor)

print(f"scaling factor {scaling_factor:.3f}")
print(
    f"standard deviation of the latents: {posterior.mean.std():.3f} as they come, {latents.std():.3f} scaled"
)
print(f"typical width of a cloud, scaled: {(scaling_factor * posterior.std).mean():.1g}")
drawn = vae.decode(latents / scaling_factor).sample
print(
    f"copies from the clouds' centres {psnr(x, x_hat).mean():.1f} dB, from draws {psnr(x, drawn).mean():.1f} dB"
)

# %% tags=["nbval-check-output"]
print(f"scaled latents of unseen scenes: standard deviation {latents.std():.1f}")

# %% [markdown]
r"""
The clouds are tiny beside the distances between them. The second term has a weight of only one millionth, as in Stable Diffusion. It keeps the latents from drifting away and does little more. A draw decodes to nearly the same picture as the centre.

What if one forgets to scale? Stable Diffusion's own latents have a standard deviation of about 5.5. Its scaling factor 0.18215 makes that 1. Without scaling, the variance is 30 times what the schedule assumes. The signal-to-noise ratio is 30 times too high as well:
"""

# %% tags=["nbval-check-output"]
alphas_cumprod = pipeline.scheduler.alphas_cumprod  # scaled linear, as in lesson 01
for name, std in (("scaled", 1.0), ("unscaled", 1 / 0.18215)):
    snr = std**2 * schedules.snr(alphas_cumprod)
    crossing = int((snr < 1).nonzero()[0]) + 1  # the index counts from 0
    print(
        f"{name:8}: more noise than signal from t = {crossing}; at the last step the signal is {snr[-1].sqrt():.2f} of the noise"
    )

# %% [markdown]
r"""
Without scaling, the last step still holds a picture more than a third as strong as the noise. A model trained on that has never seen the pure noise from which sampling starts.

## 4. What latents look like

Here is each picture with its four channels of $16 \times 16$ places.
"""

# %%
plots.latent_channels(
    x[:3], latents[:3], title="Three pictures and their latents: small, but still pictures"
)

# %% [markdown]
r"""
Latents are still a *map*: you can recognise the scene in them. So a U-Net, whose convolutions look at neighbours, works on latents as it does on pixels.

If latents are a map, we can cut them and glue them together:
"""

# %%
halves = latents[:2, :, :, :8], latents[3:5, :, :, 8:]  # left half of A, right of B
collage = torch.cat(halves, dim=3)
glued = vae.decode(collage / scaling_factor).sample
trios = [(x_hat[number], x_hat[number + 3], glued[number]) for number in (0, 1)]
plots.picture_strip(
    torch.stack([picture for trio in trios for picture in trio]),
    2 * ["A", "B", "left of A, right of B"],
    title="Scissors and glue, in latents",
)

# %% tags=["nbval-check-output"]
far_left = slice(0, 24)  # of 64 columns; the seam is at 32
changed = (glued - x_hat[:2])[..., far_left].abs().mean()
between = (x_hat[3:5] - x_hat[:2])[..., far_left].abs().mean()
print("far from the seam A stays A:", (changed < between / 3).item())

# %% [markdown]
r"""
## 5. Anatomy

A Stable Diffusion model is a folder. Five parts do the work, each in a folder of its own. The published model has a safety checker as well.

| part | what it does |
|---|---|
| `tokenizer` | cuts the prompt into pieces and numbers them |
| `text_encoder` | turns the numbers into vectors that know their context (lesson 05) |
| `unet` | predicts the noise in latents, and reads those vectors |
| `scheduler` | the betas, and the rule for a step; it is no network |
| `vae` | the encoder is for training and redrawing, the decoder for seeing |

Our model and Stable Diffusion 1.5 have the same parts in different sizes. The next cell counts them on "meta", from the real shapes.
"""

# %%
from transformers import CLIPTextConfig, CLIPTextModel

with torch.device("meta"):
    sd_vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=4,
    )
    sd_text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
        )
    )


def sizes(text_encoder, unet, autoencoder, pixels):
    """What a machine is made of, {what: how much}."""
    machine = {"text encoder": text_encoder, "U-Net": unet, "autoencoder": autoencoder}
    side = unet.config.sample_size
    return {
        f"parameters, {name}": f"{sum(weights.numel() for weights in part.parameters()):,}"
        for name, part in machine.items()
    } | {
        "picture": f"3 x {pixels} x {pixels}",
        "latents": f"4 x {side} x {side}",
        "numbers, times fewer": f"{3 * pixels**2 / (4 * side**2):.0f}",
        "rows of its word table": f"{text_encoder.config.vocab_size}",
        "tokens in a prompt": f"{text_encoder.config.max_position_embeddings}",
        "width of a text vector": f"{unet.config.cross_attention_dim}",
        "halvings in the U-Net": f"{len(unet.config.block_out_channels) - 1}",
        "its channels": f"{unet.config.block_out_channels[0]} to {unet.config.block_out_channels[-1]}",
    }


# %% tags=["nbval-check-output"]
here = sizes(pipeline.text_encoder, pipeline.unet, pipeline.vae, 64)
there = sizes(sd_text, sd_unet, sd_vae, 512)
print(f"{'':26}{'picturebook':>14}{'SD 1.5':>16}")
for what in here:
    print(f"{what:26}{here[what]:>14}{there[what]:>16}")

# %% [markdown]
r"""
Now follow one prompt through the parts, and watch the shapes:
"""


# %%
tokenizer = pipeline.tokenizer


def embed(prompts, pipe=pipeline):
    """Prompts to vectors, (B, 32, width): cut, number, fill up to the full length, encode."""
    filled = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
    ids = tokenizer(prompts, return_tensors="pt", **filled).input_ids
    return pipe.text_encoder(ids)[0]


def model(x_t, t, embeddings):
    """The U-Net, called as our samplers call a model."""
    return pipeline.unet(x_t, t, encoder_hidden_states=embeddings).sample


def decode(latents):
    """Scaled latents to pictures, (B, 3, 64, 64) in [-1, 1]."""
    return vae.decode(latents / scaling_factor).sample.clamp(-1, 1)


# %% tags=["nbval-check-output"]
prompt = "a purple cat in the snow"
x_T = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
words = embed([prompt])
eps = model(x_T, torch.tensor([999]), words)

print("prompt             ", prompt)
print("in pieces          ", tokenizer.tokenize(prompt))
print("as vectors         ", tuple(words.shape))
print("noise to start with", tuple(x_T.shape))
print("the U-Net's answer ", tuple(eps.shape))
print("decoded            ", tuple(decode(x_T).shape))

# %% [markdown]
r"""
## 6. Your turn at the wheel

Only the loop in between is missing. You have both of its pieces: `ddim_step` from lesson 04 makes a step, and `cfg` from lesson 05 combines the answers with and without the prompt.

The next cell takes the package's versions. You can put your own in their place. The same goes for the `denoise` that you will write.
"""

# %%
ddim_step = reference("sampling.ddim_step")
cfg = reference("guidance.cfg")

# %% [markdown]
r"""
### Exercise: the whole loop

`latent.denoise` · hard · 20 minutes

Go from noise to clean latents. `timesteps` is a falling list of indexes such as `[999, 959, ..., 39]`, where index `t` stands for step $t + 1$ as in [NOTATION.md](NOTATION.md). Each step leads to the next in the list. The last one leads to `-1`, the clean sample. `model(x_t, t, embeddings)` takes `t` as a (B,) tensor. Add no fresh noise: $\eta = 0$.
"""


# %% exercise="latent.denoise"
def denoise(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    """DDIM with classifier-free guidance. x_T: (B, ...). Returns clean latents, shaped like x_T.

    text, no_text: (B, M, D), embeddings of the prompts and of empty ones.
    """
    ### BEGIN SOLUTION
    x = x_T
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t, t_prev = torch.full((len(x),), now), torch.full((len(x),), following)
        guided_eps = cfg(model(x, t, no_text), model(x, t, text), guidance_scale)
        x = ddim_step(x, t, t_prev, guided_eps, alphas_cumprod, 0.0, torch.zeros_like(x))
    return x
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("latent.denoise", denoise)

# %% [markdown]
r"""
Now run the real U-Net with it. The cell below uses the package's loop. To test your own, leave out the first line. You can change the prompts and run the cell again.
"""

# %%
denoise = reference("latent.denoise")  # for your own, leave this line out

timesteps = samplers.spaced_timesteps(1000, STEPS)
prompts = [
    "a purple cat in the snow",
    "a happy green dragon in a meadow",
    "a red robot wearing a crown on the moon",
    "a watercolour of a yellow house at night",
]
noise = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1))
drawn = denoise(model, noise, embed(prompts), embed([""] * 4), timesteps, alphas_cumprod, 5.0)
plots.picture_strip(
    decode(drawn),
    [fill(text, 22) for text in prompts],
    title="Drawn by the loop and the shipped U-Net",
)

# %% [markdown]
r"""
Here is one of them on its way. The upper row shows the noisy latents, decoded. The lower row shows $\hat x_0$, the clean sample that the model predicts at that moment. The package's samplers are generators, so we can look at every step.
"""

# %%
believes = guidance.guided(model, embed(prompts[:1]), embed([""]), 5.0)
trail = list(samplers.ddim(believes, noise[:1], alphas_cumprod, timesteps))
looked_at = [round(i * (STEPS - 1) / 5) for i in range(6)]
noisy_row = torch.cat([noise[:1]] + [trail[i - 1].x for i in looked_at[1:]])
clean_row = torch.cat([trail[i].x0_pred for i in looked_at])
labels = [f"t = {trail[i].t + 1}" for i in looked_at]  # the index counts from 0
plots.picture_grid(
    torch.cat([decode(noisy_row), decode(clean_row)]),
    [f"x_t, {label}" for label in labels] + [f"prediction, {label}" for label in labels],
    columns=6,
    title="Noise above, predicted clean sample below: first where things are, then what they are",
)

# %% [markdown]
r"""
## 7. To the last digit

The pictures look right. Are they right? We compare our loop with the diffusers library, in two ways.

**One step at a time.** Their `DDIMScheduler` and our `ddim_step` get the same $x_t$ and the same $\epsilon$, at every timestep:
"""

# %%
from diffusers import DDIMScheduler

scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
scheduler.set_timesteps(STEPS)

noise_predictor = guidance.guided(model, embed(prompts), embed([""] * 4), 5.0)
sample, no_noise, differences = noise, torch.zeros_like(noise), []
for now, then in zip(timesteps, [*timesteps[1:], -1], strict=True):
    t, t_prev = torch.full((4,), now), torch.full((4,), then)
    predicted = noise_predictor(sample, t)
    mine = ddim_step(sample, t, t_prev, predicted, alphas_cumprod, 0.0, no_noise)
    sample = scheduler.step(predicted, now, sample).prev_sample  # theirs; both go on from it
    differences.append(((mine - sample).abs().max() / sample.abs().max()).item())
print(f"largest difference of any step, as a share of the largest value: {max(differences):.1e}")

# %% tags=["nbval-check-output"]
print("same timesteps:", scheduler.timesteps.tolist() == timesteps)
print("every step agrees to 1 part in 100 000:", max(differences) < 1e-5)

# %% [markdown]
r"""
A float32 has about seven digits. The sums in a step use up the last one, so a better agreement is not possible.

**The whole run.** Their `StableDiffusionPipeline` gets the prompt and the same noise. It does everything: tokenizer, text encoder, guidance, scheduler. Small differences may now grow, because every step feeds the next one.

Is the remaining difference rounding, or a small mistake? Give both sides **more digits** to find out. A rounding error shrinks with more digits. A mistake stays.
"""


# %%
def both_runs(pipe, noise):
    """Clean latents, ours and theirs, from the same prompts and noise."""

    def pipe_model(x_t, t, words):
        return pipe.unet(x_t, t, encoder_hidden_states=words).sample

    few = samplers.spaced_timesteps(1000, 10)
    words, nothing = embed(prompts[:2], pipe), embed(["", ""], pipe)
    mine = denoise(pipe_model, noise, words, nothing, few, pipe.scheduler.alphas_cumprod, 5.0)
    options = {"num_inference_steps": 10, "guidance_scale": 5.0, "output_type": "latent"}
    return mine, pipe(prompts[:2], latents=noise, **options).images


precise = copy.deepcopy(pipeline)
for part in (precise.text_encoder, precise.unet):
    part.double()
precise.scheduler.alphas_cumprod = alphas_cumprod.double()

largest = {}
for digits, pipe, start in (
    ("float32", pipeline, noise[:2]),
    ("float64", precise, noise[:2].double()),
):
    mine, theirs = both_runs(pipe, start)
    largest[digits] = ((mine - theirs).abs().max() / theirs.abs().max()).item()
    print(
        f"{digits}: largest difference after the whole run {largest[digits]:.0e} of the largest value"
    )

# %% tags=["nbval-check-output"]
print("float32: below 1 in a hundred:", largest["float32"] < 1e-2)
print("float64: below 1 in a billion:", largest["float64"] < 1e-9)

# %% [markdown]
r"""
So both are the same formula. In float32 they differ because we take the roots of $\bar\alpha$ in double precision, and diffusers in single. In float64 both do the same, and the difference almost vanishes.

Your loop does what diffusers' `StableDiffusionPipeline` does with a DDIM scheduler. Stable Diffusion 1.5 comes with another scheduler, PNDM. Every part around it is the same.

**The same folder without this course.** Any program that knows diffusers can load the model:
"""

# %%
import diffusers
import transformers

for library in (diffusers, transformers):
    library.utils.logging.disable_progress_bar()  # a page without bars

plain = diffusers.DiffusionPipeline.from_pretrained(PICTUREBOOK)
plain.set_progress_bar_config(disable=True)

# %% tags=["nbval-check-output"]
options = {"latents": noise[:1], "num_inference_steps": 5, "output_type": "pt"}
parts = sorted(name for name, part in plain.components.items() if part is not None)
print(type(plain).__name__, "of", ", ".join(parts))
mine, theirs = (each(prompts[0], **options).images for each in (pipeline, plain))
print("same picture:", torch.equal(mine, theirs))

# %% [markdown]
r"""
> **A trap.** Diffusers' DDIM scheduler does not step to the next timestep of its list. It steps down by `1000 // steps`. That is the same where the number of steps divides 1000. Otherwise the two differ a little. The noise left in the sample is then not quite what the U-Net is told:
"""

# %% tags=["nbval-check-output"]
for steps in (25, 30):
    scheduler.set_timesteps(steps)
    down = sorted(set((-scheduler.timesteps.diff()).tolist()))
    print(f"{steps} steps: the list goes down by {down}, the scheduler by {1000 // steps}")

# %% [markdown]
r"""
## 8. From a picture to a picture

So far sampling began with noise. It can also begin with a picture:

1. Encode the picture and add noise to its latents, part of the way up.
2. Denoise from *there*, with a prompt.

The noise hides some of the picture. The model draws that part anew and keeps the rest. Meng and others (2021) call this SDEdit; diffusers calls it "img2img".

The **strength** $s$ says how far up we go. It is the share of the steps that are to be done, at most 1. With a list of $N$ timesteps, the last $\lfloor sN \rfloor$ of them are left to do. $s$ must be large enough for one step.
"""

# %% [markdown]
r"""
### Exercise: where to begin

`latent.img2img_start` · medium · 10 minutes

Return two things: the latents, noised to the first timestep that is still to be done, and `start`, its place in the list. The caller will go on with `timesteps[start:]`. `timesteps` is a list of whole numbers; take `int(strength * len(timesteps))` steps.
"""


# %% exercise="latent.img2img_start"
def img2img_start(x0, noise, strength, timesteps, alphas_cumprod):
    """x0, noise: (B, ...). Returns x_t, shaped like x0, and start, a whole number."""
    ### BEGIN SOLUTION
    start = len(timesteps) - int(strength * len(timesteps))
    kept = alphas_cumprod[timesteps[start]]
    return kept.sqrt() * x0 + (1 - kept).sqrt() * noise, start
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("latent.img2img_start", img2img_start)

# %% [markdown]
r"""
Here is Pip, whom the model has never seen, with a prompt that asks for something else:
"""

# %%
img2img_start = reference("latent.img2img_start")

pip = to_model_range(torch.from_numpy(render(subject_scenes("pip")[0])))[None]
latents_pip = scaling_factor * vae.encode(pip).latent_dist.mean
wish = "a red dragon in a meadow"

strengths = [0.2, 0.4, 0.6, 0.8, 1.0]
redrawn = []
for strength in strengths:
    x_t, start = img2img_start(latents_pip, noise[:1], strength, timesteps, alphas_cumprod)
    left = timesteps[start:]
    redrawn.append(denoise(model, x_t, embed([wish]), embed([""]), left, alphas_cumprod, 5.0))
redrawn = torch.cat(redrawn)

plots.picture_strip(
    torch.cat([pip, decode(redrawn)]),
    ["Pip"] + [f"strength {strength}" for strength in strengths],
    title=f"Pip, on the way to “{wish}”",
)

# %%
similarity = psnr(decode(redrawn), pip.expand(5, -1, -1, -1))
for strength, decibels in zip(strengths, similarity, strict=True):
    print(f"strength {strength}: PSNR with Pip {decibels:.1f} dB")

# %% tags=["nbval-check-output"]
print("the least strength stays nearest to Pip:", similarity.argmax().item() == 0)

# %% [markdown]
r"""
At strength 0.2 the place and the pose are still Pip's. They are decided at high noise levels, which this run never reached. A trace of the feelers is left. But the teal is gone and wings have come, because guidance pushes towards a red dragon.

At strength 1 nothing of Pip is left, except the trace of lesson 01, section 7.

None of these pictures shows Pip *as* a dragon. The model sees the remaining outline and does not know who Pip is. The next lesson teaches it.

## 9. Walking

What does the model draw from a noise that lies between two others, $a$ and $b$? The simplest walk is the straight line $(1-u)\,a + u\,b$, with a weight $u$ from 0 to 1.

Try it on numbers first. Two independent noises of variance 1 have a mix of variance $(1-u)^2 + u^2$. In the middle that is $\tfrac12$:
"""

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
a, b = torch.randn(2, 500, 4 * 16 * 16, generator=generator)
lengths = a.square().mean(dim=1).sqrt()
print(
    f"500 noises of 1024 numbers: length {lengths.mean():.2f}, give or take {lengths.std():.2f} (root mean square)"
)
print(f"halfway on the line: {((a + b) / 2).square().mean(dim=1).sqrt().mean():.2f}")
angles = F.cosine_similarity(a, b).arccos().rad2deg()
print(f"angle between two of them: {angles.mean():.0f} degrees, give or take {angles.std():.0f}")

# %% [markdown]
r"""
In 1024 dimensions the length of a normal vector hardly varies. So all noises that the model has seen lie near a sphere. Any two of them are nearly at right angles. A straight line between them cuts through the inside of the sphere, where no noise was ever seen.

The arc stays on the sphere. It is called **slerp**, spherical linear interpolation (Shoemake 1985). With $\omega$ the angle between $a$ and $b$:

$$\mathrm{slerp}(a, b, u) = \frac{\sin((1-u)\,\omega)}{\sin\omega}\,a + \frac{\sin(u\,\omega)}{\sin\omega}\,b .$$
"""

# %% [markdown]
r"""
### Exercise: a walk on the sphere

`latent.slerp` · medium · 12 minutes

`a` and `b` are batches, (B, ...), `weight` is one number. Each sample has an angle of its own: see it as *one* long vector.
"""


# %% exercise="latent.slerp"
def slerp(a, b, weight):
    """From a, at weight 0, to b, at weight 1, along the arc. Returns the shape of a."""
    ### BEGIN SOLUTION
    cosine = F.cosine_similarity(a.flatten(1), b.flatten(1))
    omega = cosine.clamp(-0.9999, 0.9999).arccos()  # never 0, which would divide by 0 below
    omega = omega.reshape(-1, *[1] * (a.ndim - 1))
    mixed = torch.sin((1 - weight) * omega) * a + torch.sin(weight * omega) * b
    return mixed / torch.sin(omega)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("latent.slerp", slerp)

# %% [markdown]
r"""
Here is the middle of the way by the line and by the arc, for the same pairs of noises:
"""

# %%
slerp = reference("latent.slerp")

ends = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(2))
middles = torch.cat([(ends[0] + ends[1]) / 2, slerp(ends[0], ends[1], 0.5)])
same = ["a blue bear in the forest"] * 6
halfway = denoise(model, middles, embed(same), embed([""] * 6), timesteps, alphas_cumprod, 5.0)
plots.picture_strip(
    decode(halfway), ["line"] * 3 + ["arc"] * 3, title=f"Halfway between two noises: “{same[0]}”"
)

# %%
for name, x in (("noise halfway", middles), ("latents drawn from it", halfway)):
    print(f"standard deviation of the {name}: line {x[:3].std():.2f}, arc {x[3:].std():.2f}")

# %% [markdown]
r"""
The U-Net has never seen noise that is too short: noised latents have a standard deviation near 1 at *every* timestep (lesson 01, section 2). What it draws from such noise depends on the model. Ours corrects most of the error. The arc has no error to correct.

## 10. Play

The widget draws two walks when it is made, which takes a few seconds. Then you slide through them:

- **between two noises** under one prompt, on the arc;
- **between two prompts** in one noise, where the embeddings of the prompts are mixed.

Some things to find:

1. Between two noises, what stays the same at every station? What changes gradually, and what jumps?
2. Between two prompts, does the picture change evenly, or at one station all at once? Do place and character change together?
3. Make walks of your own: `latent_walk(pipeline, ("a cat", "a dog"), (3, 4))`. How different can two prompts be before the pictures between them fit neither?

The two walks as a still picture:

![Two walks of seven pictures each, one between two noises and one between two prompts, one of them enlarged; below, the length of the noise along the arc and along a straight line](figures/latent_walk.png)
"""

# %%
latent_walk(pipeline)

# %% [markdown]
r"""
## What to keep

- Latent diffusion is ordinary diffusion on the latents of an autoencoder. There are fewer places, so far less work. What the decoder cannot draw is lost.
- The scaling factor gives latents a standard deviation of 1, as SNR and schedules assume. Multiply on the way in, divide on the way out.
- Stable Diffusion is a tokenizer, a text encoder, a U-Net, a scheduler and a VAE. The loop that joins them has five lines, and agrees with the library's up to rounding.
- To redraw a picture, start part of the way up. To walk between noises, stay on the sphere.

**Read on** Rombach and others, *High-Resolution Image Synthesis with Latent Diffusion Models* (arXiv:2112.10752), sections 3 and 4.1 · Kingma, Welling, *Auto-Encoding Variational Bayes* (arXiv:1312.6114) · Meng and others, *SDEdit* (arXiv:2108.01073) · the documentation of diffusers, "Understanding pipelines, models and schedulers".

**Next** in [lesson 07](07_dreambooth_paper.ipynb) comes DreamBooth. The model knows robots and has never met Pip. Five pictures introduce them.
"""

# %%
progress()
