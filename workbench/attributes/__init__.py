"""Measured properties of a sound, by clip and by frame.

>>> from workbench.attributes import measure
>>> from workbench.datasets import load_dataset
>>> found = measure(load_dataset("voices", size=4), set="voice", progress=False)
>>> found.table.shape
(4, 51)
>>> found.families["f0_median"]
'pitch'

:func:`measure` gives a table with a row a clip; :func:`pitch_track` and :func:`loudness_track` give pitch and level
over time; :func:`voice` gives all attributes of :data:`VOICE` of one waveform.
"""

from .loudness import loudness_track
from .measuring import measure
from .pitch import pitch_track
from .result import Attributes, attribute_entropy
from .voice import VOICE, voice

__all__ = ["VOICE", "Attributes", "attribute_entropy", "loudness_track", "measure", "pitch_track", "voice"]
