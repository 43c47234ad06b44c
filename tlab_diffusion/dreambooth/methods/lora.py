r"""LoRA: the weights are frozen, small adapters added to them are trained (arXiv:2106.09685).

A projection `W` of attention becomes `W + B A` (Eq. 3, with alpha = r, so that the scale is 1),
where `A` has r rows and `B` r columns. `B` starts at 0, so an untrained adapter changes nothing.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn


def add_adapters(
    parts: Mapping[str, nn.Module], targets: Mapping[str, Sequence[str]], rank: int, seed: int
) -> None:
    r"""Add adapters to the projections of parts, in place, and freeze all other weights.

    Args:
        parts: by name.
        targets: for each part, the ends of the names of its projections; see `Family`.
        rank: r.
        seed: of the start of `A`. The global random state does not change.
    """
    with torch.random.fork_rng(devices=[]):  # adapters are initialised on the CPU
        torch.default_generator.manual_seed(seed % 2**64)
        for name, part in parts.items():
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets[name]))
            inject_adapter_in_model(config, part)


def num_parameters(shapes: Mapping[str, tuple[int, ...]], targets: Sequence[str], rank: int) -> int:
    r"""How many parameters the adapters of a part have.

    Args:
        shapes: of the part's tensors, by name.
        targets: the ends of the names of its projections.
        rank: r.
    """
    return rank * sum(sum(shape) for name, shape in shapes.items() if is_target(name, targets))


def is_target(name: str, targets: Sequence[str]) -> bool:
    """Whether the weight of this name gets an adapter."""
    return name.endswith(tuple(f".{target}.weight" for target in targets))


def has_adapters(part: nn.Module) -> bool:
    """Whether a part has adapters."""
    return any(isinstance(layer, BaseTunerLayer) for layer in part.modules())


@contextmanager
def adapters_off(part: nn.Module) -> Iterator[None]:
    """Let a part compute without its adapters, as before training."""
    layers = [each for each in part.modules() if isinstance(each, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged(part: nn.Module) -> nn.Module:
    """A copy without adapters, their products added to its weights. Without adapters, the part."""
    if not has_adapters(part):
        return part
    part = copy.deepcopy(part)
    for name, layer in list(part.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            part.set_submodule(name, layer.get_base_layer())
    return part


def adapter_weights(parts: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The adapters' weights of the parts that have some, in diffusers' names."""
    from diffusers.utils import convert_state_dict_to_diffusers

    return {
        name: convert_state_dict_to_diffusers(get_peft_model_state_dict(part))
        for name, part in parts.items()
        if has_adapters(part)
    }
