"""Moments, listeners and sentences of names: planted sounds and codes, and files that are not there."""

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.datasets import Clips
from workbench.embeddings import Embeddings
from workbench.encoders import load_encoder
from workbench.lessons import sae_names as naming
from workbench.sae import SAEConfig, SparseAutoencoder, Statements

RATE = 8000


class Given(Embeddings):
    """Frames of clips as they are given, in place of embeddings."""

    def __init__(self, frames):
        self._frames = frames

    def frames(self, layer, row):
        return self._frames[row]


def tones(count=24, seconds=2.0, **columns):
    """Clips of a tone of 220 or 880 Hz that sets in at half time, of eight groups; 10 frames a second of both bands."""
    t, kind = np.arange(round(seconds * RATE)) / RATE, np.arange(count) // 2 % 2
    x = [0.3 * np.sin(2 * np.pi * (220, 880)[k] * t) * (t >= seconds / 2) for k in kind]
    columns = {"label": [("low", "high")[k] for k in kind], "group": [f"g{i % 8}" for i in range(count)], **columns}
    frames = [np.outer(np.arange(round(seconds * 10)) >= seconds * 5, np.eye(2)[k]).astype(np.float32) for k in kind]
    return Clips.from_arrays(x, RATE, **columns), frames, kind


def identity(dim=2):
    eye = torch.eye(dim)
    config = SAEConfig(dim=dim, latents=dim, k=1)
    return SparseAutoencoder(config, encoder=eye, encoder_bias=torch.zeros(dim), decoder=eye, bias=torch.zeros(dim))


@pytest.fixture(scope="module")
def windowed():
    clips, frames, kind = tones(48)
    x = np.stack([h.mean(0) for h in frames])
    return naming.Moments(clips, x, frames=Given(frames), layer="a", rate=10.0, seconds=0.5), kind


