"""``mini``, the built-in encoder: its network and weights, its training, and the sounds it was trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
