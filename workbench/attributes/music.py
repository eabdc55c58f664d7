"""The set "music": rhythm, harmony and timbre of a sound, computed with librosa.

Sounds are resampled to 22.05 kHz, mono. :data:`MUSIC` lists every attribute with its family, unit and meaning. Five
seconds of sound take about a quarter of a second on one core, most of it for the harmonic and percussive parts.

- Tempo is the best lag of the autocorrelation of the onset strength, weighted towards 120 beats a minute (Ellis, "Beat
  tracking by dynamic programming", J. New Music Research 36 (2007) 51-60), between 40 and 240. For most music, a tempo
  and its double or half fit equally, and the weight decides which is found: of 16 pieces of 10 s from a song of 101
  beats a minute, 11 gave this tempo, two gave half, two the double, and one two thirds. Its strength is the value of
  the autocorrelation, known as pulse clarity (Lartillot, Eerola, Toiviainen and Fornari, ISMIR 2008); noise and speech
  have a tempo too, with a low strength.
- Key is found by correlation of the mean chroma with the profiles of Krumhansl and Kessler, "Tracing the dynamic
  changes in perceived tonal organization in a spatial representation of musical keys", Psychological Review 89 (1982)
  334-368. As a tonic is not a number, it is represented by a point on the circle of fifths, where C is (1, 0) and G is
  30 degrees further. A single note has a weak key, too. Strong upper harmonics add weight to the fifth above a tone:
  for chords of tones with seven equal harmonics, the dominant is found.
- Harmonic and percussive parts are separated by median filtering of the spectrogram (Fitzgerald, DAFx 2010).

A sound that starts without silence before it has an onset at its start, and so has an excerpt of a longer sound.

Undefined values are NaN: everything for silence, tempo for less than 3 s or fewer than four onsets, chroma and key for
less than 0.4 s or clicks only, loudness below -70 LKFS, and spreads over fewer than two frames.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .. import audio
from ..core.checks import checked
from ..core.dependencies import load
from .loudness import FLOOR, decibels, integrated_loudness, loudness_track, waveform

CODE_VERSION = 1
RATE = 22050
#: Samples between onset strengths (11.6 ms), and of the windows for timbre (93 ms) and harmony (0.37 s).
HOP, WINDOW, LONG_WINDOW = 256, 2048, 8192
#: Frames more than this many dB below the loudest of a clip are background and left out of spectral attributes.
SOUNDING = 40.0
#: Least duration (s) and least number of onsets of a clip with a tempo.
SHORTEST, FEWEST = 3.0, 4
#: Frames (81 ms) over which onset strength is smoothed before its autocorrelation.
SMOOTHING = 7
#: Least duration (s) of a clip with a key, and least level of its harmonic part above the percussive part (dB).
TONAL, LEAST_HARMONIC = 0.4, -30.0
#: Slowest and fastest tempo, and the tempo with the largest weight (which falls off with a spread of an octave), in
#: beats a minute.
SLOWEST, FASTEST, USUAL = 40.0, 240.0, 120.0
#: Least prominence of an onset: as a mean over bands in dB, and as a fraction of the clip's largest onset strength.
ONSET, ONSET_SHARE = 1.5, 0.1
#: Fraction of the power below the roll-off frequency.
ROLLOFF = 0.85
TONES = ("c", "c_sharp", "d", "d_sharp", "e", "f", "f_sharp", "g", "g_sharp", "a", "a_sharp", "b")
#: How well each tone fits into a key, from the tonic upwards (Krumhansl and Kessler 1982).
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

#: Every attribute: name -> (family, meaning with unit).
MUSIC: dict[str, tuple[str, str]] = {
    "tempo": ("rhythm", "tempo, beats a minute, 40 to 240; may be the double or half of what a listener taps"),
    "tempo_strength": ("rhythm", "autocorrelation of the onset strength at the tempo, up to 1"),
    "onset_rate": ("rhythm", "onsets of notes or strokes, a second"),
    "key_strength": ("harmony", "correlation of the mean chroma with the best key's profile, up to 1"),
    "mode": ("harmony", "correlation with the best major key minus that with the best minor one, positive in major"),
    "key_cos": ("harmony", "cosine of the tonic's angle on the circle of fifths: C 1, A and E flat 0, F sharp -1"),
    "key_sin": ("harmony", "sine of the tonic's angle on the circle of fifths: A 1, C and F sharp 0, E flat -1"),
    **{f"chroma_{tone}": ("harmony", f"share of {tone.replace('_', ' ')} in the magnitude, mean") for tone in TONES},
    "chroma_entropy": ("harmony", "entropy of the twelve shares, bits, 0 (one tone) to 3.58 (all alike)"),
    "tuning": ("harmony", "deviation from A = 440 Hz, cents, -50 to 50"),
    "brightness": ("spectral", "spectral centroid, mean over frames weighted by their power, Hz"),
    "brightness_spread": ("spectral", "standard deviation of the centroid over frames weighted by their power, Hz"),
    "bandwidth": ("spectral", "spread of the spectrum about its centroid, mean over frames weighted by power, Hz"),
    "rolloff": ("spectral", "frequency below which 85 % of a frame's power lies, mean weighted by power, Hz"),
    "flatness": ("spectral", "geometric over arithmetic mean of a frame's power, mean over sounding frames, 0 to 1"),
    "zero_crossings": ("spectral", "changes of sign of the waveform, a second"),
    "harmonic_percussive_ratio": ("spectral", "energy of the harmonic part over that of the percussive part, dB"),
    "loudness": ("loudness", "integrated loudness after ITU-R BS.1770-4, LKFS"),
    "crest": ("loudness", "peak over RMS level of the clip, dB"),
    "dynamic_range": ("loudness", "95th minus 10th percentile of the level of sounding frames of 0.1 s, dB"),
}


@checked
def music(x: np.ndarray, rate: int) -> dict[str, float]:
    """Measure all attributes of :data:`MUSIC` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 22.05 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`MUSIC`; NaN where undefined.
    """
    x = audio.resample(waveform(x, rate), rate, RATE)
    x = x - x.mean()
    found = dict.fromkeys(MUSIC, np.nan)
    if audio.level(x) > FLOOR:
        spectrum = _spectrum(x, WINDOW, 2 * HOP)
        harmonic, ratio = _parts(spectrum)
        found |= _loudness(x) | _timbre(spectrum) | _rhythm(x) | {"harmonic_percussive_ratio": ratio}
        found["zero_crossings"] = np.count_nonzero(np.diff(np.signbit(x))) * RATE / len(x)
        if len(x) >= TONAL * RATE and ratio > LEAST_HARMONIC:
            found |= _harmony(load("librosa").istft(harmonic, hop_length=2 * HOP, length=len(x)))
    return {name: float(found[name]) for name in MUSIC}


def _spectrum(x: np.ndarray, window: int, hop: int) -> np.ndarray:
    """Return the complex spectrogram (bins, frames); a sound shorter than a window is padded with silence."""
    return load("librosa").stft(np.pad(x, (0, max(window - len(x), 0))), n_fft=window, hop_length=hop)


def _loudness(x: np.ndarray) -> dict[str, float]:
    _, level = loudness_track(x, RATE, hop=0.05, window=0.1, weighting=None)
    level = level[level > max(level.max() - SOUNDING, FLOOR)]
    high, low = np.percentile(level, (95, 10)) if len(level) > 1 else (np.nan, np.nan)
    crest = 20 * np.log10(np.abs(x).max()) - audio.level(x)
    return {"loudness": integrated_loudness(x, RATE), "crest": crest, "dynamic_range": high - low}


def _timbre(spectrum: np.ndarray) -> dict[str, float]:
    """Measure the spectral shape over sounding frames."""
    power = np.square(np.abs(spectrum)).T.astype(np.float64)
    weight = power.sum(1)
    sounding = weight > weight.max() * 10 ** (-SOUNDING / 10)
    power, weight = power[sounding], weight[sounding] / weight[sounding].sum()
    share = power / power.sum(1, keepdims=True)
    f = np.fft.rfftfreq(WINDOW, 1 / RATE)
    centroid = share @ f
    mean = weight @ centroid
    spread = np.sqrt(np.maximum(share @ f**2 - centroid**2, 0))
    below = f[(np.cumsum(share, axis=1) < ROLLOFF).sum(1).clip(max=len(f) - 1)]
    flat = np.exp(np.log(share + 1e-12).mean(1)) / (share + 1e-12).mean(1)
    return {
        "brightness": mean,
        "brightness_spread": np.sqrt(weight @ (centroid - mean) ** 2) if len(weight) > 1 else np.nan,
        "bandwidth": weight @ spread,
        "rolloff": weight @ below,
        "flatness": flat.mean(),
    }


def _parts(spectrum: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the complex spectrogram of the harmonic part, and its energy relative to the percussive part in dB."""
    parts = load("librosa").decompose.hpss(spectrum)
    energy = np.array([np.square(np.abs(part)).sum(dtype=np.float64) for part in parts])
    high, low = decibels(energy / energy.sum())
    return parts[0], high - low


