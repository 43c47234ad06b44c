r"""The autoencoder's stage of `tlab pretrain`: draw, train, measure, write."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import SUBJECTS, draw_scenes, subject_pictures
from tlab_diffusion.pretraining import checkpoints
from tlab_diffusion.pretraining.pictures import FIRST_TEST_SEED, cached_scenes, psnr, to_tensor
from tlab_diffusion.pretraining.vae import STATE_FILE, VaeConfig, train_vae


@torch.inference_mode()
def reconstruction_psnr(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    r"""Mean PSNR of reconstructions through the latents' means, in dB.

    Args:
        vae: the autoencoder.
        pictures: (N, 64, 64, 3) uint8.
    """
    values = []
    for start in range(0, len(pictures), 64):
        x = to_tensor(pictures[start : start + 64]).to(vae.device)
        x_hat = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(psnr(x, x_hat))
    return torch.cat(values).mean().item()


def unseen_pictures(num_scenes: int = 512) -> dict[str, np.ndarray]:
    """Pictures that no training sees: scenes of other seeds, and all subjects' references."""
    scenes = draw_scenes(range(FIRST_TEST_SEED, FIRST_TEST_SEED + num_scenes), progress=False)
    subjects = np.concatenate([np.stack(subject_pictures(name)) for name in SUBJECTS])
    return {"scenes": scenes, "subjects": subjects}


@torch.inference_mode()
def latent_std(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    r"""Standard deviation of the latents of pictures (N, 64, 64, 3): 1 / scaling_factor."""
    x = to_tensor(pictures).to(vae.device)
    latents = [vae.encode(part).latent_dist.mean for part in x.split(64)]
    return torch.cat(latents).std().item()


def pretrain_vae(folder: Path, config: VaeConfig, *, resume: bool) -> None:
    r"""The whole stage, with a progress bar: from no pictures to `folder/vae`.

    Measures on unseen pictures go to `folder/vae-log.jsonl` every `measure_every` steps. The
    result is the averaged model in half precision, with the scaling factor of its latents.

    Args:
        folder: where pictures, state, log and result lie.
        config: the recipe's numbers.
        resume: go on from the state in `folder`, if there is one.

    Raises:
        InputError: if a state lies there and `resume` is False.
    """
    from tqdm.auto import tqdm

    state = folder / STATE_FILE
    if state.exists() and not resume:
        raise InputError(
            "tlab pretrain",
            got=f"an earlier run in {folder}",
            expected="none",
            fix="Go on from it with --resume, or choose another folder with --work.",
        )
    done = int(checkpoints.load(state)["step"]) if state.exists() else 0
    pictures = cached_scenes(folder / "scenes", config.num_scenes)
    unseen = unseen_pictures()
    with tqdm(total=config.steps, initial=done, unit="step") as bar:
        for step, loss, ema in train_vae(pictures, config, folder):
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}")
            if step % config.measure_every == 0 or step == config.steps:
                _log(folder / "vae-log.jsonl", ema, unseen, step=step, loss=round(loss, 4))
                _export(ema, unseen["scenes"], folder / "vae")


def _log(path: Path, vae: AutoencoderKL, unseen: dict[str, np.ndarray], **record) -> None:
    record |= {f"psnr_{name}": round(reconstruction_psnr(vae, p), 2) for name, p in unseen.items()}
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def _export(vae: AutoencoderKL, pictures: np.ndarray, folder: Path) -> None:
    half = copy.deepcopy(vae).half()
    half.register_to_config(scaling_factor=round(1 / latent_std(vae, pictures), 4))
    half.save_pretrained(folder)
