"""The files that a prediction leaves."""

import io
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxseg.pictures import PALETTE
from jaxseg.predicting.canvas import Canvas
from jaxseg.predicting.inference import Network, Setting
from jaxseg.predicting.inputs import Item
from jaxseg.predicting.prediction import LONGEST, drawn_over, encoded
from jaxseg.run import write_whole

Output = Literal["mask", "overlay", "probability", "results"]
ENDINGS = {"mask": ".png", "overlay": ".jpg", "probability": ".png"}
FILMED = ("overlay", "mask")
"""What can be written of a video."""


class Job(NamedTuple):
    """How files are predicted, and where their outputs go."""

    network: Network
    setting: Setting
    save: tuple[Output, ...]
    out: Path
    classes: tuple[str, ...]
    batch_size: int
    threads: int


def path_of(out: Path, kind: str, item: Item) -> Path:
    """Of an output."""
    return out / kind / f"{item.stem}{'.mp4' if item.is_video else ENDINGS[kind]}"


def paths_of(item: Item, job: Job) -> list[Path]:
    """Of all outputs of a file."""
    kinds = FILMED if item.is_video else ENDINGS
    return [path_of(job.out, kind, item) for kind in kinds if kind in job.save]


def write_outputs(item: Item, canvas: Canvas, job: Job) -> dict[str, Any]:
    """Write the pictures asked for, each whole; and give the picture's record."""
    mask, save, out = canvas.mask, job.save, job.out
    if "mask" in save:
        write_picture(path_of(out, "mask", item), mask_picture(mask, several=canvas.outputs > 1))
    if canvas.chosen is not None:
        write_picture(path_of(out, "probability", item), Image.fromarray(canvas.chosen), compress_level=1)
    if "overlay" in save:
        drawn = Image.fromarray(drawn_over(item.path, mask, LONGEST, orientation=job.setting.orientation))
        write_picture(path_of(out, "overlay", item), drawn, quality=90)
    record = {**begun(item), "height": mask.shape[0], "width": mask.shape[1]}
    record["foreground"] = int(canvas.counts[1:].sum())
    if "results" in save:
        record["results"] = [
            {"class": value, "segmentation": encoded(mask == value), "score": round(score, 6)}
            for value, score in canvas.scores.items()
        ]
    return record


def begun(item: Item) -> dict[str, Any]:
    """The record of a file, as far as it is the same for all."""
    return {"file": item.name, "stem": item.stem, "stamp": list(item.stamp)}


def write_picture(path: Path, picture: Image.Image, **options: Any) -> None:
    """Written by Python, whole: on a full disk, Pillow's JPEGs end early, and it says nothing."""
    buffer = io.BytesIO()
    picture.save(buffer, path.suffix[1:].replace("jpg", "jpeg"), **options)
    write_whole(path, lambda file: file.write_bytes(buffer.getbuffer()), durable=False)


def mask_picture(mask: UInt8[np.ndarray, "height width"], *, several: bool) -> Image.Image:
    """0 and 255, or the indices of several classes in the colours of the overlays."""
    if not several:
        return Image.fromarray(mask * np.uint8(255))
    picture = Image.fromarray(mask, "P")
    picture.putpalette(PALETTE.tobytes())
    return picture
