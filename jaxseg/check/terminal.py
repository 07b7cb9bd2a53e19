"""The report of a data set's check, as text for a terminal."""

from collections.abc import Iterator, Sequence
from textwrap import fill

from jaxseg.check.findings import FIRST, SEVERITIES, Finding, plain
from jaxseg.check.report import Report
from jaxseg.check.statistics import Statistics, by_pixels
from jaxseg.errors import counted

WIDTH = 100
CLASSES = 20  # rows of the table of classes
SHOWN = 4  # places of a finding that are shown with their details


def told(report: Report) -> str:
    """The whole report."""
    return "\n".join([*heading(report), "", *findings(report), *statistics(report), *verdict(report)])


def heading(report: Report) -> Iterator[str]:
    yield plain(report.target)
    for split in report.splits:
        images, annotations = report.entries[split.name]
        where = "no images folder" if split.images is None else f"images in {split.images}"
        held = f"{counted(images, 'image')}, {counted(annotations, 'annotation')}"
        yield plain(f"  {split.name}: {held} in {split.json.name}; {where}", room=400)


def findings(report: Report) -> Iterator[str]:
    for of_kind in report.by_kind():
        kind = of_kind[0].kind
        head = f"{kind.severity.upper():8s}{kind.code}: {kind.what}"
        yield fill(head, WIDTH, subsequent_indent=" " * 8, break_on_hyphens=False)
        for finding in of_kind:
            yield from places(finding)
        for label, text in (("jaxseg:", kind.does), ("mend:", kind.mend)):
            yield fill(text, WIDTH, initial_indent=f"        {label:8s}", subsequent_indent=" " * 16)
        yield ""


def places(finding: Finding) -> Iterator[str]:
    """How often, and the first places: ids alone in one line, or a line for each that has a detail."""
    counted = f"        {plain(finding.split)}: {finding.count:,} {unit(finding)}"
    first = finding.first
    if not any(detail for _, detail in first):
        more = ", ..." if finding.count > len(first) else ""
        yield fill(f"{counted}: {', '.join(str(place) for place, _ in first)}{more}", WIDTH, subsequent_indent=" " * 10)
        return
    yield counted
    for place, detail in first[:SHOWN]:
        yield f"          {place}{': ' if detail else ''}{detail}"
    others = [str(place) for place, _ in first[SHOWN:]]
    if others:
        more = ", ..." if finding.count > FIRST else ""
        yield fill(f"also {', '.join(others)}{more}", WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)


def unit(finding: Finding) -> str:
    name = finding.kind.unit
    if finding.count > 1:
        return name
    return "category" if name == "categories" else name.removesuffix("s")


def statistics(report: Report) -> Iterator[str]:
    if not report.statistics:
        return
    yield f"Statistics of the masks at {report.size}; objects at full size"
    yield ""
    splits = report.statistics
    rows = [["", *splits]]
    rows.append(["images in use", *(f"{of.images:,}" for of in splits.values())])
    rows.append(["without any class", *(f"{of.empty:,}" for of in splits.values())])
    rows.append(["foreground share", *(percent(of.foreground) for of in splits.values())])
    rows.append(["void share", *(percent(of.void) for of in splits.values())])
    rows.append(["suggested pos_weight", *(number(of.pos_weight()) for of in splits.values())])
    rows.append(["objects small, medium, large", *(objects(of) for of in splits.values())])
    rows.append(["image sizes", *(image_sizes(of) for of in splits.values())])
    yield from aligned(rows)
    yield ""
    yield from by_class(splits)


def by_class(splits: dict[str, Statistics]) -> Iterator[str]:
    """Images, objects, pixels and pos_weight of each class; the most frequent first, where they are many."""
    first = next(iter(splits.values()))
    labels = by_pixels(splits)
    heads = [f"{name} {what}" for name in splits for what in ("images", "objects", "pixels", "pos_weight")]
    rows = [["class", *heads]]
    for label in labels[:CLASSES]:
        cells = []
        for of in splits.values():
            cells += [f"{of.images_of[label]:,}", f"{of.objects_of[label]:,}"]
            cells += [percent(of.share(label)), number(of.pos_weight(label))]
        rows.append([plain(first.classes[label], 32), *cells])
    yield from aligned(rows)
    if len(labels) > CLASSES:
        yield f"... and {len(labels) - CLASSES} classes with fewer pixels: see --json or --html"
    yield ""


def verdict(report: Report) -> Iterator[str]:
    counts = {severity: report.found.count(severity) for severity in SEVERITIES}
    told_counts = ", ".join(counted(count, severity) for severity, count in counts.items())
    yield f"Findings: {told_counts}."
    if report.quick:
        yield "Quick: only the images' headers were read; broken pixels and images in two splits were not looked for."
    yield "A run would go through." if report.sound else "A run would break, or learn something wrong: see the errors."


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def objects(of: Statistics) -> str:
    return f"{of.small:,} / {of.medium:,} / {of.large:,}"


def image_sizes(of: Statistics) -> str:
    """The range of the sides, or the one size."""
    if not of.sizes:
        return "-"
    heights, widths = zip(*of.sizes, strict=True)
    low, high = (min(heights), min(widths)), (max(heights), max(widths))
    return f"{low[0]} x {low[1]}" + ("" if low == high else f" to {high[0]} x {high[1]}")
