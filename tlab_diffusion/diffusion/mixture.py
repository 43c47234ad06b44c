r"""A Gaussian mixture and its exact denoiser, which tests and lessons compare networks with.

Noising keeps a mixture a mixture: each component's mean shrinks by `sqrt(alpha_bar_t)` and its
covariance becomes `alpha_bar_t C + (1 - alpha_bar_t) I`. So q(x_t), the posterior q(x0 | x_t),
the best prediction of x0 or epsilon, and the score are closed forms at every t.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from tlab_diffusion.diffusion._check import (
    check_alpha_bar,
    check_choice,
    check_count,
    check_float,
)
from tlab_diffusion.diffusion.losses import Denoiser
from tlab_diffusion.diffusion.parameterization import (
    PREDICTION_TYPES,
    eps_from_x0,
    training_target,
)
from tlab_diffusion.diffusion.process import check_noisy_batch, extract, noise_like
from tlab_diffusion.errors import InputError


class CleanPosterior(NamedTuple):
    """q(x0 | x_t), itself a mixture for each sample: what x_t tells about the clean sample."""

    responsibilities: Tensor  # (B, K), rows sum to 1: which component x_t came from
    means: Tensor  # (B, K, D)
    covariances: Tensor  # (B, K, D, D)

    def mean(self) -> Tensor:
        """E[x0 | x_t], shape (B, D)."""
        return (self.responsibilities[..., None] * self.means).sum(dim=1)


class GaussianMixture:
    r"""`q(x0) = sum_k w_k N(x0; mu_k, C_k)` with everything that diffusion asks of it.

    Args:
        weights: (K,), positive, of sum 1.
        means: (K, D).
        covariances: (K, D, D), symmetric and positive definite.

    Raises:
        InputError: on wrong shapes, weights that do not sum to 1, or a covariance that is not
            symmetric and positive definite.
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor):
        _check_mixture(weights, means, covariances)
        self.weights, self.means, self.covariances = weights, means, covariances
        # C_k = Q_k diag(l_k) Q_k^T: in the axes Q_k, noising acts on each coordinate alone.
        # Decomposed on the CPU, because not every device can.
        variances, axes = torch.linalg.eigh(covariances.cpu())
        self._variances, self._axes = variances.to(means.device), axes.to(means.device)
        if not bool((self._variances > 0).all()):
            raise InputError(
                "covariances",
                got=f"an eigenvalue of {self._variances.min():g}",
                expected="all above 0",
            )

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw clean samples, (num_samples, D), in the mixture's dtype and on its device.

        The random numbers are drawn on the generator's device.
        """
        check_count("num_samples", num_samples)
        weights = self.weights if generator is None else self.weights.to(generator.device)
        component = torch.multinomial(weights, num_samples, True, generator=generator)
        component = component.to(self.means.device)
        noise = noise_like(self.means[component], generator)
        scaled = self._variances[component].sqrt() * noise
        return self.means[component] + torch.einsum("bde,be->bd", self._axes[component], scaled)

    def noised(self, alpha_bar: float) -> "GaussianMixture":
        r"""The mixture q(x_t) at a given `alpha_bar_t` in [0, 1]."""
        if not 0 <= alpha_bar <= 1:
            raise InputError("alpha_bar", got=f"{alpha_bar:g}", expected="a number in [0, 1]")
        identity = torch.eye(self.means.shape[1]).to(self.means)
        covariances = alpha_bar * self.covariances + (1 - alpha_bar) * identity
        return GaussianMixture(self.weights, math.sqrt(alpha_bar) * self.means, covariances)

    def log_prob(self, x: Tensor) -> Tensor:
        """log q(x) of points (B, D), shape (B,)."""
        self._check_points(x)
        joint, _, _ = self._components(x, torch.ones_like(x[:, 0]))
        return joint.logsumexp(dim=1)

    def clean_posterior(self, x_t: Tensor, alpha_bar_t: Tensor) -> CleanPosterior:
        r"""q(x0 | x_t) by Bayes' rule, component by component.

        Args:
            x_t: (B, D), noisy points.
            alpha_bar_t: (B,), each in [0, 1].

        Returns:
            The responsibilities (B, K), means (B, K, D) and covariances (B, K, D, D).
        """
        self._check_points(x_t)
        check_alpha_bar("alpha_bar_t", alpha_bar_t)
        if alpha_bar_t.shape != x_t.shape[:1]:
            raise InputError(
                "alpha_bar_t", got=f"shape {tuple(alpha_bar_t.shape)}", expected=f"({len(x_t)},)"
            )
        joint, residual, variance_t = self._components(x_t, alpha_bar_t)
        alpha_bar = alpha_bar_t[:, None, None]
        gain = alpha_bar.sqrt() * self._variances / variance_t
        means = self.means + torch.einsum("kde,bke->bkd", self._axes, gain * residual)
        variances = self._variances * (1 - alpha_bar) / variance_t
        covariances = torch.einsum("kde,bke,kfe->bkdf", self._axes, variances, self._axes)
        return CleanPosterior(joint.softmax(dim=1), means, covariances)

    def x0_mean(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
        r"""`E[x0 | x_t]`, the best prediction of x0 in squared error; (B, D)."""
        check_noisy_batch(x_t, t, alphas_cumprod)
        alpha_bar_t = extract(alphas_cumprod, t, x_t).flatten()
        return self.clean_posterior(x_t, alpha_bar_t).mean()

    def eps_mean(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
        r"""`E[eps | x_t] = (x_t - sqrt(alpha_bar_t) E[x0 | x_t]) / sqrt(1 - alpha_bar_t)`."""
        return eps_from_x0(x_t, t, self.x0_mean(x_t, t, alphas_cumprod), alphas_cumprod)

    def score(self, x_t: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
        r"""`grad log q(x_t)`, the direction in which q(x_t) grows fastest; (B, D).

        Computed from the components, not from epsilon: `sum_k r_k C_k^{-1} (mu_k - x_t)`.
        """
        check_noisy_batch(x_t, t, alphas_cumprod)
        alpha_bar_t = extract(alphas_cumprod, t, x_t).flatten()
        joint, residual, variance_t = self._components(x_t, alpha_bar_t)
        pull = torch.einsum("kde,bke->bkd", self._axes, -residual / variance_t)
        return (joint.softmax(dim=1)[..., None] * pull).sum(dim=1)

    def denoiser(self, alphas_cumprod: Tensor, prediction_type: str = "epsilon") -> Denoiser:
        r"""The exact model: a callable `model(x_t, t)`, the best any network could do."""
        return denoiser_of(self.x0_mean, alphas_cumprod, prediction_type)

    def _components(self, x_t: Tensor, alpha_bar_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log(w_k N_k(x_t)) (B, K); x_t minus the mean in the component's axes, and the noised
        variances along them, both (B, K, D)."""
        alpha_bar = alpha_bar_t[:, None, None]
        difference = x_t[:, None, :] - alpha_bar.sqrt() * self.means
        residual = torch.einsum("kde,bkd->bke", self._axes, difference)
        variance = alpha_bar * self._variances + (1 - alpha_bar)
        log_normal = -0.5 * (residual.square() / variance + (2 * math.pi * variance).log()).sum(-1)
        return self.weights.log() + log_normal, residual, variance

    def _check_points(self, x: Tensor) -> None:
        check_float("x", x)
        dimensions = self.means.shape[1]
        if x.dtype != self.means.dtype:
            raise InputError("x", got=str(x.dtype), expected=f"{self.means.dtype}, as the mixture")
        if x.ndim != 2 or x.shape[1] != dimensions:
            raise InputError("x", got=f"shape {tuple(x.shape)}", expected=f"(B, {dimensions})")


