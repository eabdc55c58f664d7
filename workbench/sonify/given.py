"""Read prototypes that somebody else chose, sounds or vectors, for the page of prototypes and the judge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from ..core.checks import checked
from ..core.errors import ParameterError
from .autoencoder import SummaryAutoencoder
from .summaries import summarise


@checked
def prototypes_from(
    path: str | os.PathLike,
    autoencoder: SummaryAutoencoder,
    *,
    windows: Literal["padded", "unpadded", "paper"] = "padded",
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read prototypes from a folder of sounds or a file of vectors.

    Parameters
    ----------
    path : path
        A folder of sounds whose sub-folders are the classes, or anything else that :func:`workbench.load_dataset` reads
        and that has labels: each window of a sound is a prototype. Or a file ``name.npy`` of vectors (M, D), beside
        which ``name.txt`` has the class of each, one a line.
    autoencoder : SummaryAutoencoder
        Autoencoder in whose space the prototypes are.
    windows : {"padded", "unpadded", "paper"}
        As in :func:`summarise`, for sounds.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    z : np.ndarray float32 (M, D)
        Vectors of the prototypes.
    classes : np.ndarray str (M,)
        Class of each prototype.
    sounds : np.ndarray float32 (M, samples) or None
        The sounds at the codec's rate, zero-padded to the window and at the autoencoder's level; None for vectors,
        which the autoencoder can decode.

    Raises
    ------
    ParameterError
        If a vector file is missing or no array of numbers (M, D) that are finite, D is not that of the autoencoder, or
        the names are missing or not M.
    DatasetError, AudioError
        If the sounds cannot be read or have no labels.
    """
    if not isinstance(autoencoder, SummaryAutoencoder):
        raise ParameterError("autoencoder", type(autoencoder).__name__, "a SummaryAutoencoder")
    file = Path(path).expanduser()
    if file.suffix == ".npy":
        return *_vectors(file, autoencoder), None
    from ..datasets import load_dataset

    told = summarise(load_dataset(path), autoencoder, windows=windows, progress=progress)
    rate = autoencoder.codec.rate
    return told.z, told.labels, np.stack([told.window(i, rate) for i in range(len(told.z))])


def _vectors(file: Path, autoencoder: SummaryAutoencoder) -> tuple[np.ndarray, np.ndarray]:
    expected = f"an array of numbers (M, {autoencoder.dim}), the vectors of {autoencoder.name}"
    try:
        z = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ParameterError("path", str(file), f"{expected} ({' '.join(str(error).split())})") from error
    if z.dtype.kind not in "fiu" or z.ndim != 2 or not len(z) or z.shape[1] != autoencoder.dim:
        raise ParameterError("path", f"{file}, {z.dtype} of shape {z.shape}", expected)
    with np.errstate(over="ignore"):  # values too large for float32 become inf and are reported here
        z = z.astype(np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(z).all(1))):
        raise ParameterError("path", f"{file}, NaN or infinite in row {bad[0]}", "finite numbers")
    names = file.with_suffix(".txt")
    if not names.is_file():
        raise ParameterError(
            "path", str(file), f"a file with {names.name} beside it, the class of each row, one a line"
        )
    try:
        lines = [line.strip() for line in names.read_text(encoding="utf-8").strip().splitlines()]
    except UnicodeDecodeError as error:
        raise ParameterError("path", str(names), f"text in UTF-8 ({error})") from error
    if len(lines) != len(z) or not all(lines):
        raise ParameterError("path", f"{names} of {len(lines)} lines", f"{len(z)} names of classes, one a line")
    return z, np.array(lines)
