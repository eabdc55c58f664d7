"""Generated set `utterances`: syllable strings x pitch x pitch spread x loudness x rate x speaker, and a known rule.

Two to four seconds of meaningless, speech-like syllables by twenty invented speakers (those of `voices`). The class of
an utterance is a toy and not anybody's emotion: it is drawn with probabilities (`rule`) that depend only on the levels
(low, middle or high) of three factors:

- `pitch_relative`, semitones between the utterance's median pitch and the usual pitch of its speaker,
- `pitch_spread`, standard deviation of the pitch in semitones,
- `loudness`, RMS level of the whole sound in dBFS.

Speaking rate, content, speaker and gender do not influence the class; a correct explanation must not use `rate`. The
explanation that a model gives of its decision can thus be compared with the truth. The directions of the effects are
those reported for acted emotion (Juslin and Laukka, Psychological Bulletin 129 (2003) 770-814); their sizes are
invented.

The three levels are drawn independently and uniformly, and each value uniformly within its level. Between two levels is
a gap, so that a measurement with an error below 0.2 semitones (`pitch_relative`), 10 % (`pitch_spread`) or 0.5 dB
(`loudness`) finds the level. ``dataclasses.replace(recipe, loudness=-30.0)`` is the same utterance with that one factor
changed.

A row of `table` determines its sound: ``render(recipe(row))``. ``table(100)`` is the beginning of ``table(1000)``, and
the same seed gives the same bits on every machine (see `portable_math`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ...core import checks
from ...core.errors import ParameterError
from .portable_math import Draws, exp2
from .recipes import check_kinds, check_size, read_row
from .utterance_synthesis import (
    CONSONANTS,
    LONGEST,
    RATE,
    duration,
    f0_curve,
    parse,
    render,
    usual_pitch,
)
from .voice_tract import SINGERS, VOWELS
from .voices import TEST_SINGERS as TEST_SPEAKERS
from .voices import VALID_SINGERS as VALID_SPEAKERS
from .voices import shuffled, singer_order

__all__ = [
    "CLASSES",
    "CUTS",
    "EFFECTS",
    "FACTORS",
    "INTERCEPTS",
    "RANGES",
    "RATE",
    "RULE_FACTORS",
    "TEST_SPEAKERS",
    "VALID_SPEAKERS",
    "VERSION",
    "UtteranceRecipe",
    "f0_curve",
    "levels",
    "recipe",
    "render",
    "rule",
    "table",
    "usual_pitch",
]

VERSION = 1  # is increased whenever the sound of a recipe or the drawing of a label changes

#: The classes; "generated" says that they are not felt emotions.
CLASSES = ("generated_neutral", "generated_happy", "generated_angry", "generated_sad", "generated_fearful")
#: The factors that determine the probabilities of the classes, in the order in which `levels` and `EFFECTS` have them.
RULE_FACTORS = ("pitch_relative", "pitch_spread", "loudness")
#: Ranges from which the values of each level (low, middle, high) of a factor are drawn.
RANGES = {
    "pitch_relative": ((-4.0, -1.6), (-1.2, 1.2), (1.6, 4.0)),
    "pitch_spread": ((0.7, 1.2), (1.5, 2.3), (2.9, 4.0)),
    "loudness": ((-40.0, -35.0), (-34.0, -29.0), (-28.0, -23.0)),
}
#: Thresholds between levels: the level of a value is the number of thresholds that it reaches.
CUTS = {"pitch_relative": (-1.4, 1.4), "pitch_spread": (1.35, 2.6), "loudness": (-34.5, -28.5)}
#: What each level adds to the logit of each class, float64 (factor 3, level 3, class 5).
EFFECTS = np.array(
    [  # neutral, happy, angry, sad, fearful
        [[-2.0, -4.0, 0.0, 4.0, -4.0], [4.0, 0.0, 0.0, 0.0, 0.0], [-2.0, 4.0, 0.0, -4.0, 4.0]],
        [[-1.0, -4.0, -2.0, 2.0, 4.0], [4.0, 0.0, 0.0, 0.0, 0.0], [-3.0, 4.0, 2.0, -2.0, -4.0]],
        [[-1.0, -2.0, -6.0, 4.0, 0.0], [3.0, 2.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 6.0, -4.0, 0.0]],
    ]
)
#: Intercept of the logit of each class, (5,), chosen so that each class is drawn with a probability of 20.0 %.
INTERCEPTS = np.array([0.0, -0.35, -0.96, -1.1, 0.1])

FACTORS = (
    *("emotion_like", "pitch_median", "pitch_relative", "pitch_spread", "loudness", "rate", "speaker", "gender"),
    *("pitch_level", "spread_level", "loudness_level"),
)
_RATES = (3.0, 6.5)  # syllables a second
_SECONDS = (1.9, 3.5)  # of speech, before rounding to a whole number of syllables
# What can be spoken.
_LIMITS = {"pitch_median": (50.0, 600.0), "pitch_spread": (0.0, 6.0), "loudness": (-90.0, 0.0), "rate": (1.0, 10.0)}


@dataclass(frozen=True)
class UtteranceRecipe:
    """All parameters of one clip. `dataclasses.replace` gives the same clip with one factor changed.

    Attributes
    ----------
    speaker : str
        A name in `voice_tract.SINGERS`; determines tract, glottal source and usual pitch.
    content : str
        Two or more syllables such as "ta mi shu".
    pitch_median : float
        Median of the fundamental frequency over the voiced time, Hz. Formants and source stay as they are.
    pitch_spread : float
        Standard deviation of the fundamental frequency over the voiced time, semitones.
    loudness : float
        RMS level of the clip, dBFS. Another value multiplies all samples by one factor.
    rate : float
        Syllables a second, from the onset of the first to the end of the last.
    random_seed : int
        Seed of accents, relative durations, jitter and noise.
    """

    speaker: str
    content: str
    pitch_median: float
    pitch_spread: float
    loudness: float
    rate: float
    random_seed: int

    def __post_init__(self):
        check_kinds(self)
        if self.speaker not in SINGERS:
            raise ParameterError("speaker", self.speaker, f"one of {', '.join(SINGERS)}")
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ParameterError(name, getattr(self, name), f"between {low:g} and {high:g}")
        if len(parse(self.content)) < 2:
            raise ParameterError("content", self.content, "two syllables or more")
        if duration(self) > LONGEST:
            raise ParameterError("rate", self.rate, f"faster for so many syllables ({LONGEST:g} s are the most)")
        if self.random_seed < 0:
            raise ParameterError("random_seed", self.random_seed, "0 or more")

    @property
    def pitch_relative(self) -> float:
        """Semitones between `pitch_median` and the speaker's usual pitch."""
        return 12.0 * math.log2(self.pitch_median / usual_pitch(self.speaker))

    @property
    def levels(self) -> np.ndarray:
        """Levels of the three `RULE_FACTORS`, int64 (3,), as `rule` takes them."""
        return levels([getattr(self, name) for name in RULE_FACTORS])


