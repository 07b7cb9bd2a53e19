"""A slot is believed only whole, in its place, and for the file it was made from."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxseg.data.slots import SPREAD, MemorySlots, Slots, Stamp, stamp_of

SHAPE, KEY = (7, 9, 3), 12345
STAMP = Stamp(1000, 1_700_000_000_000_000_000)


def pixels(position: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(position)
    return draw.integers(0, 256, shape, np.uint8), draw.integers(0, 256, shape[:2], np.uint8)


@pytest.fixture(params=["disk", "memory"])
def slots(request: pytest.FixtureRequest, tmp_path: Path) -> Slots:
    if request.param == "memory":
        if not hasattr(os, "memfd_create"):
            pytest.skip("needs Linux: memory is shared by memfd_create")
        return MemorySlots(SHAPE, KEY, 10)
    return Slots(tmp_path / "a" / "x.slots", SHAPE, KEY, 10)


def same(found: tuple[np.ndarray, np.ndarray] | None, expected: tuple[np.ndarray, np.ndarray]) -> bool:
    return found is not None and all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_was_put_is_got(slots: Slots) -> None:
    for position in (3, 0, 8):
        slots.put(position, STAMP, *pixels(position))
    for position in range(12):
        found = slots.get(position, STAMP)
        assert same(found, pixels(position)) if position in (0, 3, 8) else found is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 3), (2, 2, 1), (5, 3, 3), (224, 224, 3)])
def test_any_size(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    slots = Slots(tmp_path / "x.slots", shape, KEY, 4)
    for position in range(4):
        slots.put(position, STAMP, *pixels(position, shape))
    assert all(same(slots.get(position, STAMP), pixels(position, shape)) for position in range(4))
    assert slots.path.stat().st_size == slots.whole_bytes == 4 * slots.slot_bytes


@pytest.mark.parametrize("other", [Stamp(1001, STAMP.modified), Stamp(STAMP.size, STAMP.modified + 1)])
def test_another_file_is_not_believed_and_takes_the_slot(slots: Slots, other: Stamp) -> None:
    slots.put(2, STAMP, *pixels(2))
    assert slots.get(2, other) is None
    slots.put(2, other, *pixels(77))
    assert same(slots.get(2, other), pixels(77))
    assert slots.get(2, STAMP) is None


def test_a_slot_of_another_key_or_place_is_not_believed(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "x.slots", SHAPE, KEY, 10)
    slots.put(2, STAMP, *pixels(2))
    assert Slots(slots.path, SHAPE, KEY + 1, 10).get(2, STAMP) is None
    content = slots.path.read_bytes()
    slots.path.write_bytes(content + content[2 * slots.slot_bytes :])
    assert slots.get(3, STAMP) is None
    assert same(slots.get(2, STAMP), pixels(2))


def test_any_damage_empties_the_slot(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "x.slots", SHAPE, KEY, 10)
    slots.put(0, STAMP, *pixels(0))
    content = np.frombuffer(slots.path.read_bytes(), np.uint8)
    draw = np.random.default_rng(0)
    for place in range(len(content)):
        damaged = content.copy()
        damaged[place] ^= 1 << draw.integers(8)
        slots.path.write_bytes(damaged.tobytes())
        assert slots.get(0, STAMP) is None, place
    for length in range(len(content)):
        cut = content[:length].tobytes()
        slots.path.write_bytes(cut)
        assert slots.get(0, STAMP) is None, length
        slots.path.write_bytes(cut + bytes(len(content) - length))  # as a power cut leaves pages that were not written
        assert slots.get(0, STAMP) is None or not content[length:].any(), length
    for _ in range(300):
        damaged = content.copy()
        start, length = draw.integers(len(content)), draw.integers(2, 64)
        damaged[start : start + length] = draw.integers(0, 256, len(damaged[start : start + length]), np.uint8)
        slots.path.write_bytes(damaged.tobytes())
        assert slots.get(0, STAMP) is None or np.array_equal(damaged, content)
    slots.path.write_bytes(content.tobytes())
    assert same(slots.get(0, STAMP), pixels(0))


def test_a_mixture_of_two_writers_is_not_believed(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "x.slots", SHAPE, KEY, 10)
    slots.put(0, STAMP, *pixels(0))
    one = slots.path.read_bytes()
    slots.put(0, Stamp(5, 5), *pixels(1))
    other = slots.path.read_bytes()
    for cut in range(1, len(one)):
        slots.path.write_bytes(one[:cut] + other[cut:])
        assert slots.get(0, Stamp(5, 5)) is None or one[:cut] == other[:cut]
        assert slots.get(0, STAMP) is None or one[cut:] == other[cut:]


def test_zeros_are_never_a_sample(tmp_path: Path) -> None:
    """Not even under the one key whose check number over zeros would be zero."""
    slots = Slots(tmp_path / "x.slots", SHAPE, -SPREAD % 2**64, 10)
    slots.path.write_bytes(bytes(slots.slot_bytes))
    assert slots.get(0, Stamp(0, 0)) is None


def test_another_process_opens_the_same_slots(slots: Slots) -> None:
    slots.put(1, STAMP, *pixels(1))
    other = pickle.loads(pickle.dumps(slots))
    assert same(other.get(1, STAMP), pixels(1))
    other.put(4, STAMP, *pixels(4))
    assert same(slots.get(4, STAMP), pixels(4))


def test_threads_share_slots(slots: Slots) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for position in np.random.default_rng(seed).integers(0, 10, 200).tolist():
            found = slots.get(position, STAMP)
            if found is None:
                slots.put(position, STAMP, *pixels(position))
            elif not same(found, pixels(position)):
                wrong.append(position)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(same(slots.get(position, STAMP), pixels(position)) for position in range(10))


def test_a_full_disk_is_told_once_and_stops_nothing(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.put(0, STAMP, *pixels(0))

    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_room)
        with pytest.warns(UserWarning, match=r"data\.cache: .* can't be written \(No space left on device\)"):
            slots.put(1, STAMP, *pixels(1))
    slots.put(2, STAMP, *pixels(2))  # silent
    assert same(slots.get(0, STAMP), pixels(0))
    assert slots.get(1, STAMP) is slots.get(2, STAMP) is None


def test_a_disk_that_can_not_be_read_is_told_once_and_left_alone(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.put(0, STAMP, *pixels(0))

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", broken)
        with pytest.warns(UserWarning, match=r"can't be read \(Input/output error\); all is decoded\."):
            assert slots.get(0, STAMP) is None
    assert slots.get(0, STAMP) is None  # silent, and not tried: a failing disk may take seconds for each


def test_slots_take_only_what_is_filled(slots: Slots) -> None:
    assert slots.used_bytes() == 0
    slots.put(9, STAMP, *pixels(9))
    assert 0 < slots.used_bytes() <= 4096 * 2
    assert not list(Path("/dev/shm").glob("*jaxseg*"))


def test_a_stamp_is_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert stamp_of(path) is None
    path.write_bytes(b"abc")
    for when in (0, 5, 1_700_000_000_123_456_789, -1_000_000_000):  # a date before 1970 too
        os.utime(path, ns=(0, when))
        assert stamp_of(path) == Stamp(3, when % 2**64)
