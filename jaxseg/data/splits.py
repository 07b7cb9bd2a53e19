"""Which files, and which of their images, a split is."""

import numpy as np
from jaxtyping import Int64

from jaxseg.data.coco import CocoIndex, DataError
from jaxseg.data.layout import Files, Split, given, in_coco_root
from jaxseg.data.sample import sample_root
from jaxseg.data.settings import Data


def locate(data: Data, split: Split) -> tuple[Files, Split | None]:
    """The files of a split, and which part of them it is (None: all)."""
    fractions = {"train": 0.0, "val": data.val_fraction, "test": data.test_fraction}
    jsons = {"train": data.train_json, "val": data.val_json, "test": data.test_json}
    folders = {"train": data.train_images, "val": data.val_images, "test": data.test_images}
    if not (min(fractions.values()) >= 0 and sum(fractions.values()) < 1):
        raise DataError("data.val_fraction and data.test_fraction must be at least 0 and leave images to train on.")
    for name, fraction in fractions.items():
        if fraction and jsons[name]:
            raise DataError(f"data.{name}_json and data.{name}_fraction both say what the {name} split is: give one.")
    divided = fractions[split] > 0 or (split == "train" and sum(fractions.values()) > 0)
    source: Split = "train" if divided else split
    json, images = jsons[source], folders[source]
    if json is not None:
        return given(json, images, source), split if divided else None
    if data.root is None and (images is not None or not data.uses_sample):
        share = f", or a share of the training file by data.{source}_fraction" if source != "train" else ""
        raise DataError(f"data.{source}_json is not given: name it, or data.root{share}.")
    root = sample_root() if data.root is None else data.root
    return in_coco_root(root, images, source), split if divided else None


def fraction_of(index: CocoIndex, part: Split, data: Data) -> Int64[np.ndarray, " positions"]:
    """The images of one part of a file that is divided; it depends on the file and the seed, not on the classes."""
    order = np.random.default_rng(data.split_seed).permutation(len(index))
    test = round(len(index) * data.test_fraction)
    val = test + round(len(index) * data.val_fraction)
    return {"test": order[:test], "val": order[test:val], "train": order[val:]}[part]
