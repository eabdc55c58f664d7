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
from workbench.views.listening import (
    _COLUMNS,
    ListeningTrial,
    _hash32,
    _stimulus_id,
    _trial_id,
    analyse_responses,
    listening_test,
    read_responses,
)

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


def answer(view, listener: str, trial: str, method: str, response, *, place: int = 1, seed: int = 1) -> dict:
    """A row as the page sends it."""
    ids = {"trial": _trial_id(seed, trial), "stimulus": _stimulus_id(seed, trial, method)}
    return {"time": "2024-01-01T00:00:00Z", "listener": listener, "task": view.task, "place": place, **ids} | {
        "response": response, "choices": len(data(view)["choices"]), "seconds": "8.5", "plays": 2,
    }  # fmt: skip


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
    table = read_responses(view.path, make_trials(), seed=1)
    assert table["rating"].tolist() == [
        len(t) + METHODS.index(m) for t, m in zip(table.trial, table.method, strict=True)
    ]
    assert table["listener"].unique().tolist() == ['Ann, "the first"'] and table["correct"].isna().all()
    assert table["place"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_of_an_answer_given_twice_the_last_counts(test, tmp_path):
    view = test()
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    (tmp_path / "downloaded.csv").write_text(view.path.read_text().replace(",20,", ",80,"))
    table = read_responses([view.path, tmp_path / "downloaded.csv"], make_trials(), seed=1)
    assert table["rating"].tolist() == [80]


def test_what_is_no_answer_is_not_written(test):
    view = test()
    fine = answer(view, "Ann", "recording 0", METHODS[0], 20)
    for wrong, message in (
        ({"response": 101}, "response 101"),
        ({"response": "20"}, "response '20'"),
        ({"listener": " "}, "listener ' '"),
        ({"task": "identification"}, "task 'identification'"),
        ({"stimulus": "0" * 12}, "sound '000000000000'"),
        ({"mood": "good"}, "columns"),
    ):
        with pytest.raises(DatasetError, match=f"no answer to this test: .*{message}"):
            view.record([fine, fine | wrong])
    assert not view.path.exists()
    view.path.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="responses.csv: is no file of responses"):
        view.record([fine])
    with pytest.raises(DatasetError, match="columns .* are missing"):
        read_responses(view.path, make_trials(), seed=1)


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


def test_responses_of_another_seed_are_refused(test):
    view = test()
    view.record([answer(view, "Ann", "recording 0", METHODS[0], 20)])
    with pytest.raises(DatasetError, match="responses.csv: sounds .* are not of these trials with seed=2"):
        read_responses(view.path, make_trials(), seed=2)
    with pytest.raises(DatasetError, match="missing.csv"):
        read_responses(view.path.with_name("missing.csv"), make_trials(), seed=1)


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
    table = analyse_responses(read_responses(view.path, trials, seed=1))
    rated = table[table.measure == "rating"].set_index("method")
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
        row = analyse_responses(frame).iloc[0]
        covered += row.low < 50 < row.high
    assert 0.9 < covered / 200 < 0.99


def test_one_listener_over_trials_and_one_of_both_without_interval(test):
    trials = make_trials(6)
    view = test(trials)
    simulate(view, listeners=1, effects=dict.fromkeys(METHODS, 0.0), seed=2)
    table = read_responses(view.path, trials, seed=1)
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
    table = read_responses(view.path, trials, seed=1)
    assert table["hearing"].value_counts().to_dict() == {1: 150, 2: 150, 3: 150}
    found = analyse_responses(table)
    assert found["measure"].unique().tolist() == ["identification", "identification, first hearing"]
    for row in found.itertuples():
        answers = table[table.method == row.method]
        if "first" in row.measure:
            answers = answers[answers.hearing == 1]
        right = int((answers.response == answers.label).sum())
        low, high = wilson_interval(right, len(answers))
        assert row.low <= low + 1e-3 and row.high >= high - 1e-3 and row.mean == right / len(answers)
        assert row.low < chances[row.method] < row.high and row.chance == 0.25 and row.interval == "over listeners"
    assert found[found.measure == "identification"]["answers"].tolist() == [150, 150, 150]


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
        ({"task": "ranking"}, "task='ranking' must be 'rating' or 'identification'"),
        ({"task": "identification", "choices": ["bark"]}, "two or more different classes"),
        ({"task": "identification", "choices": ["bark", "bell"]}, "trial 'recording 2'.label='siren' must be one of"),
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
    assert tuple(rows[0]) == _COLUMNS and rows[1][1:4] == ["Ann", "rating", "1"] and rows[1][6] == "20"


def test_results_so_far_are_those_of_the_file(test):
    view = test()
    assert len(view.results().frame) == 0 and "No answers yet" in view.results()._repr_html_()
    view.record(answers_of(view, "Ada", lambda _, method: 10 * METHODS.index(method)))
    frame = view.results().frame
    rated = frame[frame["measure"] == "rating"].set_index("method")["mean"]
    assert rated[list(METHODS)].tolist() == [0, 10, 20]
