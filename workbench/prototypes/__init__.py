"""Prototypes, predefined and learnt.

Predefined: the points that embeddings are to go to are drawn first, then the network is trained. After Almudévar et
al., Predefined prototypes for intra-class separation and disentanglement (arXiv 2406.16145). :mod:`.sets` draws them,
:mod:`.factors` lets them depend on factors such as pitch and loudness, :mod:`.losses` pulls embeddings to them (and
:mod:`.rival_losses` holds the losses they are compared with), :mod:`.training` trains :mod:`.networks`
(:mod:`.extractors` puts inputs, network and settings together), :mod:`.explaining` reads decisions, :mod:`.studies`
compares trainings and asks what the paper leaves open.

Learnt: examples in the space of summary vectors, which can be heard. After Alonso-Jiménez et al., Leveraging
pre-trained autoencoders for interpretable prototype learning of music audio (arXiv 2402.09318). :mod:`.learnt` is the
classifier made of them, :mod:`.references` what it is read against, :mod:`.apnet` its rival, :mod:`.adversarial` how
near the other class is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
