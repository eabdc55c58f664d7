"""Execute notebooks, sweep parameters, collect results, write the report.

In a notebook: :func:`settings` and :func:`record`. Around notebooks: :func:`run`, :func:`sweep`, :func:`compare`. In
class: :func:`copy_notebooks`, :func:`handout`, :func:`grade`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
