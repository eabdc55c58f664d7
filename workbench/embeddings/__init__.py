"""Run an encoder over a dataset once, and remember: :func:`embed`, :class:`Embeddings` and their :class:`Store`."""

from .embed import embed
from .result import Embeddings
from .store import Store

__all__ = ["Embeddings", "Store", "embed"]
