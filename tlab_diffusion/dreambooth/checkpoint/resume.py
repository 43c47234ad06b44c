r"""What a run saves in its output folder to resume from: `run.json` and `checkpoints/`.

A checkpoint is one safetensors file with everything that a step changes. It gets its name when it
is whole, by a rename, and only then the older one goes: at every moment the newest file with a name
is usable, and at most two are on the disk. Random numbers follow from (seed, step), so that a
checkpoint has none to keep.
"""

from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from tlab_diffusion.dreambooth.checkpoint.run_record import (
    FILE,
    Fingerprint,
    is_run,
    read_run,
    write_run,
)
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.errors import InputError, refuse_change
from tlab_diffusion.training import checkpoints

# Settings that a resumed run may change: where files are, how long, how often it is saved,
# the parts of a step, which memory decides (they change the order of sums, and nothing else), and
# the name of the precision: what "auto" comes to is a fact of the run, and has to stay.
FREE = (
    *("subject_images", "output", "max_steps", "checkpoint_every"),
    *("gradient_accumulation_steps", "precision"),
)


def check_output(config: DreamBoothConfig, fingerprint: Fingerprint, *, resume: bool) -> None:
    r"""Refuse an output folder that the run would spoil; nothing is written.

    Args:
        config: the run's settings.
        fingerprint: of the run's inputs, which must be the same in a resumed run.
        resume: whether to continue an earlier run, if there is one.

    Raises:
        InputError: the folder holds other files; or the earlier run had other settings, the first
            of which is named; or it took more steps than are wanted now.
    """
    folder = config.output
    if folder.exists() and not folder.is_dir():
        raise InputError("output", got=f"the file {folder}", expected="a folder, or nothing yet")
    if not folder.is_dir() or _is_empty(folder):
        return
    if not is_run(folder):
        raise InputError(
            "output",
            got=f"{folder}, which holds other files",
            expected="an empty folder, or none yet",
            fix="Choose another folder.",
        )
    if not resume:
        raise InputError(
            "output",
            got=f"an earlier run in {folder}",
            expected="none",
            fix="Continue it with --resume, or choose another folder.",
        )
    check_same(folder, config, fingerprint)
    if newest(folder) is None and _was_saved(folder):
        raise InputError(
            "output",
            got=f"{folder}, whose checkpoints are gone",
            expected="the newest checkpoint of the earlier run",
            fix="Put checkpoints/ back, or start again in another folder.",
        )
    done = steps_done(folder)
    if config.max_steps < done:
        expected = f"at least {done}, the steps that the earlier run has taken"
        raise InputError("max_steps", got=str(config.max_steps), expected=expected)


def _is_empty(folder: Path) -> bool:
    """Whether the folder holds only what a run left that was killed before it wrote its record."""
    return all(path.suffix == ".draft" for path in folder.iterdir())


def check_same(folder: Path, config: DreamBoothConfig, fingerprint: Fingerprint) -> None:
    """Refuse to resume a run with another setting or other inputs, and name them."""
    before = read_run(folder)
    if before is None:
        got = f"{folder / FILE}, which is damaged"
        raise InputError("output", got=got, expected="what the earlier run wrote")
    where = f"the earlier run in {folder}"
    refuse_change(before.settings, _fixed(config), where)
    fingerprint.refuse_other(before.fingerprint, where)


def _was_saved(folder: Path) -> bool:
    """Whether the run has written a checkpoint; older records do not tell."""
    return read_run(folder).saved or (folder / "model_index.json").is_file()


def save(folder: Path, state: dict[str, Tensor]) -> Path:
    r"""Write a checkpoint, then remove the older ones.

    Raises:
        InputError: if it cannot be written, as on a full disk; the one before stays.
    """
    path = _checkpoints(folder) / f"step-{int(state['step']):08}.safetensors"
    try:
        checkpoints.save(path, state)
    except (OSError, SafetensorError) as error:
        raise InputError(
            "output",
            got=f"a checkpoint that could not be written ({error})",
            expected=f"room for {_gigabytes(state)} in {folder}",
            fix="Make room and continue with --resume; the checkpoint before it is whole.",
        ) from error
    drop_older(folder)
    record = read_run(folder)
    if record is not None and not record.saved:
        write_run(folder, replace(record, saved=True))
    return path


def drop_older(folder: Path) -> None:
    """Remove all but the newest checkpoint: older ones, and half ones that a kill left."""
    kept = newest(folder)
    for path in _checkpoints(folder).glob("*"):
        if path != kept:
            path.unlink()


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    return max(_checkpoints(folder).glob("step-*.safetensors"), default=None)


def steps_done(folder: Path) -> int:
    """How many steps the newest checkpoint has seen."""
    path = newest(folder)
    return 0 if path is None else int(path.stem.removeprefix("step-"))


def _checkpoints(folder: Path) -> Path:
    return folder / "checkpoints"


def _fixed(config: DreamBoothConfig) -> dict:
    return {name: value for name, value in config.as_dict().items() if name not in FREE}


def _gigabytes(state: dict[str, Tensor]) -> str:
    return f"{sum(tensor.nbytes for tensor in state.values()) / 1e9:.2g} GB"
