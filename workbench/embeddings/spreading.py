"""An extraction whose clips are decoded and encoded by the workers of a dask client.

First the workers compute the content hash of clips that are not in the memo. Then the caller makes the same chunks as
it would alone and groups them into jobs, which contain the rows of clips, but no sounds and no embeddings. A worker
decodes these clips, encodes each chunk in one go and stores a shard. The embeddings therefore equal those of one
process bit for bit (on the same kind of machine and number of threads), a chunk that two callers of a scheduler need is
computed once, and a failure costs no more than the chunks in progress. New clips are decoded twice. All processes must
share the store's folder.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import cluster
from ..core.errors import AudioError, ClusterError, ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..encoders import Encoder, compute_dtype, load_encoder
from .extraction import BATCH_SECONDS, Chunk, Extraction, Policy, load_clip
from .memo import Memo
from .store import Group, Store

if TYPE_CHECKING:
    from ..datasets import Clips

#: Number of clips whose content one job hashes, and largest number of chunks (of some minutes of sound) in a job.
ROWS, MOST_CHUNKS = 64, 16


class Spread(Extraction):
    """One call of :func:`~workbench.embeddings.embed` with a client."""

    def __init__(self, *arguments: Any, store: Store, client: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.store, self.client = store, client

    def _compute_missing(self, todo: list[int]) -> None:
        self.group.check_writable()
        with cluster.parcels() as pack, self._bar(todo) as bar:
            clips, encoder = pack(self.clips), pack(_carried(self.encoder))
            self._find_contents(clips, [i for i in todo if self.contents[i] is None], bar)
            chunks = list(self._planned(todo, bar.update))
            hands = sum(self.client.nthreads().values()) or 1
            size = max(1, min(MOST_CHUNKS, len(chunks) // (4 * hands)))  # several jobs a thread, which end together
            jobs = (self._job(chunks[at : at + size], clips, encoder) for at in range(0, len(chunks), size))
            for job, outcome in cluster.spread(self.client, jobs):
                if isinstance(outcome, ClusterError):
                    raise ClusterError(f"{job.name}: {outcome}") from outcome
                if isinstance(outcome, Exception):
                    raise outcome
                computed, seconds, failed = outcome
                self.computed, self.seconds = self.computed + computed, self.seconds + seconds
                self.failed |= failed
                bar.update(len(job.arguments[-2]))
        self.group.refresh()

    def _find_contents(self, clips: Any, rows: list[int], bar: Any) -> None:
        """Let the workers compute the content hash of these clips."""

        def jobs() -> Iterator[cluster.Job]:
            for at in range(0, len(rows), ROWS):
                part = rows[at : at + ROWS]
                arguments = (clips, part, self.encoder.rate, self.policy.seconds)
                key = fingerprint("contents", [self.keys[i] for i in part])
                yield cluster.Job(f"hearing {len(part)} clips from {self.ids[part[0]]}", key, _contents_of, arguments)

        bar.set_postfix_str("hearing")
        for _, outcome in cluster.spread(self.client, jobs()):
            if isinstance(outcome, Exception):
                raise outcome
            for i, (content, samples, error) in outcome.items():
                if error is not None:
                    self._unreadable(i, error)
                    continue
                self.memo.put(self.keys[i], content, samples, keep=self.settled[i])
                self.contents[i], self.samples[i] = self._content(content, samples), samples
        self.memo.save()
        bar.set_postfix_str("")

    def _planned(self, todo: list[int], done: Any) -> Iterator[Chunk]:
        """Yield the chunks that one process would make, without their sounds."""
        filling, seen, full = {}, set(), self._full()
        for i in todo:
            if i in self.skipped or (chunk := self._place(i, self.samples[i], filling, seen)) is None:
                done(1)
            elif chunk.samples >= full:
                yield filling.pop(chunk.layers)
        yield from (filling[layers] for layers in sorted(filling))

    def _job(self, chunks: list[Chunk], clips: Any, encoder: Any, batch: float | None = None) -> cluster.Job:
        rows = [i for chunk in chunks for i in chunk.clips]
        work = [(chunk.layers, chunk.contents) for chunk in chunks]
        root = str(self.store.root.absolute())
        name = f"encoding {len(rows)} clips from {self.ids[rows[0]]}"
        half = (batch or BATCH_SECONDS.get(self.encoder.device.type, BATCH_SECONDS["cpu"])) / 2
        smaller = functools.partial(self._job, chunks, clips, encoder, half)
        key = fingerprint(root, self.group.folder.name, [chunk.work for chunk in chunks], batch)
        arguments = (root, clips, encoder, self.policy, batch, rows, work)
        return cluster.Job(name, key, _encode, arguments, smaller)


@dataclass(frozen=True)
class _Named:
    """An encoder that `load_encoder` made, which each worker loads itself."""

    options: tuple[tuple[str, Any], ...]
    fingerprint: str
    on_cpu: bool


@dataclass(frozen=True)
class _Pickled:
    """A pickled encoder that was made in memory, with the code of classes that workers cannot import."""

    name: str
    data: bytes


_WAY = "or load it by name, as load_encoder('path/to/file.py:name') does, and each worker loads its own"


def _carried(encoder: Encoder) -> _Named | _Pickled:
    """Return what a worker needs for the encoder: the options it was loaded with, or if there are none its pickle."""
    if encoder.recipe is None:
        from cloudpickle import dumps

        try:
            return _Pickled(encoder.name, dumps(encoder))
        except Exception as error:  # whatever it holds
            expected = f"one that can be sent to workers ({type(error).__name__}: {error}); {_WAY}"
            raise ParameterError("encoder", encoder.name, expected) from error
    return _Named(tuple(encoder.recipe.items()), encoder.fingerprint, encoder.device.type == "cpu")


@functools.lru_cache(maxsize=2)
def _loaded(named: _Named | _Pickled) -> Encoder:
    if isinstance(named, _Pickled):
        from cloudpickle import loads

        try:
            return loads(named.data)
        except Exception as error:  # a module that only the caller can import, another version of a library ...
            expected = f"one that workers can read ({type(error).__name__}: {error}); {_WAY}"
            raise ParameterError("encoder", named.name, expected) from error
    encoder = load_encoder(**dict(named.options), device="cpu" if named.on_cpu else "auto")
    if encoder.fingerprint != named.fingerprint:
        raise WeightsError(
            f"a worker loads {encoder.name} with other weights than its caller ({encoder.fingerprint} and "
            f"{named.fingerprint}): WORKBENCH_WEIGHTS must hold the same files, and the libraries be the same"
        )
    return encoder


@functools.lru_cache(maxsize=4)
def _group(root: str, mark: str, compute: str, policy: tuple) -> Group:
    """Return a group of the store, whose index this process keeps from one job to the next."""
    pooling, seconds, dtype = policy
    return Store(root).group(mark, compute=compute, pooling=pooling, seconds=seconds, dtype=dtype)


def _contents_of(clips: Clips, rows: list[int], rate: int, seconds: float | None) -> dict[int, tuple]:
    """Return, on a worker, the content hash, the number of samples and the error of each row."""
    contents: dict[int, tuple] = {}
    for i in rows:
        try:
            content, x = load_clip(clips, i, rate, seconds)
            contents[i] = content, len(x), None
        except AudioError as error:
            contents[i] = None, 0, error
    return contents


def _encode(
    root: str,
    clips: Clips,
    encoder: _Named | _Pickled,
    policy: Policy,
    batch: float | None,
    rows: list[int],
    work: list[tuple[tuple[str, ...], list[str]]],
) -> tuple[int, float, dict[str, str]]:
    """Encode and store chunks, on a worker; return the number of clips, the seconds, and the clips that failed."""
    encoder = _loaded(encoder)
    group = _group(root, encoder.fingerprint, compute_dtype(encoder), (policy.pooling, policy.seconds, policy.dtype))
    own = Extraction(clips.take(np.array(rows)), encoder, policy, group, Memo(None), False, batch_seconds=batch)
    group.refresh()
    position = 0
    with own._bar([]) as bar:
        for layers, contents in work:
            chunk = Chunk(layers)
            here = range(position, position + len(contents))
            position += len(contents)
            if not any(group.missing(content, layers) for content in contents):
                continue
            for k, content in zip(here, contents, strict=True):
                heard, x = own._load(k)
                if own._content(heard, len(x)) != content:
                    raise ParameterError("clips", str(own.ids[k]), "a sound that does not change while it is encoded")
                chunk.add(k, content, len(x))
                chunk.waveforms.append(x)
            own._compute(chunk, bar)
    own._flush()
    return own.computed, own.seconds, own.failed
