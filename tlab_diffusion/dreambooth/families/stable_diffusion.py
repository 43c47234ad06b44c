r"""Stable Diffusion 1.x and 2.x: one U-Net, one CLIP text encoder, a discrete noise schedule."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.diffusion.parameterization import training_target
from tlab_diffusion.diffusion.process import q_sample
from tlab_diffusion.diffusion.samplers import dpm_solver_pp_2m, spaced_timesteps
from tlab_diffusion.dreambooth.families.base import Family, OriginalModel, PromptedModel
from tlab_diffusion.dreambooth.methods import LORA, TEXTUAL_INVERSION, lora, textual_inversion
from tlab_diffusion.pipelines import embed
from tlab_diffusion.pipelines.denoiser import denoiser
from tlab_diffusion.pipelines.latents import latent_moments
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.training.fingerprint import content_key, weights_fingerprint
from tlab_diffusion.training.hardware import set_attention

if TYPE_CHECKING:
    from tlab_diffusion.dreambooth.config import DreamBoothConfig

TEXT_MODEL = "text_model."


@dataclass(frozen=True)
class DiscreteNoising:
    r"""Integer times of a noise schedule, drawn uniformly (Algorithm 1, arXiv:2006.11239).

    Args:
        alphas_cumprod: (T,), the model's schedule, on the CPU.
        prediction_type: what the model predicts.
        snr_gamma: of min-SNR weighting (arXiv:2303.09556); None for equal weights.
    """

    alphas_cumprod: Tensor
    prediction_type: str
    snr_gamma: float | None = None

    def random_time(self, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.alphas_cumprod), (), generator=generator)

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return q_sample(x0, t, noise, self.alphas_cumprod)

    def target(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        return training_target(x0, noise, t, self.alphas_cumprod, self.prediction_type)

    def weights(self, t: Tensor) -> Tensor:
        return self._weights[t]

    @cached_property
    def _weights(self) -> Tensor:
        if self.snr_gamma is None:
            return torch.ones(len(self.alphas_cumprod))
        return min_snr_weights(
            self.alphas_cumprod, gamma=self.snr_gamma, prediction_type=self.prediction_type
        )


class PromptedUNet(PromptedModel):
    r"""The U-Net under the run's prompts.

    Args:
        pipeline: a Stable Diffusion pipeline, whose parts it trains in place.
        prompts: P prompts.
        trains_text_encoder: whether anything in it learns. A frozen one is called once a run.
    """

    def __init__(self, pipeline, prompts: Sequence[str], *, trains_text_encoder: bool):
        super().__init__()
        self.unet = pipeline.unet
        self.prompt_embeds = None
        if trains_text_encoder:
            self.text_encoder = pipeline.text_encoder
            self.ids = tokenise(pipeline.tokenizer, prompts).to(pipeline.device)
        else:
            with torch.no_grad():
                self.prompt_embeds = embed(pipeline, prompts)

    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        embeds = self.prompt_embeds
        if embeds is None:  # each prompt is encoded once, however many samples have it
            used, prompt = torch.unique(prompt, return_inverse=True)
            embeds = self.text_encoder(self.ids[used])[0]
        return self.unet(x_t, t, encoder_hidden_states=embeds[prompt]).sample


class _FusedAttention(torch.autograd.Function):
    """Fused attention on the meta device: the right shapes, and what the kernels save."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1]))
        return output


