"""Whether the values of a notebook's parameters mean something: scales, seeds, devices, datasets, encoders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.checks import close_match
from ..core.checks import seed as check_seed
from ..core.errors import ParameterError, WorkbenchError
from .notebooks import Notebook
from .parameters import Parameter

SCALES = ("smoke", "small", "paper")
_OWN_NETWORKS = ("conv", "vgg")
"""Networks that notebooks train from nothing, where others take the name of an encoder."""


def check_meaning(notebook: Notebook, values: Mapping[str, object], changed: Iterable[str]) -> None:
    """Refuse values that no notebook can do anything with, before anything runs.

    Always checked are ``scale`` and ``seed``. ``device``, datasets and encoders are checked where a text is given for
    them; a parameter is one of a dataset or an encoder when that is its name, or the first word of its comment. A
    notebook whose own default is no dataset or encoder of this package means something else by the word and is left
    alone.

    Raises
    ------
    ParameterError, DatasetError
        Names the parameter, the value and what there is.
    """
    if values["scale"] not in SCALES:
        raise ParameterError("scale", values["scale"], f"one of {', '.join(SCALES)}")
    if values["seed"] is not None:
        check_seed(values["seed"])
    for name in changed:
        parameter, value = notebook.parameters[name], values[name]
        test = _TESTS.get(_noun(parameter))
        if test is None or value == parameter.default:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item and _is_ours(test, parameter.default):
                test(name, item)


def _noun(parameter: Parameter) -> str:
    first = re.match(r"(dataset|encoder)\b", parameter.help)
    return parameter.name if parameter.name in _TESTS else first[1] if first else ""


def _is_ours(test, default: object) -> bool:
    """Whether a notebook's own default passes the test."""
    try:
        for item in default if isinstance(default, list) else [default]:
            if isinstance(item, str) and item:
                test("", item)
    except WorkbenchError:
        return False
    return True


def _device(name: str, value: str) -> None:
    if value in ("auto", "cpu"):
        return
    from ..core.devices import chosen_device

    chosen_device(value)


def _dataset(name: str, value: str) -> None:
    from ..datasets import known_datasets

    known = known_datasets()
    if value not in known and not value.startswith("hf:") and not Path(value).expanduser().exists():
        raise ParameterError(
            name,
            value,
            "the name of a dataset, a folder, a csv file or hf:owner/name: there are "
            f"{', '.join(known)}{close_match(value, known)}",
        )


def _encoder(name: str, value: str) -> None:
    if value in _OWN_NETWORKS or Path(value).expanduser().exists():
        return
    from ..encoders import check_encoder_name

    check_encoder_name(value, name)


def _autoencoder(name: str, value: str) -> None:
    released = ("mini-mel", "pecmae-4s", "pecmae-1s", "pecmae-10s")
    if value not in released and not Path(value).expanduser().exists():
        raise ParameterError(name, value, f"{', '.join(released)}, or a file")


_TESTS = {"device": _device, "dataset": _dataset, "encoder": _encoder, "autoencoder": _autoencoder}
