"""Fundamental frequency by autocorrelation, and jitter, shimmer and vibrato.

- :func:`pitch_track` follows Boersma, "Accurate short-term analysis of the fundamental frequency and the
  harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17 (1993) 97-110: the autocorrelation of a windowed
  frame is divided by that of the window, its maxima are candidates, and the best path through them is the track. The
  strength of a candidate is the fraction of periodic power, from which :func:`harmonicity` is computed.
- :func:`cycles` measures the period and the amplitude of every cycle, for jitter and shimmer, by matching the waveform
  around one glottal pulse to the next (according to Titze and Liang, J. Speech Hear. Res. 36 (1993) 1120-1133, the most
  accurate method for small perturbations).
- :func:`vibrato` measures the rate and the extent of a periodic modulation of pitch.
"""

from __future__ import annotations

import math

import numpy as np

from ..core.checks import checked, number
from ..core.errors import ParameterError
from .loudness import waveform

#: Frequency (Hz) of 0 semitones: the A that is three octaves below 220 Hz, as in eGeMAPS.
REFERENCE = 27.5
# Costs per time step of 10 ms as in Praat, except for the octave cost (there 0.01): in a reverberant room, or with some
# jitter, the correlation at two periods is slightly higher than at one.
OCTAVE_COST, OCTAVE_JUMP_COST, VOICING_COST = 0.03, 0.35, 0.14
VOICING_THRESHOLD, SILENCE_THRESHOLD = 0.45, 0.03
CANDIDATES = 10
PERIOD_FACTOR, AMPLITUDE_FACTOR = 1.3, 1.6
# Factor by which the grid of autocorrelations is finer than the samples (by exact band-limited interpolation).
OVERSAMPLING = 4
# Number of frames that are processed at once, which limits memory to about 100 MB for any length.
BLOCK = 1024
# Peak below which a whole clip is silence: half a step of 16-bit sound.
SILENCE = 2.0**-16


