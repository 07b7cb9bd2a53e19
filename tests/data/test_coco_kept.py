"""An index that is kept is the file's, or is not believed; without room for it everything works too, and is told."""

import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coco_files import annotation, box, image, rle, write_coco

from jaxseg.data import coco
from jaxseg.data.coco import CocoIndex, DataError, read_index


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "instances_x.json", 5)


def write(path: Path, shift: int, settled: bool = True) -> Path:
    """Always as many bytes, for a `shift` of one digit; changed long ago, or just now."""
    crowd = rle(np.arange(1200).reshape(30, 40) % 7 < 3)
    annotations = [annotation(1, 7, 2, [box(shift, 2, 9, 9), box(20, 9, 5, 5)]), annotation(2, 9, 1, crowd, iscrowd=1)]
    annotations += [annotation(3, 9, 3, [[1, 2]]), annotation(4, 8, 1, [box(1, 1, 1, 1)])]
    write_coco(path, [image(9), image(7, file_name="ü.png"), image(5, height=0)], annotations)
    if settled:
        os.utime(path, (1e9, 1e9))
    return path


def kept_files(cache: Path) -> list[Path]:
    return [file for file in cache.rglob("*") if file.is_file()]


def seen(index: CocoIndex) -> str:
    """All that an index says."""
    fields = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(index).items() if k != "kept"}
    own = [(index.file_name(i), [str(a) for a in index.annotations(i)]) for i in range(len(index))]
    return str((fields, own, index.warnings()))


def no_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the file was parsed again")

    monkeypatch.setattr(coco, "parsed", fail)


def shifted(index: CocoIndex) -> float:
    """What `write` was given."""
    return float(next(index.annotations(1)).polygons[0][0])


