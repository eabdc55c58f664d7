"""From one vector back to sound: a summary autoencoder over a frozen encoder and a frozen codec.

:func:`load_autoencoder` gives one, the built-in ``mini-mel`` or a released one; :func:`summarise` the vectors of a
dataset; :func:`fit_judge` somebody else to say what a decoded sound is.
"""

from .autoencoder import SummaryAutoencoder, load_autoencoder, load_published, save_autoencoder
from .summaries import Judge, Summaries, fit_judge, summarise

__all__ = [
    "Judge",
    "Summaries",
    "SummaryAutoencoder",
    "fit_judge",
    "load_autoencoder",
    "load_published",
    "save_autoencoder",
    "summarise",
]
