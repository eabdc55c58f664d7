"""Read and check the manifests of datasets, of which each is one YAML file.

An unknown field, a wrong value or a column that the layout does not yield raises a
:class:`~workbench.core.errors.DatasetError` that names the file, the field, its value and what was expected.
"""

from __future__ import annotations

import functools
import os
import re
import reprlib
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ..core.checks import checked, close_match
from ..core.download import DIGITS
from ..core.errors import DatasetError
from .schema import (
    ACCESS,
    ARCHIVES,
    PLACEHOLDER,
    RESERVED,
    TYPES,
    Layout,
    Local,
    Manifest,
    RemoteFile,
    SplitRule,
    placeholders,
)


def _shown(value: object) -> str:
    """Return the repr of a value, cut to about 200 characters."""
    text = repr(value) if isinstance(value, str) and len(value) <= 200 else reprlib.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


# --- kinds of values: each function checks and converts one YAML value, or says what it expected -----------------


class _Wrong(Exception):
    """A value is not what its field expects; `where` is the path below the field."""

    def __init__(self, expected: str, value: object = MISSING, where: str = ""):
        self.expected, self.value, self.where = expected, value, where


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong("a text that is not empty")
    return " ".join(value.split()) if "\n" in value else value.strip()


def _matching(pattern: str, expected: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _Wrong(expected)
        return value

    return check


def _choice(options: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in options:
            raise _Wrong(f"one of {', '.join(options)}{close_match(value, options)}")
        return str(value)

    return check


def _count(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise _Wrong("a whole number, or null where unknown")
    return value


def _positive(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _Wrong("a whole number, 1 or more")
    return value


def _checksum(value: object) -> str | None:
    if value is None:
        return None
    algorithm, _, digits = str(value).partition(":")
    if algorithm not in DIGITS or not re.fullmatch(f"[0-9a-f]{{{DIGITS[algorithm]}}}", digits):
        lengths = ", ".join(f"{name}: and {count} hexadecimal digits" for name, count in DIGITS.items())
        raise _Wrong(f"null or one of {lengths}")
    return str(value)


def _archive(value: object) -> str | None:
    if value is True or value in ARCHIVES:
        return "auto" if value is True else str(value)
    if value is False or value is None:
        return None
    raise _Wrong(f"true, false, or one of {', '.join(ARCHIVES)}")


def _template(value: object) -> str:
    text = _text(value)
    if re.search(r"[{}]", re.sub(PLACEHOLDER, "", text)):
        raise _Wrong("a template with columns in braces, such as {file}.wav or {track:0>6}.mp3, and no other braces")
    return text


def _relative(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not text.strip() or "\0" in text or text.startswith(("/", "\\")) or ".." in text.split("/") or ":" in text:
        raise _Wrong("a path inside the dataset's folder, with / between its parts and without '..'")
    return text


def _regex(value: object) -> str:
    try:
        return re.compile(_text(value)).pattern
    except re.error as error:
        raise _Wrong(f"a regular expression ({error})") from None


def _texts(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, (str, int)) and not isinstance(item, bool) for item in items):
        raise _Wrong("a text or a list of texts (in quotes where YAML reads another thing: 'no', '1e3')")
    return tuple(str(item) for item in items)


def _places(value: object) -> tuple[str, ...]:
    return tuple(_relative(text) for text in _texts(value))


def _mapping(of: Callable[[object], Any]) -> Callable[[object], dict[str, Any]]:
    def check(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _Wrong("a mapping (name: value)")
        mapping = {}
        for key, item in value.items():
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise _Wrong("a mapping whose names are texts (in quotes where YAML reads another thing)", key)
            try:
                mapping[str(key)] = of(item)
            except _Wrong as wrong:
                shown = item if wrong.value is MISSING else wrong.value
                raise _Wrong(wrong.expected, shown, f".{key}{wrong.where}") from None
        return mapping

    return check


def _nested(cls: type) -> Callable[[object], Any]:
    return lambda value: None if value is None else _build(cls, value)


def _listed(cls: type) -> Callable[[object], tuple]:
    def check(value: object) -> tuple:
        if not isinstance(value, list):
            raise _Wrong("a list")
        items = []
        for position, item in enumerate(value):
            try:
                items.append(_build(cls, item))
            except _Wrong as wrong:
                raise _Wrong(wrong.expected, wrong.value, f"[{position}]{wrong.where}") from None
        return tuple(items)

    return check


KINDS: dict[str, Callable[[object], Any]] = {
    "text": _text,
    "name": _matching(r"[a-z][a-z0-9_]*", "lower-case letters, digits and underscores"),
    "url": _matching(r"https?://\S+", "an http or https address"),
    "count": _count,
    "positive": _positive,
    "checksum": _checksum,
    "archive": _archive,
    "folder": _relative,
    "relative": _relative,
    "regex": _regex,
    "access": _choice(ACCESS[:3]),
    "part": _choice(("train", "valid", "test")),
    "texts": _texts,
    "names": _mapping(lambda value: _texts(value)[0] if len(_texts(value)) == 1 else _text(value)),
    "names of names": _mapping(_mapping(_text)),
    "choices": _mapping(_texts),
    "checksums": _mapping(_checksum),
    "template": _template,
    "places": _places,
    "files of parts": _mapping(_relative),
    "types": _mapping(_choice(tuple(TYPES))),
    "files": _listed(RemoteFile),
    "layout": _nested(Layout),
    "local": _nested(Local),
    "splits": _mapping(lambda value: _build(SplitRule, value)),
}


def _build(cls: type, raw: object) -> Any:
    """Make a dataclass of its YAML mapping; raises _Wrong with the path of the wrong field."""
    known = {f.name: f for f in fields(cls)}
    if not isinstance(raw, dict):
        raise _Wrong(f"a mapping with {', '.join(known)}", raw)
    for key in raw:
        if key not in known:
            raise _Wrong(
                f"removed: the fields here are {', '.join(known)}{close_match(key, known)}", raw[key], f".{key}"
            )
    values = {}
    for name, spec in known.items():
        if name not in raw:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise _Wrong("given: it has no default", None, f".{name}")
            continue
        try:
            values[name] = KINDS[spec.metadata["kind"]](raw[name])
        except _Wrong as wrong:
            shown = raw[name] if wrong.value is MISSING else wrong.value
            raise _Wrong(wrong.expected, shown, f".{name}{wrong.where}") from None
    return cls(**values)


# --- rules that hold between fields -----------------------------------------------------------------------------


def _check(manifest: Manifest, stem: str) -> None:
    if manifest.name != stem:
        raise _Wrong(f"{stem!r}, the name of its file", manifest.name, ".name")
    for name in manifest.checks:
        try:
            _relative(name)
        except _Wrong as wrong:
            raise _Wrong(wrong.expected, name, ".checks") from None
    for position, file in enumerate(manifest.files):
        if file.filename in ("", ".", "..") or re.search(r"[\\:\0]", file.filename):
            raise _Wrong("an address that ends in the name of a file", file.url, f".files[{position}].url")
        if (file.bytes is None or file.checksum is None) and not file.why:
            raise _Wrong("given where bytes or checksum is null", "", f".files[{position}].why")
        if file.unpack == "auto" and not file.filename.endswith(tuple("." + a for a in ARCHIVES)):
            raise _Wrong(f"one of {', '.join(ARCHIVES)}: the URL does not tell", True, f".files[{position}].unpack")
    if manifest.access != "open" and not manifest.obtain:
        raise _Wrong(f"given where access is {manifest.access}", "", ".obtain")
    if manifest.access == "open" and not manifest.files and not manifest.obtain:
        raise _Wrong("given where there are no files to fetch", "", ".obtain")
    if manifest.layout is None:
        if manifest.access != "unreleased":
            raise _Wrong("given unless access is unreleased", None, ".layout")
        return
    _check_layout(manifest.layout)
    gives = manifest.layout.gives
    for where, column in _columns_used(manifest):
        if column not in gives:
            raise _Wrong(f"a column of the layout ({', '.join(gives)}){close_match(column, gives)}", column, where)
    for factor in manifest.factors:
        if factor in RESERVED:
            raise _Wrong(
                f"another name: {', '.join(RESERVED)} are columns of every table", factor, f".factors.{factor}"
            )
    for name, rule in manifest.splits.items():
        for part in rule.lists:
            if part not in ("train", "valid", "test"):
                raise _Wrong("train, valid or test", part, f".splits.{name}.lists")
        if bool(rule.column) == bool(rule.lists):
            raise _Wrong("a rule with either column or lists", rule.column, f".splits.{name}.column")


def _check_layout(layout: Layout) -> None:
    kinds = [kind for kind in ("paths", "csv", "text") if getattr(layout, kind)]
    if len(kinds) != 1:
        raise _Wrong("a layout with exactly one of paths, csv and text", ", ".join(kinds), ".layout")
    needed = {"paths": (), "csv": ("columns", "audio"), "text": ("rows", "audio")}[kinds[0]]
    for name in needed:
        if not getattr(layout, name):
            raise _Wrong(f"given with {kinds[0]}", getattr(layout, name), f".layout.{name}")


def _columns_used(manifest: Manifest) -> list[tuple[str, str]]:
    """Return (field, column) for each place where a manifest names a column."""
    layout = manifest.layout
    used = [(".label", manifest.label)]
    used += [(f".factors.{name}", name) for name in manifest.factors]
    used += [(".group", name) for name in manifest.group]
    used += [(".fold", manifest.fold)] if manifest.fold else []
    used += [(".id", name) for name in placeholders(manifest.id)]
    used += [(".layout.audio", name) for name in placeholders(layout.audio)]
    for kind in ("values", "keep", "drop", "trust"):
        used += [(f".layout.{kind}", name) for name in getattr(layout, kind)]
    used += [(".layout.midi", name) for name in layout.midi.values()]
    used += [(".layout.one_row_per", layout.one_row_per)] if layout.one_row_per else []
    for name, rule in manifest.splits.items():
        used += [(f".splits.{name}.column", rule.column)] if rule.column else []
        used += [(f".splits.{name}.group", column) for column in rule.group or ()]
    return used


# --- reading -----------------------------------------------------------------------------------------------------


@functools.cache
def _loader() -> type:
    """Return YAML's safe loader in a stricter form.

    010 is not octal, "no" is not a boolean, and repeated keys and aliases are errors.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                raise yaml.MarkedYAMLError(None, None, f"an alias (*{event.anchor}) is not allowed", event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        raise yaml.MarkedYAMLError(None, None, f"{key.value!r} is given twice", key.start_mark)
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

    plain = {"bool": r"true|True|false|False", "int": r"-?(?:0|[1-9][0-9]{0,15})", "null": r"~|null|Null|"}
    Loader.yaml_implicit_resolvers = {}
    for kind, pattern in plain.items():
        firsts = {"bool": "tTfF", "int": "-0123456789", "null": ["~", "n", "N", ""]}[kind]
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), list(firsts))
    return Loader


def _reason(error: Exception) -> str:
    return " ".join(str(error).replace('in "<unicode string>", ', "").split())


@checked
def read_manifest(path: str | os.PathLike) -> Manifest:
    """Read and check one manifest.

    Parameters
    ----------
    path : path
        A .yaml file.

    Raises
    ------
    DatasetError
        The file is missing, is not YAML, or a field is wrong; the error names the file, the field, its value, what was
        expected and, if there is one, a close match.
    """
    import yaml

    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: is not YAML: {_reason(error)}") from None
    try:
        manifest = _build(Manifest, raw)
        _check(manifest, path.stem)
    except _Wrong as wrong:
        where = wrong.where.lstrip(".") or "the manifest"
        raise DatasetError(f"{path}: {where}={_shown(wrong.value)} must be {wrong.expected}") from None
    return manifest


def _manifest_folder() -> Path:
    """Return the folder of the manifests: inside the installed package, else at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "data_manifests", package.parent / "data_manifests"):
        if folder.is_dir():
            return folder
    raise DatasetError(f"no data_manifests in {package} or {package.parent}: the installation is incomplete")


@functools.cache
def manifests() -> dict[str, Manifest]:
    """Return all manifests that come with the package, by name."""
    return {path.stem: read_manifest(path) for path in sorted(_manifest_folder().glob("*.yaml"))}
