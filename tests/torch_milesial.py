"""PyTorch U-Nets as other code bases write them, each from its description: their names, their order, their padding."""

from itertools import pairwise
from typing import Any

from torch_unet import block, torch

if torch is not None:
    from torch import nn

    class DoubleConv(nn.Module):
        def __init__(self, before: int, after: int, middle: int | None = None, bias: bool = False) -> None:
            super().__init__()
            middle = middle or after
            self.double_conv = nn.Sequential(
                nn.Conv2d(before, middle, 3, padding=1, bias=bias),
                nn.BatchNorm2d(middle),
                nn.ReLU(inplace=True),
                nn.Conv2d(middle, after, 3, padding=1, bias=bias),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.double_conv(x)

    class Down(nn.Module):
        def __init__(self, before: int, after: int, bias: bool) -> None:
            super().__init__()
            self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(before, after, bias=bias))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.maxpool_conv(x)

    class Up(nn.Module):
        """Pads what came up to the size of the skip, then (skip, up)."""

        def __init__(self, deep: int, skip: int, after: int, bilinear: bool, bias: bool) -> None:
            super().__init__()
            if bilinear:
                self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                self.conv = DoubleConv(deep + skip, after, (deep + skip) // 2, bias)
            else:
                self.up = nn.ConvTranspose2d(deep, skip, 2, stride=2)
                self.conv = DoubleConv(2 * skip, after, bias=bias)

        def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
            up = self.up(deep)
            rows, columns = skip.shape[2] - up.shape[2], skip.shape[3] - up.shape[3]
            up = nn.functional.pad(up, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            return self.conv(torch.cat([skip, up], dim=1))

    class OutConv(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(before, after, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    class MilesialUNet(nn.Module):
        """Depth and widths are its own but for the depth, which it fixes at 4."""

        def __init__(
            self,
            n_channels: int,
            n_classes: int,
            bilinear: bool = False,
            width: int = 64,
            depth: int = 4,
            bias: bool = False,
        ) -> None:
            super().__init__()
            self.depth = depth
            widths = [width * 2**level for level in range(depth)]
            widths.append(width * 2**depth // (2 if bilinear else 1))
            self.inc = DoubleConv(n_channels, widths[0], bias=bias)
            for level, (before, after) in enumerate(pairwise(widths), 1):
                self.add_module(f"down{level}", Down(before, after, bias))
            deep = widths[-1]
            for number in range(1, depth + 1):
                skip = widths[depth - number]
                after = skip // 2 if bilinear and number < depth else skip
                self.add_module(f"up{number}", Up(deep, skip, after, bilinear, bias))
                deep = after
            self.outc = OutConv(deep, n_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = [self.inc(x)]
            for level in range(1, self.depth + 1):
                skips.append(self.get_submodule(f"down{level}")(skips[-1]))
            x = skips.pop()
            for number in range(1, self.depth + 1):
                x = self.get_submodule(f"up{number}")(x, skips.pop())
            return self.outc(x)

    class PlainUNet(nn.Module):
        """`enc`, `bottom`, `up`, `dec`, `head`; (up, skip)."""

        def __init__(self, channels: int, classes: int, width: int = 16, depth: int = 3) -> None:
            super().__init__()
            self.depth = depth
            widths = [width * 2**level for level in range(depth + 1)]
            for level, (before, after) in enumerate(pairwise([channels, *widths[:-1]]), 1):
                self.add_module(f"enc{level}", block(before, after, "batch"))
            self.bottom = block(widths[-2], widths[-1], "batch")
            for level in range(depth, 0, -1):
                self.add_module(f"up{level}", nn.ConvTranspose2d(widths[level], widths[level - 1], 2, stride=2))
                self.add_module(f"dec{level}", block(widths[level], widths[level - 1], "batch"))
            self.head = nn.Conv2d(width, classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for level in range(1, self.depth + 1):
                x = self.get_submodule(f"enc{level}")(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for level in range(self.depth, 0, -1):
                x = torch.cat([self.get_submodule(f"up{level}")(x), skips.pop()], dim=1)
                x = self.get_submodule(f"dec{level}")(x)
            return self.head(x)

    class NamedUNet(nn.Module):
        """`encoder1.enc1conv1`, `bottleneck.bottleneckconv1`, `upconv4`, `decoder4.dec4conv1`, `conv`; (up, skip)."""

        def __init__(self, channels: int = 3, classes: int = 1, width: int = 8, depth: int = 4) -> None:
            super().__init__()
            self.depth = depth
            widths = [width * 2**level for level in range(depth + 1)]
            for level, (before, after) in enumerate(pairwise([channels, *widths[:-1]]), 1):
                self.add_module(f"encoder{level}", named_block(before, after, f"enc{level}"))
            self.bottleneck = named_block(widths[-2], widths[-1], "bottleneck")
            for level in range(depth, 0, -1):
                self.add_module(f"upconv{level}", nn.ConvTranspose2d(widths[level], widths[level - 1], 2, stride=2))
                self.add_module(f"decoder{level}", named_block(widths[level], widths[level - 1], f"dec{level}"))
            self.conv = nn.Conv2d(width, classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for level in range(1, self.depth + 1):
                x = self.get_submodule(f"encoder{level}")(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottleneck(x)
            for level in range(self.depth, 0, -1):
                x = torch.cat([self.get_submodule(f"upconv{level}")(x), skips.pop()], dim=1)
                x = self.get_submodule(f"decoder{level}")(x)
            return torch.sigmoid(self.conv(x))

    def named_block(before: int, after: int, name: str) -> nn.Sequential:
        layers = nn.Sequential()
        for number, channels in enumerate((before, after), 1):
            layers.add_module(f"{name}conv{number}", nn.Conv2d(channels, after, 3, padding=1, bias=False))
            layers.add_module(f"{name}norm{number}", nn.BatchNorm2d(after))
            layers.add_module(f"{name}relu{number}", nn.ReLU(inplace=True))
        return layers

    class ConvPair(nn.Module):
        def __init__(self, before: int, after: int) -> None:
            super().__init__()
            self.conv = nn.Sequential(*DoubleConv(before, after).double_conv)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    class ListUNet(nn.Module):
        """`downs` and `ups` as lists, in which upsampling and block take turns; (skip, up)."""

        def __init__(self, channels: int = 3, classes: int = 1, widths: tuple[int, ...] = (8, 16, 32)) -> None:
            super().__init__()
            self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
            for before, after in pairwise((channels, *widths)):
                self.downs.append(ConvPair(before, after))
            for width in reversed(widths):
                self.ups.append(nn.ConvTranspose2d(2 * width, width, 2, stride=2))
                self.ups.append(ConvPair(2 * width, width))
            self.bottleneck = ConvPair(widths[-1], 2 * widths[-1])
            self.final_conv = nn.Conv2d(widths[0], classes, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for down in self.downs:
                x = down(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottleneck(x)
            for up, pair in zip(self.ups[::2], self.ups[1::2], strict=True):
                x = pair(torch.cat([skips.pop(), up(x)], dim=1))
            return self.final_conv(x)


def randomise(network: Any, seed: int = 0) -> Any:
    """Weights and running statistics that are not those of a fresh network, so that each one matters."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.1, 2.0),
            ):
                values.data.uniform_(low, high, generator=generator)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, torch.nn.GroupNorm):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return network
