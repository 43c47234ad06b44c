r"""The parts of `picturebook` before training, and how they become one pipeline folder."""

import copy
import re
from pathlib import Path

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.part_config import forget_origin, load_in_float32

TEXT_WIDTH = 128
TEXT_LAYERS = 3
LATENT_SIDE = 16
DOWN_BLOCK = re.compile(r"(encoder\.down_blocks\.)(\d+)")


def new_vae(channels: tuple[int, ...]) -> AutoencoderKL:
    """An untrained autoencoder to latents (4, 16, 16); each level but the first halves a side."""
    levels = len(channels)
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=LATENT_SIDE * 2 ** (levels - 1),
    )


def grown_vae(base: AutoencoderKL, channels: tuple[int, ...]) -> AutoencoderKL:
    r"""An autoencoder for pictures of twice the side, with the inner levels of a trained one.

    One level is added at the new resolution, as in progressive growing (arXiv:1710.10196). Its
    residual branches start at zero and its upsampling as a copy of each pixel, so the decoder
    starts near an enlarged picture of the base's.

    Args:
        base: the trained autoencoder, on the CPU, in float32.
        channels: of all levels, the new one first.

    Raises:
        InputError: if the other levels are not those of the base.
    """
    inner = tuple(base.config.block_out_channels)
    if tuple(channels[1:]) != inner:
        raise InputError(
            "recipe vae.channels",
            got=f"{list(channels)}, from a base with {list(inner)}",
            expected=f"{list(inner)}, or these with one level before them",
        )
    grown = new_vae(channels)
    grown.register_to_config(scaling_factor=base.config.scaling_factor)
    deepest = len(inner) - 1
    decoder, encoder = grown.decoder, grown.encoder
    _start_at_zero(encoder.down_blocks[0], decoder.up_blocks[-1])
    upsampling = decoder.up_blocks[deepest].upsamplers[0].conv
    nn.init.dirac_(upsampling.weight)
    nn.init.zeros_(upsampling.bias)
    weights = grown.state_dict()
    for name, tensor in base.state_dict().items():
        name = DOWN_BLOCK.sub(lambda found: f"{found[1]}{int(found[2]) + 1}", name)
        if name in weights and weights[name].shape == tensor.shape:
            weights[name] = tensor.clone()
    grown.load_state_dict(weights)
    return grown


def _start_at_zero(*blocks: nn.Module) -> None:
    """Let the residual blocks of a level add nothing at first."""
    for block in blocks:
        for resnet in block.resnets:
            nn.init.zeros_(resnet.conv2.weight)
            nn.init.zeros_(resnet.conv2.bias)


def text_config(tokenizer: CLIPTokenizer, width: int = TEXT_WIDTH) -> CLIPTextConfig:
    """The text encoder's shape: a small CLIP, with the tokenizer's own ids."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def new_unet(
    channels: tuple[int, int] = (64, 128), text_width: int = TEXT_WIDTH
) -> UNet2DConditionModel:
    """An untrained U-Net for 16 x 16 latents, which reads the caption at 8 x 8."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=text_width,
        attention_head_dim=4,  # diffusers' name for the number of heads
        norm_num_groups=16,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule; the last step lands on x0."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


def new_pipeline(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> StableDiffusionPipeline:
    """Join the parts into a pipeline that samples."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(
    folder: Path,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> None:
    """Write a whole Stable Diffusion folder in half precision."""
    halves = [copy.deepcopy(part).half() for part in (vae, text_encoder, unet)]
    pipeline = new_pipeline(halves[0], halves[1], tokenizer, halves[2])
    pipeline.save_pretrained(folder, safe_serialization=True)
    load_in_float32(folder / "text_encoder")
    for part in ("vae", "unet"):
        forget_origin(folder / part)
