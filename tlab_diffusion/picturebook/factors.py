"""The words of the picture-book world: every factor of a scene and the values it may take."""

from tlab_diffusion.errors import InputError

CLASSES = (
    *("cat", "dog", "rabbit", "bear", "bird", "fish", "dragon"),
    *("robot", "ghost", "car", "rocket", "house", "teapot", "mushroom"),
)
COLOURS = (
    *("red", "orange", "yellow", "green", "turquoise", "blue"),
    *("purple", "pink", "brown", "black", "white"),
)
PATTERNS = ("plain", "striped", "spotted", "checked")
VIEWS = ("front", "side", "back")
EXPRESSIONS = ("happy", "sad", "surprised", "sleepy")
ACCESSORIES = ("crown", "top hat", "glasses", "scarf", "balloon", "flower")
PLACES = (
    *("meadow", "snow", "beach", "forest", "desert", "city"),
    *("night", "sea", "moon", "room", "stage", "rain"),
)
STYLES = ("cartoon", "watercolour", "pencil", "stained glass")

# The factors in the order in which a caption names them.
FACTORS = {
    "style": STYLES,
    "expression": EXPRESSIONS,
    "pattern": PATTERNS,
    "colour": COLOURS,
    "class_noun": CLASSES,
    "accessory": ACCESSORIES,
    "place": PLACES,
    "view": VIEWS,
}

# Rare names for a new subject: short, pronounced by nobody, and without a meaning in any caption.
IDENTIFIERS = (
    *("zwx", "qev", "vyj", "xol", "kuj", "yib", "ojq", "gux", "nuv", "dwo"),
    *("tyz", "ryk", "luj", "buv", "cij", "wiq", "fyk", "xem", "ploq", "zarv"),
)


def check_factor(name: str, value: object) -> None:
    """Refuses a value that the factor `name` cannot take (`accessory` may be None)."""
    if name not in FACTORS:
        known = ", ".join(FACTORS)
        raise InputError("factor", got=repr(name), expected=f"one of {known}")
    if value is None and name == "accessory":
        return
    if not isinstance(value, str) or value not in FACTORS[name]:
        known = ", ".join(FACTORS[name])
        raise InputError(name, got=repr(value), expected=f"one of {known}")
