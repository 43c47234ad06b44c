"""The characters: for each class noun, the function that draws a member of the class.

Every function takes a `Look`, a view and a random generator for the proportions. It draws the same
random numbers for every view, so that a member keeps its shape from all sides.
"""

from tlab_diffusion.picturebook.characters.chicks_and_fish import draw_bird, draw_fish
from tlab_diffusion.picturebook.characters.fantastic import draw_dragon, draw_ghost
from tlab_diffusion.picturebook.characters.machines import draw_car, draw_robot, draw_rocket
from tlab_diffusion.picturebook.characters.pets import draw_bear, draw_cat, draw_dog, draw_rabbit
from tlab_diffusion.picturebook.characters.subjects_one import (
    draw_antler,
    draw_mochi,
    draw_petal,
    draw_pip,
    draw_tock,
)
from tlab_diffusion.picturebook.characters.subjects_two import (
    draw_buzz,
    draw_dash,
    draw_humphrey,
    draw_lumi,
    draw_yaga,
)
from tlab_diffusion.picturebook.characters.things import draw_house, draw_mushroom, draw_teapot

CHARACTERS = {
    "cat": draw_cat,
    "dog": draw_dog,
    "rabbit": draw_rabbit,
    "bear": draw_bear,
    "bird": draw_bird,
    "fish": draw_fish,
    "dragon": draw_dragon,
    "robot": draw_robot,
    "ghost": draw_ghost,
    "car": draw_car,
    "rocket": draw_rocket,
    "house": draw_house,
    "teapot": draw_teapot,
    "mushroom": draw_mushroom,
}
SUBJECT_CHARACTERS = {
    "pip": draw_pip,
    "mochi": draw_mochi,
    "petal": draw_petal,
    "antler": draw_antler,
    "tock": draw_tock,
    "lumi": draw_lumi,
    "humphrey": draw_humphrey,
    "dash": draw_dash,
    "yaga": draw_yaga,
    "buzz": draw_buzz,
}
