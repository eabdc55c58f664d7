"""What :func:`~workbench.attributes.measure` returns, and a statistic of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, numbers, whole

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Attributes:
    """Measured properties of clips: a row a clip, a column an attribute."""

    set: str
    """"egemaps", "voice", "speech", "speech, paper", "music", "praat", "crepe" or "factors"; not "auto"."""
    names: tuple[str, ...]
    """The A columns."""
    values: np.ndarray
    """float64 (N, A); NaN where an attribute is not defined for a clip."""
    families: dict[str, str]
    """Name -> family: pitch, formants, voice quality, loudness, rhythm, harmony, spectral, MFCC; factors may add."""
    meanings: dict[str, str]
    """Name -> one line with the unit; of a factor: whether it is a number or one value of a category."""
    ids: np.ndarray
    """Clip id of each row, str (N,)."""
    valid: np.ndarray
    """Position among the clips of each row, int64 (N,): ``clips.labels[attributes.valid]`` are the rows' labels."""
    skipped: dict[str, str]
    """Id of each clip that has no row, and why."""

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        undefined = f", {np.isnan(self.values).mean():.1%} undefined" if np.isnan(self.values).any() else ""
        return f"Attributes({self.set}: {len(self)} clips x {len(self.names)} attributes{undefined}{skipped})"

    @property
    def table(self) -> pd.DataFrame:
        """float64 (N, A), columns the names, index the clips' ids."""
        import pandas as pd

        return pd.DataFrame(self.values, columns=list(self.names), index=pd.Index(self.ids, name="id"))


@checked
def attribute_entropy(values: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """Entropy in bits of the histogram of each attribute, between its least and its greatest value.

    Low where most clips share one value: such an attribute is easy to explain with few latents (arXiv 2509.24793).

    Parameters
    ----------
    values : np.ndarray (N,) or (N, A)
        Values that are not finite are left out.
    bins : int
        Of equal width; the entropy is at most log2(bins).

    Returns
    -------
    np.ndarray, float64 () or (A,)
        0 for a constant, NaN where nothing is finite.

    Raises
    ------
    ParameterError
        ``bins`` below 1, or an array of another shape.
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
    # scaled first: the edges of a histogram of values that differ in the last digits would fall together
    counts, _ = np.histogram((values - low) / (high - low), bins=bins, range=(0, 1))
    share = counts[counts > 0] / len(values)
    return float(-(share * np.log2(share)).sum())
