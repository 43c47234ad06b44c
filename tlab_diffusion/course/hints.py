"""Hints in three tiers, and which comes next."""

from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import find
from tlab_diffusion.course.feedback import Shown, box, image, prose
from tlab_diffusion.errors import InputError

CALM = "#0072b2"
# The highest tier that was shown of each exercise since the kernel started.
seen: dict[str, int] = {}


class Hint(Shown):
    """A hint, and how to ask for the next one; the last shows the expected figure too."""

    def __init__(self, exercise: Exercise, tier: int):
        self.figure = None
        self.heading = f"Hint {tier} of {len(exercise.hints)}: {exercise.id}"
        following = f'`hint("{exercise.id}", {tier + 1})`'
        if tier == len(exercise.hints):
            following = f'`solution("{exercise.id}")`'
            self.figure = exercise.expected_figure and exercise.expected_figure()
        self.message = f"{exercise.hints[tier - 1]}\n\nNext: {following}"

    def _text(self) -> str:
        return f"{self.heading}\n{self.message}"

    def _html(self) -> str:
        body = prose(self.message)
        if self.figure:
            body += image(self.figure.png(), self.figure.title)
        return box(self.heading, body, CALM)


def hint(id: str, tier: int = 1) -> Hint:
    """A hint: tier 1 is an idea, 2 the formula in terms of code, 3 nearly the code."""
    exercise = find(id)
    if type(tier) is not int or not 1 <= tier <= len(exercise.hints):
        raise InputError("tier", got=repr(tier), expected=f"1 to {len(exercise.hints)}")
    seen[id] = max(tier, seen.get(id, 0))
    return Hint(exercise, tier)


def next_tier(id: str) -> int | None:
    """The first tier that was not shown yet; None where all were."""
    tier = seen.get(id, 0) + 1
    return tier if tier <= len(find(id).hints) else None


def next_call(id: str) -> str:
    """What to type for the next hint, or for the solution after the last one."""
    tier = next_tier(id)
    if tier is None:
        return f'solution("{id}")'
    return f'hint("{id}")' if tier == 1 else f'hint("{id}", {tier})'
