# %% [markdown]
r"""
# 02 · The loss

This lesson derives the loss that trains a diffusion model. Look at the lower row and at the green line of this picture:

![The two chains of a diffusion model. Above, noise is added step by step until a picture has become pure noise. Below, a network removes it step by step. The equations of both chains stand beside their arrows, the jump from the clean picture to a noisy one above them, the loss between the rows.](figures/chains.png)

The network should find the way back from $x_t$ to $x_{t-1}$. Let $\hat x_{t-1}$ be its answer. The first idea is to make $\hat x_{t-1}$ close to $x_{t-1}$. The result of this lesson is that the network can instead guess the noise:

$$\lVert x_{t-1} - \hat x_{t-1}\rVert^2 \;\sim\; \lVert \epsilon - \epsilon_\theta(x_t, t)\rVert^2 .$$

Here $\epsilon$ is the noise in $x_t$, and $\epsilon_\theta(x_t, t)$ is the network's guess. The sign "$\sim$" means: equal on average, up to a factor and a constant that depend on $t$ alone.

**After this lesson you can**

- compute the exact step back when the clean sample is known, and say why the chain has many small steps;
- write the bound on the likelihood, and turn it into "predict the noise";
- say what a perfect model would answer, and why its answer looks blurry;
- move between $\epsilon$, $x_0$, $v$ and the score, and say what each does to the loss.

**Time** about 80 minutes, 4 exercises. **You need** lesson 01 and Bayes' rule. The derivation has three parts (sections 3 to 6). Part 2 also needs Jensen's inequality (the logarithm of a mean is at least the mean of the logarithms) and the Kullback-Leibler divergence $D_{KL}$ (how far one distribution is from another). You can skip it on first reading. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.widgets import denoiser_explorer
from tlab_diffusion.diffusion import losses, parameterization, process, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture

torch.set_default_dtype(torch.float64)  # we compare formulas here: give them room to agree

# %% [markdown]
r"""
## 1. A world where everything is known

With pictures we cannot tell whether a model is right. So we work with single numbers. They come from a **mixture** of two normal distributions: with probability 0.4 near $-1.2$, else near $0.8$.

Noising moves each bump towards 0 and widens it. The result is again a mixture of two normals. So every quantity of this lesson has an exact value to compare with.

> **Counting.** $t$ runs from 1 to $T$, and $x_0$ is clean. In code, step $t$ has the index $t-1$. Wherever a function has an argument `t`, it is this index.
"""

# %%
mixture = GaussianMixture(
    weights=torch.tensor([0.4, 0.6]),
    means=torch.tensor([[-1.2], [0.8]]),
    covariances=torch.tensor([[[0.03]], [[0.08]]]),
)
betas = schedules.cosine_betas(100).double()
alpha_bar = schedules.alphas_cumprod(betas)

grid = torch.linspace(-4, 4, 4001)
densities = {"x0, clean": mixture.log_prob(grid[:, None]).exp()}
for step in (20, 50, 100):
    noised = mixture.noised(alpha_bar[step - 1].item())
    densities[f"t = {step}"] = noised.log_prob(grid[:, None]).exp()

plots.density(grid, densities, xlabel="value", title="Noising melts two bumps into one")

# %% [markdown]
r"""
## 2. One step back, and why steps are small

Stand at a noisy value $x_t = 0$, at the noise level $\bar\alpha_t = 0.3$. Where was the sample one step before? The next cell computes the answer by Bayes' rule, once for a large step and once for a small one.
"""

# %%
here = torch.tensor([0.0])  # x_t


def step_back(alpha_bar_before, alpha_bar_now=0.3):
    """The exact density of x_{t-1} given x_t = here, on the grid, by Bayes' rule."""
    alpha = alpha_bar_now / alpha_bar_before  # this one step
    prior = mixture.noised(alpha_bar_before).log_prob(grid[:, None])
    likelihood = -((here - alpha**0.5 * grid) ** 2) / (2 * (1 - alpha))
    density = (prior + likelihood).softmax(dim=0)
    return density / (grid[1] - grid[0])


