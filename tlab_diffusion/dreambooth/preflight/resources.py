r"""What a run needs in memory, on the disk and in time, and in how many parts a step fits.

All is counted from configs and headers. The network runs once on the meta device, without weights:
this gives the operations of a sample and the activations that the backward pass keeps.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from tlab_diffusion.dreambooth.cache.class_images import STEPS
from tlab_diffusion.dreambooth.checkpoint.run_record import is_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import check_shares
from tlab_diffusion.dreambooth.families import Family, family_of
from tlab_diffusion.dreambooth.measures.evaluator import (
    STRIP,
    WATCHING,
    evaluated_steps,
)
from tlab_diffusion.dreambooth.methods import DREAMBOOTH, LORA, lora
from tlab_diffusion.dreambooth.training.optimizers import MOMENT_BYTES
from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.measure import SampleCounts
from tlab_diffusion.evaluation.subject_prompts import IN_TEN
from tlab_diffusion.files import nearest_folder
from tlab_diffusion.pipelines.sampler_settings import measuring_settings
from tlab_diffusion.training import hardware
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import DTYPES

GIB, MIB = 2**30, 2**20
BYTES = {"F16": 2, "BF16": 2}  # of a number in a file; others have 4
FLOAT = 4  # bytes of a float32
# Under autocast norms keep float32 and matrices half of it: about three quarters in all.
HALF_PRECISION_SHARE = 0.75
USABLE = 0.9  # of free memory: the rest is for temporary tensors within a layer
# Share of a plain matrix product's speed that a training step reaches: 0.29 to 0.38 was measured
# for `picturebook`'s U-Net on a CPU. Half or twice as much is possible elsewhere.
EFFICIENCY = 0.35
CHECKPOINTS = 2  # on the disk while a new one is written
BEST = 2  # tuned folders of the best step so far, and of a better one while it is written


@dataclass(frozen=True)
class Part:
    """A part of a pipeline folder: its numbers, the bytes of each in its file, and its tensors."""

    parameters: int
    bytes_each: int
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class ForwardCost:
    """The forward pass of one sample: operations, and bytes that the backward pass keeps."""

    flops: int
    activation_bytes: int


@dataclass(frozen=True)
class MemoryBudget:
    """What a run needs in memory and on disk for any batch size.

    Args:
        parts: of the pipeline folder.
        learned: number of trained parameters.
        added: number of these that the method adds to the parts.
        half: whether arithmetic runs in 16 bits.
        ema: whether an average of what learns is kept.
        moments: bytes of a number's two moments.
        frozen: numbers of the original network that are kept beside the trained one.
    """

    parts: dict[str, Part]
    learned: int
    added: int = 0
    half: bool = False
    ema: bool = False
    moments: int = 2 * FLOAT
    frozen: int = 0

    @property
    def memory(self) -> int:
        """Bytes without activations: weights in float32; gradient and moments of what learns."""
        everything = self.added + sum(part.parameters for part in self.parts.values())
        autocast_copy = 2 if self.half else 0
        average = FLOAT if self.ema else 0
        each = FLOAT + self.moments + autocast_copy + average
        return FLOAT * (everything + self.frozen) + each * self.learned

    @property
    def folder(self) -> int:
        """Bytes of the tuned folder, with what is added apart."""
        weights = sum(part.parameters * part.bytes_each for part in self.parts.values())
        return weights + FLOAT * self.added

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint of what learns."""
        each = FLOAT + self.moments + (FLOAT if self.ema else 0)
        return each * self.learned


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


