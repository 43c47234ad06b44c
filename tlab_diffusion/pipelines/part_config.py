r"""Change the settings of a saved part of a pipeline."""

import json
from collections.abc import Callable
from pathlib import Path


def load_in_float32(part: Path) -> None:
    r"""Make transformers load a saved part in float32, for any precision of its file.

    Otherwise it would load a half-precision file in half precision, while diffusers loads the
    U-Net beside it in float32.
    """
    _change(part, lambda settings: settings.update(dtype="float32"))


def forget_origin(part: Path) -> None:
    """Remove the path that diffusers notes of a loaded part: it names another machine's folder."""
    _change(part, lambda settings: settings.pop("_name_or_path", None))


def _change(part: Path, change: Callable[[dict], object]) -> None:
    file = part / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    change(settings)
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
