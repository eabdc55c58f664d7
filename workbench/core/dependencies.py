"""Import libraries at their first use, and explain in one line why one is missing or cannot be loaded.

A library with a compiled part is built for certain versions of others (torchaudio for torch, numba for numpy). If an
installation mixes versions that do not fit, the import fails with a long traceback; here the error is one sentence that
names the versions and what to do.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
import types
from importlib import metadata

from .errors import DependencyError
from .warn import warn

#: Name by which a library is imported -> libraries whose versions it must fit.
PAIRS = {
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
    "speechbrain": ("torch", "torchaudio"),
}
EXTRAS = {
    "distributed": "cluster",
    "opensmile": "egemaps",
    "speechbrain": "speechbrain",
    "ai_edge_litert": "lyra",
    "parselmouth": "praat",
    "torchcrepe": "crepe",
    "h5py": "keras",
    "datasets": "datasets",
    "pdoc": "gallery",
}
#: Name by which a library is imported -> name of its distribution, where they differ.
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "yaml": "PyYAML",
    "ai_edge_litert": "ai-edge-litert",
    "parselmouth": "praat-parselmouth",
}


def release() -> str:
    """Return the version of this package; "" if it is used from its folder without being installed."""
    try:
        return metadata.version("audio-workbench")
    except metadata.PackageNotFoundError:
        return ""


def load(module: str) -> types.ModuleType:
    """Import a library, or a module of it, at its first use.

    torchaudio (2.9 or later) is used without its compiled part if that cannot be loaded (because it was built for
    another torch, or for CUDA while torch was not); filter banks, Griffin-Lim and Kaldi features are plain tensor code
    and do not need it.

    Parameters
    ----------
    module : str
        Name of the module, such as "torchaudio.functional".

    Raises
    ------
    DependencyError
        The library is not installed or cannot be loaded; one line names the versions and says what to do.

    Warns
    -----
    UserWarning
        torchaudio is used without its compiled part.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a library may raise anything while it loads
        loaded = _without_compiled_part(module, error) if module.startswith("torchaudio") else None
        if loaded is not None:
            return loaded
        line = explain(error)
        if line is None:
            raise
        raise DependencyError(line) from error


def explain(error: BaseException | None) -> str | None:
    """Return one line about a library that cannot be loaded and what to do; None if the error has another cause.

    Recognised are a missing module, and any error that was raised at the top level of a module of another library while
    it was imported; the error itself and those that led to it are examined.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DependencyError):
            return str(error)
        library = _not_loading(error)
        if library is not None:
            return _line(library, error)
        error = error.__cause__ or error.__context__
    return None


def _not_loading(error: BaseException) -> str | None:
    """Return the library among our dependencies whose import raised an error, or None."""
    if isinstance(error, ModuleNotFoundError) and error.name and _is_ours(error.name.partition(".")[0]):
        return error.name.partition(".")[0]
    importing = [
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    # errors in this package or in a notebook's cell, after its imports, are no import errors
    if not importing or importing[-1] in ("workbench", "__main__"):
        return None
    return next((name for name in reversed(importing) if _is_ours(name)), None)


def _is_ours(library: str) -> bool:
    """Whether a library is a dependency of this project."""
    try:
        wanted = metadata.requires("audio-workbench") or []
    except metadata.PackageNotFoundError:  # a bare checkout
        wanted = []
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in wanted}
    return library in PAIRS or library in EXTRAS or DISTRIBUTIONS.get(library, library).lower() in names


def _line(library: str, error: BaseException) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = reason if len(reason) <= 200 else reason[:197] + "..."
    name = DISTRIBUTIONS.get(library, library)
    beside = [name, *PAIRS.get(library, ())]
    beside += [peer for peer in ("torch", "numpy") if peer not in beside and re.search(rf"\b{peer}\b", reason.lower())]
    here = ", ".join(f"{package} {_version(package)}" for package in beside)
    if library in EXTRAS:
        cure = f'pip install "audio-workbench[{EXTRAS[library]}]"'
    else:
        cure = "pip install -c constraints.txt -e . (in the project's folder: a set that fits together)"
    return f"{name} cannot be loaded ({reason}). Installed: {here}. The cure: {cure}"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not at all"


def _without_compiled_part(module: str, error: Exception) -> types.ModuleType | None:
    if isinstance(error, ModuleNotFoundError):
        return None
    name = "torchaudio._extension"
    stand_in = types.ModuleType(name)
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stand_in.fail_if_no_align = lambda function: function
    sys.modules[name] = stand_in
    try:
        loaded = importlib.import_module(module)
    except Exception:  # the compiled part is not the reason: the first error is reported
        sys.modules.pop(name, None)
        return None
    reason = " ".join(str(error).split())[:120]
    warn(
        f"torchaudio {_version('torchaudio')} was built for another torch than torch {_version('torch')} ({reason}): "
        "it is used without its compiled part, which gives the same numbers; only loudness by torchaudio is slower",
    )
    return loaded
