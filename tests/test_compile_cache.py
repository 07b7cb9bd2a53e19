"""What was compiled is kept and found again, changes no number, and whatever happens to it breaks no run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxseg.compile_cache import LOOKED, keep_compiled, look_through, machine

SMALL = """
from jaxseg.compile_cache import keep_compiled
keep_compiled()
import jax, jax.monitoring, json
heard = []
jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
value = [float(jax.jit(lambda x, n=n: x * n + 1)(2.0)) for n in range(4)]
hits = heard.count("/jax/compilation_cache/cache_hits")
print(json.dumps([value, hits, jax.config.values["jax_compilation_cache_dir"]]))
"""
A_FILE = """
import pathlib
folder = pathlib.Path(jax.config.values["jax_compilation_cache_dir"])
[path.unlink() for path in folder.iterdir()]
folder.rmdir()
folder.write_text("")
"""
ROT = """
import pathlib
[path.write_bytes(b"x") for path in pathlib.Path(jax.config.values["jax_compilation_cache_dir"]).glob("*-cache")]
"""
TRAIN = """
import sys
import jax, jax.monitoring
heard = []
jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
from jaxseg.train import main
main(sys.argv[1:])
print(heard.count("/jax/compilation_cache/cache_hits"), heard.count("/jax/compilation_cache/cache_misses"))
"""
VALUES = [1.0, 3.0, 5.0, 7.0]
CONFIG = """
import jaxseg
data = jaxseg.Data(classes=("laptop", "tv", "cell phone"), height=32, width=48)
model = jaxseg.UNet(widths=(4, 8), norm="batch")
config = jaxseg.Config(data, model, epochs=1, batch_size=4, logs=jaxseg.Logs(every=1, tensorboard=False))
"""


def in_new_process(code: str, cache: Path, *words: str, **environment: str) -> str:
    """What the code prints in a process that has only this cache; warnings are errors there."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", "JAXSEG_"))}
    given = {"JAXSEG_CACHE": str(cache), "JAX_PLATFORMS": "cpu", **environment}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *words]
    done = subprocess.run(command, env=ours | given, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def small(cache: Path, **environment: str) -> tuple[list[float], int, str | None]:
    value, hits, folder = json.loads(in_new_process(SMALL, cache, **environment))
    return value, hits, folder


def programs(cache: Path) -> list[Path]:
    return sorted((cache / "compiled" / machine()).glob("*-cache"))


def test_a_run_from_kept_programs_is_bit_for_bit_the_run_that_compiled_them(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(CONFIG)
    words = ["--config", str(tmp_path / "tiny.py"), "--data.root", str(sample), "--workdir"]
    cold, warm = (
        list(map(int, in_new_process(TRAIN, tmp_path / "cache", *words, str(tmp_path / name)).split()))
        for name in ("cold", "warm")
    )
    assert cold[1] > 3
    assert warm == [cold[0] + cold[1], 0], "all that was compiled is found, and nothing is compiled"
    for name in ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth"):
        assert (tmp_path / "cold" / name).read_bytes() == (tmp_path / "warm" / name).read_bytes(), name


def test_damaged_programs_are_compiled_anew_and_replaced(tmp_path: Path) -> None:
    assert small(tmp_path)[:2] == (VALUES, 0)
    kept = programs(tmp_path)
    assert len(kept) >= len(DAMAGES)
    for place, path in enumerate(kept):
        path.write_bytes(DAMAGES[place % len(DAMAGES)](path.read_bytes()))
    assert small(tmp_path)[:2] == (VALUES, 0)
    assert small(tmp_path)[:2] == (VALUES, len(kept))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda content: content[: len(content) // 2],
    lambda content: b"",
    lambda content: flipped(content, 0),
    lambda content: flipped(content, len(content) // 2),
)


def test_what_breaks_while_it_runs_breaks_nothing(tmp_path: Path) -> None:
    """The folder becomes a file, as good as read-only to root, after it was set; and programs rot after the look."""
    code = SMALL.replace("heard = []", A_FILE + "heard = []")
    assert json.loads(in_new_process(code, tmp_path / "file"))[0] == VALUES
    small(tmp_path / "rot")
    code = SMALL.replace("heard = []", ROT + "heard = []")
    assert json.loads(in_new_process(code, tmp_path / "rot"))[:2] == [VALUES, 0]


def test_no_place_for_the_folder_means_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert small(tmp_path / "file") == (VALUES, 0, None)


def test_the_users_own_cache_stays_and_can_be_switched_off(tmp_path: Path) -> None:
    own = str(tmp_path / "own")
    timed = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    assert small(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=own, **timed)[2] == own
    assert list(Path(own).glob("*-cache"))
    assert not (tmp_path / "ours").exists()
    assert small(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR="")[1:] == (0, "")
    small(tmp_path / "ours", JAX_ENABLE_COMPILATION_CACHE="false")
    assert not programs(tmp_path / "ours")


def test_another_users_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setenv("JAXSEG_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    before = jax.config.values["jax_compilation_cache_dir"]
    folder = tmp_path / "compiled" / machine()
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: folder.parents[1].stat().st_uid + 1)
            keep_compiled()
            assert jax.config.values["jax_compilation_cache_dir"] is None
        folder.rmdir()
        keep_compiled()
        assert jax.config.values["jax_compilation_cache_dir"] == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    now = time.time()
    for age in range(6):
        (tmp_path / f"{age}-cache").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(96))
        os.utime(tmp_path / f"{age}-cache", (now - 1000 * age, now - 10_000))
    look_through(tmp_path, 350)
    assert {path.name for path in tmp_path.iterdir()} == {"0-cache", "1-cache", "2-cache", LOOKED}


def test_each_program_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "a-cache").write_bytes(b"x")
    look_through(tmp_path, 10**9)
    assert not (tmp_path / "a-cache").exists()
    (tmp_path / "b-cache").write_bytes(b"x")
    os.utime(tmp_path / "b-cache", (1, 1))
    look_through(tmp_path, 10**9)
    assert (tmp_path / "b-cache").exists(), "it is older than the last look"


def test_two_processes_share_it(tmp_path: Path) -> None:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    env = ours | {"JAXSEG_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    both = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", SMALL], env=env, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [json.loads(process.communicate(timeout=120)[0])[0] for process in both] == [VALUES, VALUES]
    assert small(tmp_path)[1] == len(programs(tmp_path))
