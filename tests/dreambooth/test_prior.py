"""The class pictures: the original model's, kept as latents, completed after an interruption."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.cache import prior
from tlab_diffusion.dreambooth.cache.prior import PriorSettings, draw_prior, load_prior
from tlab_diffusion.dreambooth.data.batches import PRIOR
from tlab_diffusion.pipelines import embed
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.generators import generator_for

SETTINGS = PriorSettings(
    model="tiny",
    prompt="a robot",
    guidance_scale=3.0,
    seed=0,
    shape=(4, 16, 16),
    precision="fp32",
    steps=4,
)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(prior, "DRAWN_AT_ONCE", 2)


def draw(num, cache, settings=SETTINGS):
    assert list(draw_prior(tiny_pipeline(), settings, num, cache))[-1] == num
    return load_prior(settings, num, cache)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_the_latents_are_diffusers_own_solvers(tmp_path, guidance_scale):
    settings = dataclasses.replace(SETTINGS, guidance_scale=guidance_scale, steps=8)
    latents = draw(2, tmp_path, settings)
    pipeline = tiny_pipeline()
    solver = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        lower_order_final=True,
    )
    solver.set_timesteps(8)
    x = torch.stack([torch.randn(4, 16, 16, generator=generator_for(0, PRIOR, n)) for n in (0, 1)])
    with torch.no_grad():
        words, empty = embed(pipeline, ["a robot", ""])
        for t in solver.timesteps:
            cond, uncond = (
                pipeline.unet(x, t, each.expand(2, -1, -1)).sample for each in (words, empty)
            )
            x = solver.step(uncond + guidance_scale * (cond - uncond), t, x).prev_sample
    # diffusers rounds its timesteps and sigmas in float32.
    torch.testing.assert_close(latents, x, rtol=1e-3, atol=1e-3)


def test_a_picture_is_the_same_however_many_there_are(tmp_path):
    few, many = draw(3, tmp_path / "few"), draw(5, tmp_path / "many")
    # Drawn alone or beside another: sums in another order, and four steps on them.
    torch.testing.assert_close(few, many[:3], rtol=0, atol=1e-3)
    assert len(many.flatten(1).unique(dim=0)) == 5


def test_an_interruption_is_completed_not_restarted(tmp_path, monkeypatch):
    events = draw_prior(tiny_pipeline(), SETTINGS, 5, tmp_path)
    assert next(events) == 2
    events.close()
    kept = load_prior(SETTINGS, 5, tmp_path)
    assert len(kept) == 2
    drawn = []
    original = prior._draw
    monkeypatch.setattr(
        prior, "_draw", lambda p, s, numbers: drawn.extend(numbers) or original(p, s, numbers)
    )
    latents = draw(5, tmp_path)
    assert drawn == [2, 3, 4]
    assert torch.equal(latents[:2], kept)
    assert torch.equal(draw(4, tmp_path), latents[:4]) and drawn == [2, 3, 4]
    draw(6, tmp_path)
    assert drawn == [2, 3, 4, 5]


def test_a_kill_while_saving_costs_one_batch(tmp_path, monkeypatch):
    events = draw_prior(tiny_pipeline(), SETTINGS, 4, tmp_path)
    next(events)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            next(events)
    assert len(load_prior(SETTINGS, 4, tmp_path)) == 2
    assert len(draw(4, tmp_path)) == 4


def killed(tensors, draft, about):
    draft.write_bytes(b"half a file")
    raise KeyboardInterrupt


def test_a_damaged_file_is_drawn_again(tmp_path):
    whole = draw(2, tmp_path)
    SETTINGS.file(tmp_path).write_bytes(b"damaged")
    assert torch.equal(draw(2, tmp_path), whole)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "tuned"},
        {"prompt": "a cat"},
        {"guidance_scale": 5.0},
        {"seed": 1},
        {"shape": (4, 8, 8)},
        {"precision": "bf16"},
        {"solver": "DDIM"},
        {"steps": 5},
    ],
)
def test_other_settings_are_other_pictures(tmp_path, change):
    other = dataclasses.replace(SETTINGS, **change)
    assert other.file(tmp_path) != SETTINGS.file(tmp_path)
    again = dataclasses.replace(SETTINGS, **{name: getattr(SETTINGS, name) for name in change})
    assert again.file(tmp_path) == SETTINGS.file(tmp_path)


def test_all_that_pictures_depend_on_is_in_the_key():
    names = {field.name for field in dataclasses.fields(PriorSettings)}
    tested = {"model", "prompt", "guidance_scale", "seed", "shape", "precision", "solver", "steps"}
    assert names == tested


def test_several_runs_share_the_work(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        [a, b] = pool.map(lambda _: draw(6, tmp_path), range(2))
    assert torch.equal(a, b) and len(a) == 6
    assert not list(tmp_path.rglob("*.draft"))


@pytest.mark.parametrize(("free", "at_once"), [(2**40, 32), (2**33, 16), (2**20, 1)])
def test_as_many_are_drawn_at_a_time_as_half_of_the_memory_holds(monkeypatch, free, at_once):
    monkeypatch.setattr(prior, "DRAWN_AT_ONCE", 32)
    monkeypatch.setattr(prior.cost, "free_memory", lambda device: free)
    assert prior._at_once((4, 64, 64), torch.device("cpu")) == at_once
