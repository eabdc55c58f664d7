"""Generated datasets, made from a seed when they are asked for, with exact factors and the true stems of each mixture.

The modules ``voices``, ``notes``, ``scenes``, ``scenes_multi`` and ``utterances`` are one dataset each. They have
``table(size, seed)``, ``recipe(row)`` for a row of the table, and ``render(recipe)``, which returns the same samples on
every machine. The other modules are the synthesisers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
