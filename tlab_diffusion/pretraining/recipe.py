"""The recipe: one TOML file with the numbers of every stage."""

import math
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from tlab_diffusion.errors import InputError
from tlab_diffusion.pretraining.encoders import IdentityConfig, ImageTextConfig
from tlab_diffusion.pretraining.recognisers import RecogniserConfig
from tlab_diffusion.pretraining.stage import StageConfig
from tlab_diffusion.pretraining.text import TextConfig
from tlab_diffusion.pretraining.unet import UnetConfig
from tlab_diffusion.pretraining.vae import VaeConfig

SHARES = ("caption_dropout", "ema_decay", "middle_share", "reconstruction_share")
SHIPPED = Path(__file__).with_name("recipe.toml")


@dataclass(frozen=True)
class Recipe:
    """The configurations of all stages."""

    vae: VaeConfig
    text: TextConfig
    unet: UnetConfig
    recognisers: RecogniserConfig
    image_text: ImageTextConfig
    identity: IdentityConfig


def load_recipe(path: Path = SHIPPED) -> Recipe:
    """Read a recipe.

    Raises:
        InputError: if there is no such file, or a number is missing, unknown or of a wrong type.
    """
    if not path.is_file():
        raise InputError("recipe", got=f"no file {path}", expected=f"a file like {SHIPPED}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("recipe", got=f"{path}: {error}", expected="a TOML file") from error
    stages = {stage.name: stage.type for stage in fields(Recipe)}
    _same_names(path.name, set(tables), set(stages))
    return Recipe(**{name: _config(name, kind, tables[name]) for name, kind in stages.items()})


def _config(stage: str, kind: type[StageConfig], table: object) -> StageConfig:
    if not isinstance(table, dict):
        raise InputError(f"recipe [{stage}]", got=repr(table), expected="a table")
    expected = {field.name: field.type for field in fields(kind)}
    _same_names(f"[{stage}]", set(table), set(expected))
    return kind(**{name: _value(f"{stage}.{name}", expected[name], table[name]) for name in table})


def _value(name: str, kind: type, value: object):
    """A number of the right type and range, or a tuple of integers."""
    if kind is float and type(value) is int:
        value = float(value)
    if kind not in (int, float):
        if (
            isinstance(value, list)
            and value
            and all(type(each) is int and each > 0 for each in value)
        ):
            return tuple(value)
        raise InputError(f"recipe {name}", got=repr(value), expected="a list of integers from 1 up")
    least, most = _range(name.partition(".")[2], kind)
    if type(value) is not kind or not least <= value <= most:  # nan is in no range
        word = "an integer" if kind is int else "a number"
        above = "" if most == math.inf else f", not above {most:g}"
        expected = f"{word}, not below {least}{above}"
        raise InputError(f"recipe {name}", got=repr(value), expected=expected)
    return value


def _range(name: str, kind: type) -> tuple[float, float]:
    """The least and the most that makes sense of a number."""
    if name in SHARES:
        return 0, 1
    may_be_none = kind is float or name in ("seed", "warm_up_steps", "num_characters")
    return 0 if may_be_none else 1, sys.float_info.max if kind is float else math.inf


def _same_names(where: str, got: set[str], expected: set[str]) -> None:
    for name in sorted(got - expected):
        known = ", ".join(sorted(expected))
        raise InputError(f"recipe {where}", got=f"the unknown '{name}'", expected=f"of {known}")
    for name in sorted(expected - got):
        raise InputError(
            f"recipe {where}", got=f"no '{name}'", expected="all of the recipe's names"
        )
