# %% [markdown]
r"""
# 01 · Noising

A diffusion model learns to undo noise. First we must know exactly how the noise is added. This lesson turns a picture into noise, a little at a time.

**After this lesson you can**

- take one noising step, and say why its two square roots are there;
- jump to any step at once with $\bar\alpha_t$;
- read a noise schedule: where it spends its steps, and whether its last step is really noise;
- build the cosine schedule and repair a schedule's end.

**Time** about 70 minutes, 7 exercises. **You need** Python, a little torch, and the variance of a sum of independent numbers. Symbols are collected in [NOTATION.md](NOTATION.md).
"""

# %%
import torch

from tlab_diffusion import plots
from tlab_diffusion.course import check, hint, progress, reference, snippets, solution
from tlab_diffusion.course.widgets import schedule_explorer
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.picturebook import render, subject_scenes

# %% [markdown]
r"""
## 1. A picture is a row of numbers

For a model a picture is a tensor of $3 \times 64 \times 64$ numbers, scaled from 0…255 to $[-1, 1]$. You wrote that function in lesson 00. Here `reference` fetches the course's own version of it. We call the clean picture $x_0$.
"""

# %%
to_model_range = reference("start.to_model_range")

picture = render(subject_scenes("pip")[0])  # (64, 64, 3), whole numbers from 0 to 255
x0 = to_model_range(torch.from_numpy(picture))  # (3, 64, 64), from -1 to 1

plots.picture_strip(x0[None], ["x0"], title="Pip, clean")

# %% tags=["nbval-check-output"]
print(f"shape {tuple(x0.shape)}, smallest {x0.min():.2f}, largest {x0.max():.2f}")

# %% [markdown]
r"""
## 2. One step

A noising step does two things to a picture. It makes the numbers a little smaller, and it adds a little noise. Here is one step, larger than usual so that you can see it:
"""

# %%
noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
after = process.q_step(x0[None], torch.tensor([0.1]), noise)
plots.picture_strip(
    torch.cat([x0[None], noise / 3, after]),
    ["before", "the noise (a third of it)", "after"],
    title="One noising step: a little less picture, a little more noise",
)

# %% [markdown]
r"""
$x_t$ is the picture after step $t$, and $x_{t-1}$ is the picture before it. The step is

$$x_t = \sqrt{\alpha_t}\; x_{t-1} + \sqrt{1-\alpha_t}\;\epsilon_t, \qquad \epsilon_t \sim \mathcal N(0, I).$$

- $\epsilon_t \sim \mathcal N(0, I)$ is fresh noise. Each number of the picture gets one normal number of mean 0 and variance 1. All are independent.
- $\alpha_t$ is a number just below 1. It is the share of the variance that the step keeps.
- $\beta_t = 1 - \alpha_t$ is the variance of the noise that the step adds. Schedules are usually given as betas.

> **Counting.** $t$ runs from 1 to $T$, and $x_0$ is the clean picture. Python counts from 0. So step $t$ has the *index* $t-1$ in code: `betas[0]` is $\beta_1$, and `betas[-1]` is $\beta_T$. Wherever a function or a loop has an argument `t`, it is this index.

Why does the step shrink the picture? Suppose the numbers before the step have variance 1. Variances of independent numbers add, so after the step

$$\operatorname{Var}[x_t] = \alpha_t \operatorname{Var}[x_{t-1}] + (1 - \alpha_t) = \alpha_t + 1 - \alpha_t = 1.$$

The variance stays at 1. (Data of another variance drift towards 1.) So the numbers stay in the range that a network can work with.

We write $q$ for the distributions that noising makes. Hence the name `q_step` below.
"""

# %% [markdown]
r"""
### Exercise: one noising step

`noising.q_step` · easy · 5 minutes

Write the step for a **batch**. `x_prev` is (B, …) with any shape after the batch (pictures are (B, C, H, W)). `beta_t` is (B,), one beta for each sample. The noise comes as an argument, so that the result can be checked.

Stuck? `hint("noising.q_step")` helps a little, `hint("noising.q_step", 2)` helps more, and `solution("noising.q_step")` shows ours.
"""


