"""The benchmarks of the trainer: what they count, drive and time."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import dreambooth_speed, gpu, stable_diffusion_size
from tests.dreambooth.tiny import model_folder
from tlab_diffusion.dreambooth.cache import class_images

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, pathlib
from types import SimpleNamespace

def parse_args(arguments):
    return SimpleNamespace(given=arguments)

def main(args):
    assert args.report_to is None
    pathlib.Path("given.json").write_text(json.dumps(args.given))
"""


@pytest.mark.parametrize("prior", [False, True])
def test_diffusers_script_gets_the_settings_of_our_run(tmp_path, monkeypatch, prior):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "train_dreambooth.py"
    script.write_text(SCRIPT, encoding="utf-8")
    options = SimpleNamespace(model=str(model_folder()), batch_size=2)
    config = dreambooth_speed.new_config(options, tmp_path, prior)
    dreambooth_speed.run_script(script, config, tmp_path)
    given = json.loads((tmp_path / "given.json").read_text())
    assert given[given.index("--train_batch_size") + 1] == "2"
    assert given[given.index("--learning_rate") + 1] == str(config.learning_rate)
    assert ("--with_prior_preservation" in given) == prior
    assert ("--class_data_dir" in given) == prior


def test_a_script_that_is_not_there_is_refused_with_its_address(tmp_path, monkeypatch, capsys):
    arguments = ["dreambooth_speed", "--script", str(tmp_path / "nothing.py")]
    monkeypatch.setattr(sys, "argv", arguments)
    assert dreambooth_speed.main() == 2
    assert "raw.githubusercontent.com/huggingface/diffusers/v" in capsys.readouterr().err


def test_a_gpu_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "BATCHES", (1,))
    monkeypatch.setattr(gpu, "CLASS_IMAGES", 4)
    monkeypatch.setattr(class_images, "MAX_BATCH_SIZE", 2)
    file = tmp_path / "report.json"
    assert gpu.main(["--model", str(model_folder()), "--steps", "1", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["flops_per_image"] == 3 * gpu.forward_flops(model_folder())
    ceiling = report["matrix_product_flops"] / report["flops_per_image"]
    settings = [(row["batch"], row["gradient_checkpointing"]) for row in report["rows"]]
    assert settings == [(1, False), (1, True)]
    for row in report["rows"]:
        images = 2 * row["batch"] * row["steps_per_second"]
        assert row["images_per_second"] == pytest.approx(images)
        assert row["share_of_ceiling"] == pytest.approx(images / ceiling)
    shares = [each["share"] for each in report["costliest"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)
    assert report["device"] in capsys.readouterr().out


def test_a_setting_that_does_not_fit_is_named(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise torch.OutOfMemoryError("no room")

    trials = gpu.Trials(model_folder(), tmp_path, "fp32")
    monkeypatch.setattr(gpu, "train", no_room)
    row = trials.row(1, True, steps=1, ceiling=1.0)
    assert row == {"batch": 1, "gradient_checkpointing": True, "problem": "no room"}


def test_stable_diffusions_sizes():
    parts = {
        "unet": stable_diffusion_size.new_unet,
        "vae": stable_diffusion_size.new_vae,
        "text_encoder": stable_diffusion_size.new_text_encoder,
    }
    with torch.device("meta"):
        found = {n: sum(p.numel() for p in new().parameters()) for n, new in parts.items()}
    assert found == stable_diffusion_size.PARAMETERS
    assert found == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_a_vocabulary_of_clips_size():
    tokenizer = stable_diffusion_size.new_tokenizer()
    assert len(tokenizer) == len(tokenizer.get_vocab()) == 49_408
    assert tokenizer.tokenize("a sks robot") == ["a</w>", "s", "ks</w>", "ro", "bot</w>"]
    assert tokenizer("a", padding="max_length").input_ids[:3] == [49_406, 320, 49_407]
