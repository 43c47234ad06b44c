"""The matrix: how well each exercise tells right answers from wrong ones.

`python -m tests.course.matrix` (`make matrix`) asks the checker about every right style, every
named mistake and every mutant of every shown solution, prints a table and writes it to
`tests/course/matrix.md`.
"""

import contextlib
import io
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.course.mutants import mutants
from tests.course.styles import styles_of
from tlab_diffusion.course import check
from tlab_diffusion.course.answer_check import agrees
from tlab_diffusion.course.exercise import Exercise
from tlab_diffusion.course.exercises import ALL
from tlab_diffusion.course.readable import readable

PAGE = Path(__file__).with_name("matrix.md")
EXCUSED = tomllib.loads(Path(__file__).with_name("equivalents.toml").read_text(encoding="utf-8"))
HEADINGS = ("exercise", "styles", "accepted", "named mistakes", "recognised")
HEADINGS = (*HEADINGS, "mutants", "equivalent", "with a remark", "refused", "of the others")


@dataclass(frozen=True)
class Row:
    """The numbers of one exercise."""

    styles: int
    accepted: int
    mistakes: int
    recognised: int
    mutants: int
    equivalent: int
    remarked: int
    refused: int

    def __add__(self, other: "Row") -> "Row":
        return Row(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def line(self, name: str) -> str:
        """A line of the table."""
        share = self.refused / (self.mutants - self.equivalent)
        return "| " + " | ".join(map(str, (name, *astuple(self), f"{share:.1%}"))) + " |"


class Bench:
    """Judges answers to an exercise on the fixed draw, quickly: in this process, without words.

    It is what `check` asks first. An answer that it takes for right may still fail a check.
    """

    def __init__(self, exercise: Exercise):
        self.exercise = exercise
        self.inputs = exercise.make_inputs(exercise.generator())
        right = exercise.observed(exercise.reference)
        self.expected = [right(*_copy(arguments)) for arguments in self.inputs]

    def is_right(self, answer: Callable) -> bool:
        """Whether an answer is right on all inputs; an error is raised as it comes."""
        observed = self.exercise.observed(readable(answer))
        for arguments, expected in zip(self.inputs, self.expected, strict=True):
            copies = _copy(arguments)
            with contextlib.redirect_stdout(io.StringIO()):
                got = observed(*copies)
            if not agrees(got, expected) or not _equal(arguments, copies):
                return False
        return True

    def survivors(self) -> tuple[int, dict[str, Callable]]:
        """How many mutants the shown solution has, and those that seem right, by their line."""
        all_mutants, alive = list(mutants(self.exercise.solution)), {}
        for mutant in all_mutants:
            with contextlib.suppress(Exception):  # whatever it is, the mutant is refused
                if self.is_right(mutant.function):
                    alive[mutant.line] = mutant.function
        return len(all_mutants), alive


def _copy(value: object) -> object:
    if isinstance(value, tuple | list):
        return type(value)(_copy(part) for part in value)
    if isinstance(value, torch.Generator):
        return value.clone_state()
    return value.clone() if isinstance(value, Tensor) else value


def _equal(before: object, after: object) -> bool:
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(map(_equal, before, after))
    return torch.equal(before, after) if isinstance(before, Tensor) else True


def excused(exercise: Exercise) -> tuple[dict[str, str], dict[str, str]]:
    """The lines of equivalent mutants and of those that a remark speaks of, with reasons."""
    equivalent, remarked = (EXCUSED[kind].get(exercise.id, {}) for kind in EXCUSED)
    return equivalent, remarked


def measured(exercise: Exercise) -> Row:
    """Ask the checker about everything, and print what it gets wrong."""
    styles, (equivalent, remarked) = styles_of(exercise), excused(exercise)
    accepted = recognised = 0
    for name, answer in styles.items():
        result = _checked(exercise, answer)
        accepted += result.outcome == "passed"
        if result.outcome != "passed":
            print(f"{exercise.id}: refused, though right: {name}: {result.message}")
    forms = [(v.name, form) for v in exercise.variants for form in v.forms]
    for name, form in forms:
        result = _checked(exercise, as_answer(exercise, form))
        recognised += result.misconception == name
        if result.misconception != name:
            print(f"{exercise.id}: {name} taken for {result.misconception}: {result.message}")
    number, alive = Bench(exercise).survivors()
    passed = {line: _checked(exercise, function) for line, function in alive.items()}
    passed = {line: result for line, result in passed.items() if result.outcome == "passed"}
    for line in passed.keys() - (equivalent.keys() | remarked.keys()):
        print(f"{exercise.id}: a mutant passes: {line}")
    for line in (equivalent.keys() | remarked.keys()) - passed.keys():
        print(f"{exercise.id}: listed, but refused: {line}")
    for line in remarked.keys() & passed:
        if "One remark." not in passed[line].message:
            print(f"{exercise.id}: passes without a remark: {line}")
    counts = len(styles), accepted, len(forms), recognised, number, len(equivalent), len(remarked)
    return Row(*counts, refused=number - len(passed))


def as_answer(exercise: Exercise, function: Callable) -> Callable:
    """The function under the exercise's own signature, as a learner defines it."""
    names = ", ".join(exercise.parameters)
    return eval(f"lambda {names}: function({names})", {"function": function})


def _checked(exercise: Exercise, answer: Callable):
    with contextlib.redirect_stdout(io.StringIO()):
        return check(exercise.id, answer)


def page(rows: dict[str, Row]) -> str:
    """The table as a page of Markdown."""
    total = sum(rows.values(), Row(*[0] * 8))
    lines = [row.line(f"`{id}`") for id, row in rows.items()]
    head = "| " + " | ".join(HEADINGS) + " |"
    rule = "|---" + "|---:" * (len(HEADINGS) - 1) + "|"
    return "\n".join([INTRODUCTION, head, rule, *lines, total.line("all")]) + "\n"


INTRODUCTION = """# How well the checker tells right from wrong

`make matrix` writes this table; a test compares its counts.

- **Styles** are right answers written in other ways: by hand (`answers.py`) and mechanically
  (`styles.py`). All of them should be accepted.
- **Named mistakes** are the wrong answers that the checker knows. It should name each.
- **Mutants** are made mechanically from the shown solution, by one change each: of a constant, a
  sign, an operator, a comparison, an index, an axis or an argument, or by a call or a statement
  left out (`mutants.py`). A mutant should be refused, unless it means the same: such ones are
  listed with the reason in `equivalents.toml`. A few pass with a remark, for they lack what the
  text does not ask for.
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TLAB_PROGRESS"] = str(Path(folder) / "progress.jsonl")
        rows = {}
        for exercise in ALL:
            rows[exercise.id] = measured(exercise)
            print(rows[exercise.id].line(exercise.id), flush=True)
    PAGE.write_text(page(rows), encoding="utf-8")
    total = sum(rows.values(), Row(*[0] * 8))
    print(total.line("all"))
    left = total.mutants - total.equivalent - total.remarked - total.refused
    whole = (total.accepted, total.recognised, left) == (total.styles, total.mistakes, 0)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
