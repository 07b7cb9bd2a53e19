"""What is written is whole or not there, on a full disk too; a name that can't be is the fault of its file."""

import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import random_images, random_model

from jaxseg.loading import load
from jaxseg.predicting.bulk import predict_files
from jaxseg.predicting.outputs import write_picture
from jaxseg.predictor import Predictor
from jaxseg.weights import write_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("outputs")
    write_weights(folder / "model", random_model(widths=(4, 6)))
    return load(folder / "model")


def photographs(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_images(1, 20, 30)[0]).save(folder / name)
    return folder


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"quality": 90}), ("a.png", {})])
def test_on_a_full_disk_it_fails_and_leaves_nothing(name: str, options: dict, tmp_path: Path) -> None:
    """A limit to the size of files stands for the disk: what does not fit is written in part, then refused."""
    picture = Image.fromarray(random_images(1, 220, 220)[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            write_picture(tmp_path / name, picture, **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    write_picture(tmp_path / name, picture, **options)
    with Image.open(tmp_path / name) as written:
        assert np.asarray(written).shape == (220, 220, 3)  # decoded to its end


def test_names_that_can_not_be_written_are_faults_and_the_others_are_done(model: Predictor, tmp_path: Path) -> None:
    long, wide = "x" * 251, "é" * 125
    photos = photographs(
        tmp_path / "in",
        "a.jpg",
        "a.png/b.jpg",  # its mask would be mask/a.png/b.png, and a.jpg's is mask/a.png
        f"{long}.png",
        f"{wide}.png",
        "new\nline.png",
        f"{'y' * 251}.jpg",
        f"{'y' * 251}.png",  # keep their endings: 259 bytes
    )
    done = predict_files(model, [photos], tmp_path / "out", save=("mask",))
    assert done.predicted == 4
    assert len(done.faults) == 3
    assert all("outputs can't be written" in fault for fault in done.faults.values())
    masks = {path.relative_to(tmp_path / "out/mask").as_posix() for path in (tmp_path / "out/mask").rglob("*.png")}
    assert masks > {f"{long}.png", f"{wide}.png", "new\nline.png"}


def test_within_the_folder_of_the_pictures_outputs_are_no_inputs(model: Predictor, tmp_path: Path) -> None:
    photos = photographs(tmp_path, "a.png", "b/mask/c.png")
    (photos / ".mine-abcdefgh.png").write_bytes(b"no leftover of ours")
    assert predict_files(model, [photos], photos).predicted == 2
    assert predict_files(model, [photos], photos, resume=True) == (0, 2, {})
    (photos / "mask/a.png").unlink()
    (photos / "mask/.b-abcdefgh.png").write_bytes(b"half")
    assert predict_files(model, [photos], photos, resume=True).predicted == 1
    assert {path.name for path in (photos / "mask").iterdir()} == {"a.png", "b"}
    assert (photos / ".mine-abcdefgh.png").exists()
