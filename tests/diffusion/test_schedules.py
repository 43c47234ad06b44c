"""Schedules: their closed forms, their ends, and what rescaling to zero terminal SNR keeps."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tlab_diffusion.diffusion import schedules

BUILDERS = {
    "linear": schedules.linear_betas,
    "scaled_linear": schedules.scaled_linear_betas,
    "sigmoid": schedules.sigmoid_betas,
    "cosine": schedules.cosine_betas,
}


@pytest.mark.parametrize("name", BUILDERS)
@given(num_train_timesteps=st.integers(1, 2000))
def test_every_schedule_is_one(name, num_train_timesteps):
    betas = BUILDERS[name](num_train_timesteps)
    alpha_bar = schedules.alphas_cumprod(betas)
    assert betas.shape == (num_train_timesteps,)
    assert betas.dtype == torch.float32
    assert ((betas > 0) & (betas < 1)).all()
    assert (alpha_bar.diff() < 0).all()


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "sigmoid"])
def test_ends(name):
    betas = BUILDERS[name](1000, 0.001, 0.03)
    # The sigmoid runs from -6 to 6 and so stops 0.25 % of the range short of each end.
    tolerance = 0.0025 * 0.029 if name == "sigmoid" else 1e-8
    assert betas[0].item() == pytest.approx(0.001, abs=tolerance)
    assert betas[-1].item() == pytest.approx(0.03, abs=tolerance)


def test_scaled_linear_is_linear_in_the_root():
    roots = schedules.scaled_linear_betas(50).double().sqrt()
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(49), rtol=1e-4, atol=0)


def test_cosine_follows_the_cosine_until_the_cap():
    betas = schedules.cosine_betas(100)
    alpha_bar = schedules.alphas_cumprod(betas.double())
    u = torch.arange(1, 101, dtype=torch.float64) / 100
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    f0 = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(alpha_bar[:-1], (f / f0)[:-1], rtol=1e-5, atol=0)
    assert betas[-1].item() == pytest.approx(0.999)


def test_alphas_cumprod_by_hand():
    betas = torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)
    expected = torch.tensor([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.5], dtype=torch.float64)
    torch.testing.assert_close(schedules.alphas_cumprod(betas), expected)


def test_snr_is_a_ratio_of_variances():
    alpha_bar = torch.tensor([0.8, 0.5, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        schedules.snr(alpha_bar), torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64)
    )


@given(
    num_train_timesteps=st.integers(2, 500),
    name=st.sampled_from(["linear", "scaled_linear", "sigmoid", "cosine"]),
)
def test_zero_terminal_snr_moves_the_end_and_keeps_the_start(num_train_timesteps, name):
    betas = BUILDERS[name](num_train_timesteps).double()
    before = schedules.alphas_cumprod(betas)
    after = schedules.alphas_cumprod(schedules.rescale_zero_terminal_snr(betas))
    assert after[-1] == 0
    torch.testing.assert_close(after[0], before[0])
    # Linear in sqrt(alpha_bar): ratios of differences survive.
    stretch = before[0].sqrt() / (before[0].sqrt() - before[-1].sqrt())
    torch.testing.assert_close(
        after.sqrt(), (before.sqrt() - before[-1].sqrt()) * stretch, atol=1e-7, rtol=1e-6
    )
