"""What is known of sparse latents before any is looked at: statistics, the clips that stand for one, its relatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.checks import checked, numbers, several, whole
from ..core.errors import ParameterError
from .colours import Coloured, colour_by
from .inputs import column as column_of
from .inputs import named_columns, table_of
from .page import array

#: A label is tried where at least as many clips have it (and as many do not), a factor where as many have a value.
_LEAST_CLIPS = 5
#: Where between its strongest (0) and its weakest (1) active clip the weaker examples of a latent lie.
WEAKER = (0.25, 0.5, 0.75)
#: Examples drawn at random among the clips in which a latent is silent.
SILENT = 2
#: Place of an example that there is not.
NO_CLIP = 2**32 - 1


def checked_activations(z, clips: int) -> np.ndarray:
    """Activations (clips, latents) as float32.

    Raises
    ------
    ParameterError
        Not numbers (clips, latents), NaN or infinite, negative, or active nowhere.
    """
    z = numbers("z", z, finite=False, empty=True)
    if z.ndim != 2 or z.dtype.kind not in "fiu" or not z.shape[1]:
        raise ParameterError("z", f"array of shape {z.shape}, {z.dtype}", "numbers of shape (clips, latents)")
    if len(z) != clips:
        raise ParameterError("z", f"array of {len(z)} rows", f"as long as clips, which has {clips}")
    bad = int((~np.isfinite(z)).sum())
    if bad:
        raise ParameterError("z", f"array with {bad} NaN or infinite values", "finite")
    if (z < 0).any():
        raise ParameterError("z", f"array with values down to {z.min():.4g}", "activations of 0 or more")
    if not (z > 0).any():
        raise ParameterError("z", "array of zeros", "active somewhere")
    with np.errstate(over="ignore", under="ignore"):
        single = z.astype(np.float32, copy=False)
    if not single.max() < 1e30 or not single.max() > 1e-30:  # sums over the clips stay within single precision
        raise ParameterError("z", f"array with values up to {z.max():.4g}", "activations between 1e-30 and 1e30")
    return single


def chosen_columns(table, columns: str | Sequence[str] | None, factors: Sequence[str] = ()) -> list[Coloured]:
    """The columns that latents are held against: those named, or the label and the factors, each content once."""
    if columns is None:
        names = [name for name in ("label", *factors) if name in table.columns]
        names = [name for k, name in enumerate(names) if not any(table[name].equals(table[m]) for m in names[:k])]
    else:
        names = named_columns("columns", columns)
    columns_by_name = {str(name): column_of("columns", name, table) for name in names}
    return [colour_by(name, values) for name, values in columns_by_name.items()]


@checked
def latent_statistics(z, table, columns: str | Sequence[str] | None = None, *, shuffles: int = 20, seed: int = 0):
    """Describe every latent: how often it is active, and the label and the factor that go with it best.

    Parameters
    ----------
    z : array or tensor (N, latents)
        Activations, 0 or more.
    table : pandas.DataFrame
        The N clips.
    columns : sequence of str, optional
        Columns of numbers are factors, all others hold labels; by default the column "label".
    shuffles : int
        How often the clips are shuffled to see what the best label and the best factor reach by chance.
    seed : int

    Returns
    -------
    pandas.DataFrame
        One row a latent (index ``latent``), NaN or None where nothing can be said:

        - ``density``: share of clips in which it is active (above 0); ``mean`` over all clips; ``max``;
        - ``column``, ``label``: the best label; ``auc``: area under the ROC curve of the activation for this label
          against all other clips (chance 0.5); ``auc_chance``: the AUC at which the label would do no better than the
          best of all labels in the luckiest of the shuffles;
        - ``precision``: share of its active clips that have the label, to be compared with ``share``, that of all
          clips; ``recall``: share of the label's clips in which it is active, to be compared with ``density``;
        - ``factor``, ``correlation``: the best factor and Pearson's r over the clips that have a value;
          ``correlation_chance``: as ``auc_chance``.

    Raises
    ------
    ParameterError
        What :func:`checked_activations` refuses, an unknown column, ``shuffles`` below 1.

    Notes
    -----
    "Best" is the label whose AUC lies most standard errors above 0.5 (rank-sum test, corrected for ties), and the
    factor whose correlation has the largest \\|t\\|: the largest AUC and \\|r\\| would prefer what few clips have. For
    the same reason a label or factor of fewer than five clips is left out. The shuffles keep these choices (Westfall &
    Young 1993, max-T), so that chance grows with the number of labels; with 20 of them, one unrelated latent in 21
    still lies above its chance level.
    """
    import pandas as pd

    table = table_of(table)
    z = checked_activations(z, len(table))
    whole("shuffles", shuffles, least=1, most=100_000)
    columns = chosen_columns(table, columns)
    labels, factors = _Labels(columns, len(table)), _Factors(columns, len(table))
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(table)) for _ in range(shuffles)]
    step = max(1, 2**22 // len(table))
    parts = [_describe(z[:, k : k + step], labels, factors, orders) for k in range(0, z.shape[1], step)]
    statistics = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return pd.DataFrame(statistics, index=pd.RangeIndex(z.shape[1], name="latent"))


class _Labels:
    """The labels of all columns as indicators (labels, N); a clip without a value is one of the others."""

    def __init__(self, columns: list[Coloured], n: int):
        rows, self.names = [], []
        for column in columns:
            for k, level in enumerate(column.levels if column.kind == "category" else ()):
                has = column.codes == k
                if min(has.sum(), (~has).sum()) >= _LEAST_CLIPS:
                    rows.append(has)
                    self.names.append((column.name, level))
        self.has = np.array(rows, dtype=np.float64).reshape(-1, n)
        self.sizes = self.has.sum(axis=1)
        #: Clips with the label times clips without it.
        self.pairs = self.sizes * (n - self.sizes)


class _Factors:
    """The columns of numbers: which clips have a value, and the values centred and of norm 1 over these."""

    def __init__(self, columns: list[Coloured], n: int):
        rows, known, self.names = [], [], []
        for column in columns:
            if column.kind == "number":
                has = ~np.isnan(column.values)
                values = np.where(has, column.values, 0).astype(np.float64)
                values = np.where(has, values - values.sum() / max(1, has.sum()), 0)
                norm = np.linalg.norm(values)
                if has.sum() >= _LEAST_CLIPS and norm > 0:
                    rows.append(values / norm)
                    known.append(has)
                    self.names.append(column.name)
        self.values = np.array(rows).reshape(-1, n)
        self.known = np.array(known, dtype=bool).reshape(-1, n)

    def shuffled(self, order: np.ndarray) -> np.ndarray:
        """Every factor's values in another order among the clips that have one."""
        values = np.zeros_like(self.values)
        for row, has, old in zip(values, self.known, self.values, strict=True):
            row[has] = old[order[has[order]]]
        return values


