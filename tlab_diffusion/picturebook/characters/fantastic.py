"""Ghost and dragon."""

from random import Random

from tlab_diffusion.picturebook.characters.rig import Build, Part, draw_furry, furry_build
from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import INK, mix
from tlab_diffusion.picturebook.shapes import blob, curve, oval, polygon

HORN = "#fff0c9"


def draw_ghost(look: Look, view: str, rng: Random) -> Figure:
    """A floating sheet with a wavy hem and stubby arms."""
    w, top = rng.uniform(17, 24), -rng.uniform(52, 63)
    gap, wave, arm = rng.uniform(7, 9.2), rng.uniform(2, 7), rng.uniform(-34, -20)
    brush = look.brush
    lean = -6 if view == "side" else 0
    hem = [(w * 1.06 * (1 - 0.4 * i) + lean * 1.6, -5 - (wave if i % 2 else 0)) for i in range(6)]
    head = [(-w + lean * 0.5, -26), (-w * 0.9, -42), (-w * 0.45, top + 3), (w * 0.15, top)]
    head += [(w * 0.7, top + 5), (w, -38), (w + lean * 0.4, -24)]
    body = blob(hem + head)
    if view == "side":
        svg = brush.solid(body, look.base, look.marks)
        svg += look.patch(w * 0.42, -40, w * 0.5, 13)
        svg += brush.limb(curve((w * 0.2, -21), (w * 0.9, -22), (w + 4, arm)), look.base, 8)
        face = Face(w * 0.22, -42, 1.1, gap, True)
        return Figure(
            svg, face, (-1, top + 1.5, w * 0.85), (-2, -24, w * 1.9), (-w - 2, -20), w * 1.7
        )
    arms = "".join(
        brush.limb(curve((s * w * 0.85, -24), (s * (w + 4), -22), (s * (w + 5), arm)), look.base, 8)
        for s in (-1, 1)
    )
    svg = brush.solid(body, look.base, look.marks)
    if view == "front":
        svg += look.patch(0, -40, w * 0.8, 13.5)
    svg = arms + svg if view == "back" else svg + arms
    face = Face(0, -42, 1.12, gap)
    return Figure(svg, face, (0, top + 1.5, w * 0.85), (0, -25, w * 1.95), (w + 5, arm), w * 1.9)


def draw_dragon(look: Look, view: str, rng: Random) -> Figure:
    """Horns, spikes, a pair of wings and a tail with a point."""
    build = furry_build(rng, head=(18, 23.5), body=(14, 20), snout=9)
    horns = _horns(rng.uniform(9, 17), rng.uniform(0, 9))
    tail = _wings_and_tail(rng.uniform(0.75, 1.2), rng.uniform(12, 20))
    return draw_furry(look, view, build, horns, tail, _nostrils)


def _horns(length: float, lean: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        (half, tall), brush = build.head, look.brush
        y, x0 = build.middle - tall * 0.62, 2 if view == "side" else 0
        spikes = [(-5, y - 3), (0, y - 15), (5, y - 3)]
        if view == "side":
            spikes = [(-half * 0.9, y + 8), (-half * 1.05, y - 5), (-half * 0.5, y - 3),
                      (-half * 0.4, y - 13), (0, y - 4)]  # fmt: skip
        svg = brush.shape(polygon(spikes), look.deep)
        for side in (0.3, -0.45) if view == "side" else (-0.72, 0.72):
            x = x0 + side * half
            way = -1 if view == "side" or side < 0 else 1
            horn = [(x - 4, y + 2), (x + way * lean, y - length), (x + 4, y + 2)]
            svg += brush.shape(polygon(horn), HORN)
        return svg

    return draw


def _wings_and_tail(span: float, reach: float) -> Part:
    def draw(look: Look, view: str, build: Build) -> str:
        brush, w = look.brush, build.body
        back = 1 if view == "back" else -1
        start = 0 if view == "back" else -w + 5
        tip = (start + back * (reach + 3), -13)
        line = curve(
            (start, -6), (start + back * reach * 0.7, -2), (start + back * (reach + 1), -3), tip
        )
        end = [(tip[0] - 6, tip[1] + 1), (tip[0] + 1, tip[1] - 10), (tip[0] + 6, tip[1] + 1)]
        tail = brush.limb(line, look.base, 7.5) + brush.shape(polygon(end), look.deep)
        wings = ""
        for s in (-1,) if view == "side" else (-1, 1):
            x = s * w * 0.5
            wing = [(x, -26), (s * (w + 15 * span), -44), (s * (w + 14 * span), -28),
                    (s * (w + 8 * span), -29), (s * (w + 6 * span), -20), (x, -14)]  # fmt: skip
            wings += brush.shape(polygon(wing), mix(look.base, HORN, 0.5))
        return wings + tail

    return draw


def _nostrils(look: Look, view: str, build: Build) -> str:
    y = build.middle + 3.6
    if view == "side":
        x = build.head[0] * 0.98 + build.snout - 3.5
        return look.brush.flat(oval(x, y + 1.5, 1.3, 1.6), INK)
    return "".join(look.brush.flat(oval(x, y, 1, 1.3), INK) for x in (-2.4, 2.4))
