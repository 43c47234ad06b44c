"""One safetensors file as a model: written, read again, and refused where it is something else."""

import json
import re
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import SamplerSettings, check_model, load, write_sampler_settings
from tlab_diffusion.pipelines.single_file import METADATA, export_single_file
from tlab_diffusion.pretraining.networks import save_pipeline

RECORDED = SamplerSettings("dpm-solver++", steps=3, guidance_scale=2.5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A tuned folder, and the same as one file."""
    folder = tmp_path_factory.mktemp("exported")
    parts = tiny_pipeline().components
    names = ("vae", "text_encoder", "tokenizer", "unet")
    save_pipeline(folder / "tuned", *(parts[name] for name in names))
    write_sampler_settings(folder / "tuned", RECORDED)
    export_single_file(folder / "tuned", folder / "tuned.safetensors")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_file_that_was_exported_loads_as_the_folder_does(exported, tmp_path):
    folder, file = load(exported / "tuned", device="cpu"), exported / "tuned.safetensors"
    single = load(file, device="cpu")
    for part in ("unet", "vae", "text_encoder"):
        expected, found = (getattr(each, part).state_dict() for each in (folder, single))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert single.tokenizer("a zwx cat").input_ids == folder.tokenizer("a zwx cat").input_ids
    assert single.tokenizer.init_kwargs["world"] == folder.tokenizer.init_kwargs["world"]
    assert dict(single.scheduler.config) == dict(folder.scheduler.config)
    assert single.sampler_settings == RECORDED
    assert load(file, dtype=torch.float16).unet.dtype == torch.float16
    assert len(list((tmp_path / "cache/single-files").glob("*/model_index.json"))) == 1  # kept


def test_it_has_the_names_of_the_original(exported):
    """A few of those that other programs look for, with the original's layout."""
    weights = load_file(exported / "tuned.safetensors")
    unet = "model.diffusion_model."
    shapes = {
        f"{unet}time_embed.0.weight": 2,
        f"{unet}input_blocks.0.0.weight": 4,
        f"{unet}input_blocks.1.0.in_layers.2.weight": 4,
        f"{unet}input_blocks.2.0.op.weight": 4,
        f"{unet}input_blocks.3.1.transformer_blocks.0.attn2.to_k.weight": 2,
        f"{unet}middle_block.1.transformer_blocks.0.attn1.to_q.weight": 2,
        f"{unet}middle_block.2.out_layers.3.weight": 4,
        f"{unet}output_blocks.1.2.conv.weight": 4,
        f"{unet}out.2.weight": 4,
        "first_stage_model.encoder.down.0.block.0.norm1.weight": 1,
        "first_stage_model.encoder.mid.attn_1.q.weight": 4,
        "first_stage_model.decoder.up.1.upsample.conv.weight": 4,
        "first_stage_model.quant_conv.weight": 4,
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": 2,
    }
    assert {name: weights[name].ndim for name in shapes} == shapes
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    ours = re.compile(r"(down|up|mid)_block|resnets|attentions|samplers|conv_norm_out|to_out\.0\.k")
    assert not [name for name in weights if ours.search(name)]


def change(file, target, metadata=None, **tensors):
    """A copy of a file with other metadata or tensors; None takes a tensor away."""
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() if metadata is None else metadata
    weights = load_file(file) | tensors
    weights = {name: tensor for name, tensor in weights.items() if tensor is not None}
    save_file(weights, target, metadata=metadata)
    return target


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.CKPT"])
def test_a_pickle_is_refused_with_the_reason(tmp_path, name):
    (tmp_path / name).write_bytes(b"cposix\nsystem\n")
    with pytest.raises(InputError, match=r"Pickles .* can run any code") as error:
        load(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_something_else_is_one_clear_line(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.from_single_file", None)
    file = exported / "tuned.safetensors"
    short = tmp_path / "short.safetensors"
    short.write_bytes(file.read_bytes()[:-10])
    adapters = tmp_path / "adapters.safetensors"
    save_file({"unet.lora.down.weight": torch.zeros(2, 2)}, adapters)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    inpainting = change(
        file, tmp_path / "in.safetensors", metadata={}, **{name: torch.zeros(16, 9, 3, 3)}
    )
    escaping = change(
        file, tmp_path / "out.safetensors", {METADATA: json.dumps({"../x.json": "{}"})}
    )
    lines = {
        short: "short.safetensors, which is damaged",
        adapters: "adapters.safetensors, which has no U-Net of Stable Diffusion 1.x",
        inpainting: "whose U-Net takes 9 channels, expected 4",
        escaping: "whose metadata name the file '../x.json'",
    }
    for path, line in lines.items():
        with pytest.raises(InputError, match=line) as error:
            check_model(path)
        assert "\n" not in str(error.value)


def test_a_file_from_elsewhere_says_offline_what_it_needs(exported, tmp_path):
    bare = change(exported / "tuned.safetensors", tmp_path / "bare.safetensors", metadata={})
    with pytest.raises(InputError, match="needs the configs of stable-diffusion-v1-5/") as error:
        load(bare)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").glob("**/model_index.json"))


def test_an_export_refuses_what_it_cannot_write(exported, tmp_path):
    with pytest.raises(InputError, match="expected a name that ends in .safetensors"):
        export_single_file(exported / "tuned", tmp_path / "model.ckpt")
    broken = shutil.copytree(exported / "tuned", tmp_path / "broken")
    shutil.rmtree(broken / "vae")
    with pytest.raises(InputError, match="which has no vae"):
        export_single_file(broken, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()
