"""How code bases name the layers of their U-Nets, and what their names do not tell.

A scheme is a table of rules, `module -> path`. The module is PyTorch's name, without `.weight`; the path is jaxseg's:
`enc1`, `enc2`, ... down, `bottleneck`, `upconv1` and `dec1` for the way up (1 is the top), and `final_conv`. What
follows a module's name is kept; the layers of a block are numbered as in `nn.Sequential`, and recognised by their
order. `{n}` stands for a number, and so does any other letter; both sides may add and subtract, on the right with
`depth` too, the number of poolings: `{n+1}`, `{depth-n}`. `enc{depth+1}` is the bottleneck. The first rule that fits
counts.

A table of one's own is a text file with one rule a line, `#` before a comment, and lines such as `up_first = true`
for what can't be seen in a checkpoint:

    # blocks without numbers: each layer by itself
    encoder{n}.conv1 -> enc{n}/0
    encoder{n}.norm1 -> enc{n}/1
    encoder{n}.conv2 -> enc{n}/3
    encoder{n}.norm2 -> enc{n}/4
    decoder.{n}.up   -> upconv{depth-n}
    up_first = true
    epsilon = 0.001
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxseg.errors import InputError
from jaxseg.models.block import ACTIVATIONS, Activation
from jaxseg.models.unet import Upsampling

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
TERM = re.compile(r"([+-]?)\s*([a-z]+|\d{1,6})\s*")
PATH = re.compile(r"(enc|upconv|dec)(-?\d+)(/\d+)?|(bottleneck)(/\d+)?|final_conv")


@dataclass(frozen=True)
class Scheme:
    """Names, and what the class that bears them does.

    Attributes:
        name: of the scheme.
        rules: module and path, with placeholders.
        up_first: it concatenates (up, skip), not (skip, up).
        interpolation: its upsampling where that has no weights.
        pad: it takes odd sizes.
        epsilon: of its normalisation.
        groups: of its normalisation, where that is of groups; None: not known.
        activation: after it.
    """

    name: str
    rules: tuple[tuple[str, str], ...]
    up_first: bool = False
    interpolation: Upsampling = "bilinear"
    pad: bool = False
    epsilon: float = 1e-5
    groups: int | None = None
    activation: Activation = "relu"

    def modules(self, depth: int) -> dict[str, str]:
        """The path of each module that a network of so many poolings can have."""
        found: dict[str, str] = {}
        for module, path in self.rules:
            letters = letters_of(module)
            for numbers in itertools.product(range(2 * depth + 3), repeat=len(letters)):
                values = {"depth": depth, **dict(zip(letters, numbers, strict=True))}
                place = within(fill(path, values), depth)
                if place is not None:
                    found.setdefault(fill(module, values), place)
        return found


def letters_of(module: str) -> list[str]:
    """The placeholders' letters."""
    return sorted({letter for inside in PLACEHOLDER.findall(module) for letter in re.findall("[a-z]+", inside)})


def fill(template: str, values: Mapping[str, int]) -> str:
    """The template with each placeholder computed.

    Raises:
        InputError: for one that can't be.
    """
    return PLACEHOLDER.sub(lambda match: str(count(match[1], values)), template)


def count(expression: str, values: Mapping[str, int]) -> int:
    total = end = 0
    for term in TERM.finditer(expression):
        sign, operand = term.groups()
        if term.start() != end or not (operand.isdigit() or operand in values) or (end and not sign):
            break
        value = int(operand) if operand.isdigit() else values[operand]
        total, end = total + (-value if sign == "-" else value), term.end()
    if not expression or end != len(expression):
        raise InputError(
            f"the placeholder {{{expression}}} can't be computed: add and subtract numbers, `depth` (on the right) and "
            "letters that the name has."
        )
    return total


def within(path: str, depth: int) -> str | None:
    """The path, if a network of this depth has it; the level under the last pooling is the bottleneck."""
    match = PATH.fullmatch(path)
    if match is None or match[2] is None:
        return path if match else None
    kind, level, rest = match[1], int(match[2]), match[3] or ""
    if kind == "enc" and level == depth + 1:
        return f"bottleneck{rest}"
    return path if 1 <= level <= depth else None


def name_of(path: str, modules: Mapping[str, str]) -> str | None:
    """The module of the scheme that has this path; None if it has none."""
    for module, start in modules.items():
        if path == start or path.startswith(f"{start}/"):
            return module + path[len(start) :].replace("/", ".")
    return None


