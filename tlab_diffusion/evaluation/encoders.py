r"""The encoders of an evaluation: image-only, image-text, and recognisers where they exist."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tlab_diffusion.evaluation.identity import Encode, Recognise
from tlab_diffusion.evaluation.recognisers import recognise, recogniser
from tlab_diffusion.evaluation.shipped_encoders import (
    identity,
    identity_features,
    image_features,
    image_text,
    text_features,
)
from tlab_diffusion.training import fingerprint


@dataclass(frozen=True)
class Encoders:
    r"""Functions of pictures (N, H, W, 3) uint8; all features are (N, D).

    Args:
        identity: features of who is in a picture, as DINO gives.
        image, text: features of pictures and texts in one space, as CLIP gives.
        recognise: reads the picture book's factors; None for other pictures.
        name: identifies the encoders in reports and in keys of cached metrics.
    """

    identity: Encode
    image: Encode
    text: Callable[[Sequence[str]], Tensor]
    recognise: Recognise | None = None
    name: str = ""


def shipped_encoders() -> Encoders:
    r"""Load the encoders and recognisers of the package.

    Raises:
        InputError: weights are missing or damaged.
    """
    who, pair, factors = identity(), image_text(), recogniser()
    weights = fingerprint.weights_fingerprint([who, pair, factors])[:8]
    return Encoders(
        identity=partial(identity_features, model=who),
        image=partial(image_features, model=pair),
        text=partial(text_features, model=pair),
        recognise=partial(recognise, model=factors),
        # "Both ways": the image-only encoder looks at a picture and its mirror image.
        name=f"the course's own encoders, both ways, {weights}",
    )
