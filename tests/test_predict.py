"""The command: what it writes, what it says, and that it goes on where it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from trained import random_images, random_model

import jaxseg
from jaxseg.loading import load
from jaxseg.pictures import PALETTE
from jaxseg.predict import main
from jaxseg.predicting.bulk import predict_files
from jaxseg.predicting.journal import NAME, Journal
from jaxseg.predictor import Predictor
from jaxseg.weights import write_weights

EVERYTHING = ["--save", "mask", "overlay", "probability", "results"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and pictures of several sizes and kinds."""
    root = tmp_path_factory.mktemp("predict")
    write_weights(root / "binary", random_model(widths=(4, 6)))
    write_weights(root / "several", random_model(widths=(4, 6), out_channels=3))
    photos = root / "photos"
    (photos / "below").mkdir(parents=True)
    (photos / "notes.txt").write_text("no picture")
    for number, (name, size) in enumerate(
        [
            ("a.jpg", (61, 47)),
            ("a.png", (20, 90)),
            ("b.webp", (33, 33)),
            ("below/c.png", (1, 5)),
            ("below/d.tif", (70, 9)),
        ]
    ):
        Image.fromarray(random_images(9, *size)[number]).save(photos / name)
    Image.fromarray(random_images(1, 40, 30)[0]).convert("L").save(photos / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_images(1, 50, 31)[0]).save(photos / "turned.jpg", exif=exif)
    return root


