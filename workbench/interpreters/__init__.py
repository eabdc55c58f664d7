"""Why did a classifier decide so? Explanations that are sounds: Listen to Interpret and its rivals.

Listen to Interpret (:mod:`.l2i`, :mod:`.psi`, :mod:`.interpretation`), FLINT (:mod:`.flint`) and VIBI (:mod:`.vibi`)
are trained to imitate a classifier (:mod:`.classifiers`); :data:`MASKS` explain one decision each without training. All
give a mask (F, T) on a clip's spectrogram, of which :mod:`.spectra` makes sound; :mod:`.judging` judges them.
"""

from .classifiers import Classifier, KumarVGG, convolutional, efficientat, fit_vgg, kumar_vgg
from .flint import Flint, FlintConfig, fit_flint
from .interpretation import Interpretation, component_mask, relevance
from .judging import evaluate_interpreter, mask_study, removal_study, truth_study
from .l2i import L2I, L2IConfig, fit_l2i
from .masking import as_mask, masked_logits
from .masks import CONTROLS, MASKS
from .psi import Psi, Theta
from .spectra import Spectra, normalised
from .tagger import TaggerConfig, fit_tagger
from .vibi import Vibi, VibiConfig, fit_vibi

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
    "TaggerConfig",
    "Theta",
    "Vibi",
    "VibiConfig",
    "as_mask",
    "component_mask",
    "convolutional",
    "efficientat",
    "evaluate_interpreter",
    "fit_flint",
    "fit_l2i",
    "fit_tagger",
    "fit_vgg",
    "fit_vibi",
    "kumar_vgg",
    "mask_study",
    "masked_logits",
    "normalised",
    "relevance",
    "removal_study",
    "truth_study",
]
