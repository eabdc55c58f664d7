"""Predefined prototypes: the points that embeddings are to go to are drawn first, then the network is trained.

After Almudévar et al., Predefined prototypes for intra-class separation and disentanglement (arXiv 2406.16145).
:mod:`.sets` draws them, :mod:`.factors` lets them depend on factors such as pitch and loudness, :mod:`.losses` pulls
embeddings to them (and :mod:`.baselines` holds the losses they are compared with), :mod:`.explaining` reads decisions.
"""

from .explaining import Explanation, decisions, explain
from .factors import FactorPrototypes, Levels
from .losses import LOSSES, make_loss
from .sets import gram, max_cosine, prototypes

__all__ = [
    "LOSSES",
    "Explanation",
    "FactorPrototypes",
    "Levels",
    "decisions",
    "explain",
    "gram",
    "make_loss",
    "max_cosine",
    "prototypes",
]
