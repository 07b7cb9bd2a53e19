"""Checkpoints: the best and the newest stay, come back bit for bit, and are not used where they are damaged."""

import errno
import json
import math
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harm import HARMS, flip

from jaxseg.checkpoint import Checkpoints, Progress, load_weights
from jaxseg.digests import DIGESTS
from jaxseg.errors import InputError
from jaxseg.guard import healthy
from jaxseg.shelf import DamageError, Shelf
from jaxseg.step import TrainState

PROGRESS = Progress(epoch=1, best_step=1, best_loss=math.inf, epochs_since_best=0, running={"loss": 0.1 + 0.2})


def state(seed: int) -> TrainState:
    values = jax.random.normal(jax.random.key(seed), (3, 5))
    return TrainState(jnp.asarray(seed, jnp.int32), {"enc1": {"kernel": values}}, {}, {"mu": values * 2}, healthy())


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("best", "expected"), [(1, "1 4 5"), (3, "3 4 5"), (4, "4 5"), (5, "4 5"), (0, "4 5")])
def test_the_best_and_the_newest_two_stay(tmp_path: Path, best: int, expected: str) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state(step), PROGRESS._replace(best_step=min(best, step)))
        checkpoints.wait()
        assert kept(tmp_path) == set(expected.split())
        restored, _ = checkpoints.newest(jax.eval_shape(lambda: state(0)))  # pyright: ignore[reportGeneralTypeIssues]
    assert restored.step == 5


def test_they_come_back_bit_for_bit_though_the_state_was_donated(tmp_path: Path) -> None:
    saved = state(7)
    before = jax.device_get(saved)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest(saved) is None
        checkpoints.save(7, saved, PROGRESS)
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(saved)
    with Checkpoints(tmp_path) as checkpoints:
        restored, progress = checkpoints.restore(7, jax.eval_shape(lambda: state(0)))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), before)
    assert progress == PROGRESS


def test_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state(5), PROGRESS)
        checkpoints.save(5, state(6), PROGRESS._replace(epoch=2))
        checkpoints.wait()
        restored, progress = checkpoints.restore(5, jax.eval_shape(lambda: state(0)))
    assert kept(tmp_path) == {"5"}
    assert (restored.step, progress.epoch) == (6, 2)


def test_what_a_killed_run_left_is_tidied(tmp_path: Path) -> None:
    for name in ("5.new", "6.new.orbax-checkpoint-tmp", "7.replaced", "8.replaced", "8", "9"):
        (tmp_path / name / "state").mkdir(parents=True)
    with Checkpoints(tmp_path):
        assert kept(tmp_path) == {"7", "8", "9"}


@pytest.mark.parametrize("again", [False, True])
def test_of_several_things_that_a_save_could_not_write_none_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Orbax keeps them for the next save, or for the end."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Checkpoints(tmp_path) as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr("orbax.checkpoint._src.metadata.checkpoint._MetadataStoreImpl.write", full)
            patch.setattr("orbax.checkpoint.CompositeCheckpointHandler.async_save", full)
            checkpoints.save(1, state(1), PROGRESS)
            with pytest.raises(InputError, match=r"step 1 could not be written: No space left on device"):
                checkpoints.wait()
            until, store = time.monotonic() + 60, checkpoints.orbax._metadata_store
            while not any(future.done() for future in store._write_futures) and time.monotonic() < until:
                time.sleep(0.01)
        if again:
            checkpoints.save(2, state(2), PROGRESS)
            checkpoints.wait()
    assert kept(tmp_path) == ({"2"} if again else set())


LIKE = jax.eval_shape(lambda: state(0))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 1, 2 and 3; the best is step 1."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step), PROGRESS)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(original, tmp_path / "checkpoints")


def files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_to_each_file_is_noticed_and_named(folder: Path, harm: str) -> None:
    names = files(folder / "3")
    assert len(names) > 10
    shelf, kept = Shelf(folder), folder.parent / "kept"
    shutil.copytree(folder / "3", kept)
    for name in names:
        HARMS[harm](folder / "3" / name)
        found = shelf.damage(3)
        assert [line.split(" ")[0] for line in found] == [name]
        assert shelf.damage(2) == []
        shutil.copy(kept / name, folder / "3" / name)
    assert shelf.damage(3) == []


