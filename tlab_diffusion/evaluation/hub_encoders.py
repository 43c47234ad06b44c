r"""The paper's encoders, where they can be loaded: CLIP ViT-B/32 and DINO ViT-S/16.

Section 4.2, arXiv:2208.12242: DINO is the class token, of pictures resized to 256, cut to the
central 224 and normalised as ImageNet's are; CLIP's pictures are resized to 224.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.encoders import Encoders, shipped_encoders
from tlab_diffusion.evaluation.pictures import SIZE
from tlab_diffusion.training.hardware import best_device

CLIP = "openai/clip-vit-base-patch32"
DINO = "facebook/dino-vits16"
BATCH = 64


def hub_encoders(clip: str = CLIP, dino: str = DINO, device: str | None = None) -> Encoders:
    r"""Load the paper's encoders; they take pictures of any size.

    Args:
        clip: a hub id or a folder with a CLIP model and its tokenizer.
        dino: a hub id or a folder with a vision transformer.
        device: where they run; `best_device()` when left out.

    Raises:
        InputError: one of them cannot be loaded.
    """
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer, ViTModel
    from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    device = device or best_device()
    pair = _loaded(CLIPModel, clip).to(device).eval()
    tokenizer = _loaded(CLIPTokenizer, clip)
    # The pooling layer was never trained; DINO trains the class token.
    vit = _loaded(ViTModel, dino, add_pooling_layer=False).to(device).eval()
    cut_as_clip = CLIPImageProcessorPil()
    cut_as_dino = CLIPImageProcessorPil(
        size={"shortest_edge": 256},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )

    @torch.inference_mode()
    def text(captions: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
        return pair.get_text_features(**tokens.to(device)).pooler_output.float().cpu()

    return Encoders(
        identity=_encoder(cut_as_dino, lambda x: vit(x).last_hidden_state[:, 0], device),
        image=_encoder(cut_as_clip, lambda x: pair.get_image_features(x).pooler_output, device),
        text=text,
        name=f"{clip} and {dino}",
    )


def suitable_encoders(side: int) -> Encoders:
    r"""The encoders that suit pictures of this side: the shipped ones for the picture book's.

    For other sides the paper's encoders are loaded. Where that fails, the shipped ones are used on
    pictures resized to their own side, without recognisers. This is coarse, and their name says so.

    Args:
        side: pixels.
    """
    if side == SIZE:
        return shipped_encoders()
    try:
        return hub_encoders()
    except InputError:
        own = shipped_encoders()
        return Encoders(
            identity=own.identity,
            image=own.image,
            text=own.text,
            name=f"{own.name}, on pictures reduced to {SIZE} pixels: CLIP and DINO cannot be had",
        )


def _encoder(
    prepare, model: Callable[[Tensor], Tensor], device: str
) -> Callable[[np.ndarray], Tensor]:
    """Pictures (N, H, W, 3) uint8 to features (N, D), a batch at a time."""

    @torch.inference_mode()
    def encode(pictures: np.ndarray) -> Tensor:
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = list(pictures[start : start + BATCH])
            pixels = prepare(batch, return_tensors="pt", input_data_format="channels_last")
            parts.append(model(pixels["pixel_values"].to(device)).float().cpu())
        return torch.cat(parts)

    return encode


def _loaded(kind, name: str, **options):
    try:
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            "encoders",
            got=f"{name}, which cannot be loaded ({reason})",
            expected="a model on this machine or on the hub",
            fix="Without a network, measure with the course's own encoders.",
        ) from error
