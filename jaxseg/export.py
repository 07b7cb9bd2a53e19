"""`python -m jaxseg.export RUN OUT`: a trained model in a form that leaves jaxseg, proven before it gets its name."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from jaxtyping import UInt8

from jaxseg.agreement import Agreement, Run, agreement_table, compare, enlarged, reference
from jaxseg.checkpoint import Which
from jaxseg.compile_cache import keep_compiled
from jaxseg.config import from_json
from jaxseg.data.samples import Data, open_split
from jaxseg.errors import InputError, told_plainly
from jaxseg.onnx_graph import onnx_model
from jaxseg.program import write_program
from jaxseg.pth import write_pth
from jaxseg.run import RunFolder
from jaxseg.runtimes import run_onnx, run_program, run_torch
from jaxseg.tensors_file import read_safetensors, write_safetensors
from jaxseg.torch_source import torch_source
from jaxseg.torch_weights import to_state_dict
from jaxseg.weights import Weights, read_weights

Format = Literal["stablehlo", "onnx", "safetensors", "torch"]
ENDINGS: dict[str, Format] = {".zip": "stablehlo", ".onnx": "onnx", ".safetensors": "safetensors", ".py": "torch"}
IMAGES = 8
WHOLE: dict[str, Any] = {"crop": None, "crop_foreground": 0.0, "crops": 1}
"""Images of the network's size, also where it is trained on windows."""


@dataclass(frozen=True)
class ExportArguments:
    """Export a trained model, and prove that it gives the same masks.

    Attributes:
        run: the run's folder.
        out: the file to write. Its ending says the form: `.zip` (StableHLO, run by jax and numpy), `.onnx`,
            `.safetensors` (weights by PyTorch's names), `.py` (a PyTorch module, with its `.pth` beside it).
        format: the form, where the ending does not say it.
        checkpoint: best, latest, or a step.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    format: Format | None = None
    checkpoint: Which = "best"


def main(argv: list[str] | None = None) -> None:
    """The command."""
    arguments = tyro.cli(ExportArguments, args=argv, prog="python -m jaxseg.export")
    with told_plainly():
        keep_compiled()
        export_model(**dataclasses.asdict(arguments))


def export_model(
    run: Path | str, out: Path | str, format: Format | None = None, checkpoint: Which = "best"
) -> tuple[Agreement, ...]:
    """Write the model of a run to `out`, once it has been loaded from there and compared.

    Returns:
        How well it agrees with jaxseg, for each comparison made; none where what runs it is not installed.

    Raises:
        InputError: if there is no such model or form, or the export gives other numbers: then nothing is written.
    """
    out = Path(out)
    form = format or form_of(out)
    model = read_weights(run, checkpoint=checkpoint)
    network = f"{type(model.model).__name__} of widths {' '.join(map(str, model.model.widths))}"
    print(f"{run} ({checkpoint} checkpoint): {network}, as {form} to {out}")
    images, source = photographs(RunFolder(Path(run)), model)
    if model.model.dtype != "float32":
        print(f"The run computed in {model.model.dtype}; the export, and what it is compared with, in float32.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        draft = Path(scratch) / out.name
        FORMS[form].write(draft, model)
        agreements = prove(form, draft, model, images, source)
        written = sorted(path.name for path in Path(scratch).iterdir() if not path.name.startswith("_"))
        for name in written:
            os.replace(Path(scratch) / name, out.parent / name)
    print(f"Done: {', '.join(str(out.parent / name) for name in written)}")
    return agreements


def form_of(out: Path) -> Format:
    """By the ending."""
    if out.suffix == ".pth":
        raise InputError(f"{out}: python -m jaxseg.convert writes .pth files; a .py brings its .pth with it.")
    if out.suffix not in ENDINGS or out.is_dir():
        known = ", ".join(f"{ending} ({form})" for ending, form in ENDINGS.items())
        raise InputError(f"{out} does not say what to write: let it end in {known}, or give --format.")
    return ENDINGS[out.suffix]


def photographs(folder: RunFolder, model: Weights) -> tuple[UInt8[np.ndarray, "batch height width channels"], str]:
    """Images to compare on, and where they are from: the run's validation split, else the embedded sample."""
    size = {key: model.description[key] for key in ("height", "width", "channels")}
    try:
        if not folder.config.is_file():
            raise InputError(f"{folder.config} is missing.")
        data = from_json(json.loads(folder.config.read_text())["config"]).data
        samples = open_split(dataclasses.replace(data, **size, on_error="skip", **WHOLE), "val")
    except InputError as error:
        print(f"The run's own photographs are not at hand ({error}); the embedded sample is used.")
        samples = open_split(Data(**size), "val")
    places = np.unique(np.linspace(0, len(samples) - 1, IMAGES).round().astype(int))
    found = [sample["image"] for sample in (samples[int(place)] for place in places) if sample["weight"]]
    if not found:
        raise InputError(f"none of {len(places)} images from {samples.files.images} can be read to compare on.")
    return np.stack(found), f"validation images of {samples.files.images}"


