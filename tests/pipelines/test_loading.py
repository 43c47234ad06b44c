"""Loading a pipeline, and the one line that says why it cannot be."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import check_model, load, sample
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


def shard(folder, part="unet"):
    """The weights of a part in several files, with their index."""
    whole = folder / part
    kind = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}[part]
    network = kind.from_pretrained(whole)
    for file in whole.glob("*.safetensors"):
        file.unlink()
    network.save_pretrained(whole, max_shard_size="30KB")
    assert len(list(whole.glob("*.safetensors"))) > 1


def remove_shard(folder):
    shard(folder)
    min((folder / "unet").glob("*.safetensors")).unlink()


def remove_shard_index(folder):
    shard(folder)
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").unlink()


def only_variants(folder, name="fp16", parts=("unet", "vae", "text_encoder")):
    for part in parts:
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_suffix(f".{name}.safetensors"))


def two_variants(folder):
    only_variants(folder, "fp16", ["unet"])
    only_variants(folder, "ema", ["vae"])


def change(part, file="config.json", **settings):
    def damage(folder):
        path = folder / part / file
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    damage.__name__ = f"{part}-{settings}"
    return damage


def scheduler(name, **settings):
    return change("scheduler", "scheduler_config.json", _class_name=name, **settings)


BAD_PARTS = [
    (change("unet", in_channels=9), "U-Net has 9 in_channels, expected 4, the channels of its VAE"),
    (change("unet", in_channels=8), "U-Net has 8 in_channels"),
    (change("unet", out_channels=8), "U-Net has 8 out_channels"),
    (change("vae", latent_channels=16), "U-Net has 4 in_channels, expected 16"),
    (change("vae", shift_factor=0.1), "VAE shifts its latents by 0.1"),
    (change("unet", cross_attention_dim=768), "embeddings of width 768, expected 16"),
    (change("unet", cross_attention_dim=[16, 768]), "embeddings of width .16, 768., expected 16"),
    (change("text_encoder", hidden_size=48), "embeddings of width 16, expected 48"),
    (change("unet", class_embed_type="timestep"), "also reads class labels"),
    (change("unet", num_class_embeds=1000), "also reads class labels"),
    (change("unet", addition_embed_type="text_time"), "also reads further embeddings"),
    (change("unet", time_cond_proj_dim=256), "also reads the guidance scale"),
    (change("unet", sample_size=[64, 96]), "sample_size .64, 96., expected the side of square"),
    (scheduler("FlowMatchEulerDiscreteScheduler"), "scheduler is FlowMatchEulerDiscreteScheduler"),
    (scheduler("EDMEulerScheduler"), "scheduler is EDMEulerScheduler, expected .*alphas_cumprod"),
    (scheduler("NoScheduler"), "scheduler is NoScheduler"),
    (
        scheduler(
            "UniPCMultistepScheduler", use_flow_sigmas=True, prediction_type="flow_prediction"
        ),
        "whose scheduler is UniPCMultistepScheduler",
    ),
    (scheduler("DDIMScheduler", prediction_type="x"), "prediction_type 'x', expected one of eps"),
    (scheduler("DDIMScheduler", rescale_betas_zero_snr=True), "epsilon with a schedule of zero"),
    (
        scheduler("EulerDiscreteScheduler", rescale_betas_zero_snr=True),
        "epsilon with a schedule of zero terminal SNR",
    ),
    (
        scheduler("DDPMScheduler", trained_betas=[0.1, 0.5, 1.0], num_train_timesteps=3),
        "epsilon with a schedule of zero terminal SNR",
    ),
]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        *BAD_PARTS,
        (remove_shard, "unet, which lacks the shard diffusion_pytorch_model-00001-of"),
        (remove_shard_index, "no weights in .*unet"),
        (two_variants, "whose parts are the variants ema, fp16, expected one variant"),
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
        (empty_vocabulary, "expected a whole pipeline folder"),
        (no_class_of_a_part, "expected a whole pipeline folder"),
    ],
)
def test_damage_that_only_loading_shows_is_one_clear_line(folder, damage, line):
    damage(folder)
    with pytest.raises(InputError, match=line) as error:
        load(folder)
    assert "\n" not in str(error.value)


def same_weights(one, other):
    for part in ("unet", "vae", "text_encoder"):
        theirs = getattr(other, part).state_dict()
        assert all(torch.equal(v, theirs[n]) for n, v in getattr(one, part).state_dict().items())


@pytest.mark.parametrize("kind", ["variant", "another variant", "one variant", "shards", "both"])
def test_variants_and_shards_are_loaded(folder, kind):
    expected = load(folder, device="cpu")
    if kind == "one variant":
        only_variants(folder, parts=["unet"])
    elif kind == "another variant":
        only_variants(folder, "ema")
    elif kind == "variant":
        only_variants(folder)
    elif kind == "shards":
        shard(folder)
        shard(folder, "text_encoder")
    else:  # the plain file is the one that counts
        file = folder / "unet/diffusion_pytorch_model.safetensors"
        shutil.copy(folder / "vae" / file.name, file.with_suffix(".fp16.safetensors"))
    same_weights(load(folder, device="cpu"), expected)


@pytest.mark.parametrize(
    "name",
    sorted({each.name for each in KarrasDiffusionSchedulers} - {"EDMEulerScheduler"})
    + ["LCMScheduler", "TCDScheduler"],
)
def test_any_scheduler_with_the_same_schedule_samples_the_same_in_silence(folder, capfd, name):
    (expected,) = sample(load(folder, device="cpu"), ["a cat"], steps=2)
    capfd.readouterr()
    file = folder / "scheduler/scheduler_config.json"
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    # As in old folders, which lack settings of today.
    file.write_text(json.dumps({"_class_name": name, "clip_sample": True, **betas}))
    index = folder / "model_index.json"
    parts = json.loads(index.read_text()) | {"scheduler": ["diffusers", name]}
    index.write_text(json.dumps(parts))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FutureWarning)
        pipeline = load(folder, device="cpu")
        (found,) = sample(pipeline, ["a cat"], steps=2)
    # Some need libraries that are not installed; the noise schedule is what counts.
    assert type(pipeline.scheduler).__name__ in (name, "DDIMScheduler")
    assert not [each for each in caught if issubclass(each.category, FutureWarning)]
    assert capfd.readouterr() == ("", "")
    assert np.array_equal(found, expected)


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


@pytest.fixture
def no_hub(monkeypatch):
    kind = "diffusers.StableDiffusionPipeline"
    for name in (f"{kind}.load_config", f"{kind}.download"):
        monkeypatch.setattr(name, None)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nowhere", 'nowhere, which is not there, expected "picturebook"'),
        ("picturbook", "picturbook, which is not there, .*Did you mean picturebook"),
        ("models/bsae", "models/ is a folder here and has no bsae, .*Did you mean models/base"),
        ("./models/bsae", "models/ is a folder here and has no bsae"),
        ("models/base/unte/x", "models/base/ is a folder here and has no unte"),
        ("models/base.safetensor", "models/ is a folder here and has no base.safetensor"),
        ("owner/model.safetensors", "owner/model.safetensors, which is not there"),
        ("/nowhere/at/all", "/nowhere/at/all, which is not there"),
    ],
)
def test_a_wrong_path_is_said_at_once_without_asking_the_hub(
    no_hub, tmp_path, monkeypatch, name, line
):
    (tmp_path / "models/base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for function in (check_model, load):
        with pytest.raises(InputError, match=line) as error:
            function(name)
        assert "\n" not in str(error.value)


def test_offline_a_hub_id_is_refused_before_anything_is_loaded(no_hub, monkeypatch):
    check_model("owner/name")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="owner/name, which cannot be loaded from the hub"):
        check_model("owner/name")


def test_a_hub_id_that_cannot_be_had_names_the_offline_choice(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match='from the hub.*"picturebook"') as error:
        load("nobody/nothing-at-all")
    assert "\n" not in str(error.value)
