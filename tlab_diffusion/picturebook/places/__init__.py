"""The places: for each place word, the function that draws it; details come from a generator."""

from tlab_diffusion.picturebook.places.country import (
    draw_beach,
    draw_desert,
    draw_forest,
    draw_meadow,
    draw_rain,
    draw_snow,
)
from tlab_diffusion.picturebook.places.elsewhere import (
    draw_city,
    draw_moon,
    draw_night,
    draw_room,
    draw_sea,
    draw_stage,
)

PLACE_DRAWERS = {
    "meadow": draw_meadow,
    "snow": draw_snow,
    "beach": draw_beach,
    "forest": draw_forest,
    "desert": draw_desert,
    "city": draw_city,
    "night": draw_night,
    "sea": draw_sea,
    "moon": draw_moon,
    "room": draw_room,
    "stage": draw_stage,
    "rain": draw_rain,
}
