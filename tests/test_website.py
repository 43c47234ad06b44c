"""The static site: whole links and pictures, folded solutions, formulas, nothing from a network."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.browser.browsers import find_browser
from website.build import ROOT, binder_address, build, lesson_page

# What a browser fetches by itself when it opens a page.
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.links, self.fetched, self.names = path, [], [], set()
        self.silent_pictures, self.folded = 0, 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_data(self, data):
        self.folded += data.strip() == "Show the solution"

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names.add(values.get("id"))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get(FETCHED.get(tag)):
            self.fetched.append(values[FETCHED[tag]])
        self.silent_pictures += tag == "img" and not values.get("alt")


def broken(pages: dict[Path, Page]) -> list[str]:
    """Returns the links and pictures that lead nowhere."""
    found = []
    for page in pages.values():
        for target in page.links + page.fetched:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            path = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            known = pages[path].names if path in pages else {""}
            if not path.exists() or (path in pages and parts.fragment not in {"", *known}):
                found.append(f"{page.path.name}: {target}")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "pages"
    assert build(ROOT, folder) == 0
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.glob("*.html"))}


def test_links_and_pictures_lead_somewhere(pages, site):
    lessons = list((ROOT / "lessons/solutions").glob("*.ipynb"))
    assert lessons
    assert all(site / f"{lesson.stem}.html" in pages for lesson in lessons)
    assert broken(pages) == []


def test_a_page_fetches_nothing_from_a_network(pages):
    assert [link for page in pages.values() for link in page.fetched if urlsplit(link).netloc] == []


def test_every_picture_has_words(pages):
    assert {
        page.path.name: page.silent_pictures for page in pages.values() if page.silent_pictures
    } == {}


def test_every_solution_is_folded(pages, site):
    for path in (ROOT / "lessons/solutions").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        exercises = sum("exercise" in cell.metadata for cell in cells)
        assert pages[site / f"{path.stem}.html"].folded == exercises


@pytest.mark.parametrize(
    "markdown", ["[away](nowhere.html)", "![gone](nothing.png)", "[inside](#nothing)"]
)
def test_a_broken_link_is_noticed(tmp_path, markdown):
    from markdown_it import MarkdownIt

    path = tmp_path / "page.html"
    path.write_text(MarkdownIt().render(markdown), encoding="utf-8")
    assert len(broken({path: Page(path)})) == 1


def test_an_exercise_shows_its_task_above_its_solution():
    exercise = {"exercise": "a.b"}
    learner, solved = (
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(code, id="exercise-a-b", metadata=exercise)]
        )
        for code in ("raise NotImplementedError", "return 1")
    )
    task, solution = lesson_page(learner, solved).cells
    assert "raise NotImplementedError" in task.source
    assert solution.source == "return 1"
    assert "hide-input" in solution.metadata["tags"]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:a/b.git\n", "https://mybinder.org/v2/gh/a/b/HEAD?urlpath=lab"),
        ("https://github.com/a/b", "https://mybinder.org/v2/gh/a/b/HEAD?urlpath=lab"),
        ("https://example.org/a/b", "https://mybinder.org"),
        ("", "https://mybinder.org"),
    ],
)
def test_binder_opens_the_repository(remote, address):
    assert binder_address(remote) == address


@pytest.mark.browser
def test_formulas_are_typeset_in_a_browser(site):
    from playwright.sync_api import sync_playwright

    if (executable := find_browser()) is None:
        pytest.skip("no browser")
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "02_the_loss.html").as_uri(), timeout=300_000)
        formulas = page.locator(".math").count()
        assert formulas > 50
        page.wait_for_function(
            f"document.querySelectorAll('.math mjx-container').length >= {formulas}",
            timeout=60_000,
        )
        assert page.locator("[data-mml-node='merror']").count() == 0
        browser.close()
    assert [url for url in asked if urlsplit(url).scheme not in ("file", "data")] == []
