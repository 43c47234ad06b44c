"""Lesson 06: latent diffusion, from pixels to latents and back with a picture."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlab_diffusion.course.answer_check import told_apart
from tlab_diffusion.course.exercise import Exercise, Variant
from tlab_diffusion.course.exercises._shared import (
    CUBES,
    LAST,
    OBLONG,
    PICTURES,
    rand,
    randint,
    randn,
    random_alphas_cumprod,
    uniform,
)
from tlab_diffusion.diffusion import latents, samplers
from tlab_diffusion.diffusion.process import q_sample

# --- Solutions, as learners are shown them ------------------------------------------------


def psnr(a, b):
    mse = ((a - b) ** 2).flatten(1).mean(dim=1)  # (B,): one error a picture
    return 10 * torch.log10(2**2 / mse)  # from black, -1, to white, 1, it is 2


def encode(mean, logvar, noise, scaling_factor):
    std = torch.exp(logvar / 2)
    return scaling_factor * (mean + std * noise)


def denoise(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    x = x_T
    for i, t in enumerate(timesteps):
        t_batch = torch.full((len(x),), t)
        uncond, cond = model(x, t_batch, no_text), model(x, t_batch, text)
        eps = uncond + guidance_scale * (cond - uncond)
        bar = alphas_cumprod[t]
        last = i == len(timesteps) - 1
        bar_prev = torch.ones_like(bar) if last else alphas_cumprod[timesteps[i + 1]]
        x0 = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
        x = bar_prev.sqrt() * x0 + (1 - bar_prev).sqrt() * eps
    return x


def img2img_start(x0, noise, strength, timesteps, alphas_cumprod):
    steps = int(strength * len(timesteps))  # that are still to be done
    start = len(timesteps) - steps
    alpha_bar_t = alphas_cumprod[timesteps[start]]
    return alpha_bar_t.sqrt() * x0 + (1 - alpha_bar_t).sqrt() * noise, start


def slerp(a, b, weight):
    first, second = a.flatten(1), b.flatten(1)  # every sample is one long vector
    cosine = (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))
    angle = torch.arccos(cosine.clamp(-0.9999, 0.9999))  # never 0: we shall divide by its sine
    angle = angle.reshape(-1, *[1] * (a.ndim - 1))  # (B, 1, ..., 1)
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / angle.sin()


# --- PSNR ---------------------------------------------------------------------------------


def _two_pictures(generator: torch.Generator, shape: tuple) -> tuple[Tensor, Tensor]:
    # Not from end to end of the range, so that a peak which is measured differs from 2.
    a = rand(generator, *shape, low=-0.7, high=0.9)
    blur = torch.linspace(uniform(generator, 0.005, 0.05), 0.4, shape[0]).reshape(-1, 1, 1, 1)
    return a, (a + blur * randn(generator, *shape)).clamp(-1, 1)


def _decibels(
    of: Callable = lambda mse: 10 * torch.log10(4 / mse),
    error: Callable = lambda a, b: (a - b) ** 2,
    mean: Callable = lambda errors: errors.flatten(1).mean(dim=1),
) -> Callable:
    """PSNR, right but for what is handed over."""
    return lambda a, b: of(mean(error(a, b)))


def _peak_of_the_pictures(a: Tensor, b: Tensor) -> Tensor:
    flat = a.flatten(1)
    peak = flat.amax(dim=1) - flat.amin(dim=1)
    return 10 * torch.log10(peak**2 / ((a - b) ** 2).flatten(1).mean(dim=1))


def a_hundredth_is_forty_decibels(answer: Callable, generator: torch.Generator) -> str | None:
    a, _ = _two_pictures(generator, CUBES[1])
    got = answer(a, a + 0.02).double().mean().item()
    if abs(got - 40) > 0.01:
        return (
            "An error of 0.02 everywhere is a hundredth of the range from -1 to 1, and that is "
            f"40 dB; yours gives {got:.4g}."
        )
    return None


# --- Encode -------------------------------------------------------------------------------


def _posterior_of_pictures(
    generator: torch.Generator, shape: tuple, scaling_factor: float = 0.3
) -> tuple:
    mean, noise = 2 + 3 * randn(generator, *shape), randn(generator, *shape)
    return mean, rand(generator, *shape, low=-3.0, high=1.0), noise, scaling_factor


def without_noise_it_is_the_scaled_mean(answer: Callable, generator: torch.Generator) -> str | None:
    mean, logvar, noise, scale = _posterior_of_pictures(generator, CUBES[1])
    if (answer(mean, logvar, 0 * noise, scale) - scale * mean).abs().max() > 1e-3:
        return "Where the noise is 0, latents are the mean times the scaling factor; yours differ."
    return None


def the_noise_has_the_encoders_width(answer: Callable, generator: torch.Generator) -> str | None:
    mean, logvar, noise, scale = _posterior_of_pictures(generator, CUBES[1])
    moved = answer(mean, logvar, noise + 1, scale) - answer(mean, logvar, noise, scale)
    off = (moved / (scale * (logvar / 2).exp())).mean().item()
    if abs(off - 1) > 1e-3:
        return (
            "One unit of noise should move a latent by its standard deviation times the scaling "
            f"factor; yours moves it by {told_apart(off, 1.0)[0]} times that, on average."
        )
    return None


# --- Denoise ------------------------------------------------------------------------------


def _toy_model(x_t: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
    """A smooth function of all three, whatever the batch's size."""
    pull = embeddings.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
    return torch.tanh(0.7 * x_t + pull) + 0.05 * t.to(x_t).reshape(-1, 1, 1, 1)


