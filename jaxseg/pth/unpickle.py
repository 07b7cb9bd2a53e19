"""A pickle interpreter that builds plain values and never imports or calls what the pickle names.

It builds None, bool, int, float, str, bytes, tuple, list and dict by itself. A function that the pickle asks for is
looked up in a fixed set of names, and name and arguments go to code of jaxseg; every other name is refused. Python's
own `pickle` has no part in it. Time and memory stay in proportion to the file: an instruction adds at most one object,
there are at most `MAX_INSTRUCTIONS`, and values are never traversed, compared or hashed, dictionary keys apart.
"""

import mmap
import struct
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from jaxseg.errors import InputError

MAX_INSTRUCTIONS = 2_000_000  # a tensor takes about 25

_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i"}
_TEXTS = {b"X": "<I", b"\x8c": "<B", b"\x8d": "<Q"}
_BYTES = {b"U": "<B", b"T": "<I", b"C": "<B", b"B": "<I", b"\x8e": "<Q"}
_PUTS = {b"q": "<B", b"r": "<I"}
_GETS = {b"h": "<B", b"j": "<I"}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_EXTENSIONS = {b"\x82": "<B", b"\x83": "<H", b"\x84": "<i"}
_KEYS = (str, int, float, bool, bytes, type(None))


class PthError(InputError):
    """A file that is not a PyTorch checkpoint, or not one that jaxseg reads."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function or type that a pickle names: the name alone."""

    name: str


class Opaque:
    """Stands for an object that is neither a tensor nor a plain value; nothing is kept of it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What a pickle may ask for: the known names, and what stands for a call and for a stored object."""

    names: Collection[str]
    call: Callable[[str, tuple], object]
    fetch: Callable[[object], object]


def unpickle(data: bytes | mmap.mmap, start: int, stop: int, answers: Answers) -> tuple[object, int]:
    """The value of the one pickle, of protocol 2 to 5, that begins at `start`, and the place where it ends."""
    return _Machine(data, start, stop, answers).run()


