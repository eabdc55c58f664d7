"""Sets that are made when they are asked for: every factor exact, every mixture with its true stems, seeded.

A module a set (``voices``, ``notes``, ``scenes``, ``scenes_multi``, ``utterances``) has ``table(size, seed)``, the
``recipe`` of a row of it and ``render`` of a recipe, with the same samples on every machine; the other modules are
what they are made with.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
