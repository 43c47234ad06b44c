# %% [markdown]
r"""
# 04 · Sampling

A model that knows the noise is not yet a picture. This lesson walks the chain backwards: first as it was derived, with fresh noise in every one of many small steps, then without, and in fifty steps, or in ten. The model is always **exact**, so whatever goes wrong is the sampler's doing, and can be measured.

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

Our data are points in the plane that form a face: a mixture of 31 narrow bumps. The schedule is the linear one of lesson 01, with $T = 1000$. Lesson 02 showed that a mixture's best denoiser is a closed formula, so `model(x_t, t)` below is what a perfectly trained network would answer.
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
How good is a cloud of samples? We know the density of the truth, so we can ask how **surprised** it is by them: $-\log q(x_0)$, on average. Points off the face make the number large. But beware, smaller is not better: a cloud huddled on the middle of each bump surprises *less* than the truth does. Good samples have the true value.
"""


# %% tags=["nbval-check-output"]
def surprise(points):
    return -face.log_prob(points).mean().item()


print(f"surprise of the truth {surprise(truth):.1f}, of pure noise {surprise(x_T):.0f}")

# %% [markdown]
r"""
## 2. The denoising step

Lesson 02 found the best step back. With fresh noise $z\sim\mathcal N(0,I)$,

$$x_{t-1} = \underbrace{\frac1{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\right)}_{\hat x_{t-1}} \;+\; \sigma_t z .$$

Here $\alpha_t = 1-\beta_t$, $\bar\alpha_t$ is the product of the alphas up to $t$, and $\epsilon_\theta$ is the model's guess of the noise. Read it from the inside: take away the share of the noise that step $t$ had added, stretch what is left (the noising step had shrunk it), and put a little new noise on top. The last step, $t=0$, leads to the clean sample: no noise there.

This is **ancestral sampling**: each sample is drawn given its noisy ancestor.
"""

# %% [markdown]
r"""
### Exercise: the denoising step

`sampling.ddpm_step` · medium · 12 minutes

A batch mixes timesteps. `step_std` is (T,) and holds $\sigma_t$: the caller has chosen. Samples at `t = 0` get no noise.
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
Now the whole chain. A thousand steps are many; we walk 200 of the 1000 timesteps, evenly spaced. Such a **shorter chain** is a chain of its own: its $\bar\alpha$ are those of the visited timesteps, so its betas are larger, $\beta = 1 - \bar\alpha_t/\bar\alpha_{t'}$ with $t'$ the timestep visited next. The step function need not know. Only the model is told the true $t$.
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

In lesson 02, $\sigma_t$ was chosen beforehand, for each $t$. Which one? The true step back, $q(x_{t-1}\mid x_t)$, has a variance that depends on the data. Two extremes can be computed:

- data that are **one single point**: then $x_0$ is known, and the step back is the posterior of lesson 02. Its variance is $\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\beta_t$: the **small** sigma;
- data that are **standard normal**: then the variance is $\beta_t$: the **large** sigma.

**Check.** For normal data of standard deviation $s$ everything is a formula: the posterior's variance, plus what is still unknown about $x_0$, times its weight squared. Here it is in units of $\beta_t$, the large choice. (The small one is the column $s=0$.)
"""

# %% tags=["nbval-check-output"]
precise, precise_bar = betas.double(), schedules.alphas_cumprod(betas.double())
one, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
print("true variance of a step back, in units of beta:")
for t in (1, 3, 10, 100):
    x0_weight, tilde = process.posterior(one, zero, torch.tensor([t]), precise)
    left = precise_bar[t]
    ratios = []
    for s in (0.0, 0.01, 0.1, 1.0):
        unknown = s**2 * (1 - left) / (s**2 * left + 1 - left)  # Var[x0 | x_t]
        ratio = (tilde + x0_weight**2 * unknown) / precise[t]
        ratios.append(f"{ratio.item():.3f} at s = {s:g}")
    print(f"t = {t:3}:", ", ".join(ratios))

