"""The measuring pair, and weights in files."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tlab_diffusion.errors import InputError
from tlab_diffusion.evaluation import shipped_encoders
from tlab_diffusion.evaluation.networks import load_weights, save_weights
from tlab_diffusion.evaluation.recognisers import Recogniser
from tlab_diffusion.evaluation.shipped_encoders import Identity, ImageText
from tlab_diffusion.picturebook import caption, random_scene, render
from tlab_diffusion.pretraining.encoders import known_subjects, subject_trial

KINDS = (Recogniser, ImageText, Identity)


@pytest.fixture(scope="module")
def pictures():
    return np.stack([render(random_scene(seed)) for seed in range(3)])


def trained(kind) -> nn.Module:
    """Random weights, and averages of batches as training leaves them."""
    torch.manual_seed(0)
    model = kind()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.num_batches_tracked.fill_(7)
    return model.eval()


def results(model, pictures):
    if isinstance(model, Recogniser):
        return [shipped_encoders.in_batches(model, pictures)]
    if isinstance(model, Identity):
        return [shipped_encoders.identity_features(pictures, model)]
    texts = shipped_encoders.text_features(
        ["a red cat", "a dog in the snow, seen from behind"], model
    )
    return [shipped_encoders.image_features(pictures, model), texts]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_survive_a_file_in_half_precision(kind, tmp_path, pictures):
    model = trained(kind)
    save_weights(model, tmp_path / "weights/it.safetensors")
    stored = load_file(tmp_path / "weights/it.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    torch.manual_seed(1)
    again = load_weights(kind(), tmp_path / "weights/it.safetensors")
    assert not again.training and next(again.parameters()).dtype == torch.float32
    for before, after in zip(results(model, pictures), results(again, pictures), strict=True):
        # 11 bits of precision in half floats, through six layers.
        torch.testing.assert_close(after, before, rtol=0.02, atol=0.02)


def test_all_measures_together_are_small(tmp_path):
    for kind in KINDS:
        save_weights(kind(), tmp_path / f"{kind.__name__}.safetensors")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 7 * 2**20


def test_a_bad_file_is_one_clear_line(tmp_path):
    file = tmp_path / "it.safetensors"
    with pytest.raises(InputError, match="weights: got no file"):
        load_weights(Identity(), file)
    save_weights(Identity(), file)
    with pytest.raises(InputError, match="other tensors"):
        load_weights(Recogniser(), file)
    tensors = load_file(file)
    save_file({name: tensor[:1] for name, tensor in tensors.items()}, file)
    with pytest.raises(InputError, match="other tensors"):
        load_weights(Identity(), file)
    save_weights(Identity(), file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read") as error:
        load_weights(Identity(), file)
    assert "\n" not in str(error.value)


def test_features_have_length_one(pictures):
    model = trained(ImageText)
    features = [
        shipped_encoders.image_features(pictures, model),
        shipped_encoders.text_features(["a cat"] * 3, model),
        shipped_encoders.identity_features(pictures, trained(Identity)),
    ]
    for rows in features:
        assert rows.shape == (3, shipped_encoders.WIDTH)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    assert shipped_encoders.texture_features(pictures, model).shape == (3, shipped_encoders.HIDDEN)


def test_a_mirrored_picture_shows_the_same_character(pictures):
    model = trained(Identity)
    features = shipped_encoders.identity_features(pictures, model)
    mirrored = shipped_encoders.identity_features(np.ascontiguousarray(pictures[:, :, ::-1]), model)
    torch.testing.assert_close(mirrored, features)
    one_way = shipped_encoders.in_batches(model.one_way, pictures)
    torch.testing.assert_close(one_way.norm(dim=1), torch.ones(3))
    assert not torch.allclose(one_way, features)


def test_every_word_of_the_world_has_its_number():
    for seed in range(300):
        numbers = shipped_encoders.word_numbers([caption(random_scene(seed), seed=seed)])[0]
        assert shipped_encoders.UNKNOWN not in numbers
    first, second, third = shipped_encoders.word_numbers(
        ["A red cat!", "a red  cat", "a red wombat"]
    )
    assert torch.equal(first, second)
    assert third[:3].tolist() == [*first[:2].tolist(), shipped_encoders.UNKNOWN]
    assert first[3:].eq(shipped_encoders.PADDING).all()


def test_words_count_in_their_order_and_padding_does_not():
    model = trained(ImageText)
    alone = shipped_encoders.text_features(["a red cat"], model)
    beside = shipped_encoders.text_features(
        ["a red cat", "a very long caption of a cat at night"], model
    )
    torch.testing.assert_close(beside[:1], alone)
    assert not torch.allclose(
        shipped_encoders.text_features(["a cat red"], model), alone, atol=1e-3
    )


def test_long_captions_are_cut():
    model = trained(ImageText)
    words = [f"cat{' dog' * number}" for number in (31, 32, 99)]
    features = shipped_encoders.text_features(words, model)
    torch.testing.assert_close(features[0], features[1])
    torch.testing.assert_close(features[0], features[2])


@pytest.mark.parametrize("text", ["", " ?! ", None, 7])
def test_a_caption_is_a_sentence(text):
    with pytest.raises(InputError, match="caption: got .* expected a sentence"):
        shipped_encoders.word_numbers([text])


def test_the_shipped_encoder_knows_who_is_there():
    """The bar of its verdicts (at least 95 %), on more visits than training looked at."""
    known = known_subjects(shipped_encoders.identity(), subject_trial(visits=40, members=50))
    assert known["subjects_known"] >= 0.95
    assert known["members_taken_for_subjects"] <= 0.01
