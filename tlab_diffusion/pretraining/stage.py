r"""A stage of `tlab pretrain`: a run with a progress bar, a log, and measures as it goes."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from accelerate import PartialState
from torch import nn
from tqdm.auto import tqdm

from tlab_diffusion.errors import InputError, refuse_change
from tlab_diffusion.pretraining.loop import Draw, StageConfig, train
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.hardware import run_device

Measure = Callable[[nn.Module, int], dict]


def state_file(folder: Path, name: str) -> Path:
    """Where a stage keeps its state."""
    return folder / f"{name}-state.safetensors"


def check_state(folder: Path, name: str, config: StageConfig, *, resume: bool) -> None:
    r"""Look at an earlier run of a stage, before anything is drawn.

    Raises:
        InputError: if there is one and `resume` is False, its state is damaged, or it had other
            numbers than `config`.
    """
    state = state_file(folder, name)
    if not state.exists():
        return
    if not resume:
        raise InputError(
            f"tlab pretrain {name}",
            got=f"an earlier run in {folder}",
            expected="none",
            fix="Go on from it with --resume, or choose another folder with --work.",
        )
    refuse_change(checkpoints.numbers_of(state), config.fixed(), f"the earlier run in {folder}")


def run_stage(
    name: str, folder: Path, model: nn.Module, draw: Draw, config: StageConfig, measure: Measure
) -> None:
    r"""Train a model to its end, from where the state in `folder` stands.

    Args:
        name: of the stage; its state is `NAME-state.safetensors`, its log `NAME.jsonl`.
        folder: of the run.
        model: `model(*batch)` is the loss.
        draw: the batch of a step.
        config: the recipe's numbers.
        measure: `measure(averaged model, step)` says how good it is, and saves what it likes;
            asked every `measure_every` steps and at the end.
    """
    state = state_file(folder, name)
    done = int(checkpoints.load(state)["step"]) if state.exists() else 0
    run_device()
    main = PartialState().is_main_process
    began = time.monotonic()
    with tqdm(
        total=config.steps, initial=done, unit="step", desc=name, mininterval=1, disable=not main
    ) as bar:
        for step, loss, ema in train(model, draw, config, state):
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            if main and (step % config.measure_every == 0 or step == config.steps):
                seconds = round(time.monotonic() - began)
                record = {"step": step, "loss": round(loss, 4), "seconds": seconds}
                _log(folder / f"{name}.jsonl", record | measure(ema, step))


def _log(path: Path, record: dict) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")
    tqdm.write(", ".join(f"{key} {value}" for key, value in record.items()))
