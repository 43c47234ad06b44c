"""What a training run saves: plain tensors in one safetensors file, written whole or not at all."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import atomic_write, file_lock

NUMBERS = "recipe"  # their name in a file's header
NUMBER_DTYPES = {int: torch.int64, float: torch.float64, bool: torch.bool}


def save(path: Path, tensors: dict[str, Tensor], numbers: dict | None = None) -> None:
    r"""Write tensors so that a kill at any time leaves the old file or the new one, never half.

    Args:
        path: the file.
        tensors: by name.
        numbers: of the recipe that they come from, which `numbers_of` reads.
    """
    about = None if numbers is None else {NUMBERS: json.dumps(numbers)}
    plain, storages = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        # The format has no shared memory, which some optimizers' states have.
        plain[name] = tensor.clone() if storage in storages else tensor
        storages.add(storage)
    with atomic_write(path) as draft:
        save_file(plain, draft, about)


def load(path: Path) -> dict[str, Tensor]:
    """Read what `save` wrote.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    with _opened(path) as file:
        return file.get_tensors()


def shape_of(path: Path, name: str) -> tuple[int, ...]:
    r"""The shape of a tensor in a file, read from the file's header.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    with _opened(path) as file:
        return tuple(file.get_slice(name).get_shape())


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


def flatten(tree: Mapping, prefix: str = "") -> dict[str, Tensor]:
    r"""Nested dicts of tensors and numbers, as tensors with dotted names; None is left out.

    A Python number becomes a 0-dimensional tensor of int64, float64 or bool.
    """
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            flat[f"{prefix}{key}"] = value
        elif value is not None:
            flat[f"{prefix}{key}"] = torch.tensor(value, dtype=NUMBER_DTYPES[type(value)])
    return flat


def unflatten(flat: Mapping[str, Tensor], prefix: str) -> dict:
    r"""The nested dicts that `flatten` took apart, of the names that start with `prefix`.

    Keys of digits become integers, as in the state of torch's optimizers.
    """
    tree = {}
    for name, value in flat.items():
        if name.startswith(prefix):
            path = [
                int(key) if key.isdigit() else key for key in name.removeprefix(prefix).split(".")
            ]
            branch = tree
            for key in path[:-1]:
                branch = branch.setdefault(key, {})
            number = value.ndim == 0 and value.dtype in NUMBER_DTYPES.values()
            branch[path[-1]] = value.item() if number else value
    return tree


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    if not path.is_file():
        raise InputError("checkpoint", got=f"no file {path}", expected="a safetensors file")
    try:
        # Read, not mapped into memory: the file may be replaced or deleted, and may have 10 GB.
        with safe_open(path, framework="pt", backend="pread") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            "checkpoint",
            got=f"{path}, which cannot be read ({error})",
            expected="a whole safetensors file",
            fix="Delete it, and start again or from an older copy.",
        ) from error
