"""Results of classification probes: accuracies with intervals, predictions for each clip, and paired comparisons."""

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
    """Paired comparison of two layers' probes on the same test clips; made by :meth:`Probes.compare`."""

    a: str
    """Name of the first layer."""
    b: str
    """Name of the second layer."""
    difference: float
    """Accuracy of a minus accuracy of b."""
    low: float
    """Lower bound of the paired interval over test groups, or over clips without groups; NaN with one group."""
    high: float
    """Upper bound of the paired interval."""
    p_value: float
    """p-value of the exact McNemar test; NaN with groups or several seeds, as it assumes independent results."""


@dataclass(frozen=True, repr=False, eq=False)
class Probes:
    """Fitted probes of L layers and S seeds (S = 1 without seeds), scored on n test clips with C classes."""

    names: tuple[str, ...]
    """Names of the layers, in the order given."""
    classes: np.ndarray
    """Classes of the training clips, sorted, (C,)."""
    config: str
    """"default" or "paper"."""
    seeds: tuple[int, ...] | None
    """Seeds that were given, or None."""
    test: np.ndarray
    """Test clips as row numbers among all N clips, int64 (n,)."""
    true: np.ndarray
    """True labels of the test clips, (n,)."""
    groups: np.ndarray | None
    """Groups of the test clips, (n,); None if none were given or every test clip is its own group."""
    split: np.ndarray
    """Number of the split in which each clip was tested, int64 (n,); 0 unless :func:`pooled` joined several."""
    accuracy: np.ndarray
    """Accuracy on the test clips, (L, S)."""
    balanced_accuracy: np.ndarray
    """Mean recall over the classes of the test clips, (L, S)."""
    interval: np.ndarray
    """Confidence interval of the accuracy averaged over seeds, (L, 2); it does not include the spread over seeds."""
    interval_kind: str
    """"wilson" for independent clips, or "groups" for :func:`workbench.metrics.intervals.group_interval`, which is NaN
    if the test part has only one group."""
    chance: float
    """Accuracy of uniform guessing, 1 / C."""
    majority: float
    """Test accuracy of always predicting the most frequent class of train."""
    penalties: np.ndarray
    """Penalties to select from in ascending order, (P,); empty in the paper's config."""
    penalty: np.ndarray
    """Selected penalty, (L, S); NaN in the paper's config."""
    validation_path: np.ndarray
    """Validation accuracy for each penalty, (L, S, P); in the paper's config P = 1, for the epoch that was kept."""
    validation_accuracy: np.ndarray
    """Validation accuracy at the selected penalty or epoch, before the refit on train and valid, (L, S)."""
    validation_loss: np.ndarray
    """Validation cross-entropy of the same probes in nats per clip, (L, S)."""
    predictions: np.ndarray
    """Predicted labels of the test clips, (L, S, n)."""
    probabilities: np.ndarray
    """Class probabilities of the test clips, float32 (L, S, n, C)."""
    weights: tuple[np.ndarray, ...]
    """Weights of each layer, float64 (S, D, C), for embeddings that are not standardised."""
    bias: np.ndarray
    """Intercepts, float64 (L, S, C)."""

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
        """Return the position of a layer given by name or position.

        Raises
        ------
        ParameterError
            If there is no such layer; the message lists the layers.
        """
        return inputs.position(self.names, layer)

    def _ranked(self) -> np.ndarray:
        accuracy, loss = self.validation_accuracy.mean(1).round(12), self.validation_loss.mean(1)
        return np.lexsort((loss, -accuracy))

    @property
    def best_layer(self) -> str:
        """Layer with the highest mean validation accuracy over seeds (in a tie, the lowest cross-entropy)."""
        return self.names[self._ranked()[0]]

    @property
    def worst_layer(self) -> str:
        """Layer with the lowest mean validation accuracy over seeds (in a tie, the highest cross-entropy)."""
        return self.names[self._ranked()[-1]]

    @checked
    def confusion(self, layer: str | int, *, normalise: bool = False) -> np.ndarray:
        """Confusion matrix of the test clips: true classes in rows, predicted in columns, in the order of ``classes``.

        Parameters
        ----------
        layer : str or int
            Name or position of the layer.
        normalise : bool
            Whether to divide each row by its sum.

        Returns
        -------
        np.ndarray (C, C)
            int64 counts with one seed, float64 mean counts with several, or float64 shares in [0, 1] if normalised.
        """
        from sklearn.metrics import confusion_matrix

        true, rows = (np.searchsorted(self.classes, y) for y in (self.true, self.predictions[self.position(layer)]))
        options = {"labels": np.arange(len(self.classes)), "normalize": "true" if normalise else None}
        tables = [confusion_matrix(true, row, **options) for row in rows]
        return tables[0] if len(tables) == 1 else np.mean(tables, axis=0)

    @checked
    def confused(self, layer: str | int, n: int = 10) -> pd.DataFrame:
        """Test clips that the probe of a layer classifies wrongly, with the highest confidence first.

        Parameters
        ----------
        layer : str or int
            Name or position of the layer.
        n : int
            Largest number of rows.

        Returns
        -------
        DataFrame
            ``clip`` (row number among all N clips), ``true``, ``predicted``, ``probability`` (of the predicted class,
            mean over seeds) and ``probability_true`` (of the true class).
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
        """Paired comparison of two layers on the same test clips.

        Seeds are averaged first. The interval is over test groups, or over clips if there are no groups. It is
        optimistic if the two layers were selected by their test accuracies.

        Parameters
        ----------
        a, b : str or int
            Names or positions of the layers.
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
            Name or position of the layer.
        x : array_like (M, D)
            Embeddings of that layer, not standardised.

        Returns
        -------
        np.ndarray float64 (M, C)
            Mean over seeds, with columns in the order of ``classes``.

        Raises
        ------
        ParameterError
            If the embeddings do not have the layer's D.
        """
        i = self.position(layer)
        x = numbers("x", x, empty=True).astype(np.float64)
        if x.ndim != 2 or x.shape[1] != self.weights[i].shape[1]:
            raise ParameterError("x.shape", x.shape, f"(clips, {self.weights[i].shape[1]}) for layer {self.names[i]}")
        logits = x @ self.weights[i] + self.bias[i][:, None]
        likelihood = np.exp(logits - logits.max(-1, keepdims=True))
        return (likelihood / likelihood.sum(-1, keepdims=True)).mean(0)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per layer: mean accuracy, its interval, the spread over seeds, and baselines.

        Returns
        -------
        DataFrame
            ``layer``, ``accuracy``, ``low``, ``high``, ``spread`` (standard deviation over seeds, 0 for one seed),
            ``split_spread`` (standard deviation over splits, only for :func:`pooled` probes), ``balanced_accuracy``,
            ``validation_accuracy``, ``penalty`` (median over seeds), ``chance`` and ``majority``.
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
        """Validation accuracy of every layer, seed and penalty (in the paper's config, of the epoch that was kept).

        The columns are layer, seed, penalty and validation_accuracy.
        """
        import pandas as pd

        penalties = self.penalties if len(self.penalties) else [float("nan")]
        columns = {"layer": self.names, "seed": self.seeds or (0,), "penalty": penalties}
        table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
        return table.assign(validation_accuracy=self.validation_path.ravel())

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the probes and their scores to a folder (:func:`~workbench.core.fitting.write_fitted`)."""
        return folders.write(folder, self)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Probes:
        """Read probes that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
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
    """Difference in accuracy or in R2 of two results on the same test clips, with its paired confidence interval.

    Parameters
    ----------
    a, b : Probes, or RegressionProbes of one target
        Results for the same test clips, in the same order.
    layer_a, layer_b : str or int, or list of these
        Names or positions of the layers. With a list, which only Probes allow, each clip's results are averaged over
        its layers first.
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float
        Accuracy or R2 of a minus that of b, and its interval over test groups, or over clips if there are no groups.
        The bounds are NaN if all test clips are of one group.

    Raises
    ------
    ParameterError
        If test clips or labels differ, or there is no such layer.
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
    """Join probes that were fitted on several splits into one result over the test clips of all splits.

    In cross-validation every group is tested once, so the intervals are then based on all groups instead of the few in
    one test part.

    Parameters
    ----------
    probes : sequence of Probes, or of RegressionProbes
        Results with the same layers, classes, config and seeds, or with the same layers and targets. No clip may be in
        two test parts.

    Returns
    -------
    Probes or RegressionProbes
        Accuracies and intervals are over all test clips; ``split`` is the number of the split in which each was tested.
        Validation scores are means over splits; ``majority`` (or ``guess``) is a mean weighted by the number of test
        clips. ``weights``, ``bias`` and ``penalty``, and therefore predictions for new embeddings, are those of the
        first split.

    Raises
    ------
    ParameterError
        If probes differ in more than their split, or a clip is in two test parts.
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
