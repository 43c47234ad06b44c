"""The loss is least at the exact model; the weightings are what their definitions say."""

import pytest
import torch

from tlab_diffusion.diffusion import losses, process, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture

BETAS = schedules.linear_betas(100, 0.001, 0.15).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
MIXTURE = GaussianMixture(
    torch.tensor([0.3, 0.7], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [1.0, 1.0]], dtype=torch.float64),
    0.1 * torch.eye(2, dtype=torch.float64).repeat(2, 1, 1),
)


def batch(n=20_000):
    generator = torch.Generator().manual_seed(0)
    x0 = MIXTURE.sample(n, generator)
    t = torch.randint(100, (n,), generator=generator)
    return x0, t, torch.randn(x0.shape, generator=generator, dtype=x0.dtype)


def test_zero_when_the_model_knows_the_noise():
    x0, t, noise = batch(10)
    assert losses.noise_loss(lambda x_t, t: noise, x0, t, noise, ALPHAS_CUMPROD) == 0


def test_a_model_that_says_nothing_loses_the_noise_variance():
    x0, t, noise = batch()
    loss = losses.noise_loss(lambda x_t, t: torch.zeros_like(x_t), x0, t, noise, ALPHAS_CUMPROD)
    torch.testing.assert_close(loss, noise.square().mean())


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_exact_model_beats_its_perturbations(prediction_type):
    x0, t, noise = batch()
    exact = MIXTURE.denoiser(ALPHAS_CUMPROD, prediction_type)

    def loss(model):
        return losses.diffusion_loss(
            model, x0, t, noise, ALPHAS_CUMPROD, prediction_type=prediction_type
        )

    best = loss(exact)
    for factor, shift in ((0.95, 0), (1.05, 0), (1, 0.1), (1, -0.1)):
        perturbed = loss(lambda x_t, t, f=factor, s=shift: f * exact(x_t, t) + s)
        assert perturbed > best


def test_epsilon_x0_and_v_losses_differ_by_their_weights_only():
    # ||eps error||^2 = SNR ||x0 error||^2 and ||v error||^2 = (SNR + 1) ||x0 error||^2,
    # for any model: here one that is wrong on purpose.
    x0, t, noise = batch(500)
    snr = schedules.snr(ALPHAS_CUMPROD)
    x_t = process.q_sample(x0, t, noise, ALPHAS_CUMPROD)
    a, b = ALPHAS_CUMPROD[t][:, None].sqrt(), (1 - ALPHAS_CUMPROD[t][:, None]).sqrt()
    wrong_x0 = x0 + 0.3
    predictions = {
        "sample": wrong_x0,
        "epsilon": (x_t - a * wrong_x0) / b,
        "v_prediction": (a * x_t - wrong_x0) / b,
    }
    factors = {"sample": torch.ones_like(snr), "epsilon": 1 / snr, "v_prediction": 1 / (snr + 1)}
    for name, prediction in predictions.items():
        loss = losses.diffusion_loss(
            lambda x_t, t, out=prediction: out,
            x0,
            t,
            noise,
            ALPHAS_CUMPROD,
            prediction_type=name,
            weights=factors[name],
        )
        assert loss.item() == pytest.approx(0.09)


def test_elbo_weight_is_the_kl_between_posterior_and_model_step():
    # KL of two Gaussians of one variance: ||difference of means||^2 / (2 variance).
    x0, noise = torch.randn(2, 1, 3, dtype=torch.float64)
    eps_wrong = noise + 0.2
    weights = losses.elbo_weights(BETAS)
    for t in (1, 10, 60, 99):
        step = torch.tensor([t])
        x_t = process.q_sample(x0, step, noise, ALPHAS_CUMPROD)
        x0_wrong = (x_t - (1 - ALPHAS_CUMPROD[t]).sqrt() * eps_wrong) / ALPHAS_CUMPROD[t].sqrt()
        mean, variance = process.posterior(x0, x_t, step, BETAS)
        model_mean, _ = process.posterior(x0_wrong, x_t, step, BETAS)
        kl = (mean - model_mean).square().sum() / (2 * variance.squeeze())
        torch.testing.assert_close(kl, weights[t] * (noise - eps_wrong).square().sum())


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_min_snr_weights_are_one_weighting_in_three_units(prediction_type):
    snr = schedules.snr(ALPHAS_CUMPROD)
    weights = losses.min_snr_weights(ALPHAS_CUMPROD, prediction_type=prediction_type)
    unit = {"epsilon": snr, "sample": 1, "v_prediction": snr + 1}[prediction_type]
    torch.testing.assert_close(weights * unit, snr.clamp(max=5))


def test_min_snr_weights_stay_finite_at_zero_terminal_snr():
    alpha_bar = torch.tensor([0.9, 0.0])
    for prediction_type in ("epsilon", "sample", "v_prediction"):
        weights = losses.min_snr_weights(alpha_bar, prediction_type=prediction_type)
        assert torch.isfinite(weights).all()
    # The limit of min(SNR, gamma) / SNR at SNR 0 is 1.
    assert losses.min_snr_weights(alpha_bar)[1] == 1


def test_min_snr_gamma_is_the_cap():
    weights = losses.min_snr_weights(ALPHAS_CUMPROD, gamma=1.0, prediction_type="sample")
    assert weights.max() == 1


def test_elbo_weight_at_the_first_step():
    # sigma^2 = beta_0 there, so the weight is 1 / (2 (1 - beta_0)).
    torch.testing.assert_close(losses.elbo_weights(BETAS)[0], 1 / (2 * (1 - BETAS[0])))
