r"""The class images: sampled by the original model before training, and kept as latents.

They show what the model knew of the class, and of the rest of its world, before it met the subject.
The prior-preservation loss keeps it (Section 3.3, arXiv:2208.12242). They are never decoded:
training reads latents.

A batch is one file. Its size follows from the shape of the latents and the kind of device, so the
images are the same, bit for bit, however many processes share the work. A process locks the batch
that it samples, and takes another where a batch is locked.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import CLASS_IMAGE
from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.errors import InputError
from tlab_diffusion.files import as_input_error
from tlab_diffusion.training import checkpoints, fingerprint
from tlab_diffusion.training.generators import generator_for
from tlab_diffusion.training.precision import autocast

SOLVER, STEPS = "DPM-Solver++(2M)", 15
MAX_BATCH_SIZE = 32
# Positions of all latents in a batch: 2 images of Stable Diffusion's 64 x 64 on a CPU, where 4 take
# 16 GiB; 8 on a GPU.
CPU_POSITIONS, GPU_POSITIONS = 2 * 64**2, 8 * 64**2


@dataclass(frozen=True, kw_only=True)
class ClassImageSettings:
    """All that the latents depend on. Image k is the same, however many there are."""

    model: str  # the fingerprint of the pipeline
    prompts: tuple[str, ...]  # image k has prompt k modulo their number
    guidance_scale: float
    seed: int
    shape: tuple[int, int, int]  # of one image's latents
    precision: str
    solver: str = SOLVER
    steps: int = STEPS

    @classmethod
    def of(
        cls, config: DreamBoothConfig, model: str, precision: str, moments: Tensor
    ) -> "ClassImageSettings":
        r"""The settings that a run needs.

        Args:
            config: the run's.
            model: the fingerprint of the pipeline.
            precision: "fp32", "bf16" or "fp16".
            moments: (N, 2C, h, w), of the subject's latents.
        """
        return cls(
            model=model,
            prompts=config.class_prompts,
            guidance_scale=config.class_guidance_scale,
            seed=config.seed,
            shape=(moments.shape[1] // 2, *moments.shape[2:]),
            precision=precision,
        )

    def folder(self, cache: Path) -> Path:
        """Where they are kept."""
        return cache / "class_images" / fingerprint.content_key(self)


def sample_class_images(
    pipeline, settings: ClassImageSettings, num: int, cache: Path
) -> Iterator[int]:
    r"""Sample what is missing of `num` class images.

    Each batch is saved when it is complete, so an interruption costs one batch at most.

    Args:
        pipeline: the original model.
        settings: of the images.
        num: how many there should be.
        cache: folder where they are kept.

    Yields:
        How many there are, at the start and after each batch.

    Raises:
        InputError: the cache cannot be written.
    """
    folder = settings.folder(cache)
    batches = _batches(num, _batch_size(settings.shape, pipeline.device))
    yield _num_saved(folder, batches)
    while missing := [each for each in batches if _num_saved(folder, [each]) < len(each)]:
        with as_input_error(folder, "cache"), _lock_one(folder, missing) as batch:
            saved = _load(folder, batch, settings.shape)
            # None are missing where another process has sampled them in the meantime.
            if numbers := batch[len(saved) :]:
                latents = torch.cat([saved, _sample(pipeline, settings, numbers)])
                checkpoints.save(_file(folder, batch), {"latents": latents})
        yield _num_saved(folder, batches)


def load_class_images(pipeline, settings: ClassImageSettings, num: int, cache: Path) -> Tensor:
    """The first `num` latents, (num, C, h, w) on the CPU, that `sample_class_images` has saved."""
    folder = settings.folder(cache)
    batches = _batches(num, _batch_size(settings.shape, pipeline.device))
    latents = [_load(folder, batch, settings.shape)[: len(batch)] for batch in batches]
    return torch.cat(latents).contiguous()


def _batch_size(shape: tuple[int, int, int], device: torch.device) -> int:
    positions = CPU_POSITIONS if device.type == "cpu" else GPU_POSITIONS
    return max(1, min(MAX_BATCH_SIZE, positions // (shape[1] * shape[2])))


def _batches(num: int, size: int) -> list[range]:
    return [range(start, min(start + size, num)) for start in range(0, num, size)]


def _file(folder: Path, batch: range) -> Path:
    return folder / f"{batch.start:06}.safetensors"


def _load(folder: Path, batch: range, shape: tuple[int, int, int]) -> Tensor:
    """The saved latents of a batch, possibly of a larger one; none if the file is damaged."""
    try:
        return checkpoints.load(_file(folder, batch))["latents"]
    except InputError:
        return torch.empty(0, *shape)


def _num_saved(folder: Path, batches: Sequence[range]) -> int:
    return sum(min(len(each), _length(folder, each)) for each in batches)


def _length(folder: Path, batch: range) -> int:
    """How many images the file of a batch has, from its header; 0 if it is damaged."""
    try:
        return checkpoints.shape_of(_file(folder, batch), "latents")[0]
    except InputError:
        return 0


@contextmanager
def _lock_one(folder: Path, batches: Sequence[range]) -> Iterator[range]:
    """Lock a batch that no other process is sampling; wait for the first where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    locks = {batch: FileLock(_file(folder, batch).with_suffix(".lock")) for batch in batches}
    for batch in batches:
        try:
            locks[batch].acquire(timeout=0)
            break
        except Timeout:
            continue
    else:
        batch = batches[0]
        locks[batch].acquire()
    try:
        yield batch
    finally:
        locks[batch].release()


def _sample(pipeline, settings: ClassImageSettings, numbers: range) -> Tensor:
    """The latents of these images, on the CPU."""
    streams = [generator_for(settings.seed, CLASS_IMAGE, number) for number in numbers]
    noise = torch.stack([torch.randn(settings.shape, generator=each) for each in streams])
    with autocast(pipeline.device, settings.precision):
        latents = family_of(pipeline).sample_latents(
            pipeline,
            [settings.prompts[number % len(settings.prompts)] for number in numbers],
            noise.to(pipeline.device),
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
        )
    return latents.float().cpu().contiguous()
