"""What a training costs that no clock need measure: programs, looks at the device, bytes sent to it, FLOPs.

FLOPs and bytes of the compiled steps are compared with `recorded_counts.json`. Where a change to them is
meant, renew the file, and say in the commit what it bought:

    pytest tests/test_counts.py --renew-counts
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxseg
from jaxseg.arrays import Batch
from jaxseg.data.loader import Loaded
from jaxseg.footprint import footprint, lowered
from jaxseg.run import read_lines
from jaxseg.sharding import data_parallel
from jaxseg.step import StepResult
from jaxseg.train import fit
from jaxseg.training import Training

RECORDED = Path(__file__).with_name("recorded_counts.json")
MARGIN = 1.15
"""Between a count and its record, up or down: other versions of XLA fuse otherwise; jax 0.10.2 made the record."""
EPOCHS, BATCH, SIZE = 3, 4, (32, 48)
STEPS = 3  # in an epoch: 13 images with the classes
LOOKS = len(StepResult._fields)  # all that a step says is looked at, once


def config(root: Path) -> jaxseg.Config:
    return jaxseg.Config(
        data=jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=SIZE[0], width=SIZE[1]),
        model=jaxseg.UNet(widths=(4, 8)),
        epochs=EPOCHS,
        batch_size=BATCH,
        logs=jaxseg.Logs(every=2, pictures_every=5),
    )


class OnDevice:
    """An array of a step that is still under way, in place of the real one; it notes who looks at it."""

    def __init__(self, array: jax.Array, whose: object, events: list[tuple[str, object]]) -> None:
        self.array, self.whose, self.events = array, whose, events

    def look(self) -> jax.Array:
        self.events.append(("look", self.whose))
        return self.array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.look(), dtype)

    def __float__(self) -> float:
        return float(self.look())

    def __int__(self) -> int:
        return int(self.look())

    def __bool__(self) -> bool:
        return bool(self.look())

    def item(self) -> Any:
        return self.look().item()

    def block_until_ready(self) -> "OnDevice":
        self.look()
        return self

    def is_ready(self) -> bool:
        return False


class Watch:
    """What a run does in `Training.train`: batches put, steps dispatched, looks at their results and at the state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, compilations: list[str]) -> None:
        self.events: list[tuple[str, object]] = []
        self.sent: list[int] = []
        self.compiled: list[int] = []
        self.steps = 0
        self.compilations, real = compilations, Training.train
        monkeypatch.setattr(Training, "train", lambda training, batches: self.watched(real, training, batches))

    def watched(self, real: Any, training: Training, batches: Iterator[Loaded]) -> None:
        compiled, consent, put = training.compiled, training.consent.compiled, jax.device_put
        watched = compiled._replace(train=self.dispatch(compiled.train))
        training.compiled = training.consent.compiled = watched
        training.state = self.wrapped(training.state, "state")
        before = len(self.compilations)
        with pytest.MonkeyPatch.context() as patch, jax.transfer_guard_host_to_device("disallow"):
            patch.setattr(jax, "device_put", lambda *args, **kwargs: self.send(put, *args, **kwargs))
            real(training, batches)
        self.compiled.append(len(self.compilations) - before)
        training.state = self.bare(training.state)
        training.compiled, training.consent.compiled = compiled, consent

    def dispatch(self, train: Any) -> Any:
        def step(state: Any, batch: Batch) -> tuple[Any, Any]:
            self.steps += 1
            self.events.append(("dispatch", self.steps))
            state, result = train(self.bare(state), batch)
            return self.wrapped(state, "state"), self.wrapped(result, self.steps)

        return step

    def send(self, put: Any, arrays: Any, *args: Any, **kwargs: Any) -> Any:
        self.events.append(("send", sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))))
        return put(arrays, *args, **kwargs)

    def wrapped(self, tree: Any, whose: object) -> Any:
        return jax.tree.map(lambda leaf: OnDevice(leaf, whose, self.events), tree)

    def bare(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.array, tree, is_leaf=lambda leaf: isinstance(leaf, OnDevice))


@pytest.fixture(scope="module")
def heard() -> Iterator[list[str]]:
    """The names of the programs that are compiled."""
    names: list[str] = []

    def listen(event: str, *_: object, fun_name: str = "", **__: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture(scope="module")
def watch(heard: list[str], sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """A short run of `train`, watched."""
    with pytest.MonkeyPatch.context() as patch:
        watch = Watch(patch, heard)
        folder = fit(config(sample), tmp_path_factory.mktemp("counts") / "run")
    assert len([record for record in read_lines(folder.metrics) if "val_loss" in record]) == EPOCHS
    assert watch.steps == EPOCHS * STEPS
    return watch


def test_each_step_compiles_once_and_in_the_first_epoch(watch: Watch, heard: list[str]) -> None:
    counts = Counter(heard)
    assert counts["jit(train_step)"] == counts["jit(eval_step)"] == counts["jit(create_state)"] == 1, counts
    assert watch.compiled == [1, 0, 0], f"programs compiled in the steps of each epoch: {heard}"


def test_the_host_looks_at_a_step_once_and_after_the_next_is_dispatched(watch: Watch) -> None:
    events = [event for event in watch.events if event[0] != "send"]
    expected = []
    for epoch in range(EPOCHS):
        for step in range(epoch * STEPS + 1, (epoch + 1) * STEPS + 1):
            expected.append(("dispatch", step))
            if step > epoch * STEPS + 1:
                expected += [("look", step - 1)] * LOOKS
        expected += [("look", (epoch + 1) * STEPS)] * LOOKS
    assert events == expected


def test_a_step_sends_one_batch_of_bytes_to_the_device(watch: Watch) -> None:
    sent = [size for what, size in watch.events if what == "send"]
    image, mask, weight = BATCH * SIZE[0] * SIZE[1] * 3, BATCH * SIZE[0] * SIZE[1], BATCH * 4
    assert sent == [image + mask + weight] * (EPOCHS * STEPS)


def counts() -> dict[str, dict[str, float]]:
    """Of the compiled steps, on one device."""
    settings = jaxseg.Config(
        data=jaxseg.Data(height=64, width=96),
        model=jaxseg.UNet(widths=(8, 16, 32, 64), out_channels=1),
        batch_size=4,
    )
    layout, found = data_parallel(1), {}
    for name, program in zip(("training step", "evaluation step"), lowered(settings, layout), strict=True):
        needed = footprint(program, program.compile(), layout)
        found[name] = {
            "flops": needed.flops,
            "bytes accessed": needed.traffic,
            "bytes of temporaries": needed.temporaries,
            "bytes donated": needed.aliased,
        }
    return found


def test_flops_and_bytes_are_those_recorded(request: pytest.FixtureRequest) -> None:
    found = counts()
    if request.config.getoption("--renew-counts"):
        RECORDED.write_text(json.dumps(found, indent=2) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert recorded.keys() == found.keys()
    for step, numbers in recorded.items():
        for name, number in numbers.items():
            now = found[step][name]
            assert number / MARGIN <= now <= MARGIN * number, (
                f"{name} of the {step}: {now:,.0f}, recorded {number:,.0f}. If that is meant: "
                "pytest tests/test_counts.py --renew-counts"
            )
