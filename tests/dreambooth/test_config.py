"""Settings: sound for the model where they are left out, refused by name where they are wrong."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.dreambooth.hub_cache import keep_in_cache
from tests.dreambooth.tiny import model_folder
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.methods import METHODS
from tlab_diffusion.dreambooth.presets import native_resolution, prompts
from tlab_diffusion.errors import InputError

NEEDED = {
    "subject_images": "pictures",
    "identifier": "sks",
    "class_noun": "robot",
    "output": "out",
}


def new(**changes):
    return DreamBoothConfig(**NEEDED | changes)


def test_picturebook_learns_fast_and_small():
    config = new()
    assert (config.resolution, config.learning_rate, config.max_steps) == (64, 3e-4, 600)
    assert config.train_text_encoder
    assert new(model=str(model_folder())) == dataclasses.replace(config, model=str(model_folder()))


def test_stable_diffusion_learns_slowly_and_large(tmp_path):
    for part, settings in {
        "unet": {"sample_size": 96},
        "vae": {"block_out_channels": [128, 256, 512, 512]},
    }.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(settings))
    index = {"_class_name": "StableDiffusionPipeline"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    config = new(model="stable-diffusion-v1-5/stable-diffusion-v1-5")
    assert (config.resolution, config.learning_rate, config.max_steps) == (512, 5e-6, 800)
    assert not config.train_text_encoder
    assert new(model=tmp_path).resolution == 768
    assert new(model=tmp_path, resolution=512).resolution == 512


def test_a_hub_model_in_the_cache_says_how_large_it_draws(tmp_path, monkeypatch):
    keep_in_cache(model_folder(), "somebody/small", tmp_path, monkeypatch)
    assert new(model="somebody/small").resolution == 64
    assert new(model="somebody/else").resolution == 512


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"sample_size": null}'])
def test_a_damaged_folder_is_left_to_the_loader(tmp_path, damage):
    for part in ("unet", "vae"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(damage)
    assert native_resolution(str(tmp_path)) == 512


def test_prompts_read_as_english():
    assert prompts("sks", "robot") == ("a sks robot", "a robot")
    assert prompts("olis", "owl") == ("an olis owl", "an owl")
    config = new(class_noun="owl", instance_prompt="photo of a sks owl")
    assert (config.instance_prompt, config.class_prompt) == ("photo of a sks owl", "an owl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("identifier", bad) for bad in ("", " ", "two words", " sks", "s.k", "a\nb", None, 7)],
        *[("class_noun", bad) for bad in ("", "  ", " robot", "a\nb", None)],
        *[("max_steps", bad) for bad in (0, -1, 2.5, "3", True)],
        *[("learning_rate", bad) for bad in (0, -1e-4, float("nan"), float("inf"), "fast", True)],
        *[("adam_epsilon", bad) for bad in (0, -1.0, float("nan"))],
        *[("batch_size", bad) for bad in (0, 1.5)],
        *[("prior_loss_weight", bad) for bad in (-0.1, float("nan"), "1")],
        *[("num_class_images", bad) for bad in (0, -3)],
        *[("class_guidance_scale", bad) for bad in (-1, "2")],
        *[("prior", bad) for bad in ("none", 1, "Paper")],
        *[("train_text_encoder", bad) for bad in (1, "yes")],
        *[("resolution", bad) for bad in (0, 63, 100, 64.0)],
        *[("instance_prompt", bad) for bad in ("", "a robot", "a tsks robot", "a sks-like robot")],
        *[("class_prompt", bad) for bad in ("", "a sks robot", "a robot, SKS!", "sks's robot")],
        *[("precision", bad) for bad in ("half", None, "FP32")],
        *[("method", bad) for bad in ("LoRA", "dreamboth", None)],
        *[("optimizer", bad) for bad in ("adam", None)],
        *[("checkpoint_every", bad) for bad in (0, "never")],
        *[("seed", bad) for bad in (-1, 0.5, None)],
        *[("snr_gamma", bad) for bad in (0, -5, "5")],
        *[("gradient_accumulation_steps", bad) for bad in (0, 5)],
        *[("gradient_checkpointing", bad) for bad in (None, 1)],
        *[("ema_decay", bad) for bad in (1, 1.0, -0.1, "0.9")],
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(InputError) as error:
        new(**{name: value})
    assert error.value.name == name
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", ["picturebook", "owner/name"])
def test_every_method_has_its_own_defaults(model):
    dreambooth, lora, inversion = (new(model=model, method=method) for method in METHODS)
    assert dreambooth == new(model=model)
    assert lora.lora_rank and (dreambooth.lora_rank, inversion.lora_rank) == (None, None)
    # Fewer numbers learn, so each goes further.
    rates = [each.learning_rate for each in (dreambooth, lora, inversion)]
    assert rates == sorted(set(rates))
    small = model == "picturebook"
    weights = [each.prior_loss_weight for each in (dreambooth, lora, inversion)]
    assert weights == [1, 1, 0]
    assert [dreambooth.trains_text_encoder, lora.trains_text_encoder] == [small, small]
    assert inversion.trains_text_encoder and not inversion.train_text_encoder
    assert [each.uses_ema for each in (dreambooth, lora, inversion)] == [small, False, False]
    for config in (dreambooth, lora, inversion):
        assert DreamBoothConfig(**json.loads(json.dumps(config.as_dict()))) == config


def test_the_words_of_textual_inversion():
    config = new(method="textual-inversion")
    assert (config.instance_prompt, config.prompt_noun) == ("a sks", "")
    assert len(set(config.instance_prompts)) == len(config.instance_prompts) > 1
    assert all("sks" in prompt for prompt in config.instance_prompts)
    told = new(method="textual-inversion", instance_prompt="a sks robot")
    assert told.instance_prompts == ("a sks robot",)
    assert new().instance_prompts == ("a sks robot",) and new().prompt_noun == "robot"


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("lora", "lora_rank", 0),
        ("lora", "lora_rank", 2.0),
        ("dreambooth", "lora_rank", 4),
        ("textual-inversion", "lora_rank", 4),
        ("textual-inversion", "train_text_encoder", True),
        ("textual-inversion", "prior_loss_weight", 1.0),
    ],
)
def test_what_means_nothing_to_a_method_is_refused(method, name, value):
    with pytest.raises(InputError) as error:
        new(method=method, **{name: value})
    assert error.value.name == name


def test_the_identifier_is_found_whatever_its_case_and_what_stands_around():
    assert new(instance_prompt="A photo of (SKS), the robot.").identifier == "sks"
    assert new(identifier="<sks>", instance_prompt="a <sks> robot").identifier == "<sks>"
    with pytest.raises(InputError, match="no word to learn"):
        new(instance_prompt="a photo of risks")
    assert new(class_prompt="a robot with tasks").class_prompt == "a robot with tasks"


def test_without_prior_no_class_pictures_are_needed():
    config = new(prior_loss_weight=0, num_class_images=0)
    assert not config.with_prior
    with pytest.raises(InputError, match="at most 2"):
        new(prior_loss_weight=0, batch_size=2, gradient_accumulation_steps=3)


def test_settings_are_plain_json_and_make_the_same_object():
    config = new(snr_gamma=5.0, ema_decay=0.99)
    assert DreamBoothConfig(**json.loads(json.dumps(config.as_dict()))) == config
    assert config.output == Path("out")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1
