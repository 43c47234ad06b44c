"""Lesson 04: steps that lead from noise to a sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises import _figures
from tlab_diffusion.course.exercises._shared import (
    BATCHES,
    CUBES,
    LAST,
    OBLONG,
    STEPS,
    T_BROADCAST,
    faulty_line,
    misaligned,
    off_by_one,
    rand,
    randn,
    random_betas,
    same_t,
    serves_points,
)
from tlab_diffusion.diffusion import process, samplers, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.diffusion.process import append_dims

# --- Solutions, as learners are shown them ------------------------------------------------


def ddpm_step(x_t, t, eps_pred, betas, step_std, noise):
    shape = (-1, *[1] * (x_t.ndim - 1))  # (B, 1, ..., 1)
    alpha_bar_t = torch.cumprod(1 - betas, dim=0)[t].reshape(shape)
    beta_t, sigma_t = betas[t].reshape(shape), step_std[t].reshape(shape)
    mean = (x_t - beta_t / (1 - alpha_bar_t).sqrt() * eps_pred) / (1 - beta_t).sqrt()
    return mean + (t > 0).reshape(shape) * sigma_t * noise


def ddim_step(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    padded = torch.cat([alphas_cumprod, torch.ones_like(alphas_cumprod[:1])])
    shape = (-1, *[1] * (x_t.ndim - 1))  # (B, 1, ..., 1)
    bar_t, bar_prev = padded[t].reshape(shape), padded[t_prev].reshape(shape)  # [-1] is the 1
    x0 = (x_t - (1 - bar_t).sqrt() * eps_pred) / bar_t.sqrt()
    variance = eta**2 * (1 - bar_prev) / (1 - bar_t) * (1 - bar_t / bar_prev)
    direction = (1 - bar_prev - variance).clamp(min=0).sqrt() * eps_pred
    return bar_prev.sqrt() * x0 + direction + variance.sqrt() * noise


# --- The denoising step -------------------------------------------------------------------


def _ddpm_arguments(
    generator: torch.Generator, shape: tuple, first: tuple = (), last: tuple = (1, 0)
) -> tuple:
    t = 2 + torch.randperm(LAST - 2, generator=generator)[: shape[0]]
    if first:
        t[: len(first)] = torch.tensor(first)
    else:  # the last samples stand at t = 1 and t = 0: the noise must be added and left out
        t[-2:] = torch.tensor(last)[-len(t) :]
    # No root of any schedule: so a sigma that is not the one handed over shows.
    step_std = rand(generator, STEPS, low=0.2, high=0.7)
    x_t, eps, noise = (randn(generator, *shape) for _ in range(3))
    return 0.5 + x_t, t, eps, random_betas(generator), step_std, noise


def _denoised(
    mean: Callable = lambda x, eps, b, bar: (x - b / (1 - bar).sqrt() * eps) / (1 - b).sqrt(),
    sigma: Callable = lambda step_std, betas: step_std,
    noisy: Callable = lambda t: t > 0,
    shaped: Callable = append_dims,
) -> Callable:
    """The denoising step, right but for what is handed over.

    The mean is a function of (x_t, eps_pred, beta_t, alpha_bar_t).
    """

    def form(
        x_t: Tensor, t: Tensor, eps_pred: Tensor, betas: Tensor, step_std: Tensor, noise: Tensor
    ) -> Tensor:
        bars = schedules.alphas_cumprod(betas)
        beta_t, bar_t, sigma_t, is_noisy = (
            shaped(values.to(x_t), x_t)
            for values in (betas[t], bars[t], sigma(step_std, betas)[t], noisy(t))
        )
        return mean(x_t, eps_pred, beta_t, bar_t) + is_noisy * sigma_t * noise

    return form


def _eps_coefficient(coefficient: Callable) -> Callable:
    """The step with another factor of the predicted noise, a function of (beta_t, alpha_bar_t)."""
    return _denoised(mean=lambda x, eps, b, bar: (x - coefficient(b, bar) * eps) / (1 - b).sqrt())


def _noise_inside_the_brackets(x_t, t, eps_pred, betas, step_std, noise) -> Tensor:
    added = append_dims((t > 0) * step_std[t], x_t) * noise
    calm = torch.zeros_like(step_std)
    mean = samplers.ddpm_step(x_t, t, eps_pred, betas, calm, noise)
    return mean + added / append_dims((1 - betas[t]).sqrt(), x_t)


def true_noise_leads_to_x0(answer: Callable, generator: torch.Generator) -> str | None:
    x0, _, eps, betas, step_std, noise = _ddpm_arguments(generator, CUBES[0])
    t = torch.zeros(len(x0), dtype=torch.int64)
    x_t = process.q_sample(x0, t, eps, schedules.alphas_cumprod(betas))
    off = (answer(x_t, t, eps, betas, step_std, noise) - x0).abs().max()
    if off > 1e-3:
        return (
            "At t = 0, with the true noise as prediction, the step leads to x0 itself; yours "
            f"ends up to {off:.2g} away."
        )
    return None


def variance_one_stays_one(answer: Callable, generator: torch.Generator) -> str | None:
    betas, t = random_betas(generator), torch.full((2,), 6)
    ones, zeros = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    # For standard normal data the exact model says sqrt(1 - alpha_bar_t) x_t.
    eps = (1 - schedules.alphas_cumprod(betas)[6]).sqrt() * ones
    kept = answer(ones, t, eps, betas, betas.sqrt(), zeros).mean().item()
    added = answer(zeros, t, zeros, betas, betas.sqrt(), ones).mean().item()
    if abs(kept**2 + added**2 - 1) > 1e-3:
        return (
            "Data of variance 1, with the exact model and sigma_t = sqrt(beta_t), keep variance 1 "
            f"at every step: yours gives {kept:.3f} squared from x_t, plus {added:.3f} squared "
            f"from the noise, {kept**2 + added**2:.3f} in all."
        )
    return None


def mixture_is_recovered(answer: Callable, generator: torch.Generator) -> str | None:
    bumps = GaussianMixture(
        torch.tensor([0.3, 0.7]),
        torch.tensor([[-1.5, 0.5], [0.9, -0.4]]),
        torch.diag_embed(torch.tensor([[0.05, 0.02], [0.02, 0.06]])),
    )
    betas = schedules.linear_betas(60, 1e-3, 0.2)
    step_std = samplers.ancestral_std(betas)
    model = bumps.denoiser(schedules.alphas_cumprod(betas))
    x = randn(generator, 500, 2)
    for index in reversed(range(60)):
        t = torch.full((500,), index)
        x = answer(x, t, model(x, t), betas, step_std, randn(generator, 500, 2))
    left = x[:, 0] < -0.3
    share, spread = left.double().mean().item(), x[~left].std(dim=0).mean().item()
    if abs(share - 0.3) > 0.09:
        return (
            "Sixty of your steps, driven by the exact model of two bumps, should leave 30 % of "
            f"the points in the left one; yours leave {share:.0%}."
        )
    right = bumps.covariances[1].diagonal().sqrt().mean().item()
    if not abs(spread - right) < 0.25 * right:
        return (
            "Sixty of your steps, driven by the exact model of two bumps, should leave the right "
            f"one {right:.2f} wide; yours leave it {spread:.2f} wide."
        )
    return None


# --- DDIM ---------------------------------------------------------------------------------


def _ddim_arguments(
    generator: torch.Generator, shape: tuple, eta: float, first: tuple = (), last: tuple = ()
) -> tuple:
    """Arguments whose batch begins with the jumps `first`, pairs (t, t_prev), and ends with
    `last`."""
    # Betas that rise, and every t_prev below every t: then no mistaken variance is negative.
    betas = random_betas(generator).sort().values
    t = 6 + torch.randperm(5, generator=generator)[: shape[0]]
    t_prev = torch.randperm(5, generator=generator)[: shape[0]]
    for place, jump in (*enumerate(first), *enumerate(last, start=shape[0] - len(last))):
        t[place], t_prev[place] = jump
    x_t, eps, noise = (randn(generator, *shape) for _ in range(3))
    return 0.5 + x_t, t, t_prev, eps, schedules.alphas_cumprod(betas), eta, noise


def _ddim_inputs(generator: torch.Generator) -> list[tuple]:
    # Jumps to the clean sample have no noise to add, so most of them come with eta = 0.
    cases = (
        (CUBES[0], 0.0, (), ((8, -1),)),
        (CUBES[0], 1.0),
        (CUBES[1], 0.6),
        (OBLONG, 0.0, ((LAST, 3), (0, -1))),
        ((2, 3, 5, 2), 0.5, ((LAST, -1),)),
        ((1, 3, 2, 4), 0.8),
        ((1, 3, 2, 4), 0.0, ((9, -1),)),
        (CUBES[0], 0.6),
    )
    return [_ddim_arguments(generator, *case) for case in cases]


def _padded(alphas_cumprod: Tensor) -> Tensor:
    """alpha_bar with a 1 behind it, which index -1 finds."""
    return torch.cat([alphas_cumprod, torch.ones_like(alphas_cumprod[:1])])


def _eta_variance(eta: float, bar: Tensor, prev: Tensor) -> Tensor:
    return eta**2 * (1 - prev) / (1 - bar) * (1 - bar / prev)


def _moved(
    clean: Callable = lambda x, eps, bar: (x - (1 - bar).sqrt() * eps) / bar.sqrt(),
    direction: Callable = lambda prev, variance: (1 - prev - variance).clamp(min=0).sqrt(),
    variance: Callable = _eta_variance,
    std: Callable = torch.sqrt,
    weight: Callable = torch.sqrt,
    earlier: Callable = lambda t, t_prev: t_prev,
    table: Callable = _padded,
    ahead: Callable = lambda x, x0, eps, noise, bar: eps,
    shaped: Callable = append_dims,
) -> Callable:
    """The DDIM step, right but for what is handed over."""

    def form(
        x_t: Tensor,
        t: Tensor,
        t_prev: Tensor,
        eps_pred: Tensor,
        alphas_cumprod: Tensor,
        eta: float,
        noise: Tensor,
    ) -> Tensor:
        bars = table(alphas_cumprod)
        bar, prev = shaped(bars[t], x_t), shaped(bars[earlier(t, t_prev)], x_t)
        x0, added = clean(x_t, eps_pred, bar), variance(eta, bar, prev)
        along = ahead(x_t, x0, eps_pred, noise, bar)
        return weight(prev) * x0 + direction(prev, added) * along + std(added) * noise

    return form


def _single_alphas(alphas_cumprod: Tensor) -> Tensor:
    ratios = alphas_cumprod[1:] / alphas_cumprod[:-1]
    return _padded(torch.cat([alphas_cumprod[:1], ratios]))


def _clipped(x: Tensor, eps: Tensor, bar: Tensor) -> Tensor:
    return ((x - (1 - bar).sqrt() * eps) / bar.sqrt()).clamp(-1, 1)


def _same_timesteps(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise) -> Tensor:
    firsts = t[:1].expand_as(t), t_prev[:1].expand_as(t_prev)
    return ddim_step(x_t, *firsts, eps_pred, alphas_cumprod, eta, noise)


def without_eta_no_noise(answer: Callable, generator: torch.Generator) -> str | None:
    *arguments, noise = _ddim_arguments(generator, CUBES[0], 0.0)
    off = (answer(*arguments, noise) - answer(*arguments, -noise)).abs().max()
    if off > 1e-4:
        return (
            "With eta = 0 the step is deterministic: other noise, same result. Yours changes by "
            f"up to {off:.2g}."
        )
    return None


def true_noise_returns_x0(answer: Callable, generator: torch.Generator) -> str | None:
    x0, t, t_prev, eps, alphas_cumprod, eta, noise = _ddim_arguments(generator, CUBES[0], 0.0)
    x_t = process.q_sample(x0, t, eps, alphas_cumprod)
    clean = torch.full_like(t, -1)
    off = (answer(x_t, t, clean, eps, alphas_cumprod, eta, noise) - x0).abs().max()
    if off > 1e-3:
        return (
            "With the true noise as prediction, one jump to t_prev = -1 returns x0; yours ends "
            f"up to {off:.2g} away."
        )
    return None


def with_eta_1_it_is_ancestral(answer: Callable, generator: torch.Generator) -> str | None:
    x_t, t, eps, betas, _, noise = _ddpm_arguments(generator, CUBES[0])
    alphas_cumprod = schedules.alphas_cumprod(betas)
    t = 1 + t  # the last step adds no noise, and is looked at elsewhere
    step_std = samplers.ancestral_std(betas)
    right = samplers.ddpm_step(x_t, t, eps, betas, step_std, noise)
    off = (answer(x_t, t, t - 1, eps, alphas_cumprod, 1.0, noise) - right).abs().max()
    if off > 1e-3:
        return (
            "With eta = 1 and t_prev = t - 1 it is the denoising step with the posterior's sigma; "
            f"yours ends up to {off:.2g} away."
        )
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def sample(model, shape, betas, step_std):
    x = torch.randn(shape)
    for i in range(len(betas)):
        t = torch.full(shape[:1], i)
        x = ddpm_step(x, t, model(x, t), betas, step_std, torch.randn(shape))
    return x
""",
    """
def sample(model, shape, alphas_cumprod, num_steps):
    T = len(alphas_cumprod)
    timesteps = range(0, T, T // num_steps)[::-1]  # with T = 1000: 900, 800, ..., 0
    x = torch.randn(shape)
    for i, i_prev in zip(timesteps, [*timesteps[1:], -1]):
        t, t_prev = torch.full(shape[:1], i), torch.full(shape[:1], i_prev)
        x = ddim_step(x, t, t_prev, model(x, t), alphas_cumprod, 0, torch.zeros(shape))
    return x
""",
    """
def first_guess(model, shape, betas):
    # zero terminal SNR, so that pure noise is the right place to start from
    alphas_cumprod = torch.cumprod(1 - rescale_zero_terminal_snr(betas), dim=0)
    x_t = torch.randn(shape)
    t = torch.full(shape[:1], len(betas) - 1)
    prediction = model(x_t, t)  # the noise: this network was taught it, that is not the bug
    x0 = x0_from_eps(x_t, t, prediction, alphas_cumprod)
    return x0
""",
    """
def ddim_step_for_pictures(x_t, t, t_prev, eps_pred, alphas_cumprod):
    # one timestep for the whole batch, eta = 0, and x0 kept in the range of pictures
    bar_t = alphas_cumprod[t]
    bar_prev = alphas_cumprod[t_prev] if t_prev >= 0 else torch.ones(())
    x0 = (x_t - (1 - bar_t).sqrt() * eps_pred) / bar_t.sqrt()
    x0 = x0.clamp(-1, 1)
    return bar_prev.sqrt() * x0 + (1 - bar_prev).sqrt() * eps_pred
""",
)


