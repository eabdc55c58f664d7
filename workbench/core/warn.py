"""Give warnings that name the user's line of code, however deep inside the package they arise."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_THREADS = ("threading.py", os.path.join("concurrent", "futures", "thread.py"))


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of code that called this package; in a thread that the package started, without a line."""
    frame, caller = sys._getframe(), None
    while frame is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            caller = frame.f_back
        frame = frame.f_back
    if caller is None or caller.f_code.co_filename.endswith(_THREADS):
        warnings.warn_explicit(text, category, "workbench", 1)
        return
    warnings.warn_explicit(
        text,
        category,
        caller.f_code.co_filename,
        caller.f_lineno,
        module=caller.f_globals.get("__name__"),
        registry=caller.f_globals.setdefault("__warningregistry__", {}),
    )
