"""`python -m jaxseg.predict MODEL FILES_OR_FOLDER --out DIR`: the masks of photographs of any size."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from jaxseg.allocator import keep_freed_memory
from jaxseg.compile_cache import keep_compiled
from jaxseg.description import in_short
from jaxseg.errors import InputError, told_plainly
from jaxseg.loading import load
from jaxseg.predicting.bulk import Done, predict_files
from jaxseg.predicting.outputs import Output
from jaxseg.predicting.photograph import Orientation
from jaxseg.predicting.tiles import Tile
from jaxseg.predicting.tta import Flips, Tta
from jaxseg.predictor import Predictor


@dataclass(frozen=True)
class PredictArguments:
    """Predict the masks of photographs of any size and mode.

    DIR/mask holds PNGs of 0 and 255, or of class indices with a palette for several classes. DIR/overlay holds
    pictures to look at, at most 4096 pixels long. DIR/probability holds 16-bit PNGs, 65535 for 1: of the foreground,
    or of the class that the mask shows. DIR/results.json holds COCO results, for pycocotools' loadRes on
    DIR/images.json or on --images-json.

    Attributes:
        model: a run's folder, a checkpoint in it, a converted folder, a .pth, a .safetensors, or a StableHLO .zip.
        inputs: images, and folders of images.
        out: the folder to write to.
        save: what to write.
        checkpoint: which of a run: best, latest, or a step.
        threshold: of the probability; None: the model's own.
        orientation: shown: pictures are turned as their EXIF says, and masks fit what viewers show. stored: masks fit
            the pixels as they are stored. None: shown, but stored with --images-json, since COCO's masks are.
        tile: cut pictures into tiles, with overlap and Gaussian weights, in bounded memory; else each is resized to the
            network's size, and its mask back. Models trained on windows (data.crop) always do.
        scale: with --tile: what a picture's sides are multiplied by before it is cut; None: 1, or as in training.
        overlap: with --tile: of neighbouring tiles, as a share of their side.
        tile_size: with --tile: height and width of a tile; None: what the network was trained on.
        tta: average over flips: mirror: left and right, twice the time; all: upside down as well, four times.
        tta_scales: average over these sizes, as shares of the network's.
        images_json: take the ids of images and categories from this COCO file.
        batch_size: pictures, or tiles, at once.
        threads: that read and write beside the network; None: one for each core, at most 8.
        resume: go on in a folder where a run was stopped.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILES_OR_FOLDER")]
    out: Path
    save: tuple[Output, ...] = ("mask", "overlay", "results")
    checkpoint: str = "best"
    threshold: float | None = None
    orientation: Orientation | None = None
    tile: bool = False
    scale: float | None = None
    overlap: float | None = None
    tile_size: tuple[int, int] | None = None
    tta: Flips = "none"
    tta_scales: tuple[float, ...] = (1.0,)
    images_json: Path | None = None
    batch_size: int = 8
    threads: int | None = None
    resume: bool = False


def main(argv: list[str] | None = None) -> None:
    """The command; exit status 1 if a file could not be read."""
    with told_plainly():
        arguments = tyro.cli(PredictArguments, prog="python -m jaxseg.predict", args=argv)
        keep_compiled()
        keep_freed_memory()
        try:
            done = run(arguments)
        except KeyboardInterrupt:
            print(f"stopped: what is done is in {arguments.out}/; go on with --resume.", file=sys.stderr)
            raise SystemExit(130) from None
    if done.faults:
        raise SystemExit(1)


def run(arguments: PredictArguments) -> Done:
    check_tiling(arguments)
    model = load(arguments.model, arguments.checkpoint)
    tell_model(arguments.model, model)
    return predict_files(
        model,
        arguments.inputs,
        arguments.out,
        save=arguments.save,
        threshold=arguments.threshold,
        orientation=arguments.orientation,
        tile=tile_of(arguments, model),
        tta=Tta(arguments.tta, arguments.tta_scales),
        images_json=arguments.images_json,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        resume=arguments.resume,
    )


def check_tiling(arguments: PredictArguments) -> None:
    if not arguments.tile and (arguments.scale, arguments.overlap, arguments.tile_size) != (None, None, None):
        raise InputError("--scale, --overlap and --tile-size say how pictures are cut: add --tile.")


def tile_of(arguments: PredictArguments, model: Predictor) -> Tile | None:
    if not arguments.tile:
        return None
    usual = model.tiling() or Tile()
    given = {"scale": arguments.scale, "overlap": arguments.overlap, "size": arguments.tile_size}
    return replace(usual, **{name: value for name, value in given.items() if value is not None})


def tell_model(path: Path, model: Predictor) -> None:
    print(f"{path}: {in_short(model.description)}")
    for note in model.notes:
        print(f"  {note}")


if __name__ == "__main__":
    main()