# %% [markdown]
r"""
For normal data with $s$ between 0 and 1 the truth lies between the two choices. (For other data of variance at most 1 it does so on average over $x_t$; between two bumps it can be larger.) Beyond the first steps the two hardly differ: with a thousand steps, either will do. With fewer, larger steps the gap opens. And what if we leave the noise out, or add too much? Four sigmas on the face, in the same 200 steps:
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
So noise is no decoration. The mean step pulls every point towards the best guess, which at high noise is the same for all: the middle of the data. Repeated without noise, it pulls the whole cloud into one spot (which, as the noise falls, slides into the nearest part of the face, the mouth). The noise $\sigma_t z$ gives back just the spread that the averaging takes. The small sigma gives back a little too little: its points surprise *less* than the truth, for they huddle in the bumps, which are more than single points.

With **few** steps neither choice helps:
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
Points are left between eyes, mouth and rim, where there are no data. Lesson 02, section 2, told us to expect it: over a large step, the way back is *this* bump or *that*, and no single normal distribution says so, whatever its sigma.
"""

# %% [markdown]
r"""
## 4. DDIM: the same model, other ways

Training never saw a chain. The loss of lesson 02 needs only $q(x_t\mid x_0)$: a clean sample, a level, a noise. So **any** way back that keeps these $q(x_t\mid x_0)$ may be walked with the same model. Song, Meng and Ermon (2021) write down a whole family. Pretend that the predicted noise is the true one; then

$$\hat x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\epsilon_\theta}{\sqrt{\bar\alpha_t}}$$

is known, and can be noised again to any earlier timestep $t'$ (in code `t_prev`), partly with the *old* noise, partly with *fresh* noise:

$$x_{t'} = \sqrt{\bar\alpha_{t'}}\;\hat x_0 \;+\; \sqrt{1-\bar\alpha_{t'}-\sigma^2}\;\epsilon_\theta \;+\; \sigma z,\qquad
\sigma = \eta\,\sqrt{\frac{1-\bar\alpha_{t'}}{1-\bar\alpha_t}}\,\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_{t'}}} .$$

Variances add up: old and fresh noise together always make $1-\bar\alpha_{t'}$, the level that $t'$ should have. And $\eta$ is a knob, from 0 (nothing is random but the start) to 1 (as much noise as ancestral sampling).

> **Beware.** The DDIM paper writes $\alpha_t$ for what we, and most others, call $\bar\alpha_t$. With plain alphas its formulas run without an error, and give nonsense.
"""

# %% [markdown]
r"""
### Exercise: the DDIM step

`sampling.ddim_step` · hard · 18 minutes

`t_prev` is (B,) and may be −1: the clean sample, where $\bar\alpha$ is 1.
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
**Check** three promises: with the true noise, one jump returns $x_0$; with $\eta=1$ over the same timesteps, DDIM *is* ancestral sampling with the small sigma; with $\eta=0$, nothing is random but the start.
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
With $\eta = 0$ the chain has become a **map** from noise to samples. Each start has its one end, and with enough steps their number hardly moves it. So noise becomes an address: keep the seed, and more steps only refine the picture; and the same noise with another prompt often gives a picture of the same layout. (Lesson 06 walks between two such addresses.) Compare 50 and 200 steps from the same starts:
"""

# %% tags=["nbval-check-output"]
fewer = samplers.spaced_timesteps(1000, 50)
for eta in (0.0, 0.5, 1.0):
    distance = (ddim(x_T, fewer, eta, seed=3) - ddim(x_T, path, eta)).norm(dim=1).median()
    print(f"eta = {eta:.1f}: 50 and 200 steps end {distance:.1f} apart (median)")

