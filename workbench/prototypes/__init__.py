"""Prototypes, predefined and learnt.

Predefined: the points that embeddings are to go to are drawn first, then the network is trained. After Almudévar et
al., Predefined prototypes for intra-class separation and disentanglement (arXiv 2406.16145). :mod:`.sets` draws them,
:mod:`.factors` lets them depend on factors such as pitch and loudness, :mod:`.losses` pulls embeddings to them (and
:mod:`.rival_losses` holds the losses they are compared with), :mod:`.training` trains :mod:`.networks`
(:mod:`.extractors` puts inputs, network and settings together), :mod:`.explaining` reads decisions, :mod:`.studies`
compares trainings and asks what the paper leaves open.

Learnt: examples in the space of summary vectors, which can be heard. After Alonso-Jiménez et al., Leveraging
pre-trained autoencoders for interpretable prototype learning of music audio (arXiv 2402.09318). :mod:`.learnt` is the
classifier made of them, :mod:`.references` what it is read against, :mod:`.apnet` its rival, :mod:`.adversarial` how
near the other class is.
"""

from .adversarial import adversarial_example
from .apnet import APNet, fit_apnet, log_mel_to_audio
from .explaining import Explanation, explain
from .extractors import extractor
from .factors import FactorPrototypes, Levels
from .few_shot import few_shot
from .learnt import ABLATIONS, LearntConfig, LearntPrototypes, fit_prototypes
from .networks import MLPProjector, SmallConvNet, log_mels
from .references import evaluate_references
from .sets import gram, max_cosine, prototypes
from .studies import dynamics, evaluate_factors, paired_differences, placebos
from .training import ClassifierConfig, TrainedClassifier, fit_classifier

__all__ = [
    "ABLATIONS",
    "APNet",
    "ClassifierConfig",
    "Explanation",
    "FactorPrototypes",
    "LearntConfig",
    "LearntPrototypes",
    "Levels",
    "MLPProjector",
    "SmallConvNet",
    "TrainedClassifier",
    "adversarial_example",
    "dynamics",
    "evaluate_factors",
    "evaluate_references",
    "explain",
    "extractor",
    "few_shot",
    "fit_apnet",
    "fit_classifier",
    "fit_prototypes",
    "gram",
    "log_mel_to_audio",
    "log_mels",
    "max_cosine",
    "paired_differences",
    "placebos",
    "prototypes",
]
