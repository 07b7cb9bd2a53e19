"""Whatever a COCO file says, it is drawn or refused by name, in bounded time and memory, and kills no process.

Files of mutated annotations go through doctor, index, masks and areas in a process of its own, whose memory is limited:
`python test_fuzz.py FOLDER FIRST COUNT` does it for the files of the seeds FIRST, FIRST + 1, ... and tells its counts.
"""

import collections
import faulthandler
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from coco_files import annotation, box, compressed, image, rle

from jaxseg.arrays import VOID
from jaxseg.check.examine import examine
from jaxseg.data.coco import CocoIndex, DataError, build, read_index
from jaxseg.data.geometry import MAX_PIXELS, Resize, place
from jaxseg.data.masks import Crowds, MaskRules, Overlap, Rasterize, Unknown, area, draw_mask
from jaxseg.data.settings import Data

resource = pytest.importorskip("resource", reason="needs the limits of a Unix process")

ANNOTATIONS = 50  # a file
MEGABYTES = 2000  # beside Python and its libraries; the largest image has 134 million pixels
SECONDS_A_FILE = 60  # on a busy machine; most take 0.02
NUMBERS: list[Any] = [
    *[math.nan, math.inf, -math.inf, 1e8, -1e8, 1e308, -1e308, 5e-324, -0.0, 0.1 + 0.2, 2.0**31, 2.0**26, 399.999999],
    *[0, 1, -1, 2**31, 2**31 - 1, -(2**31), 2**32, 2**63, -(2**63), 2**64, 10**400],
]
ODD: list[Any] = [None, True, False, "", "1", "nan", "\ud800", "\x00", [], [[]], {}, {"a": 1}, [1, "2"], *NUMBERS]
SIZES = [1, 2, 3, 7, 30, 40, 240, 480, 640, 1000, 1, 5, 50, 100, 333]
RARE_SIZES: list[Any] = [
    (1, MAX_PIXELS),
    (MAX_PIXELS, 1),
    (1, MAX_PIXELS + 1),
    (30_000, 4_000),
    (1, 10**8),
    (11_000, 12_000),
]
BAD_SIZES: list[Any] = [0, -1, 10**9, 2**31, 2**63, 10**400, "480", None, 480.5, math.nan, True, [480]]


def pick(random: np.random.Generator, choices: Any) -> Any:
    return choices[random.integers(len(choices))]


def outline(random: np.random.Generator, height: int, width: int) -> list[Any]:
    points = random.random((random.integers(3, 30), 2)) * [width, height]
    spread = pick(random, [1, 1, 1, 1.2, 3, 9.9, 10.1, 25, 1e6])
    centre = np.array([width, height]) / 2
    return (centre + (points - centre) * spread).round(pick(random, [0, 1, 2, 2, 9])).ravel().tolist()


def mutated_outline(random: np.random.Generator, height: int, width: int) -> Any:
    polygon = outline(random, height, width)
    kind = random.integers(10)
    if kind < 3:
        polygon[random.integers(len(polygon))] = pick(random, NUMBERS)
    elif kind < 5:
        polygon[random.integers(len(polygon))] = pick(random, ODD)
    elif kind == 5:
        polygon = polygon[: random.integers(len(polygon))]
    elif kind == 6:
        return pick(random, ODD)
    elif kind == 7:
        polygon = [polygon[i : i + 2] for i in range(0, len(polygon), 2)]
    elif kind == 8:
        polygon = polygon[:6] * int(random.integers(1, 300))
    return polygon


