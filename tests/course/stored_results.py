"""Results as the paper's tables store them, with numbers that a test chooses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.course.stored import METHODS
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval
from tlab_diffusion.picturebook import SUBJECTS

SAMPLES = ("dino", "clip_i", "clip_t", "copies", "identity", "prompt_accuracy", "place", "div")
OF_CLASS = ("pres", "class_div", "entropy_colour", "entropy_pattern")
USES = ("context", "accessory", "style", "expression", "view", "property")
SHOWN = {"pip": ["a [V] robot on the moon", "a robot"], "mochi": ["a [V] cat", "a cat"]}


def metrics(subject: str, number: Callable[[str], float]) -> Metrics:
    """Metrics with `number(name)` for every score."""

    def scores(names):
        return {
            name: Interval(number(name), number(name) - 0.1, number(name) + 0.1) for name in names
        }

    return Metrics(
        subject=subject,
        counts={"prompts": 10, "per_prompt": 4, "per_class": 50, "batch": 32},
        samples=scores(SAMPLES),
        uses={use: scores(SAMPLES) for use in USES},
        class_samples=scores(OF_CLASS),
        controls={name: scores(SAMPLES[:2]) for name in ("real", "copy", "stranger", "perfect")},
    )


def write(folder: Path, number: Callable[[str, str, str], float]) -> None:
    """Tables and sheet of all subjects, with `number(method, subject, name)` for every score."""
    folder.mkdir(parents=True, exist_ok=True)
    methods = {
        method: {
            subject: metrics(subject, lambda name: number(method, subject, name)).as_dict()  # noqa: B023
            for subject in SUBJECTS
        }
        for method in METHODS
    }
    settings = {
        "shown": SHOWN,
        "minutes": 1,
        "training": {"dreambooth": {"max_steps": 400}},
        "model": "tiny",
    }
    content = {"settings": settings, "methods": methods}
    (folder / "tables.json").write_text(json.dumps(content), encoding="utf-8")
    grey = np.arange(len(METHODS) * 4).reshape(len(METHODS), 4)  # one a picture
    sheet = np.kron(5 * grey, np.ones((64, 64)))[..., None].repeat(3, axis=2).astype(np.uint8)
    Image.fromarray(sheet).save(folder / "tables.webp", lossless=True)
