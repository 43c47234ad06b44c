"""What an interrupted run leaves: whole, bounded, and gone on from only with the same settings."""

import json
import resource
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from tests.dreambooth.tiny import PICTURES, new_config, run, state_of
from tlab_diffusion.dreambooth.checkpoint import resume as checkpoint
from tlab_diffusion.dreambooth.checkpoint.run_record import (
    Fingerprint,
    RunRecord,
    read_run,
    write_run,
)
from tlab_diffusion.dreambooth.data.batches import check_shares
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.training import trainer
from tlab_diffusion.errors import InputError
from tlab_diffusion.training import checkpoints, fingerprint

INPUTS = Fingerprint("abc", "fp32", "def")


def state(step, value=1.0):
    return {"step": torch.tensor(step), "model.weight": torch.full((100, 100), value)}


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@contextmanager
def full_disk(room):
    """No file may grow beyond `room` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_only_the_newest_is_kept(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.steps_done(tmp_path) == 0
    for step in (5, 10, 1000):
        path = checkpoint.save(tmp_path, state(step))
        assert checkpoint.newest(tmp_path) == path
        assert names(tmp_path) == [f"step-{step:08}.safetensors"]
    assert checkpoint.steps_done(tmp_path) == 1000


@pytest.mark.parametrize("moment", ["writing", "renaming", "removing"])
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_one(tmp_path, monkeypatch, moment):
    checkpoint.save(tmp_path, state(1, 1.0))

    def half(tensors, draft, about):
        draft.write_bytes(b"half a file")
        raise KeyboardInterrupt

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "writing":
            patch.setattr(checkpoints, "save_file", half)
        else:
            patch.setattr(
                type(tmp_path), {"renaming": "replace", "removing": "unlink"}[moment], killed
            )
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, state(2, 2.0))
    step = 2 if moment == "removing" else 1
    assert checkpoint.steps_done(tmp_path) == step
    kept = checkpoints.load(checkpoint.newest(tmp_path))
    assert (kept["model.weight"] == step).all()
    checkpoint.save(tmp_path, state(3))
    assert names(tmp_path) == ["step-00000003.safetensors"]  # what the kill left is gone too


def test_a_full_disk_is_one_line_and_costs_nothing(tmp_path):
    checkpoint.save(tmp_path, state(1))
    with (
        full_disk(20_000),
        pytest.raises(InputError, match="could not be written.*4e-05 GB") as error,
    ):
        checkpoint.save(tmp_path, state(2))
    assert "\n" not in str(error.value)
    assert names(tmp_path) == ["step-00000001.safetensors"]
    assert (checkpoints.load(checkpoint.newest(tmp_path))["model.weight"] == 1).all()


def test_a_run_on_a_full_disk_goes_on_when_there_is_room(tmp_path):
    config, straight = new_config(tmp_path / "full"), new_config(tmp_path / "straight")
    run(straight, tmp_path / "cache")
    events = iter(trainer.train(config, PICTURES, cache=tmp_path / "cache"))
    while getattr(next(events), "step", 0) < 3:
        pass
    with full_disk(100_000), pytest.raises(InputError, match="room"):
        list(events)
    run(config, tmp_path / "cache", resume=True)
    a, b = state_of(config), state_of(straight)
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_an_output_that_holds_something_else_is_refused(tmp_path):
    config = new_config(tmp_path / "out")
    checkpoint.check_output(config, INPUTS, resume=False)
    checkpoint.check_output(config, INPUTS, resume=True)
    config.output.write_text("a file")
    with pytest.raises(InputError, match="output: got the file"):
        checkpoint.check_output(config, INPUTS, resume=True)
    config.output.unlink()
    config.output.mkdir()
    checkpoint.check_output(config, INPUTS, resume=False)
    (config.output / "model_index.json").write_text("{}")
    for resume in (False, True):
        with pytest.raises(InputError, match="holds other files"):
            checkpoint.check_output(config, INPUTS, resume=resume)


def test_a_run_that_was_killed_before_its_record_is_in_nobodys_way(tmp_path):
    config = new_config(tmp_path / "out")
    config.output.mkdir()
    (config.output / "run.draft").write_text("{")
    for resume in (False, True):
        checkpoint.check_output(config, INPUTS, resume=resume)


def test_one_run_at_a_time_in_a_folder(tmp_path):
    config, cache = new_config(tmp_path / "out"), tmp_path / "cache"
    run(config, cache, steps=3)  # the second is saved
    name = fingerprint.content_key(str(config.output.resolve()))
    with FileLock(cache / "runs" / f"{name}.lock"):  # another process' run
        before = sorted(config.output.rglob("*"))
        with pytest.raises(InputError, match="output: got a run that is at work in .*out"):
            run(config, cache, resume=True)
        assert sorted(config.output.rglob("*")) == before
        run(new_config(tmp_path / "other"), cache, steps=1)
    interrupted = trainer.train(config, PICTURES, cache=cache, resume=True)
    next(interrupted)  # it is kept, as by a notebook whose cell was stopped
    steps = [event.step for event in run(config, cache, resume=True)]
    assert steps == [2, 3, 4, 5]  # the step of the checkpoint comes once more


def test_a_full_disk_is_one_line_where_results_are_written(tmp_path, monkeypatch):
    config, cache = new_config(tmp_path / "out"), tmp_path / "cache"
    with full_disk(4000), pytest.raises(InputError, match="cache: got .* TLAB_CACHE"):
        run(config, cache)

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "export_pipeline", full)
        with pytest.raises(InputError, match="output: got a file in .*no space left"):
            run(config, cache, resume=True)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="a file in .*another"):
        patch.setattr(trainer, "write_run", full)
        run(new_config(tmp_path / "another"), cache)


def test_more_processes_than_samples_are_refused_at_the_call(tmp_path, monkeypatch):
    config = new_config(tmp_path / "out", batch_size=1)  # two samples with that of the class
    monkeypatch.setattr(trainer, "PartialState", lambda: SimpleNamespace(num_processes=3))
    with pytest.raises(InputError, match="batch_size: got 2 samples in a step, expected 3"):
        trainer.train(config, PICTURES, cache=tmp_path / "cache")
    parts = replace(config, gradient_accumulation_steps=2)
    with pytest.raises(InputError, match="batch_size: got 2 samples in a step, expected 4"):
        check_shares(parts, 2)
    check_shares(parts, 1)
    check_shares(config, 2)


def begun(tmp_path, **changes):
    config = new_config(tmp_path / "out", **changes)
    write_run(config.output, RunRecord.of(config, INPUTS, torch.device("cpu")))
    return config


def test_an_earlier_run_is_only_gone_on_from_when_asked(tmp_path):
    config = begun(tmp_path)
    with pytest.raises(InputError, match="an earlier run in .*--resume"):
        checkpoint.check_output(config, INPUTS, resume=False)
    checkpoint.check_output(config, INPUTS, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-5},
        {"prior_loss_weight": 0.5},
        {"identifier": "zwx", "instance_prompt": "a sks zwx robot"},
        {"train_text_encoder": False},
        {"batch_size": 1},
        {"seed": 7},
        {"snr_gamma": 5.0},
        {"ema_decay": 0.9},
    ],
)
def test_other_settings_are_refused_and_named(tmp_path, change):
    config = begun(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        checkpoint.check_output(replace(config, **change), INPUTS, resume=True)
    assert error.value.name in change
    assert f"got {change[error.value.name]!r}" in str(error.value)
    assert f"expected {getattr(config, error.value.name)!r}" in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_auto_came_to_may_be_said_by_name(tmp_path):
    config = begun(tmp_path)
    named = replace(config, precision="bf16")
    assert named.precision != config.precision
    checkpoint.check_output(named, INPUTS, resume=True)
    with pytest.raises(InputError, match="precision: got"):
        checkpoint.check_output(named, replace(INPUTS, precision="other"), resume=True)


def test_memory_may_ask_for_other_parts(tmp_path):
    config = replace(begun(tmp_path), gradient_accumulation_steps=2)
    checkpoint.check_output(config, INPUTS, resume=True)


def test_other_pictures_are_refused(tmp_path):
    config = begun(tmp_path)
    with pytest.raises(InputError, match="pictures: got other pictures: which ones"):
        checkpoint.check_output(config, replace(INPUTS, pictures="other"), resume=True)


def test_more_steps_are_allowed_fewer_than_done_are_not(tmp_path):
    config = begun(tmp_path, max_steps=10)
    checkpoint.save(config.output, state(8))
    for steps in (8, 9, 1000):
        more = replace(config, max_steps=steps, checkpoint_every=1)
        checkpoint.check_output(more, INPUTS, resume=True)
    with pytest.raises(InputError, match="max_steps: got 7, expected at least 8"):
        checkpoint.check_output(replace(config, max_steps=7), INPUTS, resume=True)


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"settings": 3, "facts": 4}'])
def test_a_damaged_record_is_one_line(tmp_path, damage):
    config = begun(tmp_path)
    (config.output / "run.json").write_text(damage)
    with pytest.raises(InputError, match="run.json, which is damaged"):
        checkpoint.check_output(config, INPUTS, resume=True)


def test_another_model_under_the_same_name_is_refused(tmp_path, monkeypatch):
    config = new_config(tmp_path / "out", max_steps=2)
    run(config, tmp_path / "cache")
    monkeypatch.setattr(StableDiffusion, "fingerprint", lambda self, pipeline: "another")
    before = state_of(config)
    with pytest.raises(InputError, match="weights: got 'another'"):
        run(replace(config, max_steps=3), tmp_path / "cache", resume=True)
    assert state_of(config).keys() == before.keys() and checkpoint.steps_done(config.output) == 2


def test_the_record_says_what_was_run_and_where(tmp_path):
    config = begun(tmp_path)
    record = json.loads((config.output / "run.json").read_text())
    assert record["settings"] == config.as_dict()
    assert record["fingerprint"] == asdict(INPUTS)
    assert record["machine"]["threads"] == torch.get_num_threads()


def test_a_record_is_read_as_it_was_written(tmp_path):
    config = begun(tmp_path)
    assert read_run(config.output) == RunRecord.of(config, INPUTS, torch.device("cpu"))
    assert read_run(tmp_path) is None


def test_an_older_record_is_read(tmp_path):
    config = begun(tmp_path)
    file = config.output / "run.json"
    record = json.loads(file.read_text().replace('"prior_loss_weight"', '"prior_weight"'))
    record["facts"] = {"pictures": "abc", "arithmetic": "fp32", "weights": "def"}
    del record["fingerprint"]
    file.write_text(json.dumps(record))
    assert read_run(config.output).fingerprint == INPUTS
    checkpoint.check_output(config, INPUTS, resume=True)
    with pytest.raises(InputError, match="precision: got 'bf16', expected 'fp32'"):
        checkpoint.check_output(config, replace(INPUTS, precision="bf16"), resume=True)
    with pytest.raises(InputError, match="prior_loss_weight: got 0.5"):
        checkpoint.check_output(replace(config, prior_loss_weight=0.5), INPUTS, resume=True)


@pytest.mark.parametrize(
    "names, pictures, said",
    [
        ("abc", [0, 1, 0], "1 changed (c)"),
        ("abd", [0, 1, 0], "1 new (d), 1 missing (c)"),
        ("ab", [0, 1], "1 missing (c)"),
        ("abcde", [2, 1, 2, 0, 1], "1 changed (a), 2 new (d, e)"),
        ("acb", [0, 2, 1], "the same ones in another order"),
    ],
)
def test_a_resumed_run_says_which_pictures_differ(tmp_path, names, pictures, said):
    config = new_config(tmp_path / "out", max_steps=1)
    list(trainer.train(config, PICTURES, names="abc", cache=tmp_path / "cache"))
    with pytest.raises(InputError) as error:
        trainer.train(
            config, PICTURES[pictures], names=names, cache=tmp_path / "cache", resume=True
        )
    assert f"pictures: got other pictures: {said}, expected those of" in str(error.value)
