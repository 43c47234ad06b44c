"""Check what works on this machine, and say how to fix what does not."""

import os
import platform
import shutil
import subprocess
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tlab_diffusion.copies import find_course
from tlab_diffusion.errors import InputError

GIB = 2**30
MEMORY_WANTED = 4 * GIB
DISK_NEEDED = 1 * GIB
REINSTALL = "Install again: make install, or pip install -r requirements.txt -c constraints.txt."


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        name: what was checked.
        state: "ok"; "note" where lessons still run; "failed" where one cannot.
        detail: what was found.
        fix: what to do about it (empty when ok).
    """

    name: str
    state: str
    detail: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Yields what works and what does not, the slowest findings last."""
    for probe in (python, packages, lessons, devices, memory, disk, browser, model, kernel):
        try:
            yield from probe()
        except ImportError as error:
            yield Finding(probe.__name__, "failed", str(error), REINSTALL)


def python() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def packages() -> Iterator[Finding]:
    """Compares what is installed with the pins that this package was installed with."""
    pins = [line for line in metadata.requires("tlab-diffusion") if "extra ==" not in line]
    agreeing = 0
    for name, pinned in (pin.split("==") for pin in pins):
        try:
            installed = metadata.version(name).split("+")[0]  # 2.13.0+cpu is 2.13.0
        except metadata.PackageNotFoundError:
            yield Finding(name, "failed", "not installed", REINSTALL)
            continue
        if installed == pinned:
            agreeing += 1
        else:
            yield Finding(name, "note", f"{installed}, the course is tested on {pinned}", REINSTALL)
    yield Finding("packages", "ok", f"{agreeing} of {len(pins)} at the tested version")


def lessons() -> Iterator[Finding]:
    try:
        found = sorted((find_course() / "lessons").glob("*.ipynb"))
        yield Finding("lessons", "ok", f"{len(found)} to open with `tlab lab`")
    except InputError as error:
        yield Finding("lessons", "failed", str(error), "Change into the course's folder.")


def devices() -> Iterator[Finding]:
    import torch

    found = [f"CPU with {os.cpu_count()} cores"]
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        found.append(f"{card.name} with {card.total_memory / GIB:.0f} GiB")
    if torch.backends.mps.is_available():
        found.append("Apple GPU")
    yield Finding("devices", "ok", ", ".join(found))


def memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available
    detail = f"{free / GIB:.1f} GiB free"
    if free >= MEMORY_WANTED:
        yield Finding("memory", "ok", detail)
    else:
        yield Finding("memory", "note", detail, "Close other programs: lessons want 4 GiB.")


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    detail = f"{free / GIB:.1f} GiB free here"
    if free >= DISK_NEEDED:
        yield Finding("disk", "ok", detail)
    else:
        yield Finding("disk", "failed", detail, "Free some space: lessons need 1 GiB.")


def browser() -> Iterator[Finding]:
    try:
        yield Finding("browser", "ok", f"{webbrowser.get().name} opens by itself")
    except webbrowser.Error:
        fix = "Copy the address that `tlab lab` prints into a browser."
        yield Finding("browser", "note", "none opens by itself", fix)


def model() -> Iterator[Finding]:
    """Samples a picture from the shipped model, in one step."""
    from tlab_diffusion.pipelines import load, sample

    try:
        next(sample(load("picturebook"), ["a robot"], steps=1))
    except InputError as error:
        yield Finding("picturebook", "failed", str(error), REINSTALL)
    else:
        yield Finding("picturebook", "ok", "the shipped text-to-image model loads and samples")


def kernel() -> Iterator[Finding]:
    """Runs one cell as JupyterLab would."""
    import nbformat
    from nbclient import NotebookClient

    cell = nbformat.v4.new_code_cell("import ipywidgets, matplotlib, torch, tlab_diffusion")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    try:
        client = NotebookClient(notebook, kernel_name="python3", timeout=120)
        client.execute(stderr=subprocess.DEVNULL)  # the kernel's log would only alarm
    except Exception as error:  # any error here would also occur in a lesson
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        yield Finding("kernel", "failed", f"a cell cannot run: {last}", REINSTALL)
    else:
        version = metadata.version("jupyterlab")
        yield Finding("kernel", "ok", f"JupyterLab {version} can run a lesson's cells")
