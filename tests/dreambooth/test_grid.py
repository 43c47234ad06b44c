r"""A search gives what single trainings give, in one go, after kills, and with many hands."""

import gc
import itertools
import json
import weakref

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from PIL import Image
from safetensors.torch import load_file

from tests.dreambooth.grids import COUNTS, RATES, STEPS, events_of, stand_ins, start
from tests.dreambooth.standin import hashed_sample
from tests.dreambooth.test_checkpoint import full_disk
from tests.dreambooth.tiny import PICTURES, new_config
from tlab_diffusion.course.stored import load_grid
from tlab_diffusion.dreambooth.grid import store as grid_folder
from tlab_diffusion.dreambooth.grid import study as grid_study
from tlab_diffusion.dreambooth.grid import worker
from tlab_diffusion.dreambooth.grid.result import Place
from tlab_diffusion.dreambooth.grid.search import Complete, search
from tlab_diffusion.dreambooth.grid.store import GridFolder
from tlab_diffusion.dreambooth.grid.study import GridStudy
from tlab_diffusion.dreambooth.grid.worker import Measured, Training
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator, evaluator_of
from tlab_diffusion.dreambooth.training.trainer import Finished, Loaded, TrainStep, train
from tlab_diffusion.errors import InputError

UNET = "unet/diffusion_pytorch_model.safetensors"
PLACES = [Place(rate, steps) for rate in sorted(RATES) for steps in sorted(STEPS)]


@pytest.fixture(autouse=True)
def quick():
    with stand_ins():
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cache):
    """A grid that nothing disturbs: its folder and its events."""
    folder = tmp_path_factory.mktemp("grid") / "straight"
    with stand_ins():
        return folder, list(events_of(folder, cache))


def left_in(folder):
    """All that a grid leaves to be read, but for its own name."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    kept = {n: p for n, p in files.items() if not n.startswith(("locks/", "study."))}
    content = {name: path.read_bytes() for name, path in kept.items()}
    grid = json.loads(content.pop("grid.json"))
    return content | {"grid": {name: value for name, value in grid.items() if name != "id"}}


def trials_of(folder):
    """The trials of the one study in a grid's journal, as Optuna's own tools see them."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def values_by_place(trials):
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert len(trials) == len({tuple(trial.params.items()) for trial in trials})
    return {Place(**trial.params): trial.value for trial in trials}


def test_one_training_gives_what_a_training_of_its_own_would_give_each_cell(straight, tmp_path):
    folder, _ = straight
    grid = GridFolder(folder).read()
    assert list(grid.cells) == PLACES
    for place in PLACES[:2] + PLACES[-1:]:
        config = new_config(
            tmp_path / place.name,
            learning_rate=place.learning_rate,
            max_steps=place.steps,
            num_class_images=2,
            batch_size=1,
        )
        *_, last = (
            event
            for event in train(config, PICTURES, cache=tmp_path)
            if isinstance(event, TrainStep)
        )
        alone = evaluator_of(config, PICTURES, counts=COUNTS)
        sample = hashed_sample(last.pipeline)
        assert alone.measure(sample) == grid.cells[place].metrics
        with Image.open(folder / f"pictures/{place.name}.png") as image:
            strip = np.concatenate(list(alone.strip(sample)), axis=1)
            assert (np.asarray(image) == strip).all()


def test_the_best_cells_pipeline_is_kept_and_no_training(straight, tmp_path):
    folder, events = straight
    best = GridFolder(folder).read().best
    config = new_config(
        tmp_path,
        learning_rate=best.place.learning_rate,
        max_steps=best.place.steps,
        num_class_images=2,
        batch_size=1,
    )
    list(train(config, PICTURES, cache=tmp_path / "cache"))
    ours, theirs = load_file(folder / "best" / UNET), load_file(tmp_path / UNET)
    assert all((ours[name] == value).all() for name, value in theirs.items())
    assert best.score == max(e.cell.score for e in events if isinstance(e, Measured))
    assert not (folder / "trainings").exists()


def test_each_learning_rate_is_trained_once_and_the_original_measured_once(straight):
    folder, events = straight
    trainings = [event for event in events if isinstance(event, Training)]
    assert sorted(trainings) == [Training(rate, max(STEPS)) for rate in sorted(RATES)]
    assert len([e for e in events if isinstance(e, TrainStep)]) == len(RATES) * max(STEPS)
    assert not any(isinstance(event, Finished) for event in events), "a pipeline that nobody needs"
    assert isinstance(events[-1], Complete)
    grid = GridFolder(folder).read()
    assert grid.original is not None and (folder / "pictures/original.png").is_file()
    assert grid.settings["prompts"][-1] == "a robot" and len(grid.settings["prompts"]) == 4


