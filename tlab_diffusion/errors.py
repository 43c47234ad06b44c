"""One kind of error for bad input: what was got, what was expected, how to fix it."""


class InputError(ValueError):
    """Bad input, said in one line.

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
        super().__init__(f"{name}: got {got}, expected {expected}. {fix}".strip())


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
                fix="Go on with the same, or choose another folder.",
            )
