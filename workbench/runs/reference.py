"""A reference of the package's public names, made from their docstrings by pdoc: pages that need no network."""

from __future__ import annotations

import importlib
import inspect
import re
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..core.dependencies import load

_TEMPLATES = Path(__file__).parent / "templates"


def write_reference(folder: Path, *, footer: str) -> None:
    """Write a page for the package, each of its rooms and each module that stands at a room's door.

    What is public is read from the doors themselves (``__all__``, which is what an ``__init__.pyi`` lists); of a module
    it is what does not begin with an underscore. ``index.html`` leads to the first page, a search runs in the browser.

    Parameters
    ----------
    folder : Path
        Made where it is missing. Its pages link to ``index.html`` of the folder around it.
    footer : str
        Text at the end of every page's contents.

    Raises
    ------
    DependencyError
        pdoc is not installed.
    """
    doc, render = load("pdoc.doc"), load("pdoc.render")
    modules = {module.__name__: doc.Module(module) for module in _public_modules()}
    with warnings.catch_warnings():
        # names that are imported for types alone are shown as they are written
        warnings.filterwarnings("ignore", message="Error parsing type annotation", module="pdoc")
        for name, module in modules.items():
            module.submodules = [each for other, each in modules.items() if other.rpartition(".")[0] == name]
            around = name if module.is_package else name.rpartition(".")[0]
            _prepare(module, {other.rpartition(".")[2] for other in modules if other.rpartition(".")[0] == around})
        render.configure(docformat="numpy", footer_text=footer, show_source=False, template_directory=_TEMPLATES)
        for name, module in modules.items():
            page = folder / f"{name.replace('.', '/')}.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(render.html_module(module, modules), encoding="utf-8")
        (folder / "index.html").write_text(render.html_index(modules), encoding="utf-8")
        (folder / "search.js").write_text(render.search_index(modules), encoding="utf-8")


def _public_modules() -> list[types.ModuleType]:
    """The package, its rooms and what modules stand at their doors; every name of a door imported."""
    package = __name__.split(".")[0]
    home = Path(importlib.import_module(package).__file__).parent
    waiting = [package, f"{package}.audio", *(f"{package}.{door.parent.name}" for door in home.glob("*/__init__.pyi"))]
    found: dict[str, types.ModuleType] = {}
    while waiting:
        name = waiting.pop()
        module = found[name] = importlib.import_module(name)
        if hasattr(module, "__path__"):
            for public in module.__all__:
                value = getattr(module, public)
                setattr(module, public, value)  # pdoc looks among what the module holds, not behind its __getattr__
                if isinstance(value, types.ModuleType) and value.__name__ not in found:
                    waiting.append(value.__name__)
    return [found[name] for name in sorted(found)]


def _prepare(module, pages: set[str]) -> None:
    """Docstrings in pdoc's dialect; what a class inherits from another of the package counts as its own."""
    package = module.modulename.split(".")[0]
    for each in (module, *_inside(module)):
        each.docstring = _in_dialect(each.docstring, pages)
        if each.kind == "function":
            each.signature = _readable(each.signature, each.obj)
        if each.kind == "class":
            members = each.members.values()
            each.own_members = [member for member in members if member.taken_from[0].split(".")[0] == package]
            for member in members:
                if member.kind == "variable":
                    member.annotation = _short(member.annotation, each.obj, member.name)


class _AsWritten(str):
    """An annotation as the source has it, which pdoc shows without quotes."""

    __repr__ = str.__str__


def _short(annotation: object, owner: object, name: str) -> object:
    """An annotation as it is written where it resolves to array-likes: a union of two hundred characters each."""
    written = getattr(owner, "__annotations__", {}).get(name)
    return _AsWritten(written) if isinstance(written, str) and "numpy._typing" in str(annotation) else annotation


def _readable(signature: inspect.Signature, function: object) -> inspect.Signature:
    """The signature of a function with short annotations."""
    parameters = [
        each.replace(annotation=_short(each.annotation, function, name)) for name, each in signature.parameters.items()
    ]
    result = _short(signature.return_annotation, function, "return")
    return signature.replace(parameters=parameters, return_annotation=result)


def _inside(namespace) -> Iterator:
    """Everything that is documented in a module, classes' members included."""
    for member in namespace.members.values():
        yield member
        if member.kind == "class":
            yield from _inside(member)


def _in_dialect(docstring: str, pages: set[str]) -> str:
    """A docstring without what pdoc does not know: ``~`` in references, ``::`` before code, lists of terms.

    References to modules beside one's own (``.sets``) keep their dot where these have one of the pages.
    """
    docstring = re.sub(r"(:\w+:`)~", r"\1", docstring)
    docstring = re.sub(r"(:\w+:`)\.(?=(\w+))", lambda m: m[0] if m[2] in pages else m[1], docstring)
    docstring = re.sub(r"::$", ":", docstring, flags=re.MULTILINE)
    return re.sub(r"^(``[^`\n]+``)\n {4}(?=\S)", r"* \1: ", docstring, flags=re.MULTILINE)