plots.density(
    grid,
    {
        "one large step, alpha bar from 0.98 to 0.3": step_back(0.98),
        "one small step, alpha bar from 0.32 to 0.3": step_back(0.32),
    },
    xlabel="x before the step",
    title="Over a small step, the way back is nearly normal",
)

# %% [markdown]
r"""
Over a large step the past is ambiguous. It was one bump *or* the other. Over a small step the past is a single bump, almost normal. This is the reason for many small steps.

In symbols: $q(x_t \mid x_{t-1})$ is normal, because we made it so. Bayes' rule turns it round,

$$q(x_{t-1}\mid x_t) = \frac{q(x_t\mid x_{t-1})\,q(x_{t-1})}{q(x_t)},$$

and here $q(x_{t-1})$ is the distribution of all noised data, with both bumps.

For small steps the way back is nearly normal. So we build a model whose every step back is a normal distribution:

$$p_\theta(x_{t-1}\mid x_t) = \mathcal N\!\left(x_{t-1};\; \hat x_{t-1}(x_t, t),\; \sigma_t^2 I\right).$$

$\theta$ stands for the weights of the network. The mean $\hat x_{t-1}$ is learned. The spread $\sigma_t$ is chosen beforehand, one number for each $t$.

## 3. Derivation, part 1: the step back when $x_0$ is known

Suppose somebody tells us $x_0$. Then the past is a single bump for a step of any size. Two things are known about $x_{t-1}$, and the next picture shows both:

- it came from $x_0$ in $t-1$ steps. This gives a normal distribution, $q(x_{t-1}\mid x_0)$;
- one more step led to $x_t$. This gives another one, $q(x_t\mid x_{t-1})$, read as a function of $x_{t-1}$.

Their product is the **posterior** $q(x_{t-1}\mid x_t,x_0)$. It is narrower than both.
"""

# %%
x0, x_t, index = 0.9, -0.8, 93  # step 94


def log_factors(x0, x_t, index):
    """The two factors of the posterior on the grid, as logarithms."""
    alpha, before = 1 - betas[index], alpha_bar[index - 1]
    from_x0 = -((grid - before.sqrt() * x0) ** 2) / (2 * (1 - before))
    to_x_t = -((x_t - alpha.sqrt() * grid) ** 2) / (2 * (1 - alpha))
    return from_x0, to_x_t


def as_density(log_values):
    return log_values.softmax(dim=0) / (grid[1] - grid[0])


from_x0, to_x_t = log_factors(x0, x_t, index)
plots.density(
    grid,
    {
        "came from x0": as_density(from_x0),
        "led to x_t": as_density(to_x_t),
        "both: the posterior": as_density(from_x0 + to_x_t),
    },
    xlabel="x before the step",
    title="Part 1: two normal factors, and their product is normal",
)

# %% [markdown]
r"""
Now the same as a formula. A noising step looks only at $x_{t-1}$, so $q(x_t\mid x_{t-1}, x_0) = q(x_t\mid x_{t-1})$. The denominator of Bayes' rule does not contain $x_{t-1}$, so it drops out:

$$q(x_{t-1}\mid x_t, x_0)\;\propto\;
\underbrace{\exp\left(-\frac{(x_t-\sqrt{\alpha_t}\,x_{t-1})^2}{2\beta_t}\right)}_{q(x_t\mid x_{t-1})}\;
\underbrace{\exp\left(-\frac{(x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}\right)}_{q(x_{t-1}\mid x_0)} .$$

Collect the terms in $x_{t-1}^2$. They give the variance, which we call $\tilde\beta_t$. (Use $\alpha_t(1-\bar\alpha_{t-1})+\beta_t = 1-\bar\alpha_t$.)

$$\frac1{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac1{1-\bar\alpha_{t-1}}
\qquad\Longrightarrow\qquad
\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t$$

Collect the terms in $x_{t-1}$. They give the mean, which we call $\tilde\mu_t$:

$$\tilde\mu_t(x_t, x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\;x_0 \;+\; \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\;x_t .$$

The mean is a weighted sum of the start $x_0$ and the present $x_t$.

At the first step, $t=1$, the step before is the clean sample itself. There $\bar\alpha_0 = 1$, so the mean is $x_0$ and the variance is 0.
"""

