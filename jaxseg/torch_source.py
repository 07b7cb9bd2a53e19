"""A U-Net as a Python file of its own, which needs PyTorch and nothing of jaxseg."""

import json
from collections.abc import Iterator
from typing import Any

from jaxseg.data.geometry import how_resized
from jaxseg.models.block import ACTIVATION_NAMES
from jaxseg.models.unet import UNet

FILE = '''\
"""A U-Net trained with jaxseg. This file needs PyTorch and nothing else.

    network = load_model("{weights}")
    masks = predict(network, images)

`images`: uint8 [batch, height, width, {channels}], {colours}; any {sides}.
{resized}
`masks`: uint8 [batch, height, width], positions in CLASSES.
"""

import torch
from torch import nn

HEIGHT, WIDTH, CHANNELS = {height}, {width}, {channels}
CLASSES = (
{classes}
)
SCALE = {scale}  # 0..255 to 0..1
{threshold}

class UNet(nn.Module):
    """Scaled images [batch, {channels}, height, width] to probabilities [batch, {outputs}, height, width]."""

    def __init__(self) -> None:
        super().__init__()
{layers}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return {activation}

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """What `forward` returns, before the {function}."""
{steps}


{functions}


def prepare(images: torch.Tensor) -> torch.Tensor:
    """uint8 [batch, height, width, {channels}] to what the network takes."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() * SCALE


@torch.inference_mode()
def predict(network: UNet, images: torch.Tensor) -> torch.Tensor:
    """The masks of uint8 images."""
    probabilities = network(prepare(images).to(next(network.parameters()).device))
    return {decision}.to(torch.uint8)


def load_model(path: str, device: str = "cpu") -> UNet:
    """The network with the weights of a file, ready to predict."""
    network = UNet()
    network.load_state_dict(torch.load(path, map_location=device, weights_only=True), strict=True)
    return network.to(device).eval()
'''

JOIN = """\
def join(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
{pad}    return torch.cat([{order}], dim=1)"""

PAD = """\
    height, width = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
    x = nn.functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
"""

BLOCK = """\
def block(before: int, middle: int, after: int) -> nn.Sequential:
    return nn.Sequential(
{layers}
    )"""


RESIDUAL = """\
class Residual(nn.Sequential):
    def __init__(self, before: int, after: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, kernel_size=1{bias})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *layers, activation, shortcut = self
        y = x
        for layer in layers:
            y = layer(y)
        return activation(y + shortcut(x))


"""


def torch_source(model: UNet, description: dict[str, Any], weights: str) -> str:
    """The text of a module with exactly this architecture, its preprocessing and classes; `weights` names its file."""
    binary = model.out_channels == 1
    return FILE.format(
        **{key: description[key] for key in ("height", "width", "channels", "scale")},
        resized=how_resized(*(description[key] for key in ("resize", "height", "width")), crop=description.get("crop")),
        weights=weights,
        colours="RGB" if description["channels"] == 3 else "grey",
        sides=f"sides that are multiples of {model.stride}" if model.stride > 1 else "height and width",
        classes="\n".join(f"    {json.dumps(name)}," for name in description["classes"]),
        threshold=f"THRESHOLD = {description['threshold']}\n" if binary else "",
        outputs=model.out_channels,
        layers="\n".join(f"        {line}" for line in layers(model, description["channels"])),
        activation="torch.sigmoid(self.logits(x))" if binary else "torch.softmax(self.logits(x), dim=1)",
        function="sigmoid" if binary else "softmax",
        steps="\n".join(f"        {line}" for line in steps(model)),
        functions="\n\n\n".join([block(model), join(model)]),
        decision="(probabilities[:, 0] > THRESHOLD)" if binary else "probabilities.argmax(dim=1)",
    )


def layers(model: UNet, channels: int) -> Iterator[str]:
    """The lines of `__init__`; modules with weights in the order of the state dict."""
    widths, depth = model.widths, len(model.widths) - 1
    for level, (before, width) in enumerate(zip((channels, *widths), widths[:-1], strict=False), 1):
        yield f"self.enc{level} = block({before}, {width}, {width})"
    yield "self.pool = nn.MaxPool2d(2)"
    yield f"self.bottleneck = block({(channels, *widths)[-2]}, {widths[-1]}, {widths[-1]})"
    if model.up != "transposed":
        corners = model.up == "bilinear_corners"
        yield f'self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners={corners})'
    below = widths[-1]
    for level in range(depth, 0, -1):
        width = after = widths[level - 1]
        if model.up == "transposed":
            yield f"self.upconv{level} = nn.ConvTranspose2d({below}, {width}, kernel_size=2, stride=2)"
            below = width
        else:
            after = widths[max(level - 2, 0)]
        yield f"self.dec{level} = block({width + below}, {width}, {after})"
        below = after
    yield f"self.final_conv = nn.Conv2d({below}, {model.out_channels}, kernel_size=1)"


def steps(model: UNet) -> Iterator[str]:
    """The lines of `logits`."""
    depth, source = len(model.widths) - 1, "x"
    for level in range(1, depth + 1):
        yield f"skip{level} = self.enc{level}({source})"
        source = f"self.pool(skip{level})"
    yield f"x = self.bottleneck({source})"
    for level in range(depth, 0, -1):
        up = f"self.upconv{level}(x)" if model.up == "transposed" else "self.up(x)"
        yield f"x = self.dec{level}(join(skip{level}, {up}))"
    yield "return self.final_conv(x)"


def block(model: UNet) -> str:
    lines = []
    for before, after in (("before", "middle"), ("middle", "after")):
        bias = "" if model.bias else ", bias=False"
        lines.append(f"nn.Conv2d({before}, {after}, kernel_size=3, padding=1{bias}),")
        if model.norm == "batch":
            lines.append(f"nn.BatchNorm2d({after}, eps={model.epsilon}),")
        elif model.norm == "group":
            lines.append(f"nn.GroupNorm({model.groups}, {after}, eps={model.epsilon}),")
        lines.append(f"nn.{ACTIVATION_NAMES[model.activation]}(),")
    shown = "\n".join(f"        {line}" for line in lines)
    if not model.residual:
        return BLOCK.format(layers=shown)
    made = BLOCK.replace("nn.Sequential", "Residual").format(layers=f"        before,\n        after,\n{shown}")
    return RESIDUAL.format(bias="" if model.bias else ", bias=False") + made


def join(model: UNet) -> str:
    return JOIN.format(pad=PAD if model.pad else "", order="x, skip" if model.up_first else "skip, x")
