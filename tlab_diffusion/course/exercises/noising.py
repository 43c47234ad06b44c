"""Lesson 01: adding noise, step by step and all at once, and the schedules that say how much."""

import math
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
    rand,
    randint,
    randn,
    random_alphas_cumprod,
    random_betas,
    same_t,
    serves_points,
    timesteps_of,
)
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.diffusion.process import append_dims, extract

# --- Solutions, as learners are shown them ------------------------------------------------


def q_step(x_prev, beta_t, noise):
    beta_t = beta_t.reshape(-1, *[1] * (x_prev.ndim - 1))  # (B, 1, ..., 1)
    return (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * noise


def alphas_cumprod(betas):
    return torch.cumprod(1 - betas, dim=0)


def q_sample(x0, t, noise, alphas_cumprod):
    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))  # (B, 1, ..., 1)
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise


def snr(alphas_cumprod):
    return alphas_cumprod / (1 - alphas_cumprod)


def cosine_betas(num_train_timesteps):
    s = 0.008
    u = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)  # T + 1 points
    alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
    return betas.clamp(max=0.999).float()


def rescale_zero_terminal_snr(betas):
    roots = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = roots[0], roots[-1]
    roots = (roots - last) * first / (first - last)  # the last becomes 0, the first stays
    alpha_bar = roots**2
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    return 1 - alphas


# --- One noising step ---------------------------------------------------------------------


def _step_arguments(generator: torch.Generator, shape: tuple) -> tuple:
    beta_t = rand(generator, shape[0], low=0.03, high=0.9)
    return 0.5 + randn(generator, *shape), beta_t, randn(generator, *shape)


def _step(signal: Callable, noise_scale: Callable) -> Callable:
    """A step with these factors of the picture and of the noise, as functions of beta."""

    def form(x_prev: Tensor, beta_t: Tensor, noise: Tensor) -> Tensor:
        beta_t = append_dims(beta_t, x_prev)
        return signal(beta_t) * x_prev + noise_scale(beta_t) * noise

    return form


