"""Ancestral sampling over some of the timesteps: a shorter chain of its own."""

import pytest
import torch

from tlab_diffusion.diffusion import samplers, schedules
from tlab_diffusion.errors import InputError

BETAS = schedules.linear_betas(1000).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
PATH = samplers.spaced_timesteps(1000, 8)


def start():
    return torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def steps(sampler, *arguments, **options):
    """All steps, of a model that is wrong but smooth, with the same noise for every sampler."""
    generator = torch.Generator().manual_seed(1)
    model = lambda x, t: 0.8 * x.tanh() + 0.0001 * t[:, None]  # noqa: E731
    return list(sampler(model, start(), *arguments, generator=generator, **options))


def test_the_shorter_chain_passes_through_the_same_alpha_bars():
    chain = schedules.respaced_betas(BETAS, PATH)
    expected = ALPHAS_CUMPROD[sorted(PATH)]
    torch.testing.assert_close(schedules.alphas_cumprod(chain), expected)


def test_all_timesteps_are_the_chain_itself():
    torch.testing.assert_close(schedules.respaced_betas(BETAS, range(1000)), BETAS)
    every = steps(samplers.ddpm, BETAS, timesteps=list(reversed(range(1000))))
    for one, other in zip(steps(samplers.ddpm, BETAS), every, strict=True):
        torch.testing.assert_close(one.x, other.x)


def test_the_small_sigma_is_ddim_with_eta_1_on_any_path():
    ancestral = steps(samplers.ddpm, BETAS, timesteps=PATH, sigma="small")
    ddim = steps(samplers.ddim, ALPHAS_CUMPROD, PATH, eta=1.0)
    for one, other in zip(ancestral, ddim, strict=True):
        assert one.t == other.t
        torch.testing.assert_close(one.x, other.x)
        torch.testing.assert_close(one.x0_pred, other.x0_pred)


def test_the_large_sigma_adds_the_shorter_chain_s_beta():
    small, large = (
        steps(samplers.ddpm, BETAS, timesteps=[999, 400], sigma=sigma)[0].x
        for sigma in ("small", "large")
    )
    noise = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    beta = 1 - ALPHAS_CUMPROD[999] / ALPHAS_CUMPROD[400]
    posterior = beta * (1 - ALPHAS_CUMPROD[400]) / (1 - ALPHAS_CUMPROD[999])
    torch.testing.assert_close(large - small, (beta.sqrt() - posterior.sqrt()) * noise)


@pytest.mark.parametrize("timesteps", [[], [3, 3], [1000, 2], [5, -1], [2, 7]])
def test_other_paths_are_refused(timesteps):
    with pytest.raises(InputError, match="timesteps"):
        steps(samplers.ddpm, BETAS, timesteps=timesteps)
