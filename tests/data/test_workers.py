"""Worker processes give the batches that threads give, and leave nothing behind; the data code needs no JAX."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coco_files import write_root
from test_loader import damage, opened, take

from jaxseg.data.loader import Loaded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=13)


# Workers start a Python each: one program shows everything.
WITH_WORKERS = """
import hashlib, itertools, json, multiprocessing, sys
from pathlib import Path
from jaxseg.data.coco import DataError
from jaxseg.data.loader import train_batches
from jaxseg.data.samples import Data, open_split

def digest(loaded):
    parts = b"".join(a.tobytes() for a in (*loaded.batch, loaded.image_ids))
    return hashlib.sha256(parts).hexdigest()

if __name__ == "__main__":
    root = Path(sys.argv[1])
    samples = open_split(Data(root=root, height=16, width=24, workers=2, on_error="skip", cache=sys.argv[2]), "train")
    with train_batches(samples, 4, seed=0, start=2) as batches:
        held = list(itertools.islice(batches, 5))
    print(json.dumps({
        "digests": [digest(loaded) for loaded in held],
        "faults": [list(loaded.faults) for loaded in held],
        "kept": samples.slots.used_bytes() if samples.slots else None,
        "children": len(multiprocessing.active_children()),
    }))
    # `held` lives until the end of the program
"""


def digest(loaded: Loaded) -> str:
    return hashlib.sha256(b"".join(a.tobytes() for a in (*loaded.batch, loaded.image_ids))).hexdigest()


def run(tmp_path: Path, program: str, root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "program.py"
    script.write_text(program)
    package = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": package}
    return subprocess.run(
        [sys.executable, str(script), str(root), *more], capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_worker_processes_give_the_same_batches_and_leave_nothing(
    root: Path, tmp_path: Path, cache: str, long: bool
) -> None:
    """In short the form with the cache in memory that the workers share, which the other takes no part of."""
    shared = cache == "memory" and hasattr(os, "memfd_create")
    if not shared and not long:
        pytest.skip("starts worker processes: --long")
    damage(root)
    done = run(tmp_path, WITH_WORKERS, root, cache if shared else "none")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    expected = take(opened(root, on_error="skip"), 5, start=2)
    assert said["digests"] == [digest(loaded) for loaded in expected]
    assert said["faults"] == [list(loaded.faults) for loaded in expected]
    assert bool(said["kept"]) == shared
    assert said["children"] == 0
    assert "leaked" not in done.stderr
    assert "SharedMemoryArray" not in done.stderr


def test_a_worker_s_error_is_the_reader_s(root: Path, tmp_path: Path, long: bool) -> None:
    if not long:
        pytest.skip("starts worker processes: --long")
    path = damage(root)
    done = run(tmp_path, WITH_WORKERS.replace('on_error="skip"', 'on_error="raise"'), root, "none")
    assert done.returncode == 1
    assert f"DataError: Image 3: {path} can't be read as an image: " in done.stderr


WITHOUT_JAX = """
import sys, pathlib, jaxseg.data
folder = pathlib.Path(jaxseg.data.__file__).parent
for path in sorted(folder.glob("*.py")):
    if path.stem != "loader":
        __import__(f"jaxseg.data.{path.stem}")
from jaxseg.data.samples import Data, open_split
sample = open_split(Data(root=pathlib.Path(sys.argv[1]), height=16, width=24), "train")[0]
assert sample["weight"] == 1
print(sorted(m for m in sys.modules if m.split(".")[0] in ("jax", "jaxlib", "flax", "grain", "matplotlib")))
"""


def test_the_data_code_loads_no_jax(root: Path, tmp_path: Path) -> None:
    """It runs in worker processes, of which JAX would take 140 MB each."""
    done = run(tmp_path, WITHOUT_JAX, root)
    assert (done.stdout, done.stderr) == ("[]\n", "")
