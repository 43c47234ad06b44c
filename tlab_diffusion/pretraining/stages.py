r"""The stages of `tlab pretrain`: from the world to a pipeline folder.

Each stage reads what the one before left in the run's folder (or in `base`, a pipeline folder to
go on from) and leaves its own part there: `vae`, `text_encoder` with `tokenizer`, and at last
`picturebook`, the whole pipeline.
"""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation.pictures import FIRST_TEST_SEED, SIZE, unseen_pictures
from tlab_diffusion.evaluation.reconstruction import reconstruction_psnr
from tlab_diffusion.files import file_lock
from tlab_diffusion.picturebook import EXPRESSIONS, caption, draw_scenes, random_scene
from tlab_diffusion.pipelines.latents import latent_moments, to_tensor
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining import encoders, recognisers
from tlab_diffusion.pretraining.characters import cached_characters
from tlab_diffusion.pretraining.networks import (
    grown_vae,
    new_pipeline,
    new_unet,
    new_vae,
    save_pipeline,
    text_config,
)
from tlab_diffusion.pretraining.pictures import cached_scenes
from tlab_diffusion.pretraining.recipe import Recipe
from tlab_diffusion.pretraining.stage import check_state, run_stage, state_file
from tlab_diffusion.pretraining.text import (
    ClipPair,
    forget_identifiers,
    pair_batches,
    tell_apart,
    training_captions,
)
from tlab_diffusion.pretraining.tokenizer import new_tokenizer
from tlab_diffusion.pretraining.unet import (
    TextToImage,
    UnetConfig,
    emphasis_of,
    latent_batches,
)
from tlab_diffusion.pretraining.vae import VaeLoss, picture_batches
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.hardware import run_device, set_attention
from tlab_diffusion.training.precision import autocast

RUNS = {  # of each stage; each has a state of its own
    "vae": ("vae",),
    "text": ("text",),
    "unet": ("unet",),
    "encoders": ("recognisers", "image_text", "identity"),
}
NUM_TEST = 256
# What the sample sheets show: scenes as they come, with factors of every kind.
SHEET_SEEDS = range(FIRST_TEST_SEED, FIRST_TEST_SEED + 28)


def check_states(folder: Path, recipe: Recipe, stages: Sequence[str], *, resume: bool) -> None:
    """Refuse an earlier run of any of the stages before the first begins: `check_state`."""
    for stage in stages:
        for name in RUNS[stage]:
            check_state(folder, name, getattr(recipe, name), resume=resume)


def pretrain_vae(folder: Path, recipe: Recipe, *, resume: bool, base: Path | None = None) -> None:
    r"""Train the autoencoder: `folder/vae`. From a `base` on, scenes keep their latents."""
    config = recipe.vae
    check_state(folder, "vae", config, resume=resume)
    torch.manual_seed(config.seed)
    held = _held_vae(folder, base)
    vae = _first_vae(held, config.channels)
    size = vae.config.sample_size
    scenes = cached_scenes(folder / "scenes", config.num_scenes, size)
    oddities = cached_characters(folder / "characters", config.num_characters, True, size)
    unseen = unseen_pictures(NUM_TEST, size)

    def measure(ema: VaeLoss, step: int) -> dict:
        if held is None:
            scale = 1 / latent_std(ema.vae, unseen["scenes"])
            ema.vae.register_to_config(scaling_factor=round(scale, 4))
        ema.vae.save_pretrained(folder / "vae")
        return {
            f"psnr_{name}": round(reconstruction_psnr(ema.vae, x), 2) for name, x in unseen.items()
        }

    model = VaeLoss(vae, config, held)
    run_stage("vae", folder, model, picture_batches(scenes, oddities, config), config, measure)


