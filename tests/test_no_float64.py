"""The stand-in for a device without float64 refuses what such a device refuses."""

import copy

import pytest
import torch
from torch import nn

from tests.no_float64 import no_float64


@pytest.fixture
def device():
    with no_float64() as device:
        yield device


REFUSED = {
    "double": lambda x, device: x.double(),
    "moved float64": lambda x, device: torch.zeros(2, dtype=torch.float64).to(device),
    "moved to float64": lambda x, device: torch.zeros(2).to(device, torch.float64),
    "made float64": lambda x, device: torch.ones(2, dtype=torch.float64, device=device),
    "like, in float64": lambda x, device: torch.zeros_like(x, dtype=torch.float64),
    "float64 moved to its like": lambda x, device: torch.zeros(2).double().to(x.device),
    "numbers of a CPU generator": lambda x, device: torch.randn(
        2, generator=torch.Generator(), device=device
    ),
    "two devices": lambda x, device: x * torch.ones(2),
    "numpy": lambda x, device: x.numpy(),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_the_device_refuses(call, device):
    x = torch.ones(2).to(device)
    with pytest.raises((TypeError, RuntimeError)):
        call(x, device)


def test_what_it_allows(device):
    x = torch.ones(2, device=device)
    for y in (
        x + 1,
        x * torch.tensor(2.0, dtype=torch.float64),  # a number from the CPU
        torch.tensor([1.0]).double().to(x),  # converted on the way
        torch.zeros(3).to(x.device),
        torch.cat([x, x]),
        x[torch.tensor([0])],
        torch.full((2,), 3, device=x.device),
    ):
        assert y.device == device
    assert x.cpu().double().numpy().shape == x.to("cpu").shape == (2,)
    assert x.cpu().device.type == "cpu"


def test_a_network_moves_there_trains_and_is_copied(device):
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1)).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    twin = copy.deepcopy(model)
    model(torch.randn(4, 2).to(device)).square().mean().backward()
    optimizer.step()
    assert all(weight.device == weight.grad.device == device for weight in model.parameters())
    assert not torch.equal(next(model.parameters()), next(twin.parameters()))
    with pytest.raises(RuntimeError, match="same device"):
        model(torch.randn(4, 2))
    assert next(model.to("cpu").parameters()).device.type == "cpu"
    assert next(nn.Linear(1, 1).to(device, torch.float16).parameters()).dtype == torch.float16
