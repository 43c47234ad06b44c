"""Captions, tokens, and the contrastive pair."""

import pytest
import torch
from transformers import AutoTokenizer, CLIPTextModel, CLIPTokenizer

from tests.pretraining.tiny import RECIPE, scenes
from tlab_diffusion.picturebook import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    FACTORS,
    IDENTIFIERS,
    PATTERNS,
    caption,
    random_scene,
)
from tlab_diffusion.pipelines.latents import to_tensor
from tlab_diffusion.pipelines.loading import PICTUREBOOK
from tlab_diffusion.pipelines.prompts import tokenise
from tlab_diffusion.pretraining.networks import text_config
from tlab_diffusion.pretraining.text import (
    ClipPair,
    forget_identifiers,
    pair_batches,
    tell_apart,
    training_captions,
)
from tlab_diffusion.pretraining.tokenizer import MAX_TOKENS, new_tokenizer

TOKENIZER = new_tokenizer()


def pieces(text):
    return TOKENIZER.tokenize(text)


def test_words_of_the_world_and_identifiers_are_whole():
    words = {word for values in FACTORS.values() for value in values for word in value.split()}
    for word in [*words, *IDENTIFIERS, "wearing", "a", "photo"]:
        assert pieces(word) == [f"{word}</w>"]


def test_rare_words_split_and_nothing_is_unknown():
    assert len(pieces("sks")) > 1
    assert len(pieces("wombat")) > 1
    assert TOKENIZER.decode(TOKENIZER("a wömbat, 42!").input_ids, skip_special_tokens=True)
    unknown = TOKENIZER.unk_token_id
    assert unknown not in TOKENIZER("a wömbat 東京 42!").input_ids[1:-1]


def test_every_caption_fits():
    longest = max(len(TOKENIZER(caption(random_scene(seed))).input_ids) for seed in range(2000))
    assert longest < MAX_TOKENS


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    text = "a striped zwx cat at the zoo"
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == TOKENIZER(text).input_ids


def test_training_captions_belong_to_their_scenes_and_differ():
    ids = training_captions(TOKENIZER, 20, 3)
    assert ids.shape == (20, 3, MAX_TOKENS)
    for seed, wordings in enumerate(ids):
        for wording in wordings:
            text = TOKENIZER.decode(wording.long(), skip_special_tokens=True)
            assert random_scene(seed).class_noun in text
    assert len({tuple(wording.tolist()) for wording in ids.flatten(0, 1)}) > 40


def test_the_loss_is_two_cross_entropies():
    torch.manual_seed(0)
    pair = ClipPair(CLIPTextModel(text_config(TOKENIZER)))
    x = to_tensor(scenes(3))
    ids = tokenise(TOKENIZER, ["a cat", "a red dog", "a robot in the snow"])
    images, texts = pair.image_features(x), pair.text_features(ids)
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    logits = pair.log_scale.exp() * images @ texts.T
    rows, columns = logits.log_softmax(dim=1).diag(), logits.log_softmax(dim=0).diag()
    torch.testing.assert_close(pair(x, ids), -(rows + columns).mean() / 2)


def test_padding_does_not_change_a_caption():
    torch.manual_seed(0)
    pair = ClipPair(CLIPTextModel(text_config(TOKENIZER))).eval()
    padded = tokenise(TOKENIZER, ["a red dog"])
    bare = torch.tensor([TOKENIZER("a red dog").input_ids])
    torch.testing.assert_close(pair.text_features(padded), pair.text_features(bare))


def test_pairs_are_pictures_with_their_own_captions():
    x = scenes()
    captions = torch.arange(6 * 2 * 4).view(6, 2, 4).to(torch.int16)
    pictures, ids = pair_batches(x, captions, RECIPE.text)(torch.Generator().manual_seed(0))
    for picture, row in zip(pictures, ids, strict=True):
        torch.testing.assert_close(picture, to_tensor(x)[row[0] // 8])


def test_identifiers_are_forgotten_and_nothing_else():
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(text_config(TOKENIZER))
    rows = text_encoder.get_input_embeddings().weight
    before = rows.detach().clone()
    forget_identifiers(text_encoder, TOKENIZER)
    changed = {i for i, same in enumerate((rows == before).all(dim=1).tolist()) if not same}
    ids = TOKENIZER.get_vocab()
    assert changed == {ids[f"{identifier}</w>"] for identifier in IDENTIFIERS}
    # Blends of words' rows, as long as these are, and no two alike.
    words = (*COLOURS, *PATTERNS, *CLASSES, *ACCESSORIES)
    known = rows[[ids[f"{word}</w>"] for word in words if " " not in word]]
    blends = rows[sorted(changed)]
    weights = torch.linalg.lstsq(known.T, blends.T).solution
    torch.testing.assert_close(known.T @ weights, blends.T, rtol=0, atol=1e-5)
    usual = known.norm(dim=1).mean().expand(len(blends))
    torch.testing.assert_close(blends.norm(dim=1), usual)
    likeness = torch.nn.functional.normalize(blends, dim=1)
    likeness = likeness @ torch.nn.functional.normalize(torch.cat([blends, known]), dim=1).T
    assert likeness.fill_diagonal_(0).abs().max() < 0.8


@torch.no_grad()
def test_words_are_told_apart_and_others_stay_where_they_are():
    folder = PICTUREBOOK
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    moods, colours = ("happy", "sad", "surprised", "sleepy"), ("red", "blue", "green")
    rows = encoder.get_input_embeddings().weight
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    numbers = [tokenizer.get_vocab()[word + "</w>"] for word in moods]
    rows[numbers] = rows[numbers[:1]].clone()  # all moods are one word to this encoder
    ids = training_captions(tokenizer, 500, 1).flatten(0, 1)

    def states(words, place):  # (N, D)
        texts = tokenise(tokenizer, [f"a {word} cat in the snow" for word in words])
        return encoder(texts).last_hidden_state[:, place]

    def spread(place):
        each = states(moods, place)
        return (each - each.mean(dim=0)).norm(dim=1).mean()

    own, end, padding = 2, 7, 20
    assert spread(own) < 1e-3
    kept = states(colours, own)
    with torch.enable_grad():
        tell_apart(encoder, tokenizer, moods, ids)
    # Corners at right angles, seen from one middle: sqrt(3/4) of their distance from their mean.
    assert spread(own) == pytest.approx(5 * 0.75**0.5, rel=0.25)
    for place in (end, padding):
        assert spread(place) == pytest.approx(2.5 * 0.75**0.5, rel=0.35)
    moved = (states(colours, own) - kept).norm(dim=1)
    assert (moved < 0.25 * kept.norm(dim=1)).all()
