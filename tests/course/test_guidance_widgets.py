"""The guidance and the attention explorer: true numbers, pictures of the pipeline, two faces."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.course.widgets import attention_explorer, guidance_explorer
from tlab_diffusion.course.widgets.attention import AttentionFilm, attention_film
from tlab_diffusion.course.widgets.guidance import (
    class_probability,
    guided_pictures,
    guided_points,
    two_classes,
)
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots import heat_over

SCALES = (0, 1, 6)
PROMPT = "a crocodile in the snow"


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return {scale: rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8) for scale in SCALES}


@pytest.fixture(scope="module")
def film():
    return attention_film(tiny_pipeline(), PROMPT, num_inference_steps=3)


@pytest.fixture(params=["guidance", "attention"])
def explorer(request, pictures, film):
    if request.param == "guidance":
        return guidance_explorer(pictures, PROMPT)
    return attention_explorer(film)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shown(figure, number: int) -> np.ndarray:
    images = [image for axes in figure.figure.axes for image in axes.images]
    return images[number].get_array()


# --- both: controls, picture, words, two faces


def test_every_control_changes_picture_and_words(explorer):
    for setting, control in explorer.controls.items():
        before = explorer.image.value, explorer.words.value
        control.value = 1 if control.value != 1 else 0
        assert explorer.image.value != before[0], setting
        assert explorer.words.value != before[1], setting


def test_the_fast_drawing_is_the_slow_one(explorer):
    """Blitting shows, to the pixel, what drawing everything would."""
    for control in explorer.controls.values():
        control.value = 1
    figure, whole = explorer.picture().figure, io.BytesIO()
    figure.savefig(whole, format="png", dpi=figure.dpi, facecolor="white")
    np.testing.assert_array_equal(pixels(explorer.image.value), pixels(whole.getvalue()))


def test_the_still_picture_has_its_text(explorer):
    before = repr(explorer)
    next(iter(explorer.controls.values())).value = 1
    data = explorer.still()
    assert data["text/plain"] == before == repr(explorer)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert len(data["text/html"].split('alt="')[1].split('"')[0]) > 60


def test_browser_tests_find_the_parts(pictures):
    explorer = guidance_explorer(pictures)
    assert "guidance-explorer-picture" in explorer.image._dom_classes
    slider = explorer.controls["guidance_scale"]
    assert "guidance-explorer-guidance-scale" in slider._dom_classes


# --- the guidance explorer


def test_pictures_shown_are_those_of_the_scale(pictures):
    explorer = guidance_explorer(pictures, PROMPT)
    for scale in SCALES:
        figure = explorer.new_figure()
        words = explorer.draw(figure, {"guidance_scale": scale}, {"guidance_scale"})
        for number in range(4):
            np.testing.assert_array_equal(shown(figure, number), pictures[scale][number])
        assert f"Guidance scale {scale}" in words
        assert PROMPT in words


def test_all_scales_in_one_batch_are_what_the_pipeline_draws():
    pipeline = tiny_pipeline()
    drawn = guided_pictures(pipeline, PROMPT, (1, 3), num_inference_steps=2, seed=5)
    noise = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    for scale, pictures in drawn.items():
        theirs = pipeline(
            4 * [PROMPT],
            latents=noise,
            guidance_scale=scale,
            num_inference_steps=2,
            output_type="np",
        ).images
        assert np.abs(pictures / 255 - theirs).max() < 1.5 / 255  # within a grey step


def test_the_mixture_at_scales_0_and_1_is_all_data_and_the_class():
    guided = guided_points((0, 1, 6), num_points=1500)
    told, rest = two_classes()
    everything = torch.cat([told.means, rest.means])
    for index, means in enumerate((everything, told.means)):
        points = guided.points[index]
        # Five standard errors, and a little for 40 steps.
        np.testing.assert_allclose(points.mean(0), means.mean(0), atol=0.12)
        spread = means.var(dim=0, correction=0).mean() + told.std**2
        assert guided.spread[index] == pytest.approx(spread.sqrt().item(), abs=0.08)
    assert abs(guided.obeyed[0] - 0.5) < 0.08
    assert guided.obeyed[0] < guided.obeyed[1] < guided.obeyed[2]
    assert guided.spread[0] > guided.spread[1] > guided.spread[2]


def test_the_probability_of_the_class_is_bayes_rule():
    told, rest = two_classes()
    x = torch.tensor([[0.1, 0.2], [0.9, 0.0]], dtype=torch.float64)

    def density(mixture):
        normals = torch.distributions.Normal(mixture.means, mixture.std)
        return normals.log_prob(x[:, None]).sum(-1).exp().mean(1)

    expected = density(told) / (density(told) + density(rest))
    torch.testing.assert_close(class_probability(x), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda pictures: guidance_explorer({1: pictures[1]}),
        lambda pictures: guidance_explorer({0: pictures[0], 1: pictures[1] / 255}),
        lambda pictures: guidance_explorer({0: pictures[0], 1: pictures[1][:2]}),
        lambda pictures: guidance_explorer(pictures).picture(guidance_scale=5),
        lambda pictures: guidance_explorer(pictures).picture(t=5),
    ],
)
def test_bad_pictures_and_scales_are_refused(pictures, make):
    with pytest.raises(InputError, match="expected"):
        make(pictures)


# --- the attention explorer


def test_the_film_shares_out_all_attention(film):
    assert film.words == PROMPT.split()
    assert film.maps.shape == (3, 5, 8, 8)
    assert film.pictures.shape == (3, 64, 64, 3)
    shares = film.maps.mean(dim=(2, 3)).sum(dim=1) + film.marks.sum(dim=1)
    torch.testing.assert_close(shares, torch.ones(3))


def test_the_films_last_picture_is_the_pipelines(film):
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    options = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "np"}
    theirs = tiny_pipeline()(PROMPT, latents=noise, **options).images[0]
    assert np.abs(film.pictures[-1] / 255 - theirs).max() < 1.5 / 255


def test_words_and_heat_are_those_of_the_step(film):
    explorer = attention_explorer(film)
    figure = explorer.new_figure()
    words = explorer.draw(figure, {"word": 1, "step": 2}, {"word", "step"})
    assert "“crocodile”" in words
    assert f"{film.maps[1, 1].mean():.1%} of all attention" in words
    np.testing.assert_array_equal(shown(figure, 0), film.pictures[1])
    heat = heat_over(film.pictures[1:2], film.maps[1:2, 1])[0]
    np.testing.assert_array_equal(shown(figure, 1), heat)


def test_heat_is_brightest_where_attention_is_greatest():
    maps = np.zeros((1, 2, 2))
    maps[0, 1, 0] = 0.3
    heat = heat_over(np.full((1, 8, 8, 3), 128, np.uint8), maps)[0].astype(int).sum(axis=2)
    assert (heat[4:, :4] > 500).all()
    assert (heat[:4] < 200).all()
    assert (heat[4:, 4:] < 200).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda film: attention_explorer(film._replace(words=film.words[1:])),
        lambda film: attention_explorer(film).picture(step=0),
        lambda film: attention_explorer(film).picture(word=9),
        lambda film: attention_film(tiny_pipeline(), ""),
        lambda film: heat_over(film.pictures, film.maps[:, 0, :7]),
        lambda film: heat_over(film.pictures, film.maps[:1, 0]),
    ],
)
def test_bad_films_and_settings_are_refused(film, make):
    assert isinstance(film, AttentionFilm)
    with pytest.raises(InputError, match="expected"):
        make(film)
