"""Masks are those of the original's rule, written here a second time, and they lie where their image lies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation
from mask_pieces import FAITHFUL, cat, drawn, full_mask, random_annotations, resized
from PIL import Image

from jaxseg.arrays import VOID
from jaxseg.data.classes import choose_classes
from jaxseg.data.coco import read_index
from jaxseg.data.geometry import place
from jaxseg.data.images import read_image
from jaxseg.data.masks import draw_mask, reduce_mask

CLASS_OF = {1: 1, 2: 2, 3: 3}  # of cat, dog, bird by their ids

# The rule: each annotation at full size, resized, at least one half, merged by maximum.


def original(
    annotations: list[dict], full: tuple[int, int], target: tuple[int, int], class_of: dict[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and where it is decided: where no coverage is one half but for rounding."""
    mask, decided = np.zeros(target, np.uint8), np.ones(target, bool)
    for entry in annotations:
        if label := class_of.get(entry["category_id"], 0):
            coverage = resized(full_mask(entry["segmentation"], *full), target)
            mask = np.maximum(mask, np.where(coverage >= 0.5 - 1e-6, label, 0)).astype(np.uint8)
            decided &= np.abs(coverage - 0.5) > 1e-6
    return mask, decided


SIZES = [((30, 40), (30, 40)), ((61, 83), (20, 16)), ((33, 97), (48, 32)), ((50, 20), (64, 96)), ((90, 7), (16, 16))]


@pytest.mark.parametrize(("full", "target"), SIZES, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_full_is_the_originals_rule(full: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    annotations = random_annotations(np.random.default_rng(seed), *full)
    expected, decided = original(annotations, full, target, CLASS_OF)
    found = drawn(annotations, full, target)
    assert (found.shape, found.dtype) == (target, np.uint8)
    assert np.array_equal(found[decided], expected[decided])
    assert decided.mean() > 0.5


def test_the_interpolation_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch, to compare with")
    mask = np.random.default_rng(0).random((41, 67)) < 0.5
    image = torch.tensor(mask, dtype=torch.float64)[None, None]
    theirs = torch.nn.functional.interpolate(image, (32, 96), mode="bilinear", align_corners=False)[0, 0].numpy()
    decided = np.abs(theirs - 0.5) > 1e-6
    assert np.allclose(resized(mask.astype(float), (32, 96)), theirs, atol=1e-12)
    assert np.array_equal(reduce_mask(mask, 32, 96)[decided], (theirs >= 0.5)[decided])


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    either = ((ours > 0) | (theirs > 0)).sum()
    return float(((ours > 0) & (theirs > 0)).sum() / either) if either else 1.0


def test_scaled_outlines_are_the_originals_masks_on_real_photographs(coco_dev: Path) -> None:
    """Foreground IoU: 0.989 on average when this was written. What is drawn at full size differs nowhere."""
    path = coco_dev / "annotations" / "instances_val2017.json"
    said, index = json.loads(path.read_text()), read_index(path)
    lookup = choose_classes(index, None, "multiclass").lookup(index)
    class_of = {category["id"]: place for place, category in enumerate(said["categories"], 1)}
    scores = []
    for position, entry in enumerate(said["images"]):
        own = [a for a in said["annotations"] if a["image_id"] == entry["id"]]
        sizes = (entry["height"], entry["width"]), (224, 224)
        expected, decided = original(own, *sizes, class_of)
        held = list(index.annotations(position))
        exact = draw_mask(held, lookup, FAITHFUL, place(*sizes, "stretch"))
        scaled = draw_mask(held, lookup, FAITHFUL._replace(rasterize="target"), place(*sizes, "stretch"))
        assert np.array_equal(exact[decided], expected[decided])
        scores.append(iou(scaled, expected))
    print(f"IoU with the original's masks on {len(scores)} images: mean {np.mean(scores):.4f}, worst {min(scores):.4f}")
    assert len(scores) == 75
    assert np.mean(scores) >= 0.98
    assert min(scores) >= 0.9


# The image and its mask take the same way: a picture of the mask, sent through the image's own path, is the mask.

RESIZE = pytest.mark.parametrize("resize", ["stretch", "letterbox"])


@RESIZE
@pytest.mark.parametrize("target", [(37, 53), (74, 106), (111, 159), (111, 53), (64, 256), (37, 54)], ids=str)
def test_the_image_and_its_mask_agree_pixel_by_pixel(tmp_path: Path, resize: Any, target: tuple[int, int]) -> None:
    """Where nothing shrinks, both interpolate linearly between the middles of pixels."""
    full = (37, 53)
    rows, columns = np.mgrid[: full[0], : full[1]]
    mask = np.hypot(rows - 12, (columns - 35) * 0.7) < 9
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    placement = place(full, target, resize)
    picture = read_image(tmp_path / "mask.png", placement=placement, channels=1)[..., 0]
    ours = drawn([cat(mask)], full, target, resize=resize)
    around = np.ones(target, bool)
    around[placement.window] = False
    decided = ~around & (np.abs(picture - 127.5) > 1.5)  # the picture holds whole greys
    assert decided.sum() > 0.9 * np.prod(placement.inner)
    assert np.array_equal(ours[decided], (picture > 127)[decided])
    assert (ours[around] == VOID).all()
    assert not picture[around].any()


FILES = [("png", "pillow"), ("jpg", "pillow"), ("jpg", "simplejpeg")]


@RESIZE
@pytest.mark.parametrize("rasterize", ["target", "full"])
@pytest.mark.parametrize(("ending", "decoder"), FILES, ids=str)
@pytest.mark.parametrize("full", [(1001, 777), (1023, 1535), (311, 1601)], ids=str)
def test_reduced_pictures_keep_to_their_masks(
    tmp_path: Path, full: tuple[int, int], ending: str, decoder: Any, rasterize: str, resize: Any
) -> None:
    """JPEGs decoded at some eighths are rounded up to whole pixels: the picture must not shift for that."""
    if decoder == "simplejpeg":
        pytest.importorskip("simplejpeg")
    target = (96, 64)
    rows, columns = ((np.arange(side) + 0.5) / side for side in full)
    mask = np.hypot((rows[:, None] - 0.6) * 3, (columns[None] - 0.65) * 2) < 0.5
    angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    outline = np.stack([(0.65 + 0.25 * np.cos(angle)) * full[1], (0.6 + 0.5 / 3 * np.sin(angle)) * full[0]], axis=1)
    path = tmp_path / f"mask.{ending}"
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, quality=95)
    placement = place(full, target, resize)
    picture = read_image(path, placement=placement, channels=1, decoder=decoder)[..., 0][placement.window]
    for entry in (cat(mask), annotation(1, 1, 1, [outline.ravel().tolist()])):
        found = drawn([entry], full, target, rasterize=rasterize, resize=resize)
        assert (found == VOID).sum() == np.prod(target) - np.prod(placement.inner)
        ours = found[placement.window]
        assert iou(ours, picture > 127) > 0.93
        for axis, size in enumerate(placement.inner):
            middles = (np.arange(full[axis]) + 0.5) * size / full[axis]
            true = np.average(middles, weights=mask.sum(1 - axis))
            by_image, by_mask = (
                np.average(np.arange(size) + 0.5, weights=a.sum(1 - axis, dtype=float)) for a in (picture, ours)
            )
            assert by_image == pytest.approx(true, abs=0.03)
            assert by_mask == pytest.approx(true, abs=0.2)  # of whole pixels
