"""What runs have found, as Markdown."""

from __future__ import annotations

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbench.core.errors import RunError
from workbench.runs import results_text, run
from workbench.runs.findings import command

CODE = """
import pandas as pd, workbench as wb
wb.record(headline=[("Accuracy | of a*b", 0.5, 0.4, 0.6, "chance 0.10"), ("Rest", 1.25, None, None, "nothing")])
display(wb.views.table(pd.DataFrame({"dead|alive": [0.25]}, index=["SAE"]), digits=2, title="Codes"))
display(wb.views.table(pd.DataFrame({"empty": []}), title="Nothing"))
wb.views.reading("Accuracy lies above chance, by 40.0 points [30.0 to 50.0].")
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    parameters = "seed = 0  # of all\nscale = 'smoke'  # how much\nwords = []  # a list\nname = ''  # a text\n"
    cells = [
        new_markdown_cell("# The toy"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        new_markdown_cell("## Part `one`"),
        new_code_cell(CODE),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "toy.ipynb")
    (result,) = run(folder / "toy.ipynb", parameters={"words": ["a b"], "name": "x y"}, seed=3, out=folder / "runs")
    assert result.status == "ok"
    return folder / "runs"


def test_everything_that_a_run_shows_stands_below_its_command(done, tmp_path):
    text = results_text(done, out=tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == text
    assert "workbench run toy --seed 3 -p 'words=[\"a b\"]' -p 'name=x y'\n" in text
    assert "| Accuracy \\| of a\\*b | 0.5 | 0.4 to 0.6 | chance 0.10 |" in text
    assert "| Rest | 1.25 | none | nothing |" in text
    part = text.index("### Part one")
    table = "**Codes**\n\n|  | dead\\|alive |\n| --- | ---: |\n| SAE | 0.25 |"
    assert part < text.index(table) < text.index("- Accuracy lies above chance, by 40.0 points \\[30.0 to 50.0\\].")
    assert text.count("### ") == 1
    assert "Nothing" not in text, "a table without rows"


def test_runs_in_brief_stand_side_by_side_with_their_commands(done, tmp_path):
    results = json.loads((done / "toy" / "results.json").read_text())
    results["context"] = {"dataset": {"name": "other", "clips": 7}}
    gained = {"text": "a minus b", "value": 0.2, "low": 0.1, "high": 0.3, "control": "c"}
    results["headline"].append(gained)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "results.json").write_text(json.dumps(results))
    text = results_text(brief=[done, tmp_path])
    assert "# The toy: 2 runs side by side\n" in text and "(#the-toy-2-runs-side-by-side)" in text
    assert text.count("    workbench run toy --seed 3") == 2 and "dead" not in text
    assert "### Rest\n\n| sounds and model | value | interval | read against |" in text
    assert text.count(" | 1.25 | none | nothing |") == 2 and "| other | 1.25 | none | nothing |" in text
    assert "| other | 0.2 | 0.1 to 0.3 | c |\n\n- Shown to lie above zero in 1 of 1, below zero in 0." in text
    results["headline"] = [gained | {"low": None, "high": None}]
    (tmp_path / "toy" / "results.json").write_text(json.dumps(results))
    text = results_text(done, brief=[tmp_path])
    assert "in 0 of 1, below zero in 0; 1 without an interval." in text and "# The toy: 1 run\n" in text


def test_the_command_names_a_notebook_that_makes_the_same_parameters(done):
    results = json.loads((done / "toy" / "results.json").read_text())
    results |= {"parameters": {"seed": 0, "scale": "smoke", "words": [], "name": ""}, "asked": []}
    assert command(results) == "workbench run toy"


def test_a_table_too_long_for_a_text_is_left_to_the_page(done, tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    for path in (done / "toy").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    text = (folder / "toy.ipynb").read_text()
    rows = "| SAE | 0.25 |\\n" * 100
    (folder / "toy.ipynb").write_text(text.replace("| SAE | 0.25 |", rows.strip("\\n")))
    assert "A table of 100 rows is on the run's page." in results_text(folder)


def test_runs_that_have_no_results_are_named(done, tmp_path):
    with pytest.raises(RunError, match="no run is given"):
        results_text()
    with pytest.raises(RunError, match=f"{tmp_path}: no results here|{tmp_path}"):
        results_text(tmp_path)
    folder = tmp_path / "toy"
    folder.mkdir()
    results = json.loads((done / "toy" / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=r"toy\.ipynb: the executed notebook of this run cannot be read"):
        results_text(folder)
    (folder / "results.json").write_text(json.dumps(results | {"status": "failed"}))
    with pytest.raises(RunError, match="this run is failed"):
        results_text(folder)
