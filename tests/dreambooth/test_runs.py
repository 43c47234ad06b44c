"""A measured run: what it leaves, that measuring changes nothing, and that a kill costs nothing."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.dreambooth.fake_trainer import fakes
from tests.dreambooth.report.test_html import without_encoders
from tests.dreambooth.standin import hashed_sample, pixel_encoders, point
from tests.dreambooth.test_checkpoint import full_disk
from tests.dreambooth.tiny import PICTURES, model_folder, new_config
from tlab_diffusion.dreambooth import run as runs
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.measures.evaluator import WATCHING, Evaluator
from tlab_diffusion.dreambooth.measures.selection import trade_off
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.preflight.resources import STRIP, pictures_of
from tlab_diffusion.dreambooth.presets import usual_evaluations
from tlab_diffusion.dreambooth.report.console import show
from tlab_diffusion.dreambooth.report.log import RunLog, best
from tlab_diffusion.dreambooth.run import Evaluated, run
from tlab_diffusion.dreambooth.training.trainer import Finished, TrainStep
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import world
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL, read_sampler_settings

UNET = "unet/diffusion_pytorch_model.safetensors"
EVALUATED = [0, 2, 4, 5]
EVENTS, CHANGES = 11, 33  # of a run: what it yields, and how often it changes the disk


@pytest.fixture
def fake():
    with fakes():
        yield


def settings(folder, **changes):
    return new_config(
        folder / "out", **({"seed": 2, "max_steps": 5, "checkpoint_every": 3} | changes)
    )


def events_of(folder, *, kill_after=None, resume=False, evaluate_every=2, cache=None, **changes):
    """Run to the end, or until a kill after so many events."""
    events = run(
        settings(folder, **changes),
        PICTURES,
        evaluate_every=evaluate_every,
        resume=resume,
        cache=cache or folder / "cache",
    )
    return list(itertools.islice(events, kill_after))


def left_by(folder):
    """All that a run leaves to be read, file by file; where it lies and ran is not in it."""
    out = folder / "out"
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "run.json"]
    return {
        str(path.relative_to(out)): path.read_bytes().replace(bytes(out), b"OUT") for path in paths
    }


def steps_of(events, kind):
    return [event.step for event in events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of the fake trainer that nothing disturbs: its folder and events."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    with fakes():
        return folder, events_of(folder)


# The real trainer


@contextmanager
def cheap_measures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "fast_sampler", hashed_sample)
        patch.setattr(world, "suitable_encoders", pixel_encoders)
        yield


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A run of the real trainer that nothing disturbs: folder, events, weights of each step."""
    folder, weights, events = tmp_path_factory.mktemp("real") / "straight", {}, []
    with cheap_measures():
        for event in run(settings(folder), PICTURES, evaluate_every=2, cache=folder / "cache"):
            events.append(event)
            if isinstance(event, TrainStep):
                state = event.pipeline.unet.state_dict()
                weights[event.step] = {name: value.clone() for name, value in state.items()}
    return folder, events, weights


def test_what_a_run_leaves(real):
    folder, events, _ = real
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").open()]
    measured = [event for event in events if isinstance(event, Evaluated)]
    assert [event.step for event in measured] == EVALUATED
    assert {line["step"]: line["metrics"] for line in lines if "metrics" in line} == {
        step: json.loads(json.dumps(metrics.as_dict())) for step, metrics in measured
    }
    assert isinstance(events[-1], Finished)
    assert (folder / "out/report.html").is_file()
    assert read_sampler_settings(folder / "out") == MEASURING_SMALL  # as measured
    strips = sorted((folder / "out/samples").iterdir())
    assert [path.name for path in strips] == [f"step-{step:08}.png" for step in EVALUATED]
    assert Image.open(strips[0]).size == (4 * 64, 64)


def test_a_line_has_the_mean_losses_since_the_one_before(real):
    folder, events, _ = real
    steps = [event for event in events if isinstance(event, TrainStep)]
    lines = [line for line in RunLog(folder / "out").lines if "subject_loss" in line]
    assert [line["step"] for line in lines] == [2, 3, 4, 5]  # where checkpoints are
    parts = steps[:2], steps[2:3], steps[3:4], steps[4:]
    for line, part in zip(lines, parts, strict=True):
        assert line["subject_loss"] == pytest.approx(np.mean([s.subject_loss for s in part]))
        assert line["prior_loss"] == pytest.approx(np.mean([s.prior_loss for s in part]))
        assert line["learning_rate"] == 3e-4


