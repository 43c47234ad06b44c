r"""The qualities of a tuned model, and the best checkpoint of a run.

More steps improve identity and cost prompt fidelity and the prior, so neither end of a run is best.
A tuned model gets three qualities from 0 to 1:

identity    share of samples that show the subject and copy no reference; without a known world,
            dino as a share of what the references reach among themselves
prompt      share of samples that show what was asked; without recognisers, clip_t as a share of
            the base model's
prior       what is left of the class and of other classes; the smallest of these counts: the
            distances from the subject, (1 - pres) and (1 - other_pres), variety, class_div, and
            class_accuracy, as shares of the base model's; and 1 less the rise of each share of
            `LEAKS` above the base model's

Their harmonic mean is the score. Among equal scores (0 whenever one quality is 0) the higher sum of
qualities decides, then fewer steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import harmonic_mean
from typing import NamedTuple

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.result import Metrics

# Shares of pictures that show the subject or its colour without being asked.
LEAKS = ("class_taken", "other_taken", "class_colour", "other_colour")
QUALITIES = ("identity", "prompt", "prior")


class Point(NamedTuple):
    """A checkpoint and its metrics; step 0 is the original model."""

    step: int
    metrics: Metrics


class Qualities(NamedTuple):
    """The qualities of a tuned model, each from 0 to 1."""

    identity: float
    prompt: float
    prior: float

    @property
    def score(self) -> float:
        """The harmonic mean; 0 where one quality is."""
        return harmonic_mean(self)

    @property
    def total(self) -> float:
        """The sum. It decides between equal scores."""
        return sum(self)

    def by_name(self) -> dict[str, float]:
        """The three as a dict."""
        return self._asdict()

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in self.by_name().items())


class TradeOff(NamedTuple):
    """The qualities by step, in order; the best step; and the reason as text."""

    curve: dict[int, Qualities]
    best: int
    why: str

    def curves(self, score: str) -> dict[str, list[float]]:
        """Each quality over the steps, and their harmonic mean under the name `score`."""
        values = self.curve.values()
        curves = {name: [getattr(each, name) for each in values] for name in QUALITIES}
        return curves | {score: [each.score for each in values]}


def qualities(tuned: Metrics, base: Metrics) -> Qualities:
    r"""The qualities of a tuned model relative to its base.

    Args:
        tuned, base: from the same prompts, noise, encoders and sampler.
    """
    now, before = tuned.numbers(), base.numbers()
    identity, prompt = now.get("identity"), now.get("prompt_accuracy")
    if identity is None:
        real = tuned.controls.get("real")
        identity = now["dino"] / real["dino"].mean if real else now["dino"]
    if prompt is None:
        prompt = _ratio(now["clip_t"], before["clip_t"])
    values = identity, prompt, min(_kept(now, before))
    return Qualities(*(min(1.0, max(0.0, value)) for value in values))


def _kept(now: Mapping[str, float], before: Mapping[str, float]) -> Iterator[float]:
    """What is left of the class and of others, each as a share; earlier metrics lack some."""
    for name in ("pres", "other_pres"):
        if name in now and name in before:
            yield _ratio(1 - now[name], 1 - before[name])
    for name in ("class_div", "class_accuracy"):
        if name in now and name in before:
            yield _ratio(now[name], before[name])
    for name in LEAKS:
        if name in now and name in before:
            yield 1 - (now[name] - before[name])


def trade_off(points: Sequence[Point]) -> TradeOff:
    r"""Pick the best checkpoint.

    Args:
        points: one at step 0, the original model, and one or more later, in any order.

    Raises:
        InputError: no step 0, nothing later, or a step twice.
    """
    points = sorted(points, key=lambda point: point.step)
    steps = [point.step for point in points]
    if len(points) < 2 or steps[0] != 0 or len(set(steps)) < len(steps):
        expected = "step 0, the original model, and later ones, each once"
        raise InputError("points", got=f"steps {steps}", expected=expected)
    original = points[0].metrics
    curve = {step: qualities(metrics, original) for step, metrics in points}
    # `max` takes the earliest of equals.
    best = max(steps[1:], key=lambda step: (curve[step].score, curve[step].total))
    return TradeOff(curve, best, _why(best, curve))


def weaker_quality(one: Qualities, other: Qualities) -> str:
    """The quality in which `one` is furthest below `other`."""
    return max(QUALITIES, key=lambda name: getattr(other, name) - getattr(one, name))


def _ratio(now: float, before: float) -> float:
    """What is left, as a share; 1 where there was nothing to lose."""
    return now / before if before > 0 else 1.0


def _why(best: int, curve: dict[int, Qualities]) -> str:
    reasons = [f"Step {best} has the best balance: {curve[best]}."]
    tuned = [step for step in curve if step > 0]
    at = tuned.index(best)
    for side, neighbours in (("Earlier", tuned[:at][-1:]), ("Later", tuned[at + 1 :][:1])):
        for step in neighbours:
            name = weaker_quality(curve[step], curve[best])
            value = getattr(curve[step], name)
            reasons.append(f"{side}, at step {step}, {name} is {value:.2f}.")
    return " ".join(reasons)