class _Machine:
    def __init__(self, data: bytes | mmap.mmap, start: int, stop: int, answers: Answers) -> None:
        self.data, self.start, self.at, self.stop, self.answers = data, start, start, stop, answers
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> tuple[object, int]:
        push = self.stack.append
        for _ in range(MAX_INSTRUCTIONS):
            match self.take(1):
                case op if op in _PUTS:
                    self.memo[self.number(_PUTS[op])] = self.top()
                case b"\x94":
                    self.memo[len(self.memo)] = self.top()
                case op if op in _GETS:
                    push(self.recall(self.number(_GETS[op])))
                case op if op in _CONSTANTS:
                    push(_CONSTANTS[op])
                case op if op in _NUMBERS:
                    push(self.number(_NUMBERS[op]))
                case b"G":
                    push(struct.unpack(">d", self.take(8))[0])
                case b"\x8a":
                    push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))
                case op if op in _TEXTS:
                    push(self.text(self.take(self.number(_TEXTS[op])), "strict"))
                case op if op in _BYTES:
                    raw = self.take(self.number(_BYTES[op]))
                    push(self.text(raw, "backslashreplace") if op in b"UT" else raw)  # U, T: text or bytes of Python 2
                case b"(":
                    self.marks.append(len(self.stack))
                case op if op in _TUPLES:
                    push(tuple([self.pop() for _ in range(_TUPLES[op])][::-1]))
                case b"t":
                    push(tuple(self.pop_to_mark()))
                case b"]":
                    push([])
                case b"a":
                    self.extend([self.pop()])
                case b"e":
                    self.extend(self.pop_to_mark())
                case b"}":
                    push({})
                case b"s":
                    self.update([self.pop(), self.pop()][::-1])
                case b"u":
                    self.update(self.pop_to_mark())
                case b"c":
                    push(self.find(self.line(), self.line()))
                case b"\x93":
                    push(self.find(*[self.pop(), self.pop()][::-1]))
                case b"R" | b"\x81":
                    push(self.call(*[self.pop(), self.pop()][::-1]))
                case b"b":
                    self.set_state(self.pop())
                case b"Q":
                    push(self.answers.fetch(self.pop()))
                case b"\x80":
                    self.take(1)  # the protocol's number
                case b"\x95":
                    self.take(8)  # a frame's length, for readers of streams
                case b".":
                    value = self.pop()
                    if self.stack or self.marks:
                        raise damaged()
                    return value, self.at
                case b"i":
                    raise self.refused(f"{self.line()}.{self.line()}")
                case op if op in _EXTENSIONS:
                    raise self.refused(f"copyreg extension {self.number(_EXTENSIONS[op])}")
                case op:
                    raise PthError(
                        f"has the pickle instruction {op!r} at byte {self.at - 1}, which torch.save does not write: "
                        "the file is damaged or made by something else. Copy it again, or save it again in PyTorch."
                    )
        raise PthError(
            f"has a pickle of more than {MAX_INSTRUCTIONS:,} instructions, which no model needs; "
            "in PyTorch, torch.save(model.state_dict(), path) saves the weights alone."
        )

    def take(self, count: int) -> bytes:
        if count > self.stop - self.at:
            raise PthError("ends in the middle of its pickle: it is cut short or damaged. Copy or download it again.")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, layout: str) -> int:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, raw: bytes, errors: str) -> str:
        try:
            return raw.decode("utf-8", errors)
        except UnicodeDecodeError:
            raise damaged() from None

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.stop)
        if end < 0:
            raise damaged()
        return self.text(self.take(end + 1 - self.at)[:-1], "backslashreplace")

    def top(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise damaged()
        return self.stack[-1]

    def pop(self) -> object:
        value = self.top()
        self.stack.pop()
        return value

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise damaged()
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def recall(self, index: int) -> object:
        if index not in self.memo:
            raise damaged()
        return self.memo[index]

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise damaged()
        target.extend(values)

    def update(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict or len(values) % 2:
            raise damaged()
        fill(target, zip(values[::2], values[1::2], strict=True))

    def set_state(self, state: object) -> None:
        """A state dict's attributes (`_metadata`) and those of opaque objects are read over."""
        target = self.top()
        if not isinstance(target, Opaque) and not (type(target) is dict and type(state) is dict):
            raise PthError(f"asks to set the state of a {type(target).__name__}, which torch.save does not write.")

    def find(self, module: object, name: object) -> Name:
        if type(module) is not str or type(name) is not str:
            raise damaged()
        if f"{module}.{name}" not in self.answers.names:
            raise self.refused(f"{module}.{name}")
        return Name(f"{module}.{name}")

    def call(self, function: object, arguments: object) -> object:
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise damaged()
        return self.answers.call(function.name, arguments)

    def refused(self, name: str) -> PthError:
        whole = self.data.find(b"torch.nn.modules", self.start, self.stop) >= 0
        return PthError(
            f"asks to call {shown(name)}; jaxseg reads tensors only and runs no code from a file."
            + (" It seems to hold a whole model: in PyTorch, torch.save(model.state_dict(), path)." if whole else "")
        )


def fill(target: dict, items: Iterable[tuple[object, object]]) -> None:
    """Adds items to a dictionary; their keys must be of simple types, whose hash is quick, and new."""
    for key, value in items:
        if type(key) not in _KEYS or (type(key) is int and abs(key) >= 2**63):
            raise PthError(
                f"has a dictionary with a {type(key).__name__} for a key; jaxseg reads text and numbers there."
            )
        if key in target:
            raise PthError(
                f"has the name {shown(str(key))} twice in one dictionary; which of the two is meant is unknown."
            )
        target[key] = value


def shown(text: str) -> str:
    """The text as an error message shows it: on one line, and not too long."""
    return repr(text if len(text) <= 100 else text[:100] + "...")[1:-1]


def damaged() -> PthError:
    """The error for a pickle that breaks the rules of the format."""
    return PthError("has a pickle that makes no sense: the file is damaged. Copy or download it again.")
