"""Lesson 00: a warm-up."""

from collections.abc import Callable

import torch
from torch import Tensor

from tlab_diffusion.course.answer_check import told_apart
from tlab_diffusion.course.exercise import Exercise, Variant


def to_model_range(pixels):
    scaled = pixels.float() / 127.5 - 1  # 0 to 255 becomes -1 to 1
    return scaled.permute(2, 0, 1)  # (H, W, 3) becomes (3, H, W)


def _inputs(generator: torch.Generator) -> list[tuple]:
    # Pictures that are not square, square ones, where a swap of the axes keeps the shape, and a
    # cube, where a picture whose axes stay does.
    pictures = [
        torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        for shape in ((4, 6, 3), (5, 5, 3), (3, 3, 3), (1, 7, 3), (6, 2, 3))
    ]
    for picture in pictures:
        picture[0, 0], picture[-1, -1] = torch.tensor([0, 255, 128]), torch.tensor([255, 127, 0])
    return [(picture,) for picture in pictures]


def _scaled_by(scale: Callable[[Tensor], Tensor]) -> Callable:
    return lambda pixels: scale(pixels).permute(2, 0, 1)


def black_and_white(answer: Callable, generator: torch.Generator) -> str | None:
    for value, right in ((0, -1), (255, 1)):
        got = answer(torch.full((2, 3, 3), value, dtype=torch.uint8)).double().mean().item()
        if abs(got - right) > 1e-3:
            does = told_apart(got, float(right))[0]
            return f"A picture of {value} throughout should become {right}; yours becomes {does}."
    return None


def colours_stay_together(answer: Callable, generator: torch.Generator) -> str | None:
    red = torch.zeros((4, 6, 3), dtype=torch.uint8)
    red[..., 0] = 255
    if answer(red).double().flatten(1).std(dim=1).max() > 1e-3:
        return (
            "Of a picture that is red throughout, every channel should be constant. In yours, "
            "values differ within a channel: numbers have been torn from their places."
        )
    return None


EXERCISES = (
    Exercise(
        id="start.to_model_range",
        title="From pixels to what a model reads",
        returns="float32 tensor (3, H, W), from -1 to 1, of a uint8 tensor (H, W, 3)",
        minutes=5,
        difficulty=1,
        reference=to_model_range,
        solution=to_model_range,
        make_inputs=_inputs,
        verified="Black becomes -1 and white 1, channels come first, every colour keeps its place.",
        variants=(
            Variant(
                "RANGE_0_1",
                "Your values run from 0 to 1. Diffusion models read pictures from -1 to 1, so "
                "that grey is 0, in the middle of the noise they will meet. Look at the scaling: "
                "after dividing by 255, stretch by 2 and subtract 1.",
                (_scaled_by(lambda p: p / 255),),
            ),
            Variant(
                "RANGE_MINUS_HALF",
                "Your values run from -0.5 to 0.5: centred, but half as wide as they should be. "
                "Look at the scaling: double it after you subtract.",
                (_scaled_by(lambda p: p / 255 - 0.5),),
            ),
            Variant(
                "UINT8_OVERFLOW",
                "Some of your pixels wrap around: a uint8 holds 0 to 255, and arithmetic within "
                "it starts again at 0. `2 * pixels` of 200 is 144, and `pixels - 128` of 100 is "
                "228. Convert with `.float()` before anything else.",
                (
                    _scaled_by(lambda p: 2 * p / 255 - 1),
                    _scaled_by(lambda p: (p - 128) / 128),
                    _scaled_by(lambda p: (p - 127) / 127),
                    _scaled_by(lambda p: (p - 128) / 127.5),
                ),
            ),
            Variant(
                "DIVIDED_BY_128",
                "You divide by 128, so white becomes 0.99 and not 1. The largest byte is 255, "
                "half of it is 127.5: that is what takes 0 and 255 to the two ends.",
                (_scaled_by(lambda p: p.float() / 128 - 1),),
            ),
            Variant(
                "NOT_SCALED",
                "The axes are right, but the values still run from 0 to 255. Divide and shift "
                "them, so that they run from -1 to 1.",
                (_scaled_by(lambda p: p.float()),),
            ),
            Variant(
                "CHANNELS_LAST",
                "The range is right, but the channels are still the last axis: (H, W, 3). "
                "Torch's convolutions expect (3, H, W). Look at the order of the axes: "
                "`permute` moves them.",
                (lambda p: p / 127.5 - 1,),
            ),
            Variant(
                "RESHAPE_NOT_PERMUTE",
                "The shape is right, but the picture is scrambled. `reshape` and `view` keep the "
                "numbers in the order of memory and only cut them differently, so red, green and "
                "blue of neighbouring pixels end up in one channel. `permute` moves the axes.",
                (lambda p: (p / 127.5 - 1).reshape(p.shape[2], p.shape[0], p.shape[1]),),
            ),
            Variant(
                "HEIGHT_WIDTH_SWAPPED",
                "Channels come first, but height and width have changed places too: your picture "
                "lies on its side. Look at the order given to `permute` (`.T` reverses all axes).",
                (lambda p: (p / 127.5 - 1).permute(2, 1, 0),),
            ),
        ),
        invariants=(black_and_white, colours_stay_together),
        hints=(
            "Two things happen, and they do not depend on each other: the numbers are scaled, "
            "and the axes change their order. Mind that bytes cannot hold negative numbers.",
            "First make floats. The map from 0..255 to -1..1 is a straight line: divide by half "
            "of 255, subtract 1. Then move axis 2 to the front with `permute`.",
            "    scaled = pixels.float() / 127.5 - ...\n    return scaled.permute(2, ..., ...)",
        ),
    ),
)
