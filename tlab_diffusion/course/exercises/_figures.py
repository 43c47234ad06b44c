"""What a right answer looks like: the figures of the last hints.

Drawn with the reference, and on the schedule of lesson 01, so that a learner can put their own
curve beside it. Matplotlib is loaded when the first one is drawn.
"""

import torch

from tlab_diffusion.diffusion import process, samplers, schedules, unet
from tlab_diffusion.training import ema


def _curves(values: dict, title: str, ylabel: str, log: str = "", xlabel: str = "timestep t"):
    from tlab_diffusion import plots

    timesteps = range(len(next(iter(values.values()))))
    return plots.curves(timesteps, values, title=title, xlabel=xlabel, ylabel=ylabel, log=log)


def alphas_cumprod():
    values = {
        "linear": schedules.alphas_cumprod(schedules.linear_betas()),
        "scaled linear": schedules.alphas_cumprod(schedules.scaled_linear_betas()),
    }
    return _curves(values, "alpha_bar falls from nearly 1 to nearly 0", "alpha_bar")


def q_sample():
    alpha_bar = schedules.alphas_cumprod(schedules.linear_betas())
    values = {"of x0": alpha_bar.sqrt(), "of the noise": (1 - alpha_bar).sqrt()}
    return _curves(values, "The picture's factor falls as the noise's factor rises", "factor")


def snr():
    values = {"linear": schedules.snr(schedules.alphas_cumprod(schedules.linear_betas()))}
    return _curves(values, "The signal-to-noise ratio falls through 1", "SNR", log="y")


def cosine_betas():
    values = {"cosine": schedules.cosine_betas(1000), "linear": schedules.linear_betas()}
    return _curves(values, "Cosine betas stay small, and end at the cap", "beta", log="y")


def rescale_zero_terminal_snr():
    before = schedules.scaled_linear_betas()
    after = schedules.rescale_zero_terminal_snr(before)
    values = {
        "before": schedules.alphas_cumprod(before).sqrt(),
        "after": schedules.alphas_cumprod(after).clamp(min=0).sqrt(),
    }
    return _curves(values, "Rescaled, the curve starts as before and ends at 0", "sqrt(alpha_bar)")


def posterior():
    betas = schedules.linear_betas().double()
    ones, t = torch.ones(1000, dtype=torch.float64), torch.arange(1000)
    of_x0, _ = process.posterior(ones, 0 * ones, t, betas)
    of_x_t, _ = process.posterior(0 * ones, ones, t, betas)
    values = {"weight of x0": of_x0[:50], "weight of x_t": of_x_t[:50]}
    return _curves(values, "Near t = 0 the clean picture rules; soon x_t does", "weight")


def ddpm_step():
    betas = schedules.linear_betas().double()
    alpha_bar = schedules.alphas_cumprod(betas)
    values = {
        "of the predicted noise": betas / (1 - alpha_bar).sqrt() / (1 - betas).sqrt(),
        "of the noise, small sigma": samplers.ancestral_std(betas, "small"),
        "of the noise, large sigma": samplers.ancestral_std(betas, "large"),
    }
    return _curves(values, "A denoising step takes some noise away and adds some", "factor")


def ddim_step():
    bar = schedules.alphas_cumprod(schedules.linear_betas().double())
    now, before = bar[100:], bar[:-100]  # jumps over 100 timesteps
    variance = (1 - before) / (1 - now) * (1 - now / before)
    values = {
        "of x0": before.sqrt(),
        "of eps, eta = 0": (1 - before).sqrt(),
        "of eps, eta = 1": (1 - before - variance).sqrt(),
        "of the noise, eta = 1": variance.sqrt(),
    }
    return _curves(values, "DDIM in jumps of 100: with noise it follows eps less", "factor")


def timestep_embedding():
    waves = unet.timestep_embedding(torch.arange(1000), 8)
    values = {f"number {i}": waves[:, i] for i in range(4)}
    return _curves(values, "The cosines of an embedding of size 8, from fast to slow", "value")


def ema_update():
    weights = 1 + 0.5 * torch.randn(300, generator=torch.Generator().manual_seed(0))
    weights[:100] -= 1
    averages = [weights[:1]]
    for weight in weights[1:]:
        averages += ema.ema_update(averages[-1:], [weight[None]], 0.95)
    values = {"a weight": weights, "its average, decay 0.95": torch.cat(averages)}
    return _curves(values, "The average follows late, and calmly", "value", xlabel="training step")
