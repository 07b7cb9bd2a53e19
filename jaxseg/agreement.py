"""Whether an exported model gives the numbers and masks of the model that it was made from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, UInt8

from jaxseg.errors import InputError
from jaxseg.metrics import predict_classes
from jaxseg.weights import Weights

TOLERANCE = 1e-4
"""Of logits, where they are at most 1; in proportion where they are larger."""
FLIPS = 1e-4
"""The share of pixels that may lie so near the threshold that rounding decides."""


class Outputs(NamedTuple):
    """What a model says of some images."""

    probabilities: Float32[np.ndarray, "batch height width out_channels"]
    logits: Float32[np.ndarray, "batch height width out_channels"]
    masks: UInt8[np.ndarray, "batch height width"]


Run = Callable[[UInt8[np.ndarray, "batch height width channels"]], Outputs]


class Agreement(NamedTuple):
    """The largest absolute errors over some images; pixels whose class differs, and pixels of the foreground."""

    images: int
    height: int
    width: int
    largest_logit: float
    logit_error: float
    probability_error: float
    differing: int
    foreground: int

    @property
    def pixels(self) -> int:
        """All that were compared."""
        return self.images * self.height * self.width

    @property
    def good(self) -> bool:
        """Within the tolerance; NaN is not."""
        close = self.logit_error <= TOLERANCE * max(1, self.largest_logit) and self.probability_error <= TOLERANCE
        return close and self.differing <= FLIPS * self.pixels


def compare(ours: Outputs, theirs: Outputs) -> Agreement:
    """The errors of `theirs`.

    Raises:
        InputError: if a shape is another one.
    """
    for name, mine, other in zip(ours._fields, ours, theirs, strict=True):
        if mine.shape != other.shape:
            raise InputError(f"the export's {name} have shape {other.shape}, expected {mine.shape}.")
    return Agreement(
        *ours.masks.shape,
        largest_logit=float(np.abs(ours.logits).max()),
        logit_error=float(np.abs(theirs.logits - ours.logits).max()),
        probability_error=float(np.abs(theirs.probabilities - ours.probabilities).max()),
        differing=int((ours.masks != theirs.masks).sum()),
        foreground=int((ours.masks > 0).sum()),
    )


def reference(model: Weights) -> Run:
    """What jaxseg itself computes, in float32."""
    network = model.model.clone(dtype="float32")
    variables = model.variables
    scale, threshold = model.description["scale"], model.description["threshold"]

    @jax.jit
    def forward(variables: Any, images: jax.Array) -> Any:
        logits: Any = network.apply(variables, images.astype(jnp.float32) * scale)
        return logits, predict_classes(logits, threshold)

    def run(images: np.ndarray) -> Outputs:
        with jax.default_matmul_precision("highest"):
            logits, masks = map(np.asarray, forward(variables, images))
        return Outputs(probabilities(logits), logits, masks)

    return run


def probabilities(logits: Float32[np.ndarray, "*pixels out_channels"]) -> Float32[np.ndarray, "*pixels out_channels"]:
    """The sigmoid of one logit, the softmax of several."""
    if logits.shape[-1] == 1:
        return np.exp(-np.logaddexp(np.float32(0), -logits))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def masks_of(
    values: Float32[np.ndarray, "batch height width out_channels"], description: dict[str, Any]
) -> UInt8[np.ndarray, "batch height width"]:
    """Probabilities to masks, by what an export says of itself."""
    chosen = values[..., 0] > description["threshold"] if description["mode"] == "binary" else values.argmax(-1)
    return chosen.astype(np.uint8)


def enlarged(
    images: UInt8[np.ndarray, "batch height width channels"], stride: int
) -> UInt8[np.ndarray, "1 taller wider channels"]:
    """The first image with more around it: another batch and size than the network was trained on."""
    return np.pad(images[:1], ((0, 0), (0, stride), (0, 2 * stride), (0, 0)), mode="symmetric")


def agreement_table(agreements: Sequence[Agreement]) -> str:
    """A line for each."""
    lines = [f"{'images':>8s}  {'size':>11s}  {'logits':>8s}  {'probabilities':>13s}  equal mask pixels, foreground"]
    for a in agreements:
        size, equal, share = f"{a.height} x {a.width}", a.pixels - a.differing, a.foreground / a.pixels
        errors = f"{a.logit_error:8.1e}  {a.probability_error:13.1e}"
        lines.append(f"{a.images:8d}  {size:>11s}  {errors}  {equal:,} of {a.pixels:,}, {share:.1%}")
    return "\n".join(lines)
