"""Linear probes: how well does a linear model predict a property of a clip from the layers of a frozen encoder?

Presets
-------
``default``
    Inputs are standardised with the mean and standard deviation of the training clips (constant columns become 0). The
    probe is a multinomial logistic regression that minimises
    ``sum over clips of cross-entropy + penalty / 2 * ||W||^2`` with an unpenalised intercept, as scikit-learn's
    ``LogisticRegression(C=1 / penalty)``. The penalty with the highest validation accuracy is selected (in a tie, the
    lowest validation cross-entropy), then the probe is fitted again on train and valid together.
``paper``
    The probe of Mariotte et al. (arXiv 2509.24793) is one ``torch.nn.Linear`` on the raw embeddings, trained on
    cross-entropy by Adam with a constant learning rate of 1e-3, batches of 32 and 120 epochs. The weights of the epoch
    with the lowest validation loss are kept. There is no standardisation and no penalty.

:func:`fit_probes` predicts classes. :func:`fit_regression` predicts numbers (tempo, pitch, a rating) by ridge
regression, with the same splits, groups and controls. :func:`pooled` joins the results of several splits, and
:func:`paired` compares two results; both take either kind.

A high accuracy alone says little. Compare it with chance and majority, with other layers (:meth:`Probes.compare`) and
with a probe of shuffled labels (``shuffle_labels``, after the control tasks of Hewitt and Liang, EMNLP 2019).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
