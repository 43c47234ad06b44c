"""Attention, recorded: true weights, an untouched picture, and words found among tokens."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from tlab_diffusion.errors import InputError
from tlab_diffusion.pipelines.attention import (
    AttentionMaps,
    attention_weights,
    record_attention,
    word_maps,
    word_tokens,
)
from tlab_diffusion.pretraining.networks import new_unet
from tlab_diffusion.pretraining.tokenizer import MAX_TOKENS, new_tokenizer


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return new_unet((16, 32), text_width=24).eval()


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(2, 4, 16, 16, generator=generator)
    return x_t, torch.tensor([10, 700]), torch.randn(2, 7, 24, generator=generator)


@torch.no_grad()
def predict(unet, inputs):
    return unet(*inputs).sample


def cross_attention_layer(unet):
    return unet.mid_block.attentions[0].transformer_blocks[0].attn2


def test_every_place_shares_out_one_unit_of_attention(unet, inputs):
    with record_attention(unet) as attention:
        predict(unet, inputs)
        predict(unet, inputs)
    maps = attention.maps()
    assert maps.shape == (2, 2, 7, 8, 8)
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(2, 2, 8, 8))
    assert (maps >= 0).all()
    for calls in attention.layers.values():
        for weights in calls:
            torch.testing.assert_close(weights.sum(-1), torch.ones(2, 64))


def test_recording_leaves_the_picture_and_the_network_alone(unet, inputs):
    processors = dict(unet.attn_processors)
    before = predict(unet, inputs)
    with record_attention(unet):
        during = predict(unet, inputs)
    torch.testing.assert_close(during, before)
    assert unet.attn_processors == processors
    with pytest.raises(RuntimeError), record_attention(unet):
        raise RuntimeError
    assert unet.attn_processors == processors


def test_the_shares_are_those_that_the_layer_uses(unet):
    """The values, weighted by the recorded weights, are what the layer gives back."""
    layer = cross_attention_layer(unet)
    places, words = torch.randn(2, 64, 32), torch.randn(2, 7, 24)
    with torch.no_grad():
        weights = attention_weights(layer, places, words)
        values = layer.to_v(words).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        read = layer.to_out[0]((weights @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(read, layer(places, words))


def test_one_recording_a_cross_attention_layer(unet, inputs):
    with record_attention(unet) as attention:
        predict(unet, inputs)
    expected = {name for name in unet.attn_processors if "attn2" in name}
    assert set(attention.layers) == expected
    assert len(expected) == 6


def test_coarser_layers_are_enlarged_to_the_finest():
    attention = AttentionMaps()
    fine = torch.rand(1, 16, 3).softmax(dim=-1)
    coarse = torch.tensor([[[0.2, 0.3, 0.5]] * 4])
    attention.layers = {"fine": [fine], "coarse": [coarse]}
    maps = attention.maps()
    torch.testing.assert_close(maps.sum(dim=2), torch.ones(1, 1, 4, 4))
    expected = (fine[0, 5] + coarse[0, 0]) / 2  # row 1, column 1
    torch.testing.assert_close(maps[0, 0, :, 1, 1], expected)


def test_words_are_found_though_rare_ones_fall_to_pieces():
    words = word_tokens(new_tokenizer(), "a red crocodile in the snow")
    assert [word for word, _ in words] == ["a", "red", "crocodile", "in", "the", "snow"]
    positions = [position for _, places in words for position in places]
    assert positions == list(range(1, len(positions) + 1))
    assert len(words[2][1]) > 1
    assert all(len(places) == 1 for word, places in words if word != "crocodile")


def test_a_long_prompt_ends_where_the_tokenizer_ends():
    words = word_tokens(new_tokenizer(), "a red cat " * 20)
    assert sum(len(places) for _, places in words) == MAX_TOKENS - 2
    assert word_tokens(new_tokenizer(), "") == []


def test_a_words_map_is_the_sum_of_its_tokens():
    maps = torch.rand(3, 5, 4, 4)
    of_words = word_maps(maps, [("a", [1]), ("crocodile", [2, 3])])
    assert of_words.shape == (3, 2, 4, 4)
    torch.testing.assert_close(of_words[:, 1], maps[:, 2] + maps[:, 3])


def test_bad_input_is_refused(unet):
    with pytest.raises(InputError, match="nothing recorded"):
        AttentionMaps().maps()
    attention = AttentionMaps()
    attention.layers = {"layer": [torch.ones(1, 6, 3)]}
    with pytest.raises(InputError, match="6 places"):
        attention.maps()
    plain = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        mid_block_type=None,
        norm_num_groups=4,
    )
    with pytest.raises(InputError, match="no cross-attention"), record_attention(plain):
        pass
