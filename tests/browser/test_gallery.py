"""A gallery in a browser without a network: from the index to a page, to the reference, and a search in that."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from workbench.runs import gallery, run

CELL = """
import numpy as np
import pandas as pd
from workbench.views import players
clips = pd.DataFrame({"id": ["a"], "label": ["tone"]})
players(clips, [0], audio=lambda i: (0.1 * np.sin(np.arange(32000) / 9).astype("f"), 16000))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("pdoc", reason="needs pdoc")
    folder = tmp_path_factory.mktemp("gallery")
    cells = [new_code_cell('seed = 0\nscale = "smoke"', metadata={"tags": ["parameters"]}), new_code_cell(CELL)]
    nbformat.write(new_notebook(cells=cells), folder / "toy.ipynb")
    run(folder / "toy.ipynb", out=folder / "runs", progress=False)
    gallery(folder / "site", runs=folder / "runs")
    return folder / "site"


def test_from_the_index_to_a_page_the_reference_and_a_search(site, offline_page):
    asked = []
    offline_page.on("request", lambda request: asked.append(request.url))
    offline_page.goto((site / "index.html").as_uri())
    offline_page.click("audio")
    offline_page.wait_for_function("document.querySelector('audio').readyState >= 2")
    offline_page.click("h2 a")
    offline_page.wait_for_selector(".wb-players button, .wb-players audio")
    assert offline_page.url.endswith("/notebooks/toy/toy.html")
    offline_page.go_back()
    offline_page.click("text=Reference of the package")
    offline_page.click("nav.pdoc >> text=probes")
    assert offline_page.inner_text("h1") == "workbench.probes"
    assert offline_page.is_visible("#fit_probes")
    offline_page.fill("input[type=search]", "frechet")
    offline_page.wait_for_selector("text=workbench.metrics.frechet.frechet_distance")
    offline_page.click("text=Executed notebooks")
    assert offline_page.url == (site / "index.html").as_uri()
    assert len(asked) > 4 and not [url[:80] for url in asked if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("page", ["index.html", "reference/workbench.html", "reference/workbench/metrics/blocks.html"])
def test_it_fits_the_screen(site, chromium, width, page):
    context = chromium.new_context(viewport={"width": width, "height": 800}, offline=True)
    shown = context.new_page()
    shown.goto((site / page).as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
