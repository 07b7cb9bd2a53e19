"""`python -m jaxseg.visualize --config FILE.py`: pictures of the images and masks that training would see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jaxseg.compile_cache import keep_compiled
from jaxseg.config import Arguments, Config, parse
from jaxseg.data.layout import Split
from jaxseg.data.samples import open_split
from jaxseg.data.windows import Chance
from jaxseg.errors import InputError, told_plainly
from jaxseg.gallery import draw_augmentations
from jaxseg.pictures import overlay
from jaxseg.progress import progress_bar
from jaxseg.run import write_whole
from jaxseg.sheets import save_samples

GRID = 25


@dataclass(frozen=True)
class VisualizeArguments(Arguments):
    """Save image-and-mask panels of a data set, and a grid of them.

    Attributes:
        out: the folder to write to.
        count: how many images; they are spread over the split.
        split: train, val or test.
        augmentations: draw every augmentation at three strengths instead, on one of the images: augmentations.png.
    """

    out: Path = Path("pictures")
    count: int = 25
    split: Split = "train"
    augmentations: bool = False


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        arguments = parse(VisualizeArguments, "python -m jaxseg.visualize", argv)
        if arguments.augmentations:
            keep_compiled()
            draw_augmentations(arguments.settings, arguments.out, arguments.split)
            return
        draw_samples(arguments.settings, arguments.out, arguments.count, arguments.split)


def draw_samples(config: Config, out: Path, count: int = 25, split: Split = "train") -> list[Path]:
    """Write `count` pictures, image beside mask, named by image id, and `grid.png` of the first 25; returns the paths.

    Raises:
        InputError: if the data can't be used.
    """
    if count < 1:
        raise InputError(f"--count {count}: give at least 1.")
    samples = open_split(config.data, split)
    places = np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int))
    where = "the embedded sample, since no data.root is given" if config.data.uses_sample else "as given"
    print(f"Data ({where}): {samples.files.json}")
    for line in samples.index.warnings():
        print(f"warning: {line}")
    images, masks, captions, paths = [], [], [], []
    with progress_bar(len(places), "pictures") as bar:
        for place in places:
            window = None if config.data.crop is None else Chance(config.seed, 0, int(place))
            sample = samples.at(int(samples.positions[place]), window=window)
            bar.update()
            if not sample["weight"]:
                continue
            image, mask, name = sample["image"], sample["mask"], f"{int(sample['image_id']):012d}"
            pair = np.concatenate([np.broadcast_to(image, (*mask.shape, 3)), overlay(image, mask)], axis=1)
            paths.append(out / f"{name}.png")
            write_whole(paths[-1], lambda file, pair=pair: Image.fromarray(pair).save(file))
            if len(images) < GRID:
                images.append(image)
                masks.append(mask)
                captions.append(name)
    if not paths:
        raise InputError(f"None of the {len(places)} images chosen from {samples.files.images} can be read.")
    names = samples.table.names[1:]
    save_samples(out / "grid.png", images, masks, class_names=names, captions=captions, columns=5)
    left_out = f"; {len(places) - len(paths)} could not be read" if len(paths) < len(places) else ""
    classes = ", ".join(names) if len(names) <= 8 else f"{len(names)} classes"
    print(f"{len(paths)} pictures and grid.png are in {out}/ ({split} split; {classes}{left_out})")
    return [*paths, out / "grid.png"]


if __name__ == "__main__":
    main()
