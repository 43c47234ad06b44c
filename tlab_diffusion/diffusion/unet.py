r"""A small conditional U-Net: the network that predicts the noise.

The picture is halved several times, passes attention at the coarsest resolution, and is doubled
back, with skip connections. Every block receives the timestep and the condition, if there is one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlab_diffusion.errors import InputError

GROUPS = 8  # of every group norm; channel counts are multiples of it


def timestep_embedding(t: Tensor, size: int) -> Tensor:
    r"""Sinusoidal embedding of timesteps (Section 3.5, arXiv:1706.03762).

    `[cos(t w_i), sin(t w_i)]` with `w_i = 10000^(-i / half)`, i from 0 to half - 1 and
    `half = size // 2`. An odd size ends in a column of zeros.

    Args:
        t: (B,) integers.
        size: the length of the embedding, at least 2.

    Returns:
        (B, size) float32, on the device of `t`.
    """
    if size < 2:
        raise InputError("size", got=str(size), expected="at least 2")
    half = size // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, size % 2))


class ResidualBlock(nn.Module):
    """Two convolutions with the timestep in between, added to the input."""

    def __init__(self, in_channels: int, out_channels: int, time_size: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_size, out_channels)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # (B, C, H, W), (B, time_size)
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """Single-head self-attention over the pixels."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        qkv = self.to_qkv(self.norm(x)).flatten(2).mT  # (B, H*W, 3C)
        query, key, value = qkv.chunk(3, dim=2)
        h = F.scaled_dot_product_attention(query, key, value)
        return x + self.to_out(h.mT.reshape(x.shape))


class UNet(nn.Module):
    r"""Predicts the noise in `x_t` (or x0, or v: the loss decides).

    Args:
        in_channels: channels of the picture, 3 for colour.
        channels: width at each resolution, finest first, multiples of 8; each one after the
            first halves the picture's sides, so they must divide by 2^(len(channels) - 1).
        num_classes: of labels as a condition; label `num_classes` means "no class".
        condition_size: length of embeddings as a condition; zeros mean "no condition".

    Shape:
        `x_t` (B, in_channels, H, W), `t` (B,) and `condition` (B,) integers or (B, condition_size)
        give (B, in_channels, H, W). Leaving `condition` out means "no class" or "no condition".
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: tuple[int, ...] = (32, 64, 128),
        *,
        num_classes: int | None = None,
        condition_size: int | None = None,
    ):
        super().__init__()
        if not channels or any(width < GROUPS or width % GROUPS for width in channels):
            raise InputError("channels", got=str(channels), expected=f"multiples of {GROUPS}")
        if None not in (num_classes, condition_size):
            raise InputError("condition_size", got="num_classes too", expected="one of the two")
        self.downsample_factor = 2 ** (len(channels) - 1)
        self.embedding_size = channels[0]
        time_size = 4 * channels[0]
        self.time = nn.Sequential(
            nn.Linear(self.embedding_size, time_size), nn.SiLU(), nn.Linear(time_size, time_size)
        )
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.down_blocks, self.downsamples = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in zip(channels, channels[1:], strict=False):
            self.down_blocks.append(ResidualBlock(fine, fine, time_size))
            self.downsamples.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
        self.middle_in = ResidualBlock(channels[-1], channels[-1], time_size)
        self.middle_attention = SelfAttention(channels[-1])
        self.middle_out = ResidualBlock(channels[-1], channels[-1], time_size)
        self.upsamples, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in reversed(list(zip(channels, channels[1:], strict=False))):
            self.upsamples.append(nn.Conv2d(coarse, fine, 3, padding=1))
            self.up_blocks.append(ResidualBlock(2 * fine, fine, time_size))
        self.norm_out = nn.GroupNorm(GROUPS, channels[0])
        self.conv_out = nn.Conv2d(channels[0], in_channels, 3, padding=1)
        # The first prediction is 0, so the first loss is about 1, the variance of the noise.
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)
        self.condition = None
        if num_classes is not None:  # the row of "no class" is 0 and stays 0
            self.condition = nn.Embedding(num_classes + 1, time_size, padding_idx=num_classes)
        if condition_size is not None:
            self.condition = nn.Linear(condition_size, time_size, bias=False)

    def forward(self, x_t: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        if any(side % self.downsample_factor for side in x_t.shape[-2:]):
            expected = f"sides that divide by {self.downsample_factor}"
            raise InputError("x_t", got=f"shape {tuple(x_t.shape)}", expected=expected)
        if condition is not None and self.condition is None:
            raise InputError("condition", got="a tensor", expected="None: the network takes none")
        time = self.time(timestep_embedding(t, self.embedding_size))
        if condition is not None:
            time = time + self.condition(condition)
        h, skips = self.conv_in(x_t), []
        for block, downsample in zip(self.down_blocks, self.downsamples, strict=True):
            h = block(h, time)
            skips.append(h)
            h = downsample(h)
        h = self.middle_out(self.middle_attention(self.middle_in(h, time)), time)
        for upsample, block in zip(self.upsamples, self.up_blocks, strict=True):
            h = upsample(F.interpolate(h, scale_factor=2))
            h = block(torch.cat([h, skips.pop()], dim=1), time)
        return self.conv_out(F.silu(self.norm_out(h)))
