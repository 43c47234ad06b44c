"""Class images: sampled by the original model, kept as latents, shared by processes."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.cache import class_images
from tlab_diffusion.dreambooth.cache.class_images import (
    ClassImageSettings,
    load_class_images,
    sample_class_images,
)
from tlab_diffusion.dreambooth.data.batches import CLASS_IMAGE
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.pipelines import embed
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.generators import generator_for

SETTINGS = ClassImageSettings(
    model="tiny",
    prompts=("a robot",),
    guidance_scale=3.0,
    seed=0,
    shape=(4, 16, 16),
    precision="fp32",
    steps=2,
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(class_images, "MAX_BATCH_SIZE", 2)


@pytest.fixture
def pipeline():
    return tiny_pipeline()


@pytest.fixture
def sampled(monkeypatch):
    """The numbers of the images that are sampled from now on."""
    numbers, original = [], class_images._sample

    def noted(pipeline, settings, batch):
        numbers.extend(batch)
        return original(pipeline, settings, batch)

    monkeypatch.setattr(class_images, "_sample", noted)
    return numbers


def sample(pipeline, num, cache, settings=SETTINGS):
    assert list(sample_class_images(pipeline, settings, num, cache))[-1] == num
    return load_class_images(pipeline, settings, num, cache)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_latents_are_those_of_diffusers_solver(tmp_path, pipeline, guidance_scale):
    settings = dataclasses.replace(SETTINGS, guidance_scale=guidance_scale, steps=8)
    latents = sample(pipeline, 2, tmp_path, settings)
    solver = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=True,
    )
    solver.set_timesteps(8)
    streams = [generator_for(0, CLASS_IMAGE, number) for number in (0, 1)]
    x = torch.stack([torch.randn(4, 16, 16, generator=each) for each in streams])
    with torch.no_grad():
        embeds, negative = embed(pipeline, ["a robot", ""])
        for t in solver.timesteps:
            cond, uncond = (
                pipeline.unet(x, t, each.expand(2, -1, -1)).sample for each in (embeds, negative)
            )
            x = solver.step(uncond + guidance_scale * (cond - uncond), t, x).prev_sample
    # diffusers rounds its timesteps and sigmas in float32.
    torch.testing.assert_close(latents, x, rtol=1e-3, atol=1e-3)


def test_each_image_has_its_own_prompt(tmp_path, pipeline):
    both = dataclasses.replace(SETTINGS, prompts=("a robot", "a cat"))
    alone = [
        sample(pipeline, 4, tmp_path, dataclasses.replace(SETTINGS, prompts=(each,)))
        for each in both.prompts
    ]
    images = sample(pipeline, 4, tmp_path, both)
    for number in range(4):
        torch.testing.assert_close(images[number], alone[number % 2][number], rtol=0, atol=1e-4)
    assert not torch.allclose(images[1], alone[0][1], atol=1e-2)


def test_an_image_is_the_same_however_many_there_are(tmp_path, pipeline):
    few, many = (sample(pipeline, num, tmp_path / str(num)) for num in (3, 5))
    # Sampled alone or beside another: sums in another order.
    torch.testing.assert_close(few, many[:3], rtol=0, atol=1e-3)
    assert len(many.flatten(1).unique(dim=0)) == 5


def test_an_interruption_costs_one_batch(tmp_path, pipeline, sampled):
    events = sample_class_images(pipeline, SETTINGS, 5, tmp_path)
    assert [next(events), next(events)] == [0, 2]
    events.close()
    kept = load_class_images(pipeline, SETTINGS, 2, tmp_path)
    latents = sample(pipeline, 5, tmp_path)
    assert sampled == [0, 1, 2, 3, 4] and torch.equal(latents[:2], kept)
    assert torch.equal(sample(pipeline, 4, tmp_path), latents[:4])
    assert sampled == [0, 1, 2, 3, 4]
    more = sample(pipeline, 6, tmp_path)
    assert sampled == [0, 1, 2, 3, 4, 5] and torch.equal(more[:5], latents)


def test_a_kill_while_saving_costs_one_batch(tmp_path, monkeypatch, pipeline, sampled):
    def killed(tensors, draft, about):
        draft.write_bytes(b"half a file")
        raise KeyboardInterrupt

    events = sample_class_images(pipeline, SETTINGS, 4, tmp_path)
    assert [next(events), next(events)] == [0, 2]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            next(events)
    sample(pipeline, 4, tmp_path)
    assert sampled == [0, 1, 2, 3, 2, 3]


def test_a_damaged_batch_is_sampled_again(tmp_path, pipeline, sampled):
    whole = sample(pipeline, 4, tmp_path)
    [_, second] = sorted(SETTINGS.folder(tmp_path).glob("*.safetensors"))
    second.write_bytes(b"damaged")
    assert torch.equal(sample(pipeline, 4, tmp_path), whole)
    assert sampled == [0, 1, 2, 3, 2, 3]


CHANGES = {
    "model": "tuned",
    "prompts": ("a robot", "a cat"),
    "guidance_scale": 5.0,
    "seed": 1,
    "shape": (4, 8, 8),
    "precision": "bf16",
    "solver": "DDIM",
    "steps": 5,
}


def test_other_settings_are_other_images(tmp_path):
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(ClassImageSettings)}
    changed = [dataclasses.replace(SETTINGS, **{name: value}) for name, value in CHANGES.items()]
    folders = {each.folder(tmp_path) for each in [SETTINGS, *changed]}
    assert len(folders) == 1 + len(CHANGES)
    assert dataclasses.replace(SETTINGS).folder(tmp_path) == SETTINGS.folder(tmp_path)


def test_processes_sample_at_the_same_time_and_give_the_same_images(
    tmp_path, monkeypatch, pipeline, sampled
):
    alone = sample(pipeline, 7, tmp_path / "one")
    assert sampled == list(range(7))
    # Each goes on only when both are sampling: a lock around all of it would end in a timeout.
    together, original = threading.Barrier(2, timeout=600), StableDiffusion.sample_latents
    seen = threading.local()

    def meets(self, *arguments, **options):
        if not hasattr(seen, "other"):
            seen.other = together.wait()
        return original(self, *arguments, **options)

    monkeypatch.setattr(StableDiffusion, "sample_latents", meets)
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda _: sample(tiny_pipeline(), 7, tmp_path / "two"), range(2))
        assert all(torch.equal(each, alone) for each in runs)
    assert sorted(sampled[7:]) == list(range(7))  # none twice
    assert not list(tmp_path.rglob("*.draft"))


@pytest.mark.parametrize(
    ("device", "side", "size"),
    [("cpu", 16, 32), ("cpu", 64, 2), ("cpu", 128, 1), ("cuda", 64, 8), ("cuda", 512, 1)],
)
def test_the_batch_size_follows_from_shape_and_device(monkeypatch, device, side, size):
    monkeypatch.setattr(class_images, "MAX_BATCH_SIZE", 32)
    assert class_images._batch_size((4, side, side), torch.device(device)) == size
