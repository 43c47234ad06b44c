"""The style of all figures: palette, axes, and the class of finished figures.

Figures are plain `matplotlib.figure.Figure` objects. pyplot, with its list of open figures and its
current axes, is never touched: nothing leaks, and nothing depends on the order of cells.
"""

from io import BytesIO
from itertools import cycle
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tlab_diffusion.errors import InputError

# Colours after Okabe and Ito (2008), which people with any colour vision can tell apart. Each comes
# with a dash, so that lines differ in print too.
PALETTE = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), "-", (0, (5, 1.5)))
INK = "#222222"  # text
SOFT_INK = "#666666"  # side remarks
GREY = "#8A8A8A"  # what matters less
PALE = "#E4E4E4"  # grids

WIDTH = 9.6  # inches: a cell of a notebook
SCREEN_DPI = 100  # pixels of a screen to an inch of figure
PRINT_DPI = 160  # pixels that a still figure has: sharp on dense screens as well


class Picture:
    """A finished figure: shows itself in a notebook, always under the same words.

    Args:
        figure: what it shows.
        title: its alternative text, a phrase.
    """

    def __init__(self, figure: Figure, title: str):
        self.figure, self.title = figure, title

    def png(self) -> bytes:
        """The figure as a PNG file."""
        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", dpi=PRINT_DPI, facecolor="white")
        return buffer.getvalue()

    def save(self, path: str | Path) -> Path:
        """Write the figure to a file, whose name ends in .png or .svg."""
        path = Path(path)
        # No date and no random names: the same figure is the same file.
        metadata = {".png": {}, ".svg": {"Date": None, "Title": self.title}}
        if path.suffix not in metadata:
            raise InputError("path", got=str(path), expected="a name in .png or .svg")
        with rc_context({"svg.hashsalt": "tlab"}):
            self.figure.savefig(
                path, dpi=PRINT_DPI, facecolor="white", metadata=metadata[path.suffix]
            )
        return path

    def __repr__(self) -> str:
        return f"<Picture: {self.title}>"

    def _repr_png_(self) -> tuple[bytes, dict]:
        width = round(self.figure.get_figwidth() * SCREEN_DPI)
        return self.png(), {"width": width, "alt": self.title}


def new_figure(height: float, *, width: float = WIDTH, title: str = "") -> Figure:
    """An empty figure in this style, with automatic layout of its axes.

    Args:
        height: inches.
        width: inches.
        title: a phrase shown at the top left.
    """
    figure = Figure(figsize=(width, height), dpi=SCREEN_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, x=0.008, ha="left", size=11.5, weight="bold", color=INK)
    return figure


def style_axes(axes: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Give axes light spines, a pale grid and readable words."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.set_axisbelow(True)
    axes.grid(color=PALE, linewidth=0.7)
    axes.tick_params(labelsize=9, labelcolor=INK, color=GREY, length=3, which="both")
    axes.set_title(title, loc="left", size=10.5, color=INK)
    axes.set_xlabel(xlabel, size=10, color=INK)
    axes.set_ylabel(ylabel, size=10, color=INK)


def bare_axes(axes: Axes, *, title: str = "") -> None:
    """Axes that only frame a picture: no ticks, no lines, the title above in the middle."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, size=9.5, color=INK, pad=4)


def legend(axes: Axes, **where) -> None:
    """A legend without a box."""
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, **where)


def line_styles():
    """Endless (colour, dash) pairs, neighbours far apart."""
    return cycle(zip(PALETTE.values(), DASHES, strict=True))
