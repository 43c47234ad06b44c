"""A world that remembers what it drew: a sampler and encoders that know the truth, no model."""

import dataclasses
from functools import cache
from random import Random
from zlib import crc32

import numpy as np
import torch

from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.picturebook import (
    FACTORS,
    SUBJECTS,
    parse,
    random_scene,
    render,
    subject_scene,
    subject_scenes,
)

WIDTH = 256


@cache
def direction(*words):
    """A random unit vector for what words name; two are nearly at right angles."""
    generator = torch.Generator().manual_seed(crc32(repr(words).encode()))
    vector = torch.randn(WIDTH, generator=generator)
    return vector / vector.norm()


class Oracle:
    """Draws scenes, and encodes pictures by what it drew."""

    def __init__(self):
        self.truth, self.drawn = {}, {}
        for name in SUBJECTS:
            self.draw(subject_scenes(name))

    def render(self, scene, size=64):
        if scene not in self.drawn:
            self.drawn[scene] = render(scene, size)
            self.truth[self.drawn[scene].tobytes()] = scene
        return self.drawn[scene]

    def draw(self, scenes, size=64):
        return np.stack([self.render(scene, size) for scene in scenes])

    def encoders(self):
        return Encoders(self.identity, self.image, self.text, self.recognise)

    def scenes(self, pictures):
        return [self.truth[picture.tobytes()] for picture in pictures]

    def identity(self, pictures):
        """Who it is, mostly: a subject stands apart from its class. And a little of its pose."""
        rows = []
        for scene in self.scenes(pictures):
            kind = direction(scene.class_noun)
            member = 2 * kind + direction(scene.class_noun, scene.shape)
            who = kind + 2 * direction(scene.subject) if scene.subject else member
            rows.append(who + 0.5 * direction(scene.x, scene.y, scene.place))
        return 3 * torch.stack(rows)  # of any length

    def image(self, pictures):
        return torch.stack(
            [
                sum(direction(*each) for each in scene.visible_factors().items())
                for scene in self.scenes(pictures)
            ]
        )

    def text(self, captions):
        told = [parse(caption) for caption in captions]
        assert not any(each.identifier for each in told), "CLIP has never met the subject"
        return torch.stack(
            [sum(direction(*each) for each in parsed.factors.items()) for parsed in told]
        )

    def recognise(self, pictures):
        seen = [scene.visible_factors() for scene in self.scenes(pictures)]
        return {name: [each.get(name) for each in seen] for name in FACTORS}


class Tuned:
    """A model that has learnt a subject perfectly, but for its faults.

    Args:
        oracle: draws for it.
        name: the subject.
        faults: any of "copies", "stranger", "stays" (in a meadow), "collapsed" (the class became
            the subject), "paints" (other classes have the subject's colour), "spreads" (other
            classes became the subject).
    """

    def __init__(self, oracle, name, *faults):
        self.oracle, self.name, self.faults, self.asked = oracle, name, faults, []

    def __call__(self, prompts, seed):
        self.asked.append((list(prompts), seed))
        # Seeds far from those of the controls.
        scenes = [self.scene(parse(text), 10_000 + seed + i) for i, text in enumerate(prompts)]
        return self.oracle.draw(scenes)

    def scene(self, told, seed):
        factors = {name: value for name, value in told.factors.items() if name != "class_noun"}
        ordinary = {"style": "cartoon", "view": "front"}
        class_noun = SUBJECTS[self.name].class_noun
        asked = told.factors["class_noun"]
        lost = "collapsed" if asked == class_noun else "spreads"
        if told.identifier is None and lost not in self.faults:
            if asked != class_noun and "paints" in self.faults:
                factors["colour"] = SUBJECTS[self.name].colour
            return random_scene(seed, held_out=None, class_noun=asked, **ordinary | factors)
        if told.identifier and "copies" in self.faults:
            return Random(seed).choice(subject_scenes(self.name))
        if told.identifier and "stranger" in self.faults:
            factors = {"colour": SUBJECTS[self.name].colour} | ordinary | factors
            return random_scene(seed, held_out=None, class_noun=class_noun, **factors)
        scene = subject_scene(self.name, seed, **factors)
        return dataclasses.replace(scene, place="meadow") if "stays" in self.faults else scene
