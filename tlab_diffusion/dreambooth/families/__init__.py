r"""The model families that can be fine-tuned.

To add one, write a subclass of `base.Family` in a file here and add a line to `FAMILIES`.
"""

import json
from pathlib import Path

from tlab_diffusion.dreambooth.families.base import Family
from tlab_diffusion.dreambooth.families.stable_diffusion import StableDiffusion
from tlab_diffusion.errors import InputError

# By the pipeline's class, as `model_index.json` names it.
FAMILIES: dict[str, Family] = {"StableDiffusionPipeline": StableDiffusion()}


def family_of(model) -> Family:
    r"""The family of a pipeline, or of a pipeline's folder.

    Raises:
        InputError: a pipeline of another class.
        OSError, ValueError, KeyError, TypeError: the folder's `model_index.json` is damaged.
    """
    if isinstance(model, Path):
        index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
        name = index["_class_name"]
    else:
        name = type(model).__name__
    if name not in FAMILIES:
        raise InputError("model", got=f"a {name}", expected=f"one of {', '.join(FAMILIES)}")
    return FAMILIES[name]
