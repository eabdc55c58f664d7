"""The set "speech", in two ways: the few factors of speech that a prototype is made to hold.

Median and spread of pitch, and loudness, are what Almudevar et al. (arXiv 2406.16145) lay down in part of an embedding.
:func:`speech` is the way to measure them here: pitch of the voiced frames alone, sought in two passes, and speaking
rate besides. :func:`speech_paper` is the way of the first author's public code, with its known faults, for comparison.
Both hear sounds at 16 kHz, mono.

What is not defined is NaN: pitch and rate where no stretch of 50 ms is voiced, loudness of silence.
"""

from __future__ import annotations

import numpy as np

from .. import audio
from ..core.checks import checked
from ..core.dependencies import load
from .loudness import FLOOR, integrated_loudness, loudness_track, waveform
from .pitch import pitch_track, semitones, stretches

CODE_VERSION = 1
RATE, HOP = 16000, 0.01
#: Hz, where the first pass seeks the pitch of a speaker.
LOWEST, HIGHEST = 50.0, 600.0
#: The second pass seeks between so much times the first quartile of the first and so much times the third.
BELOW, ABOVE = 0.65, 2.0
#: Frames of the running median over a voiced stretch; a shorter stretch is no voice.
SMOOTHING = 5
#: Hz from which sound counts in telling voice from pause: below lie the hum of the mains and rumble.
HUM = 150.0
#: dB below the loudest frame: no voice is fainter, and no syllable.
FAINTEST, PAUSE = 30.0, 25.0
#: Seconds over which the level is averaged to find syllables, and dB between two of them.
SYLLABLE_WINDOW, DIP = 0.1, 3.0
# torchaudio seeks from 85 Hz; the author keeps frames and medians up to 275 Hz, and clips of -50 to 0 LKFS.
PAPER_PITCH, PAPER_LOUDNESS = (85.0, 275.0), (-50.0, 0.0)

#: The set "speech": name -> (family, meaning with unit).
SPEECH: dict[str, tuple[str, str]] = {
    "pitch_median": ("pitch", "median pitch over voiced frames, Hz"),
    "pitch_spread": ("pitch", "standard deviation of pitch over voiced frames, semitones"),
    "loudness": ("loudness", "integrated loudness after ITU-R BS.1770-4, LKFS"),
    "rate": ("rhythm", "syllable nuclei a second, from the first sounding frame to the last"),
}
#: The set "speech" with ``config="paper"``.
SPEECH_PAPER: dict[str, tuple[str, str]] = {
    "pitch_median": ("pitch", "median over all frames detected at 275 Hz or below, Hz"),
    "pitch_spread": ("pitch", "standard deviation over all frames detected at 275 Hz or below, Hz"),
    "loudness": ("loudness", "loudness by torchaudio, LKFS"),
}


@checked
def speech(x: np.ndarray, rate: int) -> dict[str, float]:
    """The factors of :data:`SPEECH` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; brought to 16 kHz.

    Returns
    -------
    dict of str to float
        In the order of :data:`SPEECH`; NaN where undefined.

    Notes
    -----
    The spread is a plain standard deviation: what makes it robust is the track (:func:`_speech_pitch`). Contours of
    speech are far from Gaussian, so that their interquartile range over 1.349 differs from the standard deviation by
    tens of per cent even where the track is right.

    The rate follows de Jong and Wempe, "Praat script to detect syllable nuclei and measure speech rate automatically",
    Behavior Research Methods 41 (2009) 385-390: a nucleus is a peak of the level, at most 25 dB below the loudest, with
    dips beside it (3 dB of a level averaged over 0.1 s; they take 2 dB of a finer one), that is voiced. Syllables that
    a sonorant joins are often heard as one (half of all recorded "seven" and "zero"): the rate is rather too low.
    """
    x = audio.resample(waveform(x, rate), rate, RATE)
    times, f0 = _speech_pitch(x, RATE)
    factors = dict.fromkeys(SPEECH, np.nan)
    factors["loudness"] = integrated_loudness(x, RATE)
    if len(times):
        pitch = semitones(f0[np.isfinite(f0)])
        factors["pitch_median"] = float(np.median(f0[np.isfinite(f0)]))
        factors["pitch_spread"] = float(pitch.std())
        factors["rate"] = _rate(x, times, f0)
    return factors


