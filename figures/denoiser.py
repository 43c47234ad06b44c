"""Draws figures/denoiser.png: the posterior of a noisy number, at three noise levels."""

from pathlib import Path

from matplotlib.axes import Axes

from tlab_diffusion.course.widgets.denoiser import GRID, denoiser_view, density, two_bumps
from tlab_diffusion.diffusion.schedules import alphas_cumprod, cosine_betas
from tlab_diffusion.plots import PALETTE, Picture
from tlab_diffusion.plots.denoiser_panels import DenoiserView
from tlab_diffusion.plots.style import GREY, INK, new_figure, style_axes

TITLE = "The exact denoiser at low, middle and high noise: its prediction is a mean"
MOMENTS = {"low noise": (12, -0.7), "middle noise": (55, -0.7), "high noise": (85, -0.7)}


def draw() -> Picture:
    figure = new_figure(5.2)
    alpha_bar, mixture = alphas_cumprod(cosine_betas(100)), two_bumps()
    clean = density(mixture, GRID)
    rows = figure.subplots(2, 3, sharex=True)
    for (name, (t, x_t)), noisy_axes, clean_axes in zip(MOMENTS.items(), *rows, strict=True):
        view = denoiser_view(mixture, alpha_bar, t - 1, x_t)
        draw_noisy(noisy_axes, view, f"{name}, t = {t}")
        draw_clean(clean_axes, view, clean)
    for axes, words in zip(rows[:, 0], ("noisy: $q(x_t)$", "clean: what was $x_0$?"), strict=True):
        axes.set_ylabel(words, size=10.5, color=INK)
    handles, labels = rows[0, 2].get_legend_handles_labels()
    more_handles, more_labels = rows[1, 2].get_legend_handles_labels()
    figure.legend(
        handles + more_handles,
        labels + more_labels,
        loc="outside lower center",
        ncols=5,
        frameon=False,
        fontsize=9,
    )
    return Picture(figure, TITLE)


def draw_noisy(axes: Axes, view: DenoiserView, title: str) -> None:
    style_axes(axes, title=title)
    axes.fill_between(GRID, view.noisy / view.noisy.max(), color=GREY, alpha=0.35, linewidth=0)
    look = {"arrowstyle": "-|>", "color": PALETTE["green"], "linewidth": 2.5}
    axes.annotate("", (view.score_end, 0.35), (view.x_t, 0.35), arrowprops=look | {"shrinkA": 0})
    axes.plot([view.x_t, view.x_t], [0, 0.35], color=INK, linewidth=1)
    axes.plot(view.x_t, 0, "o", color=INK, markersize=8, clip_on=False, label="$x_t$")
    label = r"score times $1-\bar\alpha_t$"
    axes.plot([], [], color=PALETTE["green"], linewidth=2.5, label=label)
    axes.set(ylim=(0, 1.1), yticks=[])


def draw_clean(axes: Axes, view: DenoiserView, clean) -> None:
    style_axes(axes, xlabel="value")
    look = {"alpha": 0.35, "linewidth": 0, "label": "$q(x_t)$ above, $q(x_0)$ below"}
    axes.fill_between(GRID, clean / clean.max(), color=GREY, **look)
    posterior = view.posterior / view.posterior.max()
    axes.fill_between(GRID, posterior, color=PALETTE["blue"], alpha=0.25, linewidth=0)
    label = "$q(x_0|x_t)$: those that fit $x_t$"
    axes.plot(GRID, posterior, color=PALETTE["blue"], linewidth=1.8, label=label)
    best = {"color": PALETTE["vermilion"], "linewidth": 2}
    axes.plot([view.x0_mean, view.x0_mean], [0, 1.05], **best)
    label = "its mean: the best prediction"
    axes.plot(view.x0_mean, 0, "D", markersize=8, clip_on=False, label=label, **best)
    axes.set(ylim=(0, 1.1), yticks=[], xlim=(-2.6, 2.6))


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
