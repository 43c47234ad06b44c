"""The home page: the map of the lessons, what is done, and where to go on."""

import json
import re
from pathlib import Path

import pytest

from tlab_diffusion import home

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def course(tmp_path):
    """Three lessons; the second one has two exercises."""
    for number, exercises in enumerate([["a.one"], ["b.one", "b.two"], []]):
        words = f"# 0{number} · Title\n\n**Time** about {number + 1}0 minutes, some exercises."
        cells = [{"cell_type": "markdown", "metadata": {}, "source": [words]}]
        cells += [
            {"cell_type": "code", "metadata": {"exercise": e}, "source": ""} for e in exercises
        ]
        path = tmp_path / "lessons" / f"0{number}_title.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": cells}))
    (tmp_path / "work").mkdir()
    return tmp_path


def page_of(course: Path, *tried: tuple[str, str], new=()) -> str:
    lines = [json.dumps({"exercise": e, "outcome": o}) for e, o in tried]
    (course / "work/progress.jsonl").write_text("\n\n".join([*lines, '{"torn', "7"]))
    return home.write_home(course, new).read_text()


def test_a_new_learner_starts_with_the_first_lesson(course):
    page = page_of(course)
    assert "**Start: [00 · Title](00_title.ipynb)** (next exercise: `a.one`)" in page
    assert "| [01 · Title](01_title.ipynb) | 20 | 0 of 2 |" in page
    assert "## New" not in page


def test_one_goes_on_in_the_lesson_of_the_latest_try(course):
    page = page_of(course, ("b.two", "passed"), ("b.one", "failed"))
    assert "**Continue: [01 · Title](01_title.ipynb)** (next exercise: `b.one`)" in page
    assert "1 of 3 exercises are passed" in page


def test_a_finished_lesson_has_a_mark_and_gives_way_to_an_open_one(course):
    page = page_of(course, ("a.one", "passed"), ("a.one", "failed"))
    assert "| ✓ 1 of 1 |" in page
    assert "**Continue: [01 · Title]" in page


def test_an_exercise_that_was_reset_is_open(course):
    page = page_of(course, ("a.one", "passed"), ("a.one", "reset"))
    assert "0 of 3 exercises are passed" in page


def test_when_all_is_passed_it_says_so(course):
    page = page_of(course, *((e, "passed") for e in ("a.one", "b.one", "b.two")))
    assert "All exercises are passed" in page


def test_what_is_new_is_listed(course):
    assert "## New\n\n- a lesson" in page_of(course, new=["a lesson"])


def test_every_lesson_of_the_course_tells_its_title_minutes_and_exercises():
    for lesson in home.lessons(ROOT / "lessons"):
        assert re.match(r"\d\d · ", lesson.title), lesson.file
        assert lesson.minutes, lesson.file
        assert lesson.exercises, lesson.file


def test_its_picture_is_there():
    (target,) = re.findall(r'src="\.\./(\S+)"', home.PICTURE)
    assert (ROOT / target).is_file()
