"""Datasets by name, as tables of clips with labels, factors and folds whose sound is read or made when asked for."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
