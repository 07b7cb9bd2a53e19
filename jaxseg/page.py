"""Self-contained HTML pages: headings, paragraphs, tables and pictures, with nothing fetched from elsewhere."""

import base64
import html
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from jaxseg.run import write_whole

STYLE = """
:root { --ink: #1d2129; --faint: #667085; --line: #e4e7ec; --paper: #fff; --band: #f7f8fa; --accent: #2f78d4; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--band); font: 15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 10px; }
p { margin: 6px 0; max-width: 78ch; overflow-wrap: anywhere; }
.faint, figcaption { color: var(--faint); font-size: 13px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: 12px; margin-top: 18px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.tile b { display: block; font-size: 22px; white-space: nowrap; font-variant-numeric: tabular-nums;
  letter-spacing: -.02em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { min-width: 110px; }
th { color: var(--faint); font-weight: 600; font-size: 13px; overflow-wrap: normal; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 16px; }
.pictures.wide { grid-template-columns: 100%; }
.pictures.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.pictures.wide figure { overflow-x: auto; }
.pictures.wide img { min-width: 560px; }
figure { margin: 0; }
figure img { width: 100%; height: auto; display: block; border-radius: 6px; }
figcaption { margin-top: 5px; overflow-wrap: anywhere; }
.entry { border-top: 1px solid var(--line); padding: 12px 0; }
.entry h3 { font-size: 15px; margin: 0; overflow-wrap: anywhere; }
.badge { display: inline-block; min-width: 66px; margin-right: 8px; padding: 1px 8px; border-radius: 9px;
  font-size: 12px; font-weight: 600; text-align: center; color: #fff; background: #667085; }
.badge.error { background: #b42318; }
.badge.warning { background: #c4700a; }
summary { cursor: pointer; color: var(--accent); font-size: 13px; margin: 6px 0; }
.notice { border-color: #f0b429; background: #fffaeb; }
.notice li { margin: 4px 0; max-width: 90ch; overflow-wrap: anywhere; }
.notice ul { margin: 0; padding-left: 20px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 12px; color: var(--faint); font-size: 13px; }
.legend i { display: inline-block; width: 20px; height: 12px; margin-right: 6px; border-radius: 3px;
  border: 1px solid rgba(0, 0, 0, .18); vertical-align: -1px; }
table.heat { width: auto; }
table.heat th, table.heat td { padding: 6px 10px; max-width: 170px; border: 0; }
table.heat td { text-align: right; min-width: 62px; border: 2px solid var(--paper); border-radius: 6px;
  font-variant-numeric: tabular-nums; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""

INLINE = (
    ("table :is(th, td)", "text-align: left; padding: 3px 14px 3px 0"),
    ("table .number", "text-align: right; font-variant-numeric: tabular-nums"),
    ("h2", "font-size: 110%"),
)
"""What a notebook's own style lacks."""
TAG = re.compile("<[^>]*>")


class Html(str):
    """Markup; any other text is escaped where it enters a page."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """Text as markup; `Html` passes as it is."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def paragraph(text: object, *, faint: bool = False) -> Html:
    """A paragraph."""
    return Html(f"<p{' class=faint' if faint else ''}>{escaped(text)}</p>")


def noted(text: object, remark: object) -> Html:
    """A cell of a table with a faint remark below."""
    return Html(f'{escaped(text)}<div class="faint">{escaped(remark)}</div>')


def tiles(entries: Sequence[tuple[str, str, str]]) -> Html:
    """The numbers that matter, large: (name, value, a faint remark) each."""
    cells = (
        f'<div class="tile"><span class="faint">{escaped(name)}</span><b>{escaped(value)}</b>'
        f'<span class="faint">{escaped(remark)}</span></div>'
        for name, value, remark in entries
    )
    return Html(f'<div class="tiles">{"".join(cells)}</div>')


