"""Datasets: `data_manifests/` become tables of clips with labels, factors, folds and lazy sound; and generated sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
