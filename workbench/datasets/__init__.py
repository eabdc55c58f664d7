"""Datasets: `data_manifests/` become tables of clips with labels, factors, folds and lazy sound; and generated sets."""

from ..core.splits import Split
from .catalog import data_roots, describe_dataset, list_datasets, load_dataset
from .clips import Clips
from .fetch import fetch, verify

__all__ = ["Clips", "Split", "data_roots", "describe_dataset", "fetch", "list_datasets", "load_dataset", "verify"]
