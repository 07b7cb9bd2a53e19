"""A model as a JAX program in one zip: StableHLO, weights and model.json, run by jax and numpy without jaxseg."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxseg.data.geometry import how_resized
from jaxseg.description import check_outputs, parse_description
from jaxseg.errors import InputError
from jaxseg.metrics import class_probabilities
from jaxseg.models.unet import UNet
from jaxseg.weights import Weights

PLATFORMS = ("cpu", "cuda", "tpu")
README = """\
An image segmentation model. To run it needs jax ({jax} or newer) and numpy:

import io, zipfile, numpy as np
from jax import export

archive = zipfile.ZipFile("{name}")
weights = dict(np.load(io.BytesIO(archive.read("weights.npz"))))
probabilities, logits = export.deserialize(bytearray(archive.read("program.bin"))).call(weights, images)

images         uint8 [batch, height, width, {channels}], {colours}; any batch, any {sides}.
               {resized}
probabilities  float32 [batch, height, width, {outputs}]; the mask is {mask}.
logits         the same before the {function}.

model.json holds the size, the scale (the program applies it), the names of the classes with the background first,
and the threshold. The program computes in float32, on {platforms}.
"""


class Program(NamedTuple):
    """A program read back: `call(weights, images)` gives probabilities and logits."""

    call: Callable[..., Any]
    weights: dict[str, np.ndarray]
    description: dict[str, Any]


def read_program(path: Path) -> Program:
    """What `write_program` wrote, by the lines of its README.

    Raises:
        InputError: if it is another file, or its program disagrees with its model.json.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("model.json").decode()
            weights = dict(np.load(io.BytesIO(archive.read("weights.npz")), allow_pickle=False))
            program = export.deserialize(bytearray(archive.read("program.bin")))
    except Exception as error:  # a broken program may raise almost anything
        raise InputError(f"{path} is no program that jaxseg.export wrote: {error}") from None
    description = parse_description(text, f"{path}, model.json in it,")
    check_outputs(program.out_avals[0].shape[-1], description, str(path))
    if program.in_avals[-1].shape[-1] != description["channels"]:
        raise InputError(
            f"{path}: the program takes {program.in_avals[-1].shape[-1]} channels, its model.json says "
            f"{description['channels']}."
        )
    return Program(program.call, weights, description)


def write_program(path: Path, model: Weights) -> None:
    """Write the zip; the program takes any batch, and any size that the network takes."""
    weights = flat(model.variables)
    buffer = io.BytesIO()
    np.savez(buffer, **weights)
    contents = {
        "program.bin": exported(model, weights),
        "weights.npz": buffer.getvalue(),
        "model.json": json.dumps(model.description, indent=2).encode(),
        "README.txt": readme(model, path.name).encode(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def exported(model: Weights, weights: dict[str, np.ndarray]) -> bytearray:
    """The program, (weights by path, images) to (probabilities, logits)."""
    stride, channels = model.model.stride, model.description["channels"]
    sides = ", ".join(name if stride == 1 else f"{stride}*{name}" for name in ("height", "width"))
    image = jax.ShapeDtypeStruct(export.symbolic_shape(f"batch, {sides}, {channels}"), jnp.uint8)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), weights)
    network = outputs(model.model.clone(dtype="float32"), model.variables, model.description["scale"])
    # "highest": an accelerator's short cuts would move the masks
    with jax.default_matmul_precision("highest"), without_source_paths():
        return export.export(jax.jit(network), platforms=PLATFORMS)(shapes, image).serialize()


def outputs(model: UNet, like: Any, scale: float) -> Callable[[dict[str, jax.Array], jax.Array], Any]:
    names, structure = list(flat(like)), jax.tree.structure(like)

    def run(weights: dict[str, jax.Array], images: jax.Array) -> tuple[jax.Array, jax.Array]:
        variables = jax.tree.unflatten(structure, [weights[name] for name in names])
        logits: Any = model.apply(variables, images.astype(jnp.float32) * scale)
        return class_probabilities(logits), logits

    return run


def flat(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@contextmanager
def without_source_paths() -> Iterator[None]:
    """Programs are traced without the paths of this machine's files in them."""
    name = "jax_hlo_source_file_canonicalization_regex"
    before = getattr(jax.config, name)
    jax.config.update(name, ".*")
    try:
        yield
    finally:
        jax.config.update(name, before)


def readme(model: Weights, name: str) -> str:
    description, stride, binary = model.description, model.model.stride, model.model.out_channels == 1
    return README.format(
        channels=description["channels"],
        resized=how_resized(*(description[key] for key in ("resize", "height", "width")), crop=description.get("crop")),
        jax=jax.__version__,
        name=name,
        colours="RGB" if description["channels"] == 3 else "grey",
        sides="height and width" if stride == 1 else f"sides that are multiples of {stride}",
        outputs=model.model.out_channels,
        mask=f"probabilities[..., 0] > {description['threshold']}" if binary else "probabilities.argmax(-1)",
        function="sigmoid" if binary else "softmax",
        platforms=", ".join(PLATFORMS),
    )