def mutated_runs(random: np.random.Generator, height: int, width: int) -> Any:
    pixels = height * width
    shape = (height, width) if pixels <= 10**6 else (30, 40)
    mask = np.zeros(shape, np.bool_)
    mask[: random.integers(shape[0] + 1), : random.integers(shape[1] + 1)] = True
    mask[:: random.integers(1, 5)] ^= random.random() < 0.3
    segmentation: dict[str, Any] = rle(mask)
    if random.random() < 0.2:
        segmentation["counts"] = [pixels] if random.random() < 0.5 else [0, pixels]
        segmentation["size"] = [height, width]
    counts = segmentation["counts"]
    if random.random() < 0.5 and pixels <= 10**6:
        counts = segmentation["counts"] = compressed(mask)
    kind = random.integers(10)
    if kind == 0:
        segmentation["size"] = pick(random, [segmentation["size"][::-1], [0, 0], [-height, -width], [1, pixels]])
    elif kind == 1:
        segmentation["size"] = pick(random, [*ODD, [2**31, 2], [float(height), float(width)], [height, str(width)]])
    elif kind == 2:
        segmentation["counts"] = pick(random, ODD)
    elif kind == 3:
        segmentation.pop(pick(random, ["size", "counts"]))
    elif kind < 8 and isinstance(counts, list):
        place = int(random.integers(len(counts)))
        change = random.integers(4)
        if change == 0:
            counts[place] = pick(random, ODD)
        elif change == 1 and len(counts) > 1:  # the sum stays
            step = int(random.integers(1, 2 * pixels))
            counts[place] += step
            counts[place - 1] -= step
        elif change == 2:
            counts[place:place] = [0] * int(random.integers(1, 2000))
        else:
            counts[place:place] = [2**62, 2**62, 2**62, 2**62] if random.random() < 0.5 else [-1, 1]
    elif kind < 8 and counts:
        place = int(random.integers(len(counts)))
        noise = "".join(map(chr, random.integers(40, 130, random.integers(0, 5))))
        segmentation["counts"] = counts[:place] + noise + counts[place + int(random.integers(0, 3)) :]
    return segmentation


def mutated_annotation(random: np.random.Generator, id_: int, owner: dict[str, Any]) -> dict[str, Any]:
    said = [owner.get(key) for key in ("height", "width")]
    height, width = said if all(type(n) is int and 0 < n < 10**9 for n in said) else (30, 40)
    kind = random.integers(10)
    segmentation: Any
    if kind < 6:
        count = 1 if kind else int(random.integers(0, 40))
        segmentation = [pick(random, [outline, mutated_outline])(random, height, width) for _ in range(count)]
    elif kind < 9:
        segmentation = mutated_runs(random, height, width)
    else:
        segmentation = pick(random, ODD)
    entry = annotation(id_, owner["id"], int(random.integers(1, 4)), segmentation, iscrowd=int(kind > 5))
    entry["bbox"] = pick(random, [[1, 2, 3, 4], [1, 2], ODD, None, [math.nan] * 4, ["1"] * 4, [10**400] * 4])
    while random.random() < 0.3:
        entry[pick(random, ["id", "image_id", "category_id", "iscrowd", "bbox", "area", "odd"])] = pick(random, ODD)
    if random.random() < 0.05:
        entry.pop(pick(random, sorted(entry)))
    return entry


