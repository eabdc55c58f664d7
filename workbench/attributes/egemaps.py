"""The set "egemaps": the 88 functionals of eGeMAPSv02, computed by openSMILE.

Eyben et al., "The Geneva minimalistic acoustic parameter set (GeMAPS) for voice research and affective computing",
IEEE Trans. Affective Computing 7 (2016) 190-202; the set that Mariotte et al. (arXiv 2509.24793) use. Sounds are
measured mono and at their own rate, as openSMILE measures a file. The values depend on the rate (one voice has a mean
loudness of 0.28 at 16 kHz, 0.32 at 24 kHz, 0.49 at 44.1 kHz), so that clips of several rates can be compared only after
resampling to one rate.

openSMILE gives 0, not NaN, for pitch, voice quality and formants of a clip without voice, and these zeros are kept. For
a clip shorter than its analysis window all values are NaN.
"""

from __future__ import annotations

import re
import warnings

import numpy as np

from ..core.dependencies import load
from ..core.errors import ParameterError

CODE_VERSION = 1
#: Family of a functional, and the pattern for a part of its name; the first match counts (grouping of arXiv
#: 2509.24793).
FAMILIES = (
    ("formants", "F[123]"),
    ("pitch", "F0"),
    ("voice quality", "shimmer|jitter|hnr"),
    ("loudness", "loudness|equivalentSoundLevel"),
    ("rhythm", "voiced"),
    ("spectral", "slope|spectral|alpha|hammarberg"),
    ("MFCC", "mfcc"),
)


def family(name: str) -> str:
    """Return the family of one functional, such as "pitch" for "F0semitoneFrom27.5Hz_sma3nz_amean"."""
    for title, pattern in FAMILIES:
        if re.search(pattern, name, re.IGNORECASE):
            return title
    raise ParameterError("name", name, "a functional of eGeMAPSv02")


def installed() -> bool:
    """Whether the package opensmile is installed."""
    import importlib.util

    return importlib.util.find_spec("opensmile") is not None


class Egemaps:
    """openSMILE with eGeMAPSv02.

    Parameters
    ----------
    rate : int
        Rate of the sounds, Hz.

    Attributes
    ----------
    names : tuple of str
        Names of the 88 functionals in openSMILE.
    version : str
        Version of the package opensmile, which includes the openSMILE library.

    Raises
    ------
    ParameterError
        opensmile is not installed; the message says how to install it and under which licence it is.
    """

    def __init__(self, rate: int):
        self.rate = rate
        if not installed():
            raise ParameterError(
                "set",
                "egemaps",
                '"voice", or the package opensmile installed: pip install "audio-workbench[egemaps]" (openSMILE by '
                "audEERING is free for research, teaching and private use only; a commercial licence is sold)",
            )
        opensmile = load("opensmile")
        self.version = opensmile.__version__
        functionals = opensmile.FeatureLevel.Functionals
        self._smile = opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=functionals)
        self.names = tuple(self._smile.feature_names)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the functionals of one sound, float32 (88,)."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Segment too short")  # the values are NaN then
            return self._smile.process_signal(x, self.rate).to_numpy(np.float32)[0]
