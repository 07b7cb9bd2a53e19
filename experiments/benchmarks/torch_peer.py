"""PyTorch's side: the same network, trained and run as a careful user does."""

import contextlib
import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from cases import Case
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jaxseg.arrays import Batch

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
PLAIN = ("eager", "channels_last")
MODES = (*PLAIN, "compiled", "compiled, channels_last") if ON_GPU else (*PLAIN, "compiled")
"""On a CPU channels_last lost under `torch.compile` as well, and each mode compiles for half a minute."""


class TorchUNet(nn.Module):
    """The plain U-Net as one writes it in PyTorch, up to the logits."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = range(1, len(widths))
        self.pool = nn.MaxPool2d(2)
        for level, (before, width) in enumerate(pairwise((3, *widths[:-1])), 1):
            self.add_module(f"enc{level}", block(before, width))
        self.bottleneck = block(*widths[-2:])
        for level, (width, below) in enumerate(pairwise(widths), 1):
            self.add_module(f"upconv{level}", nn.ConvTranspose2d(below, width, 2, stride=2))
            self.add_module(f"dec{level}", block(2 * width, width))
        self.final_conv = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = {}
        for level in self.levels:
            skips[level] = self.get_submodule(f"enc{level}")(x)
            x = self.pool(skips[level])
        x = self.bottleneck(x)
        for level in reversed(self.levels):
            up = self.get_submodule(f"upconv{level}")(x)
            x = self.get_submodule(f"dec{level}")(torch.cat([skips[level], up], dim=1))
        return self.final_conv(x)


def block(before: int, after: int) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def load_strictly(network: nn.Module, weights: dict[str, np.ndarray]) -> None:
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.items()}, strict=True)


def use_the_machine() -> None:
    """As many threads as XLA takes; on a GPU let cuDNN choose by trial."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cudnn.benchmark = True


class Peer:
    """A network in one of the modes, and its fused Adam; bfloat16 by autocast."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray] | None = None, mode: str = "eager") -> None:
        self.layout = torch.channels_last if "channels_last" in mode else torch.contiguous_format
        network = TorchUNet(case.widths)
        if weights:
            load_strictly(network, weights)
        self.network = network.to(DEVICE, memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4, fused=True)
        self.half = case.dtype == "bfloat16"
        compiles = mode.startswith("compiled")
        self.loss_of = torch.compile(self.loss_in) if compiles else self.loss_in
        self.run = torch.compile(self.network) if compiles else self.network

    def put(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(DEVICE, non_blocking=True).contiguous(memory_format=self.layout)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(DEVICE, torch.bfloat16) if self.half else contextlib.nullcontext()

    def loss_in(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        with self.autocast():
            logits = self.network(images)
        return nn.functional.binary_cross_entropy_with_logits(logits.float(), masks)

    def step(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """The loss, not waited for; the batch lies in the host's memory."""
        self.optimizer.zero_grad()
        loss = self.loss_of(self.put(images), masks.to(DEVICE, non_blocking=True))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), self.autocast():
            return torch.sigmoid(self.run(self.put(images)).float())


def wait() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in 0..1 and masks, channels first, as the loader of a careful user hands them over."""
    images = torch.from_numpy(np.asarray(batch.image).transpose(0, 3, 1, 2).astype(np.float32, order="C") / 255)
    masks = torch.from_numpy(np.asarray(batch.mask)[:, None].astype(np.float32))
    return (images.pin_memory(), masks.pin_memory()) if ON_GPU else (images, masks)


def training_flops(case: Case) -> float:
    """Floating-point operations of a training step's convolutions as they are defined, however one computes them."""
    with torch.device("meta"):
        network, images = TorchUNet(case.widths), torch.empty(case.batch, 3, *case.size)
        with FlopCounterMode(display=False) as counter:
            network(images).sum().backward()
    return counter.get_total_flops()


def peak_memory() -> int | None:
    """Bytes that tensors took at most on the GPU; None without one."""
    return torch.cuda.max_memory_allocated() if ON_GPU else None


def losses_of_epochs(peer: Peer, loader: "torch.utils.data.DataLoader[list[torch.Tensor]]") -> Iterator[float]:
    """The original's loop, epoch by epoch: the mean of the batches' losses, each looked at."""
    while True:
        total = 0.0
        for images, masks in loader:
            total += peer.step(images, masks).item()
        yield total / len(loader)
