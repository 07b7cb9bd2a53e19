"""Damaged and hostile checkpoint files are read right or refused, in bounded time and memory, and nothing in them runs.

The cases run in a process of their own, whose address space is limited: `python test_pth_fuzz.py FOLDER FIRST COUNT`.
With `torch` as a fourth argument, what jaxseg reads is compared with what PyTorch reads.
"""

import argparse
import collections
import faulthandler
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

import ml_dtypes
import numpy as np
import pytest
from pth_pieces import SIX, archive, function, legacy, mapping, number, storage, tensor, text

from jaxseg.pth import Checkpoint, PthError, read_pth, write_pth
from jaxseg.pth.tensors import DTYPES

resource = pytest.importorskip("resource", reason="needs the limits of a Unix process")

SECONDS_A_CASE = 5
MEGABYTES = 600  # beside Python and NumPy; the files have some kilobytes
INTERESTING = [-1, 0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**70]
NUMBERS = np.random.default_rng(0).standard_normal(6)
STORAGES = [SIX, NUMBERS, np.arange(6), np.array([True, False] * 3), NUMBERS.astype(ml_dtypes.bfloat16)]
KINDS = ["FloatStorage", "DoubleStorage", "LongStorage", "BoolStorage", "BFloat16Storage"]


def checkpoint_pickle(view: bytes = b"") -> bytes:
    """Every feature that a checkpoint's pickle may have, without its protocol and STOP."""
    stored = [storage(str(key), f"torch.{kind}", view=view) for key, kind in enumerate(KINDS)]
    weights = {f"module.{kind}": tensor(stored=one) for kind, one in zip(KINDS, stored, strict=True)}
    weights["module.transposed"] = tensor(0, (3, 2), (1, 3), stored[1])
    weights["module.expanded"] = tensor(2, (5, 2), (0, 1), stored[2])
    weights["module.scalar"] = tensor(5, (), (), stored[0])
    parameter = function("torch._utils._rebuild_parameter") + b"(" + tensor(stored=stored[0]) + b"\x88}tR"
    weights["module.parameter"] = parameter
    namespace = function("argparse.Namespace") + b")\x81}" + text("lr") + number(3) + b"sb"
    state = function("collections.OrderedDict") + b")R" + mapping(**weights)[1:] + b"}" + text("_metadata") + b"}sb"
    return mapping(epoch=number(3), classes=b"](" + text("cat") + b"K\x01e", args=namespace, state_dict=state)


def hostile_fragments(canary: str) -> list[bytes]:
    command = text(f"mkdir {canary}")
    opcodes = [bytes([code]) for code in b"().0123Q\x80\x81\x85\x86\x87\x88\x89\x93\x94NRabeostu]}"]
    return [
        b"cos\nsystem\n" + command + b"\x85R",
        b"\x8c\x05posix\x8c\x06system\x93" + command + b"\x85R",
        b"(" + command + b"ios\nsystem\n",
        b"(cos\nsystem\n" + command + b"o",
        b"\x82\x01",
        b"}" * 50_000,
        b"N" + b"q\x00h\x00\x86" * 100,
        b"X\xff\xff\xff\xff",
        b"\x8e" + b"\xff" * 8,
        b"r\xff\xff\xff\x7f",
        function("torch._tensor._rebuild_from_type_v2"),
        tensor(0, (2**20, 2**20), (0, 0)),
        tensor(0, (2**15, 2**5), (0, 0)),
        storage(),
        *opcodes,
    ]


