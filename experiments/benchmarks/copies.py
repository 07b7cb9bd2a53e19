"""A data set made of another's images, again and again, to have as many as one wants."""

import itertools
import json
from pathlib import Path

from jaxseg.data.layout import Files

VAL = 2  # images of the validation split, which is not measured


def write_copies(files: Files, count: int, folder: Path) -> Path:
    """A COCO folder of `count` training images: entries of `files` under new ids; the pictures stay where they are."""
    content = json.loads(files.json.read_text())
    of_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    for split, number in (("train", count), ("val", VAL)):
        entries = list(itertools.islice(itertools.cycle(content["images"]), number))
        images = [{**entry, "id": place} for place, entry in enumerate(entries, 1)]
        owned = [(place, each) for place, entry in enumerate(entries, 1) for each in of_image.get(entry["id"], [])]
        annotations = [{**each, "id": place, "image_id": image} for place, (image, each) in enumerate(owned, 1)]
        written = {"images": images, "annotations": annotations, "categories": content["categories"]}
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(written))
        (folder / "images" / f"{split}2017").symlink_to(files.images.absolute())
    return folder
