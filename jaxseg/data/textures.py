"""Drawn textures: what screens, desks and walls look like from straight ahead."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw

Random = np.random.Generator
Colour = tuple[int, ...]
Box = tuple[float | int, ...]  # left, top, right, bottom
Range = tuple[float | int, float | int]


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
