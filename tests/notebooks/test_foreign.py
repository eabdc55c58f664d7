"""The notebooks on sets that none was made with. Smallest settings: whether each gets to its end or says why not.

Sets that can be studied: a csv of two classes with its own columns of label, speaker and session, stereo mp3 of .3 to
3 s at 44.1 kHz, blanks and umlauts in names; a folder of three classes and nothing else, clips of .3 and 20 s; a csv of
clips with several labels or none; rows as the datasets library keeps them, whose question is a column of numbers (one
notebook only). Sets that cannot, of which every notebook says so before it computes anything: one
group, and one clip a class.

What stands as a reading below a figure is true of any data: it has no number that no cell above it put out.
"""

import html
import io
import json
import re
import time

import numpy as np
import pytest
import soundfile

from workbench import run

SMALLEST = {
    "sae": {"latents": 64, "sparsities": [0.75, 0.9], "attributes": "voice", "folds": 2},
    "pecmae": {"prototypes": 1, "most_prototypes": 2, "train_steps": 40, "sampling_steps": 1, "seeds": 1, "folds": 1},
    "predefined_prototypes": {"utterances": 60, "seeds": 1, "epochs": 2, "folds": 2},
    "listen_to_interpret": {"components": 8, "epochs": 1, "explained_clips": 4, "draws": 5, "folds": 1},
}


def tone(seconds: float, pitch: float, rng: np.random.Generator, rate: int = 16000) -> np.ndarray:
    t = np.arange(round(rate * seconds)) / rate
    return 0.2 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * t) * np.exp(-t) + 0.01 * rng.standard_normal(len(t))


