"""Run an encoder over clips once: what is stored is found, what is missing is computed and stored.

Work is cut into chunks: as many missing clips, in the order of the clips, as make some minutes of sound. A chunk is
encoded in one go and stored as a whole, so the clips that share its batches are the same whether a run was killed and
resumed or not. That is what makes a resumed run bit-identical to an undisturbed one (same machine, device and number of
threads, same clips, same store to begin with, and no clip on which the encoder itself fails: it is tried again, and
moves the chunks after it). In other circumstances, such as a clip added later, a clip's numbers depend on the clips it
shared a batch with as far as the encoder's padding policy says: not beyond float tolerance.
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


#: Longest ``seconds``: shorter clips are padded to it.
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
    """Embeddings of clips at several layers, from the store where they are there, else computed and stored.

    Parameters
    ----------
    clips : Clips
    encoder : Encoder or nn.Module
        A torch module becomes one by :func:`~workbench.encoders.encoder_from`, which reads its rate.
    layers : "all", name, position, or several of these
        All layers asked for are computed in one pass; layers asked for later cost a pass for themselves only.
    pooling : {"mean", "mean+std", None}
        Over a clip's frames; None keeps the frames.
    dtype : {"float32", "float16", "bfloat16"}
        As stored. What comes out is float32 in any case.
    seconds : float, optional
        Use the first ``seconds`` of each clip, zero-padded on the right; default whole clips.
    store : Store or path, optional
        Default ``Store()``; False keeps the embeddings in memory only.
    on_error : {"raise", "skip"}
        What a clip that cannot be read or encoded does: stop (after what was finished is stored), or be left out,
        with one warning and an entry in :attr:`Embeddings.skipped`.
    client : distributed.Client, optional
        A dask client whose workers compute what is missing (:mod:`workbench.core.cluster`), with equal results; the
        store's folder must be one that they share.
    progress : bool
        Show a bar while something is computed.

    Returns
    -------
    Embeddings

    Raises
    ------
    ParameterError
        A wrong argument, or no clips.
    AudioError
        A clip cannot be read or encoded and ``on_error`` is "raise"; the message names it.
    StoreError
        Something has to be computed and the store cannot be written. Interrupting is safe at any moment: what was
        finished is stored, and the same call goes on from there.
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
        except ParameterError as error:  # which calls it root
            raise ParameterError("store", str(store), "a Store, the path of a folder, or False") from error
        compute = compute_dtype(encoder)
        group = kept.group(encoder.fingerprint, compute=compute, pooling=pooling, seconds=seconds, dtype=dtype)
        memo = kept.memo()
    policy = Policy(chosen, pooling, dtype, seconds, on_error == "skip")
    if client is not None:
        from .spreading import Spread

        return Spread(clips, encoder, policy, group, memo, progress, store=kept, client=client).run()
    return Extraction(clips, encoder, policy, group, memo, progress).run()
