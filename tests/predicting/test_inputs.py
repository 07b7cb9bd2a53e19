"""Files and folders become a list in which no two outputs have one name."""

import os
from pathlib import Path

import numpy as np
import pytest

import jaxseg
from jaxseg.predicting.inputs import find_items, stems


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def names_of(*args: object) -> list[str]:
    return [item.name for item in find_items(*args)]


def test_a_folder_gives_its_images_in_order_and_those_below(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.JPG",
        "a.png",
        "sub/deep/c.tiff",
        "notes.txt",
        ".hidden.jpg",
        ".git/d.jpg",
        "clip.mp4",
        "sub/e.webp",
    )
    os.symlink(tmp_path / "a.png", tmp_path / "link.png")
    found = find_items([tmp_path], tmp_path / "out")
    assert [item.name for item in found] == ["a.png", "b.JPG", "link.png", "sub/deep/c.tiff", "sub/e.webp"]
    assert [item.stem for item in found] == ["a", "b", "link", "sub/deep/c", "sub/e"]
    assert all(item.path.exists() for item in found)


def test_the_output_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/mask/a.png")
    assert names_of([tmp_path], tmp_path / "out") == ["a.png"]


def test_several_inputs_are_named_below_the_folder_they_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "one/x.jpg", "two/x.jpg", "two/y.jpg", "z.bin")
    assert names_of([tmp_path / "one" / "x.jpg", tmp_path / "two"], tmp_path / "out") == [
        "one/x.jpg",
        "two/x.jpg",
        "two/y.jpg",
    ]
    assert names_of([tmp_path / "two" / "x.jpg", tmp_path / "two"], tmp_path / "out") == ["x.jpg", "y.jpg"]
    assert names_of([tmp_path / "z.bin"], tmp_path / "out") == ["z.bin"]  # named itself: tried, whatever its ending
    monkeypatch.chdir(tmp_path)
    assert names_of(["one", "two/y.jpg"], Path("out")) == ["one/x.jpg", "two/y.jpg"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"]),
        (["a.JPG", "A.png"], ["a.JPG", "A.png"]),
        (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg", "a.jpg.png", "a.png"]),
        (["x/a.jpg", "y/a.jpg"], ["x/a", "y/a"]),
        (["a.tar.png", "a.jpg"], ["a.tar", "a"]),
    ],
)
def test_stems_that_would_clash_keep_their_endings(names: list[str], expected: list[str]) -> None:
    assert stems(names) == expected


def test_no_two_stems_are_the_same() -> None:
    draw = np.random.default_rng(0)
    for _ in range(300):
        parts = ["a", "b", "A", ".png", ".jpg", "/"]
        names = {"a" + "".join(draw.choice(parts, draw.integers(0, 4))) + ".png" for _ in range(12)}
        found = [stem.casefold() for stem in stems(sorted(names))]
        whole = [name.casefold() for name in names]
        if len(set(whole)) == len(whole):
            assert len(set(found)) == len(found), names


def test_nothing_to_predict_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "empty/notes.txt")
    for inputs, message in (
        ([], "give files, or a folder"),
        ([tmp_path / "missing"], "missing: no such file or folder"),
        ([tmp_path / "empty"], "empty holds no image, nor do the folders in it: expected .avif"),
    ):
        with pytest.raises(jaxseg.InputError, match=message):
            find_items(inputs, tmp_path / "out")


def test_the_output_folder_is_known_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "in/a.png", "in/out/mask/a.png", "in/mask/b.png")
    os.symlink(tmp_path / "in" / "out", tmp_path / "link")
    assert names_of([tmp_path / "in"], tmp_path / "link") == ["a.png", "mask/b.png"]
    assert names_of([tmp_path / "in"], tmp_path / "in") == ["a.png", "out/mask/a.png"]
    monkeypatch.chdir(tmp_path)
    assert names_of(["in"], Path("in/out")) == ["a.png", "mask/b.png"]


def test_links_that_go_round_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/b/c.png")
    os.symlink("..", tmp_path / "in/b/again")
    assert names_of([tmp_path / "in"], tmp_path / "out") == ["a.png", "b/c.png"]


def test_a_folder_that_can_not_be_listed_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "locked/b.png", "z.png")
    scandir = os.scandir

    def refused(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert names_of([tmp_path], tmp_path / "out") == ["a.png", "locked", "z.png"]
