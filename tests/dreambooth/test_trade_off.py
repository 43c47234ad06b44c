"""The best checkpoint of runs whose story is known."""

import pytest

from tlab_diffusion.dreambooth.measures.selection import Point, Qualities, trade_off
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval


def scores(**numbers):
    return {name: Interval(value, None, None) for name, value in numbers.items()}


def point(step, pres=0.2, class_div=0.8, **samples):
    of_class = scores(pres=pres, class_div=class_div)
    controls = {"real": scores(dino=0.8)}
    return Point(step, Metrics("pip", {}, scores(**samples), {}, of_class, controls))


def run():
    """A run that learns, then forgets the class, then copies."""
    return [
        point(0, identity=0.0, prompt_accuracy=0.9),
        point(100, identity=0.5, prompt_accuracy=0.9),
        point(200, identity=0.9, prompt_accuracy=0.8, pres=0.28, class_div=0.76),
        point(300, identity=0.95, prompt_accuracy=0.7, pres=0.6, class_div=0.4),
        point(400, identity=0.2, prompt_accuracy=0.1, pres=0.7, class_div=0.3),
    ]


def test_the_best_checkpoint_is_good_at_all_three():
    result = trade_off(run())
    assert result.best == 200
    assert [each.step for each in result.curve] == [0, 100, 200, 300, 400]
    assert result.curve[2] == pytest.approx((200, 0.9, 0.8, 0.9))  # (1 - 0.28) / (1 - 0.2)
    assert result.curve[3].prior == pytest.approx(0.5)  # of 0.4 / 0.8 and 0.4 / 0.8
    assert result.why == (
        "Step 200 has the best balance: identity 0.90, prompt 0.80, prior 0.90. "
        "Earlier, at step 100, identity is 0.50. Later, at step 300, prior is 0.50."
    )
    assert trade_off(reversed(run())) == result


def test_the_reason_names_the_neighbours_of_the_best():
    rising = [point(100 * i, identity=0.2 * i, prompt_accuracy=1.0) for i in range(5)]
    falling = [point(500 + 100 * i, identity=0.8, prompt_accuracy=0.5 - 0.2 * i) for i in range(2)]
    assert trade_off([*rising, *falling]).why.endswith(
        "Earlier, at step 300, identity is 0.60. Later, at step 500, prompt is 0.50."
    )


def test_the_smaller_loss_of_the_two_does_not_hide_the_greater():
    points = [point(0, identity=0, prompt_accuracy=1)]
    nearer = point(1, identity=1, prompt_accuracy=1, pres=0.6)
    duller = point(1, identity=1, prompt_accuracy=1, class_div=0.4)
    for changed in (nearer, duller):
        assert trade_off([*points, changed]).curve[1].prior == pytest.approx(0.5)
    better = point(1, identity=1, prompt_accuracy=1, pres=0.1, class_div=0.9)
    assert trade_off([*points, better]).curve[1].prior == 1  # no more than was there


def test_no_quality_can_be_bought_by_the_others():
    assert Qualities(1, 1.0, 1.0, 0.0).score == 0
    assert Qualities(1, 0.6, 0.6, 0.6).score == pytest.approx(0.6)
    assert Qualities(1, 1.0, 1.0, 0.25).score == pytest.approx(0.5)


def test_without_a_world_the_encoders_tell():
    points = [
        point(0, dino=0.3, clip_t=0.32),
        point(100, dino=0.6, clip_t=0.32),
        point(200, dino=0.72, clip_t=0.16),
    ]
    result = trade_off(points)
    assert result.curve[1] == pytest.approx((100, 0.75, 1, 1))
    assert result.curve[2] == pytest.approx((200, 0.9, 0.5, 1))
    assert result.best == 100


def test_the_earliest_of_equals_and_of_a_run_that_learnt_nothing():
    assert (
        trade_off([point(step, identity=0.5, prompt_accuracy=0.5) for step in (0, 10, 20)]).best
        == 10
    )
    assert (
        trade_off([point(step, identity=0.0, prompt_accuracy=1.0) for step in (0, 10, 20)]).best
        == 10
    )


def test_where_every_score_is_0_the_sum_of_the_qualities_decides():
    """Identity may be 0 all along, and earlier is then no better by itself."""
    prompt_accuracy = {0: 0.9, 175: 0.3, 350: 0.8, 525: 0.8, 700: 0.6}
    result = trade_off(
        [
            point(step, identity=0.0, prompt_accuracy=prompt_accuracy[step])
            for step in prompt_accuracy
        ]
    )
    assert {each.score for each in result.curve} == {0}
    assert result.best == 350
    # The score goes before the sum: one quality at 0 is not made up for by the others.
    balanced = point(875, identity=0.1, prompt_accuracy=0.1, class_div=0.2)
    first, *later = [point(step, identity=0.0, prompt_accuracy=1.0) for step in (0, 175)]
    assert trade_off([first, *later, balanced]).best == 875


@pytest.mark.parametrize("steps", [[], [0], [100, 200], [0, 100, 100]])
def test_a_curve_starts_at_the_original_model(steps):
    with pytest.raises(InputError, match="step 0, the original model"):
        trade_off([point(step, identity=0.5, prompt_accuracy=0.5) for step in steps])
