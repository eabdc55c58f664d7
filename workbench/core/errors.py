"""The errors of the package, whose messages name the argument or file, its value and what was expected."""

from __future__ import annotations

import copyreg


class WorkbenchError(Exception):
    """Base class of every error that the package raises on purpose."""

    def __reduce__(self):
        """Pickle by text and attributes, so that an error passes between processes unchanged."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__


class ParameterError(WorkbenchError, ValueError):
    """An argument has a wrong type or value.

    Parameters
    ----------
    name : str
        Name of the argument, as the caller spells it.
    value : object
        The value that was passed.
    expected : str
        End of the sentence "name=value must be ...".
    """

    def __init__(self, name: str, value: object, expected: str):
        super().__init__(f"{name}={_shown(value)} must be {expected}")


def _shown(value: object) -> str:
    """Return the repr of a value as one line, without its middle if it is long."""
    try:
        text = " ".join(repr(value).split()) if "\n" in repr(value) else repr(value)
    except Exception:  # numbers with thousands of digits, and objects whose repr fails
        return f"<{type(value).__name__}>"
    return text if len(text) <= 400 else f"{text[:250]} ... {text[-100:]}"


class AudioError(WorkbenchError):
    """A sound cannot be read or is not usable; the message begins with the file or clip."""

    def __init__(self, source: object, reason: str):
        # file names may be other than UTF-8, but printed text must not
        super().__init__(f"{source}: {reason}".encode("utf-8", "backslashreplace").decode())
        self.source, self.reason = source, reason


class DatasetError(WorkbenchError):
    """A manifest, table or split is wrong, or data are missing."""


class WeightsError(WorkbenchError):
    """Model weights are missing, damaged, or do not fit the model."""


class StoreError(WorkbenchError):
    """The embedding store cannot be read or written."""


class RunError(WorkbenchError):
    """A notebook run failed, or its parameters are wrong."""


class ClusterError(WorkbenchError):
    """A scheduler or its workers cannot be reached or cannot be used."""


class DependencyError(WorkbenchError, ImportError):
    """A library is not installed or cannot be loaded; the message names it, its version and what to do."""