def pretrain_text(folder: Path, recipe: Recipe, *, resume: bool, base: Path | None = None) -> None:
    r"""Train the CLIP pair: `folder/text_encoder` and `folder/tokenizer`."""
    config = recipe.text
    check_state(folder, "text", config, resume=resume)
    torch.manual_seed(config.seed)
    begun = folder if state_file(folder, "text").exists() else None
    tokenizer = _tokenizer(base or begun)
    if base is None:
        text_encoder = CLIPTextModel(text_config(tokenizer))
    else:
        text_encoder = _part(CLIPTextModel, "text_encoder", base)
    pictures = cached_scenes(folder / "scenes", config.num_scenes)
    captions = training_captions(tokenizer, config.num_scenes, config.captions_per_scene)
    unseen, texts = _unseen_scenes()
    ids = tokenise(tokenizer, texts)
    tokenizer.save_pretrained(folder / "tokenizer")

    def measure(ema: ClipPair, step: int) -> dict:
        ema.text_encoder.save_pretrained(folder / "text_encoder")
        device = ema.log_scale.device
        with torch.inference_mode():
            texts = ema.text_features(ids.to(device))
            similarity = ema.image_features(to_tensor(unseen).to(device)) @ texts.T
        own = torch.arange(len(ids), device=device)
        right = (similarity.argmax(dim=1) == own).float().mean().item()
        return {f"own_caption_first_of_{len(ids)}": round(right, 3)}

    draw = pair_batches(pictures, captions, config)
    run_stage("text", folder, ClipPair(text_encoder), draw, config, measure)


def pretrain_unet(folder: Path, recipe: Recipe, *, resume: bool, base: Path | None = None) -> None:
    r"""Train the U-Net, and the text encoder along with it: `folder/picturebook`."""
    config = recipe.unet
    check_state(folder, "unet", config, resume=resume)
    torch.manual_seed(config.seed)
    vae = _part(AutoencoderKL, "vae", folder, base).to(run_device())
    text_encoder = _part(CLIPTextModel, "text_encoder", base or folder)
    tokenizer = _tokenizer(base or folder)
    unet = new_unet(config.channels) if base is None else _part(UNet2DConditionModel, "unet", base)
    set_attention(unet, run_device())
    moments = _cached_moments(folder, vae, config.num_scenes)
    captions = training_captions(tokenizer, config.num_scenes, config.captions_per_scene)
    no_caption = tokenise(tokenizer, [""])[0]
    # A base's U-Net listens to the states as they are, and a saved state's has learnt to.
    if base is None and not state_file(folder, "unet").exists():
        tell_apart(text_encoder, tokenizer, EXPRESSIONS, captions.flatten(0, 1))
    test = _test_batch(vae, tokenizer, config)

    def measure(ema: TextToImage, step: int) -> dict:
        text_encoder = copy.deepcopy(ema.text_encoder)
        forget_identifiers(text_encoder, tokenizer)
        save_pipeline(folder / "picturebook", vae, text_encoder, tokenizer, ema.unet)
        pipeline = new_pipeline(vae, text_encoder, tokenizer, ema.unet)
        save_sheet(pipeline, folder / f"sheet-{step:06}.png")
        with torch.inference_mode():
            loss = ema(*(part.to(ema.weights.device) for part in test))
        return {"loss_unseen": round(loss.item(), 4)}

    model = TextToImage(unet, text_encoder, config)
    counts = emphasis_of(
        map(random_scene, range(config.num_scenes)), unet.config.sample_size, config
    )
    draw = latent_batches(moments, captions, no_caption, counts, config)
    run_stage("unet", folder, model, draw, config, measure)


def pretrain_encoders(
    folder: Path, recipe: Recipe, *, resume: bool, base: Path | None = None
) -> None:
    r"""Train what measures: recognisers and both encoders, in `folder/weights`."""
    out = folder / "weights"
    vae = _part(AutoencoderKL, "vae", folder, base)
    recognisers.pretrain_recognisers(folder, recipe.recognisers, resume=resume, out=out, vae=vae)
    encoders.pretrain_encoders(
        folder, recipe.image_text, recipe.identity, resume=resume, out=out, vae=vae
    )


@torch.inference_mode()
def latent_std(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    r"""Standard deviation of the latents of pictures (N, H, W, 3): 1 / scaling_factor."""
    x = to_tensor(pictures).to(vae.device)
    latents = [vae.encode(part).latent_dist.mean for part in x.split(64)]
    return torch.cat(latents).std().item()


def save_sheet(pipeline, file: Path) -> None:
    """Draw the same captions from the same noise, so that sheets can be compared."""
    from tlab_diffusion.pipelines import sample

    prompts = [caption(random_scene(seed)) for seed in SHEET_SEEDS]
    pictures = np.stack(list(sample(pipeline, prompts, seed=0, steps=20, guidance_scale=4.0)))
    rows = pictures.reshape(4, 7, *pictures.shape[1:])
    Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows])).save(file)


