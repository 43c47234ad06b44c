r"""What a step changes, and the step: gradients in parts, one move of the optimizer, an average.

Only what learns has gradients, moments and an average, and only that is kept in checkpoints.
"""

import copy
import math
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import TrainingSet
from tlab_diffusion.dreambooth.families.base import PromptedModel
from tlab_diffusion.dreambooth.training.loss import weighted_errors
from tlab_diffusion.dreambooth.training.optimizers import new_optimizer
from tlab_diffusion.errors import InputError
from tlab_diffusion.training import checkpoints
from tlab_diffusion.training.ema import average_into

MAX_GRAD_NORM = 1.0


class Diverged(InputError):
    """The loss or its gradient is no number any more."""


class Learner:
    r"""Model, optimizer and average of a run.

    Args:
        model: what learns, on the accelerator's device; trained in place.
        config: the run's settings.
        accelerator: precision and processes.
        state: of a checkpoint to go on from, or None.
    """

    def __init__(
        self,
        model: PromptedModel,
        config: DreamBoothConfig,
        accelerator: Accelerator,
        state: dict[str, Tensor] | None,
    ):
        self.config, self.accelerator, self.model = config, accelerator, model
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.ema = self._average() if config.uses_ema else None
        if self.ema is not None:
            averages = dict(self.ema.named_parameters())
            moving = nn.ParameterList(averages[name] for name in self.trained)
            self.averaged = moving, nn.ParameterList(self.trained.values())
        optimizer = new_optimizer(
            config.optimizer, self.trained.values(), config.learning_rate, config.adam_epsilon
        )
        self.step_done = 0
        if state is not None:
            whole = state | self._frozen()
            self.step_done = checkpoints.restore(whole, model, self.ema, optimizer)
            _restore_scaler(accelerator, state)
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.shared = accelerator.prepare_model(model)

    def step(self, data: TrainingSet) -> tuple[float, float]:
        r"""Take the next step.

        Returns:
            The two terms of the loss: the subject's, and the class's times lambda.

        Raises:
            Diverged: if the loss or its gradient is not a finite number; the weights then stay as
                they were.
        """
        terms = self._gradients(data)
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), MAX_GRAD_NORM)
        subject, prior, norm = torch.stack([*terms, norm]).tolist()  # one wait for the device
        self._check_finite("loss", subject + prior)
        # In fp16 gradients may overflow; the loss scaling then leaves the step out by itself.
        if self.accelerator.scaler is None:
            self._check_finite("gradient", norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step_done += 1
        if self.ema is not None:
            # Low at first, so that the average does not cling to the start.
            decay = min(self.config.ema_decay, self.step_done / (self.step_done + 10))
            average_into(*self.averaged, decay)
        return subject, prior

    def state(self) -> dict[str, Tensor]:
        """Everything that a step changes, as a checkpoint keeps it."""
        state = checkpoints.training_state(self.model, self.ema, self.optimizer, self.step_done)
        frozen = self._frozen()
        state = {name: value for name, value in state.items() if name not in frozen}
        if self.accelerator.scaler is not None:
            scaler = self.accelerator.scaler.state_dict()
            state |= {f"scaler.{name}": torch.tensor(value) for name, value in scaler.items()}
        return state

    def _average(self) -> PromptedModel:
        """A copy of what learns, with the same frozen weights."""
        frozen = [p for n, p in self.model.named_parameters() if n not in self.trained]
        shared = {id(parameter): parameter for parameter in frozen}
        return copy.deepcopy(self.model, shared).requires_grad_(False).eval()

    def _frozen(self) -> dict[str, Tensor]:
        """What no step changes, by its name in a checkpoint."""
        models = {"model": self.model, "ema": self.ema}
        return {
            f"{prefix}.{name}": parameter
            for prefix, model in models.items()
            if model is not None
            for name, parameter in model.named_parameters()
            if name not in self.trained
        }

    def _gradients(self, data: TrainingSet) -> Tensor:
        """Gradients of the step's loss, summed over parts and processes; its two terms (2,)."""
        accelerator, parts = self.accelerator, self.config.gradient_accumulation_steps
        processes = accelerator.num_processes
        terms = torch.zeros(2, device=accelerator.device)
        for part in range(parts):
            first = part * processes + accelerator.process_index
            samples = range(first, data.samples_per_step, parts * processes)
            batch = data.batch(self.step_done + 1, samples).to(accelerator.device)
            last = part == parts - 1
            with nullcontext() if last else accelerator.no_sync(self.shared):
                pred = self.shared(batch.x_t, batch.t, batch.prompt)
                errors = weighted_errors(pred, batch.target, batch.weights)
                # Gradients become the mean over processes; the loss is their sum.
                accelerator.backward(errors.sum() * processes)
            terms.index_add_(0, batch.is_class, errors.detach())
        return accelerator.reduce(terms, reduction="sum")

    def _check_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise Diverged(
                name,
                got=f"{value} at step {self.step_done + 1}",
                expected="a finite number",
                fix="The last checkpoint is whole. Start again with a lower learning rate or "
                "precision fp32, in another folder.",
            )


def _restore_scaler(accelerator: Accelerator, state: dict[str, Tensor]) -> None:
    """Put back the loss scaling of fp16, where the run has one."""
    if accelerator.scaler is not None:
        prefix = "scaler."
        scaler = {
            k.removeprefix(prefix): v.item() for k, v in state.items() if k.startswith(prefix)
        }
        accelerator.scaler.load_state_dict(scaler)