def find_the_bug(snippet):
    return {1: 3, 2: 3, 3: 7, 4: 7}[snippet]


BUGS = (
    faulty_line(
        1,
        3,
        "Snippet 1: not that line. `x` begins as pure noise. Which timestep does the loop tell "
        "the model at that moment?",
    ),
    faulty_line(
        2,
        3,
        "Snippet 2: not that line. The numbers in the comment are what the loop visits. `x` "
        "begins as pure noise: is there pure noise at the first of them?",
    ),
    faulty_line(
        3,
        7,
        "Snippet 3: not that line. At the last timestep alpha_bar is 0, and x_t is the noise "
        "itself. Which line asks for something that a prediction of that noise cannot tell?",
    ),
    faulty_line(
        4,
        7,
        "Snippet 4: not that line. Clipping x0 is allowed. But x_t, x0 and eps belong together: "
        "any two of them give the third. Which line uses two that no longer fit?",
    ),
)


EXERCISES = (
    Exercise(
        id="sampling.ddpm_step",
        title="The denoising step",
        returns="x_{t-1}, shaped like x_t (B, ...); t is (B,), betas and step_std (T,); no noise "
        "where t = 0",
        minutes=12,
        difficulty=2,
        reference=samplers.ddpm_step,
        solution=ddpm_step,
        make_inputs=lambda g: [
            *(_ddpm_arguments(g, *batch) for batch in BATCHES),
            _ddpm_arguments(g, CUBES[0], last=(2, 1)),  # a batch without a last step
        ],
        verified="Mean and noise are right at each sample's own timestep, and the last step is "
        "calm.",
        variants=(
            Variant(
                "NOISE_AT_LAST_STEP",
                "You add noise at t = 0 too. That step leads to the finished sample: noise added "
                "there is never taken away again, and stays in the picture as grain. Multiply "
                "the noise by `t > 0`.",
                (_denoised(noisy=torch.ones_like),),
            ),
            Variant(
                "NOISE_STOPS_TOO_EARLY",
                "You leave the noise out at t = 1 as well. Papers count from 1 and write `t > 1`; "
                "here timesteps are counted from 0, and only t = 0 goes without: `t > 0`.",
                (_denoised(noisy=lambda t: t > 1),),
            ),
            Variant(
                "NOISE_PER_BATCH",
                "You decide once for the whole batch whether noise is added. Each sample has its "
                "own t: make `t > 0` a factor of shape (B, 1, 1, 1).",
                (
                    _denoised(noisy=lambda t: (t > 0).all().expand_as(t)),
                    _denoised(noisy=lambda t: (t > 0).any().expand_as(t)),
                ),
            ),
            Variant(
                "NO_NOISE_EVER",
                "You return the mean alone. Without fresh noise the samples run together into "
                "the middle of each bump: add `step_std[t] * noise` where t > 0.",
                (_denoised(sigma=lambda step_std, betas: 0 * step_std),),
            ),
            Variant(
                "SIGMA_NOT_SQRT",
                "The noise is multiplied by a standard deviation, and that is what `step_std` "
                "holds: neither square it nor take its root.",
                (
                    _denoised(sigma=lambda step_std, betas: step_std.square()),
                    _denoised(sigma=lambda step_std, betas: step_std.sqrt()),
                ),
            ),
            Variant(
                "SIGMA_FROM_BETAS",
                "You work sigma_t out from the betas. The caller has made the choice already: "
                "use the `step_std` that is handed over.",
                (
                    _denoised(sigma=lambda step_std, betas: betas.sqrt()),
                    _denoised(sigma=lambda step_std, betas: betas),
                    _denoised(sigma=lambda step_std, betas: process.posterior_std(betas)),
                ),
            ),
            Variant(
                "NOISE_INSIDE_THE_BRACKETS",
                "You divide the noise by `sqrt(alpha_t)` too. It is added last, outside the "
                "brackets: first the mean is finished, then noise of size sigma_t comes on top.",
                (_noise_inside_the_brackets,),
            ),
            Variant(
                "MISSING_1_OVER_SQRT_ALPHA",
                "The division by `sqrt(alpha_t)` is missing, or its root is. A noising step "
                "shrinks the picture by `sqrt(1 - beta_t)`; the step back has to stretch it "
                "again.",
                (
                    _denoised(mean=lambda x, eps, b, bar: x - b / (1 - bar).sqrt() * eps),
                    _denoised(
                        mean=lambda x, eps, b, bar: (x - b / (1 - bar).sqrt() * eps) / (1 - b)
                    ),
                ),
            ),
            Variant(
                "MULTIPLIED_NOT_DIVIDED",
                "You multiply by `sqrt(alpha_t)` where you should divide: a step back stretches "
                "the picture.",
                (
                    _denoised(
                        mean=lambda x, eps, b, bar: (
                            (x - b / (1 - bar).sqrt() * eps) * (1 - b).sqrt()
                        )
                    ),
                ),
            ),
            Variant(
                "DIVIDED_TOO_EARLY",
                "You divide only one of the two, x_t or the predicted noise, by `sqrt(alpha_t)`. "
                "The whole difference must be divided: put brackets around it.",
                (
                    _denoised(
                        mean=lambda x, eps, b, bar: x / (1 - b).sqrt() - b / (1 - bar).sqrt() * eps
                    ),
                    _denoised(
                        mean=lambda x, eps, b, bar: x - b / (1 - bar).sqrt() / (1 - b).sqrt() * eps
                    ),
                ),
            ),
            Variant(
                "EPS_COEF",
                "The factor of the predicted noise is not `(1 - alpha_t) / sqrt(1 - "
                "alpha_bar_t)`. The numerator belongs to this one step and has no root; the "
                "denominator belongs to all steps so far and has one.",
                (
                    _eps_coefficient(lambda b, bar: b / (1 - bar)),
                    _eps_coefficient(lambda b, bar: b.sqrt() / (1 - bar).sqrt()),
                    _eps_coefficient(lambda b, bar: (1 - b) / (1 - bar).sqrt()),
                    _eps_coefficient(lambda b, bar: b / bar.sqrt()),
                    _eps_coefficient(lambda b, bar: (1 - bar).sqrt()),
                    _eps_coefficient(lambda b, bar: b),
                    _eps_coefficient(lambda b, bar: 1),
                ),
            ),
            Variant(
                "ALPHA_FOR_ALPHA_BAR",
                "Under the root of the predicted noise you use alpha_t, of this step alone. The "
                "noise in x_t has piled up over all steps: its size is `sqrt(1 - alpha_bar_t)`.",
                (_eps_coefficient(lambda b, bar: b.sqrt()),),
            ),
            Variant(
                "ALPHA_BAR_FOR_ALPHA",
                "You use alpha_bar_t, of all steps, where the alpha_t of this one belongs: in "
                "the division at the end, or in `1 - alpha_t`.",
                (
                    _denoised(
                        mean=lambda x, eps, b, bar: (x - b / (1 - bar).sqrt() * eps) / bar.sqrt()
                    ),
                    _denoised(
                        mean=lambda x, eps, b, bar: (x - (1 - bar).sqrt() * eps) / bar.sqrt()
                    ),
                ),
            ),
            Variant(
                "NOISE_ADDED",
                "You add the predicted noise once more, where it should be taken away. Look at "
                "the sign in front of `eps_pred`.",
                (
                    _denoised(
                        mean=lambda x, eps, b, bar: (
                            (x + b / (1 - bar).sqrt() * eps) / (1 - b).sqrt()
                        )
                    ),
                ),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "You read the schedule one step early or late. Timesteps are counted from 0, so "
                "the value for t is at index t.",
                off_by_one(ddpm_step),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every sample of your batch is treated as if it were at the first one's "
                "timestep. `t` has one value for each sample: look for `t[0]`.",
                (same_t(ddpm_step),),
            ),
            Variant(
                "T_BROADCAST",
                T_BROADCAST,
                tuple(
                    _denoised(shaped=lambda values, x, k=k: misaligned(values, k)) for k in range(3)
                ),
            ),
        ),
        invariants=(true_noise_leads_to_x0, variance_one_stays_one, mixture_is_recovered),
        remarks=(serves_points(samplers.ddpm_step, _ddpm_arguments),),
        expected_figure=_figures.ddpm_step,
        hints=(
            "There are two parts. The mean: take a share of the predicted noise away, and "
            "stretch what is left. Then the fresh noise, of the size that the caller chose, and "
            "none at all for samples that stand at t = 0.",
            "Pick `beta_t`, `alpha_bar_t` and `step_std` for each sample, shaped (B, 1, ..., 1). "
            "The mean is `(x_t - beta_t / sqrt(1 - alpha_bar_t) * eps_pred) / sqrt(1 - beta_t)`; "
            "the noise's factor is `step_std[t]`, times 0 where t is 0.",
            "    shape = (-1, *[1] * (x_t.ndim - 1))\n"
            "    alpha_bar_t = torch.cumprod(1 - betas, dim=0)[t].reshape(shape)\n"
            "    mean = (x_t - ... * eps_pred) / ...\n"
            "    return mean + (t > 0).reshape(shape) * ... * noise",
        ),
    ),
    Exercise(
        id="sampling.ddim_step",
        title="The DDIM step",
        returns="the sample at t_prev, shaped like x_t (B, ...); t and t_prev are (B,), "
        "alphas_cumprod (T,), eta a number; t_prev may be -1",
        minutes=18,
        difficulty=3,
        reference=samplers.ddim_step,
        solution=ddim_step,
        make_inputs=_ddim_inputs,
        verified="It jumps from any t to any earlier one, with as much noise as eta says, and "
        "lands on x0 at -1.",
        variants=(
            Variant(
                "PAPER_ALPHA_IS_ABAR",
                "The alpha of the DDIM paper is our alpha_bar, the product over all steps. You "
                "turned `alphas_cumprod` into single alphas, or took the product once more: use "
                "its values as they are.",
                (
                    _moved(table=_single_alphas),
                    _moved(table=lambda bars: _padded(torch.cumprod(bars, dim=0))),
                ),
            ),
            Variant(
                "T_MINUS_1_NOT_PREV_SUBSEQ",
                "You step to t - 1. DDIM may jump: the step ends at `t_prev`, the timestep that "
                "the caller visits next.",
                (_moved(earlier=lambda t, t_prev: t - 1),),
            ),
            Variant(
                "FINAL_ABAR_PREV_NOT_1",
                "All is right but where t_prev is -1. That is the clean sample, and its alpha_bar "
                "is 1. Look at what your code finds there: `alphas_cumprod[-1]` is the *last* "
                "value in Python, the noisiest.",
                (
                    _moved(table=lambda bars: bars),
                    _moved(table=lambda bars: torch.cat([bars, bars[:1]])),
                ),
            ),
            Variant(
                "SIGMA_NOT_SUBTRACTED",
                "You add fresh noise, but leave the predicted noise as strong as if you had not: "
                "together they are too much. Its factor is `sqrt(1 - alpha_bar_prev - sigma^2)`.",
                (_moved(direction=lambda prev, variance: (1 - prev).sqrt()),),
            ),
            Variant(
                "STD_SUBTRACTED",
                "Under the root of the predicted noise's factor you subtract sigma where sigma "
                "*squared* belongs: variances add up, standard deviations do not.",
                (
                    _moved(
                        direction=lambda prev, variance: (
                            (1 - prev - variance.sqrt()).clamp(min=0).sqrt()
                        )
                    ),
                ),
            ),
            Variant(
                "NO_NOISE_EVER",
                "Your step adds no noise, whatever eta is. With eta > 0 fresh noise of size "
                "sigma comes on top.",
                (
                    _moved(variance=lambda eta, bar, prev: 0 * prev),
                    _moved(std=torch.zeros_like),
                ),
            ),
            Variant(
                "ETA_IGNORED",
                "Your step always adds as much noise as ancestral sampling. `eta` scales sigma: "
                "at 0 there is none.",
                (_moved(variance=lambda eta, bar, prev: _eta_variance(1.0, bar, prev)),),
            ),
            Variant(
                "ETA_ON_VARIANCE",
                "You scale the variance by `eta`, which scales the standard deviation sigma; in "
                "its square it stands as `eta**2`. At 0 and 1 one sees no difference, between "
                "them one does.",
                (_moved(variance=lambda eta, bar, prev: eta * _eta_variance(1.0, bar, prev)),),
            ),
            Variant(
                "SIGMA_NOT_SQRT",
                "You multiply the noise by the variance sigma squared. Take the root: a standard "
                "deviation is what noise is multiplied by.",
                (_moved(std=lambda variance: variance),),
            ),
            Variant(
                "SIGMA_HALVED",
                "One of the two factors of sigma is missing. It is `eta * sqrt((1 - "
                "alpha_bar_prev) / (1 - alpha_bar_t)) * sqrt(1 - alpha_bar_t / alpha_bar_prev)`.",
                (
                    _moved(variance=lambda eta, bar, prev: eta**2 * (1 - bar / prev)),
                    _moved(variance=lambda eta, bar, prev: eta**2 * (1 - prev) / (1 - bar)),
                ),
            ),
            Variant(
                "MISSING_SQRT",
                "You use an alpha_bar, or 1 minus one, where its root belongs: in x0, in front "
                "of x0, or in front of the predicted noise.",
                (
                    _moved(clean=lambda x, eps, bar: (x - (1 - bar) * eps) / bar),
                    _moved(clean=lambda x, eps, bar: (x - (1 - bar) * eps) / bar.sqrt()),
                    _moved(clean=lambda x, eps, bar: (x - (1 - bar).sqrt() * eps) / bar),
                    _moved(weight=lambda prev: prev),
                    _moved(direction=lambda prev, variance: 1 - prev - variance),
                ),
            ),
            Variant(
                "X_T_FOR_X0",
                "You scale x_t itself where the predicted clean sample belongs. First work x0 "
                "out from x_t and the predicted noise.",
                (_moved(clean=lambda x, eps, bar: x),),
            ),
            Variant(
                "NOISE_ADDED",
                "In x0 you add the predicted noise where it should be taken away. Look at the "
                "sign.",
                (_moved(clean=lambda x, eps, bar: (x + (1 - bar).sqrt() * eps) / bar.sqrt()),),
            ),
            Variant(
                "RENOISED",
                "You noise x0 anew with the fresh noise. DDIM goes on along the *predicted* "
                "noise, `eps_pred`, and adds fresh noise only as far as eta says.",
                (
                    _moved(ahead=lambda x, x0, eps, noise, bar: noise),
                    _moved(
                        ahead=lambda x, x0, eps, noise, bar: noise,
                        variance=lambda eta, bar, prev: 0 * prev,
                    ),
                ),
            ),
            Variant(
                "CLIPPED_X0_OLD_EPS",
                "You clip x0 to [-1, 1] and go on with the old `eps_pred`. The two no longer "
                "belong together: they do not make x_t any more. This function does not clip; "
                "where one does, eps must be worked out again from the clipped x0.",
                (_moved(clean=_clipped),),
            ),
            Variant(
                "CLIPPED_X0",
                "You clip x0 to [-1, 1]. With eps worked out again, as you do, that is a fair "
                "thing to do to pictures; but points and latents leave that range, so this "
                "function must not.",
                (
                    _moved(
                        clean=_clipped,
                        ahead=lambda x, x0, eps, noise, bar: (
                            (x - bar.sqrt() * x0) / (1 - bar).sqrt()
                        ),
                    ),
                ),
            ),
            Variant(
                "STAYS_AT_T",
                "You go back to the noise level of t, from which you came. The new sample has the "
                "level of `t_prev`.",
                (_moved(earlier=lambda t, t_prev: t),),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "You read the schedule one step early or late at t. Timesteps are counted from "
                "0, so the value for t is `alphas_cumprod[t]`.",
                off_by_one(ddim_step),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every sample of your batch is treated as if it were at the first one's "
                "timesteps. `t` and `t_prev` have one value for each sample: look for `t[0]`.",
                (_same_timesteps, same_t(ddim_step)),
            ),
            Variant(
                "T_BROADCAST",
                T_BROADCAST,
                tuple(
                    _moved(shaped=lambda values, x, k=k: misaligned(values, k)) for k in range(3)
                ),
            ),
        ),
        invariants=(without_eta_no_noise, true_noise_returns_x0, with_eta_1_it_is_ancestral),
        remarks=(
            serves_points(samplers.ddim_step, lambda g, shape: _ddim_arguments(g, shape, 0.6)),
        ),
        expected_figure=_figures.ddim_step,
        hints=(
            "Pretend that the predicted noise is the true one. Then you know x0, and can noise "
            "it again, with the same noise, to any level you like.",
            "First x0 from x_t and eps_pred. Then three terms: `sqrt(bar_prev) x0`, `sqrt(1 - "
            "bar_prev - sigma^2) eps_pred` and `sigma noise`. Put a 1 behind `alphas_cumprod`: "
            "then index -1 finds it.",
            "    padded = torch.cat([alphas_cumprod, torch.ones_like(alphas_cumprod[:1])])\n"
            "    bar_t, bar_prev = ...  # each shaped (B, 1, ..., 1)\n"
            "    x0 = ...\n"
            "    variance = eta**2 * ... * (1 - bar_t / bar_prev)\n"
            "    return ... * x0 + (1 - bar_prev - variance).sqrt() * eps_pred + ... * noise",
        ),
    ),
    Exercise(
        id="sampling.find_the_bug",
        title="Find the bug: sampling",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: a loop that runs from the clean end to the noisy one (TIME_FORWARD); "
        "pure noise handed over as if it were x_900 (NOT_STARTING_AT_T); a prediction of the "
        "noise where it says nothing about x0 (ZTSNR_WITH_EPS); and a clipped x0 paired with the "
        "eps that no longer fits it (CLIPPED_X0_OLD_EPS).",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "Ask of each line: which noise level does x have here, and which one does the line "
            "believe in?",
            "Snippet 1: print `i` in the first round. Snippet 2: compare its first timestep with "
            "T - 1. Snippet 3: what does the line divide by? Snippet 4: put x0 and eps back "
            "together; is it x_t?",
            "Snippet 1: sampling goes from T - 1 down to 0.",
            'Snippet 2: the spacing should begin at 999 ("trailing").',
            "Snippet 3: sqrt(alpha_bar_t) is 0 there; a model that predicts v would do.",
            "Snippet 4: between the clipping and the last line, eps must be worked out again.",
        ),
    ),
)
