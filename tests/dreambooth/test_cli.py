"""`tlab dreambooth`, from a folder of pictures to a folder that draws."""

import json
import shutil
import signal

import pytest
from diffusers import DiffusionPipeline

from tests.dreambooth.tiny import model_folder
from tlab_diffusion.cli import main
from tlab_diffusion.dreambooth.checkpoint.resume import steps_done
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.dreambooth.training import trainer


@pytest.fixture
def run(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*options, identifier="zwx"):
        names = ["--identifier", identifier, "--class-noun", "robot"]
        folders = ["--subject-images", f"{pictures}", "--output", f"{tmp_path / 'tuned'}"]
        few = ["--max-steps", "2", "--num-class-images", "2"]
        return main(
            ["dreambooth", *folders, *names, "--model", f"{model_folder()}", *few, *options]
        )

    return run


def test_pictures_become_a_pipeline_that_plain_diffusers_draws_with(run, tmp_path, capsys):
    assert run() == 0
    said = capsys.readouterr()
    assert "0.png: used" in said.out
    assert "identifier 'zwx': 1 token" in said.out
    assert said.out.splitlines()[-1] == str(tmp_path / "tuned")
    for phase in ("loading", "class pictures", "training", "measuring"):
        assert f"{phase}: " in said.err
    assert "class pictures:   0%" in said.err or "0/2 pictures" in said.err
    assert "s left" in said.err
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "tuned")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a zwx robot", num_inference_steps=1, output_type="np").images.std() > 0


@pytest.mark.parametrize("method", ["lora", "textual-inversion"])
def test_the_lighter_methods_have_the_same_output(run, tmp_path, method):
    rank = ["--lora-rank", "2"] if method == "lora" else []
    assert run("--method", method, *rank) == 0
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "tuned")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a zwx", num_inference_steps=1, output_type="np").images.std() > 0
    record = json.loads((tmp_path / "tuned/run.json").read_text())["settings"]
    assert (record["method"], record["lora_rank"]) == (method, 2 if rank else None)


def test_an_optimizer_that_is_not_there_is_one_line(run, tmp_path, capsys):
    assert run("--optimizer", "adamw8bit") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tlab: optimizer: got adamw8bit on cpu")
    assert not (tmp_path / "tuned").exists()


def test_a_run_that_ended_goes_on_with_more_steps(run, tmp_path, capsys):
    assert run() == 0
    assert run("--max-steps", "3", "--resume") == 0
    assert "3/3" in capsys.readouterr().err


def test_the_end_names_the_step_that_was_kept_and_why(run, tmp_path, capsys):
    assert run("--evaluate-every", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    best = RunLog(tmp_path / "tuned").trade_off().best
    assert lines[-1] == str(tmp_path / "tuned")
    assert lines[-2].startswith(f"step {best}: identity")
    assert f"holds step {best}. Step {best} has the best balance" in lines[-3]


def test_a_finished_run_says_so_and_loads_no_model(run, tmp_path, capsys, monkeypatch):
    assert run() == 0
    capsys.readouterr()
    monkeypatch.setattr(trainer, "load", lambda *_: pytest.fail("a model was loaded"))
    assert run("--resume") == 0
    said = capsys.readouterr().out
    assert "all 2 steps are done: nothing is left to train or to measure" in said
    assert said.splitlines()[-1] == str(tmp_path / "tuned")
    assert "time: " not in said and "memory: " not in said, "an estimate of what is not done"


def test_a_run_whose_checkpoints_are_gone_is_refused_and_stays(run, tmp_path, capsys):
    assert run() == 0
    shutil.rmtree(tmp_path / "tuned/checkpoints")
    before = {path: path.read_bytes() for path in (tmp_path / "tuned").rglob("*.*")}
    assert run("--resume") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "whose checkpoints are gone" in line and "Put checkpoints/ back" in line
    assert before == {path: path.read_bytes() for path in (tmp_path / "tuned").rglob("*.*")}


def test_ctrl_c_saves_the_step_and_says_how_to_go_on(run, tmp_path, capsys, monkeypatch):
    take_step, taken = trainer.take_step, []

    def interrupted(*arguments, **options):
        taken.append(1)
        if len(taken) == 2:
            signal.raise_signal(signal.SIGINT)
        return take_step(*arguments, **options)

    monkeypatch.setattr(trainer, "take_step", interrupted)
    monkeypatch.setattr("sys.argv", ["tlab", "dreambooth", "--output", "my folder"])
    assert run("--max-steps", "50") == 130
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        f"interrupted: step 2 is saved in {tmp_path / 'tuned'}; "
        "continue with: tlab dreambooth --output 'my folder' --resume"
    )
    monkeypatch.undo()
    assert steps_done(tmp_path / "tuned") == 2


def test_everything_wrong_is_said_at_once_a_line_each(run, pictures, tmp_path, capsys):
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run("--class-prompt", "a robot", "--precision", "fp16") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("tlab: ") for line in lines)
    assert "broken.png" in lines[0] and "fp16" in lines[1]
    assert not (tmp_path / "tuned").exists()


def test_a_wrong_setting_is_one_line(run, tmp_path, capsys):
    assert run("--learning-rate", "0") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tlab: learning_rate: got 0.0")
    assert not (tmp_path / "tuned").exists()
