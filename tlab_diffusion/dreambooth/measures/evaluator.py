r"""Measures every model of a subject in the same way: same prompts, noise, encoders and sampler.

Two models, or two steps of a run, then differ only in their weights.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tlab_diffusion.dreambooth.config import DreamBoothConfig
from tlab_diffusion.dreambooth.measures.sampling import fast_sampler
from tlab_diffusion.dreambooth.presets import native_resolution
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.identity import SubjectReferences
from tlab_diffusion.evaluation.measure import SampleCounts, measure
from tlab_diffusion.evaluation.pictures import Sampler, resized
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.subject_prompts import Prompt
from tlab_diffusion.evaluation.world import PictureBookWorld
from tlab_diffusion.files import atomic_write, file_lock
from tlab_diffusion.pipelines.sampler_settings import SamplerSettings, measuring_settings
from tlab_diffusion.training import fingerprint
from tlab_diffusion.training.precision import choose_precision

FIXED_USES = ("context", "accessory", "style")
STRIP = len(FIXED_USES) + 1  # pictures of a contact sheet
WATCHING = SampleCounts(per_prompt=1, per_class=16, per_leak=6)  # enough to watch a training


class Evaluator:
    r"""Measures models of one subject. Encoders are loaded when they are first needed.

    Args:
        pictures: (N, H, W, 3) uint8, the subject's.
        identifier: the word that means it.
        class_noun: its class.
        prompt_noun: the noun next to the identifier; `class_noun` when left out, "" for a model
            that learned the identifier alone.
        world: prompts, encoders and what is known of subjects.
        encoders: other encoders than the world's.
        counts: numbers of samples; `WATCHING` when left out.
        every_use: ten prompts of each of the six uses, instead of ten in all.
        seed: of the noise.
        settings: of the sampler; `measuring_settings` when left out.
    """

    def __init__(
        self,
        pictures: np.ndarray,
        identifier: str,
        class_noun: str,
        *,
        prompt_noun: str | None = None,
        world: PictureBookWorld | None = None,
        encoders: Encoders | None = None,
        counts: SampleCounts | None = None,
        every_use: bool = False,
        seed: int = 0,
        settings: SamplerSettings | None = None,
    ):
        self.world = world or PictureBookWorld()
        self.pictures = resized(pictures, self.world.side)
        self.identifier, self.class_noun = identifier, class_noun
        self.prompt_noun = class_noun if prompt_noun is None else prompt_noun
        self.counts = counts or WATCHING
        self.every_use, self.seed = every_use, seed
        self.settings = settings or measuring_settings(self.world.side)
        if encoders is not None:
            self.encoders = encoders

    @cached_property
    def encoders(self) -> Encoders:
        """The world's encoders."""
        return self.world.encoders()

    @cached_property
    def subject(self) -> SubjectReferences:
        """The references, with what the world knows of the subject."""
        return self.world.subject(self.pictures, self.class_noun, self.encoders)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts for the subject."""
        return self.world.prompts(
            self.subject, self.identifier, self.prompt_noun, every_use=self.every_use
        )

    @property
    def fixed_texts(self) -> list[str]:
        """The four prompts of contact sheets: three of the subject, and the bare class."""
        texts = [next(p.text for p in self.prompts if p.use == use) for use in FIXED_USES]
        return [*texts, self.world.class_prompt(self.class_noun)]

    def sampler(self, pipeline, after_each: Callable[[], None] = lambda: None) -> Sampler:
        """How a pipeline draws for this evaluation; see `fast_sampler`."""
        return fast_sampler(pipeline, self.settings, after_each=after_each)

    def strip(self, sample: Sampler) -> np.ndarray:
        r"""Samples of the fixed prompts: (4, H, W, 3) uint8."""
        return sample(self.fixed_texts, self.seed)

    def measure(self, sample: Sampler) -> Metrics:
        """Measure a model by what its `sampler` draws."""
        return measure(
            sample,
            self.subject,
            self.prompts,
            encoders=self.encoders,
            counts=self.counts,
            seed=self.seed,
        )

    def measure_original(
        self, sample: Sampler, weights: str, cache: Path, device: torch.device
    ) -> Metrics:
        r"""Measure the original model, or read what was measured before.

        Args:
            sample: its `sampler`.
            weights: fingerprint of its weights.
            cache: folder of stored metrics, each by a key of all that it depends on.
            device: where the model samples.
        """
        key = fingerprint.content_key(
            weights,
            self.encoders.name,
            self.pictures,
            [(prompt.text, prompt.plain) for prompt in self.prompts],
            asdict(self.counts),
            self.class_noun,
            self.seed,
            self.settings.as_dict(),
            device.type,
            choose_precision("auto", device),
        )
        path = cache / "metrics" / f"{key}.json"
        with file_lock(path):
            metrics = _read_metrics(path)
            if metrics is None:
                metrics = self.measure(sample)
                with atomic_write(path) as draft:
                    draft.write_text(json.dumps(metrics.as_dict()), encoding="utf-8")
        return metrics


def evaluator_of(config: DreamBoothConfig, pictures: np.ndarray, **options) -> Evaluator:
    """The evaluator of a run's models; `options` of `Evaluator`."""
    world = PictureBookWorld(native_resolution(config.model))
    return Evaluator(
        pictures,
        config.identifier,
        config.class_noun,
        **{"prompt_noun": config.prompt_noun, "world": world} | options,
    )


def evaluated_steps(max_steps: int, evaluate_every: int | None) -> list[int]:
    """The steps of a run of which samples are drawn: every so many, and the last one."""
    every = range(0, max_steps, evaluate_every) if evaluate_every else ()
    return [*every, max_steps]


def _read_metrics(path: Path) -> Metrics | None:
    """The metrics in a file; None if there is no file or it is damaged."""
    try:
        return Metrics.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
