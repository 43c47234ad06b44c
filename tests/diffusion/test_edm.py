"""EDM against diffusers' schedulers, against exact solutions, and through the epsilon bridge."""

import pytest
import torch
from diffusers import EDMEulerScheduler, HeunDiscreteScheduler

from tlab_diffusion.diffusion import edm, samplers, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

ALPHAS_CUMPROD = schedules.alphas_cumprod(schedules.scaled_linear_betas(1000).double())
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.7]).double(),
    torch.tensor([[-1.0, 0.5], [0.8, -0.4]]).double(),
    0.04 * torch.eye(2).double().repeat(2, 1, 1),
)


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def exact(x, sigma):
    """The mixture's D(x, sigma): E[x0 | x], for x = x0 + sigma eps."""
    alpha_bar = 1 / (1 + sigma**2)
    return MIXTURE.clean_posterior(alpha_bar.sqrt()[:, None] * x, alpha_bar).mean()


def last(steps):
    *_, step = steps
    return step.x


@pytest.mark.parametrize("steps", [2, 7, 30])
def test_karras_sigmas_are_those_of_diffusers(steps):
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(edm.karras_sigmas(steps).float(), scheduler.sigmas)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 30.0])
def test_preconditioning_is_that_of_diffusers(sigma):
    scheduler = EDMEulerScheduler(sigma_data=0.5)
    level, x = torch.tensor([sigma], dtype=torch.float64), randn(1, 3)
    seen = []

    def network(x, c_noise):
        seen.append((x, c_noise))
        return x.sin()

    got = edm.preconditioned(network, 0.5)(x, level)
    ((scaled, c_noise),) = seen
    torch.testing.assert_close(scaled, scheduler.precondition_inputs(x, sigma))
    torch.testing.assert_close(c_noise, scheduler.precondition_noise(level))
    torch.testing.assert_close(got, scheduler.precondition_outputs(x, scaled.sin(), sigma))


def test_preconditioning_keeps_input_and_target_at_variance_1():
    sigma = torch.tensor([0.02, 0.5, 5.0]).double()
    c_skip, c_out, c_in, _ = edm.preconditioning(sigma, 0.5)
    torch.testing.assert_close(c_in**2 * (0.25 + sigma**2), torch.ones(3).double())
    # The target (x0 - c_skip (x0 + sigma eps)) / c_out, for x0 of variance 0.25.
    variance = ((1 - c_skip) ** 2 * 0.25 + c_skip**2 * sigma**2) / c_out**2
    torch.testing.assert_close(variance, torch.ones(3).double())


@pytest.mark.parametrize("steps", [2, 5, 12])
def test_heun_with_an_epsilon_model_is_that_of_diffusers(steps):
    scheduler = HeunDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    scheduler.set_timesteps(steps)

    def model(x, t):
        return torch.sin(2 * x) + (t.to(x) / 1000 - 0.5).reshape(-1, 1)

    x = scheduler.init_noise_sigma.double() * randn(2, 3)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2], scheduler.sigmas[-1:]])
    bridge = edm.denoiser_from_eps(model, scheduler.alphas_cumprod, fractional=True)
    ours = last(edm.heun(bridge, x, sigmas))
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t)
        x = scheduler.step(model(scaled, t.expand(2)), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_heun_is_of_second_order():
    # From sigma 3 down to 0.5, where the exact denoiser is smooth; many steps are the truth.
    def at(steps):
        return last(edm.heun(exact, 3 * randn(20, 2), torch.linspace(3, 0.5, steps + 1).double()))

    truth = at(2000)
    errors = [(at(steps) - truth).norm().item() for steps in (40, 80)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)


def test_the_mixture_is_recovered_in_few_steps():
    x = last(edm.heun(exact, 80 * randn(4000, 2), edm.karras_sigmas(18)))
    first = (x - MIXTURE.means[0]).norm(dim=1) < (x - MIXTURE.means[1]).norm(dim=1)
    assert abs(first.double().mean() - 0.3) < 4 * (0.21 / 4000) ** 0.5
    for k, members in enumerate((x[first], x[~first])):
        torch.testing.assert_close(members.mean(0), MIXTURE.means[k], atol=0.03, rtol=0)
        torch.testing.assert_close(
            members.std(0), torch.full((2,), 0.2).double(), atol=0.02, rtol=0
        )


def test_the_bridge_gives_the_exact_denoiser_at_the_schedule_s_own_sigmas():
    bridge = edm.denoiser_from_eps(MIXTURE.denoiser(ALPHAS_CUMPROD), ALPHAS_CUMPROD)
    sigma = edm.sigmas_of(ALPHAS_CUMPROD)[[5, 300, 999]]
    x = randn(3, 2) * (1 + sigma)[:, None]
    torch.testing.assert_close(bridge(x, sigma), exact(x, sigma))


def test_heun_needs_fewer_evaluations_than_ddim():
    model = MIXTURE.denoiser(ALPHAS_CUMPROD)
    bridge = edm.denoiser_from_eps(model, ALPHAS_CUMPROD)
    sigmas = edm.sigmas_of(ALPHAS_CUMPROD)
    path = samplers.spaced_timesteps(1000, 1000)
    truth = last(samplers.ddim(model, randn(50, 2), ALPHAS_CUMPROD, path))
    ddim = last(samplers.ddim(model, randn(50, 2), ALPHAS_CUMPROD, path[::50]))
    levels = edm.karras_sigmas(10, sigmas[0].item(), sigmas[-1].item())  # 19 evaluations
    x = randn(50, 2) * (1 + levels[0] ** 2).sqrt()
    heun = last(edm.heun(bridge, x, levels))
    assert (heun - truth).norm() < 0.5 * (ddim - truth).norm()


@pytest.mark.parametrize("grad", [False, True])
def test_heun_keeps_a_graph_if_asked(grad):
    x = randn(2, 3).requires_grad_()
    for step in edm.heun(lambda x, sigma: 0.5 * x, x, edm.karras_sigmas(3), grad=grad):
        assert step.x.requires_grad == grad
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edm.karras_sigmas(0), "num_inference_steps"),
        (lambda: edm.karras_sigmas(5, 2.0, 1.0), "sigma_min"),
        (lambda: edm.heun(exact, randn(2, 2), torch.tensor([1.0])), "sigmas"),
        (lambda: edm.heun(exact, randn(2, 2), torch.tensor([1.0, 2.0])), "sigmas"),
        (lambda: edm.denoiser_from_eps(exact, torch.tensor([0.5, 0.0])), "alphas_cumprod"),
        (
            lambda: list(edm.heun(lambda x, s: x[:1], randn(2, 2), edm.karras_sigmas(2))),
            "denoiser output",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
