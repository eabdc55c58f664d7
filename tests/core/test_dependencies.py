"""Libraries that are missing or do not fit each other end in one line; torchaudio works without its compiled part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import workbench
from workbench.core.dependencies import explain, load
from workbench.core.errors import DependencyError, WorkbenchError

HOME = Path(workbench.__file__).parents[1]
BROKEN_TORCHAUDIO = """
import torch
def refuse(path):
    raise OSError(f"Could not load this library: {path}")
torch.ops.load_library = refuse
"""


def in_fresh_process(code: str, *paths: Path) -> dict:
    """Run code in a new interpreter and read the JSON on its last line."""
    where = os.pathsep.join([*map(str, paths), str(HOME), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": where}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(
    tuple(map(int, metadata.version("torchaudio").split(".")[:2])) < (2, 9),
    reason="older releases need their compiled part: one line says so",
)
def test_filter_banks_without_the_compiled_part_of_torchaudio():
    code = """
import json, sys, warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    from workbench import audio
    import numpy as np
    x = np.random.default_rng(0).normal(size=4000).astype("f") * 0.1
    mel = audio.log_mel(x, 16000)
    back = audio.griffin_lim(audio.spectrogram(x, power=1), steps=3)
    from workbench.encoders.efficientat import FrontEnd
    image = FrontEnd()(__import__("torch").from_numpy(x)[None])
print(json.dumps([float(mel.double().sum()), float(back.double().abs().sum()), float(image.double().sum()),
    [str(w.message) for w in caught if "torchaudio" in str(w.message)]]))
"""
    *numbers, silent = in_fresh_process(code)
    *without, said = in_fresh_process(BROKEN_TORCHAUDIO + code)
    assert without == pytest.approx(numbers, rel=1e-12) and silent == []
    assert len(said) == 1 and "was built for another torch than torch " in said[0]


def fake(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_pair_that_does_not_fit_is_one_line(tmp_path):
    fake(tmp_path, umap="import numba", numba='raise ImportError("Numba needs NumPy 2.4 or less.\\nGot NumPy 9.9.")')
    code = """
import json
import numpy as np
from workbench.core.errors import WorkbenchError
from workbench.views.projection import project
try:
    project(np.random.default_rng(0).normal(size=(40, 5)), method="umap")
except WorkbenchError as error:
    print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
"""
    found = in_fresh_process(code, tmp_path)
    assert found["kind"] == "DependencyError" and "\n" not in found["text"]
    said = "numba cannot be loaded (Numba needs NumPy 2.4 or less. Got NumPy 9.9.). Installed: numba "
    assert found["text"].startswith(said) and ", numpy " in found["text"]
    assert "The cure: pip install -c constraints.txt -e ." in found["text"]


def test_the_front_door_explains(tmp_path):
    fake(tmp_path, pandas='raise ImportError("built for numpy 1")')
    code = """
import json
import workbench as wb
try:
    wb.load_dataset("voices", size=2)
except wb.WorkbenchError as error:
    print(json.dumps({"text": str(error)}))
"""
    text = in_fresh_process(code, tmp_path)["text"]
    assert text.startswith("pandas cannot be loaded (built for numpy 1). Installed: pandas ")


def test_what_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(DependencyError, match=r'^opensmile cannot be .* pip install "audio-workbench\[egemaps\]"$'):
        load("opensmile")
    assert issubclass(DependencyError, WorkbenchError)


def test_other_errors_are_not_explained():
    try:
        import workbench.no_such_room  # noqa: F401
    except ImportError as error:
        assert explain(error) is None
    try:
        [][0]
    except IndexError as error:
        assert explain(error) is None
