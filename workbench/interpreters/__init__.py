"""Why did a classifier decide so? Explanations that are sounds: Listen to Interpret and its rivals.

Listen to Interpret (:mod:`.l2i`, :mod:`.psi`, :mod:`.interpretation`), FLINT (:mod:`.flint`) and VIBI (:mod:`.vibi`)
are trained to imitate a classifier (:mod:`.classifiers`); :data:`MASKS` explain one decision each without training. All
give a mask (F, T) on a clip's spectrogram, of which :mod:`.spectra` makes sound; :mod:`.judging` judges them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
