"""The paper's encoders, by tiny stand-ins of the same build."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    ViTConfig,
    ViTModel,
)

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.hub_encoders import hub_encoders
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
SMALL |= {"num_attention_heads": 2}
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
OPENAI = torch.tensor([[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]])


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    tokenizer = new_tokenizer()
    vision = CLIPVisionConfig(**SMALL, image_size=224, patch_size=32)
    words = CLIPTextConfig(
        **SMALL, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, projection_dim=8
    )
    clip = CLIPModel(CLIPConfig(text_config=words.to_dict(), vision_config=vision.to_dict()))
    dino = ViTModel(ViTConfig(**SMALL, image_size=224, patch_size=16))
    return clip.eval(), tokenizer, dino.eval()


@pytest.fixture(scope="module")
def encoders(models, tmp_path_factory):
    clip, tokenizer, dino = models
    folder = tmp_path_factory.mktemp("encoders")
    clip.save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    dino.save_pretrained(folder / "dino")
    return hub_encoders(str(folder / "clip"), str(folder / "dino"), device="cpu")


def pixels(pictures, side, mean_and_std):
    """By hand: resized to `side`, cut to the central 224, normalised."""
    mean, std = mean_and_std[:, :, None, None]
    edge = (side - 224) // 2
    box = (edge, edge, edge + 224, edge + 224)
    resized = [Image.fromarray(x).resize((side, side), Image.BICUBIC).crop(box) for x in pictures]
    x = torch.stack([torch.from_numpy(np.array(each)) for each in resized]).permute(0, 3, 1, 2)
    return (x / 255 - mean) / std


@pytest.mark.parametrize("size", [64, 300])
@torch.inference_mode()
def test_pictures_are_prepared_as_the_paper_does(models, encoders, size):
    clip, _, dino = models
    pictures = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    expected = dino(pixels(pictures, 256, IMAGENET)).last_hidden_state[:, 0]
    torch.testing.assert_close(encoders.identity(pictures), expected, atol=1e-4, rtol=1e-4)
    expected = clip.visual_projection(
        clip.vision_model(pixels(pictures, 224, OPENAI)).pooler_output
    )
    torch.testing.assert_close(encoders.image(pictures), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_words_are_read_whatever_their_number(models, encoders):
    clip, tokenizer, _ = models
    captions = ["a robot on the moon", "a cat", "a cat " * 100]
    features = encoders.text(captions)
    for caption, row in zip(captions[:2], features, strict=False):
        alone = clip.text_model(**tokenizer(caption, return_tensors="pt")).pooler_output
        torch.testing.assert_close(row, clip.text_projection(alone)[0], atol=1e-5, rtol=1e-4)
    assert features.shape == (3, clip.config.projection_dim) and features.isfinite().all()


def test_what_cannot_be_had_is_named(tmp_path):
    with pytest.raises(
        InputError, match="encoders: got .*nothing, which cannot be loaded"
    ) as error:
        hub_encoders(str(tmp_path / "nothing"), device="cpu")
    assert "the course's own encoders" in str(error.value) and "\n" not in str(error.value)
