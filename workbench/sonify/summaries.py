"""Summary vectors of a dataset, segment by segment, remembered; and a judge that has nothing to do with them."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

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
"""Segments encoded together."""


@dataclass(frozen=True, eq=False)
class Summaries:
    """Summary vectors of all segments of a dataset; made by :func:`summarise`."""

    z: np.ndarray
    """float32 (N, D), a row a segment."""
    rows: np.ndarray
    """Row of the clip that each segment is cut from, int64 (N,): the track whose logits are averaged."""
    starts: np.ndarray
    """Where in its clip a segment begins, seconds, float64 (N,)."""
    levels: np.ndarray | None
    """Root-mean-square level of each segment in its window, dB relative to full scale, float64 (N,), where summaries
    know nothing of it; else None. What ``autoencoder.decode`` takes to give a sound its level back."""
    clips: Clips = field(repr=False)
    """The dataset."""
    seconds: float
    """Longest segment."""
    level: float | None = None
    """Level in dB to which the autoencoder brings every window; None: windows are summed up as they are."""

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
        """Caption of each segment, str (N,): the clip's id, and where it begins if that is not at 0."""
        ids = self.clips.table["id"].to_numpy(str)[self.rows]
        places = zip(ids, self.starts, strict=True)
        return np.array([f"{name} at {start:g} s" if start else name for name, start in places])

    def audio(self, i: int) -> tuple[np.ndarray, int]:
        """The sound of segment i, at the level to which the autoencoder brings it, if any; and its rate."""
        x, rate = self._own(i)
        return (x if self.levels is None else x * np.float32(10 ** ((self.level - self.levels[i]) / 20))), rate

    def _own(self, i: int) -> tuple[np.ndarray, int]:
        """The sound of segment i as it lies in its clip, and its rate."""
        whole("i", i, least=0, most=len(self.rows) - 1)
        return _piece(self.clips, int(self.rows[i]), self.starts[i], self.seconds)

    @checked
    def window(self, i: int, rate: int) -> np.ndarray:
        """Segment i as the autoencoder hears it: at a rate (Hz), zero-padded to the window, brought to its level."""
        return _window(*self._own(i), rate, self.seconds, self.level)

    @checked
    def windows(self, rate: int) -> Clips:
        """All segments as :meth:`window` gives them, as a dataset of their own.

        Parameters
        ----------
        rate : int
            Hz; a codec's, to hear what its decoded sounds are to be heard beside.

        Returns
        -------
        Clips
            Row i is segment i, with its label, and its clip's group.
        """
        from ..datasets import Clips

        columns = {"id": self.names, "label": self.labels, "group": self.groups}
        table = pd.DataFrame(columns | {"clip": self.rows, "begins": self.starts})
        sounds = _Windows(self.clips, self.seconds, whole("rate", rate, least=1), self.level)
        return Clips(table, sounds, name=f"windows of {self.clips.name}")

    def split(self, split: Split) -> Split:
        """Turn a split of the clips into one of the segments."""
        parts = fitting(split, len(self.clips), needed=())
        return Split(*(np.flatnonzero(np.isin(self.rows, rows)) for rows in parts))


def _piece(clips: Clips, i: int, start: float, seconds: float) -> tuple[np.ndarray, int]:
    """At most so many seconds of a clip from a start (s), at its own rate."""
    x, rate = clips.audio(i)
    first = round(start * rate)
    return x[first : first + round(seconds * rate)], rate


def _window(x: np.ndarray, own: int, rate: int, seconds: float, level: float | None) -> np.ndarray:
    """A segment (samples,) at ``own`` Hz as a window: at ``rate``, zero-padded to ``seconds``, at a level (dB)."""
    x = audio.fit(audio.resample(x, own, rate), rate, seconds=seconds)
    return x if level is None else audio.at_level(x, level)


