r"""Which checkpoint is best: it knows the subject, obeys prompts, and has kept the class.

More steps buy identity and cost the other two, so neither end of a run is best. Each checkpoint
gets three qualities from 0 to 1, and their harmonic mean, which no single one can buy. Where that
is the same, as it is 0 whenever one of them is, their sum decides, and then what took fewer steps:

identity    share of pictures that show the subject and copy nothing; without a world, dino as a
            share of what the references reach among themselves
prompt      share of pictures that show what was asked; without recognisers, clip_t as a share of
            the original model's
prior       what is left of the class: of its distance from the subject, (1 - pres), and of its
            variety, class_div, as shares of the original model's; the smaller one counts
"""

from collections.abc import Sequence
from statistics import harmonic_mean
from typing import NamedTuple

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.result import Metrics

QUALITIES = ("identity", "prompt", "prior")


class Point(NamedTuple):
    """A checkpoint and what was measured on it; step 0 is the original model."""

    step: int
    metrics: Metrics


class Qualities(NamedTuple):
    """A checkpoint's place on the trade-off curve, each from 0 to 1."""

    step: int
    identity: float
    prompt: float
    prior: float

    @property
    def score(self) -> float:
        """The harmonic mean; 0 where one quality is."""
        return harmonic_mean(self[1:])

    @property
    def total(self) -> float:
        """Their sum: it tells apart what the score cannot, such as all that have a quality at 0."""
        return sum(self[1:])

    def by_name(self) -> dict[str, float]:
        """The three, without the step."""
        return {name: getattr(self, name) for name in QUALITIES}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.by_name().items())


class TradeOff(NamedTuple):
    """The curve, the best step on it, and the reason in plain words."""

    curve: list[Qualities]
    best: int
    why: str

    def curves(self, score: str) -> dict[str, list[float]]:
        """The three qualities over the steps, and at last their mean under the name `score`."""
        curves = {name: [getattr(each, name) for each in self.curve] for name in QUALITIES}
        return curves | {score: [each.score for each in self.curve]}


def trade_off(points: Sequence[Point]) -> TradeOff:
    r"""Pick the best checkpoint.

    Args:
        points: one at step 0, the original model, and one or more later.

    Raises:
        InputError: no step 0, nothing later, or a step twice.
    """
    points = sorted(points, key=lambda point: point.step)
    steps = [point.step for point in points]
    if len(points) < 2 or steps[0] != 0 or len(set(steps)) < len(steps):
        expected = "step 0, the original model, and later ones, each once"
        raise InputError("points", got=f"steps {steps}", expected=expected)
    original = points[0].metrics
    curve = [_qualities(step, metrics, original) for step, metrics in points]
    best = max(curve[1:], key=lambda each: (each.score, each.total))  # the earliest of equals
    return TradeOff(curve, best.step, _why(best, curve[1:]))


def _qualities(step: int, metrics: Metrics, original: Metrics) -> Qualities:
    now, before = metrics.numbers(), original.numbers()
    identity, prompt = now.get("identity"), now.get("prompt_accuracy")
    if identity is None:
        real = metrics.controls.get("real")
        identity = now["dino"] / real["dino"].mean if real else now["dino"]
    if prompt is None:
        prompt = _kept(now["clip_t"], before["clip_t"])
    apart = _kept(1 - now["pres"], 1 - before["pres"])
    varied = _kept(now["class_div"], before["class_div"])
    return Qualities(step, *map(_share, (identity, prompt, min(apart, varied))))


def _kept(now: float, before: float) -> float:
    """What is left, as a share; all of it where there was nothing to lose."""
    return now / before if before > 0 else 1.0


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _why(best: Qualities, curve: Sequence[Qualities]) -> str:
    reasons = [f"Step {best.step} has the best balance: {best}."]
    sides = (
        ("Earlier", [each for each in curve if each.step < best.step][-1:]),
        ("Later", [each for each in curve if each.step > best.step][:1]),
    )
    for side, neighbours in sides:
        for other in neighbours:
            lacking = _lacks(other, best)
            value = getattr(other, lacking)
            reasons.append(f"{side}, at step {other.step}, {lacking} is {value:.2f}.")
    return " ".join(reasons)


def _lacks(one: Qualities, other: Qualities) -> str:
    """The quality in which one falls most behind another."""
    return max(QUALITIES, key=lambda name: getattr(other, name) - getattr(one, name))
