"""A learner opens a lesson in a real JupyterLab, runs it and plays with its widget."""

import json
import shutil
import urllib.request

import nbformat
import pytest

from tests.browser.browsers import find_browser
from tests.browser.jupyter import (
    ROOT,
    TOKEN,
    browser_page,
    errors,
    jupyterlab,
    move_slider,
    open_lesson,
    picture_bytes,
    run_all,
    wait_for_another_picture,
)
from tests.browser.lessons import IN_THE_BROWSER
from tests.notebooks import smaller

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder where JupyterLab will find the lessons that the tests run."""
    course = tmp_path_factory.mktemp("course")
    (course / "work").mkdir()
    for lesson in IN_THE_BROWSER:
        shutil.copy(
            smaller(ROOT / "lessons" / lesson, tmp_path_factory.mktemp("smaller")), course / "work"
        )
    return course


@pytest.fixture(scope="module")
def address(course):
    with jupyterlab(course) as address:
        yield address


@pytest.fixture
def page():
    executable = find_browser()
    if executable is None:
        pytest.skip("no browser")
    with browser_page(executable) as page:
        yield page


@pytest.mark.parametrize(("lesson", "moved"), IN_THE_BROWSER.items())
def test_a_lesson_runs_and_its_widget_answers(course, address, page, tmp_path, lesson, moved):
    open_lesson(page, address, lesson)
    cells = run_all(page, course / "work" / lesson)
    page.screenshot(path=tmp_path / "lesson.png")
    assert errors(cells) == []
    assert all(cell["execution_count"] for cell in cells)

    widget, slider = moved
    before = picture_bytes(page, widget)
    move_slider(page, f"{widget}-{slider}")
    wait_for_another_picture(page, widget, before)
    page.screenshot(path=tmp_path / "widget.png")

    assert page.locator(".Toastify__toast", has_text="news").count() == 0


TRAINING = """
import time
from pathlib import Path
from types import SimpleNamespace
from tlab_diffusion.course.live_view import watch

def steps():
    for number in range(1, 501):
        time.sleep(0 if Path("quick").exists() else 0.2)
        yield SimpleNamespace(step=number, loss=1 / number)

training = steps()
"""
WATCHING = """for step in watch(training, 500, draw=lambda step: [[0.0, 1.0]] * step.step):
    pass"""


def test_a_training_is_stopped_by_the_button_and_goes_on(course, address, page):
    cells = [nbformat.v4.new_code_cell(code) for code in (TRAINING, WATCHING, "step.step")]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, course / "work/watch.ipynb")
    open_lesson(page, address, "watch.ipynb")
    page.locator(".jp-Cell").first.click()
    for _ in cells:  # all three are queued
        page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="left.").wait_for()
    page.locator(".jp-OutputArea-output img").wait_for()
    page.locator("[data-jp-item-name='interrupt']").click()
    page.locator(".jp-OutputArea-output", has_text="Interrupted after step").wait_for()
    after = page.locator(".jp-OutputArea-executeResult").inner_text()  # the later cell was run
    assert 1 <= int(after.split()[-1]) < 500
    assert page.locator(".jp-RenderedText[data-mime-type*='error']").count() == 0

    (course / "work/quick").touch()
    page.locator(".jp-Cell").nth(1).click()
    page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text="Done: 500 steps.").wait_for()
    assert page.locator(".jp-OutputArea-output img").count() == 1


def test_preferences_are_kept_beside_the_learners_notebooks(course, address):
    plugin = "@jupyterlab/apputils-extension:themes"
    request = urllib.request.Request(
        f"{address}/lab/api/settings/{plugin}?token={TOKEN}",
        data=json.dumps({"raw": '{"theme": "JupyterLab Dark"}'}).encode(),
        method="PUT",
    )
    assert urllib.request.urlopen(request).status == 204
    kept = course / "work/.jupyter/user-settings/@jupyterlab/apputils-extension"
    assert "Dark" in (kept / "themes.jupyterlab-settings").read_text()
