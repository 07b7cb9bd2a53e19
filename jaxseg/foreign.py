"""What to know of weights that jaxseg did not write, and what is assumed of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.assumed import Choices
from jaxseg.config import to_json
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet
from jaxseg.schemes import Scheme
from jaxseg.step import SCALE


@dataclass(frozen=True)
class Foreign:
    """What to know of weights that jaxseg did not write; nothing of it is needed where it did.

    Attributes:
        scheme: of its names; None: the one that fits best.
        choices: what a checkpoint does not show.
        scale: what the values 0..255 of an image are multiplied by before the network sees it.
        height: of the images; None: not known.
        width: of the images; None: not known.
        classes: names, without the background.
    """

    scheme: Scheme | None = None
    choices: Choices = field(default_factory=Choices)
    scale: float = SCALE
    height: int | None = None
    width: int | None = None
    classes: tuple[str, ...] | None = None


UNDESCRIBED = Foreign()


def single(tensors: Mapping[str, np.ndarray], notes: list[str], path: Path) -> dict[str, np.ndarray]:
    """The tensors, those of float64 as float32."""
    wide = [name for name, tensor in tensors.items() if tensor.dtype == np.float64]
    with np.errstate(over="ignore"):
        narrow = {name: tensors[name].astype(np.float32) for name in wide}
    if wide:
        notes.append(f"warning: {len(wide)} tensors are float64 and become float32: {', '.join(wide[:4])}, ...")
    lost = [name for name in wide if not np.array_equal(np.isfinite(narrow[name]), np.isfinite(tensors[name]))]
    if lost:
        raise InputError(f"{path} has float64 numbers too large for float32, in {', '.join(lost[:10])}.")
    return {**tensors, **narrow}


def describe_foreign(model: UNet, channels: int, foreign: Foreign, notes: list[str]) -> dict[str, Any]:
    """The content of model.json for weights that came without one; what is assumed goes to `notes`."""
    binary, outputs = model.out_channels == 1, model.out_channels or 1
    count = 1 if binary else outputs - 1
    classes = foreign.classes or (("foreground",) if binary else tuple(f"class {i}" for i in range(1, outputs)))
    if len(classes) != count:
        raise InputError(
            f"--classes names {len(classes)} classes; the network has {outputs} output channel{'s'[: outputs > 1]}, "
            f"so {count} without the background."
        )
    if foreign.scale == SCALE:
        notes.append("assumed: images are scaled to 0..1 and no more (--scale)")
    if foreign.classes is None and not binary:
        notes.append("assumed: output channel 0 is the background; the classes have no names yet (--classes)")
    if foreign.height is None or foreign.width is None:
        notes.append("not known: the size of images it was trained on (--height, --width)")
    return {
        "model": to_json(model),
        "height": foreign.height,
        "width": foreign.width,
        "channels": channels,
        "scale": foreign.scale,
        "resize": "stretch",
        "mode": "binary" if binary else "multiclass",
        "classes": ["background", *classes],
        "threshold": 0.5,
    }
