"""Prototype-based classifiers, with predefined or learnt prototypes.

Predefined prototypes are fixed points in embedding space, drawn before training, to which the network learns to map
clips. They follow Almudévar et al., Predefined prototypes for intra-class separation and disentanglement (arXiv
2406.16145). :mod:`.sets` draws prototypes, and :mod:`.factors` makes them depend on factors such as pitch and loudness.
:mod:`.losses` has the loss that pulls embeddings towards them, and :mod:`.rival_losses` the losses to compare with.
:mod:`.training` trains the networks of :mod:`.networks`, and :mod:`.extractors` chooses inputs, network and settings.
:mod:`.explaining` explains decisions, and :mod:`.studies` compares trainings.

Learnt prototypes are points in the space of summary vectors that can be converted to sound. They follow Alonso-Jiménez
et al., Leveraging pre-trained autoencoders for interpretable prototype learning of music audio (arXiv 2402.09318).
:mod:`.learnt` has the classifier, :mod:`.references` the baselines, :mod:`.apnet` the method that it is compared with,
and :mod:`.adversarial` measures how little of a segment's vector, or of its sound, changes the decision.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
