"""Step by step, the same numbers as diffusers' schedulers.

They compute coefficients in float32, we in float64, so agreement is to float32's last digits;
x0 is clipped nowhere (`clip_sample=False`).
"""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.training_utils import compute_snr

from tlab_diffusion.diffusion import losses, parameterization, process, samplers, schedules, unet

SCHEDULES = {
    "linear": schedules.linear_betas,
    "scaled_linear": schedules.scaled_linear_betas,
    "squaredcos_cap_v2": lambda steps, *ends: schedules.cosine_betas(steps),
    "sigmoid": schedules.sigmoid_betas,
}
ENDS = (0.001, 0.015)


def common(name, **more):
    return {
        "beta_schedule": name,
        "beta_start": ENDS[0],
        "beta_end": ENDS[1],
        "num_train_timesteps": 1000,
        **more,
    }


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def model(x_t, t):
    """Any smooth function of both: parity must not depend on a good model."""
    return torch.sin(2 * x_t) + (t.float() / 1000 - 0.5).reshape(-1, *[1] * (x_t.ndim - 1))


@pytest.mark.parametrize("name", SCHEDULES)
def test_betas(name):
    if name == "sigmoid":
        theirs = DDPMScheduler(**common(name)).betas
    else:
        theirs = DDIMScheduler(**common(name)).betas
    torch.testing.assert_close(SCHEDULES[name](1000, *ENDS), theirs, rtol=2e-5, atol=1e-8)


def test_zero_terminal_snr():
    theirs = DDIMScheduler(**common("scaled_linear", rescale_betas_zero_snr=True)).betas
    ours = schedules.rescale_zero_terminal_snr(schedules.scaled_linear_betas(1000, *ENDS))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_noising_and_velocity(name):
    scheduler = DDPMScheduler(**common(name))
    x0, noise, t = randn(8, 3, 4, 4), randn(8, 3, 4, 4, seed=1), torch.arange(8) * 140
    alpha_bar = scheduler.alphas_cumprod
    torch.testing.assert_close(
        process.q_sample(x0, t, noise, alpha_bar), scheduler.add_noise(x0, noise, t)
    )
    torch.testing.assert_close(
        parameterization.v_from_x0_eps(x0, noise, t, alpha_bar),
        scheduler.get_velocity(x0, noise, t),
    )


def test_snr_and_min_snr_weights():
    scheduler = DDPMScheduler(**common("linear"))
    snr = compute_snr(scheduler, torch.arange(1000))
    torch.testing.assert_close(schedules.snr(scheduler.alphas_cumprod), snr, rtol=1e-4, atol=0)
    weights = losses.min_snr_weights(scheduler.alphas_cumprod)
    torch.testing.assert_close(weights, snr.clamp(max=5) / snr, rtol=1e-4, atol=0)


@pytest.mark.parametrize("prediction_type", parameterization.PREDICTION_TYPES)
@pytest.mark.parametrize("sigma", ["small", "large"])
def test_ddpm(sigma, prediction_type):
    scheduler = DDPMScheduler(
        **common("linear"),
        variance_type=f"fixed_{sigma}",
        clip_sample=False,
        prediction_type=prediction_type,
    )
    scheduler.set_timesteps(1000)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    ours = samplers.ddpm(
        model,
        randn(2, 3, 4, 4),
        scheduler.betas,
        sigma=sigma,
        prediction_type=prediction_type,
        generator=generators[0],
    )
    x = randn(2, 3, 4, 4)
    for step in ours:
        if step.t < 950:  # errors of a made-up model grow; fifty steps show the formula
            break
        t = torch.full((2,), step.t)
        out = scheduler.step(model(x, t), step.t, x, generator=generators[1])
        torch.testing.assert_close(step.x, out.prev_sample, rtol=1e-4, atol=1e-4)
        x = step.x
    # The steps near the end, one by one, from the same point.
    step_std = samplers.ancestral_std(scheduler.betas, sigma)
    for t in (999, 400, 1, 0):
        t_batch = torch.full((2,), t)
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(t))
        _, eps = parameterization.to_x0_eps(
            model(x, t_batch), x, t_batch, scheduler.alphas_cumprod, prediction_type
        )
        mine = samplers.ddpm_step(x, t_batch, eps, scheduler.betas, step_std, noise)
        theirs = scheduler.step(
            model(x, t_batch), t, x, generator=torch.Generator().manual_seed(t)
        ).prev_sample
        # diffusers floors the variance at 1e-20, which leaves noise of 1e-10 at t = 0.
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("prediction_type", parameterization.PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta, prediction_type):
    scheduler = DDIMScheduler(
        **common("scaled_linear"),
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    scheduler.set_timesteps(20)
    path = scheduler.timesteps.tolist()
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    ours = samplers.ddim(
        model,
        randn(2, 3, 4, 4),
        scheduler.alphas_cumprod,
        path,
        eta=eta,
        prediction_type=prediction_type,
        generator=generators[0],
    )
    x = randn(2, 3, 4, 4)
    for step in ours:
        t = torch.full((2,), step.t)
        out = scheduler.step(model(x, t), step.t, x, eta=eta, generator=generators[1])
        torch.testing.assert_close(step.x, out.prev_sample, rtol=1e-4, atol=1e-4)
        x = step.x


@pytest.mark.parametrize("prediction_type", parameterization.PREDICTION_TYPES)
@pytest.mark.parametrize("steps", [1, 2, 10, 25])
def test_dpm_solver_pp_2m(steps, prediction_type):
    scheduler = DPMSolverMultistepScheduler(
        **common("scaled_linear"),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        prediction_type=prediction_type,
    )
    scheduler.set_timesteps(steps)
    path = scheduler.timesteps.tolist()
    ours = samplers.dpm_solver_pp_2m(
        model,
        randn(2, 3, 4, 4),
        scheduler.alphas_cumprod,
        path,
        prediction_type=prediction_type,
    )
    x = randn(2, 3, 4, 4)
    for step in ours:
        out = scheduler.step(model(x, torch.full((2,), step.t)), step.t, x)
        x = out.prev_sample
        torch.testing.assert_close(step.x, x, rtol=1e-3, atol=1e-3)


def test_timestep_embedding():
    t = torch.tensor([0, 1, 500, 999])
    theirs = get_timestep_embedding(t, 32, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(unet.timestep_embedding(t, 32), theirs, rtol=1e-4, atol=1e-4)


def test_trailing_timesteps():
    for steps in (1, 3, 20, 30, 999):
        scheduler = DDIMScheduler(**common("linear"), timestep_spacing="trailing")
        scheduler.set_timesteps(steps)
        assert samplers.spaced_timesteps(1000, steps) == scheduler.timesteps.tolist()


def test_leading_timesteps():
    for steps in (1, 3, 20, 30, 999):
        scheduler = DDIMScheduler(**common("linear"), timestep_spacing="leading")
        scheduler.set_timesteps(steps)
        got = samplers.spaced_timesteps(1000, steps, "leading")
        assert got == scheduler.timesteps.tolist()
