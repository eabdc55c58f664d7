"""The set "speech": median and spread of pitch, loudness and speaking rate of speech, measured in two ways.

The first three are the factors that Almudevar et al. (arXiv 2406.16145) represent in part of an embedding.
:func:`speech` is this package's way to measure them: it finds the pitch of voiced frames only, in two passes, and
measures speaking rate as well. :func:`speech_paper` measures them as the first author's public code does, with its
known faults, for comparison. Both resample sounds to 16 kHz, mono.

Undefined values are NaN: pitch and rate if no stretch of 50 ms is voiced, and loudness of silence.
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
#: Range (Hz) in which the first pass searches the pitch of a speaker.
LOWEST, HIGHEST = 50.0, 600.0
#: The second pass searches from BELOW times the first quartile of the first pass to ABOVE times its third quartile.
BELOW, ABOVE = 0.65, 2.0
#: Frames of the running median over a voiced stretch; a shorter stretch counts as unvoiced.
SMOOTHING = 5
#: Hz above which the level is measured to distinguish voice from pause; below are mains hum and rumble.
HUM = 150.0
#: Frames are unvoiced, and peaks are no syllables, if they are more than this many dB below the loudest frame.
FAINTEST, PAUSE = 30.0, 25.0
#: Seconds over which the level is averaged to find syllables, and least depth (dB) of the dip between two syllables.
SYLLABLE_WINDOW, DIP = 0.1, 3.0
# torchaudio searches from 85 Hz; the author keeps frames and medians up to 275 Hz, and clips of -50 to 0 LKFS.
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
    """Measure the factors of :data:`SPEECH` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 16 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`SPEECH`; NaN where undefined.

    Notes
    -----
    The spread is a plain standard deviation; robustness comes from the pitch track (:func:`_speech_pitch`). A robust
    estimate, the interquartile range over 1.349, would differ from the standard deviation by tens of per cent even for
    a correct track, as pitch contours of speech are far from Gaussian.

    The rate follows de Jong and Wempe, "Praat script to detect syllable nuclei and measure speech rate automatically",
    Behavior Research Methods 41 (2009) 385-390: a nucleus is a voiced peak of the level, at most 25 dB below the
    loudest, with dips on both sides (3 dB of a level averaged over 0.1 s; they take 2 dB of a finer one). Syllables
    that are joined by a sonorant are often counted as one (half of all recorded "seven" and "zero"), so that the rate
    tends to be too low.
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
    """Measure the pitch of one speaker over time, in two passes.

    The first pass finds the range of the speaker, in which the second pass searches (De Looze and Hirst, "Detecting
    changes in key and range for the automatic modelling and coding of intonation", Speech Prosody 2008; Hirst, J.
    Speech Sciences 1 (2011) 55-83: from 0.75 of the first quartile to 1.5 of the third; here wider, 0.65 to 2, for
    lively speech). Formants above the voice, and half its pitch, are therefore seldom taken for the pitch. Frames more
    than 30 dB below the loudest, measured above 150 Hz, are unvoiced, because mains hum in pauses has a pitch as well.

    Parameters
    ----------
    x : np.ndarray (samples,)
        Sound of one speaker, or of speakers with similar pitch.
    rate : int
        Hz.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres of the frames in seconds, 10 ms apart; empty if nothing is voiced.
    f0 : np.ndarray, float64 (T,)
        Pitch in Hz after a running median over 50 ms of each voiced stretch; NaN where unvoiced, and in stretches
        shorter than 50 ms.

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
    """Return the pitch track, unvoiced where the level (given at times `at`) is too low."""
    times, f0, _ = pitch_track(x, rate, f_min=low, f_max=high, hop=HOP)
    return times, np.where(np.interp(times, at, level) > level.max() - FAINTEST, f0, np.nan)


def _above_hum(x: np.ndarray, rate: int) -> np.ndarray:
    from scipy.signal import butter, sosfiltfilt

    filters = butter(2, HUM, "highpass", fs=rate, output="sos")
    return sosfiltfilt(filters, x, padlen=min(round(0.02 * rate), len(x) - 1))


def _rate(x: np.ndarray, times: np.ndarray, f0: np.ndarray) -> float:
    """Return the number of syllable nuclei a second; the pitch track decides which peaks are voiced."""
    from scipy.signal import find_peaks

    x = _above_hum(x, RATE)
    _, level = loudness_track(x, RATE, hop=HOP, weighting=None)
    sounding = np.flatnonzero(level > level.max() - PAUSE)
    at, level = loudness_track(x, RATE, hop=HOP, window=SYLLABLE_WINDOW, weighting=None)
    # the ends count as dips; a negligible slope breaks exact ties
    tilted = np.pad(level + 1e-9 * np.arange(len(level)), 1, constant_values=FLOOR - DIP)
    peaks, _ = find_peaks(tilted, prominence=DIP, height=level.max() - PAUSE)
    nearest = np.clip(np.rint((at[peaks - 1] - times[0]) / HOP).astype(int), 0, len(times) - 1)
    return float(np.isfinite(f0[nearest]).sum() / (HOP * (sounding[-1] - sounding[0] + 1)))


@checked
def speech_paper(x: np.ndarray, rate: int) -> dict[str, float]:
    """Measure the factors of :data:`SPEECH_PAPER` of one sound, with the functions and bounds of the author's code.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 16 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`SPEECH_PAPER`. All are NaN if the code drops the clip: fewer than two frames at
        275 Hz or below, a median outside 85 to 275 Hz, or a loudness outside -50 to 0 LKFS. They are NaN for clips of
        less than 0.4 s as well, on which its functions fail. The code also drops clips shorter than the 2.575 s on
        which it trains; this is not repeated here.

    Notes
    -----
    The code uses ``torchaudio.functional.detect_pitch_frequency`` with its defaults (normalised cross-correlation in
    frames of 10 ms, 85 to 3400 Hz, median over 30 frames), removes frames above 275 Hz, takes median and standard
    deviation of the rest, and uses ``torchaudio.functional.loudness``. This has several faults:

    - The detector has no lags longer than the period of 85 Hz: a lower voice is found an octave too high, or anywhere.
    - The cut at 275 Hz removes the highest frames of high voices and reduces their spread; frames in which a half or a
      third of a high pitch fits whole lags better are kept (a pulse train of 300 Hz gives 100).
    - There is no voicing decision: the detector gives a number in pauses and fricatives too, which is kept if it is
      below 275 Hz. The median over 0.3 s also spreads such numbers into voiced frames. The spread is in Hz, so that for
      the same melody it is larger in high voices.
    - A frame of 10 ms has one period of 100 Hz, and lags are whole samples, which are 2.5 Hz apart near 200 Hz. The
      correlation is divided by the energies, not by their square roots, which favours lags at which the sound is
      fainter.
    - Its loudness clips the weighted sound at full scale, which reduces loud sounds by up to some tenths of a dB, and
      its filters differ slightly from those of the standard: 997 Hz is 0.04 dB too low.
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
