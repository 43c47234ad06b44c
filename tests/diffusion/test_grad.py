"""Samplers keep no autograd graph unless asked, and leave the caller's grad mode alone."""

import pytest
import torch

from tlab_diffusion.diffusion import latents, samplers, schedules

BETAS = schedules.linear_betas(100)
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
PATH = [99, 60, 30, 0]
SAMPLERS = {
    "ddpm": lambda *xs, **options: samplers.ddpm(*xs, BETAS, timesteps=PATH, **options),
    "ddim": lambda *xs, **options: samplers.ddim(*xs, ALPHAS_CUMPROD, PATH, **options),
    "ddim, eta 1": lambda *xs, **options: samplers.ddim(
        *xs, ALPHAS_CUMPROD, PATH, eta=1.0, **options
    ),
    "dpm++": lambda *xs, **options: samplers.dpm_solver_pp_2m(*xs, ALPHAS_CUMPROD, PATH, **options),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def network():
    """A model with one weight, and noise that requires a gradient."""
    weight = torch.tensor(0.3, requires_grad=True)
    x_T = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return weight, x_T, lambda x, t: weight * x


@every_sampler
def test_without_grad_no_step_has_a_graph(sampler):
    _, x_T, model = network()
    modes = []

    def noted(x, t):
        modes.append(torch.is_grad_enabled())
        return model(x, t)

    for step in sampler(noted, x_T):
        assert not step.x.requires_grad
        assert not step.x0_pred.requires_grad
        assert torch.is_grad_enabled()  # the caller's mode between steps
    assert modes == 4 * [False]


@every_sampler
def test_a_sampler_that_is_left_early_leaves_the_grad_mode(sampler):
    _, x_T, model = network()
    steps = sampler(model, x_T)
    next(steps)
    assert torch.is_grad_enabled()
    steps.close()
    assert torch.is_grad_enabled()
    with torch.no_grad():
        next(sampler(model, x_T))
        assert not torch.is_grad_enabled()


@every_sampler
def test_with_grad_the_sample_depends_on_the_noise_and_the_weights(sampler):
    weight, x_T, model = network()
    *_, last = sampler(model, x_T, grad=True, **seeded(sampler))
    gradient, of_weight = torch.autograd.grad(last.x.sum(), [x_T, weight])
    assert gradient.abs().min() > 0
    h = 1e-2
    with torch.no_grad():
        *_, up = sampler(lambda x, t: (weight + h) * x, x_T, **seeded(sampler))
        *_, down = sampler(lambda x, t: (weight - h) * x, x_T, **seeded(sampler))
    slope = (up.x.sum() - down.x.sum()) / (2 * h)
    torch.testing.assert_close(of_weight, slope, rtol=1e-2, atol=1e-3)


def seeded(sampler):
    if sampler is SAMPLERS["dpm++"]:  # draws no noise
        return {}
    return {"generator": torch.Generator().manual_seed(7)}


@pytest.mark.parametrize("grad", [False, True])
def test_guided_sampling_has_a_graph_if_asked(grad):
    weight, x_T, _ = network()
    text = torch.zeros(2, 1)
    x = latents.sample_guided(
        lambda x, t, c: weight * x, x_T, text, text, PATH, ALPHAS_CUMPROD, 2.0, grad=grad
    )
    assert x.requires_grad == grad


@every_sampler
def test_bad_arguments_are_refused_at_the_call(sampler):
    with pytest.raises(ValueError, match="prediction_type"):
        sampler(lambda x, t: x, torch.zeros(2, 3), prediction_type="noise")
