"""The learner's home page: `work/Home.md`, written anew at every `tlab lab`.

JupyterLab shows it as a page with links. It needs no kernel. What it says of a lesson is read from
the lesson's notebook, so that there is no second list of lessons.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tlab_diffusion.files import atomic_write

PAGE = "Home.md"
JOURNAL = "progress.jsonl"
RESET = "reset"  # an outcome: what came before it does not count
TITLE = re.compile(r"^# (.+)$", re.M)
TIME = re.compile(r"\*\*Time\*\* about (\d+) minutes")
PICTURE = (
    '<img src="../figures/dreambooth.png" width="640" '
    'alt="Five reference pictures of Pip, and below them pictures by a model that learned Pip">'
)


class Lesson(NamedTuple):
    """What a lesson's notebook says of itself."""

    file: str
    title: str  # such as "01 · Noising"
    minutes: int | None
    exercises: tuple[str, ...]  # their ids


def lessons(folder: Path) -> list[Lesson]:
    r"""The lessons in a folder, in their order."""
    return [_lesson(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def write_home(course: Path, new: Sequence[str] = ()) -> Path:
    r"""Write the home page into the learner's folder.

    Args:
        course: the folder with `lessons/` and `work/`.
        new: lines on what is new, as Markdown.

    Returns:
        The page.
    """
    tried = outcomes(course / "work" / JOURNAL)
    page = course / "work" / PAGE
    with atomic_write(page) as draft:
        draft.write_text(home_page(lessons(course / "lessons"), tried, new), encoding="utf-8")
    return page


def outcomes(journal: Path) -> dict[str, str]:
    r"""Each exercise that was tried, the latest one last: "passed" once it ever passed."""
    standing: dict[str, str] = {}
    lines = journal.read_bytes().split(b"\n") if journal.is_file() else []
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
            exercise, outcome = str(entry["exercise"]), str(entry["outcome"])
        except (ValueError, TypeError, KeyError):
            continue  # `progress()` warns of damaged lines
        before = standing.pop(exercise, None)
        if outcome != RESET:
            standing[exercise] = "passed" if before == "passed" else outcome
    return standing


def home_page(course: Sequence[Lesson], tried: dict[str, str], new: Sequence[str]) -> str:
    r"""The page as Markdown, with links that hold beside the lessons."""
    passed = {exercise for exercise, outcome in tried.items() if outcome == "passed"}
    total = sum(len(lesson.exercises) for lesson in course)
    parts = ["# TLab Diffusion", _continue(course, tried, passed)]
    if new:
        parts.append("## New\n\n" + "\n".join(f"- {line}" for line in new))
    parts += [
        f"## The lessons\n\n{len(passed)} of {total} exercises are passed.",
        _table(course, passed),
        PICTURE,
        "## Good to know\n\n"
        "- Click a cell and press Shift+Enter to run it.\n"
        "- The list of headings is a button at the left edge of the window.\n"
        "- `progress()` in a lesson shows every exercise.\n"
        "- The solved lessons are in [lessons/solutions](../lessons/solutions).\n"
        "- This page is written anew when you start `tlab lab`.",
    ]
    return "\n\n".join(parts) + "\n"


def _continue(course: Sequence[Lesson], tried: dict[str, str], passed: set[str]) -> str:
    """Where to go on: the lesson of the latest try, or the first one that is not done."""
    unfinished = [each for each in course if not passed.issuperset(each.exercises)]
    if not unfinished:
        return "**All exercises are passed.**"
    latest = next(reversed(tried), None)
    here = next((each for each in unfinished if latest in each.exercises), unfinished[0])
    exercise = next(each for each in here.exercises if each not in passed)
    word = "Continue" if tried else "Start"
    return f"**{word}: [{here.title}]({here.file})** (next exercise: `{exercise}`)"


def _table(course: Sequence[Lesson], passed: set[str]) -> str:
    rows = ["| lesson | minutes | exercises |", "|---|---|---|"]
    for each in course:
        done = sum(exercise in passed for exercise in each.exercises)
        mark = "✓ " if each.exercises and done == len(each.exercises) else ""
        count = f"{mark}{done} of {len(each.exercises)}"
        rows.append(f"| [{each.title}]({each.file}) | {each.minutes or ''} | {count} |")
    return "\n".join(rows)


def _lesson(path: Path) -> Lesson:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = "".join(cells[0]["source"]) if cells else ""
    title, time = TITLE.search(words), TIME.search(words)
    exercises = [cell["metadata"].get("exercise") for cell in cells]
    return Lesson(
        path.name,
        title[1] if title else path.stem,
        int(time[1]) if time else None,
        tuple(filter(None, exercises)),
    )
