"""The exact denoiser against independent roads to the same numbers: autograd, Bayes, sampling."""

import math

import torch

from tlab_diffusion.diffusion import parameterization, process, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture

BETAS = schedules.linear_betas(60, 0.005, 0.2).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
ROTATED = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
MIXTURE = GaussianMixture(
    torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    torch.tensor([[-2.0, 1.0], [1.5, 1.0], [0.0, -2.0]], dtype=torch.float64),
    torch.stack([0.3 * ROTATED, 0.2 * torch.eye(2, dtype=torch.float64), 0.1 * ROTATED]),
)


def three_dimensions():
    """A mixture whose axes are not symmetric matrices, so that a transposed one is seen."""
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    means = 2 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    covariances = root @ root.mT + 0.1 * torch.eye(3, dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.4, 0.6], dtype=torch.float64), means, covariances)


def points(n=40):
    generator = torch.Generator().manual_seed(0)
    x_t = 2 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return x_t, torch.randint(60, (n,), generator=generator)


def test_log_prob_is_that_of_torch():
    x, _ = points()
    components = torch.distributions.MultivariateNormal(MIXTURE.means, MIXTURE.covariances)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(MIXTURE.weights), components
    ).log_prob(x)
    torch.testing.assert_close(MIXTURE.log_prob(x), expected)


def test_score_is_the_gradient_of_log_q():
    x_t, t = points()
    for i in range(len(t)):
        x = x_t[i : i + 1].clone().requires_grad_()
        log_q = MIXTURE.noised(ALPHAS_CUMPROD[t[i]].item()).log_prob(x)
        (gradient,) = torch.autograd.grad(log_q.sum(), x)
        torch.testing.assert_close(
            MIXTURE.score(x_t[i : i + 1], t[i : i + 1], ALPHAS_CUMPROD), gradient
        )


def test_eps_and_score_agree():
    x_t, t = points()
    eps = MIXTURE.eps_mean(x_t, t, ALPHAS_CUMPROD)
    torch.testing.assert_close(
        parameterization.score_from_eps(eps, t, ALPHAS_CUMPROD),
        MIXTURE.score(x_t, t, ALPHAS_CUMPROD),
    )


def test_x0_mean_and_posterior_are_bayes_on_a_grid():
    mixture = GaussianMixture(
        torch.tensor([0.4, 0.6], dtype=torch.float64),
        torch.tensor([[-1.0], [2.0]], dtype=torch.float64),
        torch.tensor([[[0.2]], [[0.5]]], dtype=torch.float64),
    )
    grid = torch.linspace(-12, 12, 60_001, dtype=torch.float64)
    log_prior = mixture.log_prob(grid[:, None])
    for t in (0, 5, 30, 59):
        alpha_bar = ALPHAS_CUMPROD[t]
        x_t = torch.tensor([[0.8]], dtype=torch.float64)
        log_likelihood = -(x_t.squeeze() - alpha_bar.sqrt() * grid).square() / (2 - 2 * alpha_bar)
        density = (log_prior + log_likelihood).softmax(dim=0)
        mean = (density * grid).sum()
        variance = (density * (grid - mean).square()).sum()
        got = mixture.clean_posterior(x_t, alpha_bar[None])
        torch.testing.assert_close(got.mean().squeeze(), mean, atol=1e-6, rtol=0)
        second = (
            got.responsibilities * (got.covariances[..., 0, 0] + got.means[..., 0] ** 2)
        ).sum()
        torch.testing.assert_close(second - mean**2, variance, atol=1e-6, rtol=0)


