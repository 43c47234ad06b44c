r"""Draws figures/chains.svg and .png: a diffusion model's two chains, and the loss between them.

Every noisy picture is real. The chain has eight large steps, so that a single one can be seen. No
model is at work yet: where the network's step belongs, the exact step back for the known x_0 is
drawn from q(x_{t-1} | x_t, x_0).
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes

from tlab_diffusion.diffusion.process import posterior, q_step
from tlab_diffusion.diffusion.schedules import linear_betas
from tlab_diffusion.picturebook import render, subject_scenes
from tlab_diffusion.plots import PALETTE, Picture
from tlab_diffusion.plots._arrays import as_pictures
from tlab_diffusion.plots.style import INK, SOFT_INK, new_figure

TITLE = (
    "The two chains of a diffusion model: above, noise is added step by step; below, a network "
    "takes it away; the loss compares the noise that was added with the noise that is predicted"
)
WIDTH, HEIGHT = 12.0, 8.15  # inches, and the units of every place below
FORWARD, REVERSE, LOSS = PALETTE["blue"], PALETTE["vermilion"], PALETTE["green"]
SMALL_PRINT = (
    "Real noise, in eight large steps. No network is at work yet: the way back is drawn with the "
    "exact step $q(x_{t-1}|x_t, x_0)$ for the known $x_0$."
)
COLUMNS = (1.15, 3.45, 8.55, 10.85)  # centres of x_0, x_{t-1}, x_t, x_T
ABOVE, BELOW = 5.35, 2.5  # centres of the two rows
SIDE = 1.6
BETAS = linear_betas(8, 0.02, 0.9)
REACH = SIDE / 2 + 0.06  # from a picture's centre to where its arrows end
MIDDLE = (COLUMNS[1] + COLUMNS[2]) / 2
SHOWN = (0, 3, 4, 8)  # steps taken at x_0, x_{t-1}, x_t, x_T


def chains() -> tuple[list, list]:
    """The pictures of both chains after 0, ..., 8 steps."""
    generator = torch.Generator().manual_seed(4)
    x0 = torch.from_numpy(render(subject_scenes("pip")[0])).permute(2, 0, 1)[None] / 127.5 - 1
    forward = [x0]
    for beta in BETAS:
        noise = torch.randn(x0.shape, generator=generator)
        forward.append(q_step(forward[-1], beta[None], noise))
    reverse = [forward[-1]]
    for t in reversed(range(len(BETAS))):
        mean, variance = posterior(x0, reverse[0], torch.tensor([t]), BETAS)
        reverse.insert(0, mean + variance.sqrt() * torch.randn(x0.shape, generator=generator))
    return forward, reverse


def draw() -> Picture:
    figure = new_figure(HEIGHT, width=WIDTH)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    axes.set_axis_off()
    forward, reverse = chains()
    draw_row(axes, ABOVE, forward, ("x_0", "x_{t-1}", "x_t", "x_T"), FORWARD)
    draw_row(axes, BELOW, reverse, (r"\hat x_0", r"\hat x_{t-1}", "x_t", "x_T"), REVERSE)
    draw_forward(axes)
    draw_reverse(axes)
    draw_loss(axes)
    axes.text(
        COLUMNS[0] - SIDE / 2, 0.2, SMALL_PRINT, size=10, color=SOFT_INK, math_fontfamily="cm"
    )
    return Picture(figure, TITLE)


def draw_row(axes: Axes, y: float, chain: list, names: tuple[str, ...], colour: str) -> None:
    """Four pictures of a chain, their names on the outer side, dots for what is left out."""
    outside = 1 if y == ABOVE else -1
    for x, name, steps in zip(COLUMNS, names, SHOWN, strict=True):
        picture(axes, x, y, SIDE, chain[steps], colour)
        maths(axes, x, y + outside * (SIDE / 2 + 0.22), f"${name}$", 17)
    for left, right in ((COLUMNS[0], COLUMNS[1]), (COLUMNS[2], COLUMNS[3])):
        start, end = (left, right) if y == ABOVE else (right, left)
        gap = outside * REACH
        middle = (left + right) / 2
        arrow(axes, (start + gap, y), (middle - outside * 0.16, y), colour, style="-")
        arrow(axes, (middle + outside * 0.16, y), (end - gap, y), colour)
        maths(axes, middle, y, r"$\cdots$", 16, colour)


def draw_forward(axes: Axes) -> None:
    heading(axes, HEIGHT - 0.35, "Forward", "adds noise: fixed, nothing to learn", FORWARD)
    arrow(axes, (COLUMNS[1] + REACH, ABOVE), (COLUMNS[2] - REACH, ABOVE), FORWARD)
    step = r"$x_t = \sqrt{\alpha_t}\; x_{t-1} + \sqrt{1-\alpha_t}\;\epsilon_t$"
    maths(axes, MIDDLE, ABOVE + 0.4, step, 18)
    top = ABOVE + SIDE / 2 + 0.45
    arrow(axes, (COLUMNS[0], top), (COLUMNS[2], top), FORWARD, curve=-0.12, dashed=True)
    jump = (
        r"all at once:   $x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1-\bar\alpha_t}\;\epsilon$,"
        r"$\qquad \bar\alpha_t = \alpha_1\,\alpha_2 \cdots\, \alpha_t$"
    )
    maths(axes, sum(COLUMNS[::2]) / 2, top + 0.76, jump, 16)


def draw_reverse(axes: Axes) -> None:
    heading(axes, BELOW + SIDE / 2 + 0.32, "Reverse", "is learned", REVERSE)
    arrow(axes, (COLUMNS[2] - REACH, BELOW), (MIDDLE + 0.6, BELOW), REVERSE)
    arrow(axes, (MIDDLE - 0.6, BELOW), (COLUMNS[1] + REACH, BELOW), REVERSE)
    box = {"boxstyle": "round,pad=0.55", "facecolor": "white", "edgecolor": REVERSE, "linewidth": 2}
    network = "network\n" + r"$\epsilon_\theta(x_t, t)$"
    axes.text(MIDDLE, BELOW, network, size=15, bbox=box, linespacing=1.4, **CENTRED)
    step = (
        r"$\hat x_{t-1} = \dfrac{1}{\sqrt{\alpha_t}}\left(x_t - "
        r"\dfrac{1-\alpha_t}{\sqrt{1-\bar\alpha_t}}\;\epsilon_\theta(x_t, t)\right)$"
    )
    maths(axes, MIDDLE, BELOW - 1.5, step, 17)
    note = "sampling adds fresh noise:\n" + r"$x_{t-1} = \hat x_{t-1} + \sigma_t\, z$"
    axes.text(COLUMNS[2] - 0.35, BELOW - 1.5, note, linespacing=1.5, **NOTE)


def draw_loss(axes: Axes) -> None:
    """Between the rows, for it compares them."""
    y = (ABOVE + BELOW) / 2
    compared = (COLUMNS[1], ABOVE - REACH), (COLUMNS[1], BELOW + REACH)
    arrow(axes, *compared, LOSS, style="<|-|>", dashed=True)
    arrow(
        axes, (MIDDLE + 0.35, BELOW + 0.48), (MIDDLE + 1.1, y - 0.24), LOSS, curve=0.3, dashed=True
    )
    formula = (
        r"$\Vert x_{t-1} - \hat x_{t-1}\Vert^2 \;\;\sim\;\; "
        r"\Vert \epsilon - \epsilon_\theta(x_t, t)\Vert^2$"
    )
    maths(axes, MIDDLE, y, formula, 18, LOSS)
    heading(axes, y, "Loss", "on average, up to\na factor and a constant", LOSS, x=COLUMNS[2] - 0.3)


NOTE = {"size": 12, "color": SOFT_INK, "va": "center", "math_fontfamily": "cm"}
CENTRED = {"ha": "center", "va": "center", "color": INK, "math_fontfamily": "cm"}


def maths(axes: Axes, x: float, y: float, text: str, size: float, colour: str = INK) -> None:
    axes.text(x, y, text, size=size, **CENTRED | {"color": colour})


def heading(
    axes: Axes, y: float, word: str, rest: str, colour: str, x: float = COLUMNS[0] - SIDE / 2
) -> None:
    axes.text(x, y, word, size=15, weight="bold", color=colour, va="center")
    axes.text(x + 0.12 * len(word) + 0.3, y, rest, **NOTE)


def picture(axes: Axes, x: float, y: float, side: float, x_t: torch.Tensor, colour: str) -> None:
    """A picture by its centre, in a thin frame."""
    half = side / 2
    extent = (x - half, x + half, y - half, y + half)
    axes.imshow(as_pictures("x_t", x_t)[0], extent=extent, interpolation="nearest")
    frame = [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    axes.fill(*zip(*frame, strict=True), facecolor="none", edgecolor=colour, linewidth=1.5)
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="auto")


def arrow(
    axes: Axes, start, end, colour: str, *, style="-|>", curve: float = 0, dashed: bool = False
) -> None:
    look = {
        "arrowstyle": style if style == "-" else f"{style},head_width=0.35,head_length=0.6",
        "connectionstyle": f"arc3,rad={curve}",
        "linestyle": (0, (4, 2.5)) if dashed else "-",
        "color": colour,
        "linewidth": 2,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", end, start, arrowprops=look)


if __name__ == "__main__":
    drawn = draw()
    for suffix in (".svg", ".png"):
        drawn.save(Path(__file__).with_suffix(suffix))
