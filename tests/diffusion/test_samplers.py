"""Each sampler recovers the mixture from noise, given its exact denoiser."""

import pytest
import torch

from tlab_diffusion.diffusion import process, samplers, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture

BETAS = schedules.linear_betas(1000).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
MIXTURE = GaussianMixture(
    torch.tensor([0.25, 0.75], dtype=torch.float64),
    torch.tensor([[-1.5, 0.5], [0.9, -0.4]], dtype=torch.float64),
    torch.tensor([[[0.05, 0.02], [0.02, 0.04]], [[0.03, 0.0], [0.0, 0.06]]], dtype=torch.float64),
)
N = 2000


def start(n=N, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def last(steps):
    *_, step = steps
    return step.x


def run(name, prediction_type="epsilon"):
    model = MIXTURE.denoiser(ALPHAS_CUMPROD, prediction_type)
    generator = torch.Generator().manual_seed(1)
    options = {"prediction_type": prediction_type}
    path = samplers.spaced_timesteps(1000, 200)
    if name in samplers.SIGMAS:
        return last(
            samplers.ddpm(model, start(), BETAS, sigma=name, generator=generator, **options)
        )
    if name == "ddim":
        return last(samplers.ddim(model, start(), ALPHAS_CUMPROD, path, **options))
    if name == "ddim, eta 1":
        steps = samplers.ddim(
            model, start(), ALPHAS_CUMPROD, path, eta=1, generator=generator, **options
        )
        return last(steps)
    path = samplers.spaced_timesteps(1000, 50)
    return last(samplers.dpm_solver_pp_2m(model, start(), ALPHAS_CUMPROD, path, **options))


@pytest.mark.parametrize("name", ["small", "large", "ddim", "ddim, eta 1", "dpm++"])
def test_the_mixture_is_recovered(name):
    x = run(name)
    first = (x - MIXTURE.means[0]).norm(dim=1) < (x - MIXTURE.means[1]).norm(dim=1)
    # The modes lie 8 standard deviations apart, so shares are binomial: 4 standard errors.
    assert abs(first.double().mean() - 0.25) < 4 * (0.25 * 0.75 / N) ** 0.5
    for k, members in enumerate((x[first], x[~first])):
        n = len(members)
        variance = MIXTURE.covariances[k].diagonal()
        assert ((members.mean(0) - MIXTURE.means[k]).abs() < 4 * (variance / n).sqrt()).all()
        # Sampling error of a covariance, plus 5 % for the steps, which are finite.
        bound = (4 * (2 / n) ** 0.5 + 0.05) * variance.max()
        assert ((members.T.cov() - MIXTURE.covariances[k]).abs() < bound).all()


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_prediction_types_give_the_same_samples(prediction_type):
    # Same draws, same exact model, said in other units: float64 rounding alone.
    for name in ("ddim", "dpm++"):
        torch.testing.assert_close(run(name, prediction_type), run(name), atol=1e-7, rtol=1e-7)


def test_ddim_with_eta_1_over_all_steps_is_ddpm_with_the_posterior_s_sigma():
    model = MIXTURE.denoiser(ALPHAS_CUMPROD)
    x_T = start(20)
    every = list(reversed(range(1000)))
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    ddpm = samplers.ddpm(model, x_T, BETAS, sigma="small", generator=generators[0])
    ddim = samplers.ddim(model, x_T, ALPHAS_CUMPROD, every, eta=1.0, generator=generators[1])
    for a, b in zip(ddpm, ddim, strict=True):
        assert a.t == b.t
        torch.testing.assert_close(a.x, b.x, atol=1e-9, rtol=1e-9)


def test_exact_noise_returns_x0_in_one_jump():
    x0, noise = start(5), start(5, seed=9)
    t = torch.tensor([10, 100, 500, 900, 999])
    x_t = process.q_sample(x0, t, noise, ALPHAS_CUMPROD)
    before = torch.full((5,), -1)
    jumped = samplers.ddim_step(x_t, t, before, noise, ALPHAS_CUMPROD, 0.0, torch.zeros_like(x_t))
    torch.testing.assert_close(jumped, x0, atol=1e-9, rtol=1e-9)


def test_ddim_without_noise_is_deterministic_and_leaves_no_trace_in_the_random_state():
    model = MIXTURE.denoiser(ALPHAS_CUMPROD)
    path = samplers.spaced_timesteps(1000, 10)
    state = torch.random.get_rng_state()
    a, b = (last(samplers.ddim(model, start(), ALPHAS_CUMPROD, path)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())


def test_ddpm_adds_no_noise_at_the_last_step():
    x_t, eps = start(4), start(4, seed=1)
    t = torch.tensor([0, 0, 3, 3])
    step_std = torch.ones(1000, dtype=torch.float64)
    steps = [
        samplers.ddpm_step(x_t, t, eps, BETAS, step_std, noise)
        for noise in (torch.zeros_like(x_t), torch.ones_like(x_t))
    ]
    expected = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)[:, None].expand(4, 2)
    torch.testing.assert_close(steps[1] - steps[0], expected)


def test_ddim_is_of_first_order_and_dpm_solver_of_second():
    # For one Gaussian the path without noise is known: x_t grows like the root of its variance.
    # Halving the steps must halve the error of DDIM and quarter that of the 2M solver.
    gaussian = GaussianMixture(
        torch.ones(1).double(), torch.zeros(1, 2).double(), 0.25 * torch.eye(2).double()[None]
    )
    model, x_T = gaussian.denoiser(ALPHAS_CUMPROD), start(5)
    variance = 0.25 * ALPHAS_CUMPROD + 1 - ALPHAS_CUMPROD
    exact = x_T * (variance[99] / variance[999]).sqrt()
    for sampler, order in ((samplers.ddim, 1), (samplers.dpm_solver_pp_2m, 2)):
        errors = []
        for stride in (2, 1):  # coarser, the second order is not yet the leading one
            steps = list(sampler(model, x_T, ALPHAS_CUMPROD, list(range(999, 98, -stride))))
            at_99 = steps[-2].x  # the last move goes on to the clean sample
            errors.append((at_99 - exact).norm().item())
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.2)


