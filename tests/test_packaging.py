"""What leaves the repository: a wheel that holds all the package needs, and files for Binder that agree with it."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="needs hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        yield archive


def test_the_wheel_holds_notebooks_manifests_weights_and_all_that_modules_read(wheel):
    inside = set(wheel.namelist())
    wanted = {f"workbench/{path.relative_to(ROOT)}" for path in (ROOT / "data_manifests").glob("*.yaml")}
    for kind in ("ipynb", "yaml"):
        wanted |= {f"workbench/{path.relative_to(ROOT)}" for path in (ROOT / "notebooks").glob(f"*.{kind}")}
    for kind in ("py", "pyi", "safetensors", "js", "css", "jinja2"):
        wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "workbench").rglob(f"*.{kind}")}
    assert {Path(name).suffix for name in wanted} >= {".ipynb", ".yaml", ".safetensors", ".pyi", ".js", ".jinja2"}
    assert wanted <= inside, sorted(wanted - inside)
    for name in wanted:
        if name.endswith(".safetensors"):
            assert wheel.getinfo(name).file_size == (ROOT / name).stat().st_size > 1e6
    assert not [name for name in inside if "checkpoint" in name or name.startswith("tests")]


def test_its_version_is_the_one_that_is_cited(wheel, project):
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert metadata["Version"] == project["version"] == cited["version"]
    assert f"## {project['version']} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_torch_that_is_there_may_stay(project):
    """Lower bounds alone: Colab's build for its GPU, or a CPU build, satisfies them."""
    wanted = {requirement.name: requirement for requirement in map(Requirement, project["dependencies"])}
    for name in ("torch", "torchaudio"):
        assert [bound.operator for bound in wanted[name].specifier] == [">="]
        for version in ("2.6.0+cu124", "2.14.1+cpu", "3.0"):
            assert wanted[name].specifier.contains(version)


def test_binder_installs_a_torch_that_the_package_accepts_and_keeps_it(project):
    environment = yaml.safe_load((ROOT / ".binder/environment.yml").read_text(encoding="utf-8"))
    wanted = {requirement.name: requirement.specifier for requirement in map(Requirement, project["dependencies"])}
    (python,) = (line for line in environment["dependencies"] if line.startswith("python="))
    assert SpecifierSet(project["requires-python"]).contains(python.removeprefix("python="))
    for own, theirs in (("torch", "pytorch-cpu"), ("torchaudio", "torchaudio")):
        assert f"{theirs}{wanted[own]}" in environment["dependencies"]
    script = ROOT / ".binder/postBuild"
    assert os.access(script, os.X_OK)
    (installs,) = re.findall(r"^python -m pip install (.+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert installs.split()[-1] == "." and "-c" not in installs.split()
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_constraints_agree_with_the_bounds_and_name_all_that_tests_need(project):
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    pinned = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pinned.items()}
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    needed += project["optional-dependencies"]["gallery"]
    for requirement in map(Requirement, needed):
        name = requirement.name.lower().replace("_", "-").replace(".", "-")
        assert requirement.specifier.contains(pinned[name]), requirement