def test_the_denoising_step_is_the_exact_mean_of_the_step_before():
    # E[x_{t-1} | x_t] two ways: the seminar's formula with the exact epsilon, and Bayes' rule
    # for one step, with q(x_{t-1}) as the prior and alpha_t as that step's alpha_bar.
    x_t, _ = points()
    for t in (1, 2, 20, 59):
        step = torch.full((len(x_t),), t)
        eps = MIXTURE.eps_mean(x_t, step, ALPHAS_CUMPROD)
        alpha_t, alpha_bar_t = 1 - BETAS[t], ALPHAS_CUMPROD[t]
        x_hat = (x_t - (1 - alpha_t) / (1 - alpha_bar_t).sqrt() * eps) / alpha_t.sqrt()
        before = MIXTURE.noised(ALPHAS_CUMPROD[t - 1].item())
        exact = before.clean_posterior(x_t, alpha_t.expand(len(x_t))).mean()
        torch.testing.assert_close(x_hat, exact)


def test_samples_have_the_mixture_s_moments():
    n = 200_000
    x = MIXTURE.sample(n, torch.Generator().manual_seed(1))
    mean = MIXTURE.weights @ MIXTURE.means
    centred = MIXTURE.means - mean
    covariance = torch.einsum("k,kde->de", MIXTURE.weights, MIXTURE.covariances)
    covariance = covariance + torch.einsum("k,kd,ke->de", MIXTURE.weights, centred, centred)
    standard_error = (covariance.diagonal() / n).sqrt()
    assert ((x.mean(0) - mean).abs() < 4 * standard_error).all()
    # A fourth moment of at most 3 (light tails) bounds the error of a covariance.
    assert ((x.T.cov() - covariance).abs() < 4 * covariance.max() * math.sqrt(3 / n)).all()


def test_noising_samples_gives_the_noised_mixture():
    n, t = 100_000, 30
    generator = torch.Generator().manual_seed(2)
    x0 = MIXTURE.sample(n, generator)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    x_t = process.q_sample(x0, torch.full((n,), t), noise, ALPHAS_CUMPROD)
    noised = MIXTURE.noised(ALPHAS_CUMPROD[t].item())
    direct = noised.sample(n, generator)
    # Equal in law: the mean log-density of both under the noised mixture agrees.
    a, b = noised.log_prob(x_t), noised.log_prob(direct)
    assert abs(a.mean() - b.mean()) < 4 * ((a.var() + b.var()) / n).sqrt()


def test_three_dimensions_by_independent_roads():
    mixture = three_dimensions()
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    t = torch.randint(60, (20,), generator=generator)
    components = torch.distributions.MultivariateNormal(mixture.means, mixture.covariances)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mixture.weights), components
    ).log_prob(x)
    torch.testing.assert_close(mixture.log_prob(x), expected)
    for i in range(20):
        one = slice(i, i + 1)
        y = x[one].clone().requires_grad_()
        log_q = mixture.noised(ALPHAS_CUMPROD[t[i]].item()).log_prob(y)
        (gradient,) = torch.autograd.grad(log_q.sum(), y)
        torch.testing.assert_close(mixture.score(x[one], t[one], ALPHAS_CUMPROD), gradient)
        eps = mixture.eps_mean(x[one], t[one], ALPHAS_CUMPROD)
        torch.testing.assert_close(
            parameterization.score_from_eps(eps, t[one], ALPHAS_CUMPROD), gradient
        )
    # Bayes' rule for normals: precisions add.
    alpha_bar = ALPHAS_CUMPROD[30]
    precision = torch.linalg.inv(mixture.covariances)
    precision = precision + alpha_bar / (1 - alpha_bar) * torch.eye(3, dtype=torch.float64)
    got = mixture.clean_posterior(x, alpha_bar.expand(20)).covariances
    torch.testing.assert_close(got[0], torch.linalg.inv(precision))


def test_samples_in_three_dimensions_have_the_covariance():
    mixture, n = three_dimensions(), 100_000
    x = mixture.sample(n, torch.Generator().manual_seed(2))
    centred = mixture.means - mixture.weights @ mixture.means
    covariance = torch.einsum("k,kde->de", mixture.weights, mixture.covariances)
    covariance = covariance + torch.einsum("k,kd,ke->de", mixture.weights, centred, centred)
    assert ((x.T.cov() - covariance).abs() < 4 * covariance.max() * math.sqrt(3 / n)).all()
