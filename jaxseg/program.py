"""A model as a JAX program in one zip: StableHLO, weights and model.json, run by jax and numpy without jaxseg."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxseg.models.unet import UNet
from jaxseg.predictor import Model

PLATFORMS = ("cpu", "cuda", "tpu")
README = """\
An image segmentation model. To run it needs jax ({jax} or newer) and numpy:

import io, zipfile, numpy as np
from jax import export

archive = zipfile.ZipFile("{name}")
weights = dict(np.load(io.BytesIO(archive.read("weights.npz"))))
probabilities, logits = export.deserialize(bytearray(archive.read("program.bin"))).call(weights, images)

images         uint8 [batch, height, width, {channels}], {colours}; any batch, any {sides}.
               In training each photograph was stretched to {height} x {width} (height x width), antialiased.
probabilities  float32 [batch, height, width, {outputs}]; the mask is {mask}.
logits         the same before the {function}.

model.json holds the size, the scale (the program applies it), the names of the classes with the background first,
and the threshold. The program computes in float32, on {platforms}.
"""


def write_program(path: Path, model: Model) -> None:
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


def exported(model: Model, weights: dict[str, np.ndarray]) -> bytearray:
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
        return (jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)), logits

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


def readme(model: Model, name: str) -> str:
    description, stride, binary = model.description, model.model.stride, model.model.out_channels == 1
    return README.format(
        **{key: description[key] for key in ("height", "width", "channels")},
        jax=jax.__version__,
        name=name,
        colours="RGB" if description["channels"] == 3 else "grey",
        sides="height and width" if stride == 1 else f"sides that are multiples of {stride}",
        outputs=model.model.out_channels,
        mask=f"probabilities[..., 0] > {description['threshold']}" if binary else "probabilities.argmax(-1)",
        function="sigmoid" if binary else "softmax",
        platforms=", ".join(PLATFORMS),
    )
