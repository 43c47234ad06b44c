r"""Textual Inversion: learn the embedding of a new word, with the model frozen (arXiv:2208.01618).

The identifier is one token. Its row in the text encoder's table of embeddings starts as the class
noun's and is trained (Section 4.1); nothing else is. An identifier that is one token of the
vocabulary keeps its number, so no size changes. Any other becomes a new token, and the table gets
one more row.
"""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from torch import Tensor, nn

from tlab_diffusion.errors import InputError

EMBEDS_FILE = "learned_embeds.safetensors"  # its name in diffusers' script


class LearnedRow(nn.Module):
    r"""An embedding of which one row is trained.

    Args:
        embedding: (V, D), frozen from now on.
        token: number of the row, below V.
        start: (D,), the row's first value.
        word: whose token it is.
    """

    def __init__(self, embedding: nn.Embedding, token: int, start: Tensor, word: str):
        super().__init__()
        self.word = word
        self.embedding = embedding.requires_grad_(False)
        self.token = token
        self.row = nn.Parameter(start.detach().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """(...) token ids to (..., D); gradients flow to the row alone."""
        return torch.where((ids == self.token)[..., None], self.row, self.embedding(ids))

    @torch.no_grad()
    def merged(self) -> nn.Embedding:
        """A plain embedding with the row in its place."""
        embedding = copy.deepcopy(self.embedding)
        embedding.weight[self.token] = self.row
        return embedding


def add_token(tokenizer, identifier: str) -> int:
    r"""The number of the identifier's token, which is added where the vocabulary has none."""
    if len(tokenizer.tokenize(identifier)) != 1:
        # A whole word: "olis" must not match within "solis".
        tokenizer.add_tokens(AddedToken(identifier, single_word=True, normalized=True))
    # By its text: `tokenize` gives a token with capitals another name.
    return tokenizer(identifier, add_special_tokens=False).input_ids[0]


def _check_ordinary(tokenizer, identifier: str, token: int) -> None:
    """Refuse a special token: its embedding is part of every prompt."""
    special = {n for n, added in tokenizer.added_tokens_decoder.items() if added.special}
    texts = {text.lower() for text in tokenizer.all_special_tokens}
    if token in special.union(tokenizer.all_special_ids) or identifier.lower() in texts:
        raise InputError(
            "identifier",
            got=f"'{identifier}', a special token of the tokenizer",
            expected="a word of letters",
            fix="Special tokens mark where a prompt starts, ends or is padded.",
        )


def check_table(tokenizer, rows: int) -> None:
    r"""Refuse a tokenizer whose tokens have no row in the table of embeddings.

    Raises:
        InputError: a token's number is not below `rows`.
    """
    size = 1 + max(tokenizer.get_vocab().values())
    if size > rows:
        raise InputError(
            "model",
            got=f"a tokenizer with {size} tokens, and {rows} embeddings in the text encoder",
            expected="an embedding for every token",
            fix="Use the tokenizer that this text encoder was trained with.",
        )


def add_row(text_encoder: nn.Module, tokenizer, identifier: str, class_noun: str) -> None:
    r"""Freeze a text encoder, but for the identifier's embedding.

    Args:
        text_encoder, tokenizer: of a pipeline; changed in place.
        identifier: one word.
        class_noun: the embedding starts as the mean of its tokens' embeddings.

    Raises:
        InputError: a special token as identifier; see also `check_table`. The text encoder is then
            unchanged.
    """
    embedding = text_encoder.get_input_embeddings()
    check_table(tokenizer, embedding.num_embeddings)
    noun = tokenizer(class_noun, add_special_tokens=False).input_ids
    token = add_token(tokenizer, identifier)
    _check_ordinary(tokenizer, identifier, token)
    start = embedding.weight[noun].mean(dim=0)
    if token == embedding.num_embeddings:
        embedding = nn.Embedding.from_pretrained(torch.cat([embedding.weight, start[None]]))
        text_encoder.config.vocab_size = embedding.num_embeddings
    text_encoder.requires_grad_(False)
    text_encoder.set_input_embeddings(LearnedRow(embedding, token, start, identifier))


def merged(part: nn.Module) -> nn.Module:
    """A copy with the trained row in a plain table. Without a trained row, the part itself."""
    if _row(part) is None:
        return part
    part = copy.deepcopy(part)
    part.set_input_embeddings(part.get_input_embeddings().merged())
    return part


def save_embeds(part: nn.Module, folder: Path) -> None:
    r"""Write a part's trained row alone, as diffusers' `load_textual_inversion(folder)` reads it.

    Args:
        part: nothing is written where it has no trained row.
        folder: gets `learned_embeds.safetensors`, {word: (1, D)}.
    """
    row = _row(part)
    if row is not None:
        save_file({row.word: row.row.detach()[None].cpu().contiguous()}, folder / EMBEDS_FILE)


def _row(part: nn.Module) -> LearnedRow | None:
    return next((layer for layer in part.modules() if isinstance(layer, LearnedRow)), None)
