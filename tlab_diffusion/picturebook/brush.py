"""A brush turns outlines and colours into SVG elements, in the manner of one style."""

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True)
class Brush:
    """How shapes are painted: which colours, which outlines, how much light and shadow.

    Args:
        paint: maps a colour to the one that this style really uses.
        line: maps a colour to the colour of the outline around it.
        line_width: width of outlines in units of the frame (100 wide); 0 draws none.
        offsets: how far from the true edge each outline is drawn, as a loose hand does.
        grain: SVG laid inside every solid shape, the strokes of the tool.
    """

    paint: Callable[[str], str]
    line: Callable[[str], str]
    line_width: float
    offsets: tuple[tuple[float, float], ...] = ((0, 0),)
    grain: str = ""

    def flat(self, d: str, colour: str, opacity: float = 1) -> str:
        """A shape without an outline, for markings, light and shadow."""
        see_through = "" if opacity == 1 else f' opacity="{opacity:.2f}"'
        return f'<path d="{d}" fill="{self.paint(colour)}"{see_through}/>'

    def shape(self, d: str, colour: str) -> str:
        """A shape with an outline."""
        return self.flat(d, colour) + self.outline(d, colour)

    def solid(self, d: str, colour: str, marks: str = "") -> str:
        """A large rounded shape: `marks` stay inside it, light falls from the upper left."""
        inside = marks + self.grain
        if inside:
            name = f"clip{crc32(d.encode()):x}"  # the same shape may share its clip path
            inside = (
                f'<clipPath id="{name}"><path d="{d}"/></clipPath>'
                f'<g clip-path="url(#{name})">{inside}</g>'
            )
        shade = f'<path d="{d}" fill="url(#shade)"/>'
        return self.flat(d, colour) + inside + shade + self.outline(d, colour)

    def outline(self, d: str, colour: str) -> str:
        """The outline alone of a shape painted in `colour`."""
        if not self.line_width:
            return ""
        line = (
            f'<path d="{d}" fill="none" stroke="{self.line(colour)}" stroke-linejoin="round" '
            f'stroke-width="{self.line_width}"'
        )
        return "".join(
            f'{line} transform="translate({dx} {dy})"/>' if dx else line + "/>"
            for dx, dy in self.offsets
        )

    def stroke(self, d: str, colour: str, width: float) -> str:
        """An open line with round ends."""
        round_line = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
        return f'<path d="{d}" {round_line} stroke="{self.paint(colour)}" stroke-width="{width}"/>'

    def limb(self, d: str, colour: str, width: float) -> str:
        """A thick open line with an outline: an arm, a leg, a tail."""
        round_line = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
        around = f'stroke="{self.line(colour)}" stroke-width="{width + 2 * self.line_width / 2}"'
        edge = f'<path d="{d}" {round_line} {around}/>' if self.line_width else ""
        inside = max(width - self.line_width, width / 2)
        return edge + self.stroke(d, colour, inside)

    def fade(self, d: str, top: str, bottom: str, name: str) -> str:
        """A shape whose colour changes from top to bottom, for skies and grounds."""
        return (
            f'<linearGradient id="{name}" x2="0" y2="1">'
            f'<stop stop-color="{self.paint(top)}"/>'
            f'<stop offset="1" stop-color="{self.paint(bottom)}"/></linearGradient>'
            f'<path d="{d}" fill="url(#{name})"/>'
        ) + self.outline(d, bottom)

    def glow(self, x: float, y: float, radius: float, colour: str, name: str) -> str:
        """A soft round light."""
        light = self.paint(colour)
        return (
            f'<radialGradient id="{name}"><stop stop-color="{light}"/>'
            f'<stop offset="1" stop-color="{light}" stop-opacity="0"/></radialGradient>'
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="url(#{name})"/>'
        )
