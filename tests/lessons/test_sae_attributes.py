"""Part 3 of the notebook on sparse autoencoders: attributes in the sparse code, and in the embedding."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.attributes import Attributes
from workbench.lessons import sae_attributes as attributed
from workbench.metrics.disentanglement import PAPER, completeness
from workbench.metrics.importance import lasso_importance
from workbench.metrics.intervals import jackknife_interval
from workbench.sae import attribute_study, best_attributes

NAN = float("nan")


def study(r2, completeness, codes, kind, sparsity, protocol):
    names = [f"{kind} {i}" if protocol == "paper" else f"attribute {i}" for i in range(len(r2))]
    frame = pd.DataFrame({"attribute": names, "r2": r2, "r2_valid": r2, "completeness": completeness, "codes": codes})
    return frame.assign(kind=kind, sparsity=sparsity, protocol=protocol)


def test_codes_are_compared_attribute_by_attribute():
    parts = []
    for protocol in ("paper", "held out"):
        parts.append(study([0.8, 0.6], [0.5, 0.7], [4, 6], "SAE", 0.9, protocol))
        parts.append(study([0.9, 0.5], [0.2, 0.4], [9, 5], "embedding", 0.0, protocol))
        parts.append(study([0.1, 0.1], [0.1, 0.1], [8, 8], "SAE, untrained", 0.9, protocol))
    top = pd.concat(parts, ignore_index=True)
    columns = ["difference", "low", "high", "untrained"]
    figures = [[0.3, 0.1, 0.5, -0.2], [-2.0, NAN, NAN, 1.0]]
    margins = pd.DataFrame(figures, index=["completeness", "codes"], columns=columns)
    first, _, whole, few, last = attributed.attribute_sentences(top, margins, sparsity=0.9)
    assert first == (
        "Held out, trained SAE and embedding: R² 0.70 and 0.70, higher for 1 of 2 attributes; "
        "effective codes 5 and 7, fewer for 1."
    )
    assert "the trained SAE lies above the embedding, by 0.30 [0.10 to 0.50]." in whole and whole.endswith("is -0.20.")
    assert (
        "fewer than three groups" in few and few.endswith("is +1.") and last.startswith("Sparsity 90%. The intervals")
    )
    assert attributed.attribute_means(top).loc[("SAE", 0.9, "paper"), "r2"] == pytest.approx(0.7)
    rows = attributed.attribute_rows(margins)
    assert [row[1] for row in rows] == [0.3, -2.0] and rows[0][2:] == (0.1, 0.5, "the untrained code's -0.2")


def test_margins_of_codes_are_the_jackknifes_over_the_groups_of_the_fit():
    rng, count = np.random.default_rng(0), 120
    groups = np.repeat(np.arange(24), 5)
    v = rng.standard_normal((count, 3)) + rng.standard_normal((24, 3))[groups]
    mixed = v @ rng.standard_normal((3, 12)) + 0.3 * rng.standard_normal((count, 12))  # every number has a part of each
    alone = np.hstack([v + 0.3 * rng.standard_normal(v.shape), rng.standard_normal((count, 9))])  # a number for each
    codes = {("embedding", 0.0): mixed, ("SAE", 0.9): alone, ("SAE, untrained", 0.9): mixed + 1.0}
    split = wb.Split(*(np.flatnonzero(groups % 3 == part) for part in (0, 1, 2)))
    families = dict.fromkeys("abc", "pitch")
    measured = Attributes(
        "toy", tuple("abc"), v, families, families, np.arange(count).astype(str), np.arange(count), {}
    )
    top = best_attributes(attribute_study(codes, measured, split=split, groups=groups))
    same = {"sparsity": 0.9, "split": split, "seed": 0}
    margins = attributed.attribute_margins(codes, measured, top, groups=groups, **same, blocks=100)
    assert margins.loc["completeness", "low"] > 0 > margins.loc["codes", "high"]
    np.testing.assert_allclose(margins["untrained"], 0, atol=1e-6)

    without = []  # by hand, each of the eight groups of the test part left out
    for out in np.unique(groups[split.test]):
        rows = split.test[groups[split.test] != out]
        R = [lasso_importance(z[rows], v[rows], config="paper").R for z in (alone, mixed)]
        a, b = (completeness(each, **PAPER).each.mean() for each in R)
        without.append(a - b)
    value = margins.loc["completeness", "difference"]
    interval = jackknife_interval(value, np.array(without) - np.mean(without) + value)
    np.testing.assert_allclose(margins.loc["completeness", ["low", "high"]].astype(float), interval, atol=1e-6)
    few = attributed.attribute_margins(codes, measured, top, groups=groups >= 12, **same)
    assert few[["low", "high"]].isna().all().all() and (few["difference"] == margins["difference"]).all()


def test_entropy_stands_beside_the_attributes_that_have_a_completeness():
    rows = study([0.5] * 3, [0.9, 0.5, NAN], [1, 2, 3], "SAE", 0.9, "held out")
    table = attributed.entropy_table(
        rows, [f"attribute {i}" for i in range(3)], np.array([1.0, 2.0, 3.0]), sparsity=0.9
    )
    assert list(table["entropy"]) == [1.0, 2.0]
    assert "over 2 attributes: -1.00." in attributed.entropy_sentences(table)[0]
    assert "too few" in attributed.entropy_sentences(table[:1])[0]


def test_known_factors_are_counted_or_said_to_be_missing():
    assert attributed.truth_sentences(attributed.truth_table({}, None, sparsity=0.9))[0].startswith("No factor")
    columns = pd.MultiIndex.from_product([["r2", "codes"], ["SAE", "embedding"]])
    table = pd.DataFrame([[0.5, 0.9, 3, 10], [0.7, 0.6, 5, 4]], columns=columns)
    r2, codes, _ = attributed.truth_sentences(table)
    assert r2 == "R² of the trained SAE 0.60, of the embedding 0.75; higher for 1 of 2."
    assert codes == "Effective codes of the trained SAE 4, of the embedding 7; fewer for 1 of 2."
