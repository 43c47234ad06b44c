"""A watched run: what it leaves, that watching changes nothing, and that a kill costs nothing."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.dreambooth.report.test_html import without_encoders
from tests.dreambooth.standin import hashed_sample, pixel_encoders, point
from tests.dreambooth.test_checkpoint import full_disk
from tests.dreambooth.tiny import PICTURES, new_config
from tlab_diffusion.dreambooth import run as runs
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.dreambooth.measures.selection import trade_off
from tlab_diffusion.dreambooth.presets import usual_evaluations
from tlab_diffusion.dreambooth.report import log as run_log
from tlab_diffusion.dreambooth.report.log import RunLog, best
from tlab_diffusion.dreambooth.run import Evaluated, run
from tlab_diffusion.dreambooth.training.trainer import Finished, Loaded, PriorImages, TrainStep
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import world
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL, read_sampler_settings

UNET = "unet/diffusion_pytorch_model.safetensors"
NOTHING_KEPT = {"checkpoints", "run.json"}


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(evaluator, "fast_sampler", hashed_sample)
    monkeypatch.setattr(world, "suitable_encoders", pixel_encoders)


def settings(folder, **changes):
    return new_config(
        folder / "out", **({"seed": 1, "max_steps": 7, "checkpoint_every": 3} | changes)
    )


def events_of(folder, *, kill_after=None, resume=False, evaluate_every=2, **changes):
    """Run to the end, or until a kill after so many events."""
    events = run(
        settings(folder, **changes),
        PICTURES,
        evaluate_every=evaluate_every,
        resume=resume,
        cache=folder.parent / "cache",
    )
    return list(itertools.islice(events, kill_after))


def left_by(folder):
    """All that a run leaves to be read, file by file; where it lies and ran is not in it."""
    out = folder / "out"
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != "run.json"]
    return {
        str(path.relative_to(out)): path.read_bytes().replace(bytes(out), b"OUT") for path in paths
    }


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing disturbs: its folder, its events, the weights of each step."""
    folder, weights, events = tmp_path_factory.mktemp("runs") / "straight", {}, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "fast_sampler", hashed_sample)
        patch.setattr(world, "suitable_encoders", pixel_encoders)
        for event in run(
            settings(folder), PICTURES, evaluate_every=2, cache=folder.parent / "cache"
        ):
            events.append(event)
            if isinstance(event, TrainStep):
                state = event.pipeline.unet.state_dict()
                weights[event.step] = {name: value.clone() for name, value in state.items()}
    return folder, events, weights


def test_what_a_run_leaves(straight):
    folder, events, _ = straight
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").open()]
    measured = [event for event in events if isinstance(event, Evaluated)]
    assert [event.step for event in measured] == [0, 2, 4, 6, 7]
    assert {line["step"]: line["metrics"] for line in lines if "metrics" in line} == {
        step: json.loads(json.dumps(metrics.as_dict())) for step, metrics in measured
    }
    assert isinstance(events[-1], Finished)
    assert (folder / "out/report.html").is_file()
    assert read_sampler_settings(folder / "out") == MEASURING_SMALL  # as measured
    strips = sorted((folder / "out/samples").iterdir())
    assert [path.name for path in strips] == [f"step-{step:08}.png" for step in (0, 2, 4, 6, 7)]
    assert Image.open(strips[0]).size == (4 * 64, 64)


def test_a_line_has_the_mean_losses_since_the_one_before(straight):
    folder, events, _ = straight
    steps = [event for event in events if isinstance(event, TrainStep)]
    lines = [line for line in RunLog(folder / "out").lines() if "subject_loss" in line]
    assert [line["step"] for line in lines] == [3, 6, 7]  # where checkpoints are, and at the end
    for line, part in zip(lines, (steps[:3], steps[3:6], steps[6:]), strict=True):
        assert line["subject_loss"] == pytest.approx(np.mean([s.subject_loss for s in part]))
        assert line["prior_loss"] == pytest.approx(np.mean([s.prior_loss for s in part]))
        assert line["learning_rate"] == 3e-4


