"""Right answers in several styles, as learners write them: every one has to pass.

An exercise without at least three of them fails the tests; write them when you add one.
"""

import math
import statistics

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


def loss_bugs_in_branches(snippet):
    if snippet == 2:
        return 3
    return 6


def loss_bugs_in_a_list(snippet):
    return [6, 3, 6, 6][snippet - 1]


def loss_bugs_as_tensors(snippet):
    return torch.tensor([6, 3, 6, 6])[snippet - 1]


# --- latent ---------------------------------------------------------------------------------
def psnr_in_a_loop(a, b):
    values = []
    for one, other in zip(a, b, strict=True):
        values.append(10 * math.log10(4 / F.mse_loss(one, other).item()))
    return torch.tensor(values)


def psnr_by_amplitudes(a, b):
    rmse = (a - b).pow(2).mean(dim=(1, 2, 3)).sqrt()
    return 20 * (math.log10(2) - torch.log10(rmse))


def psnr_of_bytes(a, b):
    a, b = (a + 1) * 127.5, (b + 1) * 127.5
    mse = torch.einsum("bchw,bchw->b", a - b, a - b) / a[0].numel()
    return 10 * torch.log(255**2 / mse) / math.log(10)


def latents_by_distribution(mean, logvar, noise, scaling_factor):
    std = torch.distributions.Normal(mean, logvar.exp().sqrt()).scale
    return (mean + std * noise) * scaling_factor


def latents_with_powers(mean, logvar, noise, scaling_factor):
    return mean * scaling_factor + math.e ** (0.5 * logvar) * (noise * scaling_factor)


def latents_with_addcmul(mean, logvar, noise, scaling_factor):
    return torch.addcmul(mean, torch.exp(0.5 * logvar), noise).mul(scaling_factor)


