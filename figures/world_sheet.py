"""Draws world_sheet.png: what the picture-book world holds, one row a factor.

Run it from the root of the checkout: python figures/world_sheet.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tlab_diffusion.picturebook import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    EXPRESSIONS,
    PATTERNS,
    PLACES,
    STYLES,
    VIEWS,
    Scene,
    render,
)

SIZE, COLUMNS, GAP = 144, 8, 6


def scenes() -> list[Scene]:
    """Classes, then places, and the other factors shown on a few characters."""
    pick = [
        Scene(noun, COLOURS[4 * i % 11], PATTERNS[i % 4], place=PLACES[5 * i % 12], shape=i)
        for i, noun in enumerate((*CLASSES, "cat", "robot"))
    ]
    pick += [
        Scene(CLASSES[3 * i % 14], COLOURS[7 * i % 11], place=place, setting=i, shape=i)
        for i, place in enumerate(PLACES)
    ]
    pick += [Scene("rabbit", "purple", pattern, place="snow", shape=2) for pattern in PATTERNS]
    worn = zip(ACCESSORIES, ("bird", "cat", "house", "dog", "ghost", "teapot"), strict=True)
    pick += [
        Scene(noun, COLOURS[3 * i % 11], accessory=accessory, place=PLACES[2 * i], shape=i)
        for i, (accessory, noun) in enumerate(worn)
    ]
    pick += [Scene("robot", "orange", expression="surprised", place="rain", accessory="crown")]
    pick += [Scene("car", "blue", "striped", "side", place="city", accessory="balloon")]
    pick += [Scene("bear", "pink", expression=mood, place="stage") for mood in EXPRESSIONS]
    pick += [Scene("dragon", "green", view=view, place="forest") for view in VIEWS]
    pick += [Scene("dragon", "green", view="side", place="forest", flip=True)]
    pick += [Scene("fish", "red", "spotted", style=style, place="sea") for style in STYLES]
    pick += [Scene("mushroom", "yellow", style=style, place="meadow") for style in STYLES]
    return pick


def sheet(pictures: list[np.ndarray]) -> Image.Image:
    """Sets the pictures side by side on white."""
    step = SIZE + GAP
    rows = -(-len(pictures) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * step + GAP, rows * step + GAP), "white")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, COLUMNS)
        page.paste(Image.fromarray(picture), (GAP + column * step, GAP + row * step))
    return page


def main() -> None:
    """Writes the PNG next to this script."""
    page = sheet([render(scene, SIZE) for scene in scenes()])
    page.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