def _sampling_arguments(
    generator: torch.Generator,
    shape: tuple,
    timesteps: tuple = (LAST - 1, 8, 4, 1),
    guidance_scale: float = 2.5,
) -> tuple:
    text, no_text = randn(generator, 2, shape[0], 3, 5)
    x_T, alphas_cumprod = randn(generator, *shape), random_alphas_cumprod(generator)
    return _toy_model, x_T, text, no_text, list(timesteps), alphas_cumprod, guidance_scale


def _sampling_inputs(generator: torch.Generator) -> list[tuple]:
    cases = (
        *((shape,) for shape in PICTURES),
        (OBLONG, (LAST, 6, 0), uniform(generator, 3.0, 6.0)),
        (CUBES[1], (randint(generator, 3, 9),), uniform(generator, 0.0, 0.8)),
    )
    return [_sampling_arguments(generator, *case) for case in cases]


def _loop(
    guide: Callable = lambda uncond, cond, w: uncond + w * (cond - uncond),
    following: Callable = lambda timesteps: [*timesteps[1:], -1],
    taken: Callable = list,
    seen: Callable = lambda x, x_T: x,
    move: Callable = lambda x0, eps, bar: bar.sqrt() * x0 + (1 - bar).sqrt() * eps,
    clean: Callable = lambda x, eps, bar: (x - (1 - bar).sqrt() * eps) / bar.sqrt(),
    at_the_end: Callable = lambda bars: torch.ones_like(bars[:1]),
) -> Callable:
    """The sampling loop, right but for what is handed over."""

    def form(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale) -> Tensor:
        bars = torch.cat([alphas_cumprod, at_the_end(alphas_cumprod)])  # index -1: the clean end
        x = x_T
        for t, t_prev in taken(zip(timesteps, following(timesteps), strict=True)):
            t_batch, shown = torch.full((len(x),), t), seen(x, x_T)
            uncond, cond = model(shown, t_batch, no_text), model(shown, t_batch, text)
            eps = guide(uncond, cond, guidance_scale)
            x = move(clean(x, eps, bars[t]), eps, bars[t_prev])
        return x

    return form


