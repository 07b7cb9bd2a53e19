"""Configs as Python files: what is written is what is loaded, whatever the names."""

import ast
from pathlib import Path

import jaxseg
from jaxseg.config import load_config
from jaxseg.suggesting.config_file import config_text, written

EVIL = ('x"""\nimport os\n', "é\u2028#", "back\\slash'", "a\rb", "\ud83d", "'\"", "#")


def test_a_file_is_the_config_whatever_the_names(tmp_path: Path) -> None:
    config = jaxseg.Config(
        data=jaxseg.Data(root=Path("/a b/ü'\""), classes=(*EVIL, *map(str, range(100)))),
        model=jaxseg.UNet(widths=(4, 8), norm="batch"),
        loss=jaxseg.Sum((jaxseg.CrossEntropy(pos_weight=2.5), jaxseg.Dice()), (1.0, 0.5)),
        optimizer=jaxseg.AdamW(2e-3),
        augment=jaxseg.Augment(zoom=(0.5, 2.0)),
        ema=0.99,
    )
    reasons = {"data.classes": " ".join(EVIL), "loss": "\n".join(EVIL), "seed": "the default, with a reason"}
    text = config_text(config, reasons, f"for {EVIL[0]}", f"command {EVIL[2]}")
    (tmp_path / "x.py").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "x.py") == config
    kinds = [type(node) for node in ast.parse(text).body]
    assert kinds == [ast.Expr, ast.ImportFrom, ast.Import, ast.Assign], "docstring, imports and the config"
    assert "    # the default, with a reason\n    seed=0,\n" in text
    assert max(len(line) for line in text.splitlines() if "back" not in line) <= 120


def test_values_as_they_are_written() -> None:
    assert written(jaxseg.AdamW(2e-3), {}) == "jaxseg.AdamW(learning_rate=0.002)"
    assert written(jaxseg.Sum(), {}) == "jaxseg.Sum(terms=(jaxseg.CrossEntropy(), jaxseg.Dice()))"
    assert written(("a",), {}) == '("a",)'
    assert written("it's", {}) == '"it\'s"'
    assert written(None, {}) == "None"
