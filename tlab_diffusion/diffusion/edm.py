r"""The sigma parameterisation of EDM (arXiv:2206.00364): preconditioning, sigmas, Heun's method.

Noise is added without scaling the picture: `x = x0 + sigma eps`. A denoiser `D(x, sigma)` predicts
x0 from it; sigma is (B,), one noise level a sample. The probability flow ODE is then
`dx / dsigma = (x - D(x, sigma)) / sigma` (Eq. 1 and 3), and a sampler solves it from the largest
sigma down to 0. `denoiser_from_eps` lets a model `model(x_t, t)` of the other files take part:
`x_t = sqrt(alpha_bar_t) x` and `sigma = sqrt((1 - alpha_bar_t) / alpha_bar_t)`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_count,
    check_float,
    check_same_shape,
)
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.process import append_dims
from tlab_diffusion.diffusion.schedules import as_float64, cast_like
from tlab_diffusion.errors import InputError

SigmaDenoiser = Callable[[Tensor, Tensor], Tensor]


class SigmaStep(NamedTuple):
    """One move of a sampler in sigma."""

    sigma: float  # the noise level just left
    x: Tensor  # (B, ...), the sample after the move
    x0_pred: Tensor  # (B, ...), the clean sample that the denoiser predicted before the move


def karras_sigmas(
    num_inference_steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
) -> Tensor:
    r"""Noise levels that are evenly spaced in `sigma^(1 / rho)`, and a 0 at the end (Eq. 5).

    Returns:
        (num_inference_steps + 1,) float64 on the CPU, falling from `sigma_max` to `sigma_min`,
        then 0.

    Raises:
        InputError: unless there is a step and `0 < sigma_min < sigma_max`.
    """
    check_count("num_inference_steps", num_inference_steps)
    if not 0 < sigma_min < sigma_max:
        raise InputError(
            "sigma_min", got=f"{sigma_min:g}", expected=f"above 0, below sigma_max = {sigma_max:g}"
        )
    ends = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    roots = torch.linspace(*ends, num_inference_steps, dtype=torch.float64)
    return torch.cat([roots**rho, torch.zeros(1, dtype=torch.float64)])


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    r"""`sigma_t = sqrt((1 - alpha_bar_t) / alpha_bar_t)`, (T,) float64 on the CPU."""
    check_alphas_cumprod(alphas_cumprod)
    alpha_bar = as_float64(alphas_cumprod)
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def preconditioning(
    sigma: Tensor, sigma_data: float = 0.5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""c_skip, c_out, c_in and c_noise of Table 1, each shaped like `sigma`.

    With them the network's input and target have variance 1 at every noise level, for data of
    standard deviation `sigma_data`.
    """
    total = (sigma**2 + sigma_data**2).sqrt()
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def preconditioned(network: Denoiser, sigma_data: float = 0.5) -> SigmaDenoiser:
    r"""`D(x, sigma) = c_skip x + c_out network(c_in x, c_noise)` (Eq. 7)."""

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = preconditioning(as_float64(sigma), sigma_data)
        out = network(append_dims(c_in, x) * x, cast_like(c_noise, x))
        return append_dims(c_skip, x) * x + append_dims(c_out, x) * out

    return denoiser


def denoiser_from_eps(
    model: Denoiser, alphas_cumprod: Tensor, *, fractional: bool = False
) -> SigmaDenoiser:
    r"""A model that predicts epsilon from (x_t, t), as a denoiser `D(x, sigma) = x - sigma eps`.

    The model is evaluated at `x / sqrt(1 + sigma^2)` and at the timestep that has this sigma,
    which is interpolated in log sigma.

    Args:
        model: `model(x_t, t)` predicts the noise.
        alphas_cumprod: (T,), above 0.
        fractional: pass interpolated timesteps as floats; else the nearest integers.
    """
    log_sigmas = sigmas_of(alphas_cumprod).log()
    if not bool(log_sigmas.isfinite().all()):
        raise InputError("alphas_cumprod", got="a value of 0 or 1", expected="between 0 and 1")

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = as_float64(sigma)
        t = _interpolate(sigma.log(), log_sigmas)
        t = t.to(x.dtype) if fractional else t.round().long()
        eps = model(append_dims(1 / (1 + sigma**2).sqrt(), x) * x, t.to(x.device))
        return x - append_dims(sigma, x) * eps

    return denoiser


def heun(
    denoiser: SigmaDenoiser, x: Tensor, sigmas: Tensor, *, grad: bool = False
) -> Iterator[SigmaStep]:
    r"""Heun's method without added noise (Algorithm 1): second order, two evaluations a step.

    The last step, to sigma = 0, is Euler's, because the slope is not defined there.

    Args:
        denoiser: `D(x, sigma)`.
        x: (B, ...), noise of standard deviation `sigmas[0]`.
        sigmas: (N + 1,), falling; the last one may be 0.
        grad: keep the autograd graph.

    Yields:
        N steps; the last one's `x` is the sample.

    Raises:
        InputError: when it is called, on bad arguments.
    """
    check_float("x", x)
    check_float("sigmas", sigmas)
    if len(sigmas) < 2 or bool((sigmas < 0).any() | (sigmas.diff() >= 0).any()):
        raise InputError("sigmas", got=str(sigmas.tolist()), expected="two or more, falling to 0")
    return (_heun if grad else torch.no_grad()(_heun))(denoiser, x, as_float64(sigmas).tolist())


def _heun(denoiser: SigmaDenoiser, x: Tensor, sigmas: list[float]) -> Iterator[SigmaStep]:
    def predict(x: Tensor, sigma: float) -> Tensor:
        x0 = denoiser(x, torch.full((len(x),), sigma, dtype=x.dtype, device=x.device))
        check_same_shape("denoiser output", x0, "x", x)
        return x0

    for sigma, sigma_next in zip(sigmas, sigmas[1:], strict=False):
        x0 = predict(x, sigma)
        slope = (x - x0) / sigma
        x_euler = x + (sigma_next - sigma) * slope
        if sigma_next == 0:
            x = x_euler
        else:
            slope_next = (x_euler - predict(x_euler, sigma_next)) / sigma_next
            x = x + (sigma_next - sigma) * (slope + slope_next) / 2
        yield SigmaStep(sigma, x, x0)


def _interpolate(log_sigma: Tensor, log_sigmas: Tensor) -> Tensor:
    """The place of each value in a rising table, linear between entries and clamped at the ends."""
    upper = torch.searchsorted(log_sigmas, log_sigma).clamp(1, len(log_sigmas) - 1)
    below, above = log_sigmas[upper - 1], log_sigmas[upper]
    fraction = ((log_sigma - below) / (above - below)).clamp(0, 1)
    return upper - 1 + fraction
