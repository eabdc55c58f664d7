"""The set "voice": attributes of a sound that this package computes itself, without further packages or licences.

The attributes are chosen as in GeMAPS (Eyben et al., "The Geneva minimalistic acoustic parameter set for voice research
and affective computing", IEEE Trans. Affective Computing 7 (2016) 190-202) and computed with the textbook analyses in
`pitch`, `loudness` and `formants`. Sounds are resampled to 16 kHz, mono. :data:`VOICE` lists every attribute with its
family, unit and meaning.

Pitch is searched between 60 and 1400 Hz, the range of singers; a voice outside, such as vocal fry, is unvoiced or
measured wrongly. In running speech, so wide a search takes some unvoiced sounds for a high pitch: for 40 read
utterances the median is right (its rank correlation with Praat's is .99), but the mean is three semitones too high. For
speech, use the set "speech", which searches in two passes.

Undefined values are NaN: attributes of the voice (pitch, voice quality, formants, vibrato) if nothing is voiced or the
clip is shorter than 50 ms, the length of a frame for pitch; spreads, slopes and lengths if there are too few values to
compute them from; spectrum and MFCC of silence. Silence has a loudness of -100 dBFS and no voiced segments.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .. import audio
from ..core.checks import checked
from .formants import formant_tracks
from .loudness import FLOOR, decibels, loudness_track, waveform, windows
from .pitch import cycles, harmonicity, perturbation, pitch_track, semitones, stretches, vibrato

CODE_VERSION = 1
RATE, HOP = 16000, 0.01
#: Frames more than this many dB below the loudest of a clip are background and left out of spectral attributes.
SOUNDING = 40.0
#: Steepest glide of a voice in semitones a second (Xu and Sun, J. Acoust. Soc. Am. 111 (2002) 1399-1413); steeper
#: changes are jumps and are left out of slopes.
FASTEST = 100.0
#: Least difference in dB between a peak of loudness and the dips beside it.
PEAK_PROMINENCE = 3.0

#: Every attribute: name -> (family, meaning with unit).
VOICE: dict[str, tuple[str, str]] = {
    "f0_mean": ("pitch", "mean pitch over voiced frames, semitones above 27.5 Hz"),
    "f0_median": ("pitch", "median pitch, semitones above 27.5 Hz"),
    "f0_std": ("pitch", "standard deviation of pitch, semitones"),
    "f0_p20": ("pitch", "20th percentile of pitch, semitones above 27.5 Hz"),
    "f0_p80": ("pitch", "80th percentile of pitch, semitones above 27.5 Hz"),
    "f0_range": ("pitch", "80th minus 20th percentile of pitch, semitones"),
    "f0_rise": ("pitch", "mean slope where pitch rises (at most 100), semitones a second"),
    "f0_fall": ("pitch", "mean slope where pitch falls (at most 100), semitones a second, positive"),
    "vibrato_rate": ("pitch", "rate of the pitch modulation between 4 and 9 Hz, Hz"),
    "vibrato_extent": ("pitch", "depth of the pitch modulation to either side, cents"),
    "hnr_mean": ("voice quality", "mean harmonics-to-noise ratio over voiced frames, dB"),
    "hnr_std": ("voice quality", "standard deviation of the harmonics-to-noise ratio, dB"),
    "jitter": ("voice quality", "mean difference of neighbouring periods over the mean period, per cent"),
    "shimmer": ("voice quality", "mean level difference of neighbouring periods, dB"),
    "f1_frequency": ("formants", "median frequency of the first formant over voiced frames, Hz"),
    "f1_bandwidth": ("formants", "median bandwidth of the first formant, Hz"),
    "f2_frequency": ("formants", "median frequency of the second formant, Hz"),
    "f2_bandwidth": ("formants", "median bandwidth of the second formant, Hz"),
    "f3_frequency": ("formants", "median frequency of the third formant, Hz"),
    "f3_bandwidth": ("formants", "median bandwidth of the third formant, Hz"),
    "level": ("loudness", "RMS level of the clip, dBFS"),
    "loudness_mean": ("loudness", "mean A-weighted level over frames, dBFS"),
    "loudness_std": ("loudness", "standard deviation of the A-weighted level, dB"),
    "loudness_p20": ("loudness", "20th percentile of the A-weighted level, dBFS"),
    "loudness_p50": ("loudness", "median A-weighted level, dBFS"),
    "loudness_p80": ("loudness", "80th percentile of the A-weighted level, dBFS"),
    "loudness_range": ("loudness", "80th minus 20th percentile of the A-weighted level, dB"),
    "loudness_rise": ("loudness", "mean slope where the A-weighted level rises, dB a second"),
    "loudness_fall": ("loudness", "mean slope where the A-weighted level falls, dB a second, positive"),
    "loudness_peaks": ("loudness", "peaks of the A-weighted level at least 3 dB above the dips beside them, a second"),
    "voiced_fraction": ("rhythm", "share of frames that are voiced"),
    "voiced_segments": ("rhythm", "voiced segments a second"),
    "voiced_length_mean": ("rhythm", "mean length of voiced segments, s"),
    "voiced_length_std": ("rhythm", "standard deviation of the length of voiced segments, s"),
    "unvoiced_length_mean": ("rhythm", "mean length of unvoiced segments, s"),
    "unvoiced_length_std": ("rhythm", "standard deviation of the length of unvoiced segments, s"),
    "alpha_ratio": ("spectral", "power in 1-5 kHz over power in 50-1000 Hz, mean over sounding frames, dB"),
    "hammarberg_index": ("spectral", "strongest power below 2 kHz over strongest in 2-5 kHz, mean, dB"),
    "slope_0_500": ("spectral", "slope of the spectrum over 0-500 Hz, mean, dB per kHz"),
    "slope_500_1500": ("spectral", "slope of the spectrum over 500-1500 Hz, mean, dB per kHz"),
    "flux": ("spectral", "change of the normalised magnitude spectrum from frame to frame, mean, 0 to 1.41"),
    "centroid_mean": ("spectral", "mean over sounding frames of the power spectrum's centroid, Hz"),
    "centroid_std": ("spectral", "standard deviation of the centroid, Hz"),
    **{
        f"mfcc{n}_{part}": ("MFCC", f"{word} of mel-frequency cepstral coefficient {n} over sounding frames")
        for n in range(1, 5)
        for part, word in (("mean", "mean"), ("std", "standard deviation"))
    },
}


@checked
def voice(x: np.ndarray, rate: int) -> dict[str, float]:
    """Measure all attributes of :data:`VOICE` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 16 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`VOICE`; NaN where undefined.
    """
    x = audio.resample(waveform(x, rate), rate, RATE)
    times, f0, strength = pitch_track(x, RATE, hop=HOP)
    at, level = loudness_track(x, RATE, hop=HOP)
    attributes = _pitch(f0) | _quality(x, times, f0, strength) | _formants(x, times, f0)
    attributes |= _loudness(x, level) | _rhythm(f0, len(x) / RATE) | _spectrum(x, level)
    return {name: float(attributes[name]) for name in VOICE}


def _pitch(f0: np.ndarray) -> dict[str, float]:
    pitch = semitones(f0)
    low, high = _percentile(pitch, 20), _percentile(pitch, 80)
    rise, fall = _slopes(pitch, most=FASTEST)
    rate, extent = vibrato(f0, hop=HOP)
    return {
        "f0_mean": _mean(pitch),
        "f0_median": _percentile(pitch, 50),
        "f0_std": _std(pitch),
        "f0_p20": low,
        "f0_p80": high,
        "f0_range": high - low,
        "f0_rise": rise,
        "f0_fall": fall,
        "vibrato_rate": rate,
        "vibrato_extent": extent,
    }


def _quality(x: np.ndarray, times: np.ndarray, f0: np.ndarray, strength: np.ndarray) -> dict[str, float]:
    hnr = harmonicity(strength[np.isfinite(f0)])
    jitter, shimmer = perturbation(cycles(x, RATE, times, f0))
    return {"hnr_mean": _mean(hnr), "hnr_std": _std(hnr), "jitter": jitter, "shimmer": shimmer}


def _formants(x: np.ndarray, times: np.ndarray, f0: np.ndarray) -> dict[str, float]:
    frequency, bandwidth = formant_tracks(x, RATE, at=times[np.isfinite(f0)])
    formants = {}
    for n in range(3):
        formants[f"f{n + 1}_frequency"] = _percentile(frequency[:, n], 50)
        formants[f"f{n + 1}_bandwidth"] = _percentile(bandwidth[:, n], 50)
    return formants


def _loudness(x: np.ndarray, level: np.ndarray) -> dict[str, float]:
    from scipy.signal import find_peaks

    low, middle, high = np.percentile(level, (20, 50, 80))
    rise, fall = _slopes(level)
    # the ends count as dips, so that a sound that begins or ends at its peak has a peak there; a negligible slope
    # breaks exact ties, of which each would otherwise count as a peak
    tilted = np.pad(level + 1e-9 * np.arange(len(level)), 1, constant_values=FLOOR - PEAK_PROMINENCE)
    peaks, _ = find_peaks(tilted, prominence=PEAK_PROMINENCE)
    return {
        "level": max(audio.level(x), FLOOR),
        "loudness_mean": level.mean(),
        "loudness_std": level.std(),
        "loudness_p20": low,
        "loudness_p50": middle,
        "loudness_p80": high,
        "loudness_range": high - low,
        "loudness_rise": rise,
        "loudness_fall": fall,
        "loudness_peaks": len(peaks) * (level.max() > FLOOR) * RATE / len(x),
    }


def _rhythm(f0: np.ndarray, seconds: float) -> dict[str, float]:
    voiced = np.isfinite(f0)
    lengths = [HOP * np.array([run.stop - run.start for run in stretches(mask)]) for mask in (voiced, ~voiced)]
    return {
        "voiced_fraction": _mean(voiced.astype(float)),
        "voiced_segments": len(lengths[0]) / seconds if len(f0) else np.nan,
        "voiced_length_mean": _mean(lengths[0]),
        "voiced_length_std": _std(lengths[0]),
        "unvoiced_length_mean": _mean(lengths[1]),
        "unvoiced_length_std": _std(lengths[1]),
    }


def _spectrum(x: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Measure the spectral shape over sounding frames (32 ms, Hann window)."""
    from scipy import fft

    _, frames, taper = windows(x, RATE, hop=HOP, window=0.032)
    sounding = level[np.minimum(np.arange(len(frames)), len(level) - 1)] > max(level.max() - SOUNDING, FLOOR)
    power = np.abs(fft.rfft(frames[sounding] * taper, axis=1)) ** 2 * (4 / taper.sum() ** 2)
    f = np.fft.rfftfreq(len(taper), 1 / RATE)
    low, high, below = (f >= 50) & (f <= 1000), (f > 1000) & (f <= 5000), f <= 2000
    above = (f > 2000) & (f <= 5000)
    magnitude = np.sqrt(power)
    magnitude /= np.linalg.norm(magnitude, axis=1, keepdims=True) + 1e-12
    together = np.diff(np.flatnonzero(sounding)) == 1
    flux = np.linalg.norm(np.diff(magnitude, axis=0), axis=1)[together]
    centroid = (power @ f) / (power.sum(1) + 1e-20)
    attributes = {
        "alpha_ratio": _mean(decibels(power[:, high].sum(1)) - decibels(power[:, low].sum(1))),
        "hammarberg_index": _mean(decibels(power[:, below].max(1)) - decibels(power[:, above].max(1))),
        "slope_0_500": _mean(_tilt(power, f, 0, 500)),
        "slope_500_1500": _mean(_tilt(power, f, 500, 1500)),
        "flux": _mean(flux),
        "centroid_mean": _mean(centroid),
        "centroid_std": _std(centroid),
    }
    filters, basis = _cepstrum(len(taper))
    mfcc = np.log(power @ filters + audio.LOG_FLOOR) @ basis
    for n in range(4):
        attributes |= {f"mfcc{n + 1}_mean": _mean(mfcc[:, n]), f"mfcc{n + 1}_std": _std(mfcc[:, n])}
    return attributes


