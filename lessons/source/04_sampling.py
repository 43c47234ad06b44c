# %% [markdown]
r"""
# 04 · Sampling

A model that knows the noise does not yet draw. This lesson walks the chain backwards. First it takes many small steps with fresh noise in each, as derived. Then it leaves the noise out, and takes fifty steps, or ten. The model is always **exact**. So every error comes from the sampler and can be measured.

**After this lesson you can**

- write the denoising step and say what its constant $\sigma_t$ does, for both usual choices;
- jump over timesteps with DDIM, with or without noise;
- say why a second-order solver needs fewer steps, and measure its order;
- draw pictures from a closed formula, and start the chain where it should start.

**Time** about 80 minutes, 3 exercises. **You need** lessons 01 and 02. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import numpy as np
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.widgets import sampler_explorer
from tlab_diffusion.course.widgets.sampling import smile, some_pictures
from tlab_diffusion.diffusion import parameterization, process, samplers, schedules
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

STEPS = 200  # of the long chains of this lesson

# %% [markdown]
r"""
## 1. From here to there

Our data are points in the plane that form a face: a mixture of 31 narrow bumps. The schedule is the linear one of lesson 01, with $T = 1000$. A mixture's best denoiser is a closed formula (lesson 02). So `model(x_t, t)` below answers what a perfectly trained network would.

> **Counting.** $t$ runs from $T$ down to 1, and $x_0$ is clean. In code, step $t$ has the index $t-1$. An argument `t` and the numbers of a `path` are indices: 999 is $t = 1000$, and $-1$ is the clean sample.
"""

# %%
betas = schedules.linear_betas(1000)
alpha_bar = schedules.alphas_cumprod(betas)
face = smile()
model = face.denoiser(alpha_bar)  # model(x_t, t) predicts the noise

generator = torch.Generator().manual_seed(0)
truth = face.sample(1500, generator)
x_T = torch.randn(1500, 2, generator=generator)
plots.points({"start: pure noise": x_T, "aim: the data": truth}, title="Two clouds, and no way yet")

# %% [markdown]
r"""
How good is a cloud of samples? We know the density of the truth. So we can compute how **surprised** it is by the samples: $-\log q(x_0)$, on average. Points off the face make this number large.

Smaller is not always better. A cloud in the very middle of each bump surprises *less* than the truth does. Good samples have the value of the truth.
"""


# %% tags=["nbval-check-output"]
def surprise(points):
    return -face.log_prob(points).mean().item()


print(f"surprise of the truth {surprise(truth):.1f}, of pure noise {surprise(x_T):.0f}")

# %% [markdown]
r"""
## 2. The denoising step

Step $t$ back does three things:

1. it takes away the share of the noise that step $t$ had added;
2. it stretches what is left, because the noising step had shrunk it;
3. it adds a little new noise.

The first two give the mean $\hat x_{t-1}$ of lesson 02. With fresh noise $z\sim\mathcal N(0,I)$ of size $\sigma_t$ the step is

$$x_{t-1} = \underbrace{\frac1{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\right)}_{\hat x_{t-1}} \;+\; \sigma_t z .$$

Here $\alpha_t = 1-\beta_t$, $\bar\alpha_t$ is the product of the alphas up to $t$, and $\epsilon_\theta$ is the model's guess of the noise. The last step back, $t=1$, leads to the clean sample. No noise is added there.

This is **ancestral sampling**: each sample is drawn given its noisy ancestor.
"""

# %% [markdown]
r"""
### Exercise: the denoising step

`sampling.ddpm_step` · medium · 12 minutes

