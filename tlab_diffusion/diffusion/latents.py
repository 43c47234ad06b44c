r"""Latent diffusion: sampling latents, guided sampling, image-to-image, and interpolation.

Pictures are (B, 3, H, W) in [-1, 1], latents (B, C, h, w) of standard deviation about 1. The
autoencoder's outputs come in as tensors, the denoiser as a callable.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import check_count, check_float, check_same_shape
from tlab_diffusion.diffusion.guidance import guided
from tlab_diffusion.diffusion.process import append_dims, q_sample
from tlab_diffusion.diffusion.samplers import ddim
from tlab_diffusion.diffusion.schedules import as_float64
from tlab_diffusion.errors import InputError

PEAK = 2.0  # from black, -1, to white, 1
PARALLEL = 1e-4  # radians; closer or opposite directions define no arc


def sample_posterior(mean: Tensor, logvar: Tensor, noise: Tensor, scaling_factor: float) -> Tensor:
    r"""Sample latents from an encoder's distribution, and scale them to standard deviation 1.

    `z = scaling_factor (mean + exp(logvar / 2) noise)` (Section 3.1 and Appendix G,
    arXiv:2112.10752).

    Args:
        mean: (B, ...), of the latents of each picture.
        logvar: logarithm of their variance, shaped like `mean`.
        noise: standard normal, shaped like `mean`.
        scaling_factor: one over the latents' standard deviation, a constant of the autoencoder.

    Returns:
        Latents, shaped like `mean`.
    """
    check_same_shape("logvar", logvar, "mean", mean)
    check_same_shape("noise", noise, "mean", mean)
    return scaling_factor * (mean + (logvar / 2).exp() * noise)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    r"""Peak signal-to-noise ratio in decibels: `10 log10(peak^2 / mean squared error)`.

    Args:
        a: (B, ...) pictures in [-1, 1], so that the peak is 2.
        b: pictures shaped like `a`.

    Returns:
        (B,), one value a picture; infinite where the two are equal.
    """
    check_same_shape("b", b, "a", a)
    return 10 * torch.log10(PEAK**2 / (a - b).square().flatten(1).mean(dim=1))


def sample_guided(
    model: Callable[[Tensor, Tensor, Tensor], Tensor],
    x_T: Tensor,
    text: Tensor,
    no_text: Tensor,
    timesteps: Sequence[int],
    alphas_cumprod: Tensor,
    guidance_scale: float,
    *,
    grad: bool = False,
) -> Tensor:
    r"""From noise to clean latents: DDIM without noise, with classifier-free guidance.

    Args:
        model: `model(x_t, t, embeddings)` predicts the noise; t is (B,).
        x_T: (B, ...), standard normal.
        text: (B, ...), embeddings of the prompts.
        no_text: embeddings of the empty caption, shaped like `text`.
        timesteps: falling integers; the last move leads to the clean sample.
        alphas_cumprod: (T,).
        guidance_scale: see `guidance.cfg`.
        grad: keep the autograd graph.

    Returns:
        The clean sample, shaped like `x_T`.
    """
    denoiser = guided(model, text, no_text, guidance_scale)
    *_, last = ddim(denoiser, x_T, alphas_cumprod, timesteps, grad=grad)
    return last.x


def img2img_start(
    x0: Tensor, noise: Tensor, strength: float, timesteps: Sequence[int], alphas_cumprod: Tensor
) -> tuple[Tensor, int]:
    r"""The start of image-to-image sampling (SDEdit, arXiv:2108.01073).

    Of N timesteps the last `int(strength N)` are done; the picture is noised to the first of
    those.

    Args:
        x0: (B, ...), clean.
        noise: standard normal, shaped like `x0`.
        strength: fraction of the steps to do, above 0 and at most 1.
        timesteps: N falling integers.
        alphas_cumprod: (T,).

    Returns:
        The noised sample, shaped like `x0`, and `start`: sample with `timesteps[start:]`.

    Raises:
        InputError: on a strength out of range, or so small that no step is left.
    """
    if not 0 < strength <= 1 or int(strength * len(timesteps)) == 0:
        lowest = f"{1 / max(len(timesteps), 1):.2g}"
        raise InputError("strength", got=f"{strength:g}", expected=f"from {lowest} (one step) to 1")
    start = len(timesteps) - int(strength * len(timesteps))
    t = torch.full((len(x0),), timesteps[start], device=x0.device)
    return q_sample(x0, t, noise, alphas_cumprod), start


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    r"""Spherical interpolation from `a` to `b`, for each sample.

    `(sin((1 - weight) angle) a + sin(weight angle) b) / sin(angle)`, the angle being the one
    between the two samples as vectors (Shoemake 1985). Normal noise in many dimensions lies near a
    sphere; the arc stays on it, a straight line does not. The angle is computed in float64 on the
    CPU. Gradients flow through `a` and `b`.

    Args:
        a: (B, ...).
        b: shaped like `a`.
        weight: 0 gives `a`, 1 gives `b`.

    Returns:
        Shaped like `a`; linear interpolation where the two are parallel.
    """
    check_same_shape("b", b, "a", a)
    flat_a, flat_b = (as_float64(x.flatten(1)) for x in (a, b))
    cosine = torch.cosine_similarity(flat_a, flat_b, dim=1)
    angle = cosine.clamp(-1, 1).arccos()  # (B,)
    straight = angle.sin() < PARALLEL
    angle = angle.where(~straight, torch.ones_like(angle))
    a_weight, b_weight = (
        torch.where(straight, fraction, (fraction * angle).sin() / angle.sin())
        for fraction in (1 - weight, weight)
    )
    return append_dims(a_weight, a) * a + append_dims(b_weight, a) * b


def lerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    r"""Linear interpolation: `(1 - weight) a + weight b`."""
    check_same_shape("b", b, "a", a)
    return (1 - weight) * a + weight * b


def interpolation_weights(num: int) -> list[float]:
    """`num` evenly spaced weights from 0 to 1, for `slerp` and `lerp`."""
    check_count("num", num)
    if num < 2:
        raise InputError("num", got=str(num), expected="at least 2, one for each end")
    return torch.linspace(0, 1, num).tolist()


def rms(x: Tensor) -> Tensor:
    r"""Root mean square of each sample (B, ...): (B,), near 1 for standard normal noise."""
    check_float("x", x)
    return x.square().flatten(1).mean(dim=1).sqrt()
