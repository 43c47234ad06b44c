r"""The whole path of `tlab dreambooth` at Stable Diffusion 1.5's size, with random weights.

    python -m benchmarks.stable_diffusion_size

makes a pipeline folder with every part of that model's exact size, in half precision, trains it on
three pictures of 64 x 64 with the prior loss, in float32 as a GPU-less machine does, goes on from
the checkpoint for another step, and loads what came out as diffusers does. Nothing is learned:
memory, disk and time are what is measured, and that it runs. It takes about 15 GiB of memory, 35 GB
of disk and some minutes, and ends before the machine runs out of memory.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tlab_diffusion.dreambooth.preflight.resources import read_parts
from tlab_diffusion.picturebook import render, subject_scenes
from tlab_diffusion.pipelines.part_config import load_in_float32

GIB = 2**30
LEAST_FREE = GIB  # of the machine's memory: a command is ended, lest everything swaps
PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}
VOCABULARY = 49_408
LETTERS = "abcdefghijklmnopqrstuvwxyz"
END_OF_WORD = "</w>"
MARKS = ("<|startoftext|>", "<|endoftext|>")
SIDE = 64  # of the pictures
MAKE = """
import pathlib, sys
from benchmarks.stable_diffusion_size import save_random_pipeline
save_random_pipeline(pathlib.Path(sys.argv[1]))
"""
SAMPLE = """
import sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1])
side = int(sys.argv[2])
[image] = pipeline("a sks robot", height=side, width=side, num_inference_steps=2).images
print("drawn:", image.size)
"""


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        down_block_types=[*3 * ["CrossAttnDownBlock2D"], "DownBlock2D"],
        up_block_types=["UpBlock2D", *3 * ["CrossAttnUpBlock2D"]],
        cross_attention_dim=768,
        attention_head_dim=8,  # diffusers' name for the number of heads
    )


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=512,
        block_out_channels=(128, 256, 512, 512),
        down_block_types=4 * ["DownEncoderBlock2D"],
        up_block_types=4 * ["UpDecoderBlock2D"],
        layers_per_block=2,
    )


def new_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
            pad_token_id=VOCABULARY - 1,
        )
    )


def new_tokenizer() -> CLIPTokenizer:
    """As many tokens as CLIP has: its bytes, then invented syllables of two letters and more."""
    alphabet = sorted(ByteLevel.alphabet())
    letters = [*alphabet, *(letter + END_OF_WORD for letter in alphabet)]
    merges = list(itertools.islice(_merges(), VOCABULARY - len(letters) - len(MARKS)))
    tokens = [*letters, *(first + last for first, last in merges), *MARKS]
    start, end = MARKS
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=77,
        bos_token=start,
        eos_token=end,
        pad_token=end,
        unk_token=end,
    )


def _merges() -> Iterator[tuple[str, str]]:
    """A syllable and one more letter, within a word or at its end; short ones first."""
    for length in itertools.count(1):
        for syllable in itertools.product(LETTERS, repeat=length):
            for letter in LETTERS:
                yield "".join(syllable), letter
                yield "".join(syllable), letter + END_OF_WORD


def save_random_pipeline(folder: Path) -> None:
    """Write a pipeline of that size with random weights in half precision."""
    with half_precision():
        unet, vae, text_encoder = new_unet(), new_vae(), new_text_encoder()
    StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=new_tokenizer(),
        scheduler=PNDMScheduler(
            beta_schedule="scaled_linear",
            beta_start=0.00085,
            beta_end=0.012,
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    load_in_float32(folder / "text_encoder")


@contextmanager
def half_precision() -> Iterator[None]:
    """New weights come in half precision, and never take the memory of whole ones."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return through_the_path(Path(scratch))


def through_the_path(scratch: Path) -> int:
    """Each part of it in a process of its own, as a user's commands are."""
    model = scratch / "model"
    if run("random weights", ["-c", MAKE, str(model)], scratch) or not right_size(model):
        return 1
    pictures = scratch / "pictures"
    pictures.mkdir()
    for number, scene in enumerate(subject_scenes("pip")[:3]):
        Image.fromarray(render(scene, SIDE)).save(pictures / f"{number}.png")
    tuned = scratch / "tuned"
    train = dreambooth(model, pictures, tuned)
    codes = [
        run("class pictures, one step", [*train, "--max-steps", "1"], scratch),
        run("another step, resumed", [*train, "--max-steps", "2", "--resume"], scratch),
        run("a picture, by diffusers", ["-c", SAMPLE, str(tuned), str(SIDE)], scratch),
    ]
    size = sum(file.stat().st_size for file in tuned.rglob("*") if file.is_file())
    print(f"on the disk: {size / GIB:.1f} GiB in the tuned folder, its checkpoint included")
    return max(codes)


def right_size(model: Path) -> bool:
    """Print the numbers of each part, as its file's header says; are they Stable Diffusion's?"""
    found = {name: part.parameters for name, part in read_parts(model).items()}
    for name, number in found.items():
        print(f"{name:14} {number:>12,} numbers")
    return found == PARAMETERS


def dreambooth(model: Path, pictures: Path, output: Path) -> list[str]:
    """Run the command line."""
    settings = {
        "subject-images": pictures,
        "identifier": "sks",
        "class-noun": "robot",
        "model": model,
        "output": output,
        "num-class-images": 2,
        "resolution": SIDE,
        "precision": "fp32",
    }
    options = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    return ["-m", "tlab_diffusion.cli", "dreambooth", *options]


def run(what: str, arguments: list[str], scratch: Path) -> int:
    """Run Python on these; print how long it took and the most memory that it held.

    That is at least what this process holds, which therefore stays small itself.
    """
    environment = os.environ | {"XDG_CACHE_HOME": str(scratch / "cache")}
    print(f"\n{what}", flush=True)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        if psutil.virtual_memory().available < LEAST_FREE:
            process.kill()
        time.sleep(0.2)
    _, status, used = ended
    seconds, peak = time.perf_counter() - began, used.ru_maxrss * 1024 / GIB
    print(f"{what}: {seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of processor), ", end="")
    print(f"at most {peak:.1f} GiB", flush=True)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    raise SystemExit(main())
