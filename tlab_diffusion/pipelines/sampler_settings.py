r"""Which solver, how many steps, how much guidance: the defaults, and what a folder records.

A tuned folder keeps the settings with which it was measured in `sampler.json`, so that
`tlab sample` uses the same ones. diffusers ignores the file.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from tlab_diffusion.diffusion.samplers import Step, ddim, dpm_solver_pp_2m
from tlab_diffusion.errors import InputError, check_choice, check_integer, check_number
from tlab_diffusion.files import atomic_write

SETTINGS_FILE = "sampler.json"


class Solver(NamedTuple):
    """A solver of ours, and the diffusers scheduler that takes the same steps."""

    sample: Callable[..., Iterator[Step]]
    scheduler: str


SOLVERS = {
    "ddim": Solver(ddim, "DDIMScheduler"),
    "dpm-solver++": Solver(dpm_solver_pp_2m, "DPMSolverMultistepScheduler"),
}


@dataclass(frozen=True)
class SamplerSettings:
    """Validated, immutable settings of a sampler.

    Args:
        solver: a name in `SOLVERS`.
        steps: calls of the denoiser for a picture, from 1 up.
        guidance_scale: of classifier-free guidance; 1 is off.

    Raises:
        InputError: for the first value out of range.
    """

    solver: str
    steps: int
    guidance_scale: float

    def __post_init__(self) -> None:
        check_choice("solver", self.solver, SOLVERS)
        check_integer("steps", self.steps)
        check_number("guidance_scale", self.guidance_scale)

    def override(self, **values: object) -> "SamplerSettings":
        """These settings, with every value that is not None in place of their own."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    def as_dict(self) -> dict:
        """Ready for JSON."""
        return asdict(self)


# The only defaults. A folder's own settings, see `read_sampler_settings`, come before them.
DEFAULT = SamplerSettings("ddim", steps=25, guidance_scale=5.0)
# For measuring: as good as DDIM with many more steps. Small models follow the prompt better with
# more guidance.
MEASURING = SamplerSettings("dpm-solver++", steps=15, guidance_scale=7.5)
MEASURING_SMALL = MEASURING.override(guidance_scale=10.0)
SMALL_SIDE = 128  # pixels


def measuring_settings(side: int) -> SamplerSettings:
    """The settings with which models of this side in pixels are measured by default."""
    return MEASURING_SMALL if side <= SMALL_SIDE else MEASURING


def read_sampler_settings(folder: Path) -> SamplerSettings | None:
    """The settings that a pipeline folder records; None where it records none.

    Raises:
        InputError: if the file is damaged.
    """
    file = Path(folder) / SETTINGS_FILE
    if not file.is_file():
        return None
    names = [field.name for field in fields(SamplerSettings)]
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return SamplerSettings(**{name: found[name] for name in names})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "model",
            got=f"{file}, which is damaged ({error})",
            expected=f"a JSON object with {', '.join(names)}",
            fix="Delete the file to sample with the defaults.",
        ) from error


def write_sampler_settings(folder: Path, settings: SamplerSettings) -> None:
    """Record the settings in a pipeline folder."""
    with atomic_write(Path(folder) / SETTINGS_FILE) as draft:
        draft.write_text(json.dumps(settings.as_dict(), indent=2) + "\n", encoding="utf-8")
