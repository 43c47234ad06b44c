r"""The live figure of the denoiser explorer: the clean numbers that a noisy number may come from.

Three panels share the vertical axis, the value of x: on the left the clean numbers, on the right
the noisy ones at t, and between them every t in between.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import GREY, INK, PALETTE, WIDTH, style_axes

HEIGHT = 5.0  # inches
RIVER = LinearSegmentedColormap.from_list("river", ["white", "#D6D6D6", GREY])
POSTERIOR, BEST, STEP, SCORE = (PALETTE[c] for c in ("blue", "vermilion", "purple", "green"))
TALLEST = 0.9  # of a panel's width: every density is drawn to its own height
STEP_HEIGHT = 0.45


class DenoiserView(NamedTuple):
    """What the figure shows at one (t, x_t); densities are (N,) over its x."""

    t: int  # from 1 to T
    x_t: float
    noisy: np.ndarray  # q(x_t)
    posterior: np.ndarray  # q(x0 | x_t)
    x0_mean: float  # E[x0 | x_t]
    eps_mean: float  # E[eps | x_t]
    score: float  # d/dx log q(x_t)
    score_end: float  # x_t + (1 - alpha_bar_t) score, which is sqrt(alpha_bar_t) E[x0 | x_t]
    step: np.ndarray  # q(x_{t-1} | x_t, x0 = E[x0 | x_t])
    step_mean: float
    path: np.ndarray  # (t + 1,): x_s for s = t, ..., 0, were x0 and eps their means


class DenoiserPanels(LiveFigure):
    """The clean panel, the densities at all t, and the noisy panel.

    Args:
        x: (N,), values evenly spaced.
        clean: (N,), q(x0).
        river: (N, T), q(x_t) at every t.
    """

    def __init__(self, x: np.ndarray, clean: np.ndarray, river: np.ndarray):
        super().__init__(WIDTH, HEIGHT)
        place = {"left": 0.06, "right": 0.985, "top": 0.93, "bottom": 0.225, "wspace": 0.04}
        panels = self.figure.subplots(
            1, 3, sharey=True, width_ratios=(1, 1.9, 1), gridspec_kw=place
        )
        self._x, self._steps = x, river.shape[1]
        self._draw_clean(panels[0], clean)
        self._draw_river(panels[1], river)
        self._draw_noisy(panels[2])
        self._draw_legend()

    def show(self, view: DenoiserView) -> None:
        """Move to another t and x_t."""
        _set_density(self._posterior, self._x, view.posterior)
        _set_density(self._noisy, self._x, view.noisy)
        _set_density(self._step, self._x, view.step, STEP_HEIGHT)
        self._best.set_ydata([view.x0_mean])
        self._best_line.set_ydata([view.x0_mean, view.x0_mean])
        self._cursor.set_xdata([view.t, view.t])
        self._path.set_data(np.arange(view.t, -1, -1), view.path)
        self._here.set_data([view.t], [view.x_t])
        self._path_end.set_ydata([view.x0_mean])
        self._x_t.set_ydata([view.x_t])
        self._x_t_line.set_ydata([view.x_t, view.x_t])
        self._score.set_ydata([view.x_t, view.score_end])
        self._score_tip.set_ydata([view.score_end])
        self._score_tip.set_marker("^" if view.score > 0 else "v")
        self._step_mean.set_ydata([view.step_mean, view.step_mean])

    def _draw_clean(self, axes, clean: np.ndarray) -> None:
        """Densities grow to the left, away from the middle panel."""
        style_axes(axes, title="clean: what was $x_0$?", ylabel="value")
        axes.grid(visible=False)
        axes.set(xlim=(1, 0), xticks=[], ylim=(self._x[0], self._x[-1]))
        _set_density(axes.fill([], [], color=GREY, alpha=0.35, linewidth=0)[0], self._x, clean)
        (self._posterior,) = axes.fill([], [], facecolor=POSTERIOR + "40", edgecolor=POSTERIOR)
        self._posterior.set_linewidth(1.8)
        (self._best_line,) = axes.plot([0, 1], [0, 0], color=BEST, linewidth=2)
        (self._best,) = axes.plot([0.03], [0], "D", color=BEST, markersize=7)
        self.moving(self._posterior, self._best_line, self._best)

    def _draw_river(self, axes, river: np.ndarray) -> None:
        style_axes(axes, title="in between: $q(x_t)$ at every $t$", xlabel="timestep $t$")
        axes.grid(visible=False)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        # The square root shows thin streams beside strong ones.
        shown = np.sqrt(river / river.max(axis=0))
        half = (self._x[1] - self._x[0]) / 2
        extent = (0.5, self._steps + 0.5, self._x[0] - half, self._x[-1] + half)
        axes.imshow(shown, cmap=RIVER, aspect="auto", origin="lower", extent=extent)
        axes.set_xlim(-0.02 * self._steps, self._steps + 0.5)
        (self._cursor,) = axes.plot([0, 0], self._x[[0, -1]], color=INK, linewidth=1)
        (self._path,) = axes.plot([], [], color=BEST, linewidth=1.8, linestyle=(0, (4, 2)))
        (self._path_end,) = axes.plot([0], [0], "D", color=BEST, markersize=6)
        (self._here,) = axes.plot([], [], "o", color=INK, markersize=7)
        self.moving(self._cursor, self._path, self._path_end, self._here)

    def _draw_noisy(self, axes) -> None:
        style_axes(axes, title="noisy: $q(x_t)$ at this $t$")
        axes.grid(visible=False)
        axes.tick_params(left=False)
        axes.set(xlim=(0, 1), xticks=[])
        (self._noisy,) = axes.fill([], [], color=GREY, alpha=0.35, linewidth=0)
        (self._step,) = axes.fill([], [], facecolor=STEP + "40", edgecolor=STEP, linewidth=1.5)
        (self._step_mean,) = axes.plot([0, STEP_HEIGHT], [0, 0], color=STEP, linewidth=2)
        (self._x_t_line,) = axes.plot([0, 1], [0, 0], color=INK, linewidth=1)
        (self._score,) = axes.plot([0.9, 0.9], [0, 0], color=SCORE, linewidth=2.5)
        (self._score_tip,) = axes.plot([0.9], [0], "^", color=SCORE, markersize=8)
        (self._x_t,) = axes.plot([0.72], [0], "o", color=INK, markersize=8)
        self.moving(self._noisy, self._step, self._step_mean, self._x_t_line)
        self.moving(self._score, self._score_tip, self._x_t)

    def _draw_legend(self) -> None:
        handles = {
            "$q(x_0)$, all clean values": self._noisy,
            "$q(x_0|x_t)$, those that fit $x_t$": self._posterior,
            "its mean, the best prediction of $x_0$": self._best,
            "the way back if that is right": self._path,
            "$x_t$": self._x_t,
            r"score times $1-\bar\alpha_t$": self._score,
            "$q(x_{t-1}|x_t, x_0)$ with $x_0$ the prediction": self._step,
        }
        place = {"loc": "lower center", "ncols": 3, "bbox_to_anchor": (0.5, 0.0)}
        self.figure.legend(
            handles.values(), handles, frameon=False, fontsize=9, labelcolor=INK, **place
        )


def _set_density(polygon, x: np.ndarray, density: np.ndarray, height: float = TALLEST) -> None:
    """Lay a density sideways along the value axis, its highest point at `height`."""
    width = height * density / density.max()
    visible = np.flatnonzero(width > 0.002)
    part = slice(visible[0], visible[-1] + 1)
    polygon.set_closed(False)  # no line along the axis
    polygon.set_xy(np.column_stack([width[part], x[part]]))
