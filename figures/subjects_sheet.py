"""Draws subjects_sheet.png: every subject's five references, and three new places.

Run it from the root of the checkout: python figures/subjects_sheet.py
"""

from pathlib import Path

from PIL import Image

from tlab_diffusion.picturebook import SUBJECTS, render, subject_pictures, subject_scene

SIZE, GAP, MARGIN = 144, 6, 30


def main() -> None:
    """Writes the PNG next to this script: references left, other scenes right of the margin."""
    step = SIZE + GAP
    page = Image.new("RGB", (8 * step + MARGIN, len(SUBJECTS) * step + GAP), "white")
    for row, name in enumerate(SUBJECTS):
        others = [
            subject_scene(name, 11, place="moon", view="back"),
            subject_scene(name, 12, place="stage", accessory="crown", expression="sleepy"),
            subject_scene(name, 13, place="forest", style="stained glass"),
        ]
        pictures = subject_pictures(name, SIZE) + [render(scene, SIZE) for scene in others]
        for column, picture in enumerate(pictures):
            x = GAP + column * step + (MARGIN - GAP if column >= 5 else 0)
            page.paste(Image.fromarray(picture), (x, GAP + row * step))
    page.save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
