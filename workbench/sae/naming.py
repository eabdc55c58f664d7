"""Names of latents that can be wrong: what an outside listener says of the moments at which a latent is active.

A *moment* is a row: a clip, or a window of one. A *statement* is something that a listener says of every moment with
yes or no: the label is "seven", the pitch is 200 to 260 Hz, a tagger's score for "Speech" is above a threshold. Among
all statements, :func:`name_latents` chooses for each latent the one that tells best, on one half of the groups, when
the latent is active. How well that name tells it on the other half is the name's score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, number, numbers, whole
from ..core.errors import ParameterError
from ..core.labels import labels, missing
from ..core.splits import Split, fitting
from ..metrics.intervals import group_interval
from .data import positions

if TYPE_CHECKING:
    import pandas as pd

LEAST = 5
"""Fewest moments, on each half, at which a latent must be active and must be silent to be judged, and a statement true
and false on the naming half to be a name (and in two of its groups, or it names a group)."""
PARTS = 5
"""Ranges of numbers begin and end at the fifths of the naming half."""
LEVELS = (0.5, 0.75, 0.9, 0.95)
"""Thresholds of a score: these quantiles of the naming half."""
ALIKE = 0.5
"""Statements whose answers correlate more than this on the naming half say nearly the same; neither is wrong."""
VERDICTS = ("holds", "another may do as well", "no name that holds", "too few to judge")
"""What can be said of a name, the best first."""


@dataclass(frozen=True, eq=False)
class Statements:
    """What listeners say, with yes or no, of M moments.

    Raises
    ------
    ParameterError
        There is not one name and one listener a column.
    """

    yes: np.ndarray
    """bool (M, S): whether each statement is true of each moment."""
    names: tuple[str, ...]
    """What each statement says; several may have one name, as the same tag at several thresholds."""
    listeners: tuple[str, ...]
    """Who says each statement."""

    def __post_init__(self):
        yes = numbers("yes", self.yes, ndim=2, empty=True)
        if yes.dtype != bool:
            raise ParameterError("yes", f"array of {yes.dtype}", "an array of bool (M, S)")
        object.__setattr__(self, "yes", yes)
        for name in ("names", "listeners"):
            words = _texts(name, getattr(self, name))
            if len(words) != yes.shape[1]:
                raise ParameterError(f"len({name})", len(words), f"{yes.shape[1]}, one a statement")
            object.__setattr__(self, name, words)

    def __len__(self) -> int:
        return len(self.names)

    def of(self, listener: str) -> Statements:
        """Return the statements of one listener."""
        kept = np.array([who == listener for who in self.listeners], dtype=bool)
        return Statements(
            self.yes[:, kept], [n for n, k in zip(self.names, kept, strict=True) if k], [listener] * kept.sum()
        )

    @staticmethod
    def joined(parts: Sequence[Statements]) -> Statements:
        """Return the statements of several listeners about the same moments as one; the earlier win a tie."""
        parts = list(parts)
        if not parts or len({len(part.yes) for part in parts}) > 1:
            raise ParameterError("parts", [len(part.yes) for part in parts], "statements about the same moments")
        names, listeners = ([word for part in parts for word in getattr(part, of)] for of in ("names", "listeners"))
        return Statements(np.concatenate([part.yes for part in parts], axis=1), names, listeners)

    @staticmethod
    @checked
    def from_labels(values: Sequence, listener: str, *, name: str | None = None) -> Statements:
        """Return one statement a label: the moment has it. A moment without a label has none.

        Parameters
        ----------
        values : sequence of M labels
            None, NaN and "" are no label.
        listener : str
        name : str, optional
            What is labelled, by default the listener; a statement is called "name: label".
        """
        name, values = name or listener, _list("values", values)
        words = np.array(["" if missing(value) else str(value) for value in values], dtype=str)
        kinds = [kind for kind in np.unique(words) if kind]
        yes = np.stack([words == kind for kind in kinds], axis=1) if kinds else np.zeros((len(words), 0), bool)
        return Statements(yes, [f"{name}: {kind}" for kind in kinds], [listener] * len(kinds))

    @staticmethod
    @checked
    def from_numbers(
        values: np.ndarray, listener: str, naming: np.ndarray, *, name: str | None = None, unit: str = ""
    ) -> Statements:
        """Return statements that a number lies in a range, for all ranges between the fifths of the naming half.

        Parameters
        ----------
        values : ndarray (M,)
            NaN where the number is not defined, which is a statement of its own.
        listener : str
        naming : ndarray of int
            Rows whose quantiles are the ends of the ranges.
        name : str, optional
            What is measured; by default the listener.
        unit : str
        """
        values, name = numbers("values", values, ndim=1, finite=False).astype(np.float64), name or listener
        seen = values[positions(naming, "naming", len(values))]
        seen = seen[np.isfinite(seen)]
        inner = np.unique(np.quantile(seen, np.arange(1, PARTS) / PARTS)) if len(seen) else np.zeros(0)
        edges = np.array([-np.inf, *inner, np.inf])
        columns, names, behind = [np.isnan(values)], [f"{name}: none"], f" {unit}" if unit else ""
        for i, low in enumerate(edges[:-1]):
            for high in edges[i + 1 :]:
                if np.isfinite(low) or np.isfinite(high):
                    columns.append((values >= low) & (values < high))
                    names.append(f"{name} {_range(low, high)}{behind}")
        return Statements(np.stack(columns, axis=1), names, [listener] * len(names))

    @staticmethod
    @checked
    def from_scores(scores: np.ndarray, names: Sequence[str], listener: str, naming: np.ndarray) -> Statements:
        """Return statements that a score is above a threshold, at :data:`LEVELS` of each score on the naming half.

        Parameters
        ----------
        scores : ndarray (M, C)
            Scores of tags or texts; only their order matters.
        names : sequence of C str
        listener : str
        naming : ndarray of int
            Rows on which the thresholds are chosen.
        """
        scores, names = numbers("scores", scores, ndim=2), _texts("names", names)
        if len(names) != scores.shape[1]:
            raise ParameterError("len(names)", len(names), f"{scores.shape[1]}, one a column of scores")
        limits = np.quantile(scores[positions(naming, "naming", len(scores))], LEVELS, axis=0)  # (levels, C)
        yes = scores[:, :, None] > limits.T[None]
        listed = [name for name in names for _ in LEVELS]
        return Statements(yes.reshape(len(scores), -1), listed, [listener] * len(listed))


def _list(name: str, values: object) -> list:
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) != 1:
        raise ParameterError(name, values, "a list")
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _texts(name: str, values: object) -> tuple[str, ...]:
    values = _list(name, values)
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise ParameterError(f"{name}[{i}]", value, "text")
    return tuple(map(str, values))


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"below {_told(high)}"
    return f"from {_told(low)}" if np.isinf(high) else f"{_told(low)} to {_told(high)}"


def _told(value: float) -> str:
    """A number with three digits, and without an exponent."""
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")


@checked
def name_latents(
    codes: np.ndarray,
    statements: Statements,
    split: Split,
    *,
    groups: np.ndarray,
    clips: np.ndarray | None = None,
    draws: int = 99,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Name latents on one half of the groups, and test each name on the other.

    A latent is active at a moment if its code is above zero, and, where that is so at more than half of the moments,
    not below the median of the naming half. A name's score is the balanced accuracy with which its yes says "active":
    the mean of the share of active moments at which it says yes, and of silent ones at which it says no.

    Parameters
    ----------
    codes : ndarray (M, K)
        Codes of the moments, 0 or more.
    statements : Statements
        What is said of the same M moments.
    split : Split
        ``train`` is the half on which names are chosen (the ranges and thresholds of the statements should be of the
        same rows), ``test`` the half on which they are tested.
    groups : ndarray (M,)
        Group of each moment; none may be on both halves.
    clips : ndarray (M,), optional
        Clip of each moment, for moments that are windows in the order of time; by default each is a clip.
    draws : int
        Number of shuffles behind chance: the moments of the latents are shuffled against those of the listeners on
        each half, and the names are chosen and tested anew. Groups, clips within groups and the start within a clip are
        shuffled, in such a way that what goes together in time stays together.
    level : float
        Probability that any name at all beats chance where none is true.
    seed : int

    Returns
    -------
    pandas.DataFrame
        A row for each latent that is active at some moment of ``split``, the best first; index "latent".

        ``active`` is the share of held-out moments at which it is active; ``name`` and ``listener`` its best statement;
        ``found`` and ``score`` the name's balanced accuracy on the naming half and held out; ``chance`` what 95 % of
        the shuffles stay below. ``p`` is the probability that luck brings any of the latents as far above one half,
        in units of its own spread over the shuffles (as it is of the maximum over latents, it is for all of them
        together; Westfall and Young 1993).

        ``wrong`` is the best wrong name: of the names of other latents that do not say nearly the same, the one that
        does best on the naming half; ``wrong_score`` is its score held out (0.5, guessing, where there is no such
        name). ``margin``, ``low`` and ``high`` are the score minus the wrong name's with its 95 % interval over
        held-out groups. ``verdict`` is one of

        - "holds": ``p`` is at most ``level``, and the margin's interval lies above 0 where there is a wrong name;
        - "another may do as well": only the first;
        - "no name that holds": not even the first;
        - "too few to judge": on one half the latent is active or silent at fewer than :data:`LEAST` moments, or on the
          held-out half in fewer than two groups.

    Raises
    ------
    ParameterError
        Shapes do not match, codes are negative, a group is on both halves, a clip is in two groups, or ``draws`` are
        too few for ``level``.

    Notes
    -----
    The names are tested on other groups than they were chosen on, so that a choice among thousands of statements does
    not raise their scores.
    """
    import pandas as pd

    codes = numbers("codes", codes, ndim=2)
    if codes.min() < 0:
        raise ParameterError("codes", float(codes.min()), "0 or more")
    if not isinstance(statements, Statements):
        raise ParameterError("statements", type(statements).__name__, "Statements")
    if len(statements.yes) != len(codes):
        raise ParameterError("statements", f"about {len(statements.yes)} moments", f"about the {len(codes)} of codes")
    split, level = fitting(split, len(codes)), number("level", level, above=0, below=1)
    whole("draws", draws, least=int(np.ceil(1 / level)) - 1)
    groups = _each("groups", groups, len(codes))
    clips = np.arange(len(codes)) if clips is None else _each("clips", clips, len(codes))
    halves = [_together(rows, groups, clips) for rows in (split.train, split.test)]
    if len(both := np.intersect1d(groups[halves[0]], groups[halves[1]])):
        raise ParameterError(
            "groups", both[:5].tolist(), "each on one half: a name is tested on groups that it was not made on"
        )
    if np.unique(np.stack([_numbered(clips), _numbered(groups)]), axis=1).shape[1] > len(np.unique(clips)):
        raise ParameterError("clips", "a clip in two groups", "in one group each")
    active = _active(codes, halves[0])
    alive = np.flatnonzero(np.logical_or(*(active[rows].any(0) for rows in halves)))
    enough = alive[_enough(active[:, alive], halves, groups)]
    usable = _usable(statements.yes[halves[0]], groups[halves[0]])
    table = pd.DataFrame({"active": active[halves[1]].mean(0)[alive]}, index=pd.Index(alive, name="latent"))
    table = table.assign(name="", listener="")
    table[["found", "score", "chance", "p"]] = np.nan
    table = table.assign(wrong="")
    table[["wrong_score", "margin", "low", "high"]] = np.nan
    table["verdict"] = VERDICTS[3]
    if len(enough) and len(usable):
        yes = [statements.yes[rows][:, usable] for rows in halves]
        fires = [active[rows][:, enough] for rows in halves]
        orders = _orders(halves, groups, clips, draws, seed)
        for name, column in _judged(yes, fires, groups[halves[1]], orders, level).items():
            if name in ("name", "wrong"):
                table.loc[enough, name] = [statements.names[usable[s]] if s >= 0 else "" for s in column]
            else:
                table.loc[enough, name] = column
            if name == "name":
                table.loc[enough, "listener"] = [statements.listeners[usable[s]] for s in column]
    rank = table["verdict"].map(VERDICTS.index)
    order = np.lexsort((-table["margin"].fillna(-np.inf), rank))
    return table.iloc[order]


