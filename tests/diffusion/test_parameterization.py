"""Epsilon, x0, v and score say the same: every conversion has its inverse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlab_diffusion.diffusion import parameterization as p
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.errors import InputError

ALPHAS_CUMPROD = schedules.alphas_cumprod(schedules.linear_betas(1000).double())


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    t = torch.randint(1000, (4,), generator=generator)
    return x0, eps, t, process.q_sample(x0, t, eps, ALPHAS_CUMPROD)


@given(seed=st.integers(0, 10_000))
def test_each_prediction_gives_back_x0_and_eps(seed):
    x0, eps, t, x_t = draw(seed)
    for prediction_type in p.PREDICTION_TYPES:
        target = p.training_target(x0, eps, t, ALPHAS_CUMPROD, prediction_type)
        got_x0, got_eps = p.to_x0_eps(target, x_t, t, ALPHAS_CUMPROD, prediction_type)
        # At t = 999 x0 is divided by 0.006: float64 leaves about 1e-13 of it.
        torch.testing.assert_close(got_x0, x0, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(got_eps, eps, atol=1e-9, rtol=1e-9)


@given(seed=st.integers(0, 10_000))
def test_score_and_eps_are_inverse(seed):
    _, eps, t, _ = draw(seed)
    score = p.score_from_eps(eps, t, ALPHAS_CUMPROD)
    torch.testing.assert_close(p.eps_from_score(score, t, ALPHAS_CUMPROD), eps)


def test_score_of_a_single_point_is_its_gradient():
    x0, eps, t, x_t = draw(0)
    alpha_bar_t = ALPHAS_CUMPROD[t].reshape(4, 1, 1)
    x = x_t.clone().requires_grad_()
    log_q = -(x - alpha_bar_t.sqrt() * x0).square() / (2 * (1 - alpha_bar_t))
    (gradient,) = torch.autograd.grad(log_q.sum(), x)
    torch.testing.assert_close(p.score_from_eps(eps, t, ALPHAS_CUMPROD), gradient)


def test_v_survives_zero_terminal_snr_and_eps_does_not():
    alpha_bar = torch.tensor([0.5, 0.0], dtype=torch.float64)
    x0, eps = torch.randn(2, 2, 3, dtype=torch.float64)
    t = torch.tensor([0, 1])
    x_t = process.q_sample(x0, t, eps, alpha_bar)
    v = p.v_from_x0_eps(x0, eps, t, alpha_bar)
    torch.testing.assert_close(p.x0_from_v(x_t, t, v, alpha_bar), x0)
    with pytest.raises(InputError, match="alpha_bar_t is 0.*Predict v or x0"):
        p.x0_from_eps(x_t, t, eps, alpha_bar)
