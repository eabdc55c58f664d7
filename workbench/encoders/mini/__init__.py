"""``mini``, the built-in encoder: its network and weights, and the training, sounds and measurements that made it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
