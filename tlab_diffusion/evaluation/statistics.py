r"""Means with 95 % intervals by the percentile bootstrap (Efron, 1979).

The resampled unit is the one that was chosen at random: prompts for one subject, subjects for an
experiment. Pictures of one prompt are correlated and would make the interval too narrow. Where all
units have the same value, the interval is a point; this does not mean certainty.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlab_diffusion.errors import InputError

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
MIN_UNITS = 3  # a bootstrap of two units only tells that the mean is between them


class Interval(NamedTuple):
    """A mean with its 95 % interval; `low` and `high` are None where there are too few units."""

    mean: float
    low: float | None
    high: float | None

    def excludes(self, value: float) -> bool:
        """Whether the value is outside the interval; False where there is no interval."""
        return self.low is not None and not self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + (
            "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        )


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    r"""The mean of N values of independent units.

    Raises:
        InputError: no values, or values that are not finite.
    """
    values = _checked(values)
    counts = _resampled(len(values), seed)
    return _interval(values.mean(), counts @ values / len(values), len(values))


def pairs_interval(table: np.ndarray, seed: int = 0) -> Interval:
    r"""The mean over distinct pairs of N units.

    A bootstrap sample may draw a unit twice; pairs of a unit with itself are left out, as in the
    mean.

    Args:
        table: (N, N), symmetric; its diagonal is ignored.
        seed: of the bootstrap.

    Raises:
        InputError: fewer than two units, or values that are not finite.
    """
    table = _checked(table)
    n = len(table)
    if table.shape != (n, n) or n < 2:
        raise InputError("table", got=str(table.shape), expected="(N, N), with N from 2 up")
    apart = np.where(np.eye(n, dtype=bool), 0, table)
    counts = _resampled(n, seed)
    pairs = n**2 - (counts**2).sum(axis=1)
    some = pairs > 0  # a sample of one unit alone has no pair
    sums = ((counts @ apart) * counts).sum(axis=1)
    return _interval(apart.sum() / (n * (n - 1)), sums[some] / pairs[some], n)


def paired_effect(one: Mapping[str, float], other: Mapping[str, float], seed: int = 0) -> Interval:
    r"""The mean of `one - other`, paired by subject.

    Args:
        one, other: a value for each subject, for the same subjects.
        seed: of the bootstrap.

    Raises:
        InputError: different subjects, none, or values that are not finite.
    """
    if set(one) != set(other):
        unpaired = ", ".join(sorted(set(one) ^ set(other)))
        raise InputError("subjects", got=f"{unpaired} on one side only", expected="pairs")
    return mean_interval([one[name] - other[name] for name in sorted(one)], seed)


def _resampled(n: int, seed: int) -> np.ndarray:
    """How often each unit occurs in each bootstrap sample: (RESAMPLES, N)."""
    return np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=RESAMPLES)


def _interval(mean: float, resampled: np.ndarray, units: int) -> Interval:
    if units < MIN_UNITS:
        return Interval(float(mean), None, None)
    low, high = np.percentile(resampled, PERCENTILES)
    return Interval(float(mean), float(low), float(high))


def _checked(values: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        got = "none" if not values.size else "NaN or infinite values"
        raise InputError("values", got=got, expected="1 or more finite numbers")
    return values
