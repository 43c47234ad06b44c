"""The command `tlab`: what it writes, what it refuses, and how it says so."""

import dataclasses
import inspect
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlab_diffusion import copies, doctor
from tlab_diffusion.cli import app, main
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.picturebook import SUBJECTS
from tlab_diffusion.pipelines import loading
from tlab_diffusion.pipelines.sampler_settings import SamplerSettings, write_sampler_settings


def one_line(capsys) -> str:
    """Returns what stands on stderr, which must be a single line."""
    message = capsys.readouterr().err
    assert message.startswith("tlab: ")
    assert message.endswith("\n")
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_commands(capsys, arguments):
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    for command in ("doctor", "lab", "draw", "subject"):
        assert f"  {command} " in shown


def defaults_shown(capsys, *arguments) -> dict[str, str]:
    """The options in a command's help, and the default of each, "" where none is shown."""
    assert main([*arguments, "--help"]) == 0
    found, option = {}, None
    _, options = capsys.readouterr().out.split("Options:\n")
    for line in options.split("\n\n")[0].splitlines():
        if line.startswith("  --"):
            option = line.split()[0].rstrip(",")
            found[option] = ""
        if option is not None:
            found[option] += f" {line.strip()}"
    default = re.compile(r"\[default: (.*?)[\];]")
    return {name: (default.findall(text) or [""])[0] for name, text in found.items()}


def option_names(command: str) -> set[str]:
    (found,) = [c for c in app.registered_commands if c.callback.__name__ == command]
    parameters = inspect.signature(found.callback).parameters
    return set(parameters)


def test_every_setting_of_a_run_has_an_option():
    fields = {each.name for each in dataclasses.fields(DreamBoothConfig)}
    preflight_fills_in = {"picture_prompts"}
    assert fields - option_names("dreambooth") == preflight_fills_in
    assert fields - option_names("grid") == preflight_fills_in | {"max_steps", "learning_rate"}


