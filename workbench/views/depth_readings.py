"""Where in a network do measured attributes live? What follows from their best layers, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..core.checks import checked
from ..core.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd


@checked
def depth_sentences(
    peaks: pd.DataFrame, families: Mapping[str, str], *, early: str = "pitch", late: str = "formants", layers: int
) -> list[str]:
    """What the best layers of attributes say: which families were learnt, how deep they lie, and what the paper says.

    An attribute counts as learnt where its R2 lies above that of every control, with an interval that excludes 0: what
    an untrained network or the plain spectrum gives as well says nothing of where a trained one puts it.

    Parameters
    ----------
    peaks : pandas.DataFrame
        Of :meth:`workbench.probes.RegressionProbes.peaks`, with at least one control; their names are used in the
        sentences ("the untrained network").
    families : mapping of attribute to family
        ``families`` of :class:`~workbench.attributes.Attributes`.
    early, late : str
        Two families, of which the first is said to be read best in earlier layers (arXiv 2509.24793: pitch, formants).
    layers : int
        How many layers the network has.

    Returns
    -------
    list of str
        For :func:`~.readings.reading`: a sentence a family, then one on ``early`` and ``late``.

    Raises
    ------
    ParameterError
        Another table, or an attribute without a family.
    """
    bounds = [name for name in peaks.columns if str(name).endswith(": low")]
    if not {"layer", "depth", "r2"} <= set(peaks.columns) or not bounds:
        raise ParameterError("peaks", list(peaks.columns), "a table of RegressionProbes.peaks with controls")
    if without := [name for name in peaks.index if name not in families]:
        raise ParameterError("families", without[:5], "a family for every attribute of peaks")
    table = peaks.assign(family=[families[name] for name in peaks.index], learnt=(peaks[bounds] > 0).all(axis=1))
    controls = " and ".join(name.removesuffix(": low") for name in bounds)
    sentences = []
    for family, rows in table.groupby("family", sort=False):
        text = f"{family}: {rows['learnt'].sum()} of {len(rows)} attributes are read better than from {controls}"
        depths = rows.loc[rows["learnt"], "depth"]
        sentences.append(f"{text}{f', best at a median depth of {depths.median():.2f}' if len(depths) else ''}.")
    return [*sentences, _of_the_paper(table[table["learnt"]], early, late, layers)]


def _of_the_paper(learnt: pd.DataFrame, early: str, late: str, layers: int) -> str:
    said = f"That {early} is read best in earlier layers than {late}"
    depth = {name: learnt.loc[learnt["family"] == name, "depth"] for name in (early, late)}
    if lacking := [name for name, values in depth.items() if not len(values)]:
        return f"{said} can be neither confirmed nor denied here: of {' and '.join(lacking)} nothing was learnt."
    first, second = (float(depth[name].median()) for name in (early, late))
    numbers = f"median depth {first:.2f} of {len(depth[early])}, {second:.2f} of {len(depth[late])} attributes"
    if abs(first - second) * max(layers - 1, 1) < 1:
        return f"{said} is not seen here: they lie less than a layer apart ({numbers})."
    return f"{said} {'holds' if first < second else 'does not hold: it is the other way round'} here ({numbers})."
