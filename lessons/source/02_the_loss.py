# %% [markdown]
r"""
# 02 · The loss

How do you teach a network to run a chain backwards, when many pasts lead to the same present? The answer fits in one line,

$$\lVert x_{t-1} - \hat x_{t-1}\rVert^2 \;\sim\; \lVert \epsilon - \epsilon_\theta(x_t, t)\rVert^2,$$

and this lesson derives it from the likelihood of the data. The "$\sim$" says: equal on average, up to a factor and a constant that depend on $t$ alone. The main steps of the derivation are each followed by a cell that checks them with numbers.

**After this lesson you can**

- compute the exact step back when the clean sample is known, and say why the chain has many small steps;
- write the bound on the likelihood, and turn it into "predict the noise";
- say what a perfect model would answer, and why its answer looks blurry;
- move between $\epsilon$, $x_0$, $v$ and the score, and say what each does to the loss.

**Time** about 80 minutes, 4 exercises. **You need** lesson 01, Bayes' rule, Jensen's inequality (the logarithm of a mean is at least the mean of the logarithms), and the Kullback-Leibler divergence $D_{KL}$ (how far one distribution is from another). Symbols are collected in [NOTATION.md](NOTATION.md).
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

With pictures we could never tell whether a model is right. So we work with single numbers, drawn from a **mixture** of two normal distributions: with probability 0.4 near $-1.2$, else near $0.8$. Noising keeps a mixture a mixture (each bump moves towards 0 and widens), so every quantity of this lesson has an exact value to compare with.
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
for t in (20, 50, 99):
    noised = mixture.noised(alpha_bar[t].item())
    densities[f"t = {t}"] = noised.log_prob(grid[:, None]).exp()

plots.density(grid, densities, xlabel="value", title="Noising melts two bumps into one")

# %% [markdown]
r"""
## 2. One step back, and why steps are small

Going forward, $q(x_t \mid x_{t-1})$ is normal: that is how we made it. Going back, Bayes' rule says

$$q(x_{t-1}\mid x_t) = \frac{q(x_t\mid x_{t-1})\,q(x_{t-1})}{q(x_t)},$$

and $q(x_{t-1})$ is the whole distribution of noised data, bumps and all. Is the result normal too? Below we stand at the same noise level ($\bar\alpha = 0.3$, $x_t = 0$), and look back once over a large step and once over a small one.
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
Over a large step the past is ambiguous: it was one bump *or* the other. Over a small one it is a single, almost normal bump around the present. That is the reason for many small steps, and it tells us what to build: a model whose every step back is a normal distribution,

$$p_\theta(x_{t-1}\mid x_t) = \mathcal N\!\left(x_{t-1};\; \hat x_{t-1}(x_t, t),\; \sigma_t^2 I\right),$$

with $\sigma_t$ a number chosen beforehand for each $t$, the same for all $x_t$, and only the mean $\hat x_{t-1}$ learned. $\theta$ stands for the weights of the network. (The last step, $t = 0$ in code, leads to the clean sample: there read $x_{t-1}$ as $x_0$.)

## 3. The step back when $x_0$ is known

Suppose somebody tells us $x_0$. Then the past is a single bump, whatever the size of the step. We call it the **posterior**, $q(x_{t-1}\mid x_t,x_0)$. A noising step looks only at $x_{t-1}$, so knowing $x_0$ as well adds nothing: $q(x_t\mid x_{t-1}, x_0) = q(x_t\mid x_{t-1})$. The denominator of Bayes' rule, $q(x_t\mid x_0)$, does not contain $x_{t-1}$ and drops out. What is left is a product of two factors, both normal in $x_{t-1}$:

$$q(x_{t-1}\mid x_t, x_0)\;\propto\;
\underbrace{\exp\left(-\frac{(x_t-\sqrt{\alpha_t}\,x_{t-1})^2}{2\beta_t}\right)}_{q(x_t\mid x_{t-1})}\;
\underbrace{\exp\left(-\frac{(x_{t-1}-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})}\right)}_{q(x_{t-1}\mid x_0)} .$$

Collect the terms in $x_{t-1}^2$ and in $x_{t-1}$. The first give the variance,

$$\frac1{\tilde\beta_t} = \frac{\alpha_t}{\beta_t} + \frac1{1-\bar\alpha_{t-1}}
\qquad\Longrightarrow\qquad
\tilde\beta_t = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t$$

