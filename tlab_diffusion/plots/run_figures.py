r"""Static figures of a training run: its losses, and its trade-off curves."""

from collections.abc import Mapping, Sequence

from tlab_diffusion.plots.style import (
    GREY,
    INK,
    Picture,
    legend,
    line_styles,
    new_figure,
    style_axes,
)

SIZE = 5.6, 3.6  # inches: two stand side by side on a page, and can be read on a telephone
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
ABOVE = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 4, "columnspacing": 1.2}


def loss_figure(steps: Sequence[int], losses: Mapping[str, Sequence[float]]) -> Picture:
    r"""The losses of a run.

    Args:
        steps: (S,), rising.
        losses: {name: (S,)}.
    """
    width, height = SIZE
    figure = new_figure(height, width=width)
    axes = figure.subplots()
    for (name, values), (colour, dash) in zip(losses.items(), line_styles(), strict=False):
        marker = "." if len(steps) < 20 else ""
        axes.plot(steps, values, color=colour, linestyle=dash, marker=marker, label=name)
    style_axes(axes, xlabel="step", ylabel="loss")
    axes.set_ylim(bottom=0)
    legend(axes, **ABOVE)
    ends = ", ".join(f"{name} ends at {values[-1]:.3f}" for name, values in losses.items())
    return Picture(figure, f"Loss over {steps[-1]} steps: {ends}.")


def trade_off_figure(
    steps: Sequence[int], curves: Mapping[str, Sequence[float]], best: int
) -> Picture:
    r"""The qualities at each measured step, with the best step marked.

    Args:
        steps: (S,), rising.
        curves: {name: (S,)}, from 0 to 1; the last one, their balance, is drawn in black.
        best: the step to mark.
    """
    width, height = SIZE
    figure = new_figure(height, width=width)
    axes = figure.subplots()
    *parts, (balance, scores) = curves.items()
    for (name, values), (colour, dash) in zip(parts, line_styles(), strict=False):
        axes.plot(steps, values, color=colour, linestyle=dash, linewidth=2, marker=".", label=name)
    axes.plot(steps, scores, color=INK, linewidth=3, marker="o", label=balance)
    axes.axvline(best, color=GREY, linewidth=8, alpha=0.25, zorder=0)
    axes.annotate(f"step {best}", (best, 0.06), size=9, color=INK, ha="center", bbox=BEHIND)
    style_axes(axes, xlabel="step", ylabel="share, 1 is best")
    axes.set_ylim(-0.03, 1.03)
    legend(axes, **ABOVE)
    at_best = list(steps).index(best)
    values = ", ".join(f"{name} {values[at_best]:.2f}" for name, values in curves.items())
    return Picture(figure, f"Trade-off over the steps; at the best one, step {best}: {values}.")
