r"""An isotropic Gaussian mixture: the exact denoiser of a handful of pictures.

Each of K pictures is the mean of a narrow normal distribution with covariance `std^2 I`. No
matrix of size D x D is needed, and samples keep their shape (B, C, H, W). The probability that a
noisy sample came from picture k is a softmax over K distances; the best prediction of x0 is the
mean of the pictures under it. A network that has memorised its training set predicts the same.
"""

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import check_count, check_float
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.mixture import denoiser_of
from tlab_diffusion.diffusion.process import (
    append_dims,
    check_noisy_batch,
    extract,
    extract_float64,
    noise_like,
)
from tlab_diffusion.errors import InputError


class IsotropicMixture:
    r"""`q(x0) = (1 / K) sum_k N(x0; mu_k, std^2 I)` with everything that diffusion asks of it.

    Args:
        means: (K, ...): points, or pictures in [-1, 1].
        std: standard deviation of every component, above 0.

    Raises:
        InputError: if the means are not a batch of floating-point numbers, or `std` is not above 0.
    """

    def __init__(self, means: Tensor, std: float):
        check_float("means", means)
        if means.ndim < 2 or not means.numel():
            raise InputError("means", got=f"shape {tuple(means.shape)}", expected="(K, ...)")
        if not std > 0:
            raise InputError("std", got=f"{std:g}", expected="a number above 0")
        self.means, self.std = means, std
        self._flat = means.flatten(1)
        self._squares = self._flat.square().sum(dim=1)

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw clean samples, (num_samples, ...), in the mixture's dtype and on its device.

        The random numbers are drawn on the generator's device.
        """
        check_count("num_samples", num_samples)
        device = self.means.device if generator is None else generator.device
        component = torch.randint(
            len(self.means), (num_samples,), generator=generator, device=device
        )
        means = self.means[component.to(self.means.device)]
        return means + self.std * noise_like(means, generator)

    def responsibilities(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
        r"""The probability that a noisy sample came from component k: `q(k | x_t)`.

        `softmax_k(-|x_t - sqrt(alpha_bar_t) mu_k|^2 / (2 v_t))` with
        `v_t = alpha_bar_t std^2 + 1 - alpha_bar_t`.

        Args:
            x_t: (B, ...), shaped like the means but for the first axis.
            t: (B,) integers from 0 to T - 1.
            alphas_cumprod: (T,).

        Returns:
            (B, K), rows sum to 1.

        Raises:
            InputError: on a wrong shape or dtype, or a timestep out of range.
        """
        self._check(x_t, t, alphas_cumprod)
        alpha_bar = extract(alphas_cumprod, t, x_t).reshape(-1, 1)
        # |x|^2 is the same for every k and cancels in the softmax.
        match = alpha_bar.sqrt() * (x_t.flatten(1) @ self._flat.T) - alpha_bar * self._squares / 2
        return (match / self._variance(alpha_bar)).softmax(dim=1)

    def x0_mean(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
        r"""`E[x0 | x_t]`, the best prediction of x0 in squared error; shaped like `x_t`."""
        mean = (self.responsibilities(x_t, t, alphas_cumprod) @ self._flat).reshape(x_t.shape)
        alpha_bar = extract_float64(alphas_cumprod, t)
        variance = self._variance(alpha_bar)
        mean_weight = append_dims((1 - alpha_bar) / variance, x_t)
        x_t_weight = append_dims(alpha_bar.sqrt() * self.std**2 / variance, x_t)
        return mean_weight * mean + x_t_weight * x_t

    def denoiser(self, alphas_cumprod: Tensor, prediction_type: str = "epsilon") -> Denoiser:
        r"""The exact model: a callable `model(x_t, t)`, the best any network could do."""
        return denoiser_of(self.x0_mean, alphas_cumprod, prediction_type)

    def _variance(self, alpha_bar: Tensor) -> Tensor:
        return alpha_bar * self.std**2 + 1 - alpha_bar

    def _check(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> None:
        check_noisy_batch(x_t, t, alphas_cumprod)
        if x_t.dtype != self.means.dtype:
            raise InputError("x_t", got=str(x_t.dtype), expected=f"{self.means.dtype}, as means")
        if x_t.shape[1:] != self.means.shape[1:]:
            expected = f"(B, {', '.join(map(str, self.means.shape[1:]))})"
            raise InputError("x_t", got=f"shape {tuple(x_t.shape)}", expected=expected)
