"""Libraries that are not there or do not load: one line that says which, beside what, and what cures it.

A library with a compiled part is built for certain versions of others (torchaudio for torch, numba for numpy). Where an
installation has mixed such a pair, its import ends in a traceback from deep inside; here it ends in one sentence.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from importlib import metadata

from ..errors import DependencyError

#: What a library's compiled part is built for.
BUILT_FOR = {
    "torchaudio": ("torch",),
    "transformers": ("torch", "numpy"),
    "numba": ("numpy",),
    "librosa": ("numba", "numpy"),
    "umap": ("numba", "numpy"),
    "sklearn": ("numpy", "scipy"),
    "pandas": ("numpy",),
    "scipy": ("numpy",),
    "speechbrain": ("torch", "torchaudio"),
}
#: Libraries whose distribution has another name, or that come with an extra of this package.
DISTRIBUTIONS = {"umap": "umap-learn", "sklearn": "scikit-learn", "ai_edge_litert": "ai-edge-litert", "yaml": "PyYAML"}
EXTRAS = {"ai_edge_litert": "lyra", "speechbrain": "speechbrain", "opensmile": "egemaps"}
CURE = "a set that fits together: pip install -c constraints.txt -e . in a checkout of this project"


def load(module: str) -> types.ModuleType:
    """Import a library, or a module of it, at its first use.

    torchaudio is taken without its compiled part where that does not load (a build for another torch, or for CUDA
    beside a torch without); filter banks, Griffin-Lim and Kaldi features are plain tensor code and need none of it.

    Parameters
    ----------
    module : str
        "torchaudio.functional", for example.

    Raises
    ------
    DependencyError
        Not installed, or it does not load; one line with the versions concerned and the cure.

    Warns
    -----
    UserWarning
        Once, where torchaudio works without its compiled part.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a library may raise anything while it loads
        found = _without_compiled_part(module, error) if module.startswith("torchaudio") else None
        if found is not None:
            return found
        line = explain(error)
        if line is None:
            raise
        raise DependencyError(line) from error


def explain(error: BaseException) -> str | None:
    """One line on an error that came up while a library was imported; None for any other error.

    Returns
    -------
    str or None
        Names the library, the versions that do not go together, the reason and the cure.
    """
    if isinstance(error, DependencyError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        library = error.name.partition(".")[0]
        if library == __package__.partition(".")[0] or library in sys.stdlib_module_names:
            return None
        return f"{_distribution(library)} is not installed: {_cure(library)}"
    library = _importing(error)
    if library is None:
        return None
    beside = [_with_version(name) for name in BUILT_FOR.get(library, ())]
    reason = " ".join(str(error).split())
    return (
        f"{_with_version(library)} does not load{' beside ' if beside else ''}{' and '.join(beside)} "
        f"({type(error).__name__}: {reason[:200]}); {_cure(library)}"
    )


def _importing(error: BaseException) -> str | None:
    """The library whose module body was being run when the error came up."""
    own, trace, found = __package__.partition(".")[0], error.__traceback__, None
    while trace is not None:
        frame = trace.tb_frame
        library = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and library not in (own, "__main__", *sys.stdlib_module_names):
            # numba's word on numpy comes up while umap is imported: the one that complains is the one to name
            found = library if found is None or library in BUILT_FOR else found
        trace = trace.tb_next
    return found


def _distribution(library: str) -> str:
    return DISTRIBUTIONS.get(library, library)


def _with_version(library: str) -> str:
    try:
        return f"{_distribution(library)} {metadata.version(_distribution(library))}"
    except metadata.PackageNotFoundError:
        return f"{_distribution(library)} (not installed)"


def _cure(library: str) -> str:
    extra = EXTRAS.get(library)
    return f'pip install "audio-workbench[{extra}]"' if extra else CURE


def _without_compiled_part(module: str, error: Exception) -> types.ModuleType | None:
    if isinstance(error, ModuleNotFoundError):
        return None
    name = "torchaudio._extension"
    stand_in = types.ModuleType(name)
    stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False
    stand_in.fail_if_no_align = lambda function: function
    sys.modules[name] = stand_in
    try:
        found = importlib.import_module(module)
    except Exception:  # another reason than the compiled part: the first error is the one to tell
        sys.modules.pop(name, None)
        return None
    reason = " ".join(str(error).split())[:120]
    warnings.warn(
        f"{_with_version('torchaudio')} was built for another torch than {_with_version('torch')} ({reason}): it is "
        "used without its compiled part, which gives the same numbers; only loudness by torchaudio is slower",
        UserWarning,
        stacklevel=3,
    )
    return found