def test_the_newest_intact_one_is_taken_whatever_file_of_the_newest_is_damaged(
    folder: Path, original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Checkpoints(folder) as checkpoints:
        for number, name in enumerate(files(folder / "3")):
            flip(folder / "3" / name)
            restored, _ = checkpoints.newest(LIKE) or (None, None)
            np.testing.assert_array_equal(restored.step, 2)
            told = capsys.readouterr().err
            assert told.count("\n") == 1
            aside = folder / ("3.damaged" if number == 0 else f"3.damaged-{number + 1}")
            assert f"{folder / '3'} is damaged: {name} has changed" in told
            assert f"kept as {aside}" in told
            assert "goes on from step 2" in told
            assert aside.is_dir()
            shutil.copytree(original / "3", folder / "3")


@pytest.mark.parametrize("lost", ["state", "state/d", "progress", "."])
def test_a_lost_folder_is_noticed(folder: Path, lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "3" / lost)
    (folder / "3").mkdir(exist_ok=True)
    with Checkpoints(folder) as checkpoints:
        restored, _ = checkpoints.newest(LIKE) or (None, None)
    assert restored.step == 2
    assert "is missing" in (told := capsys.readouterr().err) or "are missing" in told


def test_the_step_of_a_damaged_one_is_saved_again_and_the_evidence_stays(folder: Path) -> None:
    flip(folder / "3" / "state" / "manifest.ocdbt")
    flip(folder / "1" / "progress" / "metadata")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.newest(LIKE) is not None
        assert checkpoints.best(1, LIKE) is None
        assert kept(folder) == {"1.damaged", "2", "3.damaged"}
        checkpoints.save(3, state(4), PROGRESS)
        checkpoints.wait()
        assert checkpoints.restore(3, LIKE)[0].step == 4
    assert kept(folder) == {"1.damaged", "2", "3", "3.damaged"}


def test_where_none_is_intact_nothing_is_changed(folder: Path) -> None:
    for step in (1, 2, 3):
        flip(folder / str(step) / "state" / "_METADATA")
    with Checkpoints(folder) as checkpoints:
        before = files(folder)
        with pytest.raises(InputError, match="no intact checkpoint") as caught:
            checkpoints.newest(LIKE)
        for step in (1, 2, 3):
            assert f"  {step}: state/_METADATA has changed" in str(caught.value)
        assert "another --workdir" in str(caught.value)
    for which in ("best", "latest", 2):
        with pytest.raises(
            InputError, match="no intact checkpoint|No other is intact" if which != "best" else "damaged"
        ):
            load_weights(folder, which, {"params": LIKE.params})
    assert files(folder) == before


def test_weights_come_from_an_intact_checkpoint_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    like = {"params": LIKE.params}
    flip(folder / "3" / "state" / "_METADATA")
    found = load_weights(folder, "latest", like)
    np.testing.assert_array_equal(found["params"]["enc1"]["kernel"], state(2).params["enc1"]["kernel"])
    told = capsys.readouterr().err
    assert f"{folder / '3'} is damaged: state/_METADATA has changed" in told
    assert "step 2 is taken instead" in told
    with pytest.raises(InputError, match=r"3 is damaged: .* Intact: 1, 2; try --checkpoint 2"):
        load_weights(folder, 3, like)
    load_weights(folder, "best", like)
    assert capsys.readouterr().err == ""  # the progress of step 3 is intact: it says which is the best
    flip(folder / "1" / "state" / "_sharding")
    with pytest.raises(InputError, match=r"1 is damaged: .* Intact: 2; try --checkpoint 2"):
        load_weights(folder, "best", like)


def test_one_without_digests_is_used_if_it_never_had_any(folder: Path) -> None:
    (folder / "3" / DIGESTS).unlink()
    shelf, metadata = Shelf(folder), folder / "3" / "_CHECKPOINT_METADATA"
    assert shelf.damage(3) == [f"{DIGESTS} is missing"]
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "custom_metadata": {}}))
    assert shelf.damage(3) == []
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(3, LIKE)[0].step == 3
        (folder / "3" / "state" / "manifest.ocdbt").unlink()
        with pytest.raises(DamageError, match="orbax can't read it"):
            checkpoints.restore(3, LIKE)


def test_another_state_is_told_array_by_array_and_is_no_damage(folder: Path) -> None:
    moment = jax.ShapeDtypeStruct((3, 5), np.float16)
    params = {"enc2": {"kernel": jax.ShapeDtypeStruct((4, 5), np.float32)}, "enc1": {"kernel": moment}}
    other = TrainState(
        LIKE.step, params, {"mean": moment}, {"mu": jax.ShapeDtypeStruct((5, 3), np.float32)}, LIKE.health
    )
    with Checkpoints(folder) as checkpoints, pytest.raises(InputError) as caught:
        checkpoints.newest(other)
    assert not isinstance(caught.value, DamageError)
    for line in (
        "missing: params/enc2/kernel (4, 5) float32",
        "missing: batch_stats/mean (3, 5) float16",
        "of another type: params/enc1/kernel is float32, expected float16",
        "misshapen: opt_state/mu is (3, 5), expected (5, 3)",
    ):
        assert f"\n  {line}" in str(caught.value)
    assert kept(folder) == {"1", "2", "3"}


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("jaxseg.shelf.faults", forbidden)
    with pytest.raises(InputError, match=r"3 can't be read: Permission denied. Give this user the right"):
        Shelf(folder).damage(3)
