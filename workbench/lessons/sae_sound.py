"""What ``notebooks/sae.ipynb`` says of the sound of a latent: sounds in which one latent is turned, and their judge.

``vectors`` is everywhere what :func:`workbench.sonify.sound_vectors` gave for N sounds, and ``sae`` a sparse code of
them. An *amount* is a value of a latent in units of its typical one (the median where it is active). A *slope* is the
change of an attribute a unit of amount. Attributes are then *percentiles*, the share of real training sounds that lie
below, so that one wild measurement does not make a mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from .. import audio
from ..attributes import measure
from ..codecs import load_codec
from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..core.keeping import keep
from ..core.splits import Split
from ..datasets import Clips
from ..metrics.intervals import difference_interval, group_interval
from ..sae import SparseAutoencoder, fit_saes
from ..sonify import SoundVectors, load_autoencoder, sound_vectors
from ..views import compared, heatmap, intervals, latent_sound_page

HEARD = {
    "f0_median": ("pitch", "semitones"),
    "hnr_mean": ("harmonicity", "dB"),
    "level": ("level", "dBFS"),
    "centroid_mean": ("brightness", "Hz"),
    "slope_0_500": ("low-band slope", "dB per kHz"),
    "f1_frequency": ("first formant", "Hz"),
    "f2_frequency": ("second formant", "Hz"),
    "flux": ("spectral flux", ""),
}
"""Attributes of the set "voice" that need no label: what they are called here, and units. Any sound has most, and
zeros after its end change none but the level, by a constant."""
UNITS = dict(HEARD.values())
SETTINGS = {
    "smoke": {"clips": 72, "latents": 64, "epochs": 15, "turned": 3, "sounds": 5, "carry": 1},
    "small": {"clips": 400, "latents": 128, "epochs": 20, "turned": 5, "sounds": 12, "carry": 3},
    "paper": {"clips": 1000, "latents": 256, "epochs": 20, "turned": 6, "sounds": 24, "carry": 3},
}
"""At each scale: clips that are encoded, latents of the code, passes over the vectors, latents that are turned, in how
many test sounds, and of how many clips the page carries all sounds."""
LOUDER = 10.0
"""Most dB by which a turned sound is played above the unchanged one: a few loud ones would make all others faint."""
AMOUNTS = (0.0, 1.0, 2.0, 4.0)
OWN, OTHER, RANDOM = "the latent", "another latent", "random direction"
"""Kinds of step: along the latent, and two controls of the same length."""
KINDS = (OWN, OTHER, RANDOM)
SECONDS, RATE = 1.5, 16000
"""Length of what is encoded of each clip, and its rate in Hz."""
FEWEST = 8
"""Sounds in which a latent must be active, and in which an attribute must be defined, to be paired."""
POOR = 0.5
"""Correlation below which a reconstruction does not carry an attribute."""
NOTHING = f"No latent is active in {FEWEST} training sounds in which something varies that is measured: none is turned."
"""Why nothing can be heard, where nothing can."""


# Sounds and codes -----------------------------------------------------------------------------------------------------


def windows(clips: Clips, rows: ArrayLike) -> np.ndarray:
    """The first :data:`SECONDS` of some clips at 16 kHz, zero-padded, float32 (N, samples)."""
    return np.stack([audio.fit(clips.audio(int(i), rate=RATE)[0], RATE, seconds=SECONDS) for i in rows])


def spread(rows: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` of some rows, from as many groups as can be, since intervals are over groups."""
    rows = np.asarray(rows)
    turn = pd.Series(rows).groupby(groups[rows]).cumcount().to_numpy()
    return rows[np.argsort(turn, kind="stable")][:count]


def decodable(sounds: np.ndarray, *, device: str, seed: int) -> dict[str, SoundVectors]:
    """Sounds as vectors that can be decoded: one vector of the built-in autoencoder, and frames of the mel codec."""
    ways = load_autoencoder("mini-mel", device=device), load_codec("mel")
    return {way.name: sound_vectors(sounds, RATE, way, seed=seed) for way in ways}


