"""The stream gives what `json.loads` gives, in bounded memory, or says where the file is wrong."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxseg.data import stream
from jaxseg.data.stream import entries
from jaxseg.errors import DataError

WHOLE = b'{"images": [], "annotations": [], "categories": []}'


def file_of(tmp_path: Path, text: bytes | str) -> Path:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(entries(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


def anything(random: np.random.Generator, depth: int = 0) -> Any:
    kind = random.integers(9 if depth < 4 else 7)
    if kind < 7:
        text = "".join(random.choice(list('aZ"\\/\n\té写😀{}[],: '), random.integers(0, 30)))
        number = float(random.normal() * 10.0 ** random.integers(-300, 300))
        return [None, True, False, int(random.integers(-(2**60), 2**60)), number, text, math.inf][kind]
    size = random.integers(0, 5)
    if kind == 7:
        return [anything(random, depth + 1) for _ in range(size)]
    return {str(anything(random, 9)): anything(random, depth + 1) for _ in range(size)}


def random_file(random: np.random.Generator) -> dict[str, Any]:
    tables = {key: [{"a": anything(random)} for _ in range(random.integers(0, 6))] for key in stream.TABLES}
    others = {f"other {i}": anything(random) for i in range(random.integers(0, 4))}
    keys = [*tables, *others]
    return {keys[i]: {**tables, **others}[keys[i]] for i in random.permutation(len(keys))}


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("chunk", [4, 7, 64, 1 << 20])
def test_it_gives_what_json_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, chunk: int) -> None:
    """However the windows cut the text: in the midst of a number, an escape or a character."""
    monkeypatch.setattr(stream, "CHUNK", chunk)
    random = np.random.default_rng(seed)
    said = random_file(random)
    indent, ascii_only = random.choice([None, 1, 4]), bool(random.integers(2))
    text = json.dumps(said, indent=None if indent is None else int(indent), ensure_ascii=ascii_only)
    encoding = ["utf-8", "utf-8-sig", "utf-16", "utf-32"][seed % 4]
    path = file_of(tmp_path, text.encode(encoding))
    seen: list[bytes] = []
    found = list(entries(path, seen.append))
    expected = [(key, entry) for key, value in said.items() if key in stream.TABLES for entry in value]
    assert str(found) == str(expected)
    assert [list(entry) for _, entry in found] == [list(entry) for _, entry in expected]
    assert b"".join(seen) == path.read_bytes()


def test_real_coco_comes_in_the_order_of_the_file(coco_dev: Path) -> None:
    path = coco_dev / "annotations" / "instances_val2017.json"
    said = json.loads(path.read_text())
    assert list(entries(path)) == [
        (key, entry) for key, value in said.items() if key in stream.TABLES for entry in value
    ]


def test_nan_and_infinity_come_through(tmp_path: Path) -> None:
    """They are no JSON, but Python writes them; the checks of the index judge them."""
    text = '{"images": [], "annotations": [{"x": [NaN, -Infinity, Infinity]}], "categories": []}'
    ((_, entry),) = entries(file_of(tmp_path, text))
    assert math.isnan(entry["x"][0])
    assert entry["x"][1:] == [-math.inf, math.inf]


def test_the_memory_is_that_of_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 1 << 16)
    entry = json.dumps({"segmentation": [[float(i) for i in range(300)]]})
    path = tmp_path / "big.json"
    with path.open("w") as file:
        file.write('{"info": {}, "images": [], "categories": [], "annotations": [')
        for _ in range(600):
            file.write(f"{entry},\n")
        file.write(f"{entry}]}}")
    assert path.stat().st_size > 1e6
    tracemalloc.start()
    assert sum(1 for _ in entries(path)) == 601
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * stream.CHUNK


def test_an_entry_may_be_larger_than_the_window(tmp_path: Path) -> None:
    long = {"counts": list(range(400_000)), "text": "x" * (2 * stream.CHUNK)}
    path = file_of(tmp_path, json.dumps({"images": [], "annotations": [long], "categories": []}))
    assert [entry for _, entry in entries(path)] == [long]


def test_an_absurd_entry_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGEST", 3 << 20)
    for text in ('{"images": ["' + "x" * (9 << 20), '{"other": {"a": [' + "1," * (5 << 20)):
        read: list[int] = []
        with pytest.raises(DataError, match=r"line 1, column 1.: a value of more than 3 million characters"):
            list(entries(file_of(tmp_path, text), lambda raw, read=read: read.append(len(raw))))
        assert sum(read) < 8 << 20


def test_a_fault_at_the_start_is_told_without_reading_on(tmp_path: Path) -> None:
    read: list[int] = []
    path = file_of(tmp_path, '{"images": [{"a": 1 "b": 2}, ' + "{}, " * (2 << 20))
    with pytest.raises(DataError, match="line 1, column 21: expecting ',' delimiter, found '\"b\": 2}"):
        list(entries(path, lambda raw: read.append(len(raw))))
    assert read == [stream.CHUNK]


# Files that can't be used.


def test_what_can_not_be_opened_is_named(tmp_path: Path) -> None:
    assert "can't be read (No such file or directory)" in refuse(tmp_path / "none.json")
    assert "can't be read (Is a directory)" in refuse(tmp_path)


def test_every_truncation_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHUNK", 16)
    text = json.dumps({"info": {"é": 1.5}, "images": [{"a": [True, "\\ü\n"]}], "annotations": [], "categories": [{}]})
    for length in range(len(text)):
        message = refuse(file_of(tmp_path, text[:length]))
        assert "is not valid JSON" in message
        assert "Is it complete? Download or export it again." in message
    assert len(list(entries(file_of(tmp_path, text)))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: expected an object, found the end of the file"),
        ("\n  ", "line 2, column 3: expected an object, found the end of the file"),
        ("id,name\n1,cat", r"line 1, column 1: expected an object, found 'id,name\n1,cat'"),
        ("{", "line 1, column 2: expected a key in double quotes, found the end of the file"),
        ("{images: []}", "line 1, column 2: expected a key in double quotes, found 'images: []}'"),
        ('{"images" []}', "line 1, column 11: expected ':', found '[]}'"),
        ('{"images": [}', "line 1, column 13: expecting value, found '}'"),
        ('{"images": [{}\n,\n {} {}', "line 3, column 5: expected ',' or ']', found '{}'"),
        ('{"images": [{},]', "line 1, column 16: expecting value, found ']'"),
        ('{"images": [], "a": nul}', "line 1, column 21: expecting value, found 'nul}'"),
        ('{"images": [], "a": }', "line 1, column 21: expecting value, found '}'"),
        ('{"images": []; "a": 1}', "line 1, column 14: expected ',' or '}', found '; \"a\": 1}'"),
        ('{"images": [], }', "line 1, column 16: expected a key in double quotes, found '}'"),
        ('{"a": "\t"}', "line 1, column 8: invalid control character at"),
        (WHOLE.decode() + "\n{}", "line 2, column 1: expected the end of the file, found '{}'"),
        ('{"a": ' + "[" * 100_000, "line 1, column 8: a value nested too deeply, found '[[["),
        ('{"images": [' + '{"a":' * 100_000, 'line 1, column 13: a value nested too deeply, found \'{"a":'),
        ('{"images": [{"id": ' + "1" * 5000 + "}", "line 1, column 13: Exceeds the limit (4300 digits)"),
    ],
    ids=lambda value: value[:30],
)
def test_a_fault_is_placed(tmp_path: Path, text: str, message: str) -> None:
    assert f"is not valid JSON: {message}" in refuse(file_of(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xd8\xff\xe0 a picture", "byte 0 is no utf-8"),
        (b'{"images": [{"file_name": "stra\xdfe.jpg"}]}', "byte 31 is no utf-8 (invalid"),
        (b'{"a": "\xed\xa0\x80"}', "byte 7 is no utf-8"),
        ('{"a": "é'.encode()[:-1], "byte 7 is no utf-8 (unexpected end of data)"),
        ("{}".encode("utf-16") + b"\x00", "byte 6 is no utf-16-le (truncated data)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("chunk", [8, 1 << 20])
def test_a_wrong_byte_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, message: str, chunk: int
) -> None:
    monkeypatch.setattr(stream, "CHUNK", chunk)
    assert f"is not valid JSON: {message}" in refuse(file_of(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", "a list (line 1, column 1)"),
        ("[" * 100_000, "a list (line 1, column 1)"),
        (" -3", "a number (line 1, column 2)"),
        ('"images"', "a text (line 1, column 1)"),
        ("null", "null (line 1, column 1)"),
        ("{}", "an object with no keys; 'images', 'annotations', 'categories' is missing"),
        ('{"images": [], "categories": []}', "an object with 'categories', 'images'; 'annotations' is missing"),
        ('{"shapes": [1, [2]], "imagePath": "x"}', "an object with 'imagePath', 'shapes'; 'images', 'annotations'"),
        ('{"images": {"1": {}}}', "'images', which is no list (line 1, column 12)"),
        ('{"images": null}', "'images', which is no list"),
        ('{"images": [{}, 1, {}]}', "'1' in 'images', which is no object (line 1, column 18)"),
        ('{"annotations": [null]}', "'None' in 'annotations', which is no object"),
        ('{"images": [[]]}', "'[]' in 'images', which is no object"),
        ('{"images": [], "images": [{}]}', "'images' twice (line 1, column 25)"),
    ],
    ids=lambda value: value[:30],
)
def test_json_that_is_not_coco_is_told(tmp_path: Path, text: str, found: str) -> None:
    message = refuse(file_of(tmp_path, text))
    assert "is not a COCO instances file: expected an object with the lists 'images', 'annotations' and" in message
    assert f"found {found}" in message


def test_an_empty_file_of_coco_is_well(tmp_path: Path) -> None:
    assert list(entries(file_of(tmp_path, WHOLE + b" \n"))) == []
