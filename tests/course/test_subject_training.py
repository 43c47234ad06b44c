"""`train_subject`: a run in the live view that is interrupted, goes on, and is repeated."""

import os
import signal
from pathlib import Path

import pytest

from tests.dreambooth.standin import hashed_sample, pixel_encoders
from tests.dreambooth.tiny import PICTURES, new_config
from tlab_diffusion.course import live_view, subject_training
from tlab_diffusion.course.subject_training import losses_of, measured, own_folder, train_subject
from tlab_diffusion.dreambooth.checkpoint.resume import steps_done
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.preflight.checks import Preflight
from tlab_diffusion.dreambooth.report.log import RunLog
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import world
from tlab_diffusion.pipelines.sampler_settings import read_sampler_settings


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluator, "fast_sampler", hashed_sample)
    monkeypatch.setattr(subject_training, "fast_sampler", hashed_sample)
    monkeypatch.setattr(world, "suitable_encoders", pixel_encoders)
    monkeypatch.setattr(live_view, "_page", live_view._Lines)
    monkeypatch.setenv("TLAB_WORK", str(tmp_path / "work"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(cache):
    def train(**changes) -> str:
        config = new_config(own_folder("pip"), max_steps=4, checkpoint_every=4, **changes)
        found = Preflight(config, PICTURES, (), None, None, ())
        return train_subject(found, evaluate_every=4, cache=cache)

    return train


def interrupt_at(step: int, patch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Press stop once that step has been shown."""
    show = subject_training.LiveView.step

    def shown(view, number, loss):
        show(view, number, loss)
        if number == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(subject_training.LiveView, "step", shown)


def last_line(capsys) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_the_model_lies_in_the_learners_folder_and_its_path_is_printed(train, tmp_path, capsys):
    folder = train()
    assert Path(folder) == tmp_path / "work/models/pip"
    assert (Path(folder) / "model_index.json").is_file()
    line = last_line(capsys)
    assert line.startswith("Done: 4 steps. The model is in work/models/pip. Loss ")


def test_interrupted_it_holds_a_model_and_goes_on(train, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(2, patch)
        folder = Path(train())
    # The step after the interrupt is the one that is saved.
    done = steps_done(folder)
    assert last_line(capsys) == (
        f"Interrupted after step {done} of 4. Run the cell again to go on."
    )
    assert 2 <= done <= 3
    assert RunLog(folder).trade_off().best == done
    assert read_sampler_settings(folder) is not None
    assert (folder / "model_index.json").is_file()
    train()
    assert steps_done(folder) == 4
    assert "Done: 4 steps." in last_line(capsys)


def test_a_second_interrupt_ends_it_at_once(train, capsys, monkeypatch):
    interrupt_at(2, monkeypatch, times=2)
    assert train() == new_config(own_folder("pip")).model  # nothing was saved
    assert last_line(capsys) == "Interrupted after step 0 of 4. Run the cell again to go on."


def test_repeated_it_says_that_it_is_done_and_how_to_start_anew(train, capsys, monkeypatch):
    folder = train()
    monkeypatch.setattr(subject_training._Training, "go_on", lambda _: pytest.fail("trained again"))
    assert train() == folder
    line = last_line(capsys)
    assert line.startswith("Already done: 4 steps. The model is in work/models/pip.")
    exec(line.partition("To start anew: ")[2])
    assert not Path(folder).exists()


def test_other_settings_in_the_same_folder_are_refused(train):
    train()
    with pytest.raises(InputError, match="learning_rate"):
        train(learning_rate=1.0)


def test_losses_come_back_from_the_means_in_the_log():
    lines = [
        {"step": 2, "subject_loss": 1.0, "prior_loss": 0.5},
        {"step": 2, "metrics": {}},
        {"step": 3, "subject_loss": 2.0, "prior_loss": 0.0},
        {"step": 9, "subject_loss": 9.0, "prior_loss": 0.0},
    ]
    assert losses_of(lines, 3) == [1.5, 1.5, 2.0]


def test_without_a_measured_step_a_stored_run_is_shown(capsys):
    config = new_config(own_folder("pip"))
    points, samples = measured(Preflight(config, PICTURES, (), None, None, ()))
    assert len(points) > 2
    assert set(samples.at) == {point.step for point in points}
    assert "not measured yet" in capsys.readouterr().out
