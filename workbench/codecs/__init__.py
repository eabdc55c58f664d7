"""Sound to latent frames and back: EnCodec, Lyra, and the built-in ``mel`` with phase recovery.

>>> from workbench.codecs import load_codec
>>> codec = load_codec("mel", device="cpu")
>>> import torch
>>> tuple(codec.encode(torch.zeros(1, 16000)).shape)
(1, 63, 80)
"""

from .interface import Codec
from .registry import CodecSpec, list_codecs, load_codec

__all__ = ["Codec", "CodecSpec", "list_codecs", "load_codec"]
