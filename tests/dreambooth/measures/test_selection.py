"""Qualities, and the best checkpoint of runs whose story is known."""

import pytest

from tests.dreambooth.standin import point
from tlab_diffusion.dreambooth.measures.selection import LEAKS, Qualities, qualities, trade_off
from tlab_diffusion.errors import InputError


def run():
    """A run that learns, then forgets the class, then copies."""
    return [
        point(0, identity=0.0, prompt_accuracy=0.9),
        point(100, identity=0.5, prompt_accuracy=0.9),
        point(200, identity=0.9, prompt_accuracy=0.8, pres=0.28, class_div=0.76),
        point(300, identity=0.95, prompt_accuracy=0.7, pres=0.6, class_div=0.4),
        point(400, identity=0.2, prompt_accuracy=0.1, pres=0.7, class_div=0.3),
    ]


def of(tuned, base):
    return qualities(tuned.metrics, base.metrics)


def test_the_best_checkpoint_is_good_at_all_three():
    result = trade_off(run())
    assert result.best == 200
    assert list(result.curve) == [0, 100, 200, 300, 400]
    assert result.curve[200] == pytest.approx((0.9, 0.8, 0.9))  # (1 - 0.28) / (1 - 0.2)
    assert result.curve[300].prior == pytest.approx(0.5)  # of 0.4 / 0.8 and 0.4 / 0.8
    assert result.curve[300] == of(run()[3], run()[0])
    assert trade_off(reversed(run())) == result


def test_the_reason_names_the_neighbours_of_the_best():
    why = trade_off(run()).why
    for part in ("Step 200", "at step 100, identity is 0.50", "at step 300, prior is 0.50"):
        assert part in why
    rising = [point(100 * i, identity=0.2 * i, prompt_accuracy=1.0) for i in range(5)]
    falling = [point(500 + 100 * i, identity=0.8, prompt_accuracy=0.5 - 0.2 * i) for i in range(2)]
    why = trade_off([*rising, *falling]).why
    assert "at step 300, identity is 0.60" in why and "at step 500, prompt is 0.50" in why


def test_the_smaller_loss_of_the_two_does_not_hide_the_greater():
    base = point(0, identity=0, prompt_accuracy=1)
    right = {"identity": 1, "prompt_accuracy": 1}
    assert of(point(1, **right, pres=0.6), base).prior == pytest.approx(0.5)
    assert of(point(1, **right, class_div=0.4), base).prior == pytest.approx(0.5)
    assert of(point(1, **right, pres=0.1, class_div=0.9), base).prior == 1  # no more than 1


@pytest.mark.parametrize("leak", LEAKS)
def test_what_leaks_counts_above_what_the_base_does(leak):
    right = {"identity": 1, "prompt_accuracy": 1}
    base = point(0, **right, **{leak: 0.25})
    assert of(point(1, **right, **{leak: 0.75}), base).prior == pytest.approx(0.5)
    assert of(point(1, **right, **{leak: 0.0}), base).prior == 1
    assert of(point(1, **right), base).prior == 1  # measured by an earlier version


def test_a_class_that_is_drawn_worse_counts():
    right = {"identity": 1, "prompt_accuracy": 1}
    base = point(0, **right, class_accuracy=0.8, other_pres=0.2)
    assert of(point(1, **right, class_accuracy=0.4), base).prior == pytest.approx(0.5)
    assert of(point(1, **right, other_pres=0.6), base).prior == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "score"), [((1.0, 1.0, 0.0), 0), ((0.6, 0.6, 0.6), 0.6), ((1.0, 1.0, 0.25), 0.5)]
)
def test_no_quality_can_be_bought_by_the_others(values, score):
    assert Qualities(*values).score == pytest.approx(score)


def test_without_a_world_the_encoders_tell():
    points = [
        point(0, dino=0.3, clip_t=0.32),
        point(100, dino=0.6, clip_t=0.32),
        point(200, dino=0.72, clip_t=0.16),
    ]
    result = trade_off(points)
    assert result.curve[100] == pytest.approx((0.75, 1, 1))
    assert result.curve[200] == pytest.approx((0.9, 0.5, 1))
    assert result.best == 100


@pytest.mark.parametrize("numbers", [(0.5, 0.5), (0.0, 1.0)])
def test_the_earliest_of_equals_and_of_a_run_that_learnt_nothing(numbers):
    identity, accuracy = numbers
    points = [point(step, identity=identity, prompt_accuracy=accuracy) for step in (0, 10, 20)]
    assert trade_off(points).best == 10


def test_where_every_score_is_0_the_sum_of_the_qualities_decides():
    """Identity may be 0 all along, and earlier is then no better by itself."""
    accuracy = {0: 0.9, 175: 0.3, 350: 0.8, 525: 0.8, 700: 0.6}
    result = trade_off(
        [point(step, identity=0.0, prompt_accuracy=value) for step, value in accuracy.items()]
    )
    assert {each.score for each in result.curve.values()} == {0}
    assert result.best == 350
    # The score goes before the sum: one quality at 0 is not made up for by the others.
    balanced = point(875, identity=0.1, prompt_accuracy=0.1, class_div=0.2)
    first, *later = [point(step, identity=0.0, prompt_accuracy=1.0) for step in (0, 175)]
    assert trade_off([first, *later, balanced]).best == 875


@pytest.mark.parametrize("steps", [[], [0], [100, 200], [0, 100, 100]])
def test_a_curve_starts_at_the_original_model(steps):
    with pytest.raises(InputError, match="step 0, the original model"):
        trade_off([point(step, identity=0.5, prompt_accuracy=0.5) for step in steps])
