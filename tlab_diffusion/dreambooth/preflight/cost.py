r"""What a run costs in memory, time and disk: counted from configs and headers, without weights.

The U-Net is built without memory, on fake tensors, and run once: torch then says how many
multiplications a sample takes, and which activations the backward pass would keep.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

BYTES = {"F16": 2, "BF16": 2}  # of a number in a file; others have 4
FLOAT = 4  # bytes of a float32
# Under autocast norms keep float32 and matrices half of it: about three quarters in all.
HALF_PRECISION_SHARE = 0.75
USABLE = 0.9  # of free memory: the rest is for temporary tensors within a layer
# Share of a plain matrix product's speed that a training step reaches: 0.29 to 0.38 was measured
# for `picturebook`'s U-Net on a CPU. Half or twice as much is possible elsewhere.
EFFICIENCY = 0.35
CHECKPOINTS = 2  # on the disk while a new one is written


@dataclass(frozen=True)
class Part:
    """A part of a pipeline folder: its numbers, the bytes of each in its file, and its tensors."""

    parameters: int
    bytes_each: int
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Work:
    """What the U-Net does for one sample: operations forward, bytes kept for the way back."""

    flops: int
    kept: int


@dataclass(frozen=True)
class Load:
    """What a run needs in memory and on disk for any batch size.

    Args:
        parts: of the pipeline folder.
        learned: how many numbers learn.
        added: how many of these the method adds to the parts.
        half: whether arithmetic runs in 16 bits.
        ema: whether an average of what learns is kept.
        moments: bytes of a number's two moments.
    """

    parts: dict[str, Part]
    learned: int
    added: int = 0
    half: bool = False
    ema: bool = False
    moments: int = 2 * FLOAT

    @property
    def memory(self) -> int:
        """Bytes without activations: weights in float32; gradient and moments of what learns."""
        everything = self.added + sum(part.parameters for part in self.parts.values())
        autocast_copy = 2 if self.half else 0
        average = FLOAT if self.ema else 0
        each = FLOAT + self.moments + autocast_copy + average
        return FLOAT * everything + each * self.learned

    @property
    def folder(self) -> int:
        """Bytes of the tuned folder, with what is added apart."""
        weights = sum(part.parameters * part.bytes_each for part in self.parts.values())
        return weights + FLOAT * self.added

    @property
    def disk(self) -> int:
        """Bytes of the tuned folder and two checkpoints of what learns."""
        each = FLOAT + self.moments + (FLOAT if self.ema else 0)
        return self.folder + CHECKPOINTS * each * self.learned


def read_parts(folder: Path) -> dict[str, Part]:
    r"""The sizes of a pipeline's parts, from the headers of their weight files.

    Only parts that `model_index.json` lists count: a tuned folder holds checkpoints too.
    """
    listed = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return {
        name: _read_part(folder / name)
        for name in sorted(listed)
        if any((folder / name).glob("*.safetensors"))
    }


def _read_part(folder: Path) -> Part:
    from safetensors import safe_open

    shapes, dtype = {}, None
    # A variant (model.fp16.safetensors) has the same tensors again; the plain file comes first.
    for file in sorted(folder.glob("*.safetensors"), key=lambda file: len(file.suffixes)):
        with safe_open(file, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118
                tensor = weights.get_slice(name)
                dtype = dtype or tensor.get_dtype()
                shapes.setdefault(name, tuple(tensor.get_shape()))
    return Part(sum(map(math.prod, shapes.values())), BYTES.get(dtype, FLOAT), shapes)


def unet_work(
    config: dict,
    side: int,
    tokens: int,
    *,
    fused_attention: bool,
    checkpointing: bool,
    freeze: Callable[[nn.Module], None] = lambda unet: None,
) -> Work:
    r"""`forward_work` of a U-Net for one sample.

    Args:
        config: the U-Net's.
        side: of the latents.
        tokens: of the text.
        fused_attention, checkpointing, freeze: see `forward_work`.
    """
    from diffusers import UNet2DConditionModel

    def inputs() -> tuple[Tensor, ...]:
        x_t = torch.empty(1, config["in_channels"], side, side)
        embeds = torch.empty(1, tokens, config["cross_attention_dim"], requires_grad=True)
        return x_t, torch.zeros(1), embeds

    return forward_work(
        lambda: UNet2DConditionModel.from_config(config),
        inputs,
        fused_attention=fused_attention,
        checkpointing=checkpointing,
        freeze=freeze,
    )


def forward_work(
    network: Callable[[], nn.Module],
    inputs: Callable[[], tuple[Tensor, ...]],
    *,
    fused_attention: bool,
    checkpointing: bool,
    freeze: Callable[[nn.Module], None] = lambda network: None,
) -> Work:
    r"""Count what a forward pass costs, on fake tensors.

    Args:
        network, inputs: make them.
        fused_attention: whether attention's table of weights is never kept, as on a GPU.
        checkpointing: whether activations are computed twice instead of kept.
        freeze: marks the weights that are not trained.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    with FakeTensorMode():
        model = network().train()
        freeze(model)
        with FlopCounterMode(display=False) as counter:  # fused attention is not counted: plain
            kept = _kept_bytes(model, inputs(), False, checkpointing)
        if fused_attention:
            kept = _kept_bytes(model, inputs(), True, checkpointing)
    return Work(counter.get_total_flops(), kept)


