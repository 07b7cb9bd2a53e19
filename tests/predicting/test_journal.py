"""What is done is not done again; what is not as it was then is, and nobody else's files are written over."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import jaxseg
from jaxseg.predicting.inputs import Item, find_items
from jaxseg.predicting.journal import NAME, Journal, ids_of, write_results

SETTINGS = {"model": "abc", "save": ["mask", "results"]}


def item(name: str, stem: str = "", stamp: tuple[int, int] = (5, 7)) -> Item:
    return Item(Path(name), name, stem or name.partition(".")[0], stamp)


def record(of: Item, **content: Any) -> dict[str, Any]:
    return {"file": of.name, "stem": of.stem, "stamp": list(of.stamp), "height": 1, "width": 2, **content}


def nothing(_: Item) -> list[Path]:
    return []


def filled(out: Path, *items: Item) -> list[Item]:
    with Journal(out, SETTINGS, resume=True) as journal:
        for one in items:
            journal.add(record(one))
    return list(items)


def left(out: Path, *items: Item, outputs: Any = nothing) -> list[str]:
    with Journal(out, SETTINGS, resume=True) as journal:
        return [one.name for one in journal.left(items, outputs)]


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    a, b, c = filled(tmp_path, item("a.png"), item("b.png"), item("ü\n.png"))
    assert left(tmp_path, a, b, c) == []
    assert left(tmp_path, a, item("d.png"), c) == ["d.png"]
    with Journal(tmp_path, SETTINGS, resume=True) as journal:
        assert [journal.record(name) for name in ("ü\n.png", "a.png")] == [record(c), record(a)]


def test_what_was_changed_since_is_done_again(tmp_path: Path) -> None:
    filled(tmp_path, item("a.png"), item("b.png"))
    assert left(tmp_path, item("a.png", stamp=(6, 7)), item("b.png", stamp=(5, 8))) == ["a.png", "b.png"]


def test_an_output_that_is_gone_is_made_again(tmp_path: Path) -> None:
    items = filled(tmp_path, item("a.png"), item("b.png"))
    (tmp_path / "b").write_text("")
    assert left(tmp_path, *items, outputs=lambda one: [tmp_path / one.stem]) == ["a.png"]


def test_outputs_of_another_name_or_another_file_are_not_its_own(tmp_path: Path) -> None:
    filled(tmp_path, item("a.jpg"), item("b.png"))
    assert left(tmp_path, item("a.jpg", stem="a.jpg")) == ["a.jpg"]
    filled(tmp_path, item("a.png"))  # over the outputs of a.jpg
    assert left(tmp_path, item("a.jpg"), item("b.png")) == ["a.jpg"]
    filled(tmp_path, item("a.png", stem="other"), item("a.jpg"))
    assert left(tmp_path, item("a.jpg"), item("a.png", stem="other"), item("b.png")) == []


WHOLE = json.dumps(record(item("d.png"))).encode() + b"\n"


@pytest.mark.parametrize("rest", [b'{"file": "d', b"\0\0\0\n" + WHOLE, b'{"file": "d.png"}\n', b"[]\n"])
def test_a_broken_end_is_cut_off_and_the_rest_stays(rest: bytes, tmp_path: Path) -> None:
    items = filled(tmp_path, item("a.png"), item("b.png"))
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole + rest)
    assert left(tmp_path, *items, item("d.png")) == ["d.png"]
    assert (tmp_path / NAME).read_bytes() == whole
    (tmp_path / NAME).write_bytes(b'{"mod')
    assert left(tmp_path, *items) == ["a.png", "b.png"]
    assert json.loads((tmp_path / NAME).read_text()) == SETTINGS


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with Journal(tmp_path, SETTINGS, resume=False) as journal:
        journal.add(record(item("a.png")))
        before = (tmp_path / NAME).read_bytes()
        with pytest.raises(jaxseg.InputError, match="another run writes to"):
            Journal(tmp_path, SETTINGS, resume=True)
        assert (tmp_path / NAME).read_bytes() == before
    assert left(tmp_path, item("a.png")) == []


def test_a_line_is_on_the_disk_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path, SETTINGS, resume=False) as journal:
        journal.add(record(item("a.png")))
        assert b'"a.png"' in (tmp_path / NAME).read_bytes()


def test_another_journal_is_left_as_it_is(tmp_path: Path) -> None:
    for content, message in ((b"hello\n", "is no journal of predictions"), (b'{"model": "other"}\n', "other settings")):
        (tmp_path / NAME).write_bytes(content)
        with pytest.raises(jaxseg.InputError, match=message):
            Journal(tmp_path, SETTINGS, resume=True)
        assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize("name", ["mask/a.png", "results.json", "images.json"])
def test_files_of_somebody_else_are_not_written_over(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("drawn by hand")
    for resume in (False, True):
        with pytest.raises(jaxseg.InputError, match=r"is there already, .*: give another --out"):
            Journal(tmp_path, SETTINGS, resume=resume)
    assert not (tmp_path / NAME).exists()
    Journal(tmp_path, {"save": ["overlay"]}, resume=False).__exit__()


def instances(folder: Path, *names: str) -> Path:
    images = [{"id": 10 * number, "file_name": name} for number, name in enumerate(names, 1)]
    categories = [{"id": 3, "name": "cat"}, {"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    return path


def test_a_whole_name_counts_before_its_last_part_and_no_two_files_have_one_id(tmp_path: Path) -> None:
    path = instances(tmp_path, "a.jpg", "x/b.jpg", "y/b.jpg", "z/c.jpg", "p/d.jpg", "d.jpg", "x/f.jpg", "y/f.jpg")
    names = ["a.jpg", "s/a.jpg", "b.jpg", "y/b.jpg", "w/c.jpg", "p/d.jpg", "u/e.jpg", "f.jpg"]
    found = ids_of(path, [*map(item, names), item("a.mp4")], ("background", "cat", "dog"))
    assert found.images == {"a.jpg": 10, "y/b.jpg": 30, "w/c.jpg": 40, "p/d.jpg": 50}
    assert found.unknown == 4
    assert (found.categories, found.named) == ({1: 3, 2: 9}, True)
    found = ids_of(path, [item("s/a.jpg"), item("t/a.jpg")], ("background", "cat", "fox"))
    assert (found.images, found.categories, found.named) == ({}, {1: 1, 2: 2}, False)


def test_entries_without_id_are_told(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text('{"images": [{"file_name": "a.jpg"}], "annotations": [], "categories": []}')
    with pytest.raises(jaxseg.InputError, match=r"instances\.json: .*images.* has no id"):
        ids_of(path, [item("a.jpg")], ("background", "cat"))


def test_results_are_of_the_pictures_given_that_have_an_id(tmp_path: Path) -> None:
    known, other, film = item("a.png"), item("b.png"), item("c.mp4")
    result = {"class": 1, "segmentation": {"size": [1, 2], "counts": "11"}, "score": 0.5}
    with Journal(tmp_path, SETTINGS, resume=False) as journal:
        for one in (known, other, film):
            journal.add(record(one, results=[result]))
        ids = ids_of(instances(tmp_path, "a.png", "gone.png", "c.mp4"), [known, other, film], ("background", "dog"))
        write_results(tmp_path, journal, [known, other, film, item("gone.png")], ids, ("background", "dog"))
    (found,) = json.loads((tmp_path / "results.json").read_text())
    assert (found["image_id"], found["category_id"], found["score"]) == (10, 9, 0.5)
    content = json.loads((tmp_path / "images.json").read_text())
    assert content["images"] == [{"id": 10, "file_name": "a.png", "height": 1, "width": 2}]
    assert content["categories"] == [{"id": 9, "name": "dog"}]


def test_what_was_said_of_a_changed_file_is_in_no_results(tmp_path: Path) -> None:
    """It may turn out that it can't be read any more."""
    filled(tmp_path, item("a.png"), item("b.png"))
    with Journal(tmp_path, SETTINGS, resume=True) as journal:
        now = [item("a.png", stamp=(9, 9)), item("b.png")]
        assert [one.name for one in journal.left(now, nothing)] == ["a.png"]
        ids = ids_of(instances(tmp_path, "a.png", "b.png"), now, ("background", "dog"))
        write_results(tmp_path, journal, now, ids, ("background", "dog"))
    content = json.loads((tmp_path / "images.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["b.png"]


def test_stamps_tell_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    os.symlink("gone", tmp_path / "b.png")
    before, gone = find_items([tmp_path], tmp_path / "out")
    assert gone.stamp == (-1, -1)
    os.utime(path, ns=(0, before.stamp[1] + 1))
    assert find_items([path], tmp_path / "out")[0].stamp == (3, before.stamp[1] + 1)
