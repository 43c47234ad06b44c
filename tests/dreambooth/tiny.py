"""A run that takes a second: a tiny random pipeline, three pictures, a few steps."""

import itertools
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.training.trainer import TrainStep, train
from tlab_diffusion.pipelines.loading import quiet
from tlab_diffusion.training import checkpoints

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@cache
def model_folder(prediction_type: str = "epsilon") -> Path:
    """The tiny pipeline, saved in float32; read only."""
    folder = Path(mkdtemp(prefix="tlab-tiny-")) / prediction_type
    # Whoever asks first may read what its own command prints, and have another default device.
    with quiet(), torch.device("cpu"):
        pipeline = tiny_pipeline()
        pipeline.scheduler.register_to_config(prediction_type=prediction_type)
        pipeline.save_pretrained(folder)
    return folder


def new_config(output: Path, **changes: object) -> DreamBoothConfig:
    settings = {
        "subject_images": Path("pictures"),
        "identifier": "sks",
        "class_noun": "robot",
        "output": output,
        "model": str(model_folder()),
        "max_steps": 5,
        "batch_size": 2,
        "prior": "paper",  # which diffusers' functions can check
        "num_class_images": 4,
        "checkpoint_every": 2,
        "precision": "fp32",
        # At AdamW's usual epsilon a gradient of pure rounding moves a weight as far as any other.
        "adam_epsilon": 1e-5,
        "ema_decay": 0.0,  # so that a step's own weights are to be seen
    }
    if changes.get("method") != "textual-inversion":
        settings["train_text_encoder"] = True  # the more learns, the more a test sees
    return DreamBoothConfig(**settings | changes)


def run(config: DreamBoothConfig, cache: Path, *, steps: int | None = None, **options):
    """Train to the end, or until a kill after some steps; the `TrainStep` events."""
    events = train(config, PICTURES, cache=cache, **options)
    return list(itertools.islice((e for e in events if isinstance(e, TrainStep)), steps))


def state_of(config: DreamBoothConfig) -> dict[str, torch.Tensor]:
    """The newest checkpoint of a run."""
    return checkpoints.load(max((config.output / "checkpoints").glob("*.safetensors")))
