"""From words to what the U-Net reads, and what of the words gets lost on the way."""

from collections.abc import Sequence

from tlab_diffusion.errors import InputError
from tlab_diffusion.picturebook import parse


def embed(pipeline, prompts: Sequence[str]):
    r"""The text encoder's last hidden states, which cross-attention reads.

    Args:
        pipeline: a Stable Diffusion pipeline.
        prompts: B captions; "" is the empty one, that guidance compares with.

    Returns:
        (B, tokens, width), on the pipeline's device.
    """
    ids = tokenise(pipeline.tokenizer, prompts)
    return pipeline.text_encoder(ids.to(pipeline.device))[0]


def tokenise(tokenizer, prompts: Sequence[str]):
    r"""Token ids (B, model_max_length): short prompts are filled up, long ones cut."""
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
        raise InputError("prompts", got=repr(prompts), expected="at least one prompt in words")
    return prompts


def prompt_warnings(
    tokenizer, prompt: str, *, picturebook: bool, identifier: str | None = None
) -> list[str]:
    """Say what a model will not see of a prompt.

    Args:
        tokenizer: the pipeline's.
        prompt: the words.
        picturebook: also name the words that the picture-book world does not know.
        identifier: a word that the model has been taught since.
    """
    warnings = []
    cut = words_cut(tokenizer, prompt)
    if cut:
        limit = tokenizer.model_max_length
        warnings.append(f"the prompt is longer than {limit} tokens: '{cut}' was cut")
    if picturebook and prompt.strip():
        taught = {identifier.lower()} if identifier else set()
        unknown = (word for word in parse(prompt).unknown_words if word not in taught)
        warnings += [f"the picture book does not know '{word}'" for word in unknown]
    return warnings


def words_cut(tokenizer, prompt: str) -> str:
    """The end of a prompt that does not fit, in words; a word cut in two is named whole."""
    room = tokenizer.model_max_length - 2  # the marks at both ends
    words = prompt.split()
    used = 0
    for number, word in enumerate(words):
        used += len(tokenizer.tokenize(word))
        if used > room:
            return " ".join(words[number:])
    return ""
