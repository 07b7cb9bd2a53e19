"""With a cache every batch is the one without it; what is stale, broken or too large is not used."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import write_root
from PIL import Image
from test_loader import assert_same, damage, take

import jaxseg.data.kept
import jaxseg.data.samples
from jaxseg.data.coco import DataError
from jaxseg.data.kept import NO_MATTER, check_room, key_of
from jaxseg.data.loader import eval_batches
from jaxseg.data.room import disk_left, memory_left, told
from jaxseg.data.samples import Data, KnownFault, Samples, open_split

IMAGES = 13
needs_linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux: memory by memfd_create")
KINDS = [pytest.param("memory", marks=needs_linux), "disk"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=IMAGES, val2017=5)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded."""
    seen: list[str] = []
    read: Callable[..., Any] = jaxseg.data.samples.read_image

    def noted(path: Path, **how: Any) -> Any:
        seen.append(path.name)
        return read(path, **how)

    monkeypatch.setattr(jaxseg.data.samples, "read_image", noted)
    return seen


def opened(root: Path, split: Any = "train", **settings: Any) -> Samples:
    return open_split(Data(root=root, **{"height": 16, "width": 24, "threads": 2, **settings}), split)


def key(samples: Samples) -> int:
    return key_of(samples.data, samples.files, samples.index, samples.lookup)


def together(*caches: Samples) -> None:
    check_room([samples.slots for samples in caches])


