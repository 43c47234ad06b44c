r"""The random batches of a step, as a function of (seed, step, number of the sample).

Each sample of a step has its own random numbers, so it is the same sample in one batch or in parts,
in one process or in several, and after a resume. A checkpoint needs no random state.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.families.base import Noising
from tlab_diffusion.dreambooth.training.loss import sample_weights
from tlab_diffusion.errors import InputError
from tlab_diffusion.training.generators import generator_for

# What random numbers are for: the number after the seed in `generator_for`.
ORDER, SAMPLE, CLASS_IMAGE = range(3)


class Batch(NamedTuple):
    """Some samples of a step: k of them."""

    x_t: Tensor  # (k, C, h, w)
    t: Tensor  # (k,)
    target: Tensor  # (k, C, h, w)
    prompt: Tensor  # (k,), numbers of `DreamBoothConfig.prompts`
    is_class: Tensor  # (k,) int64, 0 the subject, 1 its class
    weights: Tensor  # (k,), see `weighted_errors`

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(part.to(device) for part in self))


def check_shares(config: DreamBoothConfig, processes: int) -> None:
    r"""Refuse more processes or parts than a step has samples: some would have nothing to do.

    Args:
        config: the run's settings.
        processes: that share each part of a step.

    Raises:
        InputError: if there is not a sample for each.
    """
    shares = config.gradient_accumulation_steps * processes
    if config.samples_per_step < shares:
        raise InputError(
            "batch_size",
            got=f"{config.samples_per_step} samples in a step",
            expected=f"{shares} or more, one for each of its parts and processes",
            fix="Raise --batch-size, or start fewer processes.",
        )


@dataclass(frozen=True)
class TrainingSet:
    r"""The latents of a run, and the random batches of its steps. All on the CPU.

    Args:
        config: the run's settings.
        subject: (N, 2C, h, w), means and standard deviations of the subject's latents.
        class_images: (M, C, h, w), latents of the class, picture k of class prompt k modulo their
            number; None without prior preservation.
        noising: how the model's family adds noise.
    """

    config: DreamBoothConfig
    subject: Tensor
    class_images: Tensor | None
    noising: Noising

    @property
    def samples_per_step(self) -> int:
        """The subject's, then as many of the class."""
        return self.config.batch_size * (1 if self.class_images is None else 2)

    def batch(self, step: int, samples: range) -> Batch:
        r"""Noised latents of some of a step's samples.

        Args:
            step: from 1 up.
            samples: their numbers, below `samples_per_step`.
        """
        drawn = [self._sample(step, number) for number in samples]
        x0, t, noise, prompt = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        size = self.config.batch_size
        weights = sample_weights(size, self.samples_per_step - size, self.config.prior_loss_weight)
        return Batch(
            self.noising.add_noise(x0, t, noise),
            t,
            self.noising.target(x0, t, noise),
            prompt,
            torch.tensor([number // size for number in samples]),
            weights[list(samples)] * self.noising.weights(t),
        )

    def _sample(self, step: int, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clean latents, time, noise and number of the prompt of one sample."""
        is_class, place = divmod(number, self.config.batch_size)
        latents = self.class_images if is_class else self.subject
        position = (step - 1) * self.config.batch_size + place
        picture = picture_at(position, len(latents), self.config.seed, is_class)
        x0 = latents[picture]
        generator = generator_for(self.config.seed, SAMPLE, step, number)
        t = self.noising.random_time(generator)
        noise = torch.randn(self.subject.shape[1] // 2, *x0.shape[1:], generator=generator)
        num_prompts = len(self.config.instance_prompts)
        if is_class:
            number_of_prompt = num_prompts + picture % len(self.config.class_prompts)
            return x0, t, noise, torch.tensor(number_of_prompt)
        mean, std = x0.chunk(2)
        x0 = mean + std * torch.randn(mean.shape, generator=generator)
        if self.config.picture_prompts is not None:
            return x0, t, noise, torch.tensor(picture)
        return x0, t, noise, torch.randint(num_prompts, (), generator=generator)


def picture_at(position: int, num: int, seed: int, is_class: int) -> int:
    r"""Which picture comes at a position of the run: each once an epoch, in a new order.

    Args:
        position: from 0 up, counted over the whole run.
        num: pictures there are.
        seed: of the run.
        is_class: 0 for the subject, 1 for the class.
    """
    epoch, place = divmod(position, num)
    order = torch.randperm(num, generator=generator_for(seed, ORDER, is_class, epoch))
    return int(order[place])
