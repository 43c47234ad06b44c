"""Draws figures/attention.png: which places of a picture look at which word of its caption."""

from pathlib import Path

from tlab_diffusion import pipelines
from tlab_diffusion.course.widgets.attention import attention_film
from tlab_diffusion.plots import Picture, heat_over, picture_strip

SILENT = ("a", "in", "the", "wearing")  # words that name nothing to be seen
TITLE = "Bright places look at the word more than other places do (mean over all steps)"


def draw() -> Picture:
    film = attention_film(pipelines.load("picturebook"))
    telling = [number for number, word in enumerate(film.words) if word not in SILENT]
    last = film.pictures[-1]
    overlays = heat_over([last] * len(telling), film.maps.mean(dim=0)[telling])
    labels = ["the picture", *(film.words[number] for number in telling)]
    return picture_strip([last, *overlays], labels, title=TITLE)


if __name__ == "__main__":
    draw().save(Path(__file__).with_suffix(".png"))