# %% [markdown]
r"""
## 5. A solver that looks back

Small steps of DDIM with $\eta=0$ follow a smooth curve. Which one? Write $a=\sqrt{\bar\alpha}$, $b=\sqrt{1-\bar\alpha}$, and measure time by $\lambda = \log(a/b)$, half the log SNR. In that time, a DDIM step of length $h = \lambda_{t'}-\lambda_t$ reads

$$x_{t'} = \frac{b_{t'}}{b_t}\,x_t \;-\; a_{t'}\left(e^{-h}-1\right)\hat x_0 ,$$

and that is the *exact* solution of the differential equation $\frac{d}{d\lambda}\left(\frac xb\right) = e^\lambda\,\hat x_0$ if $\hat x_0$ stays constant during the step: integrate from $\lambda_t$ to $\lambda_{t'}$ (with $e^\lambda=a/b$), and there it is. The curve that we look for is the solution for the true $\hat x_0$, which changes on the way. As noise leaves, the guess gets sharper. So the error of DDIM is the change of $\hat x_0$ over a step, and it is a solver of **first order**: half the step, half the error.

DPM-Solver++(2M) (Lu and others 2022) asks the model no more often. It remembers the guess before, $\hat x_0^{\text{old}}$ made a step of length $h_{\text{old}}$ ago, draws the straight line through the two, and uses its value in the middle of the step ahead:

$$D = \hat x_0 + \frac{h}{2h_{\text{old}}}\left(\hat x_0-\hat x_0^{\text{old}}\right)\quad\text{in place of } \hat x_0 .$$

That makes it of **second order**: half the step, a quarter of the error, at the same price. The whole solver:
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
**Check.** It agrees with the package's solver, and its first step (where nothing is remembered yet) with DDIM's:
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

For a fair race we need the exact end of each curve. In **one dimension** there is a beautiful short cut. Curves of a differential equation never cross, so points on a line keep their order; and at every time, the points are spread like $q(x_t)$ (this equation is made for it; it is called the *probability flow*, Song and others 2021, arXiv:2011.13456). Together: the point that starts with 30 % of all noise to its left ends with 30 % of all *data* to its left. The exact end is a **quantile**, and no solver is needed to find it.

So we take the two bumps of lesson 02, start at 400 evenly spread quantiles, and measure the mean distance to the exact ends.
"""

# %%
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
DDIM follows the slope $-1$ from about ten steps on. DPM-Solver++ needs more than twenty before its second order shows; up to there the two are about alike. (Beyond 200 steps its curve gets less steep: the last jump, to the clean sample, is only of first order.)

Samplers **with** noise have no exact end. What can be compared is the *distribution*: sort the samples, sort the truth, take the mean distance (this is the Wasserstein distance on a line). Chance in 10 000 samples sets a floor of about 0.01: the flat line in the figure is one draw of the truth against the truth. (DDIM and DPM-Solver++ share one draw of starts, so they stop at the chance of that draw.)
"""

# %%
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
With an exact model, then, noise gains little, and the timid sigma loses. A *trained* model errs, and a curve carries every error to its end, while fresh noise washes old errors out step by step. That is why, given many steps, samplers with noise can draw the better pictures, and why $\eta$ is still a knob. (Karras and others 2022, section 4, look at this closely.)

## 7. Play

Choose a sampler and a number of steps, then move the slider *step* to follow the samples on their way. Click it, and the arrow keys work too. Some things to find:

1. With DDIM at $\eta=0$ the ways are smooth. What do they look like at $\eta=1$?
2. In 10 steps, which sampler's surprise comes closest to the truth's? And in 20, and in 100?
3. Watch the middle row: at which $t$ has the model decided which picture it will be, and what do you see of it in $x_t$ at that moment?
4. Take a single step. Why do all pictures look the same?

The same race as a still picture:

![Four samplers in 5, 10 and 50 steps from the same noise: the points they end at over the true face, and the ways of a few of them](figures/samplers.png)
"""

# %%
sampler_explorer(face)

