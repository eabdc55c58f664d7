"""What fitted regression probes know: R2 and rank correlation with their intervals, and where each number is read best.

Reading a probe: 0 is as good as always giving the mean of the tested clips, 1 is perfect. Compare with an untrained
network, with the plain spectrum and with shuffled numbers, as with the probes of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from ..metrics import regression
from . import folders, inputs

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False, eq=False)
class RegressionProbes:
    """Fitted regression probes of L layers for A numbers, judged on n test clips; ``probes[name]`` is one number's."""

    names: tuple[str, ...]
    """Layers, in the order given."""
    targets: tuple[str, ...]
    """(A) what was read."""
    test: np.ndarray
    """(n,) int64: test clips, as positions among all N clips."""
    true: np.ndarray
    """(n, A) their numbers; NaN where one is not defined for a clip, which then counts for the others alone."""
    groups: np.ndarray | None
    """(n,) their groups; None when none were given, or every test clip is a group of its own."""
    split: np.ndarray
    """(n,) int64: the split that each clip was tested in; all 0 but where :func:`workbench.probes.pooled` joined."""
    predictions: np.ndarray
    """(L, A, n) predicted numbers, for clips too whose own is not defined."""
    r2: np.ndarray
    """(L, A) :func:`workbench.metrics.regression.r2` on test; NaN where fewer than two clips differ."""
    interval: np.ndarray
    """(L, A, 2) of it, for other test groups; NaN where there are fewer than six."""
    rank_correlation: np.ndarray
    """(L, A) Spearman's, of ranks within each split; NaN where predictions do not differ."""
    rank_interval: np.ndarray
    """(L, A, 2) of it, as ``interval``."""
    guess: np.ndarray
    """(A,) R2 of always giving the mean of the training clips: 0, or a little below."""
    penalties: np.ndarray
    """(P,) path tried, weak to strong."""
    penalty: np.ndarray
    """(L, A) chosen."""
    validation_path: np.ndarray
    """(L, A, P) validation R2 along the path."""
    weights: tuple[np.ndarray, ...]
    """One (A, D) float64 array a layer, for inputs as they were given (standardisation folded in)."""
    bias: np.ndarray
    """(L, A) float64."""

    def __repr__(self) -> str:
        told = f"RegressionProbes({len(self.names)} layers, {len(self.targets)} numbers, {len(self.test)} test clips"
        told += f" of {self.split.max() + 1} splits" if self.split.any() else ""
        if len(self.targets) > 1:
            return f"{told}; probes[name] for one of {', '.join(self.targets[:4])}{' ...' * (len(self.targets) > 4)})"
        best = self.names.index(self.best_layer)
        low, high = self.interval[best, 0]
        bounds = "(no interval)" if np.isnan(low) else f"[{low:.3f}, {high:.3f}]"
        layer, rank = self.best_layer, self.rank_correlation[best, 0]
        return f"{told}; best on validation: layer {layer}, R2 {self.r2[best, 0]:.3f} {bounds}, rank {rank:+.3f})"

    def __getitem__(self, target: str | list[str]) -> RegressionProbes:
        """The probes of one number alone, or of several, in the order asked for.

        Raises
        ------
        ParameterError
            No such number; the message lists those there are.
        """
        wanted = [target] if isinstance(target, str) or not isinstance(target, Sequence) else list(target)
        for name in wanted:
            if name not in self.targets:
                raise ParameterError("target", name, f"one of {', '.join(self.targets)}")
        at = [self.targets.index(name) for name in wanted]
        of_targets = ("r2", "interval", "rank_correlation", "rank_interval", "penalty", "validation_path")
        of_targets += ("predictions", "bias")
        cut = {name: getattr(self, name)[:, at] for name in of_targets}
        weights = tuple(layer[at] for layer in self.weights)
        return replace(self, targets=tuple(wanted), true=self.true[:, at], guess=self.guess[at], weights=weights, **cut)

    @property
    def validation_r2(self) -> np.ndarray:
        """(L, A) at the chosen penalty, of the probe fitted on train alone."""
        return self.validation_path.max(-1)

    @property
    def best_layer(self) -> str:
        """Layer of highest validation R2, of several numbers in the mean. Never by test."""
        return self.names[int(np.nan_to_num(self.validation_r2, nan=-np.inf).mean(1).argmax())]

    def position(self, layer: str | int) -> int:
        """Position of a layer given by name or position.

        Raises
        ------
        ParameterError
            No such layer; the message lists those there are.
        """
        return inputs.position(self.names, layer)

    @checked
    def predict(self, layer: str | int, x: ArrayLike) -> np.ndarray:
        """Numbers of new embeddings.

        Parameters
        ----------
        layer : str or int
            Name or position.
        x : array_like (M, D)
            Embeddings of that layer, not standardised.

        Returns
        -------
        np.ndarray float64 (M, A)

        Raises
        ------
        ParameterError
            Another D than the layer's.
        """
        i = self.position(layer)
        x = numbers("x", x, empty=True).astype(np.float64)
        if x.ndim != 2 or x.shape[1] != self.weights[i].shape[1]:
            raise ParameterError("x.shape", x.shape, f"(clips, {self.weights[i].shape[1]}) for layer {self.names[i]}")
        return x @ self.weights[i].T + self.bias[i]

    def to_frame(self) -> pd.DataFrame:
        """One row a number and layer.

        Returns
        -------
        DataFrame
            ``target``, ``layer``, ``r2``, ``low``, ``high``, ``rank`` (rank correlation), ``rank_low``, ``rank_high``,
            ``guess`` (R2 of the training mean), ``validation_r2``, ``penalty``, ``clips`` (tested clips for which the
            number is defined).
        """
        import pandas as pd

        rows = {"target": self.targets, "layer": self.names}
        table = pd.MultiIndex.from_product(rows.values(), names=rows).to_frame(index=False)
        columns = {"r2": self.r2, "low": self.interval[..., 0], "high": self.interval[..., 1]}
        ranks = {"rank_low": self.rank_interval[..., 0], "rank_high": self.rank_interval[..., 1]}
        columns |= {"rank": self.rank_correlation, **ranks, "guess": np.broadcast_to(self.guess, self.r2.shape)}
        columns |= {"validation_r2": self.validation_r2, "penalty": self.penalty}
        columns |= {"clips": np.broadcast_to(np.isfinite(self.true).sum(0), self.r2.shape)}
        return table.assign(**{name: values.T.ravel() for name, values in columns.items()})

    @checked
    def peaks(self, controls: Mapping[str, RegressionProbes] | None = None, *, level: float = 0.95) -> pd.DataFrame:
        """Where each number is read best, and by how much better than from the controls: one row a number.

        Parameters
        ----------
        controls : mapping of name -> RegressionProbes, optional
            Of the same numbers, tested on the same clips. Of each the layer that is best on validation is taken.
        level : float
            Of the intervals.

        Returns
        -------
        DataFrame
            Indexed by target: ``layer`` (best on validation), ``depth`` of it (0 the first layer, 1 the last), ``r2``
            there; and for each control its ``r2``, the ``gain`` over it and its bounds ``low`` and ``high``, in columns
            such as "untrained: gain".

        Raises
        ------
        ParameterError
            A control of other numbers or other test clips.
        """
        import pandas as pd

        controls = {} if controls is None else controls
        if not isinstance(controls, Mapping):
            raise ParameterError("controls", type(controls).__name__, "a mapping of name to RegressionProbes")
        for name, control in controls.items():
            if not isinstance(control, RegressionProbes):
                raise ParameterError(f"controls[{name!r}]", type(control).__name__, "RegressionProbes")
        rows = []
        for target in self.targets:
            own = self[target]
            at = own.names.index(own.best_layer)
            row = {"layer": own.best_layer, "depth": at / max(len(own.names) - 1, 1), "r2": own.r2[at, 0]}
            for name, control in controls.items():
                other = control[target]
                gain, low, high = r2_paired(own, own.best_layer, other, other.best_layer, level=level)
                row |= {f"{name}: r2": other.r2[other.position(other.best_layer), 0], f"{name}: gain": gain}
                row |= {f"{name}: low": low, f"{name}: high": high}
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(self.targets, name="target"))

    @property
    def history(self) -> pd.DataFrame:
        """What was tried: a row a layer, number and penalty, with its validation R2."""
        import pandas as pd

        columns = {"layer": self.names, "target": self.targets, "penalty": self.penalties}
        table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
        return table.assign(validation_r2=self.validation_path.ravel())

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the probes and all that is known of them to a folder (:func:`~workbench.core.fitting.write_fitted`)."""
        return folders.write(folder, self)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> RegressionProbes:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            No such folder, a damaged one, or one that holds something else.
        """
        return folders.read(folder, cls)


