r"""A stage of `tlab pretrain`: a training run with a progress bar, a log and measurements.

A stage is a module whose `forward(*batch)` is its loss, and a function that draws the batch of a
step. Everything random in a step follows from (seed, step), so a killed run resumes exactly.
Several processes (`accelerate launch`) share a batch between them, except where a loss compares the
samples of a batch, or norms do: such a module says `compares_samples`, and every process computes
the whole batch, because parts would have another loss.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import PartialState
from torch import Tensor, nn
from tqdm.auto import tqdm

from tlab_diffusion.errors import InputError, refuse_change
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.generators import generator_for
from tlab_diffusion.training.hardware import run_device, tune_malloc
from tlab_diffusion.training.precision import choose_precision
from tlab_diffusion.training.schedule import learning_rate_at
from tlab_diffusion.training.trainer import Trainer

# Gives the batch of a step, the same in every process: tensors (B, ...) that the module takes.
NewBatch = Callable[[torch.Generator], tuple[Tensor, ...]]
Measure = Callable[[nn.Module, int], dict]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The numbers that the recipe has for every stage."""

    steps: int
    batch_size: int  # of all processes together
    learning_rate: float  # the highest, after the warm-up; it falls to 0 at the end
    warm_up_steps: int
    ema_decay: float
    seed: int
    save_every_s: float  # seconds of work that a kill may cost
    measure_every: int  # steps

    def fixed(self) -> dict:
        """What must stay the same in a resumed run; more steps are allowed."""
        free = ("steps", "save_every_s", "measure_every")
        numbers = json.loads(json.dumps(asdict(self)))  # as a file's header returns them
        return {name: value for name, value in numbers.items() if name not in free}


class StageStep(NamedTuple):
    """One step is done, and its checkpoint, if one is due, is on the disk."""

    step: int  # counted from 1
    loss: float
    ema_model: nn.Module


def state_file(folder: Path, name: str) -> Path:
    """The checkpoint of a stage."""
    return folder / f"{name}-state.safetensors"


def check_state(folder: Path, name: str, config: StageConfig, *, resume: bool) -> None:
    r"""Check an earlier run of a stage, before anything is drawn.

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
            fix="Continue it with --resume, or choose another folder with --work.",
        )
    refuse_change(checkpoints.numbers_of(state), config.fixed(), f"the earlier run in {folder}")


def run_stage(
    name: str,
    folder: Path,
    model: nn.Module,
    new_batch: NewBatch,
    config: StageConfig,
    measure: Measure,
) -> None:
    r"""Train a model to its end, from the state in `folder` if there is one.

    Args:
        name: of the stage; its state is `NAME-state.safetensors`, its log `NAME.jsonl`.
        folder: of the run.
        model: `model(*batch)` is the loss.
        new_batch: `new_batch(generator)` gives the batch of a step.
        config: the recipe's numbers.
        measure: `measure(averaged model, step)` returns what the log gets, and may save the model.
            Called every `measure_every` steps and at the end.
    """
    run_device()
    main = PartialState().is_main_process
    state, log = state_file(folder, name), folder / f"{name}.jsonl"
    done = int(checkpoints.load(state)["step"]) if state.exists() else 0
    measured = _rewind(log, done) if main else []
    began = time.monotonic()
    with tqdm(
        total=config.steps, initial=done, unit="step", desc=name, mininterval=1, disable=not main
    ) as bar:
        for step, loss, ema in train(model, new_batch, config, state):
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            due = step % config.measure_every == 0 or step == config.steps
            if main and due and step not in measured:
                seconds = round(time.monotonic() - began)
                record = {"step": step, "loss": round(loss, 4), "seconds": seconds}
                record |= measure(ema, step)
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                tqdm.write(", ".join(f"{key} {value}" for key, value in record.items()))


def train(
    model: nn.Module, new_batch: NewBatch, config: StageConfig, state_path: Path
) -> Iterator[StageStep]:
    r"""Train, saving every `save_every_s` seconds and at the end; the caller may stop at any step.

    Args:
        model: `model(*batch)` is the loss; a mean over the batch, or `compares_samples` is True.
            Trained in place, on the device of this process.
        new_batch: `new_batch(generator)` gives the batch of a step.
        config: the recipe's numbers.
        state_path: where the state is saved. If there is one, training resumes from it, exactly.

    Yields:
        A `StageStep` after each step and its checkpoint. A resumed run yields the step of its
        checkpoint once more.

    Raises:
        InputError: if the saved state cannot be read or belongs to another model, processes do not
            divide the batch, or the loss is NaN or infinite; the last checkpoint then stays.
    """
    tune_malloc()
    model.to(run_device())
    processes, main = PartialState().num_processes, PartialState().is_main_process
    split = not getattr(model, "compares_samples", False)
    if split and config.batch_size % processes:
        raise InputError(
            "processes",
            got=f"{processes} for a batch of {config.batch_size}",
            expected="a number that divides the batch",
        )
    trainer = _new_trainer(model, config)
    if state_path.exists():
        trainer.load_state_dict(checkpoints.load(state_path))
    saved_at = time.monotonic()

    def take_step() -> None:
        step = trainer.global_step + 1
        trainer.set_learning_rate(learning_rate_at(step, config))
        batch = new_batch(generator_for(config.seed, step))
        if split:
            batch = [part[PartialState().process_index :: processes] for part in batch]
        trainer.step(lambda model, batch: model(*batch)[None] / processes, [_on(batch, trainer)])

    def save() -> None:
        nonlocal saved_at
        due = time.monotonic() - saved_at >= config.save_every_s
        if main and (due or trainer.global_step == config.steps):
            checkpoints.save(state_path, trainer.state_dict(), config.fixed())
            saved_at = time.monotonic()

    for step in trainer.run(config.steps, take_step, save):
        # A state of an earlier version has no losses.
        yield StageStep(step, *(trainer.losses or [math.nan]), trainer.ema_model)
    PartialState().wait_for_everyone()  # for what the main process writes


def _new_trainer(model: nn.Module, config: StageConfig) -> Trainer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Trainer(
        model,
        torch.optim.AdamW(trained, config.learning_rate, betas=(0.9, 0.99), fused=True),
        ema_decay=config.ema_decay,
        max_grad_norm=1.0,
        precision=choose_precision("auto", run_device()),
    )


def _on(batch, trainer: Trainer) -> list[Tensor]:
    return [part.to(trainer.device) for part in batch]


def _rewind(log: Path, step: int) -> list[int]:
    """Remove the records of a log after a step; the steps of those that stay."""
    if not log.exists():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()
    kept = {json.loads(line)["step"]: line for line in lines if line.endswith("}")}
    kept = {number: line for number, line in kept.items() if number <= step}
    log.write_text("".join(f"{line}\n" for line in kept.values()), encoding="utf-8")
    return list(kept)