A batch mixes timesteps. `t` holds their indices. `step_std` is (T,) and holds $\sigma_t$, as the caller has chosen it. Samples at the index `t = 0` get no noise.
"""


# %% exercise="sampling.ddpm_step"
def ddpm_step(x_t, t, eps_pred, betas, step_std, noise):
    """One denoising step.

    x_t, eps_pred, noise: (B, ...), t: (B,) integers, betas and step_std: (T,).
    Returns x_{t-1}, shaped like x_t.
    """
    ### BEGIN SOLUTION
    shape = (-1, *[1] * (x_t.ndim - 1))
    bar_t = torch.cumprod(1 - betas, dim=0)[t].reshape(shape)
    beta_t, sigma_t = betas[t].reshape(shape), step_std[t].reshape(shape)
    mean = (x_t - beta_t / (1 - bar_t).sqrt() * eps_pred) / (1 - beta_t).sqrt()
    return mean + (t > 0).reshape(shape) * sigma_t * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("sampling.ddpm_step", ddpm_step)

# %% [markdown]
r"""
Now the whole chain. To save time we visit 200 of the 1000 timesteps, evenly spaced. Such a **shorter chain** is a chain of its own. Its $\bar\alpha$ are those of the visited timesteps. So its betas are larger: $\beta = 1 - \bar\alpha_t/\bar\alpha_{t'}$, where $t'$ is the timestep visited next. The step function stays the same. Only the model is told the true timestep.
"""

# %%
step_back = reference("sampling.ddpm_step")


def walk_back(x, path, sigma_of, seed=1):
    """Ancestral sampling over the timesteps of a falling path; returns every sample on the way."""
    generator = torch.Generator().manual_seed(seed)
    chain = schedules.respaced_betas(betas, path)
    step_std, way = sigma_of(chain), [x]
    for index, t in zip(reversed(range(len(path))), path, strict=True):
        eps_pred = model(x, torch.full((len(x),), t))
        noise = torch.randn(x.shape, generator=generator)
        x = step_back(x, torch.full((len(x),), index), eps_pred, chain, step_std, noise)
        way.append(x)
    return way


path = samplers.spaced_timesteps(1000, STEPS)  # 999, 994, ..., 4
way = walk_back(x_T, path, samplers.ancestral_std)
moments = [int(STEPS * share) for share in (0.4, 0.7, 0.85, 1)]
plots.points(
    {f"after {k} of {STEPS} steps": way[k] for k in moments},
    title="The face comes out of the noise, late",
)

# %% tags=["nbval-check-output"]
print(f"surprise of the samples {surprise(way[-1]):.1f}, of the truth {surprise(truth):.1f}")

# %% [markdown]
r"""
## 3. What sigma does

How much noise should a step add? Here are four choices of $\sigma_t$ on the face, all in the same 200 steps. The names are explained below.
"""

# %%
choices = {
    "none": lambda chain: torch.zeros_like(chain),
    "small": lambda chain: samplers.ancestral_std(chain, "small"),
    "large": lambda chain: samplers.ancestral_std(chain, "large"),
    "large, doubled": lambda chain: 2 * samplers.ancestral_std(chain, "large"),
}
ends = {name: walk_back(x_T, path, sigma_of)[-1] for name, sigma_of in choices.items()}
plots.points(ends, title="No noise: a single spot. Too much: a blurred face. Between: a face")

# %% tags=["nbval-check-output"]
print(f"truth: surprise {surprise(truth):.1f}")
for name, end in ends.items():
    print(f"sigma {name}: {surprise(end):.1f}")

# %% [markdown]
r"""
The mean step pulls every point towards the best guess. At high noise this guess is the same for all points: the middle of the data. Without new noise, step after step pulls the whole cloud into one spot. (As the noise falls, the spot slides into the mouth, the nearest part of the face.) The noise $\sigma_t z$ gives back the spread that the averaging takes.

How much is right? The true step back, $q(x_{t-1}\mid x_t)$, has a variance that depends on the data. Two extremes can be computed:

- data that are **one single point**. Then $x_0$ is known, and the step back is the posterior of lesson 02. Its variance is $\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$. This is the **small** sigma.
- data that are **standard normal**. Then the variance is $\beta_t$. This is the **large** sigma.

**Check.** For normal data of standard deviation $s$ the true variance is a formula. It is the posterior's variance, plus the variance of $x_0$ given $x_t$ times its weight squared. Here it is in units of $\beta_t$, the large choice. (The column $s=0$ is the small one.)
"""

# %% tags=["nbval-check-output"]
precise, precise_bar = betas.double(), schedules.alphas_cumprod(betas.double())
one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
print("true variance of a step back, in units of beta:")
for t in (1, 3, 9, 99):
    x0_weight, tilde = process.posterior(one, zero, torch.tensor([t]), precise)
    left = precise_bar[t]
    ratios = []
    for s in (0.0, 0.01, 0.1, 1.0):
        unknown = s**2 * (1 - left) / (s**2 * left + 1 - left)  # Var[x0 | x_t]
        ratio = (tilde + x0_weight**2 * unknown) / precise[t]
        ratios.append(f"{ratio.item():.3f} at s = {s:g}")
    print(f"t = {t + 1:3}:", ", ".join(ratios))

# %% [markdown]
r"""
For normal data with $s$ between 0 and 1 the truth lies between the two choices. (For other data of variance at most 1 this holds on average over $x_t$. Between two bumps the true variance can be larger.) After the first steps the two hardly differ, so with a thousand steps either will do. With fewer, larger steps they differ more.

Now look at the surprise of the four clouds. The small sigma gives back a little too little: its points surprise *less* than the truth. The bumps are more than single points, and its points stay too close to their middles.

With **few** steps neither choice works:
"""

# %%
short = samplers.spaced_timesteps(1000, 15)
short_ends = {
    f"{name}, 15 steps": walk_back(x_T, short, choices[name])[-1] for name in ("small", "large")
}
plots.points(short_ends | {"truth": truth}, title="In fifteen steps, points are lost on the way")

# %% tags=["nbval-check-output"]
for name, end in short_ends.items():
    print(f"sigma {name}: surprise {surprise(end):.0f}")

# %% [markdown]
r"""
Points are left between eyes, mouth and rim, where there are no data. Lesson 02, section 2, showed the reason. Over a large step, the way back is *this* bump or *that*. No single normal distribution can say so, whatever its sigma.
"""

# %% [markdown]
r"""
## 4. DDIM: the same model, other ways

The loss of lesson 02 never uses a chain. It needs only $q(x_t\mid x_0)$: a clean sample, a level and a noise. So the same model can walk **any** way back that keeps these $q(x_t\mid x_0)$. Song, Meng and Ermon (2021) describe a whole family of ways.

First the picture. At $\eta = 0$ (on the left) no noise is added, and the ways are smooth. At $\eta = 1$ (on the right) they are as rough as in ancestral sampling:
"""

# %%
few = samplers.spaced_timesteps(1000, 50)
ways = {}
for eta in (0.0, 1.0):
    source = torch.Generator().manual_seed(1)
    steps = samplers.ddim(model, x_T[:8], alpha_bar, few, eta=eta, generator=source)
    ways[f"eta = {eta:.0f}: eight ways, 50 steps each"] = torch.cat(
        [x_T[:8], *(s.x for s in steps)]
    )
plots.points(ways, title="The same eight starts, without and with noise on the way")

# %% [markdown]
r"""
A DDIM step takes the model's guess of the noise as the true noise. It does two things:

1. it computes the clean sample that belongs to this noise,

   $$\hat x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}} ;$$

