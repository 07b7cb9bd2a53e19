"""The COCO index against pycocotools, on a file of the size of COCO train2017.

    python experiments/benchmarks/big_index.py

writes `instances_big.json` (118,287 images, 860,001 annotations, about 448 MB, from a seed), then measures in child
processes, in turn: `pycocotools.coco.COCO(file)`; jaxseg's first build, which parses, checks and keeps the index; its
opening again; and epochs of random access. It prints a table, and writes it as JSON beside it.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

IMAGES, ANNOTATIONS, CATEGORIES = 118_287, 860_001, 80
CROWDS = 0.012  # the share of run lengths, as in train2017
PARTS = (0.92, 0.05, 0.02, 0.01)  # shares of annotations of 1, 2, 3, 4 outlines


def write_big(path: Path, images: int, annotations: int, seed: int = 0) -> None:
    """A file of COCO's shape and texture: its keys, two decimals, outlines and runs of its lengths, in no order."""
    random = np.random.default_rng(seed)
    sizes = random.permuted(
        np.resize([[480, 640], [640, 480], [427, 640], [640, 427], [375, 500]], (images, 2)), axis=0
    )
    ids = np.sort(random.choice(600_000, images, replace=False)).tolist()
    with path.open("w") as file:
        file.write(
            '{"info": {"description": "made by experiments/benchmarks/big_index.py"}, "licenses": [], "images": ['
        )
        for n, (id_, (height, width)) in enumerate(zip(ids, sizes.tolist(), strict=True)):
            name = f"{id_:012d}.jpg"
            entry = {"license": 1, "file_name": name, "coco_url": f"http://images.cocodataset.org/train2017/{name}"}
            entry |= {"height": height, "width": width, "date_captured": "2013-11-16 14:11:30"}
            entry |= {"flickr_url": f"http://farm1.staticflickr.com/94/{id_}_d9e5b891ed_z.jpg", "id": id_}
            file.write((", " if n else "") + json.dumps(entry))
        file.write('], "annotations": [')
        owners = random.integers(0, images, annotations).tolist()
        names = random.permutation(annotations).tolist()
        for n, (owner, name) in enumerate(zip(owners, names, strict=True)):
            entry = annotation(random, *sizes[owner].tolist())
            entry |= {"image_id": ids[owner], "category_id": 1 + name % CATEGORIES, "id": name + 1}
            file.write((", " if n else "") + json.dumps(entry))
        listed = [{"supercategory": "thing", "id": i, "name": f"thing {i}"} for i in range(1, CATEGORIES + 1)]
        file.write(f'], "categories": {json.dumps(listed)}}}')


def annotation(random: np.random.Generator, height: int, width: int) -> dict[str, Any]:
    low = random.random(2) * [width * 0.7, height * 0.7]
    extent = random.random(2) * ([width, height] - low) * 0.9
    box = np.round([*low, *extent], 2).tolist()
    crowd = random.random() < CROWDS
    if crowd:
        runs = random.multinomial(height * width, random.dirichlet(np.ones(int(random.integers(300, 1600)))))
        segmentation: Any = {"counts": runs.tolist(), "size": [height, width]}
    else:
        segmentation = [outline(random, low, extent) for _ in range(1 + random.choice(4, p=PARTS))]
    area = float(random.random() * extent.prod())
    return {"segmentation": segmentation, "area": area, "iscrowd": int(crowd), "bbox": box}


def outline(random: np.random.Generator, low: np.ndarray, extent: np.ndarray) -> list[float]:
    points = int(np.clip(random.lognormal(np.log(13), 0.65), 4, 220))
    angles = np.arange(points) * (2 * np.pi / points)
    radius = 0.3 + 0.2 * random.random(points)
    ring = 0.5 + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.round(low + extent * ring, 2).ravel().tolist()


# What is measured, each in a process of its own.