# %% exercise="noising.q_step"
def q_step(x_prev, beta_t, noise):
    """One noising step.

    x_prev: (B, ...), beta_t: (B,), noise: shaped like x_prev. Returns x_t, shaped like x_prev.
    """
    ### BEGIN SOLUTION
    beta_t = beta_t.reshape(-1, *[1] * (x_prev.ndim - 1))  # (B, 1, ..., 1): one beta a sample
    return (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.q_step", q_step)

# %% [markdown]
r"""
What happens without the square roots? We start 20 000 numbers at variance 1, take 300 steps with $\beta = 0.02$, and watch the variance under three rules.
"""

# %%
generator = torch.Generator().manual_seed(0)
beta = torch.tensor(0.02)

rules = {
    "right: √(1−β) x + √β ε": lambda x, eps: (1 - beta).sqrt() * x + beta.sqrt() * eps,
    "no shrinking: x + √β ε": lambda x, eps: x + beta.sqrt() * eps,
    "no roots: (1−β) x + β ε": lambda x, eps: (1 - beta) * x + beta * eps,
}
variances = {}
for name, rule in rules.items():
    x = torch.randn(20_000, generator=generator)
    variances[name] = []
    for _ in range(300):
        x = rule(x, torch.randn(20_000, generator=generator))
        variances[name].append(x.var().item())

plots.curves(
    range(1, 301),
    variances,
    xlabel="steps",
    ylabel="variance",
    title="Only the two square roots keep the variance at 1",
)

# %% tags=["nbval-check-output"]
for name, values in variances.items():
    print(f"after 300 steps: variance {values[-1]:.2f}   {name}")

# %% [markdown]
r"""
Without shrinking, the variance grows without end ($1 + 300 \cdot 0.02 = 7$). Without the roots, the numbers fade to almost nothing. Both mistakes are easy to make, and neither raises an error. So we check numbers, not only looks.

## 3. The chain

Now take many steps. A **schedule** says how large each one is: $\beta_1, \beta_2, \dots, \beta_T$. The classic schedule (Ho, Jain and Abbeel 2020) has $T = 1000$ steps. Its betas grow on a straight line from 0.0001 to 0.02.
"""

# %%
betas = schedules.linear_betas(1000, beta_start=1e-4, beta_end=0.02)

generator = torch.Generator().manual_seed(1)
x = x0[None]  # a batch of one
chain = [x]  # chain[t] is x_t
for beta_t in betas:
    noise = torch.randn(x.shape, generator=generator)
    x = process.q_step(x, beta_t[None], noise)
    chain.append(x)

shown = [0, 50, 100, 200, 300, 500, 1000]
plots.picture_strip(
    torch.cat([chain[step] for step in shown]),
    [f"t = {step}" for step in shown],
    title="A thousand small steps turn Pip into noise",
)

# %% [markdown]
r"""
(Later cells use the package's own functions, here `process.q_step`. It does what yours does. So an exercise that you skip never blocks the rest.)

At $t = 300$ the character is hard to see. At $t = 1000$ nobody can see anything of it. Is there *really* nothing left? Section 7 answers this.

## 4. All steps at once

Training needs millions of noisy pictures, each at a random $t$. To walk there step by step would take far too long. A shortcut exists. Write two steps as one:

$$
\begin{aligned}
x_t &= \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\epsilon_t\\
&= \sqrt{\alpha_t}\left(\sqrt{\alpha_{t-1}}\,x_{t-2} + \sqrt{1-\alpha_{t-1}}\,\epsilon_{t-1}\right) + \sqrt{1-\alpha_t}\,\epsilon_t\\
&= \sqrt{\alpha_t\alpha_{t-1}}\;x_{t-2} + \underbrace{\sqrt{\alpha_t(1-\alpha_{t-1})}\,\epsilon_{t-1} + \sqrt{1-\alpha_t}\,\epsilon_t}_{\text{a sum of two independent normals}}
\end{aligned}
$$

A sum of independent normals is normal. Its variance is the sum of the variances: $\alpha_t(1-\alpha_{t-1}) + 1 - \alpha_t = 1 - \alpha_t\alpha_{t-1}$. So two steps with $\alpha_{t-1}$ and $\alpha_t$ are one step with their **product**. Go on to the start, and all steps become one:

$$x_t = \sqrt{\bar\alpha_t}\;x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon, \qquad \bar\alpha_t = \alpha_1\alpha_2\cdots\alpha_t, \qquad \epsilon\sim\mathcal N(0,I).$$

$\bar\alpha_t$ ("alpha bar") is the share of the picture's variance that is left at $t$. It falls from nearly 1 to nearly 0.
"""

# %% [markdown]
r"""
### Exercise: alpha bar

`noising.alphas_cumprod` · easy · 5 minutes

Turn a schedule's betas (T,) into all its $\bar\alpha_t$, (T,).
"""


# %% exercise="noising.alphas_cumprod"
def alphas_cumprod(betas):
    """The running product of 1 - beta. betas: (T,). Returns (T,)."""
    ### BEGIN SOLUTION
    return torch.cumprod(1 - betas, dim=0)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.alphas_cumprod", alphas_cumprod)

# %% [markdown]
r"""
### Exercise: the closed form

`noising.q_sample` · medium · 10 minutes

Jump from $x_0$ to $x_t$. A batch **mixes** timesteps: sample $i$ goes to the index `t[i]`. Pick each sample's $\bar\alpha_t$, and give it a shape that multiplies the sample as a whole.
"""


# %% exercise="noising.q_sample"
def q_sample(x0, t, noise, alphas_cumprod):
    """Noise clean samples up to step t in one go.

    x0: (B, ...), t: (B,) integers, noise: shaped like x0, alphas_cumprod: (T,).
    Returns x_t, shaped like x0.
    """
    ### BEGIN SOLUTION
    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.q_sample", q_sample)

# %% [markdown]
r"""
Does the jump land where the walk lands? Take one number, $x_0 = 0.8$, and walk 200 steps with it, 20 000 times. Compare the mean and the spread with the closed form.
"""

# %% tags=["nbval-check-output"]
alpha_bar = schedules.alphas_cumprod(betas)
generator = torch.Generator().manual_seed(2)

walked = torch.full((20_000, 1), 0.8)
for t in range(200):
    noise = torch.randn(walked.shape, generator=generator)
    walked = process.q_step(walked, betas[t].expand(20_000), noise)

mean, spread = 0.8 * alpha_bar[199].sqrt(), (1 - alpha_bar[199]).sqrt()
print(f"200 steps:   mean {walked.mean():.3f}, standard deviation {walked.std():.3f}")
print(f"closed form: mean {mean:.3f}, standard deviation {spread:.3f}")

# %% [markdown]
r"""
They agree within the chance of 20 000 draws.

## 5. Signal against noise

How noisy is $x_t$? The signal has the share $\bar\alpha_t$ of the variance, and the noise has $1-\bar\alpha_t$. Their ratio is the **signal-to-noise ratio**,

$$\mathrm{SNR}_t = \frac{\bar\alpha_t}{1-\bar\alpha_t}.$$

It is 1 where signal and noise are equal. This convention counts the picture's own variance as 1. Real pictures have less (Pip about 0.2), so their noise wins earlier.

The SNR runs over many powers of ten, so it is usually drawn as a logarithm. Two schedules with the same SNR at each step are the same schedule.
"""

# %% [markdown]
r"""
### Exercise: signal-to-noise ratio

`noising.snr` · easy · 5 minutes

A ratio of *variances*, for each timestep.
"""


# %% exercise="noising.snr"
def snr(alphas_cumprod):
    """Signal-to-noise ratio at every timestep. alphas_cumprod: (T,). Returns (T,)."""
    ### BEGIN SOLUTION
    return alphas_cumprod / (1 - alphas_cumprod)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.snr", snr)

# %% tags=["nbval-check-output"]
snr_t = schedules.snr(alpha_bar)
crossing = int((snr_t < 1).nonzero()[0])
print(f"The linear schedule has more noise than signal from t = {crossing + 1} on,")
print(f"and spends {(snr_t < 0.01).float().mean():.0%} of its steps below SNR 0.01.")

# %% [markdown]
r"""
In a third of the steps, less than a hundredth of the variance is signal. Only very coarse things, such as the overall brightness, can be learned there. Can a schedule spend its steps better?

## 6. Choosing a schedule

Here are two schedules with the same noise at the same timesteps. The upper row is the linear schedule. The lower row is the **cosine schedule** of Nichol and Dhariwal (2021). In the upper row Pip is nearly gone at $t=450$. In the lower row a trace is left at $t=600$.
"""

# %%
cosine_alpha_bar = schedules.alphas_cumprod(schedules.cosine_betas(1000))

shown = torch.tensor([1, 150, 300, 450, 600, 750, 900])
batch = x0.expand(len(shown), -1, -1, -1)
noise = torch.randn(x0.shape, generator=generator).expand_as(batch)
both = [process.q_sample(batch, shown - 1, noise, each) for each in (alpha_bar, cosine_alpha_bar)]
labels = [f"{name}, t = {t}" for name in ("linear", "cosine") for t in shown]
plots.picture_grid(
    torch.cat(both),
    labels,
    columns=len(shown),
    title="The cosine schedule, below, keeps the picture for longer",
)

# %%
plots.curves(
    range(1, 1001),
    {
        "linear": schedules.snr(alpha_bar).log10(),
        "cosine": schedules.snr(cosine_alpha_bar).log10(),
    },
    xlabel="timestep t",
    ylabel="log10 SNR",
    title="The cosine schedule loses its signal more slowly, until the very end",
)

# %% [markdown]
r"""
How is the cosine schedule made? It chooses $\bar\alpha$ first, as a curve that falls gently at both ends. The betas follow from it. Let $u = t/T$ run from 0 to 1, and let $s = 0.008$. Then

$$\bar\alpha(u) = \cos^2\!\left(\frac{u+s}{1+s}\cdot\frac{\pi}{2}\right),\qquad \beta_t = \min\!\left(1 - \frac{\bar\alpha(u_t)}{\bar\alpha(u_{t-1})},\; 0.999\right),\qquad u_t = \frac tT.$$

The cosine describes $\bar\alpha$, *not* the betas. The offset $s$ makes the first step large enough to matter.

The cap 0.999 is needed because $\bar\alpha(1) = 0$. Without the cap the last beta would be 1, and formulas that divide by $\sqrt{\bar\alpha_t}$ would fail. With the cap, the curve above falls steeply at the end but stays above 0.
"""

# %% [markdown]
r"""
### Exercise: the cosine schedule

`noising.cosine_betas` · medium · 10 minutes

Return the T betas. Work with T + 1 values of $\bar\alpha$, at $u = 0, 1/T, \dots, 1$: each beta needs two neighbours.
"""


# %% exercise="noising.cosine_betas"
def cosine_betas(num_train_timesteps):
    """The cosine schedule with s = 0.008, capped at 0.999. Returns (T,)."""
    ### BEGIN SOLUTION
    u = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
    alpha_bar = torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.cosine_betas", cosine_betas)

# %% [markdown]
r"""
## 7. Is the last step noise?

Sampling starts from *pure* noise and takes it for $x_T$. But $x_T$ still holds the picture, multiplied by $\sqrt{\bar\alpha_T}$. How large is this factor? Here it is for two schedules: the linear one, and Stable Diffusion's, which is called "scaled linear" ($\sqrt{\beta_t}$ grows on a straight line).
"""

# %% tags=["nbval-check-output"]
sd_alpha_bar = schedules.alphas_cumprod(schedules.scaled_linear_betas(1000))
schedules_to_test = {"linear": alpha_bar, "scaled linear": sd_alpha_bar}
for name, values in schedules_to_test.items():
    print(f"{name}: factor of the picture in the last x_t: {values[-1].sqrt():.4f}")

# %% [markdown]
r"""
Seven per cent of each pixel's value looks like nothing. But a picture has $3 \cdot 64 \cdot 64 = 12\,288$ numbers. Their average keeps the signal, and nearly all the noise cancels.

We test this. Take an all-white picture to the last step, 200 times, and look at the mean of all its pixels. (An all-black picture gives the same with a minus.)
"""

# %% tags=["nbval-check-output"]
generator = torch.Generator().manual_seed(3)
last = torch.full((200,), 999)
white = torch.ones(200, 3, 64, 64)
for name, values in schedules_to_test.items():
    noise = torch.randn(white.shape, generator=generator)
    means = process.q_sample(white, last, noise, values).mean(dim=(1, 2, 3))
    print(f"{name}: mean of all pixels {means.mean():+.3f}, standard deviation {means.std():.3f}")

# %% [markdown]
r"""
In the linear schedule the trace is smaller than the noise, so it cannot be seen. In Stable Diffusion's schedule it is about seven standard deviations large. The *brightness* of the picture can be read from the "pure noise".

A model trained with this schedule learns to trust that leak. But sampling starts from real noise, of mean 0. The model then concludes "medium brightness", always. This is why Stable Diffusion rarely draws a very dark or a very light picture (Lin, Liu, Li and Yang 2024). (It noises latents and not pixels, as lesson 06 explains. The argument is the same.)

The repair bends the schedule so that $\bar\alpha_T$ is exactly 0. Let $r_t = \sqrt{\bar\alpha_t}$. Shift $r$ so that its end is 0, and stretch it so that its start stays in place:

$$r_t \;\leftarrow\; (r_t - r_T)\cdot\frac{r_1}{r_1 - r_T}.$$

The repair has a price. At the new end $x_T = \epsilon$. A model that predicts $\epsilon$ there only copies its input, and $x_0$ cannot be computed from it (a division by 0). So such a schedule is trained with another target, called $v$. See lesson 02, section 9.
"""

# %% [markdown]
r"""
### Exercise: zero terminal SNR

`noising.rescale_zero_terminal_snr` · hard · 15 minutes

Betas in, betas out. The way: betas → $\bar\alpha$ → $\sqrt{\bar\alpha}$ → shift and stretch → $\bar\alpha$ → alphas (a ratio of neighbours; the first one is $\bar\alpha_1$ itself) → betas.
"""


# %% exercise="noising.rescale_zero_terminal_snr"
def rescale_zero_terminal_snr(betas):
    """Bend a schedule so that its last alpha bar is 0 and its first stays. (T,) to (T,)."""
    ### BEGIN SOLUTION
    roots = torch.cumprod(1 - betas, dim=0).sqrt()
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    alpha_bar = roots**2
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    return 1 - alphas
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.rescale_zero_terminal_snr", rescale_zero_terminal_snr)

# %% [markdown]
r"""
## 8. Find the bug

The mistakes of this lesson raise no error, so they are often copied. Here are three snippets, each with one faulty line.
"""

# %%
snippets("noising.find_the_bug")

# %% [markdown]
r"""
### Exercise: find the bug

`noising.find_the_bug` · medium · 10 minutes

For each snippet, return the number of the faulty line.
"""


# %% exercise="noising.find_the_bug"
def find_the_bug(snippet):
    """snippet: 1, 2 or 3. Returns the number of its faulty line."""
    ### BEGIN SOLUTION
    return {1: 4, 2: 3, 3: 3}[snippet]
    ### END SOLUTION


# %% tags=["nbval-check-output"]
check("noising.find_the_bug", find_the_bug)

# %% [markdown]
r"""
## 9. Play

The next cell shows two schedules and what they do to Pip. The curves show beta, $\bar\alpha$ and the log SNR. Press play, move the timestep, or type a number. The arrow keys work when the slider has the focus. Find out:

1. The linear schedule reaches SNR 1 at $t = 260$. Where does the cosine reach it?
2. With $T = 100$ and the same ends, the linear schedule does not reach noise. Which `beta end` repairs it?
3. Choose "scaled linear", go to the last timestep and tick "zero terminal SNR". What changes? Where does the log SNR curve hardly move?

This picture compares five schedules. (In the one called sigmoid, the betas follow an S.)

![Five noise schedules compared: their betas, alpha bar and log SNR as curves, and the same picture noised by each at the same timesteps](figures/schedules.png)
"""

# %%
schedule_explorer(picture)

# %% [markdown]
r"""
## What to keep

- One step: $x_t = \sqrt{\alpha_t}\,x_{t-1} + \sqrt{1-\alpha_t}\,\epsilon_t$. The roots keep the variance at 1.
- All steps: $x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$, with $\bar\alpha_t$ the product of the alphas.
- A schedule is its SNR curve. The linear one spends many steps on almost pure noise. The cosine spreads its steps more evenly. Zero terminal SNR makes the last step real noise.

**Read on** Ho, Jain, Abbeel, *Denoising Diffusion Probabilistic Models* (arXiv:2006.11239), section 2 · Nichol, Dhariwal, *Improved DDPM* (arXiv:2102.09672), section 3.2 · Lin and others, *Common Diffusion Noise Schedules and Sample Steps are Flawed* (arXiv:2305.08891).

**Next** in [lesson 02](02_the_loss.ipynb): from this chain to the loss that trains every diffusion model. Numbers check the main steps of the derivation.
"""

# %%
progress()
