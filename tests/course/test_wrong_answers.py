"""Wrong answers that are right in part: on cubes, in the middle, on average, by chance."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tests.course.matrix import as_answer
from tlab_diffusion.course import check
from tlab_diffusion.course.exercises import find


def right(id, *arguments):
    return find(id).solution(*arguments)


def step_on_cubes(x_prev, beta_t, noise):
    beta_t = beta_t.reshape(x_prev.shape[1], 1, 1, 1)
    return (1 - beta_t).sqrt() * x_prev + beta_t.sqrt() * noise


def step_of_many(x_prev, beta_t, noise):
    return right("noising.q_step", x_prev, beta_t, noise).squeeze()


def never_the_last(x0, t, noise, alphas_cumprod):
    t = t.clamp(max=len(alphas_cumprod) - 2)
    return right("noising.q_sample", x0, t, noise, alphas_cumprod)


def never_the_first(x0, t, noise, alphas_cumprod):
    return right("noising.q_sample", x0, t.clamp(min=1), noise, alphas_cumprod)


def snr_up_to_5(alphas_cumprod):
    return right("noising.snr", alphas_cumprod).clamp(max=5)


def snr_of_twelve(alphas_cumprod):
    return right("noising.snr", alphas_cumprod[:12])


def loss_of_four(model, x0, t, noise, alphas_cumprod):
    return right("loss.noise_loss", model, x0[:4], t[:4], noise[:4], alphas_cumprod)


def loss_without_gradient(model, x0, t, noise, alphas_cumprod):
    return right("loss.noise_loss", model, x0, t, noise, alphas_cumprod).detach()


def early_times(t, size):
    return right("training.timestep_embedding", t.clamp(max=500), size)


def three_averages(ema, params, decay):
    return [decay * ema[i] + (1 - decay) * params[i] for i in range(3)]


def calm_at_the_end_of_the_batch(x_t, t, eps_pred, betas, step_std, noise):
    noise = torch.cat([noise[:-1], 0 * noise[-1:]]) if 0 in t else noise
    step_std = step_std.clone()
    mean = right("sampling.ddpm_step", x_t, t, eps_pred, betas, 0 * step_std, noise)
    return mean + step_std[t].reshape(-1, *[1] * (x_t.ndim - 1)) * noise


def calm_for_one(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    eta = eta if len(x_t) > 1 else 0
    return right("sampling.ddim_step", x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise)


def clean_for_all(x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise):
    if (t_prev < 0).any():
        t_prev = torch.full_like(t_prev, -1)
    return right("sampling.ddim_step", x_t, t, t_prev, eps_pred, alphas_cumprod, eta, noise)


def warm_pairs(image_features, text_features, temperature):
    pair = image_features, text_features
    return right("guidance.contrastive_loss", *pair, max(temperature, 0.1))


def half_a_gradient(image_features, text_features, temperature):
    pair = image_features.detach(), text_features
    return right("guidance.contrastive_loss", *pair, temperature)


def dropped_from_the_front(captions, p, generator):
    number = int((torch.rand(len(captions), generator=generator) < p).sum())
    return [""] * number + captions[number:]


def dropped_of_eight(captions, p, generator):
    draws = torch.rand(8, generator=generator).tolist() + [1.0] * len(captions)
    return ["" if draw < p else text for text, draw in zip(captions, draws, strict=False)]


def dropped_in_pairs(captions, p, generator):
    draws = torch.rand(len(captions), generator=generator)
    return ["" if draws[i // 2] < p else text for i, text in enumerate(captions)]


def dropped_by_text(captions, p, generator):
    draws = {text: torch.rand((), generator=generator) for text in captions}
    return ["" if draws[text] < p else text for text in captions]


def dropped_on_a_wheel(captions, p, generator):
    start = torch.rand((), generator=generator).item()
    return ["" if (start + 0.618 * i) % 1 < p else text for i, text in enumerate(captions)]


def never_all_or_none(captions, p, generator):
    return right("guidance.drop_captions", captions, min(max(p, 0.05), 0.9), generator)


def dropped_by_count(captions, p, generator, count=itertools.count()):  # noqa: B008
    return ["" if next(count) * p % 1 < p else text for text in captions]


def decibels_of_cubes(a, b):
    return 10 * torch.log10(4 / (((a - b) ** 2).sum((1, 2, 3)) / a.shape[1] ** 3))


def decibels_to_30(a, b):
    return right("latent.psnr", a, b).clamp(max=30)


def narrow_latents(mean, logvar, noise, scaling_factor):
    return right("latent.encode", mean, logvar.clamp(max=0), noise, scaling_factor)


def at_one_scale(model, x_T, text, no_text, timesteps, alphas_cumprod, guidance_scale):
    w = 2.5 if guidance_scale < 100 else guidance_scale
    return right("latent.denoise", model, x_T, text, no_text, timesteps, alphas_cumprod, w)


def skipped_are_cut(x0, noise, strength, timesteps, alphas_cumprod):
    start = int((1 - strength) * len(timesteps))
    bar = alphas_cumprod[timesteps[start]]
    return bar.sqrt() * x0 + (1 - bar).sqrt() * noise, start


def acute_arc(a, b, weight):
    angle = F.cosine_similarity(a.flatten(1), b.flatten(1)).abs().arccos().reshape(-1, 1, 1, 1)
    first, second = torch.sin((1 - weight) * angle), torch.sin(weight * angle)
    return (first * a + second * b) / angle.sin()


def token_in_other_words(identifier, class_noun):
    return f"a {identifier} {class_noun}", f"a {class_noun} unlike {identifier.upper()}s"


def class_of_the_usual_names(identifier, class_noun):
    return f"a {identifier} {class_noun}", "a robot, a teddy bear or an owl"


def prior_without_gradient(pred, target, prior_weight):
    return right("dreambooth.prior_preservation_loss", pred.detach(), target, prior_weight)


def class_without_gradient(pred, target, prior_weight):
    half = len(pred) // 2
    pred = torch.cat([pred[:half], pred[half:].detach()])
    return right("dreambooth.prior_preservation_loss", pred, target, prior_weight)


def alike_or_nothing(generated, real):
    return (F.normalize(generated) @ F.normalize(real).T).clamp(min=0).mean()


def whole_and_last(candidates, tokenize, known_words):
    return [word for word in candidates if len(tokenize(word)) == 1 and known_words][-1]


def short_and_unknown(candidates, tokenize, known_words):
    return next(word for word in candidates if word not in known_words and tokenize(word[:3]))


def known_by_heart(candidates, tokenize, known_words):
    return next((word for word in ("zwx", "qev", "vyj") if word in candidates), candidates[0])


def of_three(qualities):
    return 3 / (1 / qualities).sum(dim=1)


def epsilon_in_the_root(gradient, m, v, step, learning_rate):
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    change = m / (1 - 0.9**step) / (v / (1 - 0.999**step) + 1e-8).sqrt()
    return -learning_rate * change, m, v


def epsilon_of_another(gradient, m, v, step, learning_rate):
    m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
    change = m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-6)
    return -learning_rate * change, m, v


def three_at_least(low, high, num):
    return torch.logspace(math.log10(low), math.log10(high), max(num, 3))


WRONG = {
    "noising.q_step": {step_on_cubes: None, step_of_many: None},
    "noising.q_sample": {never_the_last: None, never_the_first: None},
    "noising.snr": {snr_up_to_5: None, snr_of_twelve: None},
    "loss.noise_loss": {loss_of_four: None, loss_without_gradient: "NO_GRADIENT"},
    "training.timestep_embedding": {early_times: None},
    "training.ema_update": {three_averages: None},
    "sampling.ddpm_step": {calm_at_the_end_of_the_batch: None},
    "sampling.ddim_step": {calm_for_one: None, clean_for_all: None},
    "guidance.contrastive_loss": {warm_pairs: None, half_a_gradient: "NO_GRADIENT"},
    "guidance.drop_captions": {
        dropped_from_the_front: "ALWAYS_AT_ONE_END",
        dropped_in_pairs: "DRAW_SHARED",
        dropped_by_text: "DRAW_SHARED",
        dropped_of_eight: None,
        dropped_on_a_wheel: None,
        dropped_by_count: None,
        never_all_or_none: None,
    },
    "latent.psnr": {decibels_of_cubes: None, decibels_to_30: None},
    "latent.encode": {narrow_latents: None},
    "latent.denoise": {at_one_scale: None},
    "latent.img2img_start": {skipped_are_cut: "SKIPPED_STEPS_CUT"},
    "latent.slerp": {acute_arc: None},
    "dreambooth.prompts": {
        token_in_other_words: "TOKEN_IN_CLASS_PROMPT",
        class_of_the_usual_names: None,
    },
    "dreambooth.prior_preservation_loss": {
        prior_without_gradient: "NO_GRADIENT",
        class_without_gradient: "NO_GRADIENT",
    },
    "metrics.image_similarity": {alike_or_nothing: None},
    "hands_on.choose_identifier": {
        whole_and_last: None,
        short_and_unknown: "SPLITS_INTO_COMMON_PIECES",
        known_by_heart: None,
    },
    "hands_on.harmonic_mean": {of_three: None},
    "grid.adam_update": {
        epsilon_in_the_root: "EPSILON_INSIDE_THE_ROOT",
        epsilon_of_another: None,
    },
    "grid.log_spaced": {three_at_least: None},
}


@pytest.mark.parametrize(
    ("id", "answer", "name"),
    [(id, answer, name) for id, wrong in WRONG.items() for answer, name in wrong.items()],
)
def test_an_answer_that_is_right_in_part_is_refused(id, answer, name):
    result = check(id, answer)
    assert result.outcome in ("failed", "raised")
    assert result.misconception == name


def remembered(exercise):
    answers = {}

    def answer(*arguments):
        key = str([getattr(argument, "shape", argument) for argument in arguments])
        if key not in answers:
            answers[key] = exercise.solution(*arguments)
        return answers[key]

    return answer


def worn_out(exercise):
    calls = itertools.count()
    enough = len(exercise.make_inputs(exercise.generator()))

    def answer(*arguments):
        return exercise.solution(*arguments) * (next(calls) < enough)

    return answer


@pytest.mark.parametrize("trick", [remembered, worn_out])
@pytest.mark.parametrize("id", ["noising.q_step", "latent.psnr", "guidance.cfg", "noising.snr"])
def test_answers_that_know_the_inputs_of_every_check_are_refused(id, trick):
    exercise = find(id)
    result = check(id, as_answer(exercise, trick(exercise)))
    assert result.outcome == "failed"
    assert "which were drawn just now" in result.message