def prove(
    form: Format, path: Path, model: Weights, images: UInt8[np.ndarray, "batch height width channels"], source: str
) -> tuple[Agreement, ...]:
    """Compare on the images, and on another batch and size; print the table.

    Raises:
        InputError: if the two disagree.
    """
    try:
        theirs = FORMS[form].load(path, model)
    except ImportError as error:
        print(f"Unproven: {error.name} is not installed to run it. pip install {error.name}, and export again.")
        return ()
    ours = reference(model)
    cases = (images, enlarged(images, model.model.stride))
    agreements = tuple(compare(ours(case), theirs(case)) for case in cases)
    print(f"Loaded again and compared with jaxseg, by {source}; the largest errors:\n{agreement_table(agreements)}")
    if not any(agreement.foreground for agreement in agreements):
        print("These masks are all background, so that their agreement says little; that of the logits does.")
    if not all(agreement.good for agreement in agreements):
        raise InputError(f"the {form} export does not give the masks of {path.name}'s model: nothing was written.")
    return agreements


class Port(NamedTuple):
    """How a form is written, and loaded again."""

    write: Callable[[Path, Weights], None]
    load: Callable[[Path, Weights], Run]


def metadata(model: Weights) -> dict[str, str]:
    """What travels with weights, as texts."""
    binary = model.description["mode"] == "binary"
    return {
        "model.json": json.dumps(model.description),
        "input": "float32 [batch, channels, height, width], RGB or grey: 0..255 times `scale` of model.json",
        "mask": "probabilities above `threshold`" if binary else "the class of the largest probability",
    }


def write_onnx(path: Path, model: Weights) -> None:
    state = to_state_dict(**model.variables)
    channels = model.description["channels"]
    proto = onnx_model(model.model, state, channels=channels, metadata=metadata(model))
    path.write_bytes(proto.SerializeToString())


def write_tensors(path: Path, model: Weights) -> None:
    write_safetensors(path, to_state_dict(**model.variables), {"format": "pt", **metadata(model)})


def load_tensors(path: Path, model: Weights) -> Run:
    """The tensors, bit for bit; then in PyTorch, in the network of the torch form."""
    state = to_state_dict(**model.variables)
    found = read_safetensors(path).tensors
    if list(found) != list(state) or any(found[name].tobytes() != state[name].tobytes() for name in state):
        raise InputError(f"{path.name} does not hold the weights that were written.")
    print(f"All {len(state)} tensors are the run's, bit for bit.")
    draft = path.with_name("_network.py")
    source, weights = draft, draft.with_suffix(".pth")
    source.write_text(torch_source(model.model, model.description, weights.name), encoding="utf-8")
    write_pth(weights, found)
    return run_torch(source, weights)


def write_torch(path: Path, model: Weights) -> None:
    if not path.stem.isidentifier():
        raise InputError(f"{path.name} can't be imported: let its name be a Python identifier, such as unet.py.")
    write_pth(weights_beside(path), to_state_dict(**model.variables))
    path.write_text(torch_source(model.model, model.description, weights_beside(path).name), encoding="utf-8")


def weights_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}_model.pth")


FORMS = {
    "stablehlo": Port(write_program, lambda path, _: run_program(path)),
    "onnx": Port(write_onnx, lambda path, _: run_onnx(path)),
    "safetensors": Port(write_tensors, load_tensors),
    "torch": Port(write_torch, lambda path, _: run_torch(path, weights_beside(path))),
}


if __name__ == "__main__":
    main()
