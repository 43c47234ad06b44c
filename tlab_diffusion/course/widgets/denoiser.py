r"""The denoiser explorer of lesson 02: the best possible prediction, and why it is blurred."""

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.diffusion import process, schedules
from tlab_diffusion.diffusion.mixture import GaussianMixture
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.denoiser_panels import DenoiserPanels, DenoiserView

LIMIT = 3.2  # the values shown reach from -LIMIT to LIMIT
GRID = np.linspace(-LIMIT, LIMIT, 641)


def denoiser_view(
    mixture: GaussianMixture, alphas_cumprod: Tensor, t: int, x_t: float, x: np.ndarray = GRID
) -> DenoiserView:
    r"""The exact densities and predictions for one noisy number.

    Args:
        mixture: the clean data, one-dimensional.
        alphas_cumprod: (T,).
        t: index of a timestep, from 0 to T - 1.
        x_t: the noisy number.
        x: (N,), where densities are evaluated.

    Raises:
        InputError: on a mixture of more dimensions, or a timestep out of range.
    """
    _check_one_dimensional(mixture)
    alpha_bar = alphas_cumprod.to(mixture.means)
    point, when = torch.full((1, 1), x_t).to(alpha_bar), torch.tensor([t])
    x0 = mixture.x0_mean(point, when, alpha_bar)
    eps = mixture.eps_mean(point, when, alpha_bar)
    score = mixture.score(point, when, alpha_bar)
    step, variance = process.posterior(x0, point, when, betas_of(alpha_bar))
    roots = torch.cat([alpha_bar[: t + 1].flip(0), torch.ones_like(alpha_bar[:1])])
    return DenoiserView(
        t=t + 1,
        x_t=x_t,
        noisy=density(mixture.noised(alpha_bar[t].item()), x),
        posterior=posterior_density(mixture, point, alpha_bar[t], x),
        x0_mean=x0.item(),
        eps_mean=eps.item(),
        score=score.item(),
        score_end=(point + (1 - alpha_bar[t]) * score).item(),
        step=normal(x, step.item(), variance.item()),
        step_mean=step.item(),
        path=(roots.sqrt() * x0[0] + (1 - roots).sqrt() * eps[0]).numpy(),
    )


def betas_of(alphas_cumprod: Tensor) -> Tensor:
    r"""The betas behind alpha_bar: `1 - alpha_bar_t / alpha_bar_{t-1}`."""
    before = torch.cat([torch.ones_like(alphas_cumprod[:1]), alphas_cumprod[:-1]])
    return 1 - alphas_cumprod / before


def density(mixture: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """The mixture's density at x (N,)."""
    return mixture.log_prob(torch.from_numpy(x)[:, None].to(mixture.means)).exp().numpy()


def posterior_density(
    mixture: GaussianMixture, x_t: Tensor, alpha_bar_t: Tensor, x: np.ndarray
) -> np.ndarray:
    r"""q(x0 | x_t) at x (N,), for one noisy number x_t (1, 1)."""
    posterior = mixture.clean_posterior(x_t, alpha_bar_t[None])
    components = zip(*(part.flatten().tolist() for part in posterior), strict=True)
    return sum(weight * normal(x, mean, variance) for weight, mean, variance in components)


def normal(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    """The normal density at x; one narrower than the grid is drawn as wide as the grid."""
    std = max(variance**0.5, x[1] - x[0])
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def two_bumps() -> GaussianMixture:
    """The clean data of lesson 02: near -1.2 with probability 0.4, else near 0.8."""
    numbers = [0.4, 0.6], [[-1.2], [0.8]], [[[0.03]], [[0.08]]]
    return GaussianMixture(*(torch.tensor(part, dtype=torch.float64) for part in numbers))


class DenoiserExplorer(LivePicture):
    """The exact denoiser of a one-dimensional mixture; see `denoiser_explorer`."""

    wide = ("t", "x_t")
    timed = ("t",)

    def __init__(self, mixture: GaussianMixture, alphas_cumprod: Tensor):
        _check_one_dimensional(mixture)
        self._mixture, self._alphas_cumprod = mixture, alphas_cumprod
        levels = [mixture, *(mixture.noised(level) for level in alphas_cumprod.tolist())]
        self._clean, *river = [density(level, GRID) for level in levels]
        self._river = np.stack(river, axis=1)
        title = "The exact denoiser of a mixture"
        super().__init__("denoiser-explorer", title, _controls(len(alphas_cumprod)))

    def new_figure(self) -> DenoiserPanels:
        return DenoiserPanels(GRID, self._clean, self._river)

    def draw(self, figure: DenoiserPanels, settings: dict, changed: set[str]) -> str:
        t, steps = settings["t"], len(self._alphas_cumprod)
        if not 1 <= t <= steps:
            raise InputError("t", got=str(t), expected=f"1 to {steps}")
        view = denoiser_view(self._mixture, self._alphas_cumprod, t - 1, settings["x_t"])
        figure.show(view)
        left = self._alphas_cumprod[t - 1].item()
        return (
            f"t = {t}, x_t = {view.x_t:.2f}: {100 * left:.3g} % of the clean variance is left."
            f"\nBest prediction of x_0: {view.x0_mean:.2f}; of the noise: {view.eps_mean:.2f}. "
            f"Score {view.score:.2f}. One step back: x_(t-1) = {view.step_mean:.2f} on average."
        )


def denoiser_explorer(
    mixture: GaussianMixture | None = None, alphas_cumprod: Tensor | None = None
) -> DenoiserExplorer:
    r"""A widget: choose a noisy number, and see what it may have been and what is best to say.

    Args:
        mixture: the clean data, one-dimensional; two bumps when left out.
        alphas_cumprod: (T,); a cosine schedule of 100 steps when left out, so that a single
            step is large enough to be seen.

    Raises:
        InputError: on a mixture of more dimensions, or alphas_cumprod that is no schedule.
    """
    if mixture is None:
        mixture = two_bumps()
    if alphas_cumprod is None:
        alphas_cumprod = schedules.alphas_cumprod(schedules.cosine_betas(100))
    return DenoiserExplorer(mixture, alphas_cumprod)


def _check_one_dimensional(mixture: GaussianMixture) -> None:
    dimensions = mixture.means.shape[1]
    if dimensions != 1:
        raise InputError("mixture", got=f"{dimensions} dimensions", expected="1")


def _controls(steps: int) -> dict[str, ipywidgets.ValueWidget]:
    return {
        "t": ipywidgets.IntSlider(steps // 2, 1, steps, description="timestep t"),
        "x_t": ipywidgets.FloatSlider(0.2, min=-3, max=3, step=0.05, description="noisy x_t"),
    }
