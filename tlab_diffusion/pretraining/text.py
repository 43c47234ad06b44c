r"""The CLIP pair: a text encoder learns what captions mean by matching them with pictures.

In a batch of B pictures with their captions, the caption of picture i should be nearer to it than
the other B - 1 captions, and the picture nearer to it than the other pictures: two classifications
with B classes, whose logits are cosines times a learned scale (arXiv:2103.00020, Figure 3).
The pipeline keeps the text encoder; the image encoder was only its teacher.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tlab_diffusion.diffusion.conditioning import contrastive_loss
from tlab_diffusion.picturebook import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    PATTERNS,
    caption,
    random_scene,
)
from tlab_diffusion.picturebook.factors import IDENTIFIERS
from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining.stage import NewBatch, StageConfig

GREATEST_SCALE = 100.0  # of the cosines, as in the paper
# How far words are moved apart (colours lie as far), and what teaches an encoder to do it.
APART, APART_IN_SUMMARY = 5.0, 2.5
APART_STEPS, APART_BATCH, APART_RATE = 150, 64, 1e-3


@dataclass(frozen=True, kw_only=True)
class TextConfig(StageConfig):
    """The CLIP pair's numbers in the recipe."""

    num_scenes: int
    captions_per_scene: int  # each leaves other factors out


def new_image_encoder(width: int) -> nn.Sequential:
    """A small convolutional network: (B, 3, 64, 64) to (B, width)."""
    channels = (3, 32, 64, 128, 128)
    layers = []
    for before, after in zip(channels, channels[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after)]
        layers += [nn.SiLU()]
    return nn.Sequential(
        *layers, nn.Conv2d(128, 256, 4), nn.SiLU(), nn.Flatten(), nn.Linear(256, width)
    )


def matching_loss(a: Tensor, b: Tensor, log_scale: Tensor) -> Tensor:
    r"""`contrastive_loss` of features (B, D), at a learned scale that is kept from running away."""
    return contrastive_loss(a, b, 1 / log_scale.exp().clamp(max=GREATEST_SCALE))


class ClipPair(nn.Module):
    r"""Text and image encoder, with the contrastive loss of pictures x and captions' token ids.

    Args:
        text_encoder: of hidden size `width`.
    """

    compares_samples = True

    def __init__(self, text_encoder: CLIPTextModel):
        super().__init__()
        width = text_encoder.config.hidden_size
        self.text_encoder = text_encoder
        self.image_encoder = new_image_encoder(width)
        self.text_projection = nn.Linear(width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def text_features(self, ids: Tensor) -> Tensor:  # (B, L) to (B, width), of length 1
        pooled = self.text_encoder(ids).pooler_output
        return F.normalize(self.text_projection(pooled).float(), dim=1)

    def image_features(self, x: Tensor) -> Tensor:  # (B, 3, 64, 64) to (B, width), of length 1
        return F.normalize(self.image_encoder(x).float(), dim=1)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return matching_loss(self.image_features(x), self.text_features(ids), self.log_scale)


def training_captions(tokenizer: CLIPTokenizer, num_scenes: int, per_scene: int) -> Tensor:
    r"""Token ids of the captions of scenes 0 to num_scenes - 1, in several wordings.

    Returns:
        (num_scenes, per_scene, model_max_length) int16.
    """
    ids = []
    for seed in range(num_scenes):
        scene = random_scene(seed)
        ids.append([caption(scene, seed=seed + 2**32 * wording) for wording in range(per_scene)])
    flat = tokenise(tokenizer, [text for wordings in ids for text in wordings])
    return flat.view(num_scenes, per_scene, -1).to(torch.int16)


@torch.no_grad()
def forget_identifiers(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
    r"""Make the rare tokens strangers again: their rows become random blends of known words' rows.

    Captions carried them without a meaning, and a model that has learnt to ignore a word is slow
    to give it one. A blend, as long as a word usually is, means nothing either, but it is heard:
    with rows of noise, as short as before training, the encoder said nearly the same for all
    identifiers, and 400 steps of DreamBooth taught no subject.
    """
    ids = tokenizer.get_vocab()
    rows = text_encoder.get_input_embeddings().weight
    words = (*COLOURS, *PATTERNS, *CLASSES, *ACCESSORIES)
    known = rows[[ids[word + "</w>"] for word in words if word + "</w>" in ids]].clone()
    generator = torch.Generator().manual_seed(0)
    for identifier in IDENTIFIERS:
        blend = torch.randn(len(known), generator=generator).to(known) @ known
        rows[ids[identifier + "</w>"]] = known.norm(dim=1).mean() * F.normalize(blend, dim=0)


def tell_apart(
    text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, words: Sequence[str], ids: Tensor
) -> None:
    r"""Move the states of some words apart, and leave all other states where they are.

    A mood is a few pixels, so the CLIP pair learns to hear one word in all four: their states lay
    0.6 from their mean, those of colours 6, and a U-Net that trained on them for 10 600 steps
    drew moods as by chance. The encoder learns its own states again, with each word moved in a
    direction of its own, at right angles to the others: where it stands, and in the summary of the
    caption, the end token and the padding after it, to which half of all attention goes.

    Args:
        text_encoder: changed in place; all of it learns.
        tokenizer: knows each of the words as one token.
        words: to be told apart, at most as many as the encoder is wide.
        ids: (N, L) token ids of captions to learn on.
    """
    generator = torch.Generator().manual_seed(0)
    before = copy.deepcopy(text_encoder).requires_grad_(False)
    tokens = torch.tensor([tokenizer.get_vocab()[word + "</w>"] for word in words])
    width = text_encoder.config.hidden_size
    directions = torch.linalg.qr(torch.randn(width, len(words), generator=generator)).Q.T
    optimizer = torch.optim.Adam(text_encoder.parameters())
    for step in range(APART_STEPS):
        batch = ids[torch.randint(len(ids), (APART_BATCH,), generator=generator)].long()
        here = (batch[..., None] == tokens).float()  # (B, L, words)
        said = here.amax(dim=1, keepdim=True)  # (B, 1, words)
        summary = (batch == tokenizer.eos_token_id).cumsum(dim=1)[..., None] > 0  # (B, L, 1)
        moves = (APART * here + APART_IN_SUMMARY * said * summary) @ directions
        errors = text_encoder(batch).last_hidden_state - before(batch).last_hidden_state - moves
        errors, moved = errors.square().sum(dim=-1), moves.any(dim=-1)
        # Two means, so that the moved states count as much as the many that stay.
        loss = errors[moved].mean() + errors[~moved].mean()
        optimizer.param_groups[0]["lr"] = APART_RATE * (1 - step / APART_STEPS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pair_batches(pictures: np.ndarray, captions: Tensor, config: TextConfig) -> NewBatch:
    r"""Batches of pictures (N, 64, 64, 3) uint8, each with one of its captions (N, K, L)."""

    def new_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(pictures), (config.batch_size,), generator=generator)
        wording = torch.randint(captions.shape[1], (config.batch_size,), generator=generator)
        return to_tensor(pictures[chosen.numpy()]), captions[chosen, wording].long()

    return new_batch
