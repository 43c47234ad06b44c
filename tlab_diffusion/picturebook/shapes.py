"""Outlines as SVG path data: the few shapes from which everything is drawn.

The frame is 100 x 100 units; y points down, as in SVG.
"""

from collections.abc import Sequence

Point = tuple[float, float]


def path(*parts: str | float) -> str:
    """Joins the letters and numbers of SVG path data."""
    return " ".join(part if isinstance(part, str) else f"{part:.2f}" for part in parts)


def oval(x: float, y: float, rx: float, ry: float) -> str:
    """An ellipse around (x, y)."""
    return (
        f"M{x - rx:.2f} {y:.2f}a{rx:.2f} {ry:.2f} 0 1 0 {2 * rx:.2f} 0"
        f"a{rx:.2f} {ry:.2f} 0 1 0 {-2 * rx:.2f} 0Z"
    )


def box(x: float, y: float, width: float, height: float, corner: float = 0) -> str:
    """A rectangle from its top left corner, with rounded corners."""
    r = min(corner, width / 2, height / 2)
    w, h = width - 2 * r, height - 2 * r
    return (
        f"M{x + r:.2f} {y:.2f}h{w:.2f}q{r:.2f} 0 {r:.2f} {r:.2f}v{h:.2f}q0 {r:.2f} {-r:.2f} {r:.2f}"
        f"h{-w:.2f}q{-r:.2f} 0 {-r:.2f} {-r:.2f}v{-h:.2f}q0 {-r:.2f} {r:.2f} {-r:.2f}Z"
    )


def polygon(points: Sequence[Point]) -> str:
    """A closed shape with straight sides."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "Z"


def blob(points: Sequence[Point]) -> str:
    """A smooth closed curve through the points (a Catmull-Rom spline as Bezier pieces)."""
    n = len(points)
    data = [f"M{points[0][0]:.2f} {points[0][1]:.2f}"]
    for i in range(n):
        (ax, ay), (bx, by) = points[i - 1], points[i]
        (cx, cy), (dx, dy) = points[(i + 1) % n], points[(i + 2) % n]
        data.append(
            f"C{bx + (cx - ax) / 6:.2f} {by + (cy - ay) / 6:.2f} "
            f"{cx - (dx - bx) / 6:.2f} {cy - (dy - by) / 6:.2f} {cx:.2f} {cy:.2f}"
        )
    return "".join(data) + "Z"


def mirrored(right_half: Sequence[Point]) -> list[Point]:
    """Completes the right half of an outline (top to bottom, x >= 0) by its mirror image."""
    left_half = [(-x, y) for x, y in reversed(right_half) if x > 0]
    return [*right_half, *left_half]


def curve(*points: Point) -> str:
    """An open curve: 2 points make a line, 3 a quadratic and 4 a cubic Bezier curve."""
    letter = {2: "L", 3: "Q", 4: "C"}[len(points)]
    rest = " ".join(f"{x:.2f} {y:.2f}" for x, y in points[1:])
    return f"M{points[0][0]:.2f} {points[0][1]:.2f}{letter}{rest}"


def star(x: float, y: float, radius: float) -> str:
    """A five-pointed star around (x, y)."""
    turns = (0, 0.588, 0.951, 0.951, 0.588, 0, -0.588, -0.951, -0.951, -0.588)
    rises = (-1, -0.809, -0.309, 0.309, 0.809, 1, 0.809, 0.309, -0.309, -0.809)
    reach = (radius, radius * 0.45)
    return polygon([(x + reach[i % 2] * turns[i], y + reach[i % 2] * rises[i]) for i in range(10)])


def heart(x: float, y: float, radius: float) -> str:
    """A heart around (x, y)."""
    r, top = radius, y - 0.5 * radius
    left = ("C", x - 1.9 * r, y - 0.3 * r, x - 0.9 * r, y - 1.5 * r, x, top)
    right = ("C", x + 0.9 * r, y - 1.5 * r, x + 1.9 * r, y - 0.3 * r, x, y + r)
    return path("M", x, y + r, *left, *right, "Z")
