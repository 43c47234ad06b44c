r"""One step of DreamBooth: its samples in parts, and the loss of each part."""

from collections.abc import Callable

from accelerate import PartialState
from torch import Tensor

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.data.batches import Batch, TrainingSet
from tlab_diffusion.dreambooth.families.base import OriginalModel, PromptedModel
from tlab_diffusion.dreambooth.training.loss import loss_terms
from tlab_diffusion.dreambooth.training.optimizers import new_optimizer
from tlab_diffusion.training.precision import autocast
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


def take_step(
    trainer: Trainer, data: TrainingSet, original: OriginalModel | None = None
) -> list[float]:
    r"""Take the next step, in as many parts as `gradient_accumulation_steps` says.

    Args:
        trainer: of the run.
        data: of the run.
        original: gives the targets of the class half; the class pictures do when left out.

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
    batches = [batch.to(state.device) for batch in batches]
    if original is not None:
        batches = [with_prior_prediction(batch, original, trainer.precision) for batch in batches]
    return trainer.step(_batch_terms, batches)


def with_prior_prediction(batch: Batch, original: OriginalModel, precision: str) -> Batch:
    r"""The batch with the original model's prediction as the target of its class half.

    The class term is then `lambda E[ w_t ||original(x_t, t, c) - pred(x_t, t, c)||^2 ]`: it is 0
    before training, and pulls the model back to what it predicted before, noise and all.
    """
    rows = batch.is_class.nonzero()[:, 0]
    if not len(rows):
        return batch
    with autocast(batch.x_t.device, precision):
        target = original(batch.x_t[rows], batch.t[rows], batch.prompt[rows])
    return batch._replace(target=batch.target.index_copy(0, rows, target.to(batch.target)))


def _batch_terms(model: Callable[..., Tensor], batch: Batch) -> Tensor:
    pred = model(batch.x_t, batch.t, batch.prompt).float()
    return loss_terms(pred, batch.target, batch.weights, batch.is_class)
