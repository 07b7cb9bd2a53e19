"""Arrays to RGB arrays: masks in colour, over their photographs and side by side."""

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxseg.arrays import VOID

VOID_SHADES = (96, 176)  # the two greys of the void checker
ERRORS = {  # the colours of `error_map`
    "correct": (225, 225, 225),
    "false positive": (255, 90, 30),
    "false negative": (0, 175, 255),
    "wrong class": (240, 90, 220),
}
# The first eight classes: told apart by normal, red-blind and green-blind eyes, on black and on both greys.
_FIRST = (
    (30, 148, 255),
    (255, 176, 0),
    (222, 80, 190),
    (0, 171, 95),
    (255, 250, 90),
    (102, 40, 234),
    (152, 10, 30),
    (121, 250, 255),
)


def _oklab(colours: Shaped[np.ndarray, "count 3"]) -> Float[np.ndarray, "count 3"]:
    """sRGB in 0..255 to Oklab, where distance is difference as seen (Ottosson, 2020)."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_cones = [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
    to_lab = [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
    return np.cbrt(linear @ np.array(to_cones).T) @ np.array(to_lab).T


def _palette() -> UInt8[np.ndarray, "256 3"]:
    """Index to colour; after the first eight, each colour is the vivid one furthest from all before it."""
    levels = np.linspace(0, 255, 9).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = _oklab(candidates)
    vivid = (np.hypot(seen[:, 1], seen[:, 2]) > 0.09) & (seen[:, 0] > 0.4) & (seen[:, 0] < 0.95)
    candidates, seen = candidates[vivid], seen[vivid]
    colours = [(0, 0, 0), *_FIRST]
    taken = _oklab(np.array([*colours, *((shade,) * 3 for shade in VOID_SHADES), (255, 255, 255)]))
    distance = np.linalg.norm(seen[:, None] - taken, axis=-1).min(axis=1)
    while len(colours) < VOID:
        chosen = int(distance.round(6).argmax())
        colours.append(candidates[chosen])
        distance = np.minimum(distance, np.linalg.norm(seen - seen[chosen], axis=-1))
    palette = np.array([*colours, (VOID_SHADES[1],) * 3], dtype=np.uint8)
    palette.setflags(write=False)
    return palette


PALETTE: UInt8[np.ndarray, "256 3"] = _palette()


def colour_mask(mask: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Each class in its colour of `PALETTE`, background black, void a grey checker."""
    _check_mask(mask)
    picture = PALETTE[mask]
    rows, columns = np.nonzero(mask == VOID)
    tile = max(4, min(mask.shape) // 56)
    picture[rows, columns] = np.take(VOID_SHADES, (rows // tile + columns // tile) % 2).astype(np.uint8)[:, None]
    return picture


def overlay(
    image: UInt8[np.ndarray, "height width channels"], mask: UInt8[np.ndarray, "height width"], *, opacity: float = 0.5
) -> UInt8[np.ndarray, "height width 3"]:
    """The mask's colours over the picture; each region ends in an opaque line, with a dark one around it.

    `opacity` is the share of colour inside a region, 0 to 1; of void's checker it is the square root.
    Background pixels stay as they are, but for the dark lines.
    """
    picture = as_rgb(image).copy()
    _check_mask(mask, picture)
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}: it is a share, from 0 to 1")
    colours, filled, void = colour_mask(mask), mask > 0, mask == VOID
    share = np.where(void, opacity**0.5, opacity)[filled][:, None]
    picture[filled] = picture[filled] * (1 - share) + colours[filled] * share + 0.5
    border = _borders(np.where(void, 0, mask), thickness=max(1, round(min(mask.shape) / 250)))
    inside, outside = border & filled & ~void, border & ~filled
    picture[inside] = colours[inside]
    picture[outside] //= 3
    return picture


def error_map(
    image: UInt8[np.ndarray, "height width channels"],
    truth: UInt8[np.ndarray, "height width"],
    prediction: UInt8[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Where the prediction is right and wrong, in the colours of `ERRORS`, over the darkened grey picture.

    A correct background stays as it is; void pixels of the truth show the void checker.
    """
    grey = as_rgb(image).mean(axis=-1, keepdims=True)
    picture = np.broadcast_to(grey * 0.45, (*grey.shape[:2], 3)).astype(np.uint8)
    _check_mask(truth, picture)
    _check_mask(prediction, picture)
    void, same, thing = truth == VOID, truth == prediction, truth > 0
    kinds = {
        "correct": same & thing,
        "false positive": ~thing & (prediction > 0),
        "false negative": thing & (prediction == 0),
        "wrong class": thing & (prediction > 0) & ~same,
    }
    for kind, pixels in kinds.items():
        picture[pixels] = picture[pixels] * 0.2 + np.array(ERRORS[kind]) * 0.8
    picture[void] = colour_mask(truth)[void]
    return picture


def panel(
    image: UInt8[np.ndarray, "height width channels"],
    truth: UInt8[np.ndarray, "height width"],
    prediction: UInt8[np.ndarray, "height width"],
    *,
    titles: tuple[str, str, str] = ("image", "truth", "prediction"),
) -> UInt8[np.ndarray, "panel_height panel_width 3"]:
    """Image, true mask and predicted mask side by side, each under its title."""
    picture = as_rgb(image)
    _check_mask(truth, picture)
    _check_mask(prediction, picture)
    height, width, _ = picture.shape
    size = max(10, round(height / 18))
    strip, gap = size + size // 2, max(2, height // 60)
    page = np.full((height + strip, 3 * width + 2 * gap, 3), 255, dtype=np.uint8)
    for place, (title, cell) in enumerate(
        zip(titles, (picture, colour_mask(truth), colour_mask(prediction)), strict=True)
    ):
        left = place * (width + gap)
        page[:strip, left : left + width] = _caption(title, width, strip, size)
        page[strip:, left : left + width] = cell
    return page


def as_rgb(image: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with three channels; one channel is repeated."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(
            f"the image is {image.dtype} {list(image.shape)}: expected uint8 [height, width, 3], or 1 channel for grey"
        )
    return image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)


def _check_mask(mask: Shaped[np.ndarray, "..."], picture: Shaped[np.ndarray, "..."] | None = None) -> None:
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"the mask is {mask.dtype} {list(mask.shape)}: expected uint8 [height, width]")
    if picture is not None and picture.shape[:2] != mask.shape:
        raise ValueError(f"the mask is {list(mask.shape)}, its image {list(picture.shape[:2])}: the sizes must agree")


def _borders(mask: UInt8[np.ndarray, "height width"], thickness: int) -> Bool[np.ndarray, "height width"]:
    """Pixels with another value at most `thickness` away in their row or column."""
    border = np.zeros(mask.shape, dtype=bool)
    for step in range(1, thickness + 1):
        across, down = mask[:, step:] != mask[:, :-step], mask[step:] != mask[:-step]
        border[:, step:] |= across
        border[:, :-step] |= across
        border[step:] |= down
        border[:-step] |= down
    return border


@cache
def _caption(text: str, width: int, height: int, size: int) -> UInt8[np.ndarray, "height width 3"]:
    strip = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(size)
    ImageDraw.Draw(strip).text((width / 2, height / 2), text, fill=(40, 40, 40), font=font, anchor="mm")
    return np.asarray(strip)
