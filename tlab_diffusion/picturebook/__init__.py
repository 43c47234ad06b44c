"""The picture-book world: scenes, their captions, and their pictures.

A `Scene` is a set of factors (class, colour, place, ...) and a pose. A seed gives a random scene;
`caption` and `parse` convert a scene to a sentence and back; `to_svg` and `render` draw it.
"""

from tlab_diffusion.picturebook.cast import SUBJECTS, Subject
from tlab_diffusion.picturebook.dataset import (
    PicturebookDataset,
    draw_caption,
    draw_scenes,
    subject_pictures,
)
from tlab_diffusion.picturebook.factors import (
    ACCESSORIES,
    CLASSES,
    COLOURS,
    EXPRESSIONS,
    FACTORS,
    IDENTIFIERS,
    PATTERNS,
    PLACES,
    STYLES,
    VIEWS,
)
from tlab_diffusion.picturebook.grammar import Parsed, caption, parse, scene_from_caption
from tlab_diffusion.picturebook.render import render, to_svg
from tlab_diffusion.picturebook.scene import Scene, is_held_out, random_scene
from tlab_diffusion.picturebook.subjects import subject_scene, subject_scenes

__all__ = [
    "ACCESSORIES",
    "CLASSES",
    "COLOURS",
    "EXPRESSIONS",
    "FACTORS",
    "IDENTIFIERS",
    "PATTERNS",
    "PLACES",
    "STYLES",
    "SUBJECTS",
    "VIEWS",
    "Parsed",
    "PicturebookDataset",
    "Scene",
    "Subject",
    "caption",
    "draw_caption",
    "draw_scenes",
    "is_held_out",
    "parse",
    "random_scene",
    "render",
    "scene_from_caption",
    "subject_pictures",
    "subject_scene",
    "subject_scenes",
    "to_svg",
]
