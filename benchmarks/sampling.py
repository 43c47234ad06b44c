"""Measures loading and sampling against diffusers alone: python benchmarks/sampling.py [MODEL]

Both draw four pictures in 25 guided steps from the same noise. They take turns, each first every
second time, so that what else the machine does falls on both alike.
"""

import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from tlab_diffusion.pipelines import check_model, initial_noise, load, sample

PROMPT = "a striped purple cat wearing a crown in the snow"
PICTURES, STEPS, GUIDANCE_SCALE, PAIRS = 4, 25, 5.0, 9
LOADS = 3
IMPORT = "from diffusers import StableDiffusionPipeline"
LOAD = "from tlab_diffusion.pipelines import load; load({!r})"
LIMITS = {"load": 1.0, "sample": 15.0, "ratio": 1.05}


def main(model: str) -> None:
    """Prints one line a measure: what was found, and what may be."""
    check_model(model)
    runs = [(fresh(IMPORT), fresh(LOAD.format(model))) for _ in range(LOADS)]
    imports, loads = zip(*runs, strict=True)
    added = statistics.median(loads) - statistics.median(imports)
    pipeline = load(model)
    draw_ours(pipeline), draw_theirs(pipeline)  # the first call of each is slower
    pairs = [measure_pair(pipeline, ours_first=number % 2 == 0) for number in range(PAIRS)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    difference = draw_ours(pipeline).astype(int) - draw_theirs(pipeline)

    print(f"{model} on {pipeline.device}, {torch.get_num_threads()} threads\n")
    row("import diffusers' pipeline", f"{statistics.median(imports):.2f} s")
    row("loading adds", f"{added:.2f} s", f"at most {LIMITS['load']:g} s")
    what = f"{PICTURES} pictures, {STEPS} guided steps"
    row(f"{what}: ours", f"{ours:.2f} s", f"at most {LIMITS['sample']:g} s on 2 cores")
    row(f"{what}: diffusers", f"{theirs:.2f} s")
    row(f"ratio, median of {PAIRS} pairs", f"{ratio:.3f}", f"at most {LIMITS['ratio']}")
    row("largest difference of a level", f"{abs(difference).max()} of 255", "at most 1")


def row(name: str, value: str, limit: str = "") -> None:
    print(f"{name:42} {value:>10}  {limit}".rstrip())


def fresh(statement: str) -> float:
    """Seconds that a statement takes in a new interpreter, its start left out."""
    timed = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def measure_pair(pipeline, *, ours_first: bool) -> tuple[float, float]:
    """Seconds of ours and of diffusers', one straight after the other."""
    if ours_first:
        return seconds(draw_ours, pipeline), seconds(draw_theirs, pipeline)
    theirs = seconds(draw_theirs, pipeline)
    return seconds(draw_ours, pipeline), theirs


def seconds(draw, pipeline) -> float:
    start = time.perf_counter()
    draw(pipeline)  # its pictures come to the CPU, so a GPU has finished
    return time.perf_counter() - start


def draw_ours(pipeline) -> np.ndarray:
    settings = {"num": PICTURES, "steps": STEPS, "guidance_scale": GUIDANCE_SCALE}
    return np.stack(list(sample(pipeline, [PROMPT], **settings)))


def draw_theirs(pipeline) -> np.ndarray:
    noise = [initial_noise(pipeline, 0, number) for number in range(PICTURES)]
    images = pipeline(
        PROMPT,
        latents=torch.cat(noise),
        num_images_per_prompt=PICTURES,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE_SCALE,
        output_type="np",
    ).images
    return (images * 255).round().astype(int)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "picturebook")