def test_the_folder_has_the_best_steps_weights(real):
    folder, events, weights = real
    chosen = trade_off(RunLog(folder / "out").points()).best
    assert chosen in steps_of(events, Evaluated) and chosen != 5, "a case that shows nothing"
    saved = load_file(folder / "out" / UNET)
    assert all((saved[name] == value).all() for name, value in weights[chosen].items())
    assert not all((saved[name] == value).all() for name, value in weights[5].items())
    assert [path.name for path in (folder / "out/best").iterdir()] == [f"step-{chosen:08}"]
    assert checkpoint.steps_done(folder / "out") == 5


def test_measuring_changes_no_weight(real, tmp_path):
    folder, _, weights = real
    with cheap_measures():
        events = events_of(tmp_path, evaluate_every=None, cache=folder / "cache")
    assert steps_of(events, Evaluated) == []
    out = tmp_path / "out"
    saved = load_file(out / UNET)  # without metrics the last step is the result
    assert all((saved[name] == value).all() for name, value in weights[5].items())
    assert not (out / "best").exists()
    assert [path.name for path in (out / "samples").iterdir()] == ["step-00000005.png"]
    assert (out / "report.html").is_file()


def test_a_killed_process_goes_on_exactly(real):
    """SIGKILL while step 4, which is due for no checkpoint, is measured."""
    folder = real[0].with_name("killed")
    arguments = [sys.executable, "-m", "tests.dreambooth.test_runs", folder, model_folder()]
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(arguments, cwd=root, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert checkpoint.steps_done(folder / "out") == 4
    with cheap_measures():
        again = events_of(folder, resume=True)
    assert steps_of(again, TrainStep) == [4, 5] and steps_of(again, Evaluated) == [4, 5]
    assert left_by(folder) == left_by(real[0])


def kill_while_measuring(folder: str, model: str) -> None:
    """What the process does."""
    measure = Evaluator.measure

    def killed(self, sample):
        if checkpoint.steps_done(Path(folder) / "out") == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(self, sample)

    Evaluator.measure = killed
    with cheap_measures():
        events_of(Path(folder), model=model)


# The fake trainer


@pytest.mark.parametrize("kill_after", range(1, EVENTS))
def test_a_kill_between_events_costs_nothing(fake, straight, tmp_path, kill_after):
    assert len(straight[1]) == EVENTS, "not every event is tried"
    events_of(tmp_path, kill_after=kill_after)
    assert not (tmp_path / "out/report.html").exists()
    events_of(tmp_path, resume=True)
    assert left_by(tmp_path) == left_by(straight[0])


@contextmanager
def killed_at(number, when):
    """Kill before or after a change of the disk; yields a list of all changes."""
    changes = []

    def counted(change):
        def changed(*arguments, **options):
            changes.append(change.__name__)
            kill = len(changes) == number
            if kill and when == "before":
                raise KeyboardInterrupt
            result = change(*arguments, **options)
            if kill:
                raise KeyboardInterrupt
            return result

        return changed

    with pytest.MonkeyPatch.context() as patch:
        places = (Path, "replace"), (Path, "unlink"), (shutil, "rmtree"), (os, "fsync")
        for owner, name in places:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield changes


def test_every_change_of_the_disk_is_tried(fake, tmp_path):
    with killed_at(None, "") as changes:
        events_of(tmp_path)
    assert len(changes) == CHANGES


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, CHANGES + 1))
def test_a_kill_at_a_change_of_the_disk_costs_nothing(fake, straight, tmp_path, number, when):
    with killed_at(number, when), pytest.raises(KeyboardInterrupt):
        events_of(tmp_path)
    events_of(tmp_path, resume=True)
    assert left_by(tmp_path) == left_by(straight[0])


@pytest.mark.parametrize("name", ["strip", "measure"])
def test_a_step_is_saved_before_it_is_measured(fake, straight, tmp_path, monkeypatch, name):
    """Drawing takes the most memory: where it ends a run, no step is taken again."""
    original, saved = getattr(Evaluator, name), []

    def noted(self, sample):
        saved.append(checkpoint.steps_done(tmp_path / "out"))
        if saved[-1] == 5:
            raise MemoryError
        return original(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, name, noted)
        with pytest.raises(MemoryError):
            events_of(tmp_path, checkpoint_every=100)
    assert saved == EVALUATED
    again = events_of(tmp_path, checkpoint_every=100, resume=True)
    assert steps_of(again, TrainStep) == [5] and again[-2] == straight[1][-2]


