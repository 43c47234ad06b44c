"""Right answers in several styles, as learners write them: every one has to pass.

An exercise without at least three of them fails the tests; write them when you add one.
"""

import math

import torch
import torch.nn.functional as F


# --- start ----------------------------------------------------------------------------------
def pixels_in_one_line(pixels):
    return pixels.permute(2, 0, 1) / 127.5 - 1


def pixels_by_255(pixels):
    return torch.moveaxis(2 * (pixels.to(torch.float32) / 255) - 1, -1, 0).contiguous()


def pixels_channel_by_channel(pixels):
    channels = [(pixels[:, :, channel].double() - 127.5) / 127.5 for channel in range(3)]
    return torch.stack(channels)


def pixels_einsum(pixels):
    return torch.einsum("hwc->chw", pixels.float() / 255) * 2 - 1


# --- noising --------------------------------------------------------------------------------
def step_in_a_loop(x_prev, beta_t, noise):
    x_t = torch.empty_like(x_prev)
    for i in range(len(x_prev)):
        x_t[i] = math.sqrt(1 - beta_t[i]) * x_prev[i] + math.sqrt(beta_t[i]) * noise[i]
    return x_t


def step_with_powers(x_prev, beta_t, noise):
    while beta_t.ndim < x_prev.ndim:
        beta_t = beta_t[..., None]
    alpha_t = 1 - beta_t
    return alpha_t**0.5 * x_prev + (1 - alpha_t) ** 0.5 * noise


def step_einsum(x_prev, beta_t, noise):
    mixed = torch.einsum("b,b...->b...", (1 - beta_t).sqrt(), x_prev)
    return mixed + torch.einsum("b,b...->b...", beta_t.sqrt(), noise)


def step_for_pictures(x_prev, beta_t, noise):
    beta_t = beta_t[:, None, None, None]
    return torch.sqrt(1 - beta_t) * x_prev + torch.sqrt(beta_t) * noise


def step_in_single_precision(x_prev, beta_t, noise):
    return step_for_pictures(x_prev.float(), beta_t.float(), noise.float())


def product_in_a_loop(betas):
    values, product = [], 1.0
    for beta in betas:
        product = product * (1 - beta)
        values.append(product)
    return torch.stack(values)


def product_by_logarithms(betas):
    return torch.exp(torch.cumsum(torch.log1p(-betas), dim=0))


def product_of_slices(betas):
    alphas = 1.0 - betas
    return torch.tensor([alphas[: t + 1].prod().item() for t in range(len(betas))])


def jump_in_a_loop(x0, t, noise, alphas_cumprod):
    samples = []
    for x, step, eps in zip(x0, t.tolist(), noise, strict=True):
        bar = float(alphas_cumprod[step])
        samples.append(bar**0.5 * x + (1 - bar) ** 0.5 * eps)
    return torch.stack(samples)


def jump_with_gather(x0, t, noise, alphas_cumprod):
    bar = torch.gather(alphas_cumprod, 0, t).view(len(t), *([1] * (x0.dim() - 1)))
    return torch.sqrt(bar) * x0 + torch.sqrt(1 - bar) * noise


def jump_flat(x0, t, noise, alphas_cumprod):
    bar = alphas_cumprod[t].unsqueeze(1)
    flat = bar.sqrt() * x0.flatten(1) + (1 - bar).sqrt() * noise.flatten(1)
    return flat.view_as(x0)


def jump_for_pictures(x0, t, noise, alphas_cumprod):
    bar = alphas_cumprod[t].view(-1, 1, 1, 1)
    return bar.sqrt() * x0 + (1 - bar).sqrt() * noise


def jump_that_insists_on_pictures(x0, t, noise, alphas_cumprod):
    batch, _, _, _ = x0.shape
    signal = alphas_cumprod.sqrt()[t].reshape(batch, 1, 1, 1)
    return signal * x0 + (1 - signal**2).sqrt() * noise


def snr_by_logit(alphas_cumprod):
    return torch.exp(torch.logit(alphas_cumprod))


def snr_of_factors(alphas_cumprod):
    return (alphas_cumprod.sqrt() / (1 - alphas_cumprod).sqrt()) ** 2


