"""The architecture of a U-Net as a figure file, drawn like the figure of its paper (Ronneberger et al., 2015)."""

import math
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon

from jaxseg.plots import DPI, FAINT, text_style, write_figure

# Lengths are inches.
TALLEST, WIDEST = 1.5, 0.5  # the slab with the most pixels a side, and with the most channels
GAP = 0.3  # between slabs: room for an arrow
DROP = 0.55  # between levels: room for an arrow, a shape and a number
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

    @property
    def right(self) -> float:
        """Where the front ends; the side goes on by `depth`."""
        return self.left + self.width

    @property
    def top(self) -> float:
        """The upper edge at the back."""
        return self.bottom + self.height + self.depth

    @property
    def waist(self) -> float:
        """Half the height of the front."""
        return self.bottom + self.height / 2


@dataclass(frozen=True)
class Scale:
    """Pixels and channels to inches; sides grow with the power 0.6 and widths with the root, so that both ends show."""

    pixels: int
    channels: int

    def side(self, pixels: int) -> float:
        return TALLEST * (pixels / self.pixels) ** 0.6

    def width(self, channels: int) -> float:
        return 0.05 + (WIDEST - 0.05) * math.sqrt(min(1, channels / self.channels))


def save_architecture(
    path: str | Path,
    *,
    widths: tuple[int, ...],
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    norm: str,
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
        parameters: how many the model has, for the title.

    Raises:
        ValueError: if there are fewer than two widths, or the image can't be halved as often as there are poolings.
    """
    levels = len(widths) - 1
    if levels < 1:
        raise ValueError(f"widths is {widths}: expected two or more, the last for the bottleneck")
    if height % 2**levels or width % 2**levels:
        raise ValueError(f"the image is {height} x {width}: with {levels} poolings both must be multiples of {2**levels}")
    figure = Figure(dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    scale = Scale(max(height, width), max(widths))
    bottoms = []  # of the fronts, level by level
    sides = [(height >> level, width >> level) for level in range(levels + 1)]
    top = 0.0
    for tall, deep in sides:
        bottoms.append(top - scale.side(tall) - 0.12 * scale.side(deep))
        top = bottoms[-1] - DROP
    def slab(level: int, left: float, channels: int) -> Slab:
        tall, deep = sides[level]
        return Slab(left, bottoms[level], scale.width(channels), scale.side(tall), 0.12 * scale.side(deep))
    ...
