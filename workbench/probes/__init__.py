"""Linear probes, many at once: what can be read off a frozen representation with one linear map?

Presets
-------
``default``
    Inputs standardised with the training clips' mean and standard deviation (constant columns become 0), multinomial
    logistic regression ``sum over clips of cross-entropy + penalty / 2 * ||W||^2``, intercept free. This is
    scikit-learn's ``LogisticRegression(C=1 / penalty)``. The penalty is the one of highest validation accuracy (ties:
    of lowest validation cross-entropy), then the probe is fitted again on train and valid together.
``paper``
    Mariotte et al. (arXiv 2509.24793): one ``torch.nn.Linear`` on the raw states, cross-entropy, Adam 1e-3, batches of
    32, 120 epochs, constant rate, weights of the epoch with the lowest validation loss. No standardisation, no penalty.

Classes are read by :func:`fit_probes`; a column of numbers (tempo, pitch, a rating) by ridge regression,
:func:`fit_regression`, under the same splits, groups and controls. :func:`pooled` joins splits and :func:`paired`
compares, of either kind.

Reading a probe: compare it with chance and majority, with other layers (:meth:`Probes.compare`) and with shuffled
labels (``shuffle_labels``, in the spirit of the control tasks of Hewitt and Liang, EMNLP 2019). High accuracy alone
says little.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
