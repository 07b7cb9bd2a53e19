"""A network's layers as a table."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxseg.models.batch_norm import BatchNorm
from jaxseg.models.resample import UpConv
from jaxseg.models.unet import UNet

HEADER = ("layer", "input", "output", "parameters", "MFLOPs")


def count_parameters(model: UNet, channels: int) -> int:
    """Parameters of the network for images of so many channels."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, model.stride, model.stride, channels)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


def layer_table(model: UNet, height: int, width: int, channels: int) -> str:
    """One line a layer: shapes (height x width x channels), parameters, and MFLOPs of one image forward.

    FLOPs are two for each multiplication of a convolution, its padding included; other layers count as none.
    Nothing is computed: the shapes are traced.
    """
    rows: list[tuple[str, ...]] = []
    totals = [0, 0]

    def record(apply: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = apply(*args, **kwargs)
        layer = context.module
        if isinstance(layer, nn.Conv | UpConv | BatchNorm | nn.GroupNorm):
            sizes = [leaf.size for leaf in jax.tree.leaves(layer.variables["params"])]
            kernel = layer.variables["params"].get("kernel")
            # each output position applies the kernel once; a transposed one gives each of its cells once
            positions = math.prod((args[0] if isinstance(layer, UpConv) else output).shape[1:3])
            flops = 0 if kernel is None else 2 * kernel.size * positions
            totals[0] += sum(sizes)
            totals[1] += flops
            rows.append(("/".join(layer.path), shape(args[0]), shape(output), f"{sum(sizes):,}", f"{flops / 1e6:,.1f}"))
        return output

    def trace(image: jax.Array) -> Any:
        with nn.intercept_methods(record):
            return model.init(jax.random.key(0), image)

    jax.eval_shape(trace, jnp.zeros((1, height, width, channels)))
    rows.append(("total", "", "", f"{totals[0]:,}", f"{totals[1] / 1e6:,.1f}"))
    return aligned([HEADER, *rows])


def shape(x: jax.Array) -> str:
    return " x ".join(map(str, x.shape[1:]))


def aligned(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]]) + "\n"