def test_the_original_is_drawn_and_measured_once(cache, tmp_path, monkeypatch):
    drawn, strip = [], Evaluator.strip
    monkeypatch.setattr(Evaluator, "strip", lambda *args: drawn.append(1) or strip(*args))
    list(events_of(tmp_path, cache, steps=[1]))
    assert len(drawn) == 1 + len(RATES)


def test_the_results_browser_can_read_the_folder(straight):
    folder, _ = straight
    stored = load_grid(folder)
    assert stored.grid == GridFolder(folder).read()
    assert list(stored.grid.cells) == list(stored.pictures) == PLACES
    drawn = [stored.original, *stored.pictures.values()]
    assert {pictures.shape for pictures in drawn} == {(4, 64, 64, 3)}


def test_optunas_tools_see_each_cell_as_a_trial(straight):
    folder, _ = straight
    grid = GridFolder(folder).read()
    values = values_by_place(trials_of(folder))
    assert values == {place: cell.score for place, cell in grid.cells.items()}
    lines = (folder / "study.journal").read_bytes().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("events", [2, 13, 18])
def test_a_killed_search_goes_on(straight, cache, events):
    """SIGKILL: nothing is tidied up."""
    folder = straight[0].with_name(f"killed-{events}")
    killed = start(folder, cache, kill_after=events)
    assert killed.wait() == -9, killed.stderr.read()
    again = list(events_of(folder, cache, resume=True))
    assert left_in(folder) == left_in(straight[0])
    assert set(values_by_place(trials_of(folder))) == set(PLACES)
    steps = [event.step for event in again if isinstance(event, TrainStep)]
    if events > 10:  # one training was in the middle, or done
        assert len(steps) < len(RATES) * max(STEPS)


