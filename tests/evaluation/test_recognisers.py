"""Recognisers: what the answers mean, whatever the weights are."""

import numpy as np
import pytest
import torch
from torch import nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import recognisers
from tlab_diffusion.evaluation.recognisers import ANSWERS, NOTHING, Recogniser
from tlab_diffusion.picturebook import Scene, random_scene
from tlab_diffusion.pipelines.latents import to_tensor

BLANK = np.zeros((2, 64, 64, 3), np.uint8)
CAT = Scene("cat", "purple", "striped", "side", "sad", "crown", "snow", "pencil")
BEHIND = Scene("car", "red", "plain", "back", "happy", "glasses", "moon", "cartoon")


class Oracle(nn.Module):
    """Sees the scenes it was told of, in turn, whatever the pictures are."""

    def __init__(self, *scenes):
        super().__init__()
        rows = []
        for scene in scenes:
            row = [
                (torch.arange(len(answers)) == answers.index(getattr(scene, name))).float()
                for name, answers in ANSWERS.items()
            ]
            rows.append(torch.cat(row))
        self.logits = torch.stack(rows)

    def forward(self, x):
        return self.logits[: len(x)]


def test_every_factor_is_read_off():
    seen = recognisers.recognise(BLANK, Oracle(CAT, BEHIND))
    assert {name: values[0] for name, values in seen.items()} == CAT.visible_factors()
    assert seen["expression"] == ["sad", None]  # nobody has a face from behind


def test_labels_are_the_numbers_of_the_answers():
    for scene in [CAT, BEHIND, *map(random_scene, range(50))]:
        visible = scene.visible_factors()
        for name, label in zip(
            ANSWERS, recognisers.labels_of(visible), strict=True
        ):  # factor by factor
            if name not in visible:
                assert (name, label) == ("expression", NOTHING)
            else:
                assert ANSWERS[name][label] == visible[name]


def test_accuracy_counts_only_what_is_shown():
    seen = recognisers.recognise(BLANK, Oracle(CAT, BEHIND))
    truth = [CAT.visible_factors(), BEHIND.visible_factors() | {"colour": "blue"}]
    shares = recognisers.accuracy(seen, truth)
    assert shares.pop("colour") == 0.5
    assert shares.pop("accessory") == 0.5  # glasses are not seen from behind: none is right
    assert set(shares.values()) == {1.0} and "expression" in shares
    assert "expression" not in recognisers.accuracy(seen, [{"colour": "purple"}] * 2)


def test_pictures_do_not_depend_on_their_batch(monkeypatch):
    torch.manual_seed(0)
    model = Recogniser().eval()
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    whole = recognisers.in_batches(model, pictures)
    monkeypatch.setattr("tlab_diffusion.evaluation.networks.BATCH", 2)
    torch.testing.assert_close(recognisers.in_batches(model, pictures), whole)


def test_pictures_of_another_side_are_seen_at_64():
    large = BLANK.repeat(2, axis=1).repeat(2, axis=2)
    seen = []
    recognisers.in_batches(lambda x: seen.append(x) or x.flatten(1), large)
    assert seen[0].shape[1:] == (3, 64, 64)
    assert torch.equal(seen[0], to_tensor(BLANK))


@pytest.mark.parametrize(
    "pictures",
    [
        BLANK.astype(np.float32),
        BLANK[:, :32],
        BLANK[0],
        BLANK[:0],
        [BLANK[0], BLANK[0, :5]],
        "a cat",
    ],
)
def test_other_pictures_are_refused(pictures):
    with pytest.raises(InputError, match=r"pictures: got .* expected uint8 of shape \(N, S"):
        recognisers.recognise(pictures, Oracle(CAT, BEHIND))
