"""The file of a training step that was not sound: all that reproduces it, without pickle."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int64, PyTree

from jaxseg.arrays import Batch
from jaxseg.errors import InputError
from jaxseg.run import write_whole
from jaxseg.step import StepResult, TrainState

FORMAT = "jaxseg step 1"


class Incident(NamedTuple):
    """A step: the settings as JSON, the state before it, its batch, what came of it, and what it was made with."""

    settings: dict[str, Any]
    state: TrainState
    batch: Batch
    image_ids: Int64[np.ndarray, " batch"]
    result: StepResult
    made: dict[str, str]

    @property
    def step(self) -> int:
        """Its number, from 1."""
        return int(self.state.step) + 1


def save_incident(path: Path, incident: Incident) -> None:
    """Write the file, whole or not at all.

    Raises:
        OSError: if it can't be written.
    """
    about = {"format": FORMAT, "config": incident.settings, "made": incident.made}
    arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8), "image_ids": incident.image_ids}
    for part in ("state", "batch", "result"):
        arrays |= {f"{part}/{name}": np.asarray(leaf) for name, leaf in leaves_of(getattr(incident, part)).items()}

    def write(file: Path) -> None:
        with file.open("wb") as opened:
            np.savez(opened, **arrays)

    write_whole(path, write)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings alone, as JSON.

    Raises:
        InputError: if it is no such file, or is damaged.
    """
    return read_about(read_arrays(path), path)["config"]


def read_incident(path: Path, like: TrainState) -> Incident:
    """All of it; `like` gives the state's structure, shapes and types.

    Raises:
        InputError: if it is no such file, is damaged, or holds another network's state.
    """
    arrays = read_arrays(path)
    about = read_about(arrays, path)
    parts = {name: array for name, array in arrays.items() if name.startswith("state/")}
    expected = {f"state/{name}": leaf for name, leaf in leaves_of(like).items()}
    wrong = [name for name in {**expected, **parts} if form(parts.get(name)) != form(expected.get(name))]
    if wrong:
        rows = "\n".join(f"  {n}: there {form(parts.get(n))}, here {form(expected.get(n))}" for n in wrong[:8])
        raise InputError(f"{path} holds the state of another network, {len(wrong)} arrays differ:\n{rows}")
    state = jax.tree.unflatten(jax.tree.structure(like), [parts[name] for name in expected])
    batch = Batch(*(arrays[f"batch/{field}"] for field in Batch._fields))
    result = StepResult(**{field: arrays[f"result/{field}"] for field in StepResult._fields})
    return Incident(about["config"], state, batch, arrays["image_ids"], result, about["made"])


def leaves_of(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def form(array: Any) -> str:
    return "absent" if array is None else f"{array.dtype} {tuple(array.shape)}"


def read_arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. A run that stops at a step leaves nonfinite-STEP.npz in its folder.")
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is damaged, or not the file of a step: {error}.") from None


def read_about(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    needed = {f"batch/{field}" for field in Batch._fields} | {f"result/{field}" for field in StepResult._fields}
    try:
        about = json.loads(arrays["about"].tobytes())
        whole = about["format"] == FORMAT and {"config", "made"} <= set(about) and {"image_ids", *needed} <= set(arrays)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{path} is not the file of a step, as this version of jaxseg writes it ({FORMAT}).")
    return about