def denoiser_of(
    x0_mean: Callable, alphas_cumprod: Tensor, prediction_type: str = "epsilon"
) -> Denoiser:
    r"""The model that predicts what `x0_mean(x_t, t, alphas_cumprod)` implies."""
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)

    def model(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = x0_mean(x_t, t, alphas_cumprod)
        eps = eps_from_x0(x_t, t, x0, alphas_cumprod)
        return training_target(x0, eps, t, alphas_cumprod, prediction_type)

    return model


def _check_mixture(weights: Tensor, means: Tensor, covariances: Tensor) -> None:
    for name, value in (("weights", weights), ("means", means), ("covariances", covariances)):
        check_float(name, value)
    if weights.ndim != 1 or bool((weights <= 0).any()) or abs(float(weights.sum()) - 1) > 1e-5:
        raise InputError("weights", got=str(weights.tolist()), expected="K numbers above 0, sum 1")
    if means.ndim != 2 or len(means) != len(weights):
        raise InputError(
            "means", got=f"shape {tuple(means.shape)}", expected=f"({len(weights)}, D)"
        )
    size = means.shape[1]
    if covariances.shape != (len(weights), size, size):
        raise InputError(
            "covariances",
            got=f"shape {tuple(covariances.shape)}",
            expected=f"({len(weights)}, {size}, {size})",
        )
    if not torch.allclose(covariances, covariances.mT):
        raise InputError("covariances", got="a matrix that is not symmetric", expected="symmetric")
