r"""The parts of `picturebook` before training, and how they become one pipeline folder."""

import copy
from pathlib import Path

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tlab_diffusion.pipelines.part_config import forget_origin, load_in_float32

TEXT_WIDTH = 128
TEXT_LAYERS = 3


def new_vae(channels: tuple[int, ...]) -> AutoencoderKL:
    """An untrained autoencoder; each rung after the first halves the picture's sides."""
    rungs = len(channels)
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * rungs,
        up_block_types=["UpDecoderBlock2D"] * rungs,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
    )


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
        sample_size=16,
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
