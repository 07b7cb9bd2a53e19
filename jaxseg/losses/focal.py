"""The focal loss."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt8

from jaxseg.losses.pixels import labels_of, masked_mean


@dataclass(frozen=True)
class Focal:
    """(1 - p)^gamma times the cross-entropy, p the probability of the true class: easy pixels count less.

    Lin et al. 2017, arXiv:1708.02002. With gamma 0 and no alpha it is the cross-entropy.

    Attributes:
        gamma: how much less; the paper's value is 2.
        alpha: the weight of foreground pixels, 1 - alpha that of the background; None: all count 1.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The mean over valid pixels."""
        logits = logits.astype(jnp.float32)
        labels = labels_of(mask, valid, logits.shape[-1])
        if logits.shape[-1] == 1:
            pixels = optax.sigmoid_focal_loss(logits[..., 0], labels.astype(jnp.float32), gamma=self.gamma)
        else:
            logarithm = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)[..., 0]
            # 1 - p by expm1, which keeps its digits where p is near 1; 0 has no gradient for gamma below 1.
            pixels = -logarithm * jnp.maximum(-jnp.expm1(logarithm), 1e-7) ** self.gamma
        if self.alpha is not None:
            pixels *= jnp.where(labels > 0, self.alpha, 1 - self.alpha)
        return masked_mean(pixels, valid)
