"""Prompts to text embeddings, and warnings about what of a prompt is not read."""

from collections.abc import Sequence

from tlab_diffusion.errors import InputError

WORLD = (
    "world"  # the tokenizer's setting that lists the words of a small world, see `unknown_words`
)


def embed(pipeline, prompts: Sequence[str]):
    r"""The text encoder's last hidden states (`prompt_embeds`), which cross-attention reads.

    Args:
        pipeline: a Stable Diffusion pipeline.
        prompts: B prompts; "" is the one that guidance moves away from.

    Returns:
        (B, tokens, width), on the pipeline's device, with gradients unless the caller turns them
        off.
    """
    ids = tokenise(pipeline.tokenizer, prompts)
    return pipeline.text_encoder(ids.to(pipeline.device))[0]


def tokenise(tokenizer, prompts: Sequence[str]):
    r"""Token ids (B, model_max_length), on the CPU: short prompts are padded, long ones cut."""
    encoded = tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    return encoded.input_ids


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """Refuse what is no list of prompts."""
    if isinstance(prompts, str):
        raise InputError("prompts", got=repr(prompts), expected="a list of prompts")
    prompts = list(prompts)
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise InputError("prompts", got=repr(prompts), expected="at least one prompt with a word")
    return prompts


def prompt_warnings(tokenizer, prompt: str, *, identifier: str | None = None) -> list[str]:
    """Warnings about parts of a prompt that a model does not read.

    Args:
        tokenizer: the pipeline's. Where it lists all words of its model's world, words that are not
            among them are named too.
        prompt: the words.
        identifier: a word that the model has learned since.
    """
    warnings = []
    if cut := words_cut(tokenizer, prompt):
        limit = tokenizer.model_max_length
        warnings.append(f"the prompt is longer than {limit} tokens: '{cut}' was cut")
    if world := tokenizer.init_kwargs.get(WORLD):
        learned = {identifier.lower()} if identifier else set()
        unknown = (word for word in unknown_words(world, prompt) if word not in learned)
        warnings += [f"{world['name']} does not know '{word}'" for word in unknown]
    return warnings


def unknown_words(world: dict, prompt: str) -> list[str]:
    r"""The words of a prompt that a small world does not know.

    A second value of a factor ("a red blue cat") is not read and counts as unknown.

    Args:
        world: `{"name": str, "identifiers": [str], "phrases": {phrase: [factor, value] | None}}`,
            which the tokenizer of such a model keeps in its settings. Phrases have one word or two;
            fillers such as "the" have no factor.
        prompt: any text.
    """
    words = "".join(c if c.isalnum() else " " for c in prompt.lower()).split()
    phrases, values, unknown, learned = world["phrases"], {}, [], None
    while words:
        pair = " ".join(words[:2])
        phrase = pair if pair in phrases else words[0]
        del words[: 1 + phrase.count(" ")]
        if phrase in world["identifiers"]:  # one of them has a meaning, at most
            learned = learned or phrase
            known = phrase == learned
        else:
            factor, value = phrases.get(phrase) or (None, None)
            known = phrase in phrases and values.setdefault(factor, value) == value
        if not known:
            unknown.append(phrase)
    return unknown


def words_cut(tokenizer, prompt: str) -> str:
    """The end of a prompt that does not fit; a word that is cut is included whole."""
    room = tokenizer.model_max_length - 2  # the start and end tokens
    words = prompt.split()
    used = 0
    for number, word in enumerate(words):
        used += len(tokenizer.tokenize(word))
        if used > room:
            return " ".join(words[number:])
    return ""
