"""A trained model that computes: what `jaxseg.load` returns."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, PyTree, UInt8

from jaxseg.checkpoint import Which
from jaxseg.config import from_json
from jaxseg.data.classes import Mode
from jaxseg.data.geometry import Resize
from jaxseg.errors import InputError
from jaxseg.foreign import UNDESCRIBED, Foreign
from jaxseg.metrics import class_probabilities
from jaxseg.models.unet import UNet
from jaxseg.program import read_program
from jaxseg.sharding import data_parallel
from jaxseg.weights import read_weights

PROGRAM = ".zip"


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
    forward: Callable[[PyTree, UInt8[Array, "batch height width channels"]], Float32[Array, "batch height width _"]]
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
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, the background first."""
        return tuple(self.description["classes"])

    @property
    def threshold(self) -> float:
        """Of the probability; the foreground is above it."""
        return self.description["threshold"]

    def probabilities(
        self, images: UInt8[np.ndarray, "batch height width channels"]
    ) -> Float32[np.ndarray, "batch height width outputs"]:
        """The foreground's probability, or of several classes each one's, the background first.

        It computes on as many local devices as divide the batch. Each new shape of `images` compiles once.

        Raises:
            InputError: if the sides are no multiples of `stride`, or the channels are not the model's.
        """
        _, height, width, channels = images.shape
        if channels != self.channels:
            raise InputError(f"the images have {channels} channels, expected {self.channels}.")
        if height % self.stride or width % self.stride:
            raise InputError(
                f"the images are {height} x {width} (height x width), expected multiples of {self.stride}."
            )
        layout = data_parallel(len(images))
        variables = self._on_devices(layout.mesh.size, layout.state)
        return np.asarray(self._compiled(variables, jax.device_put(images, layout.batch)))

    @functools.cached_property
    def _compiled(self) -> Callable[..., Array]:
        return jax.jit(self.forward)

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


def load(path: Path | str, checkpoint: Which | str = "best", *, foreign: Foreign = UNDESCRIBED) -> Predictor:
    """A trained model, ready to predict.

    Args:
        path: a run's folder, one checkpoint in it, a converted folder, a `.pth` (`.pt`, ...) or `.safetensors` file, or
            the `.zip` of a StableHLO program that `jaxseg.export` wrote.
        checkpoint: which of a run: `best`, `latest`, or a step's number.
        foreign: what to know of a file that jaxseg did not write. What is assumed of it, the model's `notes` say.

    Raises:
        InputError: if it is none of these, or the weights disagree with what model.json says.
    """
    path = Path(path)
    if path.suffix == PROGRAM and not path.is_dir():
        return load_program(path)
    weights = read_weights(path, checkpoint=checkpoint, foreign=foreign)
    forward = functools.partial(network_probabilities, model=weights.model, scale=weights.description["scale"])
    return Predictor(weights.description, forward, weights.variables, weights.model.stride, weights.notes)


def load_program(path: Path) -> Predictor:
    """The program itself runs: nothing of its network is rebuilt."""
    program = read_program(path)

    def forward(variables: dict[str, Array], images: Array) -> Array:
        return program.call(variables, images)[0]

    stride = from_json(program.description["model"]).stride
    return Predictor(program.description, forward, program.weights, stride)


def network_probabilities(
    variables: PyTree, images: UInt8[Array, "batch height width channels"], *, model: UNet, scale: float
) -> Float32[Array, "batch height width outputs"]:
    """What the network says of uint8 images."""
    logits: Any = model.apply(variables, images.astype(jnp.float32) * scale)
    return class_probabilities(logits)
