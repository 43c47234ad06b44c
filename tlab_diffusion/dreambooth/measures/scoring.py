r"""From pictures to scores: those of every prompt, of the bare class, and of the controls.

measures.py says what each score means.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tlab_diffusion.dreambooth.measures.prompts import Prompt
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.identity import (
    Target,
    copies,
    gallery,
    is_subject,
    perfect,
    strangers,
)
from tlab_diffusion.evaluation.metrics import (
    diversity,
    entropy_share,
    image_similarity,
    prompt_similarity,
)
from tlab_diffusion.evaluation.quality import WORLD
from tlab_diffusion.evaluation.statistics import Interval, mean_interval, pairs_interval

Scores = dict[str, Interval]


class Scorer:
    r"""Scores pictures of one subject; what does not change from set to set is computed once."""

    def __init__(self, target: Target, judges: Encoders):
        self.target, self.judges = target, judges
        self.real_who = judges.identity(target.references)
        self.real_what = judges.image(target.references)
        self.gallery = gallery(target, judges.identity) if target.of_this_world else None

    def rows(self, pictures: np.ndarray, prompts: Sequence[Prompt]) -> list[dict[str, float]]:
        r"""The scores of each prompt; pictures (N, H, W, 3) uint8, N / len(prompts) of each."""
        who, what = self.judges.identity(pictures), self.judges.image(pictures)
        words = self.judges.text([prompt.plain for prompt in prompts])
        verdicts = dict(self._verdicts(pictures, who))
        seen = self.judges.recognise(pictures) if self.judges.recognise else None
        each = len(pictures) // len(prompts)
        rows = []
        for i, prompt in enumerate(prompts):
            part = slice(i * each, (i + 1) * each)
            row = self._similarities(who[part], what[part], words[i])
            row |= {name: float(np.mean(values[part])) for name, values in verdicts.items()}
            if not prompt.shows_identity:
                row.pop("identity", None)
            if seen is not None:
                row |= _obeyed(prompt, {name: values[part] for name, values in seen.items()})
            rows.append(row)
        return rows

    def class_scores(self, pictures: np.ndarray) -> Scores:
        r"""The scores of pictures (N, H, W, 3) uint8 of the bare class, N from 2 up."""
        who = self.judges.identity(pictures)
        pres = [image_similarity(each[None], self.real_who).item() for each in who]
        scores = {"pres": mean_interval(pres), "class_div": pairs_interval(1 - _cosines(who))}
        if self.judges.recognise and self.target.of_this_world:
            seen = self.judges.recognise(pictures)
            for factor, world in WORLD.items():
                # No interval: a bootstrap sample lacks some values, and its entropy is too low.
                share = entropy_share(seen[factor], world)
                scores[f"entropy_{factor}"] = Interval(share, None, None)
        return scores

    def controls(self, asked: Sequence[Prompt], prompts: Sequence[Prompt]) -> dict[str, Scores]:
        r"""What others would get: `asked` are the prompts of all pictures, one by one."""
        expected = [prompt.expected for prompt in asked]
        references = self.target.references
        pictures = {"copy": references[np.arange(len(asked)) % len(references)]}
        if self.target.of_this_world:
            pictures["stranger"] = strangers(self.target, expected)
        if self.target.name:
            pictures["perfect"] = perfect(self.target, expected)
        scores = {name: summary(self.rows(x, prompts)) for name, x in pictures.items()}
        return {"real": self._real()} | scores if len(references) > 1 else scores

    def _real(self) -> Scores:
        """The references among themselves, each pair of different ones (Table 1's first row)."""
        return {
            "dino": pairs_interval(_cosines(self.real_who)),
            "clip_i": pairs_interval(_cosines(self.real_what)),
        }

    def _similarities(self, who: Tensor, what: Tensor, words: Tensor) -> dict[str, float]:
        row = {
            "dino": image_similarity(who, self.real_who).item(),
            "clip_i": image_similarity(what, self.real_what).item(),
            "clip_t": prompt_similarity(what, words.expand_as(what)).item(),
        }
        return row | ({"div": diversity(who).item()} if len(who) > 1 else {})

    def _verdicts(self, pictures: np.ndarray, who: Tensor) -> Iterator[tuple[str, list[bool]]]:
        """Picture by picture: is it a copy, is it the subject and no copy?"""
        copied = copies(pictures, self.target.references)
        yield "copies", copied.tolist()
        if self.gallery is not None:
            yield "identity", (is_subject(who, self.gallery).cpu() & ~copied).tolist()


def _obeyed(prompt: Prompt, seen: Mapping[str, Sequence[str | None]]) -> dict[str, float]:
    """The share of a prompt's pictures that show each factor asked for, and all of them."""
    right = {
        factor: [value == wanted for value in seen[factor]]
        for factor, wanted in prompt.expected.items()
    }
    return {name: float(np.mean(hits)) for name, hits in right.items()} | {
        "obeyed": float(np.mean(np.all(list(right.values()), axis=0)))
    }


def summary(rows: Sequence[Mapping[str, float]]) -> Scores:
    r"""The mean of every score over the prompts that have it."""
    names = {name: None for row in rows for name in row}  # in order
    return {name: mean_interval([row[name] for row in rows if name in row]) for name in names}


def _cosines(features: Tensor) -> np.ndarray:
    """All cosines, (N, N)."""
    unit = F.normalize(features.double(), dim=1)
    return (unit @ unit.T).cpu().numpy()