@checked
def _speech_pitch(x: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of one speaker over time, in two passes.

    The first pass finds where the speaker speaks, the second seeks there alone (De Looze and Hirst, "Detecting changes
    in key and range for the automatic modelling and coding of intonation", Speech Prosody 2008; Hirst, J. Speech
    Sciences 1 (2011) 55-83: from 0.75 of the first quartile to 1.5 of the third; here wider, 0.65 to 2, as lively
    speech wants). So formants above the voice and half its pitch are seldom taken for it. Frames that are 30 dB fainter
    than the loudest, heard above 150 Hz, are no voice: in pauses the hum of the mains has a pitch as well.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; one speaker, or neighbours in pitch.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres of the frames, 10 ms apart, seconds; empty where nothing is voiced.
    f0 : np.ndarray, float64 (T,)
        Hz, running median over 50 ms of each voiced stretch, of which the shorter are left out; NaN where unvoiced.

    Raises
    ------
    ParameterError
        ``x`` is not a waveform.
    """
    from scipy.ndimage import median_filter

    x = waveform(x, rate)
    at, level = loudness_track(_above_hum(x, rate), rate, hop=HOP, weighting=None)
    times, f0 = _audible(x, rate, LOWEST, HIGHEST, at, level)
    if np.isfinite(f0).any():
        first, third = np.nanpercentile(f0, (25, 75))
        times, f0 = _audible(x, rate, max(BELOW * first, LOWEST), min(ABOVE * third, HIGHEST), at, level)
    for run in stretches(np.isfinite(f0)):
        long = run.stop - run.start >= SMOOTHING
        f0[run] = median_filter(f0[run], SMOOTHING, mode="nearest") if long else np.nan
    return (times, f0) if np.isfinite(f0).any() else (np.empty(0), np.empty(0))


def _audible(x, rate, low, high, at, level) -> tuple[np.ndarray, np.ndarray]:
    """Pitch track, unvoiced where the level (at those times) is too faint."""
    times, f0, _ = pitch_track(x, rate, f_min=low, f_max=high, hop=HOP)
    return times, np.where(np.interp(times, at, level) > level.max() - FAINTEST, f0, np.nan)


def _above_hum(x: np.ndarray, rate: int) -> np.ndarray:
    from scipy.signal import butter, sosfiltfilt

    filters = butter(2, HUM, "highpass", fs=rate, output="sos")
    return sosfiltfilt(filters, x, padlen=min(round(0.02 * rate), len(x) - 1))


def _rate(x: np.ndarray, times: np.ndarray, f0: np.ndarray) -> float:
    """Syllable nuclei a second; the pitch track says which peaks are voiced."""
    from scipy.signal import find_peaks

    x = _above_hum(x, RATE)
    _, level = loudness_track(x, RATE, hop=HOP, weighting=None)
    sounding = np.flatnonzero(level > level.max() - PAUSE)
    at, level = loudness_track(x, RATE, hop=HOP, window=SYLLABLE_WINDOW, weighting=None)
    # the ends count as dips; a tilt too small to matter parts exact ties
    tilted = np.pad(level + 1e-9 * np.arange(len(level)), 1, constant_values=FLOOR - DIP)
    peaks, _ = find_peaks(tilted, prominence=DIP, height=level.max() - PAUSE)
    nearest = np.clip(np.rint((at[peaks - 1] - times[0]) / HOP).astype(int), 0, len(times) - 1)
    return float(np.isfinite(f0[nearest]).sum() / (HOP * (sounding[-1] - sounding[0] + 1)))


@checked
def speech_paper(x: np.ndarray, rate: int) -> dict[str, float]:
    """The factors of :data:`SPEECH_PAPER` of one sound, by the functions and bounds of the first author's code.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; brought to 16 kHz.

    Returns
    -------
    dict of str to float
        In the order of :data:`SPEECH_PAPER`. All NaN where the code drops the clip: no frame or a single one at 275 Hz
        or below, a median outside 85 to 275 Hz, a loudness outside -50 to 0 LKFS; and where its functions fail,
        which need 0.4 s. That it drops clips shorter than the 2.575 s it trains on is not repeated here.

    Notes
    -----
    ``torchaudio.functional.detect_pitch_frequency`` with its defaults (normalised cross-correlation in frames of 10 ms,
    85 to 3400 Hz, median over 30 frames), frames above 275 Hz removed, median and standard deviation of the rest, and
    ``torchaudio.functional.loudness``. What that does:

    - The detector knows no lag longer than 85 Hz has: a lower voice is heard an octave too high, or as anything.
    - The cut at 275 Hz takes away high voices where they are highest, and squeezes their spread; a half or a third of
      a high pitch, where whole lags fit that better, stays (a pulse train of 300 Hz reads 100).
    - There is no voicing decision: in pauses and fricatives the detector gives a number too, which is kept where it
      is below 275 Hz. The median over 0.3 s also carries numbers from there into the voice. The spread is in Hz: it is
      larger in high voices for the same melody.
    - A frame of 10 ms holds one period of 100 Hz, and lags are whole samples: near 200 Hz they lie 2.5 Hz apart. The
      correlation is divided by the energies, not by their roots, which favours lags where the sound is fainter.
    - Its loudness clips the weighted sound at full scale, which takes up to some tenths of a dB from loud sound, and
      its filters are close to those of the standard, not the same: 997 Hz reads 0.04 dB low.
    """
    import torch

    functional = load("torchaudio.functional")
    y = torch.from_numpy(audio.resample(waveform(x, rate), rate, RATE))[None]
    dropped = dict.fromkeys(SPEECH_PAPER, np.nan)
    if y.shape[1] < round(0.4 * RATE):
        return dropped
    with torch.inference_mode():
        pitch = functional.detect_pitch_frequency(y, RATE)
        pitch = pitch[pitch <= PAPER_PITCH[1]]
        if len(pitch) < 2:
            return dropped
        factors = dict(zip(SPEECH_PAPER, (pitch.median(), pitch.std(), functional.loudness(y, RATE)), strict=True))
    factors = {name: float(value) for name, value in factors.items()}
    inside = PAPER_PITCH[0] <= factors["pitch_median"] and PAPER_LOUDNESS[0] <= factors["loudness"] <= PAPER_LOUDNESS[1]
    return factors if inside else dropped
