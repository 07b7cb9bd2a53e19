"""The benchmark of learning: its PyTorch side minimises the same losses, and every row runs and is scored."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from torch_unet import needs_torch, torch

from jaxseg import VOID, CrossEntropy, Data, Dice

FOLDER = Path(__file__).parents[1] / "experiments/benchmarks/learning"


@needs_torch
@pytest.mark.parametrize("outputs", [1, 4])
def test_both_sides_minimise_the_same(monkeypatch: pytest.MonkeyPatch, outputs: int) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import peer

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 8, 9, outputs)).astype(np.float32)
    mask = rng.integers(0, max(2, outputs), (2, 8, 9)).astype(np.uint8)
    mask[0, :3] = VOID
    theirs = torch.from_numpy(logits).permute(0, 3, 1, 2), torch.from_numpy(mask)
    ours = jnp.asarray(logits), jnp.asarray(mask), jnp.asarray(mask != VOID)
    assert float(peer.cross_entropy(*theirs)) == pytest.approx(float(CrossEntropy()(*ours)), rel=1e-5)
    assert float(peer.dice(*theirs)) == pytest.approx(float(Dice()(*ours)), rel=1e-5)


@needs_torch
@pytest.mark.parametrize("name", ["careful, PyTorch", "best.py, jaxseg"])
def test_a_row_is_trained_and_scored(monkeypatch: pytest.MonkeyPatch, sample: Path, name: str) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    import rows
    import subjects

    data = Data(root=sample, classes=("tv",), height=32, width=32, cache="memory")
    outcome = rows.run(name, subjects.Subject("sample", data, epochs=1), (4, 8), seed=0)
    assert 0 <= outcome.iou <= outcome.dice <= 1
    assert 0.1 < outcome.loss < 2  # a constant guess has about 0.69
    assert outcome.seconds > 0
