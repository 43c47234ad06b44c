"""City, night, sea, moon, room and stage."""

from random import Random

from tlab_diffusion.picturebook.brush import Brush
from tlab_diffusion.picturebook.places.setting import FRAME, Setting, ridge, scatter
from tlab_diffusion.picturebook.shapes import blob, box, curve, oval, polygon


def draw_city(brush: Brush, rng: Random) -> Setting:
    """A skyline with lit windows, a pavement and a road."""
    sky = brush.fade(FRAME, "#dfa6d8", "#ffe8dc", "sky")
    far, near, lights = "", "", ""
    for i in range(6):
        far += box(i * 17 + rng.uniform(-3, 3), rng.uniform(18, 36), 15, 60)
    for i, x in enumerate((-4, 16, 33, 54, 68, 87)):
        top, wide = rng.uniform(24, 48) + (10 if i in (2, 3) else 0), rng.uniform(13, 18)
        near += box(x, top, wide, 56)
        for row in range(int(top) + 5, 68, 8):
            lights += box(x + 3, row, 2.8, 3.8) + box(x + wide - 6, row, 2.8, 3.8)
    town = (
        brush.shape(far, "#cfa5c6") + brush.shape(near, "#7d6699") + brush.flat(lights, "#ffe08a")
    )
    street = brush.shape(box(-2, 74, 104, 30), "#d3c5c6")
    street += brush.shape(box(-2, 89, 104, 14), "#6a6878")
    dash = rng.uniform(-8, 4)
    street += brush.flat("".join(box(dash + 22 * i, 94, 12, 2.4) for i in range(6)), "#fff3c9")
    return Setting(sky + town + street)


def draw_night(brush: Brush, rng: Random) -> Setting:
    """A great moon and stars over dark blue hills, a hut with a lit window."""
    x, y = rng.choice((rng.uniform(18, 28), rng.uniform(72, 82))), rng.uniform(20, 26)
    sky = brush.fade(FRAME, "#1d2560", "#6468b8", "sky") + brush.glow(x, y, 30, "#a5a8f0", "halo")
    sky += brush.shape(oval(x, y, 12, 12), "#fff2b5")
    sky += brush.flat(oval(x - 4, y - 2, 2.6, 2.6) + oval(x + 3, y + 4, 2, 2), "#ecd88a")
    stars = "".join(oval(sx, sy, 1.1, 1.1) for sx, sy in scatter(rng, 14, 54))
    land = brush.shape(ridge(rng, 63, 6), "#3d478f")
    hx = rng.uniform(8, 14) if x > 50 else rng.uniform(86, 92)
    land += brush.flat(polygon([(hx - 8, 62), (hx, 53), (hx + 8, 62)]), "#1b2257")
    land += brush.flat(box(hx - 6, 61, 12, 12), "#252c68") + brush.flat(
        box(hx - 2, 64, 4, 4), "#ffd66b"
    )
    land += brush.fade(ridge(rng, 74, 3), "#35508a", "#1f2f63", "near")
    return Setting(sky + brush.flat(stars, "#fffbe0") + land)


def draw_sea(brush: Brush, rng: Random) -> Setting:
    """Beams of light in deep water, seaweed, corals and bubbles."""
    water = brush.fade(FRAME, "#4fd0d8", "#14589c", "sky")
    beam = rng.uniform(10, 40)
    rays = f"M{beam} -2h12l-18 80h-22ZM{beam + 30} -2h10l-4 80h-22Z"
    water += brush.flat(rays, "#d8fff6", 0.22)
    water += brush.shape(ridge(rng, 76, 3), "#2c7f9e")
    for x, way in ((rng.uniform(6, 12), 1), (rng.uniform(17, 22), -1), (rng.uniform(86, 93), -1)):
        top = rng.uniform(38, 50)
        weed = curve((x, 90), (x + 9 * way, 76), (x - 9 * way, 62), (x + 2 * way, top))
        water += brush.stroke(weed, "#2f9c6a", 4.4)
    water += brush.fade(ridge(rng, 82, 2), "#e6d59a", "#b99f6e", "near")
    x = rng.uniform(76, 84)
    coral = f"M{x} 92V74M{x} 84l-6 -8M{x} 80l6 -9M{x} 88l7 -6"
    water += brush.stroke(coral, "#f2708a", 3.4)
    bubbles = ""
    for bx, by in scatter(rng, 9, 70):
        r = rng.uniform(1.6, 3.2)
        bubbles += oval(bx, by, r, r)
    return Setting(water + brush.stroke(bubbles, "#d6fbff", 1.1))