# %% [markdown]
r"""
## 8. Pictures without training

The pictures in the explorer came from no network. Take a small set of pictures and put a narrow round bump around each. That is a mixture again, in $12\,288$ dimensions, and its best denoiser is a formula that fits in one line: a **softmax** over the distances to all pictures,

$$\hat x_0 \approx \sum_k p_k\,\mu_k,\qquad p = \operatorname{softmax}_k\left(-\frac{\lVert x_t-\sqrt{\bar\alpha_t}\,\mu_k\rVert^2}{2(1-\bar\alpha_t)}\right).$$

Here $\mu_k$ is picture number $k$, and $p_k$ the probability that $x_t$ came from it. (With the bumps' own width $s$, read $1-\bar\alpha_t+\bar\alpha_t s^2$ for $1-\bar\alpha_t$, and a little of $x_t$ comes into the answer.) At high noise all $p_k$ are alike, and the guess is the mean of all pictures: the blur of lesson 02. As noise falls, one of them wins.
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
    [f"x after t = {steps[k].t}" for k in shown] + ["guess" for _ in shown],
    columns=len(shown),
    title="The guess, below, decides long before the sample, above, shows anything",
)

# %%
plots.picture_strip(
    steps[-1].x, [""] * 8, title="Eight pictures drawn by a formula, in fifty steps of DDIM"
)

# %% [markdown]
r"""
Finished pictures, in any style you like (the faint grain is what the last jump leaves of the bumps' width, 0.05). Too good? **Check** how far each is from the nearest picture that we put in:
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
All copies. **The perfect denoiser of a training set can only give the training set back.** A network that draws *new* pictures does so because it is not perfect: it cannot memorise every picture, so it has to find what they have in common. Remember this when somebody trains a model on five pictures (lesson 08).

With a model this decided, a few steps are enough to be sharp. One step gives a blur of many pictures; from two on the picture is sharp, but not always the same one.
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
But are they the *right* pictures? Each of the 24 should come equally often. That is a question of where we start.

## 9. Start at the end

Two details decide whether the first step is honest.

**Start at T.** `spaced_timesteps` can space in two ways. "Leading" spacing in ten steps visits 900, 800, …, 0: it hands pure noise to the model and says "this is $x_{900}$". But a real $x_{900}$ still holds some of the picture. "Trailing" spacing visits 999, 899, …, 99: it starts where the noise is.

**Let there be nothing left at T.** Lesson 01 found that Stable Diffusion's schedule leaves 7 % of each pixel's value even at $t = 999$: enough to read the brightness. A model that has learned this finds *medium* brightness in pure noise, whose mean is 0. Zero terminal SNR repairs it; the model then must not predict the noise. $v$ is the usual choice; $x_0$ works too.

**Check.** Draw 200 pictures each way, in 20 steps of DDIM (and two ways in 60), and compare the spread of their brightness with that of the set:
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

# %%
compared = ("leading", "trailing", "zero SNR")
in_order = [drawn[name][drawn[name].mean(dim=(1, 2, 3)).argsort()] for name in compared]
shares = torch.linspace(0, 199, 8).round().long()
sorted_set = pictures[brightness.argsort()][torch.linspace(0, 23, 8).round().long()]
plots.picture_grid(
    torch.cat([sorted_set, *(samples[shares] for samples in in_order)]),
    [name if column == 0 else "" for name in ("the set", *compared) for column in range(8)],
    columns=8,
    title="From dark to bright: a dishonest start draws the middle again and again",
)

# %% [markdown]
r"""
With a dishonest start a *perfect* model draws bright pictures rarely or never, and more steps do not help. (Medium means 0. Our set reaches only to $-0.3$ on the dark side but to 0.6 on the bright one, so it is the bright ones that get lost.) With zero terminal SNR all 24 come, and with more steps the spread comes near the set's. And why not the noise? At the last timestep $\bar\alpha = 0$ and $x_t$ *is* the noise: a prediction of $\epsilon$ repeats the input, and $\hat x_0$ would be a division by 0. ($v$ and $x_0$ do not have this problem.) The package refuses:
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
- DDIM re-noises $\hat x_0$ to any earlier timestep: old noise and fresh noise, shared out by $\eta$. With $\eta = 0$ noise becomes an address.
- DDIM is of first order, DPM-Solver++ (2M) of second, for the same number of model calls.
- Start at $T$, where nothing is left of the picture, or a perfect model will draw the wrong pictures.
- A perfect denoiser of a finite set can only copy it.

**Read on** Ho, Jain, Abbeel (arXiv:2006.11239), section 3.2 · Song, Meng, Ermon, *DDIM* (arXiv:2010.02502) · Lu and others, *DPM-Solver++* (arXiv:2211.01095) · Karras and others, *Elucidating the Design Space* (arXiv:2206.00364) · Lin and others (arXiv:2305.08891).

**Next** comes a model that listens: [lesson 05](05_text_and_guidance.ipynb), text and guidance.
"""

# %%
progress()
