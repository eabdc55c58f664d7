"""The attributes that :func:`~workbench.attributes.measure` returns, and the entropy of their columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, numbers, whole

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Attributes:
    """Measured properties of clips, with one row for each clip and one column for each attribute."""

    set: str
    """Name of the set: "egemaps", "voice", "speech", "speech, paper", "music", "praat", "crepe" or "factors"."""
    names: tuple[str, ...]
    """Names of the A attributes."""
    values: np.ndarray
    """float64 (N, A); NaN where an attribute is not defined for a clip."""
    families: dict[str, str]
    """Name -> family: pitch, formants, voice quality, loudness, rhythm, harmony, spectral, MFCC, or one of factors."""
    meanings: dict[str, str]
    """Name -> meaning in one line with the unit; for a factor, whether it is a number or one value of a category."""
    ids: np.ndarray
    """Clip id of each row, str (N,)."""
    valid: np.ndarray
    """Position of each row's clip among the clips, int64 (N,): ``clips.labels[attributes.valid]`` are its labels."""
    skipped: dict[str, str]
    """Id of each clip without a row -> the reason."""

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        undefined = f", {np.isnan(self.values).mean():.1%} undefined" if np.isnan(self.values).any() else ""
        return f"Attributes({self.set}: {len(self)} clips x {len(self.names)} attributes{undefined}{skipped})"

    @property
    def table(self) -> pd.DataFrame:
        """Values as a table, float64 (N, A), with the names as columns and the ids of the clips as index."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.names), index=pd.Index(self.ids, name="id"))


@checked
def attribute_entropy(values: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """Return the entropy in bits of the histogram of each attribute between its smallest and its largest value.

    It is low if most clips share one value; such an attribute is easy to explain with few latents (arXiv 2509.24793).

    Parameters
    ----------
    values : np.ndarray (N,) or (N, A)
        Attributes in columns; values that are not finite are left out.
    bins : int
        Number of bins of equal width; the entropy is at most log2(bins).

    Returns
    -------
    np.ndarray, float64 () or (A,)
        Entropies; 0 for a constant attribute, NaN if no value is finite.

    Raises
    ------
    ParameterError
        ``bins`` is below 1, or the array has another shape.
    """
    values = numbers("values", values, ndim=(1, 2), finite=False, empty=True).astype(np.float64)
    whole("bins", bins, least=1, most=2**20)
    columns = values[:, None] if values.ndim == 1 else values
    entropies = np.array([_entropy(column[np.isfinite(column)], bins) for column in columns.T])
    return entropies[0] if values.ndim == 1 else entropies


def _entropy(values: np.ndarray, bins: int) -> float:
    if not len(values):
        return np.nan
    low, high = values.min(), values.max()
    if low == high:
        return 0.0
    # scaled first, as the bin edges of values that differ only in their last digits would coincide
    counts, _ = np.histogram((values - low) / (high - low), bins=bins, range=(0, 1))
    share = counts[counts > 0] / len(values)
    return float(-(share * np.log2(share)).sum())
