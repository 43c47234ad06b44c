"""The four styles in which every scene can be drawn.

A style owns two brushes, one for the characters and one for the place, the shading of solid
bodies, and what is laid over the finished picture (paper, leads).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, pairwise

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.palette import INK, lightness, mix
from tlab_diffusion.picturebook.shapes import blob, curve, oval, polygon

PAPER = "#fbf7ec"
GRAPHITE = "#4a4850"
LEAD = "#17141c"


@dataclass(frozen=True)
class Style:
    """How a scene is drawn: brushes, shading and finish.

    Args:
        character: the brush for characters and what they wear.
        place: the brush for the place behind them.
        shading: opacity of (light, shadow) on solid bodies.
        ground: SVG laid over the place, before the character comes.
        finish: SVG laid over the finished picture.
    """

    character: Brush
    place: Brush
    shading: tuple[float, float]
    ground: str = ""
    finish: str = ""

    def shade(self) -> str:
        """The gradient that `Brush.solid` lays over a body: light upper left, shadow beyond."""
        light, shadow = self.shading
        return (
            '<radialGradient id="shade" cx=".36" cy=".26" r=".8">'
            f'<stop stop-color="#fff" stop-opacity="{light}"/>'
            f'<stop offset=".5" stop-color="#fff" stop-opacity="0"/>'
            f'<stop offset=".55" stop-color="{INK}" stop-opacity="0"/>'
            f'<stop offset="1" stop-color="{INK}" stop-opacity="{shadow}"/></radialGradient>'
        )


def _same(colour: str) -> str:
    return colour


def _dark_edge(colour: str) -> str:
    """A deep tone of the colour itself; what is dark already gets an almost black one."""
    return mix(colour, INK, 0.72) if lightness(colour) > 0.24 else "#17151f"


def _wash(amount: float) -> Callable[[str], str]:
    return lambda colour: mix(colour, PAPER, amount)


def _glass(colour: str) -> str:
    """Pure, bright colour, as light shines through it."""
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    grey = sum(channels) / 3
    vivid = [min(255, max(0, round(grey + 1.25 * (c - grey)))) for c in channels]
    return "#" + "".join(f"{c:02x}" for c in vivid)


def _paper_edge() -> str:
    """White paper left around a painting, with an uneven brushed border."""
    border = [
        *[(5, 7), (20, 4), (38, 6), (55, 3.5), (72, 6), (90, 4)],
        *[(96, 10), (94, 30), (97, 48), (94, 66), (96, 84), (95, 94)],
        *[(80, 96), (60, 94), (42, 97), (24, 94.5), (8, 96)],
        *[(4, 88), (6, 70), (3, 52), (6, 34), (3.5, 18)],
    ]
    frame = "M-1 -1H101V101H-1Z" + blob(border)
    pool = f'<path d="{blob(border)}" fill="none" stroke="{INK}" stroke-width="1.6" opacity=".18"/>'
    return pool + f'<path d="{frame}" fill="{PAPER}" fill-rule="evenodd"/>'


def _puddles() -> str:
    """Lighter and darker pools, where the wash has dried unevenly."""
    light = oval(22, 24, 22, 13) + oval(80, 52, 20, 12) + oval(40, 88, 24, 8)
    dark = oval(74, 18, 20, 10) + oval(14, 62, 14, 12) + oval(84, 88, 16, 8)
    pale = f'<path d="{light}" fill="{PAPER}" opacity=".3"/>'
    return pale + f'<path d="{dark}" fill="{INK}" opacity=".05"/>'


def _pigment() -> str:
    """Pale pools inside a painted body."""
    pools = oval(-9, -47, 11, 8) + oval(8, -20, 10, 7) + oval(-14, -12, 8, 6)
    return f'<path d="{pools}" fill="{PAPER}" opacity=".3"/>'


def _hatching() -> str:
    """Slanting strokes of a coloured pencil, which leave some paper between them."""
    lines = "".join(f"M{x} 5L{x + 50} -80" for x in range(-80, 45, 9))
    return f'<path d="{lines}" stroke="{PAPER}" stroke-width="2.6" opacity=".18"/>'


def _facets() -> str:
    """Panes that meet behind the character, some lighter and some darker, set in lead."""
    middle = (50, 58)
    rim = [(0, 82), (0, 50), (0, 20), (8, 0), (38, 0), (70, 0), (100, 12), (100, 46), (100, 78)]
    tints = cycle((("#ffffff", 0.2), (LEAD, 0.1), ("#ffffff", 0.07)))
    panes = "".join(
        f'<path d="{polygon([middle, *corners])}" fill="{tint}" opacity="{opacity}"/>'
        for corners, (tint, opacity) in zip(pairwise(rim), tints, strict=False)
    )
    leads = "".join(curve(middle, corner) for corner in rim)
    return panes + f'<path d="{leads}" stroke="{LEAD}" stroke-width="1.5"/>'


def _frame() -> str:
    """The iron frame of a window."""
    return (
        f'<path d="M0 0H100V100H0Z" fill="none" stroke="{LEAD}" stroke-width="6"/>'
        f'<path d="M2.4 2.4H97.6V97.6H2.4Z" fill="none" stroke="#6b6475" stroke-width=".8"/>'
    )


# Where outlines are drawn: a pencil goes twice, a wash of paint does not quite meet its line.
_TWICE = ((0, 0), (0.9, -0.7))
_BESIDE = ((1.1, 0.7),)

STYLE_OF = {
    "cartoon": Style(
        character=Brush(_same, _dark_edge, 1.7),
        place=Brush(_same, _same, 0),
        shading=(0.42, 0.3),
    ),
    "watercolour": Style(
        character=Brush(_wash(0.1), lambda c: mix(c, INK, 0.5), 0.8, _BESIDE, _pigment()),
        place=Brush(_wash(0.42), _same, 0),
        shading=(0.4, 0.3),
        ground=_puddles(),
        finish=_paper_edge(),
    ),
    "pencil": Style(
        character=Brush(_wash(0.12), lambda c: GRAPHITE, 1.3, _TWICE, _hatching()),
        place=Brush(_wash(0.7), lambda c: mix(GRAPHITE, PAPER, 0.3), 0.8),
        shading=(0.2, 0.14),
    ),
    "stained glass": Style(
        character=Brush(_glass, lambda c: LEAD, 2.7),
        place=Brush(_glass, lambda c: LEAD, 1.8),
        shading=(0.6, 0.2),
        ground=_facets(),
        finish=_frame(),
    ),
}
