"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), its parameters named as PyTorch names them."""

import math
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32

from jaxseg.errors import InputError

Norm = Literal["none", "batch", "group"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu"]
Upsampling = Literal["transposed", "bilinear", "bilinear_corners"]
Precision = Literal["float32", "bfloat16", "float16"]

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


def uniform_of_fan_in(fan_in: int) -> jax.nn.initializers.Initializer:
    """PyTorch's default for convolutions, weight and bias: uniform in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)

    def draw(key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)

    return draw


def conv(features: int, size: int, x: Array, dtype: Precision, name: str, use_bias: bool = True) -> Array:
    init = uniform_of_fan_in(size * size * x.shape[-1])
    layer = nn.Conv(
        features,
        (size, size),
        use_bias=use_bias,
        dtype=jnp.dtype(dtype),
        kernel_init=init,
        bias_init=init,
        name=name,
    )
    return layer(x)


class Block(nn.Module):
    """Twice: convolution 3x3, normalisation if any, activation; named by their places in an `nn.Sequential`."""

    features: tuple[int, int]
    norm: Norm
    groups: int
    epsilon: float
    activation: Activation
    bias: bool
    dtype: Precision

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width _"], valid: Bool[Array, "batch height width 1"] | None, train: bool
    ) -> Float[Array, "batch height width _"]:
        place = 0
        for features in self.features:
            x = conv(features, 3, x, self.dtype, name=str(place), use_bias=self.bias)
            if self.norm == "batch":
                place += 1
                norm = nn.BatchNorm(
                    not train, momentum=0.9, epsilon=self.epsilon, dtype=jnp.dtype(self.dtype), name=str(place)
                )
                x = norm(x, mask=valid if train else None)
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
            x = ACTIVATIONS[self.activation](x)
            place += 2
        return x


class UpConv(nn.Module):
    """The transposed convolution 2x2 with stride 2.

    Its windows do not overlap, so it is one matrix product and a reshape: 1.2 to 1.3 times the training speed on a CPU.
    """

    features: int
    dtype: Precision

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width _"]) -> Float[Array, "batch 2*height 2*width features"]:
        batch, height, width, channels = x.shape
        init = uniform_of_fan_in(2 * 2 * self.features)  # as PyTorch counts it: over the outputs
        kernel = self.param("kernel", init, (2, 2, channels, self.features), jnp.float32)
        bias = self.param("bias", init, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        x = jnp.einsum("bhwi,klio->bhkwlo", x, kernel).reshape(batch, 2 * height, 2 * width, self.features)
        return x + bias[None, None, None]


def upsample_bilinear(x: Float[Array, "batch height width c"], corners: bool) -> Float[Array, "batch _ _ c"]:
    """Twice the height and width, as PyTorch's bilinear `Upsample`; `corners` is its `align_corners`."""
    vertical, horizontal = (interpolation(side, corners).astype(x.dtype) for side in x.shape[1:3])
    return jnp.einsum("bhwc,yh,xw->byxc", x, vertical, horizontal)


def interpolation(side: Any, corners: bool) -> Float32[Array, "_ _"]:
    """The matrix, (2 * side, side), that interpolates `side` values linearly to twice as many; `side` may be symbolic.

    Distances are whole numbers until the last division, so that float32 loses nothing.
    """
    place, source = jnp.arange(2 * side)[:, None], jnp.arange(side)[None]
    if corners:
        distance = jnp.abs(place * (side - 1) - source * (2 * side - 1)) / (2 * side - 1)
    else:
        distance = jnp.abs(jnp.clip(2 * place - 1, 0, 4 * (side - 1)) - 4 * source) / 4
    return jnp.maximum(0, 1 - distance).astype(jnp.float32)


def pad_to(x: Float[Array, "batch _ _ c"], height: int, width: int) -> Float[Array, "batch height width c"]:
    """Zeros around, the odd one after: where a pooling cut an odd side."""
    missing = (height - x.shape[1], width - x.shape[2])
    return jnp.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0))) if any(missing) else x