@pytest.mark.parametrize(
    "owner, name, call",
    [
        (GridFolder, "_write", 1),
        (GridFolder, "_write", 2),
        (grid_folder, "export_pipeline", 1),
        (grid_folder, "save_strip", 3),
        (GridFolder, "_write", 4),
        (GridFolder, "drop_training", 2),
        (grid_study.Trial, "suggest_float", 2),
        (grid_study.Trial, "suggest_int", 2),
        (optuna.Study, "tell", 2),
        (GridStudy, "tell", 2),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_the_worst_moment_costs_nothing(
    straight, cache, monkeypatch, owner, name, call, when
):
    folder = straight[0].with_name(f"{owner.__name__}-{name}-{call}-{when}")
    original, calls = getattr(owner, name), itertools.count(1)

    def killed(*arguments, **options):
        last = next(calls) == call
        if last and when == "before":
            raise KeyboardInterrupt
        result = original(*arguments, **options)
        if last:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(KeyboardInterrupt):
            list(events_of(folder, cache))
    list(events_of(folder, cache, resume=True))
    assert left_in(folder) == left_in(straight[0])
    assert set(values_by_place(trials_of(folder))) == set(PLACES)


def test_two_processes_give_the_same_cells_as_one(straight, cache):
    folder = straight[0].with_name("two")
    both = [start(folder, cache, resume=True) for _ in range(2)]
    said = [each.communicate() for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    trained = [float(line) for out, _ in said for line in out.split()]
    assert sorted(trained) == sorted(RATES), "each once, whoever did it"
    assert left_in(folder) == left_in(straight[0])
    assert set(values_by_place(trials_of(folder))) == set(PLACES)


def test_a_worker_takes_up_what_another_leaves(straight, cache, monkeypatch):
    """One dies in a training, and the other, which had to wait for that row, goes on from it."""
    monkeypatch.setattr(worker, "PATIENCE", 0.01)
    folder = straight[0].with_name("left")
    first = events_of(folder, cache)
    begun = next(first)
    *_, third = itertools.islice((e for e in first if isinstance(e, TrainStep)), 3)
    assert third.step == 3
    second = events_of(folder, cache, resume=True)
    seen = list(itertools.takewhile(lambda e: not isinstance(e, Measured), second))
    assert seen[0].learning_rate != begun.learning_rate, "both at one training"
    first.close()  # its locks go, as those of a dead process do
    steps = [event.step for event in second if isinstance(event, TrainStep)]
    assert steps == [3, 4, 5, 3, 4, 5]  # its own to the end; then from the other's checkpoint
    assert left_in(folder) == left_in(straight[0])
    assert set(values_by_place(trials_of(folder))) == set(PLACES)


def test_who_finds_all_rows_taken_waits(straight, cache, monkeypatch):
    folder = straight[0].with_name("waits")
    first = events_of(folder, cache, learning_rates=RATES[:1])
    next(first)
    second = events_of(folder, cache, learning_rates=RATES[:1], resume=True)
    waited = []

    def patience(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            list(first)

    monkeypatch.setattr(worker.time, "sleep", patience)
    (event,) = second
    assert isinstance(event, Complete) and len(event.grid.cells) == len(STEPS)
    assert len(waited) == 3


def test_a_larger_grid_trains_only_for_what_is_new(straight, cache, tmp_path):
    folder, whole = tmp_path / "grown", tmp_path / "whole"
    list(events_of(folder, cache, learning_rates=[1e-4], steps=[2, 5]))
    before = GridFolder(folder).read().cells
    more = {"learning_rates": [1e-4, 3e-4], "steps": [2, 3, 5, 6]}
    events = list(events_of(folder, cache, resume=True, **more))
    assert GridFolder(folder).read().cells.items() >= before.items()
    measured = {e.cell.place for e in events if isinstance(e, Measured)}
    assert not measured & set(before) and len(measured) == 6
    list(events_of(whole, cache, **more))
    assert left_in(folder) == left_in(whole)


def test_a_smaller_number_of_steps_costs_only_these(cache, tmp_path):
    list(events_of(tmp_path, cache, learning_rates=[1e-4], steps=[5]))
    events = events_of(tmp_path, cache, resume=True, learning_rates=[1e-4], steps=[5, 1])
    assert [event.step for event in events if isinstance(event, TrainStep)] == [1]


def test_a_training_that_is_beyond_a_new_cell_starts_again(cache, tmp_path):
    events = events_of(tmp_path, cache, learning_rates=[1e-4], steps=[5])
    list(itertools.islice((e for e in events if isinstance(e, TrainStep)), 3))
    events.close()
    grown = events_of(tmp_path, cache, resume=True, learning_rates=[1e-4], steps=[5, 1])
    assert [e.step for e in grown if isinstance(e, TrainStep)] == [1, 2, 3, 4, 5]


def test_a_grid_that_is_complete_only_shows_itself_again(straight, cache):
    folder, _ = straight
    before = left_in(folder)
    (event,) = events_of(folder, cache, resume=True)
    assert isinstance(event, Complete) and left_in(folder) == before


def test_a_training_that_diverges_leaves_the_others_alone(straight, cache, tmp_path):
    rates = [1e-4, 1e30]
    list(events_of(tmp_path, cache, learning_rates=rates, steps=[1, 3]))
    grid = GridFolder(tmp_path).read()
    assert Place(1e30, 3) in grid.broken and not grid.missing
    assert "at step 2" in grid.broken[Place(1e30, 3)]
    assert grid.best.place.learning_rate == 1e-4
    assert grid.cells[Place(1e-4, 3)] == GridFolder(straight[0]).read().cells[Place(1e-4, 3)]
    states = {Place(**trial.params): trial.state for trial in trials_of(tmp_path)}
    assert states.pop(Place(1e30, 3)) == TrialState.FAIL
    assert set(states.values()) == {TrialState.COMPLETE} and len(states) == 3
    assert "The training at 1e+30 broke off" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("rates", [RATES, [1e30, 1e-4]])
def test_a_training_is_out_of_memory_when_the_next_begins(cache, tmp_path, rates):
    """In half precision it ends in a circle of references, which only the collector takes apart."""
    unets = []
    gc.disable()  # at a moment of its own choice it would do so anyway
    try:
        half = {"precision": "bf16"}
        for event in events_of(tmp_path, cache, half, learning_rates=rates, steps=[1, 3]):
            if isinstance(event, Training):
                assert [unet() for unet in unets] == [None] * len(unets)
            elif isinstance(event, Loaded):
                unets.append(weakref.ref(event.pipeline.unet))
    finally:
        gc.enable()
    assert len(unets) == 2


def test_a_database_keeps_the_study(straight, cache, tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    folder = tmp_path / "grid"
    list(events_of(folder, cache, storage=url))
    assert left_in(folder) == left_in(straight[0]) and not (folder / "study.journal").exists()
    (name,) = optuna.get_all_study_names(url)
    trials = optuna.load_study(study_name=name, storage=RDBStorage(url)).trials
    assert set(values_by_place(trials)) == set(PLACES)
    with pytest.raises(InputError, match="the study .* belongs to another folder"):
        list(events_of(tmp_path / "elsewhere", cache, storage=url))
    assert not (tmp_path / "elsewhere").exists()
    list(events_of(tmp_path / "elsewhere", cache, {"seed": 1}, storage=url, steps=[1]))
    assert len(optuna.get_all_study_names(url)) == 2


CONFIG = {"seed": 1}, {"prior_loss_weight": 0.5}, {"method": "lora"}


@pytest.mark.parametrize("changes", CONFIG)
def test_a_grid_with_other_settings_is_refused_by_name(straight, cache, changes):
    (name,) = changes
    with pytest.raises(InputError, match=f"{name}: got .* as in the earlier grid"):
        events_of(straight[0], cache, changes, resume=True)


def test_other_pictures_weights_or_counts_are_refused(straight, cache, tmp_path, monkeypatch):
    settings = new_config(straight[0], num_class_images=2, batch_size=1)
    options = {"learning_rates": RATES, "steps": STEPS, "cache": cache, "resume": True}
    with pytest.raises(InputError, match="pictures: got"):
        search(settings, PICTURES[:2], counts=COUNTS, **options)
    with pytest.raises(InputError, match="counts: got {'per_prompt': 4.*expected.*: 1"):
        search(settings, PICTURES, **options)
    list(events_of(tmp_path, cache, steps=[1]))
    monkeypatch.setattr(worker.Worker, "_measure_original", of_other_weights("other"))
    with pytest.raises(InputError, match="weights: got 'other'"):
        list(events_of(tmp_path, cache, steps=[1, 2], resume=True))


def of_other_weights(weights):
    """`_measure_original`, of a model with these weights."""
    original = worker.Worker._measure_original
    return lambda self, loaded: original(self, loaded._replace(weights=weights))


@pytest.mark.parametrize(
    "values, said",
    [
        ({"learning_rates": []}, "learning_rates: got none, expected 1 or more"),
        ({"learning_rates": [0.0]}, "learning_rates: got 0.0, expected numbers above 0"),
        ({"learning_rates": [float("nan")]}, "learning_rates: got nan"),
        ({"learning_rates": ["1e-4"]}, "learning_rates: got '1e-4'"),
        ({"learning_rates": [1e-4, 1e-3, 0.0001]}, "learning_rates: got 0.0001 twice"),
        ({"steps": []}, "steps: got none"),
        ({"steps": [0]}, "steps: got 0, expected whole numbers from 1 up"),
        ({"steps": [2.5]}, "steps: got 2.5"),
        ({"steps": [5, 5]}, "steps: got 5 twice"),
        ({"workers": 0}, "workers: got 0"),
        ({"storage": "nonsense"}, "storage: got nonsense .*expected the URL of a database"),
        ({"storage": "postgresql://me:secret@127.0.0.1:1/x"}, r"storage: got postgresql://me:\*"),
        ({"storage": "sqlite:////no/such/folder/x.db"}, "unable to open database file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, cache, values, said):
    with pytest.raises(InputError, match=said) as error:
        events_of(tmp_path / "grid", cache, **values)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)
    assert not (tmp_path / "grid").exists()


def test_a_folder_that_holds_something_is_refused(straight, cache, tmp_path):
    with pytest.raises(InputError, match="got an earlier grid in .*--resume"):
        events_of(straight[0], cache)
    with pytest.raises(InputError, match="learning_rates: got 0.01, expected those of the earlier"):
        events_of(straight[0], cache, learning_rates=[1e-2], resume=True)
    with pytest.raises(InputError, match="steps: got 2, expected those of the earlier grid, 2, 3"):
        events_of(straight[0], cache, steps=[2], resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="which holds other files"):
        events_of(tmp_path, cache, resume=True)
    with pytest.raises(InputError, match="got the file"):
        events_of(tmp_path / "notes.txt", cache)


@pytest.mark.parametrize("name", ["grid.json", "study.journal"])
def test_a_damaged_file_is_said_in_one_line(cache, tmp_path, name):
    list(events_of(tmp_path, cache, learning_rates=[1e-4], steps=[1]))
    (tmp_path / name).write_text('{"cut": \n{"short\n{}\n')
    with pytest.raises(InputError, match=f"{name}, which is damaged") as error:
        events_of(tmp_path, cache, learning_rates=[1e-4], steps=[1], resume=True)
    assert "\n" not in str(error.value)


def test_a_study_whose_journal_is_gone_is_told_again(cache, tmp_path):
    options = {"learning_rates": [1e-4], "steps": [1, 2]}
    list(events_of(tmp_path, cache, **options))
    (tmp_path / "study.journal").unlink()
    (event,) = events_of(tmp_path, cache, resume=True, **options)
    assert set(values_by_place(trials_of(tmp_path))) == set(event.grid.cells)


def test_a_full_disk_is_one_line_and_nothing_is_lost(straight, cache):
    folder = straight[0].with_name("full")
    events = events_of(folder, cache)
    list(itertools.takewhile(lambda event: not isinstance(event, Measured), events))
    with full_disk(100), pytest.raises(InputError, match="could not be written.*--resume") as error:
        list(events)
    assert "\n" not in str(error.value)
    list(events_of(folder, cache, resume=True))
    assert left_in(folder) == left_in(straight[0])
