"""The pages' JavaScript without a browser: syntax, ESLint where installed, and the functions that only compute."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import workbench.views
from workbench.views.listening import ListeningTrial, _hash32, _stimulus_id, _trial_id, listening_test
from workbench.views.page import Page, _static, array, signed

FOLDER = Path(workbench.views.__file__).parent / "static"
FILES = sorted(FOLDER.glob("*.js"))
TEXTS = ["", "a", "Ann|12", "Zoë 🎧", "日本", "x" * 300]


def tool(name: str, how: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name} on the path ({how})")
    return path


def node(names: str, call: str, *arguments):
    """What a JavaScript function (of the arguments) gives, called beside these files of ``static/``."""
    given = json.dumps(arguments)
    code = f"{_static(*names.split())}\nconst given = JSON.parse({json.dumps(given)});\n"
    code += f"Promise.resolve(({call})(...given)).then((found) => console.log(JSON.stringify(found)));"
    command = [tool("node", "Node.js 20 or newer"), "-"]
    done = subprocess.run(command, input=code, capture_output=True, encoding="utf-8", timeout=60)
    assert not done.returncode, done.stderr[-2000:]
    return json.loads(done.stdout)


def page_classes(base: type = Page) -> list[type[Page]]:
    return [found for kind in base.__subclasses__() for found in (kind, *page_classes(kind))]


# --- the text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_syntax(path, tmp_path):
    copy = tmp_path / f"script.{'mjs' if 'export default' in path.read_text(encoding='utf-8') else 'cjs'}"
    copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    done = subprocess.run([tool("node", "Node.js 20 or newer"), "--check", copy], capture_output=True, text=True)
    assert not done.returncode, done.stderr


def test_comments_and_indents_stay_out_of_pages_and_nothing_else():
    for path in FILES:
        shipped, whole = _static(path.name), path.read_text(encoding="utf-8")
        assert "// " not in shipped.replace("://", "") and "\n " not in shipped
        words = re.sub(r"(?m)(^|\s)// .*$", "", whole)
        assert shipped.split() == words.split()
        assert whole.count("`") % 2 == 0 and not any(line.count("`") % 2 for line in whole.splitlines()), path.name


@pytest.mark.parametrize("kind", page_classes(), ids=lambda kind: kind.__name__)
def test_eslint(kind, tmp_path):
    """Each page's whole script, as the page carries it: a name that none of its files knows is an error."""
    eslint = tool("eslint", "npm install --global eslint@10")
    shutil.copy(Path(__file__).with_name("eslint.config.mjs"), tmp_path)
    start = f"\nshowPage(document.currentScript, {kind._view});" if kind._view else ""
    (tmp_path / "page.js").write_text(_static(*kind._script_files()) + start, encoding="utf-8")
    done = subprocess.run([eslint, "page.js"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr


# --- data and numbers ----------------------------------------------------------------------------------------------


def test_what_python_packs_comes_back():
    class Blank(Page):
        def _still(self) -> str:
            return ""

    page, data = Blank("t"), {"text": TEXTS, "number": 0.1, "nested": {"a": [None, True]}}
    page._pack(data)
    assert node("page.js", "unpack", page._packed) == data | {"key": page.key}
    for name, values in (("uint16", [0, 1, 65535]), ("uint32", [0, 2**32 - 1]), ("float32", [0.5, -3.25, 1e30])):
        packed = array(np.array(values), {"uint16": "<u2", "uint32": "<u4", "float32": "<f4"}[name])
        assert node("page.js elements.js", f"(text) => [...{name}(text)]", packed) == pytest.approx(values)


def test_numbers_as_text():
    texts = node(
        "elements.js", "() => [show(NaN), show(3), show(3.14159), show(12345.678, 3), count(1234567), signed(NaN)]"
    )
    assert texts == ["–", "3", "3.142", "12300", "1,234,567", "–"]
    values = [0.0, 0.125, -0.2, 3.14159, -17.0]
    both = node("elements.js", "(all) => all.map((value) => signed(value, 3))", values)
    assert both == [signed(value, 3) for value in values]
    shares = node("page.js elements.js latents.js", "(all) => all.map(percent)", [0, 0.001234, 0.0994, 0.5, 1])
    assert shares == ["0 %", "0.12 %", "9.9 %", "50 %", "100 %"]


def test_colours_mix():
    call = '() => [mix("#000000", "#ffffff", 0.5), mix("#102030", "#405060", 0), rgb("#0a14ff")]'
    assert node("scatter.js", call) == ["#808080", "#102030", [10, 20, 255]]
    opaque, half, clear = 0xFF0000FF, 0x8000FF00, 0
    assert node("scatter.js", "(a, b, c) => [over(a, b), over(b, c), over(b, a)]", opaque, half, clear) == [
        opaque, half, 0xFF00807F,
    ]  # fmt: skip


# --- the map -------------------------------------------------------------------------------------------------------

#: A plot of points at whole numbers, 100 pixels a unit, without a canvas.
PLOT = """(x, y, shown, ringed, act) => {
  const state = { n: x.length, shown, ringed: new Set(ringed), selected: new Set() };
  const plot = Object.create(Scatter.prototype);
  const place = { width: 400, height: 400, scale: 100, tx: 0, ty: 400, fitted: 100 };
  Object.assign(plot, { panel: { x, y, w: 4, h: 4 }, state }, place);
  return new Function("plot", `return ${act}`)(plot);
}"""
X, Y = [0, 1, 2, 3], [0, 1, 2, 1]


def plot(act: str, *, shown=(1, 1, 1, 1), ringed=()):
    return node("elements.js scatter.js", PLOT, X, Y, list(shown), list(ringed), act)


def test_places_on_the_screen_and_back():
    assert plot("[plot.toScreen(2), plot.toData(200, 200)]") == [[200, 200], [2, 2]]


def test_the_nearest_shown_point_is_picked_and_one_that_sounds_wins():
    assert plot("[plot.pick(103, 298), plot.pick(150, 250), plot.pick(5, 395)]") == [1, -1, 0]
    assert plot("plot.pick(100, 300)", shown=(1, 0, 1, 1)) == -1
    near = "plot.panel.x = [0, 1, 1.1, 3], plot.panel.y = [0, 1, 1, 1], plot.pick(104, 300)"
    assert plot(near) == 1 and plot(near, ringed=[2]) == 2


def test_arrow_keys_go_to_the_neighbour_and_skip_what_is_hidden_or_silent():
    steps = "[plot.neighbour(1, 1, 0), plot.neighbour(1, -1, 0), plot.neighbour(1, 0, -1), plot.neighbour(2, 1, 0)]"
    assert plot(steps) == [3, 0, 2, 3]
    assert plot("plot.neighbour(0, 1, 0)", shown=(1, 0, 1, 1)) == 3
    assert plot("plot.neighbour(0, 1, 0)", ringed=[2]) == 2


def test_a_lasso_takes_what_lies_inside():
    assert plot("plot.inside([[50, 350], [250, 350], [250, 150], [50, 150]])") == [1, 2]
    assert plot("plot.inside([[50, 350], [250, 350], [250, 150], [50, 150]])", shown=(1, 0, 1, 1)) == [2]


def test_zoom_keeps_the_place_under_the_pointer():
    zoom = (
        "(plot.redraw = () => {}, plot.zoom(2, 200, 200), [plot.scale, plot.toScreen(2), plot.zoom(1e9), plot.scale])"
    )
    assert plot(zoom) == [200, [200, 200], None, 40000]


def test_points_are_drawn_in_a_random_order_that_is_always_the_same():
    order = node("elements.js scatter.js sound_map.js", "(n) => [...shuffled(n)]", 500)
    assert sorted(order) == list(range(500)) and order[:4] != [0, 1, 2, 3]
    assert np.corrcoef(order, range(500))[0, 1] == pytest.approx(0, abs=0.15)


# --- latents -------------------------------------------------------------------------------------------------------


def test_correlation_as_numpy_has_it():
    rng = np.random.default_rng(0)
    values, activation = rng.normal(size=60).round(6), rng.random(60).round(6)
    call = """(values, activation) => LatentPage.prototype.correlation.call(
      { activation }, { min: Math.min(...values.filter((v) => v !== null)), values: values.map((v) => v ?? NaN) })"""
    names = "page.js elements.js latents.js"
    assert node(names, call, values.tolist(), activation.tolist()) == pytest.approx(
        np.corrcoef(values, activation)[0, 1]
    )
    with_gap = [None, *values[1:].tolist()]
    assert node(names, call, with_gap, activation.tolist()) == pytest.approx(
        np.corrcoef(values[1:], activation[1:])[0, 1]
    )
    assert node(names, call, [2.0] * 60, activation.tolist()) is None, "NaN: one value has no correlation"


def test_the_activations_are_read_as_packed():
    call = """(gaps, levels) => { const page = { stats: { max: [2] }, place: new Map([[7, 0]]), current: 7,
      data: { n: 6, latents: { 7: { gaps, levels } } } };
      LatentPage.prototype.readActivations.call(page); return [...page.activation]; }"""
    packed = array(np.array([1, 3]), "<u4"), array(np.array([65535, 32768]), "<u2")
    found = node("page.js elements.js latents.js", call, *packed)
    assert found == pytest.approx([0, 2, 0, 0, 1, 0], abs=1e-4)


# --- the listening test --------------------------------------------------------------------------------------------


def test_the_page_hashes_as_python_does():
    assert node("elements.js listening.js", "(texts) => texts.map(hash32)", TEXTS) == list(map(_hash32, TEXTS))


DESCRIBED = {"x": "It goes up", "y": "It goes down", "z": "<b>neither</b>, say"}


@pytest.mark.parametrize("task", ["rating", "identification", "description"])
def test_the_page_orders_trials_and_sounds_as_python_does(task, tmp_path):
    sound = np.full(200, 0.1, np.float32)
    methods = {0: "abc", 1: "ab", 2: "abcd"}
    trials = [ListeningTrial(f"t{k}", "xy"[k % 2], dict.fromkeys(names, sound), 8000) for k, names in methods.items()]
    told = DESCRIBED if task == "description" else None
    test = listening_test(trials, seed=3, path=tmp_path / "answers.csv", task=task, descriptions=told)
    data = {"task": task, "salt": test._salt}
    sounds = {_trial_id(3, t.id): [{"id": _stimulus_id(3, t.id, m)} for m in t.candidates] for t in trials}
    call = """(data, sounds, listener) => ListeningTest.prototype.order.call({ data, listener,
      trials: new Map(Object.entries(sounds).map(([id, list]) => [id, { sounds: list }])) })"""
    for listener in ("Ann", "Zoë 🎧"):
        steps = node("elements.js listening.js", call, data, sounds, listener)
        expected = [
            {"trial": _trial_id(3, trial), "sounds": [_stimulus_id(3, trial, method) for method in names]}
            for trial, names in test.steps(listener)
        ]
        assert steps == expected


@pytest.mark.parametrize("task", ["rating", "identification", "description"])
def test_answers_that_the_page_makes_are_answers_to_its_test(task, tmp_path):
    """The page's own data and functions, without a browser: what ``save`` makes of a screen, the kernel takes."""
    sound = np.sin(np.arange(400)).astype(np.float32)
    trials = [ListeningTrial(f"t{k}", "xy"[k], {"a": sound, "b": 0.5 * sound}, 8000, sound) for k in range(2)]
    told = DESCRIBED if task == "description" else None
    test = listening_test(trials, seed=3, path=tmp_path / "answers.csv", task=task, descriptions=told)
    data = json.loads(gzip.decompress(base64.b64decode(test._packed)))
    call = """(data) => {
      const trials = new Map(data.trials.map((trial) => [trial.id, trial])), saved = [];
      const page = { data, listener: "Zoë", rows: saved, unsaved: [], broken: new Set(), trials, begun: 0, at: 0,
        remember() {}, send() {}, next() {}, screen: { querySelectorAll: () => [] } };
      const made = ListeningTest.prototype, asked = made.asked.call(page);
      page.steps = made.order.call(page);
      for (const step of page.steps) {
        const said = (name, k) => [name, data.task === "identification" ? data.choices[0] : 10 * k];
        page.answers = new Map(step.sounds.map((id) => [id, { responses: new Map(asked.map(said)), plays: 1 }]));
        made.save.call(page, step);
        page.at++;
      }
      return { asked, saved };
    }"""
    found = node("elements.js listening.js", call, data)
    rows, names = found["saved"], found["asked"]
    assert sorted(names) == (sorted(DESCRIBED) if task == "description" else [""])
    assert len(rows) == 4 * len(names) and all(set(row) == set(data["columns"]) for row in rows)
    test.record(rows)
    table = test.responses()
    heard = [(trial, method) for trial, methods in test.steps("Zoë") for method in methods]
    assert list(table[["trial", "method"]].drop_duplicates().itertuples(index=False, name=None)) == heard
    assert table["description"].tolist() == names * 4 and set(table["label"]) == {"x", "y"}
    if task == "identification":
        assert table["correct"].tolist() == [trial == "t0" for trial, _ in heard]
    else:
        assert table["rating"].tolist() == [10 * k for _ in heard for k in range(len(names))]


def test_cells_of_the_file_are_read_back():
    texts = [*TEXTS, "a,b", 'say "no"', "two\nlines", "\r"]
    line = node("elements.js listening.js", '(texts) => texts.map(csvCell).join(",")', texts)
    assert next(csv.reader(io.StringIO(line, newline=""))) == texts