def _kept_bytes(unet: nn.Module, inputs: tuple, fused: bool, checkpointing: bool) -> int:
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    unet.set_attn_processor(AttnProcessor2_0() if fused else AttnProcessor())
    kept = _Kept(weights=list(unet.parameters()))
    if checkpointing:
        unet.enable_gradient_checkpointing(kept.only_what_goes_in)
    with kept.hooks():
        unet(*inputs)
    return kept.bytes + kept.largest_inside


class _Kept:
    """The distinct pieces of memory that autograd keeps, weights left out."""

    def __init__(self, weights: list[Tensor]):
        self.weights = {_place(weight) for weight in weights}
        self.pieces = {}  # the tensors stay alive, so that no place is used twice
        self.largest_inside = 0

    @property
    def bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self.pieces.values())

    def keep(self, tensor: Tensor) -> Tensor:
        if _place(tensor) not in self.weights:
            self.pieces[_place(tensor)] = tensor
        return tensor

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor)

    def only_what_goes_in(self, module, *inputs):
        """Gradient checkpointing: blocks keep their inputs, and one at a time its inside."""
        inside = _Kept([])
        inside.weights = self.weights
        with inside.hooks():
            outputs = module(*inputs)
        for value in inputs:
            if isinstance(value, Tensor):
                self.keep(value)
        self.largest_inside = max(self.largest_inside, inside.bytes)
        return outputs


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def memory_needed(load: Load, work: Work, samples: int) -> int:
    """Bytes of memory that a micro-batch of `samples` samples needs."""
    share = HALF_PRECISION_SHARE if load.half else 1
    return load.memory + round(share * samples * work.kept)


def samples_at_once(samples: int, parts: int, processes: int) -> int:
    """The most samples of a step that one process meets at once."""
    return math.ceil(samples / (parts * processes))


def fewest_parts(
    load: Load, work: Work, samples: int, free: int, *, at_least: int = 1, processes: int = 1
) -> int | None:
    r"""In how few parts a step fits into memory, a sample or more for each process in every part.

    None if no number of parts fits.

    Args:
        samples: of a step, in all.
        free: bytes.
        at_least: parts.
        processes: that share the samples.
    """
    for parts in range(at_least, samples // processes + 1):
        alone = samples_at_once(samples, parts, processes)
        if memory_needed(load, work, alone) <= USABLE * free:
            return parts
    return None


def seconds(flops: float, speed: float) -> float:
    """How long the U-Net works on so many operations, about."""
    return flops / (EFFICIENCY * speed)
