"""What fitted probes know: accuracies with their intervals, predictions clip by clip, and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers, whole
from ..core.errors import ParameterError
from ..metrics import classification
from ..metrics.intervals import group_interval
from . import folders, inputs
from .regression import RegressionProbes, joined_regression, r2_paired

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """Two layers' probes on the same test clips."""

    a: str
    """First layer."""
    b: str
    """Second layer."""
    difference: float
    """Accuracy of a minus accuracy of b."""
    low: float
    """Lower bound of the paired interval, for other test groups when there are any, else clips; NaN with one group."""
    high: float
    """Upper bound."""
    p_value: float
    """Exact McNemar test; NaN with groups or several seeds, whose results are not independent clips."""


@dataclass(frozen=True, repr=False, eq=False)
class Probes:
    """Fitted probes of L layers x S seeds (S = 1 when no seeds were given), judged on n test clips of C classes."""

    names: tuple[str, ...]
    """Layers, in the order given."""
    classes: np.ndarray
    """(C,) labels that training has, sorted."""
    config: str
    """"default" or "paper"."""
    seeds: tuple[int, ...] | None
    """Seeds as they were given."""
    test: np.ndarray
    """(n,) int64: test clips, as positions among all N clips."""
    true: np.ndarray
    """(n,) their labels."""
    groups: np.ndarray | None
    """(n,) their groups; None when none were given, or every test clip is a group of its own."""
    split: np.ndarray
    """(n,) int64: the split that each clip was tested in; all 0 but where :func:`pooled` joined several."""
    accuracy: np.ndarray
    """(L, S) on test."""
    balanced_accuracy: np.ndarray
    """(L, S) mean recall over the test classes."""
    interval: np.ndarray
    """(L, 2) of the mean accuracy over seeds, for other test groups; the spread over seeds is not in it."""
    interval_kind: str
    """"wilson", or "groups": that of :func:`workbench.metrics.intervals.group_interval`, since clips of one group are
    not independent; NaN where the test part has one group."""
    chance: float
    """1 / C."""
    majority: float
    """Test accuracy of always answering the commonest class of train."""
    penalties: np.ndarray
    """(P,) path tried, weak to strong; empty in the paper's config."""
    penalty: np.ndarray
    """(L, S) chosen; NaN in the paper's config."""
    validation_path: np.ndarray
    """(L, S, P) validation accuracy along the path; in the paper's config P = 1, that of the epoch kept."""
    validation_accuracy: np.ndarray
    """(L, S) at the chosen penalty or epoch, of the probe fitted on train alone."""
    validation_loss: np.ndarray
    """(L, S) cross-entropy (nats a clip) of the same."""
    predictions: np.ndarray
    """(L, S, n) predicted labels."""
    probabilities: np.ndarray
    """(L, S, n, C) float32."""
    weights: tuple[np.ndarray, ...]
    """One (S, D, C) float64 array a layer, for inputs as they were given (standardisation folded in)."""
    bias: np.ndarray
    """(L, S, C) float64."""

    def __repr__(self) -> str:
        best = self.position(self.best_layer)
        low, high = self.interval[best]
        bounds = "(no interval of one test group)" if np.isnan(low) else f"[{low:.3f}, {high:.3f}]"
        splits = f" of {self.split.max() + 1} splits" if self.split.any() else ""
        return (
            f"Probes({len(self.names)} layers, {len(self.classes)} classes, {len(self.test)} test clips{splits}, "
            f"{self.config} config; best on validation: layer {self.best_layer}, test accuracy "
            f"{self.accuracy[best].mean():.3f} {bounds}; chance {self.chance:.3f}, "
            f"majority {self.majority:.3f})"
        )

    def position(self, layer: str | int) -> int:
        """Position of a layer given by name or position.

        Raises
        ------
        ParameterError
            No such layer; the message lists those there are.
        """
        return inputs.position(self.names, layer)

    def _ranked(self) -> np.ndarray:
        accuracy, loss = self.validation_accuracy.mean(1).round(12), self.validation_loss.mean(1)
        return np.lexsort((loss, -accuracy))

    @property
    def best_layer(self) -> str:
        """Layer of highest validation accuracy (mean over seeds; ties: of lower cross-entropy). Never by test."""
        return self.names[self._ranked()[0]]

    @property
    def worst_layer(self) -> str:
        """Layer of lowest validation accuracy (mean over seeds; ties: of higher cross-entropy). Never by test."""
        return self.names[self._ranked()[-1]]

    @checked
    def confusion(self, layer: str | int, *, normalise: bool = False) -> np.ndarray:
        """Test clips by true class (rows) and predicted class (columns), in the order of ``classes``.

        Parameters
        ----------
        layer : str or int
            Name or position.
        normalise : bool
            Divide each row by its sum.

        Returns
        -------
        np.ndarray (C, C)
            int64 counts for one seed; float64 means over several seeds, or shares in [0, 1] when normalised.
        """
        from sklearn.metrics import confusion_matrix

        true, rows = (np.searchsorted(self.classes, y) for y in (self.true, self.predictions[self.position(layer)]))
        options = {"labels": np.arange(len(self.classes)), "normalize": "true" if normalise else None}
        tables = [confusion_matrix(true, row, **options) for row in rows]
        return tables[0] if len(tables) == 1 else np.mean(tables, axis=0)

    @checked
    def confused(self, layer: str | int, n: int = 10) -> pd.DataFrame:
        """Test clips that the probe of a layer gets wrong, the most confident first.

        Parameters
        ----------
        layer : str or int
            Name or position.
        n : int
            At most so many rows.

        Returns
        -------
        DataFrame
            ``clip`` (position among all N clips), ``true``, ``predicted``, ``probability`` (of the predicted class,
            mean over seeds), ``probability_true``.
        """
        import pandas as pd

        whole("n", n, least=0)
        probability = self.probabilities[self.position(layer)].mean(0)
        rows, winner = np.arange(len(self.test)), probability.argmax(1)
        truth = np.searchsorted(self.classes, self.true)
        wrong = np.flatnonzero(winner != truth)
        wrong = wrong[np.argsort(-probability[wrong, winner[wrong]], kind="stable")][:n]
        columns = {"clip": self.test, "true": self.true, "predicted": self.classes[winner]}
        columns |= {"probability": probability[rows, winner], "probability_true": probability[rows, truth]}
        return pd.DataFrame({name: values[wrong] for name, values in columns.items()})

    @checked
    def compare(self, a: str | int, b: str | int, *, level: float = 0.95) -> Difference:
        """Paired comparison of two layers on the same test clips; what both get right or wrong cancels.

        The interval is for other test groups when there are any, else for other clips; seeds are averaged first.
        Two layers picked by their test accuracies make it optimistic.

        Parameters
        ----------
        a, b : str or int
            Names or positions.
        level : float
            Confidence level.

        Returns
        -------
        Difference
        """
        i, j = self.position(a), self.position(b)
        bounds = paired(self, i, self, j, level=level)
        p_value = float("nan")
        if self.groups is None and self.predictions.shape[1] == 1:
            p_value = classification.mcnemar(*(self.predictions[[i, j], 0] == self.true))
        return Difference(self.names[i], self.names[j], *bounds, p_value)

    @checked
    def predict_proba(self, layer: str | int, x: ArrayLike) -> np.ndarray:
        """Class probabilities of new embeddings.

        Parameters
        ----------
        layer : str or int
            Name or position.
        x : array_like (M, D)
            Embeddings of that layer, not standardised.

        Returns
        -------
        np.ndarray float64 (M, C)
            Mean over seeds, columns in the order of ``classes``.

        Raises
        ------
        ParameterError
            Another D than the layer's.
        """
        i = self.position(layer)
        x = numbers("x", x, empty=True).astype(np.float64)
        if x.ndim != 2 or x.shape[1] != self.weights[i].shape[1]:
            raise ParameterError("x.shape", x.shape, f"(clips, {self.weights[i].shape[1]}) for layer {self.names[i]}")
        logits = x @ self.weights[i] + self.bias[i][:, None]
        likelihood = np.exp(logits - logits.max(-1, keepdims=True))
        return (likelihood / likelihood.sum(-1, keepdims=True)).mean(0)

    def to_frame(self) -> pd.DataFrame:
        """One row a layer: mean accuracy, its interval, the spread over seeds and the levels to beat.

        Returns
        -------
        DataFrame
            ``layer``, ``accuracy``, ``low``, ``high``, ``spread`` (standard deviation over seeds; 0 for one),
            ``split_spread`` (the same over splits, of :func:`pooled` probes alone), ``balanced_accuracy``,
            ``validation_accuracy``, ``penalty`` (median over seeds), ``chance``, ``majority``.
        """
        import pandas as pd

        columns = {"layer": self.names, "accuracy": self.accuracy.mean(1)}
        columns |= {"low": self.interval[:, 0], "high": self.interval[:, 1], "spread": self.accuracy.std(1)}
        if self.split.any():
            right = (self.predictions == self.true).mean(1)
            columns["split_spread"] = np.stack([right[:, self.split == k].mean(1) for k in set(self.split)]).std(0)
        columns |= {"balanced_accuracy": self.balanced_accuracy.mean(1)}
        columns |= {"validation_accuracy": self.validation_accuracy.mean(1), "penalty": np.median(self.penalty, 1)}
        return pd.DataFrame(columns).assign(chance=self.chance, majority=self.majority)

    @property
    def history(self) -> pd.DataFrame:
        """What was tried: a row a layer, seed and penalty (in the paper's config: the epoch kept), with its accuracy.

        Columns layer, seed, penalty, validation_accuracy.
        """
        import pandas as pd

        penalties = self.penalties if len(self.penalties) else [float("nan")]
        columns = {"layer": self.names, "seed": self.seeds or (0,), "penalty": penalties}
        table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
        return table.assign(validation_accuracy=self.validation_path.ravel())

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the probes and all that is known of them to a folder (:func:`~workbench.core.fitting.write_fitted`)."""
        return folders.write(folder, self)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Probes:
        """Read what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            No such folder, a damaged one, or one that holds something else.
        """
        return folders.read(folder, cls)


@checked
def paired(
    a: Probes | RegressionProbes,
    layer_a: str | int | list,
    b: Probes | RegressionProbes,
    layer_b: str | int | list,
    *,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Difference of two results on the same test clips, of accuracy or of R2, what both find hard cancelled.

    Parameters
    ----------
    a, b : Probes, or RegressionProbes of one number
        Judged on the same test clips, in the same order.
    layer_a, layer_b : str or int, or list of these
        Names or positions; of a list, as of several codes, a clip's results are averaged first (Probes alone).
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float
        Accuracy or R2 of a minus that of b and its interval, for other test groups where there are some, else for other
        clips; NaN where all test clips are of one group.

    Raises
    ------
    ParameterError
        Other test clips or labels, or no such layer.
    """
    if isinstance(a, RegressionProbes) and isinstance(b, RegressionProbes):
        return r2_paired(a, layer_a, b, layer_b, level=level)
    for name, probes, layers in (("a", a, layer_a), ("b", b, layer_b)):
        if not isinstance(probes, Probes):
            raise ParameterError(name, type(probes).__name__, "probes, as fit_probes gives them")
        if isinstance(layers, (list, tuple)) and not layers:
            raise ParameterError(f"layer_{name}", layers, "at least one layer")
    if not (np.array_equal(a.test, b.test) and np.array_equal(a.true, b.true)):
        raise ParameterError("b.test", f"{len(b.test)} clips", f"the {len(a.test)} test clips of a, with their labels")
    right = []
    for probes, layers in ((a, layer_a), (b, layer_b)):
        layers = layers if isinstance(layers, (list, tuple)) else [layers]
        right.append((probes.predictions[[probes.position(layer) for layer in layers]] == probes.true).mean((0, 1)))
    return classification.paired_interval(*right, a.groups, level=level)


