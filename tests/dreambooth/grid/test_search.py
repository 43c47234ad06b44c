r"""A search gives what single trainings give: at once, after kills, and with several workers."""

import gc
import itertools
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.dreambooth.fake_trainer import fake_train
from tests.dreambooth.grid.grids import COUNTS, RATES, STEPS, events_of, stand_ins, start
from tests.dreambooth.standin import hashed_sample
from tests.dreambooth.test_checkpoint import full_disk
from tests.dreambooth.tiny import PICTURES, new_config
from tlab_diffusion.course.stored import load_grid
from tlab_diffusion.dreambooth.checkpoint.run_record import read_run
from tlab_diffusion.dreambooth.grid import worker
from tlab_diffusion.dreambooth.grid.result import Grid, GridPoint
from tlab_diffusion.dreambooth.grid.search import Complete, search
from tlab_diffusion.dreambooth.grid.store import GridStore
from tlab_diffusion.dreambooth.grid.worker import Measured, Training
from tlab_diffusion.dreambooth.measures.evaluator import evaluator_of
from tlab_diffusion.dreambooth.training.trainer import Finished, Loaded, TrainStep, train
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL, read_sampler_settings

UNET = "unet/diffusion_pytorch_model.safetensors"
POINTS = [GridPoint(rate, steps) for rate in sorted(RATES) for steps in sorted(STEPS)]
MOST = max(STEPS)


@pytest.fixture
def fake():
    """The fake trainer."""
    with stand_ins(fake=True):
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def real(tmp_path_factory, cache):
    """A grid by the real trainer: its folder and its events."""
    folder = tmp_path_factory.mktemp("real") / "straight"
    with stand_ins():
        return folder, list(events_of(folder, cache))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A grid by the fake trainer, without interruption."""
    folder = tmp_path_factory.mktemp("grid") / "straight"
    with stand_ins(fake=True):
        list(events_of(folder, folder.parent / "cache"))
    return folder


def left_in(folder):
    """All files of a grid but its locks."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {n: path.read_bytes() for n, path in files.items() if not n.startswith("locks/")}


def steps_of(events):
    return [event.step for event in events if isinstance(event, TrainStep)]


def test_one_training_gives_what_a_training_of_its_own_gives_each_trial(real, tmp_path):
    folder, events = real
    grid = GridStore(folder).read()
    assert list(grid.trials) == POINTS
    best = grid.best
    for point in {POINTS[1], POINTS[-1], best.point}:
        config = new_config(
            tmp_path / point.name,
            learning_rate=point.learning_rate,
            max_steps=point.steps,
            num_class_images=2,
            batch_size=1,
        )
        *_, last = (
            event
            for event in train(config, PICTURES, cache=tmp_path)
            if isinstance(event, TrainStep | Finished)
        )
        with stand_ins():
            alone = evaluator_of(config, PICTURES, counts=COUNTS)
            sample = hashed_sample(last.pipeline)
            assert alone.measure(sample) == grid.trials[point].metrics
            strip = np.concatenate(list(alone.strip(sample)), axis=1)
        with Image.open(folder / f"pictures/{point.name}.png") as image:
            assert (np.asarray(image) == strip).all()
    ours, own = (load_file(f / UNET) for f in (folder / "best", tmp_path / best.point.name))
    assert all((ours[name] == value).all() for name, value in own.items())
    assert best.score == max(e.trial.score for e in events if isinstance(e, Measured))
    assert not (folder / "trainings").exists()
    # `tlab evaluate` finds the base and the sampler settings.
    record = read_run(folder / "best")
    assert record.settings["model"] == config.model and record.fingerprint.weights is not None
    assert record.settings["max_steps"] == best.point.steps
    assert read_sampler_settings(folder / "best") == MEASURING_SMALL


