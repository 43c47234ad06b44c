"""On a device without float64 everything runs, stays there, and gives the CPU's numbers."""

import pytest
import torch

from tests.no_float64 import no_float64
from tlab_diffusion.diffusion import (
    edm,
    latents,
    losses,
    parameterization,
    process,
    samplers,
    schedules,
    unet,
)
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.mixture import GaussianMixture

BETAS = schedules.linear_betas(100)
BARS = schedules.alphas_cumprod(BETAS)
PATH = [99, 50, 0]
MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.0]])


def seeded():
    return torch.Generator().manual_seed(3)


def isotropic(x):
    return IsotropicMixture(MEANS.to(x), 0.3)


def mixture(x):
    covariances = 0.1 * torch.eye(2).repeat(2, 1, 1)
    return GaussianMixture(torch.tensor([0.4, 0.6]).to(x), MEANS.to(x), covariances.to(x))


def last(steps):
    *_, step = steps
    return step.x


def model(x, t):
    return x.sin() + t[:, None] / 100


# Each takes samples, noise and timesteps on the device, and a schedule there or on the CPU.
CASES = {
    "q_sample": lambda x, e, t, to: process.q_sample(x, t, e, to(BARS)),
    "q_step": lambda x, e, t, to: process.q_step(x, BETAS[:4].to(x), e),
    "posterior": lambda x, e, t, to: torch.cat(
        [part.reshape(4, -1) for part in process.posterior(x, e, t, to(BETAS))], dim=1
    ),
    "x0_from_eps": lambda x, e, t, to: parameterization.x0_from_eps(x, t, e, to(BARS)),
    "v": lambda x, e, t, to: parameterization.v_from_x0_eps(x, e, t, to(BARS)),
    "weighted loss": lambda x, e, t, to: losses.diffusion_loss(
        model, x, t, e, to(BARS), weights=losses.elbo_weights(to(BETAS))
    ),
    "min-SNR loss": lambda x, e, t, to: losses.diffusion_loss(
        model, x, t, e, to(BARS), weights=losses.min_snr_weights(to(BARS))
    ),
    "ddpm_step": lambda x, e, t, to: samplers.ddpm_step(
        x, t, e, to(BETAS), samplers.ancestral_std(to(BETAS)), e
    ),
    "ddim_step": lambda x, e, t, to: samplers.ddim_step(x, t, t - 1, e, to(BARS), 0.5, e),
    "ddpm": lambda x, e, t, to: last(
        samplers.ddpm(model, x, to(BETAS), timesteps=PATH, generator=seeded())
    ),
    "ddim": lambda x, e, t, to: last(
        samplers.ddim(model, x, to(BARS), PATH, eta=1.0, generator=seeded())
    ),
    "dpm++": lambda x, e, t, to: last(samplers.dpm_solver_pp_2m(model, x, to(BARS), PATH)),
    "heun": lambda x, e, t, to: last(
        edm.heun(edm.denoiser_from_eps(model, to(BARS)), x, edm.karras_sigmas(3, 0.1, 5.0))
    ),
    "preconditioned": lambda x, e, t, to: edm.preconditioned(model)(x, e[:, 0].exp()),
    "slerp": lambda x, e, t, to: latents.slerp(x, e, 0.3),
    "zero terminal SNR": lambda x, e, t, to: schedules.rescale_zero_terminal_snr(BETAS.to(x)),
    "respaced": lambda x, e, t, to: schedules.respaced_betas(BETAS.to(x), PATH),
    "isotropic sample": lambda x, e, t, to: isotropic(x).sample(5, seeded()),
    "isotropic denoiser": lambda x, e, t, to: isotropic(x).denoiser(to(BARS))(x, t),
    "mixture sample": lambda x, e, t, to: mixture(x).sample(5, seeded()),
    "mixture noised": lambda x, e, t, to: mixture(x).noised(0.5).covariances,
    "mixture log_prob": lambda x, e, t, to: mixture(x).log_prob(x),
    "mixture denoiser": lambda x, e, t, to: mixture(x).denoiser(to(BARS), "v_prediction")(x, t),
    "mixture score": lambda x, e, t, to: mixture(x).score(x, t, to(BARS)),
    "timestep embedding": lambda x, e, t, to: unet.timestep_embedding(t, 7),
}


@pytest.mark.parametrize("schedule_there", [True, False], ids=["schedule there", "on the CPU"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_float64_is_needed(case, schedule_there):
    x, eps = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([1, 20, 50, 99])
    expected = case(x, eps, t, lambda schedule: schedule)
    with no_float64() as device:
        got = case(
            *(tensor.to(device) for tensor in (x, eps, t)),
            lambda schedule: schedule.to(device) if schedule_there else schedule,
        )
        assert got.device == device
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.cpu(), expected)


def test_without_a_generator_samples_are_drawn_on_the_device():
    with no_float64() as device:
        x = torch.zeros(1, 2, device=device)
        assert isotropic(x).sample(3).device == mixture(x).sample(3).device == device


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixtures_keep_their_dtype(dtype):
    x = torch.zeros(1, 2, dtype=dtype)
    for each in (isotropic(x), mixture(x)):
        assert each.sample(3, seeded()).dtype == dtype
    assert mixture(x).noised(0.5).means.dtype == mixture(x).log_prob(x).dtype == dtype
