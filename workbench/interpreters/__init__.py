"""Explain the decisions of a sound classifier by sounds: Listen to Interpret and other methods.

Listen to Interpret (:mod:`.l2i`, :mod:`.psi`, :mod:`.interpretation`), FLINT (:mod:`.flint`) and VIBI (:mod:`.vibi`)
are networks trained to imitate a classifier (:mod:`.classifiers`), and L-MAC (:mod:`.lmac`) one that is trained to mask
what it hears. The methods in :data:`MASKS` explain a single decision without training. All of these give a mask (F, T)
on a clip's spectrogram, which :mod:`.spectra` converts to sound. :mod:`.judging` evaluates explanations.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
