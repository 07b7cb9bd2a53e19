"""The embedded sample is like a real COCO data set, its masks fit its pixels, and it appears whole or not at all."""

import contextlib
import functools
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from jaxseg.data import sample, scenes, textures, things

draw = functools.cache(functools.partial(sample.draw_image, 0))
SPLITS = {"train2017": 12, "val2017": 4}
CATEGORIES = {72: "tv", 73: "laptop", 77: "cell phone", 78: "microwave", 84: "book"}


def load(file: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(file))


def iou(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    sample.write_sample(folder, train=SPLITS["train2017"], val=SPLITS["val2017"])
    return folder


@pytest.fixture(scope="module")
def cocos(root: Path) -> dict[str, COCO]:
    return {split: load(root / "annotations" / f"instances_{split}.json") for split in SPLITS}


@pytest.fixture(scope="module")
def annotations(cocos: dict[str, COCO]) -> list[tuple[dict, Bool[np.ndarray, "h w"]]]:
    """Every annotation with its mask."""
    return [(a, coco.annToMask(a).astype(bool)) for coco in cocos.values() for a in coco.anns.values()]


@pytest.fixture
def two_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "TRAIN", 1)
    monkeypatch.setattr(sample, "VAL", 1)


def test_layout_is_that_of_coco(root: Path, cocos: dict[str, COCO]):
    shapes = set()
    for split, count in SPLITS.items():
        images = list(cocos[split].imgs.values())
        assert len(images) == count
        assert {image["file_name"] for image in images} == {file.name for file in (root / "images" / split).iterdir()}
        for image in images:
            assert image["file_name"] == f"{image['id']:012d}.jpg"
            with Image.open(root / "images" / split / image["file_name"]) as picture:
                assert picture.format == "JPEG"
                assert picture.size == (image["width"], image["height"])
            shapes.add((image["width"], image["height"]))
        assert {number: c["name"] for number, c in cocos[split].cats.items()} == CATEGORIES
        assert {"info", "licenses"} <= cocos[split].dataset.keys()
    assert len(shapes) >= 4
    assert any(width > height for width, height in shapes)
    assert any(width < height for width, height in shapes)


def test_ids_are_unique_over_both_splits(cocos: dict[str, COCO]):
    for key in ("images", "annotations"):
        ids = [entry["id"] for coco in cocos.values() for entry in coco.dataset[key]]
        assert len(ids) == len(set(ids))


def test_areas_and_boxes_are_those_of_the_masks(annotations):
    for annotation, mask in annotations:
        assert annotation["area"] == mask.sum() > 0
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["bbox"] == box


def test_polygons_are_well_formed(annotations):
    for annotation, mask in annotations:
        for polygon in [] if annotation["iscrowd"] else annotation["segmentation"]:
            points = np.array(polygon).reshape(-1, 2)
            assert len(points) >= 3
            assert (points >= 0).all()
            assert (points <= mask.shape[::-1]).all()


def test_contents_are_as_various_as_real_ones(root: Path, cocos: dict[str, COCO], annotations):
    assert {a["category_id"] for a, _ in annotations} == set(CATEGORIES)
    assert any(len(a["segmentation"]) > 1 for a, _ in annotations if not a["iscrowd"]), "no object of several parts"
    assert min(a["area"] for a, _ in annotations) < 32**2
    assert max(a["area"] for a, _ in annotations) > 96**2
    pairs = itertools.combinations(annotations, 2)
    overlaps = [(a & b).sum() for (one, a), (two, b) in pairs if one["image_id"] == two["image_id"]]
    assert max(overlaps) > 100
    modes, classes = [], []
    for split, coco in cocos.items():
        for number, image in coco.imgs.items():
            with Image.open(root / "images" / split / image["file_name"]) as picture:
                modes.append(picture.mode)
            classes.append({CATEGORIES[a["category_id"]] for a in coco.imgToAnns[number]})
    assert set(modes) == {"L", "RGB"}
    assert set() in classes
    assert any(found and found <= set(scenes.DISTRACTORS) for found in classes)
    assert any(len(found) > 1 for found in classes)


