"""A split's samples follow from files and settings alone; what can't be used is said with the setting that mends it."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from coco_files import annotation, box, image, write_coco, write_pictures, write_root
from PIL import Image

from jaxseg.arrays import Batch
from jaxseg.data.coco import DataError
from jaxseg.data.samples import Data, KnownFault, Samples, open_split
from jaxseg.losses import valid_pixels

SMALL: dict[str, Any] = {"height": 16, "width": 24}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten training images, ids 1 to 10, and four validation images; cat, dog, bird in turn."""
    return write_root(tmp_path / "coco", train2017=10, val2017=4)


def ids(samples: Samples) -> list[int]:
    return samples.index.image_id[samples.positions].tolist()


def refuse(data: Data, split: Any = "train") -> str:
    with pytest.raises(DataError) as caught:
        open_split(data, split)
    return str(caught.value)


def unchecked(**settings: Any) -> Data:
    """Settings as a config file may hold them: their types are not checked there."""
    data = Data()
    for name, value in settings.items():
        object.__setattr__(data, name, value)
    return data


# One sample.


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_a_sample(root: Path, channels: int, mode: str) -> None:
    samples = open_split(Data(root=root, channels=channels, mode=mode, classes=("dog", "cat"), **SMALL), "train")
    assert ids(samples) == [1, 2, 4, 5, 7, 8, 10]
    for place, id_ in enumerate(ids(samples)):
        sample = samples[place]
        assert (sample["image"].shape, sample["image"].dtype) == ((16, 24, channels), np.uint8)
        assert (sample["mask"].shape, sample["mask"].dtype) == ((16, 24), np.uint8)
        assert (sample["image_id"], sample["weight"]) == (id_, 1)
        assert sample["fault"] == ""
        drawn = 1 if mode == "binary" or id_ % 3 == 2 else 2  # dogs are class 1 here
        assert np.unique(sample["mask"]).tolist() == [0, drawn]
        with Image.open(root / "images" / "train2017" / f"{id_}.png") as picture:
            pixels = picture.convert("RGB" if channels == 3 else "L").resize((24, 16), Image.Resampling.BILINEAR)
        assert np.array_equal(sample["image"].squeeze(), np.asarray(pixels))


def test_a_sample_is_the_same_each_time(root: Path) -> None:
    data = Data(root=root, **SMALL)
    one, other = open_split(data, "train"), open_split(data, "train")
    for place in range(len(one)):
        first, second, third = one[place], one[place], other[place]
        for key in first:
            assert np.array_equal(first[key], second[key])
            assert np.array_equal(first[key], third[key])


def test_no_classes_means_every_image(tmp_path: Path) -> None:
    images = [image(i) for i in range(4)]
    write_pictures(tmp_path, images)
    annotations = [
        annotation(1, 1, 3, [box(2, 2, 20, 20)]),
        annotation(2, 2, 77, [box(2, 2, 20, 20)]),
        annotation(3, 3),
    ]
    json = write_coco(tmp_path / "x.json", images, annotations)
    samples = open_split(Data(train_json=json, mode="multiclass", **SMALL), "train")
    assert ids(samples) == [0, 1, 2, 3]
    assert [int(samples[place]["mask"].max()) for place in range(4)] == [0, 3, 0, 0]


def test_validation_uses_the_training_table(tmp_path: Path) -> None:
    """The validation file lists its categories in another order."""
    write_root(tmp_path, train2017=3)
    images = [image(20)]
    write_pictures(tmp_path / "images" / "val2017", images)
    outline = [annotation(1, 20, 3, [box(2, 2, 20, 20)])]
    write_coco(tmp_path / "annotations" / "instances_val2017.json", images, outline, ["bird", "fish", "cat"])
    data = Data(root=tmp_path, mode="multiclass", **SMALL)
    train = open_split(data, "train")
    assert open_split(data, "val", train.table)[0]["mask"].max() == 1  # cat, as in training
    assert open_split(data, "val")[0]["mask"].max() == 3


# Faults.


def test_an_unreadable_image_is_an_error_that_names_it(root: Path) -> None:
    broken = root / "images" / "train2017" / "3.png"
    broken.write_bytes(broken.read_bytes()[:500])
    samples = open_split(Data(root=root, **SMALL), "train")
    with pytest.raises(DataError) as caught:
        samples[2]
    assert str(caught.value).startswith(f"Image 3: {broken} can't be read as an image: ")
    assert str(caught.value).endswith(". To leave such out: --data.on-error skip")