# %% [markdown]
r"""
### Exercise: the posterior

`loss.posterior` · hard · 20 minutes

Return mean and variance for a batch of mixed timesteps. `t` is the index, so the first step is `t = 0`. Take care with $\bar\alpha_{t-1}$: it is 1 for samples with `t = 0`.
"""


# %% exercise="loss.posterior"
def posterior(x0, x_t, t, betas):
    """Mean and variance of q(x_{t-1} | x_t, x0).

    x0, x_t: (B, ...), t: (B,) integers, betas: (T,).
    Returns the mean, shaped like x0, and the variance, (B,).
    """
    ### BEGIN SOLUTION
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    alpha_bar_before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    beta_t, now, before = betas[t], alpha_bar[t], alpha_bar_before[t]
    x0_weight = before.sqrt() * beta_t / (1 - now)
    x_t_weight = (1 - beta_t).sqrt() * (1 - before) / (1 - now)
    shape = (-1, *[1] * (x0.ndim - 1))
    mean = x0_weight.reshape(shape) * x0 + x_t_weight.reshape(shape) * x_t
    return mean, (1 - before) / (1 - now) * beta_t
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("loss.posterior", posterior)

# %% [markdown]
r"""
**Check.** Multiply the two factors on a fine grid, for $x_0 = 0.9$ and $x_t = 0.1$, and compare with the formula:
"""

# %% tags=["nbval-check-output"]
x0, x_t = torch.tensor([[0.9]]), torch.tensor([[0.1]])
for t in (5, 50, 95):
    density = sum(log_factors(x0[0], x_t[0], t)).softmax(dim=0)
    grid_mean = (density * grid).sum()
    grid_variance = (density * (grid - grid_mean) ** 2).sum()
    mean, variance = process.posterior(x0, x_t, torch.tensor([t]), betas)
    print(
        f"t = {t + 1}: grid {grid_mean:.4f}, {grid_variance:.5f}   "
        f"formula {mean.item():.4f}, {variance.item():.5f}"
    )

# %% [markdown]
r"""
## 4. Derivation, part 2: the bound

> **Skip on first reading.** This part shows where the sum over steps comes from. Its result is one sentence: *to make the data likely, bring each step back of the model close to the exact step back of part 1.* If you accept it, go on with section 5.

We look for weights $\theta$ under which the data are likely. So $\log p_\theta(x_0)$ should be large. But $p_\theta(x_0)$ is an integral over all chains that end in $x_0$, and nobody can compute it. (A **chain** is $x_0$ with all its noisy versions up to $x_T$.)

We replace the integral by a bound. Average only over chains that the forward process draws from $x_0$. This average is $\mathbb E_q$. Jensen's inequality gives

$$\log p_\theta(x_0) = \log \mathbb E_q\!\left[\frac{p_\theta(\text{chain})}{q(\text{chain}\mid x_0)}\right] \;\ge\; \mathbb E_q\!\left[\log\frac{p_\theta(\text{chain})}{q(\text{chain}\mid x_0)}\right].$$

The right side is the evidence lower bound, **ELBO**. It can be computed, and training makes it large. The next picture shows how close it can come. It uses the mixture and the best model there is. The truth is $-\mathbb E\log q(x_0)$, and minus the bound must lie above it.
"""


# %% tags=["hide-input"]
def even_in_log_snr(steps):
    """A schedule whose log SNR falls on a straight line, from 9 to -9."""
    alpha_bar = torch.sigmoid(torch.linspace(9, -9, steps))
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def normal_kl(mean_1, variance_1, mean_2, variance_2):
    """Kullback-Leibler divergence between two normal distributions."""
    ratio = variance_1 / variance_2
    return 0.5 * (ratio - 1 - ratio.log() + (mean_1 - mean_2) ** 2 / variance_2)


