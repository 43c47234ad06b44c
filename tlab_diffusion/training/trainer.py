r"""The training step that lessons, pretraining and DreamBooth share.

`Trainer` holds what a step changes: the model, its optimizer, the average of its weights (EMA) and
the number of steps. `Trainer.step` takes one step, `Trainer.run` takes many and saves them.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tlab_diffusion.errors import InputError
from tlab_diffusion.training.checkpoints import flatten, unflatten
from tlab_diffusion.training.ema import average_into, check_decay, decay_at
from tlab_diffusion.training.precision import autocast


class Diverged(InputError):
    """The loss or its gradient is NaN or infinite."""


class Trainer:
    r"""A model in training. Between steps the model is in eval mode.

    Args:
        model: trained in place, on its own device. Parameters with `requires_grad` are trained,
            averaged and saved; the others are shared with the averaged model.
        optimizer: of the trained parameters.
        ema_decay: of the averaged model, see `ema.decay_at`; None keeps no average.
        max_grad_norm: longer gradients are clipped to this norm; None clips none.
        precision: of the forward pass, "fp32", "bf16" or "fp16"; fp16 scales the loss.

    Attributes:
        ema_model: the averaged model, in eval mode and without gradients; None if there is none.
        global_step: steps taken.
        losses: the terms of the last step's loss.
        num_processes: processes that share a step; their gradients are added up.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        ema_decay: float | None = None,
        max_grad_norm: float | None = None,
        precision: str = "fp32",
    ):
        self.model, self.optimizer = model, optimizer
        self.ema_decay, self.max_grad_norm, self.precision = ema_decay, max_grad_norm, precision
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.device = next(model.parameters()).device
        self.ema_model = None
        if ema_decay is not None:
            check_decay(ema_decay)
            frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
            self.ema_model = copy.deepcopy(model, frozen).requires_grad_(False).eval()
        self.num_processes = distributed.get_world_size() if distributed.is_initialized() else 1
        self.parallel_model = model
        if self.num_processes > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            self.parallel_model = DistributedDataParallel(model, device_ids=devices)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.global_step = 0
        self.losses: list[float] = []

    def step(
        self, loss_terms: Callable[[Callable, object], Tensor], batches: Sequence[object]
    ) -> list[float]:
        r"""Take one step.

        Args:
            loss_terms: `loss_terms(model, batch)` returns what a batch adds to each term of the
                loss, (K,) float32. The loss is the sum over terms, batches and processes.
            batches: this process' parts of the step. Their gradients are accumulated.

        Returns:
            The K terms of the loss.

        Raises:
            Diverged: if the loss or its gradient is NaN or infinite; the weights stay as they were.
        """
        self.parallel_model.train()
        self.optimizer.zero_grad()
        terms = self._accumulate_gradients(loss_terms, batches)
        self.scaler.unscale_(self.optimizer)
        norm = terms.new_zeros(())
        if self.max_grad_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.trained.values(), self.max_grad_norm)
        *losses, norm = torch.stack([*terms, norm]).tolist()  # waits once for the device
        self._check_finite("loss", sum(losses))
        if not self.scaler.is_enabled():  # which leaves out a step whose gradient overflows
            self._check_finite("gradient", norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()  # frees memory for what the caller does between steps
        self.parallel_model.eval()
        self.global_step, self.losses = self.global_step + 1, losses
        if self.ema_model is not None:
            average_into(self.ema_model, self.model, decay_at(self.global_step, self.ema_decay))
        return losses

    def run(
        self, max_steps: int, take_step: Callable[[], None], save: Callable[[], None]
    ) -> Iterator[int]:
        r"""Take steps until `max_steps` are done.

        A resumed run first yields the step of its checkpoint once more, without taking it: a caller
        that watched that step may have been killed before everything about it was written.

        Args:
            max_steps: counted from the start of the run, before any interruption.
            take_step: calls `step`.
            save: writes a checkpoint if one is due. Called after each step, before it is yielded,
                so that a saved run does not depend on what the caller does.

        Yields:
            The number of each step, from 1.
        """
        if self.global_step:
            yield self.global_step
        while self.global_step < max_steps:
            take_step()
            save()
            yield self.global_step

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use another learning rate from the next step on."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a step changes, as named tensors for a checkpoint."""
        state = {"step": torch.tensor(self.global_step)}
        state["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        for name, model in self._models().items():
            frozen = self._frozen(model)
            values = {k: v for k, v in model.state_dict().items() if k not in frozen}
            state |= flatten({name: values})
        optimizer, scaler = self.optimizer.state_dict()["state"], self.scaler.state_dict()
        return state | flatten({"optimizer": optimizer, "scaler": scaler})

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        r"""Continue from the state in a checkpoint.

        Raises:
            InputError: if it belongs to another model.
        """
        try:
            for name, model in self._models().items():
                prefix = f"{name}."
                values = {
                    k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
                }
                model.load_state_dict(values | self._frozen(model))
            self.global_step = int(state["step"])
        except (RuntimeError, KeyError) as error:
            raise InputError(
                "checkpoint",
                got="the state of another model",
                expected="one of a run with these settings",
                fix="Continue with the settings that it was started with, or use another folder.",
            ) from error
        self.losses = state["losses"].tolist() if "losses" in state else []  # in older files
        moments = unflatten(state, "optimizer.")
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        if self.scaler.is_enabled():
            # Older files keep its numbers as float32 tensors.
            scaler = unflatten(state, "scaler.").items()
            self.scaler.load_state_dict({k: torch.as_tensor(v).item() for k, v in scaler})

    def _accumulate_gradients(self, loss_terms: Callable, batches: Sequence[object]) -> Tensor:
        """Add up the gradients of all batches and processes; the terms of the loss (K,)."""
        total = 0
        for number, batch in enumerate(batches, start=1):
            # Processes exchange gradients once, with the last batch.
            exchange = self.num_processes == 1 or number == len(batches)
            with nullcontext() if exchange else self.parallel_model.no_sync():
                terms = loss_terms(self._forward, batch)
                # The exchange takes the mean over processes; the loss is their sum.
                self.scaler.scale(terms.sum() * self.num_processes).backward()
            total = total + terms.detach()
        if self.num_processes > 1:
            distributed.all_reduce(total)
        return total

    def _forward(self, *inputs: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            return self.parallel_model(*inputs)

    def _models(self) -> dict[str, nn.Module]:
        """The models that a checkpoint keeps, by their name there."""
        return {"model": self.model} | ({"ema": self.ema_model} if self.ema_model else {})

    def _frozen(self, model: nn.Module) -> dict[str, Tensor]:
        """The parameters of `model` or `ema_model` that no step changes."""
        return {n: p for n, p in model.named_parameters() if n not in self.trained}

    def _check_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise Diverged(
                name,
                got=f"{value} at step {self.global_step + 1}",
                expected="a finite number",
                fix="Lower the learning rate, use precision fp32, or look for NaN in the data. "
                "The newest checkpoint, if there is one, is not affected.",
            )