def draw_moon(brush: Brush, rng: Random) -> Setting:
    """Grey ground with craters under a black sky; the Earth and a ringed planet."""
    sky = brush.fade(FRAME, "#1d1636", "#5b4a8e", "sky")
    stars = "".join(oval(x, y, 1, 1) for x, y in scatter(rng, 17, 66))
    sky += brush.flat(stars, "#ffffff")
    left = rng.random() < 0.5
    x, y = (rng.uniform(14, 24) if left else rng.uniform(76, 86)), rng.uniform(17, 25)
    sky += brush.shape(oval(x, y, 11.5, 11.5), "#3f92e0")
    sky += brush.flat(blob([(x - 8, y - 5), (x, y - 8), (x + 2, y - 2), (x - 5, y + 2)]), "#63c27c")
    sky += brush.flat(blob([(x + 1, y + 2), (x + 8, y), (x + 6, y + 6), (x + 1, y + 8)]), "#63c27c")
    px, py = 100 - x, y + rng.uniform(2, 12)
    sky += brush.flat(oval(px, py, 4.5, 4.5), "#e8a86a")
    sky += brush.stroke(oval(px, py, 9, 2.4), "#f3d6a6", 1.3)
    ground = brush.fade(ridge(rng, 72, 4), "#d9d6df", "#97939f", "near")
    for nearest, cy, r in ((8, 83, 8), (80, 81, 7), (64, 94, 9)):
        cx = nearest + rng.uniform(0, 12)
        ground += brush.shape(oval(cx, cy, r, r * 0.36), "#8b8794")
    return Setting(sky + ground)


def draw_room(brush: Brush, rng: Random) -> Setting:
    """Wallpaper, a window, a picture, a lamp, a wooden floor and a rug."""
    wall = brush.flat(FRAME, "#f6dcb8")
    wall += brush.flat("".join(box(x, -2, 6, 80) for x in range(0, 100, 14)), "#f0cfa4")
    left = rng.random() < 0.5
    x = rng.uniform(6, 11) if left else rng.uniform(62, 67)
    wall += brush.shape(box(x - 2, 12, 31, 36, 2), "#ffffff")
    wall += brush.fade(box(x, 14, 27, 32, 1), "#8ed0f4", "#d6f2e4", "glass")
    wall += brush.flat(box(x + 12.4, 14, 2.2, 32) + box(x, 29, 27, 2.2), "#ffffff")
    px = 100 - x - rng.uniform(20, 24)
    wall += brush.shape(box(px, 14, 17, 15, 1), "#a66a3f")
    wall += brush.flat(box(px + 2, 16, 13, 11), "#fdf4df")
    wall += brush.flat(oval(px + 8.5, 22, 3.6, 3.6), "#e98a6d")
    floor = brush.shape(box(-2, 70, 104, 34), "#b97a4b")
    floor += brush.flat(box(-2, 68, 104, 3.4), "#fff1d8")
    floor += brush.stroke("M-2 79H102M-2 89H102M22 71V79M64 71V79M40 79V89M84 79V89", "#99602f", 1)
    lamp_x = 90 if left else 10
    lamp = brush.stroke(f"M{lamp_x} 80V48", "#7a4a34", 2.2)
    lamp += brush.shape(oval(lamp_x, 80, 6, 2), "#7a4a34")
    shade = [(lamp_x - 9, 52), (lamp_x - 5, 39), (lamp_x + 5, 39), (lamp_x + 9, 52)]
    lamp += brush.shape(polygon(shade), "#ffd884")
    rug = brush.shape(oval(50, 90, 40, 8), "#5c9c9a") + brush.flat(oval(50, 90, 32, 5.6), "#8cc6bb")
    return Setting(wall + floor + lamp + rug)


def draw_stage(brush: Brush, rng: Random) -> Setting:
    """Red curtains, a spotlight, boards, footlights."""
    back = brush.fade(FRAME, "#3b2148", "#6b3d6e", "sky")
    lean = rng.uniform(-10, 10)
    beam = [(50 + lean - 4, -2), (50 + lean + 4, -2), (88, 88), (12, 88)]
    back += brush.flat(polygon(beam), "#fff0b0", 0.38)
    boards = brush.fade(box(-2, 74, 104, 30), "#b9763f", "#8a5230", "near")
    boards += brush.stroke("M20 74L8 102M40 74L35 102M60 74L65 102M80 74L92 102", "#7a4526", 1.1)
    boards += brush.flat(oval(50, 87, 38, 8), "#ffe9a8", 0.5)
    wide = rng.uniform(14, 19)
    curtains = ""
    for s in (0, 1):
        edge = 100 * s + (1 - 2 * s) * wide
        out = 102 if s else -2
        drape = f"M{out} -2H{edge}Q{edge + (2 * s - 1) * 7} 40 {edge + (1 - 2 * s) * 2} 84H{out}Z"
        curtains += brush.shape(drape, "#b9283f")
        folds = [edge + (2 * s - 1) * k for k in (5, 11)]
        curtains += "".join(brush.stroke(f"M{x} 8V80", "#8a1a30", 1.8) for x in folds)
    swags = "".join(f"M{x} -2Q{x + 10} 18 {x + 20} -2Z" for x in range(0, 100, 20))
    curtains += brush.shape(swags, "#cf3a4c")
    lamps = brush.flat("".join(oval(x, 98, 4, 3) for x in range(10, 100, 20)), "#ffe28a")
    return Setting(back + boards + curtains, lamps)