def negative_bound(model, x0, betas, generator):
    """L, averaged over clean samples x0 (B, 1), one random chain each."""
    alpha_bar = schedules.alphas_cumprod(betas)
    total = normal_kl(alpha_bar[-1].sqrt() * x0, 1 - alpha_bar[-1], 0.0, torch.tensor(1.0))
    for index in range(len(betas)):
        t = torch.full((len(x0),), index)
        noise = torch.randn(x0.shape, generator=generator)
        x_t = process.q_sample(x0, t, noise, alpha_bar)
        x0_hat = parameterization.x0_from_eps(x_t, t, model(x_t, t), alpha_bar)
        target, variance = process.posterior(x0, x_t, t, betas)
        x_hat, _ = process.posterior(x0_hat, x_t, t, betas)
        if index > 0:
            total = total + normal_kl(target, variance[:, None], x_hat, variance[:, None])
        else:  # the last step back: sigma^2 = beta_1, for the posterior has no variance here
            last = torch.distributions.Normal(x_hat, betas[0].sqrt())
            total = total - last.log_prob(x0)
    return total.mean()


# %%
generator = torch.Generator().manual_seed(0)
samples = mixture.sample(4000, generator)
truth = -mixture.log_prob(samples).mean().item()
step_counts = (10, 20, 50, 100, 200, 500)
bounds = []
for steps in step_counts:
    schedule = even_in_log_snr(steps)
    exact = mixture.denoiser(schedules.alphas_cumprod(schedule))
    bounds.append(negative_bound(exact, samples, schedule, generator).item())

plots.curves(
    step_counts,
    {"minus the bound": bounds, "the truth": [truth] * len(bounds)},
    xlabel="steps of the chain, T",
    ylabel="-log likelihood",
    title="Part 2: more and smaller steps bring the bound closer to the truth",
    log="x",
)

# %% [markdown]
r"""
(The folded cell above computes the bound. Click it to read the code. Its schedule is even in log SNR, so that with more steps every step becomes smaller.)

Why is there a gap? The model's step back is normal, with variance $\tilde\beta_t$. Over a large step the true way back is not normal (section 2). It is also wider than $\tilde\beta_t$, because $x_0$ is not known. Both errors shrink with the step. Lesson 04 comes back to the choice of $\sigma_t$.

Now take the bound apart. Both chains are products over steps. Sampling starts from pure noise and goes back. Noising starts from the picture and goes forward:

$$p_\theta(\text{chain}) = \mathcal N(x_T; 0, I)\;\prod_{t=1}^{T} p_\theta(x_{t-1}\mid x_t),\qquad q(\text{chain}\mid x_0) = \prod_{t=1}^{T} q(x_t\mid x_{t-1}).$$

Write each forward step, except the first, backwards with Bayes' rule:

$$q(x_t\mid x_{t-1}) = q(x_{t-1}\mid x_t,x_0)\;\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)},\qquad t\ge2.$$

In the product over $t$ nearly all these fractions cancel: the denominator of each step is the numerator of the step before. The first denominator, $q(x_1\mid x_0)$, cancels with the first forward step. Only the last numerator, $q(x_T\mid x_0)$, is left.

The logarithm of the quotient is then a sum. Each backward $q$ stands over the $p_\theta$ of the same step. With $D_{KL}(q\,\Vert\,p)=\mathbb E_q[\log q-\log p]$ the averages become divergences. Minus the bound is

$$
L \;=\;
\underbrace{D_{KL}\big(q(x_T\mid x_0)\,\Vert\,\mathcal N(0,I)\big)}_{\text{is the end noise? nothing to learn}}
+ \sum_{t\ge2} \underbrace{\mathbb E_q\, D_{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)}_{\text{each step back against the exact one}}
+ \underbrace{\mathbb E_q\big[-\log p_\theta(x_0\mid x_1)\big]}_{\text{the last step}} .
$$

The exact step back of part 1 is the target of every term of the sum.

**Check.** The numbers of the picture:
"""

# %% tags=["nbval-check-output"]
print(f"truth: -log q(x0) = {truth:.2f} on average")
for steps, bound in zip(step_counts, bounds, strict=True):
    if steps in (20, 100, 500):
        print(f"minus the bound, {steps:3} steps: {bound:.2f}")

# %% [markdown]
r"""
## 5. Derivation, part 3: from the step back to a distance

The model's step back should be close to the exact one. Both are normal distributions. Give the model the target's variance, $\sigma_t^2 = \tilde\beta_t$. Then only the means differ, as in this picture:
"""

