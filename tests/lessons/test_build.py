"""The builder of the notebooks: what it derives, what it refuses, what it notices."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lessons import build

SOURCE = '''\
# %% [markdown]
# # A lesson
# ![A cat](figures/cat.png), see [the next](02_next.ipynb), [notes](NOTATION.md#t) and
# [a page](https://example.org/figures/cat.png).

# %% exercise="trial.double" tags=["nbval-check-output"] jupyter={"source_hidden": true}
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    twice = x + x
    return twice
    ### END SOLUTION


# %%
print("twin")

# %%
print("twin")
'''


@pytest.fixture
def course(tmp_path):
    """A small course: one lesson, one figure, one page of notes."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "NOTATION.md").touch()
    (tmp_path / "lessons" / "source").mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="module")
def once_built(tmp_path_factory):
    course = tmp_path_factory.mktemp("course")
    (course / "lessons" / "source").mkdir(parents=True)
    write(course)
    build.main([], course / "lessons")
    return course / "lessons"


@pytest.fixture
def built(once_built, tmp_path):
    """The lessons of the small course, built."""
    return shutil.copytree(once_built, tmp_path / "copy" / "lessons")


def write(course: Path, text: str = SOURCE) -> Path:
    source = course / "lessons" / "source" / "01_trial.py"
    source.write_text(text, encoding="utf-8")
    return source


def code(notebook, number: int) -> str:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"][number]


def test_learner_gets_a_stub_and_the_solution_keeps_the_code(course):
    source = write(course)
    assert code(build.derive(source, solved=False), 0) == (
        "def double(x):\n"
        '    """Twice x."""\n'
        '    raise NotImplementedError("your turn: trial.double")'
    )
    assert code(build.derive(source, solved=True), 0) == (
        'def double(x):\n    """Twice x."""\n    twice = x + x\n    return twice'
    )


def test_a_stub_can_be_defined_and_says_whose_turn_it_is(course):
    names = {}
    exec(code(build.derive(write(course), solved=False), 0), names)
    with pytest.raises(NotImplementedError, match="your turn: trial.double"):
        names["double"](2)


@pytest.mark.parametrize(("solved", "prefix"), [(False, "../"), (True, "../../")])
def test_links_are_found_from_where_the_notebook_lies(course, solved, prefix):
    text = build.derive(write(course), solved=solved).cells[0].source
    assert f"![A cat]({prefix}figures/cat.png)" in text
    assert f"[notes]({prefix}NOTATION.md#t)" in text
    assert "[the next](02_next.ipynb)" in text
    assert "(https://example.org/figures/cat.png)" in text


def test_only_tags_and_exercise_stay_in_the_metadata(course):
    cells = build.derive(write(course), solved=False).cells
    assert cells[1].metadata == {"exercise": "trial.double", "tags": ["nbval-check-output"]}
    assert [cell.metadata for cell in cells[2:]] == [{}, {}]


def test_a_folded_cell_is_folded_in_jupyterlab(course):
    source = write(course, '# %% tags=["hide-input"]\nprint("plumbing")\n')
    (cell,) = build.derive(source, solved=False).cells
    assert cell.metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}


def test_ids_are_stable_unique_and_shared_by_both_notebooks(course):
    source = write(course)
    first, second, solved = (
        [cell.id for cell in build.derive(source, solved=is_solved).cells]
        for is_solved in (False, False, True)
    )
    assert first == second == solved
    assert len(set(first)) == len(first)
    assert first[1] == "exercise-trial-double"


def test_two_builds_give_identical_bytes(built):
    before = [path.read_bytes() for path in sorted(built.rglob("*.ipynb"))]
    assert len(before) == 2
    assert build.main([], built) == 0
    assert [path.read_bytes() for path in sorted(built.rglob("*.ipynb"))] == before


