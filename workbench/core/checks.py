"""Checks of arguments: whole numbers, seeds, paths, choices and arrays of numbers.

:func:`checked` reads the annotations of a function and refuses arguments that they do not allow, so that a wrong
argument raises a :class:`~workbench.core.errors.ParameterError` that names it, before anything is computed. What
annotations cannot express (ranges, shapes, choices known at run time) is checked by :func:`whole`, :func:`number`,
:func:`choice` and :func:`numbers`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import numbers as kinds
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from .errors import ParameterError

#: Largest seed that numpy, scikit-learn and torch all accept.
MOST_SEED = 2**32 - 1

F = TypeVar("F", bound=Callable)


def whole(name: str, value: object, *, least: int | None = None, most: int | None = None) -> int:
    """Return ``value`` as int.

    Raises
    ------
    ParameterError
        The value is not a whole number (True, 1.5, "3" and NaN are not), or is out of range.
    """
    right = not isinstance(value, (bool, np.bool_)) and isinstance(value, kinds.Integral)
    if not right or (least is not None and value < least) or (most is not None and value > most):
        raise ParameterError(name, value, "a whole number" + _range(least, most))
    return int(value)


def number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """Return ``value`` as float; it may equal ``least`` or ``most``, but not ``above`` or ``below``.

    Raises
    ------
    ParameterError
        The value is not a number (True, "3" and NaN are not), infinite although that is not allowed, or out of range.
    """
    right = (
        isinstance(value, kinds.Real)
        and not isinstance(value, (bool, np.bool_))
        and _countable(value, infinite)
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not right:
        expected = ("a number" if infinite else "a finite number") + _range(least, most, above, below)
        raise ParameterError(name, value, expected)
    return float(value)


def _countable(value: kinds.Real, infinite: bool) -> bool:
    """Whether a number is finite, or infinite if that is allowed; whole numbers beyond the largest float are not."""
    try:
        return math.isfinite(value) or (infinite and not math.isnan(value))
    except OverflowError:
        return False


def _range(least=None, most=None, above=None, below=None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    parts = [f"{least} or more"] if least is not None else [f"above {above}"] if above is not None else []
    parts += [f"{most} or less"] if most is not None else [f"below {below}"] if below is not None else []
    return f", {' and '.join(parts)}" if parts else ""


def seed(value: object, name: str = "seed") -> int:
    """Return ``value`` as a seed, a whole number from 0 to 2**32 - 1."""
    return whole(name, value, least=0, most=MOST_SEED)


def choice(name: str, value: Any, options: Iterable[Any]) -> Any:
    """Return the one of ``options`` that equals ``value`` in type and value, after numpy scalars become Python's.

    Raises
    ------
    ParameterError
        The value is none of the options; the message lists them.
    """
    options, plain = [_plain(option) for option in options], _plain(value)
    for option in options:
        if type(plain) is type(option) and plain == option:
            return option
    listed = [repr(option) for option in options]
    raise ParameterError(name, value, " or ".join([", ".join(listed[:-1])] * (len(listed) > 1) + listed[-1:]))


def close_match(value: object, options: Any) -> str:
    """Return "; did you mean 'x'?" for the closest of the options, or "" if none is close."""
    near = difflib.get_close_matches(str(value)[:200], [str(option) for option in options], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def several(name: str, value: object, check: Callable[[str, object], Any]) -> list:
    """Apply a check to each item of a list and return the results, as in ``several("ks", ks, whole)``.

    Raises
    ------
    ParameterError
        ``value`` is not a list of items or is empty, or the check refuses an item.
    """
    value = value.tolist() if hasattr(value, "detach") else value  # the items of a tensor are tensors
    if not _is_list(value):
        raise ParameterError(name, value, "a list")
    items = [check(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if not items:
        raise ParameterError(name, value, "a list of at least one")
    return items


def numbers(
    name: str, value: object, *, ndim: int | Sequence[int] | None = None, finite: bool = True, empty: bool = False
) -> np.ndarray:
    """Return an array, tensor, table or nested list of real numbers as a numpy array of the same type.

    Types that numpy does not have become float: bfloat16 becomes float32, and tables of pandas with columns of several
    types or with missing values become float64.

    Parameters
    ----------
    name : str
    value : object
    ndim : int or several, optional
        Number of axes that are allowed; by default any.
    finite : bool
        Whether to refuse NaN and infinity.
    empty : bool
        Whether to allow an array without elements.

    Raises
    ------
    ParameterError
        The value is text, None, another object or a ragged list, holds complex numbers, has a wrong number of axes, no
        elements, or values that are not finite (the message says how many there are and where the first is).
    """
    try:
        array = _array(value)
    except (ValueError, TypeError, RuntimeError):
        raise ParameterError(name, type(value).__name__, "an array of numbers (all rows of one length)") from None
    if array.dtype.kind not in "fiub":
        plain = value is None or isinstance(value, (str, bytes, int, float, complex))
        shown = value if plain else type(value).__name__ if array.ndim == 0 else f"array of {array.dtype}"
        raise ParameterError(name, shown, "an array of numbers")
    allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim or ())
    if allowed and array.ndim not in allowed:
        axes = " or ".join(str(n) for n in allowed)
        raise ParameterError(name, f"array of shape {array.shape}", f"an array of {axes} axes")
    if not empty and array.size == 0:
        raise ParameterError(name, f"array of shape {array.shape}", "an array with at least one element")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = ~np.isfinite(array)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        at = first[0] if len(first) == 1 else first
        shown = f"array with {int(bad.sum())} of {bad.size} values NaN or infinite (the first at {at})"
        raise ParameterError(name, shown, "finite")
    return array


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    array = np.asarray(value)
    if array.dtype == object and hasattr(value, "dtypes"):
        columns = np.ravel(np.array(value.dtypes, dtype=object))
        if all(dtype.kind in "fiub" for dtype in columns):
            return value.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


# --- by annotation ------------------------------------------------------------------------------------------------

_INSTANCES = {
    "Clips": "clips, as load_dataset gives them",
    "Encoder": "an encoder, as load_encoder gives it",
    "nn.Module": "a torch module",
    "Codec": "a codec, as load_codec gives it",
    "Embeddings": "embeddings, as embed gives them",
    "Store": "a store of embeddings",
}
_SEQUENCES = ("Sequence", "Iterable", "list", "tuple")


def checked(function: F) -> F:
    """Decorate a function so that arguments that its annotations do not allow are refused.

    Checked are int, float, bool, str, None, Literal, paths, arrays, :class:`Clips` and other classes of this package,
    and lists of these; parameters with other annotations are not checked. NaN is not allowed as a float, infinity only
    if the default is infinite, and True is not allowed as an int. A parameter called ``seed`` must be a valid seed.
    Scalars of numpy, such as an item of an array, are passed on as Python's own types, which file names and JSON need.

    Raises
    ------
    ParameterError
        Raised by the decorated function before its body runs.
    """
    signature = inspect.signature(function)
    tests = {
        name: test
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and (test := _test(name, parameter.annotation, parameter.default)) is not None
    }
    positions = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        known = [tests[name](x) if name in tests else x for name, x in zip(positions, args, strict=False)]
        for name, value in kwargs.items():
            if name in tests:
                kwargs[name] = tests[name](value)
        return function(*known, *args[len(known) :], **kwargs)

    return wrapper


def check_fields(config: Any) -> None:
    """Check the fields of a dataclass by their annotations, like :func:`checked`; call it in ``__post_init__``."""
    for field in dataclasses.fields(config):
        test = _test(field.name, field.type, field.default)
        if test is not None:
            value = getattr(config, field.name)
            if (plain := test(value)) is not value:
                object.__setattr__(config, field.name, plain)  # it may be frozen


@functools.cache
def _parse(annotation: str) -> tuple[tuple[str, str], ...] | None:
    """Return (kind, inner) of each alternative of a union; None if one of them cannot be checked."""
    alternatives = []
    for part in _split(annotation, "|"):
        if re.fullmatch(r"(np\.)?ndarray|Tensor|torch\.Tensor|ArrayLike", part):
            alternatives.append(("array", ""))
        elif part in ("int", "float", "bool", "str", "None"):
            alternatives.append((part, ""))
        elif part in ("Path", "os.PathLike", "PathLike", "pathlib.Path"):
            alternatives.append(("path", ""))
        elif part in _INSTANCES:
            alternatives.append(("instance", part))
        elif (match := re.fullmatch(r"(\w+)\[(.*)\]", part)) and match[1] == "Literal":
            alternatives.append(("literal", match[2]))
        elif match and match[1] in _SEQUENCES:
            inner = _split(match[2], ",")
            if match[1] == "tuple" and inner[1:] != ["..."]:
                return None
            if _parse(inner[0]) is None:
                return None
            alternatives.append(("several", inner[0]))
        else:
            return None
    return tuple(alternatives)


def _split(text: str, mark: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == mark and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _test(name: str, annotation: object, default: object) -> Callable[[object], Any] | None:
    """Return a function that checks a value and returns it, numpy scalars as Python's; None if there is no check."""
    alternatives = _parse(annotation) if isinstance(annotation, str) else None
    if alternatives is None:
        return None
    infinite = isinstance(default, float) and not math.isfinite(default)
    exact = {"str": str, "bool": bool, "None": type(None)} | ({} if name == "seed" else {"int": int})
    at_once = {exact[kind] for kind, _ in alternatives if kind in exact}  # a quick check that suffices for most calls
    scalar = "array" not in {kind for kind, _ in alternatives}

    def test(value: object) -> Any:
        if type(value) in at_once:
            return value
        if not any(_admits(kind, inner, value, infinite) for kind, inner in alternatives):
            expected = " or ".join(_words(kind, inner, infinite) for kind, inner in alternatives)
            raise ParameterError(name, _shown(value), expected)
        if name == "seed" and isinstance(value, kinds.Integral):
            seed(value)
        return _plain(value) if scalar else value

    return test


