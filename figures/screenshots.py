"""Screenshots of JupyterLab for the README: an exercise of lesson 01, solved, and its widget.

Writes `figures/lesson.png` and `figures/widget.png`. Needs a browser: `make screenshots`.
"""

import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Page

from tests.browser.browsers import find_browser
from tests.browser.jupyter import browser_page, errors, jupyterlab, open_lesson, run_all
from tests.browser.lessons import IN_THE_BROWSER

FIGURES = Path(__file__).resolve().parent
LESSON = "01_noising.ipynb"
EXERCISE, PLAY = "Exercise: one noising step", "Play"


def main() -> None:
    widget, _ = IN_THE_BROWSER[LESSON]
    with tempfile.TemporaryDirectory() as scratch, browser_page(find_browser()) as page:
        course = Path(scratch) / "course"
        with jupyterlab(course) as address:
            notebook = course / "work" / LESSON
            solved = nbformat.read(course / "lessons" / "solutions" / LESSON, as_version=4)
            for cell in solved.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None  # to see when all have run
            nbformat.write(solved, notebook)
            open_lesson(page, address, LESSON)
            assert not errors(run_all(page, notebook))
            scroll_to(page, EXERCISE, "h3")
            page.screenshot(path=FIGURES / "lesson.png")
            scroll_to(page, PLAY, "h2")
            page.locator(f".{widget}").scroll_into_view_if_needed()
            page.wait_for_timeout(1000)  # cells above it may still find their height
            page.locator(f".{widget}").screenshot(path=FIGURES / "widget.png")


def scroll_to(page: Page, heading: str, level: str) -> None:
    """Scroll the notebook from its start until a heading stands at the top.

    JupyterLab draws only the cells near the visible ones.
    """
    panel = page.locator(".jp-WindowedPanel-outer").first
    panel.hover()
    page.mouse.wheel(0, -1_000_000)
    for _ in range(100):
        page.wait_for_timeout(50)
        found = page.locator(f".jp-RenderedMarkdown {level}", has_text=heading)
        if found.count():
            found.first.evaluate("element => element.scrollIntoView({block: 'start'})")
            page.wait_for_timeout(500)
            return
        page.mouse.wheel(0, 300)
    raise TimeoutError(f"no heading '{heading}'")


if __name__ == "__main__":
    main()
