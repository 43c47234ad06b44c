"""The quality report of a pipeline of the picture-book world.

It measures how often samples show what captions say, also in combinations held out of training; how
far samples are from real scenes; and how varied the samples of a bare class noun are. All samples
have the same sampler settings, and the same numbers are reported for real scenes.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from tlab_diffusion.evaluation.metrics import entropy_share, kid, prompt_similarity
from tlab_diffusion.evaluation.pictures import (
    FIRST_TEST_SEED,
    Sampler,
    kept,
    render_scenes,
    sample_batch,
    unseen_pictures,
)
from tlab_diffusion.evaluation.prompts import KINDS, full_caption, unseen_scenes
from tlab_diffusion.evaluation.recognisers import Recogniser, accuracy, recognise
from tlab_diffusion.evaluation.reconstruction import reconstruct, reconstruction_psnr
from tlab_diffusion.evaluation.shipped_encoders import (
    ImageText,
    image_features,
    text_features,
    texture_features,
)
from tlab_diffusion.evaluation.world import FACTOR_FREQUENCIES
from tlab_diffusion.picturebook import CLASSES, draw_scenes

REAL_SEEDS = FIRST_TEST_SEED + 100_000_000  # of scenes that pictures are compared with


@dataclass(frozen=True)
class ReportCounts:
    """The numbers of pictures in the report.

    Args:
        judged: samples of each kind of caption, for the recognisers.
        compared: samples for KID, and as many real scenes; the first of them are the judged ones
            of the kind "seen".
        per_class: samples of each bare class noun.
        batch: samples drawn at once; an interrupted report loses at most one batch.
    """

    judged: int = 500
    compared: int = 2000
    per_class: int = 200
    batch: int = 50


def pipeline_sampler(pipeline, *, steps: int = 25, guidance_scale: float = 5.0) -> Sampler:
    """A function from prompts to pictures, for the report."""
    from tlab_diffusion.pipelines import sample

    def draw(prompts: Sequence[str], seed: int) -> np.ndarray:
        settings = {"steps": steps, "guidance_scale": guidance_scale, "batch_size": len(prompts)}
        return np.stack(list(sample(pipeline, prompts, seed=seed, **settings)))

    return draw


def quality(
    sample: Sampler,
    vae,
    folder: Path,
    counts: ReportCounts | None = None,
    *,
    recogniser: Recogniser | None = None,
    image_text: ImageText | None = None,
) -> dict:
    r"""Measure a pipeline.

    Args:
        sample: draws pictures; asked for `counts.batch` at a time.
        vae: the pipeline's autoencoder.
        folder: where samples are stored batch by batch, so that an interrupted report continues.
            Use one folder for each pipeline and its sampler settings.
        counts: how many pictures.
        recogniser, image_text: the shipped networks when left out.

    Returns:
        plain numbers, ready for JSON.

    Raises:
        InputError: the weights of a shipped network are missing or damaged.
    """
    counts = counts or ReportCounts()
    report = {"counts": vars(counts), "real": _real_accuracy(vae, counts, recogniser)}
    report["psnr"] = {k: _mean_psnr(vae, x) for k, x in unseen_pictures(counts.judged).items()}
    for kind in KINDS:
        report[kind] = _judged(kind, sample, folder, counts, recogniser, image_text)
    report["kid"] = _compared(sample, vae, folder, counts, image_text)
    report["entropy_shares"] = _bare_nouns(sample, folder, counts, recogniser)
    return report


def sampled(
    name: str, prompts: Sequence[str], seed: int, sample: Sampler, folder: Path, batch: int
) -> np.ndarray:
    r"""One sample for each prompt; those stored in `folder` are not drawn again.

    Every batch has its own seed, so the first pictures are the same however many there are.

    Raises:
        InputError: if there is not one picture for each prompt.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in tqdm(range(0, len(prompts), batch), desc=name, unit="batch"):
        part = list(prompts[start : start + batch])
        fingerprint = hashlib.sha256("\n".join(part).encode()).hexdigest()[:12]
        path = folder / f"{name}-{start:05}-{fingerprint}.npy"
        parts.append(kept(path, partial(sample_batch, sample, part, seed + start)))
    return np.concatenate(parts)


