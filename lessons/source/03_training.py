# %% [markdown]
r"""
# 03 · Training

Lesson 02 ended with a loss. Now a network learns from it. First it learns points in the plane, where we know what a perfect model would say. Then we take a U-Net apart and train it on small pictures of cats.

**After this lesson you can**

- tell a network the time, and say why a bare number would not do;
- write the training loop, and read its loss: how low could it be, and what does it not tell?
- average the weights of a network while it trains, and say what that is good for;
- draw a U-Net from memory, and give the reason for each of its parts.

**Time** about 75 minutes, 3 exercises. **You need** lessons 01 and 02, and to have seen a small network in torch. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import copy
from itertools import islice

import torch
from torch import nn

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.live_view import watch
from tlab_diffusion.course.toy_data import cat_colours, pixel_cats, smile
from tlab_diffusion.course.widgets import training_view
from tlab_diffusion.diffusion import losses, process, samplers, schedules, unet
from tlab_diffusion.diffusion.points import PointNet
from tlab_diffusion.training import ema, loop

POINT_STEPS = 800  # steps of training, for each network for points
PICTURE_STEPS = 300  # steps of training for the U-Net; 1000 give much prettier cats

# %% [markdown]
r"""
## 1. Points that smile

A model of pictures takes long to train, and at the end nobody knows how good it could have been. So we start with points: ten normal distributions in the plane, arranged as a smile. As in lesson 02, a formula gives the best possible denoiser of this mixture. We compare everything below with it.

> **Counting.** $t$ runs from 1 to $T$, and $x_0$ is clean. In code, step $t$ has the index $t-1$. An argument `t`, as in `model(x_t, t)`, is this index.
"""

# %%
mixture = smile()
alpha_bar = schedules.alphas_cumprod(schedules.linear_betas(100, 1e-3, 0.15))
exact = mixture.denoiser(alpha_bar)

generator = torch.Generator().manual_seed(0)
points = mixture.sample(800, generator)
noise = torch.randn(points.shape, generator=generator)
clouds = {"clean": points}
for step in (10, 40, 100):
    when = torch.full((800,), step - 1)
    clouds[f"t = {step}"] = process.q_sample(points, when, noise, alpha_bar)
plots.points(clouds, title="Noising melts a smile")

# %% [markdown]
r"""
To compare models fairly, we ask them all the same questions. We put aside one set of clean points, timesteps and noises. The loss of the exact denoiser on this set is the **least possible** loss. It is far from 0, because no model can know the noise. A model that always answers 0 has a loss of 1, the variance of the noise.
"""

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(1)
held_x0 = mixture.sample(20_000, generator)
held_t = torch.randint(100, (20_000,), generator=generator)
held_noise = torch.randn(held_x0.shape, generator=generator)


@torch.no_grad()
def held_out_loss(model):
    return losses.noise_loss(model, held_x0, held_t, held_noise, alpha_bar).item()


least = held_out_loss(exact)
print(f"says nothing: {held_out_loss(lambda x_t, t: torch.zeros_like(x_t)):.2f}")
print(f"least possible: {least:.2f}")

# %% [markdown]
r"""
## 2. Telling the time

The network gets $x_t$ and $t$. It needs $t$, because the same point means different things at different noise levels. At $t = 5$ a point halfway between the eyes is unlikely. At $t = 90$ it is as likely as any.

A single number is a poor way to tell the time:

- from 1 to 100 (in most models to 1000), it would be much larger than the other inputs of the first layer;
- squeezed into 0 to 1, neighbouring steps would differ by a hundredth or a thousandth, too little for the network.

So the time is written as many waves, fast and slow ones. This picture shows three of them:
"""

# %%
some_waves = unet.timestep_embedding(torch.arange(200), 64)
plots.curves(
    range(1, 201),
    {f"wave {number}": some_waves[:, number] for number in (0, 6, 12)},
    xlabel="timestep t",
    ylabel="value",
    title="Fast waves tell neighbours apart, slow ones tell early from late",
)

# %% [markdown]
r"""
The embedding of the code's index `t` is a row of `size` numbers, first cosines and then sines (as positions in a transformer, Vaswani and others 2017):

