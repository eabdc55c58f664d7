"""Words of the notebooks and tables whose headers carry their meaning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench import views
from workbench.core.errors import ParameterError
from workbench.views.terms import TERMS, meaning


def test_a_word_is_found_however_it_is_spelled():
    assert meaning("Dead") == meaning(" dead ") == TERMS["dead"]
    assert meaning("no such word") is None


def test_every_word_has_one_sentence():
    for word, sentence in TERMS.items():
        assert sentence.endswith(".") and sentence[0].isupper(), word
        assert len(sentence) < 300, word


def test_two_words_that_read_alike_would_hide_each_other():
    assert len({word.replace("_", " ").casefold() for word in TERMS}) == len(TERMS)


def test_glossary_in_order_and_an_unknown_word_by_name():
    assert str(views.glossary("purity", "dead")).startswith("dead: ")
    with pytest.raises(ParameterError, match="puritee.*did you mean 'purity'"):
        views.glossary("puritee")
    with pytest.raises(ParameterError, match="words"):
        views.glossary()


def test_a_table_explains_its_headers_and_escapes_its_cells():
    frame = pd.DataFrame(
        {"dead": [0.25, np.nan], "<b>": ["<i>", None]}, index=pd.Index(["SAE", "majority"], name="code")
    )
    page = views.table(frame, digits=2, title="a & b")._repr_html_()
    assert f'<abbr title="{TERMS["dead"]}">dead</abbr>' in page
    assert page.count(TERMS["majority"]) == 2  # the hint, and the list below
    assert '<td class="number">0.25</td>' in page and '<td class="number">–</td>' in page
    assert "&lt;b&gt;" in page and "<i>" not in page and "a &amp; b" in page


def test_numbers_are_rounded_and_whole_ones_are_not():
    page = views.table(pd.DataFrame({"x": [1], "y": [np.float32(-1 / 3)], "z": [True]}), digits=2)._repr_html_()
    assert '<td class="number">1</td>' in page and '<td class="number">−0.33</td>' in page and "<td>True</td>" in page
    assert "What the words mean" not in page


def test_columns_of_two_levels_share_a_header():
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=pd.MultiIndex.from_tuples([("r2", 1), ("r2", 2), ("dead", 1)]))
    page = views.table(frame)._repr_html_()
    assert f'<th colspan=2 scope="col"><abbr title="{TERMS["r2"]}">r2</abbr></th>' in page
    assert page.count("<tr>") == 3


def test_the_frame_is_there_and_a_series_is_one_column():
    made = views.table(pd.Series([0.5], ["dead"], name="share"))
    assert made.frame.loc["dead", "share"] == 0.5
    assert "0.500" in str(views.table(made.frame, digits=3)) or "0.5" in str(made)
    with pytest.raises(ParameterError, match="frame"):
        views.table([1, 2])
