"""The sampler explorer from the kernel's side: what a control changes, what is shown and stored."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.course.test_widgets import other_value, pixels
from tlab_diffusion.course.widgets import sampler_explorer
from tlab_diffusion.course.widgets.sampling import (
    ALPHAS_CUMPROD,
    BETAS,
    SAMPLERS,
    sampler_run,
    sampler_steps,
    smile,
    some_pictures,
)
from tlab_diffusion.diffusion import samplers
from tlab_diffusion.diffusion.isotropic import IsotropicMixture
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError

PICTURES = some_pictures(6, size=16)
WORLD = IsotropicMixture(PICTURES, 0.05)
X_T = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def explorer():
    return sampler_explorer(pictures=PICTURES)


@pytest.fixture(scope="module")
def untouched():
    """An explorer for tests that leave its controls alone."""
    return sampler_explorer(pictures=PICTURES)


def run(**changes):
    settings = {"sampler": "DDIM", "num_inference_steps": 4, "eta": 0.0, "seed": 1}
    return sampler_run(**settings | changes, mixture=smile(), pictures=WORLD)


# --- controls, picture, words, two faces


def test_every_control_changes_picture_and_words(explorer):
    for setting, control in explorer.controls.items():
        value, before = control.value, (explorer.image.value, explorer.words.value)
        control.value = other_value(control)
        assert explorer.image.value != before[0], setting
        assert explorer.words.value != before[1], setting
        control.value = value


def test_the_slider_of_the_way_never_samples_anew(explorer, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("sampled")

    monkeypatch.setattr("tlab_diffusion.course.widgets.sampling.sampler_steps", refuse)
    for step in (0, 3, 50):
        explorer.controls["step"].value = step
        assert f"step = {step} of 50" in explorer.words.value


def test_the_fast_drawing_is_the_slow_one(explorer):
    """Blitting shows, to the pixel, what drawing everything would."""
    for step in (3, 50, 31):
        explorer.controls["step"].value = step
    whole = io.BytesIO()
    figure = explorer.picture().figure
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    np.testing.assert_array_equal(pixels(explorer.image.value), pixels(whole.getvalue()))


def test_the_still_picture_has_its_text(untouched):
    data = untouched.still()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert "step = " in data["text/html"]
    assert data["text/plain"] == repr(untouched) == "<SamplerExplorer: Samplers with exact models>"


def test_a_still_picture_leaves_the_widget_alone(untouched):
    before = untouched.settings, untouched.image.value
    picture = untouched.picture(sampler=SAMPLERS[0], num_inference_steps=5, step=5)
    assert "step = 5 of 5, the clean end" in picture.title
    assert (untouched.settings, untouched.image.value) == before


def test_browser_tests_find_the_parts(untouched):
    assert "sampler-explorer" in untouched.widget._dom_classes
    assert "sampler-explorer-picture" in untouched.image._dom_classes
    assert "sampler-explorer-words" in untouched.words._dom_classes
    assert "sampler-explorer-step" in untouched.controls["step"]._dom_classes


def test_fewer_steps_take_the_slider_along(explorer):
    explorer.controls["num_inference_steps"].value = 5
    assert (explorer.controls["step"].max, explorer.controls["step"].value) == (5, 5)
    explorer.controls["num_inference_steps"].value = 100
    assert (explorer.controls["step"].max, explorer.controls["step"].value) == (100, 5)


def test_eta_is_for_ddim_alone(explorer):
    assert not explorer.controls["eta"].disabled
    explorer.controls["sampler"].value = SAMPLERS[0]
    assert explorer.controls["eta"].disabled
    assert "eta" not in explorer.words.value


# --- the numbers


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_holds_the_whole_way(sampler):
    shown = run(sampler=sampler)
    assert shown.timesteps == [1000, 750, 500, 250, 0]
    assert shown.points.shape == (5, 300, 2)
    assert shown.pictures.shape == shown.guesses.shape == (5, 4, 16, 16, 3)
    model = smile().denoiser(ALPHAS_CUMPROD)
    generator = torch.Generator().manual_seed(1)
    x_T = torch.randn(300, 2, generator=generator)
    np.testing.assert_array_equal(shown.points[0], x_T)
    if sampler in SAMPLERS[2:]:  # nothing else is random
        *_, end = sampler_steps(sampler, model, x_T, 4)
        np.testing.assert_array_equal(shown.points[-1], end.x)


def test_the_end_is_the_last_guess_and_near_a_true_picture():
    shown = run()
    np.testing.assert_array_equal(shown.pictures[-1], shown.guesses[-1])
    np.testing.assert_array_equal(shown.guesses[-1], shown.guesses[-2])  # the last jump lands on x0
    off = shown.pictures[-1].astype(float) - shown.nearest
    assert np.sqrt((off**2).mean(axis=(1, 2, 3))).max() < 127.5 * 0.06


def test_one_step_guesses_nearly_the_mean_of_all_pictures():
    guess = run(num_inference_steps=1).guesses[0].mean(axis=0)
    mean = (PICTURES.mean(dim=0).permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(guess - mean).mean() < 8  # of 255: alpha_bar is 0.00004 there, not 0


def test_samplers_by_name_are_those_of_the_package():
    model, path = smile().denoiser(ALPHAS_CUMPROD), samplers.spaced_timesteps(1000, 6)

    def source():
        return torch.Generator().manual_seed(3)

    others = {
        "ancestral, small sigma": samplers.ddpm(
            model, X_T, BETAS, timesteps=path, sigma="small", generator=source()
        ),
        "ancestral, large sigma": samplers.ddpm(
            model, X_T, BETAS, timesteps=path, sigma="large", generator=source()
        ),
        "DDIM": samplers.ddim(model, X_T, ALPHAS_CUMPROD, path, eta=0.5, generator=source()),
        "DPM-Solver++ (2M)": samplers.dpm_solver_pp_2m(model, X_T, ALPHAS_CUMPROD, path),
    }
    assert tuple(others) == SAMPLERS
    for name, steps in others.items():
        ours = sampler_steps(name, model, X_T, 6, eta=0.5, generator=source())
        for one, other in zip(ours, steps, strict=True):
            assert torch.equal(one.x, other.x)


def test_points_end_on_the_face():
    shown = run(sampler="DPM-Solver++ (2M)", num_inference_steps=50)
    surprise = -smile().log_prob(torch.from_numpy(shown.points[-1])).mean().item()
    truth = smile().sample(3000, torch.Generator().manual_seed(0))
    assert surprise == pytest.approx(-smile().log_prob(truth).mean().item(), abs=0.6)


def test_a_lesson_s_default_dtype_changes_nothing():
    torch.set_default_dtype(torch.float64)
    try:
        assert smile().means.dtype == some_pictures(2, 16).dtype == torch.float32
        assert run(num_inference_steps=1).points.dtype == np.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sampler_explorer(GaussianMixture(torch.ones(1), torch.zeros(1, 1), EYE)),
        lambda: sampler_explorer(pictures=PICTURES.double()),
        lambda: sampler_explorer(pictures=PICTURES[0]),
        lambda: sampler_explorer(pictures=PICTURES, std=0.0),
        lambda: sampler_steps("Euler", lambda x, t: x, X_T, 5),
        lambda: sampler_steps("DDIM", lambda x, t: x, X_T, 0),
    ],
)
def test_bad_input_is_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


@pytest.mark.parametrize("settings", [{"step": 51}, {"step": -1}, {"t": 3}])
def test_a_still_picture_of_nothing_is_refused(untouched, settings):
    with pytest.raises(InputError, match="expected"):
        untouched.picture(**settings)


EYE = torch.ones(1, 1, 1)
