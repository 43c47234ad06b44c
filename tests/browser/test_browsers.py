"""Finding a browser: it must start, not only lie there."""

import shutil

import pytest

from tests.browser import browsers


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    return tmp_path


def put(folder, name: str, code: int) -> str:
    """Puts a command there that ends with the exit code."""
    (folder / name).write_text(f"#!/bin/sh\nexit {code}\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


def test_a_browser_that_starts_is_preferred_to_one_that_is_only_there(folder):
    put(folder, "chromium", 1)
    chrome = put(folder, "google-chrome", 0)
    assert browsers.find_browser() == chrome


def test_nothing_is_found_where_nothing_starts(folder):
    put(folder, "chromium", 1)
    assert browsers.find_browser() is None


def test_the_debian_package_is_installed_by_root(folder, monkeypatch):
    commands = []

    def install(command, timeout):
        commands.append(command)
        if command[:2] == ["apt-get", "install"]:
            put(folder, "chromium", 0)
        return True

    monkeypatch.setattr(browsers, "is_debian", lambda: True)
    monkeypatch.setattr(browsers, "prefix", lambda: [])
    monkeypatch.setattr(browsers, "run", install)
    assert browsers.install_browser() == shutil.which("chromium")
    assert not any("playwright" in command for command in commands)


@pytest.mark.parametrize(("debian", "prefix"), [(False, []), (True, None)])
def test_elsewhere_playwright_downloads_one_if_it_can(folder, monkeypatch, debian, prefix):
    commands = []
    monkeypatch.setattr(browsers, "is_debian", lambda: debian)
    monkeypatch.setattr(browsers, "prefix", lambda: prefix)
    monkeypatch.setattr(browsers, "run", lambda command, timeout: commands.append(command))
    assert browsers.install_browser() is None
    assert [command[1:] for command in commands] == [["-m", "playwright", "install", "chromium"]]