def test_the_solved_notebook_is_run(built):
    solved = json.loads((built / "solutions" / "01_trial.ipynb").read_text(encoding="utf-8"))
    assert [cell["outputs"][0]["text"] for cell in solved["cells"][2:]] == [["twin\n"]] * 2
    assert list(solved["metadata"]) == ["kernelspec"]


@pytest.mark.parametrize("name", ["01_trial.ipynb", "solutions/01_trial.ipynb"])
@pytest.mark.parametrize(
    ("old", "new"), [(b"A lesson", b"A lessen"), (b'"cells"', b'"cell"'), (b"{", b"(")]
)
def test_one_changed_byte_is_noticed(built, capsys, name, old, new):
    assert build.main(["--check"], built) == 0
    notebook = built / name
    notebook.write_bytes(notebook.read_bytes().replace(old, new, 1))
    assert build.main(["--check"], built) == 1
    message = capsys.readouterr().err
    assert str(notebook) in message
    assert "python lessons/build.py 01" in message


@pytest.mark.parametrize("name", ["01_trial.ipynb", "solutions/01_trial.ipynb"])
def test_a_missing_notebook_is_noticed(built, name):
    (built / name).unlink()
    assert build.main(["--check"], built) == 1


def test_widget_views_are_dropped_and_the_picture_stays(course):
    write(
        course,
        "# %%\n"
        "from IPython.display import display\n\n"
        'view = {"model_id": "1", "version_major": 2, "version_minor": 0}\n'
        'both = {"application/vnd.jupyter.widget-view+json": view, "text/plain": "a slider"}\n'
        "display(both, raw=True)\n"
        "del both['text/plain']\n"
        "display(both, raw=True)\n",
    )
    assert build.main([], course / "lessons") == 0
    solved = (course / "lessons" / "solutions" / "01_trial.ipynb").read_text(encoding="utf-8")
    (output,) = json.loads(solved)["cells"][0]["outputs"]
    assert output["data"] == {"text/plain": ["a slider"]}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    ### END SOLUTION\n", "", "'### BEGIN SOLUTION' without its partner"),
        ("    return twice", "    ### BEGIN SOLUTION", "'### BEGIN SOLUTION' without its partner"),
        ("    ### BEGIN SOLUTION\n", "", "'### END SOLUTION' without its partner"),
        ("    ### BEGIN", "### BEGIN", "a solution must stand inside a function"),
        ('exercise="trial.double"', "", 'an exercise needs both exercise="..." and a solution'),
        (
            '# %%\nprint("twin")\n\n',
            '# %% exercise="trial.x"\nprint()\n\n',
            'an exercise needs both exercise="..." and a solution',
        ),
        (
            '# %%\nprint("twin")\n\n',
            '# %% exercise="trial.double"\ndef f():\n    ### BEGIN SOLUTION\n'
            "    return 1\n    ### END SOLUTION\n\n\n",
            "exercise trial.double is there twice",
        ),
    ],
)
def test_a_broken_source_gives_one_clear_error(course, capsys, old, new, complaint):
    assert old in SOURCE
    write(course, SOURCE.replace(old, new, 1))
    assert build.main([], course / "lessons") == 1
    message = capsys.readouterr().err
    assert message.startswith("01_trial.py, cell ")
    assert message.rstrip().endswith(complaint)
    assert "\n" not in message.rstrip()
    assert not list(course.rglob("*.ipynb"))


def test_a_lesson_that_is_not_there(course, capsys):
    write(course)
    assert build.main(["07"], course / "lessons") == 1
    assert capsys.readouterr().err == "there is no lessons/source/07_*.py\n"


def test_a_cell_that_fails_stops_the_build(course, capsys):
    write(course, "# %%\n1 / 0\n")
    assert build.main([], course / "lessons") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not (course / "lessons" / "solutions" / "01_trial.ipynb").exists()


def test_the_script_runs_by_its_path(course):
    write(course)
    script = shutil.copy(build.__file__, course / "lessons" / "build.py")
    check = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert check.returncode == 1
    assert check.stderr.count("is not what 01_trial.py builds") == 2
