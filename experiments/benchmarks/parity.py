"""The same training in PyTorch and in jaxseg: a narrow U-Net, the same first weights, the same batches.

    python experiments/benchmarks/parity.py --root /path/to/coco --classes person --out parity.png

It prints both losses of each epoch, then the seconds of a step of each and their ratio, and draws both curves and the
difference of the losses step by step. Needs PyTorch: pip install -e '.[torch]'.

Expect the first steps' losses to agree to 6 or 7 digits, and the curves to lie on one another. The difference of single
steps grows to about 1 % within two epochs and stays there: rounding puts a rectifier on the other side of zero here and
there, and every step builds on the one before. Two runs of PyTorch, with one thread and with two, part just so.

On 80 photographs of `person` from COCO at 128 x 128 it takes about a minute on two idle CPU cores, and jaxseg's step
1.5 times as long as PyTorch's. On a busy machine compare the fastest steps: waiting threads spoil the median. Without
`--root` it takes the embedded sample and its laptops, televisions and mobile phones.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from torch import nn
from torch_peer import TorchUNet, load_strictly

from jaxseg.arrays import VOID, Batch
from jaxseg.config import Config
from jaxseg.data.loader import eval_batches, steps_per_epoch, train_batches
from jaxseg.data.samples import Data, open_split
from jaxseg.loop import compile_steps
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.plots import BLUE, DPI, GREY, INK, ORANGE, text_style, write_figure
from jaxseg.sharding import data_parallel
from jaxseg.torch_weights import to_state_dict


@dataclass(frozen=True)
class Arguments:
    """Train a narrow U-Net in PyTorch and in jaxseg, and compare.

    Attributes:
        root: a folder in COCO's layout; None: the embedded sample.
        classes: the categories that are foreground.
        out: the picture.
        widths: channels of each level.
        size: height and width of the images.
        batch_size: images a step.
        learning_rate: of Adam.
        epochs: passes over the training images.
        seed: of the first weights and the order of the images.
    """

    root: Path | None = None
    classes: tuple[str, ...] = ("laptop", "tv", "cell phone")
    out: Path = Path("parity.png")
    widths: tuple[int, ...] = (16, 32, 64, 128)
    size: int = 128
    batch_size: int = 2
    learning_rate: float = 3e-4
    epochs: int = 5
    seed: int = 0


class Torch:
    """The side of PyTorch."""

    def __init__(self, arguments: Arguments, weights: dict[str, np.ndarray]) -> None:
        self.network = TorchUNet(arguments.widths)
        load_strictly(self.network, weights)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=arguments.learning_rate)

    def loss(self, batch: Batch) -> torch.Tensor:
        image = torch.from_numpy(np.asarray(batch.image).transpose(0, 3, 1, 2) / np.float32(255))
        valid, mask = torch.from_numpy(valid_pixels(batch)), torch.from_numpy(np.asarray(batch.mask))
        return nn.functional.binary_cross_entropy_with_logits(self.network(image)[:, 0][valid], mask[valid].float())

    def step(self, batch: Batch) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def evaluate(self, batch: Batch) -> float:
        with torch.no_grad():
            return float(self.loss(batch))


class Jaxseg:
    """The side of jaxseg, on one device."""

    def __init__(self, arguments: Arguments, data: Data) -> None:
        model, optimizer = UNet(arguments.widths, out_channels=1), Adam(arguments.learning_rate)
        self.compiled = compile_steps(Config(data=data, model=model, optimizer=optimizer), data_parallel(1))
        self.state = self.compiled.create(jax.random.key(arguments.seed))

    def step(self, batch: Batch) -> float:
        self.state, result = self.compiled.train(self.state, jax.device_put(batch, self.compiled.layout.batch))
        return float(result.loss)

    def evaluate(self, batch: Batch) -> float:
        result, _ = self.compiled.evaluate(self.state, jax.device_put(batch, self.compiled.layout.batch))
        return float(result.loss)


def valid_pixels(batch: Batch) -> np.ndarray:
    return (np.asarray(batch.mask) != VOID) & (np.asarray(batch.weight) > 0)[:, None, None]


class Measured(NamedTuple):
    """Of each batch and side, PyTorch and jaxseg: loss and seconds; of each batch, how many pixels count."""

    losses: np.ndarray
    seconds: np.ndarray
    pixels: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """The loss of each side, over pixels."""
        return self.pixels @ self.losses / self.pixels.sum()


def in_turns(sides: tuple[Callable[[Batch], float], ...], batches: Iterator[Batch]) -> Measured:
    """Each side on all batches, 20 at a time: the threads of the other are asleep by then, most of the time."""
    losses, seconds, pixels = [], [], []
    while turn := list(islice(batches, 20)):
        found = np.zeros((2, len(turn), len(sides)))
        for number, side in enumerate(sides):
            for place, batch in enumerate(turn):
                begin = time.perf_counter()
                found[0, place, number] = side(batch)
                found[1, place, number] = time.perf_counter() - begin
        losses.extend(found[0])
        seconds.extend(found[1])
        pixels.extend(valid_pixels(batch).sum() for batch in turn)
    return Measured(np.array(losses), np.array(seconds), np.array(pixels))


def main() -> None:
    """The benchmark."""
    arguments = tyro.cli(Arguments, description=__doc__)
    size, batch_size = arguments.size, arguments.batch_size
    data = Data(root=arguments.root, classes=arguments.classes, height=size, width=size)
    train = open_split(data, "train")
    val = open_split(data, "val", train.table)
    steps = steps_per_epoch(train, batch_size)
    ours = Jaxseg(arguments, data)
    theirs = Torch(arguments, to_state_dict(ours.state.params, ours.state.batch_stats))
    print(f"{len(train)} training and {len(val)} validation images: {train.files.json}")
    print(f"widths {arguments.widths}, {size} x {size}, batch {batch_size}, {steps} steps an epoch")
    print("epoch   PyTorch train   jaxseg train   difference     PyTorch val     jaxseg val   difference")
    trained: list[Measured] = []
    curves = np.zeros((arguments.epochs, 2, 2))  # epoch; training and validation; PyTorch and jaxseg
    with train_batches(train, batch_size, seed=arguments.seed) as loaded:
        for epoch in range(arguments.epochs):
            batches = (each.batch for each in islice(loaded, steps))
            trained.append(in_turns((theirs.step, ours.step), batches))
            with eval_batches(val, batch_size) as held_out:
                checked = in_turns((theirs.evaluate, ours.evaluate), (each.batch for each in held_out))
            curves[epoch] = trained[-1].means, checked.means
            row = "".join(f"{a:16.6f}{b:15.6f}{abs(b / a - 1):13.1e}" for a, b in curves[epoch])
            print(f"{epoch + 1:5d}{row}", flush=True)
    losses = np.concatenate([epoch.losses for epoch in trained])
    tell(losses, np.concatenate([epoch.seconds for epoch in trained]))
    draw(arguments.out, curves, losses)
    print(f"Picture: {arguments.out}")


def tell(losses: np.ndarray, seconds: np.ndarray) -> None:
    """How far the losses are apart, and how long steps take."""
    apart = relative(losses)
    print(f"a step's losses differ by at most {apart[:20].max():.1e} in the first 20 steps, {apart.max():.1e} in all")
    for name, (torch_time, our_time) in (
        ("median", np.median(seconds[1:], axis=0)),
        ("fastest", seconds.min(axis=0)),
    ):
        print(
            f"seconds a step, {name}: PyTorch {torch_time:.3f}, jaxseg {our_time:.3f}: "
            f"jaxseg takes {our_time / torch_time:.2f} times as long"
        )


def relative(losses: np.ndarray) -> np.ndarray:
    return np.abs(losses[:, 1] / losses[:, 0] - 1)


def draw(path: Path, curves: np.ndarray, losses: np.ndarray) -> None:
    """The loss curves of both on the left; on the right how far each step's losses are apart."""
    figure = Figure(figsize=(10, 3.8), dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(curves) + 1)
    for which, (name, colour) in enumerate((("training", BLUE), ("validation", ORANGE))):
        theirs, ours = curves[:, which].T
        left.plot(epochs, theirs, color=colour, lw=7, alpha=0.3, solid_capstyle="round", label=f"PyTorch, {name}")
        left.plot(epochs, ours, "o-", color=colour, lw=1.4, ms=4, label=f"jaxseg, {name}")
    left.set_xticks(epochs)
    left.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2, fontsize=8, frameon=False, labelcolor=INK)
    places = np.arange(1, len(losses) + 1) * len(curves) / len(losses)
    right.semilogy(places, relative(losses), ".", color=GREY, ms=3)
    labels = (("epoch", "loss"), ("epochs of training", "relative difference of a step's losses"))
    for axes, (across, up) in zip((left, right), labels, strict=True):
        axes.set_xlabel(across, fontsize=9, **text_style())
        axes.set_ylabel(up, fontsize=9, **text_style())
        axes.tick_params(labelsize=8, colors=INK)
        axes.grid(color="#E4E4E4", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    write_figure(path, figure)


if __name__ == "__main__":
    main()
