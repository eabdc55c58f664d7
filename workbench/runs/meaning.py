"""Whether the values of a notebook's parameters mean something: scales, seeds, devices, datasets, encoders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..core.checks import seed as check_seed
from ..core.errors import ParameterError, RunError, WorkbenchError
from .notebooks import Notebook
from .parameters import Parameter
from .scales import Settings, needs, settings

SCALES = ("smoke", "small", "paper")


def check_meaning(notebook: Notebook, values: Mapping[str, object], changed: Iterable[str]) -> None:
    """Refuse values that no notebook can do anything with, before anything runs.

    Always checked are ``scale`` and ``seed``. ``device``, datasets, encoders and autoencoders are checked where a text
    is given for them, each by the room that loads it; a parameter is one of a dataset or an encoder when that is its
    name, or the first word of its comment. A notebook whose own default is no dataset or encoder of this package means
    something else by the word and is left alone. What contradicts the settings of the scale, or another value, is
    checked where the notebook has a file of settings.

    Raises
    ------
    ParameterError
        Names the parameter, the value and what there is.
    """
    if values["scale"] not in SCALES:
        raise ParameterError("scale", values["scale"], f"one of {', '.join(SCALES)}")
    if values["seed"] is not None:
        check_seed(values["seed"])
    changed = [name for name in changed if values[name] != notebook.parameters[name].default]
    for name in changed:
        parameter, value = notebook.parameters[name], values[name]
        test = _TESTS.get(_noun(parameter))
        if test is None or not _is_ours(test, parameter.default):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item:
                test(name, item, _own_names(notebook, name))
    plan = _plan(notebook, values, changed)
    if {"latents", "sparsities"} & {*changed} and {"latents", "sparsities"} <= plan.keys():
        _sparse_codes(changed, plan["latents"], plan["sparsities"])


def datasets_among(notebook: Notebook) -> list[str]:
    """Names of the parameters that are datasets."""
    return [name for name, parameter in notebook.parameters.items() if _noun(parameter) == "dataset"]


def _noun(parameter: Parameter) -> str:
    first = re.match(r"(dataset|encoder)\b", parameter.help)
    return parameter.name if parameter.name in _TESTS else first[1] if first else ""


def _is_ours(test, default: object) -> bool:
    """Whether a notebook's own default passes the test."""
    try:
        for item in default if isinstance(default, list) else [default]:
            if isinstance(item, str) and item:
                test("", item, ())
    except WorkbenchError:
        return False
    return True


def _own_names(notebook: Notebook, name: str) -> list[str]:
    """Names that the notebook knows besides those of the package."""
    try:
        return [value for value in needs(notebook.path).get(name, {}) if isinstance(value, str)]
    except RunError:
        return []


def _plan(notebook: Notebook, values: Mapping[str, object], changed: Iterable[str]) -> Settings:
    """What the notebook will do, where it has a file of settings, which refuses what contradicts itself."""
    try:
        plan = settings(notebook.path, values["scale"])
    except WorkbenchError:  # no such file, or one of something else
        return Settings()
    asked = {name: values[name] for name in changed if name in plan and name != "dataset"}
    dataset = values.get("dataset")
    return settings(notebook.path, values["scale"], dataset=dataset if isinstance(dataset, str) else "", **asked)


def _sparse_codes(changed: Iterable[str], latents: int, sparsities: Sequence[float]) -> None:
    """Refuse sparsities that keep none of so many latents."""
    from ..sae import fewest_latents

    if not all(0 <= sparsity < 1 for sparsity in sparsities):
        raise ParameterError("sparsities", sparsities, "shares in [0, 1)")
    fewest = {sparsity: fewest_latents(sparsity) for sparsity in sparsities}
    if max(fewest.values()) <= latents:
        return
    good = [sparsity for sparsity in fewest if fewest[sparsity] <= latents]
    lost = ", ".join(f"{sparsity:g}" for sparsity in fewest if sparsity not in good)
    reason = f"a sparsity of {lost} keeps none of {latents} latents"
    more, fewer = f"latents={max(fewest.values())} or more", f"sparsities={good}"
    if "latents" in changed:
        expected = f"{max(fewest.values())} or more{f', or given with {fewer}' if good else ''}: {reason}"
        raise ParameterError("latents", latents, expected)
    raise ParameterError("sparsities", [*fewest], f"{f'{good}, or ' if good else ''}given with {more}: {reason}")


def _device(name: str, value: str, _others: Iterable[str]) -> None:
    if value in ("auto", "cpu"):
        return
    from ..core.devices import chosen_device

    chosen_device(value)


def _dataset(name: str, value: str, _others: Iterable[str]) -> None:
    from ..datasets import check_dataset_name

    check_dataset_name(value, name)


def _encoder(name: str, value: str, others: Iterable[str]) -> None:
    from ..encoders import check_encoder_name

    check_encoder_name(value, name, others=others)


def _autoencoder(name: str, value: str, _others: Iterable[str]) -> None:
    from ..sonify import check_autoencoder_name

    check_autoencoder_name(value, name)


_TESTS = {"device": _device, "dataset": _dataset, "encoder": _encoder, "autoencoder": _autoencoder}
