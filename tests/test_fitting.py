"""What would fit is found exactly, in few compilations, and does fit by the compiler's own word."""

from typing import Any

import jax
import numpy as np
import pytest

import jaxseg
import jaxseg.fitting
from jaxseg.fitting import KINDS, largest_batch, ways_to_fit
from jaxseg.footprint import Footprint, Room, estimated
from jaxseg.sharding import Layout, data_parallel


def config(batch_size: int = 4, **model: Any) -> jaxseg.Config:
    data = jaxseg.Data(height=32, width=48)
    network = jaxseg.UNet(**{"widths": (4, 8), "norm": "batch", "out_channels": 1, **model})
    return jaxseg.Config(data=data, model=network, batch_size=batch_size)


def footprint(needed: int, state: int) -> Footprint:
    return Footprint(state, 0, state, state, state, needed - state, state, 0.0, 0.0)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[jaxseg.Config]:
    """The configs that were asked for, of a compiler whose programs need memory unevenly."""
    asked: list[jaxseg.Config] = []
    monkeypatch.setattr(jaxseg.fitting, "estimated", lambda c, _: asked.append(c) or pretended(c))
    return asked


def pretended(c: jaxseg.Config) -> Footprint:
    kept = (0.6 if c.model.dtype == "bfloat16" else 1) * (0.7 if c.model.remat else 1)
    pixels = c.batch_size * c.data.height * c.data.width * kept
    state = 10 * sum(c.model.widths) ** 2
    return footprint(int(state + pixels * c.model.widths[0] + 300 * (pixels // 5000)), state)


def test_the_mildest_of_each_kind_is_found_in_few_compilations(compiled: list[jaxseg.Config]) -> None:
    rng = np.random.default_rng(0)
    layout = data_parallel(1)
    for _ in range(40):
        c = config(int(rng.integers(2, 300)), widths=(16, 32, 64))
        found = pretended(c)
        usable = int(found.needed * rng.uniform(0.05, 0.99))
        compiled.clear()
        ways = {way.flags.split()[0]: way for way in ways_to_fit(c, layout, usable, found)}
        assert len(compiled) <= 6 * 8
        for make in KINDS:
            kind = make(c, layout)
            assert kind is not None
            fit = [n for n in range(1, kind.most + 1) if pretended(kind.changed(n)[1]).needed <= usable]
            flags = kind.changed(max(fit, default=1))[0]
            assert (flags.split()[0] in ways) == bool(fit)
            if fit:
                way = ways[flags.split()[0]]
                assert way.flags == flags
                assert way.needed == pretended(way.config).needed <= usable


def test_the_flags_make_the_settings_that_were_tried(compiled: list[jaxseg.Config]) -> None:
    c = config(64, widths=(16, 32, 64))
    found = pretended(c)
    ways = list(ways_to_fit(c, data_parallel(64), found.needed * 3 // 4, found))
    assert [way.flags.split()[0] for way in ways] == [
        "--batch-size",
        "--accumulate",
        "--model.remat",
        "--model.dtype",
        "--data.height",
        "--model.widths",
    ]
    assert ways[1].flags == "--accumulate 2 --batch-size 32", "an update is of as many images as before"
    for way in ways:
        import tyro

        assert tyro.cli(jaxseg.Config, default=c, args=way.flags.split()) == way.config


def test_batches_stay_divisible_by_the_devices(compiled: list[jaxseg.Config]) -> None:
    c = config(64)
    layout = data_parallel(64)
    assert layout.mesh.size == 8
    found = pretended(c)
    way = next(iter(ways_to_fit(c, layout, found.needed // 2, found)))
    assert way.config.batch_size % 8 == 0
    assert largest_batch(c, layout, 10 * found.needed, found, 1003) % 8 == 0


def test_a_state_that_is_too_large_leaves_a_narrower_network(compiled: list[jaxseg.Config]) -> None:
    c = config(1, widths=(64, 128, 256))
    found = pretended(c)
    ways = list(ways_to_fit(c, data_parallel(1), found.state - 1, found))
    assert [way.flags for way in ways] == ["--model.widths 32 64 128"]


def test_sizes_stay_multiples_of_the_stride_and_widths_of_the_groups(compiled: list[jaxseg.Config]) -> None:
    c = config(8, widths=(16, 32, 64), norm="group", groups=8)
    found = pretended(c)
    for share in (0.9, 0.4, 0.1):
        for way in ways_to_fit(c, data_parallel(8), int(share * found.needed), found):
            assert way.config.data.height % c.model.stride == way.config.data.width % c.model.stride == 0
            assert all(width % 8 == 0 for width in way.config.model.widths)


def test_a_program_that_the_compiler_has_no_room_for_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(c: jaxseg.Config, layout: Layout) -> Footprint:
        if c.batch_size > 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room to compile")
        return footprint(100 * c.batch_size, 10)

    monkeypatch.setattr(jaxseg.fitting, "estimated", refused)
    c = config(8, dtype="bfloat16")
    way = next(iter(ways_to_fit(c, data_parallel(1), 10**9, footprint(10**10, 10))))
    assert way.flags == "--batch-size 3"


def test_by_the_real_compiler(compilations: list[str]) -> None:
    c, layout = config(4), data_parallel(1)
    found = estimated(c, layout)
    assert 3 * 4 * 1781 < found.state < 3 * 4 * 1781 + 1000, "weights, Adam's moments, and a little"
    assert found.batch == 4 * (32 * 48 * 4 + 4)
    assert found.needed > found.arguments >= found.state + found.batch
    assert found.aliased >= found.state - 64, "the state is updated in its place"
    half = estimated(config(2), layout)
    assert 0.4 < (half.needed - found.state) / (found.needed - found.state) < 0.6
    assert found.flops > 2 * half.flops * 0.9
    assert largest_batch(c, layout, found.needed, found, 100) == 4
    assert Room(1000, "", "cpu").usable < Room(1000, "", "gpu").usable < 1000
