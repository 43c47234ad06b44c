"""`tlab lab` before JupyterLab starts: the learner's copies."""

import json
from pathlib import Path

import pytest

from tlab_diffusion import copies, lab
from tlab_diffusion.course import fresh_copy
from tlab_diffusion.errors import InputError


@pytest.fixture
def course(tmp_path):
    for name in (
        "lessons/00_start.ipynb",
        "lessons/01_next.ipynb",
        "lessons/solutions/01_next.ipynb",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"new {name}")
    (tmp_path / "jupyter").mkdir()
    (tmp_path / "jupyter" / "jupyter_lab_config.py").touch()
    return tmp_path


def test_missing_lessons_are_copied(course):
    copied = lab.copy_missing(course)
    assert copied == [course / "work/00_start.ipynb", course / "work/01_next.ipynb"]
    assert copied[0].read_text() == "new lessons/00_start.ipynb"
    assert sorted(path.name for path in (course / "work").iterdir()) == [c.name for c in copied]


def test_a_learners_file_stays(course):
    (course / "work").mkdir()
    (course / "work" / "00_start.ipynb").write_text("my answers")
    assert lab.copy_missing(course) == [course / "work/01_next.ipynb"]
    assert (course / "work" / "00_start.ipynb").read_text() == "my answers"
    assert lab.copy_missing(course) == []


def test_a_copy_that_was_cut_short_is_made_again(course, monkeypatch):
    def full_disk(source, target):
        target.write_text("ne")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(copies.shutil, "copyfile", full_disk)
        with pytest.raises(OSError, match="No space"):
            lab.copy_missing(course)
    assert [path.read_text() for path in lab.copy_missing(course)] == [
        "new lessons/00_start.ipynb",
        "new lessons/01_next.ipynb",
    ]


def test_the_current_folder_comes_first(course, monkeypatch):
    monkeypatch.chdir(course)
    assert copies.find_course() == course


def test_the_checkout_of_the_package_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (copies.find_course() / "pyproject.toml").exists()


def test_no_lessons_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        copies, "__file__", str(tmp_path / "site-packages/tlab_diffusion/copies.py")
    )
    with pytest.raises(InputError, match="Change into it"):
        copies.find_course()


# --- Fresh copies and newer versions ---------------------------------------------------------


def notebook(*texts: str) -> str:
    cells = [{"cell_type": "markdown", "source": [text]} for text in texts]
    return json.dumps({"cells": [*cells, {"cell_type": "code", "source": ["1 + 1"]}]})


def test_a_fresh_copy_keeps_the_old_one_under_another_name(course):
    own = course / "work" / "01_next.ipynb"
    for number in (1, 2):
        lab.copy_missing(course)
        own.write_text(f"my answers {number}")
        kept = own.with_name(f"01_next-old-{number}.ipynb")
        assert copies.fresh_copy(course, "01") == (own, kept)
        assert kept.read_text() == f"my answers {number}"
        assert own.read_text() == "new lessons/01_next.ipynb"
    assert own.with_name("01_next-old-1.ipynb").read_text() == "my answers 1"


def test_a_first_copy_has_nothing_to_keep(course):
    assert copies.fresh_copy(course, "00") == (course / "work" / "00_start.ipynb", None)


@pytest.mark.parametrize("number", ["1", "07", "", "../01", None])
def test_a_lesson_that_is_not_there_is_named(course, number):
    with pytest.raises(InputError, match="one of 00, 01"):
        copies.fresh_copy(course, number)


def test_a_fresh_copy_is_one_call_that_says_what_it_did(course, monkeypatch):
    (course / "work").mkdir()
    monkeypatch.chdir(course / "work")
    assert str(fresh_copy("01")) == f"A fresh copy lies in {course}/work/01_next.ipynb."
    assert f"Yours is kept as {course}/work/01_next-old-1.ipynb." in str(fresh_copy("01"))


def test_a_newer_text_is_announced_and_answers_are_no_difference(course):
    lesson, own = (course / folder / "01_next.ipynb" for folder in ("lessons", "work"))
    lesson.write_text(notebook("one", "two"))
    lab.copy_missing(course)
    assert copies.newer_lessons(course) == []
    own.write_text(notebook("one", "my note", "two").replace("1 + 1", "my answer"))
    assert copies.newer_lessons(course) == []
    lesson.write_text(notebook("one", "two, mended"))
    before = own.read_bytes()
    assert copies.newer_lessons(course) == ["01"]
    assert own.read_bytes() == before


def test_what_is_no_notebook_any_more_is_no_obstacle(course):
    lab.copy_missing(course)
    (course / "lessons" / "01_next.ipynb").write_text(notebook("one"))
    assert copies.newer_lessons(course) == ["01"]


# --- what JupyterLab opens


def test_the_layout_is_set_once_and_then_the_learners(tmp_path):
    assert not lab.set_out_windows(tmp_path)
    (layout,) = (tmp_path / ".jupyter/workspaces").iterdir()
    layout.write_text("mine")
    assert lab.set_out_windows(tmp_path)
    assert layout.read_text() == "mine"


@pytest.mark.parametrize(("new", "again"), [((), "/lab"), (["a lesson"], "/lab/tree/work/Home.md")])
def test_home_is_in_front_at_first_and_when_something_is_new(course, monkeypatch, new, again):
    from jupyterlab.labapp import LabApp

    starts = []
    monkeypatch.setattr(LabApp, "launch_instance", lambda arguments: starts.append(arguments))
    for name in ("TLAB_PROGRESS", "TLAB_WORK", "JUPYTER_CONFIG_DIR", "JUPYTER_PREFER_ENV_PATH"):
        monkeypatch.setenv(name, "kept")  # and so put back
    for path in course.glob("lessons/*.ipynb"):
        path.write_text('{"cells": []}')
    lab.copy_missing(course)
    lab.open_lab(course, ["--no-browser"])
    lab.open_lab(course, [], new)
    urls = [a for each in starts for a in each if a.startswith("--LabApp.default_url=")]
    assert urls == [f"--LabApp.default_url={url}" for url in ("/lab/tree/work/Home.md", again)]
    assert "--no-browser" in starts[0]


def test_the_style_sheet_that_the_settings_name_is_there():
    """JupyterLab looks for it in its settings folder, and says nothing where it is missing."""
    folder = Path(__file__).resolve().parents[1] / "jupyter"
    assert "c.LabApp.custom_css = True" in (folder / "jupyter_lab_config.py").read_text("utf-8")
    assert "80ch" in (folder / "custom" / "custom.css").read_text("utf-8")