def r2_paired(
    a: RegressionProbes, layer_a: str | int, b: RegressionProbes, layer_b: str | int, *, level: float = 0.95
) -> tuple[float, float, float]:
    """What :func:`workbench.probes.paired` says of regression probes."""
    for name, probes in (("a", a), ("b", b)):
        if len(probes.targets) > 1:
            raise ParameterError(f"{name}.targets", probes.targets[:5], f"one number: {name}[name]")
    if not (np.array_equal(a.test, b.test) and np.array_equal(a.true, b.true, equal_nan=True)):
        raise ParameterError("b.test", f"{len(b.test)} clips", f"the {len(a.test)} test clips of a, with their numbers")
    rows = np.isfinite(a.true[:, 0])
    said = [probes.predictions[probes.position(at), 0, rows] for probes, at in ((a, layer_a), (b, layer_b))]
    if not rows.any() or not np.isfinite(said).all():  # a number that could not be read
        return (float("nan"),) * 3
    groups = None if a.groups is None else a.groups[rows]
    return regression.r2_difference(a.true[rows, 0], *said, groups, level=level)


def joined_regression(probes: Sequence[RegressionProbes]) -> RegressionProbes:
    """What :func:`workbench.probes.pooled` makes of regression probes."""
    first = probes[0]
    for each in probes[1:]:
        for name in ("names", "targets"):
            if getattr(each, name) != getattr(first, name):
                raise ParameterError(f"probes.{name}", getattr(each, name), f"{getattr(first, name)}, as the first's")
    test = np.concatenate([each.test for each in probes])
    inputs.tested_once(test)
    same = {"test": test, "true": np.concatenate([each.true for each in probes])}
    same |= {"predictions": np.concatenate([each.predictions for each in probes], axis=2)}
    same |= {"split": np.repeat(np.arange(len(probes)), [len(each.test) for each in probes])}
    same |= {"groups": inputs.joined_groups(probes)}
    paths = np.ma.masked_invalid([each.validation_path for each in probes]).mean(axis=0).filled(np.nan)
    guess = np.average([each.guess for each in probes], axis=0, weights=[len(each.test) for each in probes])
    return replace(first, **same, **judged(**same), validation_path=paths, guess=guess)


