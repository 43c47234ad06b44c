"""Our sampling loop and diffusers' pipeline draw the same picture from the same noise.

Both compute in float32, ours with coefficients from float64, so they agree to rounding, which
guidance and the steps enlarge a little.
"""

import copy

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionImg2ImgPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.diffusion import latents, samplers
from tlab_diffusion.diffusion.guidance import cfg

PROMPTS = ["a purple cat in the snow", "a green dragon"]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


def embed(pipeline, prompts):
    ids = pipeline.tokenizer(
        prompts, padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    ).input_ids
    return pipeline.text_encoder(ids)[0]


def model_of(pipeline):
    return lambda x, t, embeddings: pipeline.unet(x, t, encoder_hidden_states=embeddings).sample


@pytest.mark.parametrize(("steps", "guidance_scale"), [(10, 5.0), (25, 7.5), (8, 1.5)])
def test_denoise_is_the_pipeline(steps, guidance_scale):
    pipeline, noise = tiny_pipeline(), randn(2, 4, 16, 16)
    theirs = pipeline(
        PROMPTS,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        output_type="latent",
    ).images
    ours = latents.sample_guided(
        model_of(pipeline),
        noise,
        embed(pipeline, PROMPTS),
        embed(pipeline, ["", ""]),
        samplers.spaced_timesteps(1000, steps),
        pipeline.scheduler.alphas_cumprod,
        guidance_scale,
    )
    torch.testing.assert_close(ours, theirs, **CLOSE)
    # The test would see it if the prompt were not heard, or guidance not applied.
    assert not torch.allclose(ours[0], ours[1], atol=1e-2)


def test_every_step_is_the_scheduler_s():
    """Ours and theirs from the same point, one step after the other."""
    pipeline, x = tiny_pipeline(), randn(1, 4, 16, 16)
    model, scheduler = model_of(pipeline), DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(20)
    text, no_text = embed(pipeline, PROMPTS[:1]), embed(pipeline, [""])
    path = scheduler.timesteps.tolist()
    for t, t_prev in zip(path, [*path[1:], -1], strict=True):
        now, before = torch.tensor([t]), torch.tensor([t_prev])
        eps = cfg(model(x, now, no_text), model(x, now, text), 5.0)
        ours = samplers.ddim_step(
            x, now, before, eps, scheduler.alphas_cumprod, 0.0, torch.zeros_like(x)
        )
        x = scheduler.step(eps, t, x).prev_sample
        torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_the_two_differ_by_rounding_alone():
    """In float64 they agree to float64's digits, so no formula differs."""
    pipeline, noise = copy.deepcopy(tiny_pipeline()).to(torch.float64), randn(1, 4, 16, 16).double()
    pipeline.scheduler.alphas_cumprod = pipeline.scheduler.alphas_cumprod.double()
    theirs = pipeline(
        PROMPTS[:1], latents=noise, num_inference_steps=10, guidance_scale=5.0, output_type="latent"
    ).images
    ours = latents.sample_guided(
        model_of(pipeline),
        noise,
        embed(pipeline, PROMPTS[:1]),
        embed(pipeline, [""]),
        samplers.spaced_timesteps(1000, 10),
        pipeline.scheduler.alphas_cumprod,
        5.0,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_img2img_start_is_the_pipeline_s(strength):
    pipeline = tiny_pipeline()
    parts = {name: part for name, part in pipeline.components.items() if name != "image_encoder"}
    theirs = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    theirs.scheduler.set_timesteps(10)
    timesteps, steps = theirs.get_timesteps(10, strength, "cpu")
    x0, noise = randn(2, 4, 16, 16), randn(2, 4, 16, 16, seed=1)
    path, bars = samplers.spaced_timesteps(1000, 10), theirs.scheduler.alphas_cumprod
    x_t, start = latents.img2img_start(x0, noise, strength, path, bars)
    assert path[start:] == timesteps.tolist()
    assert len(path[start:]) == steps
    torch.testing.assert_close(x_t, theirs.scheduler.add_noise(x0, noise, timesteps[:1]))


def test_encode_is_diffusers_distribution():
    mean, logvar = randn(2, 4, 3, 3), randn(2, 4, 3, 3, seed=1)
    posterior = DiagonalGaussianDistribution(torch.cat([mean, logvar], dim=1))
    theirs = posterior.sample(generator=torch.Generator().manual_seed(5))
    ours = latents.sample_posterior(mean, logvar, randn(2, 4, 3, 3, seed=5), 1.0)
    torch.testing.assert_close(ours, theirs)


def test_a_plain_load_gives_the_same_picture(tmp_path):
    """Saved and read by `DiffusionPipeline.from_pretrained` alone, it samples as before."""
    pipeline, noise = tiny_pipeline(), randn(1, 4, 16, 16)
    pipeline.save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    options = {"latents": noise, "num_inference_steps": 2, "output_type": "pt"}
    assert torch.equal(pipeline(PROMPTS[0], **options).images, loaded(PROMPTS[0], **options).images)
