"""Where the tests find real sound and real weights, and the isolation every test gets."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

# Before torch is loaded, and for the kernels of notebooks too: threads that sleep while they wait, because a machine
# that runs tests is rarely idle, and a cache that is not the user's.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # files are run side by side: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which xdist ignores, and tests of interrupts send
_cache = tempfile.TemporaryDirectory(prefix="workbench-tests-")
os.environ["WORKBENCH_CACHE"] = _cache.name

SIBLING = Path(__file__).resolve().parents[2] / "shared"


def _root(variable: str, folder: str) -> Path:
    given = os.environ.get(variable)
    path = Path(given.split(os.pathsep)[0]) if given else SIBLING / folder
    if not path.is_dir():
        pytest.skip(f"needs real files: set {variable} (looked in {path})")
    return path


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """Root of the real audio (manifest.csv and one folder a part)."""
    return _root("WORKBENCH_DATA", "audio")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Root of the real pretrained weights."""
    return _root("WORKBENCH_WEIGHTS", "weights")


def pytest_collection_modifyitems(items):
    """The notebooks first, which take longest: files that run side by side then end together."""
    items.sort(key=lambda item: "notebooks" not in item.path.parts)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
