r"""What learns: the U-Net, and the text encoder where it learns along."""

from torch import Tensor, nn

from tlab_diffusion.dreambooth.caches import text_embeddings
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining.pace import suit_attention


class TextToNoise(nn.Module):
    r"""The U-Net under the run's prompts; its parameters are those that learn.

    Args:
        pipeline: a Stable Diffusion pipeline, whose parts it trains in place.
        prompts: P prompts.
        train_text_encoder: whether the text encoder learns along. A frozen one is asked once.
    """

    def __init__(self, pipeline, prompts: list[str], *, train_text_encoder: bool):
        super().__init__()
        self.unet = pipeline.unet
        if train_text_encoder:
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
        words = self.words if self.text_encoder is None else self.text_encoder(self.ids)[0]
        return self.unet(x_t, t, encoder_hidden_states=words[prompt]).sample

    def parts(self) -> dict[str, nn.Module]:
        """The pipeline's parts that learn, by name."""
        parts = {"unet": self.unet, "text_encoder": self.text_encoder}
        return {name: part for name, part in parts.items() if part is not None}


def prepare(pipeline, config: DreamBoothConfig) -> TextToNoise:
    r"""Choose what learns, and save memory and time where asked.

    Args:
        pipeline: a Stable Diffusion pipeline in float32; changed in place.
        config: the run's settings.
    """
    prompts = [config.instance_prompt, config.class_prompt][: 2 if config.with_prior else 1]
    model = TextToNoise(pipeline, prompts, train_text_encoder=config.train_text_encoder)
    model.train()
    if config.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        if config.train_text_encoder:
            pipeline.text_encoder.activation_checkpointing_enable()
    suit_attention(pipeline.unet, pipeline.device)
    return model
