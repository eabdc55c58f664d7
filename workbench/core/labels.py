"""Check labels and groups given as arrays, and decide whether a column names classes or groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

#: Words in the name of a column for what several clips share, and what a model may learn instead of the label.
GROUPS = """actor album artist author bird caller child composer couple device dialogue dialog donor ensemble
    episode film house individual interview machine mic microphone movie participant patient performance
    performer person piece player recording recordist reader room session show singer site song source speaker station
    subject take talker track user utterance video""".split()
#: Largest number of different whole numbers that count as classes; numbers from 0 or 1 on without a gap always do.
MANY = 20


def labels(name: str, values: ArrayLike) -> np.ndarray:
    """Return labels or groups as an array (N,) of one type, text or numbers.

    Raises
    ------
    ParameterError
        The values are not one-dimensional or are empty, some are missing (None or NaN; the error names the first), or
        text and numbers are mixed.
    """
    try:
        array = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
        if array.dtype.kind in "US" and isinstance(values, (list, tuple)):
            array = np.asarray(values, dtype=object)  # so that the NaN in [nan, "a"] does not become text
    except (ValueError, TypeError, RuntimeError):
        raise ParameterError(name, type(values).__name__, "labels (N,), one a clip") from None
    if array.ndim != 1 or not len(array):
        raise ParameterError(f"{name}.shape", array.shape, "(N,) with at least one clip")
    if array.dtype.kind in "Of":
        gone = [i for i, value in enumerate(array.tolist()) if missing(value)]
        if gone:
            shown = array.tolist()[gone[0]]
            raise ParameterError(f"{name}[{gone[0]}]", shown, f"a label; {len(gone)} of {len(array)} are missing")
    if array.dtype == object:
        if len({isinstance(value, str) for value in array}) > 1:
            raise ParameterError(name, "text and numbers", "labels of one kind")
        try:
            array = np.asarray(array.tolist())
        except ValueError:
            raise ParameterError(name, "lists", "labels, text or numbers") from None
    if array.ndim != 1 or array.dtype.kind not in "biufUSTMm":
        raise ParameterError(name, f"array of {array.dtype}", "labels, text or numbers")
    return array


def missing(label: object) -> bool:
    """Whether a label is None, NaN or pandas' NA."""
    try:
        return label is None or bool(label != label)
    except TypeError:  # NA is neither equal to itself nor not
        return True
    except ValueError:  # an array is not a label, but it is not missing either
        return False


def words_of(name: object) -> list[str]:
    """Return the words in the name of a column, in lower case: speaker and id for "speakerID" and "Speaker id"."""
    return re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name)).lower())


def names_a_group(words: Sequence[str]) -> bool:
    """Whether a column whose name has these words identifies speakers, sources or other groups."""
    return any(word in GROUPS or word.removesuffix("s") in GROUPS for word in words)


def are_classes(values: pd.Series) -> bool:
    """Whether the values of a column can be used as classes.

    Text and booleans can. Numbers that are not all whole can if there are exactly two different ones. Whole numbers can
    if there are at most 20 different ones, if they run from 0 or 1 without a gap, or if the column's name says that
    they are names: an id, a code, a class, a speaker, a source and so on.

    Parameters
    ----------
    values : Series
        Values of the column, none of them missing.
    """
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return True
    kinds = np.unique(values.to_numpy(np.float64))
    if not (kinds == np.round(kinds)).all():
        return len(kinds) == 2
    words = words_of(values.name)
    named = names_a_group(words) or bool({"id", "code", "class", "category"} & set(words))
    return named or len(kinds) <= MANY or bool(kinds[0] in (0, 1) and len(kinds) == kinds[-1] - kinds[0] + 1)


def check_kinds(name: str, array: np.ndarray, other: str, like: np.ndarray) -> None:
    """Refuse labels whose type (text, numbers or times) differs from the others', as they would never be equal."""
    families = dict.fromkeys("UST", "text") | dict.fromkeys("Mm", "time")
    if families.get(array.dtype.kind, "number") != families.get(like.dtype.kind, "number"):
        raise ParameterError(f"{name}.dtype", str(array.dtype), f"like {other}'s, {like.dtype}")


def known(y: ArrayLike, n: int | None = None, name: str = "y", *, rows: np.ndarray | None = None) -> np.ndarray:
    """Return labels (n,), one for each segment, after checking that none is missing and that they can be sorted.

    Parameters
    ----------
    y : array_like (n,)
    n : int, optional
        Number of labels that is required.
    name : str
        Name of the argument, for errors.
    rows : np.ndarray of int, optional
        Rows to check; by default all.

    Raises
    ------
    ParameterError
        The labels have another shape, text and numbers are mixed, or labels are missing (None, NaN, empty or blank; the
        error counts them). The text "nan" counts as missing, because numpy makes it of a NaN in a list of texts.
    """
    try:
        y = y.detach().cpu().numpy() if hasattr(y, "detach") else np.asarray(y)
    except (ValueError, TypeError):
        raise ParameterError(name, type(y).__name__, "one label a segment") from None
    if y.ndim != 1 or (n is not None and len(y) != n):
        raise ParameterError(f"{name}.shape", y.shape, f"({'N' if n is None else n},), one a segment")
    if y.dtype.kind in "mMcV":
        raise ParameterError(name, f"array of {y.dtype}", "text or numbers")
    looked = np.arange(len(y)) if rows is None else rows
    if y.dtype.kind in "OUSf":
        gaps = [int(row) for row, value in zip(looked, y[looked].tolist(), strict=True) if _blank(value)]
        if gaps:
            where = f"rows {gaps[:5]}{' ...' if len(gaps) > 5 else ''}"
            expected = f"a label for each: {len(gaps)} of {len(looked)} are missing, {where}; leave them out"
            raise ParameterError(name, y[gaps[0]], expected)
    if y.dtype.kind == "O":
        try:
            np.unique(y[looked])
        except TypeError:
            kinds = sorted({type(value).__name__ for value in y[looked].tolist()})
            raise ParameterError(name, " and ".join(kinds), "labels of one kind, which can be sorted") from None
    return y


def _blank(value: object) -> bool:
    if isinstance(value, (str, bytes)):
        return value.strip().lower() in ("", "nan", "<na>", b"", b"nan")
    return missing(value)
