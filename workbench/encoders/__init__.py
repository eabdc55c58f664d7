"""Frozen pretrained models behind one small interface, which turns waveforms into frames of every layer.

>>> from workbench.encoders import extract, load_encoder
>>> encoder = load_encoder("mini", device="cpu")
>>> import numpy as np
>>> clips = [np.zeros(16000, np.float32), np.zeros(8000, np.float32)]
>>> sorted(index for index, arrays in extract(encoder, clips, progress=False))
[0, 1]

To use your own model, write a subclass of :class:`Encoder`; batching, caching, probing and the notebooks work with it::

    class Mine(Encoder):
        def __init__(self):
            self.name, self.rate, self.padding = "mine", 16000, "equal"  # "equal": padding would change the numbers
            self.net = torch.jit.load("mine.pt")                         # whatever turns (B, samples) into (B, T, D)
            self.layers = (Layer("last", 256, 50.0),)                    # name, D, frames a second
            self.fingerprint = fingerprint("mine", 1, weights=self.net.state_dict())

        def forward(self, x, lengths, layers):
            frames = self.net(x)
            return [(frames, torch.full_like(lengths, frames.shape[1])) for _ in layers]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
