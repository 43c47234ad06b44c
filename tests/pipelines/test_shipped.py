"""The shipped model, as somebody meets it who has diffusers alone."""

import json

import numpy as np
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from tlab_diffusion.evaluation.pictures import unseen_pictures
from tlab_diffusion.evaluation.prompts import unseen_scenes
from tlab_diffusion.evaluation.recognisers import accuracy, recognise, recogniser
from tlab_diffusion.evaluation.reconstruction import reconstruction_psnr
from tlab_diffusion.picturebook import render
from tlab_diffusion.pipelines import PICTUREBOOK, load, sample

MEGABYTE = 2**20


def test_plain_diffusers_loads_it_without_a_dtype_and_samples():
    pipeline = DiffusionPipeline.from_pretrained(PICTUREBOOK)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red robot", num_inference_steps=3, output_type="np").images
    assert images.shape == (1, 64, 64, 3)
    assert np.isfinite(images).all()
    assert images.std() > 0.05


def test_it_is_half_precision_without_pickles_and_small():
    files = [path for path in PICTUREBOOK.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".md"}
    assert sum(path.stat().st_size for path in files) <= 40 * MEGABYTE
    for path in PICTUREBOOK.rglob("*.safetensors"):
        floats = {value.dtype for value in load_file(path).values() if value.is_floating_point()}
        assert floats == {torch.float16}


def test_its_last_step_lands_on_x0():
    config = json.loads((PICTUREBOOK / "scheduler/scheduler_config.json").read_text())
    assert config["set_alpha_to_one"] is True
    assert config["clip_sample"] is False


def test_ours_and_plain_diffusers_load_the_same_weights():
    ours, plain = load("picturebook", device="cpu"), DiffusionPipeline.from_pretrained(PICTUREBOOK)
    for part in ("unet", "vae", "text_encoder"):
        theirs = getattr(plain, part).state_dict()
        for name, value in getattr(ours, part).state_dict().items():
            assert torch.equal(value, theirs[name]), name


def test_a_prompt_is_obeyed_roughly():
    """Four red robots at night and four in the snow: the snow is the brighter one."""
    pipeline = load("picturebook", device="cpu")
    prompts = ["a red robot at night", "a red robot in the snow"]
    pictures = np.stack(list(sample(pipeline, prompts, num=4, steps=10)))
    night, snow = pictures[:4].mean(), pictures[4:].mean()
    assert snow > night + 30


def test_its_autoencoder_keeps_scenes():
    """The bar: 30 dB, on scenes that no training saw."""
    scenes = unseen_pictures(256)["scenes"]
    assert reconstruction_psnr(load("picturebook").vae, scenes) >= 30


def test_its_encoders_read_real_scenes():
    """The bar of the recognisers: 98 % of 500 scenes, factor by factor."""
    scenes = unseen_scenes("seen", 500)
    seen = recognise(np.stack([render(scene) for scene in scenes]), recogniser())
    right = accuracy(seen, [scene.visible_factors() for scene in scenes])
    assert min(right.values()) >= 0.98, right
