"""A COCO file read in bounded memory: the entries of its lists, one at a time."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from jaxseg.errors import DataError

TABLES = ("images", "annotations", "categories")
CHUNK = 1 << 20  # bytes read at a time
LARGEST = 1 << 26  # characters of one entry: a larger one would take gigabytes as objects
TOKEN = 16  # characters: no JSON token but a string or a number is longer
KINDS = {"[": "a list", "{": "an object", '"': "a text", "t": "true", "f": "false", "n": "null"}

decode = json.JSONDecoder().raw_decode  # C, and takes NaN and Infinity, as `json.loads` does
space = re.compile(r"[ \t\n\r]*").match
divider = re.compile(r"[ \t\n\r]*([,\]])[ \t\n\r]*").match


def entries(path: Path, watch: Callable[[bytes], object] = len) -> Iterator[tuple[str, dict[str, Any]]]:
    """The entries of the lists `images`, `annotations` and `categories`, with the list's name, as they stand.

    Other keys of the file are read over. The memory needed is that of the largest entry, not of the file.
    `watch` is called with all bytes in turn as they are read: for a digest, or a progress bar.

    Raises:
        DataError: where the file can't be read, is no JSON, lacks a list, has one twice, or an entry is no object;
            with the line and column. It may come after entries that were well.
    """
    try:
        with path.open("rb") as file:
            yield from Window(file, path, watch).entries()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error


class Window:
    """A part of a file's text that slides over it: read as far as needed, let go of where it is done with."""

    def __init__(self, file: BinaryIO, path: Path, watch: Callable[[bytes], object]) -> None:
        self.file, self.path, self.watch = file, path, watch
        self.text, self.at, self.ended = "", 0, False
        self.line, self.column = 1, 1  # of the text's first character
        self.bytes_read, self.decoder = 0, None

    def entries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if (first := self.peek()) != "{":
            kind = "a number" if first in "-0123456789" else KINDS.get(first, "")
            self.no_coco(kind) if first and kind else self.no_json("expected an object")
        self.at += 1
        keys: list[str] = []
        after = self.take("}") if self.peek() == "}" else ","
        while after == ",":
            if self.peek() != '"':
                self.no_json("expected a key in double quotes")
            key = self.value()
            self.take(":")
            if key in TABLES and key in keys:
                self.no_coco(f"{key!r} twice")
            keys.append(key)
            if self.peek() == "[":
                for entry in self.elements():
                    if key in TABLES:
                        if type(entry) is not dict:
                            self.no_coco(f"{str(entry)[:40]!r} in {key!r}, which is no object")
                        yield key, entry
            elif key in TABLES and self.peek():
                self.no_coco(f"{key!r}, which is no list")
            else:
                self.value()
            after = self.take(",}")
        if self.peek():
            self.no_json("expected the end of the file")
        if missing := [key for key in TABLES if key not in keys]:
            found = ", ".join(map(repr, sorted(keys)[:6])) or "no keys"
            self.no_coco(f"an object with {found}; {', '.join(map(repr, missing))} is missing")

    def elements(self) -> Iterator[Any]:
        """Those of the list that begins here."""
        self.at += 1
        after = self.take("]") if self.peek() == "]" else ","
        self.peek()
        while after == ",":
            yield self.value()
            found = divider(self.text, self.at)
            if found and found.end() < len(self.text):  # all but always, and faster
                after, self.at = found[1], found.end()
            else:
                after = self.take(",]")
                self.peek()

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file."""
        while True:
            self.at = space(self.text, self.at).end()  # pyright: ignore[reportOptionalMemberAccess]
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self.grow()

    def take(self, expected: str) -> str:
        """The next character, which must be one of these."""
        found = self.peek()
        if not found or found not in expected:
            self.no_json(f"expected {' or '.join(map(repr, expected))}")
        self.at += 1
        return found

    def value(self) -> Any:
        """The JSON value that begins here; more is read as long as the text ends within it."""
        while True:
            try:
                value, end = decode(self.text, self.at)
                if len(self.text) - end > 2 or self.ended:  # else a number may go on, as in 1 and 1e+2
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                cut = len(self.text) - error.pos < TOKEN or error.msg.startswith("Unterminated string")
                if self.ended or not cut:
                    self.at = error.pos
                    self.no_json(error.msg[0].lower() + error.msg[1:])
            except RecursionError:
                self.no_json("a value nested too deeply")
            except ValueError as error:  # a number of more digits than Python reads
                self.no_json(str(error))
            if len(self.text) - self.at > LARGEST:
                self.no_json(f"a value of more than {LARGEST >> 20} million characters")
            self.grow()

    def grow(self) -> None:
        """Drop what is done with, and read on; by as much again as there is, so that a long entry is tried seldom."""
        lines = self.text.count("\n", 0, self.at)
        self.line += lines
        self.column = self.at - self.text.rindex("\n", 0, self.at) if lines else self.column + self.at
        self.text = self.text[self.at :]
        self.at = 0
        raw = self.file.read(max(CHUNK, len(self.text)))
        self.watch(raw)
        self.ended = not raw
        if self.decoder is None:
            self.decoder = codecs.getincrementaldecoder(json.detect_encoding(raw))()
        held = len(self.decoder.getstate()[0])
        try:
            self.text += self.decoder.decode(raw, self.ended)
        except UnicodeDecodeError as error:
            place = self.bytes_read - held + error.start
            raise self.error(f"byte {place} is no {error.encoding} ({error.reason})") from error
        self.bytes_read += len(raw)

    def place(self) -> str:
        lines = self.text.count("\n", 0, self.at)
        column = self.at - self.text.rindex("\n", 0, self.at) if lines else self.column + self.at
        return f"line {self.line + lines}, column {column}"

    def no_json(self, problem: str) -> NoReturn:
        found = repr(self.text[self.at : self.at + 20]) if self.at < len(self.text) else "the end of the file"
        raise self.error(f"{self.place()}: {problem}, found {found}")

    def error(self, problem: str) -> DataError:
        return DataError(f"{self.path} is not valid JSON: {problem}. Is it complete? Download or export it again.")

    def no_coco(self, found: str) -> NoReturn:
        raise DataError(
            f"{self.path} is not a COCO instances file: expected an object with the lists 'images', 'annotations' and "
            f"'categories', found {found} ({self.place()})."
        )
