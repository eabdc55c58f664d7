"""Names of latents: planted names are found, noise gets none, and every number is that of a loop."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from workbench.core.errors import ParameterError
from workbench.core.splits import Split
from workbench.metrics.intervals import jackknife_interval
from workbench.sae import Statements, name_latents
from workbench.sae.naming import VERDICTS, _shuffled

GROUPS, CLIPS, WINDOWS = 12, 8, 4  # clips a group, windows a clip
HOLDS, ANOTHER, NONE, FEW = VERDICTS


def moments(groups=GROUPS, clips=CLIPS, windows=WINDOWS):
    """Group and clip of each moment, and the split of the groups in halves."""
    group = np.repeat(np.arange(groups), clips * windows)
    clip = np.repeat(np.arange(groups * clips), windows)
    return group, clip, Split(group < groups // 2, test=group >= groups // 2)


def tags(rng, count, tags=6):
    """Scores (M, tags) of independent tags."""
    return rng.standard_normal((count, tags)), [f"tag {i}" for i in range(tags)]


def test_a_planted_tag_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    group, clip, split = moments()
    scores, names = tags(rng, len(group))
    statements = Statements.from_scores(scores, names, "tagger", split.train)
    codes = np.maximum(rng.standard_normal((len(group), 12)), 0)
    codes[:, 3] = np.maximum(scores[:, 2] - 0.84, 0)  # the fifth of the moments with the most of tag 2
    codes[:, 5] = np.maximum(scores[:, 4] - 0.84, 0) * (rng.random(len(group)) < 0.7)
    codes[:, 7] = 0
    table = name_latents(codes, statements, split, groups=group, clips=clip)
    assert table.index.tolist()[:2] == [3, 5] and 7 not in table.index
    assert table.loc[[3, 5], "name"].tolist() == ["tag 2", "tag 4"] and table.loc[3, "listener"] == "tagger"
    assert table.loc[3, "score"] > 0.9 and table.loc[3, "low"] > 0.2
    assert table["verdict"].tolist() == [HOLDS] * 2 + [NONE] * 9
    assert (table.loc[[3, 5], "p"] == 0.01).all() and table["p"].between(0.01, 1).all()
    assert table["wrong"].iloc[0] != "tag 2" and table["wrong_score"].iloc[0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("of", ["windows", "groups"])
def test_noise_gets_a_name_no_more_often_than_is_said(of):
    """Latents and tags that are alike within clips, or groups, but not related to each other; 40 runs of 30 latents."""
    any_held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        group, clip, split = moments(16, 5, 3)
        inside = {"windows": np.arange(len(group)), "groups": group}[of]
        score = 2 * rng.standard_normal((len(group), 40))[inside] + rng.standard_normal((len(group), 40))
        codes = 2 * rng.standard_normal((len(group), 30))[inside] + rng.standard_normal((len(group), 30)) - 1
        statements = Statements.from_scores(score, [f"tag {i}" for i in range(40)], "tagger", split.train)
        table = name_latents(
            np.maximum(codes, 0), statements, split, groups=group, clips=clip, draws=39, seed=seed, level=0.1
        )
        any_held += table["verdict"].isin([HOLDS, ANOTHER]).any()
    assert any_held <= 9  # of 40 at 10 %: more than 9 come in 1 of 300 cases


def test_what_each_group_says_in_the_same_order_is_found():
    """Ten words, each said once by every group: no shuffle may keep the words in their places."""
    rng = np.random.default_rng(0)
    group, clip, split = moments(8, 20, 1)
    word = clip % 10
    codes = np.stack([(word == 3) * rng.random(len(word)), rng.random(len(word)) * (rng.random(len(word)) < 0.2)], 1)
    statements = Statements.from_labels([f"word {w}" for w in word], "label")
    table = name_latents(codes, statements, split, groups=group, clips=clip)
    assert table.loc[0, ["name", "verdict"]].tolist() == ["label: word 3", HOLDS]
    assert table.loc[0, "score"] == 1 and table.loc[1, "verdict"] == NONE


def test_a_latent_of_two_tags_and_two_tags_of_one_meaning():
    rng = np.random.default_rng(1)
    group, clip, split = moments()
    kind = rng.integers(0, 5, len(group))
    codes = np.stack([np.isin(kind, [0, 1]), kind == 0, kind == 1, kind == 2], 1) * rng.random((len(group), 4))
    statements = Statements.from_labels([f"{k}" for k in kind], "label")
    table = name_latents(codes, statements, split, groups=group, clips=clip)
    assert table.loc[[1, 2, 3], "verdict"].eq(HOLDS).all()
    assert {table.loc[0, "name"], table.loc[0, "wrong"]} == {"label: 0", "label: 1"}
    assert table.loc[0, "verdict"] == ANOTHER and table.loc[0, "score"] == pytest.approx(0.75, abs=0.05)
    # a second tag that says nearly the same as the first is no wrong name
    twin = np.where(rng.random(len(group)) < 0.05, kind == 2, kind == 0)
    more = Statements(
        np.column_stack([statements.yes, twin]), [*statements.names, "twin"], [*statements.listeners, "b"]
    )
    codes = np.column_stack([codes[:, 1:], twin * rng.random(len(group))])
    table = name_latents(codes, more, split, groups=group, clips=clip)
    assert table.loc[[0, 3], "name"].tolist() == ["label: 0", "twin"] and table["verdict"].eq(HOLDS).all()
    assert not table.loc[[0, 3], "wrong"].isin(["twin", "label: 0"]).any()


def test_every_number_is_that_of_a_loop():
    rng = np.random.default_rng(2)
    group, clip, split = moments(24, 12, 2)
    scores, names = tags(rng, len(group), 4)
    statements = Statements.from_scores(scores, names, "tagger", split.train)
    codes = np.maximum(scores @ rng.standard_normal((4, 5)) + rng.standard_normal((len(group), 5)) + 0.5, 0)
    table = name_latents(codes, statements, split, groups=group, clips=clip)
    active = (codes > 0) & (codes >= np.median(codes[split.train], axis=0))
    best, compared = {}, 0
    for j in range(5):
        each = [balanced_accuracy_score(active[split.train, j], yes[split.train]) for yes in statements.yes.T]
        best[j] = int(np.argmax(np.round(each, 9)))
    for j, s in best.items():
        row, test = table.loc[j], split.test
        assert row["name"] == statements.names[s]
        assert row["score"] == pytest.approx(balanced_accuracy_score(active[test, j], statements.yes[test, s]))
        assert row["found"] == pytest.approx(
            balanced_accuracy_score(active[split.train, j], statements.yes[split.train, s])
        )
        assert row["active"] == pytest.approx(active[test, j].mean())
        train = statements.yes[split.train].astype(float)
        rivals = [o for o in set(best.values()) if np.corrcoef(train[:, o], train[:, s])[0, 1] <= 0.5]
        if not rivals:
            assert row["wrong"] == "" and row["wrong_score"] == 0.5
            continue
        wrong = max(
            sorted(rivals),
            key=lambda o: balanced_accuracy_score(active[split.train, j], statements.yes[split.train, o]),
        )

        def margin(rows, j=j, s=s, wrong=wrong):
            return balanced_accuracy_score(active[rows, j], statements.yes[rows, s]) - balanced_accuracy_score(
                active[rows, j], statements.yes[rows, wrong]
            )

        compared += 1
        without = [margin(test[group[test] != g]) for g in np.unique(group[test])]
        bounds = jackknife_interval(margin(test), without, np.full(12, 24), limits=(-1, 1))
        assert row["wrong"] == statements.names[wrong]
        assert row["margin"] == pytest.approx(margin(test))
        # leaving out one group at a time gives nearly the same; the interval is never that of fewer than the moments
        wider = bounds[0] - row["low"], row["high"] - bounds[1]
        assert min(wider) > -0.005 and max(wider) < 0.04
    assert compared >= 3
    again = name_latents(codes, statements, split, groups=group, clips=clip)
    assert again.equals(table)


def test_the_order_of_the_moments_does_not_matter():
    rng = np.random.default_rng(3)
    group, clip, split = moments(8, 6, 1)
    scores, names = tags(rng, len(group))
    codes = np.maximum(scores[:, :3] + rng.standard_normal((len(group), 3)), 0)
    order = rng.permutation(len(group))
    tables = []
    for rows in (np.arange(len(group)), order):
        part = Split(np.flatnonzero(group[rows] < 4), test=np.flatnonzero(group[rows] >= 4))
        said = Statements.from_scores(scores[rows], names, "tagger", part.train)
        tables.append(name_latents(codes[rows], said, part, groups=group[rows], clips=clip[rows], seed=1))
    assert tables[0].equals(tables[1])


def test_a_shuffle_keeps_together_what_goes_together():
    group, clip, _ = moments(4, 3, 5)
    order = _shuffled(group, clip, np.random.default_rng(0))
    assert sorted(order) == list(range(60)) and order.tolist() != list(range(60))
    for values, size in ((group, 15), (clip, 5)):
        assert (np.diff(values[order]) != 0).sum() == 60 // size - 1
    inside = order.reshape(-1, 5) % 5  # the windows of a clip follow each other, from some start on
    assert (np.diff(inside, axis=1) % 5 == 1).all() and len(np.unique(inside[:, 0])) > 1


def test_ranges_of_numbers():
    values = np.r_[np.arange(100.0), np.nan, 200.0]
    said = Statements.from_numbers(values, "pitch", np.arange(100), unit="Hz")
    assert said.names[0] == "pitch: none" and said.yes[:, 0].nonzero()[0].tolist() == [100]
    assert len(said) == 15  # no value, and the ranges that five parts make, but for that of all
    of = dict(zip(said.names, said.yes.T, strict=True))
    assert of["pitch 39.6 to 59.4 Hz"].nonzero()[0].tolist() == list(range(40, 60))
    assert of["pitch below 19.8 Hz"].nonzero()[0].tolist() == list(range(20))
    assert of["pitch from 79.2 Hz"].nonzero()[0].tolist() == [*range(80, 100), 101]
    assert len(Statements.from_numbers(np.full(9, 2.0), "flat", np.arange(9))) == 3
    assert Statements.from_numbers(np.full(9, np.nan), "none", np.arange(9)).yes.all()


def test_labels_and_scores_as_statements():
    said = Statements.from_labels(["a", None, "b", float("nan"), "a", ""], "label")
    assert said.names == ("label: a", "label: b") and said.yes.sum(0).tolist() == [2, 1]
    scores = np.arange(40.0).reshape(20, 2)
    tagged = Statements.from_scores(scores, ["x", "y"], "tagger", np.arange(20))
    assert tagged.yes.shape == (20, 8) and tagged.names[:4] == ("x",) * 4
    assert tagged.yes[:, :4].sum(0).tolist() == [10, 5, 2, 1]
    both = Statements.joined([Statements.from_labels(["a"] * 20, "label"), tagged])
    assert len(both) == 9 and both.of("tagger").names == tagged.names


def test_what_is_rare_is_not_judged():
    group, clip, split = moments(8, 6, 1)
    codes = np.zeros((len(group), 4))
    codes[[0, 1, 2, 3, 30, 31, 32, 33, 34], 0] = 1  # four on the naming half
    codes[[*range(0, 20), *range(24, 30)], 1] = 1  # in one group of the other half
    codes[::2, 2] = 1
    said = Statements.from_labels(group % 2, "label")
    table = name_latents(codes, said, split, groups=group, clips=clip)
    assert table["verdict"].to_dict() == {0: FEW, 1: FEW, 2: NONE}
    assert table.loc[0, ["score", "margin"]].isna().all() and table.loc[0, "name"] == ""
    nothing = Statements.from_labels([""] * len(group), "label")
    assert name_latents(codes, nothing, split, groups=group, clips=clip)["verdict"].eq(FEW).all()


def test_what_does_not_fit_is_refused():
    group, clip, split = moments(4, 3, 2)
    codes, said = np.ones((24, 2)), Statements.from_labels(clip % 2, "label")
    leaky = Split(np.arange(0, 24, 2), test=np.arange(1, 24, 2))
    with pytest.raises(ParameterError, match="groups=.* must be each on one half"):
        name_latents(codes, said, leaky, groups=group)
    with pytest.raises(ParameterError, match="clips=.* must be in one group each"):
        name_latents(codes, said, split, groups=group, clips=clip // 2)
    with pytest.raises(ParameterError, match="codes=-1"):
        name_latents(-codes, said, split, groups=group)
    with pytest.raises(ParameterError, match="statements=.*about the 24"):
        name_latents(codes, Statements.from_labels(["a"], "label"), split, groups=group)
    with pytest.raises(ParameterError, match="draws=18"):
        name_latents(codes, said, split, groups=group, draws=18)
    with pytest.raises(ParameterError, match="yes='array of float64'"):
        Statements(np.ones((3, 1)), ["a"], ["b"])
    with pytest.raises(ParameterError, match="names"):
        Statements(np.ones((3, 1), bool), ["a", "b"], ["b"])
    with pytest.raises(ParameterError, match="len.names.=1"):
        Statements.from_scores(np.ones((3, 2)), ["a"], "tagger", np.arange(3))
