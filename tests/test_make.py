"""The Makefile: which Python it takes, and when it installs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@pytest.fixture
def clone(tmp_path):
    """A folder with what `make install` reads."""
    for name in ("Makefile", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    # Not what the `make test` around this test was told.
    outer = ("PYTHON", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    if path is not None:
        environment["PATH"] = f"{path}:/usr/bin:/bin"
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def pretend_python(folder: Path, name: str, suits: bool) -> None:
    """Puts a command there that answers the Makefile's question about its version."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\nexit {int(not suits)}\n")
    (folder / name).chmod(0o755)


def test_the_newest_suitable_python_is_taken(clone, tmp_path):
    for name, suits in (("python3.13", False), ("python3.12", True), ("python3.11", True)):
        pretend_python(tmp_path / "bin", name, suits)
    assert "python3.12 -m venv" in make(clone, "-n", "install", path=tmp_path / "bin").stdout


def test_no_suitable_python_is_said_in_one_line(clone, tmp_path):
    for name in ("python3.13", "python3.12", "python3.11", "python3"):
        pretend_python(tmp_path / "bin", name, suits=False)
    done = make(clone, "install", path=tmp_path / "bin")
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith("No Python 3.11, 3.12 or 3.13 found")
    assert all(line.startswith("make: ") for line in rest)
    assert not (clone / ".venv").exists()


def test_a_failed_environment_is_not_left_behind(clone, tmp_path):
    half = tmp_path / "half-python"
    half.write_text("#!/bin/sh\nmkdir -p .venv/bin && touch .venv/bin/python; exit 1\n")
    half.chmod(0o755)
    assert make(clone, "install", f"PYTHON={half}").returncode != 0
    assert not (clone / ".venv").exists()


def test_only_a_changed_requirement_installs_again(clone):
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (clone / ".venv" / "installed").touch()
    assert "pip install" not in make(clone, "-n", "install").stdout
    later = (clone / ".venv" / "installed").stat().st_mtime + 10
    os.utime(clone / "requirements.txt", (later, later))
    assert "pip install -r requirements.txt -c constraints.txt -e ." in (
        make(clone, "-n", "install").stdout
    )