def test_windows_are_cut_from_sound_and_frames_alike(windowed):
    moments, kind = windowed
    assert len(moments) == 48 * 4 and moments.windows
    assert moments.start[:4].tolist() == [0, 0.5, 1, 1.5] and moments.of[:8].tolist() == [0] * 4 + [1] * 4
    z, sounding = moments.codes(identity()), moments.start >= 1
    assert ((z > 0).any(1) == sounding).all() and (z[sounding].argmax(1) == kind[moments.of[sounding]]).all()
    loud = [np.abs(moments.clips.audio(m)[0]).max() > 0.1 for m in range(len(moments))]
    assert (np.array(loud) == sounding).all()
    assert {len(moments.clips.audio(m)[0]) for m in range(8)} == {RATE // 2}
    halves = [set(moments.clips.groups()[rows]) for rows in (moments.split.train, moments.split.test)]
    assert not halves[0] & halves[1] and len(halves[0]) == len(halves[1]) == 4
    few = naming.Moments(*tones(48)[:1], np.ones((48, 2)), frames=Given(tones(48)[1]), layer="a", rate=10.0, most=96)
    assert len(few) == 96 and (np.bincount(few.of) == 2).all() and (np.diff(few.start)[::2] > 0).all()


def test_whole_clips_short_clips_and_padding():
    clips, frames, _ = tones(16, seconds=0.3)
    x = np.stack([h.mean(0) for h in frames])
    whole = naming.Moments(clips, x)
    assert not whole.windows and whole.clips.labels.tolist() == clips.labels.tolist()
    np.testing.assert_array_equal(whole.codes(identity()), identity().encode(x))
    patches = naming.Moments(clips, x, frames=Given(frames), layer="a", rate=0.0)  # no moments in time
    assert not patches.windows and (patches.codes(identity()).max(1) == 1).all()
    padded = [np.concatenate([h, np.ones((7, 2), np.float32)]) for h in frames]  # an encoder that pads to 1 s
    short = naming.Moments(clips, x, frames=Given(padded), layer="a", rate=10.0)
    assert len(short) == 16 and (short.codes(identity()) > 0).sum(1).tolist() == [1] * 16
    assert len(short.clips.audio(0)[0]) == len(clips.audio(0)[0])
    assert len(naming.Moments(clips, x, most=8)) == 8


def test_a_tone_is_named_by_its_label_and_its_pitch(windowed):
    moments, _ = windowed
    own, heard = naming.own_statements(moments), naming.measured_statements(moments, set="voice")
    assert own.names == ("label: high", "label: low")
    assert any(name.startswith("f0_median") and name.endswith(" Hz") for name in heard.names)
    pitch = dict(zip(heard.names, heard.yes.T, strict=True))["f0_median: none"]
    assert pitch.sum() == (moments.start < 1).sum()  # where there is silence
    tables = naming.names_by_listener(moments, identity(), Statements.joined([own, heard]), draws=19, seed=0)
    assert list(tables) == ["all", naming.OWN, naming.MEASURED]
    found = tables[naming.MEASURED]
    assert (found["score"] == 1).all() and (found["verdict"] == naming.HOLDS).all()
    told = tables["all"].loc[1, "name"]
    assert not told.startswith("label")  # the label says nothing of when
    assert tables[naming.OWN].loc[1, "name"] == "label: high" and tables[naming.OWN].loc[1, "score"] < 0.9
    silent = SparseAutoencoder(
        SAEConfig(dim=2, latents=2, k=1), encoder=-torch.eye(2), encoder_bias=torch.zeros(2), decoder=-torch.eye(2),
        bias=torch.zeros(2),
    )  # fmt: skip
    control = naming.names_of(moments, silent, own, draws=19, seed=0)
    assert control.empty
    sentences = naming.name_sentences(tables, control)
    assert sentences[0].startswith("Of 2 latents that are alive 2 are active") and "(100%)" in sentences[0]
    assert any(s.startswith("The best: latent") for s in sentences)
    name = tables["all"].iloc[0]["name"]
    spoken = naming.name_sentences(tables, control, families={name.split(" ")[0]: "pitch"})
    assert any(s.startswith("Of what is measured, the names that hold speak of: pitch ") and name in s for s in spoken)
    assert naming.name_sentences({"all": control}, control)[0].endswith("none can be named.")
    assert set(naming.latent_names(tables["all"])) == {0, 1}
    assert naming.name_results(tables, control)["latents_named"]["all"] == 2
    assert naming.name_rows({"all": control}, control) == [], "no name was judged"
    ((_, share, low, high, against),) = naming.name_rows(tables, control)
    assert (share, low, high) == (1.0, None, None) and against.endswith("of the untrained code's nan"), (
        "none was judged"
    )
    assert naming.shown_names(tables["all"])["verdict"].tolist() == [naming.HOLDS] * 2


def test_a_control_that_is_named_as_often_comes_first_and_a_failed_guess_is_shown():
    row = {"name": "x", "found": 0.9, "score": 0.5, "chance": 0.6, "wrong": "y", "wrong_score": 0.5, "listener": "l"}
    row |= {"margin": 0.0, "low": -1.0, "high": 1.0, "verdict": naming.FAILED}
    table = pd.DataFrame([row, row | {"found": 0.8}], index=[7, 9])
    good = table.assign(verdict=[naming.HOLDS, naming.FAILED], score=[0.9, 0.5])
    first, second, *_, last = naming.name_sentences({"all": table, "l": table}, good)
    assert first == "Of the untrained code's latents, which nobody taught anything, 1 of 2 judged (50%) have one."
    assert "0 of these (0%)" in second
    assert last == 'A guess that fails: latent 7, "x", 0.90 on the half it was chosen on, 0.50 on the other.'
    assert naming.name_counts({"all": good}, table).loc["all", "above luck"] == 1
    many = pd.DataFrame([row] * 40).assign(verdict=[naming.HOLDS] * 30 + [naming.FAILED] * 10)
    assert naming.shown_names(many)["verdict"].value_counts().to_dict() == {naming.HOLDS: 30, naming.FAILED: 3}
    assert naming.shown_names(many, most=12)["verdict"].value_counts().to_dict() == {naming.HOLDS: 12, naming.FAILED: 3}
    assert len(naming.shown_names(many.iloc[25:])) == 15


def test_columns_of_every_kind():
    clips, _, kind = tones(24, pitch=np.linspace(100, 200, 24).tolist(), room=["a", "b", None] * 8)
    moments = naming.Moments(clips, np.eye(2)[kind])
    names = naming.own_statements(moments).names
    assert {"label: low", "room: a", "room: b", "pitch: none"} <= set(names) and "room: None" not in names
    assert sum(name.startswith("pitch ") for name in names) == 14
    with pytest.warns(UserWarning, match="thirds"):
        by_number = clips.with_label("pitch")
    names = naming.own_statements(naming.Moments(by_number, np.eye(2)[kind])).names
    assert not any(name.startswith("label") for name in names) and sum(n.startswith("pitch ") for n in names) == 14
    sets = Clips.from_arrays([np.ones(100)] * 8, RATE, label=["a+b", "a", "b", "none"] * 2, group=list("aabbccdd"))
    if sets.tags is not None:
        assert set(naming.own_statements(naming.Moments(sets, np.ones((8, 2)))).names) == {"tag: a", "tag: b"}


def test_tags_are_the_head_of_the_tagger_on_the_sound():
    clips, _, _ = tones(4)
    tagger = load_encoder("mn04_as", random_weights=0, device="cpu")
    scores = naming.tag_scores(clips, tagger)
    for i in range(4):
        x = torch.from_numpy(clips.audio(i, rate=tagger.rate)[0])[None]
        with torch.inference_mode():
            direct = tagger.logits(x, torch.tensor([x.shape[1]]))
        np.testing.assert_allclose(scores[i], direct[0].numpy(), atol=1e-4)


def test_names_of_tags_come_from_a_file_in_its_order(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("workbench.core.weights._cache", lambda: tmp_path / "none")
    with pytest.raises(WeightsError, match="AudioSet's class names"):
        naming.tag_names()
    rows = [f'{i},/m/{i},"tag, {i}"' for i in reversed(range(527))]
    file = tmp_path / "class_labels_indices.csv"
    file.write_text("\n".join(["index,mid,display_name", *rows]))
    assert naming.tag_names()[:2] == ["tag, 0", "tag, 1"] and len(naming.tag_names()) == 527
    file.write_text("\n".join(["index,mid,display_name", *rows[:5]]))
    with pytest.raises(WeightsError, match="expected 527 rows"):
        naming.tag_names()


def test_what_is_not_here_says_nothing_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("workbench.core.weights._cache", lambda: tmp_path / "none")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    clips, _, kind = tones(16)
    moments = naming.Moments(clips, np.eye(2)[kind])
    said, absent = naming.listen(moments)
    assert list(dict.fromkeys(said.listeners)) == [naming.OWN, naming.MEASURED]
    sentences = naming.heard_sentences(moments, said, absent)
    assert sentences[0].startswith(
        "16 moments (whole clips): names are chosen on 8 of 4 groups, tested on 8 of 4 others"
    )
    assert sentences[2] == "Without AudioSet tags: the weights of mn04_as are not on this machine."
    assert sentences[3] == "Without CLAP: the weights of laion/clap-htsat-unfused are not on this machine."


def test_words_of_clap_are_cosines(tmp_path):
    from tests.encoders.test_huggingface import clap as small_clap

    model, _ = small_clap(tmp_path)
    encoder, (clips, _, kind) = load_encoder(tmp_path, device="cpu"), tones(8)
    texts = ["a low tone", "a high tone"]
    scores = naming.text_scores(clips, encoder, texts)
    assert scores.shape == (8, 2) and np.abs(scores).max() <= 1 + 1e-5
    sound, _ = clips.audio(3, rate=48000)
    features = encoder.front.extractor(sound, sampling_rate=48000, return_tensors="pt")["input_features"]
    with torch.inference_mode():
        pooled = model.audio_model(features, is_longer=torch.zeros(1, 1, dtype=torch.bool)).pooler_output
        audio = model.audio_projection(pooled)
    direct = torch.nn.functional.cosine_similarity(audio, torch.from_numpy(encoder.text(texts)))
    np.testing.assert_allclose(scores[3], direct.numpy(), atol=1e-4)
    moments = naming.Moments(clips, np.eye(2)[kind])
    said, absent = naming.listen(moments, tagger=load_encoder("mn04_as", random_weights=0), clap=encoder, texts=texts)
    assert set(said.of(naming.WORDS).names) == set(texts) and not absent


def test_what_does_not_fit_is_refused():
    clips, frames, kind = tones(16)
    with pytest.raises(ParameterError, match="len.x.=3"):
        naming.Moments(clips, np.ones((3, 2)))
    with pytest.raises(ParameterError, match="layer=None"):
        naming.Moments(clips, np.eye(2)[kind], frames=Given(frames))
    with pytest.raises(ParameterError, match="clips=.*two groups"):
        naming.Moments(clips.where(group="g0"), np.ones((2, 2)))
    with pytest.raises(ParameterError, match="seconds=0"):
        naming.Moments(clips, np.eye(2)[kind], seconds=0.0)
