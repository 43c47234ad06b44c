"""What a training run saves: plain tensors in one safetensors file, written whole or not at all."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import atomic_write, file_lock

NUMBERS = "recipe"  # their name in a file's header


def save(path: Path, tensors: dict[str, Tensor], numbers: dict | None = None) -> None:
    r"""Write tensors so that a kill at any time leaves the old file or the new one, never half.

    Args:
        path: the file.
        tensors: by name.
        numbers: of the recipe that they come from, which `numbers_of` reads.
    """
    about = None if numbers is None else {NUMBERS: json.dumps(numbers)}
    with atomic_write(path) as draft:
        plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(plain, draft, about)


def load(path: Path) -> dict[str, Tensor]:
    """Read what `save` wrote.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    with _opened(path) as file:
        return file.get_tensors()


def load_or_compute(path: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    r"""Tensors from a cache file. Where it is missing or damaged, they are computed and saved.

    Several processes that miss it take turns: one computes, the others read.

    Raises:
        InputError: the file cannot be written.
    """
    with file_lock(path):
        try:
            return load(path)
        except InputError:
            tensors = compute()
            save(path, tensors)
            return tensors


def numbers_of(path: Path) -> dict:
    r"""The recipe's numbers that `save` wrote into a file; empty if it wrote none.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    with _opened(path) as file:
        return json.loads((file.metadata() or {}).get(NUMBERS, "{}"))


def training_state(
    model: nn.Module, ema: nn.Module | None, optimizer: torch.optim.Optimizer, step: int
) -> dict[str, Tensor]:
    """Everything that a step changes, as named tensors; `ema` is None where none is kept."""
    state = {"step": torch.tensor(step)}
    state |= {f"model.{name}": value for name, value in model.state_dict().items()}
    if ema is not None:
        state |= {f"ema.{name}": value for name, value in ema.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    return state


def restore(
    state: dict[str, Tensor],
    model: nn.Module,
    ema: nn.Module | None,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Put a `training_state` back, and return the step it was saved at.

    Raises:
        InputError: if it is another model's.
    """
    try:
        model.load_state_dict(_under("model.", state))
        if ema is not None:
            ema.load_state_dict(_under("ema.", state))
        step = int(state["step"])
    except (RuntimeError, KeyError) as error:
        raise InputError(
            "checkpoint",
            got="the state of another model",
            expected="one of a run with these numbers",
            fix="Go on with the settings that it began with, or begin anew in another folder.",
        ) from error
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", state).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return step


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    if not path.is_file():
        raise InputError("checkpoint", got=f"no file {path}", expected="a safetensors file")
    try:
        # Read, not mapped into memory: the file may be replaced or go, and weighs 10 GB maybe.
        with safe_open(path, framework="pt", backend="pread") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            "checkpoint",
            got=f"{path}, which cannot be read ({error})",
            expected="a whole safetensors file",
            fix="Delete it, and start again or from an older copy.",
        ) from error


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