def test_ctrl_c_while_measuring_loses_no_step(fake, tmp_path, monkeypatch, capsys):
    config = settings(tmp_path, checkpoint_every=100)
    start = partial(run, config, PICTURES, evaluate_every=2, resume=True, cache=tmp_path)
    measure = Evaluator.measure

    def interrupted(self, sample):
        if checkpoint.steps_done(config.output) == 4:
            signal.raise_signal(signal.SIGINT)
        return measure(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "measure", interrupted)
        assert show(Preflight(config, PICTURES, (), None, None, ()), start, "again") == 130
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"interrupted: step 4 is saved in {config.output}; continue with: again"
    assert steps_of(start(), TrainStep) == [4, 5]


@pytest.fixture
def finished(fake, tmp_path, monkeypatch):
    """The folder of a finished run; whoever loads a model fails."""
    events_of(tmp_path)

    def no_model(*_, **__):
        pytest.fail("a model was loaded")
        yield

    monkeypatch.setattr(runs, "train", no_model)
    return tmp_path


def test_a_finished_run_loads_no_model(finished):
    before = left_by(finished)
    assert events_of(finished, resume=True) == [Finished(5, finished / "out", None)]
    assert left_by(finished) == before


@pytest.mark.parametrize(
    "removed, changes",
    [
        ("report.html", {}),
        ("model_index.json", {}),
        (None, {"max_steps": 6}),
        (None, {"evaluate_every": None}),  # which gives the folder the last weights
    ],
)
def test_a_run_that_is_not_finished_loads_one(finished, removed, changes):
    if removed:
        (finished / "out" / removed).unlink()
    with pytest.raises(pytest.fail.Exception, match="a model was loaded"):
        events_of(finished, resume=True, **changes)


def test_a_run_that_was_not_measured_can_be_at_its_end(fake, straight, tmp_path):
    events_of(tmp_path, evaluate_every=None)
    again = events_of(tmp_path, resume=True)
    assert [event for event in again if isinstance(event, Evaluated)] == [
        event for event in straight[1] if isinstance(event, Evaluated) and event.step in (0, 5)
    ]
    assert [path.name for path in (tmp_path / "out/best").iterdir()] == ["step-00000005"]
    (event,) = events_of(tmp_path, resume=True)
    assert isinstance(event, Finished), "steps 2 and 4 can never be measured"


def test_a_longer_run_has_no_report_until_its_end_and_keeps_older_metrics(fake, tmp_path):
    events_of(tmp_path)
    events_of(tmp_path, resume=True, max_steps=7, kill_after=3)
    assert not (tmp_path / "out/report.html").exists()
    events_of(tmp_path, resume=True, max_steps=7)
    assert [each.step for each in RunLog(tmp_path / "out").points()] == [*EVALUATED, 6, 7]
    assert (tmp_path / "out/report.html").exists()


def other_encoders(*_):
    """In place of `suitable_encoders`, as where a network can be reached again."""
    return replace(pixel_encoders(), name="others")


