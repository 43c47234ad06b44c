r"""The before/after slider: the original model and the tuned one, from the same noise."""

from collections.abc import Sequence

import ipywidgets
import numpy as np

from tlab_diffusion.course.stored import load_sheet
from tlab_diffusion.course.widgets.base import LivePicture
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots.before_after_panels import BeforeAfterPanels

NAMES = ("the original model", "the tuned model")


class BeforeAfter(LivePicture):
    """A border that moves through pairs of pictures; see `before_after`."""

    wide = ("border",)

    def __init__(
        self,
        before: np.ndarray,
        after: np.ndarray,
        captions: Sequence[str],
        names: tuple[str, str] = NAMES,
    ):
        _check(before, after, captions)
        self._pairs, self._captions, self._names = (before, after), list(captions), names
        title = f"The same prompts and noise, by {names[0]} and by {names[1]}"
        slider = ipywidgets.IntSlider(50, 0, 100, 5, description="border, %")
        super().__init__("before-after", title, {"border": slider})

    def new_figure(self) -> BeforeAfterPanels:
        return BeforeAfterPanels(*self._pairs, self._captions, self._names)

    def draw(self, figure: BeforeAfterPanels, settings: dict, changed: set[str]) -> str:
        border = settings["border"]
        if not 0 <= border <= 100:
            raise InputError("border", got=str(border), expected="0 to 100, in %")
        figure.show(border / 100)
        if border in (0, 100):
            return f"All of every picture is by {self._names[0 if border else 1]}."
        return (
            f"The left {border} % of every picture are by {self._names[0]}, the rest by "
            f"{self._names[1]}: same prompt, same noise."
        )


def before_after(
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    captions: Sequence[str] = (),
    names: tuple[str, str] = NAMES,
) -> BeforeAfter:
    r"""A widget with pairs of pictures and a movable border between the two models.

    Args:
        before, after: (N, H, W, 3) uint8, drawn from the same prompts and noise, pair by pair;
            the stored pictures of one subject when left out.
        captions: N texts, such as the prompts.
        names: of the two models.

    Raises:
        InputError: on pictures of other shapes, or another number of captions.
    """
    if before is None:
        sheet = load_sheet()
        name, pictures = next(iter(sheet.pictures.items()))
        before, after = pictures["original"], pictures["dreambooth"]
        captions = sheet.captions[name]
    return BeforeAfter(before, after, captions, names)


def _check(before: np.ndarray, after: np.ndarray, captions: Sequence[str]) -> None:
    for name, pictures in (("before", before), ("after", after)):
        right = isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8
        if not right or pictures.shape[3:] != (3,) or not len(pictures):
            got = getattr(pictures, "shape", type(pictures).__name__)
            raise InputError(name, got=str(got), expected="(N, H, W, 3) uint8, with N from 1 up")
    if before.shape != after.shape:
        raise InputError("after", got=str(after.shape), expected=f"{before.shape}, as before")
    if len(captions) != len(before):
        expected = f"{len(before)}, one for each pair"
        raise InputError("captions", got=str(len(captions)), expected=expected)
