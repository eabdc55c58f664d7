"""Convert single vectors back to sound, with a summary autoencoder on top of a frozen encoder and a frozen codec.

:func:`load_autoencoder` loads an autoencoder, the built-in ``mini-mel`` or a released one. :func:`summarise` computes
the summary vectors of a dataset. :func:`fit_judge` trains an independent classifier of decoded sounds.
:func:`prototypes_from` reads prototypes that somebody else chose.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
