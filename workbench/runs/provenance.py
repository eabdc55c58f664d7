"""Where and with what a run was made: versions, git state, machine, memory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import traceback
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

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
_PAIRS = {
    "torchaudio": ("torch",),
    "transformers": ("torch", "safetensors", "tokenizers"),
    "numba": ("numpy", "llvmlite"),
    "librosa": ("numba", "numpy"),
    "umap": ("numba", "scikit-learn"),
    "sklearn": ("numpy", "scipy"),
    "scipy": ("numpy",),
    "pandas": ("numpy",),
    "matplotlib": ("numpy",),
    "soxr": ("numpy",),
}
"""What a package must fit, by the name it is imported by."""
_EXTRAS = {"opensmile": "egemaps", "speechbrain": "speechbrain", "ai_edge_litert": "lyra"}
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "umap": "umap-learn", "yaml": "PyYAML", "ai_edge_litert": "ai-edge-litert"}


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that shape results; None for one that is not installed.

    A bare checkout, not installed, has the version "unknown".
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown" if package == "audio-workbench" else None
    return found


def loading_problem(error: BaseException | None) -> str | None:
    """One line about a package that does not load, with the cure; None when the error is something else.

    Recognised are a module that is missing, and any error that the top level of another package's module raised while
    it was imported, in the error itself or in one that led to it.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        package = _not_loading(error)
        if package is not None:
            return _cure(package, error)
        error = error.__cause__ or error.__context__
    return None


def last_loading_problem() -> str | None:
    """:func:`loading_problem` of the error that a notebook's kernel showed last."""
    return loading_problem(getattr(sys, "last_value", None))


def _not_loading(error: BaseException) -> str | None:
    """The package of ours (as it is imported) whose import raised an error."""
    if isinstance(error, ModuleNotFoundError) and error.name and _is_ours(error.name.partition(".")[0]):
        return error.name.partition(".")[0]
    importing = [
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    # what the package itself or a notebook's cell did after its imports is no matter of loading
    if not importing or importing[-1] in ("workbench", "__main__"):
        return None
    return next((name for name in reversed(importing) if _is_ours(name)), None)


def _is_ours(package: str) -> bool:
    """Whether this project asks for a package."""
    try:
        wanted = metadata.requires("audio-workbench") or _PACKAGES
    except metadata.PackageNotFoundError:
        wanted = _PACKAGES
    names = {re.split(r"[^\w.-]", one)[0].lower() for one in wanted}
    return package in _PAIRS or package in _EXTRAS or _DISTRIBUTIONS.get(package, package).lower() in names


def _cure(package: str, error: BaseException) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason if len(reason) <= 200 else reason[:197] + "..."
    name = _DISTRIBUTIONS.get(package, package)
    beside = [name, *_PAIRS.get(package, ())]
    beside += [one for one in ("torch", "numpy") if one not in beside and re.search(rf"\b{one}\b", reason.lower())]
    here = ", ".join(f"{one} {_version(one)}" for one in beside)
    if package in _EXTRAS:
        cure = f'pip install "audio-workbench[{_EXTRAS[package]}]"'
    else:
        cure = "pip install -c constraints.txt -e . (in the project's folder: a set that fits together)"
    return f"{name} cannot be loaded ({reason}). Installed: {here}. The cure: {cure}"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not at all"


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
        one = psutil.Process(process["pid"])
        # another process may have the number by now; clocks that are set may move a start by seconds
        return one.status() == psutil.STATUS_ZOMBIE or abs(one.create_time() - process["began"]) > 60
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
