"""A widget in a real JupyterLab: names, keys, typed numbers, the theme, and no kernel."""

import nbformat
import pytest

from tests.browser.browsers import find_browser
from tests.browser.jupyter import TOKEN, browser_page, jupyterlab, open_lesson, run_all

pytestmark = pytest.mark.browser
NAME = "schedule-explorer"
SMALL_SCREEN = {"width": 1366, "height": 768}
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
CODE = """from tlab_diffusion.course.widgets import schedule_explorer
schedule_explorer()"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A page with the widget, on a small screen, and the address of its notebook."""
    executable = find_browser()
    if executable is None:
        pytest.skip("no browser")
    folder = tmp_path_factory.mktemp("course")
    with jupyterlab(folder) as address, browser_page(executable) as page:
        cells = [nbformat.v4.new_code_cell(CODE)]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        nbformat.write(notebook, folder / "work" / "widget.ipynb")
        page.set_viewport_size(SMALL_SCREEN)
        open_lesson(page, address, "widget.ipynb")
        run_all(page, folder / "work" / "widget.ipynb")
        page.locator(f"img.{NAME}-picture[alt*='t = 300']").wait_for()
        yield page, f"{address}/lab/tree/work/widget.ipynb?reset&token={TOKEN}"


def test_a_widget_as_people_use_it(lab):
    """One test, for a JupyterLab takes long to start and the last steps stop the kernel."""
    page, address = lab
    words, slider = page.locator(f".{NAME}-words"), page.locator(f".{NAME}-t .noUi-handle")
    picture, dark = (page.locator(f"img.{NAME}-{kind}picture") for kind in ("", "dark-"))
    assert page.locator(f".{NAME} .noUi-handle:not([aria-label])").count() == 0
    assert slider.get_attribute("aria-label") == "timestep t"
    assert page.locator(f".{NAME} button[aria-label=play]").count() == 1

    first, last = page.locator(f".{NAME}-schedule").bounding_box(), picture.bounding_box()
    assert last["y"] + last["height"] - first["y"] < SMALL_SCREEN["height"] - 130  # JupyterLab's

    slider.focus()
    page.keyboard.press("ArrowRight")
    words.get_by_text("t = 310 of 1000").wait_for()

    typed = page.locator(f".{NAME} input[title^='timestep t: type']")
    typed.fill("333")
    typed.press("Enter")
    words.get_by_text("t = 333 of 1000").wait_for()
    typed.fill("many")
    typed.press("Enter")
    words.get_by_text("got “many”, expected a whole number from 0 to 1000").wait_for()

    page.locator(f".{NAME} button[aria-label=play]").click()
    page.locator(f".{NAME}-t .noUi-handle:not([aria-valuetext='333'])").wait_for()
    page.locator(f".{NAME} button[aria-label=stop]").click()

    assert picture.is_visible()
    assert not dark.is_visible()
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    assert dark.is_visible()
    assert not picture.is_visible()

    assert not page.locator(".tlab-still").is_visible()
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Restart Kernel…").first.click()
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    page.locator(".tlab-gone", has_text="Run this cell again").wait_for()
    page.keyboard.press("Control+s")

    page.goto(address)
    still = page.locator(".tlab-still")
    still.get_by_text("Run this cell again").wait_for()
    assert still.locator("img").get_attribute("alt").startswith("Noise schedules compared.")
    assert not page.get_by_text("model not found").is_visible()
