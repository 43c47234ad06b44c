r"""Training of the recognisers: read every factor off scenes, and off what an autoencoder keeps.

The loss is the sum over factors of the cross-entropy of the right answer; a picture that does not
show a factor says nothing about it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlab_diffusion.evaluation.networks import load_weights, save_weights
from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED, SIZE, kept, resized
from tlab_diffusion.evaluation.recognisers import (
    NOTHING,
    Recogniser,
    accuracy,
    labels_of,
    recognise,
    split_heads,
)
from tlab_diffusion.evaluation.reconstruction import reconstruct
from tlab_diffusion.picturebook import Scene, random_scene
from tlab_diffusion.pretraining import augment
from tlab_diffusion.pretraining.characters import cached_characters, character_scenes, draw
from tlab_diffusion.pretraining.pictures import cached_scenes
from tlab_diffusion.pretraining.stage import NewBatch, StageConfig, check_state, run_stage
from tlab_diffusion.training.precision import autocast

NUM_TEST = 1000
FILE = "recognisers.safetensors"


@dataclass(frozen=True, kw_only=True)
class RecogniserConfig(StageConfig):
    """The settings of the recognisers in the recipe."""

    num_scenes: int  # of those that the pipeline learns from
    num_characters: int  # whose scenes show every combination
    num_reconstructions: int  # of the first scenes, seen as the autoencoder keeps them
    reconstruction_share: float  # of a batch


class RecogniserLoss(nn.Module):
    r"""The loss at the head of this file, of pictures x (B, 3, 64, 64) with labels (B, factors)."""

    compares_samples = True  # its norms do

    def __init__(self, network: Recogniser):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        heads = split_heads(self.network(x).float()).values()
        losses = [
            F.cross_entropy(logits, labels[:, number], ignore_index=NOTHING)
            for number, logits in enumerate(heads)
        ]
        return torch.stack(losses).sum()


def labels_for(scenes: Iterable[Scene]) -> Tensor:
    r"""The right answers for scenes: (N, factors) int64."""
    return torch.tensor([labels_of(scene.visible_factors()) for scene in scenes])


def labelled_batches(
    pictures: np.ndarray,
    labels: Tensor,
    config: RecogniserConfig,
    reconstructions: np.ndarray | None = None,
) -> NewBatch:
    r"""Batches of pictures with their labels.

    Args:
        pictures: (N, 64, 64, 3) uint8.
        labels: (N, factors).
        config: batch size, and the share of reconstructions.
        reconstructions: of the first of the pictures, (M, 64, 64, 3) uint8.
    """
    num_soft = 0
    if reconstructions is not None:
        num_soft = round(config.reconstruction_share * config.batch_size)

    def new_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(pictures), (config.batch_size - num_soft,), generator=generator)
        x = augment.shifted(pictures, chosen, 3, generator)
        x = augment.softened(x, 0.4, generator)
        x = augment.noisy(augment.recoloured(x, 0.06, generator), 0.06, generator)
        if num_soft:
            also = torch.randint(len(reconstructions), (num_soft,), generator=generator)
            soft = augment.shifted(reconstructions, also, 3, generator)
            x, chosen = torch.cat([x, soft]), torch.cat([chosen, also])
        return x, labels[chosen]

    return new_batch


def pretrain_recognisers(
    folder: Path, config: RecogniserConfig, *, resume: bool, out: Path, vae=None
) -> None:
    r"""Train, measure and write the recognisers.

    Args:
        folder: of the run: pictures, state, and the log `recognisers.jsonl`.
        config: the recipe's numbers.
        resume: resume from the state in `folder`, if there is one.
        out: where `recognisers.safetensors` is written, in half precision.
        vae: the autoencoder whose softness they should bear; None leaves reconstructions out.

    Raises:
        InputError: on an earlier run in `folder`, see `check_state`.
    """
    check_state(folder, "recognisers", config, resume=resume)
    torch.manual_seed(config.seed)
    pictures, labels = _labelled(folder, config)
    reconstructions = None
    if vae is not None and config.num_reconstructions:
        size = vae.config.sample_size
        first = cached_scenes(folder / "scenes", config.num_reconstructions, size)
        reconstructions = cached_reconstructions(folder, "reconstructions", vae, first)
    tests = unseen_pictures(vae, NUM_TEST)

    def measure(ema: RecogniserLoss, step: int) -> dict:
        save_weights(ema.network, out / FILE)
        shipped = load_weights(Recogniser(), out / FILE)
        return {name: shares(shipped, x, scenes) for name, (x, scenes) in tests.items()}

    model = RecogniserLoss(Recogniser())
    batches = labelled_batches(pictures, labels, config, reconstructions)
    run_stage("recognisers", folder, model, batches, config, measure)


def unseen_pictures(vae, num: int) -> dict[str, tuple[np.ndarray, list[Scene]]]:
    """Unseen scenes: of combinations that training shows, of those it does not, and softened."""
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + num)
    seen = [random_scene(seed) for seed in seeds]
    held_out = [random_scene(seed, held_out=True) for seed in seeds[: num // 2]]
    tests = {
        "scenes": (draw(seen, progress=False), seen),
        "held_out": (draw(held_out, progress=False), held_out),
    }
    if vae is not None:
        half = num // 2
        pictures = draw(seen[:half], vae.config.sample_size, progress=False)
        tests["reconstructions"] = (resized(reconstruct(vae, pictures), SIZE), seen[:half])
    return tests


def shares(model: Recogniser, pictures: np.ndarray, scenes: list[Scene]) -> dict[str, float]:
    """The accuracy of each factor, rounded."""
    shown = [scene.visible_factors() for scene in scenes]
    return {k: round(v, 4) for k, v in accuracy(recognise(pictures, model), shown).items()}


def _labelled(folder: Path, config: RecogniserConfig) -> tuple[np.ndarray, Tensor]:
    """All pictures to learn from, with their labels; the pipeline's scenes first."""
    scenes = [random_scene(seed) for seed in range(config.num_scenes)]
    scenes += character_scenes(0, config.num_characters)
    pictures = [cached_scenes(folder / "scenes", config.num_scenes)]
    if config.num_characters:
        pictures.append(cached_characters(folder / "characters", config.num_characters))
    return np.concatenate(pictures), labels_for(scenes)


def cached_reconstructions(folder: Path, name: str, vae, pictures: np.ndarray) -> np.ndarray:
    """Reconstructions at the networks' side.

    Computed once: a resumed run must see the same ones, also if the VAE has changed.
    """
    path = folder / f"{name}-{len(pictures)}.npy"
    with autocast(vae.device):  # thousands of pictures, to be soft: half precision will do
        return kept(path, lambda: resized(reconstruct(vae, pictures), SIZE))