def levels(values) -> np.ndarray:
    """Return the levels of factor values.

    Parameters
    ----------
    values : array_like of float, shape (..., 3)
        `pitch_relative` in semitones, `pitch_spread` in semitones and `loudness` in dBFS, exact or measured.

    Returns
    -------
    numpy.ndarray of int64, shape (..., 3)
        0 low, 1 middle, 2 high.

    Raises
    ------
    ParameterError
        If the last axis is not 3 long, or a value is not finite.
    """
    values = checks.numbers("values", values, finite=False).astype(np.float64)
    if values.shape[-1:] != (3,) or not np.isfinite(values).all():
        raise ParameterError("values", f"array of shape {values.shape}", "finite, of shape (..., 3)")
    cuts = np.array([CUTS[name] for name in RULE_FACTORS])
    return (values[..., None] >= cuts).sum(axis=-1)


def rule(levels) -> np.ndarray:
    """Return the true probability of each class, given the levels of the three `RULE_FACTORS`.

    The logit of class c is ``INTERCEPTS[c] + sum over f of EFFECTS[f, level of f, c]``, a sum without interactions like
    that of a linear layer on one-hot levels; the probabilities are the softmax of the logits. The best classifier that
    knows all three levels has an accuracy of 86.5 %; one that knows a single level has 46 to 48 %; one that knows none
    has 20 %.

    Parameters
    ----------
    levels : array_like of int, shape (..., 3)
        0 low, 1 middle, 2 high.

    Returns
    -------
    numpy.ndarray of float64, shape (..., 5)
        Probabilities, in the order of `CLASSES`.

    Raises
    ------
    ParameterError
        If a level is not 0, 1 or 2, or there are not three.
    """
    levels = checks.numbers("levels", levels)
    if levels.shape[-1:] != (3,) or not np.isin(levels, (0, 1, 2)).all():
        raise ParameterError("levels", levels.tolist(), "0, 1 or 2 in an array of shape (..., 3)")
    levels = levels.astype(np.int64)
    logits = INTERCEPTS + EFFECTS[0, levels[..., 0]] + EFFECTS[1, levels[..., 1]] + EFFECTS[2, levels[..., 2]]
    weights = exp2((logits - logits.max(axis=-1, keepdims=True)) * 1.4426950408889634)
    return weights / np.cumsum(weights, axis=-1)[..., -1:]


