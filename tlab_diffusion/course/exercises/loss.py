"""Lesson 02: from the exact step back to the loss that trains."""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.answer_check import told_apart
from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises import _figures
from tlab_diffusion.course.exercises._shared import (
    BATCHES,
    CUBES,
    T_BROADCAST,
    faulty_line,
    misaligned,
    off_by_one,
    randn,
    random_alphas_cumprod,
    random_betas,
    same_t,
    serves_points,
    timesteps_of,
)
from tlab_diffusion.diffusion import losses, parameterization, process, schedules
from tlab_diffusion.diffusion.process import append_dims, extract
from tlab_diffusion.errors import InputError

# --- Solutions, as learners are shown them ------------------------------------------------


def posterior(x0, x_t, t, betas):
    alpha_bar = torch.cumprod(1 - betas, dim=0)
    alpha_bar_prev = torch.cat([torch.ones_like(betas[:1]), alpha_bar[:-1]])  # 1 before step 0
    shape = (-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    beta_t, bar_t, bar_prev = (v[t].reshape(shape) for v in (betas, alpha_bar, alpha_bar_prev))
    x0_weight = bar_prev.sqrt() * beta_t / (1 - bar_t)
    x_t_weight = (1 - beta_t).sqrt() * (1 - bar_prev) / (1 - bar_t)
    variance = (1 - bar_prev) / (1 - bar_t) * beta_t
    return x0_weight * x0 + x_t_weight * x_t, variance.flatten()


def x0_from_eps(x_t, t, eps, alphas_cumprod):
    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x_t.ndim - 1))  # (B, 1, ..., 1)
    return (x_t - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()


def noise_loss(model, x0, t, noise, alphas_cumprod):
    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    x_t = alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise
    return ((model(x_t, t) - noise) ** 2).mean()


# --- The posterior ------------------------------------------------------------------------


def _posterior_arguments(generator: torch.Generator, shape: tuple, first: tuple = ()) -> tuple:
    # Index 0 is among the timesteps: only there does it show what comes before the first step.
    t = timesteps_of(generator, shape[0], first) if first else _ending_at_0(generator, shape[0])
    return 0.5 + randn(generator, *shape), randn(generator, *shape), t, random_betas(generator)


def _ending_at_0(generator: torch.Generator, batch: int) -> Tensor:
    return timesteps_of(generator, batch, first=(0,)).flip(0)


def _after_first(first: Callable) -> Callable:
    """alpha_bar of the step before, with `first(alpha_bar)` before index 0."""
    return lambda alpha_bar: torch.cat([first(alpha_bar), alpha_bar[:-1]])


_before = _after_first(lambda alpha_bar: torch.ones_like(alpha_bar[:1]))


def _posterior(
    x0_weight: Callable = lambda beta, bar, prev: prev.sqrt() * beta / (1 - bar),
    x_t_weight: Callable = lambda beta, bar, prev: (1 - beta).sqrt() * (1 - prev) / (1 - bar),
    variance: Callable = lambda beta, bar, prev: (1 - prev) / (1 - bar) * beta,
    before: Callable = _before,
    product: Callable = schedules.alphas_cumprod,
) -> Callable:
    """The posterior, right but for what is handed over.

    Weights and variance are functions of (beta_t, alpha_bar_t, alpha_bar_{t-1}).
    """

    def form(x0: Tensor, x_t: Tensor, t: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        alpha_bar = product(betas)
        here = [extract(values, t, x0) for values in (betas, alpha_bar, before(alpha_bar))]
        return x0_weight(*here) * x0 + x_t_weight(*here) * x_t, variance(*here).flatten()

    return form


def _posterior_misaligned(trailing: int) -> Callable:
    def form(x0: Tensor, x_t: Tensor, t: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(t, dtype=betas.dtype)
        # The weights, as (B,): the mean of a batch of ones from one of the two alone.
        x0_weight, variance = posterior(ones, 0 * ones, t, betas)
        x_t_weight, _ = posterior(0 * ones, ones, t, betas)
        mean = misaligned(x0_weight, trailing) * x0 + misaligned(x_t_weight, trailing) * x_t
        return mean, variance

    return form


def _bayes_on_a_grid(x0: float, x_t: float, t: int, betas: Tensor) -> tuple[float, float]:
    """Mean and variance of x_{t-1}, by multiplying densities point by point."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    bar_prev = schedules.alphas_cumprod(betas)[t - 1]
    log_prior = -((x - bar_prev.sqrt() * x0) ** 2) / (2 * (1 - bar_prev))
    log_likelihood = -((x_t - (1 - betas[t]).sqrt() * x) ** 2) / (2 * betas[t])
    density = torch.softmax(log_prior + log_likelihood, dim=0)
    mean = (density * x).sum()
    return mean.item(), (density * (x - mean) ** 2).sum().item()


def posterior_is_bayes(answer: Callable, generator: torch.Generator) -> str | None:
    betas = random_betas(generator)
    x0, x_t = torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), -0.4)
    mean, variance = (part.item() for part in answer(x0, x_t, torch.tensor([4]), betas))
    right_mean, right_variance = _bayes_on_a_grid(0.7, -0.4, 4, betas)
    start = "Bayes' rule, worked out point by point on a grid, gives a"
    if abs(variance - right_variance) > 1e-3:
        return f"{start} variance of {right_variance:.3f} where yours is {variance:.3f}."
    if abs(mean - right_mean) > 1e-3:
        return f"{start} mean of {right_mean:.3f} where yours is {mean:.3f}."
    return None


def first_step_back_is_certain(answer: Callable, generator: torch.Generator) -> str | None:
    x0, x_t, _, betas = _posterior_arguments(generator, CUBES[1])
    mean, variance = answer(x0, x_t, torch.zeros(3, dtype=torch.int64), betas)
    if (mean - x0).abs().max() > 1e-3 or variance.abs().max() > 1e-3:
        return "At t = 0 the step before is the clean picture: the mean is x0, the variance 0."
    return None


# --- x0 from eps --------------------------------------------------------------------------


def _batch(generator: torch.Generator, shape: tuple, first: tuple = ()) -> tuple:
    t = timesteps_of(generator, shape[0], first)
    eps = randn(generator, *shape)
    return 0.5 + randn(generator, *shape), t, eps, random_alphas_cumprod(generator)


def _solved(solve: Callable) -> Callable:
    """x0 as `solve(x_t, eps, alpha_bar_t)`."""

    def form(x_t: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor) -> Tensor:
        return solve(x_t, eps, extract(alphas_cumprod, t, x_t))

    return form


def _solved_misaligned(trailing: int) -> Callable:
    def form(x_t: Tensor, t: Tensor, eps: Tensor, alphas_cumprod: Tensor) -> Tensor:
        alpha_bar_t = misaligned(alphas_cumprod[t], trailing)
        return (x_t - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()

    return form


def noise_and_back(answer: Callable, generator: torch.Generator) -> str | None:
    x0, t, eps, alphas_cumprod = _batch(generator, CUBES[0])
    x_t = process.q_sample(x0, t, eps, alphas_cumprod)
    off = (answer(x_t, t, eps, alphas_cumprod) - x0).abs().max()
    if off > 1e-3:
        return (
            "A picture noised with a known eps should come back exactly; yours comes back up to "
            f"{off:.2g} away. Solve the equation of `q_sample` for x0, one operation at a time."
        )
    return None


# --- The noise loss -----------------------------------------------------------------------


def _loss_arguments(generator: torch.Generator, shape: tuple, first: tuple = ()) -> tuple:
    weight = randn(generator, 1).requires_grad_()

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        if not isinstance(t, Tensor) or t.shape != x_t.shape[:1]:
            got = f"shape {tuple(t.shape)}" if isinstance(t, Tensor) else type(t).__name__
            raise InputError("t", got=got, expected=f"{tuple(x_t.shape[:1])}, one a sample")
        return torch.tanh(weight + x_t) + 0.1 * append_dims(t, x_t)

    x0, t, noise, alphas_cumprod = _batch(generator, shape, first)
    return model, x0, t, noise, alphas_cumprod


def _loss(
    error: Callable = lambda pred, noise, x0, bar: (pred - noise) ** 2,
    noised: Callable = lambda x0, noise, bar: bar.sqrt() * x0 + (1 - bar).sqrt() * noise,
    reduce: Callable = torch.mean,
    shaped: Callable = append_dims,
) -> Callable:
    """The noise loss, right but for what is handed over."""

    def form(
        model: Callable, x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor
    ) -> Tensor:
        bar = shaped(alphas_cumprod[t], x0)
        return reduce(error(model(noised(x0, noise, bar), t), noise, x0, bar))

    return form


def _sum_over_pixels(errors: Tensor) -> Tensor:
    return errors.flatten(1).sum(dim=1).mean()


def _loss_of(
    answer: Callable, generator: torch.Generator, change: Callable
) -> tuple[float, Tensor]:
    """The loss of a model that answers `change(noise)`, and the noise."""
    _, x0, t, noise, alphas_cumprod = _loss_arguments(generator, CUBES[0])
    loss = answer(lambda x_t, t: change(noise), x0, t, noise, alphas_cumprod)
    return float(loss), noise


def true_noise_costs_nothing(answer: Callable, generator: torch.Generator) -> str | None:
    got, _ = _loss_of(answer, generator, lambda noise: noise)
    if abs(got) > 1e-4:
        return (
            f"A model that knows the noise exactly should have loss 0; with yours it has {got:.3g}."
        )
    return None


def silence_costs_the_power(answer: Callable, generator: torch.Generator) -> str | None:
    got, noise = _loss_of(answer, generator, torch.zeros_like)
    right = (noise**2).mean().item()
    if abs(got - right) > 1e-3:
        should, does = told_apart(right, got)
        return (
            f"A model that always answers 0 should pay the mean square of the noise, {should}; "
            f"with yours it pays {does}."
        )
    return None


def model_sees_x_t(answer: Callable, generator: torch.Generator) -> str | None:
    _, x0, t, noise, alphas_cumprod = _loss_arguments(generator, CUBES[0])
    seen = []

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        seen.append(x_t)
        return torch.zeros_like(x_t)

    answer(model, x0, t, noise, alphas_cumprod)
    right = process.q_sample(x0, t, noise, alphas_cumprod)
    if not seen or seen[0].shape != right.shape or (seen[0] - right).abs().max() > 1e-3:
        return "What you hand to the model is not x_t = q_sample(x0, t, noise, alphas_cumprod)."
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def train_step(model, optimizer, x0, alphas_cumprod):
    t = torch.randint(len(alphas_cumprod), (len(x0),))
    noise = torch.randn_like(x0)
    loss = noise_loss(model, x0, t, noise, alphas_cumprod)
    optimizer.zero_grad()
    loss.backward(loss)
    optimizer.step()
""",
    """
def train_step(model, optimizer, x0, alphas_cumprod):
    noise = torch.randn_like(x0)
    t = torch.randint(len(alphas_cumprod), (1,)).expand(len(x0))
    loss = noise_loss(model, x0, t, noise, alphas_cumprod)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
""",
    """
def weighted_noise_loss(model, x0, t, noise, alphas_cumprod):
    # min-SNR: for the error in x0 the weight would be min(SNR, 5)
    x_t = q_sample(x0, t, noise, alphas_cumprod)
    errors = (model(x_t, t) - noise).square().flatten(1).mean(dim=1)
    snr = alphas_cumprod[t] / (1 - alphas_cumprod[t])
    weights = snr.clamp(max=5)
    return (weights * errors).mean()
""",
    """
def weighted_noise_loss(model, x0, t, noise, alphas_cumprod):
    # min-SNR weighting, said for the error in eps
    x_t = q_sample(x0, t, noise, alphas_cumprod)
    errors = (model(x_t, t) - noise).square().flatten(1).mean(dim=1)
    snr = alphas_cumprod[t] / (1 - alphas_cumprod[t])
    weights = snr / snr.clamp(max=5)
    return (weights * errors).mean()
""",
)


def find_the_bug(snippet):
    return {1: 6, 2: 3, 3: 6, 4: 6}[snippet]


BUGS = (
    faulty_line(
        1,
        6,
        "Snippet 1: not that line. The loss itself is right, and falls; but the smaller it is, "
        "the shorter the step. Which line decides how long the gradient is?",
    ),
    faulty_line(
        2,
        3,
        "Snippet 2: not that line. It trains, but the loss jumps from step to step far more than "
        "it should. How many different timesteps does one batch see?",
    ),
    faulty_line(
        3,
        6,
        "Snippet 3: not that line. The comment speaks of the error in x0, the model predicts "
        "noise. Which line must know the difference?",
    ),
    faulty_line(
        4,
        6,
        "Snippet 4: not that line. min-SNR is there to hold the nearly clean steps back. Work out "
        "the weight at SNR 100: does it?",
    ),
)


EXERCISES = (
    Exercise(
        id="loss.posterior",
        title="The exact step back",
        returns="mean (like x0), variance (B,); t is (B,), betas (T,)",
        minutes=20,
        difficulty=3,
        reference=process.posterior,
        solution=posterior,
        make_inputs=lambda g: [_posterior_arguments(g, *batch) for batch in BATCHES],
        verified="Mean and variance are those of Bayes' rule at each sample's timestep, the "
        "first step included.",
        variants=(
            Variant(
                "COEFFS_SWAPPED",
                "The weights of x0 and x_t have changed places. Near t = 0 the clean picture "
                "should rule, far from it the noisy one: look at which weight multiplies which.",
                (
                    _posterior(
                        x0_weight=lambda b, bar, prev: (1 - b).sqrt() * (1 - prev) / (1 - bar),
                        x_t_weight=lambda b, bar, prev: prev.sqrt() * b / (1 - bar),
                    ),
                ),
            ),
            Variant(
                "BETA_FOR_BETA_TILDE",
                "The mean is right; for the variance you return beta_t. Knowing x0 tells more: "
                "the variance is smaller, `(1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) * beta_t`, "
                "and 0 at t = 0.",
                (_posterior(variance=lambda b, bar, prev: b),),
            ),
            Variant(
                "PREV_PADDED_WRONG_SIDE",
                "For alpha_bar_{t-1} you read the step *after*: the schedule was shifted the "
                "wrong way. The 1 belongs in front, and the last value falls off: "
                "`torch.cat([one, alpha_bar[:-1]])`.",
                (
                    _posterior(before=lambda a: torch.cat([a[1:], torch.ones_like(a[:1])])),
                    _posterior(before=lambda a: torch.cat([a[1:], torch.zeros_like(a[:1])])),
                    _posterior(before=lambda a: torch.cat([a[1:], a[-1:]])),
                ),
            ),
            Variant(
                "ABAR_MINUS1_NOT_1",
                "All is right but at t = 0. Before the first step there is no noise yet, so "
                "alpha_bar_{-1} is 1. Look at what your code finds there: `alpha_bar[-1]` is the "
                "*last* value in Python.",
                (
                    _posterior(before=_after_first(lambda a: a[:1])),
                    _posterior(before=_after_first(lambda a: a[-1:])),
                    _posterior(before=_after_first(lambda a: torch.zeros_like(a[:1]))),
                ),
            ),
            Variant(
                "PREV_NOT_SHIFTED",
                "Where alpha_bar_{t-1} belongs you use alpha_bar_t. The two differ by one step: "
                "shift the schedule by one, with a 1 in front.",
                (_posterior(before=lambda a: a),),
            ),
            Variant(
                "STD_FOR_VARIANCE",
                "The mean is right; you return the standard deviation where the variance is "
                "asked for. Leave out the root.",
                (_posterior(variance=lambda b, bar, prev: ((1 - prev) / (1 - bar) * b).sqrt()),),
            ),
            Variant(
                "MISSING_SQRT",
                "In the mean a root is missing: alpha_bar_{t-1} and alpha_t act on values there, "
                "so they come as `sqrt(alpha_bar_{t-1})` and `sqrt(alpha_t)`. What stands in "
                "brackets as 1 - ... has no root.",
                (
                    _posterior(x0_weight=lambda b, bar, prev: prev * b / (1 - bar)),
                    _posterior(x_t_weight=lambda b, bar, prev: (1 - b) * (1 - prev) / (1 - bar)),
                    _posterior(
                        x0_weight=lambda b, bar, prev: prev * b / (1 - bar),
                        x_t_weight=lambda b, bar, prev: (1 - b) * (1 - prev) / (1 - bar),
                    ),
                ),
            ),
            Variant(
                "ALPHA_FOR_ALPHA_BAR",
                "You use the alphas of single steps where alpha_bar belongs. Only beta_t and "
                "`sqrt(alpha_t)` are about one step; all else is about all steps so far, the "
                "running product.",
                (_posterior(product=lambda betas: 1 - betas),),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "All your values are those of the next timestep, or of the one before. Timesteps "
                "are counted from 0: read each schedule at `[t]`.",
                off_by_one(posterior, position=2),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every sample of your batch is treated as if it were at the first one's "
                "timestep. `t` has one value for each sample: look for `t[0]`.",
                (same_t(posterior, position=2),),
            ),
            Variant("T_BROADCAST", T_BROADCAST, tuple(_posterior_misaligned(k) for k in range(3))),
        ),
        invariants=(first_step_back_is_certain, posterior_is_bayes),
        remarks=(serves_points(process.posterior, _posterior_arguments),),
        expected_figure=_figures.posterior,
        hints=(
            "Two Gaussians speak about x_{t-1}: one says where it is, coming from x0; the other "
            "how well it explains x_t. Their product is a Gaussian again, and its mean lies "
            "between what the two say.",
            "With `prev = alpha_bar[t-1]`, and 1 where t is 0:\n\n"
            "    x0_weight  = sqrt(prev) * beta_t / (1 - alpha_bar_t)\n"
            "    x_t_weight = sqrt(alpha_t) * (1 - prev) / (1 - alpha_bar_t)\n"
            "    variance   = (1 - prev) / (1 - alpha_bar_t) * beta_t",
            "    alpha_bar = torch.cumprod(1 - betas, dim=0)\n"
            "    alpha_bar_prev = torch.cat([torch.ones_like(betas[:1]), alpha_bar[:-1]])\n"
            "    shape = (-1, *[1] * (x0.ndim - 1))\n"
            "    beta_t = betas[t].reshape(shape)  # and so on for the others\n"
            "    ...\n"
            "    return x0_weight * x0 + x_t_weight * x_t, variance.flatten()",
        ),
    ),
    Exercise(
        id="loss.x0_from_eps",
        title="From noise to picture",
        returns="x0, shaped like x_t (B, ...); t is (B,), alphas_cumprod (T,)",
        minutes=10,
        difficulty=2,
        reference=parameterization.x0_from_eps,
        solution=x0_from_eps,
        make_inputs=lambda g: [_batch(g, *batch) for batch in BATCHES],
        verified="It undoes `q_sample` exactly, at each sample's own timestep.",
        variants=(
            Variant(
                "MISSING_SQRT",
                "You use alpha_bar_t where its root belongs. In `q_sample` the picture was "
                "multiplied by `sqrt(alpha_bar_t)`, the noise by `sqrt(1 - alpha_bar_t)`: undo "
                "just that.",
                (
                    _solved(lambda x, eps, a: (x - (1 - a) * eps) / a),
                    _solved(lambda x, eps, a: (x - (1 - a).sqrt() * eps) / a),
                ),
            ),
            Variant(
                "VAR_AS_STD",
                "You subtract `(1 - alpha_bar_t) * eps`, but the noise in x_t is "
                "`sqrt(1 - alpha_bar_t) * eps`. Look at the factor of `eps`: take the root.",
                (_solved(lambda x, eps, a: (x - (1 - a) * eps) / a.sqrt()),),
            ),
            Variant(
                "NOT_DIVIDED",
                "You take the noise away, but the picture is still as pale as it was in x_t: "
                "`sqrt(alpha_bar_t) x0`. Divide by that factor.",
                (_solved(lambda x, eps, a: x - (1 - a).sqrt() * eps),),
            ),
            Variant(
                "MULTIPLIED_NOT_DIVIDED",
                "You multiply by `sqrt(alpha_bar_t)` where you should divide. The picture was "
                "made paler on its way to x_t; on the way back it gets stronger.",
                (_solved(lambda x, eps, a: (x - (1 - a).sqrt() * eps) * a.sqrt()),),
            ),
            Variant(
                "NOISE_NOT_SCALED",
                "You subtract `eps` as it is. In x_t there is only `sqrt(1 - alpha_bar_t)` of "
                "it: look at the factor of `eps`.",
                (_solved(lambda x, eps, a: (x - eps) / a.sqrt()),),
            ),
            Variant(
                "NOISE_ADDED",
                "You add the noise once more, where it should be taken away. Look at the sign.",
                (_solved(lambda x, eps, a: (x + (1 - a).sqrt() * eps) / a.sqrt()),),
            ),
            Variant(
                "COEFFS_SWAPPED",
                "The two factors have changed places: `sqrt(alpha_bar_t)` belongs to the "
                "picture, so it divides; `sqrt(1 - alpha_bar_t)` belongs to the noise.",
                (
                    _solved(lambda x, eps, a: (x - a.sqrt() * eps) / (1 - a).sqrt()),
                    _solved(lambda x, eps, a: (x - (1 - a).sqrt() * eps) / (1 - a).sqrt()),
                ),
            ),
            Variant(
                "DIVIDED_TOO_EARLY",
                "You divide only one of the two, x_t or the noise, before subtracting. The whole "
                "difference must be divided: put brackets around it.",
                (
                    _solved(lambda x, eps, a: x / a.sqrt() - (1 - a).sqrt() * eps),
                    _solved(lambda x, eps, a: x - (1 - a).sqrt() * eps / a.sqrt()),
                ),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "You read the schedule one step early or late. Timesteps are counted from 0, so "
                "the value for t is `alphas_cumprod[t]`, without + 1 or - 1.",
                off_by_one(x0_from_eps),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every sample of your batch is treated as if it were at the first one's "
                "timestep. `t` has one value for each sample: look for `t[0]`.",
                (same_t(x0_from_eps),),
            ),
            Variant("T_BROADCAST", T_BROADCAST, tuple(_solved_misaligned(k) for k in range(3))),
        ),
        invariants=(noise_and_back,),
        remarks=(serves_points(parameterization.x0_from_eps, _batch),),
        hints=(
            "You know how x_t was made from x0 and eps. If you know x_t and eps, only one "
            "unknown is left in that equation.",
            "Solve `x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps` for x0: first bring "
            "the noise to the other side, then divide.",
            "    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x_t.ndim - 1))\n"
            "    return (x_t - ... * eps) / ...",
        ),
    ),
    Exercise(
        id="loss.noise_loss",
        title="The loss",
        returns="a scalar; model(x_t, t) predicts the noise",
        minutes=10,
        difficulty=2,
        reference=losses.noise_loss,
        solution=noise_loss,
        make_inputs=lambda g: [
            _loss_arguments(g, *batch) for batch in (((5, 5, 5, 5), ()), *BATCHES)
        ],
        verified="The model sees x_t and t, and pays the mean square of its error in the noise.",
        variants=(
            Variant(
                "PREDICTS_X0",
                "You compare the model's answer with x0. This model predicts the *noise*: look "
                "at what you subtract from its answer.",
                (_loss(error=lambda pred, noise, x0, bar: (pred - x0) ** 2),),
            ),
            Variant(
                "TARGET_SCALED",
                "You compare with the noise as it stands in x_t, scaled by "
                "`sqrt(1 - alpha_bar_t)`. The model predicts eps itself, of variance 1: the "
                "target is `noise`, without a factor.",
                (
                    _loss(
                        error=lambda pred, noise, x0, bar: (pred - (1 - bar).sqrt() * noise) ** 2
                    ),
                    _loss(error=lambda pred, noise, x0, bar: (pred - (1 - bar) * noise) ** 2),
                ),
            ),
            Variant(
                "CLEAN_INPUT",
                "You show the model the clean picture, in which there is no noise to find. Make "
                "x_t first, as `q_sample` does, and hand that over.",
                (_loss(noised=lambda x0, noise, bar: x0),),
            ),
            Variant(
                "NOISE_AS_INPUT",
                "You show the model the noise alone: it could just hand it back. Make x_t first, "
                "picture and noise mixed, and hand that over.",
                (_loss(noised=lambda x0, noise, bar: noise),),
            ),
            Variant(
                "SUM_NOT_MEAN",
                "You add the squared errors up. Then the loss, and every step of training, grows "
                "with the size of the pictures and of the batch. Take the mean over all elements.",
                (_loss(reduce=torch.sum), _loss(reduce=_sum_over_pixels)),
            ),
            Variant(
                "NOT_REDUCED",
                "You return one error for each element or sample. A loss is one number: take the "
                "mean over all of them.",
                (
                    _loss(reduce=lambda errors: errors),
                    _loss(reduce=lambda errors: errors.flatten(1).mean(dim=1)),
                ),
            ),
            Variant(
                "L1_NOT_SQUARED",
                "You take the absolute error. The loss that follows from Gaussians is the "
                "*squared* one: `(...) ** 2`.",
                (_loss(error=lambda pred, noise, x0, bar: (pred - noise).abs()),),
            ),
            Variant(
                "ROOT_TAKEN",
                "You take the root of the mean square. The derivation ends at the square itself: "
                "leave the root out (`torch.norm` and `torch.dist` take one).",
                (
                    _loss(reduce=lambda errors: errors.mean().sqrt()),
                    _loss(reduce=lambda errors: errors.sum().sqrt()),
                ),
            ),
            Variant(
                "MEAN_THEN_SQUARE",
                "You take the mean of the errors first and square it afterwards: errors of "
                "opposite sign cancel, and a bad model looks good. Square first.",
                (
                    _loss(
                        error=lambda pred, noise, x0, bar: pred - noise,
                        reduce=lambda errors: errors.mean() ** 2,
                    ),
                ),
            ),
            Variant(
                "MISSING_SQRT",
                "What you show the model is not x_t: the factors of picture and noise are the "
                "*roots* of alpha_bar_t and 1 - alpha_bar_t.",
                (
                    _loss(noised=lambda x0, noise, bar: bar * x0 + (1 - bar) * noise),
                    _loss(noised=lambda x0, noise, bar: bar * x0 + (1 - bar).sqrt() * noise),
                ),
            ),
            Variant(
                "VAR_AS_STD",
                "What you show the model is not x_t: you scale the noise by `1 - alpha_bar_t`, "
                "its variance. Take the root.",
                (_loss(noised=lambda x0, noise, bar: bar.sqrt() * x0 + (1 - bar) * noise),),
            ),
            Variant(
                "SNR_WEIGHT_WRONG_PARAM",
                "You weight the errors by the signal-to-noise ratio. That turns an error in x0 "
                "into one in eps; yours is an error in eps already, and its weight is 1.",
                (
                    _loss(error=lambda p, noise, x0, bar: (p - noise) ** 2 * bar / (1 - bar)),
                    _loss(
                        error=lambda p, noise, x0, bar: (
                            (p - noise) ** 2 * (bar / (1 - bar)).clamp(max=5)
                        )
                    ),
                ),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "You read the schedule one step early or late, or tell the model another t. "
                "Timesteps are counted from 0: `alphas_cumprod[t]`, and `model(x_t, t)`.",
                (
                    *off_by_one(noise_loss, position=2),
                    lambda model, x0, t, noise, ac: noise_loss(
                        lambda x_t, t: model(x_t, t + 1), x0, t, noise, ac
                    ),
                    lambda model, x0, t, noise, ac: noise_loss(model, x0, t, noise, ac.roll(1)),
                    lambda model, x0, t, noise, ac: noise_loss(model, x0, t, noise, ac.roll(-1)),
                ),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every sample of your batch is noised to the first one's timestep. `t` has one "
                "value for each sample: look for `t[0]`.",
                (
                    same_t(noise_loss, position=2),
                    lambda model, x0, t, noise, ac: noise_loss(
                        lambda x_t, _: model(x_t, t), x0, t[:1].expand_as(t), noise, ac
                    ),
                ),
            ),
            Variant(
                "T_BROADCAST",
                T_BROADCAST,
                (
                    _loss(shaped=lambda values, x: misaligned(values, 0)),
                    _loss(shaped=lambda values, x: misaligned(values, 1)),
                    _loss(shaped=lambda values, x: misaligned(values, 2)),
                ),
            ),
        ),
        invariants=(true_noise_costs_nothing, model_sees_x_t, silence_costs_the_power),
        remarks=(serves_points(losses.noise_loss, _loss_arguments),),
        hints=(
            "You mixed the noise in yourself, so you know the right answer. Let the model guess "
            "it from what it may see, and measure how far off it is.",
            "Make `x_t` as `q_sample` does; ask `model(x_t, t)`; the loss is the mean, over "
            "everything, of the squared difference to `noise`.",
            "    x_t = ...  # the closed form\n"
            "    eps_pred = model(..., t)\n"
            "    return ((eps_pred - ...) ** 2).mean()",
        ),
    ),
    Exercise(
        id="loss.find_the_bug",
        title="Find the bug: training",
        returns="the number of the faulty line of snippet 1, 2, 3 or 4",
        minutes=12,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,), (4,)],
        verified="Found: `loss.backward(loss)`, which multiplies the gradient by the loss "
        "(BACKWARD_LOSS); one timestep for a whole batch (SAME_T_FOR_BATCH); the weight of an x0 "
        "error on an eps error, which should be divided by the SNR (SNR_WEIGHT_WRONG_PARAM); and "
        "a weight turned upside down (WEIGHT_INVERTED).",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "All four run without an error, and the loss falls. Ask of each line what it does to "
            "the gradient.",
            "Snippet 1: what does the argument of `backward` do? Snippet 2: print the shape and "
            "the values of `t`. Snippet 3: how is an error in eps related to an error in x0? "
            "Snippet 4: work out the weight at SNR 100.",
            "Snippet 1: `backward` takes no argument for a scalar.",
            "Snippet 2: a draw of one number, spread over the batch.",
            "Snippet 3: the squared error in eps is SNR times that in x0, so a weight for x0 has "
            "to be divided by it.",
            "Snippet 4: a weight of 20 at SNR 100 is the wrong way up.",
        ),
    ),
)
