"""The twenty singers of the generated set `voices` and the resonances of their vocal tracts.

Vowel formants are the averages of 45 men and 48 women of Hillenbrand, Getty, Clark and Wheeler, "Acoustic
characteristics of American English vowels", J. Acoust. Soc. Am. 97 (1995) 3099-3111, table V (the set has [e] and
[o], which Peterson and Barney 1952 lack). Bandwidths follow Hawks and Miller, "A formant bandwidth estimation
procedure for vowel synthesis", J. Acoust. Soc. Am. 97 (1995) 1343-1344. In trained voices F3, F4 and F5 move together
and form the singer's formant (Sundberg, "Articulatory interpretation of the 'singing formant'", J. Acoust. Soc. Am. 55
(1974) 838-844); a first formant that would be below the sung pitch is raised above it (Sundberg 1975), and in belting
it is tuned to the second harmonic (Schutte and Miller 1993). The singers are invented; only their number, sexes and
names follow VocalSet (Wilkins, Seetharaman, Wahl and Pardo, ISMIR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOWELS = ("a", "e", "i", "o", "u")

# F1 to F4 in Hz: hod, hayed, heed, hoed, who'd.
HILLENBRAND = {
    "male": {
        "a": (768, 1333, 2522, 3687),
        "e": (476, 2089, 2691, 3649),
        "i": (342, 2322, 3000, 3657),
        "o": (497, 910, 2459, 3384),
        "u": (378, 997, 2343, 3357),
    },
    "female": {
        "a": (936, 1551, 2815, 4299),
        "e": (536, 2530, 3047, 4319),
        "i": (437, 2761, 3372, 4352),
        "o": (555, 1035, 2828, 3927),
        "u": (459, 1105, 2735, 4115),
    },
}


@dataclass(frozen=True)
class _Singer:
    """One invented singer.

    Attributes
    ----------
    name, gender, voice : str
        For example "female3", "female", "mezzo".
    low, high : int
        Comfortable range, MIDI note numbers.
    tract : float
        Formant frequencies relative to the average of the gender (above 1: a short vocal tract).
    ring : float
        Strength of the singer's formant, 0 to 1.
    tilt, hnr : float
        Offsets in dB to the technique's spectral tilt and harmonics-to-noise ratio.
    vibrato_rate, vibrato_extent : float
        Usual vibrato, in Hz and in cents to either side.
    jitter, shimmer : float
        Irregularity of period and amplitude from cycle to cycle, relative standard deviation.
    """

    name: str
    gender: str
    voice: str
    low: int
    high: int
    tract: float
    ring: float
    tilt: float
    hnr: float
    vibrato_rate: float
    vibrato_extent: float
    jitter: float
    shimmer: float


_ROWS = (
    ("female1", "female", "soprano", 59, 80, 1.05, 0.6, -1.0, 2.0, 5.9, 70.0, 0.002, 0.02),
    ("female2", "female", "soprano", 60, 81, 1.08, 0.3, 2.0, -1.0, 5.4, 55.0, 0.003, 0.03),
    ("female3", "female", "mezzo", 56, 77, 1.00, 0.8, -2.0, 1.0, 5.6, 85.0, 0.002, 0.02),
    ("female4", "female", "mezzo", 57, 76, 0.98, 0.4, 1.0, -2.5, 6.3, 60.0, 0.004, 0.04),
    ("female5", "female", "alto", 53, 73, 0.94, 0.7, 0.0, 0.0, 5.2, 75.0, 0.003, 0.03),
    ("female6", "female", "soprano", 61, 81, 1.03, 0.1, 3.0, -3.0, 6.6, 45.0, 0.005, 0.04),
    ("female7", "female", "alto", 54, 72, 0.96, 0.2, -1.5, 1.5, 4.9, 50.0, 0.004, 0.03),
    ("female8", "female", "mezzo", 57, 78, 1.02, 0.5, -0.5, 2.5, 6.0, 90.0, 0.002, 0.02),
    ("female9", "female", "soprano", 58, 79, 0.99, 0.9, -2.5, 3.0, 5.7, 65.0, 0.002, 0.02),
    ("male1", "male", "tenor", 48, 68, 1.06, 0.9, -2.0, 2.0, 5.8, 75.0, 0.002, 0.02),
    ("male2", "male", "baritone", 44, 65, 1.01, 0.7, 0.0, 1.0, 5.3, 80.0, 0.003, 0.03),
    ("male3", "male", "bass", 39, 60, 0.93, 0.8, 1.0, -1.0, 5.0, 70.0, 0.004, 0.03),
    ("male4", "male", "tenor", 49, 69, 1.04, 0.3, 2.5, -2.5, 6.2, 50.0, 0.005, 0.04),
    ("male5", "male", "baritone", 45, 66, 0.99, 0.5, -1.0, 0.0, 5.6, 60.0, 0.003, 0.03),
    ("male6", "male", "baritone", 43, 64, 0.97, 1.0, -2.5, 3.0, 5.5, 95.0, 0.002, 0.02),
    ("male7", "male", "tenor", 47, 67, 1.08, 0.2, 1.5, -1.5, 6.5, 40.0, 0.004, 0.04),
    ("male8", "male", "bass", 40, 61, 0.95, 0.4, 3.0, -3.0, 4.8, 65.0, 0.005, 0.05),
    ("male9", "male", "baritone", 46, 66, 1.03, 0.6, -1.5, 1.5, 6.0, 55.0, 0.003, 0.02),
    ("male10", "male", "tenor", 50, 69, 1.02, 0.8, -0.5, 0.5, 5.9, 85.0, 0.003, 0.03),
    ("male11", "male", "bass", 41, 62, 0.96, 0.1, 0.5, -0.5, 5.2, 45.0, 0.004, 0.04),
)
SINGERS = {row[0]: _Singer(*row) for row in _ROWS}

# Strength of the singer's formant in a technique, relative to its strongest.
_RING = {"belt": 0.8, "straight": 0.7, "vibrato": 1.0, "trill": 0.9, "trillo": 0.7, "breathy": 0.2}


def formants(technique: str, vowel: str, singer: str, f0: float, *, openness=0.0, frontness=0.0):
    """Return the first five formants of one sung note.

    Parameters
    ----------
    technique, vowel, singer : str
    f0 : float
        Pitch of the note, Hz.
    openness, frontness : float
        Relative deviation of this articulation's F1 and F2 from the singer's mean.

    Returns
    -------
    tuple of float
        F1 to F5 in Hz, rounded to 0.1 Hz.
    """
    person = SINGERS[singer]
    size = person.tract * (1.0 if person.gender == "male" else 1.15)
    f1, f2, f3, f4 = (person.tract * value for value in HILLENBRAND[person.gender][vowel])
    f5 = f4 + 950.0 * size
    f1, f2 = f1 * (1.0 + openness), f2 * (1.0 + frontness)
    ring = person.ring
    if technique == "lip_trill":  # lips nearly closed: all formants fall, F1 most, and vowels become alike
        f1, f2, f3 = 0.35 * f1 + 150.0 * size, 0.6 * f2 + 380.0 * size, 0.94 * f3
    elif technique == "belt":  # wide mouth, high larynx
        f1, f2, ring = 1.12 * f1, 1.04 * f2, max(ring, 0.7)  # twang needs no training
        if abs(2.0 * f0 / f1 - 1.0) < 0.25:
            f1 = 2.0 * f0 * 1.01
    elif technique == "inhaled":  # the larynx rises while inhaling
        f1, f2 = 1.05 * f1, 1.03 * f2
    ring *= 0.75 * _RING.get(technique, 0.0)
    scale = 0.5 + 0.5 * size
    f3 += ring * 0.6 * (2650.0 * scale - f3)
    f4 += ring * (3000.0 * scale - f4)
    f5 += ring * (3600.0 * scale - f5)
    f1 = max(f1, 1.03 * f0)
    f2 = max(f2, f1 + 200.0)
    f3 = max(f3, f2 + 200.0)
    f4 = max(f4, f3 + 250.0)
    return tuple(round(value, 1) for value in (f1, f2, f3, f4, max(f5, f4 + 300.0)))


def all_poles(five, spacing: float):
    """Add formants above the fifth, evenly spaced like those of a tube, up to beyond 13 kHz.

    Parameters
    ----------
    five : numpy.ndarray, shape (S, 5)
        F1 to F5 of S tract shapes, Hz.
    spacing : float
        Hz between neighbouring formants (1000 for a tract of 17.5 cm).

    Returns
    -------
    numpy.ndarray, shape (S, 14)
    """
    return np.concatenate([five, five[:, 4:5] + spacing * np.arange(1.0, 10.0)], axis=1)


def bandwidths(frequencies, f0):
    """Return formant bandwidths in Hz after Hawks and Miller (1995), extended linearly above 5 kHz.

    Parameters
    ----------
    frequencies : numpy.ndarray, shape (S, P)
        Formant frequencies, Hz.
    f0 : numpy.ndarray, shape (S, 1)
        Pitch, Hz; bandwidths grow with it up to 400 Hz, the limit of the speech to which they were fitted.
    """
    low = (165.327516, -6.73636734e-1, 1.80874446e-3, -4.52201682e-6, 7.49514000e-9, -4.70219241e-12)
    high = (15.8146139, 8.10159009e-2, -9.79728215e-5, 5.28725064e-8, -1.07099364e-11, 7.91528509e-16)
    x = np.minimum(frequencies, 5000.0)
    width = np.where(x < 500.0, _polynomial(low, x), _polynomial(high, x))
    width = width * (1.0 + 0.25 * (np.minimum(f0, 400.0) - 132.0) / 88.0)
    return width + 0.1 * np.maximum(frequencies - 5000.0, 0.0)


def _polynomial(coefficients, x):
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total
