"""Settings of the data, by what a data set holds."""

from pathlib import Path

import numpy as np
import pytest

import jaxseg
from jaxseg.errors import InputError
from jaxseg.suggesting import recipe
from jaxseg.suggesting.choices import best_size, cache, channels, classes, halvings, mode, rounded, splits
from jaxseg.suggesting.survey import Survey


def found(holding: dict[str, set[int]], images: int = 100, size: tuple[int, int] = (60, 80), **more: object) -> Survey:
    settings = {"data": jaxseg.Data(root=Path("x")), "val_fraction": 0.0, "why_fraction": "", "grey": False, **more}
    return Survey(images=images, holding=holding, sizes=np.array([size] * images), **settings)


def chosen(survey: Survey) -> dict[str, object]:
    return {choice.setting: choice.value for choice in classes(survey)}


def test_all_classes_that_can_be_learned_are_taken_with_every_image() -> None:
    assert chosen(found({"a": set(range(60)), "b": set(range(40, 95))})) == {"data.classes": None}


def test_rare_and_absent_classes_are_left_out_and_their_images_are_background() -> None:
    survey = found({"a": set(range(60)), "b": set(range(90, 95)), "c": set(range(95, 99)), "d": set()})
    assert chosen(survey) == {"data.classes": ("a", "b"), "data.negatives": 0.35}
    (first, second) = classes(survey)
    assert "too rare to be learned: c (4)" in first.reason
    assert "nothing is annotated: d (0)" in first.reason
    assert second.reason.startswith("35.0% of the training images")


def test_few_images_make_no_class_rare() -> None:
    assert chosen(found({"a": {0, 1, 2}, "b": {2}}, images=3)) == {"data.classes": None}
    assert chosen(found({"a": set(range(39)), "b": {2}}, images=40)) == {
        "data.classes": ("a",),
        "data.negatives": 0.025,
    }
    assert chosen(found({"a": {0}, "b": {1}}, images=1000))["data.classes"] == ("a", "b"), "all are rare: all are taken"
    assert chosen(found({"a": set(range(40)), "b": {1, 2}}, images=40)) == {"data.classes": None}
    assert chosen(found({"a": set(range(999)), "b": set(range(5))}, images=999)) == {"data.classes": None}


def test_an_epoch_is_not_mostly_empty() -> None:
    assert chosen(found({"a": set(range(20))})) == {"data.classes": ("a",), "data.negatives": recipe.MOST_EMPTY}


def test_nothing_annotated_is_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="Nothing is annotated"):
        chosen(found({"a": set()}))


def test_several_classes_are_told_apart() -> None:
    assert [choice.value for choice in mode(1)] == ["binary"]
    assert [choice.value for choice in mode(2)] == ["multiclass", "smallest_on_top"]


def test_colours_and_splits() -> None:
    assert [channels(found({}, grey=grey)).value for grey in (True, False, None)] == [1, 3, 3]
    assert list(splits(found({}))) == []
    (split,) = splits(found({}, val_fraction=0.2, why_fraction="there are none"))
    assert (split.setting, split.value) == ("data.val_fraction", 0.2)


def test_a_size_can_be_halved_and_has_about_the_pixels_and_the_shape() -> None:
    draw = np.random.default_rng(0)
    for height, width in draw.integers(20, 5000, (300, 2)).tolist():
        size = best_size((height, width), np.empty(0), 160)
        assert size.crop is None
        stride = 2**size.poolings
        assert size.height % stride == size.width % stride == 0
        assert min(size.height, size.width) >= 2 * stride
        assert halvings(size.height, size.width) >= min(size.poolings, recipe.LEVELS - 1)
        if min(height, width) > 300 and max(height, width) < 3 * min(height, width):
            assert size.height * size.width == pytest.approx(160**2, rel=0.25)
            assert size.height / size.width == pytest.approx(height / width, rel=0.25)
        if height * width < 160**2:
            assert abs(size.height - height) <= stride, "small images are not made larger"


@pytest.mark.parametrize(
    ("full", "size"),
    [((480, 640), (144, 192, 4)), ((32, 32), (32, 32, 3)), ((4000, 4000), (160, 160, 4)), ((9, 9), (8, 8, 1))],
)
def test_sizes_by_hand(full: tuple[int, int], size: tuple[int, int, int]) -> None:
    assert best_size(full, np.empty(0), 160)[:3] == size


def test_small_objects_of_large_pictures_are_seen_in_windows() -> None:
    size = best_size((3000, 4000), np.full(50, 60.0), 160)
    assert (size.height, size.width) == (160, 160)
    assert size.crop == pytest.approx(recipe.SEEN / 60)
    assert size.crops == min(recipe.MOST_CROPS, int(np.ceil(600 / 160) * np.ceil(800 / 160)))
    assert best_size((3000, 4000), np.full(50, 6.0), 160).crop == 1.0, "they are not made larger"
    assert best_size((3000, 4000), np.full(50, 600.0), 160).crop is None
    assert best_size((100, 120), np.full(50, 4.0), 160).crop is None, "the whole picture is a window"
    assert best_size((1000, 1000), np.full(50, 60.0), 160).crop is None, "little would be gained"
    quarter = np.array([10.0] * 20 + [900.0] * 80)
    assert best_size((3000, 4000), quarter, 160).crop is None, "less than a quarter of the objects is small"


def test_poolings_by_hand() -> None:
    assert [halvings(*size) for size in ((160, 224), (160, 160), (32, 32), (96, 8), (30, 30), (31, 64))] == [
        4,
        4,
        3,
        1,
        1,
        0,
    ]
    assert rounded(1000, 5)[0] == 1000
    assert rounded(3, 3) == (4, 4, 1)


def test_what_fits_is_kept_in_memory() -> None:
    assert [choice.value for choice in cache(found({}), 160, 160, 3, False)] == ["memory"]
    assert list(cache(found({}), 160, 160, 3, True)) == []
    assert list(cache(found({}), 1600, 1600, 3, False)) == []
