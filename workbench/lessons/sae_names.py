"""Names of latents in ``notebooks/sae.ipynb``: the moments that listeners hear, what they say of them, and the reading.

A moment is a whole clip where codes are of clips, and a window of half a second where they are of frames. Listeners
are the dataset's own label and factors, measured attributes, the 527 AudioSet tags of EfficientAT and, where its
weights are there, CLAP, which compares a sound with words.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..attributes import measure
from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError, WeightsError
from ..core.labels import are_classes
from ..core.splits import Split, deal
from ..core.weights import Wanted, find
from ..datasets import Clips
from ..embeddings import embed
from ..encoders import load_encoder
from ..sae import SparseAutoencoder, Statements, name_latents

if TYPE_CHECKING:
    import pandas as pd

    from ..attributes import Attributes
    from ..embeddings import Embeddings
    from ..encoders import Encoder

OWN, MEASURED, TAGS, WORDS = "label and factors", "measured", "AudioSet tags", "CLAP"
"""The listeners."""
HOLDS, SHARED, FAILED, FEW = "holds", "another may do as well", "no name that holds", "too few to judge"
TAG_NAMES = [
    Wanted(
        "AudioSet's class names",
        "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/class_labels_indices.csv",
        files=(file,),
        licence="CC BY 4.0",
        kind="list",
    )
    for file in ("class_labels_indices.csv", "audioset_classes.csv")
]
"""Where the names of the tags are looked for: a table with the columns index and display_name, as AudioSet has it."""
SHOWN = {
    "found": "chosen with",
    "score": "name score",
    "chance": "luck",
    "wrong": "wrong name",
    "wrong_score": "its score",
}
"""What a reader's table calls columns of the table of names."""
UNITS = ("Hz", "dB", "dBFS", "LKFS", "s", "semitones", "cents", "per cent", "a second")
"""Units that stand behind a range."""
SEMITONES = "semitones above 27.5 Hz"