@checked
def pooled(probes: Sequence[Probes | RegressionProbes]) -> Probes | RegressionProbes:
    """Join the same probes, fitted on several splits, into one result over all clips that were tested.

    Over folds every group is tested once, so that intervals rest on all groups and not on the few of one test part.

    Parameters
    ----------
    probes : sequence of Probes, or of RegressionProbes
        Of the same layers, classes, config and seeds, or of the same layers and numbers. No clip may have been tested
        twice.

    Returns
    -------
    Probes or RegressionProbes
        Accuracies and intervals are over all tested clips; ``split`` says where each was tested. Validation scores,
        chance and majority are means over splits (majority weighed by test clips). ``weights``, ``bias``, ``penalty``,
        and so :meth:`Probes.predict_proba`, are those of the first split.

    Raises
    ------
    ParameterError
        Probes that differ in more than their split, or a clip that two of them tested.
    """
    probes = list(probes) if isinstance(probes, Iterable) else [probes]
    if probes and all(isinstance(each, RegressionProbes) for each in probes):
        return joined_regression(probes)
    if not probes or not all(isinstance(each, Probes) for each in probes):
        raise ParameterError("probes", [type(each).__name__ for each in probes], "at least one Probes")
    first = probes[0]
    for each in probes[1:]:
        for name in ("names", "config", "seeds"):
            if getattr(each, name) != getattr(first, name):
                raise ParameterError(f"probes.{name}", getattr(each, name), f"{getattr(first, name)}, as the first's")
        if each.classes.tolist() != first.classes.tolist():
            odd = sorted(set(map(str, each.classes)) ^ set(map(str, first.classes)))
            raise ParameterError("probes.classes", odd, "in the training part of every split, or of none")
    joined = {name: [getattr(each, name) for each in probes] for name in ("test", "true", "predictions")}
    test, true, predictions = (np.concatenate(parts, axis=-1) for parts in joined.values())
    inputs.tested_once(test)
    groups = inputs.joined_groups(probes)
    hits = predictions == true
    validation = {
        name: np.mean([getattr(each, name) for each in probes], axis=0)
        for name in ("validation_path", "validation_accuracy", "validation_loss")
    }
    if groups is None:
        rights = hits.mean(1).sum(1)
        interval = np.array([classification.wilson_interval(right, len(test)) for right in rights])
    else:
        interval = group_interval(hits.mean(1), groups, limits=(0, 1))
    return replace(
        first,
        test=test,
        true=true,
        groups=groups,
        split=np.repeat(np.arange(len(probes)), [len(each.test) for each in probes]),
        predictions=predictions,
        probabilities=np.concatenate([each.probabilities for each in probes], axis=2),
        accuracy=hits.mean(-1),
        balanced_accuracy=np.array([[classification.balanced_accuracy(true, p) for p in row] for row in predictions]),
        interval=interval,
        majority=float(np.average([each.majority for each in probes], weights=[len(each.test) for each in probes])),
        **validation,
    )
