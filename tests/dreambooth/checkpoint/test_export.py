"""The output folder: plain diffusers loads it and draws, in the precision of the original."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from tests.dreambooth.tiny import model_folder, new_config, run
from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.checkpoint import export
from tlab_diffusion.dreambooth.methods import textual_inversion
from tlab_diffusion.pretraining.networks import save_pipeline

FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
HALF = {name: torch.float16 for name in FILES}


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The tiny pipeline in half precision."""
    folder, tiny = tmp_path_factory.mktemp("half"), tiny_pipeline()
    save_pipeline(folder, tiny.vae, tiny.text_encoder, tiny.tokenizer, tiny.unet)
    return folder


@pytest.fixture(scope="module")
def trained(half, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = new_config(folder / "out", model=str(half), max_steps=2, train_text_encoder=False)
    *_, last = run(config, folder / "cache")
    return config.output, last.pipeline


def test_a_fresh_process_loads_it_and_draws(trained):
    program = (
        "import sys, numpy\n"
        "from diffusers import DiffusionPipeline\n"
        "pipeline = DiffusionPipeline.from_pretrained(sys.argv[1])\n"
        "images = pipeline('a sks robot', num_inference_steps=2, output_type='np').images\n"
        "assert images.shape == (1, 64, 64, 3) and numpy.isfinite(images).all()\n"
        "assert 'tlab_diffusion' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(trained[0])],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_half_precision_original_gives_a_half_precision_folder(half, trained):
    folder, pipeline = trained
    assert export.stored_dtypes(half) == HALF
    assert export.stored_dtypes(folder).items() >= HALF.items()
    for name in ("vae", "text_encoder"):  # did not learn: bit for bit the same
        before, after = (
            {key.removeprefix("text_model."): value for key, value in load_file(file).items()}
            for file in (half / FILES[name], folder / FILES[name])
        )
        assert before.keys() == after.keys()
        assert all(torch.equal(after[key], value) for key, value in before.items())
    weights = load_file(folder / FILES["unet"])
    for key, value in pipeline.unet.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(weights[key], value.half())
    assert not (folder / export.DRAFT).exists()


def tokens_in_two_files(folder):
    """As Stable Diffusion 1.5 has it, with a file that nobody expects."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "notes/of_its_own.txt").parent.mkdir()
    (folder / "notes/of_its_own.txt").write_text("kept")


@pytest.mark.parametrize("word", [None, "pipbot"])
def test_what_the_original_has_stays(tmp_path, word):
    original = shutil.copytree(model_folder(), tmp_path / "original")
    tokens_in_two_files(original / "tokenizer")
    (original / "LICENSE.md").write_text("free")
    (original / "unet/other.fp16.safetensors").write_bytes(b"weights of before")
    before = {
        path.relative_to(original): path.read_bytes()
        for path in original.rglob("*")
        if path.is_file() and path.suffix != ".safetensors"
    }
    pipeline = DiffusionPipeline.from_pretrained(original)
    changed = {Path("tokenizer", name) for name in ("tokenizer.json", "tokenizer_config.json")}
    if word:
        row = pipeline.text_encoder, pipeline.tokenizer, word, "robot"
        textual_inversion.add_row(*row)
        added = json.dumps({word: len(pipeline.tokenizer) - 1})
    export.export_pipeline(pipeline, tmp_path / "out", {})
    written = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*")}
    assert written >= before.keys() and Path("unet/other.fp16.safetensors") not in written
    for path, content in before.items():
        if path.parts[0] in ("tokenizer", "LICENSE.md") and not (word and path in changed):
            assert (tmp_path / "out" / path).read_bytes() == content
    if word:
        assert (tmp_path / "out/tokenizer/added_tokens.json").read_text() == added
    assert "transformers>=4.57" in (tmp_path / "out/requirements.txt").read_text()


def test_weights_of_the_text_encoder_have_the_names_that_older_libraries_read(trained):
    weights = load_file(trained[0] / FILES["text_encoder"])
    assert all(name.startswith("text_model.") for name in weights)


def test_other_files_of_the_run_stay(trained):
    folder, _ = trained
    assert {path.name for path in folder.iterdir()} > {"run.json", "checkpoints", "unet"}


def test_a_bfloat16_variant_beside_the_plain_file_is_not_meant(tmp_path, half):
    tiny_pipeline().unet.save_pretrained(tmp_path / "unet")
    load = DiffusionPipeline.from_pretrained(half, dtype=torch.bfloat16)
    load.unet.save_pretrained(tmp_path / "unet", variant="bf16")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) == 2
    assert export.stored_dtypes(tmp_path) == {"unet": torch.float32}


def test_a_kill_while_it_is_written_leaves_no_folder_that_loads_half(tmp_path, monkeypatch):
    export.export_pipeline(tiny_pipeline(), tmp_path, HALF)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    original, moves = type(tmp_path).replace, []

    def killed_at_the_third(path, target):
        moves.append(target)
        if len(moves) == 3:
            raise KeyboardInterrupt
        return original(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            export.export_pipeline(tiny_pipeline(), tmp_path, HALF)
    assert not (tmp_path / export.INDEX).exists()
    export.export_pipeline(tiny_pipeline(), tmp_path, HALF)
    again = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert again == whole