def _describe(z: np.ndarray, labels: _Labels, factors: _Factors, orders: list[np.ndarray]) -> dict[str, np.ndarray]:
    z = z.astype(np.float64)
    active = z > 0
    description = {"density": active.mean(axis=0), "mean": z.mean(axis=0), "max": z.max(axis=0)}
    return description | _best_label(z, active, labels, orders) | _best_factor(z, factors, orders)


def _best_label(z: np.ndarray, active: np.ndarray, labels: _Labels, orders: list[np.ndarray]) -> dict[str, np.ndarray]:
    n, latents = z.shape
    fields = ("auc", "auc_chance", "precision", "share", "recall")
    best_of = {"column": np.full(latents, None, object), "label": np.full(latents, None, object)}
    best_of |= {field: np.full(latents, np.nan) for field in fields}
    ranks = _midranks(z) - (n + 1) / 2
    deviation = np.sqrt((ranks**2).sum(axis=0) / (n - 1)) if n > 1 else np.zeros(latents)
    varied = np.flatnonzero(deviation > 0)  # one that is the same in all clips, as a dead one, tells nothing
    if not labels.names or not len(varied):
        return best_of
    ranks, deviation = ranks[:, varied], deviation[varied]
    # Standard errors above chance: the rank sum against its mean and its deviation under shuffling.
    error = np.sqrt(labels.pairs / n)[:, None]
    sums = labels.has @ ranks
    best = (sums / error).argmax(axis=0)
    single, lines = ranks.astype(np.float32), (labels.has / error).astype(np.float32)  # luck needs no more
    luck = np.max([(lines[:, order] @ single).max(axis=0) for order in orders], axis=0).astype(np.float64)
    together, sizes, pairs = labels.has @ active[:, varied], labels.sizes[best], labels.pairs[best]
    both = together[best, np.arange(len(varied))]
    best_of["column"][varied] = [labels.names[k][0] for k in best]
    best_of["label"][varied] = [labels.names[k][1] for k in best]
    best_of["auc"][varied] = 0.5 + sums[best, np.arange(len(varied))] / pairs
    best_of["auc_chance"][varied] = np.minimum(0.5 + luck / np.sqrt(n * pairs), 1)
    best_of["precision"][varied] = both / active[:, varied].sum(axis=0)
    best_of["share"][varied] = sizes / n
    best_of["recall"][varied] = both / sizes
    return best_of