def mutated(random: np.random.Generator, data: bytes, fragments: list[bytes]) -> bytes:
    """One change, or up to four, of a few bytes each or of large parts."""
    for _ in range(random.choice([1, 1, 1, 2, 3, 4])):
        at, other = (int(place) for place in random.integers(0, max(len(data), 1), 2))
        first, last = min(at, other), max(at, other)
        match random.integers(9):
            case 0 | 1:
                data = data[:at] + bytes([data[at] ^ 1 << int(random.integers(8))]) + data[at + 1 :] if data else data
            case 2:
                data = data[:at] + random.bytes(int(random.integers(1, 9))) + data[at + int(random.integers(9)) :]
            case 3:
                data = data[:at] + fragments[random.integers(len(fragments))] + data[at:]
            case 4 | 5:
                data = with_other_number(random, data)
            case 6:
                data = data[:first] + data[min(last, first + int(random.integers(1, 40))) :]
            case 7:
                data = data[:at] + data[first:last][:200] + data[at:]
            case 8 if random.random() < 0.3:
                data = data[:at]
    return data


def with_other_number(random: np.random.Generator, data: bytes) -> bytes:
    """Puts another number in the place of one that the pickle or the archive's headers hold."""
    marks = [(b"\x8a\x09", 2, 9), (b"PK\x03\x04", 4 + int(random.integers(24)), 4), (b"PK\x01\x02", 4, 4)]
    marks += [(b"PK\x01\x02", 20 + int(random.integers(24)), int(2 ** random.integers(3))), (b"PK\x05\x06", 8, 4)]
    marks += [(b"PK\x05\x06", 4 + int(random.integers(16)), 2), (b"X", 1, 4), (b"K", 1, 1), (b"h", 1, 1)]
    mark, skip, width = marks[random.integers(len(marks))]
    places = [at for at in range(len(data)) if data.startswith(mark, at)]
    if not places:
        return data
    at = places[random.integers(len(places))] + skip
    value = int(INTERESTING[random.integers(len(INTERESTING))] if random.random() < 0.6 else random.integers(50))
    return data[:at] + (value % 256**width).to_bytes(width, "little") + data[at + width :]


def make_case(folder: pathlib.Path, index: int) -> tuple[str, pathlib.Path]:
    """Writes case `index`; its kind says what has been damaged."""
    random = np.random.default_rng(index)
    fragments = hostile_fragments(str(folder / "canary"))
    path = folder / "case.pth"
    whole, old = checkpoint_pickle(), checkpoint_pickle(view=b"N")
    stored = {str(key): array for key, array in enumerate(STORAGES)}
    match index % 4:
        case 0:
            kind = "archive"
            path.write_bytes(mutated(random, (folder / f"whole{random.integers(2)}.pth").read_bytes(), fragments))
        case 1:
            kind = "pickle in an archive"
            order = "big" if random.random() < 0.1 else "little"
            archive(path, mutated(random, whole, fragments), STORAGES, order)
        case 2:
            kind = "legacy"
            legacy(path, old, stored)
            path.write_bytes(mutated(random, path.read_bytes(), fragments))
        case _:
            kind = "pickle in a legacy file"
            legacy(path, mutated(random, old, fragments), stored)
    return kind, path


def fault_in(checkpoint: Checkpoint, data: bytes, exact: dict[str, np.ndarray] | None) -> str:
    """What is wrong with what was read; empty where nothing is."""
    if exact is not None:
        found, expected = (
            [(name, array.dtype, array.shape, array.tobytes()) for name, array in tensors.items()]
            for tensors in (checkpoint.tensors, exact)
        )
        return "" if found == expected else "differs from the undamaged file"
    if sum(array.nbytes for array in checkpoint.tensors.values()) > 4 * len(data) + 2**26:
        return "too large"
    for name, array in checkpoint.tensors.items():
        if type(name) is not str or array.dtype not in DTYPES.values():
            return f"{name!r} is {array.dtype}"
        for element in array.reshape(-1)[:20]:
            if element.dtype != np.bool_ and element.tobytes() not in data and element.tobytes()[::-1] not in data:
                return f"{name!r} has bytes that are not in the file"
    return ""


