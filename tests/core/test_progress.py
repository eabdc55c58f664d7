"""Bars: text in a terminal, in a notebook one output that is emptied, and no widget anywhere."""

import io

import nbformat
import pytest
from nbclient import NotebookClient

from workbench.core import progress
from workbench.core.errors import ParameterError
from workbench.runs.export import without_widgets

CELL = """
from workbench.core.progress import progress_bar, reporter
show = reporter(True, "steps <a>")
for done in range(4):
    show(done + 1, 4)
for _ in progress_bar(range(3), desc="left", leave=True):
    pass
print("finished")
"""


@pytest.fixture
def shown(monkeypatch):
    """What a notebook is asked to show, in turn."""
    data = []

    class Handle:
        def update(self, what, raw):
            data.append(what)

    def display(what, raw, display_id):
        assert raw and display_id
        data.append(what)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    progress._notebook_bar.cache_clear()
    yield data
    progress._notebook_bar.cache_clear()


def test_a_bar_in_a_notebook_is_html_that_is_emptied(shown, capsys):
    with progress.progress_bar(total=2, desc="<b>", leave=False, mininterval=0) as bar:
        bar.update()
        bar.update()
    assert [each["text/plain"].partition("%")[0].split()[-1] for each in shown[:-1]] == ["0", "50", "100"]
    assert all("&lt;b&gt;: " in each["text/html"] for each in shown[:-1])
    assert shown[-1] == {"text/html": "", "text/plain": ""}
    assert {kind for each in shown for kind in each} == {"text/html", "text/plain"}
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_left_or_never_shown_leaves_what_it_should(shown):
    for _ in progress.progress_bar(range(3), leave=True):
        pass
    assert "3/3" in shown[-1]["text/plain"]
    del shown[:]
    for options in ({"disable": True}, {"delay": 60}):
        for _ in progress.progress_bar(range(3), leave=False, **options):
            pass
    assert shown == []


def test_a_bar_in_a_terminal_is_text():
    file = io.StringIO()
    for _ in progress.progress_bar(range(3), desc="clips", file=file, mininterval=0):
        pass
    assert "clips: 100%" in file.getvalue() and "<pre" not in file.getvalue()
    with pytest.raises(ParameterError, match="progress='yes' must be True, False, None or a function"):
        progress.reporter("yes")


def test_a_kernel_keeps_no_place_of_a_widget_behind():
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(node, timeout=120, kernel_name="python3").execute()
    steps, left, said = node.cells[0].outputs
    assert steps.data == {"text/html": "", "text/plain": ""}
    assert set(left.data) == {"text/html", "text/plain"} and "3/3" in left.data["text/plain"]
    assert said.text == "finished\n" and "widgets" not in node.metadata
    assert [output.get("text", "left") for output in without_widgets(node).cells[0].outputs] == ["left", "finished\n"]
