"""Measure the attributes of clips with :func:`measure`, which keeps them in the store of embeddings.

A set of attributes that is computed from sound is wrapped as an encoder with one frame a clip, the vector of
attributes. :func:`~workbench.embeddings.embed` can so store the results, share work among processes, continue after an
interrupt and name damaged files.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ..core import decoding
from ..core.checks import checked, number, whole
from ..core.errors import AudioError, ParameterError
from ..core.fingerprints import fingerprint
from ..core.warn import warn
from ..embeddings import embed
from ..encoders import Encoder, Layer
from . import egemaps
from .crepe import CODE_VERSION as CREPE_VERSION
from .crepe import CREPE, crepe
from .crepe import version as crepe_version
from .music import CODE_VERSION as MUSIC_VERSION
from .music import MUSIC, music
from .music import RATE as MUSIC_RATE
from .praat import CODE_VERSION as PRAAT_VERSION
from .praat import PRAAT, praat
from .praat import version as praat_version
from .result import Attributes
from .speech import CODE_VERSION as SPEECH_VERSION
from .speech import SPEECH, SPEECH_PAPER, speech, speech_paper
from .voice import CODE_VERSION, RATE, VOICE, voice

if TYPE_CHECKING:
    from ..datasets import Clips

#: Families of the factors of the generated sets; any other factor is a family of its own.
FACTOR_FAMILIES = {
    **dict.fromkeys(("midi", "f0", "pitch", "trill_interval", "vibrato_rate", "vibrato_extent"), "pitch"),
    **dict.fromkeys(("f1", "f2", "f3", "vowel", "openness", "frontness"), "formants"),
    **dict.fromkeys(("hnr", "jitter", "shimmer", "open_quotient"), "voice quality"),
    **dict.fromkeys(("loudness", "dynamic", "modulation_depth"), "loudness"),
    **dict.fromkeys(("modulation_rate", "rate"), "rhythm"),
    **dict.fromkeys(("tilt", "microphone"), "spectral"),
    **dict.fromkeys(("direct_to_reverberant", "decay_time", "snr"), "recording"),
}


@checked
def measure(
    clips: Clips,
    *,
    set: Literal["auto", "egemaps", "voice", "speech", "music", "praat", "crepe", "factors"] = "auto",
    config: Literal["default", "paper"] = "default",
    seconds: float | None = None,
    rate: int | None = None,
    cache: bool | str | os.PathLike = True,
    progress: bool = True,
    on_error: Literal["raise", "skip"] = "raise",
) -> Attributes:
    """Measure properties of clips; what is in the store is read, the rest is computed and stored.

    Parameters
    ----------
    clips : Clips
    set : {"auto", "egemaps", "voice", "speech", "music", "praat", "crepe", "factors"}
        "egemaps": 88 functionals by openSMILE, free for research, teaching and private use only
        (:mod:`workbench.attributes.egemaps`).
        "voice": pitch, voice quality, formants, loudness, rhythm and spectrum by this package
        (:mod:`workbench.attributes.voice`).
        "speech": median (Hz) and spread (semitones) of the pitch of the voiced frames, loudness (LKFS) and syllables a
        second (:mod:`workbench.attributes.speech`).
        "music": tempo, key, chroma, brightness, harmonic and percussive parts, loudness
        (:mod:`workbench.attributes.music`).
        "praat": pitch, voice quality and formants by Praat (:mod:`workbench.attributes.praat`), with which
        :func:`~workbench.attributes.agreement` can compare "voice".
        "crepe": pitch by a neural network (:mod:`workbench.attributes.crepe`), for comparison too.
        "factors": the columns of the clips' table that are known properties, which are exact in generated sets. Numbers
        are used as they are; each value of a category becomes a 0/1 column named "factor=value".
        "auto": "egemaps" if opensmile is installed, else "voice"; the result says which.
    config : {"default", "paper"}
        "paper", for "speech" only, measures its first three attributes as the first author of arXiv 2406.16145 does,
        with the spread in Hz and with the faults that :func:`~workbench.attributes.speech.speech_paper` lists; a clip
        that is dropped there is undefined here.
    seconds : float, optional
        Measure the first ``seconds`` of each clip, zero-padded on the right, as an encoder with the same ``seconds``
        gets them; the padding is measured too. By default whole clips are measured. Factors always are of whole clips.
    rate : int, optional
        Rate in Hz to which sounds are resampled for "egemaps". By default each clip is measured at its own rate, which
        gives the values of openSMILE run on the file; if the clips have several rates, a warning says that the values
        depend on them. For the other sets, sounds are resampled to 16 kHz ("music": 22.05 kHz); a sound of a lower rate
        has no energy in the bands above.
    cache : bool or path
        True for the user's store, False for none, or the path of a store.
    progress : bool
        Whether to show a bar while something is computed.
    on_error : {"raise", "skip"}
        What to do with a clip that cannot be read: "raise" is an error, "skip" leaves it out with a warning and an
        entry in ``skipped``.

    Returns
    -------
    Attributes

    Raises
    ------
    ParameterError
        The set is unknown or its package is not installed, the clips have no factors, ``rate`` is given for another set
        than "egemaps", or ``config`` for another set than "speech".
    AudioError
        A clip cannot be read and ``on_error`` is "raise"; the message names it.
    StoreError
        Something has to be computed and the store cannot be written.
    """
    if seconds is not None:
        seconds = number("seconds", seconds, above=0, below=1e7)
    if set == "auto":
        set = "egemaps" if egemaps.installed() else "voice"
    if rate is not None and set != "egemaps":
        raise ParameterError("rate", rate, f"None for the set {set!r}")
    if config != "default" and set != "speech":
        raise ParameterError("config", config, f"'default' for the set {set!r}")
    if set == "factors":
        return _factors(clips)
    options = {"seconds": seconds, "store": cache, "progress": progress, "on_error": on_error}
    if set == "egemaps":
        return _egemaps(clips, None if rate is None else whole("rate", rate, least=1000), options)
    name = set if config == "default" else f"{set}, {config}"
    return _measured(clips, name, _own_meter(name), options)


def _egemaps(clips: Clips, rate: int | None, options: dict) -> Attributes:
    """Measure all clips at one rate, or those of each rate together."""
    rates = np.array(_rates(clips) if rate is None else [rate] * len(clips))
    counts = Counter(rates.tolist())
    if len(counts) > 1:
        listed = ", ".join(f"{n} of {hertz} Hz" for hertz, n in sorted(counts.items()))
        text = f"{clips.name}: clips of several rates ({listed}), on which eGeMAPS depends; rate= brings them to one"
        warn(text)
    groups = [(hertz, np.flatnonzero(rates == hertz)) for hertz in sorted(counts)]
    parts = [
        _measured(clips if len(groups) == 1 else clips.take(rows), "egemaps", _egemaps_meter(hertz), options)
        for hertz, rows in groups
    ]
    kept = [i for i, part in enumerate(parts) if len(part.valid)]  # without rates whose clips are all left out
    if len(parts) == 1 or not kept:
        return parts[0]
    valid = np.concatenate([groups[i][1][parts[i].valid] for i in kept])
    order = np.argsort(valid)
    return dataclasses.replace(
        parts[0],
        values=np.concatenate([parts[i].values for i in kept])[order],
        ids=np.concatenate([parts[i].ids for i in kept])[order],
        valid=valid[order],
        skipped={key: why for part in parts for key, why in part.skipped.items()},
    )


def _rates(clips: Clips) -> list[int]:
    """Return each clip's own rate in Hz; an unreadable file gets that of its neighbour, as reading it fails later."""
    rates: list[int | None] = []
    for i in range(len(clips)):
        source = clips.source(i)
        if isinstance(source, Path):
            try:
                rates.append(decoding.rate_of(source, source))
            except AudioError:
                rates.append(rates[-1] if rates else None)
        else:  # arrays and generated sounds have one rate
            rates.append((rates[-1] if rates else None) or clips.audio(i)[1])
    first = next((rate for rate in rates if rate), 16000)
    return [rate or first for rate in rates]


