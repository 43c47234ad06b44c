"""The learner's own copies of the lessons: where they lie, fresh ones, and newer versions."""

import itertools
import json
import shutil
from pathlib import Path

from tlab_diffusion.errors import InputError
from tlab_diffusion.files import atomic_write


def find_course() -> Path:
    """Returns the folder with the lessons: the current one, its parent, else the checkout."""
    here = Path.cwd()
    for folder in (here, here.parent, Path(__file__).resolve().parents[1]):
        if (folder / "jupyter" / "jupyter_lab_config.py").exists():
            return folder
    raise InputError(
        "tlab lab",
        got="a folder without lessons",
        expected="the checkout of the course",
        fix="Change into it and try again.",
    )


def copy_lesson(lesson: Path, own: Path) -> None:
    """Copies a lesson to the learner's folder, completely or not at all."""
    with atomic_write(own) as draft:
        shutil.copyfile(lesson, draft)


def fresh_copy(course: Path, number: str) -> tuple[Path, Path | None]:
    """Puts a fresh copy of a lesson into `work/`; an old one is renamed, never overwritten.

    Args:
        course: the folder with `lessons/` and `work/`.
        number: of the lesson, such as "01".

    Returns:
        The fresh copy, and the old one under its new name if there was one.
    """
    lessons = sorted((course / "lessons").glob("[0-9]*.ipynb"))
    wanted = [path for path in lessons if path.name.split("_")[0] == number]
    if not wanted:
        numbers = ", ".join(path.name.split("_")[0] for path in lessons)
        raise InputError("lesson", got=repr(number), expected=f"one of {numbers}")
    own = course / "work" / wanted[0].name
    kept = _keep(own) if own.exists() else None
    copy_lesson(wanted[0], own)
    return own, kept


def newer_lessons(course: Path) -> list[str]:
    """The numbers of the lessons whose text is no longer that of the learner's copy."""
    newer = []
    for lesson in sorted((course / "lessons").glob("[0-9]*.ipynb")):
        own = course / "work" / lesson.name
        if own.exists() and not _texts(lesson) <= _texts(own):
            newer.append(lesson.name.split("_")[0])
    return newer


def _keep(own: Path) -> Path:
    """Renames the learner's copy to the first name that is free."""
    names = (own.with_name(f"{own.stem}-old-{number}.ipynb") for number in itertools.count(1))
    kept = next(name for name in names if not name.exists())
    own.rename(kept)
    return kept


def _texts(notebook: Path) -> set[str]:
    """The Markdown cells of a notebook, which learners leave as they are."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        texts = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
        return {"".join(text) for text in texts}
    except (OSError, ValueError, TypeError, KeyError):  # no notebook any more
        return set()