@checked
def pitch_track(
    x: np.ndarray, rate: int, *, f_min: float = 60.0, f_max: float = 1400.0, hop: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure the fundamental frequency over time.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; for good precision at least four times ``f_max``.
    f_min, f_max : float
        Range of the search in Hz. Frames are three periods of ``f_min`` long.
    hop : float
        Seconds between frames.

    Returns
    -------
    times : np.ndarray, float64 (T,)
        Centres of the frames in seconds. A sound shorter than a frame has no frames (T = 0).
    f0 : np.ndarray, float64 (T,)
        Fundamental frequency in Hz; NaN where unvoiced.
    strength : np.ndarray, float64 (T,)
        Normalised autocorrelation at the period, 0 to 1, which is the fraction of periodic power; in unvoiced frames
        that of the strongest candidate (0 if there is none).

    Raises
    ------
    ParameterError
        The range is empty or exceeds half the rate, ``hop`` is shorter than a sample, or ``x`` is not a waveform.
    """
    x = waveform(x, rate, empty=True)
    number("hop", hop, above=0, most=3600)
    if not 0 < f_min < f_max <= rate / 2:
        raise ParameterError("f_min, f_max", (f_min, f_max), f"rising and within 0 to {rate / 2:g} Hz, half the rate")
    size, step = round(3 * rate / f_min), round(hop * rate)
    if step < 1:
        raise ParameterError("hop", hop, f"at least one sample at {rate} Hz")
    count = max((len(x) - size) // step + 1, 0)
    # the frames are centred in the sound
    first = (len(x) - size - (count - 1) * step) // 2 if count else 0
    times = (first + size / 2 + step * np.arange(count)) / rate
    if not count:
        return times, times.copy(), times.copy()
    frames = np.lib.stride_tricks.sliding_window_view(x, size)[first::step]
    loudest = float(np.abs(x - x.mean()).max())
    parts = [_candidates(frames[i : i + BLOCK], rate, f_min, f_max, loudest) for i in range(0, count, BLOCK)]
    frequency, strength, unvoiced = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    path = _best_path(frequency, strength, unvoiced, f_min, hop)
    rows, voiced = np.arange(count), path > 0
    column = np.maximum(path - 1, 0)
    f0 = np.where(voiced, frequency[rows, column], np.nan)
    return times, f0, np.where(voiced, strength[rows, column], np.maximum(strength.max(1), 0.0))


def _candidates(frames, rate, f_min, f_max, loudest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frequency and strength (T, K) of candidates (-inf if missing), and the strength (T,) of "unvoiced"."""
    r, peak = _autocorrelation(frames, rate, f_min)
    fine = rate * OVERSAMPLING
    low, high = max(int(fine / f_max), 1), min(math.ceil(fine / f_min), r.shape[1] - 2)
    middle, before, after = r[:, low : high + 1], r[:, low - 1 : high], r[:, low + 1 : high + 2]
    lags = np.arange(low, high + 1)
    maxima = (middle > before) & (middle >= after) & (middle > 0.5 * VOICING_THRESHOLD)
    # prefer shorter periods, as the correlation at any multiple of a period is as high as at the period itself
    score = np.where(maxima, middle - OCTAVE_COST * np.log2(f_min * lags / fine).astype(np.float32), -np.inf)
    best = np.argpartition(-score, CANDIDATES, axis=1)[:, :CANDIDATES]
    there = np.isfinite(np.take_along_axis(score, best, 1))
    a, b, c = (np.take_along_axis(v, best, 1).astype(np.float64) for v in (before, middle, after))
    bend = np.where(there, a - 2 * b + c, -1.0)
    shift = np.clip(np.where(there, 0.5 * (a - c) / bend, 0.0), -0.5, 0.5)
    height = b - 0.25 * (a - c) * shift
    # interpolation can exceed 1 slightly; such values are reflected to below 1
    height = np.where(height > 1, 1 / np.maximum(height, 1), height)
    frequency = np.clip(fine / (lags[best] + shift), f_min, f_max)
    quiet = peak / loudest / SILENCE_THRESHOLD * (1 + VOICING_THRESHOLD) if loudest > SILENCE else np.zeros(len(peak))
    unvoiced = VOICING_THRESHOLD + np.maximum(0, 2 - quiet)
    return frequency, np.where(there, height, -np.inf), unvoiced


def _autocorrelation(frames, rate, f_min) -> tuple[np.ndarray, np.ndarray]:
    """Return the autocorrelation of each frame over that of the window, (T, lags) on the fine grid, and peaks (T,)."""
    from scipy import fft

    size = frames.shape[1]
    longest = math.ceil(rate / f_min) + 2
    n = fft.next_fast_len(size + longest, real=True)
    window = np.hanning(size + 2)[1:-1].astype(np.float32)
    centred = frames - frames.mean(1, keepdims=True)
    peak = np.abs(centred).max(1)
    centred *= window
    power = np.abs(fft.rfft(np.concatenate([centred, window[None]]), n)) ** 2
    # a longer inverse transform interpolates between the samples
    r = fft.irfft(power, n * OVERSAMPLING)[:, : longest * OVERSAMPLING]
    energy = r[:-1, :1]
    return r[:-1] / np.where(energy > 0, energy, 1) / (r[-1] / r[-1, 0]), peak


def _best_path(frequency, strength, unvoiced, f_min, hop) -> np.ndarray:
    """Return the best path, int64 (T,): 0 for unvoiced, else 1 + the position of the candidate."""
    octave = np.log2(frequency / f_min)
    gain = np.concatenate([unvoiced[:, None], strength + OCTAVE_COST * octave], 1)
    octave = np.pad(octave, ((0, 0), (1, 0)))
    # costs are for each change, and shorter steps allow more changes
    pace = 0.01 / hop
    per_octave = np.full((gain.shape[1],) * 2, OCTAVE_JUMP_COST * pace)
    per_octave[0], per_octave[:, 0] = 0.0, 0.0
    onset = np.zeros_like(per_octave)
    onset[0, 1:] = onset[1:, 0] = VOICING_COST * pace
    total, back = gain[0], np.zeros(gain.shape, np.int8)
    columns = np.arange(gain.shape[1])
    for t in range(1, len(gain)):
        ways = total[:, None] - onset - per_octave * np.abs(octave[t] - octave[t - 1][:, None])
        back[t] = ways.argmax(0)
        total = ways[back[t], columns] + gain[t]
    path = np.zeros(len(gain), np.int64)
    path[-1] = total.argmax()
    for t in range(len(gain) - 1, 0, -1):
        path[t - 1] = back[t, path[t]]
    return path


def semitones(frequency: np.ndarray) -> np.ndarray:
    """Convert Hz to semitones above 27.5 Hz."""
    return 12 * np.log2(np.asarray(frequency, dtype=np.float64) / REFERENCE)


def harmonicity(strength: np.ndarray) -> np.ndarray:
    """Return the harmonics-to-noise ratio in dB, 10 log10(r / (1 - r)) for the strength r of :func:`pitch_track`.

    The formula is that of Boersma (1993). A window with few periods limits the largest value that can be measured: with
    ``f_min=60`` to 22 dB at 80 Hz, 30 dB at 110 Hz and 45 dB at 220 Hz.
    """
    r = np.clip(strength, 1e-6, 1 - 1e-6)
    return 10 * np.log10(r / (1 - r))


def stretches(voiced: np.ndarray) -> list[slice]:
    """Return the runs of frames in which ``voiced`` (T,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]])))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def cycles(x: np.ndarray, rate: int, times: np.ndarray, f0: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Measure the periods and amplitudes of consecutive cycles in each voiced stretch of a pitch track.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz.
    times, f0 : np.ndarray (T,)
        Times and pitch as :func:`pitch_track` returns them.

    Returns
    -------
    list of (periods, amplitudes), one for each stretch
        periods : seconds from one pulse to the next, float64 (n,); amplitudes: square root of the energy in one period
        around each pulse, float64 (n + 1,).
    """
    x = waveform(x, rate, empty=True)
    x = x - x.mean(dtype=np.float64).astype(np.float32) if len(x) else x
    by_stretch = []
    for run in stretches(np.isfinite(f0)):
        if run.stop - run.start < 2:
            continue
        t = np.arange(math.ceil(times[run.start] * rate), int(times[run.stop - 1] * rate))
        turns = np.cumsum(np.interp(t / rate, times[run], f0[run])) / rate
        if len(t) and turns[-1] >= 3:  # fewer cycles have no differences to compare
            by_stretch.append(_match(x, rate, t, turns))
    return by_stretch


def perturbation(by_stretch: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Compute jitter and shimmer of the cycles that :func:`cycles` found.

    Parameters
    ----------
    by_stretch : list of (periods, amplitudes)

    Returns
    -------
    jitter : float
        Mean absolute difference of neighbouring periods over the mean period ("local"), in per cent; NaN if there are
        no two periods to compare.
    shimmer : float
        Mean absolute level difference of neighbouring cycles in dB; NaN if there are none to compare.

    Notes
    -----
    As in Praat, neighbours are left out if one is more than 1.3 times as long or 1.6 times as strong as the other,
    because the note changes there or the analysis failed. A resonance that decays into the next period hides part of
    the jitter: for a pulse train with a formant 80 Hz wide, all of it is measured at 90 Hz, three quarters at 150 Hz
    and less than half at 300 Hz.
    """
    steps, periods, levels = [], [], []
    for length, amplitude in by_stretch:
        before, after = length[:-1], length[1:]
        near = np.maximum(before, after) < PERIOD_FACTOR * np.minimum(before, after)
        steps.append(np.abs(after - before)[near])
        periods.append(0.5 * (before + after)[near])
        weak, strong = np.sort([amplitude[:-1], amplitude[1:]], axis=0)
        near = (strong < AMPLITUDE_FACTOR * weak) & (weak > 0)
        levels.append(20 * np.log10(strong[near] / weak[near]))
    steps, periods, levels = (np.concatenate([np.empty(0), *parts]) for parts in (steps, periods, levels))
    jitter = 100 * steps.mean() / periods.mean() if len(steps) else np.nan
    return float(jitter), float(levels.mean()) if len(levels) else np.nan


def _match(x, rate, t, turns) -> tuple[np.ndarray, np.ndarray]:
    """Measure the cycles of one stretch; ``turns`` (n,) counts periods at the samples ``t`` (n,)."""
    turns = _locked(x[t], turns)
    # the pulse is at the place in a period where the mean cycle has its largest magnitude
    mean = np.bincount((turns % 1 * 32).astype(int), x[t] ** 3, minlength=32)
    offset = (np.abs(mean).argmax() + 0.5) / 32
    marks = np.interp(np.arange(math.ceil(turns[0] - offset), turns[-1] - offset) + offset, turns, t)
    if len(marks) < 3:
        return np.empty(0), np.empty(0)
    place = np.rint(marks).astype(int)
    period = np.diff(marks, append=2 * marks[-1] - marks[-2])
    longest = math.ceil(period.max())
    reach = np.arange(-2 * longest, 2 * longest + 1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(x, 2 * longest), len(reach))
    lags, amplitudes = [], []
    for i in range(0, len(place), BLOCK):
        here = slice(i, i + BLOCK)
        pulses, inside = around[place[here]], np.abs(reach) <= np.ceil(0.5 * period[here, None])
        amplitudes.append(np.sqrt(np.square(pulses, where=inside, out=np.zeros_like(pulses)).sum(1)))
        following = place[i + 1 : i + 1 + BLOCK]
        n, step = len(following), (following - place[here][: len(following)])[:, None]
        pulse = np.where(inside, pulses, 0.0)[:n]
        lags.append(_lags(pulse, inside[:n], around[following], step, period[here][:n, None]))
    return np.concatenate(lags) / rate, np.concatenate(amplitudes).astype(np.float64)


def _locked(x, turns) -> np.ndarray:
    """Correct a count of periods by the phase of the fundamental, from which the count of a pitch track drifts."""
    width = min(round(4 * len(turns) / (turns[-1] - turns[0])), len(turns))
    sums = np.cumsum(np.pad(x * np.exp(-2j * np.pi * turns), (width // 2 + 1, width - width // 2 - 1)))
    phase = np.unwrap(np.angle(sums[width:] - sums[:-width]))
    return np.maximum.accumulate(turns + phase / (2 * np.pi)) + 1e-9 * np.arange(len(turns))


def _lags(pulse, inside, following, step, period) -> np.ndarray:
    """Return the shifts in samples (n,) that match each pulse to the next best, by normalised cross-correlation."""
    from scipy import fft

    n = fft.next_fast_len(following.shape[1], real=True)
    reach = (following.shape[1] - 1) // 4 + 8
    span = np.arange(-reach, reach + 1)

    def correlate(a, b):
        return fft.irfft(np.conj(fft.rfft(a.astype(np.float32), n)) * fft.rfft(b, n), n)[:, span]

    energy = correlate(inside, following**2)
    match = correlate(pulse, following) / np.sqrt(np.maximum(energy, 1e-3 * energy.max(1, keepdims=True) + 1e-30))
    allowed = np.abs(span + step - period) <= 0.3 * period
    allowed[:, :8] = allowed[:, -8:] = False
    best = np.where(allowed, match, -np.inf).argmax(1)
    # between the samples: band-limited interpolation around the peak, then a parabola
    near = np.arange(-7, 8)
    offsets = np.arange(-OVERSAMPLING - 1, OVERSAMPLING + 2) / OVERSAMPLING
    distance = offsets[:, None] - near
    kernel = np.sinc(distance) * np.cos(np.pi * distance / 18) ** 2
    curve = np.take_along_axis(match, np.clip(best[:, None] + near, 0, len(span) - 1), 1) @ kernel.T
    top = np.clip(curve[:, 1:-1].argmax(1) + 1, 1, len(offsets) - 2)
    rows = np.arange(len(best))
    a, b, c = (curve[rows, top + d] for d in (-1, 0, 1))
    shift = np.clip(0.5 * (a - c) / np.minimum(a - 2 * b + c, -1e-9), -0.5, 0.5)
    return step[:, 0] + span[best] + offsets[top] + shift / OVERSAMPLING


def vibrato(f0: np.ndarray, *, hop: float) -> tuple[float, float]:
    """Measure the rate and extent of a periodic modulation of pitch between 4 and 9 Hz.

    Windows of 0.64 s within voiced stretches are detrended by a straight line and Fourier-transformed (Hann window);
    the highest peak between 4 and 9 Hz is the modulation. A step of a melody within a window adds to it, as in any
    spectral method; medians over windows suppress single steps.

    Parameters
    ----------
    f0 : np.ndarray (T,)
        Pitch in Hz, NaN where unvoiced.
    hop : float
        Seconds between its values.

    Returns
    -------
    rate : float
        Rate in Hz, the median over windows whose modulation is at least as deep as the median.
    extent : float
        Cents to either side, the median over windows. Both are NaN if no voiced stretch is long enough.
    """
    size, step, n = round(0.64 / hop), max(round(0.16 / hop), 1), 2048
    cents = 100 * semitones(f0)
    runs = [run for run in stretches(np.isfinite(f0)) if run.stop - run.start >= size]
    if not runs:
        return np.nan, np.nan
    frames = np.concatenate([np.lib.stride_tricks.sliding_window_view(cents[run], size)[::step] for run in runs])
    line = np.stack([np.ones(size), np.linspace(-1, 1, size)])
    frames = frames - frames @ np.linalg.pinv(line) @ line
    taper = np.hanning(size + 2)[1:-1]
    spectrum = 2 * np.abs(np.fft.rfft(frames * taper, n)) / taper.sum()
    frequency = np.fft.rfftfreq(n, hop)
    band = (frequency >= 4) & (frequency <= 9)
    extent = spectrum[:, band].max(1)
    rate = frequency[band][spectrum[:, band].argmax(1)]
    return float(np.median(rate[extent >= np.median(extent)])), float(np.median(extent))