def test_each_rate_is_trained_once_and_the_original_measured_once(real):
    folder, events = real
    trainings = [event for event in events if isinstance(event, Training)]
    assert trainings == [Training(rate, MOST) for rate in sorted(RATES)]
    assert len(steps_of(events)) == len(RATES) * MOST
    assert not any(isinstance(event, Finished) for event in events), "a pipeline nobody needs"
    assert isinstance(events[-1], Complete)
    grid = GridStore(folder).read()
    assert grid.original is not None and (folder / "pictures/original.png").is_file()
    assert grid.settings["prompts"][-1] == "a robot" and len(grid.settings["prompts"]) == 4


def test_the_results_browser_can_read_the_folder(real):
    folder, _ = real
    stored = load_grid(folder)
    assert stored.grid == GridStore(folder).read()
    assert list(stored.grid.trials) == list(stored.pictures) == POINTS
    drawn = [stored.original, *stored.pictures.values()]
    assert {pictures.shape for pictures in drawn} == {(4, 64, 64, 3)}


def test_a_killed_search_goes_on_exactly(real, cache):
    """SIGKILL in the middle of a training."""
    folder = real[0].with_name("killed")
    killed = start(folder, cache, kill_after=13)
    assert killed.wait() == -9, killed.stderr.read()
    with stand_ins():
        again = list(events_of(folder, cache, resume=True))
    assert len(steps_of(again)) < len(steps_of(real[1])), "all from the start"
    assert left_in(folder) == left_in(real[0])


@pytest.mark.parametrize("events", [1, 3, 6, 9, 12])
def test_a_search_that_stops_between_events_goes_on(fake, straight, events):
    folder = straight.with_name(f"stopped-{events}")
    cache = folder.parent / "cache"
    stopped = events_of(folder, cache)
    before = list(itertools.islice(stopped, events))
    stopped.close()
    again = list(events_of(folder, cache, resume=True))
    assert left_in(folder) == left_in(straight)
    measured = [e.trial.point for e in (*before, *again) if isinstance(e, Measured)]
    assert sorted(measured) == POINTS, "one that was lost, or measured twice"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_rename_costs_nothing(fake, tmp_path, monkeypatch, when):
    """Every write ends in a rename: the search is killed at the first, the second, to the last."""
    original, cache = Path.replace, tmp_path / "cache"
    small = {"learning_rates": RATES[:1], "steps": [2, 3]}
    list(events_of(tmp_path / "straight", cache, **small))
    for kill in itertools.count(1):
        folder, calls = tmp_path / f"killed-{kill}", itertools.count(1)

        def killed(path, target, calls=calls, kill=kill):
            last = next(calls) == kill
            if last and when == "before":
                raise KeyboardInterrupt
            original(path, target)
            if last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            try:
                list(events_of(folder, cache, **small))
            except KeyboardInterrupt:
                pass
            else:
                break
        list(events_of(folder, cache, resume=True, **small))
        assert left_in(folder) == left_in(tmp_path / "straight"), f"killed at rename {kill}"
    assert kill > 8


def test_a_worker_takes_over_the_training_of_one_that_died(fake, straight, monkeypatch):
    monkeypatch.setattr(worker, "POLL_EVERY", 0.01)
    folder, cache = straight.with_name("died"), straight.parent / "cache"
    first = events_of(folder, cache)
    begun = next(first)
    *_, third = itertools.islice((e for e in first if isinstance(e, TrainStep)), 3)
    assert third.step == 3
    second = events_of(folder, cache, resume=True)
    seen = list(itertools.takewhile(lambda e: not isinstance(e, Measured), second))
    assert seen[0].learning_rate != begun.learning_rate, "both at one training"
    first.close()  # its locks are released, as those of a dead process are
    # Its own training to the end; then the other's, from the checkpoint of step 3.
    assert steps_of(second) == [3, 4, 5, 3, 4, 5]
    assert left_in(folder) == left_in(straight)


