"""Compare an answer with the right one; describe what is wrong with its type, shape or values."""

import numbers

import torch
from torch import Tensor

# Wide enough for an answer that computes in float32 or through Python numbers; a hundredth of
# what separates the wrong variants from the right answer.
RTOL, ATOL = 1e-4, 1e-5
SEVERAL = (tuple, list)  # an answer of several parts may come as either
FEW = 12  # numbers that a message shows one by one


def complaint(got: object, expected: object) -> str | None:
    """Say what is wrong with the form of an answer (type, shape, dtype, nan), if anything is.

    Args:
        got: what the learner's function returned.
        expected: the right answer: a tensor, an integer, or a tuple or list of these.
    """
    if got is None:
        return "Your function returns nothing. Did you forget `return`?"
    if isinstance(expected, SEVERAL):
        return _several_complaint(got, expected)
    if isinstance(expected, int):
        return _integer_complaint(got)
    if isinstance(got, numbers.Real) and expected.ndim == 0:
        got = plain(got)
    return _tensor_complaint(got, expected)


def agrees(got: object, expected: object) -> bool:
    """Whether an answer has the right form and, up to rounding, the right values."""
    if complaint(got, expected):
        return False
    if isinstance(expected, SEVERAL):
        return all(agrees(g, e) for g, e in zip(got, expected, strict=True))
    if isinstance(expected, int):
        return int(got) == expected
    return bool(torch.isclose(plain(got), plain(expected), rtol=RTOL, atol=ATOL).all())


def difference(got: object, expected: object) -> str:
    """Say where an answer of the right form departs from the right values."""
    if isinstance(expected, SEVERAL):
        for number, (g, e) in enumerate(zip(got, expected, strict=True), start=1):
            if not agrees(g, e):
                return f"Of the {len(expected)} results, number {number}: {difference(g, e)}"
    if isinstance(expected, int):
        return f"{int(got)} is wrong."
    got, expected = plain(got), plain(expected)
    largest = f"Your values differ from the right ones by up to {(got - expected).abs().max():.2g}"
    if got.ndim == 0:
        return largest + "."
    right = torch.isclose(got, expected, rtol=RTOL, atol=ATOL).flatten(1 if got.ndim > 1 else 0)
    right = right.all(dim=1) if got.ndim > 1 else right
    wrong = [str(index) for index, ok in enumerate(right.tolist()) if not ok]
    if len(wrong) == len(right):
        return f"{largest}, at every index of the first axis."
    return f"{largest}. They are wrong at index {', '.join(wrong)} of the first axis only."


def plain(value: object) -> Tensor:
    """A number or tensor as a float64 tensor without a gradient."""
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    try:
        return torch.tensor(float(value), dtype=torch.float64)
    except OverflowError:  # a whole number beyond every float
        return torch.tensor(torch.inf, dtype=torch.float64)


def normalised(got: object, expected: object) -> object:
    """An answer of the right form as the right answer would come: comparable to others."""
    if isinstance(expected, SEVERAL):
        return tuple(normalised(g, e) for g, e in zip(got, expected, strict=True))
    return int(got) if isinstance(expected, int) else plain(got)


def described(value: object) -> str:
    """An input in a line: numbers where they are few, else shape and dtype."""
    if isinstance(value, Tensor):
        if value.numel() <= FEW:
            return f"tensor({_short(value.tolist())})"
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, SEVERAL) and any(isinstance(part, Tensor) for part in value):
        return f"a {type(value).__name__} of {len(value)}: " + ", ".join(map(described, value))
    if isinstance(value, (*SEVERAL, int, float, str)):
        return repr(value)
    return _kind(value)


def _short(value: object) -> str:
    """Numbers with four digits, in the brackets that they came in."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _several_complaint(got: object, expected: tuple | list) -> str | None:
    if not isinstance(got, SEVERAL):
        wanted = f"{len(expected)} things: `return a, b`"
        if isinstance(expected, list):
            wanted = f"a list of {len(expected)} tensors"
        return f"Your function returns {_kind(got)}; expected {wanted}."
    if len(got) != len(expected):
        return f"Your function returns {len(got)} things; expected {len(expected)}."
    for number, (g, e) in enumerate(zip(got, expected, strict=True), start=1):
        if said := ("It is None." if g is None else complaint(g, e)):
            return f"Look at result number {number}. {said}"
    return None


def _integer_complaint(got: object) -> str | None:
    if isinstance(got, Tensor) and got.ndim == 0 and not got.is_floating_point():
        return None
    if isinstance(got, numbers.Integral):
        return None
    return f"Your function returns {_kind(got)}; expected a whole number."


def _tensor_complaint(got: object, expected: Tensor) -> str | None:
    if not isinstance(got, Tensor):
        wanted = "a torch tensor" if expected.ndim else "a tensor holding one number"
        return f"Your function returns {_kind(got)}; expected {wanted}."
    if got.layout != torch.strided or got.is_meta or got.is_quantized:
        return "Your function returns an unusual kind of tensor; expected an ordinary one."
    if got.shape != expected.shape:
        return (
            f"The shape is {tuple(got.shape)}; expected {tuple(expected.shape)}. "
            "Print the shape after each line to see where it changes."
        )
    if not got.is_floating_point():
        return f"The dtype is {got.dtype}; expected floating-point numbers."
    if not torch.isfinite(plain(got)).all():
        return (
            "Some values are nan or infinite. Look for a division by 0, or for the root or "
            "the logarithm of a negative number."
        )
    return None


def _kind(value: object) -> str:
    """A type in plain words, never a repr, which could be long or hold an address."""
    words = {
        "ndarray": "a numpy array",
        "Tensor": "one tensor",
        "generator": "a generator (`yield`)",
    }
    name = type(value).__name__
    return words.get(name, f"{'an' if name[0] in 'aeiou' else 'a'} {name}")