def evaluated(samples: Samples) -> list[Any]:
    with eval_batches(samples, 4) as batches:
        return list(batches)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how", [{"threads": 3}, {"threads": 0, "channels": 1, "mode": "multiclass"}, {"threads": 0, "resize": "letterbox"}]
)
def test_batches_are_those_without_a_cache(root: Path, reads: list[str], kind: str, how: dict[str, Any]) -> None:
    expected = take(opened(root, **how), 12)
    reads.clear()
    samples = opened(root, cache=kind, **how)
    assert_same(take(samples, 12), expected)
    assert set(reads) == {f"{i}.png" for i in range(1, IMAGES + 1)}
    once = len(reads)
    assert once == IMAGES or how["threads"]  # threads may both miss what is wanted twice at a time
    assert_same(take(samples, 12), expected)
    assert len(reads) == once or how["threads"]
    assert_same(evaluated(opened(root, "val", cache=kind, **how)), evaluated(opened(root, "val", **how)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_run_reads_what_is_on_disk(root: Path, reads: list[str], kind: str) -> None:
    expected = take(opened(root, cache=kind, threads=0), 12)
    reads.clear()
    assert_same(take(opened(root, cache=kind, threads=0), 12), expected)
    assert len(reads) == (0 if kind == "disk" else IMAGES)


def test_a_changed_image_is_read_again(root: Path, reads: list[str]) -> None:
    samples = opened(root, cache="disk")
    take(samples, 12)
    path = root / "images" / "train2017" / "3.png"
    when = path.stat().st_mtime_ns
    Image.new("RGB", (40, 30), (9, 200, 70)).save(path)
    reads.clear()
    assert_same(take(samples, 12), take(opened(root), 12))
    assert reads.count("3.png") > 1
    Image.new("RGB", (40, 30), (200, 9, 70)).save(path)  # the same number of bytes: its time tells
    os.utime(path, ns=(when, when))
    assert_same(take(opened(root, cache="disk"), 12), take(opened(root), 12))


def test_the_key_holds_whatever_pixels_depend_on(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        "classes": ("dog",),
        "merge": (("pet", "cat", "dog"),),
        "mode": "multiclass",
        "height": 17,
        "width": 25,
        "channels": 1,
        "resize": "letterbox",
        "overlap": "last_on_top",
        "crowds": "void",
        "unknown_category": "void",
        "rasterize": "full",
        "train_images": root / "images" / "val2017",
    }
    first = key(opened(root))
    keys = {name: key(opened(root, **{name: value})) for name, value in other.items()}
    assert len({first, *keys.values()}) == len(other) + 1 - ("merge" in NO_MATTER)  # binary: merged classes are one
    assert keys["merge"] == first
    merged = {"merge": other["merge"], "mode": "multiclass"}
    assert key(opened(root, **merged)) not in keys.values()
    settings = {field.name for field in dataclasses.fields(Data)}
    assert settings - set(NO_MATTER) <= {*other, "decoder"}, "say of each new setting whether pixels depend on it"
    decoder = {"pillow": "simplejpeg", "simplejpeg": "pillow"}[opened(root).data.decoder]
    samples = opened(root)
    monkeypatch.setattr(jaxseg.data.kept, "version", lambda name: name)
    assert key(samples) != first
    changed = dataclasses.replace(samples, data=dataclasses.replace(samples.data, decoder=decoder))
    assert key(changed) != key(samples)
    monkeypatch.undo()
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"][0][0] += 3
    path.write_text(json.dumps(content))
    assert key(opened(root)) != first


def test_what_changes_no_pixel_leaves_the_key(root: Path) -> None:
    free = {
        "negatives": 0.0,
        "balance": 0.5,
        "on_error": "skip",
        "threads": 3,
        "workers": 1,
        "cache": "disk",
        "val_fraction": 0.3,
        "split_seed": 4,
        "cache_folder": root,
    }
    first = key(opened(root))
    for name, value in free.items():
        assert key(opened(root, **{name: value})) == first, name


def test_another_version_of_the_code_has_another_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = key(opened(root))
    monkeypatch.setattr(jaxseg.data.kept, "code", lambda: "other")
    assert key(opened(root)) != first


def test_splits_of_one_file_share_its_cache(root: Path, reads: list[str]) -> None:
    take(opened(root, cache="disk", val_fraction=0.4), 4, batch_size=4)
    evaluated(opened(root, "val", cache="disk", val_fraction=0.4))
    reads.clear()
    take(opened(root, cache="disk"), 3)
    assert len(list((root.parent / "cache" / "samples").iterdir())) == 1
    assert len(reads) <= 2


# Faults.


@pytest.mark.parametrize("kind", KINDS)
def test_a_faulty_sample_is_never_kept_as_good(root: Path, kind: str) -> None:
    path = root / "images" / "train2017" / "3.png"
    whole = path.read_bytes()
    damage(root)
    samples = opened(root, cache=kind, on_error="skip")
    expected = take(opened(root, on_error="skip"), 9)
    assert_same(take(samples, 9), expected)
    assert_same(take(samples, 9), expected)
    assert any(loaded.faults for loaded in expected)
    path.write_bytes(whole)
    assert not any(loaded.faults for loaded in take(samples, 9))
    damage(root)
    assert_same(take(samples, 9), expected)
    path.unlink()
    assert any("no such file" in text for loaded in take(samples, 9) for text in loaded.faults.values())
    with pytest.raises(DataError, match="Image 3: "):
        take(opened(root, cache=kind), 9)


def test_a_known_fault_stays_one(root: Path) -> None:
    samples = opened(root, cache="disk", on_error="skip")
    take(samples, 9)
    known = dataclasses.replace(samples, known_faults={3: KnownFault(0, "was broken")})
    assert {3: "was broken"} in [loaded.faults for loaded in take(known, 9)]


# Kills.

FILL = """
import sys
from pathlib import Path
from jaxseg.data.samples import Data, open_split
samples = open_split(Data(root=Path(sys.argv[1]), height=256, width=256, cache="disk"), "train")
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    for place in range(len(samples)):
        samples[place]
print("done", flush=True)
"""


def fill(root: Path, rounds: int = 1) -> subprocess.Popen[str]:
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": package}
    command = [sys.executable, "-c", FILL, str(root), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_kill_leaves_nothing_that_is_wrong(tmp_path: Path, long: bool) -> None:
    root = write_root(tmp_path / "many", train2017=60)
    settings: dict[str, Any] = {"height": 256, "width": 256}
    plain = opened(root, **settings)
    expected = [plain[place] for place in range(len(plain))]
    kept = []
    draw = random.Random(0)
    for _ in range(25 if long else 4):
        children = [fill(root), fill(root)] if draw.random() < 0.5 else [fill(root)]
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, 0.15))
        for child in children:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        samples = opened(root, cache="disk", **settings)
        slots = samples.slots
        assert slots
        stamps = [jaxseg.data.samples.stamp_of(samples.path(p)) for p in range(len(samples))]
        found = [slots.get(p, stamp) for p, stamp in enumerate(stamps) if stamp]
        for sample, those in zip(expected, found, strict=True):
            if those is not None:
                assert np.array_equal(sample["image"], those[0])
                assert np.array_equal(sample["mask"], those[1])
        kept.append(sum(those is not None for those in found))
        if kept[-1] == len(samples):
            slots.path.unlink()
    assert any(0 < count < 60 for count in kept), kept  # a kill in the middle did happen
    last = fill(root)
    assert last.communicate(timeout=60)[0] == "ready\ndone\n"
    assert last.returncode == 0
    samples = opened(root, cache="disk", **settings)
    for place, sample in enumerate(expected):
        assert all(np.array_equal(value, samples[place][name]) for name, value in sample.items())


# Room.


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_not_fit_is_refused_before_the_start(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opened(root, cache=kind).slots
    assert whole
    need = whole.whole_bytes
    assert need == IMAGES * whole.slot_bytes >= IMAGES * 16 * 24 * 4
    for name in ("memory_left", "disk_left"):
        monkeypatch.setattr(jaxseg.data.kept, name, lambda *_: int(need / 0.9) - 8)
    with pytest.raises(
        DataError, match=rf"data\.cache {kind} needs {need} bytes \(20\.3 kB: 13 images of 1.56 kB\)"
    ) as caught:
        opened(root, cache=kind)
    assert f"--data.cache {'disk' if kind == 'memory' else 'none'}" in str(caught.value)
    for name in ("memory_left", "disk_left"):
        monkeypatch.setattr(jaxseg.data.kept, name, lambda *_: int(need / 0.9) + 8)
    train, val = opened(root, cache=kind), opened(root, "val", cache=kind)
    with pytest.raises(DataError, match=r"18 images"):
        together(train, val)
    together(train)
    together(val, opened(root))


def test_what_is_there_already_needs_no_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(opened(root, cache="disk", height=64, width=64), 12)
    monkeypatch.setattr(jaxseg.data.kept, "disk_left", lambda *_: 0)
    take(opened(root, cache="disk", height=64, width=64), 12)
    with pytest.raises(DataError, match="of it are missing, and 0 bytes are free"):
        opened(root, cache="disk", height=65, width=64)


def test_negatives_need_room_too(root: Path) -> None:
    slots = [opened(root, cache="disk", classes=("cat",), negatives=n).slots for n in (None, 0.0, 0.5)]
    assert [s.images for s in slots if s] == [5, 5, 13]
    val = opened(root, "val", cache="disk", classes=("cat",), negatives=0.5)
    assert val.slots
    assert val.slots.images == len(val) == 4


def test_a_folder_that_can_t_be_written_is_told(root: Path) -> None:
    (root / "data.json").write_text("")
    with pytest.raises(DataError, match=r"data\.cache disk: .*data\.json can't be written \(.*--data\.cache-folder"):
        opened(root, cache="disk", cache_folder=root / "data.json")


def test_the_folder_may_be_named(root: Path, tmp_path: Path) -> None:
    take(opened(root, cache="disk", cache_folder=tmp_path / "here" / "too"), 3)
    assert [path.suffix for path in (tmp_path / "here" / "too").iterdir()] == [".slots"]
    assert not (tmp_path / "cache" / "samples").exists()


def test_memory_is_that_of_the_machine_or_its_container(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (groups / "memory").mkdir(parents=True)
    proc.mkdir()
    (proc / "meminfo").write_text("MemTotal:  16000 kB\nMemAvailable:  8000 kB\nHugePages_Total: 0\n")
    assert memory_left(proc, groups) == 8_192_000
    (groups / "memory.max").write_text("max\n")
    assert memory_left(proc, groups) == 8_192_000
    for name, text in (("max", "5000000\n"), ("current", "3000000\n"), ("stat", "anon 5\ninactive_file 1000\n")):
        (groups / f"memory.{name}").write_text(text)
    assert memory_left(proc, groups) == 2_001_000
    for name, text in (("limit", "9000\n"), ("usage", "9500\n")):
        (groups / "memory" / f"memory.{name}_in_bytes").write_text(text)
    (groups / "memory" / "memory.stat").write_text("total_inactive_file 100\n")
    assert memory_left(proc, groups) == 0
    assert 2**20 < memory_left() < 2**46
    assert memory_left(tmp_path / "none", tmp_path / "none") > 2**20


def test_disk_is_that_of_a_folder_to_come(tmp_path: Path) -> None:
    assert 0 < disk_left(tmp_path / "a" / "b") == pytest.approx(disk_left(tmp_path), rel=0.1)


def test_bytes_for_the_reader() -> None:
    said = [
        told(size)
        for size in (0, 999, 1000, 20_280, 999_400, 999_999, 999_999_999, 2_345_678, 2_188_000_000, 23_600_000_000_000)
    ]
    assert said == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "20.3 kB",
        "999 kB",
        "1 MB",
        "1.0 GB",
        "2.35 MB",
        "2.2 GB",
        "23,600.0 GB",
    ]
