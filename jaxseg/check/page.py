"""The report of a data set's check, as one HTML page."""

from collections.abc import Iterator
from pathlib import Path

from jaxseg import page
from jaxseg.check import charts
from jaxseg.check.findings import SEVERITIES, Finding, plain
from jaxseg.check.report import Report
from jaxseg.check.samples import Sample
from jaxseg.check.statistics import by_pixels
from jaxseg.check.terminal import image_sizes, number, objects, percent, unit
from jaxseg.page import Html
from jaxseg.pictures import PALETTE


def write_report(path: Path, report: Report) -> None:
    """Write the page."""
    name, target = plain(Path(report.target).resolve().name), plain(report.target, room=400)
    verdict = "A run would go through." if report.sound else "A run would break, or learn something wrong."
    decoded = " Only the headers of the images were read." if report.quick else ""
    blocks = [page.tiles(tiles(report)), findings(report), *statistics(report), *samples(report)]
    page.write_page(path, f"Data set {name}", f"{verdict}{decoded} Checked: {target}", *blocks)


def tiles(report: Report) -> list[tuple[str, str, str]]:
    counts = [(f"{severity}s", f"{report.found.count(severity)}", "findings") for severity in SEVERITIES]
    entries = {
        what: ", ".join(f"{of[place]:,} {split}" for split, of in report.entries.items())
        for place, what in enumerate(("images", "annotations"))
    }
    totals = [f"{sum(of[place] for of in report.entries.values()):,}" for place in range(2)]
    sizes = [(what, total, told) for (what, told), total in zip(entries.items(), totals, strict=True)]
    if not report.statistics:
        return [*counts, *sizes]
    split, first = next(iter(report.statistics.items()))
    classes = "all categories" if report.data.classes is None else "chosen"
    return [
        *counts,
        *sizes,
        ("classes", f"{len(first.classes) - 1:,}", classes),
        ("foreground", percent(first.foreground), f"of the pixels that count, {split}"),
        ("pos_weight", number(first.pos_weight()), f"suggested, {split}"),
    ]


def findings(report: Report) -> Html:
    kinds = report.by_kind()
    if not kinds:
        return page.section("Findings", page.paragraph("Nothing was found."))
    return page.section("Findings", *(finding(of_kind) for of_kind in kinds))


def finding(of_kind: list[Finding]) -> Html:
    """One kind: what, how often, what jaxseg does, how to mend it, and the first places to unfold."""
    kind = of_kind[0].kind
    counts = ", ".join(f"{found.count:,} {unit(found)} in {found.split}" for found in of_kind)
    places = page.table(
        ("split", "id", "found"),
        [(found.split, place, detail) for found in of_kind for place, detail in found.first],
        text_columns=3,
    )
    return page.entry(
        page.badge(kind.severity, kind.severity),
        kind.what,
        page.paragraph(f"{counts} · {kind.code}", faint=True),
        page.paragraph(Html(f"<b>jaxseg:</b> {page.escaped(kind.does)}")),
        page.paragraph(Html(f"<b>Mend:</b> {page.escaped(kind.mend)}")),
        page.folded("The first places", places),
    )


def statistics(report: Report) -> Iterator[Html]:
    splits = report.statistics
    if not any(of.images for of in splits.values()):
        return
    rows = [
        ("images in use", *(f"{of.images:,}" for of in splits.values())),
        ("of these without any class", *(f"{of.empty:,}" for of in splits.values())),
        ("foreground share", *(percent(of.foreground) for of in splits.values())),
        ("void share", *(percent(of.void) for of in splits.values())),
        ("suggested pos_weight", *(number(of.pos_weight()) for of in splits.values())),
        ("objects small / medium / large", *(objects(of) for of in splits.values())),
        ("image sizes, height x width", *(image_sizes(of) for of in splits.values())),
    ]
    note = f"Shares are of the masks as they are trained on ({report.size}); objects are measured at full size."
    yield page.section("In numbers", page.table(("", *splits), rows), page.paragraph(note, faint=True))
    charted = [page.plot(charts.classes_chart(splits))]
    yield page.section("Classes", page.pictures(charted, wide=True), page.folded("All classes", by_class(report)))
    told = (
        "Left, objects by size: a bar ends at twice the size where it begins; the dotted lines are COCO's bounds of "
        "small, medium and large. Right, images by size: a larger dot stands for more of them."
    )
    yield page.section("Sizes", page.pictures([page.plot(charts.sizes_chart(splits), told)], wide=True))


def by_class(report: Report) -> Html:
    splits = report.statistics
    names = next(iter(splits.values())).classes
    heads = [f"{what}, {split}" for split in splits for what in ("images", "objects", "pixels", "pos_weight")]
    rows = []
    for label in by_pixels(splits):
        cells: list[str] = [plain(names[label])]
        for of in splits.values():
            cells += [f"{of.images_of[label]:,}", f"{of.objects_of[label]:,}"]
            cells += [percent(of.share(label)), number(of.pos_weight(label))]
        rows.append(cells)
    return page.table(("class", *heads), rows)


def samples(report: Report) -> Iterator[Html]:
    for split, drawn in report.samples.items():
        if drawn:
            yield page.section(f"Samples of {split}", page.pictures([sample(of) for of in drawn]))


def sample(of: Sample) -> Html:
    """A picture, and its classes in their colours."""
    marks = (
        f'<span style="color: rgb{tuple(PALETTE[label].tolist())}">&#9632;</span>&nbsp;{page.escaped(plain(name))}'
        for label, name in of.classes
    )
    return page.photograph(of.picture, Html(f"{of.image_id}: {', '.join(marks)}"))
