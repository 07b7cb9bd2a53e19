"""Killed at random instants and started again, a run is, bit for bit, the run that was never killed."""

import dataclasses
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM
from typing import Any, NamedTuple

import pytest
from kills import ALL, Chase, Hunt
from test_train import small
from traces import trace

import jaxseg
from jaxseg.data.samples import open_split

LATE = ("start-up", "compile", "restore", "conclusion")
"""What a run whose training is done goes through, started again."""
EARLY = tuple(name for name in ALL if name != "conclusion")
STOPPED = (75, -SIGTERM, -SIGINT, 128 + SIGTERM, 128 + SIGINT)
"""How a run may end that was asked to, before it was killed."""


@pytest.fixture(scope="module")
def config(sample: Path, tmp_path_factory: pytest.TempPathFactory, long: bool) -> jaxseg.Config:
    """Three steps an epoch; a record each two, a checkpoint each. Two images are broken: one of each split."""
    root = shutil.copytree(sample, tmp_path_factory.mktemp("kills") / "coco")
    given = small(root)
    for split in ("train", "val"):
        samples = open_split(given.data, split)
        os.truncate(samples.path(int(samples.positions[2])), 300)
    return dataclasses.replace(
        given,
        data=dataclasses.replace(given.data, on_error="skip"),
        augment=jaxseg.Augment(flip=0.5, zoom=(0.8, 1.5), rotate=15.0, brightness=0.2),
        epochs=8 if long else 4,
        logs=jaxseg.Logs(every=2, pictures_every=2, pictures=2),
        checkpointing=jaxseg.Checkpointing(steps=1, minutes=None),
    )


