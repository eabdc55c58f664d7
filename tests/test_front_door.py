"""README and the texts it leads to: short, their links lead somewhere, their code runs, their figures are measured."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "notebooks/README.md",
    "notebooks/GUIDE.md",
    "notebooks/RESULTS.md",
    "tests/benchmarks/README.md",
    "data_manifests/README.md",
)


def anchors(text: str) -> set[str]:
    """Names that the headings of a Markdown text have on its usual hosts."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = [re.sub(r"[`*\\]", "", title) for title in re.findall(r"^#{1,6} (.+)$", prose, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]
    broken = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


def test_the_readme_is_one_page():
    words = (ROOT / "README.md").read_text().split()
    assert len(words) <= 800


def test_a_broken_link_would_be_seen():
    assert anchors("# A `b` c\n\n## Your own sounds\n") == {"a-b-c", "your-own-sounds"}


def test_figures_of_the_readme_are_in_the_results():
    """Every figure of the findings stands in a text that a command wrote, or in a model card."""
    text = (ROOT / "README.md").read_text()
    findings = text[text.index("## Five findings") :].split("\n## ")[0]
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)", re.sub(r"\]\([^)]*\)", "]", findings))
    measured = "\n".join(
        (ROOT / name).read_text() for name in ("notebooks/RESULTS.md", "workbench/encoders/mini/mini.md")
    )
    assert numbers, "findings without a figure"
    assert not [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", measured)]


def test_the_eight_lines_run(monkeypatch, tmp_path):
    """The first example, on fewer clips."""
    matplotlib.use("agg")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    code = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    space: dict[str, object] = {}
    exec(code.replace("size=300", "size=120"), space)
    assert space["probes"].accuracy.max() > space["probes"].majority
