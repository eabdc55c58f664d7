"""Result of a sweep: its autoencoders, their scores and their training history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked, number
from ..core.errors import ParameterError
from ..core.fitting import read_fitted, reading, write_fitted
from .model import SAEConfig, SparseAutoencoder, k_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SAESweep:
    """The autoencoders of a sweep with their scores and history; made by :func:`fit_saes`.

    Attributes
    ----------
    table : DataFrame
        One row per autoencoder, with layer, sparsity, k and seed. On the validation rows: mse (squared units of the
        input), fvu, cosine, l0 and dead, the share of latents that are never active. On at most 65,536 training rows:
        train_fvu and train_dead. ``kept`` is the step at which the weights were kept. See
        :mod:`workbench.metrics.sparse_coding`.
    history : DataFrame
        FVU of every autoencoder at each evaluation, with layer, sparsity, k, seed, step and fvu. It is computed on the
        validation rows that ``keep`` uses, bounded as ``row_bound`` says, and relative to the mean of the training
        rows. In ``table`` rows count as they are.
    saes : tuple of SparseAutoencoder
        The autoencoders in the order of ``table``.
    """

    table: pd.DataFrame
    history: pd.DataFrame
    saes: tuple[SparseAutoencoder, ...]

    def __len__(self) -> int:
        return len(self.saes)

    def sae(self, **which: object) -> SparseAutoencoder:
        """Return the autoencoder with the given values, as in ``sweep.sae(layer="6", sparsity=0.95)``.

        Parameters
        ----------
        **which
            Any of layer, sparsity, k and seed; one with a single value in the sweep may be left out.

        Raises
        ------
        ParameterError
            If no autoencoder or several have these values; the message lists the possible values.
        """
        keys = ["layer", "sparsity", "k", "seed"]
        if set(which) - set(keys):
            raise ParameterError("which", sorted(which), f"among {', '.join(keys)}")
        rows = np.ones(len(self.table), dtype=bool)
        for key, value in which.items():
            column = self.table[key]
            if key == "layer":
                rows &= column == str(value)
                continue
            value = number(key, value)
            same = np.isclose(column.astype(float), value)
            if key == "sparsity":  # .95 of 512 latents is 25 latents kept, .9512 in the table
                same |= self.table["k"] == k_of(value, self.saes[0].config.latents)
            rows &= same
        if rows.sum() != 1:
            choice = {key: self.table[key].unique().tolist() for key in keys if self.table[key].nunique() > 1}
            raise ParameterError(
                "which", which, f"values of one autoencoder, not of {int(rows.sum())}, out of {choice}"
            )
        return self.saes[int(np.flatnonzero(rows)[0])]

    @checked
    def encode(self, x: np.ndarray, **which: object) -> np.ndarray:
        """Return the codes, float32 (N, latents), of vectors (N, D) by the autoencoder :meth:`sae` ``(**which)``."""
        return self.sae(**which).encode(x)

    @checked
    def save(self, folder: str | Path) -> Path:
        """Write the autoencoders, the table and the history to a folder (:func:`~.core.fitting.write_fitted`)."""
        tensors = {f"{i}.{name}": tensor for i, sae in enumerate(self.saes) for name, tensor in sae.tensors().items()}
        record = {"configs": [asdict(sae.config) for sae in self.saes], "table": self.table, "history": self.history}
        return write_fitted(folder, "SAESweep", tensors, record)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> SAESweep:
        """Read a sweep that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        """
        import pandas as pd

        tensors, record = read_fitted(folder, "SAESweep")
        with reading(folder, "sweep"):
            configs = [SAEConfig(**fields) for fields in record["configs"]]
            weights = [{} for _ in configs]
            for name, tensor in tensors.items():
                i, own = name.split(".", 1)
                weights[int(i)][own] = tensor
            saes = [SparseAutoencoder(config, **own) for config, own in zip(configs, weights, strict=True)]
            return cls(pd.DataFrame(record["table"]), record["history"], tuple(saes))
