"""Conditions on clips: one spelling, the rows that meet them, and errors that say what to write."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.core.errors import ParameterError
from workbench.views.filtering import conditions, filtered, offered

TABLE = pd.DataFrame(
    {
        "id": [f"clip {i}" for i in range(6)],
        "label": pd.Categorical(list("aabbcc")),
        "f0": [100.0, 200.0, None, 300.0, 400.0, 500.0],
        "loud": pd.array([True, None, False, True, None, False], dtype="boolean"),
        "a take": [1, 1, 2, 2, 3, 3],
        "notes": [[k] for k in range(6)],
    }
)


@pytest.mark.parametrize(
    ("where", "query", "rows"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        ({"label": ["c", "a"]}, None, [0, 1, 4, 5]),
        (None, "f0 > 150 and label != 'c'", [1, 3]),
        (None, "loud", [0, 3]),
        ({"a take": [1, 2]}, "`a take` != 1", [2, 3]),
        (None, "id.str.endswith('4')", [4]),
        (None, "f0 != f0", [2]),
    ],
)
def test_rows_that_meet_both_conditions(where, query, rows):
    assert filtered(TABLE, where, query).tolist() == rows


@pytest.mark.parametrize(
    ("given", "spelling"),
    [
        ((None, None), {"where": None, "query": None}),
        (({}, "  "), {"where": None, "query": None}),
        (({"label": []}, ""), {"where": None, "query": None}),
        (({"label": "a"}, " f0 > 1 "), {"where": {"label": ["a"]}, "query": "f0 > 1"}),
        (({"a take": TABLE["a take"].to_numpy()[:1]}, None), {"where": {"a take": [1]}, "query": None}),
    ],
)
def test_one_spelling(given, spelling):
    assert conditions(*given, TABLE) == spelling


@pytest.mark.parametrize(
    ("where", "query", "message"),
    [
        ({"label": ["d"]}, None, "where['label']='d' must be one of the column's 3 values: a, b, c"),
        ({"pitch": ["d"]}, None, "where='pitch' must be a column of the table: id, label"),
        ({"label": ["a"], "a take": [1]}, None, "query takes conditions on several"),
        (["label"], None, "where=['label'] must be a mapping of one column to values"),
        ({"label": 3}, None, "where['label']='int' must be values of the column"),
        (None, 3, "query='int' must be text, or None"),
    ],
)
def test_wrong_conditions(where, query, message):
    with pytest.raises(ParameterError) as error:
        conditions(where, query, TABLE)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("f0 >", "(SyntaxError: invalid syntax"),
        ("pitch > 3", "name 'pitch' is not defined"),
        ("label > 3", "(TypeError: "),
        ("f0", "must be a condition, true or false for each clip, such as f0 > 200"),
        ("3 > 2", "must be a condition, true or false for each clip"),
        ("@TABLE.f0 > 3", "local variable 'TABLE' is not defined"),
        ("f0 > 1000", "query='f0 > 1000' must be met by at least one clip"),
    ],
)
def test_conditions_that_cannot_be_met_or_read(query, message):
    with pytest.raises(ParameterError) as error:
        filtered(TABLE, None, query)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_two_conditions_that_exclude_each_other():
    with pytest.raises(ParameterError, match="where and query=.*'label'.* must be met by at least one clip"):
        filtered(TABLE, {"label": ["a"]}, "f0 > 300")


def test_columns_of_few_values_are_offered():
    assert offered(TABLE) == {
        "label": ["a", "b", "c"], "f0": [100.0, 200.0, 300.0, 400.0, 500.0], "loud": [False, True], "a take": [1, 2, 3],
    }  # fmt: skip
