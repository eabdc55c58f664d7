"""Prototypes, predefined and learnt.

Predefined: the points that embeddings are to go to are drawn first, then the network is trained. After Almudévar et
al., Predefined prototypes for intra-class separation and disentanglement (arXiv 2406.16145). :mod:`.sets` draws them,
:mod:`.factors` lets them depend on factors such as pitch and loudness, :mod:`.losses` pulls embeddings to them (and
:mod:`.rival_losses` holds the losses they are compared with), :mod:`.training` trains :mod:`.networks`
(:mod:`.extractors` puts inputs, network and recipe together), :mod:`.comparing` compares losses on the same folds,
:mod:`.studies` asks what the paper leaves open, :mod:`.explaining` reads decisions.

Learnt: examples in the space of summary vectors, which can be heard. After Alonso-Jiménez et al., Leveraging
pre-trained autoencoders for interpretable prototype learning of music audio (arXiv 2402.09318). :mod:`.learnt` is the
classifier made of them, :mod:`.ceilings` what it is read against, :mod:`.apnet` its rival, :mod:`.prototype_studies`
how many, where they start, what each part is worth.
"""

from .apnet import APNet, APNetConfig, fit_apnet
from .ceilings import fit_ceiling
from .comparing import compare_losses, paired_differences
from .explaining import Explanation, decisions, explain
from .extractors import Extractor, extractor
from .factors import FactorPrototypes, Levels
from .few_shot import few_shot
from .learnt import LearntConfig, LearntPrototypes, fit_prototypes
from .losses import LOSSES, make_loss
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
from .prototype_studies import (
    ablation,
    accuracy_against_k,
    adversarial_example,
    compare_ceilings,
    compare_prototypes,
    order_study,
)
from .recipes import Recipe
from .sets import gram, max_cosine, prototypes
from .studies import dynamics, factor_study, placebos
from .training import Trained, train_classifier

__all__ = [
    "LOSSES",
    "APNet",
    "APNetConfig",
    "ASTNetwork",
    "EfficientATNetwork",
    "Explanation",
    "Extractor",
    "FactorPrototypes",
    "LearntConfig",
    "LearntPrototypes",
    "Levels",
    "MLPProjector",
    "Recipe",
    "SmallConvNet",
    "SpeechBrainNetwork",
    "Trained",
    "ablation",
    "accuracy_against_k",
    "adversarial_example",
    "compare_ceilings",
    "compare_losses",
    "compare_prototypes",
    "decisions",
    "dynamics",
    "efficientat_mels",
    "explain",
    "extractor",
    "factor_study",
    "few_shot",
    "filterbanks",
    "fine_tune_ast",
    "fit_apnet",
    "fit_ceiling",
    "fit_prototypes",
    "gram",
    "log_mels",
    "make_loss",
    "max_cosine",
    "order_study",
    "paired_differences",
    "placebos",
    "prototypes",
    "train_classifier",
    "waveforms",
]
