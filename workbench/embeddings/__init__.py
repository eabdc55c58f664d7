"""Run an encoder over a dataset once, and remember: :func:`embed`, :class:`Embeddings` and their :class:`Store`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
