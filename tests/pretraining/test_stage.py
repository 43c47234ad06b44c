"""The loop of all stages: exact resume, one result on any number of processes, no lost work."""

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.pretraining.tiny import RECIPE
from tlab_diffusion.errors import InputError
from tlab_diffusion.pretraining import stage
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.schedule import learning_rate_at

CONFIG = dataclasses.replace(RECIPE.vae, steps=6, batch_size=8)


class Line(nn.Module):
    """The squared error of a small network."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x, y):
        # In bfloat16, where the processor has it, sums in another order are seen.
        with torch.autocast("cpu", enabled=False):
            return (self.network(x) - y).square().mean()


class Spread(Line):
    """A loss that no part of a batch has alone, as where samples are compared."""

    compares_samples = True

    def forward(self, x, y):
        with torch.autocast("cpu", enabled=False):
            return (self.network(x) - y).std()


def draw(generator):
    x = torch.randn(CONFIG.batch_size, 3, generator=generator)
    return x, x.sum(dim=1, keepdim=True)


def run(path, steps, model=Line):
    """Take some steps; the last one, and what follows it."""
    run = stage.train(model(), draw, CONFIG, path)
    *_, last = itertools.islice(run, steps)
    if last.step == CONFIG.steps:
        assert next(run, None) is None
    return last


def test_a_killed_run_goes_on_exactly(tmp_path):
    straight = run(tmp_path / "straight.safetensors", 6)
    run(tmp_path / "killed.safetensors", 4)
    resumed = run(tmp_path / "killed.safetensors", 3)  # yields step 4 once more, then 5 and 6
    assert (resumed.step, resumed.loss) == (straight.step, straight.loss)
    names = ("straight", "killed")
    states = [checkpoints.load(tmp_path / f"{name}.safetensors") for name in names]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(name.startswith("optimizer.") for name in states[0])
    for name, average in straight.ema_model.state_dict().items():
        assert torch.equal(states[0][f"ema.{name}"], average)


def test_no_more_than_the_promised_time_is_lost(tmp_path, monkeypatch):
    now = itertools.count(0, 50)  # every look at the clock is 50 seconds later
    monkeypatch.setattr(stage.time, "monotonic", lambda: next(now))
    config = dataclasses.replace(CONFIG, steps=100, save_every_s=120)
    for step in itertools.islice(stage.train(Line(), draw, config, tmp_path / "state"), 20):
        saved = (tmp_path / "state").exists() and checkpoints.load(tmp_path / "state")["step"]
        assert step.step - int(saved or 0) <= 3


@pytest.mark.parametrize("model", [Line, Spread])
def test_two_processes_get_the_result_of_one(tmp_path, model):
    program = (
        "import sys, pathlib\n"
        "from accelerate import PartialState\n"
        f"from tests.pretraining.test_stage import {model.__name__}, run\n"
        f"run(pathlib.Path(sys.argv[1]), 6, {model.__name__})\n"
        "assert PartialState().num_processes == 2\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    root = Path(__file__).resolve().parents[2]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"PYTHONPATH": str(root), "ACCELERATE_USE_CPU": "true"}
    two = tmp_path / "two.safetensors"
    command = [sys.executable, *launch, str(script), str(two)]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    run(tmp_path / "one.safetensors", 6, model)
    one, two = checkpoints.load(tmp_path / "one.safetensors"), checkpoints.load(two)
    assert one["step"] == two["step"] == 6
    for name, value in one.items():
        # Sums in another order: the bound of design section 8.
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5, msg=name)


def test_processes_that_do_not_divide_a_batch_are_refused(tmp_path, monkeypatch):
    three = SimpleNamespace(num_processes=3, is_main_process=True)
    monkeypatch.setattr(stage, "PartialState", lambda: three)
    with pytest.raises(InputError, match="got 3 for a batch of 8, expected a number that divides"):
        next(stage.train(Line(), draw, CONFIG, tmp_path / "state.safetensors"))


def test_the_state_of_another_model_is_one_clear_line(tmp_path):
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, {"step": torch.tensor(3), "model.weight": torch.zeros(2)})
    with pytest.raises(InputError, match="the state of another model.*another folder") as error:
        run(path, 1)
    assert "\n" not in str(error.value)


def test_a_kill_in_the_last_measure_is_made_good(tmp_path):
    measured = []

    def measure(ema, step):
        measured.append(step)
        if measured == [CONFIG.steps]:
            raise KeyboardInterrupt
        return {}

    every = dataclasses.replace(CONFIG, measure_every=100)
    with pytest.raises(KeyboardInterrupt):
        stage.run_stage("line", tmp_path, Line(), draw, every, measure)
    stage.run_stage("line", tmp_path, Line(), draw, every, measure)
    stage.run_stage("line", tmp_path, Line(), draw, every, measure)  # all is done
    assert measured == 2 * [CONFIG.steps]
    assert len((tmp_path / "line.jsonl").read_text().splitlines()) == 1


def test_a_nan_stops_the_run_and_keeps_what_was_saved(tmp_path):
    def broken(generator):
        x, y = draw(generator)
        return x, y * (float("nan") if broken.calls == 3 else 1)

    broken.calls = 0
    path = tmp_path / "state.safetensors"
    with pytest.raises(InputError, match="nan at step 4"):
        for _ in stage.train(Line(), broken, CONFIG, path):
            broken.calls += 1
    assert int(checkpoints.load(path)["step"]) == 3


def test_the_rate_rises_then_falls_to_nothing():
    pace = dataclasses.replace(CONFIG, steps=110, warm_up_steps=10, learning_rate=2.0)
    rates = [learning_rate_at(step, pace) for step in range(1, 111)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == max(rates) == 2.0
    assert rates[59] == pytest.approx(1.0)
    assert rates[109] == pytest.approx(0.0, abs=1e-12)


def test_frozen_parameters_stay_and_need_no_optimizer(tmp_path):
    model = Line()
    model.network[0].requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    list(stage.train(model, draw, CONFIG, tmp_path / "state.safetensors"))
    same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert same == [True, True, False, False]
