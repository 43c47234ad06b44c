r"""Noise schedules: how much noise each step adds, as a tensor of T numbers.

A schedule is its betas, `beta_t = 1 - alpha_t`, the variance of the noise that step t adds.
All else follows from them: `alpha_bar_t`, the product of the alphas up to t, is the share of
the picture's variance that is left, and the signal-to-noise ratio compares it with the noise.
Timesteps are counted from 0: `betas[0]` belongs to the first step.

Products and differences are computed in float64 on the CPU, because some devices have no float64
(Apple GPUs); results come back in the dtype and on the device of the input.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import (
    check_alpha_bar,
    check_betas,
    check_count,
    check_fraction,
)
from tlab_diffusion.errors import InputError


def linear_betas(
    num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    r"""Betas on a straight line from `beta_start` to `beta_end` (Section 4, arXiv:2006.11239).

    Args:
        num_train_timesteps: T, the number of steps, at least 1.
        beta_start: the first beta, in (0, 1).
        beta_end: the last beta, in (0, 1), not below `beta_start`.

    Returns:
        (T,) float32.

    Raises:
        InputError: if T < 1, or an end lies outside (0, 1), or the ends are in the wrong order.
    """
    _check_ends(num_train_timesteps, beta_start, beta_end)
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64).float()


def scaled_linear_betas(
    num_train_timesteps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
) -> Tensor:
    r"""Betas whose square roots lie on a straight line: Stable Diffusion's schedule.

    Arguments, returns and errors as `linear_betas` (arXiv:2112.10752, released configuration).
    """
    _check_ends(num_train_timesteps, beta_start, beta_end)
    roots = torch.linspace(
        math.sqrt(beta_start), math.sqrt(beta_end), num_train_timesteps, dtype=torch.float64
    )
    return roots.square().float()


def sigmoid_betas(
    num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> Tensor:
    r"""Betas on an S-shaped curve: slow at both ends (arXiv:2203.02923, released code).

    `beta_t = beta_start + (beta_end - beta_start) sigmoid(u)` with u from -6 to 6.
    Arguments, returns and errors as `linear_betas`.
    """
    _check_ends(num_train_timesteps, beta_start, beta_end)
    u = torch.linspace(-6, 6, num_train_timesteps, dtype=torch.float64)
    return (beta_start + (beta_end - beta_start) * torch.sigmoid(u)).float()


def cosine_betas(num_train_timesteps: int = 1000) -> Tensor:
    r"""Betas for which alpha_bar follows a squared cosine (Eq. 17, arXiv:2102.09672).

    `f(u) = cos^2((u + s) / (1 + s) * pi / 2)` with s = 0.008 and u = t / T, alpha_bar being
    `f(u) / f(0)`, and `beta_t = 1 - f(u_{t+1}) / f(u_t)`, capped at 0.999 so that the last
    step does not divide by 0.

    Args:
        num_train_timesteps: T, at least 1.

    Returns:
        (T,) float32.

    Raises:
        InputError: if T < 1.
    """
    check_count("num_train_timesteps", num_train_timesteps)
    s = 0.008
    u = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
    alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2).square()
    betas = 1 - alpha_bar[1:] / alpha_bar[:-1]
    return betas.clamp(max=0.999).float()


def rescale_zero_terminal_snr(betas: Tensor) -> Tensor:
    r"""Shift and stretch a schedule so that its last step leaves nothing but noise.

    Works on `sqrt(alpha_bar)`: its last value moves to 0, its first stays (Algorithm 1,
    arXiv:2305.08891). The last beta becomes 1, and there epsilon does not determine x0:
    train such a schedule with v-prediction.

    Args:
        betas: (T,), each in (0, 1], T at least 2.

    Returns:
        (T,) of the dtype and device of `betas`.

    Raises:
        InputError: if `betas` is not a schedule, or has fewer than two steps.
    """
    check_betas(betas)
    if len(betas) < 2:
        raise InputError(
            "betas", got="T = 1", expected="T >= 2", fix="Rescaling needs at least two steps."
        )
    if bool((betas[:-1] == 1).any()):
        raise InputError("betas", got="1 before the last step", expected="1 at the last one only")
    roots = alphas_cumprod(as_float64(betas)).sqrt()
    first, last = roots[0], roots[-1]
    alpha_bar = ((roots - last) * first / (first - last)).square()
    alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    return cast_like(1 - alphas, betas)


def alphas_cumprod(betas: Tensor) -> Tensor:
    r"""`alpha_bar_t`, the product of `alpha_s = 1 - beta_s` for s up to t.

    Source: Section 2, above Eq. 4, of arXiv:2006.11239.

    Args:
        betas: (T,), each in (0, 1].

    Returns:
        (T,) of the dtype and device of `betas`, falling from nearly 1 towards 0.

    Raises:
        InputError: if `betas` is not a schedule.
    """
    check_betas(betas)
    return cast_like(torch.cumprod(1 - as_float64(betas), dim=0), betas)


def respaced_betas(betas: Tensor, timesteps: Sequence[int]) -> Tensor:
    r"""The betas of a shorter chain that visits only some timesteps (Eq. 19, arXiv:2102.09672).

    `beta = 1 - alpha_bar_t / alpha_bar_{t'}`, t' being the timestep visited before t.

    Args:
        betas: (T,), each in (0, 1].
        timesteps: n different integers from 0 to T - 1, in any order.

    Returns:
        (n,) of the dtype and device of `betas`: index i belongs to the i-th smallest timestep.

    Raises:
        InputError: if `betas` is not a schedule, or on repeated or out-of-range timesteps.
    """
    check_betas(betas)
    chosen = sorted(timesteps)
    if not chosen or len(set(chosen)) < len(chosen) or chosen[0] < 0 or chosen[-1] >= len(betas):
        raise InputError(
            "timesteps",
            got=str(list(timesteps)),
            expected=f"different integers from 0 to {len(betas) - 1}",
        )
    alpha_bar = alphas_cumprod(as_float64(betas))[chosen]
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return cast_like(1 - alpha_bar / before, betas)


def snr(alphas_cumprod: Tensor) -> Tensor:
    r"""Signal-to-noise ratio `alpha_bar_t / (1 - alpha_bar_t)`, a ratio of variances.

    Source: Eq. 2 of arXiv:2107.00630, written with `alpha_bar`.

    Args:
        alphas_cumprod: (T,), each in [0, 1].

    Returns:
        (T,), positive; 0 where alpha_bar is 0, infinite where it is 1.

    Raises:
        InputError: if `alphas_cumprod` is not a schedule.
    """
    check_alpha_bar("alphas_cumprod", alphas_cumprod)
    return alphas_cumprod / (1 - alphas_cumprod)


def as_float64(values: Tensor) -> Tensor:
    r"""The same values in float64 on the CPU."""
    return values.cpu().double()


def cast_like(values: Tensor, x: Tensor) -> Tensor:
    r"""The values in the dtype of `x`, and then on its device, which may have no float64."""
    return values.to(x.dtype).to(x.device)


def _check_ends(num_train_timesteps: int, beta_start: float, beta_end: float) -> None:
    check_count("num_train_timesteps", num_train_timesteps)
    check_fraction("beta_start", beta_start)
    check_fraction("beta_end", beta_end)
    if beta_start > beta_end:
        raise InputError(
            "beta_start", got=f"{beta_start:g}", expected=f"at most beta_end = {beta_end:g}"
        )
