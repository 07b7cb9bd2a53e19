"""The command: what it prints and writes, and its exit status."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import pytest
from poison import DataSet, box, picture

from jaxseg.check.images import in_order
from jaxseg.doctor import check, main

SMALL = ["--height", "32", "--width", "48", "--threads", "2"]


def status(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, *map(str, words)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_status_says_whether_a_run_would_go_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DataSet(tmp_path / "data")
    root = data.write()
    assert status(root) == 0
    assert "A run would go through." in capsys.readouterr().out
    data.annotate(None, [[1, 2, 3, 4]])
    assert status(data.write()) == 0  # a warning
    assert "WARNING polygon-short" in capsys.readouterr().out
    data.path(data.image()).unlink()
    assert status(data.write()) == 1
    assert "ERROR   missing-image" in capsys.readouterr().out
    assert status(tmp_path / "nowhere") == 2
    assert "is not there" in capsys.readouterr().err
    assert status(root, "--images", tmp_path / "nowhere") == 2
    assert status(root, "--classes", "elephant") == 2
    assert "no category named 'elephant'" in capsys.readouterr().err
    assert status(root, "--threads", "0") == 2
    assert status(root, "--json", tmp_path) == 2
    assert "can't be written" in capsys.readouterr().err


def test_everything_is_written_for_programs(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "data")
    data.path(data.image()).unlink()
    assert status(data.write(), "--json", tmp_path / "report.json") == 1
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    (finding,) = report["findings"]
    assert not report["sound"]
    assert (finding["code"], finding["split"], finding["count"]) == ("missing-image", "train", 1)
    entry = data.content["train"]["images"][-1]
    assert finding["first"] == [{"id": entry["id"], "detail": entry["file_name"]}]
    assert all(finding[text] for text in ("severity", "unit", "what", "does", "mend"))
    assert [split["name"] for split in report["splits"]] == ["train", "val"]
    assert report["splits"][0]["image_entries"] == 7


HOSTILE = "\x1b[31mred\u202e<script>alert(1)</script>\x07"


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_text_of_a_data_set_steers_neither_terminal_nor_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataSet(tmp_path / "data")
    for content in data.content.values():
        content["categories"] += [{"id": 70, "name": HOSTILE}, {"id": 71, "name": HOSTILE}]
    entry = data.image()
    entry["file_name"] = f"{HOSTILE}/x.png"
    data.annotate(entry, {"counts": HOSTILE, "size": HOSTILE}, category_id=70, iscrowd=HOSTILE)
    data.annotate(None, [box(45, 20, 20, 9)], category_id=70)
    picture(5).save(data.folder() / "\x1b[2Jextra.png")
    assert status(data.write(), "--html", tmp_path / "page.html", "--json", tmp_path / "report.json") == 1
    printed = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in printed)
    assert r"\x1b[31mred" in printed
    page = (tmp_path / "page.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert "script" not in reader.tags
    assert all(source.startswith("data:image/") for source in reader.sources)
    assert "\x1b" not in page
    assert "\x1b" not in (tmp_path / "report.json").read_text()


def test_the_page_shows_findings_plots_and_samples(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "data")
    data.annotate(None, [[1, 2, 3, 4]])
    status(data.write(), "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for text in (
        "A polygon has fewer than three points",
        "Samples of train",
        "Samples of val",
        "pos_weight",
        "All classes",
    ):
        assert text in page
    assert page.count("image/svg+xml") == 2
    assert page.count("image/jpeg") == 7 + 4  # every image with an object


def test_a_file_alone_and_images_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = DataSet(tmp_path / "data").write()
    moved = shutil.copy(root / "annotations" / "instances_val.json", tmp_path / "labels.json")
    assert status(moved, "--images", root / "images" / "val") == 0
    assert "labels: 4 images, 9 annotations" in capsys.readouterr().out
    assert status(root / "annotations" / "instances_train.json") == 0  # its images are found by the layout
    assert "train: 6 images" in capsys.readouterr().out


def test_roboflow_s_layout_is_found(tmp_path: Path) -> None:
    root = DataSet(tmp_path / "data").write()
    for name, split in (("train", "train"), ("valid", "val")):
        shutil.copytree(root / "images" / split, tmp_path / "flow" / name)
        shutil.copy(
            root / "annotations" / f"instances_{split}.json", tmp_path / "flow" / name / "_annotations.coco.json"
        )
    report = check(tmp_path / "flow", height=32, width=48)
    assert [split.name for split in report.splits] == ["train", "val"]
    assert [finding.kind.code for finding in report.findings] == ["other-layout"]
    assert report.sound


def test_a_quick_check_reads_only_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DataSet(tmp_path / "data")
    path = data.path(data.image())
    path.write_bytes(path.read_bytes()[:-2000])
    data.path(data.image()).unlink()
    root = data.write()
    slow = check(root, height=32, width=48)
    quick = check(root, height=32, width=48, quick=True)
    assert {f.kind.code for f in slow.findings} == {"truncated-image", "missing-image"}
    assert {f.kind.code for f in quick.findings} == {"missing-image"}
    assert "Quick: only the images' headers were read" in capsys.readouterr().out


def test_the_threads_change_nothing(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "data")
    for _ in range(30):
        data.path(data.image()).unlink()
        data.annotate(None, [box(60, 10, 40, 20)])
    root = data.write()
    one, four = (check(root, threads=threads, height=32, width=48).as_json() for threads in (1, 4))
    assert one == four


def test_chosen_classes_choose_the_images_of_the_statistics(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "data")
    data.image()  # without a dog
    report = check(data.write(), classes=("dog",), height=32, width=48)
    assert report.statistics["train"].classes == ("background", "dog")
    assert report.statistics["train"].images == 6
    assert report.statistics["train"].objects_of.tolist()[:3] == [0, 6, 0]


def test_of_a_training_on_windows_the_pictures_own_scale_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataSet(tmp_path / "data")
    data.annotate(None, [box(3, 10, 1, 1)])  # between the centres of what 80 columns are stretched to
    root = data.write()
    whole, windows = (check(root, height=32, width=48, crop=crop, html=tmp_path / "page.html") for crop in (None, 1.0))
    assert [finding.kind.code for finding in whole.findings] == ["unseen-at-size"]
    assert not windows.findings
    assert "1 of the pictures' height and width" in capsys.readouterr().out
    of = windows.statistics["train"]
    assert of.pixels.sum() == sum(height * width * count for (height, width), count in of.sizes.items())


def test_an_index_of_other_content_is_told(tmp_path: Path) -> None:
    """A file changed within its size and time: the kept index would be believed."""
    root = DataSet(tmp_path / "data").write()
    path = root / "annotations" / "instances_train.json"
    os.utime(path, ns=(10**18, 10**18))
    assert check(root, height=32, width=48).sound
    path.write_text(path.read_text().replace("[5, 6, 35", "[6, 6, 35", 1))
    os.utime(path, ns=(10**18, 10**18))
    report = check(root, height=32, width=48)
    assert [finding.kind.code for finding in report.findings if finding.kind.severity == "error"] == ["stale-index"]


def test_results_come_in_order_and_few_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with ThreadPoolExecutor(3) as executor:
        for place, result in enumerate(in_order(executor, lambda item: item * 2, items(), ahead=5)):
            assert result == 2 * place
            assert len(taken) <= place + 7
    assert len(taken) == 100
