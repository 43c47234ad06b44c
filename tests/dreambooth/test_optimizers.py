"""AdamW: torch's own, or in 8 bits where a GPU and bitsandbytes are there."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from peft.import_utils import is_bnb_available
from torch import nn

from tests.dreambooth.tiny import PICTURES, new_config, run, state_of
from tlab_diffusion.dreambooth.preflight import checks
from tlab_diffusion.dreambooth.training import trainer
from tlab_diffusion.dreambooth.training.optimizers import check_optimizer, new_optimizer
from tlab_diffusion.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NESTED = "__hidden__"


class StandIn(torch.optim.AdamW):
    """What bitsandbytes' optimizer does to its state, around torch's own arithmetic.

    Steps are counted in plain integers; all parameters share a table of values; `state_dict`
    nests what it quantised.
    """

    TABLE = torch.linspace(-1, 1, 256)

    def step(self, closure=None):
        for state in self.state.values():
            assert type(state["step"]) is int
            state["step"] = torch.tensor(float(state["step"]))
        super().step(closure)
        for state in self.state.values():
            state["step"] = int(state["step"])
            state["qmap1"] = self.TABLE

    def state_dict(self):
        state = super().state_dict()
        nested = {i: {"step": s["step"], NESTED: s} for i, s in state["state"].items()}
        return state | {"state": nested}

    def load_state_dict(self, state_dict):
        flat = {i: state.get(NESTED, state) for i, state in state_dict["state"].items()}
        assert all(type(state["step"]) is int for state in flat.values())
        super().load_state_dict(state_dict | {"state": flat})
        for state in self.state.values():
            state["step"] = int(state["step"])


@pytest.fixture
def stand_in(monkeypatch):
    is_bnb_available()  # peft asks once, and must not take the stand-in for the library
    module = ModuleType("bitsandbytes")
    module.optim = SimpleNamespace(AdamW8bit=StandIn)
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr(trainer, "load", lambda *_: pytest.fail("a model was loaded"))


def test_adamw_is_torchs_fused_one():
    weights = [nn.Parameter(torch.ones(3))]
    optimizer = new_optimizer("adamw", weights, 0.01, 1e-5)
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert (group["lr"], group["eps"], group["fused"]) == (0.01, 1e-5, True)
    assert group["params"] == weights
    check_optimizer("adamw", CPU)
    check_optimizer("adamw", CUDA)


@pytest.mark.usefixtures("stand_in")
def test_eight_bits_need_a_gpu():
    check_optimizer("adamw8bit", CUDA)
    with pytest.raises(InputError, match="optimizer: got adamw8bit on cpu, expected adamw"):
        check_optimizer("adamw8bit", CPU)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_eight_bits_need_bitsandbytes_and_the_message_says_how(monkeypatch, error):
    def broken(name):
        raise error(f"no {name} here")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(InputError, match="without bitsandbytes .*pip install bitsandbytes") as got:
        check_optimizer("adamw8bit", CUDA)
    assert "\n" not in str(got.value) and got.value.name == "optimizer"


@pytest.mark.usefixtures("nothing_loads")
def test_it_is_refused_before_a_model_is_loaded(tmp_path):
    config = new_config(tmp_path / "out", optimizer="adamw8bit", subject_images=tmp_path / "none")
    with pytest.raises(InputError, match="optimizer: got adamw8bit on cpu"):
        trainer.train(config, PICTURES)
    with pytest.raises(checks.Refused) as error:
        checks.preflight(config)
    assert [problem.name for problem in error.value.problems] == ["subject images", "optimizer"]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("method", ["dreambooth", "lora", "textual-inversion"])
def test_its_state_goes_through_a_checkpoint(tmp_path, monkeypatch, method):
    monkeypatch.setattr(trainer, "check_optimizer", lambda *_: None)  # as on a GPU
    straight, killed = (
        new_config(tmp_path / name, optimizer="adamw8bit", method=method)
        for name in ("straight", "killed")
    )
    whole = run(straight, tmp_path / "cache")
    run(killed, tmp_path / "cache", steps=3)
    rest = run(killed, tmp_path / "cache", resume=True)
    assert [event[:3] for event in rest] == [event[:3] for event in whole[1:]]
    before, after = state_of(straight), state_of(killed)
    nested = f"optimizer.0.{NESTED}"
    assert before.keys() == after.keys() > {"optimizer.0.step", f"{nested}.qmap1"}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert int(before["optimizer.0.step"]) == 5


@pytest.mark.usefixtures("stand_in")
def test_eight_bits_go_the_same_way_as_thirty_two(tmp_path, monkeypatch):
    """The stand-in computes as torch does: what differs would be our settings."""
    monkeypatch.setattr(trainer, "check_optimizer", lambda *_: None)
    ends = []
    for optimizer in ("adamw", "adamw8bit"):
        config = new_config(tmp_path / optimizer, optimizer=optimizer, max_steps=2)
        *_, last = run(config, tmp_path / "cache")
        ends.append(last.pipeline.unet.conv_in.weight.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)