@pytest.mark.parametrize("arguments", [[], ["--method", "lora"], ["--method=textual-inversion"]])
@pytest.mark.parametrize("model", ["picturebook", "owner/name"])
@pytest.mark.parametrize("command", ["dreambooth", "grid"])
def test_help_shows_the_defaults_of_the_method_and_the_model(capsys, command, arguments, model):
    shown = defaults_shown(capsys, command, *arguments, "--model", model)
    words = {"identifier": "TOKEN", "class_noun": "NOUN", "subject_images": "p", "output": "o"}
    method = arguments[-1].split("=")[-1] if arguments else "dreambooth"
    config = DreamBoothConfig(**words, model=model, method=method)
    compared = {
        "--prior-loss-weight": config.prior_loss_weight,
        "--prior": config.prior,
        "--train-batch-size": config.batch_size,
        "--ema-decay": config.ema_decay,
        "--adam-epsilon": config.adam_epsilon,
        "--checkpointing-steps": config.checkpoint_every,
        "--rank": config.lora_rank or "",
        "--class-guidance-scale": config.class_guidance_scale,
        "--train-text-encoder": "yes" if config.train_text_encoder else "no",
        "--instance-prompt": config.instance_prompt,
        "--resolution": config.resolution,
    }
    if command == "dreambooth":
        compared |= {
            "--max-train-steps": config.max_steps,
            "--learning-rate": config.learning_rate,
            "--evaluate-every": 0 if model == "owner/name" else -(-config.max_steps // 3),
        }
    assert {name: shown[name] for name in compared} == {n: str(v) for n, v in compared.items()}
    # What chooses them keeps its own.
    assert (shown["--method"], shown["--model"]) == ("dreambooth", "picturebook")


def test_help_for_an_unknown_method_is_refused(capsys):
    assert main(["dreambooth", "--help", "--method", "fast"]) == 2
    assert "expected one of dreambooth, lora, textual-inversion" in one_line(capsys)


def test_options_are_called_as_in_diffusers_scripts_and_shorter(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(
        "tlab_diffusion.dreambooth.preflight.checks.preflight",
        lambda config, **_: seen.append(config) or 1 / 0,
    )
    needed = ["--subject-images", "p", "--identifier", "sks", "--class-noun", "robot"]
    long = ["--max-train-steps", "7", "--train-batch-size", "3", "--prior-loss-weight", "0.5"]
    long += ["--rank", "2", "--checkpointing-steps", "5", "--mixed-precision", "no"]
    short = ["--max-steps", "7", "--batch-size", "3", "--prior-weight", "0.5"]
    short += ["--lora-rank", "2", "--checkpoint-every", "5", "--precision", "fp32"]
    rest = ["--method", "lora", "--snr-gamma", "5", "--ema-decay", "0.9"]
    rest += ["--class-guidance-scale", "3", "--adam-epsilon", "1e-7"]
    rest += ["--gradient-accumulation-steps", "2", "--prior", "prediction"]
    for names in (long, short):
        with pytest.raises(ZeroDivisionError):
            main(["dreambooth", *needed, "--output", "o", *rest, *names])
    first, second = seen
    assert first == second
    assert (first.max_steps, first.batch_size, first.prior_loss_weight) == (7, 3, 0.5)
    assert (first.lora_rank, first.checkpoint_every, first.precision) == (2, 5, "fp32")
    assert (first.snr_gamma, first.ema_decay, first.class_guidance_scale) == (5, 0.9, 3)
    assert (first.adam_epsilon, first.gradient_accumulation_steps) == (1e-7, 2)
    assert first.prior == "prediction"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paint"], "No such command 'paint'"),
        (["draw"], "Missing argument 'CAPTION'"),
        (["draw", "a cat", "--colour", "red"], "No such option: --colour"),
        (["draw", "a cat", "--size", "big"], "--size"),
        (["draw", "a cat", "--size", "0"], "size"),
        (["draw", "a cat", "--num", "0"], "--num"),
        (["draw", "a cat", "--seed", "-1"], "--seed"),
        (["subject"], "tlab subject --list"),
        (["subject", "pip"], "tlab subject NAME --out DIR"),
        (["subject", "nobody", "--out", "."], "nobody"),
        (["doctor", "--json", "no/such/folder/report.json"], "--json"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert words in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_draw_writes_pictures_that_tell_how_they_were_made(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    caption = "A striped cat!"
    assert (
        main(["draw", caption, "--size", "48", "--seed", "3", "--num", "2", "--out", f"{out}"]) == 0
    )
    assert sorted(path.name for path in out.iterdir()) == [
        "a-striped-cat-3.png",
        "a-striped-cat-4.png",
    ]
    first, second = (Image.open(out / f"a-striped-cat-{seed}.png") for seed in (3, 4))
    assert first.size == (48, 48)
    assert {"caption": caption, "seed": "3", "size": "48"}.items() <= first.text.items()
    assert not np.array_equal(np.asarray(first), np.asarray(second))
    assert capsys.readouterr().out.split() == [str(out / f"a-striped-cat-{s}.png") for s in (3, 4)]


def test_a_picture_can_be_drawn_again_from_its_own_text(tmp_path):
    main(["draw", "a blue robot in the snow", "--size", "48", "--num", "3", "--out", f"{tmp_path}"])
    last = Image.open(tmp_path / "a-blue-robot-in-the-snow-2.png")
    again = tmp_path / "again"
    text = last.text
    main(
        [
            "draw",
            text["caption"],
            "--size",
            text["size"],
            "--seed",
            text["seed"],
            "--out",
            f"{again}",
        ]
    )
    redrawn = Image.open(again / "a-blue-robot-in-the-snow-2.png")
    assert np.array_equal(np.asarray(last), np.asarray(redrawn))


def test_an_unknown_word_is_a_warning(tmp_path, capsys):
    assert main(["draw", "a quixotic cat", "--size", "48", "--out", f"{tmp_path}"]) == 0
    assert "quixotic" in one_line(capsys)
    assert (tmp_path / "a-quixotic-cat-0.png").exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["draw", "a cat", "--num", "2"], "a-cat-1.png"),
        (["subject", next(iter(SUBJECTS))], f"{next(iter(SUBJECTS))}-4.png"),
    ],
)
def test_nothing_is_overwritten(tmp_path, capsys, command, name):
    mine = tmp_path / name
    mine.write_text("mine")
    assert main([*command, "--out", f"{tmp_path}"]) == 2
    assert name in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert mine.read_text() == "mine"


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["draw", "a cat", "--out", f"{tmp_path / 'file'}"]) == 2
    assert "--out" in one_line(capsys)


def test_subject_writes_the_reference_pictures(tmp_path):
    name = next(iter(SUBJECTS))
    assert main(["subject", name, "--out", f"{tmp_path}"]) == 0
    pictures = [Image.open(path) for path in sorted(tmp_path.glob(f"{name}-*.png"))]
    assert [picture.size for picture in pictures] == [(64, 64)] * 5
    assert pictures[0].text["subject"] == name


def test_subjects_are_listed(capsys):
    assert main(["subject", "--list"]) == 0
    assert capsys.readouterr().out.split() == list(SUBJECTS)


def test_doctor_finds_this_machine_fit(tmp_path, capsys):
    report = tmp_path / "report.json"
    assert main(["doctor", "--json", f"{report}"]) == 0
    shown = capsys.readouterr().out
    findings = {finding["name"]: finding for finding in json.loads(report.read_text())}
    assert {
        "python",
        "packages",
        "lessons",
        "devices",
        "memory",
        "disk",
        "kernel",
    } <= findings.keys()
    for finding in findings.values():
        assert finding["detail"] in shown
    assert findings["kernel"]["state"] == "ok"


