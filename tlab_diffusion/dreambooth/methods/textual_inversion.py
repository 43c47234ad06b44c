r"""Textual Inversion: a new word for a model that stays as it is (arXiv:2208.01618).

The identifier is one token, whose row in the text encoder's table of embeddings starts as the class
noun's and learns (Section 4.1); nothing else does. An identifier that is one token of the
vocabulary already keeps it: then no size changes, and all that read the original read the result.
Any other becomes a new token, in a table that is one row longer.
"""

import copy

import torch
from tokenizers import AddedToken
from torch import Tensor, nn


class LearnedRow(nn.Module):
    r"""An embedding of which one row learns.

    Args:
        embedding: (V, D), frozen from now on.
        token: number of the row, below V.
        start: (D,), what it starts as.
    """

    def __init__(self, embedding: nn.Embedding, token: int, start: Tensor):
        super().__init__()
        self.embedding = embedding.requires_grad_(False)
        self.token = token
        self.row = nn.Parameter(start.detach().clone())

    def forward(self, ids: Tensor) -> Tensor:
        """(...) token ids to (..., D)."""
        return torch.where((ids == self.token)[..., None], self.row, self.embedding(ids))

    @torch.no_grad()
    def written(self) -> nn.Embedding:
        """A plain embedding with the row in its place."""
        embedding = copy.deepcopy(self.embedding)
        embedding.weight[self.token] = self.row
        return embedding


def add_token(tokenizer, identifier: str) -> int:
    r"""The identifier's token, which is new unless the vocabulary has it; its number."""
    if len(tokenizer.tokenize(identifier)) > 1:
        # A word by itself: "olis" is not meant where "solis" is written.
        tokenizer.add_tokens(AddedToken(identifier, single_word=True, normalized=True))
    # By its text: a token with capitals is not found by the name that `tokenize` gives it.
    return tokenizer(identifier, add_special_tokens=False).input_ids[0]


def add_row(pipeline, identifier: str, class_noun: str) -> None:
    r"""Freeze a pipeline, but for the identifier's embedding, which starts as the class noun's.

    Args:
        pipeline: a Stable Diffusion pipeline; its tokenizer and text encoder are changed in place.
        identifier: one word.
        class_noun: of several tokens, their mean is meant.
    """
    text_encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    noun = tokenizer(class_noun, add_special_tokens=False).input_ids
    token = add_token(tokenizer, identifier)
    embedding = text_encoder.get_input_embeddings()
    start = embedding.weight[noun].mean(dim=0)
    if token == embedding.num_embeddings:
        embedding = nn.Embedding.from_pretrained(torch.cat([embedding.weight, start[None]]))
        text_encoder.config.vocab_size = embedding.num_embeddings
    for part in (pipeline.unet, text_encoder):
        part.requires_grad_(False)
    text_encoder.set_input_embeddings(LearnedRow(embedding, token, start))


def written_out(part: nn.Module) -> nn.Module:
    """A part with its learned row in a plain table: the part itself where it has none."""
    if not any(isinstance(layer, LearnedRow) for layer in part.modules()):
        return part
    part = copy.deepcopy(part)
    part.set_input_embeddings(part.get_input_embeddings().written())
    return part