def loop_with_both_halves(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    """One call a step, with a doubled batch."""
    x, both = x_T, torch.cat([no_text, text])
    for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t_batch = torch.full((2 * len(x),), t, dtype=torch.long)
        uncond, cond = model(torch.cat([x, x]), t_batch, both).chunk(2)
        eps = uncond + guidance_scale * (cond - uncond)
        now = alphas_cumprod[t]
        before = alphas_cumprod[t_prev] if t_prev >= 0 else torch.tensor(1.0)
        x = before.sqrt() * (x - (1 - now).sqrt() * eps) / now.sqrt() + (1 - before).sqrt() * eps
    return x


def loop_in_sigmas(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    """In the units of x0 a step is a straight line: x / sqrt(alpha_bar) moves by eps d sigma."""
    levels = [math.sqrt((1 - a) / a) for a in alphas_cumprod[timesteps].tolist()] + [0.0]
    y = x_T / alphas_cumprod[timesteps[0]].sqrt()
    for i, t in enumerate(timesteps):
        x = y * alphas_cumprod[t].sqrt()
        t_batch = torch.tensor([t] * len(x))
        cond, uncond = model(x, t_batch, text), model(x, t_batch, no_text)
        eps = (1 - guidance_scale) * uncond + guidance_scale * cond
        y = y + (levels[i + 1] - levels[i]) * eps
    return y


def loop_with_recursion(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    t, *rest = timesteps
    t_batch = torch.full(x_T.shape[:1], t)
    answers = [model(x_T, t_batch, words) for words in (no_text, text)]
    eps = torch.lerp(*answers, guidance_scale)
    bar, bar_prev = float(alphas_cumprod[t]), float(alphas_cumprod[rest[0]]) if rest else 1.0
    x0 = (x_T - (1 - bar) ** 0.5 * eps) / bar**0.5
    x = bar_prev**0.5 * x0 + (1 - bar_prev) ** 0.5 * eps
    if not rest:
        return x
    return loop_with_recursion(model, x, text, no_text, rest, alphas_cumprod, guidance_scale)


def start_with_a_batch_of_t(x0, noise, strength, timesteps, alphas_cumprod):
    start = len(timesteps) - int(strength * len(timesteps))
    t = torch.full((len(x0),), timesteps[start])
    return jump_for_pictures(x0, t, noise, alphas_cumprod), start


def start_from_what_is_left(x0, noise, strength, timesteps, alphas_cumprod):
    left = timesteps[-int(len(timesteps) * strength) :]
    bar = alphas_cumprod[left[0]].item()
    return bar**0.5 * x0 + (1 - bar) ** 0.5 * noise, timesteps.index(left[0])


def start_as_tensors(x0, noise, strength, timesteps, alphas_cumprod):
    start = torch.tensor(len(timesteps)) - int(len(timesteps) * strength)
    bar = alphas_cumprod[torch.tensor(timesteps)][start]
    return [torch.sqrt(bar) * x0 + torch.sqrt(1 - bar) * noise, start]


def arc_in_a_loop(a, b, weight):
    walked = []
    for one, other in zip(a, b, strict=True):
        cosine = F.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()
        angle = math.acos(cosine)
        first, second = math.sin((1 - weight) * angle), math.sin(weight * angle)
        walked.append((first * one + second * other) / math.sin(angle))
    return torch.stack(walked)


def arc_with_a_guard(a, b, weight):
    flat_a, flat_b = a.reshape(len(a), -1), b.reshape(len(b), -1)
    angle = torch.acos(F.cosine_similarity(flat_a, flat_b)).clamp(min=1e-6)[:, None]
    first = torch.sin((1 - weight) * angle) / torch.sin(angle)
    second = torch.sin(weight * angle) / torch.sin(angle)
    return (first * flat_a + second * flat_b).view_as(a)


def arc_by_right_angles(a, b, weight):
    """Turn a towards the part of b that is at right angles to it."""
    dot = lambda x, y: torch.einsum("b...,b...->b", x, y).view(-1, 1, 1, 1)  # noqa: E731
    unit_a, unit_b = a / dot(a, a).sqrt(), b / dot(b, b).sqrt()
    cosine = dot(unit_a, unit_b)
    angle = torch.atan2((1 - cosine**2).sqrt(), cosine)
    weights = torch.sin((1 - weight) * angle), torch.sin(weight * angle)
    return (weights[0] * a + weights[1] * b) / (1 - cosine**2).sqrt()


# --- guidance -------------------------------------------------------------------------------
def pairs_in_a_loop(image_features, text_features, temperature):
    batch, total = len(image_features), 0.0
    for i in range(batch):
        row = F.cosine_similarity(image_features[i][None], text_features) / temperature
        column = F.cosine_similarity(image_features, text_features[i][None]) / temperature
        total = total - row.log_softmax(0)[i] - column.log_softmax(0)[i]
    return total / (2 * batch)


def pairs_by_logsumexp(image_features, text_features, temperature):
    images = image_features / image_features.norm(dim=1, keepdim=True)
    texts = text_features / text_features.norm(dim=-1, keepdim=True)
    table = torch.einsum("id,jd->ij", images, texts) / temperature
    return 0.5 * (table.logsumexp(0) + table.logsumexp(1) - 2 * table.diagonal()).mean()


def pairs_with_one_hot(image_features, text_features, temperature):
    table = F.normalize(image_features) @ F.normalize(text_features).t() * (1 / temperature)
    right = torch.eye(len(table), dtype=table.dtype)
    both = F.cross_entropy(table, right) + F.cross_entropy(table.t(), right)
    return both.mul(0.5)


def attention_of_torch(query, key, value):
    return F.scaled_dot_product_attention(query, key, value)


def attention_einsum(query, key, value):
    scores = torch.einsum("bnd,bmd->bnm", query, key) / math.sqrt(key.shape[-1])
    weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.einsum("bnm,bme->bne", weights, value)


def attention_place_by_place(query, key, value):
    answers = torch.zeros(*query.shape[:2], value.shape[2], dtype=value.dtype)
    for b in range(len(query)):
        for n in range(query.shape[1]):
            weights = torch.softmax(key[b] @ query[b, n] * query.shape[2] ** -0.5, dim=0)
            answers[b, n] = weights @ value[b]
    return answers


def dropped_in_a_loop(captions, p, generator):
    result = []
    for text in captions:
        if torch.rand((), generator=generator).item() < p:
            result.append("")
        else:
            result.append(text)
    return result


def dropped_by_bernoulli(captions, p, generator):
    keep = torch.bernoulli(torch.full((len(captions),), 1 - p), generator=generator)
    return [text * int(kept) for text, kept in zip(captions, keep, strict=True)]


def dropped_in_a_copy(captions, p, generator):
    result = list(captions)
    for i in torch.nonzero(torch.rand(len(captions), generator=generator) > 1 - p).flatten():
        result[i] = ""
    return result


def dropped_as_a_tuple(captions, p, generator):
    draws = torch.empty(len(captions)).uniform_(generator=generator).tolist()
    return tuple(text if draw >= p else "" for text, draw in zip(captions, draws, strict=True))


def dropped_one_by_one(captions, p, generator):
    return [("", text)[torch.rand(1, generator=generator).item() >= p] for text in captions]


def dropped_by_a_mask(captions, p, generator):
    kept = (torch.rand((len(captions), 1), generator=generator) >= p).squeeze(1).tolist()
    return [text if keep else "" for text, keep in zip(captions, kept, strict=True)]


def dropped_in_float64(captions, p, generator):
    draws = torch.rand(len(captions), generator=generator, dtype=torch.float64)
    return [text * bool(draw >= p) for text, draw in zip(captions, draws, strict=True)]


def guided_with_lerp(eps_uncond, eps_cond, guidance_scale):
    return torch.lerp(eps_uncond, eps_cond, guidance_scale)


def guided_as_two_weights(eps_uncond, eps_cond, guidance_scale):
    return guidance_scale * eps_cond + (1 - guidance_scale) * eps_uncond


def guided_with_the_papers_w(eps_uncond, eps_cond, guidance_scale):
    w = guidance_scale - 1
    return (1 + w) * eps_cond - w * eps_uncond


def guidance_bugs_in_branches(snippet):
    if snippet == 1:
        return 5
    if snippet == 2:
        return 4
    return 6 if snippet == 3 else 3


def guidance_bugs_in_a_list(snippet):
    return [5, 4, 6, 3][snippet - 1]


def guidance_bugs_as_tensors(snippet):
    return torch.tensor([5, 4, 6, 3])[snippet - 1]


# --- sampling -------------------------------------------------------------------------------
def ancestral_in_a_loop(x_t, t, eps_pred, betas, step_std, noise):
    before, bars = [], 1.0
    for beta in betas.tolist():
        bars *= 1 - beta
        before.append(bars)
    out = torch.zeros_like(x_t)
    for i, when in enumerate(t.tolist()):
        beta = betas[when].item()
        mean = (x_t[i] - beta / math.sqrt(1 - before[when]) * eps_pred[i]) / math.sqrt(1 - beta)
        out[i] = mean if when == 0 else mean + step_std[when] * noise[i]
    return out


def ancestral_with_where(x_t, t, eps_pred, betas, step_std, noise):
    alphas = 1.0 - betas
    bars = alphas.cumprod(0)
    pick = lambda values: values.gather(0, t).view(-1, *([1] * (x_t.dim() - 1)))  # noqa: E731
    mean = pick(alphas.rsqrt()) * (x_t - pick((1 - alphas) / torch.sqrt(1 - bars)) * eps_pred)
    return torch.where(pick(torch.arange(len(betas))) > 0, mean + pick(step_std) * noise, mean)


def ancestral_by_posterior(x_t, t, eps_pred, betas, step_std, noise):
    """Through x0 and the posterior's mean."""
    alphas_cumprod = torch.cumprod(1 - betas, dim=0)
    x0 = back_with_one_over(x_t, t, eps_pred, alphas_cumprod)
    mean, _ = posterior_with_tables(x0, x_t, t, betas)
    step_std = step_std.clone()
    step_std[0] = 0
    return mean + torch.einsum("b,b...->b...", step_std[t], noise)


def ancestral_in_single_precision(x_t, t, eps_pred, betas, step_std, noise):
    tensors = (each.float() for each in (eps_pred, betas, step_std, noise))
    return ancestral_with_where(x_t.float(), t, *tensors)


def jump_in_a_loop_over_samples(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    moved = []
    for x, now, before, eps, z in zip(x_t, t, t_prev, eps_pred, noise, strict=True):
        bar = float(alphas_cumprod[now])
        prev = float(alphas_cumprod[before]) if before >= 0 else 1.0
        sigma = eta * math.sqrt((1 - prev) / (1 - bar)) * math.sqrt(1 - bar / prev)
        x0 = (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
        rest = math.sqrt(max(1 - prev - sigma**2, 0))
        moved.append(math.sqrt(prev) * x0 + rest * eps + sigma * z)
    return torch.stack(moved)


def jump_with_where(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    shape = (x_t.shape[0],) + (1,) * (x_t.ndim - 1)
    bar = alphas_cumprod[t].reshape(shape)
    one = torch.ones((), dtype=alphas_cumprod.dtype)
    prev = torch.where(t_prev < 0, one, alphas_cumprod[t_prev.clamp(min=0)]).reshape(shape)
    sigma = eta * ((1 - prev) / (1 - bar) * (1 - bar / prev)) ** 0.5
    pred_x0 = (x_t - (1 - bar) ** 0.5 * eps_pred) / bar**0.5
    pred_dir = torch.sqrt(torch.relu(1 - prev - sigma**2)) * eps_pred
    return torch.sqrt(prev) * pred_x0 + pred_dir + sigma * noise


def jump_shifted_by_one(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    """The 1 goes in front, and every index moves up."""
    bars = F.pad(alphas_cumprod, (1, 0), value=1.0)
    bar, prev = (bars[when + 1].view(-1, *[1] * (x_t.ndim - 1)) for when in (t, t_prev))
    step = bar / prev  # alpha of this one jump
    variance = eta**2 * (1 - step) * (1 - prev) / (1 - bar)
    slide = (1 - prev - variance).clamp_min(0).sqrt() - ((1 - bar) / step).sqrt()
    return x_t / step.sqrt() + slide * eps_pred + variance.sqrt() * noise


def jump_for_pictures_only(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    column = lambda values: values[:, None, None, None]  # noqa: E731
    bar = column(alphas_cumprod[t])
    prev = column(torch.tensor([1.0 if i < 0 else alphas_cumprod[i].item() for i in t_prev]))
    sigma = eta * torch.sqrt((1 - prev) * (1 - bar / prev) / (1 - bar))
    x0 = (x_t - torch.sqrt(1 - bar) * eps_pred) / torch.sqrt(bar)
    return prev.sqrt() * x0 + (1 - prev - sigma**2).clamp(0).sqrt() * eps_pred + sigma * noise


def sampling_bugs_in_branches(snippet):
    if snippet in (1, 2):
        return 3
    return 7


def sampling_bugs_in_a_list(snippet):
    return [3, 3, 7, 7][snippet - 1]


def sampling_bugs_as_tensors(snippet):
    return torch.tensor([3, 3, 7, 7])[snippet - 1]


# --- training -------------------------------------------------------------------------------
def times_in_a_loop(t, size):
    half = size // 2
    rows = []
    for time in t.tolist():
        angles = [time / 10000 ** (i / half) for i in range(half)]
        rows.append([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    return torch.tensor(rows)


def times_by_outer_product(t, size):
    rates = 10000.0 ** (-2 * torch.arange(size // 2) / size)
    angles = torch.outer(t.to(rates), rates)
    return torch.hstack([torch.cos(angles), torch.sin(angles)])


def times_as_complex_numbers(t, size):
    rates = torch.logspace(0, -4, size // 2 + 1, dtype=torch.float64)[:-1]
    turned = torch.polar(torch.ones_like(rates), t[:, None].double() * rates)
    return torch.cat([turned.real, turned.imag], dim=-1)


def average_in_a_loop(ema, params, decay):
    averages = []
    for i in range(len(ema)):
        averages.append(ema[i] + (1 - decay) * (params[i].detach() - ema[i]))
    return averages


def average_with_lerp(ema, params, decay):
    return [old.lerp(new.detach(), 1 - decay) for old, new in zip(ema, params, strict=True)]


@torch.no_grad()
def average_all_at_once(ema, params, decay):
    kept = torch._foreach_mul(ema, decay)
    torch._foreach_add_(kept, params, alpha=1 - decay)
    return tuple(kept)


def average_of_copies(ema, params, decay):
    ema = [old.clone() for old in ema]
    for old, new in zip(ema, params, strict=True):
        old.mul_(decay).add_(new.detach(), alpha=1 - decay)
    return ema


def training_bugs_in_branches(snippet):
    if snippet == 2:
        return 2
    return 7 if snippet == 4 else 4


def training_bugs_in_a_list(snippet):
    return [4, 2, 4, 7][snippet - 1]


def training_bugs_as_tensors(snippet):
    return torch.tensor([4, 2, 4, 7])[snippet - 1]


# --- dreambooth -----------------------------------------------------------------------------
def prompts_as_in_the_paper(identifier, class_noun):
    return f"a {identifier} {class_noun}", f"a {class_noun}"


def prompts_of_photos(identifier, class_noun):
    template = "A photo of a {}."
    return template.format(identifier + " " + class_noun), template.format(class_noun)


def prompts_joined(identifier, class_noun):
    article = "an" if class_noun[0] in "aeiou" else "a"
    return [" ".join(["the", identifier, class_noun]), " ".join([article, class_noun])]


def prompts_by_replacement(identifier, class_noun):
    class_prompt = "a cartoon of " + class_noun
    return class_prompt.replace(class_noun, "%s %s" % (identifier, class_noun)), class_prompt  # noqa: UP031


def identifier_by_filter(candidates, tokenize, known_words):
    whole = filter(lambda word: len(tokenize(word)) < 2, candidates)
    return next(word for word in whole if word not in known_words)


def identifier_by_sets(candidates, tokenize, known_words):
    unknown = set(candidates) - set(known_words)
    return min(unknown, key=lambda word: len(tokenize(word)))


def identifier_from_the_end(candidates, tokenize, known_words):
    good = [w for w in reversed(candidates) if tokenize(w) == [w + "</w>"]]
    return [w for w in good if known_words.count(w) == 0][0]


def identifier_in_a_loop(candidates, tokenize, known_words):
    for word in candidates:
        if word in known_words or len(tokenize(word)) > 1:
            continue
        return word
    return None


def identifier_by_elimination(candidates, tokenize, known_words):
    left = list(candidates)
    for word in candidates:
        if len(tokenize(word)) != 1 or any(word == known for known in known_words):
            left.remove(word)
    (word,) = left
    return word


def identifier_by_sorting(candidates, tokenize, known_words):
    return sorted(candidates, key=lambda w: (w in known_words) + len(tokenize(w)))[0]


def identifier_by_pieces(candidates, tokenize, known_words):
    known = dict.fromkeys(known_words)
    pieces = {word: len(tokenize(word)) for word in candidates if word not in known}
    return [word for word, number in pieces.items() if number == 1].pop()


def identifier_by_recursion(candidates, tokenize, known_words):
    first, *rest = candidates
    if first not in known_words and len(tokenize(first)) == 1:
        return first
    return identifier_by_recursion(rest, tokenize, known_words)


def dreambooth_with_mse(pred, target, prior_weight):
    (pred, class_pred), (target, class_target) = pred.chunk(2), target.chunk(2)
    return F.mse_loss(pred, target) + prior_weight * F.mse_loss(class_pred, class_target)


def dreambooth_by_weights(pred, target, prior_weight):
    half = len(pred) // 2
    weights = torch.tensor([1.0] * half + [prior_weight] * half)
    return (weights * (pred - target).pow(2).flatten(1).mean(dim=1)).sum() / half


def dreambooth_by_slices(pred, target, prior_weight):
    half = pred.shape[0] // 2
    error = (target - pred).square()
    return error[:half].mean() + error[half:].mean() * prior_weight


def dreambooth_in_a_loop(pred, target, prior_weight):
    half, total = len(pred) // 2, 0.0
    for i in range(2 * half):
        weight = 1 if i < half else prior_weight
        total = total + weight * F.mse_loss(pred[i], target[i]) / half
    return total


def dreambooth_as_two_batches(pred, target, prior_weight):
    errors = (pred - target).unflatten(0, (2, -1)).pow(2).flatten(1).mean(dim=1)
    return errors @ torch.tensor([1.0, prior_weight], dtype=errors.dtype)


def dreambooth_bugs_in_branches(snippet):
    return 3 if snippet == 4 else 4


def dreambooth_bugs_in_a_list(snippet):
    return [4, 4, 4, 3][snippet - 1]


def dreambooth_bugs_as_tensors(snippet):
    return torch.tensor([4, 4, 4, 3])[snippet - 1]


# --- metrics --------------------------------------------------------------------------------
def alike_in_a_loop(generated, real):
    total = 0.0
    for one in generated:
        for other in real:
            total += F.cosine_similarity(one, other, dim=0).item()
    return total / (len(generated) * len(real))


def alike_by_broadcasting(generated, real):
    return F.cosine_similarity(generated[:, None], real[None], dim=-1).mean()


def alike_by_norms(generated, real):
    products = torch.einsum("nd,md->nm", generated, real)
    return torch.mean(products / (generated.norm(dim=1)[:, None] * real.norm(dim=1)))


def alike_by_mean_directions(generated, real):
    """The mean of all products of unit rows is the product of their means."""
    return F.normalize(generated).mean(0) @ F.normalize(real).mean(0)


def obeys_by_cosine_similarity(image_features, text_features):
    return F.cosine_similarity(image_features, text_features).mean()


def obeys_by_the_diagonal(image_features, text_features):
    return (F.normalize(image_features) @ F.normalize(text_features).T).diagonal().mean()


def obeys_in_a_loop(image_features, text_features):
    cosines = [
        torch.dot(i, t) / (torch.linalg.vector_norm(i) * torch.linalg.vector_norm(t))
        for i, t in zip(image_features, text_features, strict=True)
    ]
    return sum(cosines) / len(cosines)


def differs_in_a_loop(features):
    distances = []
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            distances.append(1 - F.cosine_similarity(features[i], features[j], dim=0))
    return torch.stack(distances).mean()


def differs_without_the_trace(features):
    unit = features / features.norm(dim=1, keepdim=True)
    n, cosine = len(unit), unit @ unit.t()
    return 1 - (cosine.sum() - n) / (n * n - n)


def differs_by_euclid(features):
    """Of unit vectors, the squared distance is 2 - 2 cosine."""
    return torch.pdist(F.normalize(features)).pow(2).mean() / 2


def differs_above_the_diagonal(features):
    distances = 1 - F.cosine_similarity(features[:, None], features[None], dim=-1)
    return distances[torch.triu_indices(*distances.shape, offset=1).unbind()].mean()


def metrics_bugs_in_branches(snippet):
    if snippet in (1, 2):
        return 5
    return 4


def metrics_bugs_in_a_list(snippet):
    return [5, 5, 4, 4][snippet - 1]


def metrics_bugs_as_tensors(snippet):
    return torch.tensor([5, 5, 4, 4])[snippet - 1]


# --- hands on -------------------------------------------------------------------------------
def balance_in_a_loop(qualities):
    return torch.stack([len(row) / sum(1 / q for q in row) for row in qualities])


def balance_with_powers(qualities):
    return qualities.pow(-1).mean(dim=-1).pow(-1)


def balance_of_python(qualities):
    return torch.tensor([statistics.harmonic_mean(row) for row in qualities.tolist()])


def balance_by_reciprocal(qualities):
    return torch.reciprocal(torch.mean(torch.reciprocal(qualities), 1))


def bytes_in_one_line(trained, frozen):
    return 4 * (4 * trained + frozen)


def bytes_of_everything_first(trained, frozen):
    everything = 4 * (trained + frozen)
    gradient = 4 * trained
    return everything + gradient + 2 * gradient


def bytes_by_dtype(trained, frozen):
    size = torch.finfo(torch.float32).bits // 8
    copies = {"weight": 1, "gradient": 1, "mean": 1, "mean of squares": 1}
    return size * (sum(copies.values()) * trained + frozen)


def bytes_in_words(trained, frozen):
    copies = ["weight", "gradient", "first moment", "second moment"]
    return trained * len(copies) * 4 + frozen * len(copies[:1]) * 4


def bytes_by_tensors(trained, frozen):
    size = torch.empty(0).element_size()
    return sum(size * count for count in (trained, trained, trained, trained, frozen))


def bytes_in_bits(trained, frozen):
    return (32 * 4 * trained + 32 * frozen) // 8


def bytes_by_shifts(trained, frozen):
    return (trained << 4) + (frozen << 2)


# --- grid -----------------------------------------------------------------------------------
def spaced_by_logspace(low, high, num):
    return torch.logspace(math.log10(low), math.log10(high), num)


def spaced_by_factors(low, high, num):
    factor = (high / low) ** (1 / (num - 1))
    values = [low]
    while len(values) < num:
        values.append(values[-1] * factor)
    return torch.tensor(values)


def spaced_by_weights(low, high, num):
    w = torch.arange(num) / (num - 1)
    return low ** (1 - w) * high**w


def adam_of_torch(gradient, m, v, step, learning_rate):
    weight = torch.zeros_like(gradient, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=learning_rate)
    state = {"step": torch.tensor(step - 1.0), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    optimizer.state[weight] = state
    weight.grad = gradient.clone()
    optimizer.step()
    return weight.detach(), state["exp_avg"], state["exp_avg_sq"]


def adam_with_lerp(gradient, m, v, step, learning_rate):
    m = torch.lerp(m, gradient, 0.1)
    v = torch.lerp(v, gradient.square(), 0.001)
    scale = math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return -learning_rate * scale * m / (v.sqrt() + 1e-8 * math.sqrt(1 - 0.999**step)), m, v


def adam_as_a_list(gradient, m, v, step, learning_rate):
    first, second = m.clone(), v.clone()
    first += (1 - 0.9) * (gradient - first)
    second += (1 - 0.999) * (gradient * gradient - second)
    corrected = second / (1 - 0.999**step)
    change = -(first / (1 - 0.9**step)) / (torch.sqrt(corrected) + 1e-8)
    return [learning_rate * change, first, second]


def grid_bugs_in_branches(snippet):
    if snippet == 2:
        return 5
    return 4 if snippet == 3 else 3


def grid_bugs_in_a_list(snippet):
    return [3, 5, 4, 3][snippet - 1]


def grid_bugs_as_tensors(snippet):
    return torch.tensor([3, 5, 4, 3])[snippet - 1]


# Of a subject and, without its name, of its class.
WORDINGS = (
    "a {}",
    "A photo of a {}.",
    "a picture of the {}",
    "a {}, on a white background",
    "A {}!",
    "(a {})",
    "a photo of a {}; studio light",
    "a {}: a portrait",
    "“a {}”",
    "'a {}'",
    '"{}"',
    "a {} — in the snow",
    "a {}?",
    "one {} in the rain",
    "the {}'s portrait",
    "a small {} ...",
    "an old {}/",
    "{}",
    "photo: {}",
    "A DRAWING OF A {}",
)

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
    "loss.noise_loss": (loss_with_mse, loss_by_norms, loss_per_sample_first),
    "loss.find_the_bug": (loss_bugs_in_branches, loss_bugs_in_a_list, loss_bugs_as_tensors),
    "sampling.ddpm_step": (
        ancestral_in_a_loop,
        ancestral_with_where,
        ancestral_by_posterior,
        ancestral_in_single_precision,
    ),
    "sampling.ddim_step": (
        jump_in_a_loop_over_samples,
        jump_with_where,
        jump_shifted_by_one,
        jump_for_pictures_only,
    ),
    "sampling.find_the_bug": (
        sampling_bugs_in_branches,
        sampling_bugs_in_a_list,
        sampling_bugs_as_tensors,
    ),
    "latent.psnr": (psnr_in_a_loop, psnr_by_amplitudes, psnr_of_bytes),
    "latent.encode": (latents_by_distribution, latents_with_powers, latents_with_addcmul),
    "latent.denoise": (loop_with_both_halves, loop_in_sigmas, loop_with_recursion),
    "latent.img2img_start": (start_with_a_batch_of_t, start_from_what_is_left, start_as_tensors),
    "latent.slerp": (arc_in_a_loop, arc_with_a_guard, arc_by_right_angles),
    "guidance.contrastive_loss": (pairs_in_a_loop, pairs_by_logsumexp, pairs_with_one_hot),
    "guidance.cross_attention": (attention_of_torch, attention_einsum, attention_place_by_place),
    "guidance.drop_captions": (
        dropped_in_a_loop,
        dropped_by_bernoulli,
        dropped_in_a_copy,
        dropped_as_a_tuple,
        dropped_one_by_one,
        dropped_by_a_mask,
        dropped_in_float64,
    ),
    "guidance.cfg": (guided_with_lerp, guided_as_two_weights, guided_with_the_papers_w),
    "guidance.find_the_bug": (
        guidance_bugs_in_branches,
        guidance_bugs_in_a_list,
        guidance_bugs_as_tensors,
    ),
    "training.timestep_embedding": (
        times_in_a_loop,
        times_by_outer_product,
        times_as_complex_numbers,
    ),
    "training.ema_update": (
        average_in_a_loop,
        average_with_lerp,
        average_all_at_once,
        average_of_copies,
    ),
    "training.find_the_bug": (
        training_bugs_in_branches,
        training_bugs_in_a_list,
        training_bugs_as_tensors,
    ),
    "dreambooth.prompts": (
        prompts_as_in_the_paper,
        prompts_of_photos,
        prompts_joined,
        prompts_by_replacement,
    ),
    "hands_on.choose_identifier": (
        identifier_by_filter,
        identifier_by_sets,
        identifier_from_the_end,
        identifier_in_a_loop,
        identifier_by_elimination,
        identifier_by_sorting,
        identifier_by_pieces,
        identifier_by_recursion,
    ),
    "dreambooth.prior_preservation_loss": (
        dreambooth_with_mse,
        dreambooth_by_weights,
        dreambooth_by_slices,
        dreambooth_in_a_loop,
        dreambooth_as_two_batches,
    ),
    "dreambooth.find_the_bug": (
        dreambooth_bugs_in_branches,
        dreambooth_bugs_in_a_list,
        dreambooth_bugs_as_tensors,
    ),
    "metrics.image_similarity": (
        alike_in_a_loop,
        alike_by_broadcasting,
        alike_by_norms,
        alike_by_mean_directions,
    ),
    "metrics.prompt_similarity": (
        obeys_by_cosine_similarity,
        obeys_by_the_diagonal,
        obeys_in_a_loop,
    ),
    "metrics.diversity": (
        differs_in_a_loop,
        differs_without_the_trace,
        differs_by_euclid,
        differs_above_the_diagonal,
    ),
    "metrics.find_the_bug": (
        metrics_bugs_in_branches,
        metrics_bugs_in_a_list,
        metrics_bugs_as_tensors,
    ),
    "hands_on.harmonic_mean": (
        balance_in_a_loop,
        balance_with_powers,
        balance_of_python,
        balance_by_reciprocal,
    ),
    "hands_on.state_bytes": (
        bytes_in_one_line,
        bytes_of_everything_first,
        bytes_by_dtype,
        bytes_in_words,
        bytes_by_tensors,
        bytes_in_bits,
        bytes_by_shifts,
    ),
    "grid.log_spaced": (spaced_by_logspace, spaced_by_factors, spaced_by_weights),
    "grid.adam_update": (adam_of_torch, adam_with_lerp, adam_as_a_list),
    "grid.find_the_bug": (grid_bugs_in_branches, grid_bugs_in_a_list, grid_bugs_as_tensors),
}
