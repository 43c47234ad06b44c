"""The stages, from nothing to a pipeline that plain diffusers loads, on tiny settings."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from tests.pretraining.tiny import RECIPE, scenes
from tlab_diffusion.cli import main
from tlab_diffusion.errors import InputError
from tlab_diffusion.pretraining import characters, pictures, stages
from tlab_diffusion.pretraining.networks import new_vae
from tlab_diffusion.training import checkpoints

STAGES = (stages.pretrain_vae, stages.pretrain_text, stages.pretrain_unet)


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{f.parent.name}.{name}": value for f in files for name, value in load_file(f).items()}


def log(folder, name):
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def small_world():
    """Few scenes, few test pictures, short sheets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "CHUNK", 6)
        patch.setattr(characters, "CHUNK", 1)
        patch.setattr(characters.cached_characters, "__defaults__", (False, 64, 1))
        patch.setattr(stages, "NUM_TEST", 4)
        yield


@pytest.fixture(scope="module")
def run(small_world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for stage in STAGES:
        stage(folder, RECIPE, resume=False)
    return folder


def test_the_result_is_a_pipeline_for_plain_diffusers(run):
    halves = weights(run / "picturebook")
    assert {value.dtype for value in halves.values()} <= {torch.float16, torch.int64}
    pipeline = DiffusionPipeline.from_pretrained(run / "picturebook")
    assert {part.dtype for part in (pipeline.unet, pipeline.text_encoder)} == {torch.float32}
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline("a red cat", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 64, 64, 3)
    assert np.isfinite(images).all()


def test_measures_are_logged_and_sheets_drawn(run):
    assert [record["step"] for record in log(run, "vae")] == [2, 4]
    assert log(run, "vae")[-1].keys() >= {"loss", "psnr_scenes", "psnr_subjects"}
    assert "own_caption_first_of_4" in log(run, "text")[-1]
    assert log(run, "unet")[-1]["loss_unseen"] > 0
    assert [sheet.name for sheet in sorted(run.glob("sheet-*.png"))] == [
        "sheet-000002.png",
        "sheet-000004.png",
    ]


def test_latents_have_a_standard_deviation_of_one(run):
    vae = DiffusionPipeline.from_pretrained(run / "picturebook").vae
    std = stages.latent_std(vae, stages.unseen_pictures(stages.NUM_TEST)["scenes"])
    assert vae.config.scaling_factor * std == pytest.approx(1, rel=0.01)


def test_a_stage_is_not_begun_twice_but_gone_on_from(run):
    for stage in STAGES:
        with pytest.raises(InputError, match="an earlier run.*--resume"):
            stage(run, RECIPE, resume=False)
    longer = dataclasses.replace(RECIPE.text, steps=6)
    stages.pretrain_text(run, dataclasses.replace(RECIPE, text=longer), resume=True)
    assert log(run, "text")[-1]["step"] == 6


def test_other_numbers_are_named_before_anything_is_drawn(run, monkeypatch):
    monkeypatch.setattr(stages, "cached_scenes", lambda *_: pytest.fail("scenes were drawn"))
    other = dataclasses.replace(RECIPE, text=dataclasses.replace(RECIPE.text, batch_size=2))
    message = "batch_size: got 2, expected 4, as in the earlier run in .* Continue with the same"
    with pytest.raises(InputError, match=message):
        stages.pretrain_text(run, other, resume=True)
    with pytest.raises(InputError, match=message):
        stages.check_states(run, other, ("vae", "text", "unet"), resume=True)
    wider = dataclasses.replace(RECIPE, vae=dataclasses.replace(RECIPE.vae, channels=(8, 8, 16)))
    with pytest.raises(InputError, match=r"channels: got \[8, 8, 16\], expected \[8, 8, 8\]"):
        stages.pretrain_vae(run, wider, resume=True)


def test_a_pipeline_is_gone_on_from(run, tmp_path):
    base = run / "picturebook"
    for stage in STAGES:
        stage(tmp_path, RECIPE, resume=False, base=base)
    before, after = weights(base), weights(tmp_path / "picturebook")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert not same & {f"vae.{part}.conv_in.weight" for part in ("encoder", "decoder")}
    assert "unet.conv_in.weight" not in same
    # What is gone on from is where it was left: a few small steps away, not drawn anew.
    moved = (after["unet.conv_in.weight"] - before["unet.conv_in.weight"]).float()
    assert moved.abs().max() < 0.02
    # Its U-Net listens to the words as they are, so they are not told apart once more.
    rows = "text_encoder.embeddings.position_embedding.weight"
    assert (after[rows] - before[rows]).float().abs().max() < 0.02
    for part in ("vae", "unet"):  # a path tells of the machine, and of nothing else
        assert "_name_or_path" not in (tmp_path / f"picturebook/{part}/config.json").read_text()
    scale = json.loads((base / "vae/config.json").read_text())["scaling_factor"]
    assert (
        json.loads((tmp_path / "picturebook/vae/config.json").read_text())["scaling_factor"]
        == scale
    )


def test_a_run_from_a_base_goes_on_holding_its_latents_untold(run, tmp_path, monkeypatch):
    base, held = run / "picturebook", []

    class Watched(stages.VaeLoss):
        def __init__(self, vae, config, base=None):
            super().__init__(vae, config, base)
            held.append(None if base is None else base.encoder.conv_in.weight)

    monkeypatch.setattr(stages, "VaeLoss", Watched)
    stages.pretrain_vae(tmp_path, RECIPE, resume=False, base=base)
    longer = dataclasses.replace(RECIPE, vae=dataclasses.replace(RECIPE.vae, steps=6))
    stages.pretrain_vae(tmp_path, longer, resume=True)
    assert torch.equal(held[0], held[1])
    (tmp_path / "vae-state.safetensors").unlink()  # a new run, of nobody's
    stages.pretrain_vae(tmp_path, RECIPE, resume=False)
    assert held[2] is None


def test_a_base_keeps_the_numbers_of_its_words(run, tmp_path):
    base, work = tmp_path / "base", tmp_path / "work"
    shutil.copytree(run / "picturebook", base)
    shutil.copytree(run / "vae", work / "vae")
    file = base / "tokenizer/tokenizer.json"
    fields = json.loads(file.read_text(encoding="utf-8"))
    words = fields["model"]["vocab"]
    words["red</w>"], words["blue</w>"] = words["blue</w>"], words["red</w>"]
    file.write_text(json.dumps(fields), encoding="utf-8")
    stages.pretrain_text(work, RECIPE, resume=False, base=base)
    stages.pretrain_text(work, RECIPE, resume=True)
    stages.pretrain_unet(work, RECIPE, resume=False)  # reads with the text stage's encoder
    for tokenizer in ("tokenizer", "picturebook/tokenizer"):
        kept = json.loads((work / tokenizer / "tokenizer.json").read_text("utf-8"))
        assert kept["model"]["vocab"] == words


def test_latents_are_computed_once_for_an_autoencoder(small_world, tmp_path):
    torch.manual_seed(0)
    vae = new_vae(RECIPE.vae.channels)
    np.save(tmp_path / "scenes-0.npy", scenes())
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes-0.npy").rename(tmp_path / "scenes/scenes-0.npy")
    first = stages._cached_moments(tmp_path, vae, 6)
    path = tmp_path / "latents-6.safetensors"
    checkpoints.save(path, checkpoints.load(path) | {"moments": first + 1})
    assert torch.equal(stages._cached_moments(tmp_path, vae, 6), first + 1)  # read, not computed
    other = new_vae(RECIPE.vae.channels)
    assert not torch.equal(stages._cached_moments(tmp_path, other, 6), first + 1)


def test_a_stage_says_what_it_misses(small_world, tmp_path):
    with pytest.raises(InputError, match="no vae in .*stages in order"):
        stages.pretrain_unet(tmp_path, RECIPE, resume=False)


def test_the_command_refuses_what_it_cannot_do(tmp_path, capsys):
    assert main(["pretrain", "unicorn"]) == 2
    assert "got 'unicorn', expected one of vae" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["pretrain", "vae", "--work", str(tmp_path / "file")]) == 2
    assert "expected a folder" in capsys.readouterr().err
    assert main(["pretrain", "vae", "--from", str(tmp_path)]) == 2
    assert "or a pipeline folder" in capsys.readouterr().err
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert main(["pretrain", "vae", "--from", str(tmp_path)]) == 2
    assert "has no unet" in capsys.readouterr().err
    assert main(["pretrain", "vae", "--recipe", str(tmp_path / "none.toml")]) == 2
    assert "no file" in capsys.readouterr().err
    (tmp_path / "vae-state.safetensors").touch()
    assert main(["pretrain", "vae", "--work", str(tmp_path)]) == 2
    assert "Continue it with --resume" in capsys.readouterr().err
    (tmp_path / "vae-state.safetensors").rename(tmp_path / "identity-state.safetensors")
    assert main(["pretrain", "--work", str(tmp_path)]) == 2  # not after hours
    assert "tlab pretrain identity: got an earlier run" in capsys.readouterr().err
