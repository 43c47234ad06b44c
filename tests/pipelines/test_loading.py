"""Loading a pipeline, and the one line that says why it cannot be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import check_model, load
from tlab_diffusion.pretraining.networks import save_pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    parts = tiny_pipeline().components
    names = ("vae", "text_encoder", "tokenizer", "unet")
    save_pipeline(folder, *(parts[name] for name in names))
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "pipeline")


def test_a_folder_is_loaded_in_float32_without_a_progress_bar(folder):
    pipeline = load(folder)
    assert {p.dtype for p in pipeline.unet.parameters()} == {torch.float32}
    assert {p.dtype for p in pipeline.text_encoder.parameters()} == {torch.float32}
    assert pipeline._progress_bar_config == {"disable": True}
    expected = tiny_pipeline().unet.conv_in.weight
    assert torch.equal(pipeline.unet.conv_in.weight.cpu(), expected.half().float())


def test_another_precision(folder):
    assert load(folder, dtype=torch.float16).text_encoder.dtype == torch.float16


def remove_index(folder):
    (folder / "model_index.json").unlink()


def damage_index(folder):
    (folder / "model_index.json").write_text("{")


def another_class(folder):
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')


def remove_weights(folder):
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()


def truncate_weights(folder):
    file = folder / "text_encoder/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickle_weights(folder):
    remove_weights(folder)
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"cposix\nsystem\n")


def truncate_config(folder):
    (folder / "text_encoder/config.json").write_text('{"hidden_size": ')


def list_for_a_config(folder):
    (folder / "scheduler/scheduler_config.json").write_text("[]")


def remove_config(folder):
    (folder / "vae/config.json").unlink()


def list_a_part(folder):
    index = folder / "model_index.json"
    parts = json.loads(index.read_text())
    extractor = {"feature_extractor": ["transformers", "CLIPImageProcessor"]}
    index.write_text(json.dumps(parts | extractor))
    (folder / "feature_extractor").mkdir()


def remove_vocabulary(folder):
    (folder / "tokenizer/tokenizer.json").unlink()


def truncate_vocabulary(folder):
    (folder / "tokenizer/tokenizer.json").write_text('{"version": "1')


def truncate_older_vocabulary(folder):
    vocabulary_in_two_files(folder)
    (folder / "tokenizer/vocab.json").write_text('{"a": 1, ')


def vocabulary_in_two_files(folder):
    """As Stable Diffusion 1.5 has it."""
    file = folder / "tokenizer/tokenizer.json"
    words = json.loads(file.read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer/vocab.json").write_text(json.dumps(words["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in words["merges"]]
    (folder / "tokenizer/merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]), encoding="utf-8"
    )
    file.unlink()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (remove_index, "no model_index.json"),
        (damage_index, "model_index.json, which is damaged"),
        (another_class, "a FluxPipeline, expected a StableDiffusionPipeline"),
        (remove_weights, "no weights in .*unet"),
        (truncate_weights, "text_encoder/model.safetensors, which is damaged"),
        (pickle_weights, "only the pickle .*unet"),
        (truncate_config, "text_encoder/config.json, which is damaged"),
        (list_for_a_config, "scheduler/scheduler_config.json, which is damaged"),
        (remove_config, "vae, which has no config.json"),
        (list_a_part, "feature_extractor, which has no preprocessor_config.json"),
        (remove_vocabulary, "no vocabulary in .*tokenizer, expected tokenizer.json, or vocab.json"),
        (truncate_vocabulary, "tokenizer/tokenizer.json, which is damaged"),
        (truncate_older_vocabulary, "tokenizer/vocab.json, which is damaged"),
    ],
)
def test_a_bad_folder_is_one_clear_line(folder, damage, line, monkeypatch):
    damage(folder)
    # All this is said before anything is loaded.
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.from_pretrained", None)
    with pytest.raises(InputError, match=line) as error:
        load(folder)
    assert "\n" not in str(error.value)


def halve(file):
    """Only every other tensor is there; the file itself is whole."""
    tensors = load_file(file)
    save_file(dict(list(tensors.items())[::2]), file, metadata={"format": "pt"})


def halve_text_encoder(folder):
    halve(folder / "text_encoder/model.safetensors")


def halve_unet(folder):
    halve(folder / "unet/diffusion_pytorch_model.safetensors")


def exchange_unet(folder):
    name = "diffusion_pytorch_model.safetensors"
    shutil.copy(folder / "vae" / name, folder / "unet" / name)


def another_width(folder):
    file = folder / "text_encoder/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 48}))


def empty_vocabulary(folder):
    (folder / "tokenizer/tokenizer.json").write_text("{}")


def no_class_of_a_part(folder):
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"unet": []}))


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (halve_text_encoder, "text_encoder, which lacks .*expected all weights"),
        (halve_unet, "expected a whole pipeline folder"),
        (exchange_unet, "expected a whole pipeline folder"),
        (another_width, "expected a whole pipeline folder"),
        (empty_vocabulary, "expected a whole pipeline folder"),
        (no_class_of_a_part, "expected a whole pipeline folder"),
    ],
)
def test_damage_that_only_loading_shows_is_one_clear_line(folder, damage, line):
    damage(folder)
    with pytest.raises(InputError, match=line) as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_a_vocabulary_in_two_files_is_whole(folder):
    words = load(folder).tokenizer("a red robot").input_ids
    vocabulary_in_two_files(folder)
    assert load(folder).tokenizer("a red robot").input_ids == words


def test_a_missing_part_is_one_clear_line(folder):
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(InputError, match="expected a whole pipeline folder") as error:
        load(folder)
    assert "\n" not in str(error.value)


def test_loading_is_silent_and_leaves_the_libraries_as_they_were(folder, capfd):
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    load(folder)
    assert [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries] == before
    assert capfd.readouterr() == ("", "")


def test_a_hub_model_of_another_class_is_refused_before_its_weights_come(monkeypatch):
    kind = "diffusers.StableDiffusionPipeline"
    monkeypatch.setattr(f"{kind}.load_config", lambda name: {"_class_name": "FluxPipeline"})
    monkeypatch.setattr(f"{kind}.download", None)
    with pytest.raises(InputError, match="a FluxPipeline, expected a StableDiffusionPipeline"):
        load("somebody/flux")


def test_a_hub_model_is_checked_as_a_folder_is(monkeypatch, folder):
    from diffusers import StableDiffusionPipeline

    def config_of(name, **options):
        return its_own(folder if name == "somebody/model" else name, **options)

    its_own = StableDiffusionPipeline.load_config
    monkeypatch.setattr(StableDiffusionPipeline, "load_config", config_of)
    monkeypatch.setattr(StableDiffusionPipeline, "download", lambda name, use_safetensors: folder)
    assert load("somebody/model").unet.config.sample_size == 16
    truncate_weights(folder)
    with pytest.raises(InputError, match="text_encoder/model.safetensors, which is damaged"):
        load("somebody/model")


def test_a_name_that_is_nothing():
    with pytest.raises(InputError, match='nowhere, which is not there, expected "picturebook"'):
        check_model("nowhere")


def test_a_hub_id_that_cannot_be_had_names_the_offline_choice(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match='from the hub.*"picturebook"') as error:
        load("nobody/nothing-at-all")
    assert "\n" not in str(error.value)
