"""Where and with what a run was made: versions, git state, machine, memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from ..core.dependencies import explain

_PACKAGES = (
    "audio-workbench",
    "torch",
    "torchaudio",
    "transformers",
    "numpy",
    "scikit-learn",
    "pandas",
    "librosa",
    "umap-learn",
    "soundfile",
    "papermill",
)


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that shape results; None for one that is not installed.

    A bare checkout, not installed, has the version "unknown".
    """
    installed: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = "unknown" if package == "audio-workbench" else None
    return installed


def last_loading_problem() -> str | None:
    """:func:`workbench.core.dependencies.explain` of the error that a notebook's kernel showed last."""
    return explain(getattr(sys, "last_value", None))


def this_process() -> dict[str, object]:
    """Who runs: machine, process and its start, so that a later reader can tell whether it is still there."""
    import psutil

    return {"host": platform.node(), "pid": os.getpid(), "began": psutil.Process().create_time()}


def has_ended(process: Mapping[str, object]) -> bool:
    """Whether a process that :func:`this_process` described is gone; one of another machine counts as running."""
    import psutil

    if process.get("host") != platform.node():
        return False
    try:
        current = psutil.Process(process["pid"])
        # another process may have the number by now; clocks that are set may move a start by seconds
        return current.status() == psutil.STATUS_ZOMBIE or abs(current.create_time() - process["began"]) > 60
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
        return False


def git_state(folder: str | os.PathLike) -> dict[str, object] | None:
    """Commit and cleanliness of the git checkout around a folder; None where there is none (or no git)."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", os.fspath(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("rev-parse", "--is-inside-work-tree") != "true":
        return None
    return {"commit": git("rev-parse", "--verify", "--quiet", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


def machine() -> dict[str, object]:
    """Operating system, processor type, and the number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": f"{platform.system()} {platform.release()}", "machine": platform.machine(), "cpus": cores}


def kernel_report() -> dict[str, object]:
    """What only the notebook's own process knows, asked of it after its last cell.

    Returns
    -------
    dict
        ``device`` ("cpu", or the name of the GPU that torch used), ``peak_memory_bytes``,
        ``peak_gpu_memory_bytes`` (None without a GPU), ``versions``.
    """
    device, gpu_bytes = "cpu", None
    torch = sys.modules.get("torch")  # a notebook that never imported torch used no GPU
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        device, gpu_bytes = f"cuda ({torch.cuda.get_device_name()})", int(torch.cuda.max_memory_allocated())
    elif torch is not None and torch.backends.mps.is_available() and torch.mps.current_allocated_memory():
        device, gpu_bytes = "mps", int(torch.mps.driver_allocated_memory())
    return {
        "device": device,
        "peak_memory_bytes": _peak_memory(),
        "peak_gpu_memory_bytes": gpu_bytes,
        "versions": versions(),
    }


def _peak_memory() -> int | None:
    """Largest resident size of this process in bytes."""
    try:
        # ru_maxrss survives exec on Linux: a small kernel started by a large process would report the large one's peak.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
