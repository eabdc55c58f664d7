"""The set "praat": pitch, voice quality and formants by Praat, for comparison with the set "voice".

Praat (Boersma and Weenink, "Praat: doing phonetics by computer") is used through the package parselmouth (Jadoul,
Thompson and de Boer, "Introducing Parselmouth: a Python interface to Praat", J. Phonetics 71 (2018) 1-15). Sounds are
resampled to 16 kHz, mono. Attributes that "voice" has as well have the same name and unit. Settings are Praat's
defaults except for the range of pitch and the time step: pitch by autocorrelation, 60 to 1400 Hz, every 10 ms;
harmonicity and pulses by cross-correlation; five formants below 5.5 kHz (Burg) at the voiced frames.

Undefined values are NaN: for a clip of less than 0.1 s everything but the level, and for a clip in which nothing is
voiced everything but the level and the voiced fraction (0). Silence has a level of -100 dBFS.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from .. import audio
from ..core.checks import checked
from ..core.dependencies import load
from ..core.errors import ParameterError
from .loudness import FLOOR, waveform
from .pitch import semitones

CODE_VERSION = 1
RATE, HOP = 16000, 0.01
LOWEST, HIGHEST = 60.0, 1400.0
#: Seconds of the shortest clip that is measured; Praat's frames of pitch and harmonicity are shorter.
SHORTEST = 0.1
#: Arguments of Praat's commands for jitter and shimmer: shortest and longest period (s), and largest factors between
#: the periods and between the amplitudes of neighbours that are compared.
PERIODS, PERIOD_FACTOR, AMPLITUDE_FACTOR = (0.0001, 0.02), 1.3, 1.6
#: Level of an RMS of 1, which Praat takes for 1 Pa, in dB above 20 micropascal.
PASCAL = 20 * np.log10(1 / 2e-5)
#: Praat's value of harmonicity for frames that are not periodic.
NONE = -200.0

#: Every attribute: name -> (family, meaning with unit).
PRAAT: dict[str, tuple[str, str]] = {
    "f0_mean": ("pitch", "mean pitch over voiced frames, semitones above 27.5 Hz"),
    "f0_median": ("pitch", "median pitch, semitones above 27.5 Hz"),
    "f0_std": ("pitch", "standard deviation of pitch, semitones"),
    "f0_p20": ("pitch", "20th percentile of pitch, semitones above 27.5 Hz"),
    "f0_p80": ("pitch", "80th percentile of pitch, semitones above 27.5 Hz"),
    "hnr_mean": ("voice quality", "mean harmonics-to-noise ratio over periodic frames, dB"),
    "hnr_std": ("voice quality", "standard deviation of the harmonics-to-noise ratio, dB"),
    "jitter": ("voice quality", "jitter (local), per cent"),
    "shimmer": ("voice quality", "shimmer (local), dB"),
    "f1_frequency": ("formants", "median frequency of the first formant over voiced frames, Hz"),
    "f1_bandwidth": ("formants", "median bandwidth of the first formant, Hz"),
    "f2_frequency": ("formants", "median frequency of the second formant, Hz"),
    "f2_bandwidth": ("formants", "median bandwidth of the second formant, Hz"),
    "f3_frequency": ("formants", "median frequency of the third formant, Hz"),
    "f3_bandwidth": ("formants", "median bandwidth of the third formant, Hz"),
    "level": ("loudness", "RMS level of the clip, dBFS"),
    "voiced_fraction": ("rhythm", "share of frames that are voiced"),
}


def installed() -> bool:
    """Whether the package parselmouth is installed."""
    return importlib.util.find_spec("parselmouth") is not None


def version() -> str:
    """Return the version of Praat in parselmouth.

    Raises
    ------
    ParameterError
        parselmouth is not installed; the message says how to install it.
    """
    if not installed():
        expected = '"voice", or the package praat-parselmouth installed: pip install "audio-workbench[praat]"'
        raise ParameterError("set", "praat", expected)
    return load("parselmouth").PRAAT_VERSION


@checked
def praat(x: np.ndarray, rate: int) -> dict[str, float]:
    """Measure all attributes of :data:`PRAAT` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 16 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`PRAAT`; NaN where undefined.

    Raises
    ------
    DependencyError
        parselmouth is not installed.
    """
    parselmouth = load("parselmouth")
    x = audio.resample(waveform(x, rate), rate, RATE)
    found = dict.fromkeys(PRAAT, np.nan)
    sound = parselmouth.Sound(x.astype(np.float64), RATE)
    found["level"] = sound.get_intensity() - PASCAL if x.any() else FLOOR
    found["level"] = max(found["level"], FLOOR)
    if len(x) >= SHORTEST * RATE:
        pitch = sound.to_pitch_ac(time_step=HOP, pitch_floor=LOWEST, pitch_ceiling=HIGHEST)
        f0 = pitch.selected_array["frequency"]
        found["voiced_fraction"] = np.mean(f0 > 0)
        if (f0 > 0).any():
            found |= _pitch(f0[f0 > 0]) | _quality(parselmouth.praat.call, sound, pitch)
            found |= _formants(sound, pitch.xs()[f0 > 0])
    return {name: float(found[name]) for name in PRAAT}


def _pitch(f0: np.ndarray) -> dict[str, float]:
    pitch = semitones(f0)
    low, middle, high = np.percentile(pitch, (20, 50, 80))
    spread = pitch.std() if len(pitch) > 1 else np.nan
    return {"f0_mean": pitch.mean(), "f0_median": middle, "f0_std": spread, "f0_p20": low, "f0_p80": high}


def _quality(call, sound, pitch) -> dict[str, float]:
    harmonicity = sound.to_harmonicity_cc(time_step=HOP, minimum_pitch=LOWEST).values.ravel()
    hnr = harmonicity[harmonicity != NONE]
    pulses = call([sound, pitch], "To PointProcess (cc)")
    bounds = (0, 0, *PERIODS, PERIOD_FACTOR)
    return {
        "hnr_mean": hnr.mean() if len(hnr) else np.nan,
        "hnr_std": hnr.std() if len(hnr) > 1 else np.nan,
        "jitter": 100 * call(pulses, "Get jitter (local)", *bounds),
        "shimmer": call([sound, pulses], "Get shimmer (local_dB)", *bounds, AMPLITUDE_FACTOR),
    }


def _formants(sound, times: np.ndarray) -> dict[str, float]:
    tracks, found = sound.to_formant_burg(time_step=HOP), {}
    for n in (1, 2, 3):
        for word, track in (("frequency", tracks.get_value_at_time), ("bandwidth", tracks.get_bandwidth_at_time)):
            values = np.array([track(n, t) for t in times])
            values = values[np.isfinite(values)]
            found[f"f{n}_{word}"] = np.median(values) if len(values) else np.nan
    return found
