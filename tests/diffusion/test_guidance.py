"""Guidance: its two fixed points, its direction, and captions dropped one by one."""

import pytest
import torch

from tlab_diffusion.diffusion import guidance
from tlab_diffusion.errors import InputError


def test_scale_one_is_conditional_and_zero_unconditional():
    uncond, cond = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(guidance.cfg(uncond, cond, 1.0), cond)
    torch.testing.assert_close(guidance.cfg(uncond, cond, 0.0), uncond)
    torch.testing.assert_close(guidance.cfg(uncond, cond, 3.0), uncond + 3 * (cond - uncond))


def test_every_sample_may_have_its_own_scale():
    uncond, cond = torch.randn(2, 3, 4, 5)
    scales = torch.tensor([0.0, 1.0, 5.0])
    together = guidance.cfg(uncond, cond, scales.reshape(3, 1, 1))
    for i, scale in enumerate(scales.tolist()):
        torch.testing.assert_close(together[i], guidance.cfg(uncond[i], cond[i], scale))


def test_guided_asks_both_questions_in_one_batch():
    calls = []

    def model(x_t, t, condition):
        calls.append(len(x_t))
        return x_t * condition[:, None] + t[:, None]

    x_t, t = torch.randn(4, 3), torch.tensor([1, 2, 3, 4])
    condition, null = torch.arange(4.0) + 5, torch.zeros(4)
    out = guidance.guided(model, condition, null, 2.0)(x_t, t)
    torch.testing.assert_close(out, 2 * x_t * condition[:, None] + t[:, None])
    assert calls == [8]


def test_captions_are_dropped_each_by_its_own_draw():
    captions = [f"picture {i}" for i in range(5000)]
    dropped = guidance.drop_captions(captions, 0.1, torch.Generator().manual_seed(0))
    share = dropped.count("") / 5000
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 5000) ** 0.5
    assert all(new in ("", old) for new, old in zip(dropped, captions, strict=True))
    generator = torch.Generator().manual_seed(0)
    assert guidance.drop_captions(captions, 0.0, generator) == captions
    assert set(guidance.drop_captions(captions, 1.0, generator)) == {""}


def test_bad_probability():
    with pytest.raises(InputError, match="p: got 1.5"):
        guidance.drop_captions(["a cat"], 1.5, torch.Generator())
