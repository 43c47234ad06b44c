"""The colours of the world, and how to mix them: one palette for everything that is drawn."""

from functools import lru_cache

# What each colour word means. Saturated, so that characters stand out from the softer places.
PAINTS = {
    "red": "#e2403f",
    "orange": "#f78a2b",
    "yellow": "#fbd23c",
    "green": "#4dab4b",
    "turquoise": "#2cc6bd",
    "blue": "#3b74de",
    "purple": "#8d57cf",
    "pink": "#f78fbd",
    "brown": "#8e5a37",
    "black": "#35333f",
    "white": "#f7f4ee",
}
# Stripes and checks: darker than the body where that shows, else lighter.
MARKS = {
    "red": "#7d1730",
    "orange": "#b04a17",
    "yellow": "#b8720f",
    "green": "#1f6a3c",
    "turquoise": "#0f7f88",
    "blue": "#9cc4ff",
    "purple": "#cfa6f5",
    "pink": "#cc4486",
    "brown": "#d8ab7c",
    "black": "#a3a0ae",
    "white": "#8f9bb3",
}
# Spots are cream, as on a toadstool, but where that would not show. That they differ from the
# checks in tone too makes both legible on the smallest body.
SPOTS = dict.fromkeys(PAINTS, "#fff6e0") | {"yellow": "#8f5a14", "white": "#5f667c"}
INK = "#2b2438"  # the darkest tone: eyes, mouths, the start of every outline
CREAM = "#fffaf0"  # the lightest tone: paper, faces, highlights
GOLD, RED, PINK, SKY = "#ffcb2e", "#e0383f", "#ff6fa5", "#4f9be8"  # accents


@lru_cache(maxsize=65536)
def mix(first: str, second: str, amount: float) -> str:
    """Mixes two hex colours: amount 0 is `first`, 1 is `second`."""
    channels = []
    for i in (1, 3, 5):
        a, b = int(first[i : i + 2], 16), int(second[i : i + 2], 16)
        channels.append(round(a + (b - a) * amount))
    return "#" + "".join(f"{channel:02x}" for channel in channels)


@lru_cache(maxsize=4096)
def lightness(colour: str) -> float:
    """How light a hex colour looks, from 0 (black) to 1 (white)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
