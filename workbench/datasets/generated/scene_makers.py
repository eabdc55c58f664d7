"""The twelve classes of the generated sets `scenes` and `scenes_multi`, and the makers of their sounds at twenty sites.

A class is a combination of a timbre and a time pattern. Each timbre has two classes and each pattern four, so that
neither the spectrum nor the time pattern alone identifies the class:

=======  =========  ========  =========
timbre   sustained  regular   irregular
=======  =========  ========  =========
tone     siren      alarm
metal    bell                 chimes
click               clapping  crackle
thump    engine     knock
voice    cry                  bark
whistle             cricket   birdsong
=======  =========  ========  =========

Both classes of a timbre draw pitch and colour from the same ranges. A *sustained* sound has no gap from onset to
offset; *regular* and *irregular* sounds are strokes at even and at uneven intervals.

A maker is the particular siren, bell and so on of one site. Pitch, rate and colour of a maker are fixed, and each event
deviates a little from its maker's pitch and rate. The makers of a class cover its range of pitches and its range of
rates evenly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from .portable_math import Draws, exp2

#: Timbre and time pattern of each class.
EVENTS = {
    "alarm": ("tone", "regular"),
    "bark": ("voice", "irregular"),
    "bell": ("metal", "sustained"),
    "birdsong": ("whistle", "irregular"),
    "chimes": ("metal", "irregular"),
    "clapping": ("click", "regular"),
    "crackle": ("click", "irregular"),
    "cricket": ("whistle", "regular"),
    "cry": ("voice", "sustained"),
    "engine": ("thump", "sustained"),
    "knock": ("thump", "regular"),
    "siren": ("tone", "sustained"),
}
CLASSES = tuple(EVENTS)
SITES = tuple(f"site{number:02d}" for number in range(20))

#: Range of the makers' pitch for each timbre, Hz: the fundamental, the lowest partial, or the centre of a click's
#: noise.
PITCHES = {
    "tone": (550.0, 1400.0),
    "metal": (350.0, 1100.0),
    "click": (900.0, 2800.0),
    "thump": (70.0, 190.0),
    "voice": (280.0, 620.0),
    "whistle": (2200.0, 4800.0),
}
#: Range of the makers' rate for each class: strokes, cycles or arcs a second.
RATES = {
    "alarm": (2.0, 5.0),
    "bark": (1.8, 3.2),
    "bell": (0.5, 0.9),
    "birdsong": (3.0, 6.0),
    "chimes": (3.0, 6.0),
    "clapping": (2.5, 5.0),
    "crackle": (9.0, 20.0),
    "cricket": (8.0, 14.0),
    "cry": (0.7, 1.3),
    "engine": (17.0, 34.0),
    "knock": (3.0, 6.0),
    "siren": (0.4, 1.4),
}


@dataclass(frozen=True)
class _Maker:
    """Parameters of the sound of one class at one site.

    Attributes
    ----------
    pitch, rate : float
        Pitch in Hz, within `PITCHES`; strokes, cycles or arcs a second, within `RATES`.
    colour : tuple of float
        Eight numbers from 0 to 1 for other parameters, which depend on the class.
    """

    pitch: float
    rate: float
    colour: tuple[float, ...]


@cache
def maker(label: str, site: str) -> _Maker:
    """Return the maker of a class at a site, which is the same for all seeds."""
    number, place = CLASSES.index(label), SITES.index(site)
    rng = Draws((731, number))
    steps = [rng.permutation(len(SITES))[place] for _ in range(2)]
    own = Draws((732, number, place))
    pitch, rate = ((step + own.random()) / len(SITES) for step in steps)
    low, high = PITCHES[EVENTS[label][0]]
    octaves = round(math.log2(high / low), 6)  # rounded: the system's logarithm may differ in its last bit
    slow, fast = RATES[label]
    return _Maker(
        pitch=round(low * float(exp2(octaves * pitch)), 3),
        rate=round(slow + (fast - slow) * rate, 4),
        colour=tuple(round(own.random(), 4) for _ in range(8)),
    )
