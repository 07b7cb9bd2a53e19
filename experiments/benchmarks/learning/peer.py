"""The same training in PyTorch: the original's recipe, and a careful one."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional

from jaxseg.arrays import VOID


class Arrays(NamedTuple):
    """A split in memory."""

    images: UInt8[np.ndarray, "images height width 3"]
    masks: UInt8[np.ndarray, "images height width"]


@dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Attributes:
        careful: BatchNorm, AdamW with one cycle, cross-entropy and Dice, random flips, crops and colours; otherwise the
            original's: no normalisation, Adam, cross-entropy, nothing random.
        learning_rate: the highest.
        batch_size: images a step.
    """

    careful: bool
    learning_rate: float
    batch_size: int


FAITHFUL = Recipe(careful=False, learning_rate=1e-4, batch_size=2)
CAREFUL = Recipe(careful=True, learning_rate=2e-3, batch_size=8)


class Network(nn.Module):
    """The plain U-Net as one writes it in PyTorch, up to the logits."""

    def __init__(self, widths: tuple[int, ...], outputs: int, norm: bool) -> None:
        super().__init__()
        self.levels = range(1, len(widths))
        for level, (before, width) in enumerate(pairwise((3, *widths[:-1])), 1):
            self.add_module(f"enc{level}", block(before, width, norm))
        self.bottleneck = block(widths[-2], widths[-1], norm)
        for level, (width, below) in enumerate(pairwise(widths), 1):
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(below, width, 2, stride=2))
            self.add_module(f"dec{level}", block(2 * width, width, norm))
        self.final_conv = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = {}
        for level in self.levels:
            skips[level] = self.get_submodule(f"enc{level}")(x)
            x = functional.max_pool2d(skips[level], 2)
        x = self.bottleneck(x)
        for level in reversed(self.levels):
            up = self.get_submodule(f"upconv{level}")(x)
            x = self.get_submodule(f"dec{level}")(torch.cat([skips[level], up], dim=1))
        return self.final_conv(x)


def block(before: int, after: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers)


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """The mean over the pixels that are not void."""
    if logits.shape[1] > 1:
        return functional.cross_entropy(logits, mask.long(), ignore_index=VOID)
    valid = mask != VOID
    return functional.binary_cross_entropy_with_logits(logits[:, 0][valid], (mask[valid] == 1).float())


def dice(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice over the batch, the mean of the classes but the background."""
    valid = (mask != VOID)[:, None]
    outputs = logits.shape[1]
    probability = logits.softmax(1)[:, 1:] if outputs > 1 else logits.sigmoid()
    truth = torch.stack([mask == index for index in range(1, max(2, outputs))], 1) & valid
    probability = probability * valid
    both, total = (probability * truth).sum((0, 2, 3)), probability.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return (1 - (2 * both + 1) / (total + 1)).mean()


def changed(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image and its mask mirrored, cropped (half to the whole of its area) and recoloured at random."""

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    height, width = images.shape[2:]
    out_images, out_masks = torch.empty_like(images), torch.empty_like(masks)
    for place, (image, mask) in enumerate(zip(images, masks, strict=True)):
        side = math.sqrt(draw(0.5, 1.0))
        rows, columns = round(side * height), round(side * width)
        top, left = int(draw(0, height - rows + 1)), int(draw(0, width - columns + 1))
        window = (slice(top, top + rows), slice(left, left + columns))
        size = (height, width)
        image = functional.interpolate(image[:, *window][None], size, mode="bilinear", antialias=True)[0]
        mask = functional.interpolate(mask[window][None, None].float(), size, mode="nearest")[0, 0].to(mask.dtype)
        if draw(0, 1) < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        image = image * draw(0.7, 1.3)
        grey = image.mean(0, keepdim=True)
        image = (image - grey.mean()) * draw(0.7, 1.3) + grey.mean()
        image = (image - grey) * draw(0.7, 1.3) + grey
        out_images[place], out_masks[place] = image.clamp(0, 1), mask
    return out_images, out_masks


def train(
    split: Arrays, held: Arrays, recipe: Recipe, *, widths: tuple[int, ...], outputs: int, epochs: int, seed: int
) -> dict[str, Tensor]:
    """From images in memory to the last weights, channels last; after each epoch the loss on those `held` out."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(seed)
    network = Network(widths, outputs, norm=recipe.careful).to(device)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  PyTorch's stubs lack it
    images, masks = tensors(split)
    steps = len(images) // recipe.batch_size
    kind = torch.optim.AdamW if recipe.careful else torch.optim.Adam
    optimizer = kind(network.parameters(), lr=recipe.learning_rate, fused=True)
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps * epochs)
        if recipe.careful
        else None
    )
    for _ in range(epochs):
        network.train()
        order = torch.randperm(len(images), generator=generator)
        for places in order[: steps * recipe.batch_size].split(recipe.batch_size):
            batch, mask = images[places].float() / 255, masks[places]
            if recipe.careful:
                batch, mask = changed(batch, mask, generator)
            batch, mask = batch.to(device, memory_format=torch.channels_last), mask.to(device)
            logits = network(batch)
            loss = cross_entropy(logits, mask)
            if recipe.careful:
                loss = loss + dice(logits, mask)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if schedule:
                schedule.step()
        validate(network, held, device)
    return {name: value.cpu().contiguous() for name, value in network.state_dict().items()}


@torch.inference_mode()
def validate(network: Network, held: Arrays, device: str) -> float:
    """The mean loss of batches of 8."""
    network.eval()
    losses = [
        cross_entropy(network(image.to(device, memory_format=torch.channels_last).float() / 255), mask.to(device))
        for image, mask in zip(*(part.split(8) for part in tensors(held)), strict=True)
    ]
    return float(torch.stack(losses).mean())


def tensors(split: Arrays) -> tuple[Tensor, Tensor]:
    """Images [images, 3, height, width] and masks."""
    return torch.from_numpy(split.images).permute(0, 3, 1, 2), torch.from_numpy(split.masks)
