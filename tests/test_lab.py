"""`tlab lab` before JupyterLab starts: the learner's copies."""

import pytest

from tlab_diffusion import lab
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
        patch.setattr(lab.shutil, "copyfile", full_disk)
        with pytest.raises(OSError, match="No space"):
            lab.copy_missing(course)
    assert [path.read_text() for path in lab.copy_missing(course)] == [
        "new lessons/00_start.ipynb",
        "new lessons/01_next.ipynb",
    ]


def test_the_current_folder_comes_first(course, monkeypatch):
    monkeypatch.chdir(course)
    assert lab.find_course() == course


def test_the_checkout_of_the_package_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (lab.find_course() / "pyproject.toml").exists()


def test_no_lessons_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "site-packages/tlab_diffusion/lab.py"))
    with pytest.raises(InputError, match="Change into it"):
        lab.find_course()
