"""Sentences on depth: their numbers are those of the table, and they turn with it."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.views import depth_sentences

FAMILIES = {"f0": "pitch", "vibrato": "pitch", "f1": "formants", "f2": "formants", "level": "loudness"}


def table(depths, low=(0.1, 0.1, 0.1, 0.1, -0.1), spectrum=(0.2, 0.2, 0.2, 0.2, 0.2)):
    columns = {"layer": ["x"] * 5, "depth": depths, "r2": [0.5] * 5, "untrained: low": low, "spectrum: low": spectrum}
    return pd.DataFrame(columns, index=list(FAMILIES))


def test_it_counts_what_was_learnt_and_says_how_deep():
    said = depth_sentences(table([0.2, 0.4, 0.8, 1.0, 0.5]), FAMILIES, layers=6)
    assert said[0] == (
        "pitch: 2 of 2 attributes are read better than from untrained and spectrum, best at a median depth of 0.30."
    )
    assert said[2] == "loudness: 0 of 1 attributes are read better than from untrained and spectrum."
    assert said[3].endswith("holds here (median depth 0.30 of 2, 0.90 of 2 attributes).")


def test_the_papers_sentence_is_turned_or_not_seen_or_cannot_be_said():
    assert "other way round" in depth_sentences(table([1.0, 1.0, 0.2, 0.2, 0]), FAMILIES, layers=6)[-1]
    assert "not seen here" in depth_sentences(table([0.4, 0.4, 0.5, 0.5, 0]), FAMILIES, layers=6)[-1]
    assert "holds" in depth_sentences(table([0.4, 0.4, 0.5, 0.5, 0]), FAMILIES, layers=20)[-1]
    unlearnt = table([0.2, 0.2, 0.9, 0.9, 0], spectrum=(0.1, 0.1, -0.1, float("nan"), 0))
    assert "of formants nothing was learnt" in depth_sentences(unlearnt, FAMILIES, layers=6)[-1]


def test_other_tables_are_refused():
    with pytest.raises(ParameterError, match="with controls"):
        depth_sentences(table([0.0] * 5)[["layer", "depth", "r2"]], FAMILIES, layers=6)
    with pytest.raises(ParameterError, match="a family for every attribute"):
        depth_sentences(table([0.0] * 5), {"f0": "pitch"}, layers=6)
