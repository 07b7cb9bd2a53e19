"""The architecture of a U-Net as a figure file, drawn like the figure of its paper (Ronneberger et al., 2015)."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from jaxseg.plots import DPI, FAINT, INK, text_style, write_figure

# Lengths are inches.
TALLEST, WIDEST = 1.4, 0.45  # the slab with the most pixels a side, and with the most channels
GAP = 0.25  # between slabs: room for an arrow
DROP = 0.66  # between levels: room for an arrow, a shape and a number
MARGIN = 0.15
SLANT = 0.1  # depth as drawn, over the side
LEGEND, LINE = 3.1, 0.26  # width of the legend, and from one line to the next
SIZE = 10  # of text, in points
EDGE = "#2E4A73"
COPIED, COMPUTED, ENDS = "#FFFFFF", "#9CBFEA", "#DDDDDD"  # fronts of slabs
CONV, POOL, UP, SKIP, LAST = "#2F5FA8", "#C8382E", "#2C9148", "#A4AAB5", "#0E9AA7"  # arrows


@dataclass(frozen=True)
class Slab:
    """One feature map: its width shows channels, its height and depth show pixels."""

    left: float
    bottom: float
    width: float
    height: float
    depth: float
    channels: int

    @property
    def right(self) -> float:
        """Where the front ends; the side goes on by `depth`."""
        return self.left + self.width

    @property
    def middle(self) -> float:
        """Of the front, from left to right."""
        return self.left + self.width / 2

    @property
    def crest(self) -> float:
        """The middle of the upper face, from left to right."""
        return self.middle + self.depth / 2

    @property
    def top(self) -> float:
        """The upper edge at the back."""
        return self.bottom + self.height + self.depth

    @property
    def waist(self) -> float:
        """Half the height of the front."""
        return self.bottom + self.height / 2


class Block(NamedTuple):
    """What its convolutions take in and put out; on the way up `entry` is the half that is not copied."""

    entry: Slab
    first: Slab
    second: Slab


def save_architecture(
    path: str | Path,
    *,
    widths: tuple[int, ...],
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    norm: str,
    activation: str,
    parameters: int,
) -> None:
    """The U, with its feature maps as slabs and its operations as arrows.

    Above each slab stand its channels, below each block the height x width x channels that it puts out.

    Args:
        path: a PNG, PDF or SVG.
        widths: channels of each level from the top; the last is the bottleneck.
        in_channels: of the image.
        out_channels: of the logits.
        height: of the image, in pixels.
        width: of the image, in pixels.
        norm: normalisation after each convolution 3x3: its name, or "none".
        activation: its name.
        parameters: how many the model has, for the title.

    Raises:
        ValueError: if there are fewer than two widths, or the image can't be halved as often as there are poolings.
    """
    poolings = len(widths) - 1
    if poolings < 1:
        raise ValueError(f"widths is {widths}: expected two or more, the last for the bottleneck")
    if height % 2**poolings or width % 2**poolings:
        raise ValueError(f"the image is {height} x {width}: {poolings} poolings need multiples of {2**poolings}")
    figure = Figure(dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    down, up = _layout(widths, in_channels, height, width)
    _draw_way_down(axes, down, height, width)
    _draw_way_up(axes, down, up, height, width)
    last = up[-1].second
    logits = _slab(last.right + last.depth + GAP, last.bottom, last.height, last.depth, out_channels, max(widths))
    _draw_slab(axes, logits, ENDS)
    _arrow(axes, (last.right + last.depth, last.waist), (logits.left, last.waist), LAST)
    _number(axes, logits)
    image = down[0].entry
    _text(axes, image.left - 0.08, image.waist, f"image\n{_times(height, width, in_channels)}", ha="right", va="center")
    right = logits.right + logits.depth + 0.08
    _text(axes, right, logits.waist, f"logits\n{_times(height, width, out_channels)}", va="center")

    beyond = 0.1 * len(_times(height, width, max(in_channels, out_channels))) + MARGIN  # room for the two shapes
    left, right, top = image.left - 0.08 - beyond, right + beyond, image.top + 0.75
    legend_left = right - MARGIN - LEGEND
    deepest = down[-1].entry.bottom
    above = [block.entry.bottom for block in (*down, *up) if block.second.right + 0.5 > legend_left]
    bottom = (
        min(deepest - 0.25, _legend(axes, legend_left, min(*above, deepest + 4.5 * LINE) - 0.4, norm, activation))
        - MARGIN
    )
    title = f"U-Net, {parameters:,} parameters"
    axes.text((left + right) / 2, top - 0.3, title, fontsize=1.4 * SIZE, ha="center", **text_style())
    axes.set(xlim=(left, right), ylim=(bottom, top))
    figure.set_size_inches(right - left, top - bottom)
    write_figure(path, figure)


def _layout(widths: tuple[int, ...], in_channels: int, height: int, width: int) -> tuple[list[Block], list[Block]]:
    """The blocks on the way down, the bottleneck last, and those on the way up, from the deepest."""
    down: list[Block] = []
    for level, channels in enumerate(widths):
        tall, deep = (TALLEST * ((side >> level) / max(height, width)) ** 0.6 for side in (height, width))
        above = down[-1].second if down else None
        top, incoming = (above.bottom - DROP, above.channels) if above else (0.0, in_channels)
        place = top - tall - SLANT * deep, tall, SLANT * deep
        entry = _slab(0.0, *place, incoming, max(widths))
        if above:  # its upper face is below the slab that is pooled
            entry = replace(entry, left=above.middle - (entry.crest - entry.left))
        down.append(Block(entry, *_convolved(entry, channels, max(widths))))
    up: list[Block] = []
    below = down[-1].second
    for block in reversed(down[:-1]):
        half = block.second
        entry = replace(half, left=below.crest - half.width / 2)
        up.append(Block(entry, *_convolved(entry, half.channels, max(widths))))
        below = up[-1].second
    return down, up


def _slab(left: float, bottom: float, height: float, depth: float, channels: int, most: int) -> Slab:
    """Widths grow with the root of the channels, so that both ends of the scale show."""
    return Slab(left, bottom, 0.05 + (WIDEST - 0.05) * min(1.0, channels / most) ** 0.5, height, depth, channels)


def _convolved(entry: Slab, channels: int, most: int) -> tuple[Slab, Slab]:
    first = _slab(entry.right + entry.depth + GAP, entry.bottom, entry.height, entry.depth, channels, most)
    return first, replace(first, left=first.right + first.depth + GAP)


def _draw_way_down(axes: Axes, down: list[Block], height: int, width: int) -> None:
    for level, block in enumerate(down):
        _draw_block(axes, block, ENDS if level == 0 else COMPUTED)
        _number(axes, block.entry, side=-1 if level else 0)
        _number(axes, block.first)
        _number(axes, block.second, side=1 if block is down[-1] else 0)
        _shape(axes, block, height >> level, width >> level, crossed=block is not down[-1])
        if block is not down[-1]:
            x = block.second.middle
            _arrow(axes, (x, block.second.bottom), (x, down[level + 1].entry.top), POOL)


def _draw_way_up(axes: Axes, down: list[Block], up: list[Block], height: int, width: int) -> None:
    below = down[-1].second
    for level, block in zip(reversed(range(len(up))), up, strict=True):
        skipped, entry = down[level].second, block.entry
        copied = replace(entry, left=entry.left - entry.width)
        _draw_slab(axes, copied, COPIED)
        _draw_block(axes, block, COMPUTED)
        _number(axes, replace(copied, width=2 * entry.width, channels=2 * entry.channels))
        _number(axes, block.first)
        _number(axes, block.second, side=1 if level else 0)
        _shape(axes, block, height >> level, width >> level)
        _arrow(axes, (below.crest, below.top), (below.crest, entry.bottom), UP)
        _arrow(axes, (skipped.right + skipped.depth, skipped.waist), (copied.left, copied.waist), SKIP, broad=True)
        below = block.second


def _draw_block(axes: Axes, block: Block, entry: str) -> None:
    slabs = block.entry, block.first, block.second
    for slab, colour in zip(slabs, (entry, COMPUTED, COMPUTED), strict=True):
        _draw_slab(axes, slab, colour)
    for one, other in pairwise(slabs):
        _arrow(axes, (one.right + one.depth, one.waist), (other.left, one.waist), CONV)


def _draw_slab(axes: Axes, slab: Slab, colour: str) -> None:
    back, shelf = slab.depth, slab.top - slab.depth
    front = [(slab.left, slab.bottom), (slab.right, slab.bottom), (slab.right, shelf), (slab.left, shelf)]
    upper = [front[3], front[2], (slab.right + back, slab.top), (slab.left + back, slab.top)]
    side = [front[1], (slab.right + back, slab.bottom + back), (slab.right + back, slab.top), front[2]]
    for face, light in ((front, 1.0), (upper, 0.93), (side, 0.82)):
        shade = tuple(light * part for part in to_rgb(colour))
        axes.add_patch(Polygon(face, facecolor=shade, edgecolor=EDGE, linewidth=0.6, joinstyle="round"))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, broad: bool = False) -> None:
    line, head = (2.4, 11) if broad else (1.3, 8)
    shape = {"arrowstyle": "-|>", "mutation_scale": head, "shrinkA": 2.5, "shrinkB": 2.5}
    axes.add_patch(FancyArrowPatch(start, end, linewidth=line, color=colour, **shape))


def _number(axes: Axes, slab: Slab, side: int = 0) -> None:
    """The channels above a slab; on its left (-1) or right (1) if an arrow is in the way."""
    _text(axes, slab.crest + 0.07 * side, slab.top + 0.05, f"{slab.channels}", ha=("center", "left", "right")[side])


def _shape(axes: Axes, block: Block, height: int, width: int, crossed: bool = False) -> None:
    """What a block puts out, below it; on the left of the arrow if one comes from there."""
    text = _times(height, width, block.second.channels)
    centre = (block.first.left + block.second.right) / 2
    x, ha = (block.second.middle - 0.08, "right") if crossed else (centre, "center")
    _text(axes, x, block.entry.bottom - 0.07, text, ha=ha, va="top", colour=FAINT)


def _text(
    axes: Axes, x: float, y: float, text: str, *, ha: str = "left", va: str = "baseline", colour: str = INK
) -> None:
    axes.text(x, y, text, fontsize=SIZE, ha=ha, va=va, **text_style(colour))


def _times(*sizes: int) -> str:
    return "×".join(map(str, sizes))


def _legend(axes: Axes, left: float, top: float, norm: str, activation: str) -> float:
    """The operations, one a line; returns where it ends."""
    normalised = "" if norm == "none" else f"{norm} norm, "
    operations = {
        f"conv 3×3, {normalised}{activation}": CONV,
        "max-pool 2×2": POOL,
        "up-conv 2×2": UP,
        "copy and concatenate": SKIP,
        "conv 1×1": LAST,
    }
    for place, (name, colour) in enumerate(operations.items()):
        y = top - place * LINE
        _arrow(axes, (left, y), (left + 0.4, y), colour, broad=colour == SKIP)
        _text(axes, left + 0.5, y, name, va="center")
    return top - len(operations) * LINE