def test_every_ten_steps_have_a_line(tmp_path):
    log = RunLog(tmp_path)
    for step in range(1, 26):
        log.add_losses(step, (step, 2 * step), 1e-3, due=step == 25)
    assert [(line["step"], line["subject_loss"], line["prior_loss"]) for line in log.lines()] == [
        (10, 5.5, 11.0),
        (20, 15.5, 31.0),
        (25, 23.0, 46.0),
    ]


def test_the_folder_has_the_best_steps_weights(straight):
    folder, events, weights = straight
    points = [(event.step, event.metrics) for event in events if isinstance(event, Evaluated)]
    chosen = trade_off(RunLog(folder / "out").points()).best
    assert chosen in dict(points) and chosen != 7, "a case that shows nothing"
    saved = load_file(folder / "out" / UNET)
    assert all((saved[name] == value).all() for name, value in weights[chosen].items())
    assert not all((saved[name] == value).all() for name, value in weights[7].items())
    assert [path.name for path in (folder / "out/best").iterdir()] == [f"step-{chosen:08}"]
    assert checkpoint.steps_done(folder / "out") == 7


def test_watching_changes_no_weight(straight, tmp_path):
    _, _, weights = straight
    events = events_of(tmp_path / "unwatched", evaluate_every=None)
    assert not any(isinstance(event, Evaluated) for event in events)
    out = tmp_path / "unwatched/out"
    saved = load_file(out / UNET)  # without metrics the last step is the result
    assert all((saved[name] == value).all() for name, value in weights[7].items())
    assert not (out / "best").exists()
    assert [path.name for path in (out / "samples").iterdir()] == ["step-00000007.png"]
    assert (out / "report.html").is_file()


@pytest.mark.parametrize("kill_after", [1, 2, 5, 8, 11, 13, 14])
def test_a_kill_between_events_costs_nothing(straight, kill_after):
    folder = straight[0].with_name(f"killed-{kill_after}")
    events_of(folder, kill_after=kill_after)
    assert not (folder / "out/report.html").exists()
    events_of(folder, resume=True)
    assert left_by(folder) == left_by(straight[0])