class UNet(nn.Module):
    """A U-Net from images to logits of the same height and width.

    With the default widths it has 31,031,745 parameters and their names and shapes are, by one table, the
    state dict of the PyTorch model: `enc1.0.weight` is `enc1/0/kernel`.

    Attributes:
        widths: channels of each level from the top; the last is the bottleneck.
        out_channels: 1 for a binary mask, classes + 1 for several; None: taken from the data's class table.
        norm: normalisation after each convolution 3x3; `group`: of each image by itself, void pixels included.
        groups: of group normalisation; they must divide each of the widths.
        epsilon: of the normalisation.
        activation: after each normalisation; with PyTorch's defaults (slope 0.01, alpha 1, GELU by erf).
        bias: whether the convolutions 3x3 have one.
        up: `transposed`: a learned convolution that halves the channels. `bilinear`, `bilinear_corners` (PyTorch's
            `align_corners`): interpolation, after which the block's second convolution narrows to the next level.
        up_first: concatenate (up, skip) instead of (skip, up).
        pad: take any size, padding where a pooling cut an odd side; else sizes must be multiples of `stride`.
        dtype: what is computed in; parameters stay float32, and the last convolution 1x1 gives float32 logits.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    out_channels: int | None = None
    norm: Norm = "none"
    groups: int = 8
    epsilon: float = 1e-5
    activation: Activation = "relu"
    bias: bool = True
    up: Upsampling = "transposed"
    up_first: bool = False
    pad: bool = False
    dtype: Precision = "float32"

    @property
    def stride(self) -> int:
        """Height and width must be multiples of this: 2 for each pooling."""
        return 1 if self.pad else 2 ** (len(self.widths) - 1)

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "batch height width channels"],
        valid: Bool[Array, "batch height width"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch height width out_channels"]:
        """Logits of scaled images.

        Args:
            image: values in 0..1.
            valid: the pixels that count in batch normalisation; None: all.
            train: normalise by the batch, and update the running statistics.

        Raises:
            InputError: if the size is no multiple of `stride`, `out_channels` is not known, or `groups` do not divide
                the widths.
        """
        if self.out_channels is None:
            raise InputError("UNet(out_channels=None) waits for a class table: give a number to use it alone.")
        check_size(image.shape[1], image.shape[2], self.stride)
        if self.norm == "group":
            check_groups(self.widths, self.groups)
        block = partial(
            Block,
            norm=self.norm,
            groups=self.groups,
            epsilon=self.epsilon,
            activation=self.activation,
            bias=self.bias,
            dtype=self.dtype,
        )
        x, v = image.astype(self.dtype), None if valid is None else valid[..., None]
        depth = len(self.widths) - 1
        skips = []
        for level in range(1, depth + 1):
            x = block((self.widths[level - 1], self.widths[level - 1]), name=f"enc{level}")(x, v, train)
            skips.append((x, v))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
            v = None if v is None else nn.max_pool(v, (2, 2), strides=(2, 2))
        x = block((self.widths[depth], self.widths[depth]), name="bottleneck")(x, v, train)
        for level in range(depth, 0, -1):
            skip, v = skips.pop()
            width = after = self.widths[level - 1]
            if self.up == "transposed":
                x = UpConv(width, self.dtype, name=f"upconv{level}")(x)
            else:
                x = upsample_bilinear(x, corners=self.up == "bilinear_corners")
                after = self.widths[max(level - 2, 0)]
            x = pad_to(x, *skip.shape[1:3])
            x = jnp.concatenate([x, skip] if self.up_first else [skip, x], axis=-1)
            x = block((width, after), name=f"dec{level}")(x, v, train)
        return conv(self.out_channels, 1, x, "float32", name="final_conv")  # half precision would round the logits


def check_size(height: int, width: int, stride: int) -> None:
    """Raise an InputError that names the nearest good sizes, if the network cannot take this one."""
    if height > 0 and width > 0 and height % stride == 0 and width % stride == 0:
        return
    near = [max(stride, round(side / stride) * stride) for side in (height, width)]
    raise InputError(
        f"height x width {height} x {width}: both must be positive multiples of {stride} "
        f"(2 for each pooling of the network). The nearest is {near[0]} x {near[1]}: "
        f"--data.height {near[0]} --data.width {near[1]}."
    )


def check_groups(widths: tuple[int, ...], groups: int) -> None:
    """Raise an InputError that names a good number, if the channels of some level can't be split into the groups."""
    if groups < 1 or any(width % groups for width in widths):
        raise InputError(
            f"group normalisation in {groups} groups: each of the widths {' '.join(map(str, widths))} must be a "
            f"multiple of it. The largest number that fits is {math.gcd(*widths)}: --model.groups {math.gcd(*widths)}."
        )
