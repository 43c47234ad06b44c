r"""Experiments over several subjects: means and effects, with subjects as the units.

An effect is a difference between two ways to tune, subject by subject; it is claimed where its
95 % interval leaves out 0.
"""

import operator
from collections.abc import Callable, Sequence

from tlab_diffusion.dreambooth.intervals import mean_interval, paired_effect
from tlab_diffusion.dreambooth.measures import Measures
from tlab_diffusion.dreambooth.scores import Scores
from tlab_diffusion.errors import InputError


def average(results: Sequence[Measures]) -> Scores:
    r"""The mean of every number over subjects, each measured once.

    Raises:
        InputError: no results, or a subject twice.
    """
    by_subject = _by_subject(results)
    return {
        name: mean_interval([numbers[name] for numbers in by_subject.values()])
        for name in _shared(list(by_subject.values()))
    }


def differences(one: Sequence[Measures], other: Sequence[Measures]) -> Scores:
    r"""The mean of `one - other` for every number, subject by subject.

    Raises:
        InputError: not the same subjects on both sides, none, or one twice.
    """
    return _effects(one, other, operator.sub)


def changes(tuned: Sequence[Measures], original: Sequence[Measures]) -> Scores:
    r"""The mean of `tuned / original - 1` for every number, subject by subject.

    It says little of a number that is near 0, as PRES may be; one that is 0 is left out.

    Raises:
        InputError: not the same subjects on both sides, none, or one twice.
    """
    zeros = {name for each in original for name, value in each.numbers().items() if value == 0}
    scores = _effects(tuned, original, lambda now, before: now / before - 1 if before else 0.0)
    return {name: each for name, each in scores.items() if name not in zeros}


def _effects(
    one: Sequence[Measures], other: Sequence[Measures], effect: Callable[[float, float], float]
) -> Scores:
    ones, others = _by_subject(one), _by_subject(other)
    return {
        name: paired_effect(
            {subject: numbers[name] for subject, numbers in ones.items()},
            {subject: numbers[name] for subject, numbers in others.items()},
            effect,
        )
        for name in _shared([*ones.values(), *others.values()])
    }


def _by_subject(results: Sequence[Measures]) -> dict[str, dict[str, float]]:
    by_subject = {each.subject: each.numbers() for each in results}
    if not results or len(by_subject) < len(results):
        got = ", ".join(each.subject for each in results) or "none"
        raise InputError("results", got=got, expected="1 or more, each of another subject")
    return by_subject


def _shared(all_numbers: Sequence[dict[str, float]]) -> list[str]:
    """The names of the numbers that all have, in order."""
    first, *rest = all_numbers
    return [name for name in first if all(name in numbers for numbers in rest)]
