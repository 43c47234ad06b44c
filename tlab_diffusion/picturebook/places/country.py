"""Meadow, snow, beach, forest, desert and rain."""

from random import Random

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.places.setting import FRAME, Setting, cloud, ridge, scatter
from tlab_diffusion.picturebook.shapes import box, curve, oval, polygon, star


def draw_meadow(brush: Brush, rng: Random) -> Setting:
    """Green hills under a sunny sky, flowers in the grass."""
    x, y = rng.uniform(13, 27), rng.uniform(13, 20)
    sky = brush.fade(FRAME, "#86cdf5", "#eaf8ea", "sky") + brush.glow(x, y, 22, "#fff3b0", "sun")
    sky += brush.flat(oval(x, y, 7, 7), "#ffd95a")
    sky += cloud(brush, rng.uniform(60, 86), rng.uniform(12, 20), rng.uniform(0.9, 1.2))
    land = brush.shape(ridge(rng, 57, 6), "#b5deb0") + brush.shape(ridge(rng, 66, 5), "#9bd58a")
    land += brush.fade(ridge(rng, 75, 3), "#8fd167", "#5dac4c", "near")
    flowers = ""
    for i in range(9):
        fx, fy = 6 + 11 * i + rng.uniform(-3, 3), rng.uniform(90.5, 97)
        colour = ("#ffffff", "#ff9cc0", "#ffe06a")[i % 3]
        flowers += brush.flat(oval(fx, fy, 2.1, 2.1), colour)
        flowers += brush.flat(oval(fx, fy, 0.8, 0.8), "#f4a62a")
    return Setting(sky + land, flowers)


def _fir(brush: Brush, x: float, y: float, size: float, colour: str, tip: str) -> str:
    """A fir tree on (x, y), about 30 units high at size 1, with a tip of another colour."""
    svg = brush.flat(box(x - 1.6 * size, y - 5 * size, 3.2 * size, 6 * size), "#6b4a3a")
    for low, high, half in ((-4, -18, 10), (-12, -25, 8), (-20, -33, 6)):
        tier = [(x - half * size, y + low * size), (x, y + high * size)]
        svg += brush.shape(polygon([*tier, (x + half * size, y + low * size)]), colour)
    half, low = 3.4 * size, y - 25.5 * size
    snow = polygon([(x - half, low), (x, y - 33 * size), (x + half, low)])
    return svg + brush.flat(snow, tip)


def draw_snow(brush: Brush, rng: Random) -> Setting:
    """White slopes, firs with snowy tips, big falling flakes."""
    sky = brush.fade(FRAME, "#7fa8e0", "#d3e4fb", "sky")
    peaks = [(-5, 66), (12, 40), (26, 56), (rng.uniform(40, 60), 32), (76, 55), (90, 42), (105, 66)]
    land = brush.shape(polygon(peaks), "#b3c6e6")
    land += brush.shape(ridge(rng, 64, 3), "#dbe6f7")
    for x in (rng.uniform(5, 14), rng.uniform(86, 95)):
        land += _fir(brush, x, rng.uniform(72, 76), rng.uniform(0.9, 1.15), "#4f8b83", "#ffffff")
    land += brush.fade(ridge(rng, 74, 3), "#f6f9ff", "#c9d8f0", "near")
    flakes = "".join(oval(x, y, 1.7, 1.7) for x, y in scatter(rng, 14, 80))
    return Setting(sky + land + brush.flat(flakes, "#ffffff"))


def draw_beach(brush: Brush, rng: Random) -> Setting:
    """Sea and sand, a palm tree, a starfish."""
    x = rng.uniform(62, 84)
    sky = brush.fade(FRAME, "#6cc6f0", "#fdf3d4", "sky") + brush.glow(x, 20, 24, "#fff6c4", "sun")
    sky += brush.flat(oval(x, 20, 8, 8), "#ffe27a")
    shore = rng.uniform(68, 72)
    sea = brush.fade(box(-2, 52, 104, 30), "#2f9fd0", "#62d3d8", "sea")
    sea += brush.stroke("M8 58h14M70 57h16M40 61h12", "#bfeef2", 1.4)
    wave = f"M-3 {shore}Q14 {shore - 4} 30 {shore}T62 {shore}T103 {shore - 1}V103H-3Z"
    foam = f'<g transform="translate(0 -2.4)">{brush.flat(wave, "#f4fdff")}</g>'
    sand = brush.fade(wave, "#fbe3a6", "#e9bd76", "sand")
    px, top = rng.uniform(9, 15), rng.uniform(26, 32)
    palm = brush.stroke(curve((px - 4, 80), (px - 3, 55), (px + 3, top)), "#a9744a", 4.2)
    for dx, dy, lift in ((-16, 8, -7), (18, 7, -7), (-12, 17, 2), (13, 18, 2), (3, -9, -8)):
        leaf = [(px + 3, top), (px + 3 + dx * 0.6, top + dy * 0.3 + lift), (px + 3 + dx, top + dy)]
        under = (px + 3 + dx * 0.5, top + dy * 0.6 + lift * 0.1)
        palm += brush.flat(polygon([*leaf, under]), "#3f9d5c")
    shell = brush.flat(star(rng.uniform(78, 92), rng.uniform(87, 93), 4.6), "#f4815f")
    return Setting(sky + sea + foam + sand + palm + shell)


