"""The pins of the environment: how they are read, compared and rewritten."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
HEADER = """\
# Everything that requirements*.txt bring along, at the versions seen together (pip constraints:
# nothing is installed because it stands here). Rewritten by `make constraints`.
"""
# What torch brings differs from one machine to the next, and torch pins it itself.
TORCHS_OWN = ("nvidia-", "cuda-", "triton")


def read_pins(path: Path) -> dict[str, str]:
    """Returns the packages of a requirements file and their versions; all must be exact."""
    pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;*]+)", line)
            if match is None:
                raise ValueError(f"{path.name}: '{line}' is not an exact pin (name==version)")
            pins[canonicalize_name(match[1])] = match[2]
    return pins


def direct_pins(root: Path) -> dict[str, str]:
    names = ("requirements.txt", "requirements-test.txt", "requirements-site.txt")
    return {name: pin for file in names for name, pin in read_pins(root / file).items()}


def disagreements(root: Path) -> list[str]:
    """Returns one line for each way in which the environment's files contradict each other."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    conda = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    direct, brought = direct_pins(root), read_pins(root / "constraints.txt")
    found = [
        f"{name} is pinned in requirements and again in constraints.txt"
        for name in direct.keys() & brought.keys()
    ]
    dynamic = project["tool"]["setuptools"]["dynamic"]
    if dynamic["dependencies"] != {"file": ["requirements.txt"]}:
        found.append("pyproject.toml does not read requirements.txt")
    packages = [entry for entry in conda["dependencies"] if isinstance(entry, str)]
    pip = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    if pip != [["-r requirements.txt", "-c constraints.txt", "-e ."]]:
        found.append("environment.yml does not install requirements.txt under constraints.txt")
    pythons = [entry.removeprefix("python=") for entry in packages if "python=" in entry]
    if len(pythons) != 1 or pythons[0] not in SpecifierSet(project["project"]["requires-python"]):
        found.append("environment.yml asks for a Python that pyproject.toml does not allow")
    if [entry for entry in packages if "python=" not in entry] != ["pip"]:
        found.append("environment.yml lists packages of its own")
    return found


def differing(pins: dict[str, str]) -> list[str]:
    """Returns one line for each package whose installed version is not the pinned one."""
    found = []
    for name, version in pins.items():
        try:
            installed = metadata.version(name).split("+")[0]  # 2.13.0+cpu is 2.13.0
        except metadata.PackageNotFoundError:
            installed = "nothing"
        if installed != version:
            found.append(f"{name}: {version} is pinned, {installed} is installed")
    return found


def write_constraints(root: Path) -> None:
    """Pins what is installed here, but for what the requirements pin or torch brings."""
    freeze = [sys.executable, "-m", "pip", "list", "--format=freeze", "--exclude-editable"]
    listed = subprocess.run(freeze, check=True, capture_output=True, text=True).stdout
    direct = direct_pins(root).keys() | {"pip", "setuptools", "wheel"}
    kept = [
        line.split("+")[0]
        for line in listed.splitlines()
        if (name := canonicalize_name(line.split("==")[0])) not in direct
        and not name.startswith(TORCHS_OWN)
    ]
    (root / "constraints.txt").write_text(HEADER + "\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_constraints(ROOT)
