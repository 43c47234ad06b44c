"""Compare an answer with the right one; describe what is wrong with its type, shape or values."""

import numbers

import torch
from torch import Tensor

from tlab_diffusion.course.readable import Other

# Wide enough for an answer that computes in float32 or through Python numbers; a hundredth of
# what separates the wrong variants from the right answer.
RTOL, ATOL = 1e-4, 1e-5
HALVES, HALF_RTOL = (torch.float16, torch.bfloat16), 2e-2  # and how near such answers come
SEVERAL = (tuple, list)  # an answer of several parts may come as either
FEW = 12  # numbers that a message shows one by one
MOST_DIGITS = 15

NOT_FINITE = (
    "Some values are nan or infinite. Look for a division by 0, or for the root or the logarithm "
    "of a negative number."
)
HALF_PRECISION = (
    "The values are in half precision, which keeps three digits or fewer. Compute in float32: "
    "leave out `.half()`, `.bfloat16()` and autocast."
)


def complaint(got: object, expected: object) -> str | None:
    """Say what is wrong with the form of an answer (type, shape, dtype), if anything is.

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
    """Whether an answer has the right form and, up to rounding, the right values.

    What is nan in both agrees: a known mistake may divide by 0 just as the answer does.
    """
    if complaint(got, expected):
        return False
    if isinstance(expected, SEVERAL):
        return all(agrees(g, e) for g, e in zip(got, expected, strict=True))
    if isinstance(expected, int):
        return int(got) == expected
    got, expected = plain(got), plain(expected)
    return bool(torch.isclose(got, expected, rtol=RTOL, atol=ATOL, equal_nan=True).all())


def unfinished(got: object, expected: object) -> str | None:
    """Say that values are nan or infinite, or in half precision, where the right ones are not."""
    if isinstance(expected, SEVERAL):
        return next(filter(None, map(unfinished, got, expected)), None)
    if isinstance(expected, int) or agrees(got, expected):
        return None
    values, right = plain(got), plain(expected)
    if not torch.isfinite(values).all() and torch.isfinite(right).all():
        return NOT_FINITE
    near = torch.isclose(values, right, rtol=HALF_RTOL, atol=HALF_RTOL).all()
    halves = (values.to(dtype).double() for dtype in HALVES)
    if near and any(torch.equal(values, half) for half in halves):
        return HALF_PRECISION
    return None


def difference(got: object, expected: object) -> str:
    """Say where an answer of the right form departs from the right values."""
    if isinstance(expected, SEVERAL):
        for number, (g, e) in enumerate(zip(got, expected, strict=True), start=1):
            if not agrees(g, e):
                return f"Of the {len(expected)} results, number {number}: {difference(g, e)}"
    if isinstance(expected, int):
        return f"{_whole(got)} is wrong."
    got, expected = plain(got), plain(expected)
    if said := _one_rule(got, expected):
        return said
    off = (got - expected).abs()
    largest = f"Your values differ from the right ones by up to {off.max():.2g}"
    if got.ndim == 0:
        return f"{largest}: {_yours(got, expected)}."
    place = [int(i) for i in torch.unravel_index(off.argmax(), off.shape)]
    worst = f" At {place} {_yours(got[tuple(place)], expected[tuple(place)])}."
    right = torch.isclose(got, expected, rtol=RTOL, atol=ATOL).flatten(1 if got.ndim > 1 else 0)
    right = right.all(dim=1) if got.ndim > 1 else right
    wrong = [str(index) for index, ok in enumerate(right.tolist()) if not ok]
    if len(wrong) == len(right):
        return f"{largest}, at every index of the first axis.{worst}"
    return f"{largest}. They are wrong at index {', '.join(wrong)} of the first axis only.{worst}"


def told_apart(*values: float, digits: int = 3) -> tuple[str, ...]:
    """Numbers as text with so many digits that those that differ look different."""
    while True:
        texts = tuple(f"{value:.{digits}g}" for value in values)
        if len(set(texts)) == len(set(map(float, values))) or digits >= MOST_DIGITS:
            return texts
        digits += 1


def _yours(got: Tensor, expected: Tensor) -> str:
    yours, right = told_apart(got.item(), expected.item())
    return f"yours is {yours}, the right value {right}"


def _one_rule(got: Tensor, expected: Tensor) -> str | None:
    """Say so if one factor, or one number added, separates all values from the right ones."""
    if got.numel() < 2 or not torch.isfinite(got).all():
        return None
    factor = (got * expected).sum() / (expected * expected).sum()
    if factor.abs() > ATOL and torch.isclose(got, factor * expected, rtol=RTOL, atol=ATOL).all():
        return f"All your values are {told_apart(factor.item(), 1.0)[0]} times the right ones."
    added = (got - expected).mean()
    if torch.isclose(got, expected + added, rtol=RTOL, atol=ATOL).all():
        word = "above" if added > 0 else "below"
        return f"All your values lie {added.abs():.3g} {word} the right ones."
    return None


def _whole(number: object) -> str:
    """A whole number as text, also where Python refuses to write it out."""
    number = int(number)
    return str(number) if abs(number) < 10**MOST_DIGITS else "A number that large"


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
    if got.layout != torch.strided or got.is_meta or got.is_quantized or got.is_nested:
        return "Your function returns an unusual kind of tensor; expected an ordinary one."
    if got.shape != expected.shape:
        return (
            f"The shape is {tuple(got.shape)}; expected {tuple(expected.shape)}. "
            "Print the shape after each line to see where it changes."
        )
    if got.dtype in HALVES:
        return f"The dtype is {got.dtype}. {HALF_PRECISION}"
    if not got.is_floating_point():
        return f"The dtype is {got.dtype}; expected floating-point numbers."
    return None


def _kind(value: object) -> str:
    """A type in plain words, never a repr, which could be long or hold an address."""
    words = {
        "ndarray": "a numpy array",
        "Tensor": "one tensor",
        "generator": "a generator (`yield`)",
    }
    if isinstance(value, Other):
        unread = f"an object that cannot be read as an answer (its type is {value.kind})"
        return words.get(value.kind, unread)
    name = type(value).__name__
    return words.get(name, f"{'an' if name[0] in 'aeiou' else 'a'} {name}")