def umlauts(folder) -> dict:
    rng, lines = np.random.default_rng(0), ["path,Gefühl,speaker id,session"]
    for i in range(60):
        x = tone(rng.choice([0.3, 1.0, 2.0, 3.0]), 180 + 150 * (i % 2), rng, 44100)
        soundfile.write(folder / f"Ton {i} ä.mp3", np.stack([x, 0.5 * x], 1), 44100)
        lines.append(f"Ton {i} ä.mp3,{['wütend', 'ganz ruhig'][i % 2]},sp{i // 6},{i // 12 + 1}")
    (folder / "töne.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"dataset": str(folder / "töne.csv"), "label": "Gefühl", "group": "speaker id", "fold": "session"}


def bare(folder) -> dict:
    rng = np.random.default_rng(1)
    for i in range(45):
        kind = folder / ("low", "middle voice", "high")[i % 3]
        kind.mkdir(exist_ok=True)
        x = tone(20.0 if i < 3 else 0.3 if i < 9 else 1.0, 150 * 2 ** (i % 3), rng)
        soundfile.write(kind / f"{rng.integers(1e9):x}.wav", x, 16000)
    return {"dataset": str(folder)}


def several(folder) -> dict:
    rng, lines = np.random.default_rng(2), ["path,tags,place"]
    for i in range(60):
        tags = [name for name, there in (("hum", i % 2), ("whistle", i // 2 % 2)) if there]
        x = sum((tone(1.0, {"hum": 120, "whistle": 1500}[name], rng) for name in tags), tone(1.0, 5000, rng) / 20)
        soundfile.write(folder / f"{i}.wav", x, 16000)
        lines.append(f"{i}.wav,{'+'.join(tags) or 'none'},place {i // 6}")
    (folder / "several.csv").write_text("\n".join(lines) + "\n")
    return {"dataset": str(folder / "several.csv"), "label": "tags", "group": "place"}


def one_group(folder) -> dict:
    rng, lines = np.random.default_rng(3), ["path,label,singer"]
    for i in range(20):
        soundfile.write(folder / f"{i}.wav", tone(0.5, 200 + 200 * (i % 2), rng), 16000)
        lines.append(f"{i}.wav,{'ab'[i % 2]},Ada")
    (folder / "one.csv").write_text("\n".join(lines) + "\n")
    return {"dataset": str(folder / "one.csv"), "group": "singer"}


def one_clip_a_class(folder) -> dict:
    rng, lines = np.random.default_rng(4), ["path,label"]
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", tone(0.5, 100 * (i + 1), rng), 16000)
        lines.append(f"{i}.wav,kind {i}")
    (folder / "each.csv").write_text("\n".join(lines) + "\n")
    return {"dataset": str(folder / "each.csv")}


STUDIED = {"umlauts": umlauts, "bare": bare, "several": several}
REFUSED = {
    one_group: "all 20 clips are in one group",
    one_clip_a_class: "each of 12 classes has one clip",
}


NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?")
COMPUTED = "workbench-reading"


def text_of(output: dict) -> str:
    """What an output shows as text, tags and pictures left out."""
    shown = "".join(output.get("text", ""))
    for kind, data in output.get("data", {}).items():
        if kind in ("text/plain", "text/html", "text/markdown"):
            shown += " " + html.unescape(re.sub(r"<[^>]*>", " ", "".join(data)))
    return shown


def unproduced(node: dict) -> list[str]:
    """Numbers that stand in the readings of an executed notebook and that no cell before them has put out."""
    produced, wrong = set(), []
    for cell in node["cells"]:
        if cell["cell_type"] == "code":
            produced |= {number for output in cell["outputs"] for number in NUMBER.findall(text_of(output))}
            continue
        _, is_reading, text = "".join(cell["source"]).partition("*Reading.*")
        if is_reading:
            prose = re.sub(r"\$[^$]*\$|`[^`]*`|^#.*$", " ", text, flags=re.MULTILINE)
            wrong += [f"{number} in: {text.strip()[:60]}" for number in NUMBER.findall(prose) if number not in produced]
    return wrong


def computed_readings(node: dict) -> list[str]:
    outputs = [output for cell in node["cells"] for output in cell.get("outputs", [])]
    return [text_of(output) for output in outputs if COMPUTED in "".join(output.get("data", {}).get("text/html", ""))]


def test_a_number_that_nothing_put_out_is_found():
    code = {"cell_type": "code", "outputs": [{"data": {"text/html": "<td>84.1</td>"}}, {"text": ["chance 25%"]}]}
    prose = {"cell_type": "markdown", "source": "*Reading.* It is 84.1, not 80, where chance is 25 ($x = 3$, `k=4`)."}
    assert unproduced({"cells": [code, prose]}) == ["80 in: It is 84.1, not 80, where chance is 25 ($x = 3$, `k=4`)."]
    assert unproduced({"cells": [prose, code]}) and unproduced({"cells": [code]}) == []


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    made = {}

    def make(build) -> dict:
        if build not in made:
            made[build] = build(tmp_path_factory.mktemp("fremde Töne"))
        return made[build]

    return make


said: dict[str, dict[str, list[str]]] = {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("kind", STUDIED)
def test_foreign_sounds_go_through(tmp_path, made, kind, name):
    parameters = made(STUDIED[kind]) | SMALLEST[name]
    (result,) = run(name, parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    about = result.results["context"]["dataset"]
    assert about["clips"] == (45 if kind == "bare" else 60)
    node = json.loads((result.folder / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert unproduced(node) == []
    sentences = computed_readings(node)
    assert sentences and not any("nan" in sentence for sentence in sentences)
    for other in said.setdefault(name, {}).values():
        assert sentences != other  # another set, other sentences
    said[name][kind] = sentences


def rows_of_numbers(folder) -> dict:
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    import pyarrow

    rng, rows = np.random.default_rng(5), {"audio": [], "pitch": [], "speaker": []}
    for i in range(60):
        file, pitch = io.BytesIO(), round(rng.uniform(100, 800), 1)
        soundfile.write(file, tone(0.5, pitch, rng), 16000, format="FLAC")
        for name, value in (("audio", {"bytes": file.getvalue(), "path": None}), ("pitch", pitch), ("speaker", i // 5)):
            rows[name].append(value)
    kinds = {"audio": datasets.Audio(), "pitch": datasets.Value("float64"), "speaker": datasets.Value("int64")}
    datasets.Dataset(pyarrow.table(rows, schema=datasets.Features(kinds).arrow_schema)).save_to_disk(folder / "rows")
    return {"dataset": f"hf:{folder / 'rows'}", "label": "pitch", "group": "speaker"}


@pytest.mark.slow
def test_rows_with_a_column_of_numbers_go_through(tmp_path, made):
    parameters = made(rows_of_numbers) | SMALLEST["sae"]
    (result,) = run("sae", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    assert result.results["context"]["dataset"]["clips"] == 60
    node = json.loads((result.folder / "sae.ipynb").read_text(encoding="utf-8"))
    assert unproduced(node) == [] and not any("nan" in sentence for sentence in computed_readings(node))
    shown = "".join(text_of(output) for cell in node["cells"] for output in cell.get("outputs", []))
    assert "the column 'pitch' holds numbers (60 different)" in shown
    assert shown.index("pitch below") < shown.index("pitch between") < shown.index("pitch from")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_what_cannot_be_studied_is_refused_before_anything_is_computed(tmp_path, made, build, name):
    began = time.monotonic()
    (result,) = run(name, parameters=made(build) | SMALLEST[name], out=tmp_path / "run", progress=False)
    assert result.status == "failed" and REFUSED[build] in result.problem, result.problem
    assert "DatasetError" in result.problem and result.results["error"]["cell"] <= 5, result.problem
    assert time.monotonic() - began < 60
