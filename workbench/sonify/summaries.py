"""Summary vectors of the segments of a dataset, kept in a cache, and an independent classifier (judge) of sounds."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch import nn

from .. import audio
from ..core.checks import checked, numbers, whole
from ..core.errors import AudioError, ParameterError
from ..core.files import cache_folder, replacing
from ..core.fingerprints import fingerprint
from ..core.fitting import read_fitted, write_fitted
from ..core.labels import known
from ..core.progress import progress_bar
from ..core.splits import Split, fitting
from ..core.warn import warn
from ..embeddings import embed
from ..encoders import Encoder, as_encoder
from ..probes import Probes, fit_probes
from .autoencoder import SHORTEST, SummaryAutoencoder

if TYPE_CHECKING:
    from ..datasets import Clips

_VERSION = 2
_AT_ONCE = 64
"""Number of segments that are encoded together."""


@dataclass(frozen=True, eq=False)
class Summaries:
    """Summary vectors of all segments of a dataset; made by :func:`summarise`."""

    z: np.ndarray
    """Summaries, one row per segment, float32 (N, D)."""
    rows: np.ndarray
    """Row number of the clip that each segment is cut from, int64 (N,); it serves as the track of the segment."""
    starts: np.ndarray
    """Start of each segment in its clip, in seconds, float64 (N,)."""
    levels: np.ndarray | None
    """Root-mean-square level of each segment in its window, in dB relative to full scale, float64 (N,). It is None if
    summaries contain the level; otherwise ``autoencoder.decode`` can restore it from these numbers."""
    clips: Clips = field(repr=False)
    """The dataset."""
    seconds: float
    """Length of the longest segment in seconds."""
    level: float | None = None
    """Level in dB to which the autoencoder scales every window; None if it does not scale them."""

    @property
    def labels(self) -> np.ndarray:
        """Label of each segment's clip, str (N,)."""
        return self.clips.labels[self.rows]

    @property
    def groups(self) -> np.ndarray:
        """Group of each segment's clip, str (N,)."""
        return self.clips.groups()[self.rows]

    @property
    def names(self) -> np.ndarray:
        """Caption of each segment, str (N,): the id of its clip, and its start if that is not 0."""
        ids = self.clips.table["id"].to_numpy(str)[self.rows]
        places = zip(ids, self.starts, strict=True)
        return np.array([f"{name} at {start:g} s" if start else name for name, start in places])

    def audio(self, i: int) -> tuple[np.ndarray, int]:
        """Return the sound of segment i, scaled to the autoencoder's level if it has one, and its sampling rate."""
        x, rate = self._own(i)
        return (x if self.levels is None else x * np.float32(10 ** ((self.level - self.levels[i]) / 20))), rate

    def _own(self, i: int) -> tuple[np.ndarray, int]:
        """Return the sound of segment i as it is in its clip, and its sampling rate."""
        whole("i", i, least=0, most=len(self.rows) - 1)
        return _piece(self.clips, int(self.rows[i]), self.starts[i], self.seconds)

    @checked
    def window(self, i: int, rate: int) -> np.ndarray:
        """Return segment i as a window of the autoencoder, zero-padded and scaled to its level, at a rate in Hz."""
        return _window(*self._own(i), rate, self.seconds, self.level)

    @checked
    def windows(self, rate: int) -> Clips:
        """Return all segments, as :meth:`window` returns them, as a dataset.

        Parameters
        ----------
        rate : int
            Sampling rate in Hz; use that of the codec to compare the windows with decoded sounds.

        Returns
        -------
        Clips
            Row i is segment i, with the label and the group of its clip.
        """
        from ..datasets import Clips

        columns = {"id": self.names, "label": self.labels, "group": self.groups}
        table = pd.DataFrame(columns | {"clip": self.rows, "begins": self.starts})
        sounds = _Windows(self.clips, self.seconds, whole("rate", rate, least=1), self.level)
        return Clips(table, sounds, name=f"windows of {self.clips.name}")

    def split(self, split: Split) -> Split:
        """Convert a split of the clips to a split of the segments."""
        parts = fitting(split, len(self.clips), needed=())
        return Split(*(np.flatnonzero(np.isin(self.rows, rows)) for rows in parts))


def _piece(clips: Clips, i: int, start: float, seconds: float) -> tuple[np.ndarray, int]:
    """Return at most ``seconds`` of a clip from ``start`` (seconds), and its sampling rate."""
    x, rate = clips.audio(i)
    first = round(start * rate)
    return x[first : first + round(seconds * rate)], rate


