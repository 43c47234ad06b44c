"""What a model does not read of a prompt is named."""

import copy

from transformers import CLIPTokenizer

from tests.tiny_pipeline import tiny_pipeline
from tlab_diffusion.picturebook import caption, parse, random_scene
from tlab_diffusion.pipelines import PICTUREBOOK, prompt_warnings
from tlab_diffusion.pipelines.prompts import WORLD, unknown_words
from tlab_diffusion.pretraining.tokenizer import new_tokenizer

PROMPTS = [
    *(caption(random_scene(seed), seed=seed) for seed in range(200)),
    "a quixotic red zwx cat",
    "a red blue cat",
    "a zwx qev cat",
    "A snowy, snowy night; in the snow!",
    "a top hat and a hat",
    "pencil drawing of two robots",
    "...",
]


def without_world():
    tokenizer = copy.deepcopy(new_tokenizer())
    del tokenizer.init_kwargs[WORLD]
    return tokenizer


def test_the_words_that_do_not_fit_are_named():
    tokenizer = tiny_pipeline().tokenizer
    fits = "a red cat " * 10  # 30 tokens, and the two marks
    assert prompt_warnings(tokenizer, fits) == []
    (warning,) = prompt_warnings(tokenizer, fits + "in the snow")
    assert warning == "the prompt is longer than 32 tokens: 'in the snow' was cut"
    ids = tokenizer(fits + "in the snow").input_ids
    assert tokenizer.decode(ids[31:-1]) == "in the snow"
    # A word of which only the first letters fit is named whole.
    (warning,) = prompt_warnings(without_world(), fits[:-4] + "wombat")
    assert warning.endswith("'wombat' was cut")


def test_words_that_the_world_does_not_know_are_named(tmp_path):
    tokenizer = new_tokenizer()
    warnings = ["the picture book does not know 'quixotic'"]
    assert prompt_warnings(tokenizer, "a quixotic red zwx cat") == warnings
    assert prompt_warnings(tokenizer, "a quixotic cat", identifier="Quixotic") == []
    assert prompt_warnings(tokenizer, "") == []
    assert prompt_warnings(without_world(), "a quixotic cat") == []
    tokenizer.save_pretrained(tmp_path)  # as in a tuned folder
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert prompt_warnings(again, "a quixotic red zwx cat") == warnings


def test_the_tokenizer_knows_what_the_grammar_knows():
    world = new_tokenizer().init_kwargs[WORLD]
    found = {prompt: unknown_words(world, prompt) for prompt in PROMPTS}
    assert found == {prompt: parse(prompt).unknown_words for prompt in PROMPTS}
    assert any(found.values())


def test_the_shipped_tokenizer_lists_the_same_words():
    shipped = CLIPTokenizer.from_pretrained(PICTUREBOOK / "tokenizer")
    assert shipped.init_kwargs[WORLD] == new_tokenizer().init_kwargs[WORLD]
