"""Cat, dog, rabbit and bear: one build, told apart by ears, noses and tails."""

from random import Random

from tlab_diffusion.picturebook.characters.rig import (
    Build,
    Part,
    button_nose,
    draw_furry,
    furry_build,
)
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import INK
from tlab_diffusion.picturebook.shapes import blob, curve, oval, path

INNER_EAR = "#f6a5b0"


def draw_cat(look: Look, view: str, rng: Random) -> Figure:
    """Pointed ears, whiskers, a long curling tail."""
    build = furry_build(rng, head=(18.5, 24.5), body=(12, 18.5))
    ears = _pointed_ears(height=rng.uniform(9, 17), spread=rng.uniform(0.56, 0.78))
    tail = _curled_tail(reach=rng.uniform(9, 16), lift=rng.uniform(22, 40))
    return draw_furry(look, view, build, ears, tail, _whiskers)


def draw_dog(look: Look, view: str, rng: Random) -> Figure:
    """Hanging ears, a long snout with a big black nose, a wagging tail."""
    build = furry_build(rng, head=(17, 22), body=(12.5, 19), snout=9, floppy=True)
    ears = _hanging_ears(length=rng.uniform(15, 30), width=rng.uniform(5.5, 9.5))
    tail = _wagging_tail(reach=rng.uniform(10, 15), lift=rng.uniform(16, 26))
    return draw_furry(look, view, build, ears, tail, button_nose(INK, 4))


def draw_rabbit(look: Look, view: str, rng: Random) -> Figure:
    """Long upright ears, a short nose, a puff for a tail."""
    build = furry_build(rng, head=(16, 21), body=(12, 18), snout=3)
    ears = _long_ears(rng.uniform(19, 27), rng.uniform(4.2, 6.6), rng.uniform(0, 9))
    puff = rng.uniform(5.5, 7.5)
    return draw_furry(look, view, build, ears, _puff_tail(puff), button_nose("#ef7f92", 2.1))


def draw_bear(look: Look, view: str, rng: Random) -> Figure:
    """Round ears, a heavy body, a stump of a tail."""
    build = furry_build(rng, head=(20, 25), body=(18, 24), snout=7)
    ears = _round_ears(rng.uniform(5.8, 10.5))
    tail = _puff_tail(rng.uniform(3.5, 4.5))
    return draw_furry(look, view, build, ears, tail, button_nose(INK, 3.2))


def _ear_sides(view: str) -> list[tuple[float, float]]:
    """Where the two ears stand (-1 to 1 across the head) and which way they lean."""
    return [(0.35, 0.6), (-0.5, -0.7)] if view == "side" else [(-1, -1), (1, 1)]


def _pointed_ears(height: float, spread: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        (width, tall), y = build.head, build.middle
        parts = []
        for side, lean in _ear_sides(view):
            x = side * width * spread + (3 if view == "side" else 0)
            foot, tip = y - tall * 0.35, (x + lean * 5.5, y - tall * 0.72 - height)
            rise = ("M", x - 8.5, foot, "Q", x - 5 + lean, tip[1] + 5, *tip)
            ear = path(*rise, "Q", x + 7 + lean, tip[1] + 7, x + 8.5, foot, "Z")
            parts.append(look.brush.shape(ear, look.base))
            if view != "back":
                inner = [(x - 3, foot), (tip[0] - lean * 0.6, tip[1] + 5), (x + 4.5, foot)]
                parts.append(look.brush.flat(blob(inner), INNER_EAR))
        return "".join(parts)

    return draw


def _hanging_ears(length: float, width: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        top = build.middle - build.head[1] * 0.78
        if view == "side":
            front = [(-3, top), (1.5, top + 6), (2, top + length)]
            back = [(-5, top + length + 3), (-11, top + length * 0.6), (-9, top + 3)]
            return look.brush.shape(blob(front + back), look.deep)
        x = build.head[0] * 0.72
        outer = [(x - 3, top), (x + 5, top + 1), (x + width + 3, top + length * 0.7)]
        ear = [*outer, (x + width * 0.8, top + length + 2), (x + 1, top + length * 0.75)]
        return "".join(
            look.brush.shape(blob([(s * px, py) for px, py in ear]), look.deep) for s in (-1, 1)
        )

    return draw


def _long_ears(length: float, width: float, lean: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        (half, tall), y = build.head, build.middle
        foot = y - tall * 0.72
        parts = []
        for side, way in _ear_sides(view):
            x = side * half * 0.45 + (1 if view == "side" else 0)
            tip = x + way * lean + (-4 if view == "side" else 0)
            for size, colour in ((1, look.base), (0.55, INNER_EAR)):
                if size < 1 and view == "back":
                    continue
                w, top = width * size, foot - length * (0.5 + size / 2)
                rise = [(x - w * 0.7, foot), (tip - w, top + 8), (tip, top)]
                ear = blob([*rise, (tip + w, top + 8), (x + w * 0.7, foot)])
                draw_ear = look.brush.shape if size == 1 else look.brush.flat
                parts.append(draw_ear(ear, colour))
        return "".join(parts)

    return draw


def _round_ears(radius: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        half, y = build.head[0], build.middle - build.head[1] * 0.74
        parts = []
        for side, _ in _ear_sides(view):
            x = side * half * 0.76 + (2 if view == "side" else 0)
            parts.append(look.brush.shape(oval(x, y, radius, radius), look.base))
            if view != "back":
                parts.append(look.brush.flat(oval(x, y, radius * 0.55, radius * 0.55), look.deep))
        return "".join(parts)

    return draw


def _curled_tail(reach: float, lift: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        if view == "back":
            line = curve((0, -5), (3, -14), (reach + 8, -8), (reach + 2, -lift * 0.7))
        else:
            x = build.body - 3
            bend, end = (-x - reach, -lift * 0.8), (-x - 3, -lift)
            line = curve((-x, -5), (-x - reach * 1.5, -4), bend, end)
        return look.brush.limb(line, look.deep if view == "back" else look.base, 6.5)

    return draw


def _wagging_tail(reach: float, lift: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        x = 0 if view == "back" else -build.body + 3
        way = 1 if view == "back" else -1
        line = curve((x, -7), (x + way * reach, -8), (x + way * (reach + 2), -lift))
        return look.brush.limb(line, look.deep if view == "back" else look.base, 6)

    return draw


def _puff_tail(radius: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        if view == "front":
            return ""
        x = 0 if view == "back" else -build.body - 1
        return look.brush.solid(oval(x, -8, radius, radius), look.light)

    return draw


def _whiskers(look: Look, view: str, build: Build) -> str:
    nose = button_nose("#ef7f92", 2.2)(look, view, build)
    y = build.middle + 7
    hairs = ""
    for s in (-1, 1) if view == "front" else (1,):
        x = s * build.head[0] * (0.78 if view == "front" else 0.6)
        for drop in (-1.5, 2.5):
            hairs += curve((x, y + drop * 0.6), (x + s * 10, y + drop * 1.8))
    return nose + look.brush.stroke(hairs, INK, 0.9)
