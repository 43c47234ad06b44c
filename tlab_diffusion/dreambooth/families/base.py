r"""What the trainer must know of a family of models.

A family is a class in a file of its own and a line in `families.FAMILIES`. All else, such as the
training step, the caches, the export and the measures, is the same for every family.

Shapes: B samples of a part of a step; P prompts of a run; a sample's latents have `latent_shape`,
written (...) below. A prompt is known by its number, from 0 to P - 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from tlab_diffusion.dreambooth.config import DreamBoothConfig


class Noising(Protocol):
    """How noise is added in training, and what the model is asked for. All on the CPU."""

    def random_time(self, generator: torch.Generator) -> Tensor:
        """The time of one sample, a scalar tensor."""

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Clean latents (B, ...) with noise (B, ...) at times (B,): the model's input x_t."""

    def target(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the model should predict, (B, ...)."""

    def weights(self, t: Tensor) -> Tensor:
        """(B,) weights of the squared errors at these times."""


# Like `PromptedModel.forward`, of the model before training and without gradients.
OriginalModel = Callable[[Tensor, Tensor, Tensor], Tensor]


class PromptedModel(nn.Module, ABC):
    r"""The network under the run's prompts. Parameters that require a gradient are trained.

    Its submodules have the names of the pipeline's parts: checkpoints use these names.
    """

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, prompt: Tensor) -> Tensor:
        r"""The prediction, in the form of `Noising.target`.

        Args:
            x_t: (B, ...) noisy latents.
            t: (B,) times, as `Noising.random_time` gives them.
            prompt: (B,) numbers of prompts.

        Returns:
            (B, ...), with gradients. Signs, packing of latents and scaling of times are done here.
        """

    def parts(self) -> dict[str, nn.Module]:
        """The parts of the pipeline that are in this model, by name."""
        return dict(self.named_children())


class Family(ABC):
    r"""What differs between model families. An object without state.

    Attributes:
        network: name of the part that predicts, such as "unet".
        text_encoder: name of the text encoder that can be trained.
        lora_targets: for each of these two, the ends of the names of the layers that get adapters.
    """

    network: str
    text_encoder: str
    lora_targets: Mapping[str, tuple[str, ...]]

    def trained_parts(self, config: "DreamBoothConfig") -> tuple[str, ...]:
        """Names of the parts that DreamBooth and LoRA train."""
        return (self.network, self.text_encoder) if config.train_text_encoder else (self.network,)

    # Of a pipeline's folder; no weights are read.

    @abstractmethod
    def native_resolution(self, folder: Path) -> int:
        r"""Side in pixels of the pictures that the model was made for.

        Raises:
            OSError, ValueError, KeyError, TypeError: the folder is damaged.
        """

    @abstractmethod
    def empty_network(self, folder: Path) -> nn.Module:
        """A network with the folder's config, on the default device, and any weights."""

    @abstractmethod
    def example_inputs(self, folder: Path, resolution: int, tokens: int) -> tuple[Tensor, ...]:
        r"""Inputs of `empty_network` for one picture and one prompt; the text wants a gradient.

        Args:
            folder: the pipeline's.
            resolution: side of the picture in pixels.
            tokens: of the prompt.
        """

    @abstractmethod
    def set_up_counting(
        self, network: nn.Module, *, fused_attention: bool, checkpoint: Callable | None
    ) -> None:
        r"""Choose how `empty_network` computes on the meta device.

        Args:
            network: changed in place.
            fused_attention: whether attention saves only its inputs, its output and a number for
                each query, as fused kernels do, instead of all attention weights.
            checkpoint: `checkpoint(block, *inputs)` runs each block; None for no gradient
                checkpointing.
        """

    # Of a pipeline that is loaded.

    @abstractmethod
    def fingerprint(self, pipeline) -> str:
        """A short name for weights, vocabulary and noise schedule: the key of caches."""

    @abstractmethod
    def encode_pictures(self, pipeline, pictures: np.ndarray) -> Tensor:
        r"""The distributions of latents that the autoencoder gives pictures, normalised.

        Args:
            pipeline: with the autoencoder.
            pictures: (N, H, W, 3) uint8.

        Returns:
            (N, 2C, ...) float32 on the CPU: means, then standard deviations, shifted and scaled as
            the network reads them. Deviations are 0 where the encoder gives no distribution.
        """

    @abstractmethod
    def noising(self, pipeline, snr_gamma: float | None) -> Noising:
        """How noise is added; `snr_gamma` is of min-SNR weighting, None for equal weights."""

    @abstractmethod
    def prepare(self, pipeline, config: "DreamBoothConfig") -> PromptedModel:
        r"""Choose what is trained, and save memory and time as the settings ask.

        Args:
            pipeline: float32 weights; changed in place.
            config: the run's settings. The prompts are `config.prompts`.

        Raises:
            InputError: settings that this family cannot follow.
        """

    @abstractmethod
    def original(self, pipeline, config: "DreamBoothConfig") -> OriginalModel:
        r"""The model as it is before `prepare`, which then does not change it.

        Args:
            pipeline: float32 weights; a frozen copy is made of those that will be trained. The
                original of LoRA's is the same network with its adapters off.
            config: the run's settings. The prompts have the numbers of `prepare`.
        """

    @abstractmethod
    def sample_latents(
        self, pipeline, prompts: Sequence[str], noise: Tensor, *, steps: int, guidance_scale: float
    ) -> Tensor:
        r"""Sample pictures without decoding them.

        Args:
            pipeline: the original model.
            prompts: B, one of each sample.
            noise: (B, ...) float32, on the pipeline's device.
            steps: of the solver.
            guidance_scale: 1 is off.

        Returns:
            (B, ...) float32, normalised as `encode_pictures` does; without gradients.
        """

    @abstractmethod
    def rename_saved_weights(self, folder: Path) -> None:
        """Give the weights of a saved pipeline the names that older libraries read too."""

    @abstractmethod
    def save_lora(self, adapters: dict[str, dict[str, Tensor]], folder: Path) -> None:
        r"""Write adapters as `load_lora_weights(folder)` of diffusers reads them.

        Args:
            adapters: for each part, what `lora.adapter_weights` gives.
            folder: gets `pytorch_lora_weights.safetensors`.
        """
