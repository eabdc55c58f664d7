"""From one vector back to sound: a summary autoencoder over a frozen encoder and a frozen codec.

:func:`load_autoencoder` gives one, the built-in ``mini-mel`` or a released one; :func:`summarise` the vectors of a
dataset; :func:`train_judge` somebody else to say what a decoded sound is.
"""

from .autoencoder import PUBLISHED, SummaryAutoencoder, load_autoencoder, load_published, save_autoencoder
from .diffusion import diffuse, sample
from .network import SummaryConfig, SummaryNet
from .summaries import Judge, Summaries, summarise, train_judge

__all__ = [
    "PUBLISHED",
    "Judge",
    "Summaries",
    "SummaryAutoencoder",
    "SummaryConfig",
    "SummaryNet",
    "diffuse",
    "load_autoencoder",
    "load_published",
    "sample",
    "save_autoencoder",
    "summarise",
    "train_judge",
]
