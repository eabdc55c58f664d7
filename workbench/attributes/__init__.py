"""Measured properties of a sound, by clip and by frame.

>>> from workbench.attributes import measure
>>> from workbench.datasets import load_dataset
>>> found = measure(load_dataset("voices", size=4), set="voice", progress=False)
>>> found.table.shape
(4, 51)
>>> found.families["f0_median"]
'pitch'

:func:`measure` gives a table with a row a clip; :func:`pitch_track` and :func:`loudness_track` give pitch and level
over time, :func:`integrated_loudness` the loudness of a whole programme, :func:`agreement` how far two measurements of
the same clips agree. :mod:`.voice`, :mod:`.speech`, :mod:`.music`, :mod:`.praat` and :mod:`.crepe` measure one
waveform.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
