r"""Samplers: from noise to a sample, step by step, with any denoiser.

Each sampler is a generator: it yields a `Step` after every move, and the caller draws, logs or
stops. The denoiser is any callable `model(x_t, t)`: a network, the exact one of a mixture, or a
guided one. The step functions (`ddpm_step`, `ddim_step`) are the equations alone.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tlab_diffusion.diffusion import schedules
from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_betas,
    check_choice,
    check_count,
    check_float,
    check_per_timestep,
    check_same_shape,
    check_timesteps,
)
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.parameterization import to_x0_eps, x0_from_eps
from tlab_diffusion.diffusion.process import append_dims, extract, posterior_std
from tlab_diffusion.errors import InputError

SPACINGS = ("trailing", "leading")
SIGMAS = ("small", "large")


class Step(NamedTuple):
    """One move of a sampler."""

    t: int  # the timestep just left
    x: Tensor  # (B, ...), the sample after the move
    x0_pred: Tensor  # (B, ...), the clean sample that the model predicted before the move


def spaced_timesteps(
    num_train_timesteps: int, num_inference_steps: int, spacing: str = "trailing"
) -> list[int]:
    r"""Choose evenly spaced timesteps, from the noisiest down (Table 2, arXiv:2305.08891).

    Args:
        num_train_timesteps: T.
        num_inference_steps: how many to choose, from 1 to T.
        spacing: "trailing" starts at T - 1, the last step; "leading" ends at 0.

    Returns:
        `num_inference_steps` falling integers from 0 to T - 1.
    """
    check_count("num_train_timesteps", num_train_timesteps)
    check_count("num_inference_steps", num_inference_steps)
    check_choice("spacing", spacing, SPACINGS)
    if num_inference_steps > num_train_timesteps:
        raise InputError(
            "num_inference_steps",
            got=str(num_inference_steps),
            expected=f"at most T = {num_train_timesteps}",
        )
    if spacing == "leading":
        stride = num_train_timesteps // num_inference_steps
        return [stride * i for i in reversed(range(num_inference_steps))]
    stride = num_train_timesteps / num_inference_steps
    return [round(num_train_timesteps - stride * i) - 1 for i in range(num_inference_steps)]


def ancestral_std(betas: Tensor, sigma: str = "small") -> Tensor:
    r"""sigma_t of ancestral sampling, constant in x: two choices (Section 3.2, arXiv:2006.11239).

    Args:
        betas: (T,).
        sigma: "small" is the posterior's, right when x0 is a single point;
            "large" is `sqrt(beta_t)`, right when x0 is standard normal.

    Returns:
        (T,).
    """
    check_choice("sigma", sigma, SIGMAS)
    check_betas(betas)
    return posterior_std(betas) if sigma == "small" else betas.sqrt()


def ddpm_step(
    x_t: Tensor, t: Tensor, eps_pred: Tensor, betas: Tensor, step_std: Tensor, noise: Tensor
) -> Tensor:
    r"""The denoising step (Algorithm 2, arXiv:2006.11239).

    `x_{t-1} = (x_t - (1 - alpha_t) / sqrt(1 - alpha_bar_t) eps_pred) / sqrt(alpha_t)
    + sigma_t noise`, without noise where t = 0.

    Args:
        x_t: (B, ...).
        t: (B,) integers from 0 to T - 1.
        eps_pred: the predicted noise, shaped like `x_t`.
        betas: (T,), below 1 at every t that is used.
        step_std: (T,), sigma_t.
        noise: standard normal, shaped like `x_t`.

    Returns:
        x_{t-1}, shaped like `x_t`.

    Raises:
        InputError: on a wrong shape, dtype or timestep, or where alpha_t is 0.
    """
    check_same_shape("eps_pred", eps_pred, "x_t", x_t)
    check_same_shape("noise", noise, "x_t", x_t)
    check_betas(betas)
    check_timesteps(t, x_t, len(betas))
    check_per_timestep("step_std", step_std, len(betas))
    if bool((extract(betas, t, x_t) == 1).any()):
        raise InputError(
            "betas",
            got="beta_t = 1",
            expected="below 1",
            fix="At zero terminal SNR sample with ddim and v-prediction.",
        )
    betas = betas.double()
    eps_weight = betas / (1 - schedules.alphas_cumprod(betas)).sqrt()
    growth = 1 / (1 - betas).sqrt()
    mean = extract(growth, t, x_t) * (x_t - extract(eps_weight, t, x_t) * eps_pred)
    return mean + append_dims(t > 0, x_t) * extract(step_std, t, x_t) * noise


def ddim_step(
    x_t: Tensor,
    t: Tensor,
    t_prev: Tensor,
    eps_pred: Tensor,
    alphas_cumprod: Tensor,
    eta: float,
    noise: Tensor,
) -> Tensor:
    r"""A step from t to any earlier `t_prev` (Eq. 12 and 16, arXiv:2010.02502).

    The paper's alpha is our alpha_bar.

    `x = sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev - sigma^2) eps + sigma noise` with
    `sigma = eta sqrt((1 - alpha_bar_prev) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t /
    alpha_bar_prev)` and x0 computed from eps. eta = 0 adds no noise; eta = 1 is ancestral.

    Args:
        x_t: (B, ...).
        t: (B,) integers from 0 to T - 1.
        t_prev: (B,) integers from -1 (the clean sample) to T - 1, below t.
        eps_pred: the predicted noise, shaped like `x_t`.
        alphas_cumprod: (T,).
        eta: from 0 to 1.
        noise: standard normal, shaped like `x_t`.

    Returns:
        The sample at `t_prev`, shaped like `x_t`.
    """
    x0 = x0_from_eps(x_t, t, eps_pred, alphas_cumprod)
    return _ddim_move(x0, eps_pred, t, t_prev, alphas_cumprod, eta, noise)


def ddpm(
    model: Denoiser,
    x_T: Tensor,
    betas: Tensor,
    *,
    timesteps: Sequence[int] | None = None,
    sigma: str = "small",
    prediction_type: str = "epsilon",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    r"""Ancestral sampling (Algorithm 2, arXiv:2006.11239), over all T steps or some.

    Chosen timesteps are a shorter chain with larger steps of its own; see `respaced_betas`.

    Args:
        model: `model(x_t, t)`, predicting what `prediction_type` says.
        x_T: (B, ...), standard normal.
        betas: (T,).
        timesteps: falling integers, as from `spaced_timesteps`; all T when left out.
        sigma: "small" or "large", see `ancestral_std`.
        prediction_type: "epsilon", "sample" or "v_prediction".
        generator: source of the noise.

    Yields:
        One step a timestep; the last one's `x` is the sample.
    """
    alphas_cumprod, chain = schedules.alphas_cumprod(betas), betas
    if timesteps is None:
        timesteps = list(reversed(range(len(betas))))
    else:
        chain = schedules.respaced_betas(betas, timesteps)
    _check_path(x_T, alphas_cumprod, timesteps)
    step_std = ancestral_std(chain, sigma)
    x = x_T
    for index, t in zip(reversed(range(len(chain))), timesteps, strict=True):
        x0, eps, t_batch = _predict(model, x, t, alphas_cumprod, prediction_type)
        noise = _noise_like(x, generator)
        x = ddpm_step(x, torch.full_like(t_batch, index), eps, chain, step_std, noise)
        yield Step(t, x, x0)


def ddim(
    model: Denoiser,
    x_T: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Sequence[int],
    *,
    eta: float = 0.0,
    prediction_type: str = "epsilon",
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    r"""DDIM over chosen timesteps (arXiv:2010.02502): deterministic when eta is 0.

    Args:
        model: `model(x_t, t)`, predicting what `prediction_type` says.
        x_T: (B, ...), standard normal.
        alphas_cumprod: (T,).
        timesteps: falling integers, as from `spaced_timesteps`.
        eta: from 0 (no noise) to 1 (as much as ancestral sampling).
        prediction_type: "epsilon", "sample" or "v_prediction".
        generator: source of the noise, when eta > 0.

    Yields:
        One step a timestep; the last one's `x` is the sample.
    """
    _check_path(x_T, alphas_cumprod, timesteps)
    x = x_T
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        x0, eps, t_batch = _predict(model, x, t, alphas_cumprod, prediction_type)
        noise = _noise_like(x, generator) if eta > 0 else torch.zeros_like(x)
        t_prev_batch = torch.full_like(t_batch, t_prev)
        x = _ddim_move(x0, eps, t_batch, t_prev_batch, alphas_cumprod, eta, noise)
        yield Step(t, x, x0)


def dpm_solver_pp_2m(
    model: Denoiser,
    x_T: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Sequence[int],
    *,
    prediction_type: str = "epsilon",
) -> Iterator[Step]:
    r"""DPM-Solver++(2M): a second-order solver for few steps (Algorithm 2, arXiv:2211.01095).

    With `lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar))` and h its growth over a step,
    `x = (b / b_t) x_t - a (exp(-h) - 1) D`, where a and b are `sqrt(alpha_bar)` and
    `sqrt(1 - alpha_bar)` at the step's end, b_t at its start, and D extrapolates x0 from this
    prediction and the one before. The first and last steps are of first order (D = x0), so the
    last one lands on x0.

    Arguments and yields as `ddim`, without noise.
    """
    _check_path(x_T, alphas_cumprod, timesteps)
    x, x0_before, h_before = x_T, None, None
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        x0, _, t_batch = _predict(model, x, t, alphas_cumprod, prediction_type)
        if t_prev < 0:
            x = x0
        else:
            now, end = alphas_cumprod[t].double(), alphas_cumprod[t_prev].double()
            h = _half_log_snr(end) - _half_log_snr(now)
            slope = 0 if x0_before is None else (x0 - x0_before) * (h / h_before).item()
            ratio, pull = ((1 - end) / (1 - now)).sqrt().item(), end.sqrt() * torch.expm1(-h)
            x = ratio * x - pull.item() * (x0 + slope / 2)
            x0_before, h_before = x0, h
        yield Step(t, x, x0)


def _predict(model: Denoiser, x: Tensor, t: int, alphas_cumprod: Tensor, prediction_type: str):
    """Ask the model at one timestep; return (x0, eps, t as a batch)."""
    t_batch = torch.full((len(x),), t, dtype=torch.long, device=x.device)
    prediction = model(x, t_batch)
    return *to_x0_eps(prediction, x, t_batch, alphas_cumprod, prediction_type), t_batch


def _ddim_move(x0, eps, t, t_prev, alphas_cumprod, eta, noise) -> Tensor:
    """Eq. 12 of arXiv:2010.02502, given both x0 and eps."""
    if not 0 <= eta <= 1:
        raise InputError("eta", got=f"{eta:g}", expected="a number from 0 to 1")
    check_same_shape("noise", noise, "x_t", x0)
    check_timesteps(t_prev, x0, len(alphas_cumprod), lowest=-1, name="t_prev")
    if bool((t_prev >= t).any()):
        raise InputError("t_prev", got="a timestep not below t", expected="t_prev < t")
    now, before = _alpha_bar(alphas_cumprod, t), _alpha_bar(alphas_cumprod, t_prev)
    variance = eta**2 * (1 - before) / (1 - now) * (1 - now / before)
    direction = (1 - before - variance).clamp(min=0).sqrt()  # rounding may go below 0
    x0_weight, direction, sigma = (
        append_dims(w, x0) for w in (before.sqrt(), direction, variance.sqrt())
    )
    return x0_weight * x0 + direction * eps + sigma * noise


def _alpha_bar(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    """alpha_bar at timesteps (B,), in float64; 1 where t is -1."""
    padded = torch.cat([alphas_cumprod.double(), torch.ones_like(alphas_cumprod[:1].double())])
    return padded[t.to(padded.device).long()]  # index -1 is the 1 at the end


def _half_log_snr(alpha_bar: Tensor) -> Tensor:
    return 0.5 * (alpha_bar.log() - (1 - alpha_bar).log())


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    # randn, not randn_like: the draws must not depend on the memory layout of x.
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def _check_path(x_T: Tensor, alphas_cumprod: Tensor, timesteps: Sequence[int]) -> None:
    check_float("x_T", x_T)
    check_alphas_cumprod(alphas_cumprod)
    whole = all(isinstance(t, int) for t in timesteps)
    falling = all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
    if len(timesteps) == 0 or not whole or not falling:
        raise InputError("timesteps", got=str(list(timesteps)), expected="falling integers")
    if timesteps[0] >= len(alphas_cumprod) or timesteps[-1] < 0:
        raise InputError(
            "timesteps",
            got=f"{timesteps[0]} down to {timesteps[-1]}",
            expected=f"within {len(alphas_cumprod) - 1} to 0",
        )
    if bool((alphas_cumprod[list(timesteps)].diff() <= 0).any()):
        raise InputError(
            "timesteps",
            got="two with the same alpha_bar",
            expected="less noise at each",
            fix="Start later, where alpha_bar is no longer 0.",
        )
