"""A trained model that computes: what `jaxseg.load` returns."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PyTree, UInt8
from PIL import Image

from jaxseg.data.classes import Mode
from jaxseg.data.geometry import Resize
from jaxseg.description import check_threshold, in_short
from jaxseg.errors import InputError
from jaxseg.metrics import class_probabilities
from jaxseg.models.unet import UNet
from jaxseg.predicting.canvas import Canvas
from jaxseg.predicting.inference import Network, Setting, prepared, through
from jaxseg.predicting.photograph import Orientation, Source
from jaxseg.predicting.prediction import Prediction
from jaxseg.predicting.tiles import Tile, check_tile
from jaxseg.predicting.tta import NO_TTA, Forward, Tta, averaged
from jaxseg.sharding import data_parallel


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model and all it needs to predict.

    Attributes:
        description: the content of model.json.
        forward: variables and images to probabilities; pure.
        variables: what `forward` takes first.
        stride: the sides of images must be multiples of it.
        notes: what was assumed or changed in loading, a line each.
    """

    description: dict[str, Any]
    forward: Forward
    variables: PyTree
    stride: int
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Of the images that it was trained on."""
        return self._side("height")

    @property
    def width(self) -> int:
        """Of the images that it was trained on."""
        return self._side("width")

    @property
    def channels(self) -> int:
        """3, or 1 for grey."""
        return self.description["channels"]

    @property
    def mode(self) -> Mode:
        """Binary, or multiclass."""
        return self.description["mode"]

    @property
    def resize(self) -> Resize:
        """How an image is brought to the height and width."""
        return self.description["resize"]

    @property
    def crop(self) -> float | None:
        """What a picture's sides are multiplied by, of a model that was trained on windows; None: `resize` holds."""
        return self.description.get("crop")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, the background first."""
        return tuple(self.description["classes"])

    @property
    def threshold(self) -> float:
        """Of the probability; the foreground is above it."""
        return self.description["threshold"]

    def __repr__(self) -> str:
        return f"Predictor({in_short(self.description)})"

    def predict(
        self,
        images: Source | Sequence[Source],
        *,
        threshold: float | None = None,
        tile: Tile | None = None,
        tta: Tta = NO_TTA,
        orientation: Orientation = "shown",
        batch_size: int = 8,
    ) -> Prediction | list[Prediction]:
        """What the model says of a picture, or a list of what it says of several, at their own sizes.

        Args:
            images: a path, a Pillow image, or an array uint8 [height, width, 3], [height, width, 1] or [height, width];
                or a list of such. A JPEG's path is decoded at a reduced scale, as in training, where that suffices.
            threshold: of a binary model's probability; None: the model's own.
            tile: cut the pictures into tiles; None: see each as a whole, at the network's size, or as it was trained,
                in tiles of its own scale.
            tta: average over flips and sizes.
            orientation: `shown`: turned as EXIF says; `stored`: as the pixels are, as COCO's masks take them.
            batch_size: pictures, or tiles, at once.

        Raises:
            InputError: for what is no such picture, a file that can't be read, or a setting that can't be.
        """
        single = isinstance(images, str | Path | Image.Image | np.ndarray)
        sources: list[Source] = [images] if single else list(images)  # pyright: ignore[reportAssignmentType]
        tile = self.tiling(tile)
        setting = Setting(self.chosen_threshold(threshold), tile, orientation)
        network = self.network(tta, tile)
        batch_size = 1 if single and tile is None else batch_size
        found = []
        with ThreadPoolExecutor() as pool:
            subjects = prepared(sources, network, setting, pool, ahead=2 * batch_size if tile is None else 2)
            for subject in through(network, subjects, batch_size):
                if subject.work is None:
                    raise InputError(subject.fault)
                found.append(self._prediction(subject.source, subject.work.finish(), orientation))
        return found[0] if single else found

    def _prediction(self, source: Source, canvas: Canvas, orientation: Orientation) -> Prediction:
        probability = canvas.every[..., 0] if self.mode == "binary" else canvas.every
        return Prediction(canvas.mask, probability, self.classes, source, orientation)

    def chosen_threshold(self, threshold: float | None) -> float:
        """The one that was asked for, else the model's own.

        Raises:
            InputError: if there is none to choose, or it is no probability.
        """
        if threshold is None:
            return self.threshold
        if self.mode == "multiclass":
            raise InputError("a threshold is for binary models; of several classes the most probable is taken.")
        check_threshold(threshold)
        return threshold

    def tiling(self, tile: Tile | None = None) -> Tile | None:
        """The tiles that were asked for, else those of a model that was trained on windows; None: there are none."""
        return tile or (None if self.crop is None else Tile(self.crop))

    def network(self, tta: Tta = NO_TTA, tile: Tile | None = None) -> Network:
        """What `inference` needs of the model.

        Raises:
            InputError: for tiles or scales that can't be.
        """
        size = (tile and tile.size) or (self.height, self.width)
        if tile is not None:
            check_tile(tile, size)
        self._function(tta)
        return Network(
            functools.partial(self.dispatch, tta=tta),
            size,
            self.stride,
            self.channels,
            1 if self.mode == "binary" else len(self.classes),
            self.resize,
        )

    def probabilities(
        self, images: UInt8[np.ndarray, "batch height width channels"]
    ) -> Float32[np.ndarray, "batch height width outputs"]:
        """The foreground's probability, or of several classes each one's, the background first.

        It computes on as many local devices as divide the batch. Each new shape of `images` compiles once.

        Raises:
            InputError: if the sides are no multiples of `stride`, or the channels are not the model's.
        """
        return np.asarray(self.dispatch(images))

    def dispatch(
        self, images: UInt8[np.ndarray, "batch height width channels"], *, tta: Tta = NO_TTA
    ) -> Float32[Array, "batch height width outputs"]:
        """The same, not waited for; and averaged over flips and sizes."""
        _, height, width, channels = images.shape
        if channels != self.channels:
            raise InputError(f"the images have {channels} channels, expected {self.channels}.")
        if height % self.stride or width % self.stride:
            raise InputError(
                f"the images are {height} x {width} (height x width), expected multiples of {self.stride}."
            )
        layout = data_parallel(len(images))
        variables = self._on_devices(layout.mesh.size, layout.state)
        return self._function(tta)(variables, jax.device_put(images, layout.batch))

    def _function(self, tta: Tta) -> Forward:
        if tta not in self._compiled:
            self._compiled[tta] = jax.jit(averaged(self.forward, tta, self.stride))
        return self._compiled[tta]

    @functools.cached_property
    def _compiled(self) -> dict[Tta, Forward]:
        return {}

    @functools.cached_property
    def _copies(self) -> dict[int, PyTree]:
        return {}

    def _on_devices(self, count: int, sharding: Any) -> PyTree:
        if count not in self._copies:
            self._copies[count] = jax.device_put(self.variables, sharding)
        return self._copies[count]

    def _side(self, name: str) -> int:
        side = self.description[name]
        if side is None:
            raise InputError(
                "the size of images that the model was trained on is not known. Say it in converting, "
                "python -m jaxseg.convert MODEL FOLDER --height H --width W, and use the folder; or in Python, "
                "jaxseg.load(path, foreign=jaxseg.Foreign(height=H, width=W))."
            )
        return side


def network_probabilities(
    variables: PyTree, images: UInt8[Array, "batch height width channels"], *, model: UNet, scale: float
) -> Float32[Array, "batch height width outputs"]:
    """What the network says of uint8 images."""
    logits: Any = model.apply(variables, images.astype(jnp.float32) * scale)
    return class_probabilities(logits)