def private() -> int:
    """Bytes of memory that belong to this process alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def theirs(path: Path) -> dict[str, Any]:
    from pycocotools.coco import COCO

    with measured() as found:
        coco = COCO(str(path))
    assert len(coco.imgs)
    return found


def build(path: Path) -> dict[str, Any]:
    from jaxseg.data.coco import read_index

    with measured() as found:
        index = read_index(path)
    assert index.kept, index.warnings()
    return found | {"kept": index.kept.path.stat().st_size}


def again(path: Path) -> dict[str, Any]:
    from jaxseg.data.coco import read_index

    with measured() as found:
        index = read_index(path)
    assert index.kept
    return found | {"pickled": len(pickle.dumps(index))}


def epochs(path: Path) -> dict[str, Any]:
    from jaxseg.data.coco import read_index

    before, index = private(), read_index(path)
    index.warnings()
    after, most, seconds = [], 0, []
    for epoch in range(4):
        start = time.perf_counter()
        for n, position in enumerate(np.random.default_rng(epoch).permutation(len(index)).tolist()):
            list(index.annotations(position))
            assert index.file_name(position)
            assert index.image_height[position] * index.image_width[position]
            if n % 5000 == 0:
                most = max(most, private() - before)
        after.append(private() - before)
        seconds.append(time.perf_counter() - start)
    return {"after_each_epoch": after, "most": most, "us_per_image": 1e6 * min(seconds) / len(index)}


class measured:
    """Wall and CPU seconds, the peak of memory, and private memory added."""

    def __enter__(self) -> dict[str, Any]:
        self.found: dict[str, Any] = {}
        self.private, self.wall, self.cpu = private(), time.perf_counter(), time.process_time()
        return self.found

    def __exit__(self, *_: object) -> None:
        self.found["wall"] = time.perf_counter() - self.wall
        self.found["cpu"] = time.process_time() - self.cpu
        self.found["private"] = private() - self.private
        self.found["peak"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


MEASURED = {"theirs": theirs, "build": build, "again": again, "epochs": epochs}


def child(what: str, path: Path, cache: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--path", str(path), "--child", what]
    run = subprocess.run(command, env={**os.environ, "JAXSEG_CACHE": str(cache)}, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, default=Path(tempfile.gettempdir()) / "instances_big.json")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--annotations", type=int, default=ANNOTATIONS)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "big_index.json")
    parser.add_argument("--child", choices=MEASURED, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(MEASURED[arguments.child](arguments.path)))
        return
    if not arguments.path.exists():
        print(f"writing {arguments.path}")
        write_big(arguments.path, arguments.images, arguments.annotations)
    cache = Path(tempfile.mkdtemp(prefix="big-index-"))
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in MEASURED}
    try:
        for _ in range(arguments.times):
            results["theirs"].append(child("theirs", arguments.path, cache))
            shutil.rmtree(cache)
            for name in ("build", "again", "epochs"):
                results[name].append(child(name, arguments.path, cache))
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    arguments.out.write_text(json.dumps({"bytes": arguments.path.stat().st_size, **results}, indent=2) + "\n")
    tell(arguments.path, results)


def tell(path: Path, results: dict[str, list[dict[str, Any]]]) -> None:
    print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB; best (median) of {len(results['build'])}")
    print(f"{'':28}{'wall s':>16}{'CPU s':>16}{'peak MB':>16}{'private MB added':>20}")
    names = {"theirs": "pycocotools.coco.COCO", "build": "jaxseg, first build", "again": "jaxseg, opened again"}
    for name, title in names.items():
        cells = [
            f"{min(values) / unit:.2f} ({statistics.median(values) / unit:.2f})"
            for key, unit in (("wall", 1), ("cpu", 1), ("peak", 1e6), ("private", 1e6))
            for values in [[run[key] for run in results[name]]]
        ]
        print(f"{title:28}{cells[0]:>16}{cells[1]:>16}{cells[2]:>16}{cells[3]:>20}")
    run = results["epochs"][-1]
    after = ", ".join(f"{value / 1e6:.1f}" for value in run["after_each_epoch"])
    print(f"epochs of random access: private MB after each {after}, at most {run['most'] / 1e6:.1f}; ", end="")
    print(f"{run['us_per_image']:.0f} us an image")
    print(f"kept {results['build'][-1]['kept'] / 1e6:.0f} MB; pickled {results['again'][-1]['pickled']} bytes")


if __name__ == "__main__":
    main()