@pytest.mark.parametrize("channels", [3, 1])
def test_a_skipped_image_keeps_its_place_without_weight(root: Path, channels: int) -> None:
    whole = open_split(Data(root=root, channels=channels, **SMALL), "train")[2]
    broken = root / "images" / "train2017" / "3.png"
    broken.unlink()
    samples = open_split(Data(root=root, channels=channels, on_error="skip", **SMALL), "train")
    sample = samples[2]
    assert (len(samples), sample["image_id"], sample["weight"]) == (10, 3, 0)
    assert (sample["mask"] == 255).all()
    assert not sample["image"].any()
    for name in ("image", "mask", "weight", "image_id"):
        assert (sample[name].shape, sample[name].dtype) == (whole[name].shape, whole[name].dtype)
    assert sample["fault"] == f"{broken} can't be read as an image: no such file."
    assert samples[1]["weight"] == 1


def test_an_image_entry_that_can_not_be_used_is_an_error_or_left_out(root: Path) -> None:
    """At the start of the run, not in its third hour."""
    images = [image(1), image(2, height=0), image(3, 10**9, 10**9), image(4)]
    boxes = [annotation(i["id"], i["id"], 1, [box(5, 8, 10, 12)]) for i in images]
    write_coco(root / "annotations" / "instances_train2017.json", images, boxes)
    message = refuse(Data(root=root))
    assert "image 2 has height 0, width 40; both must be positive." in message
    assert message.endswith("So it is with 2 images. To leave such out: --data.on-error skip")
    samples = open_split(Data(root=root, on_error="skip", **SMALL), "train")
    assert ids(samples) == [1, 4]
    assert [sample["weight"] for sample in (samples[0], samples[1])] == [1, 1]
    assert "instances_train2017.json: 2 images left out that can't be used; first " in samples.index.warnings()[-1]
    write_coco(root / "annotations" / "instances_train2017.json", [*images[::3], image(5, height=0)], boxes)
    assert refuse(Data(root=root)).endswith(
        "image 5 has height 0, width 40; both must be positive. To leave such out: --data.on-error skip"
    )


def test_a_category_entry_that_can_not_be_used_is_an_error_or_left_out(root: Path) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2}, {"id": "3", "name": "owl"}]
    boxes = [annotation(i, i, i, [box(5, 8, 10, 12)]) for i in (1, 2, 3)]
    path = write_coco(
        root / "annotations" / "instances_train2017.json", [image(i) for i in (1, 2, 3)], boxes, categories
    )
    message = refuse(Data(root=root))
    assert "category id 1 is given to two entries" in message
    assert message.endswith("So it is with 3 categories. To leave such out: --data.on-error skip")
    for _ in range(2):  # parsed, and kept
        samples = open_split(Data(root=root, on_error="skip", **SMALL), "train")
        assert samples.table.names == ("background", "cat")
        assert [bool((samples[place]["mask"] == 1).any()) for place in range(3)] == [True, False, False]
        unknown, left_out = samples.index.warnings()
        assert unknown.startswith(
            f"{path.name}: 2 annotations of categories that the file does not list, or that can't"
        )
        assert left_out.startswith(
            f"{path.name}: 3 categories left out that can't be used; first {path}: category id 1"
        )
    write_coco(path, [image(i) for i in (1, 2, 3)], boxes, categories[1:3])
    assert refuse(Data(root=root)).endswith("in {'id': 2}. To leave such out: --data.on-error skip")
    with pytest.raises(DataError, match=r"2 annotations of categories .*; ids 2, 3. Mend them"):
        open_split(Data(root=root, on_error="skip", unknown_category="error"), "train")


