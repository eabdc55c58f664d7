"""Numbers that judge a result: one flat module a family, arrays in, numbers out.

A module of several metrics has one plan: ``validate`` (refuses what cannot be scored), the metrics themselves, and
``evaluate`` (all of them as an ordered dict).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