@lru_cache(maxsize=1)
def _cepstrum(n_fft: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 26 mel filters, 20 Hz to 8 kHz, (bins, 26), and orthonormal cosines of coefficients 1 to 4, (26, 4)."""
    filters = audio.mel_filters(RATE, n_fft=n_fft, n_mels=26, f_min=20.0).numpy().astype(np.float64)
    basis = np.cos(np.pi / 26 * (np.arange(26)[:, None] + 0.5) * np.arange(1, 5)) * np.sqrt(2 / 26)
    return filters, basis


def _tilt(power: np.ndarray, f: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the slope of a straight line fitted to the levels in a band, dB per kHz, (T,)."""
    band = (f >= low) & (f <= high)
    place = (f[band] - f[band].mean()) / 1000
    return decibels(power[:, band]) @ place / (place @ place)


def _slopes(track: np.ndarray, *, most: float = np.inf) -> tuple[float, float]:
    """Return the mean slopes of rises and of falls a second, both positive, without steps steeper than `most`."""
    steps = np.diff(track)
    steps = steps[np.abs(steps) <= most * HOP]
    return _mean(steps[steps > 0]) / HOP, _mean(-steps[steps < 0]) / HOP


def _mean(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return kept.mean() if len(kept) else np.nan


def _std(values: np.ndarray) -> float:
    kept = values[np.isfinite(values)]
    return kept.std() if len(kept) > 1 else np.nan


def _percentile(values: np.ndarray, q: float) -> float:
    kept = values[np.isfinite(values)]
    return np.percentile(kept, q) if len(kept) else np.nan
