"""No JSON stops the check: whatever stands in the entries is counted, and the sound ones are still seen."""

import copy
import json
import random
from pathlib import Path
from typing import Any

from poison import DataSet

from jaxseg.check.examine import examine
from jaxseg.data.settings import Data
from jaxseg.doctor import check

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), "",
    "1", "\x00", "é\ud800", "../x", "/", ".", "a" * 300, [], {}, [[]], [{}], [None], [[0, 0, 1e9, 1e9, 5, 5]],
    {"counts": "0", "size": [60, 80]}, {"size": [60, 80], "counts": [2**62, 2**62]}, [1, 2, 3, 4, 5, 6], [[1, 2, [3]]],
]  # fmt: skip


def spoil(value: Any, draw: random.Random) -> Any:
    """A value with something in it replaced, taken out or put twice."""
    if draw.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return copy.deepcopy(draw.choice(ODD))
    if isinstance(value, dict):
        key = draw.choice(list(value))
        if draw.random() < 0.2:
            return {other: of for other, of in value.items() if other != key}
        return {**value, key: spoil(value[key], draw)}
    place = draw.randrange(len(value))
    if draw.random() < 0.2:
        return value[:place] + value[place + 1 :]
    return [*value[:place], spoil(value[place], draw), *value[place:]]


def test_entries_of_every_kind_of_nonsense_are_counted(tmp_path: Path, long: bool) -> None:
    draw = random.Random(0)
    data = DataSet(tmp_path / "data")
    for content in data.content.values():
        for key, count in (("images", 40), ("annotations", 20_000 if long else 700), ("categories", 8)):
            sound = list(content[key])
            spoilt = [spoil(copy.deepcopy(draw.choice(sound)), draw) for _ in range(count)]
            content[key] += [entry for entry in spoilt if isinstance(entry, dict)]
            draw.shuffle(content[key])
    report = examine(data.write(), None, Data(height=32, width=48), quick=False, threads=2)
    codes = {finding.kind.code for finding in report.findings}
    assert "check-failed" not in codes
    assert "broken-json" not in codes
    assert len(codes) > 15
    json.dumps(report.as_json(), allow_nan=False)


def test_texts_of_every_kind_of_nonsense_are_findings(tmp_path: Path, long: bool) -> None:
    draw = random.Random(1)
    root = DataSet(tmp_path / "data").write()
    path = root / "annotations" / "instances_val.json"
    whole = path.read_bytes()
    for _ in range(300 if long else 12):
        spoilt = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(spoilt))
            change = draw.randrange(4)
            if change == 0:
                del spoilt[place:]
            elif change == 1:
                spoilt[place : place + 1] = draw.randbytes(3)
            elif change == 2:
                del spoilt[place : place + draw.randrange(40)]
            else:
                spoilt[place:place] = draw.choice([b"[", b"}", b'"', b"\xff\xfe", b"1e999", b"NaN", b"[" * 5000])
            if not spoilt:
                break
        path.write_bytes(spoilt)
        report = check(path, images=root / "images" / "val", height=32, width=48)
        assert not any(finding.kind.code == "check-failed" for finding in report.findings)