def _step_misaligned(trailing: int) -> Callable:
    def form(x_prev: Tensor, beta_t: Tensor, noise: Tensor) -> Tensor:
        beta_t = misaligned(beta_t, trailing)
        return (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * noise

    return form


def step_keeps_variance(answer: Callable, generator: torch.Generator) -> str | None:
    x, noise = randn(generator, 2, 1, 100, 100), randn(generator, 2, 1, 100, 100)
    beta_t = torch.tensor([0.2, 0.5])
    for sample, beta in zip(answer(x, beta_t, noise), beta_t, strict=True):
        if abs(sample.var() - 1) > 0.1:
            return (
                f"Data of variance 1 should keep variance 1; with beta = {beta:g} yours has "
                f"{sample.var():.2f}. The squares of the two factors must add up to 1."
            )
    return None


def step_with_beta_1_is_noise(answer: Callable, generator: torch.Generator) -> str | None:
    x, _, noise = _step_arguments(generator, CUBES[0])
    if (answer(x, torch.ones(4), noise) - noise).abs().max() > 1e-3:
        return "With beta = 1 nothing of the picture should be left, only the noise as it is."
    return None


# --- The closed form ----------------------------------------------------------------------


def _sample_arguments(generator: torch.Generator, shape: tuple, first: tuple = ()) -> tuple:
    t = timesteps_of(generator, shape[0], first)
    noise = randn(generator, *shape)
    return 0.5 + randn(generator, *shape), t, noise, random_alphas_cumprod(generator)


def _closed_form(signal: Callable, noise_scale: Callable) -> Callable:
    """The closed form with these factors, as functions of alpha_bar_t."""

    def form(x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
        alpha_bar_t = extract(alphas_cumprod, t, x0)
        return signal(alpha_bar_t) * x0 + noise_scale(alpha_bar_t) * noise

    return form


def _with_schedule(schedule: Callable) -> Callable:
    """The right closed form on a wrong schedule made from alphas_cumprod."""

    def form(x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
        return q_sample(x0, t, noise, schedule(alphas_cumprod))

    return form


def _sample_misaligned(trailing: int) -> Callable:
    def form(x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
        alpha_bar_t = misaligned(alphas_cumprod[t], trailing)
        return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise

    return form


def _single_alphas(alphas_cumprod: Tensor) -> Tensor:
    return torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])


def jump_matches_the_steps(answer: Callable, generator: torch.Generator) -> str | None:
    betas = random_betas(generator)
    schedule = schedules.alphas_cumprod(betas)
    mean, variance = 1.0, 0.0
    for beta in betas[:6].tolist():
        mean, variance = (1 - beta) ** 0.5 * mean, (1 - beta) * variance + beta
    t = torch.full((2,), 5)
    ones, zeros = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    signal = answer(ones, t, zeros, schedule).mean().item()
    spread = answer(zeros, t, ones, schedule).mean().item()
    if abs(signal - mean) > 1e-3:
        should, does = told_apart(mean, signal)
        return f"Six single steps shrink a picture to {should} of itself; yours to {does}."
    if abs(spread**2 - variance) > 1e-3:
        should, does = told_apart(variance, spread**2)
        return f"Six single steps add up to noise of variance {should}; yours to {does}."
    return None


# --- alpha_bar and the signal-to-noise ratio ----------------------------------------------


def _betas(generator: torch.Generator) -> list[tuple]:
    return [(random_betas(generator, steps),) for steps in (7, 12, 2, 25)]


def alpha_bar_starts_right(answer: Callable, generator: torch.Generator) -> str | None:
    betas = random_betas(generator)
    got, right = answer(betas)[0].item(), 1 - betas[0].item()
    if abs(got - right) > 1e-3:
        should, does = told_apart(right, got)
        return (
            f"After the first step alone, alpha_bar is 1 - beta: {should} where the first beta "
            f"is {betas[0]:.3g}. Yours is {does}."
        )
    return None


def alpha_bar_multiplies(answer: Callable, generator: torch.Generator) -> str | None:
    got = answer(torch.full((3,), 0.5))
    if (got - torch.tensor([0.5, 0.25, 0.125])).abs().max() > 1e-3:
        shown = ", ".join(f"{value:.3g}" for value in got.tolist())
        return f"With every beta 0.5, each step halves alpha_bar: 0.5, 0.25, 0.125. Yours: {shown}."
    return None


def snr_of_known_shares(answer: Callable, generator: torch.Generator) -> str | None:
    shares = torch.tensor([0.8, 0.5, 0.2])
    words = ("four parts of picture to one of noise", "equal parts", "one part to four")
    got = answer(shares)
    for share, right, word, value in zip(shares, (4, 1, 0.25), words, got, strict=True):
        if abs(value - right) > 1e-3:
            should, does = told_apart(right, float(value))
            return f"alpha_bar = {share:g} means {word}: SNR {should}. Yours is {does}."
    return None


def _shares(generator: torch.Generator) -> list[tuple]:
    """Shares in the middle, as of a schedule, and from nearly no picture to hardly any noise."""
    low, middle, high = ((0.001, 0.05), (0.05, 0.95), (0.95, 0.99))
    parts = zip((3, 20, 3), (low, middle, high), strict=True)
    extreme = torch.cat([rand(generator, n, low=a, high=b) for n, (a, b) in parts])
    return [(random_alphas_cumprod(generator),), (extreme,), (extreme[-1:],)]


# --- Two schedules ------------------------------------------------------------------------


def _squared_cosine(steps: int, offset: float = 0.008, power: int = 2) -> Tensor:
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** power


def _cosine(offset: float = 0.008, power: int = 2, cap: float = 0.999) -> Callable:
    def form(num_train_timesteps: int) -> Tensor:
        alpha_bar = _squared_cosine(num_train_timesteps, offset, power)
        return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=cap)

    return form


def _of_cosine(curve: Callable) -> tuple[Callable, Callable]:
    """A wrong answer read off the curve itself, which people divide by its start or do not."""
    return (
        lambda num_train_timesteps: curve(_squared_cosine(num_train_timesteps)),
        lambda num_train_timesteps: curve(
            _squared_cosine(num_train_timesteps) / _squared_cosine(num_train_timesteps)[0]
        ),
    )


def cosine_betas_in_range(answer: Callable, generator: torch.Generator) -> str | None:
    betas = answer(20)
    if not (betas.min() > 0 and betas.max() < 0.9995):
        return (
            f"Every beta should lie above 0 and at most at 0.999; yours run from "
            f"{betas.min():.3g} to {betas.max():.4g}."
        )
    return None


def cosine_product_is_the_curve(answer: Callable, generator: torch.Generator) -> str | None:
    got = torch.cumprod(1 - answer(20).double(), dim=0)[9].item()
    curve = _squared_cosine(20)
    right = (curve[10] / curve[0]).item()
    if abs(got - right) > 1e-3:
        return (
            f"Half-way through, the product of your alphas should be {right:.3f}, as the squared "
            f"cosine has it; yours is {got:.3f}."
        )
    return None


def _rescaled(move: Callable) -> Callable:
    """Betas of a schedule whose sqrt(alpha_bar) was turned into alpha_bar by `move`."""

    def form(betas: Tensor) -> Tensor:
        roots = torch.cumprod(1 - betas, dim=0).sqrt()
        return 1 - _single_alphas(move(roots, roots[0], roots[-1]))

    return form


def _last_beta_1(betas: Tensor) -> Tensor:
    return torch.cat([betas[:-1], torch.ones_like(betas[:1])])


def _first_alpha_1(betas: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(betas[:1]), rescale_zero_terminal_snr(betas)[1:]])


