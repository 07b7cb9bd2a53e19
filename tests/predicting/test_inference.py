"""Every picture comes out once, in order, through batches of one shape."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxseg.predicting import inference
from jaxseg.predicting.inference import Network, Setting, prepared, through
from jaxseg.predicting.tiles import Tile


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(3, 70, (count, 2))
    return [draw.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def stub(size: tuple[int, int], stride: int, shapes: list[tuple[int, ...]]) -> Network:
    """Each pixel's red as its probability."""

    def dispatch(images: np.ndarray) -> Any:
        shapes.append(images.shape)
        return images[..., :1].astype(np.float32) / 255

    return Network(dispatch, size, stride, 3, 1, "stretch")


def run(sources: list, network: Network, setting: Setting, batch: int, ahead: int = 3) -> list:
    with ThreadPoolExecutor(2) as pool:
        return list(through(network, prepared(sources, network, setting, pool, ahead), batch))


@pytest.mark.parametrize("batch", [1, 4, 7])
@pytest.mark.parametrize("tile", [None, Tile(overlap=0.3)])
@pytest.mark.parametrize("count", [0, 1, 13])
def test_all_come_out_in_order_whatever_the_batch(count: int, batch: int, tile: Tile | None) -> None:
    sources, shapes = pictures(count), []
    setting = Setting(0.5, tile)
    found = run(sources, stub((16, 20), 1, shapes), setting, batch)
    assert [id(subject.source) for subject in found] == [id(source) for source in sources]
    assert set(shapes) <= {(batch, 16, 20, 3)}
    alone = [run([source], stub((16, 20), 1, []), setting, 1)[0] for source in sources]
    for subject, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(subject.work.finish().every, other.work.finish().every)
    frames = sum(subject.work.count for subject in found)
    assert len(shapes) == -(-frames // batch), "batches are shared, and only the last is filled up"


def test_the_watcher_hears_of_each_frame() -> None:
    heard: list[tuple[int, int]] = []

    def watch(subject: inference.Subject) -> None:
        assert subject.work is not None
        heard.append((subject.work.seen, subject.work.count))

    setting, network = Setting(tile=Tile()), stub((16, 20), 1, [])
    with ThreadPoolExecutor(2) as pool:
        list(through(network, prepared([pictures(1, seed=3)[0]] * 2, network, setting, pool, 3), 4, watch))
    count = heard[0][1]
    assert count > 1
    assert heard == [(seen, count) for seen in range(1, count + 1)] * 2


@pytest.mark.parametrize("tile", [None, Tile(overlap=0.3)])
def test_sizes_are_filled_up_to_the_stride_and_cut_again(tile: Tile | None) -> None:
    sources, shapes = pictures(5), []
    found = run(sources, stub((13, 18), 8, shapes), Setting(tile=tile), 2)
    assert set(shapes) == {(2, 16, 24, 3)}
    exact = run(sources, stub((13, 18), 1, []), Setting(tile=tile), 2)
    for subject, other in zip(found, exact, strict=True):
        np.testing.assert_array_equal(subject.work.finish().every, other.work.finish().every)


def test_a_tiled_picture_comes_back_as_it_was() -> None:
    source = pictures(1, seed=3)[0]
    (subject,) = run([source], stub((16, 20), 1, []), Setting(tile=Tile()), 4)
    np.testing.assert_allclose(subject.work.finish().every[..., 0], source[..., 0] / 255, atol=1e-6)


def test_what_can_not_be_read_is_a_fault_and_the_others_are_done(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    names = ["good.png", "bad.jpg", "missing.jpg"]
    found = run([tmp_path / name for name in names], stub((8, 8), 1, []), Setting(), 4)
    by_name = {Path(subject.source).name: subject for subject in found}
    assert by_name["good.png"].work.seen == 1
    assert "bad.jpg can't be read as an image" in by_name["bad.jpg"].fault
    assert "no such file" in by_name["missing.jpg"].fault


def test_too_little_memory_for_one_is_its_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: np.ndarray, **_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(inference, "decoded", full)
    (subject,) = run(pictures(1), stub((8, 8), 1, []), Setting(tile=Tile()), 4)
    assert "not enough memory" in subject.fault


def test_large_pictures_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "LARGE", 30 * 30)
    sources = [np.zeros((size, size, 3), np.uint8) for size in (40, 10, 40, 40, 10, 10, 40)]
    held: list[int] = []
    done: list[int] = []
    prepare = inference.prepare

    def watched(source: np.ndarray, *rest: Any) -> Any:
        if source.shape[0] == 40:
            held.append(len(held))
            assert len(held) - len([n for n in done if n == 40]) == 1, "two large ones at once"
        return prepare(source, *rest)

    monkeypatch.setattr(inference, "prepare", watched)
    network = stub((16, 16), 1, [])
    with ThreadPoolExecutor(2) as pool:
        for subject in prepared(sources, network, Setting(tile=Tile()), pool, 3):
            done.append(subject.source.shape[0])
    assert done == [40, 10, 40, 40, 10, 10, 40]
