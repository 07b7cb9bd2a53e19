"""Boundaries are those of a naive erosion, and boundary IoU that of the paper."""

import numpy as np
import pytest
from scipy import ndimage
from score_pieces import blobs
from skimage import morphology

from jaxseg.arrays import VOID
from jaxseg.metrics import Overlap
from jaxseg.scores.boundary import boundary_distance, count_boundaries, inner_boundary


def eroded_slowly(region: np.ndarray, distance: int) -> np.ndarray:
    """A 3 x 3 erosion, again and again, in a frame of background."""
    framed = np.pad(region, 1)
    for _ in range(distance):
        framed = ndimage.binary_erosion(framed, np.ones((3, 3)), border_value=0)
    return framed[1:-1, 1:-1]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 3), (37, 64), (64, 37)])
@pytest.mark.parametrize("distance", [1, 2, 3, 5, 8, 50])
def test_it_is_what_repeated_erosion_takes_away(size: tuple[int, int], distance: int) -> None:
    for seed in range(3):
        region = blobs(seed, size=size) > 0
        for mask in (region, ~region, np.ones(size, bool), np.zeros(size, bool)):
            naive = mask & ~eroded_slowly(mask, distance)
            np.testing.assert_array_equal(inner_boundary(mask, distance), naive)


def test_it_is_what_scikit_image_takes_away() -> None:
    region = blobs(4, size=(90, 120)) > 0
    square = morphology.footprint_rectangle((7, 7))
    kept = morphology.erosion(region, square, mode="constant", cval=0)
    np.testing.assert_array_equal(inner_boundary(region, 3), region & ~kept)


def test_a_region_made_by_hand() -> None:
    """A 5 x 5 square in the corner: its boundary of width 1 is its ring, along the frame too."""
    region = np.zeros((8, 8), bool)
    region[:5, :5] = True
    ring = region.copy()
    ring[1:4, 1:4] = False
    np.testing.assert_array_equal(inner_boundary(region, 1), ring)
    np.testing.assert_array_equal(inner_boundary(region, 3), region)


@pytest.mark.parametrize(
    ("size", "pixels"), [((480, 640), 16), ((1, 1), 1), ((30, 40), 1), ((75, 100), 2), ((100, 100), 3), ((224, 224), 6)]
)
def test_it_is_two_hundredths_of_the_diagonal_wide(size: tuple[int, int], pixels: int) -> None:
    assert boundary_distance(*size) == pixels


@pytest.mark.parametrize("classes", [2, 4])
def test_counts_are_those_of_naive_boundaries(classes: int) -> None:
    truth, prediction = blobs(1, classes, (120, 160)), blobs(2, classes, (120, 160))
    counts = count_boundaries(truth, prediction, classes)
    distance = 4
    regions = [(truth > 0, prediction > 0)] + [(truth == c, prediction == c) for c in range(1, classes)]
    for found, (ours, theirs) in zip(counts.T, regions, strict=True):
        ours, theirs = (mask & ~eroded_slowly(mask, distance) for mask in (ours, theirs))
        assert found.tolist() == [(ours & theirs).sum(), ours.sum(), theirs.sum()]


def test_a_perfect_mask_scores_one_and_a_shifted_one_less_than_its_iou() -> None:
    rows, columns = np.ogrid[:200, :300]
    truth = (np.hypot(rows - 100, columns - 140) < 80).astype(np.uint8)
    assert Overlap(*count_boundaries(truth, truth, 2)).iou.tolist() == [1, 1]
    shifted = np.roll(truth, 3, axis=1)
    both, either = ((truth & shifted) > 0).sum(), ((truth | shifted) > 0).sum()
    assert 0 < Overlap(*count_boundaries(truth, shifted, 2)).iou[0] < both / either


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_predicted_in_void_changes_nothing(classes: int) -> None:
    truth, prediction = blobs(6, classes, void=0.2), blobs(7, classes)
    counts = count_boundaries(truth, prediction, classes)
    for other in range(classes):
        changed = np.where(truth == VOID, other, prediction).astype(np.uint8)
        np.testing.assert_array_equal(count_boundaries(truth, changed, classes), counts)
    perfect = np.where(truth == VOID, prediction, truth)
    assert np.nanmin(Overlap(*count_boundaries(truth, perfect, classes)).iou) == 1
    assert not count_boundaries(np.full_like(truth, VOID), prediction, classes).any()