def test_a_worker_waits_while_others_have_all_trainings(fake, straight, monkeypatch):
    folder, cache = straight.with_name("waits"), straight.parent / "cache"
    first = events_of(folder, cache, learning_rates=RATES[:1])
    next(first)
    second = events_of(folder, cache, learning_rates=RATES[:1], resume=True)
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            list(first)

    monkeypatch.setattr(worker.time, "sleep", sleep)
    (event,) = second
    assert isinstance(event, Complete) and len(event.grid.trials) == len(STEPS)
    assert len(waited) == 3


def test_a_larger_grid_trains_only_for_what_is_new(fake, tmp_path):
    folder, whole, cache = tmp_path / "grown", tmp_path / "whole", tmp_path / "cache"
    list(events_of(folder, cache, learning_rates=[1e-4], steps=[2, 5]))
    before = GridStore(folder).read().trials
    more = {"learning_rates": [1e-4, 3e-4], "steps": [2, 3, 5, 6]}
    events = list(events_of(folder, cache, resume=True, **more))
    assert GridStore(folder).read().trials.items() >= before.items()
    measured = {e.trial.point for e in events if isinstance(e, Measured)}
    assert not measured & set(before) and len(measured) == 6
    list(events_of(whole, cache, **more))
    assert left_in(folder) == left_in(whole)


def test_a_smaller_number_of_steps_costs_only_these(fake, tmp_path):
    list(events_of(tmp_path / "grid", tmp_path, learning_rates=[1e-4], steps=[5]))
    more = {"learning_rates": [1e-4], "steps": [5, 1]}
    assert steps_of(events_of(tmp_path / "grid", tmp_path, resume=True, **more)) == [1]


def test_a_training_that_is_past_a_new_trial_starts_again(fake, tmp_path):
    events = events_of(tmp_path / "grid", tmp_path, learning_rates=[1e-4], steps=[5])
    list(itertools.islice((e for e in events if isinstance(e, TrainStep)), 3))
    events.close()
    more = {"learning_rates": [1e-4], "steps": [5, 1]}
    grown = events_of(tmp_path / "grid", tmp_path, resume=True, **more)
    assert steps_of(grown) == [1, 2, 3, 4, 5]


def test_a_complete_grid_only_shows_itself_again(fake, straight):
    before = left_in(straight)
    (event,) = events_of(straight, straight.parent / "cache", resume=True)
    assert isinstance(event, Complete) and left_in(straight) == before


def test_a_training_that_diverges_leaves_the_others_alone(cache, tmp_path):
    """With the real trainer, for the error is its own."""
    with stand_ins():
        list(events_of(tmp_path, cache, learning_rates=[1e-4, 1e30], steps=[1, 3]))
    grid = GridStore(tmp_path).read()
    assert GridPoint(1e30, 3) in grid.failed and not grid.missing
    assert "at step 2" in grid.failed[GridPoint(1e30, 3)]
    assert {GridPoint(1e-4, 1), GridPoint(1e-4, 3)} <= grid.trials.keys()
    assert "The training at 1e+30 failed" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("rates", [RATES, [1e30, 1e-4]])
def test_a_training_is_out_of_memory_when_the_next_begins(cache, tmp_path, rates):
    """In half precision it ends in a circle of references, which only the collector takes apart."""
    unets = []
    gc.disable()  # at a moment of its own choice it would do so anyway
    try:
        half = {"precision": "bf16"}
        with stand_ins():
            for event in events_of(tmp_path, cache, half, learning_rates=rates, steps=[1, 3]):
                if isinstance(event, Training):
                    assert [unet() for unet in unets] == [None] * len(unets)
                elif isinstance(event, Loaded):
                    unets.append(weakref.ref(event.pipeline.unet))
    finally:
        gc.enable()
    assert len(unets) == 2


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"prior_loss_weight": 0.5}, {"method": "lora"}], ids=str
)
def test_a_grid_with_other_settings_is_refused_by_name(straight, changes):
    (name,) = changes
    with pytest.raises(InputError, match=f"{name}: got .* as in the earlier grid"):
        events_of(straight, straight.parent / "cache", changes, resume=True)


