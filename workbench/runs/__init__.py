"""Execute notebooks, sweep parameters, collect results, write the report.

In a notebook: :func:`record`. Around notebooks: :func:`run`, :func:`sweep`, :func:`compare`.
"""

from __future__ import annotations

from .notebooks import Notebook, find_notebooks, read_notebook
from .recording import read_results, record
from .running import RunResult, run
from .sweeps import compare, sweep, sweep_table, text_table

__all__ = [
    "Notebook",
    "RunResult",
    "compare",
    "find_notebooks",
    "read_notebook",
    "read_results",
    "record",
    "run",
    "sweep",
    "sweep_table",
    "text_table",
]
