"""Codecs, which turn sound into latent frames and back: EnCodec, Lyra, and the built-in ``mel`` with phase recovery.

>>> from workbench.codecs import load_codec
>>> codec = load_codec("mel", device="cpu")
>>> import torch
>>> tuple(codec.encode(torch.zeros(1, 16000)).shape)
(1, 63, 80)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
