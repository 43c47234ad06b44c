"""How long a learner waits: from a key pressed on a widget's slider to new pixels on the screen.

    python -m benchmarks.widget_latency [FOLDER FOR SCREENSHOTS]

starts a real JupyterLab and a browser without a window, shows each widget, and presses an arrow
key on its timestep slider 30 times. The clock runs in the page: it starts with the key's event and
stops at the first frame after the new picture has been decoded. Then 30 presses follow without a
pause: "queue" is the wait from the last of them to its picture, which tells whether ticks pile up.
"""

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from tests.browser.browsers import find_browser
from tests.browser.jupyter import browser_page, jupyterlab, open_lesson

PRESSES = 30
BAR = 100  # milliseconds
WIDGETS = {
    "schedule-explorer": "schedule_explorer",
    "denoiser-explorer": "denoiser_explorer",
}
# Resolves with the milliseconds between the next key and the frame that shows its picture.
NEXT_TICK = """image => {
    window.tick = new Promise(resolve => {
        let start;
        document.addEventListener("keydown", () => { start = performance.now(); },
                                  {capture: true, once: true});
        image.addEventListener("load", () => requestAnimationFrame(
            () => resolve(performance.now() - start)), {once: true});
    });
}"""


def notebook(function: str):
    """A notebook of one cell that shows one widget."""
    code = f"from tlab_diffusion.course.widgets import {function}\n{function}()"
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    cell = nbformat.v4.new_code_cell(code)
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})


def latencies(page, widget: str) -> list[float]:
    """Presses the arrow key and returns the milliseconds of each press."""
    image = page.locator(f"img.{widget}-picture")
    image.wait_for()
    page.wait_for_timeout(1000)
    page.locator(f".{widget}-t .noUi-handle").focus()
    times = []
    for _ in range(PRESSES):
        image.evaluate(NEXT_TICK)
        page.keyboard.press("ArrowRight")
        times.append(page.evaluate("window.tick"))
        page.wait_for_timeout(50)
    return times


def queue(page, widget: str) -> float:
    """Presses without a pause; returns the milliseconds from the last press to its words."""
    handle = page.locator(f".{widget}-t .noUi-handle")
    last = int(float(handle.get_attribute("aria-valuenow"))) - PRESSES
    for _ in range(PRESSES):
        page.keyboard.press("ArrowLeft")
    start = time.perf_counter()
    page.locator(f".{widget}-words", has_text=re.compile(rf"t = {last}\b")).wait_for()
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    slow = False
    print(f"{'widget':20} {'median':>9} {'95 %':>9} {'queue':>9}   (bar: {BAR} ms)")
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address:
        for widget, function in WIDGETS.items():
            nbformat.write(notebook(function), Path(folder) / "work" / f"{widget}.ipynb")
            with browser_page(find_browser()) as page:
                open_lesson(page, address, f"{widget}.ipynb")
                page.locator(".jp-Cell .jp-InputArea-editor").click()
                page.keyboard.press("Control+Enter")
                times = sorted(latencies(page, widget))
                waited = queue(page, widget)
                for screenshots in sys.argv[1:]:
                    page.screenshot(path=Path(screenshots) / f"{widget}.png")
            median, high = statistics.median(times), times[round(0.95 * PRESSES) - 1]
            print(f"{widget:20} {median:6.0f} ms {high:6.0f} ms {waited:6.0f} ms")
            slow |= median >= BAR
    return int(slow)


if __name__ == "__main__":
    raise SystemExit(main())
