r"""How sure a mean is: 95 % intervals by the percentile bootstrap (Efron, 1979).

What is drawn again is the unit that was chosen at random: prompts for one subject, subjects for an
experiment. Pictures of one prompt are alike and would promise too much. Where all units agree (ten
prompts, all obeyed) the bootstrap sees no doubt at all, and its interval is a point.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tlab_diffusion.errors import InputError

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
FEWEST = 3  # units; two can only say that the mean lies between them


class Interval(NamedTuple):
    """A mean with its 95 % interval; `low` and `high` are None where too few units say it."""

    mean: float
    low: float | None
    high: float | None

    def leaves_out(self, value: float) -> bool:
        """Whether the interval does not hold a value; False where there is none."""
        return self.low is not None and not self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + (
            "" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]"
        )


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    r"""The mean of N values of independent units.

    Raises:
        InputError: no values, or some that are no finite numbers.
    """
    values = _checked(values)
    counts = _resampled(len(values), seed)
    return _interval(values.mean(), counts @ values / len(values), len(values))


def pairs_interval(table: np.ndarray, seed: int = 0) -> Interval:
    r"""The mean over distinct pairs of N units.

    A unit that is drawn twice would meet itself; these meetings are left out, as they are in the
    mean itself.

    Args:
        table: (N, N), symmetric; its diagonal is not looked at.
        seed: of the bootstrap.

    Raises:
        InputError: fewer than two units, or values that are no finite numbers.
    """
    table = _checked(table)
    n = len(table)
    if table.shape != (n, n) or n < 2:
        raise InputError("table", got=str(table.shape), expected="(N, N), with N from 2 up")
    apart = np.where(np.eye(n, dtype=bool), 0, table)
    counts = _resampled(n, seed)
    pairs = n**2 - (counts**2).sum(axis=1)
    some = pairs > 0  # drawings of one unit alone have no pair
    sums = ((counts @ apart) * counts).sum(axis=1)
    return _interval(apart.sum() / (n * (n - 1)), sums[some] / pairs[some], n)


def paired_effect(one: Mapping[str, float], other: Mapping[str, float], seed: int = 0) -> Interval:
    r"""The mean of `one - other`, subject by subject: what all subjects share cancels.

    Args:
        one, other: a value for each subject, for the same subjects.
        seed: of the bootstrap.

    Raises:
        InputError: different subjects, none, or values that are no finite numbers.
    """
    if set(one) != set(other):
        unpaired = ", ".join(sorted(set(one) ^ set(other)))
        raise InputError("subjects", got=f"{unpaired} on one side only", expected="pairs")
    return mean_interval([one[name] - other[name] for name in sorted(one)], seed)


def _resampled(n: int, seed: int) -> np.ndarray:
    """How often each unit occurs in each bootstrap sample: (RESAMPLES, N)."""
    return np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=RESAMPLES)


def _interval(mean: float, resampled: np.ndarray, units: int) -> Interval:
    if units < FEWEST:
        return Interval(float(mean), None, None)
    low, high = np.percentile(resampled, PERCENTILES)
    return Interval(float(mean), float(low), float(high))


def _checked(values: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if not values.size or not np.isfinite(values).all():
        got = "none" if not values.size else "some that are no numbers"
        raise InputError("values", got=got, expected="1 or more finite numbers")
    return values
