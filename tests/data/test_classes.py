"""The class table: the chosen names in their order, and the images that hold them."""

import json
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
        return index.image_id[
            images_with(index, ClassTable(names, tuple((name,) for name in names), "multiclass"))
        ].tolist()

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


# Supercategories and merged classes.

ZOO = [
    {"id": 9, "name": "cat", "supercategory": "animal"},
    {"id": 0, "name": "car", "supercategory": "vehicle"},
    {"id": 4, "name": "dog", "supercategory": "animal"},
    {"id": 70, "name": "bus", "supercategory": "vehicle"},
    {"id": 2, "name": "person", "supercategory": "person"},
    {"id": 5, "name": "car", "supercategory": "toy"},
]


def test_a_supercategory_is_a_class_of_its_categories(tmp_path: Path) -> None:
    index = index_of(tmp_path, ZOO)
    table = choose_classes(index, ("vehicle", "person", "animal"), "multiclass")
    assert table.names == ("background", "vehicle", "person", "animal")
    assert table.members == (("car", "bus"), ("person",), ("cat", "dog"))
    assert table.lookup(index).tolist() == [3, 1, 3, 1, 2, 1]
    assert choose_classes(index, ("vehicle", "person"), "binary").lookup(index).tolist() == [0, 1, 0, 1, 1, 1]


def test_a_category_comes_before_a_supercategory_of_its_name(tmp_path: Path) -> None:
    """Exporters put a data set's name above all its categories, and it may be a category's too."""
    index = index_of(tmp_path, [{"id": i, "name": n, "supercategory": "car"} for i, n in enumerate(["car", "bus"])])
    assert choose_classes(index, ("car",), "binary").members == (("car",),)


def test_categories_are_merged_into_one_class(tmp_path: Path) -> None:
    index = index_of(tmp_path, ZOO)
    merge = (("pet", "dog", "cat"), ("road", "vehicle"))
    table = choose_classes(index, ("person", "road", "pet"), "multiclass", merge)
    assert table.names == ("background", "person", "road", "pet")
    assert table.lookup(index).tolist() == [3, 2, 3, 2, 1, 2]
    assert table.out_channels == 4
    assert choose_classes(index, ("car", "pet"), "multiclass", merge[:1]).lookup(index).tolist() == [2, 1, 2, 0, 0, 1]
    assert choose_classes(index, ("road", "pet"), "binary", merge).names == ("background", "road + pet")


def test_merged_and_all_others(tmp_path: Path) -> None:
    """Without `classes`: each class where the first of its categories stands in the file."""
    index = index_of(tmp_path, ZOO)
    table = choose_classes(index, None, "multiclass", (("moving", "bus", "person", "dog"),))
    assert table.names == ("background", "cat", "car", "moving")
    assert table.lookup(index).tolist() == [1, 2, 3, 3, 3, 2]


def test_a_merged_class_may_have_the_name_of_a_category_in_it_or_a_supercategory(tmp_path: Path) -> None:
    index = index_of(tmp_path, ZOO)
    assert choose_classes(index, ("car",), "multiclass", (("car", "car", "bus"),)).members == (("car", "bus"),)
    assert choose_classes(index, ("animal",), "multiclass", (("animal", "dog"),)).members == (("dog",),)


