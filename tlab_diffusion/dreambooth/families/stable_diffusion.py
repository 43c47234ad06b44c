r"""What learns: all of the U-Net, adapters in it, or one word; the text encoder maybe along."""

import torch
from torch import Tensor, nn

from tlab_diffusion.dreambooth.cache.latents import text_embeddings
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.methods import lora, textual_inversion
from tlab_diffusion.dreambooth.presets import LORA, TEXTUAL_INVERSION
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.training.hardware import set_attention


class TextToNoise(nn.Module):
    r"""The U-Net under the run's prompts; of its parameters those learn that want a gradient.

    Args:
        pipeline: a Stable Diffusion pipeline, whose parts it trains in place.
        prompts: P prompts.
        trains_text_encoder: whether anything in it learns. A frozen one is called once a run.
    """

    def __init__(self, pipeline, prompts: list[str], *, trains_text_encoder: bool):
        super().__init__()
        self.unet = pipeline.unet
        if trains_text_encoder:
            self.text_encoder = pipeline.text_encoder
            self.ids = tokenise(pipeline.tokenizer, prompts).to(pipeline.device)
        else:
            self.text_encoder = None
            self.words = text_embeddings(pipeline, prompts)

    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        r"""What the U-Net predicts.

        Args:
            x_t: (B, C, h, w).
            t: (B,).
            prompt: (B,) numbers of the prompts. Each prompt is encoded once, however many
                samples have it.
        """
        if self.text_encoder is None:
            words = self.words
        else:
            asked, prompt = torch.unique(prompt, return_inverse=True)
            words = self.text_encoder(self.ids[asked])[0]
        return self.unet(x_t, t, encoder_hidden_states=words[prompt]).sample

    def parts(self) -> dict[str, nn.Module]:
        """The U-Net, and the text encoder where something in it learns, by name."""
        parts = {"unet": self.unet, "text_encoder": self.text_encoder}
        return {name: part for name, part in parts.items() if part is not None}


def prepare(pipeline, config: DreamBoothConfig) -> TextToNoise:
    r"""Choose what learns, and save memory and time where asked.

    Args:
        pipeline: a Stable Diffusion pipeline in float32; changed in place.
        config: the run's settings.
    """
    if config.method == LORA:
        names = ("unet", "text_encoder") if config.train_text_encoder else ("unet",)
        parts = {name: getattr(pipeline, name) for name in names}
        lora.add_adapters(parts, config.lora_rank, config.seed)
    elif config.method == TEXTUAL_INVERSION:
        textual_inversion.add_row(pipeline, config.identifier, config.class_noun)
    class_prompts = (config.class_prompt,) if config.with_prior else ()
    prompts = [*config.instance_prompts, *class_prompts]
    model = TextToNoise(pipeline, prompts, trains_text_encoder=config.trains_text_encoder)
    model.train()
    if config.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        if config.trains_text_encoder:
            pipeline.text_encoder.activation_checkpointing_enable()
    set_attention(pipeline.unet, pipeline.device)
    return model