@pytest.fixture(scope="module")
def binary(folder: Path) -> Predictor:
    return load(folder / "binary")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def files_of(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def run(*argv: object) -> None:
    main([str(word) for word in argv])


def test_it_writes_what_a_notebook_gets(folder: Path, binary: Predictor, tmp_path: Path, capsys: Any) -> None:
    run(folder / "binary", folder / "photos", "--out", tmp_path, *EVERYTHING)
    told = capsys.readouterr().out
    assert "binary (the" in told
    assert "7 files predicted in" in told
    stems = ["a.jpg", "a.png", "b", "below/c", "below/d", "grey", "turned"]
    kinds = {"mask": ".png", "overlay": ".jpg", "probability": ".png"}
    expected = [f"{kind}/{stem}{ending}" for kind, ending in kinds.items() for stem in stems]
    assert sorted(files_of(tmp_path)) == sorted([*expected, "results.json", "images.json", NAME])
    names = ["a.jpg", "a.png", "b.webp", "below/c.png", "below/d.tif", "grey.png", "turned.jpg"]
    coco = COCO(tmp_path / "images.json")
    results = coco.loadRes(str(tmp_path / "results.json"))
    for number, (name, stem) in enumerate(zip(names, stems, strict=True), 1):
        found = binary.predict(folder / "photos" / name)
        mask = pixels(tmp_path / f"mask/{stem}.png")
        assert mask.dtype == np.uint8
        np.testing.assert_allclose((mask > 0) != found.mask, 0)  # batches may round differently, but not here
        assert set(np.unique(mask)) <= {0, 255}
        probability = pixels(tmp_path / f"probability/{stem}.png")
        assert probability.dtype == np.uint16
        np.testing.assert_allclose(probability / 65535, found.probability, atol=2e-5)
        assert pixels(tmp_path / f"overlay/{stem}.jpg").shape == (*mask.shape, 3)
        assert coco.imgs[number] == {"id": number, "file_name": name, "height": mask.shape[0], "width": mask.shape[1]}
        annotations = results.loadAnns(results.getAnnIds(imgIds=number))
        assert len(annotations) == found.mask.any()
        for annotation in annotations:
            np.testing.assert_array_equal(results.annToMask(annotation), found.mask)
            assert annotation["score"] == pytest.approx(found.probability[found.mask > 0].mean(), abs=1e-4)


def test_several_classes_are_indices_with_a_palette(folder: Path, tmp_path: Path) -> None:
    run(folder / "several", folder / "photos", "--out", tmp_path, *EVERYTHING)
    found = load(folder / "several").predict(folder / "photos" / "a.jpg")
    with Image.open(tmp_path / "mask/a.jpg.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[: 3 * 3] == PALETTE[:3].ravel().tolist()
        np.testing.assert_array_equal(mask, found.mask)
    chosen = pixels(tmp_path / "probability/a.jpg.png") / 65535
    np.testing.assert_allclose(chosen, found.probability.max(axis=-1), atol=2e-5)
    results = COCO(tmp_path / "images.json").loadRes(str(tmp_path / "results.json"))
    for annotation in results.loadAnns(results.getAnnIds(imgIds=1)):
        np.testing.assert_array_equal(results.annToMask(annotation), found.mask == annotation["category_id"])
    assert [results.cats[n]["name"] for n in (1, 2)] == list(found.class_names[1:])


def test_masks_fit_the_picture_as_it_is_shown_or_stored(folder: Path, binary: Predictor, tmp_path: Path) -> None:
    path = folder / "photos" / "turned.jpg"
    for orientation, size in (("shown", (31, 50)), ("stored", (50, 31))):
        run(folder / "binary", path, "--out", tmp_path / orientation, "--orientation", orientation)
        mask = pixels(tmp_path / orientation / "mask/turned.png")
        assert mask.shape == size
        assert pixels(tmp_path / orientation / "overlay/turned.jpg").shape == (*size, 3)
        found = binary.predict(path, orientation=orientation)
        np.testing.assert_array_equal(mask > 0, found.mask)


def instances(folder: Path, categories: list[str]) -> Path:
    content = {
        "images": [
            {"id": 70, "file_name": "a.jpg", "height": 61, "width": 47},
            {"id": 71, "file_name": "elsewhere/c.png", "height": 1, "width": 5},
            {"id": 72, "file_name": "turned.jpg", "height": 50, "width": 31},
        ],
        "categories": [{"id": 10 + n, "name": name} for n, name in enumerate(categories)],
        "annotations": [],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def test_ids_are_those_of_a_json(folder: Path, tmp_path: Path, capsys: Any) -> None:
    names = load(folder / "several").classes[1:]
    for categories, numbers in (([*names, "other"], {10, 11}), (["other"], {1, 2})):
        out = tmp_path / str(len(categories))
        path = instances(tmp_path, categories)
        run(folder / "several", folder / "photos", "--out", out, "--images-json", path, "--save", "results")
        assert "4 are not in the JSON given" in capsys.readouterr().out
        results = COCO(path).loadRes(str(out / "results.json"))
        assert set(results.getImgIds()) == {70, 71, 72}
        found = json.loads((out / "results.json").read_text())
        assert {result["image_id"] for result in found} <= {70, 71, 72}
        assert {result["category_id"] for result in found} == numbers
        turned = next(result for result in found if result["image_id"] == 72)
        assert turned["segmentation"]["size"] == [50, 31], "COCO's masks fit the stored pixels"


def test_one_unreadable_file_is_told_and_the_others_are_done(folder: Path, tmp_path: Path, capsys: Any) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(random_images(5, 20, 30)):
        Image.fromarray(picture).save(photos / f"{number}.png")
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    arguments = (folder / "binary", photos, "--out", tmp_path / "out")
    with pytest.raises(SystemExit, match=r"^1$"):
        run(*arguments)
    told = capsys.readouterr()
    assert "4 files predicted" in told.out
    assert "skipped: " in told.err
    assert "2.png can't be read as an image" in told.err
    assert "1 could not be read" in told.err
    assert {path.stem for path in (tmp_path / "out/mask").iterdir()} == {"0", "1", "3", "4"}
    (photos / "2.png").write_bytes(whole)
    run(*arguments, "--resume")
    assert "1 file predicted" in capsys.readouterr().out
    predict_files(load(folder / "binary"), [photos], tmp_path / "fresh")
    ours, fresh = files_of(tmp_path / "out"), files_of(tmp_path / "fresh")
    assert sorted(ours.pop(NAME).splitlines()) == sorted(fresh.pop(NAME).splitlines())  # the mended one came last
    assert ours == fresh


def test_a_folder_with_predictions_is_not_written_over(folder: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = (folder / "binary", folder / "photos" / "b.webp", "--out", tmp_path)
    run(*arguments)
    before = files_of(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert "holds predictions already: go on with --resume" in capsys.readouterr().err
    for other in (["--threshold", "0.9"], ["--tile"], ["--tta", "mirror"], ["--save", "mask"]):
        with pytest.raises(SystemExit, match="2"):
            run(*arguments, "--resume", *other)
        assert "begun with other settings" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(folder / "several", *arguments[1:], "--resume")
    assert files_of(tmp_path) == before
    run(*arguments, "--resume")
    assert "0 files predicted" in capsys.readouterr().out
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "0.5"], "say how pictures are cut: add --tile"),
        (["--tile", "--overlap", "1"], "an overlap of 1"),
        (["--tta-scales", "0"], "each above 0"),
        (["--threshold", "1"], "between 0 and 1"),
        (["--batch-size", "0"], "at least 1 as --batch-size"),
        (["--images-json", "missing.json"], "missing.json"),
    ],
)
def test_settings_that_can_not_be_are_told(
    words: list[str], message: str, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(folder / "binary", folder / "photos", "--out", tmp_path / "out", *words)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_can_not_be_written_is_told(folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        run(folder / "binary", folder / "photos", "--out", tmp_path / "file" / "out")
    assert "can't be written to" in capsys.readouterr().err


def test_flags_reach_the_model(folder: Path, binary: Predictor, tmp_path: Path) -> None:
    path = folder / "photos" / "a.jpg"
    words = [
        "--tile",
        "--scale",
        "0.7",
        "--overlap",
        "0.3",
        "--tile-size",
        "24",
        "30",
        "--tta",
        "mirror",
        "--threshold",
        "0.5",
    ]
    run(folder / "binary", path, "--out", tmp_path, *words)
    tile = jaxseg.Tile(0.7, 0.3, (24, 30))
    found = binary.predict(path, tile=tile, tta=jaxseg.Tta("mirror"), threshold=0.5)
    np.testing.assert_array_equal(pixels(tmp_path / "mask/a.png") > 0, found.mask)


KILLED = """
import sys
from jaxseg.predict import main
main(sys.argv[1:])
"""


def test_killed_at_any_time_it_goes_on_and_ends_the_same(folder: Path, tmp_path: Path, long: bool) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(random_images(60, 150, 200)):
        Image.fromarray(picture).save(photos / f"{number:03d}.png")
    predict_files(
        load(folder / "binary"), [photos], tmp_path / "whole", save=("mask", "overlay", "probability", "results")
    )
    out, draw, kills = tmp_path / "out", np.random.default_rng(0), 0
    arguments = [str(folder / "binary"), str(photos), "--out", str(out), *EVERYTHING, "--threads", "2", "--resume"]
    for _ in range(25 if long else 2):
        process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.DEVNULL)
        begun = wait_for_more(out, process)
        time.sleep(float(draw.uniform(0, 0.15)))
        if process.poll() is None and begun:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        for path in out.rglob("*.*"):
            if path.is_file() and not path.name.startswith(".") and path.name != NAME:
                assert path.read_bytes() == (tmp_path / "whole" / path.relative_to(out)).read_bytes(), path
    main(arguments)
    assert kills >= (5 if long else 1), "nothing was killed: this shows nothing"
    assert files_of(out) == files_of(tmp_path / "whole")


def wait_for_more(out: Path, process: subprocess.Popen) -> bool:
    """Until it writes masks beyond those that were there."""
    before = len(list(out.rglob("mask/*.png")))
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if len(list(out.rglob("mask/*.png"))) > before:
            return True
        time.sleep(0.002)
    return False


def test_leftovers_and_half_a_line_of_a_killed_run_are_cleared(folder: Path, tmp_path: Path) -> None:
    model = load(folder / "binary")
    predict_files(model, [folder / "photos"], tmp_path / "whole")
    predict_files(model, [folder / "photos" / "a.jpg", folder / "photos" / "below"], tmp_path / "out")
    (tmp_path / "out/mask/.a-abcd1234.png").write_bytes(b"half")
    (tmp_path / "out/.results-x_y_0000.json").write_bytes(b"half")
    with (tmp_path / "out" / NAME).open("ab") as file:
        file.write(b'{"file": "b.we')
    predict_files(model, [folder / "photos"], tmp_path / "out", resume=True)
    ours, whole = files_of(tmp_path / "out"), files_of(tmp_path / "whole")
    stale = {"mask/a.png", "overlay/a.jpg"}  # alone, a.jpg's stem did not clash
    assert set(ours) - set(whole) <= stale
    assert ours["results.json"] == whole["results.json"]


def test_interrupted_it_says_how_to_go_on_and_ends_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = (folder / "binary", folder / "photos", "--out", tmp_path / "out")
    add, done = Journal.add, []

    def interrupted(journal: Journal, record: dict[str, Any]) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(record)
        add(journal, record)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", interrupted)
        with pytest.raises(SystemExit, match="130"):
            run(*arguments)
    assert "go on with --resume" in capsys.readouterr().err
    run(*arguments, "--resume")
    told = capsys.readouterr().out
    assert "4 files predicted" in told
    assert "3 were there already" in told
    predict_files(load(folder / "binary"), [folder / "photos"], tmp_path / "whole")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_it_is_fast_to_be_told_of_a_typing_error() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["model", "photos", "--out", "x", "--tresh", "3"])


def test_links_are_followed_and_names_stay(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        os.symlink(folder / "photos" / "b.webp", tmp_path / "in" / f"{number}.webp")
    done = predict_files(load(folder / "binary"), [tmp_path / "in"], tmp_path / "out", save=("mask",))
    assert done == (3, 0, {})
    assert len({path.read_bytes() for path in (tmp_path / "out/mask").iterdir()}) == 1
