"""Wrong arguments to the views: each call ends in an error of this package or gives a result, never in a traceback.

Of each argument a few wrong values are drawn, other ones for each argument; WORKBENCH_WRONG_VALUES=99 tries all.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.core.errors import WorkbenchError

Call = tuple[Callable, dict[str, Any]]
N, RATE = 12, 8000
MOST = int(os.environ.get("WORKBENCH_WRONG_VALUES", "2"))
RNG = np.random.default_rng(0)
Z = np.abs(RNG.standard_normal((N, 6))).astype(np.float32)
X = (0.2 * np.sin(np.arange(2000) * 0.3)).astype(np.float32)
TABLE = pd.DataFrame({"id": [f"c{i}" for i in range(N)], "label": list("ab") * 6, "f0": np.linspace(100, 200, N)})


def sound(i: int) -> tuple[np.ndarray, int]:
    return X[: 1000 + 10 * i], RATE


class Planted:
    """An interpretation with two components and two classes."""

    classes, name = ("dog", "cat"), "dog"
    logits, relevance, ranked = np.array([1.0, 0.0]), np.array([0.9, -0.2]), np.array([0, 1])
    spectra = SimpleNamespace(rate=RATE, n_fft=128, hop=64)
    waveform_in = X
    log_magnitude = np.abs(np.sin(np.arange(65 * 32).reshape(65, 32)))
    dictionary, activations = np.ones((65, 2)), np.ones((2, 32))

    def selected(self, tau):
        return [k for k in (0, 1) if self.relevance[k] > tau]

    def mask(self, tau):
        return np.full((65, 32), 0.5)

    def waveform(self, tau):
        return X * 0.5

    removed = component = waveform


def explanation():
    from workbench.prototypes.explaining import explain
    from workbench.prototypes.factors import FactorPrototypes, Levels

    values = np.stack([np.linspace(-5, 5, N), np.tile([-40.0, -30.0, -20.0], N // 3)], axis=1)
    factors = FactorPrototypes(Levels.fit(values, ["pitch", "loudness"], count=3), 8, scale=2.0)
    return explain(factors.targets(np.tile([[0, 1]], (N, 1))), RNG.normal(size=(2, 8)), np.zeros(2), factors)


def views_calls() -> dict[str, Call]:
    from workbench.views import (
        DataPoints,
        ExplainedClip,
        ListeningTrial,
        PrototypeSounds,
        RealClip,
        analyse_responses,
        confusion_matrix,
        curves,
        decision_page,
        dictionary_picture,
        explore,
        heatmap,
        interpretation_page,
        intervals,
        latent_page,
        latent_sound_page,
        layer_curve,
        layer_heatmap,
        listening_test,
        players,
        project,
        prototype_page,
        scatter,
        similarity_page,
        sound_map,
        sounds_by_setting,
        spectrogram,
        turnable,
    )
    from workbench.views.latents_data import latent_statistics

    tidy = pd.DataFrame({"k": [1, 2, 4] * 2, "fvu": RNG.random(6), "kind": list("aaabbb")})
    known = pd.DataFrame(
        {"mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3], "kind": ["a", "b"]}, index=["r", "s"]
    )
    probes = SimpleNamespace(
        names=("a", "b"), accuracy=RNG.random((2, 3)), interval=np.array([[0.1, 0.9]] * 2), chance=0.1, majority=0.2
    )
    trials = [ListeningTrial(f"t{k}", "dog", {"one": X, "two": -X}, RATE, X) for k in range(2)]
    near = {"name": "c0", "x": X, "rate": RATE, "distance": 0.1}
    made = {
        "label": "dog",
        "sounds": [X, -X],
        "rate": RATE,
        "nearest": [RealClip(**near)],
        "segments": 3,
        "weight": 0.5,
    }
    prototypes = [PrototypeSounds(**made), PrototypeSounds(**made)]
    around = {"xy": Z[:, :2], "labels": ["dog"] * N, "names": list(TABLE["id"]), "prototypes": Z[:2, :2]}
    around |= {"nearest": np.zeros(N, int), "audio": sound}
    explained = {"name": "c0", "x": X, "rate": RATE, "similarities": np.array([0.1, 0.9]), "label": "dog"}
    linear = {"classes": ["dog", "cat"], "weights": np.eye(2), "bias": np.zeros(2)}
    page = {"title": "t", "seconds": 0.1, "megabytes": 1.0}
    settings = {"settings": {"steps": [1, 2]}, "reference": {"clip": X}, "captions": {(1,): "few"}, "start": (1,)}
    answers = pd.DataFrame({"task": "rating", "listener": list("abcd"), "method": "m", "trial": list("xyxy")})
    answers["rating"], answers["hearing"], answers["label"] = [10.0, 30.0, 20.0, 40.0], 1, "dog"
    shown = sound_map(Z, TABLE, audio=sound, sounds=2)
    latents = latent_page(Z, TABLE, audio=sound, sounds=0)
    test = listening_test(trials, path="answers.csv", seed=1)
    return {
        "views.project": (
            project,
            {"z": Z, "method": "tsne", "seed": 1, "standardise": True, "perplexity": 3.0, "neighbours": 3}
            | {"components": (1, 2)},
        ),
        "views.sound_map": (
            sound_map,
            {"z": Z, "clips": TABLE, "method": "pca", "color": "label", "hover": ["f0"], "title": "t", "seed": 1}
            | {"sounds": 2, "seconds": 0.1, "megabytes": 1.0, "format": "mp3", "gain_db": 1.0, "audio": sound}
            | {"height": 300, "standardise": False},
        ),
        "views.SoundMap.sound": (shown.sound, {"i": 1}),
        "views.SoundMap.select": (shown.select, {"rows": [0, 1]}),
        "views.SoundMap.on_select": (shown.on_select, {"observer": print}),
        "views.SoundMap.save": (shown.save, {"path": "/nowhere/at/all.html"}),
        "views.explore": (
            explore,
            {"embeddings": {"a": Z, "b": Z}, "clips": TABLE, "layer": "a", "method": "pca", "components": (1, 2)}
            | {"perplexity": 3.0, "neighbours": 3, "color": "label", "where": {"label": ["a"]}, "query": "f0 > 120"}
            | {"seed": 1, "standardise": False, "hover": ["f0"], "sounds": 2, "seconds": 0.1, "megabytes": 1.0}
            | {"format": "mp3", "gain_db": 1.0, "audio": sound, "height": 300},
        ),
        "views.Explorer.select": (explore(Z, TABLE).select, {"rows": [0, 1]}),
        "views.Explorer.save": (explore(Z, TABLE).save, {"path": "/nowhere/at/all.html"}),
        "views.players": (
            players,
            {"clips": TABLE, "indices": [1, 0], "captions": ["a", "b"], "columns": ["f0"], "title": "t", "seconds": 0.1}
            | {"gain": "each", "spectrogram": True, "limit": 3, "format": "mp3", "audio": sound},
        ),
        "views.players named": (players, {"clips": {"a": (X, RATE)}, "gain": 1.0}),
        "views.latent_page": (
            latent_page,
            {"z": Z, "clips": TABLE, "columns": ["label", "f0"], "decoder": Z.T, "latents": [1, 2], "top": 2}
            | {"frames": {0: (np.arange(3.0), np.ones((3, 6)))}, "sounds": 30, "megabytes": 1.0, "seconds": 0.1}
            | {"audio": sound, "title": "t", "seed": 1, "moment": 0.05, "names": {1: "a"}},
        ),
        "views.LatentPage.select": (latents.select, {"latent": 1}),
        "views.latent_statistics": (
            latent_statistics,
            {"z": Z, "table": TABLE, "columns": ["label", "f0"], "shuffles": 2, "seed": 1},
        ),
        "views.decision_page": (
            decision_page,
            {"explanation": explanation(), "clips": TABLE, "rows": [0, 3], "classes": ["dog", "cat"]}
            | {"level_names": {"pitch": ["l", "m", "h"]}, "true": ["dog", "cat"] * 6, "seconds": 0.1, "audio": sound}
            | {"measured": {"pitch": (np.linspace(0, 1, N), "Hz")}, "title": "t"}
            | {"levels": np.zeros((N, 2), int)},
        ),
        "views.interpretation_page": (
            interpretation_page,
            {"interpretation": Planted(), "tau": 0.2, "taus": [0.1, 0.5], "components": 2, "truth": {"dog": X}}
            | {"multilabel": True, "caption": "c", "title": "t", "megabytes": 1.0},
        ),
        "views.RealClip": (
            lambda **given: prototype_page([PrototypeSounds("dog", [X], RATE, [RealClip(**given)])]),
            near,
        ),
        "views.PrototypeSounds": (lambda **given: prototype_page([PrototypeSounds(**given)]), made),
        "views.prototype_page": (
            prototype_page,
            {"prototypes": prototypes, "points": DataPoints(**around), "seeds": ["a", "b"], "point_sounds": 2}
            | {"height": 300}
            | page,
        ),
        "views.DataPoints": (lambda **given: prototype_page(prototypes, points=DataPoints(**given)), around),
        "views.similarity_page": (
            similarity_page,
            {
                "clips": [ExplainedClip(**explained)],
                "prototypes": prototypes,
                "temperature": 1.0,
                "most": 2,
                "nearest": 1,
            }
            | linear
            | page,
        ),
        "views.similarity_page clip": (
            lambda **given: similarity_page([ExplainedClip(**given)], prototypes, **linear),
            explained,
        ),
        "views.sounds_by_setting": (
            sounds_by_setting,
            {"sounds": {(1,): X, (2,): -X}, "rate": RATE} | settings | page,
        ),
        "views.sounds_by_setting nested": (
            sounds_by_setting,
            {"sounds": [X, -X], "rate": RATE, "settings": {"steps": [1, 2]}},
        ),
        "views.latent_sound_page": (
            latent_sound_page,
            {"sound": lambda *at: X, "rate": RATE, "latents": ["latent 3"], "clips": ["a"], "kinds": ["own"]}
            | {"amounts": [0.0, 1.0], "originals": [X], "unchanged": [-X], "detail": lambda *at: "said", "carry": 1}
            | page,
        ),
        "views.ListeningTrial": (
            lambda **given: listening_test([ListeningTrial(**given)], path="answers.csv", seed=1),
            {"id": "t", "label": "dog", "candidates": {"one": X}, "rate": RATE, "reference": X},
        ),
        "views.listening_test": (
            listening_test,
            {"trials": trials, "path": "answers.csv", "seed": 1, "task": "identification", "question": "What?"}
            | {"choices": ["dog", "cat"]}
            | page,
        ),
        "views.ListeningTest.steps": (test.steps, {"listener": "Ann"}),
        "views.ListeningTest.answers": (test.answers, {"listener": "Ann"}),
        "views.ListeningTest.record": (test.record, {"rows": []}),
        "views.ListeningTest.responses": (test.responses, {"source": "/nowhere/at/all.csv"}),
        "views.ListeningTest.simulate": (test.simulate, {"listeners": 2, "sensitivity": 1.0, "seed": 1}),
        "views.analyse_responses": (analyse_responses, {"responses": answers, "level": 0.9}),
        "views.turnable": (turnable, {"sets": {"a": Z[:3, :3]}, "names": ["a", "b", "c"], "title": "t"}),
        "views.layer_curve": (
            layer_curve,
            {"probes": {"p": probes}, "controls": {"c": probes}, "reference": {"r": [0.1, 0.2]}, "x": "depth"}
            | {"title": "t", "metric": "accuracy"},
        ),
        "views.layer_heatmap": (layer_heatmap, {"probes": {"p": probes}, "title": "t"}),
        "views.confusion_matrix": (confusion_matrix, {"matrix": np.eye(2), "classes": ["a", "b"], "title": "t"}),
        "views.spectrogram": (
            spectrogram,
            {"x": X, "rate": RATE, "ax": None, "mel": True, "n_mels": 20, "f_max": 3000.0, "range_db": 60.0}
            | {"reference_db": -10.0, "title": "t"},
        ),
        "views.dictionary_picture": (dictionary_picture, {"components": Z, "rate": RATE, "title": "t"}),
        "views.curves": (
            curves,
            {"table": tidy, "x": "k", "y": ["fvu"], "by": "kind", "levels": {"fvu": {"chance": 0.5}}, "title": "t"}
            | {"labels": {"k": "K"}, "log": ["fvu"]},
        ),
        "views.heatmap": (heatmap, {"table": tidy[["k", "fvu"]], "title": "t", "label": "l", "digits": 2}),
        "views.scatter": (
            scatter,
            {"table": tidy, "x": "k", "y": "fvu", "by": "kind", "title": "t", "labels": {"k": "K"}, "named": 1},
        ),
        "views.intervals": (intervals, {"table": known, "x": "mean", "by": "kind", "title": "t", "label": "l"}),
    }


CALLS = views_calls()


def bad_values(value: object) -> Iterator[tuple[object, bool]]:
    """Wrong values where ``value`` is right, and whether they must be refused."""
    yield object(), True
    if isinstance(value, (bool, int, float)):
        yield from ((wrong, True) for wrong in ("3", float("nan"), b"1", 1j, [1], {"a": 1}, np.arange(3.0)))
        yield from ((wrong, isinstance(value, bool)) for wrong in (0, -1, 1.5, 1e9, float("inf"), None))
        yield True, not isinstance(value, bool)
    elif isinstance(value, str):
        yield from ((wrong, False) for wrong in ("no such thing", "", None, 5, ["a"]))
        yield from ((wrong, True) for wrong in (b"a", float("nan")))
    elif isinstance(value, np.ndarray):
        yield from ((wrong, False) for wrong in (None, [], value[:0], value[:-1], value[None], value.T, value.tolist()))
        yield from ((wrong, True) for wrong in (5, "abc", value.astype(str), value.astype(complex), [[1, 2], [3]]))
        yield from ((value.astype(float) * factor, False) for factor in (0, -1, 1e30, 1e300, 1e-300))
        yield np.full(value.shape, np.nan), True
        yield value.astype(object), False
    elif isinstance(value, (dict, list, tuple, pd.DataFrame)):
        yield from ((wrong, True) for wrong in (5, "ab"))
        yield from (
            (wrong, False) for wrong in ({}, [], [float("nan")], [None], [1.5], [[0]], {"a": 1}, {1: None}, None)
        )
        yield from ((wrong, False) for wrong in (iter(value), pd.DataFrame(), TABLE[["id", "id"]], np.ones((2, 2))))
    elif value is not None:
        yield from ((wrong, True) for wrong in (5, "a", [1]))
        yield from ((wrong, False) for wrong in (None, lambda *_: None, lambda *_: (5, "a"), lambda *_: 1 / 0.5))


def outcome(call: Callable, given: dict[str, Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call(**given)
            if hasattr(found, "savefig"):
                found.canvas.draw()
            elif hasattr(found, "html"):
                assert found.html
        except WorkbenchError as error:
            return "refused" if "\n" not in str(error).strip() else f"several lines: {error}"
        except Exception as error:  # the fault that is looked for
            return f"{type(error).__name__}: {error}"
    return "returned"


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_ends_in_an_error_of_this_package_or_works(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, given = CALLS[name]
    faults = []
    if "nowhere" not in str(given):
        assert outcome(call, given) == "returned"
    for argument, value in given.items():
        values = list(bad_values(value))
        for i in np.random.default_rng([*map(ord, name + argument)]).permutation(len(values))[:MOST]:
            wrong, refused = values[i]
            found = outcome(call, given | {argument: wrong})
            if found not in ("refused", "returned") or (refused and found == "returned"):
                faults.append(f"{argument}={wrong!r:.60}: {found}")
    assert not faults, "\n".join([name, *faults])
