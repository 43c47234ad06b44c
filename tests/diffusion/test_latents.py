"""Latents: their closed forms, and what is refused."""

import math

import pytest
import torch

from tlab_diffusion.diffusion import latents, process, schedules
from tlab_diffusion.errors import InputError

BARS = schedules.alphas_cumprod(schedules.scaled_linear_betas(1000))
PATH = [999, 749, 499, 249]


def randn(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_encode_has_the_mean_and_the_width_that_it_is_told():
    mean, logvar = torch.tensor([[2.0, -1.0]]), torch.tensor([[math.log(4.0), math.log(0.25)]])
    many = latents.sample_posterior(
        mean.expand(100_000, 2), logvar.expand(100_000, 2), randn(100_000, 2), 0.5
    )
    torch.testing.assert_close(many.mean(0), torch.tensor([1.0, -0.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(many.std(0), torch.tensor([1.0, 0.25]), atol=0.02, rtol=0)


@pytest.mark.parametrize(("error", "decibels"), [(2.0, 0.0), (0.2, 20.0), (0.02, 40.0)])
def test_psnr_of_a_constant_error(error, decibels):
    a = torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    b = torch.stack([a[0] + error, a[1] - error / 10])
    expected = torch.tensor([decibels, decibels + 20], dtype=torch.float64)
    torch.testing.assert_close(latents.psnr(a, b), expected)
    assert latents.psnr(a, a).isinf().all()


def test_a_model_that_knows_the_noise_leads_home():
    x0, noise = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    x_T = process.q_sample(x0, torch.tensor([999, 999]), noise, BARS)
    text = torch.zeros(2, 1)
    got = latents.sample_guided(
        lambda x, t, c: torch.cat([noise, noise]), x_T, text, text, PATH, BARS, 3.0
    )
    torch.testing.assert_close(got, x0, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("strength", "start"), [(1.0, 0), (0.75, 1), (0.5, 2), (0.49, 3)])
def test_img2img_noises_to_where_it_starts(strength, start):
    x0, noise = randn(2, 3), randn(2, 3, seed=1)
    x_t, got = latents.img2img_start(x0, noise, strength, PATH, BARS)
    assert got == start
    torch.testing.assert_close(
        x_t, process.q_sample(x0, torch.full((2,), PATH[start]), noise, BARS)
    )


def test_slerp_walks_evenly_on_a_circle():
    a = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)
    for weight in (0.0, 0.25, 0.5, 1.0):
        angle = weight * math.pi / 2
        expected = torch.tensor([[math.cos(angle), 3 * math.sin(angle), 0.0]]).double()
        torch.testing.assert_close(latents.slerp(a, b, weight), expected)


def test_slerp_keeps_the_length_where_a_line_does_not():
    a, b = randn(3, 4, 16, 16), randn(3, 4, 16, 16, seed=1)
    b *= (latents.rms(a) / latents.rms(b)).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(latents.rms(latents.slerp(a, b, 0.5)), latents.rms(a))
    assert (latents.rms(latents.lerp(a, b, 0.5)) < 0.8).all()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_between_parallel_samples_slerp_is_a_line(weight, factor):
    a = randn(3, 4, 4)
    expected = (1 - weight) * a + weight * factor * a
    torch.testing.assert_close(latents.slerp(a, factor * a, weight), expected)


def test_half_precision_stays_half_and_finite():
    a, b = randn(2, 4, 8, 8).half(), randn(2, 4, 8, 8, seed=1).half()
    for result in (
        latents.slerp(a, b, 0.4),
        latents.slerp(a, a, 0.4),
        latents.sample_posterior(a, b, a, 1),
    ):
        assert result.dtype == torch.half
        assert result.isfinite().all()


X, Y = torch.zeros(2, 3), torch.zeros(2, 4)
REFUSED = {
    "logvar of another shape": lambda: latents.sample_posterior(X, Y, X, 1.0),
    "noise of another shape": lambda: latents.sample_posterior(X, X, Y, 1.0),
    "two sizes": lambda: latents.psnr(X, Y),
    "bytes": lambda: latents.psnr(X.byte(), X.byte()),
    "strength 0": lambda: latents.img2img_start(X, X, 0.0, PATH, BARS),
    "strength above 1": lambda: latents.img2img_start(X, X, 1.1, PATH, BARS),
    "no step left": lambda: latents.img2img_start(X, X, 0.2, PATH, BARS),
    "no steps at all": lambda: latents.img2img_start(X, X, 0.5, [], BARS),
    "ends of two shapes": lambda: latents.slerp(X, Y, 0.5),
    "a line of two shapes": lambda: latents.lerp(X, Y, 0.5),
    "a walk of one": lambda: latents.interpolation_weights(1),
    "a walk of none": lambda: latents.interpolation_weights(0),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
