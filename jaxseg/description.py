"""What travels with weights, as model.json says it: read, and checked to agree with itself."""

import json
from pathlib import Path
from typing import Any, get_args

from jaxseg.config import from_json
from jaxseg.data.classes import Mode
from jaxseg.data.geometry import Resize
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet

NEEDED = ("model", "height", "width", "channels", "scale", "resize", "mode", "classes", "threshold")


def read_description(path: Path) -> dict[str, Any]:
    """The content of a model.json.

    `model`: the network; `height`, `width` and `channels` of what it was trained on; `scale` that brings 0..255 to what
    it sees; the rule to `resize`, or the scale of pictures that it saw in windows, `crop`; the `mode`; the names of the
    `classes` with the background first; the `threshold` of the probability.

    Raises:
        InputError: if it is not one, or disagrees with itself.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it describes the weights beside it.")
    return parse_description(path.read_text(), str(path))


def parse_description(text: str, where: str) -> dict[str, Any]:
    """The same from a text; `where` it is from."""
    try:
        description = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is not JSON: {error}.") from None
    missing = [key for key in NEEDED if key not in description] if isinstance(description, dict) else NEEDED
    if missing:
        raise InputError(f"{where} does not say {', '.join(missing)}: was it written by jaxseg?")
    model = from_json(description["model"])
    if not isinstance(model, UNet):
        raise InputError(f"{where} describes a {type(model).__name__} as its model, not a UNet.")
    check_values(description, where)
    check_outputs(model.out_channels, description, where)
    return description


def in_short(description: dict[str, Any]) -> str:
    """What the model finds, and how, in a few words."""
    names, mode = description["classes"], description["mode"]
    kind = f"threshold {description['threshold']:.4g}" if mode == "binary" else f"{len(names)} classes"
    return f"{mode} ({', '.join(names[1:6])}{', ...' if len(names) > 6 else ''}), {kind}"


def check_threshold(threshold: float) -> None:
    """Raise an InputError for what is no probability to compare with."""
    if not 0 < threshold < 1:
        raise InputError(f"a threshold of {threshold:g}: it must lie between 0 and 1.")


def check_values(description: dict[str, Any], where: str) -> None:
    sides = [description[key] for key in ("height", "width")]
    expected = {
        "height and width": ("positive whole numbers, or null", all(is_side(side) for side in sides)),
        "channels": (
            "a positive whole number",
            description["channels"] is not None and is_side(description["channels"]),
        ),
        "mode": (" or ".join(get_args(Mode)), description["mode"] in get_args(Mode)),
        "resize": (" or ".join(get_args(Resize)), description["resize"] in get_args(Resize)),
        "scale": ("a number above 0", is_number(description["scale"]) and description["scale"] > 0),
        "threshold": ("between 0 and 1", is_number(description["threshold"]) and 0 < description["threshold"] < 1),
        "classes": ("names, the background first", is_names(description["classes"])),
        "crop": ("a number above 0, or null", is_scale(description.get("crop"))),
    }
    for what, (kind, good) in expected.items():
        if not good:
            found = sides if what == "height and width" else description.get(what)
            raise InputError(f"{where}: {what} should be {kind}; found {found!r}.")


def is_side(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_scale(value: Any) -> bool:
    return value is None or (is_number(value) and value > 0)


def is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(name, str) for name in value)


def check_outputs(outputs: int | None, description: dict[str, Any], where: str) -> None:
    """Raise an InputError if the network's outputs are not those of the class table."""
    names, mode = description["classes"], description["mode"]
    needed = 1 if mode == "binary" else len(names)
    if outputs != needed or (mode == "binary" and len(names) != 2):
        raise InputError(
            f"{where}: the network has {outputs} outputs, but {len(names)} classes in {mode} mode "
            f"({', '.join(names)}) need {needed}."
        )
