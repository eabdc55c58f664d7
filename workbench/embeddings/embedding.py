"""Embed clips with an encoder: stored embeddings are read, missing ones are computed and stored.

Work is divided into chunks of some minutes of sound, made of missing clips in the order of the clips. A chunk is
encoded in one go and stored as a whole, so that the same clips share its batches whether or not a run was killed and
resumed. A resumed run is therefore bit-identical to an uninterrupted one, on the same machine, device and number of
threads, with the same clips and the same store at the beginning, unless the encoder fails on a clip (which is then
tried again, so that later chunks differ). In other cases, as when a clip was added later, a clip may be in another
batch, which changes its numbers by no more than float tolerance.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from torch import nn

from ..core.checks import checked, number
from ..core.cluster import is_dask
from ..core.errors import ParameterError
from ..encoders import Encoder, as_encoder, compute_dtype
from .extraction import Extraction, Policy
from .memo import Memo
from .result import Embeddings
from .store import Group, Store

if TYPE_CHECKING:
    from ..datasets import Clips


#: Largest value of ``seconds``, as shorter clips are padded to it.
MOST_SECONDS = 86400.0


@checked
def embed(
    clips: Clips,
    encoder: Encoder | nn.Module,
    *,
    layers: str | int | Sequence[str | int] = "all",
    pooling: Literal["mean", "mean+std"] | None = "mean",
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    seconds: float | None = None,
    store: Store | str | os.PathLike | bool | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    client: object | None = None,
    progress: bool = True,
) -> Embeddings:
    """Embed clips at several layers; what is in the store is read, the rest is computed and stored.

    Parameters
    ----------
    clips : Clips
    encoder : Encoder or nn.Module
        A torch module is turned into an encoder by :func:`~workbench.encoders.encoder_from`, which reads its rate.
    layers : "all", name, position, or several of these
        Layers to embed, which are computed in one pass. If other layers are asked for later, only those are computed.
    pooling : {"mean", "mean+std", None}
        How the frames of a clip are pooled; None keeps the frames.
    dtype : {"float32", "float16", "bfloat16"}
        Type in which embeddings are stored; they are returned as float32 in any case.
    seconds : float, optional
        Use the first ``seconds`` of each clip, zero-padded on the right; by default whole clips.
    store : Store or path, optional
        By default ``Store()``; False keeps the embeddings in memory only.
    on_error : {"raise", "skip"}
        What to do with a clip that cannot be read or encoded: "raise" stops with an error (finished clips are stored),
        "skip" leaves the clip out, with one warning and an entry in :attr:`Embeddings.skipped`.
    client : distributed.Client, optional
        A dask client whose workers compute the missing embeddings (:mod:`workbench.core.cluster`), with equal results;
        they must share the store's folder.
    progress : bool
        Whether to show a bar while something is computed.

    Returns
    -------
    Embeddings

    Raises
    ------
    ParameterError
        An argument is wrong, or there are no clips.
    AudioError
        A clip cannot be read or encoded and ``on_error`` is "raise"; the message names it.
    StoreError
        Something has to be computed and the store cannot be written.

    Notes
    -----
    The call may be interrupted at any moment: finished chunks are stored, and the same call continues from there.
    """
    encoder = as_encoder(encoder, kept=True)
    chosen = [encoder.layers[position].name for position in encoder.select(layers)]
    if seconds is not None:
        number("seconds", seconds, above=0, most=MOST_SECONDS)
    if len(clips) == 0:
        raise ParameterError("clips", clips, "at least one clip")
    if client is not None and not is_dask(client):
        raise ParameterError("client", type(client).__name__, "a dask client (distributed.Client), or None")
    if client is not None and store is False:
        raise ParameterError("store", False, "a folder that the workers of client share")
    if store is False:
        group, memo = Group(None), Memo(None)
    else:
        try:
            kept = store if isinstance(store, Store) else Store(None if store in (None, True) else store)
        except ParameterError as error:  # its message calls the argument root
            raise ParameterError("store", str(store), "a Store, the path of a folder, or False") from error
        compute = compute_dtype(encoder)
        group = kept.group(encoder.fingerprint, compute=compute, pooling=pooling, seconds=seconds, dtype=dtype)
        memo = kept.memo()
    policy = Policy(chosen, pooling, dtype, seconds, on_error == "skip")
    if client is not None:
        from .spreading import Spread

        return Spread(clips, encoder, policy, group, memo, progress, store=kept, client=client).run()
    return Extraction(clips, encoder, policy, group, memo, progress).run()