def _admits(kind: str, inner: str, value: object, infinite: bool) -> bool:
    truth = isinstance(value, (bool, np.bool_))
    if kind == "int":
        return isinstance(value, kinds.Integral) and not truth
    if kind == "float":
        if not isinstance(value, kinds.Real) or truth:
            return False
        return _countable(value, infinite)
    if kind == "bool":
        return truth
    if kind == "str":
        return isinstance(value, str)
    if kind == "None":
        return value is None
    if kind == "path":
        return isinstance(value, os.PathLike)
    if kind == "literal":
        value = _plain(value)
        return isinstance(value, (str, int)) and not truth and repr(value) in _split(inner.replace('"', "'"), ",")
    if kind == "instance":
        return any(parent.__name__ == inner.rpartition(".")[2] for parent in type(value).__mro__)
    if kind == "array":
        return hasattr(value, "__array__") or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))
    if not _is_list(value):
        return False
    if not isinstance(value, (Sequence, np.ndarray)):  # an iterator would be used up
        return True
    return all(any(_admits(*alternative, item, infinite) for alternative in _parse(inner)) for item in value)


def _plain(value: object) -> object:
    """Convert a scalar of numpy, such as an item of an array of words, to Python's own type."""
    return value.item() if isinstance(value, np.generic) else value


def _is_list(value: object) -> bool:
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        return False
    return getattr(value, "ndim", 1) != 0  # an array without axes has the type of an iterable, but is none


def _words(kind: str, inner: str, infinite: bool) -> str:
    if kind == "literal":
        return inner.replace('"', "'").replace(", ", " or ")
    if kind == "instance":
        return _INSTANCES[inner]
    if kind == "several":
        return "a list, each item " + " or ".join(_words(*alternative, infinite) for alternative in _parse(inner))
    return {
        "int": "a whole number",
        "float": "a number" if infinite else "a finite number",
        "bool": "True or False",
        "str": "text",
        "None": "None",
        "path": "a path",
        "array": "an array",
    }[kind]


def _shown(value: object) -> object:
    """Return what a message shows of a value: the value itself if its repr is short, else its type and size."""
    text = repr(value)
    if len(text) <= 80 and "\n" not in text:
        return value
    return f"{type(value).__name__} of shape {value.shape}" if hasattr(value, "shape") else f"{text[:60]}..."