def nothing_left_at_the_end(answer: Callable, generator: torch.Generator) -> str | None:
    left = torch.prod(1 - answer(random_betas(generator))).item()
    if abs(left) > 1e-4:
        return f"After the last step alpha_bar should be 0, pure noise; yours is {left:.2g}."
    return None


def first_beta_stays(answer: Callable, generator: torch.Generator) -> str | None:
    betas = random_betas(generator)
    got = answer(betas)[0].item()
    if abs(got - betas[0].item()) > 1e-4:
        before, after = told_apart(betas[0].item(), got)
        return f"The first beta should stay as it was, {before}; yours became {after}."
    return None


# --- Find the bug -------------------------------------------------------------------------

SNIPPETS = (
    """
def noisy_batch(x0, alphas_cumprod):
    B = len(x0)
    t = torch.randint(len(alphas_cumprod), (B,))
    noise = torch.rand(x0.shape)
    alpha_bar_t = alphas_cumprod[t].reshape(B, 1, 1, 1)
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise
""",
    """
def strip_of_noise(x0, betas):
    x_t, pictures = x0, []
    noise = torch.randn(x0.shape)
    for beta in betas:
        x_t = (1 - beta).sqrt() * x_t + beta.sqrt() * noise
        pictures.append(x_t)
    return pictures
""",
    """
def add_noise(x0, t, noise, betas):
    alphas = 1 - betas
    alphas_cumprod = alphas.prod()
    alpha_bar_t = alphas_cumprod.expand(len(betas))[t]
    alpha_bar_t = alpha_bar_t.reshape(-1, 1, 1, 1)
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise
""",
)


def find_the_bug(snippet):
    return {1: 4, 2: 3, 3: 3}[snippet]


BUGS = (
    faulty_line(
        1,
        4,
        "Snippet 1: not that line. Run the snippet on an x0 of zeros and look at the histogram "
        "of what comes out: which values should noise have, and which has it here?",
    ),
    faulty_line(
        2,
        3,
        "Snippet 2: not that line. Each step must be a surprise: how much of the noise of step 2 "
        "was unknown after step 1? Line 5 uses the noise rightly; where is it drawn?",
    ),
    faulty_line(
        3,
        3,
        "Snippet 3: not that line. Print `alpha_bar_t` for t = 0, 1, 2: should a picture at t = 0 "
        "be as noisy as one at t = 2?",
    ),
)


