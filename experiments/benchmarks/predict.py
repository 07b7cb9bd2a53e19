"""A folder of photographs to masks: `jaxseg.predict` against the same network in PyTorch, in a plain loop.

    python experiments/benchmarks/predict.py FOLDER

The loop decodes with Pillow, runs batches of 8 in `torch.inference_mode`, and writes the same files: a mask PNG, an
overlay and COCO's run-length codes. The sides take turns, each into an empty folder; the first turn of each compiles
and warms the disk, and does not count. Beside the whole time stands that of the network alone, on batches that lie
ready, so that the rest is what reading, resizing and writing cost.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from cases import Case
from ours import predictor_of
from PIL import Image
from pycocotools import mask as rle
from torch_peer import TorchUNet, load_strictly

from jaxseg import predict_files
from jaxseg.pictures import overlay
from jaxseg.torch_weights import to_state_dict


@dataclass(frozen=True)
class Arguments:
    """What is compared.

    Attributes:
        folder: of photographs.
        widths: of the network.
        size: of the network's images, height and width.
        batch_size: at once.
        repeats: turns that count.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    widths: tuple[int, ...] = (16, 32, 64, 128)
    size: int = 224
    batch_size: int = 8
    repeats: int = 5


def plain_loop(network: TorchUNet, paths: list[Path], out: Path, arguments: Arguments) -> None:
    """As one writes it."""
    (out / "mask").mkdir(parents=True)
    (out / "overlay").mkdir()
    results = []
    for start in range(0, len(paths), arguments.batch_size):
        pictures, inputs = [], []
        for path in paths[start : start + arguments.batch_size]:
            with Image.open(path) as image:
                picture = image.convert("RGB")
            pictures.append(np.asarray(picture))
            small = picture.resize((arguments.size, arguments.size), Image.Resampling.BILINEAR)
            inputs.append(np.asarray(small).transpose(2, 0, 1) / np.float32(255))
        with torch.inference_mode():
            found = torch.sigmoid(network(torch.from_numpy(np.stack(inputs))))
        for number, (picture, probability) in enumerate(zip(pictures, found, strict=True), start):
            full = torch.nn.functional.interpolate(probability[None], picture.shape[:2], mode="bilinear")[0, 0].numpy()
            mask = (full > 0.5).astype(np.uint8)
            stem = paths[number].stem
            Image.fromarray(mask * np.uint8(255)).save(out / "mask" / f"{stem}.png")
            Image.fromarray(overlay(picture, mask)).save(out / "overlay" / f"{stem}.jpg", quality=90)
            if mask.any():
                code: Any = rle.encode(np.asfortranarray(mask))
                code = {"size": code["size"], "counts": code["counts"].decode()}
                score = float(full[mask > 0].mean())
                results.append({"image_id": number, "category_id": 1, "segmentation": code, "score": score})
    (out / "results.json").write_text(json.dumps(results))


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    """The benchmark."""
    arguments = tyro.cli(Arguments, description=__doc__)
    paths = sorted(arguments.folder.glob("*.jpg"))
    with tempfile.TemporaryDirectory() as scratch:
        case = Case("narrow", arguments.widths, (arguments.size, arguments.size), arguments.batch_size)
        model = predictor_of(case, Path(scratch) / "model")
        network = TorchUNet(arguments.widths)
        load_strictly(network, to_state_dict(**model.variables))
        count = -(-len(paths) // arguments.batch_size)
        shape = (arguments.batch_size, arguments.size, arguments.size, 3)
        batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        tensor = torch.from_numpy(batch.transpose(0, 3, 1, 2) / np.float32(255))

        def torch_network() -> None:
            with torch.inference_mode():
                for _ in range(count):
                    torch.sigmoid(network(tensor))

        def jax_network() -> None:
            for _ in range(count):
                model.probabilities(batch)

        def ours(out: Path) -> None:
            predict_files(model, paths, out, batch_size=arguments.batch_size)

        sides = {
            "PyTorch, all": partial(plain_loop, network, paths, arguments=arguments),
            "jaxseg, all": ours,
            "PyTorch, network": lambda _: torch_network(),
            "jaxseg, network": lambda _: jax_network(),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(arguments.repeats + 1):
            for name, side in sides.items():
                taken = seconds(partial(side, Path(scratch) / f"{turn} {name}" / "out"))
                if turn:
                    times[name].append(taken)
        agree = np.mean(
            [
                (np.asarray(Image.open(a)) == np.asarray(Image.open(b))).mean()
                for a, b in zip(
                    sorted((Path(scratch) / "0 PyTorch, all").rglob("mask/*.png")),
                    sorted((Path(scratch) / "0 jaxseg, all").rglob("mask/*.png")),
                    strict=True,
                )
            ]
        )
    print(
        f"{len(paths)} photographs, widths {arguments.widths}, {arguments.size} x {arguments.size}; masks: {agree:.2%}"
    )
    for name, taken in times.items():
        print(f"{name:18s} best {min(taken):6.2f} s, median {statistics.median(taken):6.2f} s")
    for what, of in (("best", min), ("median", statistics.median)):
        found = {name: of(taken) for name, taken in times.items()}
        ratio = found["jaxseg, all"] / found["PyTorch, all"]
        rest = {side: found[f"{side}, all"] - found[f"{side}, network"] for side in ("PyTorch", "jaxseg")}
        shares = ", ".join(f"{side} {rest[side]:.2f} s ({rest[side] / found[f'{side}, all']:.0%})" for side in rest)
        print(f"{what}: jaxseg takes {ratio:.2f} times PyTorch's time; not the network: {shares}")


if __name__ == "__main__":
    main()