# %%
sigma = 0.3
target, guess = torch.distributions.Normal(0.5, sigma), torch.distributions.Normal(0.9, sigma)
plots.density(
    grid,
    {
        "the exact step back": target.log_prob(grid).exp(),
        "the model's step back": guess.log_prob(grid).exp(),
    },
    xlabel="x before the step",
    title="Part 3: with equal widths, only the distance of the means is left",
)

# %% [markdown]
r"""
For two such normals the divergence is the squared distance of the means, up to a factor:

$$D_{KL}\big(\mathcal N(\tilde\mu_t,\sigma_t^2 I)\,\Vert\,\mathcal N(\hat x_{t-1},\sigma_t^2 I)\big) = \frac{1}{2\sigma_t^2}\,\lVert \tilde\mu_t - \hat x_{t-1}\rVert^2 .$$

The sample $x_{t-1}$ itself is $\tilde\mu_t$ plus noise that no model can foresee. Let $d$ be the count of numbers in a sample. Given $x_t$ and $x_0$,

$$\mathbb E\,\lVert x_{t-1}-\hat x_{t-1}\rVert^2 = \lVert\tilde\mu_t-\hat x_{t-1}\rVert^2 + d\,\tilde\beta_t .$$

The last term does not depend on $\theta$. So both sides ask for the same thing: **make $\lVert x_{t-1}-\hat x_{t-1}\rVert^2$ small.** This is the left side of the line at the top.

The last step, $t=1$, fits in too. There $\tilde\beta_1=0$, so we take $\sigma_1^2=\beta_1$. Minus the log of a normal density is $\lVert x_0-\hat x_0\rVert^2/(2\sigma_1^2)$ plus a constant.

**Check.** First compare the divergence by its definition (an average of a log ratio over samples) with the distance. Then compare the distance to the samples with the distance to their mean:
"""

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
draws = target.sample((400_000,))
print(f"by definition: {(target.log_prob(draws) - guess.log_prob(draws)).mean():.2f}")
print(f"by distance:   {(0.5 - 0.9) ** 2 / (2 * sigma**2):.2f}")
print(f"to the samples:          {(draws - 0.9).square().mean():.2f}")
print(f"to their mean, plus var: {(0.5 - 0.9) ** 2 + sigma**2:.2f}")

# %% [markdown]
r"""
## 6. Part 3, continued: from a distance to the noise

What should the network put out? It could say $\hat x_{t-1}$. But it already knows $x_t$, and one noise $\epsilon$ separates $x_t$ from $x_0$:

$$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon \qquad\Longleftrightarrow\qquad x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}} .$$

So the network guesses the noise, $\epsilon_\theta(x_t,t)$. From this guess we compute a clean sample $\hat x_0$. From $\hat x_0$ we compute a step back.
"""

# %% [markdown]
r"""
### Exercise: the clean sample behind a noise

`loss.x0_from_eps` · medium · 10 minutes

Solve the closed form for $x_0$, for a batch of mixed timesteps.
"""