def snr_in_a_list(alphas_cumprod):
    return torch.tensor([a / (1 - a) for a in alphas_cumprod.tolist()])


def cosine_in_a_loop(num_train_timesteps):
    def alpha_bar(step):
        angle = (step / num_train_timesteps + 0.008) / 1.008 * math.pi / 2
        return math.cos(angle) ** 2

    steps = range(num_train_timesteps)
    return torch.tensor([min(1 - alpha_bar(t + 1) / alpha_bar(t), 0.999) for t in steps])


def cosine_divided_by_its_start(num_train_timesteps):
    x = torch.linspace(0, num_train_timesteps, num_train_timesteps + 1)
    curve = torch.cos(((x / num_train_timesteps) + 0.008) / (1 + 0.008) * torch.pi * 0.5) ** 2
    curve = curve / curve[0]
    return torch.clip(1 - curve[1:] / curve[:-1], 0, 0.999)


def cosine_with_minimum(num_train_timesteps):
    u = torch.arange(num_train_timesteps + 1).double() / num_train_timesteps
    curve = (torch.cos((u + 0.008) / 1.008 * math.pi) + 1) / 2
    betas = (curve[:-1] - curve[1:]) / curve[:-1]
    return torch.minimum(betas, torch.tensor(0.999))


def terminal_as_published(betas):
    """With a copy of the roots, and the roots' ratios squared."""
    roots = (1 - betas).cumprod(0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = roots - last
    roots = roots * (first / (first - last))
    bars = roots**2
    alphas = F.pad(bars[1:] / bars[:-1], (1, 0), value=float(bars[0]))
    return 1 - alphas


def terminal_in_a_loop(betas):
    bars, product = [], 1.0
    for beta in betas.tolist():
        product *= 1 - beta
        bars.append(math.sqrt(product))
    slope = bars[0] / (bars[0] - bars[-1])
    moved = [((root - bars[-1]) * slope) ** 2 for root in bars]
    before = [1.0, *moved[:-1]]
    return torch.tensor([1 - now / then for now, then in zip(moved, before, strict=True)])


def terminal_by_interpolation(betas):
    roots = torch.cumprod(1 - betas, 0).sqrt()
    roots = roots[0] * (roots[-1] - roots) / (roots[-1] - roots[0])
    before = torch.cat([torch.ones(1, dtype=betas.dtype), roots[:-1]])
    return 1 - (roots / before).square()


def noising_bugs_in_branches(snippet):
    if snippet == 1:
        return 4
    return 3


def noising_bugs_in_a_list(snippet):
    return [4, 3, 3][snippet - 1]


def noising_bugs_as_tensors(snippet):
    return torch.tensor([4, 3, 3])[snippet - 1]


# --- loss -----------------------------------------------------------------------------------
def posterior_in_a_loop(x0, x_t, t, betas):
    bars = torch.cumprod(1 - betas, 0)
    means, variances = [], []
    for i, step in enumerate(t.tolist()):
        beta, bar = betas[step], bars[step]
        before = bars[step - 1] if step > 0 else torch.tensor(1.0)
        first = before.sqrt() * beta / (1 - bar)
        second = (1 - beta).sqrt() * (1 - before) / (1 - bar)
        means.append(first * x0[i] + second * x_t[i])
        variances.append((1 - before) / (1 - bar) * beta)
    return torch.stack(means), torch.stack(variances)


def posterior_with_tables(x0, x_t, t, betas):
    alphas = 1 - betas
    bars = alphas.cumprod(0)
    before = F.pad(bars[:-1], (1, 0), value=1.0)
    table = betas * (1 - before) / (1 - bars)
    first = betas * before.sqrt() / (1 - bars)
    second = (1 - before) * alphas.sqrt() / (1 - bars)
    pick = lambda values: values[t].view(-1, 1, 1, 1)  # noqa: E731
    return pick(first) * x0 + pick(second) * x_t, table[t]


def posterior_by_precisions(x0, x_t, t, betas):
    """Two Gaussians multiplied: precisions add up. At t = 0 the prior is a point."""
    bars = torch.cat([torch.ones(1, dtype=betas.dtype), torch.cumprod(1 - betas, 0)])
    before, beta = bars[t], betas[t]
    prior = 1 - before
    variance = prior * beta / (beta + (1 - beta) * prior)
    gain = prior * (1 - beta).sqrt() / (beta + (1 - beta) * prior)
    shape = [-1] + [1] * (x0.ndim - 1)
    guess = before.sqrt().reshape(shape) * x0
    surprise = x_t - (1 - beta).sqrt().reshape(shape) * guess
    return [guess + gain.reshape(shape) * surprise, variance]


def back_in_a_loop(x_t, t, eps, alphas_cumprod):
    bars = alphas_cumprod[t].tolist()
    return torch.stack(
        [(x - (1 - a) ** 0.5 * e) / a**0.5 for x, e, a in zip(x_t, eps, bars, strict=True)]
    )


def back_with_one_over(x_t, t, eps, alphas_cumprod):
    inverse = (1 / alphas_cumprod)[t].view(-1, 1, 1, 1)
    return inverse.sqrt() * x_t - (inverse - 1).sqrt() * eps


def back_einsum(x_t, t, eps, alphas_cumprod):
    bar = alphas_cumprod.index_select(0, t)
    clean = x_t - torch.einsum("b,b...->b...", (1 - bar).sqrt(), eps)
    return torch.einsum("b...,b->b...", clean, bar.rsqrt())


def loss_with_mse(model, x0, t, noise, alphas_cumprod):
    x_t = jump_with_gather(x0, t, noise, alphas_cumprod)
    return F.mse_loss(model(x_t, t), noise)


def loss_by_norms(model, x0, t, noise, alphas_cumprod):
    x_t = jump_for_pictures(x0, t, noise, alphas_cumprod)
    return torch.linalg.vector_norm(noise - model(x_t, t)) ** 2 / noise.numel()


def loss_per_sample_first(model, x0, t, noise, alphas_cumprod):
    predicted = model(jump_flat(x0, t, noise, alphas_cumprod), t)
    return (predicted - noise).pow(2).flatten(1).mean(1).mean()


def loss_as_a_float(model, x0, t, noise, alphas_cumprod):
    return loss_with_mse(model, x0, t, noise, alphas_cumprod).item()


def loss_bugs_in_branches(snippet):
    if snippet == 2:
        return 3
    return 6


def loss_bugs_in_a_list(snippet):
    return [6, 3, 6, 6][snippet - 1]


def loss_bugs_as_tensors(snippet):
    return torch.tensor([6, 3, 6, 6])[snippet - 1]


RIGHT = {
    "start.to_model_range": (
        pixels_in_one_line,
        pixels_by_255,
        pixels_channel_by_channel,
        pixels_einsum,
    ),
    "noising.q_step": (
        step_in_a_loop,
        step_with_powers,
        step_einsum,
        step_for_pictures,
        step_in_single_precision,
    ),
    "noising.alphas_cumprod": (product_in_a_loop, product_by_logarithms, product_of_slices),
    "noising.q_sample": (
        jump_in_a_loop,
        jump_with_gather,
        jump_flat,
        jump_for_pictures,
        jump_that_insists_on_pictures,
    ),
    "noising.snr": (snr_by_logit, snr_of_factors, snr_in_a_list),
    "noising.cosine_betas": (cosine_in_a_loop, cosine_divided_by_its_start, cosine_with_minimum),
    "noising.rescale_zero_terminal_snr": (
        terminal_as_published,
        terminal_in_a_loop,
        terminal_by_interpolation,
    ),
    "noising.find_the_bug": (
        noising_bugs_in_branches,
        noising_bugs_in_a_list,
        noising_bugs_as_tensors,
    ),
    "loss.posterior": (posterior_in_a_loop, posterior_with_tables, posterior_by_precisions),
    "loss.x0_from_eps": (back_in_a_loop, back_with_one_over, back_einsum),
    "loss.noise_loss": (loss_with_mse, loss_by_norms, loss_per_sample_first, loss_as_a_float),
    "loss.find_the_bug": (loss_bugs_in_branches, loss_bugs_in_a_list, loss_bugs_as_tensors),
}