def test_crowds_are_uncompressed_runs(annotations):
    crowds = [(a["segmentation"], mask) for a, mask in annotations if a["iscrowd"]]
    assert crowds
    for segmentation, mask in crowds:
        assert segmentation["size"] == list(mask.shape)
        assert sum(segmentation["counts"]) == mask.size
        values = np.arange(len(segmentation["counts"])) % 2 == 1
        np.testing.assert_array_equal(np.repeat(values, segmentation["counts"]), mask.ravel(order="F"))


def test_masks_fit_what_is_visible(cocos: dict[str, COCO]):
    for split, count in SPLITS.items():
        for index, number in zip(range(count), sorted(cocos[split].imgs), strict=True):
            _, instances = draw(split, index)
            drawn = [(i.name, i.crowd, i.mask) for i in instances]
            for annotation in cocos[split].imgToAnns[number]:
                name, crowd = CATEGORIES[annotation["category_id"]], bool(annotation["iscrowd"])
                mask = cocos[split].annToMask(annotation).astype(bool)
                best = max(iou(mask, true) for n, c, true in drawn if (n, c) == (name, crowd))
                assert best >= (1 if crowd else 0.97)
            large = sum(true.sum() > 40 for *_, true in drawn)
            assert large <= len(cocos[split].imgToAnns[number]) <= len(drawn)


def test_masks_fit_the_pixels():
    """Along the masks' borders the picture changes more than elsewhere."""
    ratios = []
    for index in (0, 1, 2, 4, 5, 7):
        pixels, instances = draw("train2017", index)
        change = np.abs(np.diff(pixels.astype(float).mean(-1), axis=1))
        border = np.any([i.mask[:, 1:] != i.mask[:, :-1] for i in instances], axis=0)
        ratios.append(change[border].mean() / change[~border].mean())
    assert min(ratios) > 2


def test_the_nearer_hides_the_farther():
    eye_to_wall = np.array((0.0, 0.0, 0.0)), [0.0, 0.0, 0.0], 10.0, 32.0
    plain, up, right, light = textures.Pen(8, 8, (200, 100, 50)).image, np.eye(3)[2], np.eye(3)[0], np.eye(3)[2]
    near = things.Face(np.array((-1.0, -2.0, 1.0)), 2 * right, -2 * up, plain)
    far = things.Face(np.array((-2.0, 3.0, 2.0)), 4 * right, -4 * up, plain)
    labels = []
    for order in (((near, 1), (far, 2)), ((far, 2), (near, 1))):
        canvas = scenes.Canvas(32, 24, *eye_to_wall)
        for face, label in order:
            canvas.paint(face, label, light)
        labels.append(canvas.label)
    np.testing.assert_array_equal(*labels)
    assert labels[0][24, 32] == 1
    assert {1, 2} <= set(labels[0].flat)


def test_foreground_share(cocos: dict[str, COCO]):
    """About what a photograph of such things has; 0.15 to 0.3 over the whole sample."""
    total = foreground = 0
    for index in range(12):
        pixels, instances = draw("train2017", index)
        masks = [i.mask for i in instances if i.name in scenes.FOREGROUND]
        total += pixels.shape[0] * pixels.shape[1]
        foreground += np.any(masks, axis=0).sum() if masks else 0
    assert 0.12 < foreground / total < 0.33