def table(report: dict) -> str:
    """The report as a few lines of text."""
    columns = ("scenes", "held_out", "reconstructions")
    rows = {f"real {name}": report["real"][name] for name in columns}
    rows |= {f"samples, {kind}": report[kind]["accuracy"] for kind in KINDS}
    factors = list(rows["real scenes"])
    lines = [_line("right, %", [name.replace("_noun", "") for name in factors])]
    lines += [
        _line(name, [f"{100 * row[factor]:.1f}" if factor in row else "" for factor in factors])
        for name, row in rows.items()
    ]
    lines.append("")
    lines += [f"PSNR of {k}: {v:.2f} dB" for k, v in report["psnr"].items()]
    for name, (value, error) in report["kid"].items():
        lines.append(f"1000 KID, {name.replace('_', ' ')}: {1e3 * value:.2f} +- {1e3 * error:.2f}")
    for factor, shares in report["entropy_shares"].items():
        least = min(shares, key=shares.get)
        mean = sum(shares.values()) / len(shares)
        lines.append(
            f"entropy of {factor} for a bare noun: mean {mean:.2f} of the world's, "
            f"least {shares[least]:.2f} ({least})"
        )
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:22}" + "".join(f"{cell:>12}" for cell in cells)


def _real_accuracy(
    vae, counts: ReportCounts, recogniser: Recogniser | None
) -> dict[str, dict[str, float]]:
    """The recogniser's own accuracy: on scenes, held-out combinations, and reconstructions."""
    scenes = unseen_scenes("seen", counts.judged)
    held_out = [scene for kind in KINDS[1:] for scene in unseen_scenes(kind, counts.judged // 2)]
    pictures = render_scenes(scenes)
    parts = {
        "scenes": (pictures, scenes),
        "held_out": (render_scenes(held_out), held_out),
        "reconstructions": (reconstruct(vae, pictures), scenes),
    }
    return {
        name: _rounded(accuracy(recognise(x, recogniser), [s.visible_factors() for s in of]))
        for name, (x, of) in parts.items()
    }


def _judged(
    kind: str,
    sample: Sampler,
    folder: Path,
    counts: ReportCounts,
    recogniser: Recogniser | None,
    image_text: ImageText | None,
) -> dict:
    """The share of samples of full captions that show each factor as the caption says."""
    scenes = unseen_scenes(kind, counts.judged)
    captions = [full_caption(scene) for scene in scenes]
    pictures = sampled(kind, captions, _seed_of(kind), sample, folder, counts.batch)
    told = [{k: v for k, v in scene.visible_factors().items() if v} for scene in scenes]
    likeness = prompt_similarity(
        image_features(pictures, image_text), text_features(captions, image_text)
    )
    return {
        "accuracy": _rounded(accuracy(recognise(pictures, recogniser), told)),
        "prompt_similarity": round(likeness.item(), 4),
    }


def _compared(
    sample: Sampler, vae, folder: Path, counts: ReportCounts, image_text: ImageText | None
) -> dict[str, list[float]]:
    """KID of samples, of reconstructions and of other scenes, each against real scenes."""
    scenes = unseen_scenes("seen", counts.compared)
    captions = [full_caption(scene) for scene in scenes]
    samples = sampled("seen", captions, _seed_of("seen"), sample, folder, counts.batch)
    seeds = range(REAL_SEEDS, REAL_SEEDS + counts.compared)
    real = texture_features(draw_scenes(seeds, processes=1), image_text)
    other = render_scenes(scenes)
    pictures = {
        "samples_and_real": samples,
        "reconstructions_and_real": reconstruct(vae, other),
        "real_and_real": other,
    }
    return {
        name: [round(v, 6) for v in kid(texture_features(x, image_text), real)]
        for name, x in pictures.items()
    }


def _bare_nouns(
    sample: Sampler, folder: Path, counts: ReportCounts, recogniser: Recogniser | None
) -> dict[str, dict[str, float]]:
    """The entropy of colours and patterns of each class, as a share of the world's."""
    shares = {factor: {} for factor in FACTOR_FREQUENCIES}
    for noun in CLASSES:
        prompts = [f"a {noun}"] * counts.per_class
        pictures = sampled(f"a-{noun}", prompts, _seed_of(noun), sample, folder, counts.batch)
        seen = recognise(pictures, recogniser)
        for factor, frequencies in FACTOR_FREQUENCIES.items():
            shares[factor][noun] = round(entropy_share(seen[factor], frequencies), 4)
    return shares


def _seed_of(name: str) -> int:
    """The seed of a set of samples; every set has different noise."""
    return 100_000 * ([*KINDS, *CLASSES].index(name) + 1)


def _mean_psnr(vae, pictures: np.ndarray) -> float:
    return round(reconstruction_psnr(vae, pictures), 2)


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(share, 4) for name, share in shares.items()}


def write(report: dict, file: Path) -> None:
    """Write the report as JSON."""
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
