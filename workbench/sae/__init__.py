"""Sparse autoencoders: a vector as a few of many learnt directions, many autoencoders trained at once.

Forms
-----
:class:`SAEConfig` is the better form of the field and the default; ``config="paper"`` is that of Mariotte et al. (arXiv
2509.24793). :func:`fit_saes` trains a grid of either over layers, sparsities and seeds; a loaded or trained
:class:`SparseAutoencoder` encodes and decodes in the units of its input.

On a few hundred clip vectors, which is little for thousands of weights, neither form is always ahead on clips that it
has not seen: look at both. The default leaves far fewer latents dead.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
