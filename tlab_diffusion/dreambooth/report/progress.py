"""The progress bar of a run or a grid in the terminal."""

import threading
import time
from dataclasses import dataclass

from tqdm.auto import tqdm

from tlab_diffusion.dreambooth.preflight.resources import Estimate, duration

BAR = "{desc}: {percentage:3.0f}%|{bar:20}|"
LOADING, CLASS_IMAGES, TRAINING, MEASURING = "loading", "class pictures", "training", "measuring"


@dataclass
class Phase:
    """A part of a run: how much is done, and how long one unit takes."""

    unit: str
    total: int
    done: int
    guess: float  # seconds for one unit, until some are timed
    timed: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds for one unit."""
        return self.seconds / self.timed if self.timed else self.guess

    @property
    def left(self) -> float:
        """Seconds for what is left."""
        return max(0, self.total - self.done) * self.each


class ProgressBar:
    r"""One bar for all phases of a run. It moves every second, and its estimate covers them all.

    Args:
        phases: by name, with guesses that count until something is timed.
    """

    def __init__(self, phases: dict[str, Phase]):
        self.phases = phases
        self.current, self.words = LOADING, ""
        self.start = self.last = time.monotonic()
        self.bar = tqdm(total=1, desc=LOADING, bar_format=BAR)
        self.closed = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "ProgressBar":
        self.ticker.start()
        return self

    def __exit__(self, *_) -> None:
        self.closed.set()
        self.ticker.join()
        self._draw()
        self.bar.close()

    def move(self, name: str, done: int, total: int | None = None, words: str = "") -> None:
        r"""Move to a phase, or further in it; the time since the last move counts for the phase.

        Args:
            name: of the phase.
            done: units of it, in all.
            total: its units, where they have changed.
            words: what else to show.
        """
        now, phase = time.monotonic(), self.phases[name]
        if total is not None:
            phase.total = total
        if self.current == name and done > phase.done:
            phase.seconds += now - self.last
            phase.timed += done - phase.done
        self.current, self.last, phase.done, self.words = name, now, done, words
        self._draw()

    def complete(self, name: str) -> None:
        """Nothing is left of a phase, as where a cache had it all."""
        self.phases[name].done = self.phases[name].total

    def write(self, line: str) -> None:
        """Print a line above the bar."""
        self.bar.write(line)

    def _tick(self) -> None:
        while not self.closed.wait(1.0):
            self._draw()

    def _draw(self) -> None:
        elapsed = time.monotonic() - self.start
        left = sum(phase.left for phase in self.phases.values())
        phase = self.phases.get(self.current)
        words = ""
        if phase is not None:
            rate = f" at {1 / phase.each:.3g}/s" if phase.timed and phase.each else ""
            words = f"{phase.done}/{phase.total} {phase.unit}s{rate}{self.words}, "
        words += f"{duration(elapsed)} so far, about {duration(left)} left"
        with self.bar.get_lock():
            self.bar.desc = self.current
            self.bar.total, self.bar.n = elapsed + left or 1, elapsed
            self.bar.bar_format = f"{BAR} {words}"
            self.bar.refresh()


def phases_of(needs: Estimate | None, class_images: int, steps: int, done: int) -> dict[str, Phase]:
    r"""The phases of the work that an estimate covers.

    Args:
        needs: its times count until something is timed; None where nothing is known.
        class_images: that may have to be drawn.
        steps: of all trainings.
        done: of these, before.
    """
    image = step = picture = 0.0
    pictures = needs.pictures if needs else 0
    if needs:
        image = needs.class_images / max(1, class_images)
        step = needs.training / max(1, steps - done)
        picture = needs.measuring / max(1, pictures)
    return {
        CLASS_IMAGES: Phase("picture", class_images, 0, image),
        TRAINING: Phase("step", steps, done, step),
        MEASURING: Phase("picture", pictures, 0, picture),
    }
