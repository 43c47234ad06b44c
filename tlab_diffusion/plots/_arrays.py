"""Convert tensors, lists and pictures to arrays; wrong shapes are refused."""

from collections.abc import Mapping, Sequence

import numpy as np

from tlab_diffusion.errors import InputError


def as_array(name: str, values, ndim: int) -> np.ndarray:
    """Turn numbers or a tensor into a float array of `ndim` dimensions."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(name, got=type(values).__name__, expected="numbers") from None
    if array.ndim != ndim or array.size == 0:
        raise InputError(
            name, got=f"shape {array.shape}", expected=f"{ndim} dimensions, none of them empty"
        )
    return array


def as_pictures(name: str, values) -> np.ndarray:
    r"""Turn a batch of pictures into (N, H, W, 3) uint8.

    Args:
        name: the argument's name, for the message.
        values: (N, H, W, 3) uint8, or (N, 3, H, W) floats in [-1, 1] (values beyond are clipped:
            noised pictures have them), or a list of such pictures.
    """
    if isinstance(values, Sequence) and values and hasattr(values[0], "detach"):
        values = [picture.detach().cpu().numpy() for picture in values]
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(name, got="pictures of several sizes", expected="one size") from None
    if array.ndim == 4 and array.size and array.shape[3] == 3 and array.dtype == np.uint8:
        return array
    if array.ndim == 4 and array.size and array.shape[1] == 3 and array.dtype.kind == "f":
        scaled = (np.nan_to_num(array, nan=0.0).clip(-1, 1) + 1) * 127.5
        return scaled.round().astype(np.uint8).transpose(0, 2, 3, 1)
    raise InputError(
        name,
        got=f"shape {array.shape}, {array.dtype}",
        expected="(N, H, W, 3) uint8 or (N, 3, H, W) floats in [-1, 1]",
    )


def check_mapping(name: str, values: Mapping) -> None:
    """Refuse anything but a dictionary with something in it."""
    if not isinstance(values, Mapping) or not values:
        got = "an empty dictionary" if isinstance(values, Mapping) else type(values).__name__
        raise InputError(name, got=got, expected="a dictionary {label: values}")


def check_length(name: str, got: int, expected: int, what: str) -> None:
    """Refuse two sequences of different lengths."""
    if got != expected:
        raise InputError(name, got=str(got), expected=f"{expected}, one for each {what}")
