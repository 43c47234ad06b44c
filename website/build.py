r"""Builds the static site of the solved lessons: `python website/build.py`.

| page            | from                             | what happens to it                        |
|-----------------|----------------------------------|-------------------------------------------|
| a lesson        | `lessons/solutions/NN_slug.ipynb`| imports and solutions folded, stubs shown |
| `index.html`    | `website/index.md`               | the list of lessons and Binder's address  |
| `gallery.html`  | `website/gallery.md`             | copied                                    |
| `NOTATION.html` | `NOTATION.md`                    | copied                                    |

No notebook is executed. The pages load nothing from a network.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parents[1]
BINDER = "https://mybinder.org"
GITHUB = re.compile(r"github\.com[:/]([^/\s]+/[^/\s]+?)(?:\.git)?/?$")


def binder_address(remote: str) -> str:
    """Returns where Binder opens a repository on GitHub; Binder's front page for any other."""
    found = GITHUB.search(remote.strip())
    return f"{BINDER}/v2/gh/{found[1]}/HEAD?urlpath=lab" if found else BINDER


def remote_of(root: Path) -> str:
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def fold(cell, label: str) -> None:
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
    cell.metadata["mystnb"] = {
        "code_prompt_show": f"Show the {label}",
        "code_prompt_hide": f"Hide the {label}",
    }


def describe_pictures(cell) -> None:
    """Gives a picture the words that stand beside it in the notebook, for screen readers."""
    for output in cell.get("outputs", []):
        if "image/png" in output.get("data", {}):
            words = output.data.get("text/plain", "A picture").strip("<>\n")
            cell.metadata.setdefault("mystnb", {})["image"] = {"alt": " ".join(words.split())}


def lesson_page(learner, solved):
    """Returns a solved lesson as the site shows it.

    An exercise shows the learner's cell, and below it the solution, folded. The imports are
    folded too.
    """
    stubs = {cell.id: cell.source for cell in learner.cells}
    cells, imports = [], True
    for cell in solved.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("../../", "")
        elif cell.metadata.get("exercise"):
            stub = f"```python\n{stubs[cell.id]}\n```"
            cells.append(nbformat.v4.new_markdown_cell(stub, id=f"stub-{cell.id}"[:64]))
            fold(cell, "solution")
        elif imports:
            fold(cell, "imports")
            imports = False
        describe_pictures(cell)
        cells.append(cell)
    solved.cells = cells
    return solved


def write_source(root: Path, source: Path) -> None:
    """Writes what Sphinx reads: pages, figures, styles and MathJax."""
    website = root / "website"
    names = []
    for path in sorted((root / "lessons/solutions").glob("[0-9]*.ipynb")):
        learner = nbformat.read(root / "lessons" / path.name, as_version=4)
        page = lesson_page(learner, nbformat.read(path, as_version=4))
        nbformat.write(page, source / path.name)
        names.append(path.stem)
    index = (website / "index.md").read_text(encoding="utf-8")
    index = index.replace("LESSONS", "\n".join(names))
    index = index.replace("BINDER", binder_address(remote_of(root)))
    (source / "index.md").write_text(index, encoding="utf-8")
    for path in (website / "gallery.md", website / "conf.py", root / "NOTATION.md"):
        shutil.copy(path, source)
    shutil.copytree(
        root / "figures", source / "figures", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    static = source / "_static"
    static.mkdir()
    shutil.copy(website / "site.css", static)
    package = importlib.metadata.distribution("sphinx-mathjax-offline")
    mathjax = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"  # one file, no fonts
    shutil.copy(package.locate_file(mathjax), static / "mathjax.js")


def build(root: Path, output: Path) -> int:
    """Builds the site into a folder, which it replaces. A warning is an error."""
    with tempfile.TemporaryDirectory() as scratch:
        source, pages = Path(scratch, "source"), Path(scratch, "pages")
        source.mkdir()
        write_source(root, source)
        failed = build_main(["-q", "-W", "--keep-going", "-b", "html", str(source), str(pages)])
        if failed:
            return failed
        shutil.rmtree(pages / ".doctrees", ignore_errors=True)
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(pages, output)
    print(f"open {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(build(ROOT, ROOT / "build/site"))