# %% exercise="loss.x0_from_eps"
def x0_from_eps(x_t, t, eps, alphas_cumprod):
    """The x0 that x_t and its noise imply. x_t, eps: (B, ...), t: (B,), alphas_cumprod: (T,)."""
    ### BEGIN SOLUTION
    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x_t.ndim - 1))
    return (x_t - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("loss.x0_from_eps", x0_from_eps)

# %% [markdown]
r"""
Now put $\hat x_0$ into the posterior mean of section 3. The two terms with $x_t$ add up to $x_t/\sqrt{\alpha_t}$. (Try it, with $\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$.) The result is the mean of the **denoising step**:

$$\hat x_{t-1} = \frac1{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\right).$$

When we sample, we add fresh noise of size $\sigma_t$: $x_{t-1} = \hat x_{t-1} + \sigma_t z$ with $z\sim\mathcal N(0,I)$. In the loss this noise would only add the constant $d\,\sigma_t^2$, so we leave it out.

The target $\tilde\mu_t$ is the same expression with the true $\epsilon$. In the difference of the two, $x_t$ drops out:

$$\lVert \tilde\mu_t-\hat x_{t-1}\rVert^2 = \frac{(1-\alpha_t)^2}{\alpha_t(1-\bar\alpha_t)}\;\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2 .$$

The two distances differ by a factor that depends on $t$ alone. With the constant of section 5, this is the "$\sim$" at the top. The derivation is complete.

**Check.** Compare the formula with the posterior. Then compare the ratio of the distances with the factor, for a model that is wrong on purpose:
"""

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(1)
x0, eps = torch.randn(2, 6, 3, generator=generator)
t = torch.tensor([1, 5, 20, 50, 80, 95])
x_t = process.q_sample(x0, t, eps, alpha_bar)
eps_wrong = eps + 0.3 * torch.randn(eps.shape, generator=generator)


def denoising_step(eps_pred):
    alpha_t, alpha_bar_t = 1 - betas[t, None], alpha_bar[t, None]
    return (x_t - (1 - alpha_t) / (1 - alpha_bar_t).sqrt() * eps_pred) / alpha_t.sqrt()


x0_hat = parameterization.x0_from_eps(x_t, t, eps_wrong, alpha_bar)
by_posterior, _ = process.posterior(x0_hat, x_t, t, betas)
print("same step back:", torch.allclose(by_posterior, denoising_step(eps_wrong)))

target, _ = process.posterior(x0, x_t, t, betas)
ratio = ((target - denoising_step(eps_wrong)) ** 2).sum(1) / ((eps - eps_wrong) ** 2).sum(1)
factor = betas[t] ** 2 / ((1 - betas[t]) * (1 - alpha_bar[t]))
print("ratio of the distances:", [f"{value:.4f}" for value in ratio])
print("the factor:            ", [f"{value:.4f}" for value in factor])

# %% [markdown]
r"""
## 7. The loss that everybody trains

The bound asks for small noise errors at every $t$, but not with equal weight. The next picture shows the bound's weights for the linear schedule. Compare the shapes and not the heights.
"""

# %%
linear = schedules.linear_betas(1000).double()
plots.curves(
    range(1, 1001),
    {"bound": losses.elbo_weights(linear), "simple": torch.ones(1000)},
    xlabel="timestep t",
    ylabel="weight of the noise error",
    title="The bound's weights insist on the first steps",
    log="y",
)

# %% [markdown]
r"""
As a formula, minus the bound is

$$L = \text{const} + \sum_{t=1}^{T} w_t\;\mathbb E\,\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2,\qquad w_t = \frac{\beta_t^2}{2\sigma_t^2\,\alpha_t(1-\bar\alpha_t)}.$$

(At $t=1$, where $\tilde\beta_1 = 0$, the curve takes $\sigma_1^2=\beta_1$.) These weights are very large for the first few steps, where the noise is invisible.

Ho, Jain and Abbeel found that pictures come out better when the weights are **left out**. The network then spends its effort on the noisier steps, where the content of a picture is decided. This is the **simple loss**:

1. take a clean sample $x_0$, a random $t$ and a noise $\epsilon$;
2. make $x_t$;
3. ask the model for the noise, and take the mean squared error.

$$L_{\text{simple}} = \mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert\,\epsilon-\epsilon_\theta\big(\underbrace{\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon}_{x_t},\;t\big)\big\rVert^2 .$$

In code the mean is also taken over the $d$ numbers of a sample. This is one factor for all $t$ and changes nothing.
"""

# %% [markdown]
r"""
### Exercise: the noise loss

`loss.noise_loss` · medium · 10 minutes

`model(x_t, t)` predicts the noise. Return a scalar tensor, the mean over the batch and all elements; gradients must be able to flow back through it. You may use `process.q_sample`.
"""


# %% exercise="loss.noise_loss"
def noise_loss(model, x0, t, noise, alphas_cumprod):
    """Mean squared error of the predicted noise. Shapes as in q_sample; returns a scalar."""
    ### BEGIN SOLUTION
    x_t = process.q_sample(x0, t, noise, alphas_cumprod)
    return ((model(x_t, t) - noise) ** 2).mean()
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("loss.noise_loss", noise_loss)

# %% [markdown]
r"""
## 8. What a perfect model says

No model can know the noise, because many pairs $(x_0,\epsilon)$ make the same $x_t$. The squared error has a best answer: the **mean** of the possible noises, $\mathbb E[\epsilon\mid x_t]$. It implies the mean of the possible clean samples, $\mathbb E[x_0\mid x_t]$.

For the mixture both means are exact formulas. So we know the best loss that any network can reach. It is not 0:
"""

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(2)
x0 = mixture.sample(40_000, generator)
t = torch.randint(100, (40_000,), generator=generator)
noise = torch.randn(x0.shape, generator=generator)
exact = mixture.denoiser(alpha_bar)

models = {
    "says nothing (0 everywhere)": lambda x_t, t: torch.zeros_like(x_t),
    "says x_t itself": lambda x_t, t: x_t,
    "the exact mean": exact,
    "the exact mean, 5 % too large": lambda x_t, t: 1.05 * exact(x_t, t),
    "the exact mean, plus 0.1": lambda x_t, t: exact(x_t, t) + 0.1,
}
for name, model in models.items():
    print(f"{losses.noise_loss(model, x0, t, noise, alpha_bar):.3f}  {name}")

# %% [markdown]
r"""
The mean of two possibilities may be a value that never happens. Halfway between the bumps there are hardly any data. In the same way, the mean of all pictures that fit a very noisy one is a **blur**. A blurry $\hat x_0$ at high noise is the right answer, not a sign of a weak model. The picture gets sharp over the chain: after each small step fewer clean pictures fit.

The next cell shows this for one noisy number. Its middle panel shows $q(x_t)$ at every $t$. On the left, in blue, are the clean values that fit, $q(x_0\mid x_t)$. The orange diamond is their mean, the best prediction. On the right, the green arrow is the *score*: the direction in which $q(x_t)$ grows (section 9).

Put $x_t$ at $-0.9$ and $t$ at 96, then lower $t$.

1. Where is the mean at first?
2. For which $t$ is it within 0.1 of the left bump, at $-1.2$?
3. At the lowest $t$ it leaves the bump again. Why?
"""

# %%
denoiser_explorer(mixture, alpha_bar)

# %% [markdown]
r"""
(Answers: near 0, the mean of all data; for $t$ from 37 down to 14; at low noise $x_0$ must be close to $x_t$ itself.)

The same for three noise levels, as a still picture:

![The exact denoiser of a two-bump mixture at low, middle and high noise: the distribution of the clean value given the noisy one, its mean, and the score](figures/denoiser.png)

## 9. Four ways to say the same

Given $x_t$, the noise and the clean sample imply one another (for $0<\bar\alpha_t<1$). So a model can be trained to predict either of them, or a mix:

| target | formula | strong where | `prediction_type` |
|---|---|---|---|
| noise | $\epsilon$ | low noise: a small error in $\epsilon$ is a tiny one in $x_0$. At high noise it grows by $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$ | `"epsilon"` |
| clean sample | $x_0$ | high noise, where $\epsilon$ is nearly the input and says little | `"sample"` |
| velocity | $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$ | everywhere, zero terminal SNR included | `"v_prediction"` |
| score | $\nabla_{x_t}\log q(x_t) = -\mathbb E[\epsilon\mid x_t]/\sqrt{1-\bar\alpha_t}$ | the language of score papers: the direction of growing density | |

**Why $v$?** Without noise ($\bar\alpha_t=1$), $v$ is $\epsilon$. With nothing but noise ($\bar\alpha_t=0$), $v$ is $-x_0$. So $v$ never asks for what the input already shows. And $x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ needs no division, so the repaired schedule of lesson 01 can be used.

**Why the score?** Differentiate $q(x_t)=\int q(x_t\mid x_0)\,q(x_0)\,dx_0$ by $x_t$. Each normal density gets the factor $-(x_t-\sqrt{\bar\alpha_t}\,x_0)/(1-\bar\alpha_t)=-\epsilon/\sqrt{1-\bar\alpha_t}$. Divide by $q(x_t)$, and the integral becomes the mean over all $x_0$ that fit $x_t$. This is the last row of the table. (Skip this on first reading.)

**Check.** Go from the exact $v$ back to $\epsilon$ and $x_0$. Then compare the score with the slope of $\log q(x_t)$, measured by a finite difference:
"""

# %% tags=["nbval-check-output"]
points, t = torch.linspace(-2, 2, 5)[:, None], torch.full((5,), 40)
eps, x0_mean = mixture.eps_mean(points, t, alpha_bar), mixture.x0_mean(points, t, alpha_bar)
v = parameterization.v_from_x0_eps(x0_mean, eps, t, alpha_bar)
print(
    "x0 back from v: ", torch.allclose(parameterization.x0_from_v(points, t, v, alpha_bar), x0_mean)
)
print("eps back from v:", torch.allclose(parameterization.eps_from_v(points, t, v, alpha_bar), eps))

noised, small = mixture.noised(alpha_bar[40].item()), 1e-5
slope = (noised.log_prob(points + small) - noised.log_prob(points - small)) / (2 * small)
score = parameterization.score_from_eps(eps, t, alpha_bar).flatten()
print("slope:", [f"{value:+.3f}" for value in slope])
print("score:", [f"{value:+.3f}" for value in score])

# %% [markdown]
r"""
Does it matter which one is trained? Yes, because each squared error has its own unit. The next picture shows what each target weighs an error in $x_0$ with. Choosing a target *is* choosing a weighting over $t$.
"""

# %%
snr = schedules.snr(alpha_bar)
plots.curves(
    range(1, 101),
    {
        "epsilon: SNR": snr,
        "v: SNR + 1": snr + 1,
        "x0: 1": torch.ones(100),
        "min-SNR: min(SNR, 5)": losses.min_snr_weights(alpha_bar, prediction_type="sample"),
    },
    xlabel="timestep t",
    ylabel="weight of the x0 error",
    title="Every target is a weighting",
    log="y",
)

# %% [markdown]
r"""
For one and the same mistake,

$$\lVert\epsilon\text{ error}\rVert^2 = \mathrm{SNR}_t\,\lVert x_0\text{ error}\rVert^2, \qquad \lVert v\text{ error}\rVert^2 = (\mathrm{SNR}_t+1)\,\lVert x_0\text{ error}\rVert^2 .$$

The fourth curve is **min-SNR** (Hang and others 2023). It takes epsilon's weight, the SNR, but never more than 5. So the easy, nearly clean steps do not dominate the gradient.
"""

# %% [markdown]
r"""
### Exercise: find the bug

`loss.find_the_bug` · medium · 12 minutes

Four snippets that train, and train badly. Each has one faulty line. The model predicts $\epsilon$, and the errors are meant to be errors in $\epsilon$. Return the number of the line.
"""

# %%
snippets("loss.find_the_bug")


# %% exercise="loss.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2, 3 or 4. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 6, 2: 3, 3: 6, 4: 6}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("loss.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## What to keep

- The bound on the likelihood compares each model step with $q(x_{t-1}\mid x_t,x_0)$, a normal distribution with known mean and variance.
- With equal variances the divergence becomes $\lVert x_{t-1}-\hat x_{t-1}\rVert^2$. With the means written in terms of noise, this becomes $\lVert\epsilon-\epsilon_\theta\rVert^2$, up to a weight of $t$. Without the weight it is the loss that everybody trains.
- The best answer is a mean. It is blurry when much is possible, and the best loss is not 0.
- $\epsilon$, $x_0$, $v$ and the score say the same. As training targets they weigh the timesteps differently.

**Read on** Ho, Jain, Abbeel (arXiv:2006.11239), section 3 and appendix A · Kingma and others, *Variational Diffusion Models* (arXiv:2107.00630) · Salimans, Ho, *Progressive Distillation* (arXiv:2202.00512), appendix D, on $v$ · Hang and others, *Min-SNR* (arXiv:2303.09556).

**Next** in [lesson 03](03_training.ipynb): a network learns what the exact denoiser knows. Then a U-Net learns to draw.
"""

# %%
progress()
