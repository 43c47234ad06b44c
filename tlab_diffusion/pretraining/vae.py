r"""The autoencoder of `picturebook`: pictures (3, 64, 64) to latents (4, 16, 16) and back.

Loss: `|x - x_hat| + |grad x - grad x_hat| + kl_weight KL(q(z | x) || N(0, I))`, means over
elements. The gradient term keeps outlines sharp; the KL term, tiny as in arXiv:2112.10752, only
keeps latents from drifting.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from tlab_diffusion.diffusion.training import average_into
from tlab_diffusion.pretraining import checkpoints
from tlab_diffusion.pretraining.pictures import to_tensor

STATE_FILE = "vae-state.safetensors"


@dataclass(frozen=True)
class VaeConfig:
    """The recipe's numbers; the channels were chosen for speed on two cores."""

    channels: tuple[int, ...] = (32, 64, 64)
    num_scenes: int = 40_960  # drawn once, seen many times
    batch_size: int = 32
    steps: int = 12_000
    learning_rate: float = 1e-3
    warm_up_steps: int = 200
    kl_weight: float = 1e-6
    gradient_weight: float = 1.0
    ema_decay: float = 0.998
    seed: int = 0
    save_every_s: float = 120.0  # seconds of work that a kill may cost
    measure_every: int = 500  # steps
    bf16: bool = True  # convolutions in half the time on recent processors


class VaeStep(NamedTuple):
    """What one step leaves behind."""

    step: int  # counted from 1
    loss: float
    ema_vae: AutoencoderKL


def new_vae(channels: tuple[int, ...]) -> AutoencoderKL:
    """An untrained autoencoder; each rung after the first halves the picture's sides."""
    rungs = len(channels)
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * rungs,
        up_block_types=["UpDecoderBlock2D"] * rungs,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
    )


def vae_loss(vae: AutoencoderKL, x: Tensor, noise: Tensor, config: VaeConfig) -> Tensor:
    r"""The loss at the head of this file.

    Args:
        vae: the autoencoder.
        x: (B, 3, H, W) in [-1, 1].
        noise: standard normal, shaped like the latents.
        config: the weights.

    Returns:
        A scalar.
    """
    posterior = vae.encode(x).latent_dist
    x_hat = vae.decode(posterior.mean + posterior.std * noise).sample.float()
    error = x - x_hat
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    kl = posterior.kl().mean() / noise[0].numel()
    return error.abs().mean() + config.gradient_weight * edges + config.kl_weight * kl


def train_vae(pictures: np.ndarray, config: VaeConfig, folder: Path) -> Iterator[VaeStep]:
    r"""Train, saving now and then and at the end; the caller may stop at any step.

    Args:
        pictures: (N, 64, 64, 3) uint8.
        config: the recipe's numbers.
        folder: where the state is saved. A state that lies there is gone on from, exactly.

    Yields:
        A `VaeStep` after each step.
    """
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = new_vae(config.channels).to(device)
    ema = copy.deepcopy(vae).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.learning_rate, fused=True)
    state_path = folder / STATE_FILE
    step = 0
    if state_path.exists():
        step = checkpoints.restore(checkpoints.load(state_path), vae, ema, optimizer)
    saved_at = time.monotonic()
    while step < config.steps:
        step += 1
        loss = _train_step(vae, ema, optimizer, pictures, config, step)
        if step == config.steps or time.monotonic() - saved_at >= config.save_every_s:
            checkpoints.save(state_path, checkpoints.training_state(vae, ema, optimizer, step))
            saved_at = time.monotonic()
        yield VaeStep(step, loss, ema)


def _train_step(vae, ema, optimizer, pictures, config: VaeConfig, step: int) -> float:
    """One step; its batch and its noise are functions of (seed, step)."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    chosen = torch.randint(len(pictures), (config.batch_size,), generator=generator)
    x = to_tensor(pictures[chosen.numpy()])
    side = x.shape[-1] // 2 ** (len(config.channels) - 1)
    noise = torch.randn(len(x), 4, side, side, generator=generator)
    x, noise = x.to(vae.device), noise.to(vae.device)
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * min(1.0, step / config.warm_up_steps)
    with torch.autocast(vae.device.type, torch.bfloat16, enabled=config.bf16):
        loss = vae_loss(vae, x, noise, config)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    average_into(ema, vae, min(config.ema_decay, step / (step + 10)))
    return loss.item()