def table(headings: Sequence[object], rows: Sequence[Sequence[object]], *, text_columns: int = 1) -> Html:
    """A table, of which the first `text_columns` hold text and the others numbers, set to the right."""

    def row(tag: str, cells: Sequence[object]) -> str:
        kinds = (' class="number"' if place >= text_columns else "" for place in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{k}>{escaped(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True)) + "</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return Html(f'<div class="scroll"><table><thead>{row("th", headings)}</thead><tbody>{body}</tbody></table></div>')


def photograph(image: UInt8[np.ndarray, "height width 3"], caption: object = "") -> Html:
    """A picture as JPEG, for what was a photograph."""
    return embedded(Image.fromarray(image), "JPEG", caption, quality=85)


def drawing(image: UInt8[np.ndarray, "height width 3"], caption: object = "") -> Html:
    """A picture as PNG, for what has sharp edges and few colours."""
    return embedded(Image.fromarray(image), "PNG", caption)


def embedded(image: Image.Image, form: str, caption: object, **settings: int) -> Html:
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return _figure(buffer.getvalue(), f"image/{form.lower()}", caption)


def plot(figure: Figure, caption: object = "") -> Html:
    """A matplotlib figure as SVG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    return _figure(buffer.getvalue(), "image/svg+xml", caption)


def pictures(figures: Sequence[Html], *, wide: bool = False) -> Html:
    """Figures in a grid; `wide`: one below the other."""
    return Html(f'<div class="pictures{" wide" if wide else ""}">{"".join(figures)}</div>')


def badge(text: object, severity: str) -> Html:
    """A word in the colour of `error`, `warning` or `note`."""
    return Html(f'<span class="badge {escaped(severity)}">{escaped(text)}</span>')


def entry(mark: Html, heading: object, *blocks: Html) -> Html:
    """One of several things in a section, with its badge."""
    return Html(f'<div class="entry"><h3>{mark}{escaped(heading)}</h3>{"".join(blocks)}</div>')


def folded(heading: object, block: Html) -> Html:
    """What is shown when its heading is clicked."""
    return Html(f"<details><summary>{escaped(heading)}</summary>{block}</details>")


def pairs(figures: Sequence[Html]) -> Html:
    """Figures twice as large: two of them in a row where there is room."""
    return Html(f'<div class="pictures pairs">{"".join(figures)}</div>')


def legend(entries: Sequence[tuple[str, tuple[int, int, int]]]) -> Html:
    """Colours with their meanings."""
    swatches = (
        f'<span><i style="background: rgb{red, green, blue}"></i>{escaped(name)}</span>'
        for name, (red, green, blue) in entries
    )
    return Html(f'<div class="legend">{"".join(swatches)}</div>')


def heat_table(
    corner: str, rows: Sequence[str], columns: Sequence[str], shares: Float[np.ndarray, "rows columns"]
) -> Html:
    """Shares from 0 to 1 as percentages, the larger the bluer; NaN as a dash."""

    def cell(share: float) -> str:
        if math.isnan(share):
            return '<td class="faint">–</td>'
        dark = "; color: #fff" if share > 0.6 else ""
        return f'<td style="background: rgba(47, 120, 212, {share:.3f}){dark}">{share:.1%}</td>'

    head = "".join(f'<th class="number">{escaped(name)}</th>' for name in columns)
    body = "".join(
        f"<tr><th>{escaped(name)}</th>{''.join(map(cell, values.tolist()))}</tr>"
        for name, values in zip(rows, shares, strict=True)
    )
    top = f"<thead><tr><th>{escaped(corner)}</th>{head}</tr></thead>"
    return Html(f'<div class="scroll"><table class="heat">{top}<tbody>{body}</tbody></table></div>')


def notice(heading: str, texts: Sequence[str]) -> Html:
    """What the reader must not miss."""
    items = "".join(f"<li>{escaped(text)}</li>" for text in texts)
    return Html(f'<section class="notice"><h2>{escaped(heading)}</h2><ul>{items}</ul></section>')


def section(heading: str, *blocks: Html) -> Html:
    """A titled part of a page."""
    return Html(f"<section><h2>{escaped(heading)}</h2>{''.join(blocks)}</section>")


def inline(*blocks: Html) -> Html:
    """Blocks for a notebook, which has a style of its own: text to the left, numbers to the right."""
    style = "".join(f".jaxseg {names} {{ {rules} }} " for names, rules in INLINE)
    return Html(f'<div class="jaxseg"><style>{style}</style>{"".join(blocks)}</div>')


def write_page(path: Path | str, title: str, subtitle: str, *blocks: Html) -> None:
    """The page as one file, whole or not at all."""
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{escaped(title)}</h1><p class="faint">{escaped(subtitle)}</p>{"".join(blocks)}</main></body></html>\n'
    )
    write_whole(Path(path), lambda file: file.write_text(text, encoding="utf-8", errors="replace"))


def _figure(content: bytes, kind: str, caption: object) -> Html:
    encoded = base64.b64encode(content).decode()
    words = html.unescape(TAG.sub("", caption)) if isinstance(caption, Html) else str(caption)
    alt = html.escape(words, quote=True)
    text = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(f'<figure><img alt="{alt}" src="data:{kind};base64,{encoded}">{text}</figure>')