def forward_cost(
    family: Family,
    network: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    fused_attention: bool,
    checkpointing: bool,
) -> ForwardCost:
    r"""Count what a forward pass costs.

    Args:
        family: of the network.
        network, inputs: on the meta device; parameters that require a gradient are trained.
        fused_attention: whether the attention weights are never stored, as on a GPU.
        checkpointing: whether activations are computed twice instead of kept.
    """
    network.train()

    def activation_bytes(fused: bool) -> int:
        saved = _SavedStorages(network)
        checkpoint = saved.checkpoint if checkpointing else None
        family.set_up_counting(network, fused_attention=fused, checkpoint=checkpoint)
        with saved.hooks(saved.storages):
            network(*inputs)
        return _bytes_of(saved.storages) + saved.largest_block

    with FlopCounterMode(display=False) as counter:  # counts plain attention only
        kept = activation_bytes(fused=False)
    if fused_attention:
        kept = activation_bytes(fused=True)
    return ForwardCost(counter.get_total_flops(), kept)


class _SavedStorages:
    """The storages that autograd saves, without those of the weights.

    A storage is one Python object for all its tensors while it is referred to, so a set counts it
    once.
    """

    def __init__(self, network: nn.Module):
        self.weights = {weight.untyped_storage() for weight in network.parameters()}
        self.storages: set[torch.UntypedStorage] = set()
        self.largest_block = 0

    def hooks(self, storages: set) -> saved_tensors_hooks:
        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage() not in self.weights:
                storages.add(tensor.untyped_storage())
            return tensor

        return saved_tensors_hooks(keep, lambda tensor: tensor)

    def checkpoint(self, block: nn.Module, *inputs):
        """Gradient checkpointing: blocks keep their inputs, and one block at a time the rest."""
        inside = set()
        with self.hooks(inside):
            outputs = block(*inputs)
        self.storages |= {each.untyped_storage() for each in inputs if isinstance(each, Tensor)}
        self.largest_block = max(self.largest_block, _bytes_of(inside))
        return outputs


def _bytes_of(storages: set) -> int:
    return sum(storage.nbytes() for storage in storages)


def memory_needed(budget: MemoryBudget, forward: ForwardCost, samples: int) -> int:
    """Bytes for a part of `samples` samples, processed at once."""
    share = HALF_PRECISION_SHARE if budget.half else 1
    return budget.memory + round(share * samples * forward.activation_bytes)


def samples_at_once(samples: int, parts: int, processes: int) -> int:
    """The most samples of a step that one process computes at once."""
    return math.ceil(samples / (parts * processes))