def mutated_file(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    images = []
    for n in range(10):
        size = [pick(random, SIZES), pick(random, SIZES)]
        if seed % 200 == 0 and n == 0:
            size = pick(random, RARE_SIZES)
        images.append(image(n, *size))
        if random.random() < 0.1:
            images[-1][pick(random, ["height", "width"])] = pick(random, BAD_SIZES)
        if random.random() < 0.05:
            images[-1][pick(random, ["id", "file_name", "height", "odd"])] = pick(random, ODD)
    annotations = [mutated_annotation(random, id_, pick(random, images)) for id_ in range(ANNOTATIONS)]
    categories = [{"id": i, "name": f"thing {i % 2}"} for i in (0, 1, 2)]
    if random.random() < 0.03:
        pick(random, categories)[pick(random, ["id", "name", "supercategory"])] = pick(random, ODD)
    parts = {"images": images, "annotations": annotations, "categories": categories}
    return {key: parts[key] for key in random.permutation(list(parts)).tolist()}


def whole_id(value: Any) -> int | None:
    """What an id means, by another way than the index's: None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**63) < value < 2**63:
        return None
    return int(value) if value == int(value) else None


def check_file(seed: int, folder: Path, counts: collections.Counter[str]) -> None:
    """That everything the file says is in the index or named; that all of it can be drawn, by any rules."""
    random, said = np.random.default_rng([seed, 1]), mutated_file(seed)
    path = folder / "fuzz.json"
    text = json.dumps(said).encode()
    broken = random.random() < 0.1
    if broken:  # at any byte
        place = int(random.integers(len(text)))
        text = text[:place] + random.bytes(int(random.integers(0, 3))) + text[place + int(random.integers(0, 3)) :]
    path.write_bytes(text)
    report = examine(path, path.parent, Data(classes=None), quick=True, threads=1)
    counts["findings of the doctor"] += len(report.findings)
    counts["annotations"] += len(said["annotations"])
    try:
        index = read_index(path)
    except DataError as error:
        counts["files refused"] += 1
        counts["sound to the doctor, but refused"] += report.sound
        counts["refusals without the file's name"] += str(path) not in str(error)
        return
    counts["image entries refused"] += index.bad_images.number
    counts["category entries refused"] += index.bad_categories.number
    refused = index.bad_images.number + index.bad_categories.number > 0
    counts["sound to the doctor, but refused"] += report.sound and refused
    counts["annotations of no image"] += len(index.orphans)
    counts["annotations with a part refused"] += len(index.bad_annotations())
    counts["annotations without segmentation"] += len(index.empty_annotations())
    if not broken:
        check_parts(index, said)
    for position in range(len(index)):
        counts["masks"] += draw(random, index, position)


def check_parts(index: CocoIndex, said: dict[str, Any]) -> None:
    assert len(index) + index.bad_images.number == len(said["images"])
    assert len(index.categories) + index.bad_categories.number == len(said["categories"])
    left = {id_: [] for id_ in index.image_id.tolist()}
    for entry in said["annotations"]:
        left.get(whole_id(entry.get("image_id")), []).append(entry)  # pyright: ignore
    assert sum(map(len, left.values())) + len(index.orphans) == len(said["annotations"])
    faulty = iter(index.annotation_faulty.tolist())
    empty = iter(index.annotation_empty.tolist())
    for position, own in enumerate(left.values()):
        for found, entry in zip(index.annotations(position), own, strict=True):
            segmentation = entry.get("segmentation")
            kept = len(found.polygons) + (found.rle is not None)
            given = len(segmentation) if isinstance(segmentation, list) else int(isinstance(segmentation, dict))
            assert kept <= given
            assert next(faulty) == (kept < given), entry
            assert next(empty) == (given == 0), entry
            for polygon in found.polygons:
                assert polygon.tolist() in segmentation
    assert next(faulty, None) is None


def draw(random: np.random.Generator, index: CocoIndex, position: int) -> int:
    full = int(index.image_height[position]), int(index.image_width[position])
    target = int(pick(random, [1, 8, 64, 224])), int(pick(random, [1, 8, 64, 224]))
    if random.random() < 0.2 and full[0] * full[1] < 10**6:
        target = full
    if full[0] * full[1] > 10**6 and random.random() < 0.9:
        return 0  # rarely, since it takes long
    choices = [get_args(kind) for kind in (Overlap, Crowds, Unknown, Rasterize)]
    rules = MaskRules(*(pick(random, options) for options in choices))
    placement = place(full, target, pick(random, get_args(Resize)))
    lookup = np.array([1, 2, 3], np.uint8)
    mask = draw_mask(index.annotations(position), lookup, rules, placement)
    assert (mask.shape, mask.dtype) == (target, np.uint8)
    assert set(np.unique(mask).tolist()) <= {0, 1, 2, 3, VOID}
    for held in index.annotations(position):
        assert 0 <= area(held, full) <= full[0] * full[1]
    return 1


def peak() -> int:
    """Kilobytes. Not getrusage's ru_maxrss: a process begins with that of the process that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def main(folder: Path, first: int, count: int) -> None:
    faulthandler.enable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (MEGABYTES << 20),) * 2)
    counts: collections.Counter[str] = collections.Counter()
    slowest = (0.0, 0)
    for seed in range(first, first + count):
        (folder / "seed").write_text(str(seed))
        faulthandler.dump_traceback_later(SECONDS_A_FILE, exit=True)
        start = time.perf_counter()
        try:
            check_file(seed, folder, counts)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        slowest = max(slowest, (time.perf_counter() - start, seed))
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({**counts, "slowest file, s": slowest[0], "its seed": slowest[1], "peak MB": peak() / 1024}))