def fault_beside_torch(checkpoint: Checkpoint, path: pathlib.Path) -> str:
    """How PyTorch's reading differs; `torch refuses` where it reads nothing."""
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        return f"torch refuses: {str(error).splitlines()[0][:60]}"
    prefix = ""
    for name in checkpoint.unwrapped:
        if name in ("module.", "_orig_mod."):
            prefix += name
        else:
            value = value[name]
    theirs = {name: one for name, one in value.items() if isinstance(one, torch.Tensor)}
    if [prefix + name for name in checkpoint.tensors] != list(theirs):
        return f"torch has other names: {list(theirs)}"
    for array, one in zip(checkpoint.tensors.values(), theirs.values(), strict=True):
        bare = one.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        ours = array.reshape(-1).view(np.uint8)
        if array.dtype == np.bool_:
            bare = bare != 0
        if (array.shape, array.dtype.name) != (tuple(one.shape), str(one.dtype)[6:]) or not np.array_equal(ours, bare):
            return (
                f"torch has {one.dtype} {tuple(one.shape)} {bare[:16]}, jaxseg {array.dtype} {array.shape} {ours[:16]}"
            )
    return ""


def run_cases(folder: pathlib.Path, first: int, count: int, beside_torch: bool) -> dict:
    """Reads cases first to first + count - 1 and reports what became of them."""
    archive(folder / "whole0.pth", checkpoint_pickle(), STORAGES)
    whole = read_pth(folder / "whole0.pth")
    assert len(whole.tensors) == 9
    write_pth(folder / "whole1.pth", whole.tensors)
    outcomes, faults, reasons = collections.Counter(), [], collections.Counter()
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in range(first, first + count):
        kind, path = make_case(folder, index)
        faulthandler.dump_traceback_later(10 * SECONDS_A_CASE, exit=True)
        start = time.perf_counter()
        try:
            checkpoint = read_pth(path)
        except PthError as error:
            checkpoint = None
            reasons[" ".join(str(error).removeprefix(str(path)).split()[:3])] += 1
        except BaseException as error:
            faults.append(f"case {index} ({kind}): {error!r}")
            continue
        slowest = max(slowest, time.perf_counter() - start)
        outcomes[f"{kind}: {'refused' if checkpoint is None else 'read'}"] += 1
        if checkpoint is not None:
            fault = fault_in(checkpoint, path.read_bytes(), whole.tensors if kind == "archive" else None)
            if not fault and beside_torch:
                fault = fault_beside_torch(checkpoint, path)
                if fault.startswith("torch refuses"):
                    reasons[fault] += 1
                    fault = ""
            if fault:
                faults.append(f"case {index} ({kind}): {fault}")
    faulthandler.cancel_dump_traceback_later()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"outcomes": outcomes, "faults": faults, "reasons": reasons, "slowest": slowest, "grown": grown // 1024}


def limit_memory() -> None:
    if sys.platform == "linux":
        used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEGABYTES * 2**20,) * 2)


def run_apart(folder: pathlib.Path, first: int, count: int, *more: str) -> dict:
    """`run_cases` in a process of its own."""
    paths = [str(pathlib.Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", __file__, str(folder), str(first), str(count), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"died on {folder / 'case.pth'}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def test_every_outcome_is_a_checkpoint_or_an_error(tmp_path, long):
    report = run_apart(tmp_path, 0, 40_000 if long else 1_600)
    print(json.dumps(report, indent=1))
    assert report["faults"] == []
    assert report["slowest"] < SECONDS_A_CASE
    assert not (tmp_path / "canary").exists()
    outcomes = report["outcomes"]
    for kind in ("archive", "pickle in an archive", "legacy", "pickle in a legacy file"):
        assert min(outcomes[f"{kind}: read"], outcomes[f"{kind}: refused"]) > 20, "the damage is too small or too great"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch, to compare with")
def test_what_is_read_is_what_pytorch_reads(tmp_path, long):
    report = run_apart(tmp_path, 100_000, 10_000 if long else 400, "torch")
    print(json.dumps(report, indent=1))
    assert report["faults"] == []


if __name__ == "__main__":
    beside = sys.argv[4:] == ["torch"]
    if not beside:  # importing PyTorch takes more
        limit_memory()
    print(json.dumps(run_cases(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), beside)))