def _measured(clips: Clips, set: str, meter: _Meter, options: dict) -> Attributes:
    embeddings = embed(clips, meter, **options)
    values, defined = np.split(embeddings.layer(0).astype(np.float64), 2, axis=1)
    return Attributes(
        set=set,
        names=meter.names,
        values=np.where(defined > 0, values, np.nan),
        families=meter.families,
        meanings=meter.meanings,
        ids=embeddings.ids,
        valid=embeddings.valid,
        skipped=embeddings.skipped,
    )


class _Meter(Encoder):
    """A function from waveform to attributes, wrapped as an encoder of one layer with one frame a clip.

    As frames must be finite, a frame holds the values, with 0 for undefined ones, followed by 1 or 0 for each value,
    which says whether it is defined.

    Parameters
    ----------
    name : str
    rate : int
        Rate of the waveforms for ``function``, Hz.
    function : callable
        float32 (samples,) -> (A,), NaN where undefined.
    version : tuple
        Versions on which the numbers depend.
    families, meanings : dict of str to str
        Name of each attribute -> its family or meaning, in the order of ``function``.
    reentrant : bool
        Whether ``function`` may run in several threads at once.
    """

    padding = "masked"
    compute = "float32"

    def __init__(
        self,
        name: str,
        rate: int,
        function: Callable[[np.ndarray], Sequence[float]],
        *,
        version: tuple,
        families: dict[str, str],
        meanings: dict[str, str],
        reentrant: bool,
    ):
        self.name, self.rate, self.function, self.reentrant = f"attributes {name}", rate, function, reentrant
        self.names, self.families, self.meanings = tuple(families), families, meanings
        self.layers = (Layer(name, 2 * len(self.names), 0.0),)
        self.fingerprint = fingerprint("attributes", name, rate, version, self.names)

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Measure a batch, see :meth:`Encoder.forward`."""
        rows = [self.function(row[:n]) for row, n in zip(x.numpy(), lengths.tolist(), strict=True)]
        values = torch.tensor(np.array(rows), dtype=torch.float32)
        defined = values.isfinite()
        frame = torch.cat((values.where(defined, 0.0), defined.float()), 1)[:, None]
        return [(frame, torch.ones_like(lengths)) for _ in layers]


def _own_meter(name: str) -> _Meter:
    """Return the encoder of one of the sets that are functions of this package."""
    rate, reentrant = RATE, True
    if name == "voice":
        table, function, version = VOICE, voice, (CODE_VERSION,)
    elif name == "speech":
        table, function, version = SPEECH, speech, (SPEECH_VERSION,)
    elif name == "music":
        table, function, version = MUSIC, music, (MUSIC_VERSION, _release("librosa"))
        rate = MUSIC_RATE
    elif name == "praat":
        table, function, version = PRAAT, praat, (PRAAT_VERSION, praat_version())
        reentrant = False
    elif name == "crepe":
        table, function, version = CREPE, crepe, (CREPE_VERSION, crepe_version())
        reentrant = False
    else:
        table, function, version = SPEECH_PAPER, speech_paper, (SPEECH_VERSION, _release("torchaudio"))
    return _Meter(
        name,
        rate,
        lambda x: list(function(x, rate).values()),
        version=version,
        families={name: family for name, (family, _) in table.items()},
        meanings={name: meaning for name, (_, meaning) in table.items()},
        reentrant=reentrant,
    )


def _release(distribution: str) -> str:
    """Return the version of a library on which numbers depend, without a build label such as "+cpu"."""
    return metadata.version(distribution).partition("+")[0]


def _egemaps_meter(rate: int) -> _Meter:
    smile = egemaps.Egemaps(rate)
    return _Meter(
        "egemaps",
        rate,
        smile,
        version=(egemaps.CODE_VERSION, smile.version),
        families={name: egemaps.family(name) for name in smile.names},
        meanings=dict.fromkeys(smile.names, "functional of eGeMAPSv02 (Eyben et al. 2016)"),
        reentrant=False,
    )


def _factors(clips: Clips) -> Attributes:
    """Return the factors of the table: numbers as they are, categories as indicator columns."""
    if not clips.factors:
        raise ParameterError("set", "factors", f"'voice' or 'egemaps': {clips.name} has no known factors")
    columns, families, meanings = {}, {}, {}
    for factor in clips.factors:
        column = clips.table[factor]
        family = FACTOR_FAMILIES.get(factor, factor)
        if column.dtype.kind in "iuf":
            columns[factor] = column.to_numpy(np.float64)
            families[factor], meanings[factor] = family, "number, as in the table"
            continue
        text = column.astype(object).where(column.notna(), "").astype(str)
        for value in sorted({*text} - {""}):
            name = f"{factor}={value}"
            columns[name] = np.where(text == "", np.nan, text == value).astype(np.float64)
            families[name], meanings[name] = family, f"category: 1 where {factor} is {value}, else 0"
    return Attributes(
        set="factors",
        names=tuple(columns),
        values=np.stack(list(columns.values()), axis=1),
        families=families,
        meanings=meanings,
        ids=clips.table["id"].to_numpy(dtype=str),
        valid=np.arange(len(clips)),
        skipped={},
    )
