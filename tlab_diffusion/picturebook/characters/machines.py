"""Robot, car and rocket."""

from random import Random

from tlab_diffusion.picturebook.faces import Face
from tlab_diffusion.picturebook.look import Figure, Look
from tlab_diffusion.picturebook.palette import CREAM, INK
from tlab_diffusion.picturebook.shapes import blob, box, curve, mirrored, oval, path

STEEL, RUBBER, GLASS = "#aab4c4", "#3c3a47", "#bfe9f7"
LAMP, FLAME = "#ffdf6b", "#ff9d2e"


def draw_robot(look: Look, view: str, rng: Random) -> Figure:
    """A box on a box: screen for a face, one aerial, bolts for ears, claws."""
    w, h = rng.uniform(17, 23.5), rng.uniform(23, 31)
    body, corner, gap = rng.uniform(11.5, 18.5), rng.uniform(2, 11), rng.uniform(7, 8.8)
    aerial, hand = rng.uniform(5, 14), rng.uniform(-16, -7)
    brush, side = look.brush, view == "side"
    if side:
        w, body = w * 0.86, body * 0.8
    top = -26 - h
    svg = brush.limb(curve((0, top + 2), (0, top - aerial)), STEEL, 2.8)
    svg += brush.shape(oval(0, top - aerial, 3.4, 3.4), "#ff5d5d")
    for x in (-body * 0.5, body * 0.5):
        svg += brush.limb(curve((x, -8), (x, -3)), STEEL, 5.5)
        svg += brush.shape(box(x - 5.5 + side * 2, -5, 11, 5, 2.4), look.deep)
    trunk = brush.solid(box(-body, -29, 2 * body, 23, corner * 0.7), look.base, look.marks)
    arms = ""
    for s in (0,) if side else (-1, 1):
        x = s * body
        reach = x + s * 7 if s else 6
        arms += brush.limb(curve((x, -23), (reach, -21), (reach, hand)), STEEL, 5)
        arms += brush.shape(oval(reach, hand, 4.2, 4.2), look.deep)
    bolts = "" if side else brush.shape(box(-w - 3.5, top + h * 0.36, 7, 9, 2), STEEL)
    bolts += "" if side else brush.shape(box(w - 3.5, top + h * 0.36, 7, 9, 2), STEEL)
    head = brush.solid(box(-w, top, 2 * w, h, corner), look.base, look.marks)
    if view == "back":
        panel = brush.shape(box(-w * 0.45, top + h * 0.3, w * 0.9, h * 0.4, 2), look.deep)
        vents = [curve((-w * 0.25, top + h * k), (w * 0.25, top + h * k)) for k in (0.42, 0.56)]
        head += panel + "".join(brush.stroke(d, INK, 1.5) for d in vents)
    else:
        left = -w * 0.2 if side else -w * 0.82
        screen = box(
            left, top + h * 0.14, w * 0.98 - left if side else w * 1.64, h * 0.74, corner * 0.7
        )
        head += brush.shape(screen, look.light)
        head += brush.shape(oval(-w * 0.5, top + h * 0.5, 4, 4), STEEL) if side else ""
    svg += (arms + trunk if view == "back" else trunk + arms) + bolts + head
    face = Face(w * 0.3 if side else 0, top + h * 0.42, w / 21 * (1.16 if side else 1), gap, side)
    hand_at = (-body if side else body + 7, -18 if side else hand)
    return Figure(svg, face, (0, top + 1, w * 0.95), (0, -27, body * 2), hand_at, body * 2.6)


def draw_car(look: Look, view: str, rng: Random) -> Figure:
    """A little car: a smiling bonnet in front, round wheels, tail lamps behind."""
    long, roof = rng.uniform(27, 32), -rng.uniform(48, 58)
    wheel, gap = rng.uniform(6, 7.6), rng.uniform(7, 8.6)
    cabin, wide = rng.uniform(0.48, 0.66), rng.uniform(19.5, 25)
    if view == "side":
        return _car_side(look, long, roof, wheel, cabin, gap)
    brush = look.brush
    svg = ""
    for x in (-wide + 5, wide - 5):
        svg += brush.shape(box(x - 5, -12, 10, 12, 4), RUBBER)
    top = wide * (cabin + 0.24)
    cab = [(-wide + 1, -34), (-top, roof), (top, roof), (wide - 1, -34)]
    svg += brush.solid(_soft(cab), look.base, look.marks)
    pane = [(-wide + 6, -36), (-top + 3.5, roof + 4), (top - 3.5, roof + 4), (wide - 6, -36)]
    svg += brush.shape(_soft(pane), GLASS)
    svg += brush.solid(box(-wide - 1, -39, 2 * wide + 2, 34, 10), look.base, look.marks)
    lamp = "#f0342f" if view == "back" else LAMP
    for x in (-wide + 3.5, wide - 3.5):
        svg += brush.shape(oval(x, -22, 4, 4.4), lamp)
    if view == "back":
        svg += brush.shape(box(-8, -17, 16, 7, 1.5), CREAM)
        svg += brush.stroke(curve((-wide + 9, -26), (wide - 9, -26)), look.deep, 1.8)
        svg += brush.shape(oval(-wide * 0.5, -5, 3, 2), STEEL)
    else:
        svg += look.patch(0, -18.5, wide * 0.6, 11)
    face = Face(0, -21, 0.88, gap)
    return Figure(svg, face, (0, roof + 0.5, 18), (0, -6, wide * 1.9), (wide - 1, -26), wide * 2.2)