def _each(name: str, values: object, count: int) -> np.ndarray:
    values = labels(name, values)
    if values.shape != (count,):
        raise ParameterError(f"{name}.shape", values.shape, f"({count},), one a moment")
    return values


def _together(rows: np.ndarray, groups: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """The rows with those of a group, and in it those of a clip, next to each other, as a shuffle needs them."""
    return rows[np.lexsort((rows, _numbered(clips)[rows], _numbered(groups)[rows]))]


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]


def _active(codes: np.ndarray, naming: np.ndarray) -> np.ndarray:
    """Whether each latent is active at each moment, bool (M, K)."""
    return (codes > 0) & (codes >= np.median(codes[naming], axis=0))


def _enough(active: np.ndarray, halves: Sequence[np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Which latents (K,) are active, and silent, often enough on both halves, and in two groups of the second."""
    right = np.ones(active.shape[1], dtype=bool)
    for rows in halves:
        count = active[rows].sum(0)
        right &= np.minimum(count, len(rows) - count) >= LEAST
    inside = _indicators(groups[halves[1]])
    for state in (active[halves[1]], ~active[halves[1]]):
        right &= (inside @ state > 0).sum(0) >= 2
    return right


def _indicators(values: np.ndarray) -> np.ndarray:
    """float32 (kinds, M): 1 where a moment is of a kind."""
    member = _numbered(values)
    return (np.arange(member.max() + 1)[:, None] == member).astype(np.float32)


def _usable(yes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Statements that are true, and false, often enough on the naming half, and in two groups: not names of a group."""
    count, inside = yes.sum(0), _indicators(groups)
    right = np.minimum(count, len(yes) - count) >= LEAST
    for state in (yes, ~yes):
        right &= (inside @ state > 0).sum(0) >= 2
    return np.flatnonzero(right)


def _orders(halves, groups, clips, draws: int, seed: int) -> list[list[np.ndarray]]:
    """For each draw, an order of the rows of each half."""
    rng = np.random.default_rng(seed)
    return [[_shuffled(groups[rows], clips[rows], rng) for rows in halves] for _ in range(draws)]


def _shuffled(groups: np.ndarray, clips: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in an order in which groups, clips within them, and the start within each clip are random."""
    member, clip = _numbered(groups), _numbered(clips)
    keys = np.lexsort((rng.random(clip.max() + 1)[clip], rng.random(member.max() + 1)[member]))  # stable: keeps time
    cuts = np.flatnonzero(np.diff(clip[keys])) + 1
    starts, sizes = np.append(0, cuts), np.diff(np.append(np.append(0, cuts), len(keys)))
    turned = (np.arange(len(keys)) - np.repeat(starts, sizes) + np.repeat(rng.integers(0, sizes), sizes)) % np.repeat(
        sizes, sizes
    )
    return keys[np.repeat(starts, sizes) + turned]


def _products(yes: np.ndarray, fires: np.ndarray) -> np.ndarray:
    """(S, K) whole numbers that order statements as their balanced accuracies do.

    With h active moments of a yes, s moments of a yes, and f active ones of n, balanced accuracy is
    1/2 + (h / f - (s - h) / (n - f)) / 2 = 1/2 + (h n - s f) / (2 f (n - f)).
    """
    return yes.T @ (len(fires) * fires.astype(yes.dtype) - fires.sum(0).astype(yes.dtype))


def _accuracies(products: np.ndarray, fires: np.ndarray) -> np.ndarray:
    fired = fires.sum(0).astype(np.float64)
    return 0.5 + products / (2 * fired * (len(fires) - fired))


def _score(said: np.ndarray, fires: np.ndarray) -> np.ndarray:
    """Balanced accuracy (K,) of one column (M, K) of answers for each latent."""
    return ((said & fires).sum(0) / fires.sum(0) + (~said & ~fires).sum(0) / (~fires).sum(0)) / 2


def _judged(yes, fires, groups, orders, level: float) -> dict[str, object]:
    """Columns of the table of :func:`name_latents`, with names as positions of statements, -1 for none."""
    exact = np.float32 if len(yes[0]) < 4096 else np.float64  # holds the square of the number of moments
    said = yes[0].astype(exact)
    on_naming = _accuracies(_products(said, fires[0]), fires[0])
    chosen, found = on_naming.argmax(0), on_naming.max(0)
    score, shuffled = _score(yes[1][:, chosen], fires[1]), []
    for naming, tested in orders:
        best = _products(said, fires[0][naming]).argmax(0)
        shuffled.append(_score(yes[1][:, best], fires[1][tested]))
    null = np.array(shuffled)  # (draws, K)
    # what is observed is one arrangement among equals where no name is true, so that it counts in the spread too
    spread = np.sqrt(np.mean(np.square(np.vstack([null, score]) - 0.5), axis=0))
    spread = np.where(spread > 0, spread, np.inf)
    largest = ((null - 0.5) / spread).max(1)
    p = (1 + (largest[:, None] >= (score - 0.5) / spread).sum(0)) / (len(null) + 1)
    wrong = _wrong(yes[0], on_naming, chosen)
    margin = _margins(yes[1][:, chosen], yes[1][:, wrong] & (wrong >= 0), fires[1], groups)
    above, better = p <= level, (margin[1] > 0) | (wrong < 0)
    verdicts = np.where(above & better, VERDICTS[0], np.where(above, VERDICTS[1], VERDICTS[2]))
    columns = {
        "name": chosen,
        "found": found,
        "score": score,
        "chance": np.quantile(null, 0.95, axis=0),
        "p": p,
        "wrong": wrong,
    }
    columns |= {"wrong_score": score - margin[0], "margin": margin[0], "low": margin[1], "high": margin[2]}
    return columns | {"verdict": verdicts}


def _wrong(yes: np.ndarray, scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """For each latent the best of the others' names on the naming half that does not say nearly the same; or -1."""
    names = np.unique(chosen)
    columns = yes[:, names].astype(np.float64)
    columns = (columns - columns.mean(0)) / columns.std(0)  # usable statements vary
    alike = columns.T @ columns[:, np.searchsorted(names, chosen)] / len(yes) > ALIKE
    rivals = np.where(alike, -np.inf, scores[names])
    return np.where(alike.all(0), -1, names[rivals.argmax(0)])


def _margins(own: np.ndarray, wrong: np.ndarray, fires: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Score of one name minus another's (3, K), with its interval over groups; a name that always says no has 0.5.

    The difference is half that of two means, of what is gained where the latent is active and where it is silent. To
    first order each moment adds to it how far it lies from its mean, over the share of moments of its kind.
    """
    gain = own.astype(np.float64) - wrong
    parts, added = [], np.zeros_like(gain)
    for rows, sign in ((fires, 0.5), (~fires, -0.5)):
        parts.append(sign * (gain * rows).sum(0) / rows.sum(0))
        added += (sign * gain - parts[-1]) * rows / rows.mean(0)
    margin = sum(parts)
    bounds = group_interval((margin + added).T, groups)
    flat = np.isnan(bounds).any(1)  # the same gain everywhere: the interval is that of a number between -1 and 1
    if flat.any():
        bounds[flat] = group_interval(np.tile(margin[flat, None], len(gain)), groups, limits=(-1, 1))
    return np.vstack([margin, bounds.T])
