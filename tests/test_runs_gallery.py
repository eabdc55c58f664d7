"""A gallery of executed notebooks: whole, checked link by link, of the newest finished runs, and never in the way."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import types
from html import escape
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

import workbench
from workbench.cli import app
from workbench.core.errors import ParameterError, RunError
from workbench.runs import galleries, gallery, run
from workbench.runs.links import broken_links
from workbench.runs.provenance import versions
from workbench.runs.recording import read_results, write_results
from workbench.runs.reference import _in_dialect

FIGURE = """
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from workbench.runs import record
from workbench.views import players
figure, axes = plt.subplots()
axes.plot(np.random.default_rng(seed).random(9))
display(figure)
plt.close()
clips = pd.DataFrame({"id": ["a < b"], "label": ["tone"]})
display(players(clips, [0], audio=lambda i: (0.1 * np.sin(np.arange(8000) / 9).astype("f"), 16000)))
record(headline=[("Accuracy & more", 0.75, 0.5, 0.9, "chance 0.5")], accuracy=0.75)
"""


def write_notebook(path: Path, *cells: str) -> Path:
    """A notebook with a parameters cell; a cell that begins with # is text."""
    made = [new_code_cell('seed = 0\nscale = "smoke"', metadata={"tags": ["parameters"]})]
    made += [new_markdown_cell(cell) if cell.startswith("#") else new_code_cell(cell) for cell in cells]
    nbformat.write(new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A folder of runs: one of a notebook with a figure, a sound, a result, and a link to a place in it."""
    folder = tmp_path_factory.mktemp("executed")
    path = write_notebook(folder / "toy.ipynb", "# Is *this* heard?\n\n[down](#What-is-it?)", FIGURE, "## What is it?")
    (result,) = run(path, out=folder / "runs" / "first", progress=False)
    assert result.status == "ok", result.problem
    return folder / "runs"


@pytest.fixture
def runs(executed, tmp_path, monkeypatch):
    """A copy of that folder, in the current directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(executed, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def quick(monkeypatch):
    """Galleries with one page in the place of the reference."""
    pytest.importorskip("pdoc", reason="needs pdoc")

    def write(folder: Path, *, footer: str) -> None:
        folder.mkdir()
        (folder / "workbench.html").write_text(f"<p id=a>{footer}</p>")

    monkeypatch.setattr(galleries, "write_reference", write)


def another(runs: Path, name: str, *, of: str = "first/toy", **changes) -> Path:
    """A copy of a run with other results."""
    shutil.copytree(runs / of, runs / name)
    write_results(runs / name / "results.json", read_results(runs / name) | changes)
    return runs / name


# --- the site ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    """A whole gallery, reference included."""
    pytest.importorskip("pdoc", reason="needs pdoc")
    folder = tmp_path_factory.mktemp("site") / "made" / "here"
    (shown,) = gallery(folder, runs=executed)
    assert (shown.name, shown.folder) == ("toy", executed / "first" / "toy")
    return folder


@pytest.mark.slow
def test_the_site_is_whole_and_its_links_lead_somewhere(site, executed):
    assert broken_links(site) == []
    assert [path.name for path in site.parent.iterdir()] == ["here"]  # nothing temporary is left
    for file in ("toy.html", "toy.ipynb", "results.json"):
        assert (site / "notebooks/toy" / file).read_bytes() == (executed / "first/toy" / file).read_bytes()
    held = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    assert sorted(json.loads((site / "gallery.json").read_text())["files"]) == held
    assert site.stat().st_mode & 0o055 == site.parent.stat().st_mode & 0o055  # a server may read it


@pytest.mark.slow
def test_its_index_shows_a_picture_a_sound_and_the_main_results(site):
    page = (site / "index.html").read_text(encoding="utf-8")
    assert '<img src="data:image/webp;base64,' in page and "<audio" in page
    assert "Is this heard?</a>" in page and "Accuracy &amp; more" in page and "interval 0.5 to 0.9" in page
    for link in ("notebooks/toy/toy.html", "notebooks/toy/toy.ipynb", "reference/workbench.html"):
        assert f'href="{link}"' in page
    assert f"audio-workbench {versions()['audio-workbench']}." in page.split("<footer")[1]


@pytest.mark.slow
def test_no_page_loads_anything_from_a_network(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for path in pages:
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|audio|source|iframe)\b[^>]*?(?:src|href)="([^"]+)"', text)
        assert not [address[:80] for address in loaded if "//" in address[:8]], path
        assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", text), path


