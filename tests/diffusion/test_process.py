"""The forward process against its own steps; the posterior against numeric Bayes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tlab_diffusion.diffusion import process, schedules

BETAS = schedules.linear_betas(50, 0.01, 0.2).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def iterate(x0: torch.Tensor, steps: int, seed: int = 0) -> torch.Tensor:
    """Apply q_step `steps` times with fresh noise."""
    generator = torch.Generator().manual_seed(seed)
    x = x0
    for beta in BETAS[:steps]:
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = process.q_step(x, beta.expand(len(x)), noise)
    return x


def test_closed_form_equals_iterated_steps_in_their_coefficients():
    # Both are linear in x0 and in independent noises: feed q_step a one and a zero to read off
    # its two coefficients, and carry mean and variance through the steps. No sampling.
    one = torch.ones(1, 1, dtype=torch.float64)
    zero = torch.zeros_like(one)
    for t in (0, 1, 7, 49):
        mean, variance = one, zero
        for beta in BETAS[: t + 1]:
            mean = process.q_step(mean, beta[None], zero)
            kept, added = (
                process.q_step(one, beta[None], zero),
                process.q_step(zero, beta[None], one),
            )
            variance = variance * kept.square() + added.square()
        step = torch.tensor([t])
        torch.testing.assert_close(process.q_sample(one, step, zero, ALPHAS_CUMPROD), mean)
        noise_share = process.q_sample(zero, step, one, ALPHAS_CUMPROD)
        torch.testing.assert_close(noise_share.square(), variance)


def test_closed_form_has_the_mean_and_variance_of_sampled_steps():
    n, t = 200_000, 20
    x = iterate(torch.full((n, 1), 1.5, dtype=torch.float64), t + 1)
    alpha_bar = ALPHAS_CUMPROD[t]
    # Four standard errors of a mean and of a variance.
    assert abs(x.mean() - 1.5 * alpha_bar.sqrt()) < 4 * ((1 - alpha_bar) / n).sqrt()
    assert abs(x.var() - (1 - alpha_bar)) < 4 * (1 - alpha_bar) * (2 / n) ** 0.5


def test_unit_variance_stays():
    x = iterate(randn(200_000, 1, seed=3), 50)
    assert abs(x.var() - 1) < 4 * (2 / 200_000) ** 0.5


@given(t=st.lists(st.integers(0, 49), min_size=1, max_size=6), size=st.integers(1, 6))
def test_a_batch_of_mixed_t_is_each_sample_alone(t, size):
    x0, noise = randn(len(t), size, size), randn(len(t), size, size, seed=1)
    steps = torch.tensor(t)
    together = process.q_sample(x0, steps, noise, ALPHAS_CUMPROD)
    for i in range(len(t)):
        one = slice(i, i + 1)
        alone = process.q_sample(x0[one], steps[one], noise[one], ALPHAS_CUMPROD)
        torch.testing.assert_close(together[one], alone)


def test_posterior_is_bayes_on_a_grid():
    x0, x_t = torch.tensor([[0.7]]).double(), torch.tensor([[-0.4]]).double()
    grid = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    for t in (1, 2, 10, 49):
        prev = ALPHAS_CUMPROD[t - 1]
        log_prior = -(grid - prev.sqrt() * x0.item()).square() / (2 * (1 - prev))
        shrunk = (1 - BETAS[t]).sqrt() * grid
        log_likelihood = -(x_t.item() - shrunk).square() / (2 * BETAS[t])
        density = (log_prior + log_likelihood).softmax(dim=0)
        mean = (density * grid).sum()
        variance = (density * (grid - mean).square()).sum()
        got_mean, got_variance = process.posterior(x0, x_t, torch.tensor([t]), BETAS)
        # The grid's step is 4e-4; its sums are exact far beyond 1e-6.
        torch.testing.assert_close(got_mean.squeeze(), mean, atol=1e-6, rtol=0)
        torch.testing.assert_close(got_variance.squeeze(), variance, atol=1e-6, rtol=0)
        torch.testing.assert_close(process.posterior_std(BETAS)[t].square(), variance)


def test_posterior_at_the_first_step_is_x0_itself():
    x0, x_t = randn(3, 2), randn(3, 2, seed=1)
    mean, variance = process.posterior(x0, x_t, torch.zeros(3, dtype=torch.long), BETAS)
    torch.testing.assert_close(mean, x0)
    assert (variance == 0).all()
