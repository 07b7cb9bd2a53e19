"""Suggestions for whole data sets: real ones and strange ones; what the command writes trains."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data.coco_files import annotation, box, image, rle, write_coco
from PIL import Image

import jaxseg
from jaxseg.config import load_config
from jaxseg.errors import InputError
from jaxseg.suggesting import training
from jaxseg.suggesting.suggestion import Suggestion, name_of, suggest
from jaxseg.suggesting.survey import object_sides, survey
from jaxseg.train import main


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every network fits: nothing is compiled."""
    monkeypatch.setattr(training, "needed", lambda *_: 1)
    return


def data_set(
    root: Path, images: int = 12, size: tuple[int, int] = (32, 40), names: tuple[str, ...] = ("a",), side: int = 10,
    grey: bool = False, splits: tuple[str, ...] = ("train",), holding: slice = slice(None),
) -> Path:  # fmt: skip
    """One square of a class in each image, the classes in turn."""
    draw = np.random.default_rng(0)
    for split in splits:
        entries = [image(id_, *size) for id_ in range(1, images + 1)]
        places = [(draw.integers(0, size[0] - side), draw.integers(0, size[1] - side)) for _ in entries]
        annotations = [
            annotation(entry["id"], entry["id"], 1 + entry["id"] % len(names), [box(x, y, side, side)])
            for entry, (y, x) in list(zip(entries, places, strict=True))[holding]
        ]
        write_coco(
            root / "annotations" / f"instances_{split}.json",
            json.loads(json.dumps(entries)),
            json.loads(json.dumps(annotations, default=int)),
            names,
        )
        folder = root / "images" / split
        folder.mkdir(parents=True)
        for entry in entries:
            pixels = draw.integers(0, 255, (*size, 1 if grey else 3), np.uint8)
            Image.fromarray(np.broadcast_to(pixels, (*size, 3))).save(folder / entry["file_name"])
    return root


def settings(found: Suggestion) -> dict[str, object]:
    return {choice.setting: choice.value for choice in found.choices}


def test_each_choice_is_in_the_config_with_a_reason(unmeasured: None, sample: Path, tmp_path: Path) -> None:
    found = suggest(jaxseg.Data(root=sample))
    assert found.config.data.mode == "multiclass"
    assert found.config.data.root == sample
    for setting, value, reason in found.choices:
        part, _, name = setting.rpartition(".")
        assert getattr(getattr(found.config, part) if part else found.config, name) == value or setting == "model"
        assert len(reason) > 8, setting
        assert setting in repr(found)
    assert found == suggest(jaxseg.Data(root=sample)), "the same each time"
    loaded = load_config(found.write(tmp_path / "x.py"))
    assert loaded == dataclasses.replace(found.config, model=found.config.model.clone(out_channels=None))
    with pytest.raises(InputError, match="is there already"):
        found.write(tmp_path / "x.py")


def test_images_without_validation_are_divided(unmeasured: None, tmp_path: Path) -> None:
    found = suggest(jaxseg.Data(root=data_set(tmp_path / "none")))
    assert found.config.data.val_fraction == 0.2
    assert "no validation annotations" in str(found)
    three = suggest(jaxseg.Data(root=data_set(tmp_path / "three", 3)))
    assert (three.config.data.val_fraction, three.config.batch_size, three.images) == (
        pytest.approx(1 / 3, abs=1e-3),
        2,
        2,
    )
    assert "val_fraction" not in str(suggest(jaxseg.Data(root=data_set(tmp_path / "both", splits=("train", "val")))))
    with pytest.raises(InputError, match="at least two are needed"):
        suggest(jaxseg.Data(root=data_set(tmp_path / "one", 1)))


def test_validation_that_shows_nothing_usable_is_not_used(unmeasured: None, tmp_path: Path) -> None:
    root = data_set(tmp_path / "x", splits=("train", "val"))
    (root / "annotations" / "instances_val.json").write_text("{")
    found = suggest(jaxseg.Data(root=root))
    assert found.config.data.val_fraction == 0.2
    assert "not usable" in str(found)
    with pytest.raises(InputError, match=r"instances_val\.json"):
        suggest(jaxseg.Data(root=root, val_json=root / "annotations" / "instances_val.json"))