$$\big[\cos(t\,r_0), \dots, \cos(t\,r_{h-1}),\ \sin(t\,r_0), \dots, \sin(t\,r_{h-1})\big], \qquad r_i = 10000^{-i/h},\quad h = \tfrac12\,\text{size}.$$

$r_i$ is the rate of wave $i$. The first rate, $r_0 = 1$, is fast. The last one hardly moves in a thousand steps. Each wave comes as cosine *and* sine, like the two coordinates of a clock hand: one alone would not say where the hand points.
"""

# %% [markdown]
r"""
### Exercise: the timestep embedding

`training.timestep_embedding` · medium · 12 minutes

Timesteps (B,) in, waves (B, size) out: all cosines first, then all sines.
"""


# %% exercise="training.timestep_embedding"
def timestep_embedding(t, size):
    """Waves of a timestep. t: (B,) integers, size: an even number. Returns (B, size)."""
    ### BEGIN SOLUTION
    half = size // 2
    rates = 10000 ** (-torch.arange(half) / half)
    angles = t[:, None] * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("training.timestep_embedding", timestep_embedding)

# %% [markdown]
r"""
**Check.** How alike are two embeddings? All have the same length, so their scalar product tells. It is largest for equal times. It depends only on the distance of the two times, because $\cos a\cos b + \sin a\sin b = \cos(a-b)$.
"""

# %%
waves = unet.timestep_embedding(torch.arange(1000), 128)
alike = waves @ waves.T / 64
plots.curves(
    range(1, 1001),
    {f"with t = {step}": alike[step - 1] for step in (100, 500, 900)},
    xlabel="timestep t",
    ylabel="likeness",
    title="Near timesteps look alike, far ones do not",
)

# %% tags=["nbval-check-output"]
print("alike at distance 0, 1, 10, 100:", [f"{alike[300, 300 + d]:.2f}" for d in (0, 1, 10, 100)])
print("the same elsewhere:             ", [f"{alike[800, 800 + d]:.2f}" for d in (0, 1, 10, 100)])

# %% [markdown]
r"""
## 3. The loop

The network for points is simple. Its input is the point (also written in waves, for the same reason) and the time. It has three hidden layers. Its output is a guess of the noise.
"""

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
model = PointNet()
print(model.layers)
print(sum(weight.numel() for weight in model.parameters()), "weights")

# %% [markdown]
r"""
This is **all of training** (Algorithm 1 of Ho, Jain and Abbeel):

1. take a batch of clean samples;
2. draw a timestep *for each*, and noise;
3. ask the model for the noise in $x_t$, and compute the loss;
4. move the weights a little down the gradient of the loss.

