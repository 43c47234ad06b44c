"""The evaluator: what it stores of the original model, and under which key."""

import numpy as np
import torch

from tests.dreambooth.standin import pixel_encoders
from tests.dreambooth.tiny import PICTURES
from tlab_diffusion.dreambooth.measures import evaluator
from tlab_diffusion.dreambooth.measures.evaluator import Evaluator
from tlab_diffusion.pipelines.sampler_settings import MEASURING_SMALL


def test_stored_metrics_are_used_only_where_all_that_they_depend_on_is_the_same(
    tmp_path, monkeypatch
):
    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), dtype=np.uint8)

    def stored(**changes):
        options = {"encoders": pixel_encoders()} | changes
        weights, device = options.pop("weights", "weights"), options.pop("device", "cpu")
        new = Evaluator(PICTURES[: options.pop("num", 3)], "sks", "robot", **options)
        sample = lambda texts, seed: noise[: len(texts)]  # noqa: E731
        new.measure_original(sample, weights, tmp_path, torch.device(device))
        return len(list((tmp_path / "metrics").glob("*.json")))

    assert stored() == stored() == 1
    changes = [
        {"weights": "others"},
        {"seed": 1},
        {"num": 2},
        {"every_use": True},
        {"settings": MEASURING_SMALL.override(solver="ddim")},
        {"settings": MEASURING_SMALL.override(steps=16)},
        {"settings": MEASURING_SMALL.override(guidance_scale=3.0)},
        {"device": "mps"},
    ]
    assert [stored(**change) for change in changes] == list(range(2, 2 + len(changes)))
    monkeypatch.setattr(evaluator, "choose_precision", lambda wanted, device: "fp16")
    assert stored() == 2 + len(changes)
