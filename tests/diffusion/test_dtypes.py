"""Samples in half precision, and timesteps of every integer type, give the same numbers."""

import pytest
import torch

from tlab_diffusion.diffusion import parameterization, process, samplers, schedules

BETAS = schedules.linear_betas(1000)
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
T = torch.tensor([0, 1, 3, 10, 500])


def randn(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 3, generator=generator, dtype=torch.float64).to(dtype)


def results(dtype, t=T):
    x0, noise = randn(0, dtype), randn(1, dtype)
    x_t = process.q_sample(x0, t, noise, ALPHAS_CUMPROD)
    mean, variance = process.posterior(x0, x_t, t, BETAS)
    step_std = samplers.ancestral_std(BETAS)
    return {
        "noise part": process.q_sample(torch.zeros_like(x0), t, noise, ALPHAS_CUMPROD),
        "q_step": process.q_step(x0, BETAS[t.long()], noise),
        "posterior mean": mean,
        "posterior variance": variance,
        "v": parameterization.v_from_x0_eps(x0, noise, t, ALPHAS_CUMPROD),
        "ddpm": samplers.ddpm_step(x_t, t, noise, BETAS, step_std, noise),
        "ddim": samplers.ddim_step(x_t, t, t.long() - 1, noise, ALPHAS_CUMPROD, 1.0, noise),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_coefficients_keep_their_digits_in_low_precision(dtype):
    exact = results(torch.float64)
    # Each number goes through a few roundings of its type, relative to values of about 1;
    # the parts that are small themselves keep their relative accuracy.
    rounding = 8 * torch.finfo(dtype).eps
    for name, value in results(dtype).items():
        assert value.dtype == dtype, name
        small = name in ("noise part", "posterior variance")
        torch.testing.assert_close(
            value.double(), exact[name], rtol=rounding, atol=1e-9 if small else 3 * rounding
        )


@pytest.mark.parametrize("integer", [torch.int32, torch.int16, torch.uint8])
def test_every_integer_type_is_a_timestep(integer):
    t = torch.tensor([0, 1, 3, 10, 200])
    for name, value in results(torch.float64, t.to(integer)).items():
        torch.testing.assert_close(value, results(torch.float64, t)[name], rtol=0, atol=0)


def test_a_float64_schedule_leaves_float32_samples_alone():
    x = process.q_sample(
        randn(0, torch.float32), T, randn(1, torch.float32), ALPHAS_CUMPROD.double()
    )
    assert x.dtype == torch.float32


def test_posterior_at_the_first_step_is_exactly_x0():
    x0 = randn(0, torch.float32)
    mean, variance = process.posterior(
        x0, randn(1, torch.float32), torch.zeros(5, dtype=torch.long), BETAS
    )
    assert torch.equal(mean, x0)
    assert variance.shape == (5,)
    assert not variance.any()
    assert process.posterior_std(BETAS)[0] == 0


def test_very_small_betas_stay_finite():
    betas = schedules.linear_betas(10, 1e-9, 1e-3)
    assert torch.isfinite(process.posterior_std(betas)).all()
