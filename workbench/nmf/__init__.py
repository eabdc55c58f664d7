"""Sparse non-negative matrix factorisation (NMF): a dictionary of spectra and their activations in every frame.

Conventions
-----------
As in scikit-learn, rows are samples: frames (N, F) ~ activations (N, K) @ components (K, F). Audio papers write a
spectrogram as X (F, T). Then X = frames.T, ``W = components_.T`` (F, K) and ``H = transform(X.T).T`` (K, T).
All of these are non-negative and each component has Euclidean length 1. The factorisation minimises

    objective = D(X | W H) + sparsity * sum(H),

where D is 1/2 ||X - W H||^2 ("euclidean"), the generalised Kullback-Leibler divergence ("kl") or the Itakura-Saito
divergence ("is"), summed over all bins. If the lengths were not fixed, the penalty would have no effect, because
activations could shrink while components grow [1]_. Bins of W H, and for "is" those of X, count as at least 1e-9.

No update increases the objective. For H with "is", and for W with "mu", this is an observation; otherwise it is proved.

* "mu", for every D, makes multiplicative updates: H by the usual rule, W by the rule for components of length 1 [1]_
  [2]_.
* "hals", for "euclidean" only and much faster, sets one row of H after another to its exact minimum [3]_. Then it sets
  each component, with all others fixed, to its exact minimum on the non-negative unit sphere: the direction of the
  positive part of (X - sum of the others) h_k.

The Euclidean updates need only H X^T and H H^T, which are summed over tiles of frames in double precision, so frames
need not fit in memory. For given components, Euclidean activations are solved exactly by block principal pivoting
[4]_; those of "kl" and "is" (which is not convex) by multiplicative updates.

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
