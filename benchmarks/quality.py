"""How good is a model of the picture book? python -m benchmarks.quality [--model M] [--work DIR]

Samples are kept in DIR, apart for each model, steps and guidance, so a report that was stopped goes
on, and one with more pictures begins with those that are there. The full report takes 5800
pictures; `--part 0.2` a fifth of them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tlab_diffusion.dreambooth.families import family_of
from tlab_diffusion.evaluation import quality
from tlab_diffusion.evaluation.pictures import Sampler
from tlab_diffusion.pipelines import load
from tlab_diffusion.training.precision import autocast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="picturebook")
    parser.add_argument("--work", type=Path, default=Path("work/quality"))
    parser.add_argument("--part", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    options = parser.parse_args()
    pipeline = load(options.model)
    sample = _in_half_precision(
        quality.pipeline_sampler(
            pipeline, steps=options.steps, guidance_scale=options.guidance_scale
        ),
        pipeline.device,
    )
    whole = quality.ReportCounts()
    counts = quality.ReportCounts(
        judged=round(options.part * whole.judged),
        compared=round(options.part * whole.compared),
        per_class=round(options.part * whole.per_class),
    )
    settings = f"steps-{options.steps}-guidance-{options.guidance_scale:g}"
    folder = options.work / f"{family_of(pipeline).fingerprint(pipeline)}-{settings}"
    report = quality.quality(sample, pipeline.vae, folder, counts)
    quality.write(report, folder / "report.json")
    print(quality.table(report))


def _in_half_precision(sample: Sampler, device: torch.device) -> Sampler:
    """Twice as fast where the hardware multiplies bfloat16; it moves a pixel by 1 of 255, about."""

    def draw(prompts: Sequence[str], seed: int) -> np.ndarray:
        with autocast(device):
            return sample(prompts, seed)

    return draw


if __name__ == "__main__":
    main()
