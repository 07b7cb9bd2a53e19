"""The pictures of a data set show its images and masks, one file an image and a grid."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jaxseg
from jaxseg.data.samples import open_split
from jaxseg.errors import InputError
from jaxseg.pictures import overlay
from jaxseg.visualize import draw_samples, main

CLASSES = ("laptop", "tv", "cell phone")


def config(root: Path, **data: Any) -> jaxseg.Config:
    return jaxseg.Config(data=jaxseg.Data(**{"root": root, "classes": CLASSES, "height": 32, "width": 48, **data}))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "RGB" or path.name == "grid.png"
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_each_picture_is_the_image_beside_its_mask(sample: Path, tmp_path: Path, mode: str, channels: int) -> None:
    ours = config(sample, mode=mode, channels=channels)
    *panels, grid = draw_samples(ours, tmp_path / "out", count=4)
    samples = open_split(ours.data, "train")
    assert len(panels) == 4
    assert grid == tmp_path / "out" / "grid.png"
    by_name = {f"{int(s['image_id']):012d}.png": s for s in (samples[place] for place in range(len(samples)))}
    for path in panels:
        held = by_name[path.name]
        picture = pixels(path)
        assert picture.shape == (32, 96, 3)
        assert np.array_equal(picture[:, :48], np.broadcast_to(held["image"], (32, 48, 3)))
        assert np.array_equal(picture[:, 48:], overlay(held["image"], held["mask"]))
        assert not np.array_equal(picture[:, 48:], picture[:, :48])  # every image holds a class
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in (*panels, grid))


def test_the_grid_shows_the_pictures(sample: Path, tmp_path: Path) -> None:
    one = pixels(draw_samples(config(sample), tmp_path / "one", count=1)[-1])
    six = pixels(draw_samples(config(sample), tmp_path / "six", count=6)[-1])
    assert six.shape[1] > 4 * one.shape[1] * 0.9  # five in a row
    assert six.std() > 20


def test_no_more_pictures_than_images(sample: Path, tmp_path: Path) -> None:
    ours = config(sample, classes=None)
    assert len(draw_samples(ours, tmp_path / "a", count=1000)) == 16 + 1
    assert len(draw_samples(ours, tmp_path / "b", count=1000, split="val")) == 6 + 1
    for count in (1, 2, 5):
        assert len(set(draw_samples(ours, tmp_path / f"c{count}", count=count))) == count + 1
    with pytest.raises(InputError, match="--count 0: give at least 1"):
        draw_samples(ours, tmp_path, count=0)


def test_the_pictures_are_spread_over_the_split(sample: Path, tmp_path: Path) -> None:
    ours = config(sample, classes=None)
    ids = open_split(ours.data, "train").index.image_id
    names = [path.stem for path in draw_samples(ours, tmp_path, count=2)[:-1]]
    assert names == [f"{ids[0]:012d}", f"{ids[-1]:012d}"]


def test_what_is_wrong_with_the_data_is_told(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxseg.data.coco.CocoIndex.warnings", lambda index: ["2 annotations are odd"])
    draw_samples(config(sample), tmp_path, count=1)
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == f"Data (as given): {sample / 'annotations' / 'instances_train2017.json'}"
    assert second == "warning: 2 annotations are odd"
    assert last == f"1 pictures and grid.png are in {tmp_path}/ (train split; laptop + tv + cell phone)"


def copy_of(sample: Path, folder: Path) -> Path:
    """The sample's annotations, with images that can still be broken."""
    (folder / "annotations").mkdir(parents=True)
    images = folder / "images" / "train2017"
    images.mkdir(parents=True)
    for path in (sample / "annotations").iterdir():
        (folder / "annotations" / path.name).write_bytes(path.read_bytes())
    for path in (sample / "images" / "train2017").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    return folder


def test_unreadable_images_are_counted(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = copy_of(sample, tmp_path / "coco")
    ours, *others = sorted((root / "images" / "train2017").iterdir())
    ours.write_bytes(b"")
    skipping = config(root, classes=None, on_error="skip")
    assert len(draw_samples(skipping, tmp_path / "out", count=16)) == 15 + 1
    assert "; 1 could not be read)" in capsys.readouterr().out
    with pytest.raises(InputError, match=f"{ours.name} can't be read as an image"):
        draw_samples(config(root, classes=None), tmp_path / "out", count=16)
    for path in others:
        path.unlink()
    with pytest.raises(InputError, match=r"None of the 16 images chosen from .*train2017 can be read"):
        draw_samples(skipping, tmp_path / "out", count=16)


def test_the_command_takes_a_config_file_as_one_writes_it(sample: Path, tmp_path: Path) -> None:
    """With the root as text and the classes as a list."""
    file = tmp_path / "mine.py"
    data = f"jaxseg.Data(root={str(sample)!r}, classes=['tv', 'laptop'], height=32, width=32)"
    file.write_text(f"import jaxseg\nconfig = jaxseg.Config(data={data})\n")
    out = tmp_path / "out"
    words = ["--config", str(file), "--count", "3", "--out", str(out), "--data.mode", "multiclass"]
    done = subprocess.run(
        [sys.executable, "-m", "jaxseg.visualize", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"3 pictures and grid.png are in {out}/ (train split; tv, laptop)" in done.stdout
    assert len(list(out.iterdir())) == 4


def test_mistakes_are_told_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mine.py"
    file.write_text("import jaxseg\nconfig = jaxseg.Config()\n")
    with pytest.raises(SystemExit) as caught:
        main(["--config", str(file), "--data.root", str(tmp_path / "coco"), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: data.root {tmp_path / 'coco'} is not a folder.\n")
    assert not (tmp_path / "out").exists()
