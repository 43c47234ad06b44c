r"""What is random in a step, as a function of (seed, step, number of the sample).

Each sample of a step has its own stream of random numbers, so it is the same sample wherever it is
computed: in one batch or in parts, by one process or by several, in a straight run or after a
resume. There is no random state that a checkpoint would have to keep.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tlab_diffusion.diffusion.losses import min_snr_weights
from tlab_diffusion.diffusion.parameterization import training_target
from tlab_diffusion.diffusion.process import q_sample
from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.training.loss import sample_weights
from tlab_diffusion.errors import InputError
from tlab_diffusion.training.generators import generator_for

# What a stream is for: the first number after the seed, so that no two streams are the same.
ORDER, SAMPLE, PRIOR = range(3)


class Batch(NamedTuple):
    """Some samples of a step: k of them."""

    x_t: Tensor  # (k, C, h, w)
    t: Tensor  # (k,)
    target: Tensor  # (k, C, h, w)
    prompt: Tensor  # (k,), from 0 the instance prompts, the last number is the class prompt
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
    r"""The latents that a run learns from, and how a step draws from them.

    Args:
        config: the run's settings.
        subject: (N, 2C, h, w), means and standard deviations of the subject's latents.
        prior: (M, C, h, w), latents of the class; None without prior preservation.
        alphas_cumprod: (T,), the model's schedule.
        prediction_type: what the model predicts.
    """

    config: DreamBoothConfig
    subject: Tensor
    prior: Tensor | None
    alphas_cumprod: Tensor
    prediction_type: str

    @property
    def samples_per_step(self) -> int:
        """The subject's, then as many of the class."""
        return self.config.batch_size * (1 if self.prior is None else 2)

    def batch(self, step: int, samples: range) -> Batch:
        r"""Noised latents of some of a step's samples.

        Args:
            step: from 1 up.
            samples: their numbers, below `samples_per_step`.
        """
        drawn = [self._sample(step, number) for number in samples]
        x0, t, noise, prompt = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        return Batch(
            q_sample(x0, t, noise, self.alphas_cumprod),
            t,
            training_target(x0, noise, t, self.alphas_cumprod, self.prediction_type),
            prompt,
            torch.tensor([number // self.config.batch_size for number in samples]),
            self._weights(samples, t),
        )

    def _sample(self, step: int, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x0, timestep, noise and prompt of one sample."""
        half, place = divmod(number, self.config.batch_size)
        latents = self.prior if half else self.subject
        position = (step - 1) * self.config.batch_size + place
        x0 = latents[picture_at(position, len(latents), self.config.seed, half)]
        generator = generator_for(self.config.seed, SAMPLE, step, number)
        t = torch.randint(len(self.alphas_cumprod), (), generator=generator)
        noise = torch.randn(self.subject.shape[1] // 2, *x0.shape[1:], generator=generator)
        num = len(self.config.instance_prompts)
        if half:
            return x0, t, noise, torch.tensor(num)
        mean, std = x0.chunk(2)
        x0 = mean + std * torch.randn(mean.shape, generator=generator)
        return x0, t, noise, torch.randint(num, (), generator=generator)

    def _weights(self, samples: range, t: Tensor) -> Tensor:
        num_class = self.samples_per_step - self.config.batch_size
        weights = sample_weights(self.config.batch_size, num_class, self.config.prior_loss_weight)
        weights = weights[list(samples)]
        if self.config.snr_gamma is None:
            return weights
        by_timestep = min_snr_weights(
            self.alphas_cumprod,
            gamma=self.config.snr_gamma,
            prediction_type=self.prediction_type,
        )
        return weights * by_timestep[t]


def picture_at(position: int, num: int, seed: int, half: int) -> int:
    r"""Which picture comes at a position of the run: each once an epoch, in a new order.

    Args:
        position: from 0 up, counted over the whole run.
        num: pictures there are.
        seed: of the run.
        half: 0 for the subject, 1 for the class.
    """
    epoch, place = divmod(position, num)
    order = torch.randperm(num, generator=generator_for(seed, ORDER, half, epoch))
    return int(order[place])
