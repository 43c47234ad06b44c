r"""Measure a model that was tuned to a subject: draw samples, then compute their metrics.

result.py says what each metric means.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.errors import InputError, check_integer
from tlab_diffusion.evaluation.encoders import Encoders, shipped_encoders
from tlab_diffusion.evaluation.identity import (
    SubjectReferences,
    copies,
    gallery,
    is_subject,
    perfect,
    strangers,
)
from tlab_diffusion.evaluation.leakage import LeakSamples, draw_leak_samples, leakage
from tlab_diffusion.evaluation.metrics import (
    diversity,
    entropy_share,
    image_similarity,
    prompt_similarity,
)
from tlab_diffusion.evaluation.pictures import Sampler, sample_all
from tlab_diffusion.evaluation.result import Estimates, Metrics
from tlab_diffusion.evaluation.statistics import Interval, mean_interval, pairs_interval
from tlab_diffusion.evaluation.subject_prompts import Prompt
from tlab_diffusion.evaluation.world import FACTOR_FREQUENCIES
from tlab_diffusion.picturebook.grammar import sentence

CLASS_SEED = 50_000  # the class samples are the same for all prompts


@dataclass(frozen=True)
class SampleCounts:
    """The number of samples of each prompt and of the bare class, and the batch size.

    `per_leak` is the number of pictures of the class in places, and of as many of other classes.
    With 0 leakage is not measured.
    """

    per_prompt: int = 4
    per_class: int = 50
    batch: int = 32
    per_leak: int = 0

    def __post_init__(self):
        for name, least in {"per_prompt": 1, "per_class": 2, "batch": 1, "per_leak": 0}.items():
            check_integer(name, getattr(self, name), lowest=least)

    def total(self, prompts: int) -> int:
        """Number of samples for so many prompts."""
        return prompts * self.per_prompt + self.per_class + 2 * self.per_leak


class Samples(NamedTuple):
    """What a model drew: pictures (N, H, W, 3) uint8 each.

    Args:
        of_prompts: `counts.per_prompt` of each prompt, one prompt after the other.
        of_class: of the bare class noun.
    """

    of_prompts: np.ndarray
    of_class: np.ndarray


def measure(
    sample: Sampler,
    subject: SubjectReferences,
    prompts: Sequence[Prompt],
    *,
    encoders: Encoders | None = None,
    counts: SampleCounts | None = None,
    seed: int = 0,
) -> Metrics:
    r"""Measure a model.

    With the same seed, every model starts from the same noise. The metrics of two models are then
    paired.

    Args:
        sample: draws pictures, at most `counts.batch` in one call.
        subject: the subject that the model was tuned to.
        prompts: see `subject_prompts`.
        encoders: the shipped ones when left out.
        counts: numbers of samples.
        seed: of the noise.

    Raises:
        InputError: no prompts, not one picture for each prompt, or missing encoder weights.
    """
    counts = counts or SampleCounts()
    samples = draw_samples(sample, subject, prompts, counts=counts, seed=seed)
    leaks = None
    if counts.per_leak:
        leaks = draw_leak_samples(
            sample, subject.class_noun, counts.per_leak, batch=counts.batch, seed=seed
        )
    return compute_metrics(samples, subject, prompts, encoders=encoders, counts=counts, leaks=leaks)


def draw_samples(
    sample: Sampler,
    subject: SubjectReferences,
    prompts: Sequence[Prompt],
    *,
    counts: SampleCounts,
    seed: int = 0,
) -> Samples:
    r"""Draw the samples of the prompts and of the bare class."""
    if not prompts:
        raise InputError("prompts", got="none", expected="1 or more")
    texts = [prompt.text for prompt in prompts for _ in range(counts.per_prompt)]
    class_texts = [sentence({"class_noun": subject.class_noun})] * counts.per_class
    of_class = sample_all(sample, class_texts, seed + CLASS_SEED, counts.batch)
    return Samples(sample_all(sample, texts, seed, counts.batch), of_class)


def compute_metrics(
    samples: Samples,
    subject: SubjectReferences,
    prompts: Sequence[Prompt],
    *,
    encoders: Encoders | None = None,
    counts: SampleCounts,
    leaks: LeakSamples | None = None,
) -> Metrics:
    r"""Compute the metrics of what `draw_samples` and `draw_leak_samples` gave."""
    computer = SubjectMetrics(subject, encoders or shipped_encoders())
    rows = computer.per_prompt(samples.of_prompts, prompts)
    uses = {prompt.use: [] for prompt in prompts}
    for prompt, row in zip(prompts, rows, strict=True):
        uses[prompt.use].append(row)
    return Metrics(
        subject=subject.name or subject.class_noun,
        counts={"prompts": len(prompts)} | asdict(counts),
        samples=mean_over_prompts(rows),
        uses={use: mean_over_prompts(part) for use, part in uses.items()},
        class_samples=computer.of_class(samples.of_class, leaks),
        controls=computer.controls(prompts, counts.per_prompt),
    )


class SubjectMetrics:
    r"""Computes metrics of pictures of one subject; its references are encoded once."""

    def __init__(self, subject: SubjectReferences, encoders: Encoders):
        self.subject, self.encoders = subject, encoders
        self.real_identity = encoders.identity(subject.references)
        self.real_image = encoders.image(subject.references)
        self.gallery = gallery(subject, encoders.identity) if subject.of_this_world else None

    def per_prompt(self, pictures: np.ndarray, prompts: Sequence[Prompt]) -> list[dict[str, float]]:
        r"""Compute the metrics of each prompt.

        Args:
            pictures: (N, H, W, 3) uint8, N / len(prompts) of each prompt in turn.
            prompts: what was asked.
        """
        identity, image = self.encoders.identity(pictures), self.encoders.image(pictures)
        text = self.encoders.text([prompt.plain for prompt in prompts])
        verdicts = dict(self._verdicts(pictures, identity))
        seen = self.encoders.recognise(pictures) if self.encoders.recognise else None
        each = len(pictures) // len(prompts)
        rows = []
        for i, prompt in enumerate(prompts):
            part = slice(i * each, (i + 1) * each)
            row = self._similarities(identity[part], image[part], text[i])
            row |= {name: float(np.mean(values[part])) for name, values in verdicts.items()}
            if not prompt.shows_identity:
                row.pop("identity", None)
            if seen is not None:
                row |= _accuracy(prompt, {name: values[part] for name, values in seen.items()})
            rows.append(row)
        return rows

    def of_class(self, pictures: np.ndarray, leaks: LeakSamples | None = None) -> Estimates:
        r"""Compute the metrics of pictures (N, H, W, 3) uint8 of the bare class; N >= 2."""
        identity = self.encoders.identity(pictures)
        pres = [image_similarity(each[None], self.real_identity).item() for each in identity]
        row = {"pres": mean_interval(pres), "class_div": pairs_interval(1 - _cosines(identity))}
        if self.encoders.recognise and self.subject.of_this_world:
            seen = self.encoders.recognise(pictures)
            for factor, world in FACTOR_FREQUENCIES.items():
                # No interval: a bootstrap sample lacks some values, and its entropy is too low.
                share = entropy_share(seen[factor], world)
                row[f"entropy_{factor}"] = Interval(share, None, None)
        if leaks is not None:
            row |= leakage(leaks, pictures, self.subject, self.gallery, self.encoders)
        return row

    def controls(self, prompts: Sequence[Prompt], per_prompt: int) -> dict[str, Estimates]:
        r"""Compute the metrics of control pictures, `per_prompt` of each prompt."""
        expected = [prompt.expected for prompt in prompts for _ in range(per_prompt)]
        references = self.subject.references
        pictures = {"copy": references[np.arange(len(expected)) % len(references)]}
        if self.subject.of_this_world:
            pictures["stranger"] = strangers(self.subject, expected)
        if self.subject.name:
            pictures["perfect"] = perfect(self.subject, expected)
        rows = {
            name: mean_over_prompts(self.per_prompt(each, prompts))
            for name, each in pictures.items()
        }
        return {"real": self._real()} | rows if len(references) > 1 else rows

    def _real(self) -> Estimates:
        """The references compared with each other, all pairs (Table 1's first row)."""
        return {
            "dino": pairs_interval(_cosines(self.real_identity)),
            "clip_i": pairs_interval(_cosines(self.real_image)),
        }

    def _similarities(self, identity: Tensor, image: Tensor, text: Tensor) -> dict[str, float]:
        row = {
            "dino": image_similarity(identity, self.real_identity).item(),
            "clip_i": image_similarity(image, self.real_image).item(),
            "clip_t": prompt_similarity(image, text.expand_as(image)).item(),
        }
        return row | ({"div": diversity(identity).item()} if len(identity) > 1 else {})

    def _verdicts(self, pictures: np.ndarray, identity: Tensor) -> Iterator[tuple[str, list[bool]]]:
        """For each picture: is it a copy, and is it the subject and no copy?"""
        copied = copies(pictures, self.subject.references)
        yield "copies", copied.tolist()
        if self.gallery is not None:
            yield "identity", (is_subject(identity, self.gallery).cpu() & ~copied).tolist()


def mean_over_prompts(rows: Sequence[Mapping[str, float]]) -> Estimates:
    r"""The mean of every metric over the prompts that have it."""
    names = {name: None for row in rows for name in row}  # in order
    return {name: mean_interval([row[name] for row in rows if name in row]) for name in names}


def _accuracy(prompt: Prompt, seen: Mapping[str, Sequence[str | None]]) -> dict[str, float]:
    """The share of a prompt's pictures that show each factor asked for, and all of them."""
    right = {
        factor: [value == wanted for value in seen[factor]]
        for factor, wanted in prompt.expected.items()
    }
    return {name: float(np.mean(hits)) for name, hits in right.items()} | {
        "prompt_accuracy": float(np.mean(np.all(list(right.values()), axis=0)))
    }


def _cosines(features: Tensor) -> np.ndarray:
    """All cosines, (N, N)."""
    unit = F.normalize(features.double(), dim=1)
    return (unit @ unit.T).cpu().numpy()
