"""The lessons as the tests run them: every cell, but less to compute where a lesson takes long.

A solved notebook keeps the numbers on which its compared outputs depend. Building it runs it with
all its own numbers. An unsolved notebook has no outputs to compare: it must run to its end.
"""

import json
from pathlib import Path

# Two calls of the network for a picture where nobody has chosen a number.
FEW_SAMPLING_STEPS = """
from tlab_diffusion.pipelines import sampler_settings
for settings in (sampler_settings.DEFAULT, sampler_settings.MEASURING_SMALL):
    object.__setattr__(settings, "steps", 2)
"""
FIRST_LINE = "import torch\n"

# Lesson: what stands in it, and what the tests put there.
SMALLER = {
    "00_start_here.ipynb": {FIRST_LINE: FIRST_LINE + FEW_SAMPLING_STEPS},
    "06_latent_diffusion.ipynb": {
        "\nSTEPS = 25": "\nSTEPS = 5",
        "spaced_timesteps(1000, 10)": "spaced_timesteps(1000, 4)",
        '"num_inference_steps": 10': '"num_inference_steps": 4',
        "latent_walk(pipeline)": "latent_walk(pipeline, num_inference_steps=2)",
    },
    "08_dreambooth_hands_on.ipynb": {
        FIRST_LINE: FIRST_LINE + FEW_SAMPLING_STEPS,
        "\nSTEPS = 300": "\nSTEPS = 8",
        "num_class_images=32": "num_class_images=4",
        "num_inference_steps=20": "num_inference_steps=2",
    },
    "09_grid_search.ipynb": {
        FIRST_LINE: FIRST_LINE + FEW_SAMPLING_STEPS,
        "num_class_images=20": "num_class_images=4",
        "per_class=16": "per_class=2",
    },
}
# These would change outputs that the solved notebooks compare.
UNSOLVED = {
    "03_training.ipynb": {
        "\nPOINT_STEPS = 800": "\nPOINT_STEPS = 240",
        "\nPICTURE_STEPS = 300": "\nPICTURE_STEPS = 10",
        "spaced_timesteps(1000, 25)": "spaced_timesteps(1000, 5)",
    },
    "04_sampling.ipynb": {
        "\nSTEPS = 200": "\nSTEPS = 20",
        "\nmany = 10_000": "\nmany = 100",
        "torch.randn(200, 3, 64, 64": "torch.randn(8, 3, 64, 64",
        "torch.linspace(0, 199, 8)": "torch.arange(8)",
    },
    "05_text_and_guidance.ipynb": {"\nSTEPS = 12": "\nSTEPS = 2"},
    "07_dreambooth_paper.ipynb": {"\nSTEPS = 15": "\nSTEPS = 2"},
    "09_grid_search.ipynb": {"\nSTEPS = (10, 20)": "\nSTEPS = (2, 4)"},
}


def changes(path: Path) -> dict[str, str]:
    """What the tests change in a lesson, each in one cell."""
    of_both = SMALLER.get(path.name, {})
    return of_both if path.parent.name == "solutions" else of_both | UNSOLVED.get(path.name, {})


def smaller(path: Path, folder: Path) -> Path:
    """A copy of a lesson in `folder` that computes less, or the lesson itself if it is quick."""
    if not changes(path):
        return path
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = "".join(cell["source"])
            for old, new in changes(path).items():
                cell["source"] = cell["source"].replace(old, new)
    copy = folder / path.parent.name / path.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    return copy
