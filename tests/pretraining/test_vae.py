"""The autoencoder: a loss that teaches, and honest measures."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from tests.pretraining.tiny import RECIPE, scenes
from tlab_diffusion.evaluation.pictures import to_tensor
from tlab_diffusion.evaluation.reconstruction import reconstruction_psnr
from tlab_diffusion.picturebook import random_scene, render
from tlab_diffusion.pretraining import loop, pictures
from tlab_diffusion.pretraining.networks import new_vae
from tlab_diffusion.pretraining.vae import VaeLoss, draw_pictures, freeze_encoder

TINY = RECIPE.vae


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return new_vae(TINY.channels)


def test_training_lowers_the_error(vae, tmp_path):
    x = scenes()
    before = reconstruction_psnr(vae, x)
    config = dataclasses.replace(TINY, steps=200, save_every_s=1e9, learning_rate=5e-3)
    steps = loop.train(VaeLoss(vae, config), draw_pictures(x, config), config, tmp_path / "state")
    *_, last = steps
    assert reconstruction_psnr(last.ema_model.vae, x) > before + 3


def test_the_loss_sees_edges_and_the_size_of_latents(vae):
    x = to_tensor(scenes())
    noise = torch.zeros(len(x), 4, 16, 16)

    def loss(**weights):
        weights = {"sharpness_weight": 0.0, "kl_weight": 0.0} | weights
        config = dataclasses.replace(TINY, **weights)
        return VaeLoss(vae, config)(x, noise).item()

    posterior = vae.encode(x).latent_dist
    error = x - vae.decode(posterior.mean).sample
    assert loss() == pytest.approx(error.square().mean().item(), rel=1e-5)
    edges = sum(error.diff(dim=d).abs().mean().item() for d in (2, 3))
    sharpness = error.abs().mean().item() + edges
    assert loss(sharpness_weight=2.0) - loss() == pytest.approx(2 * sharpness, rel=1e-4)
    kl = (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean().item() / 2
    assert loss(kl_weight=1.0) - loss() == pytest.approx(kl, rel=1e-4)


def test_a_decoder_can_learn_while_the_latents_stay(vae, tmp_path):
    freeze_encoder(vae)
    x = scenes()
    tensor = to_tensor(x)
    latents, before = vae.encode(tensor).latent_dist.mean, reconstruction_psnr(vae, x)
    config = dataclasses.replace(TINY, steps=30, learning_rate=5e-3)
    list(loop.train(VaeLoss(vae, config), draw_pictures(x, config), config, tmp_path / "state"))
    assert torch.equal(vae.encode(tensor).latent_dist.mean, latents)
    assert reconstruction_psnr(vae, x) > before


def test_scenes_are_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 4)
    first = pictures.cached_scenes(tmp_path, 6, processes=1)
    assert np.array_equal(first[5], render(random_scene(5), 64))
    monkeypatch.setattr(pictures, "draw_scenes", None)  # a second drawing would fail
    assert np.array_equal(pictures.cached_scenes(tmp_path, 6), first)


def test_batches_are_scenes_mirrored_and_recoloured_with_their_own_noise():
    x = to_tensor(scenes())
    draw = draw_pictures(scenes(), dataclasses.replace(TINY, batch_size=64))
    batch, noise = draw(torch.Generator().manual_seed(1))

    def kinds(pictures):
        return {picture.numpy().tobytes() for picture in pictures}

    got, plain, mirrored = kinds(batch), kinds(x), kinds(x.flip(3))
    assert got & plain and got & mirrored
    recoloured = got - plain - mirrored
    every = [x[:, list(order)] for order in itertools.permutations(range(3))]
    assert recoloured and recoloured <= kinds(torch.cat([*every, *(y.flip(3) for y in every)]))
    assert noise.shape == (64, 4, 16, 16)
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(noise))