def _car_side(
    look: Look, long: float, roof: float, wheel: float, cabin: float, gap: float
) -> Figure:
    brush = look.brush
    cab = [(-long * 0.76, -26), (-long * cabin, roof), (long * 0.14, roof), (long * 0.4, -30)]
    svg = brush.solid(_soft(cab), look.base, look.marks)
    upper = [(-long * cabin + 2, roof + 4), (long * 0.09, roof + 4)]
    pane = [(-long * 0.62, -29), *upper, (long * 0.28, -29)]
    svg += brush.shape(_soft(pane), GLASS)
    svg += brush.stroke(curve((-long * 0.17, roof + 4), (-long * 0.17, -28)), look.deep, 2.4)
    bonnet = [(long * 0.5, -35), (long * 0.93, -31), (long + 1, -15), (long * 0.8, -6)]
    hull = [*bonnet, (-long * 0.8, -6), (-long - 1, -13), (-long, -25), (-long * 0.7, -32)]
    svg += brush.solid(blob(hull), look.base, look.marks)
    svg += look.patch(long * 0.6, -22.5, long * 0.36, 10.5)
    svg += brush.shape(oval(-long + 1, -20, 2.2, 3), "#f0342f")
    for x in (-long * 0.54, long * 0.46):
        svg += brush.shape(oval(x, -wheel + 1, wheel, wheel), RUBBER)
        svg += brush.flat(oval(x, -wheel + 1, wheel * 0.45, wheel * 0.45), STEEL)
    face = Face(long * 0.48, -25.5, 1.02, gap, True)
    neck = (long * 0.05, -9, long * 1.2)
    return Figure(svg, face, (-long * 0.15, roof + 0.5, 17), neck, (-long * 0.8, -26), long * 2.1)


def draw_rocket(look: Look, view: str, rng: Random) -> Figure:
    """Fins, a pointed nose, a face in the porthole and a flame below."""
    w, tip = rng.uniform(14.5, 20), -rng.uniform(61, 70)
    fin, gap, flame = rng.uniform(6, 15), rng.uniform(6.8, 8.2), rng.uniform(0.8, 1.2)
    brush, side = look.brush, view == "side"
    fire = blob([(-7, -9), (0, -11), (7, -9), (3.4, -4), (0, 0.5 * flame), (-3.4, -4)])
    svg = brush.shape(fire, FLAME) + brush.flat(oval(0, -6.5, 3, 3.4), LAMP)
    blade = [(w * 0.7, -30), (w + fin * 0.8, -18), (w + fin, -4), (w * 0.6, -11)]
    for s in (-1, 1):
        svg += brush.shape(blob([(s * x, y) for x, y in blade]), look.deep)
    half = [(0, tip), (w * 0.62, tip + 15), (w, -34), (w * 0.74, -11)]
    svg += brush.solid(blob(mirrored(half)), look.base, look.marks)
    rise = ("M", -w * 0.64, tip + 16, "Q", -w * 0.3, tip + 2, 0, tip - 1)
    fall = ("Q", w * 0.3, tip + 2, w * 0.64, tip + 16, "Q", 0, tip + 21, -w * 0.64, tip + 16)
    svg += brush.solid(path(*rise, *fall, "Z"), look.deep, look.marks)
    y = tip + 31
    svg += _porthole(look, view, w, y)
    face = Face(w * 0.2 if side else 0, y - 2.5, 1 if side else w / 20.5, gap, side)
    hand = ((-1 if side else 1) * (w + fin * 0.4), -20)
    return Figure(svg, face, (0, tip + 7, 17), (0, -15, w * 1.75), hand, w * 2)


def _porthole(look: Look, view: str, w: float, y: float) -> str:
    """What tells the sides of a rocket apart: the porthole, a fin, or the hatch behind."""
    brush = look.brush
    if view == "front":
        rim = brush.shape(oval(0, y, w * 0.9, 13), STEEL)
        return rim + brush.flat(oval(0, y, w * 0.76, 11), look.light)
    if view == "side":
        fin = blob([(-5, -28), (-1, -24), (0, -4), (-8, -4)])
        glass = brush.shape(oval(w * 0.36, y, w * 0.54, 12.5), look.light)
        return glass + brush.shape(fin, look.deep)
    hatch = brush.shape(box(-7, y - 8, 14, 20, 3), look.deep)
    knob = brush.shape(oval(4, y + 3, 1.3, 1.3), STEEL)
    return hatch + knob + brush.shape(blob([(-2.4, -28), (2.4, -28), (3, -3), (-3, -3)]), look.deep)


def _soft(corners: list[tuple[float, float]]) -> str:
    """A four-sided shape, wide at the foot, whose upper corners are rounded."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    left = ("M", ax, ay, "L", bx - 1, by + 5, "Q", bx, by, bx + 5, by)
    return path(*left, "L", cx - 5, cy, "Q", cx, cy, cx + 1, cy + 5, "L", dx, dy, "Z")
