"""The things of a drawn scene, as textured faces in space."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from jaxseg.data.textures import Colour, Pen, Random, screen, shade, tint, view

Point = Float[np.ndarray, "3"]  # x right, y away, z up; a unit is about a decimetre


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


MAKE = {"laptop": laptop, "tv": tv, "cell phone": phone, "book": book, "microwave": microwave, "": clutter}
SIZE = {"laptop": 4.2, "tv": 7.0, "cell phone": 2.0, "book": 3.0, "microwave": 5.5, "": 4.5}