def test_other_pictures_weights_or_counts_are_refused(fake, straight, tmp_path, monkeypatch):
    settings = new_config(straight, num_class_images=2, batch_size=1)
    options = {"learning_rates": RATES, "steps": STEPS, "cache": tmp_path, "resume": True}
    with pytest.raises(InputError, match="pictures: got"):
        search(settings, PICTURES[:2], counts=COUNTS, **options)
    with pytest.raises(InputError, match="counts: got {'per_prompt': 4.*expected.*: 1"):
        search(settings, PICTURES, **options)
    folder = tmp_path / "grid"
    list(events_of(folder, tmp_path, steps=[1]))

    def other_weights(config, *arguments, **options):
        loaded, *_ = fake_train(config, *arguments, **options)
        yield loaded._replace(weights="other")

    monkeypatch.setattr(worker, "train", other_weights)
    with pytest.raises(InputError, match="weights: got 'other'"):
        list(events_of(folder, tmp_path, steps=[1, 2], resume=True))


@pytest.mark.parametrize(
    "values, said",
    [
        ({"learning_rates": []}, "learning_rates: got none, expected 1 or more"),
        ({"learning_rates": [0.0]}, "learning_rates: got 0.0, expected a number above 0"),
        ({"learning_rates": [float("nan")]}, "learning_rates: got nan"),
        ({"learning_rates": ["1e-4"]}, "learning_rates: got '1e-4'"),
        ({"learning_rates": [1e-4, 1e-3, 0.0001]}, "learning_rates: got 0.0001 twice"),
        ({"steps": []}, "steps: got none"),
        ({"steps": [0]}, "steps: got 0, expected an integer from 1 up"),
        ({"steps": [2.5]}, "steps: got 2.5"),
        ({"steps": [5, 5]}, "steps: got 5 twice"),
        ({"workers": 0}, "workers: got 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, values, said):
    with pytest.raises(InputError, match=said) as error:
        events_of(tmp_path / "grid", tmp_path, **values)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "grid").exists()


def test_a_folder_that_holds_something_is_refused(straight, tmp_path):
    with pytest.raises(InputError, match="got an earlier grid in .*--resume"):
        events_of(straight, tmp_path)
    with pytest.raises(InputError, match="learning_rates: got 0.01, expected those of the earlier"):
        events_of(straight, tmp_path, learning_rates=[1e-2], resume=True)
    with pytest.raises(InputError, match="steps: got 2, expected those of the earlier grid, 2, 3"):
        events_of(straight, tmp_path, steps=[2], resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="which holds other files"):
        events_of(tmp_path, tmp_path, resume=True)
    with pytest.raises(InputError, match="got the file"):
        events_of(tmp_path / "notes.txt", tmp_path)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"cut": \n{"short'])
def test_a_damaged_record_is_one_line(tmp_path, damage):
    (tmp_path / "grid.json").write_text(damage)
    with pytest.raises(InputError, match="grid.json, which is damaged") as error:
        events_of(tmp_path, tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_grid_of_an_earlier_version_is_read(straight):
    content = json.loads((straight / "grid.json").read_text())
    content["id"], content["broken"] = "abc", content.pop("failed")
    content["cells"] = content.pop("trials")
    content["settings"]["arithmetic"] = content["settings"].pop("precision")
    content["settings"]["judges"] = content["settings"].pop("encoders")
    assert Grid.from_dict(content) == GridStore(straight).read()


def test_a_full_disk_is_one_line_and_nothing_is_lost(fake, straight):
    folder, cache = straight.with_name("full"), straight.parent / "cache"
    events = events_of(folder, cache)
    list(itertools.takewhile(lambda event: not isinstance(event, Measured), events))
    with full_disk(100), pytest.raises(InputError, match="--resume") as error:
        list(events)
    assert "\n" not in str(error.value)
    list(events_of(folder, cache, resume=True))
    assert left_in(folder) == left_in(straight)
