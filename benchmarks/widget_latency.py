"""Latency of widgets: from a key press on a slider to new pixels on the screen.

    python -m benchmarks.widget_latency [FOLDER FOR SCREENSHOTS]

starts a real JupyterLab and a browser without a window, shows each widget, and presses arrow keys
on its slider 30 times, to and fro. The clock runs in the page: it starts with the key's event and
stops at the first frame after the new picture has been decoded. Then 30 presses follow without a
pause: "queue" is the wait from the last of them to the last picture, which tells whether ticks
pile up.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import nbformat

from tests.browser.browsers import find_browser
from tests.browser.jupyter import browser_page, jupyterlab, open_lesson

PRESSES = 30
BAR = 100  # milliseconds
WIDGETS = {  # and the slider that is moved
    "schedule-explorer": "t",
    "denoiser-explorer": "t",
    "sampler-explorer": "step",
    "guidance-explorer": "guidance-scale",
    "attention-explorer": "step",
    "latent-walk": "position",
    "before-after": "border",
    "trade-off-explorer": "step",
    "results-browser": "steps",
}
KEYS = ("ArrowLeft", "ArrowRight")  # fro and to: some sliders stand at their end
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

# Notes when the last key went down, and when the last picture came.
WATCH = """image => {
    document.addEventListener("keydown", () => { window.pressed = performance.now(); },
                              {capture: true});
    image.addEventListener("load", () => { window.shown = performance.now(); });
}"""


def notebook(widget: str):
    """A notebook of one cell that shows one widget."""
    function = widget.replace("-", "_")
    code = f"from tlab_diffusion.course.widgets import {function}\n{function}()"
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    cell = nbformat.v4.new_code_cell(code)
    return nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})


def latencies(page, widget: str) -> list[float]:
    """Presses arrow keys and returns the milliseconds of each press."""
    image = page.locator(f"img.{widget}-picture")
    image.wait_for()
    page.wait_for_timeout(1000)
    page.locator(f".{widget}-{WIDGETS[widget]} .noUi-handle").focus()
    times = []
    for press in range(PRESSES):
        image.evaluate(NEXT_TICK)
        page.keyboard.press(KEYS[press % 2])
        times.append(page.evaluate("window.tick"))
        page.wait_for_timeout(50)
    return times


def queue(page, widget: str) -> float:
    """Presses without a pause; returns the milliseconds from the last press to the last picture."""
    page.locator(f"img.{widget}-picture").evaluate(WATCH)
    for press in range(PRESSES):
        page.keyboard.press(KEYS[press % 2])
    page.wait_for_timeout(2000)
    return page.evaluate("window.shown - window.pressed")


def main() -> int:
    slow = False
    print(f"{'widget':20} {'median':>9} {'95 %':>9} {'queue':>9}   (bar: {BAR} ms)")
    with tempfile.TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address:
        for widget in WIDGETS:
            nbformat.write(notebook(widget), Path(folder) / "work" / f"{widget}.ipynb")
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
