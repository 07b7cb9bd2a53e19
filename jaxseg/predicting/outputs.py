"""The files that a prediction leaves."""

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


class Job(NamedTuple):
    """How files are predicted, and where their outputs go."""

    network: Network
    setting: Setting
    save: tuple[Output, ...]
    out: Path
    classes: tuple[str, ...]
    batch_size: int
    threads: int


def path_of(out: Path, kind: str, stem: str) -> Path:
    """Of an output of a picture."""
    return out / kind / f"{stem}{ENDINGS[kind]}"


def write_outputs(item: Item, canvas: Canvas, job: Job) -> dict[str, Any]:
    """Write the pictures asked for, each whole; and give the picture's record."""
    mask, save, out = canvas.mask, job.save, job.out
    if "mask" in save:
        picture = mask_picture(mask, several=canvas.outputs > 1)
        write_whole(path_of(out, "mask", item.stem), picture.save)
    if canvas.chosen is not None:
        probability = Image.fromarray(canvas.chosen)
        write_whole(path_of(out, "probability", item.stem), lambda file: probability.save(file, compress_level=1))
    if "overlay" in save:
        drawn = Image.fromarray(drawn_over(item.path, mask, LONGEST, orientation=job.setting.orientation))
        write_whole(path_of(out, "overlay", item.stem), lambda file: drawn.save(file, quality=90))
    record: dict[str, Any] = {"file": item.name, "height": mask.shape[0], "width": mask.shape[1]}
    record["foreground"] = int(canvas.counts[1:].sum())
    if "results" in save:
        record["results"] = [
            {"class": value, "segmentation": encoded(mask == value), "score": round(score, 6)}
            for value, score in canvas.scores.items()
        ]
    return record


def mask_picture(mask: UInt8[np.ndarray, "height width"], *, several: bool) -> Image.Image:
    """0 and 255, or the indices of several classes in the colours of the overlays."""
    if not several:
        return Image.fromarray(mask * np.uint8(255))
    picture = Image.fromarray(mask, "P")
    picture.putpalette(PALETTE.tobytes())
    return picture