The optimizer, AdamW, keeps a running scale for each weight. So one learning rate suits them all.
"""

# %%
generator = torch.Generator().manual_seed(2)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
by_hand = []
for _ in range(20):
    x0 = mixture.sample(256, generator)
    t = torch.randint(100, (256,), generator=generator)
    noise = torch.randn(x0.shape, generator=generator)
    loss = losses.noise_loss(model, x0, t, noise, alpha_bar)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    by_hand.append(loss.item())

# %% [markdown]
r"""
The package's `training.loop.train` is the same loop, written as a **generator**. After every step it gives control back. So the caller can draw, measure, save, or stop. **Check**: the same seeds give the same losses.
"""


# %% tags=["nbval-check-output"]
def fresh(network=PointNet):
    """A network with the same first weights every time."""
    torch.manual_seed(0)
    return network()


def train_points(model, steps, learning_rate=3e-3, ema_decay=0.99):
    """A training on the smile, as a generator, with the same batches and noise every time."""
    generator = torch.Generator().manual_seed(2)
    batches = (mixture.sample(256, generator) for _ in range(steps))
    options = {"learning_rate": learning_rate, "ema_decay": ema_decay, "generator": generator}
    return loop.train(model, batches, alpha_bar, **options)


by_package = [step.loss for step in train_points(fresh(), 20)]
print("the same 20 losses:", torch.allclose(torch.tensor(by_hand), torch.tensor(by_package)))

# %% [markdown]
r"""
Now train for longer, and keep copies of the network to look at afterwards. (We copy `ema_model`, a running average of the network's weights. Section 4 explains it. Until then read it as "the network".)
"""

# %%
loss_of_step, copies = [], {}
for step in watch(train_points(fresh(), POINT_STEPS), POINT_STEPS):
    loss_of_step.append(step.loss)
    if step.step in (20, 100):
        copies[step.step] = copy.deepcopy(step.ema_model)
trained = copies[step.step] = step.ema_model

plots.curves(
    range(1, len(loss_of_step) + 1),
    {"loss of each batch": loss_of_step, "least possible": [least] * len(loss_of_step)},
    xlabel="step",
    ylabel="loss",
    title="The loss falls fast, then hardly at all",
)

# %% [markdown]
r"""
Is the training done when the curve is flat? We draw samples to find out. `samplers.ddim` takes noise and a model, and walks back in 25 steps. Lesson 04 explains how. Points beyond the frame are left out of the picture. After 20 steps of training about half of them are beyond it.
"""


# %%
@torch.no_grad()
def draw_points(model):
    noise = torch.randn(800, 2, generator=torch.Generator().manual_seed(3))
    timesteps = samplers.spaced_timesteps(100, 25)
    *_, last = samplers.ddim(model, noise, alpha_bar, timesteps)
    return last.x


def framed(points):
    return points[points.abs().amax(dim=1) < 2.5]


drawn = {f"after {step} steps": draw_points(each) for step, each in copies.items()}
drawn["exact denoiser"] = draw_points(exact)
plots.points(
    {name: framed(cloud) for name, cloud in drawn.items()},
    title="A smile appears while the loss is nearly flat",
)

# %% tags=["nbval-check-output"]
loss_after = {step: held_out_loss(each) for step, each in copies.items()}
likely = {name: mixture.log_prob(cloud).median().item() for name, cloud in drawn.items()}
names = list(likely)
print(
    "each is better than the one before, by held-out loss:       ",
    sorted(loss_after.values(), reverse=True) == list(loss_after.values()),
)
print(
    "each puts its points on likelier places than the one before:",
    sorted(likely.values()) == list(likely.values()),
)

# %%
for step in copies:
    print(
        f"after {step:3} steps: loss {loss_after[step]:.3f}, of which {loss_after[step] - least:.3f} could be saved"
    )

# %% [markdown]
r"""
The loss itself does not tell how good the model is. Its distance from the least possible loss does, and after the first steps this distance is small beside the loss. With pictures we cannot know it. We only see a curve that looks flat. So there are two rules:

- **Watch samples, not only the loss.**
- Do not stop only because the loss looks flat.

(Likelier places are not everything either. A cloud in one spot would be likelier still. Lesson 04 comes back to this.)

**At which times is the network good?** Here is the loss by timestep, beside the exact one:
"""


# %%
@torch.no_grad()
def loss_by_time(model):
    x_t = process.q_sample(held_x0, held_t, held_noise, alpha_bar)
    errors = (model(x_t, held_t) - held_noise).square().mean(dim=1)
    return torch.stack([errors[held_t == t].mean() for t in range(100)])


plots.curves(
    range(1, 101),
    {"the network": loss_by_time(trained), "exact": loss_by_time(exact)},
    xlabel="timestep t",
    ylabel="loss",
    title="Noise is easy to guess where there is much of it",
)

# %% [markdown]
r"""
At high $t$ nearly all of $x_t$ is noise, and it is easy to guess. At low $t$ a little noise hides behind the shape of the data. So the average over $t$ mixes very different tasks. Each batch draws other timesteps, and this is one reason why the curve of the loss jumps.

**Does the time matter?** Train the same network once more, but always tell it the first timestep:
"""


# %%
class Timeless(PointNet):
    def forward(self, x_t, t):
        return super().forward(x_t, torch.zeros_like(t))


*_, last = train_points(fresh(Timeless), POINT_STEPS)
timeless = last.ema_model

# %% tags=["nbval-check-output"]
without, with_time = held_out_loss(timeless) - least, held_out_loss(trained) - least
print(
    f"without the time, the avoidable loss is more than twice as large: {without > 2 * with_time}"
)

# %% [markdown]
r"""
## 4. An average that trains along

Every batch pulls the weights in a slightly different direction. Near the end of the training they jitter around a good place. The average of the last steps is nearer to that place.

The **exponential moving average** (EMA) needs no list of old weights. With $\theta$ the weights, $\bar\theta$ their average and $d$ the decay, it does after each step

$$\bar\theta \;\leftarrow\; d\,\bar\theta + (1-d)\,\theta, \qquad d = 0.99,\ 0.999,\ \dots$$

Nearly every published diffusion model samples with $\bar\theta$. The training itself goes on with $\theta$.
"""

# %% [markdown]
r"""
### Exercise: the moving average

`training.ema_update` · easy · 8 minutes

`ema` and `params` are lists of tensors, of the same shapes. Return a list of **new** tensors, the averages after this step. Leave the old ones as they are.
"""


# %% exercise="training.ema_update"
def ema_update(ema, params, decay):
    """New averages. ema, params: lists of tensors, decay: a number below 1."""
    ### BEGIN SOLUTION
    pairs = zip(ema, params, strict=True)
    return [decay * average + (1 - decay) * weight.detach() for average, weight in pairs]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("training.ema_update", ema_update)

# %% [markdown]
r"""
How long is its memory? Let a weight jump from 0 to 1, and wait. After $1/(1-d)$ steps, $1 - d^{1/(1-d)} \approx 1 - 1/e = 63\,\%$ of the jump has arrived.
"""

# %% tags=["nbval-check-output"]
for decay in (0.9, 0.99, 0.999):
    average = [torch.zeros(1)]
    steps = round(1 / (1 - decay))
    for _ in range(steps):
        average = ema.ema_update(average, [torch.ones(1)], decay)
    print(f"decay {decay}: after {steps:4} steps {average[0].item():.2f}")

# %% [markdown]
r"""
A long memory has a price: early on it remembers the random start. So `train` lets the decay grow from nearly 0, with $\min(d,\ s/(s+10))$ at step $s$ of the training.

**Is the average better?** Compare the network as it is with the average of its weights, during one training:
"""

# %%
model, at, raw, averaged = fresh(), [], [], []
for step in train_points(model, POINT_STEPS):
    if step.step % 40 == 0 and step.step >= 200:
        at.append(step.step)
        raw.append(held_out_loss(model) - least)
        averaged.append(held_out_loss(step.ema_model) - least)

plots.curves(
    at,
    {"the network": raw, "the average of its weights": averaged},
    xlabel="step",
    ylabel="avoidable loss",
    title="The average is calmer, and better",
)

# %% tags=["nbval-check-output"]
better = sum(a < r for a, r in zip(averaged, raw, strict=True)) / len(raw)
print(f"the average is better in most comparisons: {better > 0.75}")

# %% [markdown]
r"""
## 5. A U-Net, taken apart

A picture of $16\times16$ pixels has 768 numbers. A layer that connects all with all would have to learn the same edge anew at every place. So the network for pictures uses **convolutions**. They look through a window of $3\times3$ pixels and do the same everywhere.

Ours is in `tlab_diffusion/diffusion/unet.py`, a little more than a hundred lines. Its plan goes down and up again, like a ladder:

```
 x_t ─ conv_in ─ block ──────────── skip ───────────── block ─ conv_out ─ noise     16 x 16, 32 channels
                   └ halve ─ block ─ attention ─ block ─ double ┘                    8 x  8, 64 channels
```
"""

# %%
torch.manual_seed(0)
net = unet.UNet(3, channels=(32, 64))
shapes = []
for name, part in net.named_children():
    for each in part if isinstance(part, nn.ModuleList) else [part]:
        each.register_forward_hook(
            lambda module, inputs, output, name=name: shapes.append((name, tuple(output.shape)))
        )

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(4)
picture, t = torch.randn(1, 3, 16, 16, generator=generator), torch.tensor([30])
out = net(picture, t)
for name, shape in shapes:
    print(f"{name:17} {shape}")
print(sum(weight.numel() for weight in net.parameters()), "weights")

# %% [markdown]
r"""
Here is each part with its reason.

**The ladder.** A stack of $3\times3$ windows sees far only if it is deep. Halve the picture, and the same window covers twice as much.

How far does the network see? We change one pixel in the corner and look where the output changes. The folded cell below does this. It switches off attention and the norms, because both look at the whole picture at once.
"""


# %% tags=["hide-input"]
class Nothing(nn.Module):
    def forward(self, x):
        return x


def reach(*channels):
    """How many of the 32 pixels of the top row notice a change in the corner pixel."""
    torch.manual_seed(0)
    net = unet.UNet(3, channels)
    nn.init.normal_(net.conv_out.weight)
    net.middle_attention = net.norm_out = Nothing()
    for block in net.modules():
        if isinstance(block, unet.ResidualBlock):
            block.norm1 = block.norm2 = Nothing()
    net.double()  # float32 would round away what arrives from afar
    torch.set_default_dtype(torch.float64)
    before = torch.zeros(1, 3, 32, 32)
    after = before.clone()
    after[0, :, 0, 0] = 1
    t = torch.tensor([30])
    with torch.no_grad():
        changed = (net(after, t) - net(before, t)).abs().sum(dim=(0, 1))
    torch.set_default_dtype(torch.float32)
    return int((changed[0] > 0).nonzero().max()) + 1


# %% tags=["nbval-check-output"]
print("no ladder:  ", reach(16), "of 32 pixels")
print("one rung:   ", reach(16, 16), "of 32 pixels")
print("two rungs:  ", reach(16, 16, 16), "of 32 pixels")

# %% [markdown]
r"""
(A rung also brings more layers. Without halving, as many layers would reach 13 and 19 pixels. The rest comes from the ladder.)

**The skips.** On the way down, detail is lost. A picture of $8\times8$ cannot say which pixel is noisy. So each rung of the way up also gets what the way down had at that size. This is a skip.

**The residual block.** It has two convolutions, and their result is *added* to the input. So a block changes only what it can improve, and gradients find a short way through.

**The time** enters every block. The embedding goes through a small network. Each block turns the result into one number a channel, and adds it everywhere in the picture.

**Check.** Compare two times. What leaves the first convolution *with the time added* should differ by the same amount at each pixel, and the difference should reach the block's output.
"""

# %% tags=["nbval-check-output"]
block = net.middle_in
features = torch.randn(1, 64, 8, 8, generator=generator)
early, late = (net.time(unet.timestep_embedding(torch.tensor([t]), 32)) for t in (5, 900))
seen = []
hook = block.norm2.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
changed = (block(features, early) - block(features, late)).abs().max()
hook.remove()
shift = seen[0] - seen[1]
print(
    "the same shift at every pixel:",
    torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-5),
)
print("and it reaches the output:    ", bool(changed > 0.01))

# %% [markdown]
r"""
**The norms** keep numbers in range. A *group* norm takes a few channels together, subtracts their mean and divides by their spread. It does this for each picture by itself, so the other pictures of the batch do not matter.

**Attention** works at the bottom, where the picture is small. Every place asks every other place. So it connects the two ears of a cat in one step. By itself it does not know *where* things are: if the places are shuffled, the result is shuffled in the same way.
"""

# %% tags=["nbval-check-output"]
places = torch.randperm(64, generator=generator)


def shuffled(x):
    return x.flatten(2)[:, :, places].reshape(x.shape)


attention = net.middle_attention
same = torch.allclose(attention(shuffled(features)), shuffled(attention(features)), atol=1e-5)
print("shuffled in, shuffled out? attention:  ", same)
convolution = net.middle_in.conv1
same = torch.allclose(convolution(shuffled(features)), shuffled(convolution(features)), atol=1e-5)
print("shuffled in, shuffled out? convolution:", same)

# %% [markdown]
r"""
So attention connects far places, and the convolutions know what is beside what. A U-Net needs both.

**The last layer starts at 0**, so an untrained network answers 0 everywhere. For a network that predicts noise the first loss is then 1, whatever the random weights. (For one that predicts $x_0$, as in section 6, it is the mean square of the pictures, about 0.3.) If your first loss is 50, something is wrong.
"""

# %% tags=["nbval-check-output"]
picture_bar = schedules.alphas_cumprod(schedules.cosine_betas(1000))
cats = pixel_cats(512)
t = torch.randint(1000, (512,), generator=generator)
noise = torch.randn(cats.shape, generator=generator)
with torch.no_grad():
    first = losses.noise_loss(net, cats, t, noise, picture_bar)
print(f"first loss: {first:.2f}")

# %% [markdown]
r"""
## 6. Pictures

These are the pictures to learn: cats in a meadow, $16\times16$ pixels. Each cat has one of a few colours and a pose of its own, under a slightly different sky. Place, view and style are fixed, so that a small network learns something in half a minute.
"""

# %%
plots.picture_grid(cats[:16], [""] * 16, columns=8, title="Sixteen of 512 cats")

# %% [markdown]
r"""
One choice is left: *what to predict*. As targets, noise, $x_0$ and $v$ weigh the timesteps differently (lesson 02, section 9). The loss of the noise gives most weight to low noise, where the last details are decided. The loss of $x_0$ gives more weight to high noise, where it is decided whether there is a cat and what colour it has.

With half a minute to spend we want the cat first: `prediction_type="sample"`. (Large models have time to learn both, and mostly predict noise or $v$.)

The training is a generator. So we take some steps, look, and go on. `watch` shows a bar, the loss, and what the network draws. The stop button of the toolbar interrupts the training; run the cell again to go on.
"""

# %%
torch.manual_seed(0)
net = unet.UNet(3, channels=(32, 64))
generator = torch.Generator().manual_seed(0)
batches = (cats[torch.randint(len(cats), (16,), generator=generator)] for _ in range(PICTURE_STEPS))
trainer = loop.train(
    net,
    batches,
    picture_bar,
    learning_rate=2e-3,
    ema_decay=0.98,
    prediction_type="sample",
    generator=generator,
)


@torch.no_grad()
def draw_cats(model, number=8):
    noise = torch.randn(number, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    timesteps = samplers.spaced_timesteps(1000, 25)
    *_, last = samplers.ddim(model, noise, picture_bar, timesteps, prediction_type="sample")
    return last.x


picture_losses, latest = [], {}


def train_until(share):
    """Train until a share of all steps is done; returns the averaged model."""
    total = round(share * PICTURE_STEPS)
    rest = islice(trainer, max(0, total - len(picture_losses)))
    view = {"draw": lambda step: draw_cats(step.ema_model), "losses": picture_losses}
    for step in watch(rest, total, **view):
        picture_losses.append(step.loss)
        latest["model"] = step.ema_model
    return latest["model"]


ema_net = train_until(0.2)
plots.picture_strip(
    draw_cats(ema_net), [""] * 8, title="A fifth of the way: the sky, and something in it"
)

# %%
ema_net = train_until(0.6)
plots.picture_strip(draw_cats(ema_net), [""] * 8, title="Three fifths: a shape can be seen")

# %%
ema_net = train_until(1)
plots.picture_strip(draw_cats(ema_net), [""] * 8, title="At the end: cats, still a little unclear")

# %%
plots.curves(
    range(1, len(picture_losses) + 1),
    {"loss of each batch": picture_losses},
    xlabel="step",
    ylabel="loss of x0",
    title="The loss of the U-Net",
    log="y",
)

# %% [markdown]
r"""
Each column starts from the same noise at all three times. So you can follow one cat as the network learns.

**Check.** Are these new cats, or copies of the 512? For each sample find the nearest picture of the training set. As a ruler, take the distance of a real but unseen cat to its nearest one. A copy would be much nearer than that.
"""

# %%
unseen = pixel_cats(600)[512:]


def nearest(pictures):
    """Root mean squared distance to the nearest training picture, and which it is."""
    distances = torch.cdist(pictures.flatten(1), cats.flatten(1)) / 768**0.5
    return distances.min(dim=1)


samples = draw_cats(ema_net, 16).clamp(-1, 1)
both = torch.cat([samples[:8], cats[nearest(samples).indices[:8]]])
labels = [f"sample {i}" for i in range(1, 9)] + ["nearest"] * 8
plots.picture_grid(
    both, labels, columns=8, title="Samples, and below each the nearest training picture"
)

# %% tags=["nbval-check-output"]
ruler = nearest(unseen).values.median()
copied = (nearest(samples).values < 0.2 * ruler).float().mean()
print(f"samples that are copies: {copied:.0%}")

# %% [markdown]
r"""
What does the network see? Give one unseen cat more and more noise, and ask for $\hat x_0$. At little noise its colour and outline come back. (The eyes need a longer training.) Where all is hidden, the answer is the mean of all cats, the blur of lesson 02. As there, it is the right answer.
"""

# %%
shown = torch.tensor([100, 300, 500, 700, 900, 1000])
cat = unseen[1].expand(6, -1, -1, -1)
noise = torch.randn(3, 16, 16, generator=generator).expand_as(cat)
noisy = process.q_sample(cat, shown - 1, noise, picture_bar)
with torch.no_grad():
    guess = ema_net(noisy, shown - 1)
labels = [f"x_t, t = {t}" for t in shown] + ["guess of x0"] * 6
plots.picture_grid(
    torch.cat([noisy, guess]), labels, columns=6, title="What the network sees behind the noise"
)

# %% tags=["nbval-check-output"]
mean_cat = cats.mean(dim=0)
off = (guess[-1] - mean_cat).square().mean().sqrt()
print(f"at t = 1000 the guess is near the mean of all cats: {bool(off < 0.15)}")

# %% [markdown]
r"""
**Can we say which cat we want?** So far the network decides the colour. Now we tell it. The colour is the **condition** $c$, and the network is called as `model(x_t, t, c)`.

Inside, $c$ goes the way of the time. Each colour has a row of numbers, which are learned. The row is added to the time's row, and so it reaches every block.

A batch is now a pair: cats, and the colour of each. The rest of the training is the same. Half the steps are enough to see what $c$ does.
"""

# %%
colour_of_cat = cat_colours(512)
colours = sorted(set(colour_of_cat))
labels = torch.tensor([colours.index(colour) for colour in colour_of_cat])


def batches_with_colours(steps):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(cats), (16,), generator=generator)
        yield cats[chosen], labels[chosen]


torch.manual_seed(0)
training = loop.train(
    unet.UNet(3, channels=(32, 64), num_classes=len(colours)),
    batches_with_colours(PICTURE_STEPS // 2),
    picture_bar,
    learning_rate=2e-3,
    ema_decay=0.98,
    prediction_type="sample",
    generator=torch.Generator().manual_seed(1),
)
*_, last = watch(training, PICTURE_STEPS // 2)
told = last.ema_model

# %%
painted = {}
for label, colour in enumerate(colours):
    condition = torch.full((8,), label)
    painted[colour] = draw_cats(lambda x_t, t, c=condition: told(x_t, t, c))

captions = [text for colour in colours for text in [f"c = {colour}"] + [""] * 7]
plots.picture_grid(
    torch.cat(list(painted.values())),
    captions,
    columns=8,
    title="Each row is told its colour; each column starts from the same noise",
)

# %% [markdown]
r"""
**Check.** Compare each sample with the mean cat of each colour. The nearest mean should be that of the colour we asked for. The noise still decides the pose and the sky. In lesson 05, $c$ is a caption.
"""

# %% tags=["nbval-check-output"]
means = torch.stack([cats[labels == label].mean(dim=0) for label in range(len(colours))])
samples = torch.cat(list(painted.values()))
nearest_mean = torch.cdist(samples.flatten(1), means.flatten(1)).argmin(dim=1)
right = (nearest_mean == torch.arange(len(colours)).repeat_interleave(8)).float().mean()
print(f"at least nine in ten samples have the colour that was asked for: {bool(right >= 0.9)}")

# %% [markdown]
r"""
## 7. Watch it live

Press the button. On the left is the loss (grey: of each batch, blue: their running mean, dashed: the least possible). In the middle are the data. On the right is what the averaged network draws now, always from the same noise. Find out:

1. At what loss do the eyes come apart? How far is the dashed line then?
2. Set the rate to 0.03, then to 0.0001. Both learn badly. How does each look?
3. Go back to 0.03, and compare EMA decay 0 with 0.99.
4. Set the rate to 0.003 and the decay to 0.99, change the data to cats, and train 300 steps (half a minute).

How both trainings go, as a still picture:

![Two trainings, points of a smile above and pictures of cats below: the falling loss, samples at three moments, and the data](figures/training.png)
"""

# %%
training_view()

# %% [markdown]
r"""
### Exercise: find the bug

`training.find_the_bug` · hard · 15 minutes

Four pieces of code from networks and their training, each with one faulty line. Return its number. Where two lines stand in the wrong order, name the one that does the harm. (In snippet 2, `train_step` draws $t$ and the noise itself. That is not the bug.)
"""

# %%
snippets("training.find_the_bug")


# %% exercise="training.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 4, 2: 2, 3: 4, 4: 7}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("training.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## What to keep

- Training is four lines: a batch, a timestep and a noise for each sample, the loss, a step down its gradient.
- The time is told in waves, fast and slow, to every block of the network.
- The loss has a floor above 0, which for pictures nobody knows. A flat curve does not mean that the training is finished. Look at samples.
- Sample with the moving average of the weights. Its memory is $1/(1-d)$ steps.
- A U-Net sees far through its ladder, stays sharp through its skips, and starts with the answer 0.

**Read on** Ho, Jain, Abbeel (arXiv:2006.11239), algorithm 1 and appendix B · Ronneberger, Fischer, Brox, *U-Net* (arXiv:1505.04597) · Vaswani and others, *Attention Is All You Need* (arXiv:1706.03762), section 3.5 · Tancik and others, *Fourier Features* (arXiv:2006.10739) · Karras and others, *Analyzing and Improving the Training Dynamics of Diffusion Models* (arXiv:2312.02696), on averages chosen after the training.

**Next** in [lesson 04](04_sampling.ipynb): sampling. Here we used `samplers.ddim` without explanation. There you write its step yourself.
"""

# %%
progress()
