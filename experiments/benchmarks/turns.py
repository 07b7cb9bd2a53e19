"""Measuring sides in turn, and the table of what was found."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

BURST = 0.3  # seconds of a turn, of at least one call
SHORT = 0.1  # seconds below which what the other side leaves behind, in caches and waiting threads, shows in a call
HOPELESS = 1.2  # times the fastest peer's time, after the first turn


class Row(NamedTuple):
    """One line of the table; less is better.

    Attributes:
        name: what is measured.
        case: of which network and shape.
        unit: of the numbers.
        ours: jaxseg's.
        theirs: those of the peer's best mode, that with the lowest best; none if nothing is comparable.
        mode: which that is.
        note: what else was seen.
        others: the peer's other modes.
    """

    name: str
    case: str
    unit: str
    ours: list[float]
    theirs: list[float]
    mode: str
    note: str = ""
    others: dict[str, list[float]] = {}  # noqa: RUF012  nobody changes it

    def ratio(self, of: Callable[[list[float]], float]) -> float | None:
        """How many times jaxseg's time the peer takes."""
        return of(self.theirs) / of(self.ours) if self.theirs else None

    def to_json(self) -> dict[str, Any]:
        """With the ratios."""
        return {**self._asdict(), "ratio_best": self.ratio(min), "ratio_median": self.ratio(statistics.median)}


def in_turn(
    ours: Callable[[], object], theirs: dict[str, Callable[[], object]], *, times: int, seconds: float, least: int = 3
) -> tuple[list[float], dict[str, list[float]]]:
    """Seconds of the calls of each side, which wait until all is computed.

    Each side was called before, so that it has compiled. They take turns of calls, until each has `times` or `seconds`
    are over, but `least` at least. A peer that is hopeless after its first turn has no further one.
    """
    found: dict[str, list[float]] = {name: [] for name in ("", *theirs)}
    taking, begun = {"": ours, **theirs}, time.perf_counter()
    while len(found[""]) < times and (len(found[""]) < least or time.perf_counter() - begun < seconds):
        for name, side in taking.items():
            found[name] += turn(side, times - len(found[name]))
        best = min((min(found[name]) for name in theirs), default=0)
        taking = {name: side for name, side in taking.items() if not name or min(found[name]) < HOPELESS * best}
    return found.pop(""), found


def turn(side: Callable[[], object], most: int) -> list[float]:
    """Seconds of a few calls; of several short ones the first, which pays for the other side's turn, does not count."""
    found: list[float] = []
    begun = time.perf_counter()
    while len(found) <= most and (not found or time.perf_counter() - begun < BURST):
        called = time.perf_counter()
        side()
        found.append(time.perf_counter() - called)
    return found[1:] if len(found) > 1 and min(found) < SHORT else found[:most]


def compared(
    name: str, case: object, unit: str, ours: list[float], theirs: dict[str, list[float]], *, scale: float = 1
) -> Row:
    """The row against the best of the peer's modes; the numbers times `scale`."""
    ours, theirs = [scale * n for n in ours], {mode: [scale * n for n in found] for mode, found in theirs.items()}
    mode = min(theirs, key=lambda mode: min(theirs[mode]), default="")
    best = theirs.pop(mode, [])
    return Row(name, str(case), unit, ours, best, mode, others=theirs)


HEAD = (
    "row",
    "case",
    "unit",
    "jaxseg best",
    "median",
    "PyTorch best",
    "median",
    "its mode",
    "ratio best",
    "median",
    "",
)


def cells(row: Row) -> tuple[str, ...]:
    def told(numbers: list[float]) -> tuple[str, str]:
        return (short(min(numbers)), short(statistics.median(numbers))) if numbers else ("", "")

    ratios = ("" if ratio is None else f"{ratio:.2f}" for ratio in (row.ratio(min), row.ratio(statistics.median)))
    return (row.name, row.case, row.unit, *told(row.ours), *told(row.theirs), row.mode, *ratios, row.note)


def short(number: float) -> str:
    """Three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def table(rows: list[Row]) -> str:
    """In Markdown."""
    lines = [HEAD, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    told.insert(1, " | ".join("-" * max(3, width) for width in widths))
    return "\n".join(f"| {line} |" for line in told)
