"""The training step that lessons, pretraining and DreamBooth share."""

import itertools

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tlab_diffusion.diffusion import schedules
from tlab_diffusion.training import checkpoints, loop
from tlab_diffusion.training.checkpoints import flatten, unflatten
from tlab_diffusion.training.trainer import Diverged, Trainer

ALPHAS_CUMPROD = schedules.alphas_cumprod(schedules.linear_betas(100, 1e-3, 0.15))


class Modes(nn.Module):
    """Remembers in which mode it was called."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5]))
        self.frozen = nn.Parameter(torch.tensor([2.0]), requires_grad=False)
        self.drop, self.modes = nn.Dropout(0.0), []

    def forward(self, x, t=None):
        self.modes.append((self.training, self.drop.training))
        return self.weight * self.frozen * x


def new_trainer(**options):
    model = Modes()
    optimizer = torch.optim.AdamW([model.weight], lr=0.1)
    return Trainer(model, optimizer, ema_decay=0.9, max_grad_norm=1.0, **options)


def square(model, batch):
    return model(batch).square().mean()[None]


@pytest.mark.parametrize("mode", [True, False])
def test_a_step_trains_and_the_mode_of_before_comes_back(mode):
    model = Modes().train(mode)
    for step in loop.train(model, [torch.ones(2, 2)] * 2, ALPHAS_CUMPROD):
        assert not model.training and not model.drop.training  # between steps
        assert not step.ema_model.training
        model.drop.train()  # whatever the caller does
    assert model.modes == [(True, True)] * 2
    assert model.training == mode
    stopped = loop.train(model, [torch.ones(2, 2)] * 2, ALPHAS_CUMPROD)
    next(stopped)
    stopped.close()
    assert model.training == mode


def test_parts_of_a_step_add_up_to_the_step():
    x = torch.linspace(-1, 1, 8)
    whole, parts = new_trainer(), new_trainer()
    [loss] = whole.step(square, [x])
    [total] = parts.step(lambda m, b: square(m, b) / 2, [x[:4], x[4:]])
    assert total == pytest.approx(loss)
    torch.testing.assert_close(parts.model.weight, whole.model.weight)


def test_frozen_parameters_are_shared_and_not_saved():
    trainer = new_trainer()
    trainer.step(square, [torch.ones(3)])
    assert trainer.ema_model.frozen is trainer.model.frozen
    assert trainer.ema_model.weight is not trainer.model.weight
    names = trainer.state_dict().keys()
    assert {"model.weight", "ema.weight", "optimizer.0.exp_avg", "losses"} <= names
    assert not {"model.frozen", "ema.frozen"} & names


def test_a_checkpoint_is_written_before_its_step_is_yielded_and_that_step_comes_again(tmp_path):
    path, trainer = tmp_path / "state.safetensors", new_trainer()

    def steps(trainer):
        take = lambda: trainer.step(square, [torch.ones(3)])  # noqa: E731
        return trainer.run(4, take, lambda: checkpoints.save(path, trainer.state_dict()))

    for step in itertools.islice(steps(trainer), 2):
        assert int(checkpoints.load(path)["step"]) == step
    resumed = new_trainer()
    resumed.load_state_dict(checkpoints.load(path))
    assert resumed.losses == trainer.losses
    assert list(steps(resumed)) == [2, 3, 4]
    list(steps(straight := new_trainer()))
    assert torch.equal(resumed.model.weight, straight.model.weight)
    assert torch.equal(resumed.ema_model.weight, straight.ema_model.weight)


def test_a_state_of_an_earlier_version_is_read():
    """It has no losses, and held Python's numbers as 0-dimensional tensors."""
    trainer, again = new_trainer(), new_trainer()
    trainer.step(square, [torch.ones(3)])
    old = {name: value for name, value in trainer.state_dict().items() if name != "losses"}
    again.load_state_dict(old | {"model.frozen": torch.tensor([2.0])})
    assert (again.global_step, again.losses) == (1, [])
    assert torch.equal(again.model.weight, trainer.model.weight)
    again.scaler = torch.amp.GradScaler("cpu", enabled=True)
    scaler = {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9}
    scaler["_growth_tracker"] = 3
    again.load_state_dict(old | {f"scaler.{k}": torch.tensor(v) for k, v in scaler.items()})
    assert again.scaler.state_dict() == scaler


def test_nan_changes_nothing():
    trainer = new_trainer()
    trainer.step(square, [torch.ones(3)])
    before = {name: value.clone() for name, value in trainer.state_dict().items()}
    with pytest.raises(Diverged, match="loss: got nan at step 2"):
        trainer.step(square, [torch.full((3,), float("nan"))])
    after = trainer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_nested_numbers_and_shared_tensors_go_through_a_file(tmp_path):
    table = torch.arange(4.0)
    state = {0: {"step": 3, "deep": {"table": table, "flag": True}}, 1: {"step": 4, "rate": 0.1}}
    state[1]["table"] = table  # shared, as bitsandbytes shares its own
    path = tmp_path / "state.safetensors"
    checkpoints.save(path, flatten({"optimizer": state, "other": {"x": None}}))
    read = unflatten(load_file(path), "optimizer.")
    assert torch.equal(read[0]["deep"].pop("table"), table)
    assert torch.equal(read[1].pop("table"), table)
    assert read == {0: {"step": 3, "deep": {"flag": True}}, 1: {"step": 4, "rate": 0.1}}
    assert type(read[0]["step"]) is int and read[0]["deep"]["flag"] is True
