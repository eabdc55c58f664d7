"""Sparse autoencoders: a vector as a few of many learnt directions, many autoencoders trained at once.

Forms
-----
:class:`SAEConfig` is the better form of the field and the default; ``config="paper"`` is that of Mariotte et al. (arXiv
2509.24793). :func:`fit_saes` trains a grid of either over layers, sparsities and seeds; a loaded or trained
:class:`SparseAutoencoder` encodes and decodes in the units of its input.

On a few hundred clip vectors, which is little for thousands of weights, neither form is always ahead on clips that it
has not seen: look at both. The default leaves far fewer latents dead.
"""

from .model import SAEConfig, SparseAutoencoder, k_of
from .result import SAESweep
from .saelens import load_saelens, save_saelens
from .sweep import fit_saes

__all__ = ["SAEConfig", "SAESweep", "SparseAutoencoder", "k_of", "load_saelens", "save_saelens", "fit_saes"]
