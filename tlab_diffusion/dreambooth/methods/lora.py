r"""LoRA: the weights stay, small adapters beside them learn (arXiv:2106.09685).

A projection `W` of attention becomes `W + B A` (Eq. 3, with alpha = r, so that the scale is 1),
where `A` has r rows and `B` r columns. `B` starts at 0: before the first step nothing has changed.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

# The projections of attention: query, key, value and output, as diffusers and CLIP call them.
TARGETS = {
    "unet": ("to_q", "to_k", "to_v", "to_out.0"),
    "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
}


def add_adapters(parts: Mapping[str, nn.Module], rank: int, seed: int) -> None:
    r"""Put adapters beside the projections of parts, in place; their other weights freeze.

    Args:
        parts: by name, of `TARGETS`.
        rank: r.
        seed: of what `A` starts from. Other random numbers are left alone.
    """
    with torch.random.fork_rng(devices=[]):  # adapters are drawn on the processor
        torch.default_generator.manual_seed(seed % 2**64)
        for name, part in parts.items():
            targets = list(TARGETS[name])
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
            inject_adapter_in_model(config, part)


def numbers(shapes: Mapping[str, tuple[int, ...]], name: str, rank: int) -> int:
    r"""How many numbers the adapters of a part have, counted from its weights' names.

    Args:
        shapes: of the part's tensors, by name.
        name: of the part.
        rank: r.
    """
    return rank * sum(sum(shape) for key, shape in shapes.items() if is_projection(key, name))


def is_projection(key: str, name: str) -> bool:
    """Whether a weight of this name in a part would get an adapter."""
    return key.endswith(tuple(f".{target}.weight" for target in TARGETS[name]))


def has_adapters(part: nn.Module) -> bool:
    """Whether a part has adapters in it."""
    return any(isinstance(layer, BaseTunerLayer) for layer in part.modules())


def merged(part: nn.Module) -> nn.Module:
    """A part without adapters, their sums in its weights: the part itself where it has none."""
    if not has_adapters(part):
        return part
    part = copy.deepcopy(part)
    for name, layer in list(part.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            part.set_submodule(name, layer.get_base_layer())
    return part


def save_adapters(parts: Mapping[str, nn.Module], folder: Path) -> None:
    r"""Write the adapters alone, as `load_lora_weights(folder)` of diffusers reads them.

    Nothing is written where no part has adapters.

    Args:
        parts: of a pipeline, by name.
        folder: gets `pytorch_lora_weights.safetensors`.
    """
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers

    layers = {
        f"{name}_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(part))
        for name, part in parts.items()
        if has_adapters(part)
    }
    if layers:
        StableDiffusionPipeline.save_lora_weights(folder, **layers)
