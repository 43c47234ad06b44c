"""Few steps and half precision: fast, and still the same pictures."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.measures import sampling
from tlab_diffusion.dreambooth.measures.sampling import default_guidance_scale, fast_sampler
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import sample
from tlab_diffusion.pipelines.sampler_settings import SOLVERS

TEXTS = ["a sks robot on the moon", "a robot"]


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(sampling, "autocast", lambda device: nullcontext())


def test_the_same_seed_is_the_same_picture_whatever_else_is_asked():
    draw = fast_sampler(tiny_pipeline(), steps=2)
    before = torch.random.get_rng_state()
    pictures = draw(TEXTS, 3)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8
    assert np.array_equal(draw(TEXTS, 3), pictures)
    assert not np.array_equal(draw(TEXTS, 4), pictures)
    assert torch.equal(torch.random.get_rng_state(), before)  # a training's own numbers


def test_two_models_start_from_the_same_noise(monkeypatch):
    asked = []
    solver = SOLVERS["dpm-solver++"]

    def noted(model, x_T, *arguments, **options):
        asked.append(x_T)
        return solver(model, x_T, *arguments, **options)

    monkeypatch.setitem(SOLVERS, "dpm-solver++", noted)
    for texts in (TEXTS, ["another", "prompt", "or more"]):
        fast_sampler(tiny_pipeline(), steps=1)(texts, 5)
    assert torch.equal(asked[0], asked[1][:2])
    assert not torch.equal(asked[0][0], asked[0][1])


@pytest.mark.parametrize(("side", "num"), [(8, 128), (16, 32), (32, 8), (64, 2), (96, 1), (128, 1)])
def test_large_models_draw_few_pictures_at_a_time(monkeypatch, side, num):
    batches = []

    def noted(pipeline, texts, *, batch_size, **_):
        batches.append(batch_size)
        return [np.zeros((8, 8, 3), np.uint8) for _ in texts]

    monkeypatch.setattr(sampling, "sample", noted)
    unet = SimpleNamespace(config=SimpleNamespace(sample_size=side))
    cpu = torch.device("cpu")
    fast_sampler(SimpleNamespace(unet=unet, vae_scale_factor=8, device=cpu))(TEXTS, 0)
    assert batches == [num]


def test_all_texts_are_drawn_however_few_fit(monkeypatch, in_float32):
    def drawn(at_once):
        monkeypatch.setattr(sampling, "PLACES_AT_ONCE", at_once * 16**2)
        return fast_sampler(tiny_pipeline(), steps=2, after_each=lambda: calls.append(1))(
            ["a robot", "a cat", "a dog"], 0
        )

    calls = []
    together, apart = drawn(3), drawn(2)
    assert together.shape == (3, 64, 64, 3) and difference(together, apart) < 0.01
    assert len(calls) == 6


def test_its_few_steps_come_nearer_to_many_than_as_many_of_ddim(in_float32):
    tiny = tiny_pipeline()
    settings = {"seed": 1, "guidance_scale": 1.0}
    many, same = (np.stack(list(sample(tiny, TEXTS, steps=n, **settings))) for n in (200, 8))
    few = fast_sampler(tiny, steps=8, guidance_scale=1.0)(TEXTS, 1)
    assert difference(few, many) < difference(same, many)


def test_half_precision_changes_hardly_a_level(monkeypatch):
    pictures = []
    for enabled in (True, False):
        half = torch.autocast("cpu", torch.bfloat16, enabled=enabled)
        monkeypatch.setattr(sampling, "autocast", lambda device, half=half: half)
        pictures.append(fast_sampler(tiny_pipeline(), guidance_scale=5.0)(TEXTS, 0))
    assert 0 < difference(*pictures) < 2


def test_without_guidance_one_question_a_step():
    sizes = []
    tiny = tiny_pipeline()
    hook = tiny.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    try:
        fast_sampler(tiny, steps=2, guidance_scale=1.0)(TEXTS, 0)
        fast_sampler(tiny, steps=2)(TEXTS, 0)
    finally:
        hook.remove()
    assert sizes == [2, 2, 4, 4]


def test_guidance_left_out_suits_the_side(in_float32):
    tiny = tiny_pipeline()
    left_out, said, other = (
        fast_sampler(tiny, steps=2, **scale)(TEXTS, 0)
        for scale in ({}, {"guidance_scale": 10.0}, {"guidance_scale": 7.5})
    )
    assert np.array_equal(left_out, said) and not np.array_equal(left_out, other)
    assert [default_guidance_scale(side) for side in (64, 128, 512)] == [10, 10, 7.5]


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="steps"):
        fast_sampler(tiny_pipeline(), steps=0)(TEXTS, 0)


def difference(one, other):
    return np.abs(one.astype(float) - other).mean()