def draw_forest(brush: Brush, rng: Random) -> Setting:
    """Tall trunks in green light, a roof of leaves, ferns."""
    wood = brush.fade(FRAME, "#5f9a6a", "#cfe6a4", "sky")
    for x in (18, 38, 58, 80):
        x += rng.uniform(-4, 4)
        wood += brush.shape(box(x, -2, 5, 80), "#7fa87a")
    wood += brush.flat("M30 -2L58 -2L40 82L4 82Z", "#f8ffd2", 0.28)
    for x in (rng.uniform(-3, 4), rng.uniform(87, 93)):
        trunk = f"M{x} -2h11L{x + 12} 68q2 8 6 12h-24q4 -4 5 -12Z"
        wood += brush.shape(trunk, "#6d4c3d")
    crowns = [(4, 4, 17), (28, -1, 15), (52, 1, 14), (76, -2, 16), (98, 5, 17)]
    leaves = "".join(oval(x + rng.uniform(-4, 4), y, r, r * 0.75) for x, y, r in crowns)
    wood += brush.shape(leaves, "#3b7a4c")
    wood += brush.fade(ridge(rng, 76, 2), "#5f8d45", "#33603a", "near")
    ferns = ""
    for x in (rng.uniform(4, 14), rng.uniform(84, 96)):
        for dx in (-9, -4, 0, 4, 9):
            frond = curve((x, 99), (x + dx * 0.4, 90), (x + dx, 90 + abs(dx) * 0.4))
            ferns += brush.stroke(frond, "#7fbf5a", 2.4)
    return Setting(wood, ferns)


def draw_desert(brush: Brush, rng: Random) -> Setting:
    """Dunes and a table mountain under a huge sun; cacti."""
    x = rng.uniform(25, 75)
    sky = brush.fade(FRAME, "#f58f5a", "#ffe2a0", "sky") + brush.glow(x, 34, 30, "#fff0b8", "sun")
    sky += brush.flat(oval(x, 34, 13, 13), "#fff1bd")
    mesa = rng.choice((4, 66))
    rock = [(mesa - 4, 68), (mesa + 2, 46), (mesa + 24, 46), (mesa + 31, 68)]
    land = brush.shape(polygon(rock), "#c9694a") + brush.shape(ridge(rng, 66, 5), "#efb469")
    for cx, size in ((rng.uniform(7, 13), 1.1), (rng.uniform(88, 94), 0.9)):
        body = f"M{cx} 84V{84 - 34 * size:.1f}"
        arms = f"M{cx} {84 - 12 * size:.1f}h{-7 * size:.1f}v{-9 * size:.1f}"
        arms += f"M{cx} {84 - 17 * size:.1f}h{7 * size:.1f}v{-9 * size:.1f}"
        land += brush.stroke(body, "#4c8a56", 5.5 * size)
        land += brush.stroke(arms, "#4c8a56", 3.6 * size)
    land += brush.fade(ridge(rng, 77, 3), "#f6c87f", "#d9944f", "near")
    land += brush.stroke("M4 92q12 -4 24 0M64 95q14 -4 28 0", "#c98345", 1.2)
    return Setting(sky + land)


def draw_rain(brush: Brush, rng: Random) -> Setting:
    """Dark clouds, slanting rain, puddles with ripples."""
    sky = brush.fade(FRAME, "#66748c", "#b4bfc9", "sky")
    land = brush.shape(ridge(rng, 66, 3), "#8b9aa0")
    land += brush.fade(ridge(rng, 75, 2), "#7b8f86", "#55695f", "near")
    for x, y in ((rng.uniform(10, 24), 91), (rng.uniform(72, 88), 93)):
        land += brush.shape(oval(x, y, 15, 4), "#a9c4da")
        land += brush.stroke(oval(x, y, 7, 1.7), "#dcebf6", 1)
    clouds = ""
    for x, y, size in ((14, 8, 1.6), (84, 9, 1.6), (48, 4, 1.8)):
        colour = "#5d6a82" if x == 48 else "#4f5b72"
        clouds += cloud(brush, x + rng.uniform(-5, 5), y, size, colour)
    drops = "".join(f"M{x:.1f} {y:.1f}l-2.6 9" for x, y in scatter(rng, 22, 88))
    return Setting(sky + land + clouds + brush.stroke(drops, "#dfeefa", 1.2))
