r"""Builds the notebooks of the lessons, each from its one source.

| derived file                     | source              | what happens to an exercise cell        |
|----------------------------------|---------------------|-----------------------------------------|
| `lessons/NN_slug.ipynb`          | `source/NN_slug.py` | the solution gives way to `raise ...`   |
| `lessons/solutions/NN_slug.ipynb`| `source/NN_slug.py` | the solution stays; the notebook is run |

`python lessons/build.py` builds all, `python lessons/build.py 01 02` some, and
`python lessons/build.py --check` only says which files differ from their source. An exercise
cell reads, in the source:

    # %% exercise="noising.q_step"
    def q_step(x_prev, beta_t, noise):
        ### BEGIN SOLUTION
        ...
        ### END SOLUTION

Links in Markdown start at the repository's root (`figures/x.png`); each copy gets its own.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

LESSONS = Path(__file__).resolve().parent
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
FOLDED = "hide-input"  # the tag of a cell whose code is folded
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"""(\]\(|src="|href=")(?![a-z]+:|[#/.])([^)"#\s]+)""")


class SourceError(Exception):
    """A lesson's source that cannot become a notebook."""


def split_solution(code: str, exercise: str | None, where: str) -> tuple[str, str]:
    """Returns an exercise cell as the learner gets it, and with its solution."""
    stub, solved, indent = [], [], None
    for line in code.splitlines():
        mark = line.strip()
        if mark == BEGIN and indent is None:
            indent = line[: line.index(mark)]
            if not indent:
                raise SourceError(f"{where}: a solution must stand inside a function")
            stub.append(f'{indent}raise NotImplementedError("your turn: {exercise}")')
        elif mark == END and indent is not None:
            indent = None
        elif mark in (BEGIN, END):
            raise SourceError(f"{where}: '{mark}' without its partner")
        else:
            solved.append(line)
            if indent is None:
                stub.append(line)
    if indent is not None:
        raise SourceError(f"{where}: '{BEGIN}' without its partner")
    return "\n".join(stub), "\n".join(solved)


def read_source(path: Path) -> list:
    """Returns the cells of a lesson's source, with their ids, exercises checked."""
    cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    taken = set()
    for number, cell in enumerate(cells, start=1):
        where = f"{path.name}, cell {number}"
        exercise = cell.metadata.get("exercise")
        if (exercise is not None) != (BEGIN in cell.source or END in cell.source):
            raise SourceError(f'{where}: an exercise needs both exercise="..." and a solution')
        cell.id = cell_id(path.stem, cell, taken)
        if exercise is not None and not cell.id.endswith(exercise.replace(".", "-")):
            raise SourceError(f"{where}: exercise {exercise} is there twice")
        kept = {key: cell.metadata[key] for key in ("tags", "exercise") if key in cell.metadata}
        if FOLDED in kept.get("tags", ()):
            kept["jupyter"] = {"source_hidden": True}  # as JupyterLab notes it
        cell.metadata = nbformat.from_dict(kept)
    return cells


def cell_id(stem: str, cell, taken: set[str]) -> str:
    """Returns an id that stays the same from build to build, and adds it to those taken."""
    if exercise := cell.metadata.get("exercise"):
        name = "exercise-" + exercise.replace(".", "-")
    else:
        text = "\n".join([stem, cell.cell_type, cell.source])
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
    twin, number = name, 1
    while twin in taken:
        number += 1
        twin = f"{name}-{number}"
    taken.add(twin)
    return twin


def relink(markdown: str, root: Path, prefix: str) -> str:
    """Points links to files of the repository from where the notebook lies."""

    def from_here(link: re.Match) -> str:
        start, target = link.groups()
        return start + (prefix if (root / target.split("/")[0]).exists() else "") + target

    return LINK.sub(from_here, markdown)


def derive(source: Path, *, solved: bool):
    """Returns a lesson's notebook without outputs, for the learner or with its solutions."""
    root = source.parents[2]
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL})
    notebook.cells = read_source(source)
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "markdown":
            cell.source = relink(cell.source, root, "../../" if solved else "../")
        elif exercise := cell.metadata.get("exercise"):
            where = f"{source.name}, cell {number}"
            cell.source = split_solution(cell.source, exercise, where)[solved]
    return notebook


def execute(notebook, folder: Path) -> None:
    """Runs a notebook in its folder and keeps of its outputs what every build repeats."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "TLAB_PROGRESS": f"{scratch}/progress.jsonl",
            "TLAB_WORK": f"{scratch}/work",
            # As in the tests: sums in another order print other last digits.
            "OMP_NUM_THREADS": "1",
            # As `tlab lab` has it: notes on packages that nothing here needs are not for readers.
            "TRANSFORMERS_VERBOSITY": "error",
        }
        client = NotebookClient(
            notebook,
            timeout=3600,  # for a kernel that hangs: a lesson trains for minutes
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=os.environ | settings, transport_encryption="auto")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
        if "outputs" in cell:  # a live widget was an output of its own
            cell.outputs = [each for each in cell.outputs if each.get("data") != {}]


def without_outputs(path: Path) -> bytes:
    """Returns a notebook's bytes as they were before it was executed."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError):
        return b"not a notebook"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return to_bytes(notebook)


def to_bytes(notebook) -> bytes:
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode()


def targets(source: Path) -> tuple[Path, Path]:
    """Returns where the learner's and the solved notebook of a source lie."""
    lessons, name = source.parents[1], f"{source.stem}.ipynb"
    return lessons / name, lessons / "solutions" / name


def build(source: Path) -> None:
    learner, solution = targets(source)
    learner.write_bytes(to_bytes(derive(source, solved=False)))
    notebook = derive(source, solved=True)
    solution.parent.mkdir(exist_ok=True)
    execute(notebook, solution.parent)
    solution.write_bytes(to_bytes(notebook))


def stale(source: Path) -> list[Path]:
    """Returns the notebooks of a source that are not what it would build now."""
    learner, solution = targets(source)
    found = {
        learner: learner.read_bytes() if learner.exists() else b"",
        solution: without_outputs(solution) if solution.exists() else b"",
    }
    return [
        path
        for path, solved in ((learner, False), (solution, True))
        if found[path] != to_bytes(derive(source, solved=solved))
    ]


def check(sources: list[Path]) -> int:
    """Names every notebook that differs from its source, and the command that mends it."""
    differing = {source: stale(source) for source in sources}
    for source, notebooks in differing.items():
        for notebook in notebooks:
            print(f"{notebook} is not what {source.name} builds:", file=sys.stderr)
            print(f"    python lessons/build.py {source.stem.split('_')[0]}", file=sys.stderr)
    return int(any(differing.values()))


def choose(lessons: Path, numbers: list[str]) -> list[Path]:
    """Returns the sources that were asked for: all of them where no number is given."""
    sources = sorted((lessons / "source").glob("[0-9]*.py"))
    for number in numbers:
        if not any(source.name.startswith(f"{number}_") for source in sources):
            raise SourceError(f"there is no lessons/source/{number}_*.py")
    return [s for s in sources if not numbers or s.name.split("_")[0] in numbers]


def main(arguments: list[str] | None = None, lessons: Path = LESSONS) -> int:
    parser = argparse.ArgumentParser(description="Build the lessons' notebooks.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="lessons to build (all)")
    parser.add_argument("--check", action="store_true", help="only say which are out of date")
    options = parser.parse_args(arguments)
    try:
        sources = choose(lessons, options.numbers)
        if options.check:
            return check(sources)
        for source in sources:
            print(f"lesson {source.stem}", flush=True)
            build(source)
    except (SourceError, CellExecutionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