def heard_in(sounds: Iterable[np.ndarray], rate: int) -> pd.DataFrame:
    """The attributes :data:`HEARD` of sounds, a row each, NaN where undefined.

    A sound beyond full scale is measured at full scale, and its level is put back; no other attribute depends on the
    level.
    """
    sounds = [np.asarray(x, dtype=np.float32) for x in sounds]
    peaks = np.array([max(1.0, float(np.abs(x).max())) for x in sounds])
    clips = Clips.from_arrays([x / np.float32(peak) for x, peak in zip(sounds, peaks, strict=True)], rate)
    table = measure(clips, set="voice", progress=False).table[list(HEARD)].reset_index(drop=True)
    table["level"] += 20 * np.log10(peaks)
    return table.set_axis([name for name, _ in HEARD.values()], axis=1)


def carried(ways: Mapping[str, SoundVectors], real: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    """How well each way through vectors keeps each attribute: correlation over some sounds, (attributes, ways)."""
    columns = {}
    for name, vectors in ways.items():
        again = heard_in(vectors.decode(vectors.x[rows]), vectors.rate)
        columns[name] = [_correlation(real[of].to_numpy()[rows], again[of].to_numpy()) for of in real]
    return pd.DataFrame(columns, index=list(real))


def best_carrier(kept: pd.DataFrame) -> str:
    """The way that keeps the attributes best, by the median of the correlations of :func:`carried`."""
    return str(kept.median().fillna(0.0).idxmax())


def sparse_code(vectors: SoundVectors, split: Split, *, latents: int, k: int, seed: int, epochs: int, device: str):
    """A sparse code of the vectors at which the training sounds sound.

    Parameters
    ----------
    vectors : SoundVectors
    split : Split
        Of the N sounds; vectors of one sound are never on two sides.
    latents, k, seed, epochs, device
        As in :func:`workbench.sae.fit_saes`, with a batch of 64 vectors.

    Returns
    -------
    SparseAutoencoder, and the fraction of variance unexplained on the validation sounds
    """
    width = vectors.x.shape[1]
    flat, sounding = vectors.x.reshape(-1, vectors.x.shape[2]), vectors.sounding.reshape(-1)

    def rows(part: np.ndarray) -> np.ndarray:
        of = (np.asarray(part)[:, None] * width + np.arange(width)).reshape(-1)
        return of[sounding[of]]

    options = {"ks": [k], "latents": latents, "seeds": [seed], "epochs": epochs, "batch": 64, "device": device}
    sweep = fit_saes({"sound": flat}, Split(*map(rows, split)), **options, progress=False)
    return sweep.saes[0], float(sweep.table["fvu"].iloc[0])


# Which latents, and how they are turned -------------------------------------------------------------------------------


class Named(NamedTuple):
    """A latent and the attribute that it goes with most."""

    latent: int
    attribute: str
    correlation: float
    """Spearman's, over training sounds."""

    @property
    def name(self) -> str:
        """ "sound latent 12: more brightness"; it is a latent of the code of these vectors, and of no other code."""
        return f"sound latent {self.latent}: {'more' if self.correlation > 0 else 'less'} {self.attribute}"

    @property
    def caption(self) -> str:
        """ "sound latent 12: more brightness (ρ = +0.81)"."""
        sign = f"{self.correlation:+.2f}".replace("-", "−")
        return f"{self.name} (ρ = {sign})"


@checked
def most_telling(codes: np.ndarray, real: pd.DataFrame, *, count: int) -> list[Named]:
    """Pairs of a latent and an attribute that go together most, no latent and no attribute twice.

    Parameters
    ----------
    codes : ndarray (n, latents)
        Codes of training sounds.
    real : DataFrame (n, attributes)
        What was measured of the same sounds.
    count : int
        Most pairs.

    Returns
    -------
    list of Named
        The strongest first; empty if no latent and no attribute vary enough.
    """
    codes = numbers("codes", codes, ndim=2)
    if len(codes) != len(real):
        raise ParameterError("real", f"{len(real)} rows", f"{len(codes)}, as codes")
    whole("count", count, least=1)
    strength, chosen = _strengths(codes, real), []
    size = np.abs(strength)
    while len(chosen) < count and size.max(initial=0.0) > 0:
        latent, j = np.unravel_index(size.argmax(), size.shape)
        chosen.append(Named(int(latent), str(real.columns[j]), float(strength[latent, j])))
        size[latent], size[:, j] = 0, 0
    return chosen


@checked
def lucky(codes: np.ndarray, real: pd.DataFrame, *, seed: int, draws: int = 40) -> float:
    """Strongest correlation that luck brings: the 95 % quantile of the largest of all when sounds are shuffled.

    ``codes`` and ``real`` are those of :func:`most_telling`. All attributes of a sound stay together.
    """
    whole("draws", draws, least=1)
    rng, codes = np.random.default_rng(seed), numbers("codes", codes, ndim=2)
    luck = [np.abs(_strengths(codes[rng.permutation(len(codes))], real)).max(initial=0.0) for _ in range(draws)]
    return float(np.quantile(luck, 0.95))


def name_sentences(named: Sequence[Named], luck: float) -> list[str]:
    """Whether the names are stronger than the strongest that luck brings."""
    if not named:
        return [NOTHING]
    above = sum(abs(each.correlation) > luck for each in named)
    caution = "" if above == len(named) else " The others may be named by luck alone."
    return [
        f"{above} of {len(named)} names are stronger than the strongest of all latents and attributes "
        f"when the sounds are shuffled (|ρ| {luck:.2f}, the 95 % quantile).{caution}"
    ]


class Turned:
    """Sounds in which one latent has another value, decoded once each.

    Parameters
    ----------
    vectors : SoundVectors
    sae : SparseAutoencoder
    named : sequence of Named
        The latents that are turned.
    train : array-like of int
        Sounds that say what a latent's typical value is.
    seed : int
        Of the controls: each latent has another random direction, and another other latent, in every sound.
    """

    def __init__(self, vectors: SoundVectors, sae: SparseAutoencoder, named: Sequence[Named], train, *, seed: int):
        self.vectors, self.sae, self.named, self.seed = vectors, sae, list(named), seed
        self.typical = [vectors.typical(sae, each.latent, train) for each in named]
        own = [each.latent for each in named]
        alive = (vectors.codes(sae)[train] > 0).any(0)
        alive[own] = False
        self._others = np.flatnonzero(alive)
        self._sounds: dict[tuple, np.ndarray] = {}
        self._heard: dict[tuple, dict] = {}

    def changed(self, place: int, i: int, kind: str, amount: float) -> np.ndarray:
        """Vectors (T, D) of sound i in which latent ``named[place]`` has so many times its typical value."""
        rng = np.random.default_rng([self.seed, place, i])
        drawn = rng.standard_normal(self.vectors.x.shape[2])
        other = self.sae.decoder[rng.choice(self._others)].cpu().numpy() if len(self._others) else drawn
        direction = {OWN: None, OTHER: other, RANDOM: drawn}[kind]
        values = [amount * self.typical[place]]
        return self.vectors.with_latent(i, self.sae, self.named[place].latent, values, direction=direction)[0]

    def prepare(self, keys: Iterable[tuple]) -> None:
        """Decode and measure many of :meth:`sound` together; as a stage that is kept."""
        new = [key for key in dict.fromkeys(keys) if key not in self._heard]
        if new:
            x = np.stack([self.changed(*key) for key in new])
            sounds, table = keep(_decoded_and_heard, self.vectors, x)
            self._sounds |= dict(zip(new, sounds, strict=True))
            self._heard |= dict(zip(new, table.to_dict("records"), strict=True))

    def sound(self, place: int, i: int, kind: str, amount: float) -> np.ndarray:
        """The sound (samples,) of :meth:`changed`."""
        return self.sounds([(place, i, kind, amount)])[0]

    def heard(self, keys: Iterable[tuple]) -> pd.DataFrame:
        """The attributes of many of :meth:`sound`, a row each."""
        keys = list(keys)
        new = [key for key in keys if key not in self._heard]
        if new:
            table = heard_in(self.sounds(new), self.vectors.rate)
            self._heard |= dict(zip(new, table.to_dict("records"), strict=True))
        return pd.DataFrame([self._heard[key] for key in keys])

    def unchanged(self, i: int) -> np.ndarray:
        """Sound i through its vectors, (samples,)."""
        return self._made({("as it is", i): self.vectors.x[i]})[0]

    def sounds(self, keys: Iterable[tuple]) -> list[np.ndarray]:
        """Many of :meth:`sound`."""
        keys = list(keys)
        return self._made(dict.fromkeys(keys))

    def _made(self, wanted: Mapping[tuple, np.ndarray | None]) -> list[np.ndarray]:
        new = [key for key in wanted if key not in self._sounds]
        if new:
            x = [self.changed(*key) if wanted[key] is None else wanted[key] for key in new]
            self._sounds |= dict(zip(new, self.vectors.decode(np.stack(x)), strict=True))
        return [self._sounds[key] for key in wanted]


def _decoded_and_heard(vectors: SoundVectors, x: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    sounds = vectors.decode(x)
    return sounds, heard_in(sounds, vectors.rate)


def turned_page(
    turned: Turned, rows: Sequence[int], names: Sequence[str], real: np.ndarray, *, carry: int = 1, title: str = ""
):
    """A page to turn the latents in some sounds; without a latent to turn, a sentence that says so.

    Parameters
    ----------
    turned : Turned
    rows : sequence of int
        The sounds.
    names : sequence of str
        Their captions.
    real : ndarray (N, samples)
        All sounds at 16 kHz, as they were before they were encoded.
    carry, title
        As in :func:`workbench.views.latent_sound_page`.
    """
    if not turned.named:
        return NOTHING
    rate = turned.vectors.rate
    everywhere = product(range(len(turned.named)), [int(i) for i in rows[:carry]], KINDS, AMOUNTS)
    turned.prepare(everywhere)

    def key(place: int, clip: int, kind: int, stop: int) -> tuple:
        return place, int(rows[clip]), KINDS[kind], AMOUNTS[stop]

    def less(*at: int) -> float:
        """The dB by which a sound is turned down."""
        above = audio.level(turned.sound(*key(*at))) - audio.level(turned.unchanged(int(rows[at[1]])))
        return max(0.0, above - LOUDER) if np.isfinite(above) else 0.0

    def sound(*at: int) -> np.ndarray:
        return turned.sound(*key(*at)) * np.float32(10 ** (-less(*at) / 20))

    def detail(*at: int) -> str:
        attribute, quieter = turned.named[at[0]].attribute, less(*at)
        value = turned.heard([key(*at)])[attribute].iloc[0]
        words = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        words = (
            f"{attribute}: {words.replace('-', '−')} {UNITS[attribute]}"
            if np.isfinite(value)
            else f"{attribute}: undefined"
        )
        return words.rstrip() + (f" · played {quieter:.0f} dB softer" if quieter >= 0.5 else "")

    return latent_sound_page(
        sound,
        rate,
        latents=[each.caption for each in turned.named],
        clips=[f"{k + 1}: {name}" for k, name in enumerate(names)],
        kinds=KINDS,
        amounts=AMOUNTS,
        originals=[audio.resample(real[i], RATE, rate) for i in rows],
        unchanged=[turned.unchanged(int(i)) for i in rows],
        detail=detail,
        carry=carry,
        title=title or "One latent turned; amounts are in units of its typical value",
    )


# The judge ------------------------------------------------------------------------------------------------------------


@checked
def percentiles(values: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Where values lie among those of real sounds, column by column: the share that is below, linear between, NaN kept.

    A column that is nowhere known among the real sounds is NaN.
    """
    placed = {}
    for name in values:
        known = np.sort(real[name].dropna().to_numpy(float))
        at = values[name].to_numpy(float)
        share = np.interp(at, known, np.linspace(0, 1, len(known))) if len(known) > 1 else np.full(len(at), np.nan)
        placed[name] = np.where(np.isfinite(at), share, np.nan)
    return pd.DataFrame(placed, index=values.index)


@checked
def slope(amounts: ArrayLike, values: ArrayLike) -> float:
    """Least-squares slope of values over amounts, both (n,); NaN with fewer than two known values."""
    amounts, values = numbers("amounts", amounts, ndim=1), numbers("values", values, ndim=1, finite=False)
    if amounts.shape != values.shape:
        raise ParameterError("values.shape", values.shape, f"{amounts.shape}, as amounts")
    known = np.isfinite(values)
    centred = amounts[known] - amounts[known].mean() if known.any() else np.zeros(0)
    spread = float((centred**2).sum())
    return float(centred @ values[known] / spread) if spread > 0 else np.nan


def doses(turned: Turned, rows: Sequence[int], real: pd.DataFrame, groups: np.ndarray) -> pd.DataFrame:
    """Slope of every attribute of the decoded sounds over the amount, for each latent, kind of step and sound.

    Parameters
    ----------
    turned : Turned
    rows : sequence of int
        Test sounds.
    real : DataFrame (n, attributes)
        Attributes of real training sounds, among which those of decoded ones are placed.
    groups : ndarray (N,)
        Group of each sound.

    Returns
    -------
    DataFrame
        Columns place (in ``turned.named``), kind, sound, group, and the attributes. Controls are decoded at the ends
        of the amounts only.
    """
    if not turned.named:
        return pd.DataFrame(columns=["place", "kind", "sound", "group", *UNITS])
    stops = {OWN: AMOUNTS, OTHER: (AMOUNTS[0], AMOUNTS[-1]), RANDOM: (AMOUNTS[0], AMOUNTS[-1])}
    cases = [(p, int(i), kind) for p in range(len(turned.named)) for i in rows for kind in KINDS]
    keys = [(*case, amount) for case in cases for amount in stops[case[2]]]
    turned.prepare(keys)
    heard = percentiles(turned.heard(keys), real)
    found, at = [], 0
    for place, i, kind in cases:
        here = heard.iloc[at : (at := at + len(stops[kind]))]
        own = {name: slope(np.array(stops[kind]), here[name].to_numpy()) for name in heard}
        found.append({"place": place, "kind": kind, "sound": i, "group": groups[i]} | own)
    return pd.DataFrame(found)


def responses(table: pd.DataFrame, named: Sequence[Named]) -> pd.DataFrame:
    """Mean slope of the attribute that a latent is named for, in the direction of its name, for each kind of step.

    Returns
    -------
    DataFrame
        Indexed by the latent's name, with kind, mean, and low and high of the 95 % interval over groups.
    """
    rows = []
    for place, each in enumerate(named):
        for kind in KINDS:
            own = table[(table["place"] == place) & (table["kind"] == kind)]
            values = np.sign(each.correlation) * own[each.attribute].to_numpy()
            known = np.isfinite(values)
            low, high = group_interval(values[known], own["group"][known]) if known.sum() > 1 else (np.nan, np.nan)
            mean = values[known].mean() if known.any() else np.nan
            rows.append({"latent": each.name, "kind": kind, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows).set_index("latent")


def against(table: pd.DataFrame, named: Sequence[Named], kind: str) -> tuple[float, float, float]:
    """Slope of the named attributes along the latents minus along a control, with its interval over groups.

    Sounds in which either is unknown are left out; the mean is over latents and sounds.
    """
    pairs = []
    for place, each in enumerate(named):
        own = table[table["place"] == place].pivot(index="sound", columns="kind", values=each.attribute)
        pairs.append(np.sign(each.correlation) * own[[OWN, kind]].dropna())
    both = pd.concat(pairs)
    if not len(both):
        return np.nan, np.nan, np.nan
    groups = table.drop_duplicates("sound").set_index("sound")["group"].loc[both.index]
    return tuple(map(float, difference_interval(both[OWN], both[kind], groups.to_numpy())))


def moved(table: pd.DataFrame, named: Sequence[Named], kind: str = OWN) -> pd.DataFrame:
    """Mean slope of every attribute by every latent, (latents, attributes), with their signs."""
    own = table[table["kind"] == kind].groupby("place")[list(UNITS)].mean()
    return own.set_axis([each.name for each in named], axis=0)


def dose_figures(table: pd.DataFrame, named: Sequence[Named], *, title: str) -> list:
    """Figures of :func:`responses` and :func:`moved`; none where no latent is turned."""
    if not named:
        return []
    what = "percentiles of the named attribute, in the direction of the name, a unit of amount"
    judged = 100 * responses(table, named).set_index("kind", append=True)
    judged = intervals(judged.reset_index("kind"), by="kind", title=title, label=what)
    rows = "Percentiles a unit of amount, of every attribute"
    return [judged, heatmap(100 * moved(table, named), digits=0, title=rows, label="percentiles")]


def sound_results(table: pd.DataFrame, named: Sequence[Named], kept: pd.DataFrame, carrier: str) -> dict:
    """What is recorded: what carries the sounds, what the latents are named, and what turning them did."""
    found = {"carrier": carrier, "carried": float(kept[carrier].median()), "named": [each.caption for each in named]}
    if not named:
        return found
    ends = ("difference", "low", "high")
    gaps = {kind: dict(zip(ends, against(table, named, kind), strict=True)) for kind in (RANDOM, OTHER)}
    right, chance = specific(table, named)
    slopes = responses(table, named).reset_index().to_dict("records")
    return found | {"against": gaps, "moves_most": right, "moves_most_by_chance": chance, "slopes": slopes}


def dose_rows(table: pd.DataFrame, named: Sequence[Named]) -> list[tuple]:
    """Whether turning a latent moves what it is named for, as a main result; none where no latent is turned."""
    if not named:
        return []
    text = "Percentiles by which turning a latent moves what it is named for, minus those along a random direction"
    (value, low, high), other = (100 * np.array(against(table, named, kind)) for kind in (RANDOM, OTHER))
    return [(text, value, low, high, f"minus those along another latent {other[0]:+.1f}")]


def specific(table: pd.DataFrame, named: Sequence[Named]) -> tuple[int, float]:
    """Of how many latents the named attribute moves most, and how many that would be by chance."""
    sizes = moved(table, named).abs()
    right = sum(sizes.iloc[p].idxmax() == each.attribute for p, each in enumerate(named) if sizes.iloc[p].notna().any())
    return right, len(named) / len(sizes.columns)


# Sentences ------------------------------------------------------------------------------------------------------------


def carrier_sentences(kept: pd.DataFrame, best: str, *, sounds: int) -> list[str]:
    """Which vectors carry the sounds, and what they do not carry."""
    middle, poor = kept.median(), [name for name, r in kept[best].items() if not r >= POOR]
    each = ", ".join(f"{name} {value:.2f}" for name, value in middle.items())
    lines = [
        f"Attributes of {sounds} sounds before and after, median correlation: {each}. The code is of {best}.",
    ]
    if not middle[best] >= POOR:
        lines.insert(0, f"{best} carries these sounds poorly: what is heard below says little of them.")
    if poor:
        lines.append(f"Not carried (a correlation below {POOR:g}, or undefined): {', '.join(poor)}.")
    return lines


def dose_sentences(table: pd.DataFrame, named: Sequence[Named]) -> list[str]:
    """Does turning a latent move what it is named for, more than as long a step elsewhere, and more than all else?"""
    if not named:
        return [NOTHING]
    unit = {"unit": "percentile points an amount"}
    gaps = {kind: against(table, named, kind) for kind in (RANDOM, OTHER)}
    of = "Named attribute, in the direction of the name"
    lines = [
        compared("a step along the latents", f"one along {_a(kind)}", gap, of=of, **unit) for kind, gap in gaps.items()
    ]
    if not all(low > 0 for _, low, _ in gaps.values()):
        lines.insert(0, "A control may do as well: a name by correlation is not shown to be what turning does.")
    own = responses(table, named)
    own = own[own["kind"] == OWN]
    above = int((own["low"] > 0).sum())
    lines.append(f"Of {len(named)} latents {above} move their attribute as named, with an interval above zero.")
    right, chance = specific(table, named)
    lines.append(
        f"The named attribute is the one that moves most for {right} of {len(named)} "
        f"(by chance {chance:.1f} of {table.shape[1] - 4} attributes)."
    )
    return lines


def _a(kind: str) -> str:
    return kind if kind.startswith("another") else f"a {kind}"


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else np.nan


def _strengths(codes: np.ndarray, real: pd.DataFrame) -> np.ndarray:
    """Rank correlation of each latent with each attribute, (latents, attributes); 0 where too little is known."""
    strength, active = np.zeros((codes.shape[1], len(real.columns))), (codes > 0).sum(0) >= FEWEST
    for j, name in enumerate(real):
        own = real[name].to_numpy(float)
        known = np.isfinite(own)
        if known.sum() < FEWEST:
            continue
        ranks, own = rankdata(codes[known], axis=0), rankdata(own[known])
        ranks, own = ranks - ranks.mean(0), own - own.mean()
        length = np.linalg.norm(ranks, axis=0) * np.linalg.norm(own)
        strength[:, j] = np.divide(own @ ranks, length, out=np.zeros(len(length)), where=length > 0)
    return np.where(active[:, None], strength, 0.0)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return _pearson(a[known], b[known]) if known.sum() > 2 else np.nan
