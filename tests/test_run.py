"""`make test`: what is run, and how its end is told."""

from types import SimpleNamespace

import pytest

from tests import run
from tests.browser.lessons import IN_THE_BROWSER


@pytest.fixture
def pretend(monkeypatch):
    """Answers every command with the exit codes given, and records the commands."""

    def answer(browser=None, lint=0, tests=0):
        commands = []

        def finish(command, **_):
            commands.append(command)
            code = tests if "pytest" in command else lint
            return SimpleNamespace(returncode=code, stdout="found this", stderr="")

        monkeypatch.setattr(run.subprocess, "run", finish)
        monkeypatch.setattr(run, "find_browser", lambda: browser)
        monkeypatch.setattr(run, "install_browser", lambda: None)
        monkeypatch.setattr(run.sys, "argv", ["run.py"])
        return commands

    return answer


def test_the_browser_saves_running_its_lessons_twice(pretend):
    commands = pretend(browser="/usr/bin/browser")
    assert run.main() == 0
    names = [
        argument.rpartition("/")[2] for argument in commands[-1] if "solutions" not in argument
    ]
    assert "00_start_here.ipynb" in names
    assert not set(IN_THE_BROWSER) & set(names)


def test_without_a_browser_every_lesson_runs_and_the_last_line_says_so(pretend, capsys):
    commands = pretend(browser=None)
    assert run.main() == 0
    names = [
        argument.rpartition("/")[2] for argument in commands[-1] if "solutions" not in argument
    ]
    assert set(IN_THE_BROWSER) <= set(names)
    assert "browser tests did NOT run" in capsys.readouterr().out.splitlines()[-1]


def test_a_failing_linter_fails_the_run_after_the_tests(pretend, capsys):
    commands = pretend(browser="/usr/bin/browser", lint=1)
    assert run.main() == 1
    assert "pytest" in commands[-1]
    shown = capsys.readouterr().out
    assert "found this" in shown
    assert shown.splitlines()[-1].startswith("failed: ruff check, ruff format, import-linter")


def test_failing_tests_fail_the_run(pretend):
    pretend(browser="/usr/bin/browser", tests=1)
    assert run.main() == 1


def test_lint_alone_stops_before_the_tests(pretend, monkeypatch):
    commands = pretend()
    monkeypatch.setattr(run.sys, "argv", ["run.py", "--lint"])
    assert run.main() == 0
    assert len(commands) == len(run.LINTERS)
