"""What the U-Net is trained on, and with which loss."""

import dataclasses

import pytest
import torch
from transformers import CLIPTextModel

from tests.pretraining.tiny import RECIPE, scenes
from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.evaluation.pictures import to_tensor
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining.networks import new_unet, new_vae, text_config
from tlab_diffusion.pretraining.tokenizer import new_tokenizer
from tlab_diffusion.pretraining.unet import (
    TextToImage,
    draw_latents,
    latent_moments,
    subject_emphasis,
)

TOKENIZER = new_tokenizer()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    unet, text_encoder = new_unet((16, 16)), CLIPTextModel(text_config(TOKENIZER))
    return TextToImage(unet, text_encoder, RECIPE.unet).eval()


@torch.no_grad()
def test_the_loss_is_the_textbooks(model):
    torch.manual_seed(1)
    x0, noise, t = torch.randn(3, 4, 16, 16), torch.randn(3, 4, 16, 16), torch.tensor([0, 300, 999])
    ids = tokenise(TOKENIZER, ["a cat", "a robot", ""])
    alpha_bar = model.alphas_cumprod[t].view(3, 1, 1, 1)
    x_t = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
    eps = model.unet(x_t, t, model.text_encoder(ids).last_hidden_state).sample
    errors = (eps - noise).square()
    # 11 x 8 of the 16 x 16 places are the subject's, and count three times.
    subject, places = torch.zeros(16, 16, dtype=torch.bool), 88 * 3 + (256 - 88)
    subject[3:14, 4:12] = True
    weighted = 3 * errors[..., subject].sum(dim=(1, 2)) + errors[..., ~subject].sum(dim=(1, 2))
    weights = min_snr_weights(model.alphas_cumprod, gamma=5.0)[t]
    expected = (weights * weighted / (4 * places)).mean()
    torch.testing.assert_close(model(x0, t, noise, ids), expected)


def test_without_a_subjects_weight_all_places_count_alike():
    assert torch.equal(subject_emphasis(16, 1.0), torch.ones(16, 16))


def test_gradients_reach_the_words(model):
    x0 = torch.randn(2, 4, 16, 16)
    loss = model(
        x0, torch.tensor([100, 500]), torch.randn(2, 4, 16, 16), tokenise(TOKENIZER, ["a cat"] * 2)
    )
    loss.backward()
    assert model.text_encoder.get_input_embeddings().weight.grad.abs().sum() > 0


def test_latents_are_scaled_means_and_deviations(monkeypatch):
    exactly = torch.autocast("cpu", enabled=False)  # else bfloat16, on processors that have it
    monkeypatch.setattr("tlab_diffusion.pretraining.unet.autocast", lambda device: exactly)
    torch.manual_seed(0)
    vae = new_vae((8, 8, 8))
    vae.register_to_config(scaling_factor=2.0)
    moments = latent_moments(vae, scenes(3), progress=False)
    latents = vae.encode(to_tensor(scenes(3))).latent_dist
    expected = 2 * torch.cat([latents.mean, latents.std], dim=1)
    torch.testing.assert_close(moments.float(), expected, rtol=2e-3, atol=2e-3)  # half precision


def test_a_batch_is_drawn_from_the_latents_with_some_captions_dropped():
    config = dataclasses.replace(RECIPE.unet, batch_size=4000)
    mean = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 4, 2, 2)
    moments = torch.cat([mean, torch.full_like(mean, 0.1)], dim=1).half()
    captions = torch.arange(6).view(6, 1, 1).expand(6, 2, 3).to(torch.int16)
    no_caption = torch.full((3,), 99)
    x0, t, noise, ids = draw_latents(moments, captions, no_caption, config)(
        torch.Generator().manual_seed(0)
    )
    dropped = ids[:, 0] == 99
    # Five standard deviations of a binomial share of 4000.
    assert dropped.float().mean().item() == pytest.approx(config.caption_dropout, abs=0.024)
    assert torch.equal(x0[~dropped].mean(dim=(1, 2, 3)).round().long(), ids[~dropped, 0])
    spread = (x0 - x0.mean(dim=(1, 2, 3), keepdim=True).round()).std().item()
    assert spread == pytest.approx(0.1, rel=0.05)
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    # Evenly spread: every one of the 1000 timesteps, four times.
    assert t.bincount(minlength=1000).tolist() == [4] * 1000