def test_grey_and_many_classes(unmeasured: None, tmp_path: Path) -> None:
    grey = suggest(jaxseg.Data(root=data_set(tmp_path / "grey", grey=True))).config
    assert (grey.data.channels, grey.augment.saturation, grey.data.mode) == (1, 0, "binary")
    many = suggest(jaxseg.Data(root=data_set(tmp_path / "many", 90, (32, 32), tuple(f"thing {i}" for i in range(80)))))
    assert many.config.data.mode == "multiclass"
    assert jaxseg.open_split(many.config.data, "train").table.out_channels > 2


def test_windows_for_small_objects(unmeasured: None, tmp_path: Path) -> None:
    found = suggest(jaxseg.Data(root=data_set(tmp_path / "large", 4, (700, 900), side=20)))
    data = found.config.data
    assert (data.height, data.width, data.crop, data.cache) == (160, 160, 0.6, "none")
    assert data.crop_foreground > 0
    assert found.config.loss.terms[0].pos_weight > 1, "they are rare too"


def test_what_is_given_stays(unmeasured: None, sample: Path) -> None:
    data = jaxseg.Data(root=sample, classes=("tv",), height=64, channels=1)
    found = suggest(data, keep=("width",))
    kept = found.config.data
    assert (kept.classes, kept.mode, kept.height, kept.width, kept.channels) == (("tv",), "binary", 64, 224, 1)
    assert [choice.reason for choice in found.choices if choice.setting == "data.width"] == ["as given"]
    merged = suggest(jaxseg.Data(root=sample, merge=(("screen", "tv", "laptop"),))).config.data
    assert merged.merge
    assert merged.mode == "multiclass"


def test_the_command_writes_a_file_that_trains(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    size = ["--data.height", "32", "--data.width=32"]
    train = sample / "annotations" / "instances_train2017.json"
    main(["--suggest", str(train), "--data.val-fraction", "0.25", "--config", "mine.py", *size])
    out = capsys.readouterr().out
    assert "multiples of" not in out
    assert "python -m jaxseg.train --config mine.py --dry-run" in out
    main(["--config", "mine.py", "--epochs", "1", "--model.widths", "4", "8", "--logs.no-tensorboard"])
    assert "Done: 1 epochs" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--suggest", str(train), "--config", "mine.py", *size])
    assert "is there already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--suggest", str(sample), "--epochs", "3"])
    assert "epochs" in capsys.readouterr().err


def test_names_of_data_sets() -> None:
    names = {"/x/COCO dev/": "coco_dev", "/x/cats/annotations/instances_train.json": "cats", "/data/": "suggested"}
    for path, name in names.items():
        given = {"train_json": Path(path)} if path.endswith(".json") else {"root": Path(path)}
        assert name_of(jaxseg.Data(**given)) == name
    assert name_of(jaxseg.Data()) == "sample"


def test_objects_are_measured_by_their_outlines(tmp_path: Path) -> None:
    mask = np.zeros((30, 40), bool)
    mask[3:8, 2:22] = True
    entries = [
        annotation(1, 1, 1, [box(1, 2, 9, 4)]),
        annotation(2, 1, 1, rle(mask)),
        annotation(3, 1, 2, [box(0, 0, 5, 5)]),
    ]
    entries += [annotation(4, 2, 1, rle(mask), iscrowd=1), annotation(5, 2, 1, [box(0, 0, 2, 3), box(10, 9, 2, 3)])]
    write_coco(tmp_path / "t.json", [image(1), image(2)], entries)
    data = jaxseg.Data(train_json=tmp_path / "t.json", train_images=tmp_path, classes=("cat",), height=64, width=64)
    np.testing.assert_allclose(object_sides(jaxseg.open_split(data, "train")), [6, 10, 12])


def test_real_photographs(unmeasured: None, coco_dev: Path, facade: Path) -> None:
    person = suggest(jaxseg.Data(root=coco_dev, classes=("person",))).config.data
    assert (person.mode, person.crop, person.channels) == ("binary", None, 3)
    found = survey(jaxseg.Data(root=facade))
    assert (found.images, found.size, found.val_fraction) == (150, (1024, 1024), 0)
    assert len(next(iter(found.holding.values()))) == 150