def _window(x: np.ndarray, own: int, rate: int, seconds: float, level: float | None) -> np.ndarray:
    """Return a segment (samples,) at ``own`` Hz resampled to ``rate``, zero-padded to ``seconds``, at a level in dB."""
    x = audio.fit(audio.resample(x, own, rate), rate, seconds=seconds)
    return x if level is None else audio.at_level(x, level)


class _Windows:
    """Source of the sounds of :meth:`Summaries.windows`, which cuts each window from its clip when it is needed."""

    columns = ("clip", "begins")

    def __init__(self, clips: Clips, seconds: float, rate: int, level: float | None):
        self.clips, self.seconds, self.rate, self.level = clips, seconds, rate, level
        self.generated = clips.generated

    def audio(self, row: dict, rate: int | None) -> tuple[np.ndarray, int]:
        x, own = _piece(self.clips, row["clip"], row["begins"], self.seconds)
        x = _window(x, own, self.rate, self.seconds, self.level)
        return (x, self.rate) if rate is None else (audio.resample(x, self.rate, rate), rate)

    def _of(self, row: dict, what: str) -> str:
        return f"{what}|window|{row['begins']}|{self.seconds}|{self.rate}|{self.level}"

    def source(self, row: dict) -> str:
        return f"{self.clips.source(row['clip'])}, from {row['begins']:g} s"

    def signature(self, row: dict) -> str:
        return self._of(row, self.clips.signature(row["clip"]))

    def identity(self, row: dict) -> str:
        return self._of(row, self.clips.sounds.identity(self.clips._row(row["clip"])))

    def alike(self, rows: list[dict]) -> list[str]:
        keys = self.clips.sounds.alike([self.clips._row(row["clip"]) for row in rows])
        return [self._of(row, key) for row, key in zip(rows, keys, strict=True)]


@checked
def summarise(
    clips: Clips,
    autoencoder: SummaryAutoencoder,
    *,
    windows: Literal["padded", "unpadded", "paper"] = "padded",
    skip_short: bool = False,
    cache: bool = True,
    progress: bool = True,
) -> Summaries:
    """Cut every clip into windows and compute the summary vector of each.

    Windows do not overlap. A shorter window at the end is kept, unless it is under 0.1 s or, with "paper", the clip has
    others. Silent windows (below -80 dB)
    are left out if the autoencoder scales all windows to one level.

    Parameters
    ----------
    clips : Clips
        The dataset.
    autoencoder : SummaryAutoencoder
        The autoencoder.
    windows : {"padded", "unpadded", "paper"}
        Where windows start, and what becomes of short ones (see :meth:`~.autoencoder.SummaryAutoencoder.embed`). With
        "padded" and "unpadded" a clip of n samples has a window at every multiple of the window's length w below n.
        "paper" follows the code of the results of arXiv 2402.09318: the starts are ``range(0, max(n - w, 1), w)``, so
        that a clip longer than w loses its last, incomplete window, or, where n is a multiple of w, its last whole one.
    skip_short : bool
        Whether to leave out clips under 0.1 s, with a warning that names them, instead of raising an error.
    cache : bool
        Whether to read the result of an earlier call with the same sounds and weights from the user's cache folder, and
        to write it there.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Summaries

    Raises
    ------
    AudioError
        If a clip cannot be decoded, is not finite or is shorter than 0.1 s (it is named), or if no window is left.

    Warns
    -----
    UserWarning
        If clips or silent windows are left out.
    """
    if not isinstance(autoencoder, SummaryAutoencoder):
        raise ParameterError("autoencoder", type(autoencoder).__name__, "a SummaryAutoencoder")
    if not len(clips):
        raise ParameterError("clips", f"{clips.name}, which is empty", "at least one clip")
    key = fingerprint("summaries", _VERSION, clips.fingerprint, autoencoder.fingerprint, windows, skip_short)
    path = cache_folder() / "summaries" / f"{key}.npz"
    if cache and (kept := _read(path, len(clips), autoencoder.dim)) is not None:
        return Summaries(*kept, clips, autoencoder.seconds, autoencoder.level)
    rate, z, rows, starts, pending, short = autoencoder.encoder.rate, [], [], [], [], []
    size, levels, silent = round(autoencoder.seconds * rate), [], []

    def encode() -> None:
        z.append(autoencoder.embed(pending, rate, windows=windows).cpu().numpy())
        pending.clear()

    for i in progress_bar(range(len(clips)), desc=f"summaries of {clips.name}", disable=not progress, leave=False):
        x, _ = clips.audio(i, rate=rate)
        if not np.isfinite(x).all():
            raise AudioError(f"clip {clips.table['id'][i]} of {clips.name}", "holds NaN or infinity")
        if len(x) < SHORTEST * rate:
            short.append(clips.table["id"][i])
            if not skip_short:
                reason = f"lasts {len(x) / rate:.3f} s; a summary needs {SHORTEST:g} s (skip_short=True leaves it out)"
                raise AudioError(f"clip {short[-1]} of {clips.name}", reason)
        for start in range(0, max(len(x) - size, 1) if windows == "paper" else len(x), size):
            piece = x[start : start + size]
            if len(piece) < SHORTEST * rate:
                continue
            loud = audio.level(piece) + 10 * np.log10(len(piece) / size if windows == "padded" else 1.0)
            if autoencoder.level is not None and loud <= audio.SILENT:
                silent.append(f"{clips.table['id'][i]} from {start / rate:g} s")
                continue
            pending.append(piece)
            rows.append(i)
            starts.append(start / rate)
            levels.append(loud)
        if len(pending) >= _AT_ONCE:
            encode()
    if pending:
        encode()
    for left_out, what in ((short, f"clips under {SHORTEST:g} s"), (silent, f"windows below {audio.SILENT:g} dB")):
        if left_out:
            few = ", ".join(left_out[:5]) + (" ..." if len(left_out) > 5 else "")
            warn(f"{clips.name}: {len(left_out)} {what} are left out: {few}")
    if not z:
        needs = f"lasts {SHORTEST:g} s" if short else f"is louder than {audio.SILENT:g} dB anywhere"
        raise AudioError(clips.name, f"none of its {len(clips)} clips {needs}, which a summary needs")
    arrays = np.concatenate(z), np.array(rows), np.array(starts, dtype=np.float64), np.array(levels)
    if autoencoder.level is None:
        arrays = (*arrays[:3], None)
    if cache:
        _write(path, arrays)
    return Summaries(*arrays, clips, autoencoder.seconds, autoencoder.level)


