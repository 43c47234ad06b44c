"""From prompts to pictures."""

import numpy as np
import pytest
import torch

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import initial_noise, sample
from tlab_diffusion.pipelines.sampling import PER_PROMPT

PROMPTS = ["a red cat", "a dragon in the snow"]


def draw(prompts=PROMPTS, **settings):
    return np.stack(list(sample(tiny_pipeline(), prompts, **({"steps": 4} | settings))))


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_the_pictures_are_those_of_diffusers(guidance_scale):
    pipeline = tiny_pipeline()
    numbers = (0, 1, PER_PROMPT, PER_PROMPT + 1)
    noise = torch.cat([initial_noise(pipeline, 7, number) for number in numbers])
    theirs = pipeline(
        [prompt for prompt in PROMPTS for _ in range(2)],
        latents=noise,
        num_inference_steps=4,
        guidance_scale=guidance_scale,
        output_type="np",
    ).images
    ours = draw(num=2, seed=7, guidance_scale=guidance_scale)
    # Rounding may put a value on the other side of a level.
    assert np.abs(ours.astype(float) - 255 * theirs).max() <= 1
    assert ours.std() > 0


def test_a_model_that_predicts_v_is_driven_as_diffusers_drives_it():
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    parts = tiny_pipeline().components
    epsilon = parts["scheduler"].config
    parts |= {"scheduler": DDIMScheduler.from_config(epsilon, prediction_type="v_prediction")}
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise(pipeline, 0, 0)
    settings = {"num_inference_steps": 5, "guidance_scale": 3.0, "output_type": "np"}
    theirs = pipeline("a cat", latents=noise, **settings).images
    (ours,) = sample(pipeline, ["a cat"], steps=5, guidance_scale=3.0)
    assert np.abs(ours.astype(float) - 255 * theirs[0]).max() <= 1
    assert np.abs(ours.astype(float) - draw(["a cat"], steps=5, guidance_scale=3.0)[0]).max() > 5


def test_the_same_seed_draws_the_same_pictures_however_they_are_batched():
    together = draw(num=3, seed=1)
    assert together.shape == (6, 64, 64, 3)
    assert together.dtype == np.uint8
    apart = draw(num=3, seed=1, batch_size=2)
    # Sums in another order: a level at most.
    assert np.abs(together.astype(int) - apart.astype(int)).max() <= 1
    fewer = draw(num=1, seed=1)
    assert np.abs(together[[0, 3]].astype(int) - fewer.astype(int)).max() <= 1
    assert np.array_equal(draw(num=3, seed=1), together)
    assert not np.array_equal(draw(num=3, seed=2), together)
    assert len({picture.tobytes() for picture in together}) == 6


def test_any_size_of_seed_will_do_and_none_shares_its_noise():
    pipeline = tiny_pipeline()
    pairs = [(0, 0), (0, 1), (1, 0), (0, 1_000_003), (10**30, 0)]
    noises = [initial_noise(pipeline, *pair) for pair in pairs]
    assert len({noise.numpy().tobytes() for noise in noises}) == len(pairs)


def test_a_safety_checker_is_heard():
    from diffusers import StableDiffusionPipeline

    def second_is_bad(images, clip_input):
        assert clip_input.shape == (2, 1)
        return images * np.array([1, 0], np.float32)[:, None, None, None], [False, True]

    class Shown(dict):
        pixel_values = torch.zeros(2, 1)

        def to(self, device):
            return self

    pipeline = StableDiffusionPipeline(**tiny_pipeline().components, requires_safety_checker=False)
    pipeline.safety_checker = second_is_bad
    pipeline.feature_extractor = lambda pictures, return_tensors: Shown()
    first, second = sample(pipeline, ["a red cat"], num=2, steps=4)
    assert np.array_equal(first, draw(["a red cat"], num=2)[0])
    assert second.max() == 0


@pytest.mark.parametrize(
    ("prompts", "settings", "line"),
    [
        ([], {}, "prompts.*at least one prompt"),
        ("a cat", {}, "prompts.*a list"),
        ([None], {}, "prompts.*with a word"),
        (["a"], {"num": 0}, "num.*from 1 up"),
        (["a"], {"steps": 0}, "steps.*from 1 up"),
        (["a"], {"steps": 1001}, "steps.*at most 1000"),
        (["a"], {"seed": -1}, "seed.*from 0 up"),
        (["a"], {"batch_size": 1.5}, "batch_size.*an integer"),
    ],
)
def test_bad_input_is_one_clear_line(prompts, settings, line):
    with pytest.raises(InputError, match=line):
        draw(prompts, **settings)
