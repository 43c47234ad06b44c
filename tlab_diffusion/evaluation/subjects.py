r"""Means and effects over several subjects, which are the units of the bootstrap.

An effect is a difference between two ways to tune, paired by subject. It is claimed where its 95 %
interval excludes 0.
"""

from collections.abc import Sequence

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.measure import Estimates
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import mean_interval, paired_effect


def average(results: Sequence[Metrics]) -> Estimates:
    r"""The mean of every metric over subjects.

    Raises:
        InputError: no results, or a subject twice.
    """
    by_subject = _by_subject(results)
    return {
        name: mean_interval([numbers[name] for numbers in by_subject.values()])
        for name in _shared(list(by_subject.values()))
    }


def differences(one: Sequence[Metrics], other: Sequence[Metrics]) -> Estimates:
    r"""The mean of `one - other` for every metric, paired by subject.

    Raises:
        InputError: not the same subjects on both sides, none, or one twice.
    """
    ones, others = _by_subject(one), _by_subject(other)
    return {
        name: paired_effect(
            {subject: numbers[name] for subject, numbers in ones.items()},
            {subject: numbers[name] for subject, numbers in others.items()},
        )
        for name in _shared([*ones.values(), *others.values()])
    }


def _by_subject(results: Sequence[Metrics]) -> dict[str, dict[str, float]]:
    by_subject = {each.subject: each.numbers() for each in results}
    if not results or len(by_subject) < len(results):
        got = ", ".join(each.subject for each in results) or "none"
        raise InputError("results", got=got, expected="1 or more, each of another subject")
    return by_subject


def _shared(all_numbers: Sequence[dict[str, float]]) -> list[str]:
    """The names of the metrics that all have, in order."""
    first, *rest = all_numbers
    return [name for name in first if all(name in numbers for numbers in rest)]
