"""Measured properties of a sound, by clip and by frame.

>>> from workbench.attributes import measure
>>> from workbench.datasets import load_dataset
>>> found = measure(load_dataset("voices", size=4), set="voice", progress=False)
>>> found.table.shape
(4, 51)
>>> found.families["f0_median"]
'pitch'

:func:`measure` gives a table with a row a clip; :func:`pitch_track` and :func:`loudness_track` give pitch and level
over time; :func:`voice` gives all attributes of :data:`VOICE` of one waveform, :func:`speech` pitch, its spread,
loudness and rate of one spoken one, :func:`integrated_loudness` the loudness of a whole programme.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