def test_the_kept_index_is_the_parsed_one(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = coco.parsed(path, coco.stamp_of(path))
    first = read_index(path)
    no_parse(monkeypatch)
    assert seen(first) == seen(read_index(path)) == seen(memory)
    assert [file.suffix for file in kept_files(cache)] == [".index"]


def test_the_arrays_are_maps(path: Path, cache: Path) -> None:
    index = read_index(path)
    assert index.kept is not None
    for value in vars(index).values():
        assert not isinstance(value, np.ndarray) or value.base is index.kept.map


@pytest.mark.parametrize("variable", ["JAXSEG_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_where_it_is_kept(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("JAXSEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "there"))
    kept = read_index(path).kept
    inner = {"JAXSEG_CACHE": "", "XDG_CACHE_HOME": "jaxseg", "HOME": ".cache/jaxseg"}[variable]
    assert kept is not None
    assert kept.path.parent == tmp_path / "there" / inner / "indexes"


# What is stale.


def test_a_changed_file_is_parsed_again(path: Path, cache: Path) -> None:
    assert shifted(read_index(path)) == 5
    write(path, 6, settled=False)
    assert shifted(read_index(path)) == 6
    assert len(kept_files(cache)) == 1


def test_a_change_that_keeps_size_and_time_is_seen_while_it_can_happen(path: Path, cache: Path) -> None:
    """Clocks of file systems tick slowly: two writes within a tick show one time."""
    write(path, 5, settled=False)
    now = path.stat().st_mtime_ns
    assert shifted(read_index(path)) == 5
    write(path, 6)
    os.utime(path, ns=(now, now))
    assert shifted(read_index(path)) == 6


def test_a_change_of_length_or_of_time_alone_is_seen(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_index(path)
    parse, parsed = coco.parsed, []
    monkeypatch.setattr(coco, "parsed", lambda *a: parsed.append(a) or parse(*a))
    os.utime(path, (2e9, 2e9))
    read_index(path)
    path.write_bytes(path.read_bytes() + b"\n")
    os.utime(path, (2e9, 2e9))
    read_index(path)
    assert len(parsed) == 2


def test_another_version_is_not_believed(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_index(path)
    monkeypatch.setattr(coco, "VERSION", coco.VERSION + 1)
    assert coco.opened(path, coco.stamp_of(path)) is None
    assert read_index(path).kept
    assert coco.opened(path, coco.stamp_of(path)) is not None


def test_each_path_has_its_own(tmp_path: Path, cache: Path) -> None:
    """Also where name, size and time are the same; a link is the file it leads to."""
    for folder, shift in (("a", 5), ("b", 6)):
        write(tmp_path / folder / "instances_x.json", shift)
    (tmp_path / "link.json").symlink_to(tmp_path / "a" / "instances_x.json")
    for _ in range(2):
        assert [shifted(read_index(tmp_path / f / "instances_x.json")) for f in ("a", "b")] == [5, 6]
        assert shifted(read_index(tmp_path / "link.json")) == 5
        assert len(kept_files(cache)) == 2
    assert read_index(tmp_path / "link.json").path == tmp_path / "link.json"
    (tmp_path / "link.json").unlink()
    (tmp_path / "link.json").symlink_to(tmp_path / "b" / "instances_x.json")
    assert shifted(read_index(tmp_path / "link.json")) == 6


def test_a_file_that_changes_meanwhile_is_an_error(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = coco.entries

    def changing(*arguments: object) -> object:
        yield from entries(*arguments)  # pyright: ignore
        write(path, 6, settled=False)

    monkeypatch.setattr(coco, "entries", changing)
    with pytest.raises(DataError, match=r"instances_x.json was changed while it was read\. Run again"):
        read_index(path)
    assert kept_files(cache) == []


# What is spoilt.


def spoil_by_cutting(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def spoil_by_emptying(file: Path) -> None:
    file.write_bytes(b"")


def spoil_the_end(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def spoil_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def spoil_by_zeros(file: Path) -> None:
    """As a file system may leave it after a loss of power."""
    file.write_bytes(b"\0" * file.stat().st_size)


def spoil_by_garbage(file: Path) -> None:
    file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))


def spoil_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def spoil_by_deleting(file: Path) -> None:
    file.unlink()


def spoil_by_a_dead_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "nowhere")


SPOILING = [f for name, f in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILING, ids=lambda f: f.__name__)
def test_a_spoilt_index_is_made_again(path: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    before = seen(read_index(path))
    (file,) = kept_files(cache)
    spoil(file)
    again = read_index(path)
    if spoil is spoil_by_a_folder:
        assert again.kept is None  # what is there is not ours to delete
        assert "could not be kept" in again.warnings()[-1]
    else:
        assert seen(again) == before
        assert again.kept
        assert seen(read_index(path)) == before


def test_an_open_index_outlives_its_file(path: Path, cache: Path) -> None:
    index = read_index(path)
    before = seen(index)
    (file,) = kept_files(cache)
    file.unlink()
    assert seen(index) == before
    write(path, 6, settled=False)
    assert shifted(read_index(path)) == 6
    assert seen(index) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e8, -1e300], ids=str)
def test_large_arrays_are_looked_at_when_used(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """They are too long to be summed at the start, and what is in them would kill the process."""
    monkeypatch.setattr("jaxseg.data.mapped.LARGE", 0)
    monkeypatch.setattr("jaxseg.data.segmentations.compact", lambda points: (points, 1))
    index = read_index(path)
    (file,) = kept_files(cache)
    place = index.points.ctypes.data - index.image_id.ctypes.data + 64
    with file.open("r+b") as open_file:
        open_file.seek(place)
        assert np.frombuffer(open_file.read(8))[0] == 5
        open_file.seek(place)
        open_file.write(np.float64(value).tobytes())
    with pytest.raises(DataError, match=r"\.index is damaged\. Delete it; it will be made again\."):
        list(read_index(path).annotations(1))


def test_an_index_without_images_is_kept_too(tmp_path: Path) -> None:
    index = read_index(write_coco(tmp_path / "x.json", [], []))
    assert index.kept
    assert not index.warnings()


# Without room.


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_told(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_index(path).warnings()
    os.utime(path, (3e9, 3e9))
    monkeypatch.setattr("jaxseg.data.mapped.os.fsync", full_disk)
    index = read_index(path)
    assert shifted(index) == 5
    assert index.warnings()[:-1] == before
    (kept,) = kept_files(cache)  # no draft is left
    assert index.warnings()[-1] == (
        f"instances_x.json: its index could not be kept ([Errno 28] No space left on device: '{kept}'), so each start "
        "reads the file anew. Set JAXSEG_CACHE to a folder with room."
    )


def test_a_cache_that_is_no_folder_is_told(path: Path, cache: Path) -> None:
    cache.write_text("")
    index = read_index(path)
    assert shifted(index) == 5
    assert "could not be kept" in index.warnings()[-1]
    assert shifted(pickle.loads(pickle.dumps(index))) == 5


def test_a_user_without_a_home_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("JAXSEG_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    index = read_index(path)
    assert shifted(index) == 5
    assert "(Could not determine home directory.)" in index.warnings()[-1]


def test_old_drafts_are_removed(path: Path, cache: Path) -> None:
    read_index(path)
    (file,) = kept_files(cache)
    old, new, other = (file.parent / f".{stem}-abc.index" for stem in (file.stem, file.stem + "-new", "another"))
    for draft in (old, new, other):
        draft.write_bytes(b"x")
    for draft in (old, other):
        os.utime(draft, (1e9, 1e9))
    os.utime(path, (2e9, 2e9))
    read_index(path)
    assert sorted(kept_files(cache)) == sorted([file, new, other])


# Other processes.


def build_in_a_process(path: Path, start: float, results: "multiprocessing.Queue[str]") -> None:
    time.sleep(max(0, start - time.time()))
    for _ in range(5):
        index = read_index(path)
        results.put(f"{shifted(index)} {len(index)} {bool(index.kept)} {index.digest}")
        if index.kept:
            index.kept.path.unlink(missing_ok=True)


def test_processes_that_build_at_once_do_not_spoil_each_other(path: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    start = time.time() + 3
    processes = [context.Process(target=build_in_a_process, args=(path, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    said = {results.get(timeout=60).replace("False", "True") for _ in range(15)}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert said == {f"5.0 2 True {coco.digest_of(path)}"}


def test_a_pickled_index_is_small_and_the_same(path: Path, cache: Path) -> None:
    index = read_index(path)
    pickled = pickle.dumps(index)
    assert len(pickled) < 500
    assert seen(pickle.loads(pickled)) == seen(index)


def test_a_pickled_index_is_that_of_the_start(path: Path, cache: Path) -> None:
    index = read_index(path)
    pickled = pickle.dumps(index)
    os.utime(path, (2e9, 2e9))
    assert seen(pickle.loads(pickled)) == seen(index)
    kept_files(cache)[0].unlink()
    assert seen(pickle.loads(pickled)) == seen(index)  # parsed again
    write(path, 6, settled=False)
    assert seen(pickle.loads(pickled)) == seen(index)  # the kept one is still there
    read_index(path)
    with pytest.raises(DataError, match=r"instances_x.json was changed since the start\. Start again\."):
        pickle.loads(pickled)


def test_the_header_is_plain(path: Path, cache: Path) -> None:
    """For whoever looks into it: what it was made of, and the digest that the doctor checks."""
    kept = read_index(path).kept
    assert kept is not None
    assert kept.header["digest"] == coco.digest_of(path)
    assert kept.header["stamp"] == [path.stat().st_size, path.stat().st_mtime_ns]
    assert json.loads(json.dumps(kept.header)) == kept.header
