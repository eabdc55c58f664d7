"""From one vector back to sound: a summary autoencoder over a frozen encoder and a frozen codec.

:func:`load_autoencoder` gives one, the built-in ``mini-mel`` or a released one; :func:`summarise` the vectors of a
dataset; :func:`fit_judge` somebody else to say what a decoded sound is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
