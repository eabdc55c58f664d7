"""Run an encoder over a dataset once with :func:`embed`, and keep the :class:`Embeddings` in a :class:`Store`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