def test_zero_terminal_snr_samples_with_v():
    betas = schedules.rescale_zero_terminal_snr(BETAS)
    alpha_bar = schedules.alphas_cumprod(betas)
    model = MIXTURE.denoiser(alpha_bar, "v_prediction")
    path = samplers.spaced_timesteps(1000, 100)
    for sampler in (samplers.ddim, samplers.dpm_solver_pp_2m):
        x = last(sampler(model, start(), alpha_bar, path, prediction_type="v_prediction"))
        first = (x[:, 0] < 0).double().mean()
        assert abs(first - 0.25) < 4 * (0.25 * 0.75 / N) ** 0.5


def test_eta_1_from_zero_terminal_snr_stays_finite():
    alpha_bar = schedules.alphas_cumprod(schedules.rescale_zero_terminal_snr(BETAS))
    for count in (1, 2, 3, 10, 59):
        path = samplers.spaced_timesteps(1000, count)
        options = {"eta": 1.0, "prediction_type": "v_prediction"}
        for step in samplers.ddim(lambda x, t: x.tanh(), start(4), alpha_bar, path, **options):
            assert torch.isfinite(step.x).all()


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++"])
def test_each_step_tells_the_x0_that_the_model_saw(name):
    model, path = MIXTURE.denoiser(ALPHAS_CUMPROD), [999, 700, 300, 5]
    steps = {
        "ddpm": lambda: samplers.ddpm(model, start(3), BETAS),
        "ddim": lambda: samplers.ddim(model, start(3), ALPHAS_CUMPROD, path),
        "dpm++": lambda: samplers.dpm_solver_pp_2m(model, start(3), ALPHAS_CUMPROD, path),
    }[name]()
    x = start(3)
    for _, step in zip(range(4), steps, strict=False):
        t = torch.full((3,), step.t)
        torch.testing.assert_close(step.x0_pred, MIXTURE.x0_mean(x, t, ALPHAS_CUMPROD))
        x = step.x


@pytest.mark.parametrize("steps", [1, 7, 50, 999, 1000])
def test_spaced_timesteps(steps):
    trailing = samplers.spaced_timesteps(1000, steps)
    leading = samplers.spaced_timesteps(1000, steps, "leading")
    for path in (trailing, leading):
        assert len(path) == len(set(path)) == steps
        assert path == sorted(path, reverse=True)
    assert trailing[0] == 999
    assert leading[-1] == 0
