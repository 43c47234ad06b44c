r"""A conditional U-Net under given prompts, as the denoiser `model(x_t, t)` that samplers call."""

from torch import Tensor

from tlab_diffusion.diffusion.guidance import guided
from tlab_diffusion.diffusion.losses import Denoiser


def denoiser(
    unet, prompt_embeds: Tensor, negative_embeds: Tensor | None = None, guidance_scale: float = 1.0
) -> Denoiser:
    r"""Wrap a U-Net that reads text embeddings.

    Args:
        unet: a diffusers `UNet2DConditionModel`; gradients flow unless the caller turns them off.
        prompt_embeds: (B, tokens, width), one a sample, on the U-Net's device.
        negative_embeds: of the prompt that guidance moves away from, usually "";
            (1, tokens, width) or one a sample. Not needed where `guidance_scale` is 1.
        guidance_scale: see `guidance.cfg`; 1 calls the U-Net once a step, not twice.

    Returns:
        `model(x_t, t)`, (B, C, h, w) in the dtype of `x_t`, also under autocast: the solver adds up
        in the noise's own precision.
    """

    def predict(x_t: Tensor, t: Tensor, embeds: Tensor) -> Tensor:
        return unet(x_t, t, encoder_hidden_states=embeds).sample.to(x_t.dtype)

    if guidance_scale == 1:
        return lambda x_t, t: predict(x_t, t, prompt_embeds)
    return guided(predict, prompt_embeds, negative_embeds.expand_as(prompt_embeds), guidance_scale)
