r"""Fingerprints: short names for weights and for values, used as keys of caches."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn


def weights_fingerprint(parts: Iterable[nn.Module]) -> str:
    """A short name for the weights of some modules: other weights, another name."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()


def content_key(*values: object) -> str:
    """A short name for what a cached thing depends on; arrays count by content and shape."""
    digest = hashlib.blake2b(digest_size=16)
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value))
        else:
            digest.update(repr(value).encode() + b"\0")
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> np.ndarray:
    """A tensor's bytes, in any dtype (numpy knows no bfloat16)."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
