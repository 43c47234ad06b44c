"""Combinations of factors that pretraining leaves out, to measure composition.

1. One colour of every class: `HELD_OUT_COLOUR`. The model knows robots and knows red, and has
   never seen a red robot.
2. One in ten of the remaining (class, colour, place) triples. With the positions of class,
   colour and place in their lists, a triple is held out where (3 class + 7 colour + place) is a
   multiple of 10; so they are spread evenly, and every pair of values is still met often.
"""

from collections.abc import Mapping

from tlab_diffusion.picturebook.factors import CLASSES, COLOURS, PLACES

HELD_OUT_COLOUR = {
    "cat": "green",
    "dog": "purple",
    "rabbit": "blue",
    "bear": "pink",
    "bird": "black",
    "fish": "brown",
    "dragon": "white",
    "robot": "red",
    "ghost": "orange",
    "car": "turquoise",
    "rocket": "yellow",
    "house": "purple",
    "teapot": "green",
    "mushroom": "blue",
}


def is_held_out_combination(factors: Mapping[str, object]) -> bool:
    """Tells whether these factors (class_noun, colour, place) are kept out of training."""
    class_noun, colour, place = factors["class_noun"], factors["colour"], factors["place"]
    if HELD_OUT_COLOUR[class_noun] == colour:
        return True
    number = 3 * CLASSES.index(class_noun) + 7 * COLOURS.index(colour) + PLACES.index(place)
    return number % 10 == 0
