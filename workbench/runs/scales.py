"""What a notebook does at each scale: one YAML file beside it, read by one call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..core.checks import checked
from ..core.errors import ParameterError, RunError
from .notebooks import notebooks_folder
from .recording import NOTEBOOK_FOLDER


class Settings(dict):
    """Settings by name; a notebook shows them as a table."""

    def _repr_html_(self) -> str:
        import pandas as pd

        shown = {key: _shown(value) for key, value in self.items()}
        return pd.Series(shown, dtype=object).to_frame().to_html(header=False)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items()) or "as the method's own"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return "" if value is None else str(value)


@checked
def settings(notebook: str | os.PathLike, scale: str, *, dataset: str = "", **changes: object) -> Settings:
    """What a notebook does at a scale, with what its reader asked for in place of the scale's own.

    The file has a mapping a scale. ``of_dataset`` at its top lists what belongs to the scale's dataset alone, which is
    None for any other one; ``needs`` says what values of a setting, names of the notebook's own among them, ask of
    other settings, which follow them unless they are given; ``datasets`` of a scale says what changes with a dataset
    of that name.

    Parameters
    ----------
    notebook : str or path
        A name: its YAML in the folder of the notebook that runs (opened by hand: the current directory), or else the
        project's own. Or the file of any notebook, beside which its YAML lies.
    scale : str
        One that the file has: "smoke", "small" and "paper" in the project's own.
    dataset : str
        Replaces the scale's own, unless it is empty.
    **changes
        Settings of the file. Each replaces the scale's own unless it is empty ("", 0, an empty list or None); of a
        mapping, each item does.

    Returns
    -------
    Settings
        A dict.

    Raises
    ------
    RunError
        There is no such file, or it cannot be read.
    ParameterError
        No such scale or setting, or a value that another one has no use for; says which goes with it.

    Examples
    --------
    >>> settings("sae", "smoke", latents=256, sparsities=[])["latents"]
    256
    """
    path = Path(notebook).with_suffix(".yaml") if Path(notebook).suffix else _by_name(f"{notebook}.yaml")
    scales, of_dataset, needs = _read(path)
    if scale not in scales:
        raise ParameterError("scale", scale, f"one of {', '.join(scales)}")
    others = {name: each.pop("datasets", {}) for name, each in scales.items()}[scale]
    plan = dict.fromkeys(of_dataset) | scales[scale]
    if dataset:
        plan |= {"dataset": dataset, **dict.fromkeys(of_dataset), **others.get(dataset, {})}
    known = {*of_dataset, *(key for each in scales.values() for key in each)}
    for name in changes:
        if name not in known:
            raise ParameterError(name, changes[name], f"a setting of {path.stem}: it has {', '.join(sorted(known))}")
    return Settings(_agreeing(_replaced(plan, changes), needs, {name for name in changes if not _empty(changes[name])}))


def needs(notebook: str | os.PathLike) -> dict[str, dict[object, dict[str, object]]]:
    """``needs`` of the file beside a notebook: setting -> value -> what it asks of others. Empty where there is none.

    Raises
    ------
    RunError
        The file cannot be read.
    """
    path = Path(notebook).with_suffix(".yaml")
    return _read(path)[2] if path.is_file() else {}


def _agreeing(plan: dict, needs: Mapping, given: set[str]) -> dict:
    """``plan`` with what its values ask of settings that nobody gave."""
    for name, values in needs.items():
        for other, wanted in (values.get(plan[name]) or {}).items():
            if plan[other] != wanted and other in given:
                raise ParameterError(other, plan[other], f"{wanted!r} with {name}={plan[name]!r}")
            plan[other] = wanted
    return plan


def _by_name(file: str) -> Path:
    copy = Path(os.environ.get(NOTEBOOK_FOLDER, "")) / file
    return copy if copy.is_file() else notebooks_folder() / file


def _replaced(own: Mapping, changes: Mapping) -> dict:
    """``own`` with what is not empty in ``changes``, mappings item by item."""
    merged = dict(own)
    for name, value in changes.items():
        if isinstance(value, Mapping):
            merged[name] = _replaced(merged.get(name) or {}, value)
        elif not _empty(value):
            merged[name] = value
    return merged


def _empty(value: object) -> bool:
    return value is None or value == "" or value == 0 or value == []


def _read(path: Path) -> tuple[dict[str, dict], list[str], dict[str, dict]]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        of_dataset, asked = content.pop("of_dataset", []), content.pop("needs", {})
        needs = {name: dict(values) for name, values in asked.items()}
        return {scale: dict(mapping) for scale, mapping in content.items()}, of_dataset, needs
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); it holds the notebook's settings") from error
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{path}: is no mapping of scales to settings ({reason})") from error
