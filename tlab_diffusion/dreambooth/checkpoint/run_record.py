r"""`run.json`: the settings of a run, the fingerprint of its inputs, and the machine it ran on.

This is the only place that reads or writes the file.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from tlab_diffusion.dreambooth.config import ONCE_FIXED, DreamBoothConfig, current_names
from tlab_diffusion.errors import InputError, refuse_change
from tlab_diffusion.files import atomic_write
from tlab_diffusion.training.fingerprint import content_key

FILE = "run.json"


@dataclass(frozen=True)
class Fingerprint:
    r"""What a run depends on besides its settings; None where it is not known.

    Args:
        pictures: key of the subject's pixels, all pictures together.
        precision: of the arithmetic, "fp32", "bf16" or "fp16": what "auto" became.
        weights: key of the original model's weights.
        each: key of each picture's pixels, by the name of its file.
    """

    pictures: str | None = None
    precision: str | None = None
    weights: str | None = None
    each: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        pictures: np.ndarray | None = None,
        precision: str | None = None,
        names: Sequence[str] | None = None,
    ) -> "Fingerprint":
        r"""Take the fingerprint of a run's inputs.

        Args:
            pictures: (N, R, R, 3) uint8, the subject's.
            precision: "fp32", "bf16" or "fp16".
            names: of the pictures' files; "picture 1", "picture 2", ... when left out.
        """
        if pictures is None:
            return cls(precision=precision)
        names = names or [f"picture {number}" for number in range(1, len(pictures) + 1)]
        each = {name: content_key(one) for name, one in zip(names, pictures, strict=True)}
        return cls(content_key(pictures), precision, each=each)

    def refuse_other(self, before: "Fingerprint", where: str) -> None:
        r"""Refuse to resume with other inputs.

        Args:
            before: of the earlier run.
            where: describes the earlier run.

        Raises:
            InputError: for the first input that is known in both and differs.
        """
        if None not in (before.pictures, self.pictures) and before.pictures != self.pictures:
            raise InputError(
                "pictures",
                got=f"other pictures: {_difference(before.each, self.each)}",
                expected=f"those of {where}",
                fix="Continue with the same, or choose another folder.",
            )
        old, new = (
            {name: getattr(each, name) for name in ("precision", "weights")}
            for each in (before, self)
        )
        refuse_change(_known(old), _known(new), where)


@dataclass(frozen=True)
class RunRecord:
    r"""What `run.json` holds.

    Args:
        settings: of the run, as `DreamBoothConfig.as_dict` gives them.
        fingerprint: of its inputs.
        machine: device, threads and versions.
        saved: whether the run has written a checkpoint.
    """

    settings: dict
    fingerprint: Fingerprint = Fingerprint()
    machine: dict = field(default_factory=dict)
    saved: bool = False

    @classmethod
    def of(
        cls, config: DreamBoothConfig, fingerprint: Fingerprint, device: torch.device
    ) -> "RunRecord":
        """The record of a run that begins on this machine."""
        machine = {
            "device": str(device),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        return cls(config.as_dict(), fingerprint, machine)


def is_run(folder: Path) -> bool:
    """Whether a folder has a `run.json`, readable or not."""
    return (folder / FILE).is_file()


def read_run(folder: Path) -> RunRecord | None:
    """The record of the run in a folder; None if there is none that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        inputs = current_names(content.get("fingerprint", content.get("facts", {})))
        names = {each.name for each in fields(Fingerprint)}
        fingerprint = Fingerprint(**{n: value for n, value in inputs.items() if n in names})
        return RunRecord(
            ONCE_FIXED | current_names(content["settings"]),
            fingerprint,
            content.get("machine", {}),
            bool(content.get("saved")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_run(folder: Path, record: RunRecord) -> None:
    """Write `run.json`, whole or not at all."""
    with atomic_write(folder / FILE) as draft:
        draft.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def _known(values: dict) -> dict:
    return {name: value for name, value in values.items() if value is not None}


def _difference(before: dict[str, str], now: dict[str, str]) -> str:
    """How many pictures differ, and which."""
    if not before:
        return "which ones, the earlier run did not record"
    changed = [name for name in now if name in before and before[name] != now[name]]
    groups = {
        "changed": changed,
        "new": [name for name in now if name not in before],
        "missing": [name for name in before if name not in now],
    }
    parts = [f"{len(each)} {kind} ({', '.join(each)})" for kind, each in groups.items() if each]
    return ", ".join(parts) or "the same ones in another order"
