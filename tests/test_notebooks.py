"""What the tests change in the lessons that they run."""

import json
from pathlib import Path

import pytest

from tests import notebooks

LESSONS = Path(__file__).resolve().parents[1] / "lessons"


def lesson(folder: Path, *sources: str) -> Path:
    """Writes a notebook with these cells of code."""
    path = folder / "07_trial.ipynb"
    path.parent.mkdir()
    cells = [{"cell_type": "code", "source": source.splitlines(True)} for source in sources]
    path.write_text(json.dumps({"cells": cells}))
    return path


@pytest.fixture(autouse=True)
def few_changes(monkeypatch):
    monkeypatch.setattr(notebooks, "SMALLER", {"07_trial.ipynb": {"\nN = 9": "\nN = 1"}})
    monkeypatch.setattr(notebooks, "UNSOLVED", {"07_trial.ipynb": {"m = 9": "m = 1"}})


@pytest.mark.parametrize(
    ("kind", "written"), [("lessons", ["import a\nN = 1", "m = 1"]), ("solutions", None)]
)
def test_a_copy_computes_less(tmp_path, kind, written):
    original = lesson(tmp_path / kind, "import a\nN = 9", "m = 9")
    copy = notebooks.smaller(original, tmp_path / "scratch")
    cells = json.loads(copy.read_text())["cells"]
    assert ["".join(cell["source"]) for cell in cells] == (written or ["import a\nN = 1", "m = 9"])
    assert "N = 9" in original.read_text()


def test_another_lesson_stays_where_it_is(tmp_path):
    path = LESSONS / "01_noising.ipynb"
    assert notebooks.smaller(path, tmp_path) == path
