"""What all places share: the frame, rolling hills, clouds, and the two layers of a setting."""

from dataclasses import dataclass
from random import Random

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.shapes import box, oval

FRAME = box(-2, -2, 104, 104)


@dataclass(frozen=True)
class Setting:
    """A place in two layers: what lies behind the character, and what comes before it."""

    behind: str
    before: str = ""


def ridge(rng: Random, y: float, swing: float) -> str:
    """The outline of about two hills around height `y`, filled down to the lower edge."""
    a, b, c = (y + rng.uniform(-swing, swing) for _ in range(3))
    return (
        f"M-3 {a:.2f}C20 {a - swing:.2f} 30 {b + swing:.2f} 50 {b:.2f}"
        f"S80 {c - swing:.2f} 103 {c:.2f}V103H-3Z"
    )


def scatter(rng: Random, number: int, height: float) -> list[tuple[float, float]]:
    """Points spread over the upper part of the frame, evenly but not in rows."""
    return [
        ((i * 39 + rng.uniform(0, 13)) % 102, (i + rng.random()) * height / number)
        for i in range(number)
    ]


def cloud(brush: Brush, x: float, y: float, size: float, colour: str = "#ffffff") -> str:
    """A puffy cloud around (x, y), about 30 units wide at size 1."""
    puffs = [(-9, 1.5, 6), (0, -2, 9), (9, 1.5, 6)]
    d = "".join(oval(x + dx * size, y + dy * size, r * size, r * 0.7 * size) for dx, dy, r in puffs)
    return brush.flat(d, colour)
