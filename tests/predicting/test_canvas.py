"""Tiles become a picture again: as if all were added at once, and as the whole picture where one tile suffices."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.data import geometry
from jaxseg.data.geometry import place, restored
from jaxseg.predicting.canvas import STEPS, Canvas, Tiled, Whole
from jaxseg.predicting.photograph import in_frame
from jaxseg.predicting.tiles import Grid, Tile, grid

TILE = (16, 24)


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(height + width).integers(0, 256, (height, width, 3), np.uint8))


def network(frame: np.ndarray, outputs: int) -> np.ndarray:
    """Of a frame, something that depends on the place in it, as networks do: tiles do not just agree."""
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    values = frame.astype(np.float32) / 255
    slant = ((rows * 3 + columns * 5) % 7 / 7).astype(np.float32)[..., None]
    found = (values + slant + np.float32(0.01)) / 3
    if outputs == 1:
        return found[..., :1]
    return found / found.sum(axis=-1, keepdims=True)


def run(image: Image.Image, cut: Tile, outputs: int = 1) -> Canvas:
    full = (image.height, image.width)
    work = Tiled(image, grid(full, TILE, cut), Canvas(full, outputs, 0.5, "all"))
    for frame in work.frames():
        assert frame.shape == (*TILE, 3)
        work.put(network(frame, outputs))
    assert work.seen == work.count
    return work.finish()


def brute_force(image: Image.Image, cut: Tile, outputs: int) -> np.ndarray:
    """All tiles added into one array in float64, divided once, and stretched as a whole."""
    full = (image.height, image.width)
    plan = grid(full, TILE, cut)
    height, width = plan.size
    scaled = np.asarray(image if plan.size == full else image.resize((width, height), Image.Resampling.BILINEAR))
    top, left = plan.corner
    padded = np.zeros((max(height, TILE[0]), max(width, TILE[1]), 3), np.uint8)
    padded[top : top + height, left : left + width] = scaled
    total, weight = np.zeros((*padded.shape[:2], outputs)), np.zeros((*padded.shape[:2], 1))
    down, across = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) for n in TILE)
    gaussian = np.outer(down, across)[..., None]
    for row in plan.rows:
        for column in plan.columns:
            here = slice(row, row + TILE[0]), slice(column, column + TILE[1])
            total[here] += network(padded[here], outputs) * gaussian
            weight[here] += gaussian
    mean = (total / weight)[top : top + height, left : left + width].astype(np.float32)
    return restored(mean, place(full, plan.size, "stretch"))


@pytest.mark.parametrize("full", [(16, 24), (16, 25), (61, 83), (100, 30), (9, 70), (70, 11), (5, 7), (1, 1)])
@pytest.mark.parametrize("cut", [Tile(), Tile(0.6, 0.25), Tile(1.7, 0.8), Tile(0.31, 0.0)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_it_is_what_adding_all_at_once_gives(full: tuple[int, int], cut: Tile, outputs: int) -> None:
    image = picture(*full)
    found = run(image, cut, outputs)
    expected = brute_force(image, cut, outputs)
    # bands of a scaled picture are interpolated on their own, and so may round to another of 255 values
    np.testing.assert_allclose(found.every, expected, atol=2e-6 if cut.scale == 1 else 5e-3)
    assert found.counts.sum() == full[0] * full[1]


@pytest.mark.parametrize("outputs", [1, 3])
def test_one_tile_is_the_whole_picture(outputs: int) -> None:
    """Scaled to just a tile, or smaller, where it is framed as a letterboxed one."""
    for full, scale, resize in (((32, 48), 0.5, "stretch"), ((20, 48), 0.5, "letterbox"), ((16, 10), 1.0, "letterbox")):
        image = picture(*full)
        tiled = run(image, Tile(scale), outputs)
        frame, placement = in_frame(image, TILE, channels=3, resize=resize, orientation="shown")
        whole = Whole(frame, placement, Canvas(full, outputs, 0.5, "all"))
        whole.put(network(frame, outputs))
        np.testing.assert_array_equal(tiled.every, whole.finish().every)
        np.testing.assert_array_equal(tiled.mask, whole.canvas.mask)


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(97, 41)
    before = run(image, Tile(0.5), 3).every
    frame, placement = in_frame(image, TILE, channels=3, resize="letterbox", orientation="shown")
    whole = restored(network(frame, 3), placement)
    for values in (1, 1000, 5000):
        monkeypatch.setattr(geometry, "BAND", values)
        np.testing.assert_allclose(run(image, Tile(0.5), 3).every, before, atol=1e-5)
        np.testing.assert_allclose(restored(network(frame, 3), placement), whole, atol=1e-5)


@pytest.mark.parametrize("full", [(97, 41), (41, 97)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_restored_picture_is_its_window_resized_at_once(
    full: tuple[int, int], resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bands too, wherever the black of a letterbox lies."""
    placement = place(full, TILE, resize)
    found = np.random.default_rng(0).random((*TILE, 2), np.float32)
    window = found[placement.window]
    channels = [
        np.asarray(Image.fromarray(window[..., n].copy()).resize(full[::-1], Image.Resampling.BILINEAR))
        for n in range(2)
    ]
    monkeypatch.setattr(geometry, "BAND", 1000)
    np.testing.assert_allclose(restored(found, placement), np.stack(channels, axis=-1), atol=1e-5)