(use $\alpha_t(1-\bar\alpha_{t-1})+\beta_t = 1-\bar\alpha_t$), the second the mean, $\tilde\mu_t = \tilde\beta_t\left(\frac{\sqrt{\alpha_t}}{\beta_t}x_t + \frac{\sqrt{\bar\alpha_{t-1}}}{1-\bar\alpha_{t-1}}x_0\right)$, that is

$$\tilde\mu_t(x_t, x_0) = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\;x_0 \;+\; \frac{\sqrt{\alpha_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\;x_t .$$

A weighted sum of where we come from and where we are. At $t=0$ the step before is the clean sample itself; with $\bar\alpha_{-1} = 1$ the two final formulas say just that: mean $x_0$, variance 0. (The forms before them divide by 0 there, so write code from the final ones.)
"""

# %% [markdown]
r"""
### Exercise: the posterior

`loss.posterior` · hard · 20 minutes

Return mean and variance for a batch of mixed `t`. The care goes into $\bar\alpha_{t-1}$: it is 1 for samples with `t = 0`.
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
**Check.** The two factors multiplied on a fine grid, against the formula, for $x_0 = 0.9$ and $x_t = 0.1$:
"""

# %% tags=["nbval-check-output"]
x0, x_t = torch.tensor([[0.9]]), torch.tensor([[0.1]])
for t in (5, 50, 95):
    step = -((x_t[0] - (1 - betas[t]).sqrt() * grid) ** 2) / (2 * betas[t])
    before = -((grid - alpha_bar[t - 1].sqrt() * x0[0]) ** 2) / (2 * (1 - alpha_bar[t - 1]))
    density = (step + before).softmax(dim=0)
    grid_mean = (density * grid).sum()
    grid_variance = (density * (grid - grid_mean) ** 2).sum()
    mean, variance = process.posterior(x0, x_t, torch.tensor([t]), betas)
    print(
        f"t = {t:2}: grid {grid_mean:.4f}, {grid_variance:.5f}   "
        f"formula {mean.item():.4f}, {variance.item():.5f}"
    )

# %% [markdown]
r"""
## 4. The bound

We want $\theta$ under which the data are likely: large $\log p_\theta(x_0)$. But $p_\theta(x_0)$ is an integral over all chains that end in $x_0$, which nobody can compute. A **chain** is $x_0$ and all its noisy versions up to $x_{T-1}$. So we average only over chains that the forward process would draw from $x_0$ (that average is $\mathbb E_q$), and pay with an inequality (Jensen's):

$$\log p_\theta(x_0) = \log \mathbb E_q\!\left[\frac{p_\theta(\text{chain})}{q(\text{chain}\mid x_0)}\right] \;\ge\; \mathbb E_q\!\left[\log\frac{p_\theta(\text{chain})}{q(\text{chain}\mid x_0)}\right].$$

Here $p_\theta(\text{chain})$ is the density of the whole chain, $q(\text{chain}\mid x_0)$ that of all of it but $x_0$, which is given. The right side is the evidence lower bound, **ELBO**. Both chains are products over steps: sampling starts from pure noise and goes back, noising starts from the picture and goes forward,

$$p_\theta(\text{chain}) = \mathcal N(x_{T-1}; 0, I)\;\prod_{t=0}^{T-1} p_\theta(x_{t-1}\mid x_t),\qquad q(\text{chain}\mid x_0) = \prod_{t=0}^{T-1} q(x_t\mid x_{t-1}).$$

Write each forward step but the first backwards with Bayes' rule, $q(x_t\mid x_{t-1}) = q(x_{t-1}\mid x_t,x_0)\;\frac{q(x_t\mid x_0)}{q(x_{t-1}\mid x_0)}$. In the product over $t$ the fractions cancel one another like the links of a telescope: each step's denominator is the numerator of the step before, and only the last numerator, $q(x_{T-1}\mid x_0)$, survives (the first denominator, $q(x_{t=0}\mid x_0)$, cancels with the first forward step, which we left as it was). The logarithm of the quotient is then a sum. Recall $D_{KL}(q\,\Vert\,p)=\mathbb E_q[\log q-\log p]$: put each backward $q$ over the $p_\theta$ of the same step, and the averages are divergences. Minus the bound becomes

$$
L \;=\;
\underbrace{D_{KL}\big(q(x_{T-1}\mid x_0)\,\Vert\,\mathcal N(0,I)\big)}_{\text{is the end noise? nothing to learn}}
+ \sum_{t\ge1} \underbrace{\mathbb E_q\, D_{KL}\big(q(x_{t-1}\mid x_t,x_0)\,\Vert\,p_\theta(x_{t-1}\mid x_t)\big)}_{\text{each step back against the exact one}}
+ \underbrace{\mathbb E_q\big[-\log p_\theta(x_0\mid x_{t=0})\big]}_{\text{the last step}} .
$$

Section 3 was worth its trouble: the known-$x_0$ step is the target of every term of the sum.

**Check.** For the mixture we can compute the true $-\mathbb E\log q(x_0)$ and compare. The model's mean is the best there is (the exact denoiser, section 8), with $\sigma_t^2=\tilde\beta_t$ (and $\beta_0$ at the last step, for $\tilde\beta_0=0$). Minus the bound must lie above the truth, and more steps must bring it closer, for two reasons. The way back becomes more nearly normal (section 2), and its spread comes closer to $\tilde\beta_t$. With few, large steps $\tilde\beta_t$ is too small: it counts what $x_t$ leaves open if $x_0$ is known, but not that $x_0$ is unknown. At 20 steps that is most of the gap. (Lesson 04 comes back to the choice of sigma. The schedule here is even in log SNR: with more steps, all but the tiny first one shrink. The last step of a cosine schedule never gets small.)
"""


# %%
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
        else:  # the last step back: sigma^2 = beta_0, for the posterior has no variance here
            last = torch.distributions.Normal(x_hat, betas[0].sqrt())
            total = total - last.log_prob(x0)
    return total.mean()


# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(0)
samples = mixture.sample(4000, generator)
print(f"truth: -log q(x0) = {-mixture.log_prob(samples).mean():.2f} on average")
for steps in (20, 100, 500):
    schedule = even_in_log_snr(steps)
    exact = mixture.denoiser(schedules.alphas_cumprod(schedule))
    print(
        f"minus the bound, {steps:3} steps: {negative_bound(exact, samples, schedule, generator):.2f}"
    )

# %% [markdown]
r"""
## 5. From a divergence to a distance

Each term compares two normal distributions. Give the model the target's variance, $\sigma_t^2 = \tilde\beta_t$ for $t\ge1$; then everything in the divergence cancels but the distance between the means:

$$D_{KL}\big(\mathcal N(\tilde\mu_t,\sigma_t^2 I)\,\Vert\,\mathcal N(\hat x_{t-1},\sigma_t^2 I)\big) = \frac{1}{2\sigma_t^2}\,\lVert \tilde\mu_t - \hat x_{t-1}\rVert^2 .$$

And $x_{t-1}$ itself is $\tilde\mu_t$ plus noise that no model can foresee. Given $x_t$ and $x_0$, with $d$ numbers in a sample,

$$\mathbb E\,\lVert x_{t-1}-\hat x_{t-1}\rVert^2 = \lVert\tilde\mu_t-\hat x_{t-1}\rVert^2 + d\,\tilde\beta_t ,$$

and the last term does not depend on $\theta$. The last step of the chain fits in too: minus the log of a normal density is $\lVert x_0-\hat x_{t-1}\rVert^2/(2\sigma_0^2)$ plus a constant. (There $\tilde\beta_0=0$, so we take $\sigma_0^2=\beta_0$.) So every term of the bound says: **make $\lVert x_{t-1}-\hat x_{t-1}\rVert^2$ small.** That is the left side of the line at the top.

**Check.** The divergence by its definition (an average of a log ratio over samples) against the distance; and the distance to $x_{t-1}$ against the distance to its mean:
"""

# %% tags=["nbval-check-output"]
sigma = 0.3
target, guess = torch.distributions.Normal(0.5, sigma), torch.distributions.Normal(0.9, sigma)
torch.manual_seed(0)
draws = target.sample((400_000,))
print(f"by definition: {(target.log_prob(draws) - guess.log_prob(draws)).mean():.2f}")
print(f"by distance:   {(0.5 - 0.9) ** 2 / (2 * sigma**2):.2f}")
print(f"to the samples:          {(draws - 0.9).square().mean():.2f}")
print(f"to their mean, plus var: {(0.5 - 0.9) ** 2 + sigma**2:.2f}")

# %% [markdown]
r"""
## 6. From a distance to the noise

What should the network put out? It could say $\hat x_{t-1}$. But it already knows $x_t$, and all that separates $x_t$ from $x_0$ is one noise $\epsilon$:

$$x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon \qquad\Longleftrightarrow\qquad x_0 = \frac{x_t-\sqrt{1-\bar\alpha_t}\,\epsilon}{\sqrt{\bar\alpha_t}} .$$

So let the network guess the noise, $\epsilon_\theta(x_t,t)$; the guess implies a clean sample $\hat x_0$, and that a step back.
"""

# %% [markdown]
r"""
### Exercise: the clean sample behind a noise

`loss.x0_from_eps` · medium · 10 minutes

Solve the closed form for $x_0$, for a batch of mixed `t`.
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
Now put $\hat x_0$ into the posterior mean of section 3. The two terms with $x_t$ add up to exactly $x_t/\sqrt{\alpha_t}$ (try it: use $\bar\alpha_t=\alpha_t\bar\alpha_{t-1}$), and there it is, the **denoising step**:

$$\hat x_{t-1} = \frac1{\sqrt{\alpha_t}}\left(x_t - \frac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta(x_t,t)\right) \;\big[\,+\;\sigma_t z,\quad z\sim\mathcal N(0,I)\big].$$

The bracket, fresh noise $z$ of the fixed size $\sigma_t$, is added when we sample. In the loss it would only add the constant $d\,\sigma_t^2$, as the unforeseeable noise did above, so there we leave it out.

The target $\tilde\mu_t$ is the same expression with the true $\epsilon$. Subtract, and $x_t$ drops out:

$$\lVert \tilde\mu_t-\hat x_{t-1}\rVert^2 = \frac{(1-\alpha_t)^2}{\alpha_t(1-\bar\alpha_t)}\;\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2 .$$

The two distances differ by a factor that depends on $t$ alone. With the constant of section 5, that is the "$\sim$" at the top.

**Check.** The formula against the posterior, and the ratio of the distances for a model that is wrong on purpose:
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

Together, the bound is a weighted sum of noise errors:

$$L = \text{const} + \sum_t w_t\;\mathbb E\,\lVert\epsilon-\epsilon_\theta(x_t,t)\rVert^2,\qquad w_t = \frac{\beta_t^2}{2\sigma_t^2\,\alpha_t(1-\bar\alpha_t)}\qquad(\beta_t = 1-\alpha_t).$$

Ho, Jain and Abbeel found that pictures come out better when the weights are simply **left out**. Here are the weights for the linear schedule of that paper. Compare shapes, not heights (one factor for all $t$ changes nothing): the bound's weights insist on the first few steps, where noise is invisible. Left out, the network spends its strength where pictures are made. (At $t=0$, where $\tilde\beta_0 = 0$, the curve takes $\sigma^2=\beta_0$.)
"""

# %%
linear = schedules.linear_betas(1000).double()
plots.curves(
    range(1000),
    {"bound": losses.elbo_weights(linear), "simple": torch.ones(1000)},
    xlabel="timestep t",
    ylabel="weight of the noise error",
    title="The bound's weights insist on the first steps",
    log="y",
)

# %% [markdown]
r"""
What is left is the **simple loss**: pick a clean sample, a random $t$ and a noise; make $x_t$; ask the model which noise it was; take the mean squared error,

$$L_{\text{simple}} = \mathbb E_{x_0,\,t,\,\epsilon}\;\big\lVert\,\epsilon-\epsilon_\theta\big(\underbrace{\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon}_{x_t},\;t\big)\big\rVert^2 .$$

(In code the mean is taken over the $d$ numbers of a sample too, that is $\frac1d\lVert\cdot\rVert^2$: one factor for all $t$ changes nothing.)
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

No model can know the noise: many pairs $(x_0,\epsilon)$ make the same $x_t$. The squared error then has a best answer, as always: the **mean** of the possible noises, $\mathbb E[\epsilon\mid x_t]$. It implies the mean of the possible clean samples, $\mathbb E[x_0\mid x_t]$. For the mixture both are exact formulas, so we know the best loss that any network could reach. It is not 0.
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
A mean of two possibilities can be a third that never happens: halfway between the bumps there are hardly any data. For pictures, the mean of all pictures that could hide behind heavy noise is a **blur**. A blurry $\hat x_0$ at high noise is not a weak model; it is the right answer to the question. Sharpness comes from the chain: a small step towards the mean, and then a new, less ambiguous question.

Move the noisy value and the timestep, and watch the clean values that fit, $q(x_0\mid x_t)$; their mean, which is the prediction; and an arrow, the *score*: the direction in which $q(x_t)$ grows (section 9). Put $x_t$ at $-0.9$ and lower $t$ from 95: where is the mean at first, and from which $t$ down is it within 0.1 of the left bump?
"""

# %%
denoiser_explorer(mixture, alpha_bar)

# %% [markdown]
r"""
Without a kernel, here are three noise levels as a still picture:

![The exact denoiser of a two-bump mixture at low, middle and high noise: the distribution of the clean value given the noisy one, its mean, and the score](figures/denoiser.png)

## 9. Four ways to say the same

Given $x_t$, with $0<\bar\alpha_t<1$, the noise and the clean sample imply one another, and so does almost any fixed mix of them. Models are trained to predict one of

| target | formula | strong where | `prediction_type` |
|---|---|---|---|
| noise | $\epsilon$ | low noise: a small error in $\epsilon$ is a tiny one in $x_0$. At high noise it grows by $\sqrt{(1-\bar\alpha_t)/\bar\alpha_t}$ | `"epsilon"` |
| clean sample | $x_0$ | high noise, where $\epsilon$ is nearly the input and says little | `"sample"` |
| velocity | $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$ | everywhere, zero terminal SNR included | `"v_prediction"` |
| score | $\nabla_{x_t}\log q(x_t) = -\mathbb E[\epsilon\mid x_t]/\sqrt{1-\bar\alpha_t}$ | the language of score papers: the direction of growing density | |

Why $v$? Where there is no noise ($\bar\alpha_t=1$), $v$ is $\epsilon$; where there is nothing but noise ($\bar\alpha_t=0$), $v$ is $-x_0$. So where copying the input would do, $v$ asks for the other one. And $x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ needs no division: the repaired schedule of lesson 01 can be used.

And the score? Differentiate $q(x_t)=\int q(x_t\mid x_0)\,q(x_0)\,dx_0$ by $x_t$. Each normal density brings the factor $-(x_t-\sqrt{\bar\alpha_t}\,x_0)/(1-\bar\alpha_t)=-\epsilon/\sqrt{1-\bar\alpha_t}$ in front of itself, and dividing by $q(x_t)$ makes the mean over all that fits $x_t$: the last row of the table.

**Check.** From the exact $v$ back to $\epsilon$ and $x_0$; and the score against the slope of $\log q(x_t)$, measured by a finite difference:
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
If they say the same, does it matter which one is trained? Yes: the squared error is taken in different units. For one and the same mistake,

$$\lVert\epsilon\text{ error}\rVert^2 = \mathrm{SNR}_t\,\lVert x_0\text{ error}\rVert^2, \qquad \lVert v\text{ error}\rVert^2 = (\mathrm{SNR}_t+1)\,\lVert x_0\text{ error}\rVert^2 .$$

Choosing a target *is* choosing a weighting over $t$. Drawn in units of the $x_0$ error, with one more: **min-SNR** (Hang and others 2023) takes epsilon's weight, SNR, but never more than 5, so that the easy, nearly clean steps do not rule the gradient.
"""

# %%
snr = schedules.snr(alpha_bar)
plots.curves(
    range(100),
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
- Equal variances turn the divergence into $\lVert x_{t-1}-\hat x_{t-1}\rVert^2$; writing the means with noise turns that into $\lVert\epsilon-\epsilon_\theta\rVert^2$, up to a weight of $t$. Leaving the weight out gives the loss that everybody trains.
- The best answer is a mean, so it is blurry when much is possible, and the best loss is not 0.
- $\epsilon$, $x_0$, $v$ and the score say the same; as training targets they weigh the timesteps differently.

**Read on** Ho, Jain, Abbeel (arXiv:2006.11239), section 3 and appendix A · Kingma and others, *Variational Diffusion Models* (arXiv:2107.00630) · Salimans, Ho, *Progressive Distillation* (arXiv:2202.00512), appendix D, on $v$ · Hang and others, *Min-SNR* (arXiv:2303.09556).

**Next** in [lesson 03](03_training.ipynb): a network learns what the exact denoiser knows; then a U-Net learns to draw.
"""

# %%
progress()
