"""A video becomes a video of as many frames at the same rate, its masks those of its frames."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import random_model

from jaxseg.loading import load
from jaxseg.predicting.bulk import predict_files
from jaxseg.predicting.journal import NAME
from jaxseg.predicting.video import upright_frames
from jaxseg.predictor import Predictor
from jaxseg.weights import write_weights

RATE, COUNT = 12, 11


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("video")
    write_weights(folder / "model", random_model(widths=(4, 6)))
    return load(folder / "model")


def clip(path: Path, height: int = 60, width: int = 90) -> Path:
    av = pytest.importorskip("av", reason="needs av, to read videos: pip install av")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(COUNT):
            array = np.zeros((height, width, 3), np.uint8)
            array[10:40, 5 * number : 5 * number + 30] = (250, 200, 40)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        file.mux(stream.encode())
    return path


def frames(path: Path) -> tuple[list[np.ndarray], Any]:
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)], stream.average_rate


def test_masks_are_those_of_the_frames(model: Predictor, tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mp4")
    done = predict_files(model, [path], tmp_path / "out")
    assert done.predicted == 1
    pictures, _ = frames(path)
    expected = model.predict(pictures)
    assert isinstance(expected, list)
    for kind in ("mask", "overlay"):
        found, rate = frames(tmp_path / "out" / kind / "clip.mp4")
        assert (len(found), rate) == (COUNT, RATE)
        for picture, prediction in zip(found, expected, strict=True):
            drawn = prediction.overlay() if kind == "overlay" else prediction.mask[..., None] * np.uint8(255)
            assert np.abs(picture.astype(int) - drawn).mean() < 12  # H.264 loses a little
            if kind == "mask":
                assert ((picture[..., 0] > 127) == prediction.mask).mean() > 0.97
    assert 0.05 < np.mean([prediction.mask.mean() for prediction in expected]) < 0.95


def test_faults_are_told_and_nothing_is_left(model: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clip(tmp_path / "clip.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    done = predict_files(model, [tmp_path / "broken.mp4"], tmp_path / "a")
    assert "can't be read as a video" in done.faults["broken.mp4"]
    done = predict_files(model, [path], tmp_path / "b", save=("results",))
    assert "--save overlay or --save mask" in done.faults["clip.mp4"]
    monkeypatch.setitem(sys.modules, "av", None)
    done = predict_files(model, [path], tmp_path / "c")
    assert "pip install 'jaxseg[video]'" in done.faults["clip.mp4"]
    assert not [file for name in "abc" for file in (tmp_path / name).rglob("*.mp4")]


def test_a_name_that_can_not_be_written_is_a_fault(model: Predictor, tmp_path: Path) -> None:
    clip(tmp_path / "clip.mp4")
    (tmp_path / "out/overlay/clip.mp4/in_the_way").mkdir(parents=True)
    (tmp_path / "out" / NAME).touch()
    done = predict_files(model, [tmp_path / "clip.mp4"], tmp_path / "out", save=("overlay",), resume=True)
    assert "outputs can't be written" in done.faults["clip.mp4"]


def test_frames_are_turned_as_players_show_them() -> None:
    class Stub:
        rotation = 90

        def to_ndarray(self, format: str) -> np.ndarray:
            return np.arange(18, dtype=np.uint8).reshape(2, 3, 3)

    (shown,) = upright_frames(iter([Stub()]), "shown")
    (stored,) = upright_frames(iter([Stub()]), "stored")
    np.testing.assert_array_equal(shown, np.rot90(stored))