class _CountFusedAttention(TorchFunctionMode):
    """Attention is `_FusedAttention`: torch has no fused kernel for the meta device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is nn.functional.scaled_dot_product_attention:
            return _FusedAttention.apply(*args[:3])
        return function(*args, **kwargs or {})


class MetaFusedAttention:
    """An attention processor of diffusers that saves what fused kernels save."""

    def __call__(self, *args, **kwargs) -> Tensor:
        from diffusers.models.attention_processor import AttnProcessor2_0

        with _CountFusedAttention():
            return AttnProcessor2_0()(*args, **kwargs)


class StableDiffusion(Family):
    """`StableDiffusionPipeline`."""

    network = "unet"
    text_encoder = "text_encoder"
    # The projections of attention: query, key, value and output, in diffusers' and CLIP's names.
    lora_targets = {
        "unet": ("to_q", "to_k", "to_v", "to_out.0"),
        "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
    }

    def native_resolution(self, folder: Path) -> int:
        return int(_config(folder, "unet")["sample_size"]) * _pixels_per_latent(folder)

    def empty_network(self, folder: Path) -> nn.Module:
        from diffusers import UNet2DConditionModel

        return UNet2DConditionModel.from_config(_config(folder, "unet"))

    def example_inputs(self, folder: Path, resolution: int, tokens: int) -> tuple[Tensor, ...]:
        unet, side = _config(folder, "unet"), resolution // _pixels_per_latent(folder)
        return (
            torch.empty(1, unet["in_channels"], side, side),
            torch.zeros(1),
            torch.empty(1, tokens, unet["cross_attention_dim"], requires_grad=True),
        )

    def set_up_counting(
        self, network: nn.Module, *, fused_attention: bool, checkpoint: Callable | None
    ) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        network.set_attn_processor(MetaFusedAttention() if fused_attention else AttnProcessor())
        network.disable_gradient_checkpointing()
        if checkpoint is not None:
            network.enable_gradient_checkpointing(checkpoint)

    def fingerprint(self, pipeline) -> str:
        vocabulary = sorted(pipeline.tokenizer.get_vocab().items())
        scheduler = pipeline.scheduler
        return content_key(
            weights_fingerprint((pipeline.unet, pipeline.text_encoder, pipeline.vae)),
            vocabulary,
            scheduler.alphas_cumprod.cpu().numpy(),
            scheduler.config.prediction_type,
        )

    def encode_pictures(self, pipeline, pictures: np.ndarray) -> Tensor:
        return latent_moments(pipeline.vae, pictures)

    def noising(self, pipeline, snr_gamma: float | None) -> DiscreteNoising:
        scheduler = pipeline.scheduler
        return DiscreteNoising(
            scheduler.alphas_cumprod.cpu(), scheduler.config.prediction_type, snr_gamma
        )

    def prepare(self, pipeline, config: "DreamBoothConfig") -> PromptedUNet:
        rows = pipeline.text_encoder.get_input_embeddings().num_embeddings
        textual_inversion.check_table(pipeline.tokenizer, rows)
        if config.method == LORA:
            parts = {name: getattr(pipeline, name) for name in self.trained_parts(config)}
            lora.add_adapters(parts, self.lora_targets, config.lora_rank, config.seed)
        elif config.method == TEXTUAL_INVERSION:
            pipeline.unet.requires_grad_(False)
            textual_inversion.add_row(
                pipeline.text_encoder, pipeline.tokenizer, config.identifier, config.class_noun
            )
        model = PromptedUNet(
            pipeline, config.prompts, trains_text_encoder=config.trains_text_encoder
        )
        model.train()
        if config.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
            if config.trains_text_encoder:
                pipeline.text_encoder.activation_checkpointing_enable()
        set_attention(pipeline.unet, pipeline.device)
        return model

    def original(self, pipeline, config: "DreamBoothConfig") -> OriginalModel:
        model = PromptedUNet(pipeline, config.prompts, trains_text_encoder=False)
        if config.method != LORA:
            model.unet = copy.deepcopy(pipeline.unet).requires_grad_(False)
            set_attention(model.unet, pipeline.device)

        def predict(x_t: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
            with torch.no_grad(), lora.adapters_off(model.unet):
                return model(x_t, t, prompt)

        return predict

    @torch.inference_mode()
    def sample_latents(
        self, pipeline, prompts: Sequence[str], noise: Tensor, *, steps: int, guidance_scale: float
    ) -> Tensor:
        embeds, negative = embed(pipeline, [*prompts, ""]).split([len(prompts), 1])
        alphas_cumprod = pipeline.scheduler.alphas_cumprod
        path = dpm_solver_pp_2m(
            denoiser(pipeline.unet, embeds, negative, guidance_scale),
            noise,
            alphas_cumprod,
            spaced_timesteps(len(alphas_cumprod), steps),
            prediction_type=pipeline.scheduler.config.prediction_type,
        )
        *_, last = path
        return last.x

    def rename_saved_weights(self, folder: Path) -> None:
        # transformers 4 loads names without the prefix as random weights, with a warning only.
        for file in (folder / self.text_encoder).glob("*.safetensors"):
            save_file(_prefixed(load_file(file)), file, {"format": "pt"})

    def save_lora(self, adapters: dict[str, dict[str, Tensor]], folder: Path) -> None:
        from diffusers import StableDiffusionPipeline

        if self.text_encoder in adapters:
            adapters = adapters | {self.text_encoder: _prefixed(adapters[self.text_encoder])}
        layers = {f"{name}_lora_layers": weights for name, weights in adapters.items()}
        StableDiffusionPipeline.save_lora_weights(folder, **layers)


def _prefixed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's weights in the names that all versions of transformers read."""
    return {TEXT_MODEL + name.removeprefix(TEXT_MODEL): value for name, value in weights.items()}


def _config(folder: Path, part: str) -> dict:
    return json.loads((folder / part / "config.json").read_text(encoding="utf-8"))


def _pixels_per_latent(folder: Path) -> int:
    return 2 ** (len(_config(folder, "vae")["block_out_channels"]) - 1)
