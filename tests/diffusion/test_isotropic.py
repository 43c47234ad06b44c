"""The exact denoiser of a handful of pictures, against the general mixture and by sampling."""

import pytest
import torch

from tlab_diffusion.diffusion import samplers, schedules
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

BETAS = schedules.linear_betas(60, 0.005, 0.2).double()
ALPHAS_CUMPROD = schedules.alphas_cumprod(BETAS)
MEANS = torch.tensor([[-1.0, 0.4], [0.3, 1.2], [0.9, -0.8]], dtype=torch.float64)
MIXTURE = IsotropicMixture(MEANS, 0.3)
SAME = GaussianMixture(
    torch.full((3,), 1 / 3).double(), MEANS, 0.09 * torch.eye(2).double().expand(3, 2, 2)
)


def noisy(n=40):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return x_t, torch.randint(60, (n,), generator=generator)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_it_is_the_general_mixture_with_round_bumps(prediction_type):
    x_t, t = noisy()
    models = [each.denoiser(ALPHAS_CUMPROD, prediction_type) for each in (MIXTURE, SAME)]
    torch.testing.assert_close(models[0](x_t, t), models[1](x_t, t))


def test_responsibilities_are_the_posterior_of_the_general_mixture():
    x_t, t = noisy()
    expected = SAME.clean_posterior(x_t, ALPHAS_CUMPROD[t]).responsibilities
    torch.testing.assert_close(MIXTURE.responsibilities(x_t, t, ALPHAS_CUMPROD), expected)


def test_pictures_keep_their_shape_and_no_covariance_is_made():
    pictures = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mixture = IsotropicMixture(pictures, 0.2)  # 12288 x 12288 numbers a picture would not fit
    x_T = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    alpha_bar = ALPHAS_CUMPROD.float()
    path = samplers.spaced_timesteps(60, 60)
    *_, step = samplers.ddim(mixture.denoiser(alpha_bar), x_T, alpha_bar, path)
    distances = (step.x[:, None] - pictures).square().mean(dim=(2, 3, 4)).sqrt().amin(dim=1)
    # A sample is a picture plus grain of size 0.2, of which the last jump takes a tenth away.
    torch.testing.assert_close(distances, torch.full((2,), 0.2), atol=0.03, rtol=0)


def test_without_any_signal_the_prediction_is_the_mean():
    x_t, t = noisy(4)[0], torch.full((4,), 59)
    alpha_bar = schedules.alphas_cumprod(schedules.rescale_zero_terminal_snr(BETAS))
    got = MIXTURE.x0_mean(x_t, t, alpha_bar)
    torch.testing.assert_close(got, MEANS.mean(dim=0).expand(4, 2), atol=1e-7, rtol=0)


def test_samples_have_the_mixture_s_mean_and_variance():
    x = MIXTURE.sample(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x.mean(dim=0), MEANS.mean(dim=0), atol=0.03, rtol=0)
    variance = MEANS.var(dim=0, correction=0) + 0.09
    torch.testing.assert_close(x.var(dim=0), variance, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IsotropicMixture(torch.zeros(3), 0.1),
        lambda: IsotropicMixture(torch.zeros(3, 2, dtype=torch.uint8), 0.1),
        lambda: IsotropicMixture(MEANS, 0.0),
        lambda: MIXTURE.sample(0),
        lambda: MIXTURE.responsibilities(
            torch.zeros(2, 3).double(), torch.zeros(2).long(), ALPHAS_CUMPROD
        ),
        lambda: MIXTURE.responsibilities(torch.zeros(2, 2), torch.zeros(2).long(), ALPHAS_CUMPROD),
        lambda: MIXTURE.denoiser(ALPHAS_CUMPROD, "noise"),
    ],
)
def test_bad_input_is_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()
