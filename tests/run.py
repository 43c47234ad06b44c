"""`make test`: style, imports, tests and notebooks, with one summary at the end.

`--lint` stops after style and imports.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.browsers import find_browser, install_browser  # noqa: E402
from tests.browser.lessons import IN_THE_BROWSER  # noqa: E402

LINTERS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command as main; main()"],
}
# The timeout is for a kernel that hangs: the slowest cell trains for three minutes on an idle core.
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=3600"]
NBVAL += ["--nbval-kernel-startup-timeout=600"]
# A lesson that trains for minutes. Unsolved, where no output is compared, few steps will do.
FEW_STEPS = {"08_dreambooth_hands_on.ipynb": ("STEPS = 800", "STEPS = 40")}
# One notebook or test file a worker: a kernel serves the cells of one notebook only.
WORKERS = ["-n", "auto", "--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder"]
# Started first: the lessons that train for minutes.
SLOWEST = ("08_dreambooth_hands_on.ipynb", "03_training.ipynb", "09_grid_search.ipynb")


def lint() -> list[str]:
    """Runs the linters and returns the names of those that found something."""
    failed = []
    for name, arguments in LINTERS.items():
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        print(f"{name}: {'ok' if done.returncode == 0 else 'failed'}", flush=True)
        if done.returncode != 0:
            print(done.stdout + done.stderr, flush=True)
            failed.append(name)
    return failed


def notebooks(browser: str | None, scratch: Path) -> list[str]:
    """Returns the notebooks to run: solved and unsolved, but for those the browser runs."""
    unsolved = [path for path in sorted((ROOT / "lessons").glob("*.ipynb"))]
    if browser is not None:
        unsolved = [path for path in unsolved if path.name not in IN_THE_BROWSER]
    unsolved = [with_few_steps(path, scratch) for path in unsolved]
    lessons = [*sorted((ROOT / "lessons/solutions").glob("*.ipynb")), *unsolved]
    return [str(path) for path in sorted(lessons, key=lambda path: path.name not in SLOWEST)]


def with_few_steps(path: Path, scratch: Path) -> Path:
    """Returns a copy of a lesson that takes few steps, or the lesson itself if it is quick."""
    if path.name not in FEW_STEPS:
        return path
    many, few = FEW_STEPS[path.name]
    before, found, after = path.read_text(encoding="utf-8").partition(many)
    if not found:
        raise ValueError(f"{path} has no '{many}'")
    (scratch / path.name).write_text(before + few + after, encoding="utf-8")
    return scratch / path.name


def main() -> int:
    failed = lint()
    if "--lint" in sys.argv:
        return int(bool(failed))
    browser = find_browser() or install_browser()
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        lessons = notebooks(browser, Path(scratch))
        command = [sys.executable, "-m", "pytest", *WORKERS, *NBVAL, *lessons, "tests"]
        tests = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    if failed:
        print(f"failed: {', '.join(failed)} (see the top)")
    if browser is None:
        print("The browser tests did NOT run: no browser was found, and none could be installed.")
    return int(bool(failed or tests.returncode))


if __name__ == "__main__":
    sys.exit(main())