@pytest.mark.slow
def test_the_reference_shows_what_stands_at_the_doors_and_nothing_else(site):
    home = Path(workbench.__file__).parent
    doors = ["", *(f".{door.parent.name}" for door in home.glob("*/__init__.pyi"))]
    assert len(doors) > 12
    for door in doors:
        module = importlib.import_module(f"workbench{door}")
        page = (site / "reference" / f"workbench{door.replace('.', '/')}.html").read_text(encoding="utf-8")
        documented = set(re.findall(r'<section id="(\w+)">', page))
        offered = {name: getattr(module, name) for name in module.__all__}
        inner = {name for name, value in offered.items() if isinstance(value, types.ModuleType)}
        assert documented == set(offered) - inner, door
        for name in inner:
            assert offered[name].__name__.startswith("workbench."), name
            assert (site / "reference" / f"{offered[name].__name__.replace('.', '/')}.html").is_file()
        assert f"<footer>audio-workbench {versions()['audio-workbench']}</footer>" in page
        assert re.search(r'href="(\.\./)+index.html">Executed notebooks', page)
    audio = (site / "reference/workbench/audio.html").read_text(encoding="utf-8")
    assert {"log_mel", "griffin_lim"} <= set(re.findall(r'<section id="(\w+)">', audio))
    assert not re.search(r'<section id="_', audio)


@pytest.mark.slow
def test_the_reference_renders_numpy_docstrings_and_reads_well(site):
    probes = (site / "reference/workbench/probes.html").read_text(encoding="utf-8")
    fit = probes[probes.index('<section id="fit_probes">') :].split("</section>")[0]
    for heading in ("Parameters", "Returns", "Raises"):
        assert f">{heading}</h6>" in fit
    assert "----" not in fit and "<strong>seeds</strong>" in fit
    everything = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").rglob("*.html"))
    resolved = r'class="annotation">[^<]*numpy\._typing|class="n">_typing<'
    assert "ArrayLike" in fit and not re.search(resolved, everything)
    for left in ("<code>~", ":func:", ":class:", ":mod:"):
        assert left not in everything, left
    prototypes = (site / "reference/workbench/prototypes.html").read_text(encoding="utf-8")
    assert "<code>sets</code> draws prototypes" in prototypes  # no page
    assert "<code>training</code> trains the networks" in prototypes  # a page in another room alone
    assert '<a href="prototypes/networks.html">workbench.prototypes.networks</a>' in prototypes
    # what a class has from another of the package is shown, what it has from elsewhere is not
    sae = (site / "reference/workbench/sae.html").read_text(encoding="utf-8")
    assert 'id="SparseAutoencoder.decode"' in sae and 'id="SparseAutoencoder.register_buffer"' not in sae


def test_docstrings_in_the_dialect_of_the_reference():
    def made(docstring: str) -> str:
        return _in_dialect(docstring, {"audio"})

    assert made("See :func:`~workbench.audio.load` and ~1.") == "See :func:`workbench.audio.load` and ~1."
    assert made("By :mod:`.audio`, :func:`.sets.gram`, ``.csv``.") == "By :mod:`.audio`, :func:`sets.gram`, ``.csv``."
    assert made("Like this::\n\n    x = a[::2]") == "Like this:\n\n    x = a[::2]"
    assert made("``a``\n    First.\n    More.\n\nText.") == "* ``a``: First.\n    More.\n\nText."


# --- which runs ----------------------------------------------------------------------------------------------------


def test_of_each_notebook_the_newest_finished_run_is_taken(runs, quick):
    newer = another(runs, "second/toy", started="2031-01-01T00:00:00+00:00")
    assert [shown.folder for shown in gallery("a")] == [Path("runs/second/toy")]
    assert json.loads(Path("a/notebooks/toy/results.json").read_text())["started"].startswith("2031")
    (newer / "toy.html").unlink()  # it was killed, say, before the page was written
    with pytest.warns(UserWarning, match=r"newest run of toy is not finished \(.*second/toy, ok\).*first/toy is shown"):
        assert [shown.folder for shown in gallery("b")] == [Path("runs/first/toy")]
    assert [shown.folder for shown in gallery("c", runs=["runs/first"])] == [Path("runs/first/toy")]
    with (
        pytest.warns(UserWarning, match="none is shown"),
        pytest.raises(RunError, match=r"no finished run of a notebook in runs/second; .*: workbench run;"),
    ):
        gallery("d", runs="runs/second")
    assert not Path("d").exists()


