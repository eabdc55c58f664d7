"""Metrics that score a result: each takes arrays and returns numbers, and each family of metrics is one flat module.

A module with several metrics has ``validate``, which refuses input that cannot be scored, the metrics themselves, and
``evaluate``, which returns all of them as an ordered dict.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
