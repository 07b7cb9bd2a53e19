"""What was found wrong with a data set, counted by kind and split."""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
Unit = Literal["files", "categories", "images", "annotations"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
FIRST = 10  # ids that a finding names
DETAIL = 160  # characters of one detail

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxlist, _short.maxdict, _short.maxother = 2, 60, 4, 4, 60


class Kind(NamedTuple):
    """A thing that can be wrong.

    `error`: a run would break, or learn or score wrongly without a word. `warning`: it goes through, but something
    is left out or doubtful. `note`: worth knowing. `what`, `does` (jaxseg) and `mend` are sentences.
    """

    code: str
    severity: Severity
    unit: Unit
    what: str
    does: str
    mend: str


class Fault(NamedTuple):
    """One place where a kind was found; `place` is an id or a name."""

    kind: Kind
    place: int | str
    detail: str = ""


@dataclass
class Finding:
    """All places of one kind in one split; the first of them with their details."""

    kind: Kind
    split: str
    count: int = 0
    first: list[tuple[int | str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        first = [{"id": place, "detail": detail} for place, detail in self.first]
        return {**self.kind._asdict(), "split": self.split, "count": self.count, "first": first}


class Findings:
    """Grows as faults come; holds the first few of each kind and counts the others."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], Finding] = {}

    def add(self, split: str, fault: Fault) -> None:
        """Count it, and keep it if it is among the first."""
        finding = self._of.setdefault((fault.kind.code, split), Finding(fault.kind, split))
        finding.count += 1
        if len(finding.first) < FIRST:
            place = fault.place if isinstance(fault.place, int) else plain(fault.place)
            finding.first.append((place, plain(fault.detail)))

    def extend(self, split: str, faults: Iterable[Fault]) -> None:
        """Count several."""
        for fault in faults:
            self.add(split, fault)

    def forget(self, split: str, kind: Kind) -> None:
        """Take one back."""
        self._of.pop((kind.code, split), None)

    def listed(self) -> list[Finding]:
        """The worst first; of one severity in the order found."""
        return sorted(self._of.values(), key=lambda finding: SEVERITIES.index(finding.kind.severity))

    def count(self, severity: Severity) -> int:
        """How many kinds of findings are of this severity, in whatever splits."""
        return len({finding.kind.code for finding in self._of.values() if finding.kind.severity == severity})


def plain(text: str, room: int = DETAIL) -> str:
    """Text from a data set, safe to print: what could steer a terminal is written as an escape, and it is cut."""
    cut = text if len(text) <= room else text[: room - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def shown(value: object) -> str:
    """A value from a data set in a few words, however large or deep it is."""
    try:
        return _short.repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a {type(value).__name__}"