def test_sweeps_and_other_galleries_are_left_out_unless_they_are_named(runs, quick):
    another(runs, "sweep-toy/seed-3", started="2031-01-01T00:00:00+00:00")
    (runs / "sweep-toy/sweep.csv").write_text("seed\n3\n")
    assert [shown.folder.parts[1] for shown in gallery("runs/site")] == ["first"]
    assert [shown.folder.parts[1] for shown in gallery("again")] == ["first"]
    assert [shown.folder.parts[1] for shown in gallery("swept", runs=[runs.name + "/sweep-toy", "runs"])] == [
        "sweep-toy"
    ]


def test_a_damaged_file_is_named_and_left_out(runs, quick):
    (another(runs, "second/toy") / "results.json").write_text("{")
    with pytest.warns(UserWarning, match="second/toy/results.json.*: left out"):
        assert len(gallery("site")) == 1
    escaping = another(runs, "third/toy", notebook={"name": "../toy", "title": "t", "sha256": "0"})
    shutil.copy(runs / "first/toy/toy.html", escaping / "../toy.html")
    shutil.copy(runs / "first/toy/toy.ipynb", escaping / "../toy.ipynb")
    with pytest.warns(UserWarning, match=r"newest run of \.\./toy is not finished"):
        assert len(gallery("site", runs=["runs/first", "runs/third"])) == 1


def test_nothing_to_show_says_what_to_do(tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"in runs; first execute them all, at scale smoke: workbench run; .*--runs"):
        gallery("site")
    with pytest.raises(RunError, match="in nowhere, here;"):
        gallery("site", runs=["nowhere", "here"])
    with pytest.raises(ParameterError, match="runs=3"):
        gallery("site", runs=3)
    assert list(tmp_path.iterdir()) == []


# --- where it is written -------------------------------------------------------------------------------------------


def test_a_gallery_is_replaced_and_nothing_else_is(runs, quick):
    gallery("site")
    Path("site/notebooks/toy/toy.ipynb").write_text("old")
    gallery("site")
    assert Path("site/notebooks/toy/toy.ipynb").read_text() != "old"
    Path("site/CNAME").write_text("example.org")
    with pytest.raises(RunError, match=r"site holds files that no gallery wrote \(CNAME\): it is not replaced"):
        gallery("site")
    assert Path("site/CNAME").exists()
    Path("mine").mkdir()
    Path("mine/index.html").write_text("mine")
    with pytest.raises(RunError, match="mine is no gallery"):
        gallery("mine")
    with pytest.raises(RunError, match="runs is no gallery"):
        gallery("runs")
    with pytest.raises(RunError, match=r"must be a folder"):
        gallery("mine/index.html")
    Path("empty").mkdir()
    gallery("empty")
    assert Path("empty/index.html").is_file()
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "mine", "runs", "site"]


def test_the_current_directory_is_not_replaced(runs, quick, monkeypatch):
    Path("inside").mkdir()
    monkeypatch.chdir("inside")
    with pytest.raises(RunError, match="not the one that you are in"):
        gallery(".", runs="../runs")


