"""Measure properties of sounds, such as pitch, loudness, formants and tempo, for each clip or over time.

>>> from workbench.attributes import measure
>>> from workbench.datasets import load_dataset
>>> found = measure(load_dataset("voices", size=4), set="voice", progress=False)
>>> found.table.shape
(4, 51)
>>> found.families["f0_median"]
'pitch'

:func:`measure` returns a table with one row for each clip; :func:`pitch_track` and :func:`loudness_track` return pitch
and level over time, :func:`integrated_loudness` the loudness of a whole sound. :func:`agreement` compares two
measurements of the same clips. :mod:`.voice`, :mod:`.speech`, :mod:`.music`, :mod:`.praat` and :mod:`.crepe` measure
one waveform.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
