r"""The training loss and its weightings.

Every weighting is a (T,) tensor: the loss of a sample at timestep t is multiplied by its value
there. `elbo_weights` is for epsilon-prediction; `min_snr_weights` is for all three types.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.diffusion import schedules
from tlab_diffusion.diffusion._check import (
    check_alphas_cumprod,
    check_betas,
    check_choice,
    check_per_timestep,
    check_same_shape,
)
from tlab_diffusion.diffusion.parameterization import PREDICTION_TYPES, training_target
from tlab_diffusion.diffusion.process import extract, posterior_std, q_sample
from tlab_diffusion.diffusion.schedules import as_float64, cast_like
from tlab_diffusion.errors import InputError

Denoiser = Callable[[Tensor, Tensor], Tensor]


def noise_loss(
    model: Denoiser, x0: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor
) -> Tensor:
    r"""The simple loss `mean ||eps - eps_theta(x_t, t)||^2` (Eq. 14, arXiv:2006.11239).

    Args:
        model: `model(x_t, t)` predicts the noise, shaped like `x_t`.
        x0: (B, ...), clean samples.
        t: (B,) integers from 0 to T - 1.
        noise: standard normal, shaped like `x0`.
        alphas_cumprod: (T,).

    Returns:
        A scalar, the mean over the batch and all elements.

    Raises:
        InputError: on a wrong shape, dtype or timestep, the model's output included.
    """
    x_t = q_sample(x0, t, noise, alphas_cumprod)
    eps_pred = model(x_t, t)
    check_same_shape("model output", eps_pred, "x_t", x_t)
    return (eps_pred - noise).square().mean()


def diffusion_loss(
    model: Denoiser,
    x0: Tensor,
    t: Tensor,
    noise: Tensor,
    alphas_cumprod: Tensor,
    *,
    prediction_type: str = "epsilon",
    weights: Tensor | None = None,
) -> Tensor:
    r"""The weighted loss for any prediction type: `mean_B w_t mean ||target - prediction||^2`.

    Args:
        model: `model(x_t, t)` predicts what `prediction_type` says.
        x0: (B, ...), clean samples.
        t: (B,) integers from 0 to T - 1.
        noise: standard normal, shaped like `x0`.
        alphas_cumprod: (T,).
        prediction_type: "epsilon", "sample" (x0) or "v_prediction".
        weights: (T,) weight of each timestep; all ones when left out.

    Returns:
        A scalar.
    """
    x_t = q_sample(x0, t, noise, alphas_cumprod)
    prediction = model(x_t, t)
    check_same_shape("model output", prediction, "x_t", x_t)
    target = training_target(x0, noise, t, alphas_cumprod, prediction_type)
    errors = (prediction - target).square()
    if weights is None:
        return errors.mean()
    check_per_timestep("weights", weights, len(alphas_cumprod))
    return (extract(weights, t, errors) * errors).mean()


def elbo_weights(betas: Tensor) -> Tensor:
    r"""Weights that make the epsilon loss the variational bound (Eq. 12, arXiv:2006.11239).

    `w_t = beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t))` with `sigma_t^2` the posterior
    variance. Index 0 has no posterior variance; there `sigma^2 = beta` is used, which turns
    the reconstruction term into the Gaussian one of the same form.

    Args:
        betas: (T,), each in (0, 1).

    Returns:
        (T,). For the linear schedule it is large at small t, where an error in epsilon is costly.
    """
    check_betas(betas)
    if bool((betas == 1).any()):
        raise InputError(
            "betas", got="beta_t = 1", expected="below 1", fix="Zero terminal SNR has no ELBO."
        )
    beta = as_float64(betas)
    variance = torch.cat([beta[:1], posterior_std(beta)[1:].square()])
    alpha_bar = schedules.alphas_cumprod(beta)
    weights = beta.square() / (2 * variance * (1 - beta) * (1 - alpha_bar))
    return cast_like(weights, betas)


def min_snr_weights(
    alphas_cumprod: Tensor, *, gamma: float = 5.0, prediction_type: str = "epsilon"
) -> Tensor:
    r"""Weights so that easy timesteps do not dominate the gradient (Sec. 3.4, arXiv:2303.09556).

    `min(SNR, gamma)` in units of the x0 loss; divided by SNR for epsilon and by SNR + 1 for v,
    because `||eps error||^2 = SNR ||x0 error||^2` and `||v error||^2 = (SNR + 1) ||x0 error||^2`.

    Args:
        alphas_cumprod: (T,), each in [0, 1).
        gamma: the cap, 5 in the paper.
        prediction_type: "epsilon", "sample" (x0) or "v_prediction".

    Returns:
        (T,) weights.
    """
    check_alphas_cumprod(alphas_cumprod)
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    snr = schedules.snr(alphas_cumprod)
    capped = snr.clamp(max=gamma)
    if prediction_type == "sample":
        return capped
    if prediction_type == "v_prediction":
        return capped / (snr + 1)
    # Where SNR is 0 the epsilon loss carries no information about x0; its limit weight is 1.
    return torch.where(snr > 0, capped / snr, torch.ones_like(snr))
