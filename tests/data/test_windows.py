"""Windows of large pictures: at random for training, and such that each pixel counts once for evaluation."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation, box, image, rle, write_coco
from PIL import Image

from jaxseg.arrays import VOID
from jaxseg.data.coco import DataError
from jaxseg.data.geometry import how_resized, scaled_placement
from jaxseg.data.loader import Loaded, eval_batches, eval_steps, steps_per_epoch, train_batches
from jaxseg.data.masks import draw_mask
from jaxseg.data.samples import Data, Samples, open_split
from jaxseg.data.windows import Chance, Recent, beside, count, drawn

TARGET = (16, 24)
SIZES = ((40, 61), (16, 24), (9, 70), (33, 20), (7, 5))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth pictures of several sizes, JPEG and PNG, with polygons, run lengths and void."""
    root = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        images, annotations = [], []
        folder = root / "images" / split
        folder.mkdir(parents=True)
        for number, (height, width) in enumerate(SIZES, 1):
            entry = image(number, height, width, file_name=f"{number}.{'jpg' if number % 2 else 'png'}")
            images.append(entry)
            small = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
            small.resize((width, height), Image.Resampling.BICUBIC).save(folder / entry["file_name"])
            outline = box(width * 0.1, height * 0.2, width * 0.5, height * 0.37)
            annotations.append(annotation(10 * number, number, 1, [outline]))
            annotations.append(annotation(10 * number + 1, number, 2, rle(random.random((height, width)) < 0.02)))
            annotations.append(
                annotation(10 * number + 2, number, 3, [box(width * 0.7, 0, width * 0.2, height * 0.5)], iscrowd=1)
            )
        write_coco(root / "annotations" / f"instances_{split}.json", images, annotations)
    return root


def opened(root: Path, split: Any = "train", **settings: Any) -> Samples:
    given = {"height": 16, "width": 24, "mode": "multiclass", "crowds": "void", "threads": 2, "crop": 1.0}
    return open_split(Data(root=root, **{**given, **settings}), split)


def take(samples: Samples, steps: int, **settings: Any) -> list[Loaded]:
    with train_batches(samples, 4, **{"seed": 3, **settings}) as batches:
        return list(itertools.islice(batches, steps))


def assert_same(ours: list[Loaded], theirs: list[Loaded], rows: slice = slice(None)) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip((*one.batch, one.image_ids), (*other.batch, other.image_ids), strict=True):
            assert np.array_equal(a, b[rows])


