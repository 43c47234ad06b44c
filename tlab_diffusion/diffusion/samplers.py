r"""Samplers: from noise to a sample, step by step, with any denoiser.

Each sampler is a generator: it yields a `Step` after every move, and the caller draws, logs or
stops. The denoiser is any callable `model(x_t, t)`: a network, the exact one of a mixture, or a
guided one. The public functions check their arguments, once; the functions whose names begin with
an underscore are the equations alone.

No sampler builds an autograd graph unless it is called with `grad=True`; then gradients flow from
every sample back to `x_T` and to the model's weights, and memory grows with the steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
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
from tlab_diffusion.diffusion.parameterization import (
    PREDICTION_TYPES,
    check_prediction_type,
    solve_x0_eps,
    x0_from_eps,
)
from tlab_diffusion.diffusion.process import (
    append_dims,
    extract_float64,
    noise_like,
    posterior_std,
)
from tlab_diffusion.diffusion.schedules import as_float64
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
        x_{t-1}, shaped like `x_t`. Gradients flow through `x_t`, `eps_pred` and `noise`.

    Raises:
        InputError: on a wrong shape, dtype or timestep, or where alpha_t is 0.
    """
    check_same_shape("eps_pred", eps_pred, "x_t", x_t)
    check_same_shape("noise", noise, "x_t", x_t)
    check_betas(betas)
    check_timesteps(t, x_t, len(betas))
    check_per_timestep("step_std", step_std, len(betas))
    beta, alpha_bar, std = (
        extract_float64(values, t)
        for values in (betas, schedules.alphas_cumprod(as_float64(betas)), step_std)
    )
    _check_below_1(beta)
    return _ddpm_step(x_t, eps_pred, noise, beta, alpha_bar, std * (t > 0).cpu())


def _ddpm_step(x_t, eps, noise, beta, alpha_bar, std) -> Tensor:
    """Algorithm 2 of arXiv:2006.11239; beta, alpha_bar and std are (B,) or (1,), in float64."""
    growth, eps_weight, std = (
        append_dims(values, x_t)
        for values in (1 / (1 - beta).sqrt(), beta / (1 - alpha_bar).sqrt(), std)
    )
    return growth * (x_t - eps_weight * eps) + std * noise


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
        The sample at `t_prev`, shaped like `x_t`. Gradients flow through `x_t`, `eps_pred` and
        `noise`.
    """
    x0 = x0_from_eps(x_t, t, eps_pred, alphas_cumprod)
    _check_eta(eta)
    check_same_shape("noise", noise, "x_t", x_t)
    check_timesteps(t_prev, x_t, len(alphas_cumprod), lowest=-1, name="t_prev")
    if bool((t_prev >= t).any()):
        raise InputError("t_prev", got="a timestep not below t", expected="t_prev < t")
    alpha_bar = _with_clean_end(alphas_cumprod)
    now, before = extract_float64(alpha_bar, t), extract_float64(alpha_bar, t_prev)
    return _ddim_step(x0, eps_pred, noise, now, before, eta)


def _ddim_step(x0, eps, noise, alpha_bar, alpha_bar_prev, eta) -> Tensor:
    """Eq. 12 of arXiv:2010.02502; alpha_bar and alpha_bar_prev are (B,) or (1,), in float64."""
    variance = eta**2 * (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
    direction = (1 - alpha_bar_prev - variance).clamp(min=0)  # rounding may go below 0
    x0_weight, eps_weight, sigma = (
        append_dims(square.sqrt(), x0) for square in (alpha_bar_prev, direction, variance)
    )
    return x0_weight * x0 + eps_weight * eps + sigma * noise


def ddpm(
    model: Denoiser,
    x_T: Tensor,
    betas: Tensor,
    *,
    timesteps: Sequence[int] | None = None,
    sigma: str = "small",
    prediction_type: str = "epsilon",
    generator: torch.Generator | None = None,
    grad: bool = False,
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
        generator: source of the noise; the noise is drawn on its device.
        grad: keep the autograd graph.

    Yields:
        One step a timestep; the last one's `x` is the sample.

    Raises:
        InputError: when it is called, on bad arguments; at a step, on a prediction of another
            shape.
    """
    alphas_cumprod, chain = schedules.alphas_cumprod(betas), betas
    if timesteps is None:
        timesteps = list(reversed(range(len(betas))))
    else:
        chain = schedules.respaced_betas(betas, timesteps)
    predict = _checked_predictor(model, x_T, alphas_cumprod, timesteps, prediction_type)
    step_std = as_float64(ancestral_std(chain, sigma))
    chain = as_float64(chain)
    _check_below_1(chain)
    return _start(_ddpm, grad, predict, x_T, timesteps, chain, step_std, generator)


