"""Few steps and half precision: fast, and still the same pictures."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.measures import sampling
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.pipelines import sample
from tlab_diffusion.pipelines.sampler_settings import (
    DEFAULT,
    MEASURING,
    MEASURING_SMALL,
    SOLVERS,
    measuring_settings,
)

TEXTS = ["a sks robot on the moon", "a robot"]
QUICK = MEASURING_SMALL.override(steps=2)
UNGUIDED = QUICK.override(guidance_scale=1.0)


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(sampling, "autocast", lambda device: nullcontext())


@pytest.fixture
def calls(monkeypatch):
    """The options of each call of `sample`, which then draws nothing."""
    noted = []

    def draw(pipeline, texts, **options):
        noted.append(options)
        return [np.zeros((8, 8, 3), np.uint8) for _ in texts]

    monkeypatch.setattr(sampling, "sample", draw)
    return noted


def stub(side, recorded=None):
    unet = SimpleNamespace(config=SimpleNamespace(sample_size=side))
    device = torch.device("cpu")
    return SimpleNamespace(unet=unet, vae_scale_factor=8, device=device, sampler_settings=recorded)


def difference(one, other):
    return np.abs(one.astype(float) - other).mean()


def test_the_same_seed_is_the_same_picture_whatever_else_is_asked():
    draw = fast_sampler(tiny_pipeline(), QUICK)
    before = torch.random.get_rng_state()
    pictures = draw(TEXTS, 3)
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8
    assert np.array_equal(draw(TEXTS, 3), pictures)
    assert not np.array_equal(draw(TEXTS, 4), pictures)
    assert torch.equal(torch.random.get_rng_state(), before)  # a training's own numbers


def test_two_models_start_from_the_same_noise(monkeypatch):
    asked = []
    solver = SOLVERS["dpm-solver++"].sample

    def noted(model, x_T, *arguments, **options):
        asked.append(x_T)
        return solver(model, x_T, *arguments, **options)

    monkeypatch.setitem(SOLVERS, "dpm-solver++", SOLVERS["dpm-solver++"]._replace(sample=noted))
    for texts in (TEXTS, ["another", "prompt", "or more"]):
        fast_sampler(tiny_pipeline(), MEASURING.override(steps=1))(texts, 5)
    assert torch.equal(asked[0], asked[1][:2])
    assert not torch.equal(asked[0][0], asked[0][1])


@pytest.mark.parametrize(("side", "num"), [(8, 128), (16, 32), (32, 8), (64, 2), (96, 1), (128, 1)])
def test_large_models_draw_few_pictures_at_a_time(calls, side, num):
    fast_sampler(stub(side))(TEXTS, 0)
    assert [each["batch_size"] for each in calls] == [num]


def test_settings_are_those_said_or_recorded_or_of_the_side(calls):
    said = QUICK.override(guidance_scale=3.0)
    for pipeline, settings in [
        (stub(8, recorded=DEFAULT), said),
        (stub(8, recorded=DEFAULT), None),
        (stub(8), None),
        (stub(64), None),
    ]:
        fast_sampler(pipeline, settings)(TEXTS, 0)
    names = ("solver", "steps", "guidance_scale")
    assert [{name: each[name] for name in names} for each in calls] == [
        each.as_dict() for each in (said, DEFAULT, MEASURING_SMALL, MEASURING)
    ]
    scales = [measuring_settings(side).guidance_scale for side in (64, 128, 512)]
    assert scales == [10, 10, 7.5]


def test_all_texts_are_drawn_however_few_fit(monkeypatch, in_float32):
    def drawn(at_once):
        monkeypatch.setattr(sampling, "LATENT_PIXELS", at_once * 16**2)
        draw = fast_sampler(tiny_pipeline(), QUICK, after_each=lambda: calls.append(1))
        return draw(["a robot", "a cat", "a dog"], 0)

    calls = []
    together, apart = drawn(3), drawn(2)
    assert together.shape == (3, 64, 64, 3) and difference(together, apart) < 0.01
    assert len(calls) == 6


def test_its_few_steps_come_nearer_to_many_than_as_many_of_ddim(in_float32):
    tiny = tiny_pipeline()
    settings = {"seed": 1, "guidance_scale": 1.0}
    many, same = (np.stack(list(sample(tiny, TEXTS, steps=n, **settings))) for n in (200, 8))
    few = fast_sampler(tiny, UNGUIDED.override(steps=8))(TEXTS, 1)
    assert difference(few, many) < difference(same, many)


def test_half_precision_changes_hardly_a_level(monkeypatch):
    pictures = []
    for enabled in (True, False):
        half = torch.autocast("cpu", torch.bfloat16, enabled=enabled)
        monkeypatch.setattr(sampling, "autocast", lambda device, half=half: half)
        draw = fast_sampler(tiny_pipeline(), MEASURING.override(guidance_scale=5.0))
        pictures.append(draw(TEXTS, 0))
    assert 0 < difference(*pictures) < 2


def test_without_guidance_one_question_a_step():
    sizes = []
    tiny = tiny_pipeline()
    tiny.unet.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    fast_sampler(tiny, UNGUIDED)(TEXTS, 0)
    fast_sampler(tiny, QUICK)(TEXTS, 0)
    assert sizes == [2, 2, 4, 4]
