"""The original's network in PyTorch, written from its description, and its weights as jaxseg's variables."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

try:
    import torch
    from torch import nn
except ImportError:  # there is no build for this Python here
    torch = TorchUNet = block = None

needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch, to compare with: pip install 'jaxseg[torch]'")

if torch is not None:
    torch.set_num_threads(1)  # the networks are small; more threads only wait for each other

    class TorchUNet(nn.Module):
        """Ends in the sigmoid, as the original does; `logits` stops before it."""

        def __init__(
            self,
            widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
            in_channels: int = 3,
            out_channels: int = 1,
            norm: str = "none",
            groups: int = 8,
            activation: str = "relu",
        ) -> None:
            super().__init__()
            after = (norm, groups, activation)
            self.depth = len(widths) - 1
            for level, (before, width) in enumerate(pairwise((in_channels, *widths[:-1])), 1):
                self.add_module(f"enc{level}", block(before, width, *after))
            self.bottleneck = block(widths[-2], widths[-1], *after)
            for level in range(self.depth, 0, -1):
                width = widths[level - 1]
                self.add_module(f"upconv{level}", nn.ConvTranspose2d(widths[level], width, kernel_size=2, stride=2))
                self.add_module(f"dec{level}", block(2 * width, width, *after))
            self.final_conv = nn.Conv2d(widths[0], out_channels, kernel_size=1)

        def logits(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for level in range(1, self.depth + 1):
                x = self.get_submodule(f"enc{level}")(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottleneck(x)
            for level in range(self.depth, 0, -1):
                x = self.get_submodule(f"upconv{level}")(x)
                x = self.get_submodule(f"dec{level}")(torch.cat([skips.pop(), x], dim=1))
            return self.final_conv(x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.logits(x))

    ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}

    def block(before: int, width: int, norm: str, groups: int = 8, activation: str = "relu") -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (before, width):
            layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(width))
            if norm == "group":
                layers.append(nn.GroupNorm(groups, width))
            layers.append(ACTIVATIONS[activation]())
        return nn.Sequential(*layers)


def torch_images(images: np.ndarray) -> Any:
    """uint8 [batch, height, width, channels] as PyTorch wants it: channels first, scaled to 0..1."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C") / 255)


def load_strictly(network: Any, state_dict: dict[str, np.ndarray]) -> None:
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state_dict.items()}, strict=True)


def to_variables(network: Any) -> dict[str, dict]:
    """The weights of a PyTorch U-Net as jaxseg's variables: the way back, by hand."""
    variables: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for name, tensor in network.state_dict().items():
        *module, suffix = name.split(".")
        value = tensor.detach().numpy().copy()
        if suffix == "num_batches_tracked":
            continue
        if value.ndim == 4:  # NCHW's order to NHWC's; only a transposed convolution has its inputs first
            value = value.transpose((2, 3, 0, 1) if name.startswith("upconv") else (2, 3, 1, 0))
        ours = {"running_mean": "mean", "running_var": "var", "bias": "bias"}.get(suffix)
        ours = ours or ("kernel" if value.ndim == 4 else "scale")
        node = variables["batch_stats" if suffix.startswith("running") else "params"]
        for part in module:
            node = node.setdefault(part, {})
        node[ours] = value
    return variables


def flat(tree: dict, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """A nested dict as {"enc1/0/kernel": leaf}."""
    found: dict[str, Any] = {}
    for name, child in tree.items():
        found |= flat(child, (*path, name)) if isinstance(child, dict) else {"/".join((*path, name)): child}
    return found
