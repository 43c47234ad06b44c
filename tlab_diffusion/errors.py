"""One kind of error for bad input, and the checks that raise it."""

import math
from collections.abc import Iterable


def printable(text: object) -> str:
    r"""A text as one line without control characters.

    Control characters, line breaks, characters that reverse the direction of writing, and bytes of
    file names that are no characters are escaped.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python reads a byte of a name that is no character
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class InputError(ValueError):
    """Bad input, reported in one line.

    Args:
        name: what was given, as its user calls it ("t", "--size", "caption").
        got: the value received, short enough to read at a glance.
        expected: the values that would have been right.
        fix: one sentence that tells the user what to do next (may be empty).

    Example:
        >>> str(InputError("t", got="1000", expected="integers from 0 to 999", fix="Count from 0."))
        't: got 1000, expected integers from 0 to 999. Count from 0.'
    """

    def __init__(self, name: str, *, got: str, expected: str, fix: str = ""):
        self.name, self.got, self.expected, self.fix = name, got, expected, fix
        super().__init__(printable(f"{name}: got {got}, expected {expected}. {fix}".strip()))


def check_integer(name: str, value: object, *, lowest: int = 1) -> None:
    """Refuse what is no integer of at least `lowest`."""
    if type(value) is not int or value < lowest:
        raise InputError(name, got=repr(value), expected=f"an integer from {lowest} up")


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    lowest: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse what is no finite number in the interval: > `above`, >= `lowest`, < `below`."""
    right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    right = right and (above is None or value > above) and (lowest is None or value >= lowest)
    if not right or (below is not None and value >= below):
        limits = {"above": above, "from": lowest, "below": below}
        words = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
        expected = "a number " + " and ".join(words) if words else "a finite number"
        raise InputError(name, got=repr(value), expected=expected)


def check_bool(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise InputError(name, got=repr(value), expected="True or False")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse what is not one of the choices."""
    if value not in choices:
        raise InputError(name, got=repr(value), expected="one of " + ", ".join(choices))


def refuse_change(before: dict, now: dict, where: str) -> None:
    """Refuse a setting that differs from what it was before, somewhere, and name it.

    Raises:
        InputError: for the first setting whose earlier value is known and another one.
    """
    for name, value in now.items():
        if name in before and before[name] != value:
            raise InputError(
                name,
                got=f"{value!r}",
                expected=f"{before[name]!r}, as in {where}",
                fix="Continue with the same, or choose another folder.",
            )
