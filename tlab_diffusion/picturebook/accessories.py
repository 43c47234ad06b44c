"""What a character may wear or hold, put where its figure says."""

from dataclasses import dataclass

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.look import Figure
from tlab_diffusion.picturebook.palette import CREAM, GOLD, INK, RED
from tlab_diffusion.picturebook.shapes import blob, box, curve, oval, path, polygon


@dataclass(frozen=True)
class Worn:
    """An accessory's parts behind and in front of the character."""

    before: str = ""
    behind: str = ""


def draw_accessory(brush: Brush, name: str | None, figure: Figure, view: str) -> Worn:
    """Draws the accessory on a figure seen from a view (None draws nothing)."""
    return Worn() if name is None else _DRAWERS[name](brush, figure, view)


def _on_head(svg: str, figure: Figure) -> str:
    """Puts a hat, drawn 20 units wide above (0, 0), on the head."""
    x, y, width = figure.head
    return f'<g transform="translate({x:.2f} {y:.2f}) scale({width / 20:.3f})">{svg}</g>'


def _crown(brush: Brush, figure: Figure, view: str) -> Worn:
    gold = polygon(
        [(-10.5, 2), (-12, -12), (-5.5, -5.5), (0, -14.5), (5.5, -5.5), (12, -12), (10.5, 2)]
    )
    gems = [(-12, -12, 1.9), (0, -14.5, 2.1), (12, -12, 1.9), (0, -1.8, 2.2)]
    svg = brush.solid(gold, GOLD)
    svg += "".join(brush.flat(oval(x, y, r, r), RED) for x, y, r in gems)
    return Worn(_on_head(svg, figure))


def _top_hat(brush: Brush, figure: Figure, view: str) -> Worn:
    tube = polygon([(-8, 0), (-9, -17), (9, -17), (8, 0)])
    svg = brush.solid(tube, "#33303d") + brush.flat(box(-8.1, -6, 16.2, 4.6), RED)
    svg += brush.shape(oval(0, 0.2, 14.5, 3), "#33303d")
    svg += brush.flat(box(-6, -15, 2.4, 8, 1.2), "#8b889b", 0.7)
    return Worn(_on_head(svg, figure))


def _glasses(brush: Brush, figure: Figure, view: str) -> Worn:
    if view == "back":  # they sit on the other side of the head
        return Worn()
    face = figure.face
    eyes = (3.4,) if face.side else (-face.gap, face.gap)
    lens = "".join(
        f'<circle cx="{x}" cy="0" r="6.3" fill="#cfefff" fill-opacity=".35" stroke="{INK}" '
        'stroke-width="2.3"/>'
        for x in eyes
    )
    if face.side:
        arm = brush.stroke(curve((-2.9, -1), (-15, -3)), INK, 2.1)
    else:
        arm = brush.stroke(curve((6.3 - face.gap, -0.6), (0, -2), (face.gap - 6.3, -0.6)), INK, 2.1)
        for s in (-1, 1):
            x = s * (face.gap + 6.3)
            arm += brush.stroke(curve((x, -1), (x + s * 4, -2.4)), INK, 2.1)
    move = f"translate({face.x:.2f} {face.y:.2f}) scale({face.scale:.3f})"
    return Worn(f'<g transform="{move}">{arm}{lens}</g>')


def _scarf(brush: Brush, figure: Figure, view: str) -> Worn:
    x, y, width = figure.neck
    half = width / 2
    upper = ("M", x - half, y - 2.5, "Q", x, y + 2.5, x + half, y - 2.5)
    lower = ("L", x + half, y + 3, "Q", x, y + 8.5, x - half, y + 3)
    band = path(*upper, *lower, "Z")
    end = x + half * (0.5 if view != "side" else -0.2)
    low = min(y + 20, 2)  # the end of the scarf does not trail on the ground
    tail = polygon([(end - 4, y + 4), (end + 4, y + 3), (end + 5.5, low - 1), (end - 3.5, low)])
    svg = brush.shape(tail, RED) + brush.flat(box(end - 3.4, low - 6.4, 8.2, 3), CREAM)
    svg += brush.shape(band, RED)
    for side in (-0.62, 0, 0.62):
        top = y - 2 + 2.2 * (1 - side * side)
        svg += brush.flat(box(x + side * half - 1.5, top, 3, 5.2), CREAM)
    return Worn(svg)


def _balloon(brush: Brush, figure: Figure, view: str) -> Worn:
    x, y = figure.hand
    way = 1 if x >= 0 else -1
    top = way * min(abs(x) + 8, 27)
    line = curve((x, y), (x + way * 9, y - 14), (top - way * 5, -46), (top, -56))
    string = brush.stroke(line, CREAM, 1.3)
    skin = blob([(top, -80), (top + 10, -70), (top, -55.5), (top - 10, -70)])
    knot = polygon([(top, -57), (top + 2.4, -53), (top - 2.4, -53)])
    svg = brush.shape(knot, RED) + brush.solid(skin, RED)
    svg += brush.flat(oval(top - 4, -73, 2, 3.2), CREAM, 0.8)
    return Worn(before=string, behind=svg)


def _flower(brush: Brush, figure: Figure, view: str) -> Worn:
    petals = [(0, -5.4), (5.1, -1.7), (3.2, 4.4), (-3.2, 4.4), (-5.1, -1.7)]
    svg = "".join(brush.shape(oval(x, y, 4, 4), "#ffffff") for x, y in petals)
    svg += brush.shape(oval(0, 0, 3.4, 3.4), GOLD)
    x, y, width = figure.head
    return Worn(f'<g transform="translate({x - width * 0.55:.2f} {y + 4:.2f})">{svg}</g>')


_DRAWERS = {
    "crown": _crown,
    "top hat": _top_hat,
    "glasses": _glasses,
    "scarf": _scarf,
    "balloon": _balloon,
    "flower": _flower,
}
