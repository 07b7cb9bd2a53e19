"""A config as a Python file that says why."""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxseg.check.findings import plain
from jaxseg.config import Config, fields_of

WIDTH = 112


def config_text(config: Config, reasons: Mapping[str, str], heading: str, command: str) -> str:
    """The file: what has a reason, or is not the default, with the reasons as comments."""
    paths = any(isinstance(value, Path) for value in vars(config.data).values())
    imports = ("from pathlib import Path\n\n" if paths else "") + "import jaxseg"
    return f'"""{safe(heading)}\n\n    {safe(command)}\n"""\n\n{imports}\n\nconfig = {written(config, reasons)}\n'


def safe(text: str) -> str:
    """Text that ends no docstring."""
    return plain(text, 400).replace("\\", "/").replace('"', "'")


def written(value: Any, reasons: Mapping[str, str], name: str = "", depth: int = 0) -> str:
    """A value as Python, over several lines where something in it has a reason."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return literal(value, depth)
    given = fields_of(value)
    usual = fields_of(type(value)())
    inside = {key: f"{name}.{key}" if name else key for key in given}
    kept = [
        key for key in given if given[key] != usual[key] or has_objects(given[key]) or given_for(inside[key], reasons)
    ]
    if not given_for(name, reasons, below=True):
        return f"jaxseg.{type(value).__name__}({', '.join(f'{key}={written(given[key], {})}' for key in kept)})"
    margin = "    " * (depth + 1)
    lines = [f"jaxseg.{type(value).__name__}("]
    for key in kept:
        if reason := reasons.get(inside[key]):
            comment = f"{margin}# "
            lines += textwrap.wrap(plain(reason, 1000), WIDTH, initial_indent=comment, subsequent_indent=comment)
        lines.append(f"{margin}{key}={written(given[key], reasons, inside[key], depth + 1)},")
    return "\n".join([*lines, "    " * depth + ")"])


def given_for(name: str, reasons: Mapping[str, str], below: bool = False) -> bool:
    """Whether a setting, or one below it, has a reason."""
    return (name in reasons and not below) or any(told.startswith(f"{name}." if name else "") for told in reasons)


def has_objects(value: Any) -> bool:
    return isinstance(value, tuple) and any(dataclasses.is_dataclass(item) for item in value)


def literal(value: Any, depth: int) -> str:
    """What is no object of settings; a long tuple over several lines."""
    if isinstance(value, tuple):
        items = [written(item, {}) for item in value]
        whole = f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if len(whole) + 4 * depth < WIDTH:
            return whole
        lines, margin = [""], "    " * (depth + 1)
        for item in items:
            if lines[-1] and len(margin + lines[-1] + item) >= WIDTH:
                lines.append("")
            lines[-1] += f"{item}, "
        return "\n".join(["(", *(margin + line.rstrip() for line in lines), "    " * depth + ")"])
    if isinstance(value, Path):
        return f"Path({literal(str(value), depth)})"
    text = repr(value)
    plain_text = text.startswith("'") and '"' not in text and "\\'" not in text
    return f'"{text[1:-1]}"' if plain_text else text