def _midranks(z: np.ndarray) -> np.ndarray:
    """Ranks 1 to N within each column of (N, latents), ties sharing their mean rank; only what is above 0 is sorted."""
    latent, clip = np.nonzero(z.T)
    value = z[clip, latent]
    order = np.lexsort((value, latent))
    latent, clip, value = latent[order], clip[order], value[order]
    zeros = len(z) - np.bincount(latent, minlength=z.shape[1])
    ranks = np.tile((zeros + 1) / 2, (len(z), 1))
    # Runs of equal values of one latent, and where each latent's first active clip stands.
    begins = np.flatnonzero(np.diff(latent, prepend=-1) | (np.diff(value, prepend=-1) != 0))
    ends = np.append(begins[1:], len(value))
    middle = np.repeat((begins + ends + 1) / 2, ends - begins)
    ranks[clip, latent] = middle - np.searchsorted(latent, latent) + zeros[latent]
    return ranks


def _best_factor(z: np.ndarray, factors: _Factors, orders: list[np.ndarray]) -> dict[str, np.ndarray]:
    latents = z.shape[1]
    best_of = {"factor": np.full(latents, None, object)}
    best_of |= {"correlation": np.full(latents, np.nan), "correlation_chance": np.full(latents, np.nan)}
    if not factors.names:
        return best_of
    known = factors.known.astype(np.float64)
    sizes = known.sum(axis=1)[:, None]
    squares = known @ z**2
    spread = squares - (known @ z) ** 2 / sizes
    # Below this, the activation is one value over the factor's clips and what is left is rounding.
    deviation = np.sqrt(np.where(spread > 1e-10 * squares, spread, np.nan))

    def strength(r):
        return np.nan_to_num(np.abs(r) * np.sqrt((sizes - 2) / np.maximum(1 - r**2, 1e-12)), nan=-1.0)

    r = np.clip(factors.values @ z / deviation, -1, 1)
    best = strength(r).argmax(axis=0)
    single = z.astype(np.float32)
    shuffled = (factors.shuffled(order).astype(np.float32) @ single / deviation for order in orders)
    luck = np.max([strength(np.clip(r_shuffled, -1, 1)).max(axis=0) for r_shuffled in shuffled], axis=0)
    chosen, free = r[best, np.arange(latents)], sizes[best, 0] - 2
    has_factor = ~np.isnan(chosen)
    best_of["factor"][has_factor] = [factors.names[k] for k in best[has_factor]]
    best_of["correlation"] = chosen
    best_of["correlation_chance"] = np.where(has_factor, luck / np.sqrt(free + luck**2), np.nan)
    return best_of


def telling_order(statistics) -> list[int]:
    """Alive latents, the most telling first: how far above chance, each label's and factor's best before any second.

    A latent is worth the part of the way from chance to 1 that its AUC or its correlation has covered.
    """
    s = statistics[statistics["density"] > 0]
    by_label = (s["auc"] - s["auc_chance"]) / (1 - s["auc_chance"]).clip(lower=1e-9)
    by_factor = (s["correlation"].abs() - s["correlation_chance"]) / (1 - s["correlation_chance"]).clip(lower=1e-9)
    by_label, by_factor = by_label.fillna(-1).clip(lower=-1), by_factor.fillna(-1).clip(lower=-1)
    about_label = by_label >= by_factor
    worth = by_label.where(about_label, by_factor)
    about = (s["column"].astype(str) + "\0" + s["label"].astype(str)).where(about_label, s["factor"].astype(str))
    ordered = worth.sort_values(ascending=False, kind="stable").index
    turn = about[ordered].groupby(about[ordered]).cumcount()
    first = worth[ordered] > 0  # what lies below chance takes no turn
    return [int(latent) for latent in turn.where(first, len(s)).sort_values(kind="stable").index]


