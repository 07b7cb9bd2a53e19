"""The U-Net (Ronneberger et al. 2015, arXiv:1505.04597), its parameters named as PyTorch names them."""

import math
from functools import partial
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxseg.errors import InputError
from jaxseg.models.block import Activation, Block, Norm
from jaxseg.models.convolution import Precision, conv
from jaxseg.models.dropout import drop_channels
from jaxseg.models.prior import prior_bias
from jaxseg.models.resample import UpConv, max_pool, pad_to, upsample_bilinear

Upsampling = Literal["transposed", "bilinear", "bilinear_corners"]


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
        prior: the share of each class, the background first, that the untrained network shall predict: the bias of the
            last convolution starts there. `auto`: measured on the training masks. None: at random, as PyTorch does.
        deep_supervision: in training, logits of coarser levels too (all but the lowest), each with half the weight in
            the loss of the one above. Their convolutions are in no exported model.
        dropout: in training, the share of channels set to 0 after the bottleneck and each block above it but the top
            one, whose few channels the logits are read from; the random stream is flax's `dropout`.
        residual: add to each block's input, by a convolution 1x1 where channels differ, before its last activation.
        remat: compute each block again on the way back instead of keeping what is inside it: less memory, more time (on
            a CPU, XLA undoes it).
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
    prior: Literal["auto"] | tuple[float, ...] | None = None
    deep_supervision: bool = False
    dropout: float = 0.0
    residual: bool = False
    remat: bool = False

    @property
    def inference(self) -> "UNet":
        """The network without what training alone needs."""
        return self.clone(deep_supervision=False, dropout=0.0, remat=False)

    def check(self) -> None:
        """Raise an InputError for settings that do not fit together."""
        if self.norm == "group":
            check_groups(self.widths, self.groups)
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is {self.dropout}: give a share from 0 to below 1, such as 0.2.")
        if self.deep_supervision and len(self.widths) < 4:
            raise InputError(
                f"deep supervision is of the levels between the top and the lowest, of which {len(self.widths)} widths "
                "leave none: give at least 4, or leave out --model.deep-supervision."
            )

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
            train: normalise by the batch, and update the running statistics. With `deep_supervision`, logits of the
                coarser levels go to the collection `supervised`, the coarsest first.

        Raises:
            InputError: if the size is no multiple of `stride`, `out_channels` or `prior` is not known, or settings do
                not fit together.
        """
        if self.out_channels is None:
            raise InputError("UNet(out_channels=None) waits for a class table: give a number to use it alone.")
        check_size(image.shape[1], image.shape[2], self.stride)
        if self.prior == "auto":
            raise InputError('UNet(prior="auto") waits for masks: give a share for each class to use it alone.')
        self.check()
        bias_init = None if self.prior is None else prior_bias(self.prior, self.out_channels)
        logits = partial(conv, self.out_channels, 1, dtype="float32", bias_init=bias_init)  # half would round them
        block = partial(
            nn.remat(Block, static_argnums=(3,)) if self.remat else Block,
            norm=self.norm,
            groups=self.groups,
            epsilon=self.epsilon,
            activation=self.activation,
            bias=self.bias,
            dtype=self.dtype,
            residual=self.residual,
        )
        dropped = self.dropout > 0 and train
        x, v = image.astype(self.dtype), None if valid is None else valid[..., None]
        depth = len(self.widths) - 1
        skips = []
        for level in range(1, depth + 1):
            x = block((self.widths[level - 1], self.widths[level - 1]), name=f"enc{level}")(x, v, train)
            skips.append((x, v))
            x = max_pool(x)
            v = None if v is None else nn.max_pool(v, (2, 2), strides=(2, 2))
        x = block((self.widths[depth], self.widths[depth]), name="bottleneck")(x, v, train)
        x = drop_channels(self.make_rng("dropout"), x, self.dropout) if dropped else x
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
            x = drop_channels(self.make_rng("dropout"), x, self.dropout) if dropped and level > 1 else x
            if self.deep_supervision and 1 < level < depth and (train or self.is_initializing()):
                coarse = logits(x=x, name=f"head{level}")
                if train:
                    self.sow("supervised", "logits", coarse)
        return logits(x=x, name="final_conv")


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