def _rhythm(x: np.ndarray) -> dict[str, float]:
    # padded with silence, so that a sound without silence before it has an onset at its start
    whole = np.pad(x, (WINDOW, max(WINDOW - len(x), 0)))
    strength = load("librosa").onset.onset_strength(y=whole, sr=RATE, hop_length=HOP)
    onsets, tempo, clarity = _onsets(strength), np.nan, np.nan
    if len(x) >= SHORTEST * RATE and len(onsets) >= FEWEST:
        tempo, clarity = _tempo(strength)
    return {"onset_rate": len(onsets) * RATE / len(x), "tempo": tempo, "tempo_strength": clarity}


def _onsets(strength: np.ndarray) -> np.ndarray:
    """Return the frames of the onsets."""
    from scipy.signal import find_peaks

    least = max(ONSET, ONSET_SHARE * strength.max())
    peaks, _ = find_peaks(np.pad(strength, 1), prominence=least, distance=round(0.03 * RATE / HOP))
    return peaks - 1


def _tempo(strength: np.ndarray) -> tuple[float, float]:
    """Return the tempo in beats a minute, and the autocorrelation at its lag."""
    pace = 60 * RATE / HOP  # frames a minute
    # beats fall between frames; peaks that are several frames wide still overlap after several periods
    smooth = np.convolve(strength, np.hanning(SMOOTHING + 2)[1:-1], "same")
    centred = smooth - smooth.mean()
    n = len(centred)
    r = np.fft.irfft(np.abs(np.fft.rfft(centred, 2 * n)) ** 2)[:n]
    # divide by the number of frames that overlap at each lag
    r = r / np.maximum(n - np.arange(n), 1) / (r[0] / n)
    lags = np.arange(int(np.ceil(pace / FASTEST)), min(int(pace / SLOWEST), n // 2) + 1)
    weight = np.exp(-0.5 * np.log2(pace / lags / USUAL) ** 2)
    lag = lags[np.argmax(np.maximum(r[lags], 0) * weight)]
    before, middle, after = r[lag - 1 : lag + 2]
    bend = before - 2 * middle + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return np.clip(pace / (lag + np.clip(shift, -0.5, 0.5)), SLOWEST, FASTEST), min(middle, 1.0)


def _harmony(x: np.ndarray) -> dict[str, float]:
    """Measure chroma, key and tuning of the harmonic part, so that drums do not add to the chroma."""
    librosa = load("librosa")
    magnitude = np.abs(_spectrum(x, LONG_WINDOW, LONG_WINDOW // 4))
    if not magnitude.any():
        return {}
    tuning = _tuning(magnitude)
    chroma = librosa.filters.chroma(sr=RATE, n_fft=LONG_WINDOW, tuning=tuning) @ magnitude.sum(1)
    share = chroma.astype(np.float64) / chroma.sum(dtype=np.float64)
    major, minor = (profiles @ _standard(share) / 12 for profiles in _keys())
    best = major if major.max() >= minor.max() else minor
    angle = 2 * np.pi * (7 * int(best.argmax()) % 12) / 12
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    return {
        "key_strength": best.max(),
        "mode": major.max() - minor.max(),
        "key_cos": np.cos(angle),
        "key_sin": np.sin(angle),
        **{f"chroma_{tone}": value for tone, value in zip(TONES, share, strict=True)},
        "chroma_entropy": entropy,
        "tuning": 100 * tuning,
    }


def _tuning(magnitude: np.ndarray) -> float:
    """Return the deviation of strong partials from A = 440 Hz in semitones, -0.5 to 0.5; 0 without partials."""
    librosa = load("librosa")
    frequency, height = librosa.piptrack(S=magnitude, sr=RATE, n_fft=LONG_WINDOW)
    partials = frequency > 0
    if not partials.any():
        return 0.0
    return librosa.pitch_tuning(frequency[partials & (height >= np.median(height[partials]))])


@lru_cache(maxsize=1)
def _keys() -> tuple[np.ndarray, np.ndarray]:
    """Return the standardised profiles of the twelve major and the twelve minor keys, (12, 12) each; row 0 is C."""
    return tuple(np.array([np.roll(_standard(np.array(p)), k) for k in range(12)]) for p in (MAJOR, MINOR))


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))
