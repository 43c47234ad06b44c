"""Sampler settings: one table of defaults, and what a folder records is what is sampled with."""

import numpy as np
import pytest

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import (
    SamplerSettings,
    load,
    measuring_settings,
    read_sampler_settings,
    sample,
    settings_of,
    write_sampler_settings,
)
from tlab_diffusion.pipelines.sampler_settings import DEFAULT, MEASURING, MEASURING_SMALL
from tlab_diffusion.pretraining.networks import save_pipeline

RECORDED = SamplerSettings("dpm-solver++", steps=3, guidance_scale=2.5)


@pytest.fixture
def folder(tmp_path):
    parts = tiny_pipeline().components
    save_pipeline(tmp_path, *(parts[name] for name in ("vae", "text_encoder", "tokenizer", "unet")))
    return tmp_path


def test_settings_survive_a_file(tmp_path):
    assert read_sampler_settings(tmp_path) is None
    write_sampler_settings(tmp_path, RECORDED)
    assert read_sampler_settings(tmp_path) == RECORDED
    assert RECORDED.override(steps=5, solver=None) == SamplerSettings("dpm-solver++", 5, 2.5)


@pytest.mark.parametrize(("side", "expected"), [(64, MEASURING_SMALL), (512, MEASURING)])
def test_measuring_suits_the_side(side, expected):
    assert measuring_settings(side) == expected


def test_a_folders_own_settings_are_used_unless_told_otherwise(folder):
    plain = load(folder, device="cpu")
    assert settings_of(plain) == DEFAULT
    write_sampler_settings(folder, RECORDED)
    tuned = load(folder, device="cpu")
    assert settings_of(tuned) == RECORDED
    prompts = ["a red cat"]
    (own,) = sample(tuned, prompts)
    (same,) = sample(plain, prompts, **RECORDED.as_dict())
    assert np.array_equal(own, same)
    (other,) = sample(tuned, prompts, solver="ddim")
    (ddim,) = sample(plain, prompts, **RECORDED.as_dict() | {"solver": "ddim"})
    assert np.array_equal(other, ddim) and not np.array_equal(other, own)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (("euler", 5, 1.0), "solver: got 'euler', expected one of ddim, dpm-solver"),
        (("ddim", 0, 1.0), "steps: got 0, expected an integer from 1 up"),
        (("ddim", 5, float("nan")), "guidance_scale: got nan, expected a finite number"),
        (("ddim", 5, "7"), "guidance_scale: got '7'"),
    ],
)
def test_bad_settings_are_one_clear_line(values, line):
    with pytest.raises(InputError, match=line):
        SamplerSettings(*values)


@pytest.mark.parametrize("text", ["{", "[]", '{"solver": "ddim"}'])
def test_a_damaged_file_is_one_clear_line(tmp_path, text):
    (tmp_path / "sampler.json").write_text(text)
    with pytest.raises(InputError, match="sampler.json, which is damaged"):
        read_sampler_settings(tmp_path)