2. it noises $\hat x_0$ again, to an earlier timestep $t'$. It uses partly the *old* noise $\epsilon_\theta$ and partly *fresh* noise $z$ of size $\sigma$:

   $$x_{t'} = \sqrt{\bar\alpha_{t'}}\;\hat x_0 \;+\; \sqrt{1-\bar\alpha_{t'}-\sigma^2}\;\epsilon_\theta \;+\; \sigma z .$$

Variances add up: old and fresh noise together always make $1-\bar\alpha_{t'}$, the level that $t'$ should have. The size of the fresh noise is

$$\sigma = \eta\,\sqrt{\frac{1-\bar\alpha_{t'}}{1-\bar\alpha_t}}\,\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_{t'}}} .$$

$\eta$ is chosen from 0 (only the start is random) to 1 (as much noise as ancestral sampling with the small sigma).

> **Beware.** The DDIM paper writes $\alpha_t$ for what we, and most others, call $\bar\alpha_t$. With plain alphas its formulas run without an error, and give wrong samples.
"""

# %% [markdown]
r"""
### Exercise: the DDIM step

`sampling.ddim_step` · hard · 18 minutes

`t` and `t_prev` are indices, and `t_prev` is $t'$. It may be −1: the clean sample, where $\bar\alpha$ is 1.
"""


# %% exercise="sampling.ddim_step"
def ddim_step(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    """A step from t to any earlier t_prev.

    x_t, eps_pred, noise: (B, ...), t and t_prev: (B,) integers, alphas_cumprod: (T,), eta: 0 to 1.
    Returns the sample at t_prev, shaped like x_t.
    """
    ### BEGIN SOLUTION
    padded = torch.cat([alphas_cumprod, torch.ones_like(alphas_cumprod[:1])])
    shape = (-1, *[1] * (x_t.ndim - 1))
    bar_t, bar_prev = padded[t].reshape(shape), padded[t_prev].reshape(shape)  # [-1] is the 1
    x0 = (x_t - (1 - bar_t).sqrt() * eps_pred) / bar_t.sqrt()
    variance = eta**2 * (1 - bar_prev) / (1 - bar_t) * (1 - bar_t / bar_prev)
    direction = (1 - bar_prev - variance).clamp(min=0).sqrt() * eps_pred
    return bar_prev.sqrt() * x0 + direction + variance.sqrt() * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("sampling.ddim_step", ddim_step)

# %% [markdown]
r"""
**Check** three properties:

- with the true noise, one jump returns $x_0$;
- with $\eta=1$ over the same timesteps, DDIM *is* ancestral sampling with the small sigma;
- with $\eta=0$, only the start is random.
"""

# %% tags=["nbval-check-output"]
jump = reference("sampling.ddim_step")
noise = torch.randn(truth.shape, generator=generator).double()
t = torch.full((len(truth),), 700)
noisy = process.q_sample(truth.double(), t, noise, precise_bar)
landed = jump(noisy, t, torch.full_like(t, -1), noise, precise_bar, 0.0, noise)
print("one jump with the true noise returns x0:", torch.allclose(landed, truth.double()))


def ddim(x, path, eta=0.0, seed=1):
    """The finished sample of DDIM over a falling path."""
    generator = torch.Generator().manual_seed(seed)
    *_, last = samplers.ddim(model, x, alpha_bar, path, eta=eta, generator=generator)
    return last.x


small = walk_back(x_T, path, choices["small"])[-1]
same = torch.allclose(ddim(x_T, path, eta=1.0), small, atol=1e-3)
print("eta = 1 is ancestral sampling, small sigma:", same)
print("eta = 0, other seed, same samples:", torch.equal(ddim(x_T, path), ddim(x_T, path, seed=2)))

# %% [markdown]
r"""
With $\eta = 0$ the chain is a **map** from noise to samples. Each start has its one end. With enough steps, their number hardly moves this end.

So the noise works like an address. Keep the seed, and more steps only refine the picture. The same noise with another prompt often gives a picture of the same layout. (Lesson 06 walks between two such addresses.) Compare 50 and 200 steps from the same starts:
"""

# %% tags=["nbval-check-output"]
fewer = samplers.spaced_timesteps(1000, 50)
for eta in (0.0, 0.5, 1.0):
    distance = (ddim(x_T, fewer, eta, seed=3) - ddim(x_T, path, eta)).norm(dim=1).median()
    print(f"eta = {eta:.1f}: 50 and 200 steps end {distance:.1f} apart (median)")

# %% [markdown]
r"""
## 5. A solver that looks back

> **Skip the formulas on first reading.** The result: small steps of DDIM with $\eta=0$ follow a smooth curve, with an error that halves when the step halves. DPM-Solver++ (2M) also uses the guess before. Its error falls to a quarter.

The next picture shows where the error comes from. It follows three points from noise (left) to data (right), and draws the model's guess of their clean place. With few steps, much of this change happens *within* a step.
"""


# %%
hundred = samplers.spaced_timesteps(1000, 100)
half_log_snr = schedules.snr(alpha_bar).log() / 2
guesses = torch.stack(
    [step.x0_pred[:3, 0] for step in samplers.ddim(model, x_T, alpha_bar, hundred)]
)
plots.curves(
    half_log_snr[hundred],
    {f"point {number + 1}": guesses[:, number] for number in range(3)},
    xlabel="half the log SNR",
    ylabel="guess of x0 (horizontal)",
    title="The guess changes on the way, but DDIM holds it still during a step",
)

# %% [markdown]
r"""
Which curve does DDIM follow? Write $a=\sqrt{\bar\alpha}$ and $b=\sqrt{1-\bar\alpha}$. Measure time by $\lambda = \log(a/b)$, which is half the log SNR. A DDIM step of length $h = \lambda_{t'}-\lambda_t$ then reads

$$x_{t'} = \frac{b_{t'}}{b_t}\,x_t \;-\; a_{t'}\left(e^{-h}-1\right)\hat x_0 .$$

Now take the differential equation

$$\frac{d}{d\lambda}\left(\frac xb\right) = e^\lambda\,\hat x_0 .$$

If $\hat x_0$ stays constant during the step, the DDIM step is its *exact* solution. (Integrate from $\lambda_t$ to $\lambda_{t'}$, with $e^\lambda=a/b$.)

But $\hat x_0$ changes on the way: the guess gets sharper as noise leaves. DDIM ignores this change, and that is its error. Such a solver is of **first order**: half the step, half the error.

DPM-Solver++(2M) (Lu and others 2022) calls the model just as often. It remembers the guess before, $\hat x_0^{\text{old}}$, which was made a step of length $h_{\text{old}}$ ago. It draws the straight line through the two guesses, and uses its value in the middle of the step ahead:

$$D = \hat x_0 + \frac{h}{2h_{\text{old}}}\left(\hat x_0-\hat x_0^{\text{old}}\right)\quad\text{in place of } \hat x_0 .$$

This solver is of **second order**: half the step, a quarter of the error. Here it is as code:
"""


# %%
def two_m(model, x, alpha_bar, path):
    """DPM-Solver++(2M): the finished sample."""
    a, b = alpha_bar.double().sqrt(), (1 - alpha_bar.double()).sqrt()
    lam, guess, h = (a / b).log(), None, None
    for t, t_prev in zip(path[:-1], path[1:], strict=True):
        when = torch.full((len(x),), t)
        old_guess, old_h = guess, h
        guess = parameterization.x0_from_eps(x, when, model(x, when), alpha_bar)
        h = lam[t_prev] - lam[t]
        extrapolated = guess
        if old_guess is not None:
            extrapolated = guess + (h / (2 * old_h)).to(x) * (guess - old_guess)
        kept, pull = b[t_prev] / b[t], a[t_prev] * torch.expm1(-h)
        x = kept.to(x) * x - pull.to(x) * extrapolated
    when = torch.full((len(x),), path[-1])  # the last jump, to the clean sample, lands on the guess
    return parameterization.x0_from_eps(x, when, model(x, when), alpha_bar)


# %% [markdown]
r"""
**Check.** It agrees with the package's solver. Its first step, where no older guess exists, agrees with DDIM's:
"""

# %% tags=["nbval-check-output"]
ten = samplers.spaced_timesteps(1000, 10)
solver_steps = list(samplers.dpm_solver_pp_2m(model, x_T, alpha_bar, ten))
first_of_ddim = next(samplers.ddim(model, x_T, alpha_bar, ten))
ours = two_m(model, x_T, alpha_bar, ten)
print("same samples:", torch.allclose(ours, solver_steps[-1].x, atol=1e-3))
print("same first step:", torch.allclose(solver_steps[0].x, first_of_ddim.x, atol=1e-3))

# %% [markdown]
r"""
## 6. Quality against steps, measured

To measure the error we need the exact end of each curve. In **one dimension** there is a short way to it.

- Curves of a differential equation never cross. So points on a line keep their order.
- At every time the points are spread like $q(x_t)$. (This equation is made for it. It is called the *probability flow*, Song and others 2021, arXiv:2011.13456.)

So a point that starts with 30 % of all noise to its left ends with 30 % of all *data* to its left. The exact end is a **quantile** of the data, and no solver is needed to find it.

We take the two bumps of lesson 02, start at 400 evenly spread quantiles, and measure the mean distance to the exact ends.
"""

# %% tags=["hide-input"]
bumps = GaussianMixture(
    weights=torch.tensor([0.4, 0.6]).double(),
    means=torch.tensor([[-1.2], [0.8]]).double(),
    covariances=torch.tensor([[[0.03]], [[0.08]]]).double(),
)
bumps_model = bumps.denoiser(precise_bar)
grid = torch.linspace(-4, 4, 200_001).double()


def share_below(mixture, x):
    """The share of a one-dimensional mixture that lies below each x (N,)."""
    std = mixture.covariances[:, 0, 0].sqrt()
    return (mixture.weights * torch.special.ndtr((x[:, None] - mixture.means[:, 0]) / std)).sum(1)


def quantiles(mixture, shares):
    return torch.from_numpy(np.interp(shares, share_below(mixture, grid), grid))


evenly = (torch.arange(400).double() + 0.5) / 400
starts = torch.special.ndtri(evenly)[:, None]  # quantiles of standard normal noise
exact_ends = quantiles(bumps, share_below(bumps.noised(precise_bar[-1].item()), starts[:, 0]))

counts = (5, 10, 20, 50, 100, 200)
errors = {"DDIM, eta = 0": [], "DPM-Solver++ (2M)": []}
for count in counts:
    path_1d = samplers.spaced_timesteps(1000, count)
    runs = (
        samplers.ddim(bumps_model, starts, precise_bar, path_1d),
        samplers.dpm_solver_pp_2m(bumps_model, starts, precise_bar, path_1d),
    )
    for name, run in zip(errors, runs, strict=True):
        *_, last = run
        errors[name].append((last.x[:, 0] - exact_ends).abs().mean().item())

slopes = {
    "slope -1": [errors["DDIM, eta = 0"][2] * 20 / count for count in counts],
    "slope -2": [errors["DPM-Solver++ (2M)"][3] * (50 / count) ** 2 for count in counts],
}
plots.curves(
    counts,
    errors | slopes,
    xlabel="steps",
    ylabel="mean distance to the exact end",
    title="DDIM is of first order, DPM-Solver++ (2M) of second",
    log="xy",
)

# %% tags=["nbval-check-output"]
for name, values in errors.items():
    order = np.log(values[2] / values[-1]) / np.log(counts[-1] / counts[2])
    print(f"{name}: {counts[2]} to {counts[-1]} steps, measured order {order:.1f}")

# %% [markdown]
r"""
DDIM follows the slope $-1$ from about ten steps on. DPM-Solver++ needs more than twenty before its second order shows. Up to there the two are about alike. (Beyond 200 steps its curve gets less steep, because the last jump, to the clean sample, is only of first order.)

Samplers **with** noise have no exact end. We can compare the *distribution*: sort the samples, sort the truth, and take the mean distance. (This is the Wasserstein distance on a line.) Chance in 10 000 samples sets a floor of about 0.01. The flat line in the figure is one draw of the truth against the truth. (DDIM and DPM-Solver++ share one draw of starts. So they stop at the chance of that draw.)
"""

# %% tags=["hide-input"]
generator = torch.Generator().manual_seed(4)
many = 10_000
starts_many = torch.randn(many, 1, generator=generator).double()
ranks = quantiles(bumps, (torch.arange(many).double() + 0.5) / many)


def miss(samples):
    return (samples[:, 0].sort().values - ranks).abs().mean().item()


misses = {
    "ancestral, small": [],
    "ancestral, large": [],
    "DDIM, eta = 0": [],
    "DPM-Solver++ (2M)": [],
}
for count in counts:
    path_1d = samplers.spaced_timesteps(1000, count)
    options = {"timesteps": path_1d, "generator": generator}
    runs = (
        samplers.ddpm(bumps_model, starts_many, precise, sigma="small", **options),
        samplers.ddpm(bumps_model, starts_many, precise, sigma="large", **options),
        samplers.ddim(bumps_model, starts_many, precise_bar, path_1d),
        samplers.dpm_solver_pp_2m(bumps_model, starts_many, precise_bar, path_1d),
    )
    for name, run in zip(misses, runs, strict=True):
        *_, last = run
        misses[name].append(miss(last.x))
floor = miss(bumps.sample(many, generator))

plots.curves(
    counts,
    misses | {"truth against truth": [floor] * len(counts)},
    xlabel="steps",
    ylabel="distance of the distributions",
    title="The small sigma lags; the others come down to the level of chance",
    log="xy",
)

# %% tags=["nbval-check-output"]
for name, values in misses.items():
    print(f"{name}: {values[1]:.2f} in 10 steps, {values[3]:.2f} in 50, {values[-1]:.2f} in 200")

# %% [markdown]
r"""
With an exact model, noise gains little, and the small sigma loses. A *trained* model makes errors. Without noise an error stays to the end of the curve. Fresh noise covers old errors step by step. So with many steps, samplers with noise can draw the better pictures, and $\eta$ is still of use. (Karras and others 2022, section 4, study this.)

## 7. Play

The next cell shows points on the left and pictures on the right. Choose a sampler and a number of steps. Then press play, or move the slider *step*, to follow the samples on their way. Find out:

1. With DDIM at $\eta=0$ the ways are smooth. What do they look like at $\eta=1$?
2. In 10 steps, which sampler's surprise comes closest to the truth's? And in 20, and in 100?
3. Watch the middle row. At which $t$ has the model decided which picture it will be? What do you see of it in $x_t$ at that moment?
4. Take a single step. Why do all pictures look the same?

Four samplers as a still picture:

![Four samplers in 5, 10 and 50 steps from the same noise: the points they end at over the true face, and the ways of a few of them](figures/samplers.png)
"""

# %%
sampler_explorer(face)

# %% [markdown]
r"""
## 8. Pictures without training

The pictures in the explorer came from no network. Take a small set of pictures and put a narrow round bump around each. This is a mixture again, in $12\,288$ dimensions, and its best denoiser is a formula. The next cell draws with it. Above is the sample on its way, below the denoiser's guess.
"""

# %%
pictures = some_pictures(24)
world = IsotropicMixture(pictures, std=0.05)
draw = world.denoiser(alpha_bar)

generator = torch.Generator().manual_seed(4)
noise_pictures = torch.randn(8, 3, 64, 64, generator=generator)
steps = list(samplers.ddim(draw, noise_pictures, alpha_bar, fewer))
shown = [0, 3, 6, 10, 20, 35, 44, 49]
plots.picture_grid(
    torch.cat([torch.stack([steps[k].x[1], steps[k].x0_pred[1]]) for k in shown])[
        torch.tensor([*range(0, 16, 2), *range(1, 16, 2)])
    ],
    [f"x after t = {steps[k].t + 1}" for k in shown] + ["guess" for _ in shown],
    columns=len(shown),
    title="The guess, below, decides long before the sample, above, shows anything",
)

# %% [markdown]
r"""
The formula is a **softmax** over the distances to all pictures:

$$\hat x_0 \approx \sum_k p_k\,\mu_k,\qquad p = \operatorname{softmax}_k\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,\mu_k\rVert^2}{2(1-\bar\alpha_t)}\right).$$

Here $\mu_k$ is picture number $k$, and $p_k$ is the probability that $x_t$ came from it. At high noise all $p_k$ are alike. The guess is the mean of all pictures, the blur of lesson 02. As the noise falls, one picture wins.

(The bumps have a width of their own, $s$. With it, read $1-\bar\alpha_t+\bar\alpha_t s^2$ for $1-\bar\alpha_t$. A little of $x_t$ then comes into the answer.)
"""

# %%
plots.picture_strip(
    steps[-1].x, [""] * 8, title="Eight pictures drawn by a formula, in fifty steps of DDIM"
)

# %% [markdown]
r"""
These are finished pictures. (The faint grain is what the last jump leaves of the bumps' width, 0.05.) **Check** how far each is from the nearest picture that we put in:
"""


# %% tags=["nbval-check-output"]
def nearest(samples):
    """Index of the nearest picture of the set, and the distance a pixel."""
    distances = torch.cdist(samples.flatten(1), pictures.flatten(1)) / pictures[0].numel() ** 0.5
    return distances.min(dim=1)


apart = torch.cdist(pictures.flatten(1), pictures.flatten(1)) / pictures[0].numel() ** 0.5
apart.fill_diagonal_(torch.inf)
print(f"samples lie at most {nearest(steps[-1].x).values.max():.2f} from a picture of the set,")
print(f"while any two pictures of the set lie at least {apart.min():.1f} apart")

# %% [markdown]
r"""
All are copies. **The perfect denoiser of a training set can only give the training set back.** A network draws *new* pictures because it is not perfect. It cannot memorise every picture, so it has to find what they have in common. This matters when somebody trains a model on five pictures (lesson 08).

How many steps does this model need? One step gives a blur of many pictures. From two steps on the picture is sharp, but it is not always the same one.
"""

# %%
few_steps = (1, 2, 3, 5, 10, 20)
rows = []
for count in few_steps:
    *_, last = samplers.ddim(
        draw, noise_pictures[1:2], alpha_bar, samplers.spaced_timesteps(1000, count)
    )
    rows.append(last.x)
plots.picture_strip(
    torch.cat(rows),
    [f"{count} steps" for count in few_steps],
    title="The same noise in 1 to 20 steps",
)

# %% [markdown]
r"""
But are they the *right* pictures? Each of the 24 should come equally often. This depends on where we start.

## 9. Start at the end

Two details decide whether the first step is right.

**Start at T.** `spaced_timesteps` has two ways to space ten steps. "Leading" spacing visits the indices 900, 800, …, 0. It gives the model pure noise and says "this is step 901". But a real $x_{901}$ still holds some of the picture. "Trailing" spacing visits 999, 899, …, 99. It starts where the noise is.

**Let there be nothing left at T.** Stable Diffusion's schedule leaves 7 % of each pixel's value even at $t = 1000$ (lesson 01), enough to read the brightness. A model that has learned this finds *medium* brightness in pure noise, whose mean is 0. Zero terminal SNR repairs it. The model must then not predict the noise. $v$ is the usual choice, and $x_0$ works too.

**Check.** Draw 200 pictures each way, in 20 steps of DDIM (and two ways in 60). Compare the spread of their brightness with that of the set:
"""

# %%
sd_betas = schedules.scaled_linear_betas(1000)
zero_betas = schedules.rescale_zero_terminal_snr(sd_betas)
ways = {
    "leading": (sd_betas, "leading", 20, "epsilon"),
    "trailing": (sd_betas, "trailing", 20, "epsilon"),
    "trailing, 60 steps": (sd_betas, "trailing", 60, "epsilon"),
    "zero SNR": (zero_betas, "trailing", 20, "v_prediction"),
    "zero SNR, 60 steps": (zero_betas, "trailing", 60, "v_prediction"),
}
generator = torch.Generator().manual_seed(5)
start_pictures = torch.randn(200, 3, 64, 64, generator=generator)
drawn = {}
for name, (some_betas, spacing, count, prediction_type) in ways.items():
    bars = schedules.alphas_cumprod(some_betas)
    exact = world.denoiser(bars, prediction_type)
    visited = samplers.spaced_timesteps(1000, count, spacing)
    *_, last = samplers.ddim(exact, start_pictures, bars, visited, prediction_type=prediction_type)
    drawn[name] = last.x

# %% tags=["nbval-check-output"]
brightness = pictures.mean(dim=(1, 2, 3))
print(f"the set: spread of brightness {brightness.std():.2f}, {len(pictures)} different pictures")
for name, samples in drawn.items():
    kinds = len(nearest(samples).indices.unique())
    spread = samples.mean(dim=(1, 2, 3)).std()
    print(f"{name}: spread {spread:.2f}, {kinds} different pictures")

# %% tags=["hide-input"]
compared = ("leading", "trailing", "zero SNR")
in_order = [drawn[name][drawn[name].mean(dim=(1, 2, 3)).argsort()] for name in compared]
shares = torch.linspace(0, 199, 8).round().long()
sorted_set = pictures[brightness.argsort()][torch.linspace(0, 23, 8).round().long()]
plots.picture_grid(
    torch.cat([sorted_set, *(samples[shares] for samples in in_order)]),
    [name if column == 0 else "" for name in ("the set", *compared) for column in range(8)],
    columns=8,
    title="From dark to bright: a wrong start draws mostly the middle",
)

# %% [markdown]
r"""
With a wrong start a *perfect* model rarely or never draws bright pictures, and more steps do not help. (Medium means 0. Our set reaches to $-0.3$ on the dark side and to 0.6 on the bright side. So the bright pictures get lost.) With zero terminal SNR all 24 come. With more steps the spread comes near the set's.

Why must the model not predict the noise? At $t = T$ the repaired schedule has $\bar\alpha_T = 0$, so $x_T$ *is* the noise. A prediction of $\epsilon$ only repeats the input, and $\hat x_0$ would be a division by 0. ($v$ and $x_0$ do not have this problem.) The package refuses it:
"""

# %% tags=["nbval-check-output"]
try:
    next(samplers.ddim(lambda x, t: x, start_pictures[:1], bars, [999, 499]))
except InputError as error:
    print(error)

# %% [markdown]
r"""
### Exercise: find the bug

`sampling.find_the_bug` · medium · 12 minutes

Four snippets that draw, and draw badly. Each has one faulty line. Return its number.
"""

# %%
snippets("sampling.find_the_bug")


# %% exercise="sampling.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 3, 2: 3, 3: 7, 4: 7}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("sampling.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## What to keep

- A denoising step takes predicted noise away, stretches, and adds fresh noise $\sigma_t z$, which gives back the spread that averaging takes. The two usual sigmas are exact for two extremes of data, and nearly equal when steps are small.
- DDIM noises $\hat x_0$ again to any earlier timestep, with old noise and fresh noise in shares set by $\eta$. With $\eta = 0$ each noise has its one picture.
- DDIM is of first order, DPM-Solver++ (2M) of second, for the same number of model calls.
- Start at $T$, where nothing is left of the picture. Otherwise a perfect model draws the wrong pictures.
- A perfect denoiser of a finite set can only copy it.

**Read on** Ho, Jain, Abbeel (arXiv:2006.11239), section 3.2 · Song, Meng, Ermon, *DDIM* (arXiv:2010.02502) · Lu and others, *DPM-Solver++* (arXiv:2211.01095) · Karras and others, *Elucidating the Design Space* (arXiv:2206.00364) · Lin and others (arXiv:2305.08891).

**Next** comes a model that follows words: [lesson 05](05_text_and_guidance.ipynb), text and guidance.
"""

# %%
progress()
