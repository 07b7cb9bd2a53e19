"""The class table: the chosen names in their order, and the images that hold them."""

from pathlib import Path

import numpy as np
import pytest
from coco_files import annotation, box, image, write_coco

from jaxseg.data.classes import ClassTable, choose_classes, images_with
from jaxseg.data.coco import CocoIndex, DataError, read_index

OUTLINE = [box(1, 1, 5, 5)]


def index_of(tmp_path: Path, categories: list, annotations: list[dict] = (), images: int = 1) -> CocoIndex:
    entries = [image(i) for i in range(1, images + 1)]
    return read_index(write_coco(tmp_path / "x.json", entries, list(annotations), categories))


def test_the_order_given_is_the_class_index(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["cat", "dog", "bird", "fish"])
    table = choose_classes(index, ("fish", "cat", "bird"), "multiclass")
    assert table.names == ("background", "fish", "cat", "bird")
    assert table.lookup(index).tolist() == [2, 0, 3, 1]
    assert table.out_channels == 4


def test_binary_draws_every_chosen_category_as_one(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["cat", "dog", "bird"])
    table = choose_classes(index, ("bird", "cat"), "binary")
    assert table.names == ("background", "bird + cat")
    assert table.lookup(index).tolist() == [1, 0, 1]
    assert table.out_channels == 1


def test_none_means_every_category_in_the_order_of_the_file(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["dog", "cat"])
    assert choose_classes(index, None, "multiclass").names == ("background", "dog", "cat")
    assert choose_classes(index, None, "binary").lookup(index).tolist() == [1, 1]


def test_categories_of_one_name_are_one_class(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["facade", "car", "facade"])
    for classes in (None, ("facade", "car")):
        table = choose_classes(index, classes, "multiclass")
        assert table.names == ("background", "facade", "car")
        assert table.lookup(index).tolist() == [1, 2, 1]


def test_a_table_reads_another_file_by_name(tmp_path: Path) -> None:
    """The validation file may number its categories otherwise, or have others."""
    train = index_of(tmp_path, ["cat", "dog"])
    table = choose_classes(train, None, "multiclass")
    assert table.lookup(index_of(tmp_path, ["fish", "dog", "cat"])).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lap top", "Did you mean 'laptop'?"),
        ("TV", "Did you mean 'tv'?"),
        ("cell-phone", "Did you mean 'cell phone'?"),
        ("Cat", "Did you mean 'cat' or 'car'?"),
        ("zebra", "It has: laptop, tv, cell phone, cat, car."),
    ],
)
def test_an_unknown_name_lists_the_nearest(tmp_path: Path, name: str, hint: str) -> None:
    index = index_of(tmp_path, ["laptop", "tv", "cell phone", "cat", "car"])
    with pytest.raises(DataError) as caught:
        choose_classes(index, ("cat", name), "binary")
    assert str(caught.value) == f"{index.path} has no category named {name!r}. {hint}"


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names 'cat' twice"):
        choose_classes(index_of(tmp_path, ["cat", "dog"]), ("cat", "dog", "cat"), "multiclass")


def test_no_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class to learn; it has the categories cat, dog"):
        choose_classes(index_of(tmp_path, ["cat", "dog"]), (), "binary")
    with pytest.raises(DataError, match="no class to learn; it has the categories \\(none\\)"):
        choose_classes(index_of(tmp_path, []), None, "binary")


def test_a_mask_has_room_for_254_classes(tmp_path: Path) -> None:
    index = index_of(tmp_path, [f"c{i}" for i in range(300)])
    names = tuple(f"c{i}" for i in range(254))
    assert choose_classes(index, names, "multiclass").lookup(index).max() == 254  # 255 is void
    with pytest.raises(DataError, match=r"300 classes: a mask holds at most 254. Choose fewer by data.classes"):
        choose_classes(index, None, "multiclass")
    assert choose_classes(index, None, "binary").lookup(index).tolist() == [1] * 300


def test_images_with_any_chosen_class(tmp_path: Path) -> None:
    pairs = [(3, 1), (1, 2), (3, 2), (4, 3), (5, 99), (6, 2), (6, 2)]  # image, category
    annotations = [annotation(n, i, c, OUTLINE) for n, (i, c) in enumerate(pairs)]
    index = index_of(tmp_path, ["cat", "dog", "bird"], annotations, images=7)

    def ids(*names: str) -> list[int]:
        return index.image_id[images_with(index, ClassTable(names, "multiclass"))].tolist()

    assert ids("cat") == [3]
    assert ids("cat", "dog") == [1, 3, 6]
    assert ids("bird") == [4]
    assert ids("fish") == []


def test_real_images_are_those_that_pycocotools_finds(coco_dev: Path, capsys: pytest.CaptureFixture) -> None:
    from pycocotools.coco import COCO

    path = coco_dev / "annotations" / "instances_train2017.json"
    theirs, index = COCO(path), read_index(path)
    capsys.readouterr()  # it prints
    names = ("laptop", "tv", "cell phone")
    expected = set().union(*(theirs.getImgIds(catIds=theirs.getCatIds(catNms=[name])) for name in names))
    found = images_with(index, choose_classes(index, names, "binary"))
    assert set(index.image_id[found].tolist()) == expected
    assert np.all(np.diff(found) > 0)
