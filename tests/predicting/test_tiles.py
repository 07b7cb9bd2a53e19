"""Tiles cover every pixel with weight, overlap as asked, and lie alike from both ends."""

import numpy as np
import pytest

import jaxseg
from jaxseg.predicting.tiles import Tile, check_tile, coverage, grid, positions, profile


def cases() -> list[tuple[int, int, float]]:
    draw = np.random.default_rng(0)
    drawn = [(int(draw.integers(1, 900)), int(draw.integers(1, 130)), float(draw.uniform(0, 0.97))) for _ in range(400)]
    return [*drawn, (100, 100, 0.5), (101, 100, 0.5), (99, 100, 0.5), (1, 1, 0.0), (500, 1, 0.9), (7, 3, 0.99)]


def test_every_pixel_is_covered_with_weight() -> None:
    for side, tile, overlap in cases():
        starts = positions(side, tile, overlap)
        shown = profile(tile)[max(0, tile - side) // 2 :][: min(side, tile)]
        assert starts[0] == 0
        assert starts[-1] + min(side, tile) == side
        total = coverage(side, starts, shown)
        assert total.shape == (side,)
        assert total.min() > 0, (side, tile, overlap)
        assert (total * np.float32(1e-4) > 0).all()  # the product of two sides is not lost in float32


def test_tiles_overlap_as_asked_and_no_more_than_needed() -> None:
    for side, tile, overlap in cases():
        starts = np.array(positions(side, tile, overlap))
        steps = np.diff(starts)
        allowed = max(1, int(tile * (1 - overlap)))
        assert (steps <= allowed).all(), (side, tile, overlap, starts)
        assert (steps > 0).all()
        if side > tile:
            assert len(starts) == -(-(side - tile) // allowed) + 1


def test_they_lie_alike_from_both_ends() -> None:
    for side, tile, overlap in cases():
        starts = np.array(positions(side, tile, overlap))
        mirrored = max(0, side - tile) - starts[::-1]
        assert np.abs(mirrored - starts).max() <= 1  # a middle tile may lie half a pixel off
        off = np.flatnonzero(mirrored != starts)
        assert len(off) <= 1


def test_the_weights_are_a_gaussian_of_an_eighth() -> None:
    for tile in (1, 7, 64, 224):
        weights = profile(tile)
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, weights[::-1])
        assert weights.max() <= 1
        assert weights.min() > 0
    centre, out = profile(65)[32], profile(65)[32 + 8]
    assert centre == 1
    assert out == pytest.approx(np.exp(-0.5 * (8 / (65 / 8)) ** 2), rel=1e-6)


def test_a_small_picture_lies_in_the_middle_of_its_tile() -> None:
    found = grid((40, 300), (64, 64), Tile(scale=0.5, overlap=0.25))
    assert found.size == (20, 150)
    assert found.rows == (0,)
    assert found.corner == (22, 0)
    assert found.window == (slice(22, 42), slice(0, 64))
    assert found.count == len(found.columns) == 3


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (Tile(overlap=1.0), "overlap of 1"),
        (Tile(overlap=-0.1), "overlap of -0.1"),
        (Tile(overlap=float("nan")), "overlap of nan"),
        (Tile(scale=0.0), "scale of 0: it must be above 0"),
        (Tile(scale=float("inf")), "scale of inf"),
    ],
)
def test_what_can_not_be_is_told(cut: Tile, message: str) -> None:
    with pytest.raises(jaxseg.InputError, match=message):
        check_tile(cut, (32, 32))


def test_tiles_without_size_are_told() -> None:
    with pytest.raises(jaxseg.InputError, match="tiles of 0 x 32"):
        check_tile(Tile(), (0, 32))