def test_other_encoders_do_not_go_on_with_a_curve(fake, straight, tmp_path, monkeypatch):
    events_of(tmp_path, kill_after=7)
    before = left_by(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(world, "suitable_encoders", other_encoders)
        with pytest.raises(
            InputError, match="encoders: got 'others', expected 'a few pix"
        ) as error:
            events_of(tmp_path, resume=True)
    assert "\n" not in str(error.value) and "Continue with the same" in str(error.value)
    assert left_by(tmp_path) == before
    events_of(tmp_path, resume=True)
    assert left_by(tmp_path) == left_by(straight[0])


def test_an_older_run_that_names_no_encoders_goes_on(fake, tmp_path, monkeypatch):
    events_of(tmp_path, kill_after=7)
    log = RunLog(tmp_path / "out")
    assert log.encoders == "a few pixels"
    log.file.write_text("".join(json.dumps(without_encoders(line)) + "\n" for line in log.lines))
    assert RunLog(tmp_path / "out").encoders is None
    monkeypatch.setattr(world, "suitable_encoders", other_encoders)
    events_of(tmp_path, resume=True)
    assert RunLog(tmp_path / "out").encoders == "others"


def test_a_run_without_metrics_needs_no_encoders(fake, tmp_path, monkeypatch):
    events_of(tmp_path, kill_after=7)
    monkeypatch.setattr(world, "suitable_encoders", lambda *_: pytest.fail("encoders were loaded"))
    assert isinstance(events_of(tmp_path, resume=True, evaluate_every=None)[-1], Finished)
    assert "a few pixels" in (tmp_path / "out/metrics.jsonl").read_text()


def test_the_original_is_measured_once(fake, tmp_path, monkeypatch):
    calls, measure, cache = [], Evaluator.measure, tmp_path / "cache"

    def counted(self, sample):
        calls.append(sample)
        return measure(self, sample)

    monkeypatch.setattr(Evaluator, "measure", counted)
    one, other = (
        [
            e
            for e in events_of(tmp_path / name, max_steps=1, cache=cache)
            if isinstance(e, Evaluated)
        ]
        for name in ("one", "other")
    )
    assert len(calls) == 3  # the original, and each run's last step
    assert one == other
    (kept,) = (cache / "metrics").glob("*.json")
    kept.write_text("{}")  # damaged: measured again
    again = events_of(tmp_path / "third", max_steps=1, kill_after=2, cache=cache)
    assert again[1] == one[0]
    assert len(calls) == 4


def test_progress_counts_what_is_drawn(fake, tmp_path):
    """Of two runs the second has the original's metrics from the cache."""
    measured = pictures_of(WATCHING)
    for name, number in (("one", measured), ("other", STRIP)):
        seen = []
        events = run(
            settings(tmp_path / name),
            PICTURES,
            evaluate_every=2,
            cache=tmp_path / "cache",
            progress=lambda *news, seen=seen: seen.append(news),
        )
        list(events)
        assert [done for _, done, _ in seen] == list(range(1, number + 3 * measured + 1))
        assert seen[0] == ("measuring", 1, 4 * measured)
        assert seen[-1] == ("measuring", number + 3 * measured, number + 3 * measured)


def test_a_full_disk_is_one_line(fake, tmp_path):
    events = run(settings(tmp_path), PICTURES, evaluate_every=2, cache=tmp_path / "cache")
    next(events)
    with full_disk(100), pytest.raises(InputError, match="could not be written.*--resume") as error:
        list(events)
    assert "\n" not in str(error.value)
    events_of(tmp_path, resume=True)


@pytest.mark.parametrize("bad", [-1, 2.5, True, "often"])
def test_a_wrong_evaluate_every_is_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(InputError, match="evaluate_every"):
        run(settings(tmp_path), PICTURES, evaluate_every=bad)
    assert not (tmp_path / "out").exists()


# The log


def test_every_ten_steps_have_a_line(tmp_path):
    log = RunLog(tmp_path)
    for step in range(1, 26):
        log.add_losses(step, (step, 2 * step), 1e-3, due=step == 25)
    assert log.lines == RunLog(tmp_path).lines
    assert [(line["step"], line["subject_loss"], line["prior_loss"]) for line in log.lines] == [
        (10, 5.5, 11.0),
        (20, 15.5, 31.0),
        (25, 23.0, 46.0),
    ]


def test_a_line_that_a_kill_cut_short_is_removed(tmp_path):
    RunLog(tmp_path).add_losses(10, (1, 1), 1e-3, due=False)
    file = tmp_path / "metrics.jsonl"
    whole = file.read_text()
    file.write_text(whole + whole[:20])
    log = RunLog(tmp_path)
    log.rewind(10)
    assert file.read_text() == whole
    log.rewind(9)
    assert file.read_text() == "" and log.lines == []


def test_the_log_is_read_once(fake, tmp_path, monkeypatch):
    read, times = Path.read_text, []

    def counted(path, **options):
        if path.name == "metrics.jsonl":
            times.append(path)
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", counted)
    events_of(tmp_path, evaluate_every=1)
    events_of(tmp_path, evaluate_every=1, resume=True, max_steps=7)
    assert len(times) == 1  # a new run has none to read


def test_no_best_without_the_original_or_anything_later():
    first, later = (
        point(0, identity=0.0, prompt_accuracy=1.0),
        point(5, identity=0.5, prompt_accuracy=1.0),
    )
    assert best([first]) is None and best([later]) is None and best([]) is None
    assert best([first, later]) == 5


def test_small_models_are_measured_by_themselves_large_ones_when_asked():
    counts = {600: 200, 800: 267, 2: 1}  # 267, 534 and 800
    assert {n: usual_evaluations("picturebook", n) for n in counts} == counts
    assert usual_evaluations("owner/name", 800) is None


if __name__ == "__main__":
    kill_while_measuring(*sys.argv[1:])
