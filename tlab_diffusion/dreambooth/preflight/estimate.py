r"""What a run needs, what this machine has, and in how many parts a step fits."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from tlab_diffusion.dreambooth.cache.class_images import STEPS
from tlab_diffusion.dreambooth.checkpoint.run_record import is_run
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import check_shares
from tlab_diffusion.dreambooth.families import Family, family_of
from tlab_diffusion.dreambooth.methods import DREAMBOOTH, LORA, lora
from tlab_diffusion.dreambooth.preflight import cost
from tlab_diffusion.dreambooth.training.optimizers import MOMENT_BYTES
from tlab_diffusion.errors import InputError
from tlab_diffusion.files import nearest_folder
from tlab_diffusion.training import hardware
from tlab_diffusion.training.hardware import run_device
from tlab_diffusion.training.precision import DTYPES

GIB, MIB = 2**30, 2**20
BEST = (
    2  # tuned folders in addition to the run's own: the best so far, and a better one being written
)


@dataclass(frozen=True)
class Estimate:
    """What a run needs and what the machine has, in bytes; its approximate time in seconds.

    Args:
        parts: in which the batch of a step is computed, so that it fits into memory.
        memory, free_memory: of the device.
        disk, free_disk: of the output folder's disk; what an earlier run left there counts as
            free.
        class_images: seconds to draw the class pictures, where none are kept from earlier.
        training: seconds to take all steps.
        problems: memory or disk that is too small.
    """

    parts: int
    memory: int
    free_memory: int
    disk: int
    free_disk: int
    class_images: float
    training: float
    problems: tuple[InputError, ...] = ()

    def __str__(self) -> str:
        return (
            f"memory: {gib(self.memory)} of {gib(self.free_memory)} free, "
            f"with a step in {self.parts} part{'s' * (self.parts > 1)}\n"
            f"disk: {gib(self.disk)} of {gib(self.free_disk)} free\n"
            f"time: about {duration(self.training)} for training, and before that at most "
            f"{duration(self.class_images)} for class pictures"
        )


def estimate(
    config: DreamBoothConfig, folder: Path, precision: str, tokens: int, *, measured: bool = False
) -> Estimate:
    r"""Estimate a run's needs from headers and configs.

    Args:
        config: the settings; `gradient_accumulation_steps` is the fewest parts.
        folder: the pipeline's.
        precision: "fp32", "bf16" or "fp16".
        tokens: of a prompt.
        measured: whether the run keeps the weights of its best step.

    Raises:
        InputError: more processes than a step has samples.
    """
    device, processes = run_device(), PartialState().num_processes
    check_shares(config, processes)
    load, work = _load(config, folder, precision), _work(config, folder, tokens, device)
    samples = config.samples_per_step
    free, at_least = _free_memory(device, processes), config.gradient_accumulation_steps
    parts = cost.fewest_parts(load, work, samples, free, at_least=at_least, processes=processes)
    problems = []
    if parts is None:
        parts = max(at_least, samples // processes)
        problems.append(_too_large(config, cost.memory_needed(load, work, 1), free, device))
    disk = load.disk + (BEST * load.folder if measured else 0)
    free_disk = _free_disk(config.output)
    if free_disk < disk:
        problems.append(_no_room(config, disk, free_disk))
    speed = hardware.measured_speed(device, DTYPES[precision])
    at_once = cost.samples_at_once(samples, parts, processes)
    return Estimate(
        parts=parts,
        memory=cost.memory_needed(load, work, at_once),
        free_memory=free,
        disk=disk,
        free_disk=free_disk,
        class_images=cost.seconds(_passes_before(config) * work.flops, speed),
        training=cost.seconds(_passes(config) * samples / processes * work.flops, speed),
        problems=tuple(problems),
    )


def _free_disk(output: Path) -> int:
    """Bytes for the output: what is free, and what an earlier run has taken already."""
    free = shutil.disk_usage(nearest_folder(output)).free
    if not is_run(output):  # a run does not overwrite other files
        return free
    return free + sum(file.stat().st_size for file in output.rglob("*") if file.is_file())


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


def _passes(config: DreamBoothConfig) -> int:
    """How often the U-Net meets each sample's place: forward, and backward for what comes in.

    Where weights learn, their gradients take a third pass.
    """
    passes = 3 if config.method == DREAMBOOTH else 2
    return config.max_steps * (passes + config.gradient_checkpointing)


def _passes_before(config: DreamBoothConfig) -> int:
    questions = 1 if config.class_guidance_scale == 1 else 2
    return config.num_class_images * STEPS * questions if config.with_prior else 0


def _load(config: DreamBoothConfig, folder: Path, precision: str) -> cost.Load:
    parts = cost.read_parts(folder)
    learned = _learned(config, family_of(folder), parts)
    return cost.Load(
        parts,
        learned,
        added=0 if config.method == DREAMBOOTH else learned,
        half=precision != "fp32",
        ema=config.uses_ema,
        moments=MOMENT_BYTES[config.optimizer],
    )


def _learned(config: DreamBoothConfig, family: Family, parts: dict[str, cost.Part]) -> int:
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


def _work(config: DreamBoothConfig, folder: Path, tokens: int, device: torch.device) -> cost.Work:
    family = family_of(folder)
    return cost.forward_work(
        lambda: family.empty_network(folder),
        lambda: family.example_inputs(folder, config.resolution, tokens),
        fused_attention=device.type != "cpu",  # as the model is prepared
        checkpointing=config.gradient_checkpointing,
        freeze=lambda network: freeze(network, config.method, family),
    )


def freeze(network: nn.Module, method: str, family: Family) -> None:
    """Leave the gradients on whose weights keep as many activations as the method."""
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
        expected=f"{gib(needed / cost.USABLE)} for one sample at a time",
        fix=f"Close other programs, or try {', '.join(ways)}.",
    )


def _no_room(config: DreamBoothConfig, needed: int, free: int) -> InputError:
    return InputError(
        "output",
        got=f"{gib(free)} free for {config.output}",
        expected=f"{gib(needed)}, for the tuned model and two checkpoints",
        fix="Free some space, or choose a folder on another disk.",
    )