@pytest.mark.parametrize("full", range(180, 200))
def test_the_last_row_does_not_lie_beyond_the_picture(full: int) -> None:
    """In floats, 187 times 3 / 187 is above 3."""
    found = np.ones((3, 4, 1), np.float32)
    assert restored(found, place((full, 5), (3, 4), "stretch")).min() == 1


def test_bands_of_a_scaled_picture_reach_for_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slanting plane: a band without its neighbours' rows would bend at its ends."""
    for ratio, full in ((0.5, 120), (1.7, 60), (5.3, 40), (0.13, 400)):
        size = (round(full * ratio), 8)
        canvas = Canvas((full, 8), 1, 0.5, "all")
        plan = Grid(size, (1, 8), tuple(range(size[0])), (0,), (0, 0))
        work = Tiled(picture(full, 8), plan, canvas)
        rows = np.random.default_rng(1).random((size[0], 8, 1), np.float32)
        for row in range(size[0]):
            work.flush(rows[row : row + 1])
        expected = restored(rows, place((full, 8), size, "stretch"))
        np.testing.assert_allclose(canvas.every, expected, atol=1e-5)
        assert canvas.counts.sum() == full * 8, "each row is painted once"


def test_only_a_band_is_held() -> None:
    image = picture(400, 50)
    for scale in (1.0, 0.5):
        work = Tiled(image, grid((400, 50), TILE, Tile(scale)), Canvas((400, 50), 1, 0.5, "nothing"))
        held = 0
        for frame in work.frames():
            work.put(network(frame, 1))
            held = max(held, len(work.band) + len(work.ready))
        assert held < 3 * TILE[0]
        assert work.image is None
        assert work.canvas.every.size == 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_what_is_kept(outputs: int) -> None:
    draw = np.random.default_rng(0).random((30, 20, outputs), np.float32)
    draw = draw if outputs == 1 else draw / draw.sum(axis=-1, keepdims=True)
    canvas = Canvas((30, 20), outputs, 0.4, "chosen")
    canvas.paint(0, draw[:17])
    canvas.paint(17, draw[17:])
    mask = draw[..., 0] > np.float32(0.4) if outputs == 1 else draw.argmax(-1)
    np.testing.assert_array_equal(canvas.mask, mask)
    chosen = draw[..., 0] if outputs == 1 else draw.max(axis=-1)
    assert canvas.chosen is not None
    assert canvas.chosen.dtype == np.uint16
    np.testing.assert_allclose(canvas.chosen / STEPS, chosen, atol=0.6 / STEPS)
    expected = {c: chosen[mask == c].mean() for c in range(1, max(2, outputs))}
    assert canvas.scores == pytest.approx(expected, rel=1e-5)


def test_the_mean_of_many_pixels_is_exact() -> None:
    canvas = Canvas((2000, 2000), 1, 0.5, "nothing")
    canvas.paint(0, np.full((2000, 2000, 1), 0.7, np.float32))
    assert canvas.scores[1] == pytest.approx(float(np.float32(0.7)), rel=1e-9)


def test_an_absent_class_has_no_score() -> None:
    canvas = Canvas((4, 4), 3, 0.5, "nothing")
    canvas.paint(0, np.broadcast_to(np.float32([0.2, 0.1, 0.7]), (4, 4, 3)))
    assert set(canvas.scores) == {2}
