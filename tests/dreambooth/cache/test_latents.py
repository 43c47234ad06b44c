"""What is computed once is what it would be computed anew, and is forgotten when it must be."""

import copy

import numpy as np
import pytest
import torch

from tests.dreambooth.tiny import PICTURES, new_config, run
from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.cache.latents import latent_distributions
from tlab_diffusion.dreambooth.families.stable_diffusion import PromptedUNet, StableDiffusion
from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines import embed
from tlab_diffusion.training import fingerprint

FAMILY = StableDiffusion()


@pytest.fixture
def pipeline():
    """A pipeline whose autoencoder counts the pictures it encodes."""
    pipeline = tiny_pipeline()
    vae, encode = pipeline.vae, pipeline.vae.encode
    vae.encoded = 0

    def counted(x):
        vae.encoded += len(x)
        return encode(x)

    vae.encode = counted
    return pipeline


def test_means_and_deviations_are_the_encoders(tmp_path, pipeline):
    moments = latent_distributions(pipeline, PICTURES, tmp_path, "model")
    pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist
    mean, std = moments.chunk(2, dim=1)
    scale = pipeline.vae.config.scaling_factor
    # Encoded in other batches: sums in another order.
    torch.testing.assert_close(mean, scale * latents.mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(std, scale * (latents.logvar / 2).exp(), rtol=1e-4, atol=1e-6)
    assert std.min() > 0
    assert moments.is_contiguous()


def test_they_are_kept_until_model_picture_or_resolution_change(tmp_path, pipeline):
    first = latent_distributions(pipeline, PICTURES, tmp_path, "model")
    assert pipeline.vae.encoded == 3
    assert torch.equal(latent_distributions(pipeline, PICTURES, tmp_path, "model"), first)
    assert pipeline.vae.encoded == 3
    changed = PICTURES.copy()
    changed[1, 5, 7, 2] ^= 1  # one bit of one picture
    smaller = np.ascontiguousarray(PICTURES[:, ::2, ::2])
    for pictures, model in ((changed, "model"), (PICTURES, "other"), (smaller, "model")):
        before = pipeline.vae.encoded
        latent_distributions(pipeline, pictures, tmp_path, model)
        assert pipeline.vae.encoded == before + 3


def test_a_damaged_file_is_made_again(tmp_path, pipeline):
    first = latent_distributions(pipeline, PICTURES, tmp_path, "model")
    [path] = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(latent_distributions(pipeline, PICTURES, tmp_path, "model"), first)
    assert pipeline.vae.encoded == 6


def test_a_fingerprint_knows_every_weight():
    unet = tiny_pipeline().unet
    before = fingerprint.weights_fingerprint([unet])
    assert fingerprint.weights_fingerprint([copy.deepcopy(unet)]) == before
    other = copy.deepcopy(unet)
    weight = other.conv_out.bias.data
    weight[0] = torch.nextafter(weight[0], torch.tensor(1.0))
    names = {
        before,
        fingerprint.weights_fingerprint([other]),
        fingerprint.weights_fingerprint([unet.to(torch.float32), other]),
    }
    assert len(names | {fingerprint.weights_fingerprint([copy.deepcopy(unet).bfloat16()])}) == 4


def test_a_models_fingerprint_knows_the_numbers_of_its_words():
    pipeline = tiny_pipeline()
    before = FAMILY.fingerprint(pipeline)
    assert FAMILY.fingerprint(pipeline) == before
    pipeline.tokenizer.add_tokens(["zzz"])
    assert FAMILY.fingerprint(pipeline) != before


def test_a_models_fingerprint_knows_its_noise():
    pipeline = tiny_pipeline()
    names, scheduler = {FAMILY.fingerprint(pipeline)}, pipeline.scheduler
    for changes in ({"prediction_type": "v_prediction"}, {"beta_end": 0.02}):
        pipeline.scheduler = type(scheduler).from_config(scheduler.config, **changes)
        names.add(FAMILY.fingerprint(pipeline))
    assert len(names) == 3


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, pipeline):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cache: got a file in .* TLAB_CACHE") as caught:
        latent_distributions(pipeline, PICTURES, tmp_path / "file", "model")
    assert "\n" not in str(caught.value) and "--resume" not in str(caught.value)


def test_keys_tell_values_apart():
    a = np.zeros((2, 3), np.uint8)
    values = [("a", "b"), ("ab",), (1, 2), (12,), (1.0, 2), (a,), (a.T,), (a.astype(np.int8),)]
    assert len({fingerprint.content_key(*each) for each in values}) == len(values)
    assert fingerprint.content_key(a.T) == fingerprint.content_key(np.ascontiguousarray(a.T))


@pytest.mark.parametrize("train_text_encoder", [False, True])
def test_text_is_encoded_once_only_while_its_encoder_is_frozen(
    tmp_path, monkeypatch, train_text_encoder
):
    # `embed` is asked for the class pictures, and by a frozen encoder once more for the whole run.
    from transformers import CLIPTextModel

    calls = []
    forward = CLIPTextModel.forward
    monkeypatch.setattr(
        CLIPTextModel, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k)
    )
    config = new_config(
        tmp_path / "out", train_text_encoder=train_text_encoder, prior_loss_weight=0.0
    )
    run(config, tmp_path / "cache")
    assert len(calls) == (5 if train_text_encoder else 1)


def test_cached_words_are_the_text_encoders():
    pipeline = tiny_pipeline()
    model = PromptedUNet(pipeline, ["a sks robot", "a robot"], trains_text_encoder=False)
    words = model.prompt_embeds
    with torch.no_grad():
        assert torch.equal(words, embed(pipeline, ["a sks robot", "a robot"]))
    assert not words.requires_grad
