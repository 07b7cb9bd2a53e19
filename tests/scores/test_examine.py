"""A model that was trained on windows is scored on whole pictures, as it predicts them."""

from pathlib import Path

import numpy as np
import pytest
from painted import leave_out, model_of, paint, painted_data, reads_binary, reads_classes

from jaxseg.data.geometry import restored
from jaxseg.data.samples import open_split
from jaxseg.evaluate import score_model
from jaxseg.predict import PredictArguments, tile_of
from jaxseg.predicting.tiles import Tile
from jaxseg.scores.examine import At, View, examine


def views(root: Path, mode: str, at: At, scale: float, batch_size: int = 3) -> dict[int, View]:
    samples = open_split(painted_data(root, (16, 24), mode=mode, crop=scale, on_error="skip"), "val")
    model = model_of(reads_classes if mode == "multiclass" else reads_binary, mode, (16, 24), crop=scale)
    found = examine(model, samples, lambda view: view, at=at, batch_size=batch_size, on_faults=lambda _: None)
    return {view.position: view for view in found}


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_tiles_say_of_a_picture_what_the_model_says_of_its_pixels(tmp_path: Path, mode: str, scale: float) -> None:
    """For the model sees each pixel by itself."""
    root = paint(tmp_path)
    samples = open_split(painted_data(root, (16, 24), mode=mode, crop=scale), "val")
    forward = reads_classes if mode == "multiclass" else reads_binary
    seen, large = views(root, mode, "network", scale), views(root, mode, "original", scale)
    assert list(seen) == list(large) == samples.positions.tolist()
    for position, view in seen.items():
        image = samples.image(position)
        expected = np.asarray(forward(None, np.asarray(image)) if mode == "binary" else forward_of(image))
        assert view.probabilities == pytest.approx(expected, abs=1e-6)
        assert np.array_equal(view.truth, samples.mask(position))
        whole = large[position]
        assert whole.truth.shape == samples.placement(position).full
        assert whole.probabilities == pytest.approx(restored(view.probabilities, samples.placement(position)), abs=1e-5)


def forward_of(image: np.ndarray) -> np.ndarray:
    shares = (image.astype(np.float32) / 255)[..., [2, 0, 1]]
    shares[..., 0] = 1 - shares.max(-1)
    return shares


def test_scores_do_not_depend_on_the_batch_and_broken_pictures_are_left_out(tmp_path: Path) -> None:
    root = paint(tmp_path)
    leave_out(root, 2)
    ours, theirs = (views(root, "binary", "original", 1.0, size) for size in (1, 5))
    assert list(ours) == list(theirs)
    assert 1 not in ours
    for position, view in ours.items():
        assert np.array_equal(view.probabilities, theirs[position].probabilities)


def test_evaluation_and_prediction_of_a_model_of_windows_agree(tmp_path: Path) -> None:
    root = paint(tmp_path)
    model = model_of(reads_binary, "binary", (16, 24), crop=1.0)
    found = score_model(model, painted_data(root))
    assert found.foreground.iou == 1.0  # the pictures show their masks, pixel for pixel
    assert "original size" in found.heading
    for score in found.images:
        path = found.samples.path(score.position)
        look = found.look(score)
        assert np.array_equal(look.prediction, model.predict(path).mask)
        assert np.array_equal(look.prediction, look.truth)


def test_tiles_have_the_scale_of_the_training_unless_another_is_asked_for(tmp_path: Path) -> None:
    windows, whole = model_of(reads_binary, "binary", crop=0.5), model_of(reads_binary, "binary")
    assert (windows.tiling(), whole.tiling()) == (Tile(0.5), None)
    assert windows.tiling(Tile(2.0)) == Tile(2.0)
    arguments = PredictArguments(tmp_path, (), tmp_path, tile=True, overlap=0.2)
    assert tile_of(arguments, windows) == Tile(0.5, 0.2)
    assert tile_of(arguments, whole) == Tile(1.0, 0.2)
    assert tile_of(PredictArguments(tmp_path, (), tmp_path), windows) is None
