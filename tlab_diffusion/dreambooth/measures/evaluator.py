r"""One way to measure every model that learns a subject: the same prompts, noise and encoders.

Two models, or two steps of a run, then differ in nothing but their weights.
"""

import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from tlab_diffusion.dreambooth.measures.sampling import STEPS, default_guidance_scale
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.hub_encoders import suitable_encoders
from tlab_diffusion.evaluation.identity import SubjectReferences, identify_subject
from tlab_diffusion.evaluation.measure import SampleCounts, measure
from tlab_diffusion.evaluation.pictures import SIZE, resized
from tlab_diffusion.evaluation.quality import Sample
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.subject_prompts import Prompt, prompts_for, ten_prompts
from tlab_diffusion.files import atomic_write, file_lock
from tlab_diffusion.picturebook.grammar import sentence
from tlab_diffusion.training import fingerprint

FIXED_USES = ("context", "accessory", "style")


class Evaluator:
    r"""What is asked of a model that learnt a subject, and the encoders that measure it.

    Encoders are loaded when they are first needed.

    Args:
        pictures: (N, H, W, 3) uint8, the subject's.
        identifier: the word that means it.
        class_noun: what it is.
        prompt_noun: what stands beside the identifier; `class_noun` when left out, "" for a model
            that learnt the identifier alone.
        side: pixels of the pictures that the model draws.
        encoders: other encoders than those that suit the side.
        counts: how many pictures; when left out, enough to watch a model while it is trained.
        every_use: ask ten prompts of each of the six uses, instead of ten in all.
        seed: of the noise.
    """

    def __init__(
        self,
        pictures: np.ndarray,
        identifier: str,
        class_noun: str,
        *,
        prompt_noun: str | None = None,
        side: int = SIZE,
        encoders: Encoders | None = None,
        counts: SampleCounts | None = None,
        every_use: bool = False,
        seed: int = 0,
    ):
        self.pictures, self.side = resized(pictures, side), side
        self.identifier, self.class_noun = identifier, class_noun
        self.prompt_noun = class_noun if prompt_noun is None else prompt_noun
        self.counts = counts or SampleCounts(per_prompt=1, per_class=16)
        self.every_use, self.seed = every_use, seed
        if encoders is not None:
            self.encoders = encoders

    @cached_property
    def encoders(self) -> Encoders:
        """Those that suit the side."""
        return suitable_encoders(self.side)

    @cached_property
    def target(self) -> SubjectReferences:
        """The subject; its colour and places are known where it lives in the picture book."""
        recognise = self.encoders.recognise if self.side == SIZE else None
        return identify_subject(self.pictures, self.class_noun, recognise)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """What is asked of the subject."""
        if self.every_use:
            return prompts_for(self.identifier, self.class_noun, self.prompt_noun)
        known = self.target.places, self.target.colour
        return ten_prompts(self.identifier, self.class_noun, *known, prompt_noun=self.prompt_noun)

    @property
    def fixed_texts(self) -> list[str]:
        """Four prompts to look at: the subject in three ways, and the bare class."""
        texts = [next(p.text for p in self.prompts if p.use == use) for use in FIXED_USES]
        return [*texts, sentence({"class_noun": self.class_noun})]

    def strip(self, sample: Sample) -> np.ndarray:
        r"""What a model draws for the fixed prompts: (4, H, W, 3) uint8."""
        return sample(self.fixed_texts, self.seed)

    def measure(self, sample: Sample) -> Metrics:
        """Measure a model by how it draws (see `drawing.few_step_sample`)."""
        return measure(
            sample,
            self.target,
            self.prompts,
            encoders=self.encoders,
            counts=self.counts,
            seed=self.seed,
        )

    def measure_original(self, sample: Sample, weights: str, cache: Path) -> Metrics:
        r"""Measure the original model, or remember what was measured.

        Args:
            sample: how it draws.
            weights: their fingerprint.
            cache: folder where measures are kept, by all that they depend on.
        """
        asked = [(prompt.text, prompt.plain) for prompt in self.prompts]
        drawing = STEPS, default_guidance_scale(self.side)
        settings = asdict(self.counts), self.class_noun, self.seed, drawing
        name = fingerprint.content_key(weights, self.encoders.name, self.pictures, asked, *settings)
        path = cache / "metrics" / f"{name}.json"
        with file_lock(path):
            metrics = _kept(path)
            if metrics is None:
                metrics = self.measure(sample)
                with atomic_write(path) as draft:
                    draft.write_text(json.dumps(metrics.as_dict()), encoding="utf-8")
        return metrics


def _kept(path: Path) -> Metrics | None:
    """What a file holds; None if there is none, or a damaged one, which is made again."""
    try:
        return Metrics.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