def _ddpm(predict, x, timesteps, betas, step_std, generator) -> Iterator[Step]:
    alpha_bar = schedules.alphas_cumprod(betas)
    step_std = torch.cat([torch.zeros_like(step_std[:1]), step_std[1:]])  # no noise at the end
    for index, t in zip(reversed(range(len(betas))), timesteps, strict=True):
        x0, eps = predict(x, t)
        noise, i = noise_like(x, generator), [index]
        x = _ddpm_step(x, eps, noise, betas[i], alpha_bar[i], step_std[i])
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
    grad: bool = False,
) -> Iterator[Step]:
    r"""DDIM over chosen timesteps (arXiv:2010.02502): deterministic when eta is 0.

    Args:
        model: `model(x_t, t)`, predicting what `prediction_type` says.
        x_T: (B, ...), standard normal.
        alphas_cumprod: (T,), on any device.
        timesteps: falling integers, as from `spaced_timesteps`.
        eta: from 0 (no noise) to 1 (as much as ancestral sampling).
        prediction_type: "epsilon", "sample" or "v_prediction".
        generator: source of the noise, when eta > 0; the noise is drawn on its device.
        grad: keep the autograd graph.

    Yields:
        One step a timestep; the last one's `x` is the sample.

    Raises:
        InputError: when it is called, on bad arguments; at a step, on a prediction of another
            shape.
    """
    predict = _checked_predictor(model, x_T, alphas_cumprod, timesteps, prediction_type)
    _check_eta(eta)
    return _start(_ddim, grad, predict, x_T, timesteps, alphas_cumprod, eta, generator)


def _ddim(predict, x, timesteps, alphas_cumprod, eta, generator) -> Iterator[Step]:
    alpha_bar = as_float64(_with_clean_end(alphas_cumprod))
    for t, t_prev in _moves(timesteps):
        x0, eps = predict(x, t)
        noise = noise_like(x, generator) if eta > 0 else torch.zeros_like(x)
        x = _ddim_step(x0, eps, noise, alpha_bar[[t]], alpha_bar[[t_prev]], eta)
        yield Step(t, x, x0)


def dpm_solver_pp_2m(
    model: Denoiser,
    x_T: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Sequence[int],
    *,
    prediction_type: str = "epsilon",
    grad: bool = False,
) -> Iterator[Step]:
    r"""DPM-Solver++(2M): a second-order solver for few steps (Algorithm 2, arXiv:2211.01095).

    With `lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar))` and h its growth over a step,
    `x = (b / b_t) x_t - a (exp(-h) - 1) D`, where a and b are `sqrt(alpha_bar)` and
    `sqrt(1 - alpha_bar)` at the step's end, b_t at its start, and D extrapolates x0 from this
    prediction and the one before. The first and last steps are of first order (D = x0), so the
    last one lands on x0.

    Arguments, yields and errors as `ddim`, without noise.
    """
    predict = _checked_predictor(model, x_T, alphas_cumprod, timesteps, prediction_type)
    return _start(_dpm_solver_pp_2m, grad, predict, x_T, timesteps, alphas_cumprod)


def _dpm_solver_pp_2m(predict, x, timesteps, alphas_cumprod) -> Iterator[Step]:
    alpha_bar = as_float64(alphas_cumprod)
    a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    log_snr_half = a.log() - b.log()
    x0_before, h_before = None, None
    for t, t_prev in _moves(timesteps):
        x0, _ = predict(x, t)
        if t_prev < 0:
            x = x0
        else:
            h = (log_snr_half[t_prev] - log_snr_half[t]).item()
            slope = 0 if x0_before is None else (x0 - x0_before) * (h / h_before)
            ratio, pull = (b[t_prev] / b[t]).item(), a[t_prev].item() * math.expm1(-h)
            x = ratio * x - pull * (x0 + slope / 2)
            x0_before, h_before = x0, h
        yield Step(t, x, x0)


def _start(loop: Callable[..., Iterator[Step]], grad: bool, *arguments) -> Iterator[Step]:
    """Begin a sampling loop; torch's decorator restores the caller's grad mode at each yield."""
    return (loop if grad else torch.no_grad()(loop))(*arguments)


def _moves(timesteps: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (t, t_prev); the last move leads to index -1, the clean sample."""
    return list(zip(timesteps, [*timesteps[1:], -1], strict=True))


def _with_clean_end(alphas_cumprod: Tensor) -> Tensor:
    """(T + 1,): alpha_bar with a 1 at the end, which is where index -1 points."""
    return torch.cat([alphas_cumprod, torch.ones_like(alphas_cumprod[:1])])


def _checked_predictor(
    model: Denoiser,
    x_T: Tensor,
    alphas_cumprod: Tensor,
    timesteps: Sequence[int],
    prediction_type: str,
) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """Check a sampler's arguments; return `predict(x, t)`, which gives (x0, eps)."""
    _check_path(x_T, alphas_cumprod, timesteps)
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    alpha_bar = as_float64(alphas_cumprod)
    a, b = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    check_prediction_type(prediction_type, a[list(timesteps)], b[list(timesteps)])

    def predict(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        prediction = model(x, torch.full((len(x),), t, dtype=torch.long, device=x.device))
        check_same_shape("model output", prediction, "x_t", x)
        a_t, b_t = append_dims(a[[t]], x), append_dims(b[[t]], x)
        return solve_x0_eps(prediction, x, a_t, b_t, prediction_type)

    return predict


def _check_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise InputError("eta", got=f"{eta:g}", expected="a number from 0 to 1")


def _check_below_1(betas: Tensor) -> None:
    if bool((betas == 1).any()):
        raise InputError(
            "betas",
            got="beta_t = 1",
            expected="below 1",
            fix="At zero terminal SNR sample with ddim and v-prediction.",
        )


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
