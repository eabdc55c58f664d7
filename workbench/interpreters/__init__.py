"""Why did a classifier decide so? Explanations that are sounds: Listen to Interpret and its rivals.

Listen to Interpret (:mod:`.l2i`, :mod:`.psi`, :mod:`.interpretation`), FLINT (:mod:`.flint`) and VIBI (:mod:`.vibi`)
are trained to imitate a classifier (:mod:`.classifiers`); :data:`MASKS` explain one decision each without training. All
give a mask (F, T) on a clip's spectrogram, of which :mod:`.spectra` makes sound; :mod:`.judging` judges them.
"""

from .classifiers import Classifier, KumarVGG, convolutional, efficientat, kumar_vgg, train_vgg
from .comparing import compare_interpreters, multilabel_decisions
from .flint import Flint, FlintConfig, train_flint
from .interpretation import Interpretation, component_mask, relevance
from .judging import mask_study, removal_study, truth_study
from .l2i import L2I, L2IConfig, train_l2i
from .masking import as_mask, masked_logits
from .masks import CONTROLS, MASKS
from .psi import Psi, Theta
from .spectra import Spectra, normalised
from .tagger import train_tagger
from .vibi import Vibi, VibiConfig, train_vibi

__all__ = [
    "CONTROLS",
    "L2I",
    "MASKS",
    "Classifier",
    "Flint",
    "FlintConfig",
    "Interpretation",
    "KumarVGG",
    "L2IConfig",
    "Psi",
    "Spectra",
    "Theta",
    "Vibi",
    "VibiConfig",
    "as_mask",
    "compare_interpreters",
    "component_mask",
    "convolutional",
    "efficientat",
    "kumar_vgg",
    "mask_study",
    "masked_logits",
    "multilabel_decisions",
    "normalised",
    "relevance",
    "removal_study",
    "train_flint",
    "train_l2i",
    "train_tagger",
    "train_vgg",
    "train_vibi",
    "truth_study",
]