def scores(true: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """R2 (L, A)."""
    out = np.full(predictions.shape[:2], np.nan)
    for a, rows in enumerate(np.isfinite(true).T):
        there = np.isfinite(predictions[:, a]).all()
        if rows.sum() > 1 and there:
            out[:, a] = regression.r2(true[rows, a], predictions[:, a, rows])
    return out


def judged(
    *, test: np.ndarray, true: np.ndarray, predictions: np.ndarray, split: np.ndarray, groups, level: float = 0.95
) -> dict[str, np.ndarray]:
    """R2 and rank correlation of all layers and numbers, with their intervals."""
    r2 = scores(true, predictions)
    (interval, rank_interval), rank = np.full((2, *r2.shape, 2), np.nan), np.full(r2.shape, np.nan)
    for a, rows in enumerate(np.isfinite(true).T):
        if np.isnan(r2[:, a]).all():
            continue
        member = None if groups is None else groups[rows]
        interval[:, a] = regression.r2_interval(true[rows, a], predictions[:, a, rows], member, level=level)
        pair, parts = (true[rows, a], predictions[:, a, rows]), split[rows]
        rank[:, a] = regression.rank_correlation(*pair, parts)
        rank_interval[:, a] = regression.rank_interval(*pair, member, parts, level=level)
    return {"r2": r2, "interval": interval, "rank_correlation": rank, "rank_interval": rank_interval}