def fuzz(folder: Path, first: int, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, str(folder), str(first), str(count)]
    environment = {**os.environ, "JAXSEG_CACHE": str(folder / "cache")}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    last = (folder / "seed").read_text() if (folder / "seed").exists() else "none"
    assert run.returncode == 0, f"at seed {last}: exit status {run.returncode}\n{run.stderr[-4000:]}"
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.timeout(3600)  # the long form
def test_nothing_kills_the_process(tmp_path: Path, long: bool) -> None:
    """The long form: 100,000 annotations."""
    files = 2000 if long else 50
    counts = fuzz(tmp_path, 1 if not long else 0, files)
    print(counts)
    assert counts["annotations"] == files * ANNOTATIONS
    for kind in ("refusals without the file's name", "sound to the doctor, but refused"):
        assert counts[kind] == 0
    for kind in ("masks", "annotations with a part refused", "annotations of no image", "image entries refused"):
        assert counts[kind] > files / 2


# The worst that was found, or feared.


def index_with(segmentation: Any, height: int = 30, width: int = 40) -> CocoIndex:
    entry = {**annotation(1, 1, 1), "segmentation": segmentation}
    content = {"images": [image(1, height, width)], "annotations": [entry], "categories": [{"id": 1, "name": "cat"}]}
    return build(content, Path("x.json"), "")


def drawn(index: CocoIndex, rasterize: Rasterize, target: tuple[int, int] = (16, 16)) -> np.ndarray:
    full = int(index.image_height[0]), int(index.image_width[0])
    rules = MaskRules("smallest_on_top", "foreground", "background", rasterize)
    return draw_mask(index.annotations(0), np.array([1], np.uint8), rules, place(full, target, "stretch"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e8, -1e8, 1e308, 2**31, 10**400, True, "1"], ids=str)
@pytest.mark.parametrize("place", [0, 1, 4, 5])
@pytest.mark.parametrize("rasterize", ["target", "full"])
def test_a_number_that_kills_pycocotools(value: Any, place: int, rasterize: Rasterize) -> None:
    polygon: list[Any] = [1, 1, 20, 1, 20, 20]
    polygon[place] = value
    index = index_with([polygon, box(5, 5, 10, 10)])
    assert index.bad_annotations().tolist() == [1]
    assert drawn(index, rasterize).any()


@pytest.mark.parametrize(
    "counts", [[2**32 + 1200], [2**62, 2**62, 2**62, 2**62, 1200], [2400, -1200], [-1, 1201]], ids=str
)
def test_runs_whose_sum_wraps_round(counts: list[int]) -> None:
    index = index_with({"counts": counts, "size": [30, 40]})
    assert index.bad_annotations().tolist() == [1]
    assert not drawn(index, "full").any()


def test_a_thousand_empty_runs_are_nothing() -> None:
    index = index_with({"counts": [0] * 100_000 + [600, 600], "size": [30, 40]})
    assert drawn(index, "full").mean() == 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("size", [(1, MAX_PIXELS), (MAX_PIXELS, 1)], ids=str)
def test_the_flattest_image_takes_the_memory_of_its_pixels(size: tuple[int, int]) -> None:
    """Not of 224 times its pixels, which it would be if the short side were stretched first."""
    half = size[0] * size[1] // 2
    index = index_with({"counts": [half, size[0] * size[1] - half], "size": list(size)}, *size)
    Path("/proc/self/clear_refs").write_text("5")  # count the peak from here on
    before = peak()
    mask = drawn(index, "target")
    assert mask.mean() == 0.5
    assert peak() - before < 1_000_000  # kB


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
