r"""The training loop that all stages share.

A stage is a module whose `forward(*batch)` is its loss, and a function that draws the batch of a
step. Everything random in a step follows from (seed, step), so a run that was killed goes on as if
nothing had happened. Several processes (`accelerate launch`) share a batch between them, except
where a loss compares the samples of a batch, or norms do: such a module says `compares_samples`,
and every process works through the whole batch, for parts would have another loss.
"""

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.ema import average_into
from tlab_diffusion.training.generators import generator_for
from tlab_diffusion.training.hardware import run_device, tune_malloc
from tlab_diffusion.training.precision import autocast
from tlab_diffusion.training.schedule import learning_rate_at

# Draws the batch of a step, alike in every process: tensors (B, ...) that the module takes.
Draw = Callable[[torch.Generator], tuple[Tensor, ...]]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What the recipe says about every stage."""

    steps: int
    batch_size: int  # of all processes together
    learning_rate: float  # at its height, after the warm-up; it falls to 0 at the end
    warm_up_steps: int
    ema_decay: float
    seed: int
    save_every_s: float  # seconds of work that a kill may cost
    measure_every: int  # steps

    def fixed(self) -> dict:
        """What must stay the same when a run goes on; more steps are allowed."""
        free = ("steps", "save_every_s", "measure_every")
        numbers = json.loads(json.dumps(asdict(self)))  # as a file's header gives them back
        return {name: value for name, value in numbers.items() if name not in free}


class StageStep(NamedTuple):
    """What one step leaves behind."""

    step: int  # counted from 1
    loss: float
    ema_model: nn.Module


def train(
    model: nn.Module, draw: Draw, config: StageConfig, state_path: Path
) -> Iterator[StageStep]:
    r"""Train, saving now and then and at the end; the caller may stop at any step.

    Args:
        model: `model(*batch)` is the loss; a mean over the batch, or `compares_samples` is True.
            Trained in place.
        draw: `draw(generator)` gives the batch of a step.
        config: the recipe's numbers.
        state_path: where the state is saved. A state that lies there is gone on from, exactly.

    Yields:
        A `StageStep` after each step.

    Raises:
        InputError: if the saved state cannot be read or is another model's, processes do not
            divide the batch, or the loss is not a finite number; what was saved last then stays
            as it is.
    """
    tune_malloc()
    run_device()
    accelerator = Accelerator()
    model.to(accelerator.device)
    ema = copy.deepcopy(model).requires_grad_(False).eval()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, config.learning_rate, betas=(0.9, 0.99), fused=True)
    step = 0
    if state_path.exists():
        step = checkpoints.restore(checkpoints.load(state_path), model, ema, optimizer)
    split = not getattr(model, "compares_samples", False)
    if split and config.batch_size % accelerator.num_processes:
        raise InputError(
            "processes",
            got=f"{accelerator.num_processes} for a batch of {config.batch_size}",
            expected="a number that divides the batch",
        )
    shared = accelerator.prepare_model(model.train())
    saved_at = time.monotonic()
    while step < config.steps:
        step += 1
        batch = _share(draw(generator_for(config.seed, step)), accelerator, split)
        with autocast(accelerator.device):
            loss = shared(*batch)
        _step(loss, trained, optimizer, learning_rate_at(step, config), step)
        average_into(ema, model, min(config.ema_decay, step / (step + 10)))
        # First the caller, who measures: a run killed in its last measure takes the last steps
        # again, and measures then.
        yield StageStep(step, loss.item(), ema)
        due = time.monotonic() - saved_at >= config.save_every_s
        if accelerator.is_main_process and (due or step == config.steps):
            state = checkpoints.training_state(model, ema, optimizer, step)
            checkpoints.save(state_path, state, config.fixed())
            saved_at = time.monotonic()
    accelerator.wait_for_everyone()  # what the main process wrote is whole for all


def _share(batch: tuple[Tensor, ...], accelerator: Accelerator, split: bool) -> list[Tensor]:
    """This process' part of the batch, or all of it, on its device."""
    first, every = (accelerator.process_index, accelerator.num_processes) if split else (0, 1)
    return [part[first::every].to(accelerator.device) for part in batch]


def _step(loss: Tensor, trained: list[Tensor], optimizer, learning_rate: float, step: int) -> None:
    if not torch.isfinite(loss):
        raise InputError(
            "loss",
            got=f"{loss.item()} at step {step}",
            expected="a finite number",
            fix="What was saved last is whole: lower the learning rate, and resume.",
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
