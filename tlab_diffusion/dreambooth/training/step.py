r"""One step of DreamBooth: its samples in parts, and the loss of each part."""

from collections.abc import Callable

from accelerate import PartialState
from torch import Tensor

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import Batch, TrainingSet
from tlab_diffusion.dreambooth.families.base import PromptedModel
from tlab_diffusion.dreambooth.training.loss import loss_terms
from tlab_diffusion.dreambooth.training.optimizers import new_optimizer
from tlab_diffusion.training.trainer import Trainer

MAX_GRAD_NORM = 1.0


def new_trainer(model: PromptedModel, config: DreamBoothConfig, precision: str) -> Trainer:
    r"""The trainer of a run, at step 0.

    Args:
        model: on the device of this process; trained in place.
        config: the run's settings.
        precision: "fp32", "bf16" or "fp16", see `choose_precision`.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Trainer(
        model,
        new_optimizer(config.optimizer, trained, config.learning_rate, config.adam_epsilon),
        ema_decay=config.ema_decay if config.uses_ema else None,
        max_grad_norm=MAX_GRAD_NORM,
        precision=precision,
    )


def take_step(trainer: Trainer, data: TrainingSet) -> list[float]:
    r"""Take the next step, in as many parts as `gradient_accumulation_steps` says.

    Returns:
        The two terms of the loss: of the subject, and of the class times lambda.

    Raises:
        Diverged: see `Trainer.step`.
    """
    parts, state = data.config.gradient_accumulation_steps, PartialState()
    batches = []
    for part in range(parts):
        first = part * state.num_processes + state.process_index
        samples = range(first, data.samples_per_step, parts * state.num_processes)
        batches.append(data.batch(trainer.global_step + 1, samples))
    return trainer.step(_batch_terms, batches)


def _batch_terms(model: Callable[..., Tensor], batch: Batch) -> Tensor:
    batch = batch.to(PartialState().device)
    pred = model(batch.x_t, batch.t, batch.prompt).float()
    return loss_terms(pred, batch.target, batch.weights, batch.is_class)
