"""Who imports whom, and what importing costs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = ["-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]


def loaded_by(statement: str) -> set[str]:
    """Returns the top-level modules that a statement loads in a fresh interpreter."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("statement", "needed", "unwanted"),
    [
        ("import tlab_diffusion", {"tlab_diffusion"}, {"torch", "diffusers", "matplotlib"}),
        ("import tlab_diffusion.cli", {"typer"}, {"torch", "jupyterlab", "PIL", "rich"}),
        (
            "import tlab_diffusion.diffusion.process",
            {"torch"},
            {"diffusers", "transformers", "matplotlib", "ipywidgets"},
        ),
        (
            "import tlab_diffusion.picturebook",
            {"numpy"},
            {"diffusers", "transformers", "matplotlib", "ipywidgets"},
        ),
        ("import tlab_diffusion.course", {"tlab_diffusion"}, {"diffusers", "transformers"}),
    ],
)
def test_imports_are_light(statement, needed, unwanted):
    loaded = loaded_by(statement)
    assert needed <= loaded
    assert not unwanted & loaded


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "tlab_diffusion", tmp_path / "tlab_diffusion")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *LINT], cwd=folder, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("errors.py", "import tlab_diffusion.diffusion", "Layers of the package"),
        ("diffusion/losses.py", "import matplotlib", "Only plots knows matplotlib"),
        ("diffusion/losses.py", "import diffusers", "The mathematics needs torch"),
    ],
)
def test_a_wrong_import_is_noticed(copy, module, statement, contract):
    assert lint(copy).returncode == 0
    changed = copy / "tlab_diffusion" / module
    changed.write_text(changed.read_text(encoding="utf-8") + f"\n{statement}\n", encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1
    assert contract in done.stdout


def test_a_module_outside_the_layers_is_noticed(copy):
    (copy / "tlab_diffusion" / "stray.py").touch()
    assert "stray" in lint(copy).stdout