ORIGINAL = Scheme(
    "original",
    (
        ("enc{n}", "enc{n}"),
        ("bottleneck", "bottleneck"),
        ("upconv{n}", "upconv{n}"),
        ("dec{n}", "dec{n}"),
        ("final_conv", "final_conv"),
    ),
)
MILESIAL = Scheme(
    "milesial",
    (
        ("inc.double_conv", "enc1"),
        ("down{n}.maxpool_conv.1.double_conv", "enc{n+1}"),
        ("down{n}.1.double_conv", "enc{n+1}"),
        ("up{n}.up", "upconv{depth+1-n}"),
        ("up{n}.conv.double_conv", "dec{depth+1-n}"),
        ("conv{n}.double_conv", "dec{depth+1-n}"),
        ("up{n}", "upconv{depth+1-n}"),
        ("outc.conv", "final_conv"),
        ("outc", "final_conv"),
    ),
    interpolation="bilinear_corners",
    pad=True,
)
PLAIN = Scheme(
    "plain",
    (
        ("enc{n}", "enc{n}"),
        ("bottom", "bottleneck"),
        ("up{n}", "upconv{n}"),
        ("dec{n}", "dec{n}"),
        ("head", "final_conv"),
    ),
    up_first=True,
)
BUDA = Scheme(
    "buda",
    (
        *(
            (f"encoder{{n}}.enc{{n}}{layer}", f"enc{{n}}/{place}")
            for layer, place in (("conv1", 0), ("norm1", 1), ("conv2", 3), ("norm2", 4))
        ),
        *(
            (f"bottleneck.bottleneck{layer}", f"bottleneck/{place}")
            for layer, place in (("conv1", 0), ("norm1", 1), ("conv2", 3), ("norm2", 4))
        ),
        ("upconv{n}", "upconv{n}"),
        *(
            (f"decoder{{n}}.dec{{n}}{layer}", f"dec{{n}}/{place}")
            for layer, place in (("conv1", 0), ("norm1", 1), ("conv2", 3), ("norm2", 4))
        ),
        ("conv", "final_conv"),
    ),
    up_first=True,
)
LISTS = Scheme(
    "lists",
    (
        ("downs.{n}.conv", "enc{n+1}"),
        ("bottleneck.conv", "bottleneck"),
        ("ups.{n+n}", "upconv{depth-n}"),
        ("ups.{n+n+1}.conv", "dec{depth-n}"),
        ("final_conv", "final_conv"),
    ),
)
SCHEMES = {scheme.name: scheme for scheme in (ORIGINAL, MILESIAL, PLAIN, BUDA, LISTS)}
"""By name: the original's class; milesial's Pytorch-UNet; a plain one (`enc1`, `bottom`, `up1`, `dec1`, `head`);
mateuszbuda's brain segmentation; Aladdin Persson's tutorial (`downs`, `ups`)."""


def read_rules(text: str, name: str) -> Scheme:
    """A scheme of one's own.

    Raises:
        InputError: for a line that is neither a rule nor a setting.
    """
    rules: list[tuple[str, str]] = []
    settings: dict[str, object] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        module, arrow, path = (part.strip() for part in line.partition("->"))
        try:
            if arrow:
                letters = dict.fromkeys(letters_of(module), 1)
                fill(module, letters)
                if not PATH.fullmatch(fill(path, {**letters, "depth": 9})):
                    raise InputError(
                        f"no path {path!r}: give enc{{n}}, bottleneck, upconv{{n}}, dec{{n}} or final_conv."
                    )
                rules.append((module, path))
            else:
                settings |= setting(line)
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error}") from None
    if not rules:
        raise InputError(
            f"{name} has no rule; one is a line `module -> path`, such as `down{{n}}.block -> enc{{n+1}}`."
        )
    return replace(Scheme(name, tuple(rules)), **settings)


def setting(line: str) -> dict[str, object]:
    key, _, value = (part.strip() for part in line.partition("="))
    if key in ("up_first", "pad") and value in ("true", "false"):
        return {key: value == "true"}
    if key == "interpolation" and value in ("bilinear", "bilinear_corners"):
        return {key: value}
    if key == "epsilon" and re.fullmatch(r"[\d.]+(e-?\d+)?", value):
        return {key: float(value)}
    if key == "groups" and value.isdecimal():
        return {key: int(value)}
    if key == "activation" and value in ACTIVATIONS:
        return {key: value}
    raise InputError(
        f"{line!r} is neither a rule `module -> path` nor one of the settings up_first = true|false, "
        "pad = true|false, interpolation = bilinear|bilinear_corners, epsilon = NUMBER, groups = NUMBER, "
        f"activation = {'|'.join(ACTIVATIONS)}."
    )
