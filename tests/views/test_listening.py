"""listening_test: nothing gives the methods away, answers are kept whole, and the analysis finds a known truth."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from workbench.core.errors import AudioError, DatasetError, ParameterError
from workbench.metrics.classification import wilson_interval
from workbench.views.listening import ListeningTrial, _hash32, _stimulus_id, _trial_id, listening_test
from workbench.views.responses import COLUMNS, analyse_responses

METHODS = ("dictionary method", "occlusion method", "noise control")
CLASSES = ("bark", "bell", "siren")


def make_trials(count: int = 3, *, methods=METHODS) -> list[ListeningTrial]:
    t = np.arange(4000) / 8000

    def sound(k, level):
        return (level * np.sin(2 * np.pi * (300 + 40 * k) * t)).astype(np.float32)

    return [
        ListeningTrial(
            f"recording {k}",
            CLASSES[k % 3],
            {method: sound(k, 0.1 * (m + 1)) for m, method in enumerate(methods)},
            8000,
            reference=sound(k, 0.5),
        )
        for k in range(count)
    ]


@pytest.fixture
def test(tmp_path):
    def make(trials=None, **options):
        given = {"seed": 1, "path": tmp_path / "responses.csv"} | options
        return listening_test(make_trials() if trials is None else trials, **given)

    return make


def data(view) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(re.search(r'class="wb-data">(.*?)</script>', view.html)[1])))


def answer(view, listener: str, trial: str, method: str, response, *, place: int = 1, description: str = "") -> dict:
    """A row as the page sends it."""
    packed, ids = data(view), {"trial": _trial_id(view._seed, trial)}
    ids["stimulus"] = _stimulus_id(view._seed, trial, method)
    row = {"time": "2024-01-01T00:00:00Z", "test": packed["test"], "title": packed["title"], "listener": listener}
    row |= {"task": view.task, "place": place, **ids, "description": description, "response": response}
    return row | {"choices": len(packed["choices"]), "seconds": "8.5", "plays": 2}


def answers_of(view, listener: str, respond) -> list[dict]:
    return [
        answer(view, listener, trial, method, respond(trial, method), place=place)
        for place, (trial, methods) in enumerate(view.steps(listener), 1)
        for method in methods
    ]


@pytest.mark.parametrize("task", ["rating", "identification"])
def test_page_names_no_method_and_no_trial(test, task):
    view = test(task=task)
    inside = json.dumps(data(view)) + re.sub(r'class="wb-data">.*?</script>', "", view.html)
    for secret in (*METHODS, "recording"):
        assert secret not in inside
    sounds = [sound["id"] for trial in data(view)["trials"] for sound in trial["sounds"]]
    assert len(set(sounds)) == 9 and all(re.fullmatch("[0-9a-f]{12}", one) for one in sounds)
    assert sounds[:3] == sorted(sounds[:3]), "the order in the page says nothing either"
    assert set(sounds).isdisjoint(s["id"] for t in data(test(task=task, seed=2))["trials"] for s in t["sounds"])


def test_naming_tells_no_class_beside_a_sound(test):
    packed = data(test(task="identification"))
    assert packed["choices"] == sorted(CLASSES)
    for trial in packed["trials"]:
        assert trial["reference"] is None and not any(label in json.dumps(trial) for label in CLASSES)
    rated = data(test())
    assert sorted(trial["question"][-6:] for trial in rated["trials"]) == [" bark?", " bell?", "siren?"]


def test_one_gain_a_trial(test):
    for trial in data(test(task="rating"))["trials"]:
        assert "one gain of +5.0 dB" in trial["note"]  # the reference's 0.5 comes to -1 dBFS
        sounds = [trial["reference"], *trial["sounds"]]
        read = [soundfile.read(io.BytesIO(base64.b64decode(s["uri"].split(",")[1])))[0][:4000] for s in sounds]
        levels = np.sort([np.sqrt(2 * np.mean(x[400:3600] ** 2)) for x in read])
        np.testing.assert_allclose(levels / levels[-1], [0.2, 0.4, 0.6, 1.0], atol=0.02)
    assert "Gain +9.5 dB, the same for all" in data(test(task="identification"))["trials"][0]["note"]


def test_order_comes_from_seed_and_listener(test):
    trials = make_trials(8)
    view, again, other = test(trials), test(trials), test(trials, seed=2)
    assert view.steps("Ann") == again.steps("Ann")
    assert view.steps("Ann") != view.steps("Bob") and view.steps("Ann") != other.steps("Ann")
    for listener in ("Ann", "Bob"):
        steps = view.steps(listener)
        assert sorted(trial for trial, _ in steps) == [f"recording {k}" for k in range(8)]
        assert all(sorted(methods) == sorted(METHODS) for _, methods in steps)


def test_every_method_comes_first_equally_often(test):
    view = test(make_trials(8))
    first = pd.Series([methods[0] for k in range(150) for _, methods in view.steps(f"listener {k}")])
    np.testing.assert_allclose(first.value_counts(normalize=True), 1 / 3, atol=4 * np.sqrt(2 / 9 / 1200))


def test_naming_goes_in_rounds(test):
    steps = test(make_trials(5), task="identification").steps("Ann")
    assert len(steps) == 15 and len({(trial, methods[0]) for trial, methods in steps}) == 15
    for r in range(3):
        assert len({trial for trial, _ in steps[5 * r : 5 * r + 5]}) == 5


def test_hash_of_a_text():
    # FNV-1a of "" is 0x811c9dc5 and of "a" 0xe40c292c; the finaliser of MurmurHash3 follows.
    assert (_hash32(""), _hash32("a")) == (0xAB3E7C0B, 0x1A80B1B3)
    assert len({_hash32(f"x|{k}") for k in range(20000)}) > 19990
    assert abs(np.mean([_hash32(f"x|{k}") for k in range(20000)]) / 2**32 - 0.5) < 0.01


def test_answers_are_appended_once_and_read_back(test):
    view = test()
    given = answers_of(view, 'Ann, "the first"', lambda trial, method: len(trial) + METHODS.index(method))
    view.record(given[:3])
    assert [row["response"] for row in test().answers('Ann, "the first"')] == [
        str(row["response"]) for row in given[:3]
    ]
    test().record(given[3:])
    assert view.answers("Bob") == [] and len(view.path.read_text().splitlines()) == 10
    table = view.responses()
    assert table["rating"].tolist() == [
        len(t) + METHODS.index(m) for t, m in zip(table.trial, table.method, strict=True)
    ]
    assert table["listener"].unique().tolist() == ['Ann, "the first"'] and table["correct"].isna().all()
    assert table["place"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_of_an_answer_given_twice_the_last_counts(test, tmp_path):
    view = test()
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    (tmp_path / "downloaded.csv").write_text(view.path.read_text().replace(",20,", ",80,"))
    table = view.responses([view.path, tmp_path / "downloaded.csv"])
    assert table["rating"].tolist() == [80]


def test_what_is_no_answer_is_not_written(test):
    view = test()
    fine = answer(view, "Ann", "recording 0", METHODS[0], 20)
    for wrong, message in (
        ({"response": 101}, "response 101"),
        ({"response": "20"}, "response '20'"),
        ({"listener": " "}, "listener ' '"),
        ({"task": "identification"}, "task 'identification'"),
        ({"test": "0" * 12, "title": "Mine"}, r"test 'Mine' \(000000000000\), this is 'A listening test' \("),
        ({"description": "bark"}, "description 'bark'"),
        ({"stimulus": "0" * 12}, "sound '000000000000'"),
        ({"mood": "good"}, "columns"),
    ):
        with pytest.raises(DatasetError, match=f"no answer to this test: .*{message}"):
            view.record([fine, fine | wrong])
    assert not view.path.exists()
    view.path.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="responses.csv: is no file of responses"):
        view.record([fine])
    with pytest.raises(DatasetError, match=r"columns \['time', 'test', .* are missing"):
        view.responses()


def test_the_kernel_answers_the_page(test):
    view = test()

    class Link:
        sent: list = []

        def send(self, message, buffers):
            self.sent.append(message)

    row = answer(view, "Ann", "recording 0", METHODS[0], 20)
    messages = [
        {"kind": "responses", "rows": [row]},
        {"kind": "answers", "listener": "Ann"},
        {"kind": "responses", "rows": [row | {"response": -1}]},
        {"kind": "answers"},
    ]
    for ticket, message in enumerate(messages):
        view._reply(Link(), message | {"ticket": ticket}, None)
    saved, found, refused, broken = Link.sent
    assert saved == {"ticket": 0, "rows": []}
    assert found["rows"] == [{name: str(value) for name, value in row.items()}]
    assert "no answer to this test: response -1" in refused["error"] and "KeyError" in broken["error"]


def changed(trial: ListeningTrial, **fields) -> ListeningTrial:
    given = {"id": trial.id, "label": trial.label, "candidates": trial.candidates, "rate": trial.rate}
    return ListeningTrial(**given | {"reference": trial.reference} | fields)


def test_answers_to_another_test_are_refused_by_name_and_a_file_is_left_as_it_is(test, tmp_path):
    """Another seed, question, class or set of sounds, though trials and methods have the same ids."""
    view = test(title="Barks of set one")
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    before, first = view.path.read_text(), make_trials()
    louder = changed(first[0], candidates={name: 0.5 * x for name, x in first[0].candidates.items()})
    others = {
        "seed": test(seed=2),
        "question": test(question="Is it {label}?"),
        "task": test(task="identification"),
        "sounds": test([louder, *first[1:]]),
        "reference": test([changed(first[0], reference=None), *first[1:]]),
        "rate": test([changed(first[0], rate=16000), *first[1:]]),
        "label": test([changed(first[0], label="bell"), *first[1:]]),
        "id": test([changed(first[0], id="take 0"), *first[1:]]),
        "fewer": test(first[1:]),
        "seconds": test(seconds=0.2),
    }
    assert len({view.identity, *(other.identity for other in others.values())}) == 1 + len(others)
    assert test(first[::-1], title="x").identity == view.identity, "neither the order of trials nor a title"
    for other in others.values():
        names = rf"responses.csv: .*'Barks of set one' \({view.identity}\), not to 'A listening test' "
        names += rf"\({other.identity}\): .*a file of its own"
        row = answer(other, "Bob", other.steps("Bob")[0][0], METHODS[0], "bark" if other.task != "rating" else 1)
        for ask in (
            other.responses,
            other.results,
            lambda o=other: o.answers("Ann"),
            lambda o=other, r=row: o.record([r]),
        ):
            with pytest.raises(DatasetError, match=names):
                ask()
    assert view.path.read_text() == before
    with pytest.raises(DatasetError, match="missing.csv"):
        view.responses(tmp_path / "missing.csv")
    strange = before.replace(_stimulus_id(1, "recording 0", METHODS[0]), "0" * 12)
    (tmp_path / "strange.csv").write_text(strange)
    with pytest.raises(DatasetError, match=r"strange.csv: sounds \['000000000000'\] are not of this test"):
        view.responses(tmp_path / "strange.csv")


def test_every_test_has_a_file_of_its_own_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = (listening_test(make_trials(), seed=seed) for seed in (1, 2))
    assert one.path.name == f"responses-{one.identity}.csv" != other.path.name
    one.record([answer(one, "Ann", "recording 0", METHODS[0], 20)])
    assert len(one.responses()) == 1 and len(other.results().frame) == 0


def simulate(view, *, listeners: int, effects: dict[str, float], seed: int) -> None:
    """Ratings 50 + method + listener (spread 8) + trial (5) + noise (6), which are far from 0 and 100."""
    rng = np.random.default_rng(seed)
    trials = {trial: rng.normal(0, 5) for trial in sorted(dict(view.steps("a")))}
    for k in range(listeners):
        own = rng.normal(0, 8)
        view.record(
            answers_of(
                view,
                f"listener {k}",
                lambda t, m, own=own: int(np.clip(round(50 + effects[m] + own + trials[t] + rng.normal(0, 6)), 0, 100)),
            )
        )


def test_known_ratings_are_found(test):
    effects = dict(zip(METHODS, (15.0, 5.0, -10.0), strict=True))
    trials = make_trials(6)
    view = test(trials)
    simulate(view, listeners=20, effects=effects, seed=0)
    table = analyse_responses(view.responses())
    rated = table[(table.measure == "rating") & (table["class"] == "")].set_index("method")
    assert (rated["interval"] == "over listeners").all()
    assert (rated[["answers", "listeners", "trials"]] == [120, 20, 6]).all(axis=None)
    differences = table[table.measure == "rating difference"]
    assert len(differences) == 3 and (differences["answers"] == 120).all()
    for row in differences.itertuples():
        truth = effects[row.method] - effects[row.against]
        assert row.low < truth < row.high
        assert row.mean == pytest.approx(rated["mean"][row.method] - rated["mean"][row.against])
        # Listeners' own levels cancel in pairs: noise of sqrt(2) 6 over 120 pairs, against a spread of 8 over 20.
        assert row.high - row.low < 0.6 * (rated["high"] - rated["low"])[row.method]
    assert (rated["high"] - rated["low"]).between(4, 10).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say(test):
    rng, covered = np.random.default_rng(3), 0
    for _ in range(200):
        values = 50 + np.repeat(rng.normal(0, 8, 15), 4) + rng.normal(0, 6, 60)
        frame = pd.DataFrame({"task": "rating", "listener": np.repeat(np.arange(15), 4).astype(str), "method": "a"})
        frame["trial"], frame["rating"], frame["hearing"] = np.tile(list("abcd"), 15), values, 1
        frame["label"] = "x"
        row = analyse_responses(frame).iloc[0]
        covered += row.low < 50 < row.high
    assert 0.9 < covered / 200 < 0.99


def test_one_listener_over_trials_and_one_of_both_without_interval(test):
    trials = make_trials(6)
    view = test(trials)
    simulate(view, listeners=1, effects=dict.fromkeys(METHODS, 0.0), seed=2)
    table = view.responses()
    found = analyse_responses(table)
    assert (found["interval"] == "over trials").all() and (found["low"] < found["high"]).all()
    single = analyse_responses(table[table.trial == "recording 0"])
    assert single["low"].isna().all() and (single["interval"] == "none: one listener, one trial").all()
    with pytest.raises(DatasetError, match="no responses"):
        analyse_responses(table.head(0))


def test_known_recognition_is_found_against_chance(test):
    trials, rng = make_trials(6), np.random.default_rng(0)
    choices = [*CLASSES, "rain"]
    view, chances = (
        test(trials, task="identification", choices=choices),
        dict(zip(METHODS, (0.9, 0.6, 0.25), strict=True)),
    )
    labels = {trial.id: trial.label for trial in trials}

    def respond(trial, method):
        right = rng.random() < chances[method]
        return labels[trial] if right else rng.choice([c for c in choices if c != labels[trial]])

    for k in range(25):
        view.record(answers_of(view, f"listener {k}", respond))
    table = view.responses()
    assert table["hearing"].value_counts().to_dict() == {1: 150, 2: 150, 3: 150}
    found = analyse_responses(table)
    assert found["measure"].unique().tolist() == ["identification", "identification, first hearing"]
    for row in found[found["class"] == ""].itertuples():
        answers = table[table.method == row.method]
        if "first" in row.measure:
            answers = answers[answers.hearing == 1]
        right = int((answers.response == answers.label).sum())
        low, high = wilson_interval(right, len(answers))
        assert row.low <= low + 1e-3 and row.high >= high - 1e-3 and row.mean == right / len(answers)
        assert row.low < chances[row.method] < row.high and row.chance == 0.25 and row.interval == "over listeners"
    named = found[found.measure == "identification"]
    assert named[named["class"] == ""]["answers"].tolist() == [150, 150, 150]
    for row in named[named["class"] != ""].itertuples(index=False):
        of_class = table[(table.method == row.method) & (table.label == row[3])]
        votes = of_class["response"].value_counts()
        expected = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))
        assert row.votes == ", ".join(f"{name} {count}" for name, count in expected), "counted by pandas"
        assert row.mean == pytest.approx(votes.get(row[3], 0) / 50) and row.answers == 50


def test_no_network_no_autoplay_all_escaped(test, tmp_path):
    trials = [ListeningTrial(t.id, "<b>bark</b>", t.candidates, t.rate, t.reference) for t in make_trials(1)]
    view = test(trials, title="<i>mine</i>")
    markup = re.sub(r"<(style|script)\b.*?</\1>", "", view.html, flags=re.S)
    assert "<b>bark" not in view.html and "<i>mine" not in markup
    assert "autoplay" not in view.html and not re.search(r"https?://|import\(|require\(", view.html)
    assert "1 trials with 3 sounds (rating). It needs scripts" in markup
    assert "<title>&lt;i&gt;mine" in view.save(tmp_path / "t.html").read_text(encoding="utf-8")
    assert repr(view) == "ListeningTest(rating, 1 trials, responses.csv)"
    assert view.html == test(trials, title="<i>mine</i>").html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": []}, r"trials=\[\]"),
        ({"trials": make_trials(1) * 2}, "each with an id of its own"),
        ({"trials": [ListeningTrial("a", "bark", {}, 8000)]}, r"trial 'a'.candidates=\{\} must be at least one"),
        ({"task": "ranking"}, "task='ranking' must be 'rating', 'identification' or 'description'"),
        ({"task": "identification", "choices": ["bark"]}, "two or more different classes"),
        ({"task": "identification", "choices": ["bark", "bell"]}, "trial 'recording 2'.label='siren' must be one of"),
        ({"task": "description"}, r"descriptions=\{\} must be given with task='description'"),
        ({"descriptions": {"bark": "b", "bell": "c"}}, "descriptions=.* must be given with task='description'"),
        ({"task": "description", "descriptions": {"bark": "a"}}, "descriptions=.* must be two or more different"),
        ({"task": "description", "descriptions": {"bark": "a", "bell": "a"}}, "must be texts that differ"),
        ({"task": "description", "descriptions": {"bark": "a", "bell": " "}}, "must be texts that differ"),
        (
            {"task": "description", "descriptions": {"bark": "a", "bell": "b"}},
            "trial 'recording 2'.label='siren' must be one of bark, bell",
        ),
        ({"megabytes": 0.001}, "megabytes=0.001 must be at least 0.0"),
        ({"path": "no/such/folder/r.csv"}, "in a folder that exists"),
    ],
)
def test_wrong_options(test, options, message):
    with pytest.raises(ParameterError, match=message):
        test(**options)


def test_broken_sounds_are_named(test):
    trial = ListeningTrial("clip 7", "bark", {"x": np.full(100, np.nan, dtype=np.float32)}, 8000)
    with pytest.raises(AudioError, match="trial clip 7, x: 100 of 100 samples are NaN"):
        test([trial])


def test_the_file_is_plain_csv(test):
    view = test()
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    rows = list(csv.reader(view.path.open(encoding="utf-8", newline="")))
    assert tuple(rows[0]) == COLUMNS and rows[1][3:6] == ["Ann", "rating", "1"] and rows[1][9] == "20"


def test_results_so_far_are_those_of_the_file(test):
    view = test()
    assert len(view.results().frame) == 0 and "No answers yet" in view.results()._repr_html_()
    view.record(answers_of(view, "Ada", lambda _, method: 10 * METHODS.index(method)))
    frame = view.results().frame
    rated = frame[(frame["measure"] == "rating") & (frame["class"] == "")].set_index("method")["mean"]
    assert rated[list(METHODS)].tolist() == [0, 10, 20]


# --- descriptions --------------------------------------------------------------------------------------------------

SAID = {"bark": "A dog, close by", "bell": "Metal that rings", "siren": "It wails", "rain": "Water"}


def test_descriptions_are_in_the_page_and_the_class_of_a_sound_is_not(test):
    view = test(task="description", descriptions=SAID)
    packed = data(view)
    assert packed["choices"] == list(SAID) and packed["descriptions"] == SAID
    for trial in packed["trials"]:
        assert trial["reference"] is None and not any(name in json.dumps(trial) for name in (*SAID, *SAID.values()))
    assert [len(methods) for _, methods in view.steps("Ann")] == [1] * 9, "one sound at a time"
    for wrong in ({"description": "thunder"}, {"description": ""}, {"response": 101}, {"response": "9"}):
        fine = answer(view, "Ann", "recording 0", METHODS[0], 20, description="bark")
        with pytest.raises(DatasetError, match="no answer to this test"):
            view.record([fine | wrong])


def test_descriptions_are_scored_as_by_hand(test):
    """Own rating, own minus the mean of others, and the highest; of equals each counts a part."""
    view = test(task="description", descriptions=SAID)
    given = {
        ("Ann", "recording 0"): [80, 20, 10, 30],  # a bark, rated highest: 80 - 20
        ("Ann", "recording 1"): [60, 60, 0, 0],  # a bell, as high as bark: 60 - 20, half a vote each
        ("Bob", "recording 0"): [10, 70, 10, 10],  # a bark, taken for a bell: 10 - 30
    }
    for (listener, trial), ratings in given.items():
        said = zip(SAID, ratings, strict=True)
        view.record([answer(view, listener, trial, METHODS[0], value, description=name) for name, value in said])
    table = view.responses()
    assert len(table) == 12 and table["hearing"].tolist() == [1] * 12 and table["correct"].isna().all()
    found = view.results().frame.set_index(["measure", "class"])
    assert found.loc[("own description", ""), "mean"] == 50
    assert found.loc[("own minus other descriptions", ""), "mean"] == pytest.approx((60 + 40 - 20) / 3)
    assert found.loc[("own description highest", ""), "mean"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found.loc[("own description highest", ""), "chance"] == 0.25
    assert found.loc[("own description highest", "bark"), "votes"] == "bark 1, bell 1"
    assert found.loc[("own description highest", "bell"), "votes"] == "bark 0.5, bell 0.5"
    assert found.loc[("own description", "bark"), "mean"] == 45 and found.loc[("own description", ""), "answers"] == 3


# --- simulated listeners -------------------------------------------------------------------------------------------


def recognised(sensitivity: float, classes: int) -> float:
    """Share right of m alternatives with d': the integral of phi(x - d') Phi(x)^(m - 1) (Green and Swets 1966)."""
    from scipy.integrate import quad
    from scipy.stats import norm

    return quad(lambda x: norm.pdf(x - sensitivity) * norm.cdf(x) ** (classes - 1), -10, 12)[0]


@pytest.mark.parametrize("task", ["identification", "description"])
def test_simulated_listeners_recognise_what_their_sensitivity_says(test, task):
    options = {"descriptions": SAID} if task == "description" else {"choices": list(SAID)}
    view, d = test(task=task, **options), dict(zip(METHODS, (0.0, 1.0, 2.0), strict=True))
    made = view.simulate(listeners=200, sensitivity=d, seed=3)
    assert made["simulated"].all() and made["listener"].str.startswith("simulated ").all() and not view.path.exists()
    shown = view.results(made)
    assert "SIMULATED answers of 200 listeners" in shown._repr_html_()
    measure = "identification" if task == "identification" else "own description highest"
    frame = shown.frame[(shown.frame["measure"] == measure) & (shown.frame["class"] == "")].set_index("method")
    for method, sensitivity in d.items():
        share = recognised(sensitivity, 4)  # 600 answers: a standard error of .02
        assert frame.loc[method, "mean"] == pytest.approx(share, abs=0.07) and frame.loc[method, "chance"] == 0.25
    pd.testing.assert_frame_equal(made, view.simulate(listeners=200, sensitivity=d, seed=3))
    assert not made["response"].equals(view.simulate(listeners=200, sensitivity=d, seed=4)["response"])


def test_simulated_ratings_lie_20_points_a_unit_of_sensitivity_apart(test):
    view = test()
    frame = view.results(view.simulate(listeners=150, sensitivity=dict(zip(METHODS, (0, 1, 0), strict=True)))).frame
    apart = frame[frame["measure"] == "rating difference"].set_index(["method", "against"])["mean"]
    assert apart[METHODS[0], METHODS[1]] == pytest.approx(-20, abs=3)  # 450 pairs of sd 28: 1.3; cut off at 0 and 100
    assert apart[METHODS[0], METHODS[2]] == pytest.approx(0, abs=4)


def test_real_and_simulated_answers_are_not_mixed_and_a_method_is_not_forgotten(test):
    view = test()
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    both = pd.concat([view.responses(), view.simulate(listeners=1)])
    with pytest.raises(ParameterError, match="real and simulated listeners' must be of one of the two"):
        analyse_responses(both)
    with pytest.raises(ParameterError, match="sensitivity=.*one for each of dictionary method, noise control, occ"):
        view.simulate(sensitivity={METHODS[0]: 1.0})
    with pytest.raises(ParameterError, match="sensitivity of dictionary method=-1.0"):
        view.simulate(sensitivity=dict.fromkeys(METHODS, -1.0))
    with pytest.raises(ParameterError, match="listeners=0"):
        view.simulate(listeners=0)
