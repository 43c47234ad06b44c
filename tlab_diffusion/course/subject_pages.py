r"""What lesson 08 shows of a subject: an untidy folder, its uses with verdicts, GPU memory."""

from itertools import groupby
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from PIL import Image

from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.dreambooth.methods import lora
from tlab_diffusion.dreambooth.preflight import resources
from tlab_diffusion.evaluation.encoders import shipped_encoders
from tlab_diffusion.evaluation.identity import picturebook_subject
from tlab_diffusion.evaluation.measure import SubjectMetrics
from tlab_diffusion.evaluation.pictures import Sampler
from tlab_diffusion.evaluation.subject_prompts import Prompt, prompts_for
from tlab_diffusion.picturebook import SUBJECTS, subject_pictures
from tlab_diffusion.plots import Picture, picture_grid

ORIENTATION, QUARTER_TURN = 0x0112, 6  # of EXIF: turn clockwise by 90 degrees
WHO = {None: "", 0.0: ", not {}", 1.0: ", {}"}
GIB, SIZES = 2**30, (16, 24, 80)  # gigabytes of a card's memory
# How many numbers the parts of Stable Diffusion 1.5 have, and the U-Net's settings.
SD_PARTS = {
    "text_encoder": resources.Part(123_060_480, 4),
    "unet": resources.Part(859_520_964, 4),
    "vae": resources.Part(83_653_863, 4),
}
SD_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}


def untidy_folder(name: str, folder: Path) -> Path:
    r"""Write a subject's pictures as a phone might leave them.

    One lies on its side, with an EXIF note to turn it; one is there twice; beside them lie a text
    and a hidden file.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    references = subject_pictures(name)
    for number, picture in enumerate(references, start=1):
        Image.fromarray(picture).save(folder / f"{name}-{number}.png")
    turned = Image.Exif()
    turned[ORIENTATION] = QUARTER_TURN
    Image.fromarray(np.rot90(references[1])).save(folder / f"{name}-2.png", exif=turned)
    Image.fromarray(references[0]).save(folder / f"{name}-6.jpg", quality=60)
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "about.txt").write_text("last summer", encoding="utf-8")
    return folder


def uses(draw: Sampler, name: str, identifier: str, each: int = 4, seed: int = 1) -> Picture:
    r"""Draw a subject in the six uses of the paper, a row each, with a verdict under each prompt.

    The counts of the verdicts are printed.

    Args:
        draw: of the tuned model, see `fast_sampler`.
        name: of the subject.
        identifier: the word that means it.
        each: prompts of each use.
        seed: of the noise.
    """
    subject = SUBJECTS[name]
    by_use = groupby(prompts_for(identifier, subject.class_noun), key=lambda prompt: prompt.use)
    rows = {use: list(prompts)[:each] for use, prompts in by_use}
    prompts = [prompt for row in rows.values() for prompt in row]
    pictures = draw([prompt.text for prompt in prompts], seed)
    computer = SubjectMetrics(picturebook_subject(name), shipped_encoders())
    verdicts = computer.per_prompt(pictures, prompts)
    for start, (use, row) in enumerate(rows.items()):
        print(f"{use:10} {_counts(verdicts[start * each :][: len(row)], name)}")
    captions = [_caption(p, v, name) for p, v in zip(prompts, verdicts, strict=True)]
    title = f"{name.capitalize()} in six uses, a row each"
    return picture_grid(pictures, captions, columns=each, title=title)


def _caption(prompt: Prompt, verdict: dict, name: str) -> str:
    mark = "✓" if verdict["prompt_accuracy"] else "✗"
    who = WHO[verdict.get("identity")].format(name.capitalize())
    return fill(prompt.text, 30) + f"\n{mark}{', a copy' if verdict['copies'] else who}"


def _counts(verdicts: list[dict], name: str) -> str:
    obeyed = sum(verdict["prompt_accuracy"] for verdict in verdicts)
    known = [verdict["identity"] for verdict in verdicts if "identity" in verdict]
    line = f"the prompt is obeyed in {obeyed:.0f} of {len(verdicts)}"
    return f"{line}, it is {name.capitalize()} in {sum(known):.0f} of {len(known)}"


def gpu_table() -> str:
    r"""What DreamBooth needs with Stable Diffusion 1.5 at 512 x 512 in bf16, counted.

    Nothing is downloaded: the U-Net is built without memory and run on shapes alone.
    """
    work = _unet_costs()
    numbers = SD_PARTS["unet"].parameters
    adapters = work["adapters"]
    all_weights = resources.MemoryBudget(SD_PARTS, numbers, half=True)
    small_moments = resources.MemoryBudget(SD_PARTS, numbers, half=True, moments=2)
    lora_alone = resources.MemoryBudget(SD_PARTS, adapters, added=adapters, half=True)
    rows = {
        "all weights": (all_weights, work["plain"]),
        "  + gradient checkpointing": (all_weights, work["checkpointed"]),
        "  + 8-bit moments": (small_moments, work["checkpointed"]),
        "LoRA, rank 4, no checkpointing": (lora_alone, work["lora"]),
    }
    lines = [
        f"{'Stable Diffusion 1.5, 512 x 512, bf16':40}{'memory':>9}   largest batch on",
        f"{'':40}{'at 1 + 1':>9}{'16 GB':>9}{'24 GB':>8}{'80 GB':>8}",
    ]
    for name, (budget, cost) in rows.items():
        needed = resources.memory_needed(budget, cost, 2) / GIB
        most = [_most_pictures(budget, cost, size) or "-" for size in SIZES]
        lines.append(f"{name:40}{needed:5.1f} GiB{most[0]:>9}{most[1]:>8}{most[2]:>8}")
    return "\n".join(lines)


def _unet_costs() -> dict:
    from diffusers import UNet2DConditionModel

    family, targets = StableDiffusion(), StableDiffusion.lora_targets["unet"]
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(SD_UNET)
        inputs = (
            torch.empty(1, 4, 64, 64),  # x_t of one picture
            torch.zeros(1),  # t
            torch.empty(1, 77, 768, requires_grad=True),  # text
        )
    shapes = {name: tuple(weights.shape) for name, weights in unet.named_parameters()}

    def cost(method: str = "dreambooth", *, checkpointing: bool = False):
        resources.freeze(unet, method, family)
        return resources.forward_cost(
            family, unet, inputs, fused_attention=True, checkpointing=checkpointing
        )

    return {
        "adapters": lora.num_parameters(shapes, targets, rank=4),
        "plain": cost(),
        "checkpointed": cost(checkpointing=True),
        "lora": cost("lora"),
    }


def _most_pictures(budget, cost, gigabytes: int) -> int:
    """The largest batch size; 1 is one picture of the subject and one of the class."""
    usable, pictures = resources.USABLE * gigabytes * GIB, 0
    while resources.memory_needed(budget, cost, 2 * (pictures + 1)) <= usable:
        pictures += 1
    return pictures
