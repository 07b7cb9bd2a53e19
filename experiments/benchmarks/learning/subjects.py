"""What is compared: the data sets, and how long each is trained on."""

from pathlib import Path
from typing import NamedTuple

from jaxseg import Data


class Subject(NamedTuple):
    """A data set, and how long it is trained on."""

    name: str
    data: Data
    epochs: int

    @property
    def classes(self) -> tuple[str, ...]:
        """Without the background."""
        return self.data.classes or ()

    @property
    def outputs(self) -> int:
        """Of the network."""
        return 1 if self.data.mode == "binary" else len(self.classes) + 1


def subjects(root: Path, size: int, longer: int = 1) -> list[Subject]:
    """People in photographs of COCO; windows, vegetation and cars in photographs of facades."""
    coco, facade = root / "coco-dev", root / "facade"
    return [
        Subject(
            "person",
            Data(root=coco, classes=("person",), height=size, width=size, decoder="pillow", cache="memory"),
            epochs=20 * longer,
        ),
        Subject(
            "facade",
            Data(
                train_json=facade / "annotations/instances_train.json",
                train_images=facade / "images/train",
                val_json=facade / "annotations/instances_val.json",
                val_images=facade / "images/val",
                classes=("window", "vegetation", "car"),
                mode="multiclass",
                overlap="smallest_on_top",
                height=size,
                width=size,
                decoder="pillow",
                cache="memory",
            ),
            epochs=10 * longer,
        ),
    ]