def test_a_merged_table_reads_another_file_by_name(tmp_path: Path) -> None:
    table = choose_classes(index_of(tmp_path, ZOO), ("pet", "vehicle"), "multiclass", (("pet", "cat", "dog"),))
    assert table.lookup(index_of(tmp_path, ["bus", "tram", "dog"])).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("classes", "merge", "message"),
    [
        (
            ("car", "vehicle"),
            (),
            "data.classes: the category 'car' is in 'car' as well as in 'vehicle'. Leave",
        ),
        (("pet", "cat"), (("pet", "cat", "dog"),), "data.classes: the category 'cat' is in 'pet' as well as in 'cat'."),
        (("pet", "pet"), (("pet", "cat", "dog"),), "data.classes names 'pet' twice."),
        (
            None,
            (("pet", "cat"), ("other", "dog", "cat")),
            "data.merge: the category 'cat' is in 'pet' as well as",
        ),
        (None, (("pet", "cat"), ("pet", "dog")), "data.merge makes the class 'pet' twice."),
        (None, (("pet", "cat", "cat"),), "The class 'pet' of data.merge names 'cat' twice."),
        (None, (("pet", "cat", "animal"),), "The class 'pet' of data.merge: the category 'cat' is in 'cat' as well as"),
        (None, (("pet",),), "data.merge holds ('pet',): expected the name of a class, then its categories."),
        (None, ((),), "data.merge holds (): expected the name of a class, then its categories."),
        (None, (("cat", "dog"),), "data.merge makes a class 'cat' without the category of that name: add it, or"),
        (
            ("car",),
            (("pet", "cat"),),
            "data.merge makes a class 'pet' that data.classes does not choose: add it",
        ),
        (None, (("pet", "cat", "dgo"),), "has no category named 'dgo'. Did you mean 'dog'?"),
        (("vehicles",), (), "has no category named 'vehicles'. Did you mean 'vehicle'?"),
        (("petz",), (("petz2", "cat", "dog"),), "data.merge makes a class 'petz2'"),
        (("pets", "pet"), (("pet", "cat"),), "has no category named 'pets'. Did you mean 'pet' or 'person'?"),
        (("zebra",), (), "It has: cat, car, dog, bus, person; supercategories: animal, vehicle, person, toy."),
    ],
)
def test_mistakes_in_a_class_table_are_told(tmp_path: Path, classes: tuple | None, merge: tuple, message: str) -> None:
    with pytest.raises(DataError) as caught:
        choose_classes(index_of(tmp_path, ZOO), classes, "multiclass", merge)
    assert message in str(caught.value)


def test_the_table_tells_what_its_names_do_not(tmp_path: Path) -> None:
    index = index_of(tmp_path, ZOO)
    merge = (("pet", "cat", "dog"),)
    told = choose_classes(index, ("pet", "person", "vehicle"), "multiclass", merge).told(index)
    assert told == "0 background, 1 pet (cat, dog), 2 person, 3 vehicle (car (ids 0, 5), bus)"
    assert choose_classes(index, ("cat", "dog"), "binary").told(index) == "0 background, 1 cat + dog"
    told = choose_classes(index, ("car", "pet"), "binary", merge).told(index)
    assert told == "0 background, 1 car + pet: car (ids 0, 5), pet (cat, dog)"
    many = index_of(tmp_path, [f"c{i}" for i in range(6)])
    told = choose_classes(many, None, "binary").told(many)
    assert told == "0 background, 1 foreground: c0, c1, c2, c3, c4, c5"


def test_real_categories_of_one_name_with_id_0(facade: Path) -> None:
    """`facade` has the ids 0 and 3; only 3 has annotations, and its supercategory has the same name."""
    path = facade / "annotations" / "instances_train.json"
    index, said = read_index(path), json.loads(path.read_text())
    table = choose_classes(index, None, "multiclass")
    assert len(index.categories) == 11
    assert len(table.drawn) == 10
    assert table.told(index).startswith("0 background, 1 facade (ids 0, 3), 2 balcony-fence, 3 car")
    class_of = {category["id"]: 1 + table.drawn.index(category["name"]) for category in said["categories"]}
    expected = {
        image["id"]: sorted(class_of[a["category_id"]] for a in said["annotations"] if a["image_id"] == image["id"])
        for image in said["images"]
    }
    lookup = table.lookup(index)
    found = {
        int(id_): sorted(int(lookup[a.category]) for a in index.annotations(position))
        for position, id_ in enumerate(index.image_id)
    }
    assert found == expected
