"""Pages: whole, escaped, and with nothing from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxseg import page


class Reader(HTMLParser):
    """Keeps what a page holds, and whether its elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_is_one_file_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    figure = Figure()
    figure.subplots().plot([1, 2])
    evil = '<script>alert("&")</script>'
    path = tmp_path / "new" / "page.html"
    page.write_page(
        path,
        evil,
        "subtitle",
        page.tiles([(evil, "0.5", evil)]),
        page.section(evil, page.paragraph(evil), page.table(["name", "n"], [[evil, 3], ["half \ud83d", 4]])),
        page.section("pictures", page.pictures([page.photograph(noise, evil), page.drawing(noise), page.plot(figure)])),
    )
    read = Reader()
    read.feed(path.read_text(encoding="utf-8"))
    assert not read.open
    assert "<script" not in path.read_text(encoding="utf-8")
    assert read.text.count(evil) == 8  # title twice, tile twice, heading, paragraph, cell, caption
    assert len(read.sources) == 3
    assert all(source.startswith("data:image/") for source in read.sources)
    assert not re.search(r"(?:src|href)=.?https?:|url\(|@import", path.read_text(encoding="utf-8"))
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_a_block_for_a_notebook_keeps_its_style_to_itself() -> None:
    reader = Reader()
    block = page.inline(page.table(["name", "n"], [["a", 1]]))
    reader.feed(block)
    assert not reader.open
    rules = re.search("<style>(.*)</style>", block)
    assert rules
    selectors = re.findall(r"([^{}]+)\{", rules[1])
    assert len(selectors) == len(page.INLINE)
    assert all(selector.strip().startswith(".jaxseg ") for selector in selectors)
