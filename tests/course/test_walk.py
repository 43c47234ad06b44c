"""The latent walk: its pictures are the pipeline's own, and its slider shows them."""

import base64
import io

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.course.widgets import latent_walk
from tlab_diffusion.course.widgets.walk import NOISES, PROMPT_PAIR, PROMPTS, draw_walks
from tlab_diffusion.diffusion.latents import rms, slerp
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import initial_noise

OPTIONS = {"num_frames": 4, "num_inference_steps": 2}


@pytest.fixture
def walk():
    return latent_walk(tiny_pipeline(), **OPTIONS)


@pytest.fixture(scope="module")
def untouched():
    """A walk for tests that leave its controls alone."""
    return latent_walk(tiny_pipeline(), **OPTIONS)


@pytest.fixture(scope="module")
def walks():
    return draw_walks(tiny_pipeline(), **OPTIONS)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def drawn_by_diffusers(prompt: str, noise: torch.Tensor) -> np.ndarray:
    """The same prompt and noise through the pipeline itself, with diffusers' solver."""
    pipeline = tiny_pipeline()
    kept = pipeline.scheduler
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        kept.config, final_sigmas_type="zero", solver_order=2, timestep_spacing="trailing"
    )
    try:
        options = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "np"}
        return pipeline(prompt, latents=noise, **options).images[0]
    finally:
        pipeline.scheduler = kept


def close(picture: np.ndarray, theirs: np.ndarray) -> bool:
    """Within a grey step."""
    return np.abs(picture / 255 - theirs).max() < 1.5 / 255


def test_both_ends_and_the_middle_are_what_the_pipeline_draws(walks):
    first, second = walks.noises
    on_the_way = slerp(first, second, walks.weights[1])
    for position, noise in ((0, first), (1, on_the_way), (3, second)):
        theirs = drawn_by_diffusers(PROMPT_PAIR[0], noise)
        assert close(walks.pictures[NOISES][position], theirs), position
    for position, prompt in ((0, PROMPT_PAIR[0]), (3, PROMPT_PAIR[1])):
        assert close(walks.pictures[PROMPTS][position], drawn_by_diffusers(prompt, first))


def test_every_station_is_another_picture(walks):
    for name, pictures in walks.pictures.items():
        assert pictures.shape == (4, 64, 64, 3)
        assert pictures.dtype == np.uint8
        for one, other in zip(pictures, pictures[1:], strict=False):
            assert (one != other).any(), name
    np.testing.assert_allclose(walks.pictures[NOISES][0], walks.pictures[PROMPTS][0], atol=1)


def test_noises_are_the_seeds_own(walks):
    for noise, seed in zip(walks.noises, (0, 1), strict=True):
        assert torch.equal(noise, initial_noise(tiny_pipeline(), seed, 0))
    assert not torch.equal(*walks.noises)


def test_every_control_changes_picture_and_words(walk):
    for setting, value in (("position", 0), ("position", 3), ("walk", PROMPTS), ("position", 1)):
        before = walk.image.value, walk.words.value
        walk.controls[setting].value = value
        assert walk.image.value != before[0], setting
        assert walk.words.value != before[1], setting


def test_the_large_picture_is_the_one_of_the_position(walk, walks):
    for name in (NOISES, PROMPTS):
        for position in (0, 3):
            figure = walk.new_figure()
            walk.draw(figure, {"walk": name, "position": position}, {"walk", "position"})
            large = max(
                (image for axes in figure.figure.axes for image in axes.images),
                key=lambda image: image.axes.get_position().width,
            )
            np.testing.assert_array_equal(large.get_array(), walks.pictures[name][position])


def test_words_tell_the_length_of_the_noise(walk, walks):
    walk.controls["position"].value = 1
    on_the_arc = rms(slerp(*walks.noises, walks.weights[1])).item()
    assert "position = 1 of 0 to 3" in walk.words.value
    assert f"{on_the_arc:.2f} on the arc" in walk.words.value
    walk.controls["walk"].value = PROMPTS
    assert "the arc" not in walk.words.value
    assert PROMPT_PAIR[1] in walk.words.value


def test_the_fast_drawing_is_the_slow_one(walk):
    """Blitting shows, to the pixel, what drawing everything would."""
    for position in (0, 3, 1):
        walk.controls["position"].value = position
    figure, whole = walk.picture().figure, io.BytesIO()
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    np.testing.assert_array_equal(pixels(walk.image.value), pixels(whole.getvalue()))


def test_the_still_picture_has_its_text(walk):
    before = repr(walk)
    walk.controls["position"].value = 0
    data = walk.still()
    assert data["text/plain"] == before == repr(walk)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert "position = 0" in data["text/html"]


def test_browser_tests_find_the_parts(untouched):
    assert "latent-walk" in untouched.widget._dom_classes
    assert "latent-walk-picture" in untouched.image._dom_classes
    assert "latent-walk-position" in untouched.controls["position"]._dom_classes


@pytest.mark.parametrize("settings", [{"position": 4}, {"position": -1}, {"walk": "home"}])
def test_a_still_picture_of_nothing_is_refused(untouched, settings):
    with pytest.raises(InputError, match="expected"):
        untouched.picture(**settings)


@pytest.mark.parametrize(
    "options",
    [
        {"prompts": "a cat"},
        {"prompts": ("a cat",)},
        {"seeds": (1, 2, 3)},
        {"num_frames": 1},
        {"num_inference_steps": 0},
    ],
)
def test_bad_input_is_refused_before_anything_is_drawn(options):
    with pytest.raises(InputError, match="expected"):
        latent_walk(tiny_pipeline(), **options)
