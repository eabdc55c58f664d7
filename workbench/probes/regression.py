"""Results of regression probes: R2 and rank correlation of each layer with intervals, and each number's best layer.

An R2 of 1 is perfect, and 0 is as good as predicting the mean of the test clips. Compare it with an untrained network,
with the spectrum and with shuffled numbers, as for classification probes.
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
    """Fitted regression probes of L layers for A targets (numbers), scored on n test clips.

    ``probes[name]`` has the probes of one target alone.
    """

    names: tuple[str, ...]
    """Names of the layers, in the order given."""
    targets: tuple[str, ...]
    """Names of the A targets that are predicted."""
    test: np.ndarray
    """Test clips as row numbers among all N clips, int64 (n,)."""
    true: np.ndarray
    """True targets of the test clips, (n, A); NaN where a target is undefined for a clip, which is then left out."""
    groups: np.ndarray | None
    """Groups of the test clips, (n,); None if none were given or every test clip is its own group."""
    split: np.ndarray
    """Number of the split in which each clip was tested, int64 (n,); 0 unless :func:`workbench.probes.pooled` joined
    several."""
    predictions: np.ndarray
    """Predicted targets, (L, A, n), including clips for which the true target is undefined."""
    r2: np.ndarray
    """R2 on the test clips, (L, A), by :func:`workbench.metrics.regression.r2`; NaN if the true targets are equal."""
    interval: np.ndarray
    """Confidence interval of ``r2`` over test groups, (L, A, 2); NaN with fewer than six groups."""
    rank_correlation: np.ndarray
    """Spearman's correlation of ranks within each split, (L, A); NaN if all predictions are equal."""
    rank_interval: np.ndarray
    """Confidence interval of ``rank_correlation`` over test groups, (L, A, 2); NaN with fewer than six groups."""
    guess: np.ndarray
    """R2 of always predicting the mean of train and valid, (A,); 0 or below."""
    penalties: np.ndarray
    """Penalties to select from in ascending order, (P,)."""
    penalty: np.ndarray
    """Selected penalty, (L, A)."""
    validation_path: np.ndarray
    """Validation R2 for each penalty, (L, A, P)."""
    weights: tuple[np.ndarray, ...]
    """Weights of each layer, float64 (A, D), for embeddings that are not standardised."""
    bias: np.ndarray
    """Intercepts, float64 (L, A)."""

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
        """Return the probes of one target, or of several in the order of the list.

        Raises
        ------
        ParameterError
            If there is no such target; the message lists the targets.
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
        """Validation R2 at the selected penalty, before the refit on train and valid, (L, A)."""
        return self.validation_path.max(-1)

    @property
    def best_layer(self) -> str:
        """Layer with the highest validation R2 (the mean over targets); the test clips are not used."""
        return self.names[int(np.nan_to_num(self.validation_r2, nan=-np.inf).mean(1).argmax())]

    def position(self, layer: str | int) -> int:
        """Return the position of a layer given by name or position.

        Raises
        ------
        ParameterError
            If there is no such layer; the message lists the layers.
        """
        return inputs.position(self.names, layer)

    @checked
    def predict(self, layer: str | int, x: ArrayLike) -> np.ndarray:
        """Predict the targets of new embeddings.

        Parameters
        ----------
        layer : str or int
            Name or position of the layer.
        x : array_like (M, D)
            Embeddings of that layer, not standardised.

        Returns
        -------
        np.ndarray float64 (M, A)

        Raises
        ------
        ParameterError
            If the embeddings do not have the layer's D.
        """
        i = self.position(layer)
        x = numbers("x", x, empty=True).astype(np.float64)
        if x.ndim != 2 or x.shape[1] != self.weights[i].shape[1]:
            raise ParameterError("x.shape", x.shape, f"(clips, {self.weights[i].shape[1]}) for layer {self.names[i]}")
        return x @ self.weights[i].T + self.bias[i]

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table with one row per target and layer.

        Returns
        -------
        DataFrame
            ``target``, ``layer``, ``r2``, ``low``, ``high``, ``rank`` (rank correlation), ``rank_low``, ``rank_high``,
            ``guess`` (R2 of predicting the training mean), ``validation_r2``, ``penalty``, and ``clips``, the number of
            test clips for which the target is defined.
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
        """Return the best layer of each target and how much better it is than the controls.

        Parameters
        ----------
        controls : mapping of name -> RegressionProbes, optional
            Probes for the same targets and test clips, such as those of an untrained network. The layer of a control
            with the highest validation R2 is used.
        level : float
            Confidence level of the intervals.

        Returns
        -------
        DataFrame
            One row per target, with ``layer`` (of highest validation R2), its ``depth`` (0 for the first layer, 1 for
            the last) and its ``r2``. For each control there are its ``r2``, the ``gain`` of the layer over the control,
            and the bounds ``low`` and ``high`` of the gain, in columns such as "untrained: gain".

        Raises
        ------
        ParameterError
            If a control has other targets or other test clips.
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
        """Validation R2 of every layer, target and penalty, one row each."""
        import pandas as pd

        columns = {"layer": self.names, "target": self.targets, "penalty": self.penalties}
        table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
        return table.assign(validation_r2=self.validation_path.ravel())

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the probes and their scores to a folder (:func:`~workbench.core.fitting.write_fitted`)."""
        return folders.write(folder, self)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> RegressionProbes:
        """Read probes that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        return folders.read(folder, cls)


def r2_paired(
    a: RegressionProbes, layer_a: str | int, b: RegressionProbes, layer_b: str | int, *, level: float = 0.95
) -> tuple[float, float, float]:
    """Compare two regression probes; :func:`workbench.probes.paired` calls it."""
    for name, probes in (("a", a), ("b", b)):
        if len(probes.targets) > 1:
            raise ParameterError(f"{name}.targets", probes.targets[:5], f"one number: {name}[name]")
    if not (np.array_equal(a.test, b.test) and np.array_equal(a.true, b.true, equal_nan=True)):
        raise ParameterError("b.test", f"{len(b.test)} clips", f"the {len(a.test)} test clips of a, with their numbers")
    rows = np.isfinite(a.true[:, 0])
    said = [probes.predictions[probes.position(at), 0, rows] for probes, at in ((a, layer_a), (b, layer_b))]
    if not rows.any() or not np.isfinite(said).all():  # no probe could be fitted for this target
        return (float("nan"),) * 3
    groups = None if a.groups is None else a.groups[rows]
    return regression.r2_difference(a.true[rows, 0], *said, groups, level=level)


def joined_regression(probes: Sequence[RegressionProbes]) -> RegressionProbes:
    """Join regression probes of several splits; :func:`workbench.probes.pooled` calls it."""
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
    """R2 (L, A) of predictions (L, A, n) for true targets (n, A), which may be NaN."""
    out = np.full(predictions.shape[:2], np.nan)
    for a, rows in enumerate(np.isfinite(true).T):
        there = np.isfinite(predictions[:, a]).all()
        if rows.sum() > 1 and there:
            out[:, a] = regression.r2(true[rows, a], predictions[:, a, rows])
    return out


def judged(
    *, test: np.ndarray, true: np.ndarray, predictions: np.ndarray, split: np.ndarray, groups, level: float = 0.95
) -> dict[str, np.ndarray]:
    """Compute R2 and rank correlation of all layers and targets, with their intervals."""
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