@pytest.mark.parametrize("stopped", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_what_fails_or_is_stopped_leaves_the_old_gallery_and_nothing_temporary(runs, quick, monkeypatch, stopped):
    gallery("site")
    before = Path("site/gallery.json").stat().st_mtime_ns

    def fail(*_, **__):
        raise stopped

    monkeypatch.setattr(galleries, "write_reference", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(stopped, KeyboardInterrupt) else RunError) as caught:
        gallery("site")
    assert isinstance(stopped, KeyboardInterrupt) or "site cannot be written (No space left)" in str(caught.value)
    assert Path("site/gallery.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "site"]


def test_a_name_that_cannot_be_given_brings_the_old_gallery_back(runs, quick, monkeypatch):
    gallery("site")
    rename = Path.rename

    def refuse(path, target):
        if Path(target).name == "site" and not (path / "old").exists():  # the new one, not the old one on its way back
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    Path("site/gallery.json").write_text(
        json.dumps({"files": [*json.loads(Path("site/gallery.json").read_text())["files"], "old"]})
    )
    Path("site/old").write_text("old")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RunError, match="busy"):
        gallery("site")
    assert Path("site/old").read_text() == "old" and sorted(p.name for p in Path().iterdir()) == ["runs", "site"]


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("b.html", ""),
        ("b.html#there", ""),
        ("b.html?x=1#caf%C3%A9", ""),
        ("b.html#by name", ""),
        ("#here", ""),
        ("#", ""),
        ("#top", ""),
        ("", ""),
        ("inner", ""),
        ("inner/", ""),
        ("my%20sound.mp3#t=1,2", ""),
        ("https://example.org/nowhere#x", ""),
        ("//example.org/x", ""),
        ("mailto:a@example.org", ""),
        ("data:text/plain,hello", ""),
        ("c.html", "leads to a file that is not there"),
        ("my sound.mp4", "leads to a file that is not there"),
        ("b.html#nowhere", "leads to a place that the page does not have"),
        ("#nowhere", "leads to a place that the page does not have"),
        ("b.html#in-a-comment", "leads to a place that the page does not have"),
        ("b.html#in-a-script", "leads to a place that the page does not have"),
        ("inner#nowhere", "leads to a place that the page does not have"),
        ("empty", "leads to a file that is not there"),
        ("../a.html", "leads out of the site"),
        ("/a.html", "begins at the host, not at the page"),
        ("http://[", "is no address"),
    ],
)
@pytest.mark.parametrize("element", ['<a href="{}">x</a>', '<audio src="{}"></audio>', "<IMG SRC='{}'>"])
def test_links_that_lead_nowhere_are_found(tmp_path, element, link, problem):
    (tmp_path / "inner").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "inner/index.html").write_text("<p>")
    (tmp_path / "my sound.mp3").write_bytes(b"")
    (tmp_path / "b.html").write_text(
        '<h1 id="there">1</h1><h2 id="café">2</h2><a name="by name"></a><!-- <p id="in-a-comment"> -->'
        "<script>const made = '<p id=\"in-a-script\">'</script>",
        encoding="utf-8",
    )
    (tmp_path / "a.html").write_text(f'<p id="here">{element.format(escape(link))}', encoding="utf-8")
    assert broken_links(tmp_path) == ([f"a.html: {link} {problem}"] if problem else [])


def test_a_site_without_a_page_is_no_site(tmp_path):
    with pytest.raises(RunError, match="no page of a site there"):
        broken_links(tmp_path)
    (tmp_path / "a.html").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RunError, match=r"a\.html: the page cannot be read"):
        broken_links(tmp_path)


def test_a_broken_link_of_a_page_is_named_and_nothing_is_written(runs, quick):
    page = runs / "first/toy/toy.html"
    whole = page.read_text()
    page.write_text(whole.replace("</body>", '<a href="sae.ipynb">next</a></body>'))
    result = CliRunner().invoke(app, ["gallery", "site"])
    assert result.exit_code == 1 and result.output.count("\n") == 1
    assert "notebooks/toy/toy.html: sae.ipynb leads to a file that is not there" in result.output
    assert sorted(path.name for path in Path().iterdir()) == ["runs"]
    page.write_text(whole.replace("</body>", "".join(f'<a href="{n}.html">x</a>' for n in range(21)) + "</body>"))
    with pytest.raises(RunError, match=r"9\.html leads to a file that is not there; and 11 more$"):
        gallery("site")


def test_the_command_says_what_it_took_and_where_it_is(runs, quick):
    result = CliRunner().invoke(app, ["gallery", "site", "--runs", "runs/first", "--runs", "runs"])
    assert result.exit_code == 0, result.output
    first, last = result.output.splitlines()
    assert first.startswith("toy: runs/first/toy, scale smoke, 20") and last == "site/index.html"
    assert CliRunner().invoke(app, ["gallery", "site2", "--runs", "nowhere"]).exit_code == 1


def test_without_pdoc_one_line_says_what_to_install(runs, monkeypatch):
    real = importlib.import_module

    def absent(name, *package):
        if name.startswith("pdoc"):
            raise ModuleNotFoundError("No module named 'pdoc'", name="pdoc")
        return real(name, *package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(workbench.WorkbenchError, match=r'pip install "audio-workbench\[gallery\]"'):
        gallery("site")
