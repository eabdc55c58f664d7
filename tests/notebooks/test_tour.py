"""notebooks/tour.ipynb: its default, a stranger's folder, and a folder that is too small.

One run of the default and one of somebody's sounds; the rest is asked of what the notebook says, without a kernel.
"""

import json

import numpy as np
import pytest
import soundfile

from workbench import ParameterError, run
from workbench.core.splits import Split
from workbench.datasets import Clips
from workbench.lessons import tour
from workbench.runs import find_notebooks

PICTURES = ("listen", "map", "layers", "latent", "explanation", "prototype")
READINGS = ("map-reading", "layers-reading", "latent", "explanation-reading", "prototype-reading")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes of twelve clips, of different lengths and another rate, and of names that HTML must escape."""
    root, rng = tmp_path_factory.mktemp("Töne & mehr"), np.random.default_rng(0)
    for i in range(24):
        kind = root / ("<tief>", "hoch & hell")[i % 2]
        kind.mkdir(exist_ok=True)
        t = np.arange(round(22050 * rng.uniform(0.4, 1.2))) / 22050
        x = 0.3 * np.sin(2 * np.pi * rng.uniform(0.9, 1.1) * (180, 900)[i % 2] * t) * np.exp(-2 * t)
        soundfile.write(kind / f"Aufnahme {i}.wav", x + 0.003 * rng.standard_normal(len(t)), 22050)
    return root


def outputs_of(result) -> dict[str, list[dict]]:
    node = json.loads((result.folder / "tour.ipynb").read_text(encoding="utf-8"))
    return {cell["id"]: cell["outputs"] for cell in node["cells"] if cell["cell_type"] == "code"}


def html_of(outputs: list[dict]) -> str:
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)


def shown(result) -> dict[str, str]:
    """HTML that each code cell put out; every picture is there, and every sentence has its numbers."""
    outputs = outputs_of(result)
    texts = {name: html_of(each) for name, each in outputs.items()}
    for name in PICTURES:
        assert "wb-" in texts[name] or "image/png" in str(outputs[name]), name
    for name in READINGS:
        assert "workbench-reading" in texts[name] and ">nan" not in texts[name], name
    return texts


@pytest.mark.slow
def test_the_default_teaches_something_at_every_step(tmp_path):
    (result,) = run("tour", out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    texts = shown(result)
    assert not any("cannot carry" in text for text in texts.values())
    assert "mini lies above untrained" in texts["map-reading"] and "of mini lies above" in texts["layers-reading"]
    assert "lies above the toss of a coin" in texts["latent"]
    assert "lies above the same mask elsewhere" in texts["explanation-reading"]
    assert "lies above always giving" in texts["prototype-reading"]
    headline = result.results["headline"]
    assert len(headline) == 3
    assert all(row["low"] < row["value"] < row["high"] and row["control"] for row in headline)
    assert result.results["context"]["dataset"]["name"] == "notes"


@pytest.mark.slow
def test_a_strangers_folder_goes_through(tmp_path, folder):
    parameters = {"dataset": str(folder), "encoder": "logmel"}
    (result,) = run("tour", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    texts = shown(result)
    assert result.results["context"]["dataset"]["clips"] == 24
    assert "128 latents learnt from" in texts["latent"] and "know them by heart" in texts["latent"]
    page = (result.folder / "tour.html").read_text(encoding="utf-8")
    assert "&lt;tief&gt;" in page and "<tief>" not in page
    assert page.count("data:audio/") > 10


def test_a_folder_that_is_too_small_is_refused_at_once(tmp_path):
    for i in range(4):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        soundfile.write(tmp_path / "ab"[i % 2] / f"{i}.wav", np.sin(np.arange(8000) / (5 + 40 * (i % 2))), 16000)
    (result,) = run("tour", parameters={"dataset": str(tmp_path)}, out=tmp_path / "run", progress=False)
    assert result.status == "failed" and result.results["error"]["cell"] == 4
    assert "0 of 2 classes have clips of 3 groups or more" in result.problem, result.problem


def test_the_tour_comes_first():
    names = [notebook.name for notebook in find_notebooks()]
    assert names == ["tour", *sorted({*names} - {"tour"})] and len(names) == 5


def test_a_step_that_is_refused_says_so_and_what_is_a_mistake_still_stops(capsys):
    with tour.step("a sparse code"):
        raise ParameterError("layers", "equal rows", "different ones")
    said = capsys.readouterr().out
    assert said.startswith("These sounds and this model cannot carry a sparse code: layers='equal rows'"), said
    with pytest.raises(ZeroDivisionError), tour.step("a sparse code"):
        _ = 1 / 0


def test_neighbours_are_those_of_other_groups():
    z, labels = np.array([[0.0], [0.1], [1.0], [5.0], [5.1]]), list("aabbb")
    assert tour.neighbours_agree(z, labels, list("12345")).tolist() == [True, True, False, True, True]
    assert tour.neighbours_agree(z, labels, list("11234")).tolist() == [False, False, False, True, True]
    assert not tour.neighbours_agree(z, labels, list("11111")).any()


def clips_of(labels: list[str]) -> Clips:
    sounds = [np.ones(8, np.float32) * (i + 1) / len(labels) for i in range(len(labels))]
    return Clips.from_arrays(sounds, 8000, label=labels)


def test_a_latent_is_chosen_on_training_clips_and_judged_on_test_clips():
    labels = list("aaabbb" + "aaabbb")
    split, rng = Split(np.arange(6), None, np.arange(6, 12)), np.random.default_rng(0)
    z = rng.uniform(0.4, 0.6, (12, 3))
    z[:6, 1] = [1, 1, 1, 0, 0, 0]  # tells "a" on the training clips ...
    z[6:, 1] = [0, 0, 1, 0, 0, 1]  # ... and nothing on the test clips: 4.5 of 9 pairs, ties halved
    z[:, 2] = [0, 0, 0, 1, 1, 0.9, 0, 0.2, 0, 1, 1, 1]  # tells "b" on both
    latents = {each.number: each for each in tour.telling_latents(z, clips_of(labels), split)}
    assert set(latents) == {1, 2} and (latents[1].label, latents[2].label) == ("a", "b")
    assert latents[1].difference[0] == pytest.approx(0) and latents[2].difference[0] == pytest.approx(0.5)
    low, high = latents[1].difference[1:]
    assert -0.5 <= low < 0 < high <= 0.5
    assert "no difference that these data can show" in tour.latent_sentence([latents[1]])
    missing = tour.telling_latents(z, clips_of(labels), Split(np.arange(6), None, np.arange(6, 9)))
    assert {each.label for each in missing} == {"a"}  # a label that no test clip has is passed over
    assert "cannot be compared, the test part has no clip without the label" in tour.latent_sentence(missing)
    assert tour.latent_sentence([]) == "There is no latent to read."
