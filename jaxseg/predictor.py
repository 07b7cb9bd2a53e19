"""A trained model with all it needs: the network, its weights, and what model.json says of them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxseg.checkpoint import Which, load_weights
from jaxseg.config import from_json
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet
from jaxseg.run import RunFolder

NEEDED = ("model", "height", "width", "channels", "scale", "resize", "mode", "classes", "threshold")


class Model(NamedTuple):
    """A trained model.

    `params` and `batch_stats` are NumPy arrays. `description` is the content of the run's model.json: `height`,
    `width` and `channels` of what it was trained on, `scale` that brings 0..255 to what the network sees, the rule to
    `resize`, the `mode`, the names of the `classes` with the background first, the `threshold` of the probability.
    """

    model: UNet
    params: PyTree
    batch_stats: PyTree
    description: dict[str, Any]

    @property
    def variables(self) -> dict[str, PyTree]:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def load_model(path: Path | str, checkpoint: Which = "best") -> Model:
    """The model that a run trained: the checkpoint of the lowest validation loss, the latest, or that of a step.

    Raises:
        InputError: if this is no run folder, it has no such checkpoint, or model.json describes another network.
    """
    folder = RunFolder(Path(path))
    description = read_description(folder)
    model = from_json(description["model"])
    if not isinstance(model, UNet):
        raise InputError(f"{folder.model} describes a {type(model).__name__} as its model, not a UNet.")
    check_classes(folder, model, description)
    shapes = shapes_of(model, description["channels"])
    state = load_weights(folder.checkpoints, checkpoint, shapes)
    return Model(model, state["params"], state.get("batch_stats", {}), description)


def shapes_of(model: UNet, channels: int) -> dict[str, PyTree]:
    """The shapes and types of the network's variables; nothing is computed."""
    image = jnp.zeros((1, model.stride, model.stride, channels))
    return {**jax.eval_shape(model.init, jax.random.key(0), image)}


def read_description(folder: RunFolder) -> dict[str, Any]:
    """The content of model.json."""
    if not folder.model.is_file():
        raise InputError(f"{folder.path} is no run folder: it has no model.json. Give the folder that training wrote.")
    try:
        description = json.loads(folder.model.read_text())
    except ValueError as error:
        raise InputError(f"{folder.model} is not JSON: {error}.") from error
    missing = [key for key in NEEDED if key not in description] if isinstance(description, dict) else NEEDED
    if missing:
        raise InputError(f"{folder.model} does not say {', '.join(missing)}: was it written by jaxseg?")
    return description


def check_classes(folder: RunFolder, model: UNet, description: dict[str, Any]) -> None:
    """Raise an InputError if the network's outputs are not those of the class table."""
    names, mode = description["classes"], description["mode"]
    needed = 1 if mode == "binary" else len(names)
    if model.out_channels != needed or (mode == "binary" and len(names) != 2):
        raise InputError(
            f"{folder.model}: the network has {model.out_channels} outputs, but {len(names)} classes in {mode} mode "
            f"({', '.join(names)}) need {needed}."
        )
