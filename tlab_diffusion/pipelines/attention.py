r"""Cross-attention maps: which tokens each position of a picture attends to, recorded in the U-Net.

At every position, a layer's attention weights over the tokens of the prompt sum to 1. Recording
computes them a second time, outside the layer, so the picture is the same with or without it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor
from transformers import CLIPTokenizer

from tlab_diffusion.errors import InputError

CROSS_ATTENTION = ".attn2."  # in a layer's name; attn1 is self-attention
END_OF_WORD = "</w>"


class AttentionMaps:
    """The recorded attention weights: for each layer, one tensor a call of the U-Net.

    `layers` is {name: [(B, positions, tokens), ...]}, averaged over heads; every row sums to 1.
    """

    def __init__(self) -> None:
        self.layers: dict[str, list[Tensor]] = {}

    def maps(self) -> Tensor:
        r"""The mean over layers, each enlarged to the finest one.

        Returns:
            (calls, B, tokens, side, side); at every position the tokens sum to 1.

        Raises:
            InputError: if nothing was recorded, or the picture is not square.
        """
        if not self.layers:
            raise InputError(
                "attention",
                got="nothing recorded",
                expected="a call of the U-Net",
                fix="Run it inside `with record_attention(unet) as attention:`.",
            )
        stacks = [_as_squares(torch.stack(calls)) for calls in self.layers.values()]
        side = max(stack.shape[-1] for stack in stacks)
        return torch.stack([_enlarged(stack, side) for stack in stacks]).mean(dim=0)


@contextmanager
def record_attention(unet: UNet2DConditionModel) -> Iterator[AttentionMaps]:
    r"""Record the cross-attention of every call of a U-Net in the block.

    Args:
        unet: of a Stable Diffusion pipeline; afterwards it is as it was.

    Yields:
        The `AttentionMaps`, filled as the U-Net runs. A call with guidance has both halves.

    Raises:
        InputError: if the U-Net has no cross-attention.
    """
    before = unet.attn_processors
    attention = AttentionMaps()
    recording = {
        name: _Recording(processor, name, attention) if CROSS_ATTENTION in name else processor
        for name, processor in before.items()
    }
    if not any(isinstance(processor, _Recording) for processor in recording.values()):
        raise InputError("unet", got="no cross-attention", expected="a U-Net that reads a caption")
    unet.set_attn_processor(recording)
    try:
        yield attention
    finally:
        unet.set_attn_processor(before)


def word_tokens(tokenizer: CLIPTokenizer, prompt: str) -> list[tuple[str, list[int]]]:
    r"""The words of a prompt, and the positions of their tokens in the U-Net's input.

    Args:
        tokenizer: CLIP's, or one that marks ends of words as it does.
        prompt: a caption; what is beyond the tokenizer's length is left out.

    Returns:
        (word, positions) in reading order; position 0 is the start mark.
    """
    ids = tokenizer(prompt, truncation=True, max_length=tokenizer.model_max_length).input_ids
    pieces = tokenizer.convert_ids_to_tokens(ids)[1:-1]  # without the marks at both ends
    words, word, positions = [], "", []
    for position, piece in enumerate(pieces, start=1):
        word, positions = word + piece.removesuffix(END_OF_WORD), [*positions, position]
        if piece.endswith(END_OF_WORD) or position == len(pieces):
            words.append((word, positions))
            word, positions = "", []
    return words


def word_maps(maps: Tensor, words: Sequence[tuple[str, list[int]]]) -> Tensor:
    r"""Attention to words: a word's tokens added up.

    Args:
        maps: (..., tokens, side, side).
        words: W words with their positions, see `word_tokens`.

    Returns:
        (..., W, side, side).
    """
    return torch.stack([maps[..., positions, :, :].sum(dim=-3) for _, positions in words], dim=-3)


class _Recording:
    """Records the attention weights, then calls the processor that was there."""

    def __init__(self, processor, name: str, attention: AttentionMaps):
        self._processor, self._name, self._attention = processor, name, attention

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *args,
        **kwargs,
    ) -> Tensor:
        weights = attention_weights(attn, hidden_states, encoder_hidden_states, attention_mask)
        self._attention.layers.setdefault(self._name, []).append(weights.mean(dim=1))
        return self._processor(
            attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs
        )


@torch.no_grad()
def attention_weights(
    attn: Attention,
    hidden_states: Tensor,
    prompt_embeds: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    r"""The attention weights of a layer, head by head, without gradients.

    Args:
        attn: the layer.
        hidden_states: (B, N, C), the features at N positions of the picture.
        prompt_embeds: (B, M, D), one row a token.
        attention_mask: as the layer takes it.

    Returns:
        (B, heads, N, M); each row sums to 1.
    """
    query = attn.head_to_batch_dim(attn.to_q(hidden_states))
    key = attn.head_to_batch_dim(attn.to_k(prompt_embeds))
    mask = attn.prepare_attention_mask(attention_mask, prompt_embeds.shape[1], len(prompt_embeds))
    weights = attn.get_attention_scores(query, key, mask)
    return weights.unflatten(0, (len(prompt_embeds), attn.heads))


def _as_squares(weights: Tensor) -> Tensor:
    """(calls, B, positions, tokens) to (calls, B, tokens, side, side)."""
    side = math.isqrt(weights.shape[2])
    if side**2 != weights.shape[2]:
        raise InputError("picture", got=f"{weights.shape[2]} places", expected="a square")
    return weights.unflatten(2, (side, side)).movedim(-1, 2)


def _enlarged(maps: Tensor, side: int) -> Tensor:
    if maps.shape[-1] == side:
        return maps
    flat = F.interpolate(maps.flatten(0, 1), size=(side, side), mode="bilinear")
    return flat.unflatten(0, maps.shape[:2])