def _read(path, clips: int, dim: int) -> tuple[np.ndarray, ...] | None:
    """Return the arrays in the cache, or None if they are missing, damaged or do not belong to these clips."""
    try:
        with np.load(path, allow_pickle=False) as file:
            z, rows, starts = file["z"], file["rows"], file["starts"]
            levels = file.get("levels")
        if z.shape != (len(rows), dim) or starts.shape != rows.shape or not len(rows) or not np.isfinite(z).all():
            raise ValueError(f"z {z.shape}, rows {rows.shape}, starts {starts.shape}")
        if rows.min() < 0 or rows.max() >= clips:
            raise ValueError(f"rows up to {rows.max()} of {clips} clips")
        if levels is not None and levels.shape != rows.shape:
            raise ValueError(f"levels {levels.shape}, rows {rows.shape}")
        return z, rows, starts, levels
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        warn(f"{path} is damaged ({error!r}); the summaries are made again")
        return None


def _write(path, arrays: tuple[np.ndarray | None, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        named = dict(zip(("z", "rows", "starts", "levels"), arrays, strict=True))
        np.savez(file, **{name: array for name, array in named.items() if array is not None})


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier of sounds that is independent of an autoencoder; made by :func:`fit_judge`."""

    name: str
    """Name of the judge's encoder."""
    probes: Probes = field(repr=False)
    """Linear probe fitted on real sounds; ``probes.accuracy`` is its accuracy on the test sounds."""
    encoder: Encoder = field(repr=False)
    """Encoder whose frames, averaged over time, are the input of the probe."""

    @property
    def classes(self) -> np.ndarray:
        """Labels of the classes, in the order of the probabilities, (C,)."""
        return self.probes.classes

    @property
    def floor(self) -> float:
        """Accuracy that guessing reaches on the test sounds: chance, or the most frequent class if that is higher."""
        return max(self.probes.chance, self.probes.majority)

    @property
    def knows(self) -> bool:
        """Whether the lower bound of the accuracy on the test sounds is above :attr:`floor`.

        It is False if all test sounds are of one group, because there is then no interval.
        """
        return bool(self.probes.interval[0, 0] > self.floor)

    @property
    def accuracy(self) -> str:
        """Sentence with the accuracy on the real test sounds, its interval and the accuracy of guessing."""
        right, (low, high) = self.probes.accuracy[0].mean(), self.probes.interval[0]
        span, groups = f" [{low:.1%} to {high:.1%}]", self.probes.groups
        over = "" if groups is None else f", of {len(np.unique(groups))} groups"
        if np.isnan(low):
            span, over = "", ", of one group, so that there is no interval"
        return (
            f"The judge ({self.name}) is right on {right:.1%}{span} of its {len(self.probes.test)} real test sounds"
            f"{over}; guessing is right on {self.floor:.1%} (chance {self.probes.chance:.1%}, "
            f"the commonest class {self.probes.majority:.1%})."
        )

    @property
    def caution(self) -> str | None:
        """Warning that the judge's answers mean nothing, if it is no better than guessing on real sounds; else None."""
        if self.knows:
            return None
        return f"{self.accuracy} It is not reliably better than guessing: nothing follows from its answers."

    def probabilities(self, waveforms: ArrayLike, rate: int) -> np.ndarray:
        """Return the class probabilities, float64 (N, C), of N sounds (samples,) at ``rate`` Hz.

        Sounds that exceed full scale are scaled down to it.
        """
        from ..datasets import Clips

        if isinstance(waveforms, (str, bytes, dict)) or not hasattr(waveforms, "__len__") or not len(waveforms):
            raise ParameterError("waveforms", type(waveforms).__name__, "a list of at least one waveform")
        arrays = [numbers(f"waveforms[{i}]", x, ndim=1) for i, x in enumerate(waveforms)]
        sounds = [x.astype(np.float32) / max(1.0, float(np.abs(x).max())) for x in arrays]
        z = embed(Clips.from_arrays(sounds, rate), self.encoder, layers=-1, progress=False).layer(0)
        return self.probes.predict_proba(0, z)

    def agreement(self, waveforms: ArrayLike, rate: int, labels: ArrayLike) -> np.ndarray:
        """Return whether each sound is classified as its label, bool (N,)."""
        said = self.classes[self.probabilities(waveforms, rate).argmax(1)]
        return said == known(labels, len(said), "labels")

    @checked
    def save(self, folder: str | os.PathLike) -> Path:
        """Write everything except the encoder to a folder, and return the folder."""
        self.probes.save(Path(folder) / "probes")
        return write_fitted(folder, "Judge", {}, {"name": self.name, "encoder": self.encoder.fingerprint})

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike, encoder: Encoder) -> Judge:
        """Read a judge that :meth:`save` wrote.

        Raises
        ------
        WeightsError
            If the folder does not exist, is damaged, or holds something else.
        ParameterError
            If the encoder, by its fingerprint, is not that with which the judge was fitted.
        """
        _, record = read_fitted(folder, "Judge")
        if record.get("encoder") != encoder.fingerprint:
            expected = f"{record.get('name')}, the one that {folder} was fitted on"
            raise ParameterError("encoder", f"{encoder.name}, {encoder.fingerprint}", expected)
        return cls(encoder.name, Probes.load(Path(folder) / "probes"), encoder)


@checked
def fit_judge(clips: Clips, encoder: Encoder | nn.Module, split: Split, *, progress: bool = True) -> Judge:
    """Fit a classifier of decoded sounds on real sounds: a linear probe on the mean frames of an encoder.

    Fit it on sounds with the length, sampling rate and padding of those that it is to classify: for decoded windows, on
    :meth:`Summaries.windows` at the codec's rate. A probe fitted on whole clips may not generalise to windows.

    Parameters
    ----------
    clips : Clips
        Real sounds with labels, and with groups that must not be in both test and another part.
    encoder : Encoder or nn.Module
        An encoder that is independent of the autoencoder.
    split : Split
        Split of ``clips``; for windows, that of :meth:`Summaries.split`.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Judge
        The judge, fitted on train and valid together with the penalty selected on valid (:func:`workbench.fit_probes`).

    Raises
    ------
    ParameterError
        If :func:`workbench.fit_probes` raises it.
    """
    encoder = as_encoder(encoder)
    z = embed(clips, encoder, layers=-1, progress=progress).layer(0)
    return Judge(encoder.name, fit_probes({"last": z}, clips.labels, split, groups=clips.groups()), encoder)
