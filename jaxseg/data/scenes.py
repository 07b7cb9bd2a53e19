"""A drawn scene: things on a desk as a camera sees them, with the visible mask of each."""

import colorsys
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFilter

FOREGROUND, DISTRACTORS = ("laptop", "tv", "cell phone"), ("book", "microwave")

Random = np.random.Generator
Colour = tuple[int, ...]
Box = tuple[float | int, ...]  # left, top, right, bottom
Range = tuple[float | int, float | int]
Point = Float[np.ndarray, "3"]  # x right, y away, z up; a unit is about a decimetre


class Instance(NamedTuple):
    """An annotated thing, or a crowd of them. What lies on a thing belongs to its mask too, as in COCO."""

    name: str
    mask: Bool[np.ndarray, "height width"]
    crowd: bool


class Face(NamedTuple):
    """A parallelogram in space, its top left corner and two sides, with a texture over it."""

    corner: Point
    across: Point
    down: Point
    texture: Image.Image
    glows: bool = False


class Thing(NamedTuple):
    """A solid, its foot centred on the origin and its front towards -y."""

    faces: list[Face]
    radius: float
    top: float = 0.0  # height at which something can lie on it, 0 for nowhere


def cross(one: Point, other: Point) -> Point:
    """The vector product; np.cross takes ten times as long."""
    return one[[1, 2, 0]] * other[[2, 0, 1]] - one[[2, 0, 1]] * other[[1, 2, 0]]


def tint(rng: Random, hue: Range, saturation: Range, value: Range) -> Colour:
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))
    return tuple(round(255 * c) for c in rgb)


def shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, round(c * factor)) for c in colour)


class Pen:
    """Draws a texture, in fractions of its width and height. Transparent outside its rounded corners."""

    def __init__(self, width: int, height: int, colour: Colour, radius: float = 0.0) -> None:
        self.image = Image.new("RGBa", (width, height))  # premultiplied: it scales without fringes
        self.draw = ImageDraw.Draw(self.image)
        self.box((0, 0, 1, 1), colour, radius)

    def box(self, box: Box, fill: Colour | Image.Image, radius: float = 0.0) -> None:
        width, height = self.image.size
        x0, y0, x1, y1 = (round(f * (width, height)[k % 2]) for k, f in enumerate(box))
        x1, y1 = max(x0 + 1, x1), max(y0 + 1, y1)
        if isinstance(fill, Image.Image):
            self.image.paste(fill.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR), (x0, y0))
        else:
            self.draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius * width, fill)

    def grid(
        self, box: Box, rows: int, columns: int, fills: list[Colour], rng: Random, gap: float = 0.2, ragged: float = 0.0
    ) -> None:
        """Rows of boxes: keys, icons, buttons; in one column, with ragged ends, lines of text."""
        left, top, right, bottom = box
        wide, high = (right - left) / columns, (bottom - top) / rows
        inset = gap * min(wide, high * self.image.height / self.image.width) if columns > 1 else 0.0
        for k in range(rows * columns):
            x, y = left + k % columns * wide, top + k // columns * high
            end = x + wide * (1 - ragged * rng.random()) - inset
            self.box((x, y, end, y + high * (1 - gap)), fills[rng.integers(len(fills))])


