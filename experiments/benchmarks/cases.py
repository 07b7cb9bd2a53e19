"""What is measured: networks, and the shapes of their batches."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxseg.arrays import Batch

if TYPE_CHECKING:
    from jaxseg.config import Config


@dataclass(frozen=True)
class Case:
    """A network and its batches; `size` is (height, width)."""

    name: str
    widths: tuple[int, ...]
    size: tuple[int, int]
    batch: int
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __str__(self) -> str:
        half = "" if self.dtype == "float32" else f", {self.dtype}"
        return f"{self.name}, {self.size[0]} x {self.size[1]}, batch {self.batch}{half}"

    @property
    def config(self) -> "Config":
        """Adam and the cross-entropy, for a binary mask of all categories."""
        # Not above: PyTorch's processes, whose memory and start are measured, have no use for JAX.
        from jaxseg.config import Config
        from jaxseg.data.samples import Data
        from jaxseg.models.unet import UNet
        from jaxseg.optim import Adam

        return Config(
            data=Data(height=self.size[0], width=self.size[1]),
            model=UNet(self.widths, out_channels=1, dtype=self.dtype),
            optimizer=Adam(1e-4),
            batch_size=self.batch,
        )

    def arrays(self) -> Batch:
        """Noise, without void."""
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (self.batch, *self.size, 3), np.uint8)
        return Batch(image, (image[..., 0] > 200).astype(np.uint8), np.ones(self.batch, np.float32))


ORIGINAL = Case("original", (64, 128, 256, 512, 1024), (224, 224), 2)
NARROW = Case("narrow", (16, 32, 64, 128, 256), (128, 128), 2)
QUICKSTART = Case("quickstart", (16, 32, 64, 128), (96, 128), 8)
SMALL = Case("small", (8, 16, 32), (64, 64), 2)
TINY = Case("tiny", (4, 8), (16, 24), 2)


class Cases(NamedTuple):
    """By the rows that measure them, and how many `images` an epoch has; the smaller of two data sets has 60."""

    training: tuple[Case, ...]
    inference: tuple[Case, ...]
    sizes: tuple[Case, ...]
    batches: tuple[Case, ...]
    epoch: tuple[Case, ...]
    images: int
    memory: tuple[Case, ...]
    data_set: Case = SMALL
    few_images: int = 60
    start: Case = QUICKSTART


def on_cpu() -> Cases:
    narrow = batches(NARROW, 2, 8)
    return Cases(
        training=(ORIGINAL, *narrow),
        inference=(*batches(ORIGINAL, 1, 8), *batches(NARROW, 1, 8)),
        sizes=sizes(NARROW, 64, 256),
        batches=batches(NARROW, 1, 16),
        epoch=(NARROW,),
        images=80,
        memory=(ORIGINAL, narrow[1]),
    )


def on_gpu() -> Cases:
    half = replace(ORIGINAL, dtype="bfloat16")
    return Cases(
        training=(half, *batches(half, 64), *batches(NARROW, 2, 8)),
        inference=(*batches(half, 1, 8, 64), *batches(NARROW, 1, 8)),
        sizes=sizes(batches(half, 16)[0], 112, 448),
        batches=batches(half, 8, 32, 128),
        epoch=(ORIGINAL, *batches(half, 64)),
        images=1920,
        memory=(half, *batches(half, 64)),
    )


def tiny() -> Cases:
    """Every row in seconds, and no number worth reading."""
    return Cases(
        training=(TINY, replace(TINY, dtype="bfloat16")),
        inference=batches(TINY, 1),
        sizes=sizes(TINY, 32),
        batches=batches(TINY, 4),
        epoch=(TINY,),
        images=4,
        memory=(TINY,),
        data_set=TINY,
        few_images=4,
        start=replace(QUICKSTART, widths=(4, 8)),
    )


def batches(case: Case, *sizes: int) -> tuple[Case, ...]:
    return tuple(replace(case, batch=size) for size in sizes)


def sizes(case: Case, *sides: int) -> tuple[Case, ...]:
    return tuple(replace(case, size=(side, side)) for side in sides)
