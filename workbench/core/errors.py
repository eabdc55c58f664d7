"""The errors of the package: one family, each message names the argument or file, its value and what was expected."""

from __future__ import annotations

import copyreg


class WorkbenchError(Exception):
    """Root of every error that the package raises on purpose."""

    def __reduce__(self):
        """By text and attributes: an error passes from one process to another as it is."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__


class ParameterError(WorkbenchError, ValueError):
    """An argument has a value that cannot work.

    Parameters
    ----------
    name : str
        The argument as the caller spelled it.
    value : object
        What was passed.
    expected : str
        Completes the sentence "name=value must be ...".
    """

    def __init__(self, name: str, value: object, expected: str):
        super().__init__(f"{name}={_shown(value)} must be {expected}")


def _shown(value: object) -> str:
    """A value as one line, its middle left out where that is long."""
    try:
        text = " ".join(repr(value).split()) if "\n" in repr(value) else repr(value)
    except Exception:  # of numbers with thousands of digits, of things whose repr fails
        return f"<{type(value).__name__}>"
    return text if len(text) <= 400 else f"{text[:250]} ... {text[-100:]}"


class AudioError(WorkbenchError):
    """A sound cannot be read or is not usable; the message begins with the file or clip."""

    def __init__(self, source: object, reason: str):
        # names of files need not be UTF-8, and what is printed must
        super().__init__(f"{source}: {reason}".encode("utf-8", "backslashreplace").decode())
        self.source, self.reason = source, reason


class DatasetError(WorkbenchError):
    """A manifest, table or split is wrong, or the data are not there."""


class WeightsError(WorkbenchError):
    """Model weights are missing, damaged, or do not fit the model."""


class StoreError(WorkbenchError):
    """The embedding store cannot be read or written."""


class RunError(WorkbenchError):
    """A notebook run failed or was asked for with wrong parameters."""


class ClusterError(WorkbenchError):
    """A scheduler or its workers cannot be reached or cannot be used."""


class DependencyError(WorkbenchError, ImportError):
    """A library is not installed or does not load; the message names it, its version and the cure."""
