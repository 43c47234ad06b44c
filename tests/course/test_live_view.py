"""The live view of a training: what it shows, what it costs, and how it is interrupted."""

import io
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from IPython import display as ipython_display
from PIL import Image

from tlab_diffusion.course import live_view
from tlab_diffusion.course.live_view import running_mean, watch
from tlab_diffusion.errors import InputError


class Clock:
    """Time that goes on only when it is told to."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def interrupts():
    """Ctrl-C raises, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(live_view, "time", clock)
    return clock


@pytest.fixture
def page(monkeypatch):
    """What a notebook would show, output by output, in the order in which it is sent."""
    shown = []

    class Handle:
        def __init__(self, data):
            self.number = len([each for each in shown if each[0] == "new"])
            shown.append(("new", data))

        def update(self, data, **_):
            shown.append((self.number, data))

    monkeypatch.setattr(live_view, "_page", live_view._Notebook)
    monkeypatch.setattr(ipython_display, "display", lambda data, **_: Handle(data))
    return shown


def training(steps: int, after_each=lambda step: None):
    for step in range(1, steps + 1):
        yield SimpleNamespace(step=step, loss=1 / step)
        after_each(step)


def words(shown) -> list[str]:
    return [data["text/plain"] for _, data in shown if "text/html" in data]


def pictures(shown) -> list[bytes]:
    return [data["image/png"] for _, data in shown if "image/png" in data]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# --- what is shown


def test_every_step_is_passed_on_in_order(page):
    assert [step.step for step in watch(training(5), 5)] == [1, 2, 3, 4, 5]


def test_the_time_that_is_left_follows_from_the_steps_that_were_timed(page, clock):
    def two_seconds(_):
        clock.now += 2

    list(watch(training(4, two_seconds), 10))
    assert "Step 4 of 10. Loss 0.521. About 12 s left." in words(page)


def test_each_output_stays_in_its_place(page, clock):
    def later(_):
        clock.now += 60

    list(watch(training(4, later), 4, draw=lambda _: np.zeros((3, 2))))
    assert sum(what == "new" for what, _ in page) == 2
    assert len(pictures(page)) == 6  # after each step, at the end, and with the last words


def test_the_last_words_name_no_time_so_that_a_notebook_repeats_them(page):
    list(watch(training(4), 4))
    assert words(page)[-1] == "Done: 4 steps. Loss 0.521 (mean of the last 50 steps)."


@pytest.mark.parametrize(
    "samples",
    [
        torch.zeros(5, 2),
        [[0.0, 1.0], [0.5, -1.0]],
        np.zeros((4, 8, 8, 3), np.uint8),
        torch.zeros(4, 3, 8, 8),
    ],
)
def test_points_and_pictures_can_be_drawn(page, samples):
    list(watch(training(2), 2, draw=lambda _: samples))
    png = live_view.base64.b64decode(pictures(page)[-1])
    assert Image.open(io.BytesIO(png)).width == 960


def test_several_titles_show_a_picture_each(page, monkeypatch):
    seen = []
    show = live_view.TrainingPanels.show
    monkeypatch.setattr(
        live_view.TrainingPanels, "show", lambda s, view: (seen.append(view), show(s, view))
    )
    four = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    list(watch(training(1), 1, draw=lambda _: four, titles=["a", "b", "c", "d"]))
    assert [int(panel.max()) for panel in seen[-1].panels] == [0, 1, 2, 3]


def test_samples_of_another_shape_are_refused(page):
    with pytest.raises(InputError, match="samples"):
        list(watch(training(1), 1, draw=lambda _: np.zeros(3)))


def test_without_a_notebook_there_are_lines_of_text(capsys, monkeypatch):
    monkeypatch.setattr(live_view, "_page", live_view._Lines)
    list(watch(training(30), 30, draw=lambda _: np.zeros((3, 2))))
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("Step 1 of 30. Loss 1.000.")
    assert last.startswith("Done: 30 steps.")


def test_the_running_mean_looks_back_and_not_ahead():
    np.testing.assert_allclose(running_mean(np.array([4.0, 2, 3, 7]), 2), [4, 3, 2.5, 5])


# --- what it costs


def test_slow_pictures_take_a_small_share_of_the_time(page, clock, monkeypatch):
    """A picture takes 5 s and a step 1 s: without a limit redrawing would take most of the time."""
    drawn, shares = [], []
    close = live_view.LiveView.close
    monkeypatch.setattr(
        live_view.LiveView, "close", lambda s, *a: (shares.append(s.share), close(s, *a))
    )

    def draw(step):
        clock.now += 5
        drawn.append(step.step)
        return np.zeros((3, 2))

    def one_second(_):
        clock.now += 1

    list(watch(training(1000, one_second), 1000, draw=draw))
    assert 5 < len(drawn) < 20
    assert shares == [pytest.approx(5 * len(drawn) / (clock.now - 100))]
    assert shares[0] < 0.1


# --- interrupted


def test_an_interrupt_ends_it_after_the_step_with_one_line(page):
    seen = []
    for step in watch(training(10), 10):
        seen.append(step.step)
        if step.step == 3:
            interrupt()
    assert seen == [1, 2, 3]
    assert words(page)[-1] == "Interrupted after step 3 of 10. Run the cell again to go on."
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_run_again_it_goes_on(page):
    steps, losses = training(10), []
    for step in watch(steps, 10, losses=losses):
        losses.append(step.loss)
        if step.step == 3:
            interrupt()
    for step in watch(steps, 10, losses=losses):
        losses.append(step.loss)
    assert losses == [1 / n for n in range(1, 11)]
    assert "Done: 10 steps." in words(page)[-1]
    assert list(watch(steps, 10, losses=losses)) == []
    assert "To start anew" in words(page)[-1]


def test_a_second_interrupt_does_not_wait_for_the_step(page):
    def never_ends():
        yield SimpleNamespace(step=1, loss=1.0)
        interrupt()
        interrupt()
        pytest.fail("it was not interrupted")

    assert [step.step for step in watch(never_ends(), 10)] == [1]
    assert words(page)[-1].startswith("Interrupted after step 1 of 10.")


def test_in_another_thread_it_runs_to_the_end(page):
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(watch(training(3), 3)))
    thread.start()
    thread.join()
    assert len(seen) == 3
