"""A drawn scene: things on a desk as a camera sees them, with the visible mask of each."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, ImageDraw, ImageFilter

from jaxseg.data.textures import Random, surface
from jaxseg.data.things import MAKE, SIZE, Face, Point, cross, heap, phone, picture, pose

FOREGROUND, DISTRACTORS = ("laptop", "tv", "cell phone"), ("book", "microwave")
DESK, WALL, CLUTTER = 253, 254, 255  # labels of what is painted but not annotated


class Instance(NamedTuple):
    """An annotated thing, or a crowd of them. What lies on a thing belongs to its mask too, as in COCO."""

    name: str
    mask: Bool[np.ndarray, "height width"]
    crowd: bool


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
