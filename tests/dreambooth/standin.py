"""Cheap stand-ins for samples and encoders: what is drawn follows from the weights, by a hash."""

from zlib import crc32

import numpy as np
import torch

from tlab_diffusion.dreambooth.measures.selection import Point
from tlab_diffusion.evaluation.encoders import Encoders
from tlab_diffusion.evaluation.result import Metrics
from tlab_diffusion.evaluation.statistics import Interval


def hashed_sample(pipeline, settings=None, after_each=lambda: None):
    """In place of `fast_sampler`: other weights, words or seeds, other pictures."""
    parts = (pipeline.unet, pipeline.text_encoder)
    total = sum(weight.double().sum().item() for part in parts for weight in part.parameters())
    digest = f"{total:.2f}"  # the same on machines that add up in another order

    def draw(texts, seed):
        for _ in texts:
            after_each()
        return np.stack([picture(f"{digest} {t} {seed + i}") for i, t in enumerate(texts)])

    return draw


def picture(text):
    """Noise that follows from a text: (64, 64, 3) uint8."""
    return np.random.default_rng(crc32(text.encode())).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def pixel_encoders(*_):
    """In place of `suitable_encoders`: a few pixels are all that they see."""

    def features(pictures):
        return torch.from_numpy(pictures[:, 0, :4].reshape(len(pictures), -1).astype(np.float32))

    def text(captions):
        return torch.stack([torch.from_numpy(picture(c)[0, 0]) for c in captions])

    def words(captions):
        return text(captions).float().repeat(1, 4)

    return Encoders(features, features, words, name="a few pixels")


def estimates(**numbers):
    return {name: Interval(value, None, None) for name, value in numbers.items()}


def point(step, pres=0.2, class_div=0.8, **samples):
    """A checkpoint with these metrics."""
    of_class = estimates(pres=pres, class_div=class_div)
    controls = {"real": estimates(dino=0.8)}
    return Point(step, Metrics("pip", {}, estimates(**samples), {}, of_class, controls))
