"""What the U-Net is trained on, and with which loss."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

from tests.pretraining.tiny import RECIPE
from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.picturebook import Scene, render
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining.networks import new_unet, text_config
from tlab_diffusion.pretraining.tokenizer import new_tokenizer
from tlab_diffusion.pretraining.unet import (
    TextToImage,
    emphasis_of,
    latent_batches,
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
    counts = torch.ones(3, 1, 16, 16)
    counts[1, :, :4] = 7.0  # one picture's upper quarter; the others' places count alike
    weighted = (counts * errors).sum(dim=(1, 2, 3)) / (4 * counts.sum(dim=(1, 2, 3)))
    weights = min_snr_weights(model.alphas_cumprod, gamma=5.0)[t]
    expected = (weights * weighted).mean()
    torch.testing.assert_close(model(x0, t, noise, ids, counts), expected)


def test_faces_count_more_than_characters_and_these_more_than_backdrops():
    config = dataclasses.replace(RECIPE.unet, subject_weight=3.0, face_weight=10.0)
    pose = {"x": 0.5, "y": 0.86, "size": 1.0, "tilt": 0.0}
    seen, unseen = (Scene("cat", "red", view=view, **pose) for view in ("front", "back"))
    with_face, without = emphasis_of([seen, unseen], 16, config)
    assert with_face.shape == (1, 16, 16)
    assert set(with_face.unique().tolist()) == {1.0, 3.0, 10.0}
    # From behind no face is seen: 11 x 8 of the places are the subject's, the others backdrop.
    assert (without == 3.0).sum() == 88
    assert (without == 1.0).sum() == 256 - 88
    happy, surprised = (
        render(dataclasses.replace(seen, expression=each)).astype(float)
        for each in ("happy", "surprised")
    )
    changed = np.square(happy - surprised).reshape(16, 4, 16, 4, 3).sum(axis=(1, 3, 4))
    face = (with_face[0] == 10.0).numpy()
    assert changed[face].sum() > 0.9 * changed.sum()  # where a mood shows is the face
    assert face.sum() < 0.1 * face.size


def test_gradients_reach_the_words(model):
    x0 = torch.randn(2, 4, 16, 16)
    t, noise, counts = torch.tensor([100, 500]), torch.randn_like(x0), torch.ones(2, 1, 16, 16)
    loss = model(x0, t, noise, tokenise(TOKENIZER, ["a cat"] * 2), counts)
    loss.backward()
    assert model.text_encoder.get_input_embeddings().weight.grad.abs().sum() > 0


def test_a_batch_is_drawn_from_the_latents_with_some_captions_dropped():
    config = dataclasses.replace(RECIPE.unet, batch_size=4000, middle_share=0.5)
    mean = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 4, 2, 2)
    moments = torch.cat([mean, torch.full_like(mean, 0.1)], dim=1).half()
    captions = torch.arange(6).view(6, 1, 1).expand(6, 2, 3).to(torch.int16)
    no_caption = torch.full((3,), 99)
    counts = torch.arange(6.0).view(6, 1, 1, 1)
    draw = latent_batches(moments, captions, no_caption, counts, config)
    x0, t, noise, ids, drawn_counts = draw(torch.Generator().manual_seed(0))
    assert torch.equal(drawn_counts.flatten(), x0.mean(dim=(1, 2, 3)).round())  # of its picture
    dropped = ids[:, 0] == 99
    # Five standard deviations of a binomial share of 4000.
    assert dropped.float().mean().item() == pytest.approx(config.caption_dropout, abs=0.024)
    assert torch.equal(x0[~dropped].mean(dim=(1, 2, 3)).round().long(), ids[~dropped, 0])
    spread = (x0 - x0.mean(dim=(1, 2, 3), keepdim=True).round()).std().item()
    assert spread == pytest.approx(0.1, rel=0.05)
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    # Evenly spread: every one of the 1000 timesteps twice, and 2000 more between 250 and 699.
    counted = t.bincount(minlength=1000)
    assert set(counted[:250].tolist()) == set(counted[700:].tolist()) == {2}
    assert set(counted[250:700].tolist()) == {6, 7}  # 2 + 2000 / 450
