"""The list of exercises, solutions and progress."""

import inspect
import itertools
from collections.abc import Callable

from tlab_diffusion.course import hints, journal
from tlab_diffusion.course.exercise import LESSONS, Exercise
from tlab_diffusion.course.exercises import ALL, find
from tlab_diffusion.course.feedback import Note, Shown, prose, table
from tlab_diffusion.course.journal import Standing
from tlab_diffusion.errors import InputError


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
    """The learner's progress, by lesson.

    Args:
        standing: of the exercises that were tried.
        shown: the exercises to show.
    """

    def __init__(self, standing: dict[str, Standing], shown: tuple[Exercise, ...] = ALL):
        self.lessons = [
            (lesson, [(e, standing.get(e.id)) for e in group])
            for lesson, group in itertools.groupby(shown, key=lambda e: e.lesson)
        ]

    def _total(self) -> str:
        entries = [entry for _, group in self.lessons for entry in group]
        left = [exercise for exercise, standing in entries if not (standing and standing.passed)]
        following = f"Next: `{left[0].id}`, in {left[0].lesson}." if left else "All are passed."
        return f"{_count(entries)} exercises passed. {following}"

    def _text(self) -> str:
        lines = [self._total().replace("`", "")]
        for lesson, entries in self.lessons:
            lines.append(f"{lesson}: {_count(entries)}")
            lines += [f"  {_mark(standing)} {e.id}{_last(standing)}" for e, standing in entries]
        return "\n".join(lines)

    def _html(self) -> str:
        rows = [
            [
                lesson,
                _count(entries),
                ", ".join(f"{_mark(s)}\u00a0`{e.id}`{_last(s)}" for e, s in entries),
            ]
            for lesson, entries in self.lessons
        ]
        legend = "Exercises (✓ passed, ✗ failed, ! raised an error, · open)"
        return prose(self._total()) + table(["Lesson", "Passed", legend], rows)


def exercises() -> ExerciseList:
    """List every exercise; each has an `id`, `title`, `lesson` and `signature`."""
    return ExerciseList(ALL)


def reference(id: str) -> Callable:
    """The package's own function for an exercise, which the rest of the lesson uses."""
    return find(id).reference


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


def progress(lesson: str | None = None) -> Progress:
    """How far you have come, read from your journal.

    Args:
        lesson: the part of an exercise's id before the point, such as "noising", or the lesson's
            number, such as "01"; all lessons if it is left out.
    """
    if lesson is None:
        return Progress(journal.read())
    title = LESSONS.get(lesson) if isinstance(lesson, str) else None
    shown = tuple(e for e in ALL if e.lesson == title or e.lesson.split()[0] == lesson)
    if not shown:
        raise InputError("lesson", got=repr(lesson), expected=", ".join(LESSONS))
    return Progress(journal.read(), shown)


def reset(id: str) -> Note:
    """Forget the tries of an exercise, so that `progress()` shows it as open."""
    find(id)
    standing = journal.read().get(id)
    hints.seen.pop(id, None)
    if standing is None:
        return Note(f"Nothing was noted of `{id}`: it is open.")
    journal.forget(id)
    tried = "passed" if standing.passed else "not passed yet"
    return Note(
        f"The tries of `{id}` are forgotten: it was {tried}, and is open again. Your code in the "
        "notebook stays."
    )


def _count(entries: list) -> str:
    passed = sum(standing is not None and standing.passed for _, standing in entries)
    return f"{passed} of {len(entries)}"


def _mark(standing: Standing | None) -> str:
    if standing is None:
        return "·"
    if standing.passed:
        return "✓"
    return "!" if standing.last == "raised" else "✗"


def _last(standing: Standing | None) -> str:
    """The last try, where an answer that had passed is broken since."""
    if standing is None or not standing.passed or standing.last == "passed":
        return ""
    return f" (the last try {'raised an error' if standing.last == 'raised' else 'failed'})"