@pytest.mark.parametrize(
    "owner, name, call",
    [
        (RunLog, "add_strip", 3),
        (run_log, "export_pipeline", 1),
        (run_log, "step_of", 1),
        (RunLog, "add_metrics", 4),
        (RunLog, "add_metrics", 5),
        (RunLog, "drop_worse", 4),
        (checkpoint, "save", 2),
        (checkpoint, "save", 3),
        (RunLog, "use_best", 1),
        (runs, "write_report", 1),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_within_an_event_costs_nothing(straight, monkeypatch, owner, name, call, when):
    folder = straight[0].with_name(f"{name}-{call}-{when}")
    original, calls = getattr(owner, name), itertools.count(1)

    def killed(*arguments):
        last = next(calls) == call
        if last and when == "before":
            raise KeyboardInterrupt
        result = original(*arguments)
        if last:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            events_of(folder)
    events_of(folder, resume=True)
    assert left_by(folder) == left_by(straight[0])


@pytest.mark.parametrize("name", ["strip", "measure"])
def test_the_last_step_is_safe_before_it_is_looked_at(straight, monkeypatch, name):
    """Drawing takes the most memory: where it ends the run, no step is taken again."""
    folder = straight[0].with_name(f"no-memory-for-the-last-{name}")
    original = getattr(Evaluator, name)

    def hungry(self, sample):
        if checkpoint.steps_done(folder / "out") == 7:
            raise MemoryError
        return original(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, name, hungry)
        with pytest.raises(MemoryError):
            events_of(folder)
    assert checkpoint.steps_done(folder / "out") == 7
    assert not any((folder / "out" / each).exists() for each in ("model_index.json", "report.html"))
    again = events_of(folder, resume=True)
    assert [event.step for event in again if isinstance(event, TrainStep)] == [7]
    assert again[-2] == straight[1][-2] and isinstance(again[-1], Finished)
    assert left_by(folder) == left_by(straight[0])


def test_a_last_step_that_is_due_anyway_is_looked_at_once(tmp_path, monkeypatch):
    measure, safe = Evaluator.measure, []

    def noted(self, sample):
        safe.append(checkpoint.steps_done(tmp_path / "run/out"))
        return measure(self, sample)

    monkeypatch.setattr(Evaluator, "measure", noted)
    events_of(tmp_path / "run", max_steps=4)
    assert safe == [0, 0, 4]  # at steps 0, 2 and 4


def test_a_complete_run_is_not_looked_at_again(straight, monkeypatch):
    folder = straight[0].with_name("complete")
    events_of(folder)
    monkeypatch.setattr(Evaluator, "strip", lambda *_: pytest.fail("drawn again"))
    monkeypatch.setattr(Evaluator, "measure", lambda *_: pytest.fail("measured again"))
    again = events_of(folder, resume=True)
    assert [type(event) for event in again] == [Loaded, PriorImages, TrainStep, Finished]
    assert left_by(folder) == left_by(straight[0])


def test_a_run_that_was_not_measured_can_be_at_its_end(straight):
    folder = straight[0].with_name("measured-later")
    events_of(folder, evaluate_every=None)
    again = events_of(folder, resume=True)
    assert [event for event in again if isinstance(event, Evaluated)] == [
        event for event in straight[1] if isinstance(event, Evaluated) and event.step in (0, 7)
    ]
    assert [path.name for path in (folder / "out/best").iterdir()] == ["step-00000007"]


def test_no_report_stands_beside_weights_that_it_does_not_know(straight, monkeypatch):
    folder = straight[0].with_name("longer-without-report")
    events_of(folder)
    monkeypatch.setattr(runs, "write_report", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        events_of(folder, resume=True, max_steps=9)
    assert not (folder / "out/report.html").exists()


def test_a_line_that_a_kill_cut_short_is_taken_back(tmp_path):
    log = RunLog(tmp_path)
    log.add_losses(10, (1, 1), 1e-3, due=False)
    whole = log.file.read_text()
    log.file.write_text(whole + whole[:20])
    log.rewind(10)
    assert log.file.read_text() == whole
    log.rewind(9)
    assert log.file.read_text() == ""


def test_a_run_may_end_before_the_best_step_of_its_interrupted_part(tmp_path, monkeypatch):
    """The weights of the best step up to the newest checkpoint stay until a newer one is there."""
    saved = []
    monkeypatch.setattr(run_log, "export_pipeline", lambda _, path, __: path.mkdir(parents=True))
    monkeypatch.setattr(checkpoint, "steps_done", lambda folder: saved[-1] if saved else 0)
    log = RunLog(tmp_path)
    log.add_metrics(*point(0, identity=0.0, prompt_accuracy=0.9), "we")
    kept = {}
    for step, identity in ((1, 0.4), (2, 0.3), (3, 0.6), (4, 0.8), (5, 0.7), (7, 0.9)):
        measured = point(step, identity=identity, prompt_accuracy=0.9)
        log.keep_if_best(measured, None, {})
        log.add_metrics(*measured, "we")
        log.drop_worse()
        kept[step] = sorted(int(path.name[5:]) for path in (tmp_path / "best").iterdir())
        if step == 2 or step == 5:
            saved.append(step)
    assert kept == {1: [1], 2: [1], 3: [1, 3], 4: [1, 4], 5: [1, 4], 7: [4, 7]}


def test_no_best_without_the_original_or_anything_later():
    first, later = (
        point(0, identity=0.0, prompt_accuracy=1.0),
        point(5, identity=0.5, prompt_accuracy=1.0),
    )
    assert best([first]) is None and best([later]) is None and best([]) is None
    assert best([first, later]) == 5


def test_more_steps_go_on_and_older_measures_stay(straight, tmp_path):
    folder = straight[0].with_name("longer")
    events_of(folder)
    events_of(folder, resume=True, max_steps=9)
    steps = [line["step"] for line in RunLog(folder / "out").lines() if "metrics" in line]
    assert steps == [0, 2, 4, 6, 7, 8, 9]


def other_encoders(*_):
    """In place of `suitable_encoders`, as where a network can be reached again."""
    return replace(pixel_encoders(), name="others")


def test_other_encoders_do_not_go_on_with_a_curve(straight, monkeypatch):
    folder = straight[0].with_name("two-juries")
    events_of(folder, kill_after=7)
    before = left_by(folder)
    with monkeypatch.context() as patch:
        patch.setattr(world, "suitable_encoders", other_encoders)
        with pytest.raises(
            InputError, match="encoders: got 'others', expected 'a few pix"
        ) as error:
            events_of(folder, resume=True)
    assert "\n" not in str(error.value) and "Continue with the same" in str(error.value)
    assert left_by(folder) == before
    events_of(folder, resume=True)
    assert left_by(folder) == left_by(straight[0])


def test_an_older_run_that_names_no_encoders_goes_on(straight, monkeypatch):
    folder = straight[0].with_name("unnamed-jury")
    events_of(folder, kill_after=7)
    log = RunLog(folder / "out")
    assert log.encoders == "a few pixels"
    log.file.write_text("".join(json.dumps(without_encoders(line)) + "\n" for line in log.lines()))
    assert log.encoders is None
    monkeypatch.setattr(world, "suitable_encoders", other_encoders)
    events_of(folder, resume=True)
    assert log.encoders == "others"


def test_who_measures_nothing_needs_no_encoders(straight, monkeypatch):
    folder = straight[0].with_name("no-jury")
    events_of(folder, kill_after=7)
    monkeypatch.setattr(world, "suitable_encoders", other_encoders)
    assert isinstance(events_of(folder, resume=True, evaluate_every=None)[-1], Finished)
    assert "computed by a few pixels." in (folder / "out/report.html").read_text()


def test_the_original_is_measured_once(tmp_path, monkeypatch):
    calls = []
    measure = Evaluator.measure

    def counted(self, sample):
        calls.append(sample)
        return measure(self, sample)

    monkeypatch.setattr(Evaluator, "measure", counted)
    measured = []
    for name in ("one", "other"):
        events = events_of(tmp_path / name, max_steps=1)
        measured.append([event for event in events if isinstance(event, Evaluated)])
    assert len(calls) == 3  # the original, and each run's last step
    assert measured[0] == measured[1]
    (kept,) = (tmp_path / "cache/metrics").glob("*.json")
    kept.write_text("{}")  # damaged: measured again
    assert events_of(tmp_path / "third", max_steps=1, kill_after=2)[1] == measured[0][0]
    assert len(calls) == 4


def test_a_full_disk_is_one_line(tmp_path):
    events = run(settings(tmp_path), PICTURES, evaluate_every=2, cache=tmp_path / "cache")
    next(events)
    with full_disk(100), pytest.raises(InputError, match="could not be written.*--resume") as error:
        list(events)
    assert "\n" not in str(error.value)
    events_of(tmp_path.with_name(tmp_path.name), resume=True)


@pytest.mark.parametrize("bad", [-1, 2.5, True, "often"])
def test_a_wrong_evaluate_every_is_refused_before_anything_is_written(tmp_path, bad):
    with pytest.raises(InputError, match="evaluate_every"):
        run(settings(tmp_path), PICTURES, evaluate_every=bad)
    assert not (tmp_path / "out").exists()


def test_small_models_are_measured_by_themselves_large_ones_when_asked(tmp_path):
    counts = {600: 200, 800: 267, 2: 1}  # 267, 534 and 800
    assert {n: usual_evaluations("picturebook", n) for n in counts} == counts
    assert usual_evaluations("owner/name", 800) is None
