"""Models for tests: a tiny run, and networks of any architecture with weights drawn at random."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest

import jaxseg
from jaxseg.config import to_json
from jaxseg.export import FORMS
from jaxseg.models.unet import UNet
from jaxseg.run import RunFolder
from jaxseg.train import fit
from jaxseg.weights import Weights, own_weights

HEIGHT, WIDTH = 32, 48


def tiny_run(root: Path, workdir: Path) -> RunFolder:
    """Two epochs, of which both checkpoints may be kept."""
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=HEIGHT, width=WIDTH)
    model = UNet(widths=(4, 8), norm="batch")
    logs = jaxseg.Logs(every=2, pictures_every=2, pictures=2)
    config = jaxseg.Config(data, model, optimizer=jaxseg.Adam(1e-2), epochs=2, batch_size=4, logs=logs)
    return fit(config, workdir)


@functools.cache
def random_model(
    channels: int = 3, out_channels: int = 1, widths: tuple[int, ...] = (4, 6, 8), **settings: Any
) -> Weights:
    """An untrained network whose masks show several classes; every weight and statistic is drawn."""
    model = UNet(widths=widths, out_channels=out_channels, **settings)
    image = jax.random.uniform(jax.random.key(1), (2, model.stride * 8, model.stride * 8, channels))
    variables = model.init(jax.random.key(0), image)
    leaves, structure = jax.tree.flatten(variables)
    draw = np.random.default_rng(0)
    factors = [(draw.uniform(0.7, 1.4, leaf.shape), draw.uniform(-0.1, 0.1, leaf.shape)) for leaf in leaves]
    leaves = [np.array(leaf * a + b, np.float32) for leaf, (a, b) in zip(leaves, factors, strict=True)]
    variables = jax.tree.unflatten(structure, leaves)
    kernel, bias = (variables["params"]["final_conv"][name] for name in ("kernel", "bias"))
    kernel -= kernel.mean(axis=2, keepdims=True)
    logits = np.asarray(jax.jit(model.apply)(variables, image)) - bias
    spread = logits.std(axis=(0, 1, 2))
    kernel /= spread  # so that each class wins somewhere
    bias[:] = (np.log(0.4 / 0.6) if out_channels == 1 else 0) - np.median(logits, axis=(0, 1, 2)) / spread
    binary = out_channels == 1
    description = {
        "model": to_json(model),
        "height": 4 * model.stride,
        "width": 6 * model.stride,
        "channels": channels,
        "scale": 1 / 255,
        "resize": "stretch",
        "mode": "binary" if binary else "multiclass",
        "classes": ["background", *(f'the "{n}"\\' for n in range(1, max(2, out_channels)))],
        "threshold": 0.4 if binary else 0.5,
    }
    return own_weights(description, variables["params"], variables.get("batch_stats", {}))


def random_images(batch: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (batch, height, width, channels), np.uint8)


NAMES = {"stablehlo": "unet.zip", "onnx": "unet.onnx", "safetensors": "unet.safetensors", "torch": "unet.py"}
RUNTIMES = {"stablehlo": ("jax",), "onnx": ("onnx", "onnxruntime"), "safetensors": ("torch",), "torch": ("torch",)}


def needs(form: str) -> None:
    for name in RUNTIMES[form]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}, to run the export: pip install {name}")


@pytest.fixture
def unchecked_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape checks of the tests don't know the sizes of a program for any size."""

    def unchecked(path: Path, model: Any) -> None:
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            write(path, model)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)

    write = FORMS["stablehlo"].write
    monkeypatch.setitem(FORMS, "stablehlo", FORMS["stablehlo"]._replace(write=unchecked))
