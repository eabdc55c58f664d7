"""What sections 5.1 and 5.2 of the notebook on sparse autoencoders compute by themselves, and their sentences."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import workbench as wb
from workbench.core.errors import ParameterError
from workbench.encoders import encoder_from, load_encoder, splice
from workbench.lessons import sae_cause as cause
from workbench.sae import LatentRemoval, SAEConfig, SparseAutoencoder, Statements

RATE, N, BANDS = 1000, 96, 4
HIGH = np.array(["high", "low"])


class Bands(nn.Module):
    """Frames of four band levels, a layer that mixes them, and the layer that is last."""

    def __init__(self):
        super().__init__()
        self.first, self.mix, self.last = _Levels(), nn.Linear(BANDS, BANDS), nn.Linear(BANDS, 3)

    def forward(self, x):
        return self.last(self.mix(self.first(x)).tanh())


class _Levels(nn.Module):
    def forward(self, x):
        frames = x.unfold(1, 16, 16) * torch.hann_window(16)
        return torch.fft.rfft(frames).abs()[..., 1 : 2 * BANDS : 2]  # a window of Hann spreads to neighbours only


@pytest.fixture(scope="module")
def heard():
    """Clips of one tone in band 1 or 3 (the label), in groups of four, with a weak tone in band 0 or 2 (a factor)."""
    rng = np.random.default_rng(0)
    y, weak = np.arange(N) % 2, np.arange(N) // 2 % 2
    t, bin_width = np.arange(160) / RATE, RATE / 16
    tones = [np.sin(2 * np.pi * bin_width * f * t) for f in (1, 3, 5, 7)]
    x = [
        0.5 * tones[3 - 2 * a] + 0.2 * tones[2 * b] + 0.02 * rng.normal(size=160) for a, b in zip(y, weak, strict=True)
    ]
    clips = wb.datasets.Clips.from_arrays(
        [each.astype(np.float32) for each in x],
        RATE,
        label=HIGH[y].tolist(),
        group=[f"g{i // 4}" for i in range(N)],
        weak=["b" if b else "a" for b in weak],
        twin=[f"as {each}" for each in HIGH[y]],
        number=rng.normal(size=N).tolist(),
        room=[f"r{i // 48}" for i in range(N)],
    )
    torch.manual_seed(0)
    network = encoder_from(Bands(), rate=RATE, device="cpu", layers=["first", "mix", "last"])
    embeddings = wb.embed(clips, network, store=False, progress=False)
    split = wb.Split(np.arange(48), np.arange(48, 64), np.arange(64, 96))
    eye = torch.eye(BANDS)
    sae = SparseAutoencoder(  # a latent a band: what it removes is that band
        SAEConfig(BANDS, latents=BANDS, k=BANDS), encoder=eye, encoder_bias=torch.zeros(BANDS), decoder=eye.clone(),
        bias=torch.zeros(BANDS),
    )  # fmt: skip
    return clips, network, embeddings, split, sae


def test_what_else_is_read_is_no_twin_no_number_and_nothing_that_a_group_gives_away(heard):
    clips, _, _, split, _ = heard
    found = cause.also_read(clips, split, most=9)
    assert list(found) == ["other classes", "weak"]
    assert list(cause.also_read(clips, split, most=0)) == ["other classes"]


def test_a_concept_is_a_class_a_level_or_a_range_of_numbers(heard):
    clips, _, embeddings, split, _ = heard
    x = embeddings.layer("first")
    measured = SimpleNamespace(
        names=("tilt", "pitch"),
        values=np.array([[3.0, 12.0], [np.nan, 24.0], [1.0, np.nan]]),
        meanings={"tilt": "how steep, dB", "pitch": "how high, semitones above 27.5 Hz"},
        valid=np.array([0, 1, 5]),
    )

    def asked(text):
        return cause.concept_of(text, x, clips, measured, split)

    name = clips.labels[0]
    assert asked(name)[0] == name and (asked(name).has == (clips.labels == name)).all()
    assert np.array_equal(asked(name).labels, clips.labels)
    assert asked("").name == cause.best_read(x, clips.labels, split)
    for text, rows in {
        "tilt from 1": [0, 5],
        "tilt below 3 dB": [5],
        "tilt 1 to 3 dB": [5],
        "pitch from 55 Hz": [0, 1],
        "pitch 1e2 to 200": [1],
    }.items():
        assert np.flatnonzero(asked(text).has).tolist() == rows and asked(text).name == text
    assert set(asked("tilt below 2").labels) == {"tilt below 2", "not tilt below 2"}
    own = clips.table["number"].to_numpy()
    assert (asked("number from -0.5").has == (own >= -0.5)).all()
    assert (asked(f"label: {name}").has == (clips.labels == name)).all()
    for text, message in {
        "hihg": "did you mean 'high'",
        "tlit from 1": "did you mean 'tilt'",
        "lable: high": "did you mean 'label'",
        "label: loud": "a level of label (high, low)",
        "tilt from x": "a class (high, low), 'column: level', 'column below 1'",
        "tilt from 2 Hz": "a number in dB",
        "tilt from 9": "true of some clips and false of others; it is of 0",
        "label from 1": "a column of numbers (fold, number, tilt, pitch)",
    }.items():
        with pytest.raises(ParameterError, match=re.escape(message)):
            asked(text)


def test_what_4_1_calls_a_range_is_a_concept(heard):
    clips, _, embeddings, split, _ = heard
    own = clips.table["number"].to_numpy()
    said = Statements.from_numbers(own, "label and factors", split.train, name="number")
    for name, has in zip(said.names[1:], said.yes.T[1:], strict=True):
        concept = cause.concept_of(name, embeddings.layer("first"), clips, SimpleNamespace(names=()), split)
        assert (concept.has != has).mean() < 0.02, "names round the ends"


def test_the_class_that_validation_reads_best_is_chosen_without_the_test_clips():
    rng = np.random.default_rng(0)
    y, groups = np.tile(["a", "b", "c"], 40), np.repeat(np.arange(24), 5)
    x = rng.normal(size=(120, 6)).astype(np.float32)
    x[:, 0] += 4 * (y == "b")
    split = wb.Split(np.arange(60), np.arange(60, 90), np.arange(90, 120))
    assert cause.best_read(x, y, split, groups=groups, device="cpu") == "b"
    x[90:] = np.nan  # test clips are never looked at
    assert cause.best_read(x, y, split, groups=groups, device="cpu") == "b"
    common = np.where(np.arange(120) % 10 < 6, "often", "rare")
    assert cause.best_read(x[:90], common, wb.Split(np.arange(60), [], np.arange(60, 90))) == "often"


def curve(auc, random, *, dense=0.5, fixed=None):
    rows = [("latents", n, n / 8, a) for n, a in auc.items()] + [
        ("random latents", n, n / 8, a) for n, a in random.items()
    ]
    rows += [("LEACE", -1, np.nan, dense), ("class means", -1, np.nan, 0.55)]
    table = pd.DataFrame(rows, columns=["removed", "latents", "portion", "auc"])
    table = table.assign(
        low=table["auc"] - 0.1, high=table["auc"] + 0.1, fixed=table["auc"] if fixed is None else fixed
    )
    table = table.assign(moved=0.1, less=np.nan, less_low=np.nan, less_high=np.nan)
    for n in random:
        table.loc[(table["removed"] == "latents") & (table["latents"] == n), ["less", "less_low", "less_high"]] = (
            auc[n] - random[n], auc[n] - random[n] - 0.05, auc[n] - random[n] + 0.05,
        )  # fmt: skip
    table.attrs |= {"latents": [5, 3, 1, 0, 2, 4, 6, 7], "active": 8, "groups": 5}
    return table.assign(**{"other classes": 0.8, "weak": np.nan})


def test_the_fewest_latents_that_erase_and_what_is_said_of_them():
    table = curve({0: 0.9, 1: 0.8, 2: 0.53, 4: 0.5, 8: 0.5}, {1: 0.9, 2: 0.88, 4: 0.86})
    assert cause.enough(table) == 2 and cause.enough(table, kind="random latents") is None
    assert cause.taken(table) == [5, 3]
    told = cause.erasure_sentences(table, concept="a")
    assert told[0] == "Before anything is removed a new probe reads a in unseen groups: AUC 0.90 [0.80, 1.00]."
    assert told[1] == "2 of 8 active latents (25.0%) erase it: AUC 0.53 [0.43, 0.63]."
    assert (
        told[2].startswith("After 2 latents are removed, AUC")
        and "lies below that after random ones, by 0.35 [0.30 to 0.40]" in told[2]
    )
    assert told[3].startswith("In the dense vector, LEACE leaves AUC 0.50 [0.40, 0.60]; the projection")
    assert "before 0.80, after 2 latents 0.80, after LEACE 0.80, after 2 random ones 0.80" in told[4]
    assert told[-1] == "Judged by the probe from before alone, 2 of them would have erased it." and len(told) == 7
    assert told[-2] == "The first to be removed are the latents 5, 3, 1, 0, 2, 4, 6, 7."
    called = cause.erasure_sentences(table, concept="a", names={1: ("high", "0.8"), 7: ("low", "0.7")})[-2]
    assert called.endswith(
        '5, 3, 1 "high", 0, 2, 4, 6, 7 "low". 2 of these 8 have a name that holds, and 2 of all 8 have one.'
    )
    ((text, *figures, control),) = cause.erasure_rows(table, concept="a")
    assert text == "AUC of a new probe of the erased concept after its latents are removed"
    assert figures == pytest.approx([0.53, 0.43, 0.63])
    assert control == "a, 2 of 8 active latents; before 0.90, LEACE 0.50, as many random ones 0.88"
    assert cause.erasure_rows(pd.DataFrame(), concept="a") == []
    none = curve({0: 0.9, 1: 0.9, 4: 0.7, 8: 0.65}, {1: 0.9})
    assert cause.enough(none) is None and cause.taken(none) == [5, 3, 1, 0]
    alike = curve({0: 0.9, 1: 0.9, 2: 0.901, 4: 0.904, 8: 0.65}, {}, fixed=[0.9, 0.8, 0.6, 0.7, 0.5, 0.5, 0.5])
    assert cause.taken(alike) == [5, 3], "the old probe decides between equals"
    told = cause.erasure_sentences(none, concept="a")
    assert "least is left after 8 of 8 active ones (100%), AUC 0.65 [0.55, 0.75]" in told[1]
    assert told[2] == "No random latents can push as far as these 4 do, so that the comparison with them is missing."


def test_a_trivial_control_that_wins_is_said_first_and_nothing_is_erased_that_was_not_read():
    luck = cause.erasure_sentences(curve({0: 0.9, 1: 0.9, 2: 0.5}, {1: 0.5, 2: 0.5}), concept="a")
    assert luck[0] == "1 random latents that push as far erase it as well: any push of that length would do."
    (unread,) = cause.erasure_sentences(curve({0: 0.55, 1: 0.5}, {1: 0.5}), concept="a")
    assert unread.startswith("Before anything is removed, a is not shown to be read") and unread.endswith("to erase.")
    (empty,) = cause.erasure_sentences(pd.DataFrame(), concept="a")
    assert "nothing can be erased" in empty


def test_a_concept_is_erased_steered_to_and_followed_through_the_network(heard):
    clips, network, embeddings, split, sae = heard
    x, concept = embeddings.layer("first"), clips.labels == "high"
    z = sae.encode(x)
    np.testing.assert_allclose(z, x, atol=1e-5)
    groups = clips.groups()
    erased = cause.concept_curve(x, z, sae, clips, concept, split, groups=groups, device="cpu", counts=[1, 2])
    assert set(erased.attrs["latents"][:2]) == {1, 3}, "the bands of the label"
    assert cause.enough(erased) == 2 and {"other classes", "weak"} < set(erased.columns)
    assert erased["weak"].min() > 0.9 and erased["other classes"].isna().all()  # one other class is no question
    assert cause.erasure_figure(erased, concept="high", title="t").axes
    probes = wb.fit_probes(embeddings, clips.labels, split, groups=groups, device="cpu")
    at = probes.position("first")
    probe = {"weights": probes.weights[at][0], "bias": probes.bias[at][0], "classes": list(probes.classes)}
    parts = {"choose": split.train, "test": split.test, "groups": groups}
    steered = cause.steering(x, clips.labels, z, np.eye(BANDS), target="high", **probe, **parts)
    assert cause.steering_sentences(steered, target="high")[0].startswith("Dose at which half of the other clips")
    assert "that along its latents" in cause.steering_sentences(steered, target="high")[1]
    assert cause.steering_figure(steered, target="high", title="t").axes
    none = cause.steering(x, clips.labels, 0 * z, np.eye(BANDS), target="high", **probe, **parts)
    assert cause.steering_sentences(none, target="high")[0].startswith("Clips cannot be steered to high: z='0 latents")

    asked = {"layer": "first", "concept": concept, "target": "high", "probes": probes, "split": split, "device": "cpu"}
    rest = cause.rest_of_network(clips, network, embeddings, sae, [1, 3], **asked, unit="frame")
    table = rest.set_index(["removed", "layer"])
    assert (table.loc["nothing", ["moved", "shift", "flips", "over"]].drop(columns="over") == 0).all(axis=None)
    assert (table.loc["nothing", "auc"] > 0.95).all() and (table.loc["latents", "auc"] < 0.75).all()
    assert (table.loc["random latents", "auc"] > 0.95).all(), "the other bands say nothing of the label"
    changed = splice(network, "first", LatentRemoval(sae, [1, 3], "frame"))
    after = wb.embed(clips, changed, store=False, progress=False).layer("last")[split.test]
    before = embeddings.layer("last")[split.test]
    moved = np.linalg.norm(after - before, axis=1).mean() / np.sqrt(before.var(0).sum())
    assert table.loc[("latents", "last"), "moved"] == pytest.approx(moved, rel=1e-5)
    told = cause.rest_sentences(rest, target="high")
    assert told[0].startswith("From layer first to last the displacement goes from")
    assert told[1].startswith("A new probe of high in layer first and in layer last, after the removal in layer first")
    again = rest.copy()
    again.loc[(again["removed"] == "LEACE") & (again["layer"] == "first"), "auc"] = 0.51
    again.loc[(again["removed"] == "LEACE") & (again["layer"] == "last"), "auc"] = 0.97
    assert "What LEACE takes out of layer first is read again in layer last." in cause.rest_sentences(
        again, target="high"
    )
    assert not any("read again" in each for each in told)
    assert told[2].startswith("Change of the probability of high by the old probe of layer last")
    assert cause.rest_figure(rest, target="high", title="t").axes
    found = cause.cause_results(erased, steered, rest)
    assert found["erased_by_latents"] == 2 and set(found["rest_auc"]) == {
        f"{name}, {layer}"
        for name in ("nothing", "latents", "random latents", "LEACE")
        for layer in ("first", "mix", "last")
    }
    assert cause.cause_results(pd.DataFrame(), steered, None) == {}


def test_where_no_rest_is_left_or_it_cannot_be_run_one_sentence_says_so(heard):
    _, network, *_ = heard
    assert cause.no_rest(network, "mix") == ""
    assert "Layer last is the last one of Bands" in cause.no_rest(network, "last")
    assert "Layer logmel is the last one" in cause.no_rest(load_encoder("logmel", device="cpu"), "logmel")
    tagger = load_encoder("mn04_as", device="cpu", random_weights=0)
    assert cause.no_rest(tagger, "features.16") == "", "its tags are left"


def test_the_tags_of_a_tagger_are_asked(heard):
    clips, _, _, split, _ = heard
    tagger = load_encoder("mn04_as", device="cpu", random_weights=0)
    few = clips.take(np.r_[:12, 64:72])
    embeddings = wb.embed(few, tagger, layers=["features.15", "features.16"], store=False, progress=False)
    part = wb.Split(np.arange(12), np.array([], int), np.arange(12, 20))
    probes = wb.fit_probes(embeddings, few.labels, part, groups=few.groups(), device="cpu")
    dim = tagger.layers[15].dim
    sae = SparseAutoencoder(
        SAEConfig(dim, latents=dim, k=dim), encoder=torch.eye(dim), encoder_bias=torch.zeros(dim),
        decoder=torch.eye(dim), bias=torch.zeros(dim),
    )  # fmt: skip
    asked = {"layer": "features.15", "concept": few.labels == "high", "target": "high", "probes": probes}
    rest = cause.rest_of_network(
        few, tagger, embeddings, sae, range(20), **asked, split=part, unit="clip", device="cpu"
    )
    tags = rest.attrs["tags"]
    assert set(tags) == {"latents", "random latents", "LEACE"} and len(tags["latents"]) == 4
    own = 12 + np.flatnonzero(few.labels[12:] == "high")
    changed = splice(tagger, "features.15", LatentRemoval(sae, range(20), "clip"))
    after = wb.embed(few, changed, layers="features.16", store=False, progress=False).layer("features.16")
    moved = np.abs(tagger.tags(after[own]) - tagger.tags(embeddings.layer("features.16")[own])).sum(1)
    np.testing.assert_allclose(tags["latents"], moved, rtol=1e-3)
    rest.attrs["bypassed"] = ["features.16"]
    told = cause.rest_sentences(rest, target="high")
    assert told[0] == "Layers features.16 also read what comes before layer features.15, around the removal."
    assert told[-2].startswith("Summed change of the probabilities of its 527 tags")
    assert told[-1].startswith("Clips of high whose first tag changes: latents ")
