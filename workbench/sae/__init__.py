"""Sparse autoencoders: represent an embedding as a sum of a few out of many learnt directions.

Configurations
--------------
The defaults of :class:`SAEConfig` follow current practice; ``config="paper"`` is the autoencoder of Mariotte et al.
(arXiv 2509.24793), and "batchtopk", "jumprelu" and "matryoshka" are other ways to choose or order the latents that
stay. :func:`fit_saes` trains a grid of autoencoders over layers, sparsities and seeds. A :class:`SparseAutoencoder`,
loaded or trained, encodes and decodes in the units of its input.

With only a few hundred clips for thousands of weights, neither configuration is always better on unseen clips, so
compare both. The default leaves far fewer latents dead.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
