"""The autoencoder: a loss that teaches, and honest measures."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.pretraining.tiny import RECIPE, scenes
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.reconstruction import reconstruction_psnr
from tlab_diffusion.picturebook import random_scene, render
from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pretraining import pictures, stage
from tlab_diffusion.pretraining.networks import grown_vae, new_vae
from tlab_diffusion.pretraining.vae import VaeLoss, picture_batches

TINY = RECIPE.vae


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return new_vae(TINY.channels)


def test_training_lowers_the_error(vae, tmp_path):
    x = scenes()
    before = reconstruction_psnr(vae, x)
    config = dataclasses.replace(TINY, steps=200, save_every_s=1e9, learning_rate=5e-3)
    draw = picture_batches(x, x[:2], config)
    steps = stage.train(VaeLoss(vae, config), draw, config, tmp_path / "state")
    *_, last = steps
    assert reconstruction_psnr(last.ema_model.vae, x) > before + 3


def test_the_loss_sees_edges_and_the_size_of_latents(vae):
    x = to_tensor(scenes())
    noise, all_scenes = torch.zeros(len(x), 4, 16, 16), torch.ones(len(x), dtype=torch.bool)

    def loss(**weights):
        weights = {"sharpness_weight": 0.0, "kl_weight": 0.0} | weights
        config = dataclasses.replace(TINY, **weights)
        return VaeLoss(vae, config)(x, noise, all_scenes).item()

    posterior = vae.encode(x).latent_dist
    error = x - vae.decode(posterior.mean).sample
    assert loss() == pytest.approx(error.square().mean().item(), rel=1e-5)
    edges = sum(error.diff(dim=d).abs().mean().item() for d in (2, 3))
    sharpness = error.abs().mean().item() + edges
    assert loss(sharpness_weight=2.0) - loss() == pytest.approx(2 * sharpness, rel=1e-4)
    kl = (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean().item() / 2
    assert loss(kl_weight=1.0) - loss() == pytest.approx(kl, rel=1e-4)


def test_a_bases_latents_of_scenes_hold_and_others_are_free(vae):
    base, x = new_vae(TINY.channels), to_tensor(scenes())
    base.register_to_config(scaling_factor=0.5)
    noise = torch.zeros(len(x), 4, 16, 16)
    is_scene = torch.tensor([True, True, False, False, False, False])

    def loss(latent_weight, base):
        config = dataclasses.replace(TINY, latent_weight=latent_weight)
        return VaeLoss(vae, config, base)(x, noise, is_scene).item()

    before, after = (each.encode(x).latent_dist.mean for each in (base, vae))
    moved = (0.5 * (after - before))[is_scene].square().sum().item() / after.numel()
    plain = loss(0.0, base)
    assert loss(3.0, base) - plain == pytest.approx(3 * moved, rel=1e-4)
    assert loss(3.0, None) == plain
    model = VaeLoss(vae, TINY, base)
    assert not [name for name in model.state_dict() if not name.startswith("vae.")]
    assert not any(parameter.requires_grad for parameter in base.parameters())


def test_from_a_base_on_scenes_stay_nearer_to_its_latents(vae, tmp_path):
    x, base = scenes(), copy.deepcopy(vae)
    latents = vae.encode(to_tensor(x)).latent_dist.mean

    def moved(latent_weight):
        config = dataclasses.replace(
            TINY, steps=30, learning_rate=5e-3, latent_weight=latent_weight
        )
        model = VaeLoss(copy.deepcopy(vae), config, base)
        draw = picture_batches(x, x[:2], config)
        list(stage.train(model, draw, config, tmp_path / f"state-{latent_weight}"))
        return (model.vae.encode(to_tensor(x)).latent_dist.mean - latents).square().mean().item()

    assert moved(100.0) < 0.2 * moved(0.0)


def test_a_grown_autoencoder_starts_with_the_inner_levels_of_its_base(vae):
    grown = grown_vae(vae, (8, *TINY.channels))
    assert grown.config.sample_size == 2 * vae.config.sample_size
    assert grown.config.scaling_factor == vae.config.scaling_factor
    latents = torch.randn(2, 4, 16, 16)
    seen = {}
    for name, each in ("base", vae), ("grown", grown):
        up_blocks = each.decoder.up_blocks
        last = len(vae.decoder.up_blocks) - 1
        up_blocks[last].register_forward_hook(
            lambda module, x, y, name=name: seen.update({name: y})
        )
        each.decode(latents)
    enlarged = seen["base"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(seen["grown"], enlarged, atol=1e-5)
    down = grown.encoder.down_blocks[2].state_dict()
    assert all(map(torch.equal, down.values(), vae.encoder.down_blocks[1].state_dict().values()))
    with pytest.raises(InputError, match=r"got \[8, 16, 8, 8\], from a base with \[8, 8, 8\]"):
        grown_vae(vae, (8, 16, 8, 8))


def test_latents_are_held_where_a_base_of_half_the_side_has_them(vae):
    x = torch.rand(6, 3, 128, 128) * 2 - 1
    grown, smaller = grown_vae(vae, (8, *TINY.channels)), F.avg_pool2d(x, 2)
    vae.register_to_config(scaling_factor=0.5)
    noise, is_scene = torch.zeros(6, 4, 16, 16), torch.ones(6, dtype=torch.bool)

    def loss(latent_weight):
        config = dataclasses.replace(TINY, latent_weight=latent_weight)
        return VaeLoss(grown, config, vae)(x, noise, is_scene).item()

    moved = grown.encode(x).latent_dist.mean - vae.encode(smaller).latent_dist.mean
    expected = 0.25 * moved.square().mean().item()
    assert loss(3.0) - loss(0.0) == pytest.approx(3 * expected, rel=1e-4)


def test_scenes_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 4)
    first = pictures.cached_scenes(tmp_path, 6, processes=1)
    assert np.array_equal(first[5], render(random_scene(5), 64))
    monkeypatch.setattr(pictures, "draw_scenes", None)  # a second drawing would fail
    assert np.array_equal(pictures.cached_scenes(tmp_path, 6), first)


def test_half_of_a_batch_are_scenes_and_half_have_oddities():
    x = scenes()
    draw = picture_batches(x[:3], x[3:], dataclasses.replace(TINY, batch_size=7))
    for seed in range(5):
        batch, _, is_scene = draw(torch.Generator().manual_seed(seed))
        assert is_scene.tolist() == [True] * 4 + [False] * 3
        # Mirrored or in other colours, a picture keeps its mean.
        means = to_tensor(x).mean(dim=(1, 2, 3))
        nearest = (batch.mean(dim=(1, 2, 3))[:, None] - means).abs().argmin(dim=1)
        assert ((nearest < 3) == is_scene).all()


def test_batches_are_pictures_mirrored_and_recoloured_with_their_own_noise():
    x = to_tensor(scenes())
    draw = picture_batches(scenes(), scenes(), dataclasses.replace(TINY, batch_size=64))
    batch, noise, is_scene = draw(torch.Generator().manual_seed(1))

    def kinds(pictures):
        return {picture.numpy().tobytes() for picture in pictures}

    got, plain, mirrored = kinds(batch), kinds(x), kinds(x.flip(3))
    assert got & plain and got & mirrored
    recoloured = got - plain - mirrored
    assert not recoloured & kinds(batch[is_scene])  # the world has its own colours
    every = [x[:, list(order)] for order in itertools.permutations(range(3))]
    assert recoloured and recoloured <= kinds(torch.cat([*every, *(y.flip(3) for y in every)]))
    assert noise.shape == (64, 4, 16, 16)
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(noise))
