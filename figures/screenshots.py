"""Photographs JupyterLab for the README: a page of lesson 01 and its widget.

Writes `figures/lesson.png` and `figures/widget.png`. Needs a browser: `make screenshots`.
"""

import tempfile
from pathlib import Path

from tests.browser.browsers import find_browser
from tests.browser.jupyter import browser_page, errors, jupyterlab, open_lesson, run_all
from tests.browser.lessons import IN_THE_BROWSER

FIGURES = Path(__file__).resolve().parent
LESSON = "01_noising.ipynb"


def main() -> None:
    widget, _ = IN_THE_BROWSER[LESSON]
    with tempfile.TemporaryDirectory() as scratch, browser_page(find_browser()) as page:
        course = Path(scratch) / "course"
        with jupyterlab(course) as address:
            open_lesson(page, address, LESSON)
            assert not errors(run_all(page, course / "work" / LESSON))
            page.locator(".jp-Notebook h1").first.scroll_into_view_if_needed()
            page.screenshot(path=FIGURES / "lesson.png")
            page.locator(f".{widget}").screenshot(path=FIGURES / "widget.png")


if __name__ == "__main__":
    main()