EXERCISES = (
    Exercise(
        id="noising.q_step",
        title="One noising step",
        returns="x_t, shaped like x_prev (B, ...); beta_t is (B,)",
        minutes=5,
        difficulty=1,
        reference=process.q_step,
        solution=q_step,
        make_inputs=lambda g: [_step_arguments(g, shape) for shape, _ in BATCHES],
        verified="One step with a beta for each sample, which keeps data of variance 1 at 1.",
        variants=(
            Variant(
                "BETA_AS_STD",
                "You multiply the noise by `beta_t`, but beta is the *variance* of the noise to "
                "add. Scaling noise by c multiplies its variance by c squared, so look at the "
                "factor of `noise` and take the square root.",
                (_step(lambda b: (1 - b).sqrt(), lambda b: b),),
            ),
            Variant(
                "NO_SHRINK",
                "You add noise but leave the picture as large as it was. Then the variance grows "
                "with every step and never settles at 1. Look at the factor of `x_prev`: the "
                "picture must shrink by `sqrt(1 - beta_t)`, and the noise has variance `beta_t`.",
                (_step(torch.ones_like, torch.sqrt), _step(torch.ones_like, lambda b: b)),
            ),
            Variant(
                "MISSING_SQRT",
                "You use `1 - beta_t` itself as the factor of the picture. It is the share of "
                "the *variance* that stays; a factor acts on the values, so its square is what "
                "counts. Look at the factor of `x_prev` (and of `noise`): take square roots.",
                (_step(lambda b: 1 - b, torch.sqrt), _step(lambda b: 1 - b, lambda b: b)),
            ),
            Variant(
                "SQRT_OF_DIFFERENCE",
                "You subtract a root, `1 - sqrt(beta_t)`, where the root of a difference belongs, "
                "`sqrt(1 - beta_t)`. Only then do the squares of the two factors add up to 1.",
                (_step(lambda b: 1 - b.sqrt(), torch.sqrt),),
            ),
            Variant(
                "SIGNAL_NOISE_SWAPPED",
                "The two factors have changed places. A small beta means little noise: the "
                "picture keeps `sqrt(1 - beta_t)`, and the noise gets `sqrt(beta_t)`.",
                (_step(torch.sqrt, lambda b: (1 - b).sqrt()),),
            ),
            Variant(
                "SHARED_NOISE",
                "Every picture of your batch gets the noise of the first one. The samples must "
                "be independent: look for `noise[0]`, and use all of `noise`.",
                (lambda x_prev, beta_t, noise: q_step(x_prev, beta_t, noise[:1]),),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every picture of your batch is noised with the first one's beta. `beta_t` has "
                "one value for each sample: look for `beta_t[0]`.",
                (same_t(q_step),),
            ),
            Variant("T_BROADCAST", T_BROADCAST, tuple(_step_misaligned(k) for k in range(3))),
        ),
        invariants=(step_with_beta_1_is_noise, step_keeps_variance),
        remarks=(serves_points(process.q_step, _step_arguments),),
        hints=(
            "Mix two things, a little less of the picture and a little noise, so that the "
            "variance stays 1. Variances of independent things add up, and a factor c "
            "multiplies a variance by c squared.",
            "`x_t = sqrt(1 - beta_t) x_prev + sqrt(beta_t) noise`. And `beta_t` is (B,): give it "
            "the shape (B, 1, ..., 1), so that each sample meets its own beta.",
            "    beta_t = beta_t.reshape(-1, *[1] * (x_prev.ndim - 1))\n"
            "    return (...).sqrt() * x_prev + (...).sqrt() * noise",
        ),
    ),
    Exercise(
        id="noising.alphas_cumprod",
        title="alpha_bar: what is left after t steps",
        returns="(T,), of betas (T,)",
        minutes=5,
        difficulty=1,
        reference=schedules.alphas_cumprod,
        solution=alphas_cumprod,
        make_inputs=_betas,
        verified="Each alpha_bar is the product of all alphas up to its own step.",
        variants=(
            Variant(
                "CUMSUM_FOR_CUMPROD",
                "You add up where you should multiply. Each step keeps a share of what the step "
                "before has left, and shares of shares multiply. Look for `cumsum`.",
                (lambda b: torch.cumsum(1 - b, 0), lambda b: 1 - torch.cumsum(b, 0)),
            ),
            Variant(
                "PROD_TO_T",
                "You take the product over *all* T steps for every t. alpha_bar at t knows only "
                "the steps up to t: a running product, T different numbers. Look for `prod`.",
                (lambda b: (1 - b).prod().expand_as(b), lambda b: (1 - b).prod()),
            ),
            Variant(
                "ALPHA_FOR_ALPHA_BAR",
                "You return the alphas, `1 - betas`: what each single step keeps. alpha_bar is "
                "what all steps so far have left together, their running product.",
                (lambda b: 1 - b,),
            ),
            Variant(
                "BETA_FOR_ALPHA",
                "You multiply up the betas. A beta is the share that noise takes; what stays is "
                "`alpha = 1 - beta`, and that is what multiplies.",
                (lambda b: torch.cumprod(b, 0),),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "Your values come one step late: the first is 1, before any noise. alpha_bar at "
                "index 0 belongs to the first step, and includes its alpha.",
                (lambda b: torch.cat([torch.ones_like(b[:1]), torch.cumprod(1 - b, 0)[:-1]]),),
            ),
            Variant(
                "NOISE_SHARE",
                "You return `1 - alpha_bar`, the share of noise, which rises from 0 to 1. "
                "alpha_bar is the share of the picture, and falls.",
                (lambda b: 1 - torch.cumprod(1 - b, 0),),
            ),
            Variant(
                "SQRT_TAKEN",
                "You return `sqrt(alpha_bar)`, the factor of the picture in x_t. alpha_bar itself "
                "is a share of variance: multiply the alphas, and leave the root for later.",
                (
                    lambda b: torch.cumprod(1 - b, 0).sqrt(),
                    lambda b: torch.cumprod((1 - b).sqrt(), 0),
                ),
            ),
        ),
        invariants=(alpha_bar_starts_right, alpha_bar_multiplies),
        expected_figure=_figures.alphas_cumprod,
        hints=(
            "If the first step keeps 90 % of the variance, and the second 80 % of that, how much "
            "is left after both?",
            "alpha is `1 - beta`, and `alpha_bar[t] = alpha[0] * alpha[1] * ... * alpha[t]`: a "
            "running product. Torch has a function for that.",
            "    return torch.cumprod(..., dim=0)",
        ),
    ),
    Exercise(
        id="noising.q_sample",
        title="All steps at once",
        returns="x_t, shaped like x0 (B, ...); t is (B,), alphas_cumprod (T,)",
        minutes=10,
        difficulty=2,
        reference=process.q_sample,
        solution=q_sample,
        make_inputs=lambda g: [_sample_arguments(g, *batch) for batch in BATCHES],
        verified="The closed form holds on random batches, with another timestep for each sample.",
        variants=(
            Variant(
                "MISSING_SQRT",
                "You use `alpha_bar_t` itself as the factor of the picture. It is a share of "
                "*variance*, and a factor acts on the values, so its square is what counts. Look "
                "at the factor of `x0`, and of `noise`: take the square root of each.",
                (
                    _closed_form(lambda a: a, lambda a: 1 - a),
                    _closed_form(lambda a: a, lambda a: (1 - a).sqrt()),
                ),
            ),
            Variant(
                "VAR_AS_STD",
                "You multiply the noise by `1 - alpha_bar_t`, which is the *variance* it should "
                "have. Noise scaled by c has variance c squared. Look at the factor of `noise`: "
                "take the square root.",
                (_closed_form(torch.sqrt, lambda a: 1 - a),),
            ),
            Variant(
                "SQRT_OF_DIFFERENCE",
                "You subtract a root, `1 - sqrt(alpha_bar_t)`, where the root of a difference "
                "belongs, `sqrt(1 - alpha_bar_t)`. Only then do the squares of the two factors "
                "add up to 1, and the variance stays 1.",
                (_closed_form(torch.sqrt, lambda a: 1 - a.sqrt()),),
            ),
            Variant(
                "SIGNAL_NOISE_SWAPPED",
                "The two factors have changed places: your pictures get clearer as t grows. "
                "alpha_bar falls with t and belongs to the picture, `1 - alpha_bar` to the noise.",
                (_closed_form(lambda a: (1 - a).sqrt(), torch.sqrt),),
            ),
            Variant(
                "NO_SHRINK",
                "You add the right noise but leave the picture as large as it was. Look at the "
                "factor of `x0`: each of the t steps has shrunk it, by `sqrt(alpha_bar_t)` in all.",
                (_closed_form(torch.ones_like, lambda a: (1 - a).sqrt()),),
            ),
            Variant(
                "ALPHA_FOR_ALPHA_BAR",
                "You use the alpha of the single step t. The closed form makes all steps at once, "
                "and so needs alpha_bar_t, the product up to t: that is what `alphas_cumprod` "
                "holds already.",
                (_with_schedule(_single_alphas),),
            ),
            Variant(
                "CUMPROD_TWICE",
                "You multiply up `alphas_cumprod` once more. It is the running product already: "
                "just read it at t.",
                (_with_schedule(lambda a: torch.cumprod(a, 0)),),
            ),
            Variant(
                "PROD_TO_T",
                "Every sample gets the last value of the schedule, the product over all T steps. "
                "Read `alphas_cumprod` at each sample's own t.",
                (_with_schedule(lambda a: a[-1].expand_as(a)),),
            ),
            Variant(
                "OFF_BY_ONE_T",
                "You read the schedule one step early or late. Timesteps are counted from 0, so "
                "the value for t is `alphas_cumprod[t]`, without + 1 or - 1.",
                off_by_one(q_sample),
            ),
            Variant(
                "SAME_T_FOR_BATCH",
                "Every picture of your batch is noised with the first one's timestep. `t` has one "
                "value for each sample: look for `t[0]`.",
                (same_t(q_sample),),
            ),
            Variant(
                "SHARED_NOISE",
                "Every picture of your batch gets the noise of the first one. The samples must "
                "be independent: look for `noise[0]`, and use all of `noise`.",
                (lambda x0, t, noise, ac: q_sample(x0, t, noise[:1], ac),),
            ),
            Variant("T_BROADCAST", T_BROADCAST, tuple(_sample_misaligned(k) for k in range(3))),
        ),
        invariants=(jump_matches_the_steps,),
        remarks=(serves_points(process.q_sample, _sample_arguments),),
        expected_figure=_figures.q_sample,
        hints=(
            "A Gaussian step after a Gaussian step is one Gaussian step. So all t steps together "
            "look like a single one, in which alpha_bar_t takes the place of alpha.",
            "`x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise`, where `alpha_bar_t` is "
            "`alphas_cumprod[t]`, (B,), shaped to (B, 1, ..., 1).",
            "    alpha_bar_t = alphas_cumprod[t].reshape(-1, *[1] * (x0.ndim - 1))\n"
            "    return (...).sqrt() * x0 + (...).sqrt() * noise",
        ),
    ),
    Exercise(
        id="noising.snr",
        title="Signal-to-noise ratio",
        returns="(T,), of alphas_cumprod (T,)",
        minutes=5,
        difficulty=1,
        reference=schedules.snr,
        solution=snr,
        make_inputs=_shares,
        verified="The ratio of the picture's variance to that of the noise, at every timestep.",
        variants=(
            Variant(
                "SNR_AS_AMPLITUDE",
                "You divide the factors of picture and noise in x_t. The signal-to-noise ratio "
                "compares their *variances*: leave out the square roots, or square the result.",
                (lambda a: (a / (1 - a)).sqrt(),),
            ),
            Variant(
                "MIXED_ROOTS",
                "You divide a root by something that is no root. Compare like with like: the "
                "variance of the picture, alpha_bar, with the variance of the noise.",
                (lambda a: a.sqrt() / (1 - a), lambda a: a / (1 - a).sqrt()),
            ),
            Variant(
                "SQUARED_AGAIN",
                "You square alpha_bar and `1 - alpha_bar` before you divide. They are variances "
                "already, squares of the factors in x_t.",
                (lambda a: (a / (1 - a)) ** 2,),
            ),
            Variant(
                "RATIO_INVERTED",
                "You have noise over signal, which rises with t. Signal over noise falls: look "
                "at which of the two is divided by the other.",
                (lambda a: (1 - a) / a,),
            ),
            Variant(
                "LOGSNR_SIGN",
                "You return minus the logarithm of the ratio. Here the ratio itself is asked for; "
                "and its logarithm would be `log(alpha_bar / (1 - alpha_bar))`, falling with t.",
                (lambda a: torch.log((1 - a) / a),),
            ),
            Variant(
                "LOG_RETURNED",
                "You return the logarithm of the ratio, which is what one often plots. Here the "
                "ratio itself is asked for: leave out the `log`.",
                (
                    lambda a: torch.log(a / (1 - a)),
                    lambda a: torch.log10(a / (1 - a)),
                    lambda a: 10 * torch.log10(a / (1 - a)),
                ),
            ),
            Variant(
                "SIGNAL_NOT_SHRUNK",
                "You take the variance of the picture as 1. In x_t it has shrunk to alpha_bar: "
                "look at the numerator.",
                (lambda a: 1 / (1 - a),),
            ),
        ),
        invariants=(snr_of_known_shares,),
        expected_figure=_figures.snr,
        hints=(
            "In x_t there are two parts, picture and noise. How large is the variance of each, "
            "if the picture had variance 1?",
            "The variances are `alphas_cumprod` and `1 - alphas_cumprod`. The ratio is one "
            "divided by the other.",
            "    return alphas_cumprod / (...)",
        ),
    ),
    Exercise(
        id="noising.cosine_betas",
        title="The cosine schedule",
        returns="(T,), T = num_train_timesteps; s = 0.008, capped at 0.999",
        minutes=10,
        difficulty=2,
        reference=schedules.cosine_betas,
        solution=cosine_betas,
        make_inputs=lambda g: [(10,), (25,), (randint(g, 50, 100),)],
        verified="alpha_bar follows the squared cosine, and no beta is above 0.999.",
        variants=(
            Variant(
                "COSINE_ON_BETA",
                "You read the betas off the cosine curve directly, as `1 - alpha_bar`. The curve "
                "is *alpha_bar*, all steps together; one step's alpha is the ratio of two "
                "neighbours on it, and `beta = 1 - alpha_bar[t+1] / alpha_bar[t]`.",
                (
                    *_of_cosine(lambda f: 1 - f[1:]),
                    *_of_cosine(lambda f: (1 - f[1:]).clamp(max=0.999)),
                ),
            ),
            Variant(
                "NO_CAP_999",
                "All betas but the last are right. There the curve reaches 0; without a cap, or "
                "with one above 0.999, later formulas divide by about 0. Use `clamp(max=0.999)`.",
                (_cosine(cap=1.0),),
            ),
            Variant(
                "SQUARE_MISSING",
                "Your alpha_bar follows the cosine, not its square. Square it before you take "
                "ratios: the cosine is the factor of the picture, its square the share of "
                "variance.",
                (_cosine(power=1), _cosine(power=1, cap=1.0)),
            ),
            Variant(
                "OFFSET_MISSING",
                "You leave out the offset s = 0.008. Without it the first betas are so small that "
                "the model hardly sees noise there. The angle is `(u + s) / (1 + s) * pi / 2`.",
                (_cosine(offset=0.0), _cosine(offset=0.0, cap=1.0)),
            ),
            Variant(
                "ALPHA_FOR_BETA",
                "You return the ratios, which are the alphas, what each step keeps. The betas are "
                "asked for: `beta = 1 - alpha`.",
                (
                    lambda n: 1 - _cosine(cap=1.0)(n),
                    lambda n: 1 - _cosine()(n),
                    lambda n: (1 - _cosine(cap=1.0)(n)).clamp(max=0.999),
                ),
            ),
            Variant(
                "ALPHA_BAR_RETURNED",
                "You return the curve, alpha_bar itself. The betas are asked for: one minus the "
                "ratio of each value to the one before.",
                (*_of_cosine(lambda f: f[1:]), *_of_cosine(lambda f: f[:-1])),
            ),
        ),
        invariants=(cosine_betas_in_range, cosine_product_is_the_curve),
        expected_figure=_figures.cosine_betas,
        hints=(
            "This schedule starts from the end: it says how alpha_bar should fall, and the betas "
            "follow. T betas lie between T + 1 points of the curve.",
            "`alpha_bar(u) = cos((u + s) / (1 + s) * pi / 2) ** 2` at T + 1 points u from 0 to 1. "
            "Then `beta = 1 - alpha_bar[1:] / alpha_bar[:-1]`, at most 0.999.",
            "    u = torch.linspace(0, 1, num_train_timesteps + 1)\n"
            "    alpha_bar = torch.cos(... * torch.pi / 2) ** 2\n"
            "    return (1 - alpha_bar[1:] / ...).clamp(max=...)",
        ),
    ),
    Exercise(
        id="noising.rescale_zero_terminal_snr",
        title="Zero terminal SNR",
        returns="betas (T,), of betas (T,)",
        minutes=15,
        difficulty=3,
        reference=schedules.rescale_zero_terminal_snr,
        solution=rescale_zero_terminal_snr,
        make_inputs=_betas,
        verified="The last step leaves pure noise, the first is as it was, by a straight line "
        "in sqrt(alpha_bar).",
        variants=(
            Variant(
                "SHIFT_ABAR_NOT_SQRT",
                "You shift and stretch alpha_bar. Both ends come out right, but what lies between "
                "does not: the method works on `sqrt(alpha_bar)`, the factor of the picture. "
                "Take the root first, and square at the end.",
                (_rescaled(lambda r, a, z: (r**2 - z**2) * a**2 / (a**2 - z**2)),),
            ),
            Variant(
                "FIRST_STEP_MOVED",
                "The last step is right, but the first has moved: its beta is not what it was. "
                "After subtracting the last root, stretch by `first / (first - last)`, so that "
                "the first root lands where it started; and keep the first alpha.",
                (
                    _rescaled(lambda r, a, z: (r - z) ** 2),
                    _rescaled(lambda r, a, z: ((r - z) / (a - z)) ** 2),
                    _first_alpha_1,
                ),
            ),
            Variant(
                "SQUARE_FORGOTTEN",
                "You treat the moved roots as alpha_bar. They are still roots: square them before "
                "you take ratios.",
                (_rescaled(lambda r, a, z: (r - z) * a / (a - z)),),
            ),
            Variant(
                "LAST_BETA_ONLY",
                "You set the last beta to 1 and leave the others. That ends in pure noise, but "
                "with a jump at the last step; the method spreads the change over all steps.",
                (_last_beta_1,),
            ),
            Variant(
                "UNCHANGED",
                "You return the betas as they came. Follow the steps: root of alpha_bar, shift, "
                "stretch, square, ratios, betas.",
                (lambda betas: betas.clone(),),
            ),
            Variant(
                "ALPHA_BAR_RETURNED",
                "You return the new alpha_bar. The betas are asked for: take the ratio of each "
                "value to the one before, and subtract it from 1.",
                (lambda betas: torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0),),
            ),
            Variant(
                "ALPHA_FOR_BETA",
                "You return the new alphas, what each step keeps. The betas are asked for, what "
                "each step takes: `beta = 1 - alpha`.",
                (lambda betas: 1 - rescale_zero_terminal_snr(betas),),
            ),
        ),
        invariants=(nothing_left_at_the_end, first_beta_stays),
        expected_figure=_figures.rescale_zero_terminal_snr,
        hints=(
            "Draw `sqrt(alpha_bar)` against t. Slide the curve down until its end is at 0, then "
            "stretch it until its start is where it was.",
            "With `roots = sqrt(alpha_bar)`: subtract the last, multiply by "
            "`first / (first - last)`, square. Then go back: each alpha is the ratio of two "
            "neighbours (the first alpha is the first alpha_bar), and beta is 1 - alpha.",
            "    roots = torch.cumprod(1 - betas, dim=0).sqrt()\n"
            "    roots = (roots - roots[-1]) * roots[0] / (...)\n"
            "    alpha_bar = roots**2\n"
            "    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / ...])\n"
            "    return 1 - alphas",
        ),
    ),
    Exercise(
        id="noising.find_the_bug",
        title="Find the bug: noising",
        returns="the number of the faulty line of snippet 1, 2 or 3",
        minutes=10,
        difficulty=2,
        reference=find_the_bug,
        solution=find_the_bug,
        make_inputs=lambda g: [(1,), (2,), (3,)],
        verified="Found: noise from `rand`, which is uniform, where `randn` belongs "
        "(UNIFORM_NOISE); one noise for all steps, drawn outside the loop (SHARED_NOISE); the "
        "product over all T steps for every t (PROD_TO_T).",
        invariants=BUGS,
        snippets=SNIPPETS,
        hints=(
            "The formulas with the roots are right in all three. Look at what goes into them.",
            "Ask of each snippet: is the noise standard normal? Is it new where it should be? "
            "Does the schedule's value depend on t?",
            "Snippet 1: compare `torch.rand` and `torch.randn`.",
            "Snippet 2: what should be inside the loop?",
            "Snippet 3: compare `prod` and `cumprod`.",
        ),
    ),
)