def recipe(row: Mapping) -> UtteranceRecipe:
    """Return the recipe of one row of `table` (a Series, a dict, or a row read from a csv file).

    Raises
    ------
    ParameterError
        If a column is missing or holds a value that cannot be spoken.
    """
    return UtteranceRecipe(**read_row(UtteranceRecipe, row))


def table(size: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the table of the first `size` clips of the endless set with this seed.

    Every 27 clips have each combination of levels once, every 20 each speaker once; a quarter of the clips is spoken by
    the five test speakers.

    Parameters
    ----------
    size : int
        Number of clips, at least 1.
    seed : int
        Another seed gives other clips by the same twenty speakers.

    Returns
    -------
    pandas.DataFrame
        Columns id, label (`emotion_like`), split (train, valid or test: disjoint speakers), group (the speaker), the
        `FACTORS` (pitch_median in Hz; the three levels 0 low, 1 middle, 2 high), content, seconds and random_seed.

    Raises
    ------
    ParameterError
        If `size` or `seed` is not a whole number in range.
    """
    check_size(size, seed)
    return pd.DataFrame([_row(index, int(seed)) for index in range(size)])


def _row(index: int, seed: int) -> dict:
    speaker = singer_order(seed, 900, index // 20)[index % 20]
    cell = shuffled(seed, 500, index // 27, 27)[index % 27]
    level = (cell // 9, cell // 3 % 3, cell % 3)
    rng = Draws((seed, 600, index))
    drawn = {}
    for name, number in zip(RULE_FACTORS, level, strict=True):
        low, high = RANGES[name][number]
        drawn[name] = round(rng.between(low, high), 3)
    label = CLASSES[_choose(rule(level), rng.random())]
    made = _draw(speaker, drawn, rng)
    split = "test" if speaker in TEST_SPEAKERS else "valid" if speaker in VALID_SPEAKERS else "train"
    row = {"id": f"utterances-{seed}-{index:06d}", "label": label, "split": split, "group": speaker}
    row |= asdict(made) | drawn | {"emotion_like": label, "gender": SINGERS[speaker].gender, "seconds": duration(made)}
    row |= dict(zip(("pitch_level", "spread_level", "loudness_level"), level, strict=True))
    order = ("id", "label", "split", "group", *FACTORS, "content", "seconds", "random_seed")
    return {name: row[name] for name in order}


def _choose(probabilities, uniform: float) -> int:
    return min(int((np.cumsum(probabilities) <= uniform).sum()), len(probabilities) - 1)


def _draw(speaker: str, drawn: dict[str, float], rng: Draws) -> UtteranceRecipe:
    """Make a recipe with the three drawn factors, and with rate, content and random seed from `rng`."""
    rate = round(rng.between(*_RATES), 3)
    count = round(rng.between(*_SECONDS) * rate)
    consonants = tuple(CONSONANTS)
    syllables = [consonants[rng.below(len(consonants))] + VOWELS[rng.below(len(VOWELS))] for _ in range(count)]
    return UtteranceRecipe(
        speaker=speaker,
        content=" ".join(syllables),
        pitch_median=round(usual_pitch(speaker) * float(exp2(drawn["pitch_relative"] / 12.0)), 3),
        pitch_spread=drawn["pitch_spread"],
        loudness=drawn["loudness"],
        rate=rate,
        random_seed=rng.below(2**32),
    )
