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
from tests.notebooks import smaller  # noqa: E402

LINTERS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command as main; main()"],
}
# The timeouts are for a kernel that hangs: a cell takes seconds, on a busy machine a minute.
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=1800"]
NBVAL += ["--nbval-kernel-startup-timeout=600"]
# One notebook or test file a worker: a kernel serves the cells of one notebook only.
WORKERS = ["-n", "auto", "--maxprocesses=4", "--dist=loadfile", "--no-loadscope-reorder"]
# Started first: a long notebook that starts last keeps one worker busy and the others idle.
SLOWEST = ("03_training.ipynb", "04_sampling.ipynb", "05_text_and_guidance.ipynb")


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
    unsolved = sorted((ROOT / "lessons").glob("*.ipynb"))
    if browser is not None:
        unsolved = [path for path in unsolved if path.name not in IN_THE_BROWSER]
    solved = sorted((ROOT / "lessons/solutions").glob("*.ipynb"))
    lessons = sorted([*solved, *unsolved], key=lambda path: path.name not in SLOWEST)
    return [str(smaller(path, scratch)) for path in lessons]


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