def examples(z: np.ndarray, latents: Sequence[int], *, top: int, seed: int) -> np.ndarray:
    """Clips that stand for each latent: its strongest, some weaker ones, and some in which it is silent.

    Returns
    -------
    np.ndarray, uint32 (len(latents), top + 3 + 2)
        Positions; ``NO_CLIP`` where there are fewer. The weaker ones are those a quarter, half and three quarters of
        the way down the active clips; the silent ones are drawn at random.
    """
    shuffled = np.random.default_rng(seed).permutation(len(z))
    positions = np.full((len(latents), top + len(WEAKER) + SILENT), NO_CLIP, dtype=np.uint32)
    for row, latent in zip(positions, latents, strict=True):
        a = z[:, latent]
        active = np.flatnonzero(a)
        ordered = active[np.argsort(-a[active], kind="stable")]
        row[: len(ordered[:top])] = ordered[:top]
        weaker = dict.fromkeys(round(q * (len(ordered) - 1)) for q in WEAKER)
        weaker = [ordered[place] for place in weaker if place >= top]
        row[top : top + len(weaker)] = weaker
        # The same order for all latents, so that they share these clips' sounds.
        silent = shuffled[a[shuffled] == 0][:SILENT]
        row[top + len(WEAKER) : top + len(WEAKER) + len(silent)] = silent
    return positions


def _nearest(rows: np.ndarray, latents: Sequence[int], *, most: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The other latents whose rows have the largest inner product: (latents, most) positions in ``latents``, values."""
    rows = np.asarray(rows, dtype=np.float32)[np.asarray(latents)]
    most = min(most, len(rows) - 1)
    places, values = [], []
    for start in range(0, len(rows), 512):
        products = rows[start : start + 512] @ rows.T
        diagonal = np.arange(len(products))
        products[diagonal, start + diagonal] = -np.inf
        best = np.argsort(-products, axis=1, kind="stable")[:, :most]
        places.append(best)
        values.append(np.take_along_axis(products, best, axis=1))
    return np.concatenate(places), np.concatenate(values)


def unit_directions(decoder, latents: int) -> np.ndarray:
    """Decoder rows (latents, D) at length 1."""
    rows = numbers("decoder", decoder, empty=True)
    rows = rows.astype(np.result_type(rows, np.float32), copy=False)
    if rows.ndim != 2 or len(rows) != latents or not rows.size:
        raise ParameterError("decoder", f"array of shape {rows.shape}", f"of shape ({latents}, D), a row a latent")
    if np.abs(rows).max() > 1e15:  # whose squares are infinite
        rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def checked_latents(latents: Sequence[int], statistics) -> list[int]:
    """Latents that exist and are alive, each once."""
    alive = several(
        "latents",
        latents,
        lambda name, latent: whole(name, latent, least=0, most=len(statistics) - 1),
    )
    for latent in alive:
        if statistics["density"].iat[latent] == 0:
            raise ParameterError("latents", latent, "alive: it is active in no clip")
    return list(dict.fromkeys(alive))


def relatives(z: np.ndarray, alive: np.ndarray, decoder: np.ndarray | None) -> dict[str, dict[str, str]]:
    """Packed for the page: alive latents most often active in the same clips, and those with similar directions."""
    counts = (z > 0).sum(axis=0)
    places, cosines = _nearest(((z > 0) / np.sqrt(np.maximum(counts, 1))).T, alive)
    shared = np.round(cosines * np.sqrt(counts[alive][:, None] * counts[alive][places]))
    packed = {"together": {"latents": array(places, "<u4"), "values": array(shared, "<u4")}}
    if decoder is not None:
        places, cosines = _nearest(decoder, alive)
        packed["decoder"] = {"latents": array(places, "<u4"), "values": array(cosines, "<f4")}
    return packed


def activation_parcel(a: np.ndarray) -> dict[str, str]:
    """Activations (N,) packed for the page: gaps between active clips, and 16-bit shares of the largest."""
    active = np.flatnonzero(a)
    levels = np.maximum(np.round(a[active].astype(np.float64) / a.max() * 65535), 1)
    return {"gaps": array(np.diff(active, prepend=0), "<u4"), "levels": array(levels, "<u2")}
