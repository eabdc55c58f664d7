"""``import workbench`` costs next to nothing; the names it offers are there when they are used."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import workbench

HEAVY = (
    "IPython",
    "ipywidgets",
    "librosa",
    "matplotlib",
    "nbconvert",
    "numpy",
    "pandas",
    "papermill",
    "plotly",
    "pooch",
    "sklearn",
    "torch",
    "torchaudio",
    "transformers",
    "umap",
)


def in_fresh_process(code: str) -> dict:
    """Run code in a new interpreter and read the JSON it prints."""
    paths = os.pathsep.join([str(Path(workbench.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    return json.loads(done.stdout)


def measured(module: str) -> tuple[float, set[str]]:
    """Seconds of the processor that an import takes (the best of five) and the heavy packages it pulls in."""
    code = f"""
import json, sys, time
start = time.process_time()
import {module}
print(json.dumps([time.process_time() - start, [name for name in {HEAVY!r} if name in sys.modules]]))
"""
    runs = [in_fresh_process(code) for _ in range(5)]
    return min(seconds for seconds, _ in runs), {name for _, names in runs for name in names}


def test_import_is_fast_and_light():
    seconds, heavy = measured("workbench")
    assert seconds < 0.3
    assert heavy == set()


def test_the_command_line_and_record_are_light_too():
    seconds, heavy = measured("workbench.cli, workbench.runs")
    assert seconds < 0.7
    assert heavy == set()


def test_no_more_than_25_names_and_all_of_them_are_there():
    assert len(workbench.__all__) <= 25
    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
        assert name in dir(workbench)


def test_every_module_imports():
    found = [module.name for module in pkgutil.walk_packages(workbench.__path__, "workbench.")]
    assert len(found) > 150
    for name in found:
        if not name.endswith("__main__"):
            importlib.import_module(name)


def test_rooms_are_attributes():
    assert workbench.core.errors.WorkbenchError is workbench.WorkbenchError
    assert {"audio", "datasets", "encoders", "runs", "views"} <= set(dir(workbench))


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'embeds'"):
        workbench.embeds  # noqa: B018


def test_no_name_of_the_project_is_swallowed_by_an_ignore_rule():
    """Executed runs are ignored; the package's own ``runs`` must not be, or it would be left out of wheels."""
    root = Path(workbench.__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    sources = [str(path.relative_to(root)) for path in (root / "workbench").rglob("*.py")]
    done = subprocess.run(
        ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin"],
        input="\n".join(sources),
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [], "anchor the rule in .gitignore: /runs/"


ROOMS = (
    "core audio datasets encoders codecs embeddings attributes metrics probes nmf sae prototypes sonify interpreters "
    "views lessons runs cli __main__"
).split()


def imported(module: str, path: Path) -> set[str]:
    """Modules of the package that a module imports, at its top or inside its functions; not those for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) + 1 - node.level], *filter(None, [node.module])]
            found |= {".".join([*base, name.name]) for name in node.names} | {".".join(base)}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("workbench"):
            found.add(node.module)
    return found


def test_rooms_import_only_from_above_and_no_module_from_itself():
    root = Path(workbench.__file__).parent
    parts = {path: path.relative_to(root.parent).with_suffix("").parts for path in root.rglob("*.py")}
    paths = {".".join(names[:-1] if names[-1] == "__init__" else names): path for path, names in parts.items()}
    graph = {module: imported(module, path) & set(paths) - {module} for module, path in paths.items()}
    for module, others in graph.items():
        for other in others:
            if module != "workbench" != other:
                own, theirs = (ROOMS.index(name.split(".")[1]) for name in (module, other))
                assert theirs <= own, f"{module} imports {other}, which is below it"
    # a package's door imports its modules; they may not import each other in a circle
    TopologicalSorter({m: o for m, o in graph.items() if paths[m].name != "__init__.py"}).prepare()


DOORS = tuple(room for room in ROOMS if room not in ("core", "audio", "metrics", "lessons", "cli", "__main__"))


def by_the_door(target: str) -> bool:
    """Whether names come from a room's door; in metrics and lessons the modules are the namespace."""
    _, room, *inside = target.split(".")
    return not inside or room in ("metrics", "lessons") or hasattr(importlib.import_module(target), "__path__")


def test_other_rooms_and_notebooks_come_in_by_the_door():
    root = Path(workbench.__file__).parent
    past = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                target = ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])
                room = (target.split(".") + [""])[1]
                if room in DOORS and room != parts[1] and not by_the_door(target):
                    past.append(f"{'.'.join(parts)}: {target}")
    for path in (root.parent / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for line in cell["source"] if cell["cell_type"] == "code" else ():
                if line.startswith("from workbench.") and not by_the_door(line.split()[1]):
                    past.append(f"{path.name}: {line.strip()}")
    assert past == []


def test_doors_are_narrow_and_what_they_list_is_there_and_documented():
    names = [(room, name) for room in DOORS for name in importlib.import_module(f"workbench.{room}").__all__]
    assert len(names) <= 213
    for room, name in names:
        offered = getattr(importlib.import_module(f"workbench.{room}"), name)
        assert offered.__doc__, f"{room}.{name}"