def broken_kernel(monkeypatch):
    monkeypatch.setattr("nbclient.NotebookClient.execute", lambda self: 1 / 0)


def missing_package(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["nosuch==1.0"])


def full_disk(monkeypatch):
    monkeypatch.setattr(doctor, "DISK_NEEDED", 2**80)


def no_model(monkeypatch):
    monkeypatch.setattr(loading, "PICTUREBOOK", Path("/elsewhere/picturebook"))


def no_lessons(monkeypatch):
    monkeypatch.setattr(copies, "__file__", "/elsewhere/tlab_diffusion/copies.py")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (broken_kernel, "kernel"),
        (missing_package, "nosuch"),
        (full_disk, "disk"),
        (no_lessons, "lessons"),
        (no_model, "picturebook"),
    ],
)
def test_doctor_says_how_to_mend_what_stops_a_lesson(monkeypatch, tmp_path, capsys, damage, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nbclient.NotebookClient.execute", lambda self: None)
    damage(monkeypatch)
    assert main(["doctor", "--json", "report.json"]) == 1
    findings = {finding["name"]: finding for finding in json.loads(Path("report.json").read_text())}
    assert findings[name]["state"] == "failed"
    assert findings[name]["fix"] in capsys.readouterr().out
    assert findings[name]["fix"]


def test_doctor_mentions_another_version_and_goes_on(monkeypatch):
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda name: ["torch==0.1", "pytest==0; extra == 'test'"]
    )
    torch, packages = doctor.packages()
    assert (torch.name, torch.state) == ("torch", "note")
    assert packages.detail == "0 of 1 at the tested version"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tests.tiny_pipeline import tiny_pipeline
    from tlab_diffusion.pretraining.networks import save_pipeline

    parts = tiny_pipeline().components
    folder = tmp_path_factory.mktemp("model")
    save_pipeline(folder, *(parts[name] for name in ("vae", "text_encoder", "tokenizer", "unet")))
    return str(folder)


def test_paths_and_the_bar_of_sample_share_no_line(model, tmp_path, monkeypatch):
    terminal = io.StringIO()
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, terminal)
    options = ["--model", model, "--num", "2", "--steps", "1", "--out", f"{tmp_path}"]
    assert main(["sample", "a red cat", *options]) == 0
    lines = [line.split("\r")[-1] for line in terminal.getvalue().split("\n")]
    assert len([line for line in lines if line.startswith(str(tmp_path))]) == 3
    assert len([line for line in lines if "100%" in line]) <= 1


