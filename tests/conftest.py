"""What the tests share: fake devices, the compile cache, the sample, real photographs where they are at hand."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxseg-test-compile-cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ["JAXSEG_CACHE"] = tempfile.mkdtemp(prefix="jaxseg-test-cache-")  # the user's stays as it is

import jax
import jax.monitoring
import pytest

from jaxseg.data.sample import write_sample
from jaxseg.run import RunFolder

jax.config.update("jax_numpy_rank_promotion", "raise")

atexit.register(shutil.rmtree, os.environ["JAXSEG_CACHE"], ignore_errors=True)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long forms of the fuzzing, kill and soak tests")
    parser.addoption("--renew-counts", action="store_true", help="write tests/recorded_counts.json anew")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """True where the long form of a test is asked for."""
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small embedded sample: 16 training and 6 validation images."""
    root = tmp_path_factory.mktemp("sample") / "coco"
    write_sample(root, train=16, val=6)
    return root


@pytest.fixture(scope="session")
def tiny(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run for all tests that only look at one; those that change it copy it first."""
    from trained import tiny_run

    return tiny_run(sample, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def coco_dev() -> Path:
    """250 real COCO photographs."""
    return at_hand("coco-dev")


@pytest.fixture(scope="session")
def facade() -> Path:
    """200 real street photographs, two of whose categories have one name, one of them with id 0."""
    return at_hand("facade")


def at_hand(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the real data {name}, which is not at ../shared/data")
    return path


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """Grows by one for each program that JAX compiles."""
    heard: list[str] = []

    def listen(event: str, *_: object, **__: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield heard
    jax.monitoring.unregister_event_duration_listener(listen)
