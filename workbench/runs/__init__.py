"""Execute notebooks, sweep parameters, collect results, write the report.

In a notebook: :func:`settings` and :func:`record`. Around notebooks: :func:`run`, :func:`sweep`, :func:`compare`.
"""

from __future__ import annotations

import importlib

_HOME = {
    "Notebook": "notebooks",
    "RunResult": "running",
    "compare": "sweeps",
    "find_notebooks": "notebooks",
    "read_notebook": "notebooks",
    "read_results": "recording",
    "record": "recording",
    "settings": "scales",
    "run": "running",
    "sweep": "sweeps",
    "sweep_table": "sweeps",
    "text_table": "sweeps",
}

__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