def test_sample_draws_each_prompt_and_a_sheet(model, tmp_path, capsys):
    prompts = ["a red cat", "a blue dog"]
    settings = ["--model", model, "--num", "2", "--seed", "5", "--steps", "3"]
    assert main(["sample", *prompts, *settings, "--out", f"{tmp_path}"]) == 0
    names = ["a-blue-dog-5-0", "a-blue-dog-5-1", "a-red-cat-5-0", "a-red-cat-5-1"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == [*names, "sheet-a-red-cat-5"]
    pictures = {name: Image.open(tmp_path / f"{name}.png") for name in names}
    assert {picture.size for picture in pictures.values()} == {(64, 64)}
    text = pictures["a-blue-dog-5-1"].text
    assert text == {
        "prompt": "a blue dog",
        "place": "1",
        "number": "1",
        "model": model,
        "seed": "5",
        "steps": "3",
        "guidance_scale": "5.0",
        "solver": "ddim",
    }
    assert len({picture.tobytes() for picture in pictures.values()}) == 4

    again = tmp_path / "again"
    assert main(["sample", *prompts, *settings, "--out", f"{again}"]) == 0
    for name, picture in pictures.items():
        assert Image.open(again / f"{name}.png").tobytes() == picture.tobytes()


def test_sample_uses_the_settings_that_a_folder_was_measured_with(model, tmp_path):
    tuned = shutil.copytree(model, tmp_path / "tuned")
    measured = SamplerSettings("dpm-solver++", steps=2, guidance_scale=3.0)
    write_sampler_settings(tuned, measured)
    sample = ["sample", "a cat", "--num", "1", "--model", f"{tuned}"]
    assert main([*sample, "--out", f"{tmp_path / 'a'}"]) == 0
    assert main([*sample, "--solver", "ddim", "--steps", "1", "--out", f"{tmp_path / 'b'}"]) == 0
    texts = [Image.open(tmp_path / name / "a-cat-0-0.png").text for name in ("a", "b")]
    used = [(text["solver"], text["steps"], text["guidance_scale"]) for text in texts]
    assert used == [("dpm-solver++", "2", "3.0"), ("ddim", "1", "3.0")]


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch, tmp_path):
    """Undecodable bytes, control characters, and an encoding that lacks a letter."""
    out, errors = (io.TextIOWrapper(io.BytesIO(), "ascii", "strict") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", errors)
    folder = tmp_path / "a\udce9\x1b[31m\n\u202eé"
    assert main(["draw", "a cat", "--size", "48", "--out", f"{folder}"]) == 0
    assert main(["draw", "a cat", "--size", "48", "--out", f"{folder}"]) == 2
    for stream in (out, errors):
        stream.flush()
        (line,) = stream.buffer.getvalue().decode("ascii").splitlines()
        assert r"a\xe9\x1b[31m\n\u202e\xe9" in line


def test_prompts_of_one_name_have_files_of_their_own(model, tmp_path):
    prompts = ["a cat", "A cat!", "a $5 hat $\\foo$", "ящик", "дом"]
    settings = ["--model", model, "--num", "1", "--steps", "1", "--out", f"{tmp_path}"]
    assert main(["sample", *prompts, *settings]) == 0
    names = ["a-5-hat-foo-0-0", "a-cat-1-0-0", "a-cat-2-0-0", "scene-4-0-0", "scene-5-0-0"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == [*names, "sheet-a-cat-1-0"]


def test_sample_warns_of_words_that_are_cut(model, tmp_path, capsys):
    prompt = "a cat " * 15 + "in the snow"
    options = ["--num", "1", "--steps", "1", "--model", model, "--out", f"{tmp_path}"]
    assert main(["sample", prompt, *options]) == 0
    assert "warning: the prompt is longer than 32 tokens: 'in the snow' was cut" in (
        capsys.readouterr().err
    )


def test_a_path_that_cannot_be_looked_at_is_one_line(capsys, tmp_path):
    name = "x" * 300
    options = ["--subject-images", name, "--identifier", "zwx", "--class-noun", "robot"]
    assert main(["dreambooth", *options, "--output", f"{tmp_path / 'out'}"]) == 2
    assert "too long" in one_line(capsys)


def test_a_tuned_picture_book_knows_its_own_word_and_no_other(model, tmp_path, capsys):
    tuned = tmp_path / "tuned"
    shutil.copytree(model, tuned)
    options = ["--num", "1", "--steps", "1", "--model", f"{tuned}", "--out", f"{tmp_path}"]
    assert main(["sample", "a Quux cat in a wombat", *options]) == 0
    assert capsys.readouterr().err.count("warning: the picture book does not know") == 2
    settings = {"model": "picturebook", "identifier": "Quux"}
    (tuned / "run.json").write_text(json.dumps({"settings": settings}))
    assert main(["sample", "the Quux cat in a wombat", *options]) == 0
    assert capsys.readouterr().err.count("warning: the picture book does not know") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a cat", "--model", "nowhere"], "nowhere, which is not there"),
        (["a cat", "a cat"], "expected prompts that differ"),
        (["a cat", "--guidance-scale", "nan"], "guidance_scale: got nan"),
        (["a cat", "--solver", "euler"], "solver: got 'euler'"),
        (["a cat", "--out", "/proc/version/pictures"], "/proc/version, which exists"),
        (["a cat", "--num", "0"], "greater than or equal to 1"),
    ],
)
def test_sample_refuses_bad_input_before_it_loads(monkeypatch, tmp_path, capsys, arguments, line):
    monkeypatch.setattr("diffusers.StableDiffusionPipeline.from_pretrained", None)
    monkeypatch.chdir(tmp_path)
    assert main(["sample", *arguments]) == 2
    assert line in one_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_sample_overwrites_nothing(model, tmp_path, capsys):
    (tmp_path / "sheet-a-cat-0.png").write_text("mine")
    assert main(["sample", "a cat", "--model", model, "--out", f"{tmp_path}"]) == 2
    assert "sheet-a-cat-0.png" in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet-a-cat-0.png"]


def test_export_writes_one_file_and_refuses_bad_input(model, tmp_path, capsys):
    file = tmp_path / "one.safetensors"
    assert main(["export", str(model), str(file)]) == 0
    assert file.is_file() and str(file) in capsys.readouterr().out
    assert main(["export", str(model), str(file)]) == 2
    assert "which exists, expected a new file" in one_line(capsys)
    assert main(["export", str(model), str(tmp_path / "one.ckpt")]) == 2
    assert "expected a name that ends in .safetensors" in one_line(capsys)
    assert main(["export", "nowhere", str(tmp_path / "two.safetensors")]) == 2
    assert "nowhere, which is not there" in one_line(capsys)