def view(rng: Random) -> Image.Image:
    """A landscape: what pictures and screens show."""
    hue, x = rng.uniform(), np.arange(0, 193, 6)
    sky = [[tint(rng, (hue, hue + 0.15), (0.1, 0.65), (0.5, 1.0)) for _ in range(3)] for _ in range(3)]
    picture = Image.fromarray(np.array(sky, np.uint8)).resize((192, 128), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for ridge in range(rng.integers(0, 4)):
        y = 50 + 24 * ridge + 14 * np.sin(x / rng.uniform(16, 60) + rng.uniform(0, 6)) + rng.uniform(-4, 4, len(x))
        ground = tint(rng, (0.05, 0.65), (0.2, 0.7), (0.6 - 0.17 * ridge, 0.75 - 0.17 * ridge))
        draw.polygon([*zip(x.tolist(), y.tolist(), strict=True), (192, 128), (0, 128)], ground)
    return picture


def screen(rng: Random, width: int, height: int) -> Image.Image:
    """What a screen shows: windows, code, a film, a page, or nothing."""
    kind = rng.choice(["windows", "code", "film", "page", "off"], p=[0.35, 0.15, 0.25, 0.1, 0.15])
    dark, paper, grey = tint(rng, (0.5, 0.8), (0.1, 0.4), (0.05, 0.16)), (244, 245, 247), [(140, 142, 150)]
    vivid = [tint(rng, (0, 1), (0.3, 0.8), (0.6, 1.0)) for _ in range(5)]
    pen = Pen(width, height, paper if kind == "page" else dark)
    if kind == "windows":
        pen.box((0, 0, 1, 0.94), view(rng))
        pen.grid((0.3, 0.955, 0.7, 0.99), 1, 9, vivid, rng, 0.4)
        for _ in range(rng.integers(0, 4)):
            x, y, wide, high = rng.uniform((0.02, 0.03, 0.25, 0.3), (0.5, 0.4, 0.46, 0.5))
            pen.box((x, y, x + wide, y + high), paper, 0.01)
            pen.box((x, y, x + wide, y + 0.05), (200, 204, 212), 0.01)
            pen.grid((x + 0.02, y + 0.1, x + wide - 0.02, y + high), 7, 1, grey, rng, 0.5, 0.6)
    elif kind == "code":
        pen.grid((0.02, 0.06, 0.14, 0.7), 12, 1, grey, rng, 0.6, 0.7)
        pen.grid((0.2, 0.05, 0.9, 0.97), 22, 1, vivid, rng, 0.5, 0.95)
    elif kind == "film":
        pen.box((0, 0.08, 1, 0.92), view(rng))
    elif kind == "page":
        pen.box((0, 0, 1, 0.1), vivid[0])
        pen.box((0.07, 0.18, 0.55, 0.62), view(rng))
        pen.grid((0.6, 0.18, 0.94, 0.62), 8, 1, grey, rng, 0.5, 0.5)
        pen.grid((0.07, 0.68, 0.94, 0.97), 6, 1, grey, rng, 0.5, 0.3)
    if kind == "off" or rng.random() < 0.3:  # a window reflected
        x, wide = rng.uniform((-0.2, 0.2), (0.7, 0.5)) * width
        glare = Image.new("L", (width, height))
        ImageDraw.Draw(glare).polygon([(x + 80, 0), (x + 80 + wide, 0), (x + wide, height), (x, height)], 35)
        pen.image.paste((255, 255, 255), mask=glare)
    return pen.image


# The grain's rows, columns and strength; the joints' rows and columns and how uneven they are; hue, saturation, value.
SURFACES = {
    "planks": (120, 4, 0.5, 6, 1, 0.2, (0.05, 0.1), (0.3, 0.65), (0.35, 0.85)),
    "table": (100, 3, 0.45, 1, 1, 0.0, (0.04, 0.11), (0.15, 0.6), (0.3, 0.9)),
    "plaster": (5, 5, 0.15, 1, 1, 0.0, (0.03, 0.65), (0.0, 0.2), (0.45, 0.95)),
    "paint": (5, 5, 0.1, 1, 1, 0.0, (0.05, 0.7), (0.1, 0.5), (0.4, 0.9)),
    "stone": (9, 9, 0.35, 1, 1, 0.0, (0.0, 1.0), (0.0, 0.12), (0.25, 0.9)),
    "cloth": (160, 160, 0.3, 1, 1, 0.0, (0.0, 1.0), (0.1, 0.5), (0.25, 0.8)),
    "bricks": (30, 30, 0.25, 14, 5, 0.25, (0.0, 0.07), (0.2, 0.6), (0.4, 0.8)),
    "tiles": (4, 4, 0.1, 10, 10, 0.08, (0.05, 0.6), (0.0, 0.2), (0.6, 0.95)),
    "stripes": (4, 4, 0.08, 1, 12, 0.2, (0.0, 1.0), (0.05, 0.25), (0.5, 0.9)),
}


def surface(rng: Random, kinds: tuple[str, ...], side: int = 400) -> Image.Image:
    """A desk or a wall, the texture mirrored in both directions so that it covers more."""
    grain, run, strength, rows, columns, uneven, *hsv = SURFACES[kinds[rng.integers(len(kinds))]]
    value = 1 + uneven * (rng.random((rows, columns), np.float32) - 0.5)
    value = np.array(Image.fromarray(value).resize((side, side), Image.Resampling.NEAREST))
    noise = np.zeros((side, side), np.uint16)
    for octave in range(3):
        fine = Image.fromarray(rng.integers(0, 256, (grain << octave, run << octave), np.uint8))
        noise += np.asarray(fine.resize((side, side), Image.Resampling.BICUBIC)) // np.uint8(1 << octave)
    value *= 1 + np.float32(strength) * (noise / np.float32(256) - np.float32(0.875))
    if rows > 1:  # joints
        value[np.arange(side) * rows % side < 2.5 * rows] *= 0.7
        for row in range(rows if columns > 1 else 0):  # those of bricks, more rows than columns, are staggered
            x = (np.arange(side) / side * columns + (0.5 if row % 2 and rows > 2 * columns else 0)) % 1
            value[side * row // rows : side * (row + 1) // rows, x < 2.5 * columns / side] *= 0.7
    shades = np.outer(np.arange(256) / 128, (*tint(rng, *hsv), 255)).clip(0, 255).astype(np.uint8)
    shades[:, 3] = 255
    pixels = shades.view(np.uint32)[:, 0][np.clip(value * 128, 0, 255).astype(np.uint8)]
    pixels = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    pixels = np.concatenate([pixels, pixels[::-1]])
    return Image.frombytes("RGBa", (2 * side, 2 * side), pixels.tobytes())


def block(size: list[float], lift: float, front: Image.Image, side: Image.Image, glows: bool = False) -> list[Face]:
    """A block `lift` above the ground, its front towards -y."""
    x, y, z = np.diag(size)
    low = -(x + y) / 2 + (0, 0, lift)
    sides = [(low + y + z, -y, -z), (low + x + z, y, -z), (low + x + y + z, -x, -z), (low + y + z, x, -y)]
    return [Face(low + z, x, -z, front, glows), *(Face(*s, side) for s in sides)]


def slab(corner: Point, wide: float, down: Point, thick: float, layers: list[Image.Image]) -> list[Face]:
    """A thin body of any outline: its layers, the back first, the front `thick` above the corner."""
    across = np.array((wide, 0.0, 0.0))
    up = cross(down, across)
    up *= thick / np.linalg.norm(up) / max(len(layers) - 1, 1)
    return [Face(corner + up * k, across, down, layer) for k, layer in enumerate(layers)]


def flat(wide: float, high: float, thick: float, layers: list[Image.Image]) -> list[Face]:
    """A slab lying on the ground."""
    return slab(np.array((-wide / 2, high / 2, 0.02)), wide, np.array((0.0, -high, 0.0)), thick, layers)


def case(corner: Point, wide: float, down: Point, thick: float, layers: list[Image.Image]) -> list[Face]:
    """A slab with walls, which can be seen from any side; its front glows."""
    *faces, front = slab(corner, wide, down, thick, layers)
    across, up, wall = front.across, front.corner - corner, layers[-2].crop((30, 30, 40, 40))
    for side in (corner, corner + across):
        faces.append(Face(side + 0.07 * down, up, 0.86 * down, wall))
    for side in (corner, corner + down):
        faces.append(Face(side + 0.14 * across, 0.72 * across, up, wall))
    return [*faces, front._replace(glows=True)]


def pose(faces: list[Face], turn: float, place: list[float]) -> list[Face]:
    """The faces turned about the vertical axis, then moved."""
    spin = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    return [f._replace(corner=spin @ f.corner + place, across=spin @ f.across, down=spin @ f.down) for f in faces]


def tv(rng: Random) -> Thing:
    old = rng.random() < 0.2
    wide, deep, foot = (rng.uniform(3.5, 5), 2.5, 0.0) if old else (rng.uniform(4.5, 8), 0.35, rng.uniform(0.3, 0.8))
    high, edge = (0.8 * wide, 0.09) if old else (0.59 * wide, 0.03)
    body = tint(rng, (0, 1), (0, 0.15), (0.05, 0.25) if rng.random() < 0.75 else (0.5, 0.7))
    pen, side = Pen(320, round(320 * high / wide), body), Pen(8, 8, body).image
    pen.box((edge, edge, 1 - edge, 1 - 1.7 * edge), screen(rng, 300, 180))
    faces = block([wide, deep, high], foot, pen.image, side, True)
    if foot:
        faces += block([0.5, 0.3, foot + 0.1], 0.0, side, side) + block([0.4 * wide, 1.4, 0.1], 0.0, side, side)
    return Thing(faces, wide * (0.7 if old else 0.5))


def laptop(rng: Random) -> Thing:
    wide, deep, lean = 3.4, 2.35, rng.uniform(0.0, 0.6)
    body = tint(rng, (0, 1), (0, 0.12), (0.55, 0.85) if rng.random() < 0.55 else (0.1, 0.3))
    key = tint(rng, (0, 1), (0, 0.1), (0.05, 0.15) if rng.random() < 0.6 else (0.35, 0.5))
    deck, lid, back = (Pen(340, 235, colour, 0.03) for colour in (body, (16, 16, 18), body))
    edge = Pen(170, 118, shade(body, 0.7), 0.03)
    deck.grid((0.06, 0.07, 0.95, 0.56), 5, 14, [key], rng)
    deck.box((0.26, 0.47, 0.68, 0.54), key)
    deck.box((0.33, 0.63, 0.67, 0.94), shade(body, 0.9), 0.02)
    lid.box((0.035, 0.05, 0.965, 0.92), screen(rng, 320, 205))
    back.box((0.46, 0.43, 0.54, 0.55), shade(body, 1.4), 0.04)
    rise = np.array((0, math.sin(lean), math.cos(lean))) * 0.96 * deep
    hinge = np.array((-wide / 2, deep / 2, 0.06))
    faces = flat(wide, deep, 0.14, [edge.image] * 3 + [deck.image])
    faces += case(hinge + rise, wide, -rise, 0.08, [back.image, edge.image, lid.image])
    return Thing(faces, 2.0, 0.16)


def phone(rng: Random, lying: bool = False) -> Thing:
    body = tint(rng, (0, 1), *(((0, 0.2), (0.07, 0.3)) if rng.random() < 0.5 else ((0.1, 0.7), (0.4, 0.95))))
    front, edge = Pen(150, 310, body, 0.13), Pen(75, 155, shade(body, 0.7), 0.13)
    if rng.random() < 0.15:  # face down
        front.box((0.06, 0.03, 0.42, 0.2), shade(body, 0.8), 0.08)
        front.grid((0.12, 0.05, 0.4, 0.19), 2, 2, [(20, 20, 24)], rng, 0.4)
    else:
        front.box((0.03, 0.015, 0.97, 0.985), (12, 12, 14), 0.11)
        colours, kind = [tint(rng, (0, 1), (0.2, 0.9), (0.6, 1.0)) for _ in range(6)], rng.integers(4)
        if kind < 3:
            front.box((0.06, 0.06, 0.94, 0.94), view(rng))
        else:
            front.draw.polygon([(9, 150), (100, 19), (141, 19), (9, 230)], (44, 46, 52))  # a reflection
        if kind == 0:
            front.box((0.06, 0.2, 0.94, 0.94), (240, 241, 244))
            colours = [colours[0], (215, 217, 222)]
            front.grid((0.12, 0.25, 0.88, 0.92), int(rng.integers(5, 10)), 1, colours, rng, 0.35, 0.6)
        elif kind == 1:
            front.grid((0.13, 0.12, 0.95, rng.uniform(0.3, 0.7)), int(rng.integers(3, 6)), 4, colours, rng, 0.4)
            front.grid((0.13, 0.84, 0.95, 0.93), 1, 4, colours, rng, 0.4)
    lean = 0.0 if lying or rng.random() < 0.7 else rng.uniform(0.9, 1.3)
    rise = 1.55 * np.array((0, math.cos(lean), math.sin(lean)))
    corner = np.array((-0.375, 0, 0.02)) + rise * (0.5, 0.5, 1)
    return Thing(case(corner, 0.75, -rise, 0.09, [edge.image] * 3 + [front.image]), 0.75)


def book(rng: Random, standing: bool = False) -> Thing:
    cover, ink = tint(rng, (0, 1), (0.1, 0.8), (0.15, 0.9)), tint(rng, (0, 1), (0, 0.5), (0.1, 1.0))
    wide, high, thick = rng.uniform((1.3, 1.9, 0.12), (1.9, 2.6, 0.45))
    front, leaf, spine, edge = (
        Pen(180, 250, cover),
        Pen(90, 125, cover),
        Pen(40, 250, cover),
        Pen(8, 8, shade(cover, 0.8)),
    )
    leaf.box((0.06, 0.02, 0.97, 0.98), (226, 219, 200))
    kind = rng.integers(4)
    if kind == 0:
        front.box((0, 0.35, 1, 0.95), view(rng))
    elif kind == 1:
        front.box((0.08, 0.45, 0.92, 0.94), ink)
    elif kind == 2:
        rows, columns = rng.integers(2, 6, 2).tolist()
        front.grid((0, 0.4, 1, 1), rows, columns, [ink, cover], rng, 0.0)
    front.grid((0.1, 0.1, 0.9, 0.28), 2, 1, [ink], rng, 0.4, 0.5)
    if standing:
        spine.box((0, 0.1, 1, 0.14), ink)
        spine.box((0.35, 0.25, 0.65, 0.75), ink)
        return Thing(block([thick, wide, high], 0.0, spine.image, edge.image), thick / 2)
    return Thing(flat(wide, high, thick, [edge.image, *[leaf.image] * 5, edge.image, front.image]), high / 1.8, thick)


def microwave(rng: Random) -> Thing:
    body = tint(rng, (0, 1), (0, 0.1), (0.7, 0.95) if rng.random() < 0.8 else (0.25, 0.4))
    pen, side, wide = Pen(320, 190, body), Pen(8, 8, shade(body, 0.9)), rng.uniform(4.2, 5.5)
    pen.box((0.05, 0.12, 0.68, 0.88), (24, 25, 28), 0.02)
    pen.grid((0.07, 0.15, 0.66, 0.85), 14, 1, [shade((62, 58, 52), rng.uniform(0.7, 1.6))], rng, 0.5)
    pen.box((0.705, 0.1, 0.73, 0.9), shade(body, 0.7), 0.01)
    pen.box((0.77, 0.1, 0.96, 0.22), (10, 24, 18))
    pen.grid((0.79, 0.13, 0.95, 0.2), 1, 4, [(90, 255, 170)], rng, 0.4)
    pen.grid((0.77, 0.3, 0.97, 0.72), 4, 3, [shade(body, 0.75)], rng, 0.3)
    pen.box((0.77, 0.78, 0.96, 0.9), shade(body, 0.8), 0.02)
    return Thing(block([wide, 3.4, 0.58 * wide], 0.05, pen.image, side.image), 0.6 * wide)


def drum(radius: float, high: float, colour: Colour, inside: float) -> list[Face]:
    """A standing cylinder, what is inside its rim as bright as told."""
    wall, lid = Pen(8, 8, colour), Pen(96, 96, shade(colour, 1.15), 0.5)
    lid.draw.circle((48, 48), 42, shade(colour, inside))
    side = 2 * radius * math.tan(math.pi / 20)
    plank = Face(np.array((-side / 2, -radius, high)), np.array((side, 0, 0)), np.array((0, 0, -high)), wall.image)
    planks = [pose([plank], k * math.pi / 10, [0.0, 0.0, 0.0])[0] for k in range(20)]
    return planks + pose(flat(2 * radius, 2 * radius, 0.0, [lid.image]), 0.0, [0.0, 0.0, high])


def clutter(rng: Random) -> Thing:
    """Something without a class: a paper, a keyboard, a bottle or a mug."""
    colour, kind = tint(rng, (0, 1), (0, 0.7), (0.2, 0.95)), rng.integers(4)
    if kind == 0:
        pen = Pen(210, 297, (238, 236, 230))
        pen.grid((0.12, 0.1, 0.88, 0.9), 20, 1, [(120, 120, 130)], rng, 0.6, 0.4)
        return Thing(flat(2.1, 3.0, 0.01, [pen.image]), 1.4)
    if kind == 1:
        pen, edge = Pen(440, 140, colour, 0.02), Pen(220, 70, shade(colour, 0.7), 0.02)
        pen.grid((0.03, 0.08, 0.99, 0.95), 5, 18, [shade(colour, 0.6)], rng)
        return Thing(flat(4.4, 1.4, 0.15, [edge.image] * 4 + [pen.image]), 2.0)
    high, wide = rng.uniform((0.9, 0.35), (1.7, 0.65))
    bottle = rng.random() < 0.4
    faces = drum(wide, high, colour, 1.1 if bottle else 0.3)
    if bottle:
        faces += pose(drum(0.4 * wide, 0.6 * high, shade(colour, 0.8), 0.3), 0.0, [0.0, 0.0, high])
    else:  # a mug, with a handle
        handle = Pen(60, 90, colour, 0.45)
        handle.box((0.2, 0.15, 0.8, 0.85), (0, 0, 0, 0), 0.3)
        up, out = np.array((0, 0, 0.6 * high)), np.array((0.8 * wide, 0, 0))
        faces.append(Face(0.7 * out + 1.3 * up, out, -up, handle.image))
    return Thing(faces, wide)


def picture(rng: Random) -> Thing:
    """A framed picture, to hang on the wall."""
    wide, high, lift = rng.uniform((1.5, 1.5, 3.5), (4, 3, 6))
    pen = Pen(160, round(160 * high / wide), tint(rng, (0.05, 0.1), (0, 0.6), (0.1, 0.9)))
    pen.box((0.05, 0.06, 0.95, 0.94), (236, 233, 226))
    pen.box((0.16, 0.18, 0.84, 0.82), view(rng))
    return Thing(block([wide, 0.1, high], lift, pen.image, Pen(4, 4, (70, 60, 50)).image), wide / 2)


MAKE = {"laptop": laptop, "tv": tv, "cell phone": phone, "book": book, "microwave": microwave, "": clutter}
SIZE = {"laptop": 4.2, "tv": 7.0, "cell phone": 2.0, "book": 3.0, "microwave": 5.5, "": 4.5}

DESK, WALL, CLUTTER = 253, 254, 255  # labels of what is painted but not annotated


class Canvas:
    """A picture being painted at twice its final size: colours, labels, and nearness (1 / depth)."""

    def __init__(self, width: int, height: int, target: Point, angles: list[float], far: float, focal: float) -> None:
        self.colour = np.zeros((2 * height, 2 * width), np.uint32)  # four bytes a pixel, to be written at once
        self.label = np.zeros((2 * height, 2 * width), np.uint8)
        self.near = np.zeros((2 * height, 2 * width), np.float32)
        turn, tilt, roll = angles
        ahead = np.array((math.sin(turn) * math.cos(tilt), math.cos(turn) * math.cos(tilt), -math.sin(tilt)))
        right = np.array((math.cos(turn), -math.sin(turn), 0))
        down = cross(ahead, right)
        right, down = right * math.cos(roll) + down * math.sin(roll), down * math.cos(roll) - right * math.sin(roll)
        lens = np.array([[2 * focal, 0, width], [0, 2 * focal, height], [0, 0, 1]])
        self.eye, self.view = target - far * ahead, lens @ np.stack([right, down, ahead])

    def project(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Pixel x and y, and depth, which is negative behind the camera."""
        seen = (points - self.eye) @ self.view.T
        return np.concatenate([seen[:, :2] / seen[:, 2:], seen[:, 2:]], axis=1)

    def paint(self, face: Face, label: int, light: Point) -> None:
        corner, across, down, texture, glows = face
        height, width = self.label.shape
        plain = texture.getcolors(2) is not None  # one colour: nothing to interpolate
        seen = self.project(np.array([corner, corner + across, corner + across + down, corner + down]))
        x0, y0, x1, y1 = 0, 0, width, height
        if seen[:, 2].min() > 0.1:
            (x0, y0), (x1, y1) = np.floor(seen[:, :2].min(0)).astype(int), np.ceil(seen[:, :2].max(0)).astype(int)
            x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
            sides = np.hypot(*(seen[1:3, :2] - seen[:2, :2]).T)
            ratio = int(min(texture.width / (sides[0] + 1), texture.height / (sides[1] + 1)))
            texture = texture.reduce(ratio) if ratio > 1 else texture
        plane = self.view @ np.stack([across, down, corner - self.eye], axis=1)
        if x0 >= x1 or y0 >= y1 or abs(np.linalg.det(plane)) < 1e-9:
            return
        normal = cross(across, down)
        normal *= np.sign(normal @ (self.eye - corner)) / np.linalg.norm(normal)
        bright = 0.9 if glows else 0.5 + 0.5 * max(0.0, float(normal @ light))
        texture = Image.blend(Image.new("RGBa", texture.size), texture, bright)
        back = np.linalg.inv(plane)  # takes a pixel (x, y, 1) to (s, t, 1) / depth, s and t the fractions of the face
        back[:, 2] += back[:, 0] * x0 + back[:, 1] * y0
        warp = (np.diag([*texture.size, 1]) @ back / back[2, 2]).ravel()[:8].tolist()
        size, box = (x1 - x0, y1 - y0), (slice(y0, y1), slice(x0, x1))
        filtering = Image.Resampling.NEAREST if plain else Image.Resampling.BILINEAR
        tile = texture.transform(size, Image.Transform.PERSPECTIVE, warp, filtering)
        pixels = np.asarray(tile)
        x, y = (np.arange(n, dtype=np.float32) + np.float32(0.5) for n in size)
        near = x * np.float32(back[2, 0]) + (y * np.float32(back[2, 1]) + np.float32(back[2, 2]))[:, None]
        shows = (pixels[..., 3] > 127 * bright) & (near > self.near[box])
        np.copyto(self.colour[box], pixels.view(np.uint32)[..., 0], where=shows)
        np.copyto(self.near[box], near, where=shows)
        np.copyto(self.label[box], np.uint8(label), where=shows)

    def lit(self, faces: list[Face], light: Point, wall: float) -> Float32[np.ndarray, "height width"]:
        """The share of the light that reaches each pixel of desk and wall; 1 elsewhere."""
        height, width = self.label.shape
        desk, back, close = (Image.new("L", (width // 2, height // 2)) for _ in range(3))
        points = np.array([(c, c + a, c + a + d, c + d) for c, a, d, *_ in faces])
        on_desk = points - light * (points[..., 2:] / light[2])
        on_wall = points - light * ((points[..., 1:2] - wall) / light[1])
        for shadow, where in ((desk, on_desk), (back, on_wall), (close, points * (1, 1, 0))):
            seen = self.project(where.reshape(-1, 3)).reshape(-1, 4, 3)
            brush = ImageDraw.Draw(shadow)
            for corners in seen[(seen[..., 2].min(1) > 0.1) & (np.abs(seen).max((1, 2)) < 1e4), :, :2] / 2:
                brush.polygon(corners.ravel().tolist(), 255)
        share = np.ones((height // 2, width // 2), np.float32)
        for shadow, ground, radius, dark in ((desk, DESK, 4, 0.45), (close, DESK, 7, 0.35), (back, WALL, 5, 0.4)):
            soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(radius)), np.float32)
            share *= np.where(self.label[::2, ::2] == ground, 1 - dark / 255 * soft, np.float32(1))
        return share


def heap(rng: Random, name: str) -> Thing:
    """Too many to outline one by one: books in a row, or phones on display."""
    faces: list[Face] = []
    if name == "book":
        for x in np.arange(-2.4, 2.4, 0.42):
            faces += pose(book(rng, standing=True).faces, rng.normal(0, 0.03), [x, rng.normal(0, 0.1), 0.0])
    else:
        for k in range(15):
            faces += pose(phone(rng).faces, rng.normal(0, 0.1), [k % 5 - 2.0, 1.8 * (k // 5 - 1), 0.0])
    return Thing(faces, 2.8)


class Placed(NamedTuple):
    """A thing in its place. `on` is the index of what it lies on, or -1."""

    name: str
    faces: list[Face]
    on: int = -1


def arrange(rng: Random, names: list[str], kind: str, canvas: Canvas, size: float, far: float) -> list[Placed]:
    """The things side by side, the first in the middle. What finds no room, or only near the camera, is left out."""
    placed: list[Placed] = []
    spots: list[tuple[float, float, float]] = []
    for name in names:
        thing = heap(rng, name) if kind == "crowd" and not spots else MAKE[name](rng)
        for _ in range(20):
            x, y = rng.normal((0, 0.15 * size), 0.55 * size) if spots else (0.0, 0.0)
            apart = all(math.hypot(x - a, y - b) > 0.85 * (thing.radius + r) for a, b, r in spots)
            if not spots or (apart and canvas.project(np.array([(x, y, 0)]))[0, 2] - thing.radius > 0.5 * far):
                break
        else:
            continue
        spots.append((x, y, thing.radius))
        turn = rng.uniform(-2.5, 2.5) if name == "cell phone" and kind != "crowd" else rng.normal(0, 0.4)
        placed.append(Placed(name, pose(thing.faces, turn, [x, y, 0.0])))
        if thing.top and kind == "mixed" and rng.random() < 0.4:
            place = [x + math.sin(turn) * 0.4, y - math.cos(turn) * 0.4, thing.top]
            placed.append(
                Placed("cell phone", pose(phone(rng, lying=True).faces, rng.uniform(-3, 3), place), len(placed) - 1)
            )
    return placed


def draw(rng: Random, width: int, height: int, kind: str) -> tuple[UInt8[np.ndarray, "height width 3"], list[Instance]]:
    """A scene of a kind: "mixed", "distractors", "crowd" (led by a heap of alike things) or "empty"."""
    first = {"mixed": FOREGROUND, "distractors": DISTRACTORS, "crowd": ("cell phone", "book"), "empty": ("",)}[kind]
    main = str(rng.choice(first))
    extras = [name for name in (*MAKE, "book", "") if kind in ("mixed", "crowd") or name in (*first, "")]
    tilt = rng.uniform(0.12, 0.5) if main in ("tv", "microwave") or rng.random() < 0.5 else rng.uniform(0.5, 1.35)
    size, focal = 6.0 if kind == "crowd" else SIZE[main], max(width, height) * rng.uniform(0.9, 1.5)
    far = size * focal / width / rng.uniform(0.5, 1.0)
    target = np.array((rng.normal(0, 0.12), rng.normal(0, 0.1), 0.3 * math.cos(tilt))) * size
    canvas = Canvas(width, height, target, [rng.uniform(-0.4, 0.4), tilt, rng.normal(0, 0.04)], far, focal)
    light = np.array((rng.uniform(-0.8, 0.8), rng.uniform(-0.7, -0.1), 1.0))
    light /= np.linalg.norm(light)
    placed = arrange(rng, [main, *rng.choice(extras, rng.integers(1, 6)).tolist()], kind, canvas, size, far)

    wall = max(f.corner[1] for thing in placed for f in thing.faces) + rng.uniform(0.8, 4)
    reach = 1.4 * (far + wall)
    desk = surface(rng, ("planks", "table", "table", "plaster", "stone", "cloth", "paint"))
    back = surface(rng, ("plaster", "plaster", "paint", "bricks", "tiles", "stripes", "planks"))
    across = np.array((2 * reach, 0, 0))
    canvas.paint(Face(np.array((-reach, wall, 0)), across, np.array((0, -reach, 0)), desk), DESK, light)
    canvas.paint(Face(np.array((-reach, wall, reach)), across, np.array((0, 0, -reach)), back), WALL, light)
    for k in range(rng.integers(0, 3)):
        placed.append(Placed("", pose(picture(rng).faces, 0.0, [6 * k - rng.uniform(2, 4), wall - 0.05, 0.0])))
    for number, thing in enumerate(placed, 1):
        for face in thing.faces:
            canvas.paint(face, number if thing.name else CLUTTER, light)
    lit = canvas.lit([face for thing in placed for face in thing.faces], light, wall)
    instances = []
    for number, thing in enumerate(placed, 1):
        if thing.name:
            inside = (canvas.label == number).view(np.uint8)
            for above in [k for k, other in enumerate(placed, 1) if other.on == number - 1]:
                inside |= canvas.label == above
            mask = inside[::2, ::2] + inside[1::2, ::2] + inside[::2, 1::2] + inside[1::2, 1::2] > 2
            instances.append(Instance(thing.name, mask, kind == "crowd" and number == 1))
    return photograph(rng, canvas, lit, far), instances


def photograph(
    rng: Random, canvas: Canvas, lit: Float32[np.ndarray, "h w"], focus: float
) -> UInt8[np.ndarray, "h w 3"]:
    """The canvas through a lens, on a sensor: unevenly lit, blurred off the focal plane, tinted, noisy."""
    sharp = Image.fromarray(canvas.colour.view(np.uint8).reshape(*canvas.colour.shape, 4)[..., :3]).reduce(2)
    gamma = rng.uniform(0.75, 1.2)
    sharp = sharp.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)
    width, height = sharp.size
    pixels = np.asarray(sharp, np.float32)
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 2.5))), np.float32)
    away = np.abs(canvas.near[::2, ::2] * np.float32(focus) - 1) * np.float32(rng.uniform(0.3, 2))
    pixels = pixels + (blurred - pixels) * np.minimum(away, 1)[..., None]
    lamp = Image.fromarray(rng.uniform(0.7, 1.2, (3, 3)).astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    level = np.asarray(lamp) * lit * (1 - np.float32(rng.uniform(0.02, 0.15)) * (x * x + y * y))
    cast = (rng.uniform(1.0, 1.35) * rng.uniform(0.92, 1.08, 3)).astype(np.float32)
    grain = (rng.random(pixels.shape, np.float32) - np.float32(0.5)) * np.float32(rng.uniform(3, 18))
    return np.clip(pixels * (level[..., None] * cast) + grain, 0, 255).astype(np.uint8)