class _Windows:
    """Sounds of :meth:`Summaries.windows`: a row's clip, cut from where it begins, at one rate and length."""

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
    pad: bool = True,
    skip_short: bool = False,
    cache: bool = True,
    progress: bool = True,
) -> Summaries:
    """Cut every clip into windows and sum each up in one vector.

    Windows do not overlap. A last one that is shorter is kept, unless it is under 0.1 s. Silent windows (below -80 dB)
    are left out where the autoencoder brings all windows to one level.

    Parameters
    ----------
    clips : Clips
    autoencoder : SummaryAutoencoder
    pad : bool
        Zero-pad short windows; False: at their own length, as the paper's code (see
        :meth:`~.autoencoder.SummaryAutoencoder.embed`).
    skip_short : bool
        Leave clips under 0.1 s out, with a warning that names them, instead of refusing them.
    cache : bool
        Read what an earlier call with the same sounds and weights wrote to the user's cache folder, else write it.
    progress : bool

    Returns
    -------
    Summaries

    Raises
    ------
    AudioError
        A clip that cannot be decoded, holds NaN or is shorter than 0.1 s; it is named. All clips are silent.

    Warns
    -----
    UserWarning
        Clips or silent windows were left out.
    """
    if not isinstance(autoencoder, SummaryAutoencoder):
        raise ParameterError("autoencoder", type(autoencoder).__name__, "a SummaryAutoencoder")
    if not len(clips):
        raise ParameterError("clips", f"{clips.name}, which is empty", "at least one clip")
    key = fingerprint("summaries", _VERSION, clips.fingerprint, autoencoder.fingerprint, pad, skip_short)
    path = cache_folder() / "summaries" / f"{key}.npz"
    if cache and (kept := _read(path, len(clips), autoencoder.dim)) is not None:
        return Summaries(*kept, clips, autoencoder.seconds, autoencoder.level)
    rate, z, rows, starts, pending, short = autoencoder.encoder.rate, [], [], [], [], []
    size, levels, silent = round(autoencoder.seconds * rate), [], []

    def encode() -> None:
        z.append(autoencoder.embed(pending, rate, pad=pad).cpu().numpy())
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
        for k, piece in enumerate(audio.segment(x, rate, seconds=autoencoder.seconds, tail="keep")):
            if len(piece) < SHORTEST * rate:
                continue
            loud = audio.level(piece) + 10 * np.log10(len(piece) / size if pad else 1.0)
            if autoencoder.level is not None and loud <= audio.SILENT:
                silent.append(f"{clips.table['id'][i]} from {k * autoencoder.seconds:g} s")
                continue
            pending.append(piece)
            rows.append(i)
            starts.append(k * autoencoder.seconds)
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
    """What was kept, if it is whole and of these clips (the archive has a checksum of each array)."""
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
    """Name of its encoder."""
    probes: Probes = field(repr=False)
    """Fitted on real sounds; what it gets right of those held out is ``probes.accuracy``."""
    encoder: Encoder = field(repr=False)
    """The encoder, whose mean frames the probe takes."""

    @property
    def classes(self) -> np.ndarray:
        """Labels in the order of the probabilities, (C,)."""
        return self.probes.classes

    @property
    def floor(self) -> float:
        """Share of its test sounds that are named without hearing: by chance, or by the commonest class if higher."""
        return max(self.probes.chance, self.probes.majority)

    @property
    def knows(self) -> bool:
        """Whether the interval of what it gets right of its test sounds lies above :attr:`floor`.

        False where all test sounds are of one group, for nothing is known of others then.
        """
        return bool(self.probes.interval[0, 0] > self.floor)

    @property
    def accuracy(self) -> str:
        """One sentence on what it gets right of the real sounds that it was not fitted on."""
        right, (low, high) = self.probes.accuracy[0].mean(), self.probes.interval[0]
        span, groups = f" [{low:.1%} to {high:.1%}]", self.probes.groups
        over = "" if groups is None else f", of {len(np.unique(groups))} groups"
        if np.isnan(low):
            span, over = "", ", of one group, so that there is no interval"
        return (
            f"The judge ({self.name}) is right on {right:.1%}{span} of its {len(self.probes.test)} real test sounds"
            f"{over}; without hearing, {self.floor:.1%} are named (chance {self.probes.chance:.1%}, "
            f"the commonest class {self.probes.majority:.1%})."
        )

    @property
    def caution(self) -> str | None:
        """What must be known before anything that it says is read; None where it knows real sounds."""
        if self.knows:
            return None
        return f"{self.accuracy} It cannot be told from one that hears nothing: nothing follows from what it says."

    def probabilities(self, waveforms: ArrayLike, rate: int) -> np.ndarray:
        """Probabilities of the classes, float64 (N, C), of sounds (samples,) at any rate.

        Levels beyond full scale are turned down.
        """
        from ..datasets import Clips

        if isinstance(waveforms, (str, bytes, dict)) or not hasattr(waveforms, "__len__") or not len(waveforms):
            raise ParameterError("waveforms", type(waveforms).__name__, "a list of at least one waveform")
        arrays = [numbers(f"waveforms[{i}]", x, ndim=1) for i, x in enumerate(waveforms)]
        sounds = [x.astype(np.float32) / max(1.0, float(np.abs(x).max())) for x in arrays]
        z = embed(Clips.from_arrays(sounds, rate), self.encoder, layers=-1, progress=False).layer(0)
        return self.probes.predict_proba(0, z)

    def agreement(self, waveforms: ArrayLike, rate: int, labels: ArrayLike) -> np.ndarray:
        """Whether each sound is assigned to its label, bool (N,)."""
        said = self.classes[self.probabilities(waveforms, rate).argmax(1)]
        return said == known(labels, len(said), "labels")

    @checked
    def save(self, folder: str | os.PathLike) -> Path:
        """Write everything but the encoder to a folder, and return it."""
        self.probes.save(Path(folder) / "probes")
        return write_fitted(folder, "Judge", {}, {"name": self.name, "encoder": self.encoder.fingerprint})

    @classmethod
    @checked
    def load(cls, folder: str | os.PathLike, encoder: Encoder) -> Judge:
        """Return what :meth:`save` wrote.

        Raises
        ------
        WeightsError
            A folder that holds something else, or is damaged.
        ParameterError
            Another encoder than the one it was fitted on, as told by its fingerprint.
        """
        _, record = read_fitted(folder, "Judge")
        if record.get("encoder") != encoder.fingerprint:
            expected = f"{record.get('name')}, the one that {folder} was fitted on"
            raise ParameterError("encoder", f"{encoder.name}, {encoder.fingerprint}", expected)
        return cls(encoder.name, Probes.load(Path(folder) / "probes"), encoder)


@checked
def fit_judge(clips: Clips, encoder: Encoder | nn.Module, split: Split, *, progress: bool = True) -> Judge:
    """Fit a linear probe on an encoder's mean frames of real sounds, to ask of other sounds what they sound like.

    Fit it on sounds of the length, rate and padding of those that it is to hear: beside decoded windows, on
    :meth:`Summaries.windows` at the codec's rate. A probe of whole clips is on foreign ground there.

    Parameters
    ----------
    clips : Clips
        Real sounds with labels, and groups that must not be in test and in another part.
    encoder : Encoder or nn.Module
        One that has nothing to do with the autoencoder.
    split : Split
        Rows of ``clips``; of windows, what :meth:`Summaries.split` gives.
    progress : bool

    Returns
    -------
    Judge
        Fitted on train and valid together, with the penalty that valid chose (:func:`workbench.fit_probes`).

    Raises
    ------
    ParameterError
        What :func:`workbench.fit_probes` refuses.
    """
    encoder = as_encoder(encoder)
    z = embed(clips, encoder, layers=-1, progress=progress).layer(0)
    return Judge(encoder.name, fit_probes({"last": z}, clips.labels, split, groups=clips.groups()), encoder)