def fewest_parts(
    budget: MemoryBudget,
    forward: ForwardCost,
    samples: int,
    free: int,
    *,
    at_least: int = 1,
    processes: int = 1,
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
        if memory_needed(budget, forward, alone) <= USABLE * free:
            return parts
    return None


def seconds(flops: float, speed: float) -> float:
    """About how long the network takes for so many operations."""
    return flops / (EFFICIENCY * speed)


@dataclass(frozen=True)
class Work:
    r"""What is left to do, in one training or in several.

    Args:
        steps: of all trainings.
        pictures: that all evaluations draw.
        class_images: whether class pictures may have to be drawn.
        checkpoints, folders: on the disk at the same time; folders are tuned pipelines.
        written: bytes of these that are on the disk already.
        devices: that share the work.
    """

    steps: int
    pictures: int
    class_images: bool = True
    checkpoints: int = CHECKPOINTS
    folders: int = 1
    written: int = 0
    devices: int = 1

    @classmethod
    def of_run(
        cls, config: DreamBoothConfig, evaluate_every: int | None = None, done: int = 0
    ) -> "Work":
        r"""What is left of a run.

        Args:
            config: its settings.
            evaluate_every: steps between two evaluations; the run then keeps the weights of its
                best step. None or 0 measures nothing.
            done: steps that an earlier run has taken.
        """
        steps = evaluated_steps(config.max_steps, evaluate_every)
        left = [step for step in steps if step > done or not done]
        measured = pictures_of(WATCHING) if evaluate_every else STRIP
        return cls(
            steps=config.max_steps - done,
            pictures=len(left) * measured,
            class_images=not done,
            folders=1 + (BEST if evaluate_every else 0),
            written=size_of(config.output) if is_run(config.output) else 0,
        )


def pictures_of(counts: SampleCounts) -> int:
    """Number of pictures that one evaluation draws, those of the contact sheet included."""
    return STRIP + counts.total(sum(IN_TEN.values()))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; 0 if there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@dataclass(frozen=True)
class Estimate:
    """What a run needs and what the machine has, in bytes; its approximate time in seconds.

    Args:
        parts: in which the batch of a step is computed, so that it fits into memory.
        memory, free_memory: of the device.
        disk, free_disk: of the output folder's disk; what is written already counts as free.
        class_images: seconds to draw the class pictures, where none are kept from earlier.
        training: seconds to take the steps that are left, of all trainings.
        measuring: seconds to draw the pictures of all evaluations that are left.
        pictures: number of these pictures.
        problems: memory or disk that is too small.
    """

    parts: int
    memory: int
    free_memory: int
    disk: int
    free_disk: int
    class_images: float
    training: float
    measuring: float
    pictures: int
    problems: tuple[InputError, ...] = ()

    def __str__(self) -> str:
        return (
            f"memory: {gib(self.memory)} of {gib(self.free_memory)} free, "
            f"with a step in {self.parts} part{'s' * (self.parts > 1)}\n"
            f"disk: {gib(self.disk)} of {gib(self.free_disk)} free\n"
            f"time: about {duration(self.seconds)}: {duration(self.training)} for training, "
            f"{duration(self.measuring)} for measuring, "
            f"at most {duration(self.class_images)} for class pictures"
        )

    @property
    def seconds(self) -> float:
        """Of all that is left."""
        return self.class_images + self.training + self.measuring


def estimate(
    config: DreamBoothConfig,
    folder: Path,
    precision: str,
    tokens: int,
    work: Work | None = None,
) -> Estimate:
    r"""Estimate the needs of a run, or of several, from headers and configs.

    Args:
        config: the settings; `gradient_accumulation_steps` is the fewest parts.
        folder: the pipeline's.
        precision: "fp32", "bf16" or "fp16".
        tokens: of a prompt.
        work: what is left to do; a run from its first step, without metrics, when left out.

    Raises:
        InputError: more processes than a step has samples.
    """
    work = work or Work.of_run(config)
    device, processes = run_device(), PartialState().num_processes
    check_shares(config, processes)
    budget = _memory_budget(config, folder, precision)
    forward = _forward_cost(config, folder, tokens, device)
    samples = config.samples_per_step
    free, at_least = _free_memory(device, processes), config.gradient_accumulation_steps
    parts = fewest_parts(budget, forward, samples, free, at_least=at_least, processes=processes)
    problems = []
    if parts is None:
        parts = max(at_least, samples // processes)
        problems.append(_too_large(config, memory_needed(budget, forward, 1), free, device))
    disk = work.folders * budget.folder + work.checkpoints * budget.checkpoint
    free_disk = shutil.disk_usage(nearest_folder(config.output)).free + work.written
    if free_disk < disk:
        problems.append(_no_room(config, disk, free_disk))
    speed = hardware.measured_speed(device, DTYPES[precision])

    def time(passes: float) -> float:
        return seconds(passes * forward.flops, speed) / work.devices

    at_once = samples_at_once(samples, parts, processes)
    return Estimate(
        parts=parts,
        memory=memory_needed(budget, forward, at_once),
        free_memory=free,
        disk=disk,
        free_disk=free_disk,
        class_images=time(_class_image_passes(config)) if work.class_images else 0.0,
        training=time(work.steps * _passes_of_step(config) / processes),
        measuring=time(work.pictures * _passes_of_picture(config, folder)),
        pictures=work.pictures,
        problems=tuple(problems),
    )


def gib(number: float) -> str:
    """Bytes as text, in GiB or MiB."""
    return f"{number / GIB:.1f} GiB" if number >= GIB else f"{number / MIB:.0f} MiB"


def duration(seconds: float) -> str:
    """Seconds as text."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _free_memory(device: torch.device, processes: int) -> int:
    """What each process may take: all must work through a step in as many parts."""
    free = min(gather_object([hardware.free_memory(device)]))
    return free if device.type == "cuda" else free // processes  # which share the machine's


def _passes_of_step(config: DreamBoothConfig) -> int:
    """The cost of a step in forward passes of one sample.

    The backward pass is one for the gradients of the inputs and one for those of the weights. The
    original model predicts the targets of the class half.
    """
    each = (3 if config.method == DREAMBOOTH else 2) + config.gradient_checkpointing
    return config.samples_per_step * each + config.predicts_prior * config.batch_size


def _class_image_passes(config: DreamBoothConfig) -> int:
    guided = config.class_guidance_scale != 1
    return config.num_class_images * STEPS * (1 + guided) if config.with_prior else 0


def _passes_of_picture(config: DreamBoothConfig, folder: Path) -> float:
    """The cost of a picture for measuring, in forward passes at the training's resolution."""
    side = family_of(folder).native_resolution(folder)
    settings = measuring_settings(side)
    guided = settings.guidance_scale != 1
    return settings.steps * (1 + guided) * (side / config.resolution) ** 2


def _memory_budget(config: DreamBoothConfig, folder: Path, precision: str) -> MemoryBudget:
    parts = read_parts(folder)
    family = family_of(folder)
    learned = _learned(config, family, parts)
    copied = config.predicts_prior and config.method == DREAMBOOTH
    return MemoryBudget(
        parts,
        learned,
        added=0 if config.method == DREAMBOOTH else learned,
        half=precision != "fp32",
        ema=config.uses_ema,
        moments=MOMENT_BYTES[config.optimizer],
        frozen=parts[family.network].parameters if copied else 0,
    )


def _learned(config: DreamBoothConfig, family: Family, parts: dict[str, Part]) -> int:
    """How many parameters are trained."""
    names = family.trained_parts(config)
    if config.method == DREAMBOOTH:
        return sum(parts[name].parameters for name in names)
    if config.method == LORA:
        return sum(
            lora.num_parameters(parts[n].shapes, family.lora_targets[n], config.lora_rank)
            for n in names
        )
    embeddings = "token_embedding.weight"
    shapes = parts[family.text_encoder].shapes
    return next(shape[1] for name, shape in shapes.items() if name.endswith(embeddings))


def _forward_cost(
    config: DreamBoothConfig, folder: Path, tokens: int, device: torch.device
) -> ForwardCost:
    family = family_of(folder)
    with torch.device("meta"):
        network = family.empty_network(folder)
        inputs = family.example_inputs(folder, config.resolution, tokens)
    freeze(network, config.method, family)
    return forward_cost(
        family,
        network,
        inputs,
        fused_attention=device.type != "cpu",  # as the model is prepared
        checkpointing=config.gradient_checkpointing,
    )


def freeze(network: nn.Module, method: str, family: Family) -> None:
    """Mark the weights as trained that save as many activations as the method does."""
    for name, parameter in network.named_parameters():
        # An adapter keeps the input of its projection for the backward pass.
        adapted = method == LORA and lora.is_target(name, family.lora_targets[family.network])
        parameter.requires_grad_(method == DREAMBOOTH or adapted)


def _too_large(
    config: DreamBoothConfig, needed: int, free: int, device: torch.device
) -> InputError:
    ways = ["a lower resolution"]
    if not config.gradient_checkpointing:
        ways.insert(0, "gradient checkpointing")
    if config.method == DREAMBOOTH:
        ways.insert(0, "method lora")
    if config.train_text_encoder:
        ways.insert(0, "a frozen text encoder")
    return InputError(
        "memory",
        got=f"{gib(free)} free on {device.type}",
        expected=f"{gib(needed / USABLE)} for one sample at a time",
        fix=f"Close other programs, or try {', '.join(ways)}.",
    )


def _no_room(config: DreamBoothConfig, needed: int, free: int) -> InputError:
    return InputError(
        "output",
        got=f"{gib(free)} free for {config.output}",
        expected=f"{gib(needed)}, for tuned models and checkpoints",
        fix="Free some space, or choose a folder on another disk.",
    )
