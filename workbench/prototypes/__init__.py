"""Predefined prototypes: the points that embeddings are to go to are drawn first, then the network is trained.

After Almudévar et al., Predefined prototypes for intra-class separation and disentanglement (arXiv 2406.16145).
:mod:`.sets` draws them, :mod:`.factors` lets them depend on factors such as pitch and loudness, :mod:`.losses` pulls
embeddings to them (and :mod:`.baselines` holds the losses they are compared with), :mod:`.training` trains
:mod:`.networks` (:mod:`.extractors` puts inputs, network and recipe together), :mod:`.comparing` compares losses on the
same folds, :mod:`.studies` asks what the paper leaves open, :mod:`.explaining` reads decisions.
"""

from .comparing import compare_losses, paired_differences
from .explaining import Explanation, decisions, explain
from .extractors import Extractor, extractor
from .factors import FactorPrototypes, Levels
from .few_shot import few_shot
from .losses import LOSSES, make_loss
from .mixing import Recipe
from .networks import (
    ASTNetwork,
    EfficientATNetwork,
    MLPProjector,
    SmallConvNet,
    SpeechBrainNetwork,
    efficientat_mels,
    filterbanks,
    fine_tune_ast,
    log_mels,
    waveforms,
)
from .sets import gram, max_cosine, prototypes
from .studies import dynamics, factor_study, placebos
from .training import Trained, train_classifier

__all__ = [
    "LOSSES",
    "ASTNetwork",
    "EfficientATNetwork",
    "Explanation",
    "Extractor",
    "FactorPrototypes",
    "Levels",
    "MLPProjector",
    "Recipe",
    "SmallConvNet",
    "SpeechBrainNetwork",
    "Trained",
    "compare_losses",
    "decisions",
    "dynamics",
    "efficientat_mels",
    "explain",
    "extractor",
    "factor_study",
    "few_shot",
    "filterbanks",
    "fine_tune_ast",
    "gram",
    "log_mels",
    "make_loss",
    "max_cosine",
    "paired_differences",
    "placebos",
    "prototypes",
    "train_classifier",
    "waveforms",
]
