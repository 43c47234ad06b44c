"""The list of exercises, hints, solutions and progress."""

import inspect
import itertools
from collections.abc import Callable

from tlab_diffusion.course import journal
from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import ALL, find
from tlab_diffusion.course.feedback import Shown, box, image, prose, table
from tlab_diffusion.errors import InputError

CALM = "#0072b2"


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


class Source(str):
    """Source code as a string, shown with highlighting in a notebook."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}\n```"


class ExerciseList(list, Shown):
    """The exercises, as a table."""

    __repr__ = Shown.__repr__

    def _text(self) -> str:
        return "\n".join(f"{e.lesson}: {e.id}: {e.signature}" for e in self)

    def _html(self) -> str:
        rows = [
            [
                e.lesson,
                f"`{e.id}`",
                e.title,
                f"`{e.signature}`",
                f"{e.minutes} min",
                str(e.difficulty),
            ]
            for e in self
        ]
        return table(["Lesson", "Id", "Title", "Signature", "Time", "Difficulty (1-3)"], rows)


class Progress(Shown):
    """The learner's progress by lesson."""

    def __init__(self, standing: dict[str, str]):
        self.lessons = [
            (lesson, [(e, standing.get(e.id)) for e in group])
            for lesson, group in itertools.groupby(ALL, key=lambda e: e.lesson)
        ]

    def _text(self) -> str:
        lines = []
        for lesson, entries in self.lessons:
            lines.append(f"{lesson}: {_count(entries)}")
            lines += [f"  {_mark(outcome)} {e.id}" for e, outcome in entries]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [lesson, _count(entries), ", ".join(f"{_mark(o)} `{e.id}`" for e, o in entries)]
            for lesson, entries in self.lessons
        ]
        return table(["Lesson", "Passed", "Exercises (✓ passed, ✗ tried, · open)"], rows)


def exercises() -> ExerciseList:
    """List every exercise; each has an `id`, `title`, `lesson` and `signature`."""
    return ExerciseList(ALL)


def reference(id: str) -> Callable:
    """The package's own function for an exercise, which the rest of the lesson uses."""
    return find(id).reference


def hint(id: str, tier: int = 1) -> Hint:
    """A hint: tier 1 is an idea, 2 the formula in terms of code, 3 nearly the code."""
    exercise = find(id)
    if type(tier) is not int or not 1 <= tier <= len(exercise.hints):
        raise InputError("tier", got=repr(tier), expected=f"1 to {len(exercise.hints)}")
    return Hint(exercise, tier)


def solution(id: str) -> Source:
    """The source of a short solution, complete with its imports."""
    source = inspect.getsource(find(id).solution).rstrip()
    imports = [f"import {module}" for module in ("math", "torch") if f"{module}." in source]
    return Source("\n".join([*imports, "", "", source]) if imports else source)


def snippets(id: str) -> Source:
    """The faulty code of a find-the-bug exercise, with numbered lines."""
    found = find(id).snippets
    if not found:
        raise InputError("id", got=repr(id), expected="an exercise that asks to find a bug")
    blocks = []
    for number, code in enumerate(found, start=1):
        lines = enumerate(code.strip("\n").splitlines(), start=1)
        blocks.append("\n".join([f"# Snippet {number}", *(f"{n:2}  {line}" for n, line in lines)]))
    return Source("\n\n".join(blocks))


def progress() -> Progress:
    """How far you have come: a table of the exercises passed, read from your journal."""
    return Progress(journal.read())


def _count(entries: list) -> str:
    return f"{sum(outcome == 'passed' for _, outcome in entries)} of {len(entries)}"


def _mark(outcome: str | None) -> str:
    return {"passed": "✓", None: "·"}.get(outcome, "✗")