def _first_vae(held: AutoencoderKL | None, channels: tuple[int, ...]) -> AutoencoderKL:
    """The autoencoder before the first step: new, a copy of the base, or the base grown."""
    if held is None:
        return new_vae(channels)
    same = len(channels) == len(held.config.block_out_channels)
    return copy.deepcopy(held) if same else grown_vae(held, channels)


def _unseen_scenes(size: int = SIZE) -> tuple[np.ndarray, list[str]]:
    """Pictures and captions of scenes that no training sees."""
    seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + NUM_TEST)
    return draw_scenes(seeds, size, progress=False), [caption(random_scene(seed)) for seed in seeds]


def _cached_moments(folder: Path, vae: AutoencoderKL, num_scenes: int) -> torch.Tensor:
    """The latents of all scenes, computed once for this autoencoder."""
    encoder = torch.cat([p.detach().flatten()[:64] for p in vae.encoder.parameters()]).cpu()
    path = folder / f"latents-{num_scenes}.safetensors"
    with file_lock(path):
        if path.exists():
            cached = checkpoints.load(path)
            if torch.equal(cached["encoder"], encoder):
                return cached["moments"]
        pictures = cached_scenes(folder / "scenes", num_scenes, vae.config.sample_size)
        moments = _half_moments(vae, pictures, progress=True)
        checkpoints.save(path, {"moments": moments, "encoder": encoder})
    return moments


def _half_moments(vae: AutoencoderKL, pictures: np.ndarray, progress: bool = False) -> torch.Tensor:
    """`latent_moments` (N, 2C, h, w) in float16, computed in the device's own precision."""
    with autocast(vae.device):
        return latent_moments(vae, pictures, batch_size=64, progress=progress).half()


def _test_batch(vae: AutoencoderKL, tokenizer, config: UnetConfig):
    """The batch on which the loss is measured, always the same."""
    pictures, texts = _unseen_scenes(vae.config.sample_size)
    moments = _half_moments(vae, pictures)
    mean = moments.float().chunk(2, dim=1)[0]
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(config.seed))
    t = torch.linspace(0, 999, len(mean)).long()
    scenes = map(random_scene, range(FIRST_TEST_SEED, FIRST_TEST_SEED + NUM_TEST))
    counts = emphasis_of(scenes, mean.shape[-1], config).float()
    return mean, t, noise, tokenise(tokenizer, texts), counts


def _tokenizer(folder: Path | None) -> CLIPTokenizer:
    """That of a text encoder's folder, which knows words by its numbers; else a new one."""
    if folder is None:
        return new_tokenizer()
    return CLIPTokenizer.from_pretrained(folder / "tokenizer")


def _held_vae(folder: Path, base: Path | None) -> AutoencoderKL | None:
    """The autoencoder whose latents are held; a run that goes on knows it without `base`."""
    run_device()  # joins the other processes first
    kept = folder / "vae_base"
    if state_file(folder, "vae").exists():
        return AutoencoderKL.from_pretrained(kept) if kept.exists() else None
    held = None if base is None else _part(AutoencoderKL, "vae", base)
    if PartialState().is_main_process:
        shutil.rmtree(kept, ignore_errors=True)  # of a run whose state was deleted
        if held is not None:
            held.save_pretrained(kept)
    return held


def _part(kind: type[nn.Module], name: str, *folders: Path | None) -> nn.Module:
    """Load a part in float32 from the first of the folders that has it."""
    for folder in filter(None, folders):
        if (folder / name / "config.json").is_file():
            return kind.from_pretrained(folder / name, dtype=torch.float32, use_safetensors=True)
    looked = " or ".join(str(folder) for folder in folders if folder is not None)
    raise InputError(
        "tlab pretrain",
        got=f"no {name} in {looked}",
        expected="the part that an earlier stage leaves there",
        fix="Run the stages in order: vae, text, unet.",
    )
