"""The block of a U-Net's level: convolutions, normalisation, activation."""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxseg.models.batch_norm import BatchNorm
from jaxseg.models.convolution import Precision, conv

Norm = Literal["none", "batch", "group"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu"]

ACTIVATIONS = {
    "relu": nn.relu,
    "leaky_relu": partial(nn.leaky_relu, negative_slope=0.01),
    "elu": partial(nn.elu, alpha=1.0),
    "gelu": partial(nn.gelu, approximate=False),
    "silu": nn.silu,
}
"""With PyTorch's defaults."""

ACTIVATION_NAMES = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "elu": "ELU", "gelu": "GELU", "silu": "SiLU"}
"""As PyTorch calls them."""


class Block(nn.Module):
    """Twice: convolution 3x3, normalisation if any, activation; named by their places in an `nn.Sequential`.

    With `residual` the input is added before the last activation (He et al. 2016, arXiv:1512.03385), by a convolution
    1x1 named `shortcut` where it has another number of channels.
    """

    features: tuple[int, int]
    norm: Norm
    groups: int
    epsilon: float
    activation: Activation
    bias: bool
    dtype: Precision
    residual: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width _"], valid: Bool[Array, "batch height width 1"] | None, train: bool
    ) -> Float[Array, "batch height width _"]:
        place, entry = 0, x
        for last, features in zip((False, True), self.features, strict=True):
            x = conv(features, 3, x, self.dtype, name=str(place), use_bias=self.bias)
            if self.norm == "batch":
                place += 1
                x = BatchNorm(self.epsilon, self.dtype, name=str(place))(x, valid, train)
            elif self.norm == "group":
                place += 1
                norm = nn.GroupNorm(
                    self.groups,
                    epsilon=self.epsilon,
                    use_fast_variance=False,  # it cancels where the mean is large
                    dtype=jnp.dtype(self.dtype),
                    name=str(place),
                )
                x = norm(x)
            if last and self.residual:
                same = entry.shape[-1] == features
                x += entry if same else conv(features, 1, entry, self.dtype, name="shortcut", use_bias=self.bias)
            x = ACTIVATIONS[self.activation](x)
            place += 2
        return x
