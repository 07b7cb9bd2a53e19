"""Every fault of a data set that the doctor knows, one function each."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from poison import HEIGHT, WIDTH, DataSet, bomb, box, picture, rle

FAULTS: dict[str, Callable[[DataSet], None]] = {}  # all can be put into one folder
SQUARE = np.zeros((HEIGHT, WIDTH), np.uint8)
SQUARE[10:30, 20:50] = 1


def fault(put: Callable[[DataSet], None]) -> Callable[[DataSet], None]:
    FAULTS[put.__name__] = put
    return put


# Images in the JSON.


@fault
def duplicate_image_ids(data: DataSet) -> None:
    for _ in range(2):
        first, second = data.image(), data.image(annotated=False)
        second["id"] = first["id"]
    data.expect("duplicate-image-id", 2)


@fault
def image_ids_that_are_no_numbers(data: DataSet) -> None:
    for id_ in ("seven", 7.5, None, True, 2**70):
        entry = data.image(annotated=False)
        entry["id"] = id_
    data.annotate(entry, [box(1, 1, 9, 9)])["image_id"] = "seven"
    del data.image(annotated=False)["id"]
    data.expect("bad-image-id", 6)


@fault
def file_names_that_are_none(data: DataSet) -> None:
    for name in (None, 12, ["a.png"]):
        entry = data.image()
        data.path(entry).unlink()
        entry["file_name"] = name
    data.expect("bad-file-name", 3)


@fault
def file_names_that_leave_the_folder(data: DataSet) -> None:
    for number in range(4):
        entry = data.image()
        file = data.path(entry)
        outside = data.root / file.name
        shutil.move(file, outside)
        entry["file_name"] = [f"../../{file.name}", str(outside), "", f"a/../../../{file.name}"][number]
    data.expect("file-name-escapes", 4)


@fault
def entries_of_one_file(data: DataSet) -> None:
    first, second = data.image(), data.image()
    data.path(second).unlink()
    second["file_name"] = f"./{first['file_name']}"
    data.expect("shared-file")


@fault
def sizes_that_are_none(data: DataSet) -> None:
    for height, width in ((0, 80), (60, -80), ("60", 80), (None, 80), (60.5, 80), (2**40, 80)):
        data.image(height=height, width=width)
    del data.image()["width"]
    data.expect("bad-image-size", 7)


@fault
def absurd_sizes_in_the_json(data: DataSet) -> None:
    data.image(height=100_000, width=100_000)
    data.expect("absurd-image-size")


@fault
def images_without_annotation(data: DataSet) -> None:
    data.image(annotated=False)
    data.image("val", annotated=False)
    data.expect("image-without-annotation")
    data.expect("image-without-annotation", split="val")


# Categories.


@fault
def duplicate_category_ids(data: DataSet) -> None:
    data.content["train"]["categories"].append({"id": 5, "name": "dog again"})
    data.expect("duplicate-category-id")


@fault
def categories_that_are_none(data: DataSet) -> None:
    data.content["train"]["categories"] += [{"id": 77}, {"id": "78", "name": "bird"}, {"name": "bird"}]
    data.expect("bad-category", 3)


@fault
def categories_of_one_name(data: DataSet) -> None:
    for split in ("train", "val"):
        data.content[split]["categories"].append({"id": 0, "name": "cat"})
        data.expect("categories-of-one-name", split=split)


@fault
def categories_nearly_of_one_name(data: DataSet) -> None:
    for split in ("train", "val"):
        data.content[split]["categories"].append({"id": 30, "name": " Dog"})
        data.annotate(data.image(split), [box(45, 20, 20, 9)], category_id=30)
        data.expect("categories-nearly-of-one-name", split=split)


@fault
def categories_without_use(data: DataSet) -> None:
    for split in ("train", "val"):
        data.content[split]["categories"].append({"id": 31, "name": "unicorn"})
        data.expect("unused-category", split=split)


@fault
def classes_of_one_split(data: DataSet) -> None:
    for split in ("train", "val"):
        data.content[split]["categories"].append({"id": 32, "name": "zebra"})
    data.annotate(data.image(), [box(45, 20, 20, 9)], category_id=32)
    data.expect("class-missing-in-split", split="val")


@fault
def categories_that_differ(data: DataSet) -> None:
    data.content["train"]["categories"].append({"id": 33, "name": "yak"})
    data.annotate(data.image(), [box(45, 20, 20, 9)], category_id=33)
    data.expect("categories-differ", split="val")


# Annotations.


@fault
def duplicate_annotation_ids(data: DataSet) -> None:
    first, second = data.annotate(None, [box(45, 20, 20, 9)]), data.annotate(None, [box(45, 20, 20, 9)])
    second["id"] = first["id"]
    data.expect("duplicate-annotation-id")


@fault
def annotation_ids_that_are_no_numbers(data: DataSet) -> None:
    for id_ in ("7", 1.5, None):
        data.annotate(None, [box(45, 20, 20, 9)])["id"] = id_
    del data.annotate(None, [box(45, 20, 20, 9)])["id"]
    data.expect("bad-annotation-id", 4)


@fault
def annotations_of_unknown_images(data: DataSet) -> None:
    data.annotate(None, [box(45, 20, 20, 9)])["image_id"] = 987_654
    data.annotate(None, [box(45, 20, 20, 9)])["image_id"] = 987_655
    data.expect("unknown-image", 2)


@fault
def annotations_of_unknown_categories(data: DataSet) -> None:
    for category in (999, "1", None, 2.5):
        data.annotate(None, [box(45, 20, 20, 9)])["category_id"] = category
    del data.annotate(None, [box(45, 20, 20, 9)])["category_id"]
    data.expect("unknown-category", 5)


@fault
def crowd_flags_that_are_none(data: DataSet) -> None:
    for crowd in (2, "yes", [1], -1):
        data.annotate(None, [box(45, 20, 20, 9)], iscrowd=crowd)
    data.expect("crowd-flag", 4)


@fault
def crowds_of_polygons(data: DataSet) -> None:
    data.annotate(None, [box(45, 20, 20, 9)], iscrowd=1)
    data.expect("crowd-polygon")


@fault
def objects_of_run_lengths(data: DataSet) -> None:
    data.annotate(None, rle(SQUARE))
    data.expect("rle-not-crowd")


@fault
def boxes_that_are_none(data: DataSet) -> None:
    for bbox in ([45, 20, 20], [45, 20, -20, 9], [45, 20, math.nan, 9], "45 20 20 9", [45, 20, None, 9], {"x": 45}):
        data.annotate(None, [box(45, 20, 20, 9)], bbox=bbox)
    data.expect("bad-box", 6)


@fault
def areas_that_are_none(data: DataSet) -> None:
    for area in (-1, math.nan, math.inf, "180", [180]):
        data.annotate(None, [box(45, 20, 20, 9)], area=area)
    data.expect("bad-area", 5)


@fault
def boxes_that_disagree(data: DataSet) -> None:
    for bbox in ([45, 20, 65, 29], [20, 45, 9, 20], [0, 0, 80, 60], [45, 23, 20, 9]):
        data.annotate(None, [box(45, 20, 20, 9)], bbox=bbox)
    data.annotate(None, rle(SQUARE), iscrowd=1, bbox=[0, 0, 30, 20])
    data.expect("box-disagrees", 5)


@fault
def areas_that_disagree(data: DataSet) -> None:
    for area in (0, 90, 600):
        data.annotate(None, [box(45, 20, 20, 9)], area=area)
    data.annotate(None, rle(SQUARE), iscrowd=1, area=400)
    data.expect("area-disagrees", 4)


@fault
def annotations_that_are_there_twice(data: DataSet) -> None:
    entry = data.image()
    for _ in range(3):
        data.annotate(entry, [box(45, 20, 20, 9)])
    for _ in range(2):
        data.annotate(entry, rle(SQUARE), iscrowd=1)
    data.expect("annotation-twice", 3)


# Segmentations.


@fault
def polygons_that_are_not_finite(data: DataSet) -> None:
    for value in (math.nan, math.inf, -math.inf):
        data.annotate(None, [[10, 10, 30, 10, 30, value]])
    data.annotate(None, [box(45, 20, 20, 9), [10, 10, 30, 10, 30, math.nan]])
    data.expect("polygon-not-finite", 4)


@fault
def polygons_far_away(data: DataSet) -> None:
    for x in (1e8, -1e8, 1e300, 10**30, WIDTH * 10 + 1):
        data.annotate(None, [[10, 10, 30, 10, x, 20]])
    data.annotate(None, [[10, 10, 30, 10, 20, HEIGHT * 10 + 1]])
    data.expect("polygon-far", 6)


@fault
def polygons_of_few_points(data: DataSet) -> None:
    for polygon in ([], [10, 10], [10, 10, 30, 30]):
        data.annotate(None, [polygon])
    data.expect("polygon-short", 3)


@fault
def polygons_of_odd_numbers(data: DataSet) -> None:
    data.annotate(None, [[10, 10, 30, 10, 30, 30, 20]])
    data.expect("polygon-odd")


@fault
def polygons_that_are_no_numbers(data: DataSet) -> None:
    pairs = [[10, 10], [30, 10], [30, 30]]
    for polygon in (pairs, ["10", "10", "30", "10", "30", "30"], [10, 10, 30, None, 30, 30], None, "10 10 30 10 30 30",
                    {"x": [1, 2, 3]}, [10, 10, 30, True, 30, 30]):  # fmt: skip
        data.annotate(None, [polygon])
    data.expect("polygon-not-numbers", 7)


@fault
def polygons_without_their_list(data: DataSet) -> None:
    data.annotate(None, [10, 10, 30, 10, 30, 30])
    data.expect("polygon-flat")


@fault
def polygons_without_end(data: DataSet) -> None:
    data.annotate(None, [[-700, -500, 700, 500] * 2000])
    data.expect("polygon-long")


@fault
def polygons_without_area(data: DataSet) -> None:
    for polygon in ([10, 10, 30, 10, 20, 10], [10, 10, 30, 30, 20, 20], [10, 10, 10, 10, 10, 10]):
        data.annotate(None, [polygon])
    data.expect("zero-area", 3)


@fault
def polygons_outside(data: DataSet) -> None:
    data.annotate(None, [box(100, 10, 20, 20)])
    data.annotate(None, [box(10, -30, 20, 20)])
    data.expect("outside-frame", 2)


@fault
def polygons_partly_outside(data: DataSet) -> None:
    data.annotate(None, [box(60, 10, 40, 20)], area=400)
    data.annotate(None, [box(10, 50, 20, 15)], bbox=[10, 50, 20, 10])  # cut at the edge, as some tools do
    data.expect("partly-outside-frame", 2)


@fault
def polygons_as_shares(data: DataSet) -> None:
    data.annotate(None, [box(0.25, 0.25, 0.5, 0.5)])
    data.annotate(None, [[0.1, 0.2, 0.9, 0.2, 0.5, 1.0]])
    data.expect("polygon-normalised", 2)


@fault
def objects_too_small_to_be_seen(data: DataSet) -> None:
    data.annotate(None, [box(45.6, 20.6, 0.3, 0.3)])
    data.expect("unseen-at-size")


@fault
def run_lengths_of_another_size(data: DataSet) -> None:
    data.annotate(None, {**rle(SQUARE), "size": [WIDTH, HEIGHT]}, iscrowd=1)
    data.annotate(None, {"counts": [10**18], "size": [10**9, 10**9]}, iscrowd=1)
    data.expect("rle-wrong-size", 2)


@fault
def run_lengths_of_another_total(data: DataSet) -> None:
    size = [HEIGHT, WIDTH]
    for counts in ([4800, 1], [4799], [1, 10**30], [], rle_string(SQUARE)[:-2] + "0"):
        data.annotate(None, {"counts": counts, "size": size}, iscrowd=1)
    data.expect("rle-wrong-total", 5)


@fault
def run_lengths_below_zero(data: DataSet) -> None:
    data.annotate(None, {"counts": [4900, -100], "size": [HEIGHT, WIDTH]}, iscrowd=1)
    data.expect("rle-negative")


@fault
def run_lengths_that_are_none(data: DataSet) -> None:
    size = [HEIGHT, WIDTH]
    for counts in (None, 4800, [4800.5], ["4800"], "\x00", "é", "", {"a": 1}, rle_string(SQUARE)[:-1] + "o"):
        data.annotate(None, {"counts": counts, "size": size}, iscrowd=1)
    for bad in (4800, [HEIGHT], None, ["60", "80"]):
        data.annotate(None, {"counts": [4800], "size": bad}, iscrowd=1)
    data.annotate(None, {}, iscrowd=1)
    data.expect("rle-malformed", 14)


@fault
def run_lengths_of_nothing(data: DataSet) -> None:
    data.annotate(None, {"counts": [4800], "size": [HEIGHT, WIDTH]}, iscrowd=1)
    data.expect("empty-mask")


@fault
def annotations_without_segmentation(data: DataSet) -> None:
    data.annotate(None, None)
    data.annotate(None, [])
    del data.annotate(None, None)["segmentation"]
    data.expect("no-segmentation", 3)


@fault
def segmentations_of_another_kind(data: DataSet) -> None:
    for segmentation in ("10 10 30 10 30 30", 5, True):
        data.annotate(None, segmentation)
    data.expect("segmentation-type", 3)


def rle_string(mask: np.ndarray) -> str:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask))["counts"].decode()


# Image files.


@fault
def images_that_are_missing(data: DataSet) -> None:
    data.path(data.image()).unlink()
    upper = data.image()
    upper["file_name"] = f"{upper['id']:04d}.PNG"  # there is one in lower case
    data.path(upper).unlink(missing_ok=True)
    data.expect("missing-image", 2)
    data.expect("unnamed-file")


@fault
def links_to_nothing(data: DataSet) -> None:
    path = data.path(data.image())
    path.unlink()
    path.symlink_to("nowhere.png")
    data.expect("missing-image")


@fault
def images_that_are_empty(data: DataSet) -> None:
    data.path(data.image()).write_bytes(b"")
    data.expect("empty-image")


@fault
def images_that_break_off(data: DataSet) -> None:
    for ending in ("png", "jpg", "bmp"):
        path = data.path(data.image(ending=ending))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    data.expect("truncated-image", 3)


@fault
def images_that_are_none(data: DataSet) -> None:
    for content in (b"hello", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1", bytes(5000)):
        data.path(data.image()).write_bytes(content)
    path = data.path(data.image())
    path.unlink()
    path.mkdir()
    data.expect("unreadable-image", 5)


@fault
def pipes(data: DataSet) -> None:
    import os

    path = data.path(data.image())
    path.unlink()
    os.mkfifo(path)
    data.expect("unreadable-image")


@fault
def images_of_another_size(data: DataSet) -> None:
    for height, width in ((WIDTH, HEIGHT), (HEIGHT - 1, WIDTH), (2 * HEIGHT, 2 * WIDTH)):
        entry = data.image()
        picture(entry["id"], height, width).save(data.path(entry))
    entry = data.image(ending="jpg")
    save_turned(picture(entry["id"], WIDTH, HEIGHT), data.path(entry), 6)  # the masks were drawn on the turned picture
    data.expect("wrong-image-size", 4)


@fault
def decompression_bombs(data: DataSet) -> None:
    data.path(data.image()).write_bytes(bomb(60_000))
    data.expect("absurd-image")


@fault
def images_to_be_turned(data: DataSet) -> None:
    for orientation in (3, 6):
        entry = data.image(ending="jpg")
        save_turned(picture(entry["id"]), data.path(entry), orientation)
    data.expect("exif-turned", 2)


@fault
def images_of_other_modes(data: DataSet) -> None:
    for mode, ending in (("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("I;16", "png"), ("1", "png")):
        entry = data.image(ending=ending)
        image = picture(entry["id"])
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        (image if mode == "I;16" else image.convert(mode)).save(data.path(entry))
    data.expect("image-mode", 6)


@fault
def images_of_several_frames(data: DataSet) -> None:
    entry = data.image(ending="tif")
    picture(entry["id"]).save(data.path(entry), save_all=True, append_images=[picture(entry["id"] + 10_000)])
    data.expect("several-frames")


@fault
def images_of_one_colour(data: DataSet) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), (3, 4, 5)).save(data.path(data.image()))
    data.expect("blank-image")


@fault
def files_that_no_entry_names(data: DataSet) -> None:
    picture(99_999).save(data.folder() / "extra.jpg")
    (data.folder() / "notes.txt").write_text("no image")
    data.expect("unnamed-file")


@fault
def images_in_two_splits(data: DataSet) -> None:
    shutil.copy(data.path(data.image()), data.path(data.image("val"), "val"))  # the same bytes
    first, second = data.image(), data.image("val", ending="bmp")
    Image.open(data.path(first)).save(data.path(second, "val"))  # the same pixels
    data.expect("image-in-two-splits", 2, "val")


@fault
def images_that_are_there_twice(data: DataSet) -> None:
    shutil.copy(data.path(data.image()), data.path(data.image()))
    data.expect("image-twice")


def save_turned(image: Image.Image, path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
