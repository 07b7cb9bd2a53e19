"""The Lovasz losses."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, UInt8

from jaxseg.losses.pixels import foreground_probabilities, foreground_truths, labels_of


@dataclass(frozen=True)
class Lovasz:
    """The Jaccard loss 1 - IoU, extended to a convex function of the pixels' errors (its Lovasz extension).

    Berman et al. 2018, arXiv:1705.08790. One logit: errors are the hinge 1 - x or 1 + x. Several: they are
    1 - p(true class) or p(other class), and the mean is over the classes that are there, the background left out.

    Attributes:
        per_image: a loss for each image, then their mean; else one for the batch.
    """

    per_image: bool = True

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch; 0 where nothing is valid."""
        outputs, batch = logits.shape[-1], len(logits)
        truth = foreground_truths(labels_of(mask, valid, outputs), outputs)
        if outputs == 1:
            errors = 1 - logits.astype(jnp.float32) * jnp.where(truth, 1, -1)
        else:
            errors = jnp.abs(truth - foreground_probabilities(logits))
        errors = jnp.where(valid[..., None], errors, 0)  # costs nothing, and comes after all that do
        groups = batch if self.per_image else 1
        truth, errors = (a.reshape(groups, -1, a.shape[-1]) for a in (truth, errors))
        losses = jax.vmap(jax.vmap(extension, in_axes=-1, out_axes=-1))(errors, truth)
        counts = jnp.broadcast_to(valid.reshape(groups, -1).any(axis=1)[:, None], losses.shape)
        counts = counts if outputs == 1 else counts & truth.any(axis=1)
        of_group = jnp.where(counts, losses, 0).sum(axis=1) / jnp.maximum(counts.sum(axis=1), 1)
        return of_group.sum() / jnp.maximum(counts.any(axis=1).sum(), 1)


def extension(errors: Float32[Array, " pixels"], truth: Bool[Array, " pixels"]) -> Float32[Array, ""]:
    """The Lovasz extension of the Jaccard loss at these errors; negative ones cost nothing."""
    order = jnp.argsort(-jax.lax.stop_gradient(errors))
    errors, truth = errors[order], truth[order]
    intersection = truth.sum() - jnp.cumsum(truth)
    union = truth.sum() + jnp.cumsum(~truth)
    jaccard = 1 - intersection / union
    steps = jnp.diff(jaccard, prepend=0)
    return jnp.dot(jax.nn.relu(errors), steps)
