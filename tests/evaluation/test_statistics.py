"""Bootstrap intervals: closed forms, coverage, and what they refuse."""

import numpy as np
import pytest

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.statistics import (
    Interval,
    mean_interval,
    paired_effect,
    pairs_interval,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    values = normal(400)
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20  # the bootstrap's own variance is that of the sample, / N
    assert mean - low == pytest.approx(half, rel=0.1) and high - mean == pytest.approx(
        half, rel=0.1
    )


def test_95_percent_of_the_intervals_hold_the_truth():
    held = [mean_interval(normal(40, seed=i), seed=i).excludes(0) for i in range(300)]
    assert 0.02 < np.mean(held) < 0.1  # 5 % of 300, three standard errors around
    first = mean_interval(normal(40, seed=0))
    assert first == mean_interval(normal(40, seed=0)) != mean_interval(normal(40, seed=0), seed=1)


def test_pairs_leave_out_those_of_a_unit_with_itself():
    table = normal(6, 6) ** 2
    table = table + table.T + np.diag([1e6] * 6)
    above = table[np.triu_indices(6, 1)]
    mean, low, high = pairs_interval(table)
    assert mean == pytest.approx(above.mean())
    assert above.min() <= low < mean < high <= above.max()  # no 0 of a unit that was drawn twice
    same = 3.0 + np.diag([-3.0] * 5)
    assert pairs_interval(same) == pytest.approx((3, 3, 3))


def test_the_interval_of_pairs_holds_the_truth():
    """Squared distances of standard normal points have the mean 2."""
    missed = []
    for seed in range(200):
        x = normal(30, seed=1000 + seed)
        missed.append(pairs_interval((x[:, None] - x) ** 2, seed=seed).excludes(2))
    assert np.mean(missed) < 0.15


def test_pairing_takes_out_what_subjects_have_in_common():
    level = dict(zip("abcdefgh", 10 * normal(8), strict=True))
    better = {name: value + 1 for name, value in reversed(level.items())}
    difference = paired_effect(better, level)
    assert difference == pytest.approx((1, 1, 1)) and difference.excludes(0)
    assert not mean_interval([better[name] for name in "abcdefgh"]).excludes(level["a"])


def test_few_units_give_no_interval():
    for values in ([0.5], [0.2, 0.8]):
        assert mean_interval(values) == (0.5, None, None)
    assert not Interval(0.5, None, None).excludes(0)
    assert str(Interval(0.5, None, None)) == "0.500"
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"
    assert pairs_interval(np.array([[0, 0.3], [0.3, 0]])) == (0.3, None, None)


@pytest.mark.parametrize("values", [[], [0.1, float("nan"), 0.2], [float("inf")]])
def test_values_are_finite_numbers(values):
    with pytest.raises(InputError, match="finite numbers"):
        mean_interval(values)


def test_pairs_need_pairs():
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        pairs_interval(np.ones((2, 3)))
    with pytest.raises(InputError, match="N from 2 up"):
        pairs_interval(np.ones((1, 1)))
    with pytest.raises(InputError, match="b, c on one side only"):
        paired_effect({"a": 1, "b": 2}, {"a": 1, "c": 2})