@pytest.fixture(scope="module")
def hunt(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Iterator[Hunt]:
    compiled = None if long else Path(tempfile.gettempdir()) / "jaxseg-test-compiled-to-kill"
    hunt = Hunt(tmp_path_factory.mktemp("hunt"), figures=long, compiled=compiled)
    yield hunt
    hunt.close()


class Whole(NamedTuple):
    """The run that was never killed, with checkpoints at the ends of its epochs alone."""

    trace: dict[str, Any]
    times: dict[str, list[float]]
    """How long each phase took, each time."""


@pytest.fixture(scope="module")
def whole(hunt: Hunt, config: jaxseg.Config, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole") / "run"
    seldom = jaxseg.Checkpointing(minutes=None)
    chase = hunt.start(dataclasses.replace(config, checkpointing=seldom), folder)
    status, printed = chase.end()
    assert status == 0, printed
    found = trace(folder, hunt.batches(folder))
    assert len(found["faults.jsonl"].splitlines()) == 2
    assert len(found["batches"]) == 3 * config.epochs
    return Whole(found, chase.prey.times)


class Tally:
    """The counts of a hunt."""

    def __init__(self) -> None:
        self.kills = self.restores = 0
        self.counts: Counter[str] = Counter()
        self.hit: Counter[str] = Counter()
        """Phases; a kill may hit two, as the checkpoints have a thread of their own."""
        self.left: list[str] = []
        self.mismatches: list[str] = []

    def table(self, seed: int, slowest: float) -> str:
        rows = {
            "seed": seed,
            **self.counts,
            "kills by SIGKILL": self.kills,
            **{f"  during {name}": self.hit[name] for name in (*ALL, "what is between")},
            "restores of a checkpoint": self.restores,
            "processes and shared memory left": len(self.left),
            "seconds until the last of a run was gone": f"{slowest:.2f}",
            "mismatches": len(self.mismatches),
        }
        return "\n".join(f"{name:44} {value:>8}" for name, value in rows.items())


def aim(draw: random.Random, tally: Tally, whole: Whole, phases: tuple[str, ...]) -> tuple[str, int, float]:
    """A phase, which time it is entered, and the seconds to wait then.

    It is the phase that was hit least; now and then any instant of the first seconds.
    """
    if draw.random() < 0.25:
        return "start-up", 1, draw.uniform(0.0, 3.0)
    phase = min(phases, key=lambda name: (tally.hit[name], draw.random()))
    times = whole.times.get(phase, [0.3])
    return phase, draw.randint(1, min(len(times), max(2, len(times) // 4))), draw.uniform(0.0, draw.choice(times))


def strike(chase: Chase, draw: random.Random, tally: Tally, phase: str, nth: int, wait: float) -> None:
    """A while after a phase began for the n-th time, if it comes to that."""
    prey = chase.prey
    prey.until(lambda: len(prey.times.get(phase, ())) >= nth)
    if prey.ended:
        return
    time.sleep(wait)
    group, warned = draw.random() < 0.25, draw.random() < 0.2
    chase.strike(draw, group=group, warning=draw.choice((SIGTERM, SIGINT)) if warned else None)
    tally.counts["struck with the whole group"] += group
    tally.counts["struck after SIGTERM or SIGINT"] += warned


def pursue(
    hunt: Hunt, config: jaxseg.Config, folder: Path, whole: Whole, draw: random.Random, tally: Tally, kills: int
) -> None:
    """Kill one run so many times, if it lasts so long, and let it end."""
    phases, status = EARLY, None
    while status != 0:
        phases = ALL if phases == EARLY and kills <= 2 else phases
        fresh, workers = draw.random() < 0.15, draw.choice((0, 2))
        cold = not hunt.compiled.is_symlink() and draw.random() < 0.1
        if cold:
            shutil.rmtree(hunt.compiled, ignore_errors=True)
        data = dataclasses.replace(config.data, workers=workers, cache=draw.choice(("none", "memory")))
        chase = hunt.start(dataclasses.replace(config, data=data), folder, fresh=fresh)
        if kills > 0:
            strike(chase, draw, tally, *aim(draw, tally, whole, phases))
        status, printed = chase.end()
        assert status in (0, -SIGKILL, *STOPPED), printed

        prey = chase.prey
        assert prey.pid is not None
        tally.left += hunt.leftovers(prey.pid)
        tally.counts["starts"] += 1
        tally.counts["starts by a Python of their own"] += fresh
        tally.counts["starts with worker processes"] += workers > 0
        tally.counts["starts with nothing compiled"] += cold
        tally.counts["ends by SIGTERM or SIGINT alone"] += status in STOPPED
        tally.restores += prey.restored
        if status == -SIGKILL:
            tally.kills += 1
            tally.hit.update(prey.within() or {"what is between"})
        kills -= 1
        if "conclusion" in prey.times:  # no training is left to be killed
            phases, kills = LATE, min(kills, 2)
    tally.counts["runs"] += 1


@pytest.mark.timeout(7200 if "--long" in sys.argv else 400)
def test_killed_at_random_instants_it_ends_as_if_nothing_had_happened(
    hunt: Hunt, config: jaxseg.Config, whole: Whole, tmp_path: Path, long: bool, record_testsuite_property: Any
) -> None:
    """Each time the next start goes on; of what was killed no process and no shared memory is left."""
    seed = int(os.environ.get("JAXSEG_KILLS_SEED") or random.SystemRandom().randrange(10**6))
    draw, tally = random.Random(seed), Tally()
    print(f"\nThe seed of the kills: JAXSEG_KILLS_SEED={seed}")
    least, in_a_run = (110, 20) if long else (2, 5)
    while tally.kills < least:
        folder = tmp_path / f"run-{tally.counts['runs']}"
        pursue(hunt, config, folder, whole, draw, tally, kills=in_a_run)
        found = trace(folder, hunt.batches(folder))
        differing = [name for name in {**found, **whole.trace} if found.get(name) != whole.trace.get(name)]
        tally.mismatches += [f"{folder}: {name}" for name in differing]
        (tmp_path / "kills.txt").write_text(tally.table(seed, hunt.slowest) + "\n")
    table = tally.table(seed, hunt.slowest)
    print(table)
    record_testsuite_property("kills", table)
    assert not tally.left, table
    assert not tally.mismatches, "\n".join([table, *tally.mismatches])
    assert not list((hunt.folder / "temporary").iterdir())
