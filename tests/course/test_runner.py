"""The guarded call: values, errors, loops, interrupts."""

import _thread
import contextvars
import os
import signal
import sys
import threading
import time

import pytest

from tlab_diffusion.course import runner


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    monkeypatch.setattr(runner, "LIMIT_S", 0.2)
    monkeypatch.setattr(runner, "PATIENCE_S", 0.5)


def test_a_value_comes_back_with_what_was_printed():
    def answer(a, b):
        print("adding")
        return a + b

    assert runner.call(answer, 1, 2) == runner.Call(value=3, printed="adding\n")


def test_an_error_comes_back_as_it_was():
    error = ValueError("no")

    def answer():
        raise error

    assert runner.call(answer).error is error


def test_an_answer_is_given_its_full_time():
    began = time.monotonic()
    assert runner.call(time.sleep, 0.1).ended
    assert not runner.call(time.sleep, 0.5).ended
    assert time.monotonic() - began > 0.3


def loop_around(body) -> None:
    while True:
        try:
            body()
        except:  # noqa: E722
            body = list


@pytest.mark.parametrize("round", range(10))
def test_a_loop_is_stopped_even_if_it_swallows_everything(round, capfd):
    call = runner.call(loop_around, list)
    assert (call.ended, call.stopped) == (False, True)
    assert capfd.readouterr().err == ""


def test_printing_without_end_keeps_the_beginning():
    def answer():
        while True:
            print("again")

    call = runner.call(answer)
    assert not call.ended
    assert call.printed.startswith("again\nagain\n")
    assert call.printed.endswith("The rest of what your function prints is left out.\n")
    assert len(call.printed) < runner.MOST_PRINTED + 100


def test_output_is_back_in_place_afterwards(capsys):
    runner.call(print, "inside")
    print("outside")
    assert capsys.readouterr().out == "outside\n"


@pytest.fixture
def python_hears_interrupts():
    """Also where the tests run in the background, for which a shell turns interrupts off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_hears_interrupts")
def test_the_caller_may_interrupt_and_the_answer_ends(monkeypatch, capsys):
    monkeypatch.setattr(runner, "LIMIT_S", 30.0)
    seen = []

    def answer():
        while True:
            seen.append(time.monotonic())
            time.sleep(0.001)

    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.call(answer)
    assert time.monotonic() - began < 5
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count
    print("back")
    assert capsys.readouterr().out == "back\n"


def test_the_answer_runs_in_the_callers_context():
    """Jupyter finds the cell that printed by a context variable."""
    cell = contextvars.ContextVar("cell")
    cell.set("the seventh")
    assert runner.call(cell.get).value == "the seventh"


def flood(write) -> None:
    for _ in range(2000):
        write("x" * 4096)


@pytest.mark.parametrize(
    "write",
    [
        lambda text: print(text),
        lambda text: print(text, file=sys.stderr),
        lambda text: sys.__stdout__.write(text),
        lambda text: os.write(1, text.encode()),
        lambda text: os.write(2, text.encode()),
        lambda text: os.system("echo " + "x" * 1000),
    ],
    ids=["stdout", "stderr", "dunder", "descriptor 1", "descriptor 2", "child"],
)
def test_a_flood_does_not_leave_the_call(write, capfd):
    call = runner.call(flood, write)
    seen = capfd.readouterr()
    assert len(seen.out) + len(seen.err) < 10_000  # a stream's own buffer may come late
    assert len(call.printed) + len(call.warned) < 2 * (runner.MOST_PRINTED + 100)
    assert "The rest of what your function prints is left out" in call.printed + call.warned
    os.write(1, b"after")
    assert capfd.readouterr().out.endswith("after")


def test_what_goes_to_a_descriptor_is_kept(capfd):
    call = runner.call(lambda: os.write(1, b"from C"))
    assert call.printed == "from C"
    assert capfd.readouterr().out == ""


def test_time_of_imports_is_not_counted(tmp_path, monkeypatch):
    (tmp_path / "slow_module_of_a_test.py").write_text("import time\ntime.sleep(0.6)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert runner.call(lambda: __import__("slow_module_of_a_test")).ended


def test_an_import_that_never_ends_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "MOST_UNCOUNTED_S", 0.3)
    (tmp_path / "endless_module_of_a_test.py").write_text("while True:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    call = runner.call(lambda: __import__("endless_module_of_a_test"))
    assert (call.ended, call.stopped) == (False, True)
