"""The committed notebooks: up to date, honest and readable."""

import json
import re
from pathlib import Path

import pytest

from lessons import build
from tests.notebooks import changes

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "lessons" / "source").glob("*.py"))
LEARNERS = sorted((ROOT / "lessons").glob("*.ipynb"))
SOLVED = sorted((ROOT / "lessons" / "solutions").glob("*.ipynb"))
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

of_learners = pytest.mark.parametrize("path", LEARNERS, ids=lambda path: path.stem)
of_solved = pytest.mark.parametrize("path", SOLVED, ids=lambda path: path.stem)
of_all = pytest.mark.parametrize(
    "path", LEARNERS + SOLVED, ids=lambda path: f"{path.parent.name}-{path.stem}"
)
of_sources = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def text(cell: dict) -> str:
    return "".join(cell["source"])


def test_every_notebook_is_what_its_source_builds(capsys):
    assert build.main(["--check"]) == 0, capsys.readouterr().err


def test_every_notebook_has_a_source():
    stems = [source.stem for source in SOURCES]
    assert stems
    assert [path.stem for path in LEARNERS] == [path.stem for path in SOLVED] == stems


@of_sources
def test_no_line_of_a_solution_leaks(source):
    """Short lines such as `return x` may well stand elsewhere, but never in the exercise itself."""
    learner, _ = build.targets(source)
    page = "\n".join(text(cell) for cell in cells(learner, "code"))
    stubs = {c["metadata"]["exercise"]: text(c) for c in exercises(learner)}
    solutions = {c.metadata.exercise: c.source for c in build.read_source(source) if is_exercise(c)}
    assert stubs.keys() == solutions.keys()
    for exercise, solution in solutions.items():
        for line in solution_lines(solution):
            assert line not in stubs[exercise], f"{exercise}: {line}"
            assert len(line) < 25 or line not in page, f"{exercise}: {line}"


def solution_lines(code: str) -> list[str]:
    inside, lines = False, []
    for line in map(str.strip, code.splitlines()):
        if line in (build.BEGIN, build.END):
            inside = line == build.BEGIN
        elif inside and line:
            lines.append(line)
    assert lines
    return lines


def is_exercise(cell) -> bool:
    return "exercise" in cell["metadata"]


def exercises(path: Path) -> list[dict]:
    return [cell for cell in cells(path, "code") if is_exercise(cell)]


@of_learners
def test_every_exercise_is_checked_by_the_next_code_cell(path):
    code = cells(path, "code")
    for cell, following in zip(code, code[1:] + [{"source": ""}], strict=True):
        if is_exercise(cell):
            assert f'check("{cell["metadata"]["exercise"]}", ' in text(following)


@of_learners
def test_a_learner_starts_without_outputs(path):
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@of_all
def test_pictures_exist_and_are_described(path):
    for cell in cells(path, "markdown"):
        for description, target in IMAGE.findall(text(cell)):
            assert len(description) > 20, f"say what {target} shows"
            assert (path.parent / target).is_file(), target
        assert "<img" not in text(cell), "write a picture as ![what it shows](figures/...)"


@of_all
def test_links_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        for target in LINK.findall(text(cell)):
            if not target.startswith(("http://", "https://", "#")):
                assert (path.parent / target.split("#")[0]).exists(), target


@of_solved
def test_solved_notebooks_are_run_to_the_end_without_errors(path):
    for cell in cells(path, "code"):
        assert cell["execution_count"], text(cell)
        assert all(output["output_type"] != "error" for output in cell["outputs"]), text(cell)


@of_solved
def test_outputs_tell_nothing_of_the_machine(path):
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            assert build.WIDGET not in output.get("data", {})
            words = json.dumps([output.get("text"), output.get("data", {}).get("text/plain")])
            for word in (str(ROOT), str(Path.home()), "site-packages", "/tmp/", " at 0x"):
                assert word not in words, f"{word} in the output of:\n{text(cell)}"


@of_solved
def test_some_outputs_are_compared_at_every_run(path):
    """Without the tag nbval would only run the cells."""
    tags = [cell["metadata"].get("tags", []) for cell in cells(path, "code")]
    assert sum("nbval-check-output" in each for each in tags) >= 1


@of_all
def test_what_the_tests_change_in_a_lesson_stands_in_one_cell(path):
    """Else `tests/notebooks.py` is to follow the lesson."""
    for old in changes(path):
        found = [cell for cell in cells(path, "code") if old in text(cell)]
        assert len(found) == 1, f"{len(found)} cells have '{old.strip()}'"