class Moments:
    """The moments of which latents have codes and listeners have something to say, in two halves of the groups.

    Parameters
    ----------
    clips : Clips
    x : ndarray (N, D)
        Vectors of the clips, for codes of whole clips.
    frames : Embeddings, optional
        Frames of the clips, for codes of frames: moments are windows, and a latent's code of a window is the largest of
        its frames'.
    layer : str, optional
        The layer of the frames.
    rate : float
        Frames a second; with 0, frames are no moments in time, and windows are whole clips.
    seconds : float
        Length of a window; a shorter clip is one window.
    heard : float, optional
        What is heard of a whole clip, in seconds from its beginning; by default all. It should be what the vectors are
        of.
    most : int
        Most moments; clips, and windows within clips, are drawn at random.
    seed : int
        Draws the moments and the halves.

    Attributes
    ----------
    clips : Clips
        The sounds of the M moments, with the label, the group and the factors of their clips.
    of : ndarray, int64 (M,)
        Clip of each moment.
    start : ndarray, float64 (M,)
        When it begins, in seconds.
    split : Split
        The half on which names are chosen (``train``), and that on which they are tested (``test``).

    Raises
    ------
    ParameterError
        There are fewer than two groups, ``x`` is not a row a clip, or a layer is given without frames.
    """

    @checked
    def __init__(
        self,
        clips: Clips,
        x: np.ndarray,
        *,
        frames: Embeddings | None = None,
        layer: str | None = None,
        rate: float = 0.0,
        seconds: float = 0.5,
        heard: float | None = None,
        most: int = 600,
        seed: int = 0,
    ):
        seconds, most = number("seconds", seconds, above=0), whole("most", most, least=4)
        rate = number("rate", rate, least=0)
        x = numbers("x", x, ndim=2)
        if len(x) != len(clips):
            raise ParameterError("len(x)", len(x), f"{len(clips)}, a row a clip")
        if frames is not None and layer is None:
            raise ParameterError("layer", layer, "the layer of the frames")
        if len(set(clips.groups())) < 2:
            raise ParameterError("clips", f"of {len(set(clips.groups()))} group", "of two groups or more, one a half")
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.permutation(len(clips))[:most])
        self._vectors, self._ends, self.start = [], [], []
        self.clips, self.of = clips.take(rows), rows
        if frames is None:
            self._vectors = list(x[rows][:, None])
        elif rate == 0:
            self._vectors = [frames.frames(layer, int(i)) for i in rows]
        else:
            self.clips, self.of = self._windows(
                clips, rows, frames, layer, rate, seconds, max(1, most // len(rows)), rng
            )
        self.windows = bool(self.start)
        self.heard = None if self.windows or heard is None else number("heard", heard, above=0)
        self.start = np.array(self.start) if self.windows else np.zeros(len(rows))
        kept = self.clips.take(np.unique(self.of, return_index=True)[1])  # one moment a clip, in the order of clips
        half = deal(kept.labels, kept.groups(), (0.5, 0.5), seed=seed)[np.unique(self.of, return_inverse=True)[1]]
        self.split = Split(np.flatnonzero(half == 0), test=np.flatnonzero(half == 1))

    def _windows(self, clips, rows, frames, layer, rate, seconds, each, rng) -> tuple[Clips, np.ndarray]:
        """The sounds of ``each`` windows of these clips, and their clips; their frames are kept."""
        sounds, of, hertz = [], [], min(clips.audio(int(i))[1] for i in rows[:1])
        width = max(1, round(seconds * rate))
        for i in rows.tolist():
            x, _ = clips.audio(i, rate=hertz)
            h = frames.frames(layer, i)
            length = max(1, min(len(h), int(len(x) / hertz * rate)))  # frames beyond the sound are of padding
            starts = np.arange(0, max(1, length - width + 1), width)
            for start in np.sort(rng.permutation(starts)[:each]):
                end = min(start + width, length)
                begin, stop = round(start / rate * hertz), round(end / rate * hertz)
                sounds.append(x[begin : max(stop, begin + 1)] if length > width else x)
                self._vectors.append(h[start:end])
                self.start.append(start / rate)
                of.append(i)
        table = clips.table.iloc[of]
        columns = {name: table[name].tolist() for name in ("label", *clips.factors)}
        ids = [f"{row} at {start:.2f} s" for row, start in zip(table["id"], self.start, strict=True)]
        cut = Clips.from_arrays(sounds, hertz, name=f"windows of {clips.name}", id=ids, **columns)
        cut.table["group"] = clips.groups()[of]
        cut.target_name = clips.target_name
        return cut, np.array(of)

    def __len__(self) -> int:
        return len(self.of)

    def codes(self, sae: SparseAutoencoder) -> np.ndarray:
        """Codes of the moments, float32 (M, latents): the largest of each latent's over the frames of a moment."""
        lengths = [len(each) for each in self._vectors]
        z = sae.encode(np.concatenate(self._vectors))
        return np.maximum.reduceat(z, np.cumsum([0, *lengths[:-1]]), axis=0)


# --- listeners ----------------------------------------------------------------------------------------------------


def own_statements(moments: Moments) -> Statements:
    """What the dataset's table says: labels (or tags, or the number behind the labels) and factors."""
    clips, naming = moments.clips, moments.split.train
    columns = {"label": clips.table["label"]}
    if clips.target_name:
        columns = {clips.target_name: clips.table[clips.target_name]}
    columns |= {name: clips.table[name] for name in clips.factors}
    parts = []
    for name, column in columns.items():
        if name == "label" and clips.tags is not None:
            yes = clips.tags.to_numpy(bool)
            parts.append(Statements(yes, [f"tag: {tag}" for tag in clips.tags], [OWN] * yes.shape[1]))
        elif name != clips.target_name and are_classes(column.dropna()):
            parts.append(Statements.from_labels(column.tolist(), OWN, name=name))
        else:
            parts.append(Statements.from_numbers(column.to_numpy(np.float64), OWN, naming, name=name))
    return Statements.joined(parts)


def told_in(measured: Attributes, name: str) -> tuple[np.ndarray, str]:
    """Values (N,) of a measured attribute in the unit in which it is told, and this unit: pitch in Hz, or none."""
    values, unit = measured.values[:, measured.names.index(name)], measured.meanings[name].rpartition(", ")[2]
    if unit == SEMITONES:
        return 27.5 * 2 ** (values / 12), "Hz"
    return values, unit if unit in UNITS else ""


def measured_statements(moments: Moments, *, set: str) -> Statements:
    """Ranges of measured attributes, of the sound of each moment alone; pitch is given in Hz."""
    heard, parts = measure(moments.clips, set=set, seconds=moments.heard, progress=False), []
    for name in heard.names:
        values, unit = told_in(heard, name)
        parts.append(Statements.from_numbers(values, MEASURED, moments.split.train, name=name, unit=unit))
    return Statements.joined(parts)


def tag_names() -> list[str]:
    """The names of AudioSet's 527 classes in their order, from a file beside the weights.

    Raises
    ------
    WeightsError
        No folder of ``WORKBENCH_WEIGHTS`` has the file, or it does not list 527 names.
    """
    path, last = None, None
    for wanted in TAG_NAMES:
        try:
            path = path or find(wanted)
        except WeightsError as error:
            last = last or error
    if path is None:
        raise last
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != 527 or not all({"index", "display_name"} <= set(row) for row in rows):
        raise WeightsError(f"{path}: expected 527 rows with the columns index and display_name, got {len(rows)} rows")
    return [row["display_name"] for row in sorted(rows, key=lambda row: int(row["index"]))]


def tag_scores(clips: Clips, tagger: Encoder, *, seconds: float | None = None) -> np.ndarray:
    """Logits of AudioSet's classes, float32 (M, 527), of an EfficientAT network: its head on its last layer's mean."""
    pooled = embed(clips, tagger, layers=[tagger.layers[-1].name], seconds=seconds, progress=False).layer(-1)
    with torch.inference_mode():
        return tagger.net.classifier[2:](torch.from_numpy(pooled).to(tagger.device)).float().cpu().numpy()


def text_scores(clips: Clips, clap: Encoder, texts: Sequence[str], *, seconds: float | None = None) -> np.ndarray:
    """Cosine of each sound and each text in the space of a CLAP, float32 (M, texts)."""
    sounds = embed(clips, clap, layers=[clap.layers[-1].name], seconds=seconds, progress=False).layer(-1)
    words = clap.text(list(texts))
    return (sounds / np.linalg.norm(sounds, axis=1, keepdims=True)) @ (
        words / np.linalg.norm(words, axis=1, keepdims=True)
    ).T


def listen(
    moments: Moments,
    *,
    set: str = "voice",
    tagger: str | Encoder = "mn04_as",
    clap: str | Encoder = "laion/clap-htsat-unfused",
    texts: Sequence[str] = (),
    device: str = "auto",
) -> tuple[Statements, dict[str, str]]:
    """What all listeners say of the moments, and why those that are not here say nothing.

    Parameters
    ----------
    moments : Moments
    set : str
        Attributes of :func:`workbench.measure`.
    tagger, clap : str or Encoder
        An EfficientAT network, and a CLAP model with its tokenizer; a name or folder of one.
    texts : sequence of str, optional
        Words for CLAP; by default the names of AudioSet's classes, or where they are not here the labels.
    device : str

    Returns
    -------
    statements : Statements
    absent : dict of str to str
        Listener -> why it is not here.
    """
    naming, absent = moments.split.train, {}
    parts = [own_statements(moments), measured_statements(moments, set=set)]
    try:
        names = tag_names()
    except WeightsError:
        names = []
    texts = list(texts) or names or list(moments.clips.classes)
    try:
        tagger = load_encoder(tagger, device=device)
        scores = tag_scores(moments.clips, tagger, seconds=moments.heard)
        names = names or [f"AudioSet class {i}" for i in range(scores.shape[1])]
        parts.append(Statements.from_scores(scores, names, TAGS, naming))
    except WeightsError:
        absent[TAGS] = f"the weights of {tagger} are not on this machine"
    try:
        clap = load_encoder(clap, device=device)
        parts.append(
            Statements.from_scores(text_scores(moments.clips, clap, texts, seconds=moments.heard), texts, WORDS, naming)
        )
    except WeightsError:
        absent[WORDS] = f"the weights of {clap} are not on this machine"
    return Statements.joined(parts), absent


def heard_sentences(moments: Moments, said: Statements, absent: Mapping[str, str]) -> list[str]:
    """How many moments are heard, who says how much of them, and who is not here."""
    kinds = {"windows": "windows of clips"} if moments.windows else {}
    groups = [len(set(moments.clips.groups()[rows])) for rows in (moments.split.train, moments.split.test)]
    told = f"{len(moments)} moments ({kinds.get('windows', 'whole clips')}): names are chosen on "
    told += (
        f"{len(moments.split.train)} of {groups[0]} groups, tested on {len(moments.split.test)} of {groups[1]} others."
    )
    count = {who: said.listeners.count(who) for who in dict.fromkeys(said.listeners)}
    spoken = ", ".join(f"{who} {n:,}" for who, n in count.items())
    missing = [f"Without {who}: {why}." for who, why in absent.items()]
    if len(set(moments.clips.groups())) == len(moments.clips):
        told += " No groups are named, so that clips of one speaker or source may lie on both sides, and a name may be"
        told += " right for these alone."
    return [told, f"Statements to choose from: {spoken}.", *missing]


# --- names --------------------------------------------------------------------------------------------------------


def names_of(moments: Moments, sae: SparseAutoencoder, said: Statements, **how: object) -> pd.DataFrame:
    """The table of :func:`workbench.sae.name_latents` for the latents of a code; ``how`` is ``draws`` and ``seed``."""
    about = {"groups": moments.clips.groups(), "clips": moments.of}
    return name_latents(moments.codes(sae), said, moments.split, **about, **how)


def names_by_listener(
    moments: Moments, sae: SparseAutoencoder, said: Statements, **how: object
) -> dict[str, pd.DataFrame]:
    """The same for all listeners together, under "all", and for each alone."""
    every = {who: said.of(who) for who in dict.fromkeys(said.listeners)}
    return {who: names_of(moments, sae, each, **how) for who, each in {"all": said, **every}.items()}


def shown_names(table: pd.DataFrame, *, most: int = 40, least: int = 15) -> pd.DataFrame:
    """What a reader sees: at most so many names that hold, and below them some that do not, three or more."""
    judged = table[table["verdict"] != FEW]
    holds = judged["verdict"] == HOLDS
    good = judged[holds].index[:most]
    rows = judged.loc[[*good, *judged[~holds].index[: max(3, least - len(good))]]]
    columns = ["name", "listener", "found", "score", "chance", "wrong", "wrong_score", "margin", "low", "high"]
    return rows[[*columns, "verdict"]].rename(columns=SHOWN)


def latent_names(table: pd.DataFrame) -> dict[int, tuple[str, str]]:
    """Names that hold and their scores, by latent, as :func:`workbench.views.latent_page` takes them."""
    good = table[table["verdict"] == HOLDS]
    return {int(latent): (name, f"{score:.2f}") for latent, name, score in good[["name", "score"]].itertuples()}


def name_counts(tables: Mapping[str, pd.DataFrame], control: pd.DataFrame) -> pd.DataFrame:
    """For each listener, and for the untrained code with all of them, how many latents are alive, judged and named."""
    import pandas as pd

    rows = {}
    for who, table in {**tables, "all, untrained code": control}.items():
        count = table["verdict"].value_counts()
        judged = len(table) - count.get(FEW, 0)
        lucky = int((table["score"] > table["chance"]).sum())
        rows[who] = {"active latents": len(table), "judged": judged, "above luck": lucky, "by luck": 0.05 * judged}
        rows[who] |= {verdict: int(count.get(verdict, 0)) for verdict in (HOLDS, SHARED, FAILED)}
    return pd.DataFrame(rows).T.rename_axis("listener")


def name_sentences(
    tables: Mapping[str, pd.DataFrame], control: pd.DataFrame, *, families: Mapping[str, str] | None = None
) -> list[str]:
    """How many latents have a name that holds, beside the untrained code; the best three names, and one that fails.

    Parameters
    ----------
    tables : mapping of str to pandas.DataFrame
        Of :func:`names_by_listener`.
    control : pandas.DataFrame
        Of :func:`names_of`, for the untrained code.
    families : mapping of measured attribute to family, optional
    """
    table, counts = tables["all"], name_counts(tables, control)
    ours, bare = counts.loc["all"], counts.loc["all, untrained code"]
    if not ours["judged"]:
        return ["No latent is active, and silent, at enough moments of both halves: none can be named."]
    share = [row[HOLDS] / max(1, row["judged"]) for row in (ours, bare)]
    told = f"Of {ours['active latents']:.0f} latents that are alive {ours['judged']:.0f} are active and silent often "
    told += f"enough to be judged, and {ours[HOLDS]:.0f} of these ({share[0]:.0%}) have a name that holds."
    control_told = f"Of the untrained code's latents, which nobody taught anything, {bare[HOLDS]:.0f} of "
    control_told += f"{bare['judged']:.0f} judged ({share[1]:.0%}) have one."
    sentences = [control_told, told] if share[1] >= share[0] else [told, control_told]
    lucky = f"{ours['above luck']:.0f} lie above what 95 % of shuffles reach, where luck alone would bring about "
    lucky += f"{ours['by luck']:.0f}; a name holds only if it is so far above that luck brings any at all in 1 of 20 "
    sentences.append(
        f"{lucky}such tables. {ours[SHARED]:.0f} more are that far above, but another name may do as well."
    )
    each = [f"{who} {counts.loc[who, HOLDS]:.0f}" for who in tables if who != "all"]
    sentences.append(f"Names that hold, each listener alone: {', '.join(each)}.")
    good = table[table["verdict"] == HOLDS]
    if len(good):
        best = [f'latent {latent} "{row["name"]}" ({row["score"]:.2f})' for latent, row in good.head(3).iterrows()]
        sentences.append(f"The best: {', '.join(best)}.")
    of = good["name"].str.split(" ").str[0].map(dict(families or {})).dropna()
    if len(of):
        each = [
            f'{family} {len(rows)} (latent {rows.index[0]} "{good.loc[rows.index[0], "name"]}")'
            for family, rows in of.groupby(of)
        ]
        sentences.append(f"Of what is measured, the names that hold speak of: {', '.join(each)}.")
    bad = table[table["verdict"] == FAILED]
    if len(bad):
        latent = (bad["found"] - bad["score"]).idxmax()
        row = bad.loc[latent]
        failed = (
            f'A guess that fails: latent {latent}, "{row["name"]}", {row["found"]:.2f} on the half it was chosen on, '
        )
        sentences.append(f"{failed}{row['score']:.2f} on the other.")
    return sentences


def name_rows(tables: Mapping[str, pd.DataFrame], control: pd.DataFrame) -> list[tuple]:
    """The share of latents whose name holds, as a main result; none where no name could be judged."""
    counts = name_counts(tables, control)
    judged = counts["judged"]
    if not judged["all"]:
        return []
    share = (counts[HOLDS] / judged.where(judged > 0)).loc[["all", "all, untrained code"]]
    control = f"of {judged['all']:.0f} that are judged; of the untrained code's {share.iloc[1]:.3g}"
    return [("Share of latents whose name holds in other groups", share.iloc[0], None, None, control)]


def name_results(tables: Mapping[str, pd.DataFrame], control: pd.DataFrame) -> dict[str, object]:
    """What is recorded of names: the counts of every listener, and the names that hold."""
    counts = name_counts(tables, control)
    names = {str(latent): name for latent, (name, _) in latent_names(tables["all"]).items()}
    counted = {"latents_named": counts[HOLDS].to_dict(), "latents_judged": counts["judged"].to_dict()}
    return counted | {"latent_names": names}