def test_same_seed_same_files(tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        sample.write_sample(tmp_path / name, train=2, val=1, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    other = files(tmp_path / "c")
    assert all(other[name] != content for name, content in files(tmp_path / "a").items())


def test_an_image_does_not_depend_on_how_many_there_are(root: Path, tmp_path: Path):
    sample.write_sample(tmp_path, train=1, val=1)
    first = "images/train2017/000000000001.jpg"
    assert (tmp_path / first).read_bytes() == (root / first).read_bytes()
    assert (tmp_path / "images/val2017/000000000002.jpg").read_bytes() == (
        root / "images/val2017/000000000013.jpg"
    ).read_bytes()


def test_second_call_does_not_write(two_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = sample.sample_root(tmp_path)
    assert root == tmp_path / f"sample-{sample.VERSION}"
    assert [entry.name for entry in tmp_path.iterdir()] == [root.name]
    before = files(root)
    monkeypatch.setattr(sample, "write_sample", None)
    assert sample.sample_root(tmp_path) == root
    assert files(root) == before


def test_leftovers_are_no_obstacle(two_images, tmp_path: Path):
    """A killed process leaves its temporary folder; a cleaner may delete single files."""
    leftover = tmp_path / f".sample-{sample.VERSION}-killed" / "new" / "annotations"
    leftover.mkdir(parents=True)
    root = sample.sample_root(tmp_path)
    before = files(root)
    next((root / "images" / "val2017").iterdir()).unlink()
    assert sample.sample_root(tmp_path) == root
    assert files(root) == before
    assert leftover.is_dir()


def test_a_failed_write_leaves_nothing(two_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(root: Path, **_: int) -> None:
        (root / "images").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample, "write_sample", fail)
        with pytest.raises(KeyboardInterrupt):
            sample.sample_root(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert sample.sample_root(tmp_path).is_dir()


def test_the_folder_appears_at_once(two_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write, drafts = sample.write_sample, []

    def watch(root: Path, **counts: int) -> None:
        write(root, **counts)
        drafts.append((root.parent.parent, root.stat().st_ino))

    monkeypatch.setattr(sample, "write_sample", watch)
    root = sample.sample_root(tmp_path)
    assert drafts == [(tmp_path, root.stat().st_ino)], "not written beside its place, then renamed"


def test_the_loser_of_a_race_takes_the_winners_folder(two_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write = sample.write_sample

    def slow(root: Path, **counts: int) -> None:
        write(root, **counts)
        winner = tmp_path / f"sample-{sample.VERSION}"
        write(winner, **counts)
        (winner / "mark").touch()

    monkeypatch.setattr(sample, "write_sample", slow)
    root = sample.sample_root(tmp_path)
    assert (root / "mark").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == [root.name]


def test_default_place_and_where_it_goes_without_one(two_images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "cache"))
    assert sample.sample_root() == tmp_path / "cache" / f"sample-{sample.VERSION}"
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    root = sample.sample_root()
    assert root.is_relative_to(tmp_path / "tmp")
    assert (root / "annotations" / "instances_val2017.json").is_file()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(OSError, match="JAXSEG_CACHE"):
        sample.sample_root()


def decode(polygons: list[list[float]], shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    return rle.decode(rle.merge(rle.frPyObjects(polygons, *shape))).astype(bool)


@pytest.mark.parametrize("seed", range(8))
def test_outlines_trace_any_mask(seed: int):
    """Blobs with holes and islands, touching the border."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.random((7, 9), np.float32)).resize((90, 70), Image.Resampling.BICUBIC)
    mask = np.asarray(smooth) > (0.3, 0.5, 0.7)[seed % 3]
    assert iou(decode(sample.outlines(mask), mask.shape), mask) >= 0.97


def test_outlines_of_simple_masks():
    y, x = np.mgrid[:60, :80]
    ring = np.abs(np.hypot(x - 40, y - 30) - 20) < 6
    for mask in (ring, x < 30, np.ones((60, 80), bool), (x < 10) | (y > 50), (x - 20) ** 2 < 25, abs(x - y) < 9):
        assert iou(decode(sample.outlines(mask), mask.shape), mask) >= 0.97
    assert len(sample.outlines(np.hypot(x - 40, y - 30) < 20)) == 1
    assert len(sample.outlines((x < 10) | (x > 50))) == 2
    assert sample.outlines(np.zeros((60, 80), bool)) == []
    assert len(sample.outlines(x < 30)[0]) <= 16, "straight sides need few points"


def test_drawing_needs_no_jax():
    code = "import sys, jaxseg.data.sample; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], env=dict(os.environ))


def test_json_is_plain(root: Path):
    """No NaN, no NumPy leftovers: any JSON reader takes it."""

    def refuse(value: str) -> None:
        raise AssertionError(value)

    for split in SPLITS:
        json.loads((root / "annotations" / f"instances_{split}.json").read_text(), parse_constant=refuse)
