"""Turn what an answer returns into plain values, so that judging it runs none of its code.

A learner's object may raise, or never come back, from `__float__`, `__iter__`, `__eq__`,
`__len__` or `__str__`. So values are read where the answer itself runs, within its limit of time,
by the methods of the built-in types.
"""

import numbers
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

AS_THEY_ARE = (type(None), bool, int, float, complex, str, bytes, Tensor, torch.nn.Parameter)
LONGEST_NAME = 40


@dataclass(frozen=True)
class Other:
    """Stands for an object that is no answer; all that is kept is the name of its type."""

    kind: str


class CannotBeRead(Exception):
    """The answer is an object that raises when it is read; holds the name of its type."""


def readable(function: Callable) -> Callable:
    """The function, with tensors, numbers, texts and containers of them as its result."""

    def read(*arguments):
        value = function(*arguments)
        try:
            return plain_value(value)
        except BaseException:  # whatever its methods raise
            raise CannotBeRead(name_of_type(value)) from None

    return read


def plain_value(value: object) -> object:
    """A value of built-in types and torch's own tensors only; others become `Other`."""
    kind = type(value)
    if kind in AS_THEY_ARE:
        return value
    if issubclass(kind, Tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return value.as_subclass(Tensor)
    if issubclass(kind, np.generic) or (kind is np.ndarray and value.ndim == 0):
        return plain_value(value.item())
    for base in (str, int, float):
        if issubclass(kind, base):
            return getattr(base, f"__{base.__name__}__")(value)
    for base in (tuple, list):
        if issubclass(kind, base):
            return base(plain_value(part) for part in base.__iter__(value))
    if issubclass(kind, dict):
        return {plain_value(key): plain_value(part) for key, part in dict.items(value)}
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return Other(name_of_type(value))


def name_of_type(value: object) -> str:
    """The name of a value's type, also where its class hides it."""
    return str(type.__dict__["__name__"].__get__(type(value)))[:LONGEST_NAME]
