r"""The forward process and its exact reverse step, given x0. Nothing here is learned.

Samples `x` have any shape (B, ...), and a batch may mix timesteps: `t` is (B,), one integer a
sample, counted from 0. Index -1, before the first step, is the clean sample, where alpha_bar is 1.

Coefficients are computed in float64 on the CPU and cast to the dtype and device of the sample at
the end: in half precision `1 - alpha_bar` would vanish at the first steps. Gradients flow through
the samples, not through the coefficients.
"""

import torch
from torch import Tensor

from tlab_diffusion.diffusion import schedules
from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_betas,
    check_float,
    check_same_shape,
    check_timesteps,
)
from tlab_diffusion.diffusion.schedules import as_float64, cast_like
from tlab_diffusion.errors import InputError


def append_dims(values: Tensor, x: Tensor) -> Tensor:
    r"""Give one value a sample the shape (B, 1, ..., 1), dtype and device of `x` (B, ...)."""
    return cast_like(values, x).reshape(-1, *[1] * (x.ndim - 1))


def extract(schedule: Tensor, t: Tensor, x: Tensor) -> Tensor:
    r"""The schedule's value at each sample's timestep, shaped to multiply `x`.

    Args:
        schedule: (T,).
        t: (B,) integers from 0 to T - 1.
        x: (B, ...).

    Returns:
        (B, 1, ..., 1) with the dtype and device of `x`.
    """
    return append_dims(schedule[t.to(schedule.device).long()], x)


def extract_float64(schedule: Tensor, t: Tensor) -> Tensor:
    r"""The schedule's value at each sample's timestep, (B,), in float64 on the CPU."""
    return as_float64(schedule[t.to(schedule.device).long()])


def alpha_sigma(alphas_cumprod: Tensor, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""`sqrt(alpha_bar_t)` and `sqrt(1 - alpha_bar_t)`, each shaped to multiply `x`."""
    alpha_bar = extract_float64(alphas_cumprod, t)
    return append_dims(alpha_bar.sqrt(), x), append_dims((1 - alpha_bar).sqrt(), x)


def noise_like(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Standard normal noise with the shape, dtype and device of `x`.

    It is drawn on the generator's device: a CPU generator gives the same noise for every device.
    """
    device = x.device if generator is None else generator.device
    # randn, not randn_like: the noise must not depend on the memory layout of x.
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device)
    return noise.to(x.device)


def q_step(x_prev: Tensor, beta_t: Tensor, noise: Tensor) -> Tensor:
    r"""One noising step: `x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) noise`.

    With `alpha_t = 1 - beta_t` (Eq. 2, arXiv:2006.11239). Data of variance 1 keeps variance 1.

    Args:
        x_prev: (B, ...), x_{t-1}.
        beta_t: (B,), the variance of the noise to add, each in (0, 1].
        noise: standard normal, shaped like `x_prev`.

    Returns:
        x_t, shaped like `x_prev`.

    Raises:
        InputError: on a wrong shape or dtype, or a beta outside (0, 1].
    """
    check_same_shape("noise", noise, "x_prev", x_prev)
    check_betas(beta_t, "beta_t")
    if beta_t.shape != x_prev.shape[:1]:
        raise InputError(
            "beta_t", got=f"shape {tuple(beta_t.shape)}", expected=f"{tuple(x_prev.shape[:1])}"
        )
    beta_t = as_float64(beta_t)
    a, b = append_dims((1 - beta_t).sqrt(), x_prev), append_dims(beta_t.sqrt(), x_prev)
    return a * x_prev + b * noise


def q_sample(x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    r"""All steps up to t at once: `x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise`.

    Source: Eq. 4, arXiv:2006.11239.

    Args:
        x0: (B, ...), clean samples.
        t: (B,) integers from 0 to T - 1.
        noise: standard normal, shaped like `x0`.
        alphas_cumprod: (T,).

    Returns:
        x_t, shaped like `x0`.

    Raises:
        InputError: on a wrong shape or dtype, or a timestep out of range.
    """
    check_same_shape("noise", noise, "x0", x0)
    check_alphas_cumprod(alphas_cumprod)
    check_timesteps(t, x0, len(alphas_cumprod))
    a, b = alpha_sigma(alphas_cumprod, t, x0)
    return a * x0 + b * noise


def posterior(x0: Tensor, x_t: Tensor, t: Tensor, betas: Tensor) -> tuple[Tensor, Tensor]:
    r"""Mean and variance of `q(x_{t-1} | x_t, x0)`: the best step back when x0 is known.

    `mean = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) x0
    + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) x_t` and
    `variance = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t` (Eq. 7, arXiv:2006.11239).
    At t = 0 the step before is the clean sample: mean x0, variance 0.

    Args:
        x0: (B, ...), clean samples.
        x_t: (B, ...), noisy samples.
        t: (B,) integers from 0 to T - 1.
        betas: (T,), each in (0, 1].

    Returns:
        The mean, shaped like `x0`, and the variance (B,).

    Raises:
        InputError: on a wrong shape or dtype, or a timestep out of range.
    """
    check_same_shape("x_t", x_t, "x0", x0)
    check_betas(betas)
    check_timesteps(t, x0, len(betas))
    betas = as_float64(betas)
    alpha_bar = schedules.alphas_cumprod(betas)
    x0_weight = _before(alpha_bar).sqrt() * betas / (1 - alpha_bar)
    x_t_weight = (1 - betas).sqrt() * (1 - _before(alpha_bar)) / (1 - alpha_bar)
    mean = extract(x0_weight, t, x0) * x0 + extract(x_t_weight, t, x0) * x_t
    return mean, extract(posterior_std(betas).square(), t, x0).flatten()


def posterior_std(betas: Tensor) -> Tensor:
    r"""`sqrt` of the posterior variance at every timestep: the smaller choice of sigma_t.

    Args:
        betas: (T,), each in (0, 1].

    Returns:
        (T,) of the dtype and device of `betas`, 0 at index 0.
    """
    check_betas(betas)
    alpha_bar = schedules.alphas_cumprod(as_float64(betas))
    variance = (1 - _before(alpha_bar)) / (1 - alpha_bar) * as_float64(betas)
    return cast_like(variance.sqrt(), betas)


def check_noisy_batch(x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> None:
    """Refuse a noisy batch (x_t, t) that does not fit the schedule."""
    check_float("x_t", x_t)
    check_alphas_cumprod(alphas_cumprod)
    check_timesteps(t, x_t, len(alphas_cumprod))


def _before(alpha_bar: Tensor) -> Tensor:
    """alpha_bar one step earlier: 1 before the first step."""
    return torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
