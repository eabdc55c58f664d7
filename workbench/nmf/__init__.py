"""Sparse non-negative matrix factorisation: a dictionary of spectra, and how much of each sounds in every frame.

Conventions
-----------
As in scikit-learn, rows are samples: frames (N, F) ~ activations (N, K) @ components (K, F). With the letters of audio
papers, where a spectrogram is (F, T): X = frames.T, ``W = components_.T`` (F, K), ``H = transform(X.T).T`` (K, T).
Everything is non-negative, each component has Euclidean length 1, and

    objective = D(X | W H) + sparsity * sum(H)

is minimised, D being 1/2 ||X - W H||^2 ("euclidean"), the generalised Kullback-Leibler divergence ("kl") or that of
Itakura and Saito ("is"), summed over all bins. Without the lengths fixed the penalty would be void: activations would
shrink and components grow [1]_. Bins of W H, and for "is" those of X, count as at least 1e-9.

Updates, none of which lets the objective rise (of H under "is", and of W by "mu", observed; else a theorem):

* "mu", for every D: multiplicative, H by the usual rule, W by the rule for components of length 1 [1]_ [2]_.
* "hals", Euclidean only and far faster: one row of H after the other to its exact minimum [3]_; then each component,
  given all others, to its exact minimum over the non-negative unit sphere: the direction of the positive part of
  (X - sum of the others) h_k.

Of the Euclidean objective everything follows from H X^T and H H^T, summed over tiles of frames in double precision, so
W H is never formed and frames need not fit in memory. For given components, the Euclidean activations are solved for
exactly, by block principal pivoting [4]_; those of the others (for "is" not convex) by multiplicative updates.

References
----------
.. [1] Le Roux, Weninger, Hershey: Sparse NMF - half-baked or well done? MERL TR2015-023, 2015.
.. [2] Eggert, Koerner: Sparse coding and NMF. IJCNN 2004.
.. [3] Cichocki, Phan: Fast local algorithms for large scale nonnegative matrix and tensor factorizations. IEICE Trans.
   Fundamentals E92-A(3), 2009; several passes an iteration: Gillis, Glineur, Neural Computation 24(4), 2012.
.. [4] Kim, Park: Fast nonnegative matrix factorization: an active-set-like method and comparisons. SIAM J. Sci. Comput.
   33(6), 2011.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
