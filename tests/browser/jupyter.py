"""A real JupyterLab, started as `tlab lab` starts it, and a browser that drives it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "of-the-tests"
PATIENCE = 600  # seconds without any progress: a machine may be slow, a hung page is not


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """Runs `tlab lab` on a copy of the course in `folder`; yields the server's address."""
    for part in ("lessons", "jupyter", "figures"):
        ignored = shutil.ignore_patterns("source", "work", "*.py[c]", "__pycache__")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    port = free_port()
    command = [sys.executable, "-m", "tlab_diffusion.cli", "lab", "--no-browser"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    log = folder / "jupyterlab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | own, stdout=stream, stderr=stream
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_server(server, address, log)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(server: subprocess.Popen, address: str, log: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < give_up:
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=5)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


@contextmanager
def browser_page(executable: str) -> Iterator[Page]:
    """Opens a page in the browser."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    arguments = ["--no-sandbox"] if is_root else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE * 1000)
        yield page
        browser.close()


def open_lesson(page: Page, address: str, name: str) -> None:
    """Opens a lesson of `work/` and waits until its kernel is idle."""
    page.goto(f"{address}/lab/tree/work/{name}?reset&token={TOKEN}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.locator(".jp-StatusBar-Widget", has_text="| Idle").wait_for()


def run_all(page: Page, notebook: Path) -> list[dict]:
    """Runs every cell and returns the code cells as JupyterLab then saves them.

    The file tells more than the page, which holds only the cells near the visible ones.
    """
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    done, give_up = 0, time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        page.wait_for_timeout(1000)
        page.keyboard.press("Control+s")
        cells = saved_code_cells(notebook)
        finished = sum(cell["execution_count"] is not None for cell in cells)
        if errors(cells) or (cells and finished == len(cells)):
            return cells
        if finished > done:
            done, give_up = finished, time.monotonic() + PATIENCE
    raise TimeoutError(f"{notebook.name}: no cell after number {done} finished in {PATIENCE} s")


def saved_code_cells(notebook: Path) -> list[dict]:
    """Returns a notebook's code cells; none while JupyterLab is writing the file."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except ValueError:
        return []
    return [cell for cell in cells if cell["cell_type"] == "code" and cell["source"]]


def errors(cells: list[dict]) -> list[str]:
    """Returns the errors that the cells show."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    return [f"{o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]


def move_slider(page: Page, slider: str) -> None:
    """Moves a slider by the keyboard, given its class name."""
    handle = page.locator(f".{slider} .noUi-handle")
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")


def picture_bytes(page: Page, widget: str) -> bytes:
    """Returns the PNG that a widget shows now."""
    read = "async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer()))"
    return bytes(page.locator(f"img.{widget}-picture").evaluate(read))


def wait_for_another_picture(page: Page, widget: str, before: bytes) -> None:
    give_up = time.monotonic() + PATIENCE
    while picture_bytes(page, widget) == before:
        if time.monotonic() > give_up:
            raise TimeoutError(f"the picture of {widget} did not change")
        page.wait_for_timeout(100)