def test_known_faults_are_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on repeats what it did, also where the file was mended since."""
    known = {3: KnownFault(5, "as noted"), 99: KnownFault(0, "x")}
    samples = open_split(Data(root=root, on_error="skip", **SMALL), "train", known_faults=known)
    asked = []
    monkeypatch.setattr(Samples, "image", lambda self, position: asked.append(position))
    sample = samples.at(2, step=5)
    assert asked == []
    assert (sample["weight"], sample["image_id"]) == (0, 3)
    assert sample["fault"] == "as noted"
    assert (sample["mask"] == 255).all()


# Settings that can't be used.


def test_no_image_left_is_said(root: Path) -> None:
    json = root / "annotations" / "instances_train2017.json"
    write_coco(json, [image(1)], [annotation(1, 1, 2, [box(1, 1, 5, 5)])])
    message = refuse(Data(root=root, classes=("cat", "bird")))
    assert f"{json}: none of its 1 images is left in split 'train' with the classes cat, bird" in message
    assert "Choose other classes by --data.classes." in message
    assert "or other shares" in refuse(Data(root=root, val_fraction=0.2), "val")


def test_a_file_without_the_classes_is_said(root: Path) -> None:
    table = open_split(Data(root=root), "train").table
    json = root / "annotations" / "instances_val2017.json"
    write_coco(json, [image(11)], [annotation(1, 11, 1, [box(1, 1, 5, 5)])], ["Cat", "Dog"])
    with pytest.raises(DataError, match="has none of the classes cat, dog, bird; its categories are: Cat, Dog"):
        open_split(Data(root=root), "val", table)


def test_without_a_data_set_the_sample_is_used() -> None:
    assert Data().uses_sample
    for name in ("root", "train_json", "val_json", "test_json"):
        assert not Data(**{name: Path("x")}).uses_sample


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mode", "normal", "data.mode is 'normal': expected 'binary' or 'multiclass'."),
        (
            "overlap",
            "smallest",
            "data.overlap is 'smallest': expected 'max_index' or 'smallest_on_top' or 'last_on_top'.",
        ),
        ("crowds", None, "data.crowds is None: expected 'foreground' or 'void' or 'drop'."),
        ("channels", 4, "data.channels is 4: expected 1 or 3."),
        ("on_error", "ignore", "data.on_error is 'ignore': expected 'raise' or 'skip'."),
        ("classes", "laptop", "data.classes is the text 'laptop': one class is written ('laptop',)."),
        (
            "merge",
            ("pet", "cat", "dog"),
            "data.merge is ('pet', 'cat', 'dog'): one merged class is written (('pet', 'cat', 'dog'),).",
        ),
        ("height", 0, "data.height is 0: expected at least 1."),
        ("width", -224, "data.width is -224: expected at least 1."),
        ("threads", -1, "data.threads is -1: expected at least 0."),
        ("workers", -1, "data.workers is -1: expected at least 0."),
        ("split_seed", -1, "data.split_seed is -1: expected at least 0."),
    ],
)
def test_a_wrong_setting_is_said(name: str, value: Any, message: str) -> None:
    assert refuse(unchecked(**{name: value})) == message


def test_merged_classes_are_drawn_as_one(root: Path) -> None:
    """And validation, whose table is training's, draws them as training does."""
    data = Data(root=root, classes=("pet", "bird"), merge=(("pet", "dog", "cat"),), mode="multiclass", **SMALL)
    train = open_split(data, "train")
    for samples in (train, open_split(data, "val", train.table)):
        assert len(samples) == len(samples.index)
        drawn = [int(samples[place]["mask"].max()) for place in range(len(samples))]
        assert drawn == [1 if n % 3 < 2 else 2 for n in range(len(samples))]


@pytest.mark.parametrize("rasterize", ["target", "full"])
@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_a_letterboxed_sample_counts_nowhere_around_its_picture(root: Path, mode: str, rasterize: str) -> None:
    """Black in the image, void in the mask; and within, it is the picture scaled alone."""
    settings: dict[str, Any] = {"root": root, "mode": mode, "rasterize": rasterize}
    whole = open_split(Data(resize="letterbox", height=32, width=24, **settings), "train")
    alone = open_split(Data(resize="stretch", height=18, width=24, **settings), "train")
    for place in range(len(whole)):
        image, mask = whole[place]["image"], whole[place]["mask"]
        assert np.array_equal(image[7:25], alone[place]["image"])
        assert np.array_equal(mask[7:25], alone[place]["mask"])
        assert not image[:7].any()
        assert not image[25:].any()
        counted = np.asarray(valid_pixels(Batch(*map(jnp.asarray, (image[None], mask[None], np.ones(1, np.float32))))))
        assert int(counted.sum()) == 18 * 24