def _wrong_question(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    """The model is asked about the next timestep, not the present one."""
    present = dict(zip([*timesteps[1:], -1], timesteps, strict=True))
    following = {now: then for then, now in present.items()}

    def asked(x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        return model(x, torch.full_like(t, max(following[int(t[0])], 0)), embeddings)

    return denoise(asked, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale)


def true_noise_leads_home(answer: Callable, generator: torch.Generator) -> str | None:
    _, noise, text, no_text, timesteps, alphas_cumprod, _ = _sampling_arguments(generator, CUBES[1])
    x0 = 0.5 + randn(generator, *CUBES[1])
    x_T = q_sample(x0, torch.full((3,), timesteps[0]), noise, alphas_cumprod)

    def oracle(x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        return noise[: len(x)] if len(x) <= len(noise) else torch.cat([noise, noise])

    got = answer(oracle, x_T, text, no_text, timesteps, alphas_cumprod, 2.5)
    if (got - x0).abs().max() > 1e-3:
        return (
            "A model that knows the noise, with a caption or without, should lead straight to the "
            f"clean sample; yours ends up to {(got - x0).abs().max():.2g} away. Look at the two "
            "values of alpha_bar in each step, and at the last step, which goes to -1."
        )
    return None


def scale_one_is_the_caption_alone(answer: Callable, generator: torch.Generator) -> str | None:
    arguments = _sampling_arguments(generator, CUBES[1])[:-1]
    model, x_T, text, no_text, *rest = arguments
    got = answer(model, x_T, text, no_text, *rest, 1.0)
    if (got - denoise(model, x_T, text, text, *rest, 1.0)).abs().max() > 1e-3:
        return "At a guidance scale of 1 only the caption should count; yours listens to more."
    return None


# --- Picture to picture -------------------------------------------------------------------


def _start_arguments(generator: torch.Generator, shape: tuple, strength: float) -> tuple:
    x0, noise = 0.5 + randn(generator, *shape), randn(generator, *shape)
    return x0, noise, strength, [11, 10, 8, 7, 5, 4, 2, 1], random_alphas_cumprod(generator)


def _start_inputs(generator: torch.Generator) -> list[tuple]:
    # 2.4, 5.6, 5 and 3.2 steps of 8; all of 8; and a share of a list of another length.
    strengths = (0.3, 0.7, 0.625, 0.4, 1.0)
    shapes = (*PICTURES, (2, 3, 5, 2))
    usual = [_start_arguments(generator, *pair) for pair in zip(shapes, strengths, strict=True)]
    n = randint(generator, 3, 6)
    strength = (randint(generator, 1, n - 1) + uniform(generator, 0.1, 0.9)) / n
    x0, noise, _, _, alphas_cumprod = _start_arguments(generator, (2, 4, 3, 5), strength)
    timesteps = torch.randperm(LAST, generator=generator)[:n].sort(descending=True).values
    return [*usual, (x0, noise, strength, timesteps.tolist(), alphas_cumprod)]


def _start(
    at: Callable = lambda steps, n: n - steps,
    timestep: Callable = lambda timesteps, start: timesteps[start],
    noised: Callable = lambda x0, noise, bar: bar.sqrt() * x0 + (1 - bar).sqrt() * noise,
    whole: Callable = int,
) -> Callable:
    """The start, right but for what is handed over."""

    def form(
        x0: Tensor, noise: Tensor, strength: float, timesteps: Sequence[int], alphas_cumprod: Tensor
    ) -> tuple[Tensor, int]:
        start = at(whole(strength * len(timesteps)), len(timesteps))
        bar = alphas_cumprod[timestep(timesteps, start)]
        return noised(x0, noise, bar), start

    return form


def _mixed_by_strength(mix: Callable) -> Callable:
    def form(
        x0: Tensor, noise: Tensor, strength: float, timesteps: Sequence[int], alphas_cumprod: Tensor
    ) -> tuple[Tensor, int]:
        return mix(x0, noise, strength), len(timesteps) - int(strength * len(timesteps))

    return form


def full_strength_does_every_step(answer: Callable, generator: torch.Generator) -> str | None:
    _, start = answer(*_start_arguments(generator, CUBES[1], 1.0))
    if start != 0:
        return f"At strength 1 every step is done, so start is 0; yours is {start}."
    return None


def what_is_left_undoes_the_noise(answer: Callable, generator: torch.Generator) -> str | None:
    arguments = _start_arguments(generator, CUBES[1], 0.5)
    x0, noise, _, timesteps, alphas_cumprod = arguments
    x_t, start = answer(*arguments)
    known = samplers.ddim(lambda x, t: noise, x_t, alphas_cumprod, timesteps[int(start) :])
    *_, last = known
    if (last.x - x0).abs().max() > 1e-3:
        return (
            "With a model that knows the noise, the steps from `timesteps[start]` on should lead "
            "back to the clean sample. Yours do not: the noise in x_t is not what a sample has "
            "at `timesteps[start]`."
        )
    return None


# --- Slerp --------------------------------------------------------------------------------


def _two_noises(generator: torch.Generator, shape: tuple, weight: float) -> tuple:
    # Neither at right angles nor of equal length, and each pair at an angle of its own.
    a, fresh = randn(generator, *shape), randn(generator, *shape)
    lean = torch.linspace(-0.9, 1.2, shape[0]).reshape(-1, 1, 1, 1)
    return 1.5 * a, lean * a + fresh, weight


def _sines(a: Tensor, b: Tensor, weight: float, angle: Tensor) -> Tensor:
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / torch.sin(angle)


def _arc(
    angle: Callable = lambda a, b: torch.arccos(_cosine(a, b)),
    mix: Callable = _sines,
) -> Callable:
    """The arc, right but for what is handed over."""
    return lambda a, b, weight: mix(a, b, weight, angle(a, b))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1, ..., 1)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True) / (_norm(a) * _norm(b))


def _angle_along(*axes: int) -> Callable:
    def angle(a: Tensor, b: Tensor) -> Tensor:
        norms = (a**2).sum(axes, keepdim=True).sqrt() * (b**2).sum(axes, keepdim=True).sqrt()
        cosine = (a * b).sum(axes, keepdim=True) / norms
        return torch.arccos(cosine.clamp(-0.999, 0.999))

    return angle


def _straight(a: Tensor, b: Tensor, weight: float) -> Tensor:
    return (1 - weight) * a + weight * b


def _norm(x: Tensor) -> Tensor:
    """(B, 1, ..., 1)."""
    return (x**2).sum(tuple(range(1, x.ndim)), keepdim=True).sqrt()


def _unit(x: Tensor) -> Tensor:
    return x / _norm(x)


def the_arc_keeps_the_length(answer: Callable, generator: torch.Generator) -> str | None:
    a, b, _ = _two_noises(generator, CUBES[0], 0.5)
    a, b = _unit(a), _unit(b)
    lengths = answer(a, b, 0.5).flatten(1).norm(dim=1)
    farthest = lengths[(lengths - 1).abs().argmax()].item()
    if abs(farthest - 1) > 1e-3:
        return (
            "Halfway between two vectors of length 1 the length should still be 1; yours is "
            f"{told_apart(farthest, 1.0)[0]}. That is what the arc is for."
        )
    return None


def the_walk_starts_at_a(answer: Callable, generator: torch.Generator) -> str | None:
    a, b, _ = _two_noises(generator, CUBES[1], 0.5)
    for weight, end, name in ((0.0, a, "a"), (1.0, b, "b")):
        if (answer(a, b, weight) - end).abs().max() > 1e-3:
            return f"Weight {weight:g} should give `{name}` itself; yours gives something else."
    return None


def serves_equal_noises(answer: Callable, generator: torch.Generator) -> str | None:
    a, _, _ = _two_noises(generator, CUBES[1], 0.5)
    got = answer(a, a.clone(), 0.5)
    if torch.isfinite(got).all() and (got - a).abs().max() < 1e-2:
        return None
    return (
        "From a noise to the same noise there is no arc: yours divides by the sine of 0 there. "
        "Keep the angle away from 0, by clamping its cosine to 0.9999 at most, say."
    )


EXERCISES = (
    Exercise(
        id="latent.psnr",
        title="How good is a copy?",
        returns="(B,), decibels, one for each pair of pictures (B, C, H, W) in [-1, 1]",
        minutes=5,
        difficulty=1,
        reference=latents.psnr,
        solution=psnr,
        make_inputs=lambda g: [_two_pictures(g, shape) for shape in PICTURES],
        verified="Each picture's error is measured against the full range, 2, in decibels.",
        variants=(
            Variant(
                "PEAK_IS_ONE",
                "Your peak is 1, but from black, -1, to white, 1, it is 2. All your values are "
                "6 dB too low: divide `2 ** 2` by the mean squared error.",
                (_decibels(lambda mse: 10 * torch.log10(1 / mse)),),
            ),
            Variant(
                "PEAK_NOT_SQUARED",
                "You divide the peak by the *squared* error. Both must be squared: `2 ** 2`.",
                (_decibels(lambda mse: 10 * torch.log10(2 / mse)),),
            ),
            Variant(
                "PEAK_255",
                "Your peak is that of bytes, 255. These pictures run from -1 to 1, so it is 2.",
                (_decibels(lambda mse: 10 * torch.log10(255**2 / mse)),),
            ),
            Variant(
                "PEAK_MEASURED",
                "You measure the peak in the picture. It is the range that pictures *may* have, "
                "2: otherwise a pale picture would count as a bad copy.",
                (_peak_of_the_pictures,),
            ),
            Variant(
                "TEN_OR_TWENTY",
                "Ten or twenty? A ratio of squares takes 10 times the logarithm, a ratio of "
                "amplitudes (after the root) 20 times. You use one with the other's factor.",
                (
                    _decibels(lambda mse: 20 * torch.log10(4 / mse)),
                    _decibels(lambda mse: 10 * torch.log10(2 / mse.sqrt())),
                ),
            ),
            Variant(
                "NATURAL_LOG",
                "You use `torch.log`, the natural logarithm. Decibels count powers of ten: "
                "`torch.log10`.",
                (_decibels(lambda mse: 10 * torch.log(4 / mse)),),
            ),
            Variant(
                "UPSIDE_DOWN",
                "Your values are negative: you divide the error by the peak. A good copy should "
                "get a *high* value, so the error stands below.",
                (_decibels(lambda mse: 10 * torch.log10(mse / 4)),),
            ),
            Variant(
                "ONE_FOR_THE_BATCH",
                "You average the error over the whole batch, so that one bad picture drowns the "
                "good ones. Keep the batch axis: `.flatten(1).mean(dim=1)`.",
                (_decibels(mean=torch.mean),),
            ),
            Variant(
                "ABSOLUTE_ERROR",
                "You take the mean absolute error. PSNR is defined by the mean *squared* one.",
                (
                    _decibels(error=lambda a, b: (a - b).abs()),
                    _decibels(lambda mae: 20 * torch.log10(2 / mae), lambda a, b: (a - b).abs()),
                ),
            ),
        ),
        invariants=(a_hundredth_is_forty_decibels,),
        hints=(
            "Three things in a row: the mean squared error of each picture, its ratio to the "
            "square of the largest possible difference, and a logarithm.",
            "`mse` is a mean over all axes but the first, (B,). The largest difference between "
            "two pixels in [-1, 1] is 2. Decibels are `10 * log10(...)` of a ratio of squares.",
            "    mse = ((a - b) ** 2).flatten(1).mean(dim=1)\n"
            "    return 10 * torch.log10(... / mse)",
        ),
    ),
    Exercise(
        id="latent.encode",
        title="Into the latents",
        returns="latents, shaped like mean (B, ...), of standard deviation about 1",
        minutes=8,
        difficulty=1,
        reference=latents.sample_posterior,
        solution=encode,
        make_inputs=lambda g: [
            *(_posterior_of_pictures(g, shape) for shape in PICTURES),
            _posterior_of_pictures(g, (3, 4, 2), scaling_factor=0.18215),
            _posterior_of_pictures(g, (2, 5), scaling_factor=uniform(g, 0.5, 2.0)),
        ],
        verified="Latents are drawn with the encoder's own mean and width, then scaled.",
        variants=(
            Variant(
                "NOT_SCALED",
                "You draw from the right distribution, but leave it in the autoencoder's own "
                "units. The U-Net expects standard deviation 1: multiply by `scaling_factor`.",
                (lambda mean, logvar, noise, s: mean + (logvar / 2).exp() * noise,),
            ),
            Variant(
                "DIVIDED_BY_FACTOR",
                "You divide by the scaling factor; that is the way out, before the decoder. On "
                "the way in, multiply.",
                (lambda mean, logvar, noise, s: (mean + (logvar / 2).exp() * noise) / s,),
            ),
            Variant(
                "SCALED_IN_PART",
                "You scale only one of the two parts, mean or noise. Put brackets around the "
                "sum, so that the whole latent is scaled.",
                (
                    lambda mean, logvar, noise, s: s * mean + (logvar / 2).exp() * noise,
                    lambda mean, logvar, noise, s: mean + s * (logvar / 2).exp() * noise,
                ),
            ),
            Variant(
                "VAR_AS_STD",
                "You multiply the noise by `exp(logvar)`, the variance. Noise is scaled by the "
                "standard deviation, its root: `exp(logvar / 2)`.",
                (lambda mean, logvar, noise, s: s * (mean + logvar.exp() * noise),),
            ),
            Variant(
                "LOGVAR_AS_STD",
                "You multiply the noise by the logarithm of the variance, which may be negative. "
                "First undo the logarithm, then take the root: `exp(logvar / 2)`.",
                (
                    lambda mean, logvar, noise, s: s * (mean + logvar * noise),
                    lambda mean, logvar, noise, s: s * (mean + logvar / 2 * noise),
                ),
            ),
            Variant(
                "MEAN_ONLY",
                "You return the mean and use no noise. Often that does no harm, but what is "
                "asked for is a draw from the distribution.",
                (lambda mean, logvar, noise, s: s * mean,),
            ),
            Variant(
                "NOISE_NOT_SCALED",
                "You add the noise as it comes, with standard deviation 1. The encoder says how "
                "wide it should be, number by number: `exp(logvar / 2)`.",
                (lambda mean, logvar, noise, s: s * (mean + noise),),
            ),
        ),
        invariants=(without_noise_it_is_the_scaled_mean, the_noise_has_the_encoders_width),
        hints=(
            "A normal number of any mean and width is made from a standard one by stretching "
            "and shifting. Then everything changes its unit together.",
            "The standard deviation is the root of the variance, and the root of `exp(v)` is "
            "`exp(v / 2)`. Mean plus that times noise; then times the scaling factor.",
            "    std = torch.exp(...)\n    return scaling_factor * (... + std * ...)",
        ),
    ),
    Exercise(
        id="latent.denoise",
        title="The whole loop",
        returns="clean latents, shaped like x_T; model(x_t, t, embeddings) predicts the noise",
        minutes=20,
        difficulty=3,
        reference=latents.sample_guided,
        solution=denoise,
        make_inputs=_sampling_inputs,
        verified="Every step asks twice, guides, and moves to the next timestep; the last one "
        "lands on the clean sample.",
        variants=(
            Variant(
                "GUIDANCE_REVERSED",
                "Your guidance pushes away from the caption. Start at the answer without it and "
                "go *towards* the one with it: `uncond + w * (cond - uncond)`.",
                (
                    _loop(lambda uncond, cond, w: cond + w * (uncond - cond)),
                    _loop(lambda uncond, cond, w: uncond - w * (cond - uncond)),
                ),
            ),
            Variant(
                "GUIDANCE_ONE_TOO_STRONG",
                "You add `w` times the difference to the answer *with* the caption. That is the "
                "guidance paper's counting, where 0 is off; here 1 is off: start from `uncond`.",
                (_loop(lambda uncond, cond, w: cond + w * (cond - uncond)),),
            ),
            Variant(
                "NO_GUIDANCE",
                "You use one of the two answers alone, so the guidance scale does nothing. "
                "Combine them: `uncond + w * (cond - uncond)`.",
                (_loop(lambda uncond, cond, w: cond), _loop(lambda uncond, cond, w: uncond)),
            ),
            Variant(
                "T_MINUS_ONE",
                "You step to t - 1, but the model is next asked at the next timestep *of the "
                "list*, many steps below. That is where this step must lead.",
                (_loop(following=lambda timesteps: [t - 1 for t in timesteps]),),
            ),
            Variant(
                "LAST_STEP_MISSING",
                "You stop at the last timestep, where a little noise is left. One more move, to "
                "-1, where alpha_bar is 1, lands on the clean sample.",
                (_loop(taken=lambda pairs: list(pairs)[:-1]),),
            ),
            Variant(
                "END_AT_INDEX_0",
                "Your last step goes to alpha_bar at index 0, which is not quite clean. After "
                "the last timestep comes -1, where alpha_bar is 1 (diffusers calls the choice "
                "`set_alpha_to_one`).",
                (_loop(following=lambda timesteps: [*timesteps[1:], 0]),),
            ),
            Variant(
                "END_WRAPS_AROUND",
                "Your last step reads `alphas_cumprod[-1]`, and Python counts -1 from the end: "
                "that is the noisiest value of all. After the last timestep alpha_bar is 1.",
                (_loop(at_the_end=lambda bars: bars[-1:]),),
            ),
            Variant(
                "MODEL_SEES_THE_START",
                "You ask the model about the noise you started from, in every step. Hand it the "
                "sample as it is now.",
                (_loop(seen=lambda x, x_T: x_T),),
            ),
            Variant(
                "ASKS_AT_THE_NEXT_T",
                "You ask the model at the timestep that the step leads *to*. Its input still has "
                "the noise of the present one: hand over `t`, not `t_prev`.",
                (_wrong_question,),
            ),
            Variant(
                "JUMPS_TO_X0",
                "You go on with the clean sample that the model sees, without putting noise "
                "back. The step leads to `t_prev`: mix x0 and eps as a sample there has them.",
                (_loop(move=lambda x0, eps, bar: x0),),
            ),
            Variant(
                "MISSING_SQRT",
                "You use alpha_bar where its root belongs. Sample and noise are mixed with "
                "`sqrt(alpha_bar)` and `sqrt(1 - alpha_bar)`, before the step and after it.",
                (
                    _loop(
                        move=lambda x0, eps, bar: bar * x0 + (1 - bar) * eps,
                        clean=lambda x, eps, bar: (x - (1 - bar) * eps) / bar,
                    ),
                    _loop(move=lambda x0, eps, bar: bar * x0 + (1 - bar) * eps),
                    _loop(clean=lambda x, eps, bar: (x - (1 - bar) * eps) / bar),
                ),
            ),
        ),
        invariants=(true_noise_leads_home, scale_one_is_the_caption_alone),
        hints=(
            "Walk down the timesteps. At each: what noise does the model see, with and without "
            "the caption? What clean sample does that imply? What does it look like one step "
            "further down?",
            "Pairs `(t, t_prev)` come from the list and the list shifted by one, with -1 at the "
            "end, where alpha_bar is 1. `eps = uncond + w * (cond - uncond)`; then x0 from x and "
            "eps; then mix x0 and eps with alpha_bar at `t_prev`.",
            "    x = x_T\n"
            "    for t, t_prev in zip(timesteps, [*timesteps[1:], -1]):\n"
            "        t_batch = torch.full((len(x),), t)\n"
            "        uncond, cond = model(x, t_batch, no_text), model(x, t_batch, text)\n"
            "        eps = ...\n"
            "        x = ...  # ddim_step, or: x0 first, then the mix\n"
            "    return x",
        ),
    ),
    Exercise(
        id="latent.img2img_start",
        title="From a picture to a picture",
        returns="noised latents, shaped like x0 (B, ...), and start, a whole number: the steps "
        "to do are timesteps[start:]",
        minutes=10,
        difficulty=2,
        reference=latents.img2img_start,
        solution=img2img_start,
        make_inputs=_start_inputs,
        verified="The picture is noised to the very timestep at which the remaining steps begin.",
        variants=(
            Variant(
                "STRENGTH_FROM_THE_WRONG_END",
                "You skip the share `strength` of the steps; it is the share to *do*. A strength "
                "of 0.25 does the last quarter: `start = len(timesteps) - steps`.",
                (_start(at=lambda steps, n: steps),),
            ),
            Variant(
                "ONE_STEP_OFF",
                "You begin one step early or late. With `steps` of n left to do, the first of "
                "them has the index `n - steps`.",
                (
                    _start(at=lambda steps, n: n - steps - 1),
                    _start(at=lambda steps, n: n - steps + 1),
                ),
            ),
            Variant(
                "STEPS_ROUNDED",
                "You round the number of steps. Cut it, with `int`: a strength of 0.7 does 5 of 8 "
                "steps, not 6.",
                (_start(whole=round),),
            ),
            Variant(
                "SKIPPED_STEPS_CUT",
                "You do one step too many where the number is not whole: you cut the number of "
                "steps to *skip*, `int((1 - strength) * n)`, or round the number to do up. Cut the "
                "number to do: `n - int(strength * n)`.",
                (_start(whole=math.ceil),),
            ),
            Variant(
                "INDEX_AS_TIMESTEP",
                "You use `start`, a place in the list, as if it were a timestep. The timestep is "
                "what stands at that place: `timesteps[start]`.",
                (_start(timestep=lambda timesteps, start: start),),
            ),
            Variant(
                "NOISED_TO_THE_TOP",
                "You noise the picture to the first timestep of all, where nothing is left of "
                "it. Noise it only as far as the steps that follow will take away: "
                "`timesteps[start]`.",
                (_start(timestep=lambda timesteps, start: timesteps[0]),),
            ),
            Variant(
                "MIXED_BY_STRENGTH",
                "You mix picture and noise by the strength itself. The model knows only the "
                "mixtures of its schedule: take alpha_bar at `timesteps[start]`.",
                (
                    _mixed_by_strength(lambda x0, noise, s: (1 - s) * x0 + s * noise),
                    _mixed_by_strength(lambda x0, noise, s: (1 - s) ** 0.5 * x0 + s**0.5 * noise),
                    _mixed_by_strength(lambda x0, noise, s: x0 + s * noise),
                ),
            ),
            Variant(
                "NOT_SHRUNK",
                "You add noise, but leave the picture at full strength. Noising does both: it "
                "shrinks the picture by `sqrt(alpha_bar_t)`.",
                (_start(noised=lambda x0, noise, bar: x0 + (1 - bar).sqrt() * noise),),
            ),
            Variant(
                "MISSING_SQRT",
                "You use alpha_bar where its root belongs: the factors are `sqrt(alpha_bar_t)` "
                "and `sqrt(1 - alpha_bar_t)`.",
                (
                    _start(noised=lambda x0, noise, bar: bar * x0 + (1 - bar) * noise),
                    _start(noised=lambda x0, noise, bar: bar.sqrt() * x0 + (1 - bar) * noise),
                ),
            ),
            Variant(
                "COEFFS_SWAPPED",
                "The two factors have changed places: `sqrt(alpha_bar_t)` belongs to the "
                "picture, `sqrt(1 - alpha_bar_t)` to the noise.",
                (_start(noised=lambda x0, noise, bar: (1 - bar).sqrt() * x0 + bar.sqrt() * noise),),
            ),
        ),
        invariants=(full_strength_does_every_step, what_is_left_undoes_the_noise),
        hints=(
            "Sampling is a staircase from noise down to a picture. To keep something of a "
            "picture, do not start at the top: go up a part of the way, and walk down from there.",
            "`steps = int(strength * len(timesteps))` are left to do, and they are the *last* "
            "ones. Noise x0 as `q_sample` does, at the timestep where they begin.",
            "    start = len(timesteps) - int(...)\n"
            "    alpha_bar_t = alphas_cumprod[timesteps[...]]\n"
            "    return ..., start",
        ),
    ),
    Exercise(
        id="latent.slerp",
        title="A walk on the sphere",
        returns="shaped like a (B, ...): a at weight 0, b at weight 1",
        minutes=12,
        difficulty=2,
        reference=latents.slerp,
        solution=slerp,
        make_inputs=lambda g: [
            _two_noises(g, shape, weight)
            for shape, weight in (
                *zip(PICTURES, (0.3, 0.8, uniform(g, 0.1, 0.9), 0.4), strict=True),
                *((OBLONG, 0.0), (OBLONG, 1.0)),
            )
        ],
        verified="Each sample walks on its own arc, from a to b.",
        variants=(
            Variant(
                "STRAIGHT_LINE",
                "You walk on the straight line. Halfway between two independent noises it is too "
                "short by a factor of 0.7, and the model has never seen such noise. Use the "
                "sines of the angle. (If you do, your angle is nearly 0: divide the product of "
                "the two by both lengths.)",
                (_arc(mix=lambda a, b, w, angle: _straight(a, b, w)),),
            ),
            Variant(
                "LINE_RESCALED",
                "You walk on the straight line and repair the length. Right for noises at a "
                "right angle only, and the steps are not even: use the sines of the angle.",
                (
                    _arc(
                        mix=lambda a, b, w, angle: (
                            _straight(a, b, w) / math.sqrt(w**2 + (1 - w) ** 2)
                        )
                    ),
                    _arc(mix=lambda a, b, w, angle: _unit(_straight(a, b, w)) * _norm(a)),
                ),
            ),
            Variant(
                "WEIGHTS_SWAPPED",
                "You walk from b to a: at weight 0 yours gives b. The sine with `1 - weight` "
                "belongs to a.",
                (_arc(mix=lambda a, b, w, angle: _sines(b, a, w, angle)),),
            ),
            Variant(
                "NOT_DIVIDED_BY_SINE",
                "You forgot to divide by `sin(angle)`. Without it, weight 0 gives less than a.",
                (_arc(mix=lambda a, b, w, angle: _sines(a, b, w, angle) * torch.sin(angle)),),
            ),
            Variant(
                "COSINE_AS_ANGLE",
                "You use the cosine as if it were the angle. The angle is `arccos` of it.",
                (_arc(angle=_cosine),),
            ),
            Variant(
                "ONE_ANGLE_FOR_THE_BATCH",
                "You compute one angle for the whole batch. Each sample has its own: flatten all "
                "axes but the first.",
                (_arc(angle=_angle_along(0, 1, 2, 3)),),
            ),
            Variant(
                "ANGLE_ALONG_ONE_AXIS",
                "You compute angles along a single axis, so that every column (or channel) walks "
                "on its own. A sample is *one* long vector: flatten all axes but the first.",
                (
                    _arc(angle=_angle_along(1)),
                    _arc(angle=_angle_along(-1)),
                    _arc(angle=_angle_along(2, 3)),
                ),
            ),
            Variant(
                "UNIT_LENGTH",
                "You mix the *normalised* vectors, so the result has length 1. Normalise for the "
                "cosine only; mix a and b themselves.",
                (_arc(mix=lambda a, b, w, angle: _sines(_unit(a), _unit(b), w, angle)),),
            ),
        ),
        invariants=(the_walk_starts_at_a, the_arc_keeps_the_length),
        remarks=(serves_equal_noises,),
        hints=(
            "See each sample as one vector with many numbers. Two vectors span a plane; in that "
            "plane, walk along a circle instead of along the chord.",
            "The cosine of the angle is the dot product over the product of the lengths, one a "
            "sample. The weights are `sin((1 - weight) * angle) / sin(angle)` for a, and "
            "`sin(weight * angle) / sin(angle)` for b.",
            "    first, second = a.flatten(1), b.flatten(1)\n"
            "    cosine = (first * second).sum(dim=1) / ...\n"
            "    angle = torch.arccos(cosine).reshape(-1, *[1] * (a.ndim - 1))\n"
            "    return (... * a + ... * b) / angle.sin()",
        ),
    ),
)
