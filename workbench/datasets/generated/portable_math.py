"""Arithmetic for the generated sets that gives the same bits on every machine.

``numpy.sin``, ``exp`` and the FFT differ in the last bits between processors and builds (vector width, fused
multiply-add, the system's maths library). The functions here use only element-wise ``+ - * /``, ``sqrt``, rounding and
comparisons, with one NumPy call for each operation. IEEE 754 defines the result of each of these to the bit, and an
element-wise call has no order of operations that could vary, so that sounds made with them are reproducible bit for
bit. For the same reason complex numbers are kept as two real arrays (NumPy's complex product may be fused), and random
numbers are made from the raw bits of PCG64: NumPy guarantees its stream for all versions, but not that of
``Generator``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

_LN2 = 0.6931471805599453
_TAU = 6.283185307179586


def _coefficients(base: float, powers: list[int], alternate: bool) -> list[float]:
    """Return Taylor coefficients ``(+-) base**n / n!``, multiplied one factor at a time without the maths library."""
    out = []
    for order, power in enumerate(powers):
        value = 1.0
        for factor in range(1, power + 1):
            value = value * base / factor
        out.append(-value if alternate and order % 2 else value)
    return out


_SINE = _coefficients(_TAU, list(range(1, 22, 2)), alternate=True)
_EXP2 = _coefficients(_LN2, list(range(16)), alternate=False)


def sine(turns):
    """Sine of an angle given in turns (1 turn = 360 degrees).

    Parameters
    ----------
    turns : array_like of float64, any shape

    Returns
    -------
    numpy.ndarray of float64, same shape
        Within 4e-16 of the true value for small angles; the reduction to one turn is exact.
    """
    turns = np.asarray(turns, dtype=np.float64)
    rest = turns - np.rint(turns)
    half = np.copysign(0.5, rest)
    rest = np.where(np.abs(rest) > 0.25, half - rest, rest)
    square = rest * rest
    total = np.full_like(rest, _SINE[-1])
    for coefficient in _SINE[-2::-1]:
        total = total * square + coefficient
    return total * rest


def cosine(turns):
    """Cosine of an angle in turns; see `sine`."""
    return sine(np.asarray(turns, dtype=np.float64) + 0.25)


def exp2(x):
    """Two to the power `x`, element-wise, float64."""
    x = np.asarray(x, dtype=np.float64)
    whole = np.rint(x)
    rest = x - whole
    total = np.full_like(rest, _EXP2[-1])
    for coefficient in _EXP2[-2::-1]:
        total = total * rest + coefficient
    return np.ldexp(total, whole.astype(np.int64))


def from_decibels(decibels):
    """Amplitude ratio of a level difference: ``10 ** (decibels / 20)``."""
    return exp2(np.asarray(decibels, dtype=np.float64) * 0.16609640474436813)


def ordered_sum(x) -> float:
    """Sum a 1-d array in a fixed order: its halves are added until one number is left.

    The order of additions in NumPy's own ``sum`` may vary, and with it the last bits.
    """
    while len(x) > 1:
        half = len(x) // 2
        odd = x[2 * half :]
        x = x[:half] + x[half : 2 * half]
        if len(odd):
            x[0] += odd[0]
    return float(x[0]) if len(x) else 0.0


def rms(x) -> float:
    """Return the root mean square of a 1-d array; 0 if it is empty."""
    return math.sqrt(ordered_sum(x * x) / len(x)) if len(x) else 0.0


def interpolate(knots, positions):
    """Interpolate a table linearly at fractional positions, which are clamped to the table.

    Parameters
    ----------
    knots : numpy.ndarray, shape (K,)
    positions : numpy.ndarray of float64
        Positions in units of knots: 0 is the first, K - 1 the last.
    """
    low = np.clip(np.floor(positions).astype(np.int64), 0, len(knots) - 2)
    part = np.clip(positions - low, 0.0, 1.0)
    start = knots[low]
    return start + (knots[low + 1] - start) * part


def upsample(curve, factor: int):
    """Interpolate a control curve linearly to `factor` times its rate; the last value is held.

    Parameters
    ----------
    curve : numpy.ndarray, shape (T,)

    Returns
    -------
    numpy.ndarray, shape (T * factor,)
    """
    ramp = np.arange(factor) / factor
    step = np.diff(curve, append=curve[-1])
    return (curve[:, None] + step[:, None] * ramp[None, :]).reshape(-1)


class Draws:
    """Random numbers that depend on the seed alone, not on the machine or the version of NumPy.

    Parameters
    ----------
    seed : int or sequence of int
        One or several numbers, none of them negative.
    """

    def __init__(self, seed):
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def random(self, shape=None):
        """Draw uniformly from [0, 1): a float, or a float64 array of `shape`."""
        if shape is None:
            return (self._bits.random_raw() >> 11) * 2.0**-53
        return (self._bits.random_raw(shape) >> np.uint64(11)) * 2.0**-53

    def between(self, low, high, shape=None):
        """Draw uniformly from [low, high)."""
        return low + (high - low) * self.random(shape)

    def below(self, count: int) -> int:
        """Draw a whole number from 0 to count - 1."""
        return int(self.random() * count)

    def permutation(self, count: int) -> list[int]:
        """Return the numbers from 0 to count - 1 in random order."""
        keys = self.random(count).tolist()
        return sorted(range(count), key=keys.__getitem__)


def drift(rng: Draws, frames: int, step: float):
    """Return a slow random curve between -1 and 1: random knots every `step` frames, joined by smooth steps.

    Returns
    -------
    numpy.ndarray, shape (frames,)
    """
    knots = rng.between(-1.0, 1.0, int(frames / step) + 3)
    position = np.arange(frames) / step + rng.random()
    low = np.floor(position).astype(np.int64)
    part = position - low
    part = part * part * (3.0 - 2.0 * part)
    return knots[low] + (knots[low + 1] - knots[low]) * part


@lru_cache(maxsize=32)
def _twiddles(length: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    angle = (np.arange(length // 4) / length)[:, None]
    return tuple((cosine(k * angle), sine(k * angle)) for k in (1, 2, 3))


def inverse_fft(real, imag):
    """Compute the unnormalised inverse Fourier transform along the first axis (Stockham, radix 4).

    ``out[n] = sum_k in[k] * exp(+2 pi i k n / N)``

    Parameters
    ----------
    real, imag : numpy.ndarray of float64, shape (N, B)
        B inputs of length N, a power of four, which are transformed side by side to keep the inner loops long.

    Returns
    -------
    real, imag : numpy.ndarray, shape (N, B)
    """
    size, batch = real.shape
    if 4 ** round(math.log(size, 4)) != size:
        raise ValueError(f"length {size} must be a power of four")
    length, width = size, batch
    while length > 1:
        quarter = length // 4
        r = real.reshape(4, quarter, width)
        i = imag.reshape(4, quarter, width)
        real, imag = np.empty((quarter, 4, width)), np.empty((quarter, 4, width))
        sum_r, sum_i, dif_r, dif_i = r[0] + r[2], i[0] + i[2], r[0] - r[2], i[0] - i[2]
        odd_r, odd_i, cross_r, cross_i = r[1] + r[3], i[1] + i[3], i[3] - i[1], r[1] - r[3]
        np.add(sum_r, odd_r, out=real[:, 0])
        np.add(sum_i, odd_i, out=imag[:, 0])
        parts = ((dif_r + cross_r, dif_i + cross_i), (sum_r - odd_r, sum_i - odd_i))
        parts += ((dif_r - cross_r, dif_i - cross_i),)
        for k, ((a, b), (c, s)) in enumerate(zip(parts, _twiddles(length), strict=True), start=1):
            np.subtract(a * c, b * s, out=real[:, k])
            np.add(a * s, b * c, out=imag[:, k])
        length, width = quarter, width * 4
    return real.reshape(size, batch), imag.reshape(size, batch)