def found_in(window: np.ndarray, whole: np.ndarray, tolerance: int) -> list[tuple[int, int]]:
    """Where the window lies in the whole, by trying all places."""
    view = np.lib.stride_tricks.sliding_window_view(whole.astype(int), window.shape)[:, :, 0]
    away = np.abs(view - window.astype(int)).max(axis=(-3, -2, -1))
    return [tuple(map(int, place)) for place in np.argwhere(away <= tolerance)]


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.6])
def test_a_random_window_is_a_part_of_the_scaled_picture_and_its_mask(root: Path, scale: float) -> None:
    samples = opened(root, crop=scale)
    for position, place in itertools.product(range(len(SIZES)), range(4)):
        sample = samples.at(position, window=Chance(0, 5, place))
        whole = samples.at(position)
        inner = samples.placement(position).inner
        assert whole["image"].shape == (*inner, 3)
        assert sample["image"].shape == (*TARGET, 3)
        top, left = (max(0, room - side) // 2 for room, side in zip(TARGET, inner, strict=True))
        height, width = (min(room, side) for room, side in zip(TARGET, inner, strict=True))
        shown = np.s_[top : top + height, left : left + width]
        # Pillow's filter takes its steps from another place: at most one level.
        places = found_in(sample["image"][shown], whole["image"], 0 if scale == 1 else 1)
        masks = [whole["mask"][y : y + height, x : x + width] for y, x in places]
        assert any(np.array_equal(sample["mask"][shown], mask) for mask in masks)
        outside = np.ones(TARGET, bool)
        outside[shown] = False
        assert not sample["image"][outside].any()
        assert (sample["mask"][outside] == VOID).all()


def test_all_windows_are_as_likely() -> None:
    whole, mask = scaled_placement((18, 27), 1.0), np.zeros((18, 27), np.uint8)
    corners = Counter(drawn(whole, TARGET, mask, Chance(0, step, 1), 0.0).corner for step in range(3000))
    assert set(corners) == set(itertools.product((0, -1, -2), (0, -1, -2, -3)))
    assert max(corners.values()) < 1.35 * min(corners.values())


def test_a_window_follows_from_seed_step_and_place_alone() -> None:
    whole, mask = scaled_placement((500, 700), 1.0), np.zeros((500, 700), np.uint8)
    chances = [Chance(*numbers) for numbers in itertools.product((0, 1), repeat=3)]
    corners = [drawn(whole, TARGET, mask, chance, 0.5).corner for chance in chances]
    assert corners == [drawn(whole, TARGET, mask, chance, 0.5).corner for chance in chances]
    assert len(set(corners)) == len(corners)


def test_the_share_of_windows_with_foreground_shows_every_class_evenly() -> None:
    whole, mask = scaled_placement((90, 150), 1.0), np.zeros((90, 150), np.uint8)
    mask[:60, :90], mask[88, 148], mask[70:, :40] = 1, 2, VOID
    shown: dict[float, list[list[int]]] = {}
    for share in (0.0, 0.5, 1.0):
        placements = [drawn(whole, TARGET, mask, Chance(1, step, 0), share) for step in range(400)]
        shown[share] = [np.unique(mask[placement.shown]).tolist() for placement in placements]
        for placement in placements:
            (top, left) = placement.corner
            assert -74 <= top <= 0
            assert -126 <= left <= 0
    assert all({1, 2} & set(classes) for classes in shown[1.0])
    rare = [np.mean([2 in classes for classes in shown[share]]) for share in (0.0, 0.5, 1.0)]
    assert rare == pytest.approx([0.0, 0.25, 0.5], abs=0.07)


def test_a_picture_without_foreground_has_windows_too(root: Path) -> None:
    whole, mask = scaled_placement((40, 61), 1.0), np.full((40, 61), VOID, np.uint8)
    assert len({drawn(whole, TARGET, mask, Chance(0, step, 0), 1.0).corner for step in range(50)}) > 40


@pytest.mark.parametrize("inner", [(40, 61), (16, 24), (48, 72), (9, 70), (7, 5), (17, 25), (500, 333)])
def test_each_pixel_counts_in_one_of_the_windows_that_cover_a_picture(inner: tuple[int, int]) -> None:
    whole, counts = scaled_placement(inner, 1.0), np.zeros(inner, int)
    for number in range(count(inner, TARGET)):
        placement, counted = beside(whole, TARGET, number)
        due = np.zeros(TARGET, int)
        due[counted] = 1
        counts[placement.shown] += due[placement.window]
    assert (counts == 1).all()
    least = [-(-side // room) for side, room in zip(inner, TARGET, strict=True)]
    assert count(inner, TARGET) == least[0] * least[1]


@pytest.mark.parametrize("scale", [1.0, 0.7])
@pytest.mark.parametrize("threads", [0, 3])
def test_validation_sees_all_of_each_image(root: Path, scale: float, threads: int) -> None:
    samples = opened(root, "val", crop=scale, threads=threads)
    with eval_batches(samples, 3) as batches:
        seen = list(batches)
    assert len(seen) == eval_steps(samples, 3) == -(-int(samples.windows.sum()) // 3)
    ids = np.concatenate([loaded.image_ids for loaded in seen])
    total = int(samples.windows.sum())
    assert ids[:total].tolist() == np.repeat(np.arange(1, 6), samples.windows).tolist()
    assert (ids[total:] == -1).all()
    for position, size in enumerate(SIZES):
        whole = scaled_placement(size, scale)
        lookup, rules = samples.lookup, samples.data.rules
        truth = draw_mask(samples.index.annotations(position), lookup, rules, whole)
        masks = np.concatenate([loaded.batch.mask for loaded in seen])[ids == position + 1]
        found = np.bincount(masks.ravel(), minlength=256)
        assert found[:VOID].tolist() == np.bincount(truth.ravel(), minlength=256)[:VOID].tolist()


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": 4}, {"workers": 2}])
def test_windows_do_not_depend_on_threads_or_workers(root: Path, settings: dict[str, int]) -> None:
    ours = take(opened(root, crop_foreground=0.5), 4)
    assert_same(take(opened(root, crop_foreground=0.5, **settings), 4), ours)


def test_windows_do_not_depend_on_the_start_or_the_process(root: Path) -> None:
    samples = opened(root, crop_foreground=0.5)
    ours = take(samples, 6)
    assert_same(take(samples, 3, start=3), ours[3:])
    for rows in (slice(0, 2), slice(2, 4)):
        assert_same(take(samples, 6, rows=rows), ours, rows)


def test_each_epoch_cuts_other_windows(root: Path) -> None:
    batches = take(opened(root), 12)
    of_first = [b.batch.image[row] for b in batches for row in np.flatnonzero(b.image_ids == 1)]
    assert len(of_first) > 6
    assert len({window.tobytes() for window in of_first}) > len(of_first) - 2


def test_an_epoch_may_hold_several_windows_of_each_picture(root: Path) -> None:
    samples = opened(root, crops=4)
    assert steps_per_epoch(samples, 4) == 5
    assert Counter(np.concatenate([b.image_ids for b in take(samples, 5)]).tolist()) == dict.fromkeys(range(1, 6), 4)


def test_a_broken_picture_has_no_weight_in_any_window(root: Path, tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / split).mkdir()
        for path in (root / "images" / split).iterdir():
            (tmp_path / "images" / split / path.name).write_bytes(b"" if path.stem == "1" else path.read_bytes())
    (tmp_path / "annotations").symlink_to(root / "annotations")
    samples = opened(tmp_path, "val", on_error="skip")
    with eval_batches(samples, 4) as batches:
        seen = list(batches)
    weights = np.concatenate([loaded.batch.weight for loaded in seen])
    assert weights.tolist() == [0.0] * 9 + [1.0] * 8 + [0.0] * 3
    assert "1.jpg" in seen[0].faults[1]


def test_what_was_made_is_made_once_and_failures_again() -> None:
    recent, calls = Recent(2), []

    def make(position: int) -> int:
        calls.append(position)
        if len(calls) == 1:
            raise OSError("once")
        return position * 10

    with pytest.raises(OSError, match="once"):
        recent.get(1, make)
    assert [recent.get(position, make) for position in (1, 1, 2, 1, 3, 2, 1)] == [10, 10, 20, 10, 30, 20, 10]
    assert calls == [1, 1, 2, 3, 1]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"crop": 0.0}, r"data.crop is 0.0: expected what a picture's sides are multiplied by"),
        ({"crop": float("nan")}, "data.crop is nan"),
        ({"crop_foreground": 1.5}, "data.crop_foreground is 1.5: expected a share"),
        ({"crop": None, "crops": 2}, "are of windows: give --data.crop 1"),
        ({"crops": 0}, "data.crops is 0: expected at least 1"),
        ({"cache": "memory"}, "data.cache memory keeps samples of one size"),
        ({"crop": 1e4}, "An image of 40 x 61, scaled by 10000, is 400000 x 610000"),
    ],
)
def test_what_can_be_wrong(root: Path, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        opened(root, "val", **settings).windows  # noqa: B018


def test_what_is_told_of_windows() -> None:
    assert how_resized("stretch", 16, 24, 0.5) == (
        "In training each photograph was scaled by 0.5, antialiased, and seen in windows of 16 x 24 (height x width)."
    )
