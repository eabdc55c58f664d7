"""A bench for hearing and seeing what audio models know.

>>> import workbench as wb
>>> clips = wb.load_dataset("voices", size=200)
>>> encoder = wb.load_encoder("mini")
>>> layers = wb.embed(clips, encoder)

Every name below is imported at its first use, so that ``import workbench`` itself costs next to nothing. Public is what
the ``__init__.pyi`` of a room lists (``workbench.sae``, ``workbench.interpreters`` ...), ``workbench.audio`` and the
modules of ``workbench.metrics``; all else may change from one release to the next.
"""

from __future__ import annotations

import importlib

_EXPORTS = {
    "datasets": ("Clips", "list_datasets", "load_dataset"),
    "encoders": ("Encoder", "encoder_from", "list_encoders", "load_encoder"),
    "embeddings": ("embed",),
    "attributes": ("measure",),
    "probes": ("fit_probes", "fit_regression"),
    "sae": ("fit_saes",),
    "views": (
        "explore",
        "layer_curve",
        "layer_heatmap",
        "players",
        "sound_map",
    ),
    "runs": ("compare", "record", "run", "sweep"),
    "core.errors": ("ParameterError", "WorkbenchError"),
    "core.splits": ("Split",),
    "core.study": ("study",),
}
_ROOMS = (
    "attributes", "audio", "cli", "codecs", "datasets", "embeddings", "encoders", "interpreters", "lessons",
    "metrics", "nmf", "probes", "prototypes", "runs", "sae", "sonify", "views",
)  # fmt: skip
_HOME = {name: room for room, names in _EXPORTS.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        value = _imported(_HOME[name], name)
    elif name in _ROOMS:
        value = _imported(name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("audio-workbench")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _imported(room: str, name: str | None = None):
    try:
        module = importlib.import_module(f".{room}", __name__)
        return module if name is None else getattr(module, name)
    except Exception as error:  # a library that is missing, or that does not fit the others, raises anything
        from .core.dependencies import explain
        from .core.errors import DependencyError

        line = explain(error)
        if line is None:
            raise
        raise DependencyError(line) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS, "__version__"})
