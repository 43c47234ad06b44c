"""Bad input to the mathematics: one clear line each, with what was got and what was expected."""

import pytest
import torch

from tlab_diffusion.diffusion import losses, parameterization, process, samplers, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

X = torch.zeros(2, 3)
T = torch.tensor([0, 9])
BETAS = schedules.linear_betas(10)
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
INTEGERS = torch.zeros(2, 3, dtype=torch.uint8)


def q_sample(x0=X, t=T, noise=X, alphas_cumprod=ALPHAS_CUMPROD):
    return process.q_sample(x0, t, noise, alphas_cumprod)


def ddim(timesteps, eta=0.0):
    return list(samplers.ddim(lambda x, t: x, X, ALPHAS_CUMPROD, timesteps, eta=eta))


def mixture(weights=(0.5, 0.5), means=((0.0,), (1.0,)), covariances=((1.0,), (1.0,))):
    return GaussianMixture(
        torch.tensor(weights), torch.tensor(means), torch.tensor(covariances)[..., None]
    )


CASES = {
    "T below 1": (lambda: schedules.linear_betas(0), "num_train_timesteps: got 0"),
    "T not whole": (lambda: schedules.cosine_betas(10.5), "num_train_timesteps: got 10.5"),
    "T a truth value": (lambda: schedules.cosine_betas(True), "num_train_timesteps: got True"),
    "beta_start 0": (lambda: schedules.linear_betas(10, 0.0, 0.1), "beta_start: got 0"),
    "beta_end 1": (lambda: schedules.sigmoid_betas(10, 0.1, 1.0), "beta_end: got 1"),
    "ends crossed": (lambda: schedules.linear_betas(10, 0.5, 0.1), "at most beta_end"),
    "beta above 1": (lambda: schedules.alphas_cumprod(torch.tensor([0.1, 1.2])), "betas: got"),
    "beta nan": (lambda: schedules.alphas_cumprod(torch.tensor([float("nan")])), "betas: got"),
    "betas 2-D": (lambda: schedules.alphas_cumprod(torch.ones(2, 2)), r"shape \(2, 2\)"),
    "betas empty": (lambda: schedules.alphas_cumprod(torch.ones(0)), "T >= 1"),
    "betas a list": (lambda: schedules.alphas_cumprod([0.1]), "expected a torch tensor"),
    "rescale one step": (
        lambda: schedules.rescale_zero_terminal_snr(torch.tensor([0.5])),
        "T = 1",
    ),
    "alpha_bar above 1": (lambda: schedules.snr(torch.tensor([1.5])), "alphas_cumprod: got"),
    "t too large": (lambda: q_sample(t=torch.tensor([0, 10])), "from 0 to 10, expected 0 to 9"),
    "t negative": (lambda: q_sample(t=torch.tensor([-1, 0])), "counted from 0"),
    "t a float": (lambda: q_sample(t=torch.tensor([0.0, 1.0])), "t: got dtype torch.float32"),
    "t a number": (lambda: q_sample(t=3), "t: got int"),
    "t for another batch": (lambda: q_sample(t=torch.tensor([1])), r"t: got shape \(1,\)"),
    "noise of another shape": (lambda: q_sample(noise=torch.zeros(2, 1)), r"noise: got shape"),
    "integers for a picture": (lambda: q_sample(x0=INTEGERS), r"dtype torch.uint8.*\[-1, 1\]"),
    "beta_t for another batch": (
        lambda: process.q_step(X, torch.tensor([0.1]), X),
        r"beta_t: got shape \(1,\), expected \(2,\)",
    ),
    "beta_t outside": (
        lambda: process.q_step(X, torch.tensor([0.1, 0.0]), X),
        "0 < beta <= 1",
    ),
    "posterior shapes": (lambda: process.posterior(X, X[:1], T, BETAS), "x_t: got shape"),
    "model output": (
        lambda: losses.noise_loss(lambda x, t: x[:, :1], X, T, X, ALPHAS_CUMPROD),
        "model output: got shape",
    ),
    "prediction type": (
        lambda: parameterization.to_x0_eps(X, X, T, ALPHAS_CUMPROD, "eps"),
        "prediction_type: got 'eps'",
    ),
    "betas for alphas_cumprod": (lambda: q_sample(alphas_cumprod=BETAS), "Are these the betas"),
    "a schedule with an inner 1": (
        lambda: schedules.rescale_zero_terminal_snr(torch.tensor([0.1, 1.0, 0.5])),
        "1 before the last step",
    ),
    "elbo at zero terminal SNR": (
        lambda: losses.elbo_weights(schedules.rescale_zero_terminal_snr(BETAS)),
        "Zero terminal SNR has no ELBO",
    ),
    "weights of another length": (
        lambda: losses.diffusion_loss(
            lambda x, t: x, X, T, X, ALPHAS_CUMPROD, weights=torch.ones(11)
        ),
        r"weights: got shape \(11,\)",
    ),
    "step_std of another shape": (
        lambda: samplers.ddpm_step(X, T, X, BETAS, torch.ones(10, 1), X),
        r"step_std: got shape \(10, 1\)",
    ),
    "timesteps not whole": (lambda: ddim([9.7, 0.2]), "falling integers"),
    "a negative timestep": (lambda: ddim([5, -1]), "within 9 to 0"),
    "t_prev below -1": (
        lambda: samplers.ddim_step(X, T, torch.tensor([-2, -2]), X, ALPHAS_CUMPROD, 0.0, X),
        "t_prev: got timesteps from -2",
    ),
    "two timesteps of pure noise": (
        lambda: list(
            samplers.ddim(
                lambda x, t: x, X, torch.tensor([0.5, 0.0, 0.0]), [2, 1], prediction_type="sample"
            )
        ),
        "two with the same alpha_bar",
    ),
    "score without noise": (
        lambda: parameterization.score_from_eps(X, T, torch.ones(10)),
        "neither eps nor the score",
    ),
    "points of another dtype": (
        lambda: mixture().log_prob(torch.zeros(3, 1, dtype=torch.float64)),
        "x: got torch.float64",
    ),
    "weights negative": (lambda: mixture(weights=(1.5, -0.5)), "above 0"),
    "alpha_bar for another batch": (
        lambda: mixture().clean_posterior(torch.zeros(1, 1), torch.full((5,), 0.5)),
        r"alpha_bar_t: got shape \(5,\)",
    ),
    "sigma": (lambda: samplers.ancestral_std(BETAS, "tiny"), "sigma: got 'tiny'"),
    "eta": (lambda: ddim([9, 0], eta=2.0), "eta: got 2"),
    "rising timesteps": (lambda: ddim([0, 9]), "falling integers"),
    "no timesteps": (lambda: ddim([]), "falling integers"),
    "timesteps outside": (lambda: ddim([10, 0]), "within 9 to 0"),
    "t_prev not below t": (
        lambda: samplers.ddim_step(X, T, torch.tensor([0, 3]), X, ALPHAS_CUMPROD, 0.0, X),
        "t_prev < t",
    ),
    "too many steps": (lambda: samplers.spaced_timesteps(10, 11), "at most T = 10"),
    "ancestral at zero terminal SNR": (
        lambda: samplers.ddpm_step(
            X, T, X, schedules.rescale_zero_terminal_snr(BETAS), torch.ones(10), X
        ),
        "v-prediction",
    ),
    "weights that do not sum": (lambda: mixture(weights=(0.5, 0.6)), "sum 1"),
    "means for other weights": (lambda: mixture(means=((0.0,),)), "means: got shape"),
    "covariance negative": (lambda: mixture(covariances=((1.0,), (-1.0,))), "all above 0"),
    "points of another dimension": (lambda: mixture().log_prob(torch.zeros(3, 2)), r"\(B, 1\)"),
    "alpha_bar of a mixture": (lambda: mixture().noised(1.5), "alpha_bar: got 1.5"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_clear_line(case):
    call, message = CASES[case]
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
