"""The work of one call of `embed`: find missing clips, decode them in advance, encode them in chunks and store them."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from .. import audio
from ..core.errors import AudioError, ParameterError, StoreError
from ..core.fingerprints import fingerprint
from ..core.progress import progress_bar
from ..core.warn import warn
from ..encoders import Encoder, batching, compute_dtype
from .claims import Claims
from .memo import Memo
from .result import Embeddings
from .shards import Frames, pack
from .store import Group

if TYPE_CHECKING:
    from ..datasets import Clips

#: Padded seconds of a batch, by device.
BATCH_SECONDS = batching.BATCH_SECONDS
#: Largest chunk in seconds of sound if frames are kept (of 13 layers of 768 they take 400 MB).
FRAMES_CHUNK_SECONDS = 192.0
#: A shard is written when results of this size are waiting, or when so many seconds have passed since the last shard.
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 30.0
#: Seconds for which another process's claim on a chunk is respected.
PATIENCE = 600.0


@dataclass(frozen=True)
class Policy:
    """Arguments of :func:`~workbench.embeddings.embed`."""

    layers: list[str]
    pooling: str | None
    dtype: str
    seconds: float | None
    skip: bool


@dataclass
class Chunk:
    """Clips that lack the same layers and are encoded together."""

    layers: tuple[str, ...]
    clips: list[int] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    waveforms: list[np.ndarray] = field(default_factory=list)
    samples: int = 0

    def add(self, clip: int, content: str, samples: int) -> None:
        self.clips.append(clip)
        self.contents.append(content)
        self.samples += samples

    @property
    def work(self) -> str:
        """Hash of the work, which is the same in every process that plans it."""
        return hashlib.sha256(repr((self.layers, self.contents)).encode()).hexdigest()


class Extraction:
    """One call of :func:`embed`."""

    def __init__(
        self,
        clips: Clips,
        encoder: Encoder,
        policy: Policy,
        group: Group,
        memo: Memo,
        progress: bool,
        batch_seconds: float | None = None,
    ):
        self.clips, self.encoder, self.policy, self.batch_seconds = clips, encoder, policy, batch_seconds
        self.group, self.memo, self.progress = group, memo, progress
        self.ids = clips.table["id"].to_numpy(dtype=str)
        self.planned = len(group.shards)  # only shards that were there at the beginning decide what is missing
        self.skipped: dict[int, str] = {}  # by clip: cannot be read
        self.failed: dict[str, str] = {}  # by content: cannot be encoded
        self.settled = [False] * len(clips)  # whether a later change of its file would change its key
        self.keys = [self._key(i) for i in range(len(clips))]
        self.samples = [memo.samples(key) for key in self.keys]
        self.contents = [self._content(memo.get(key), n) for key, n in zip(self.keys, self.samples, strict=True)]
        self.computed = 0
        self.seconds = 0.0
        self.claims: Claims | None = None
        self.waiting: dict[tuple[str, ...], list[tuple[str, dict[str, np.ndarray]]]] = {}
        self.waiting_bytes, self.waiting_seconds, self.written = 0, 0.0, time.monotonic()

    def run(self) -> Embeddings:
        there = {c: str(self.ids[i]) for i, c in enumerate(self.contents) if c is not None and i not in self.skipped}
        self.group.check(there, self.policy.layers)
        todo = [i for i, c in enumerate(self.contents) if i not in self.skipped and (c is None or self._lacks(c))]
        if todo:
            try:
                self._compute_missing(todo)
            except StoreError:
                raise  # nothing more can be written
            except BaseException:
                self._flush()
                raise
            else:
                self._flush()
            finally:
                if self.claims is not None:
                    self.claims.close()
        self.skipped |= {i: self.failed[c] for i, c in enumerate(self.contents) if c in self.failed}
        self._warn()
        if self.memo.problem:
            self.memo.save()  # without the damaged lines
        self.group.touch()
        return self._result()

    # ---- deciding what to compute ----

    def _lacks(self, content: str) -> tuple[str, ...]:
        return self.group.missing(content, self.policy.layers, among=self.planned)

    def _compute_missing(self, todo: list[int]) -> None:
        deferred = []
        with self._bar(todo) as bar:
            for chunk in self._chunks(todo, bar.update):
                if not self.claims.take(chunk.work):
                    chunk.waveforms = []  # another process computes it; return to it when the rest is done
                    deferred.append(chunk)
                    continue
                self._compute(chunk, bar)
            for chunk in deferred:
                self._flush()  # releases this process's claims, so that no two processes wait for each other
                bar.set_postfix_str("waiting for another process")
                if self._done_elsewhere(chunk):
                    bar.update(len(chunk.clips))
                else:
                    chunk.waveforms = [self._load(i)[1] for i in chunk.clips]
                    self._compute(chunk, bar)

    def _chunks(self, todo: list[int], done: Callable[[int], object]) -> Iterator[Chunk]:
        """Decode clips and group those that lack the same layers; a clip that is found in the store counts as done."""
        filling: dict[tuple[str, ...], Chunk] = {}
        seen: set[str] = set()
        full = self._full()
        with closing(_ahead(self._load, todo, full)) as loaded:
            for i, future in loaded:
                try:
                    content, x = future.result()
                except AudioError as error:
                    self._unreadable(i, error)
                    done(1)
                    continue
                self.memo.put(self.keys[i], content, len(x), keep=self.settled[i])
                self.contents[i], self.samples[i] = self._content(content, len(x)), len(x)
                if (chunk := self._place(i, len(x), filling, seen)) is None:
                    done(1)
                    continue
                self._prepare()
                chunk.waveforms.append(x)
                if chunk.samples >= full:
                    yield filling.pop(chunk.layers)
        yield from (filling[layers] for layers in sorted(filling))

    def _full(self) -> float:
        """Return the number of samples of a chunk, which is one group of clips of batching.stream()."""
        batch = BATCH_SECONDS.get(self.encoder.device.type, BATCH_SECONDS["cpu"])
        longest = FRAMES_CHUNK_SECONDS if self.policy.pooling is None else batching.WINDOW_SECONDS
        return min(4 * batch, longest) * self.encoder.rate

    def _place(self, i: int, samples: int, filling: dict[tuple[str, ...], Chunk], seen: set[str]) -> Chunk | None:
        """Add a clip to the chunk of those that lack the same layers, and return that; None if it lacks no layer."""
        content = self.contents[i]
        self.group.check({content: str(self.ids[i])}, self.policy.layers)
        layers = self._lacks(content)
        if not layers or content in seen:
            return None
        seen.add(content)
        chunk = filling.setdefault(layers, Chunk(layers))
        chunk.add(i, content, samples)
        return chunk

    def _load(self, i: int) -> tuple[str, np.ndarray]:
        return load_clip(self.clips, i, self.encoder.rate, self.policy.seconds)

    def _content(self, content: str | None, samples: int) -> str | None:
        """Return the content's name in the store: the content hash, or another hash if the clip is cut into windows."""
        cut = batching.windowed(self.encoder, samples)
        if content is None or not cut:
            return content
        return hashlib.sha256(f"{content}|{cut}".encode()).hexdigest()[:32]

    def _key(self, i: int) -> str:
        """Return the clip's key in the memo; "" for a clip that cannot be read."""
        now = time.time()
        try:
            signature = self.clips.signature(i)
        except AudioError as error:
            self._unreadable(i, error)
            return ""
        # only files can change under their signature
        state, self.settled[i] = _state(self.clips.source(i), now) if signature.startswith("file|") else ("", True)
        return self.memo.key(f"{signature}|{state}", self.encoder.rate, self.policy.seconds)

    def _unreadable(self, i: int, error: AudioError) -> None:
        """Skip the clip, or raise the error with the clip's id."""
        if self.policy.skip:
            self.skipped[i] = error.reason
        elif str(error).startswith(f"clip {self.ids[i]}"):
            raise error
        else:
            raise AudioError(f"clip {self.ids[i]}", str(error)) from error

    def _prepare(self) -> None:
        """Check before the first chunk that the store can be written, and open the claims."""
        if self.claims is None:
            self.group.check_writable()
            self.claims = Claims(self.group.folder)

    def _done_elsewhere(self, chunk: Chunk) -> bool:
        """Wait until another process has stored the chunk (True) or this one must compute it (False)."""
        patience = time.monotonic() + PATIENCE
        while True:
            ours = self.claims.take(chunk.work)
            self.group.refresh()
            if not self._absent(chunk):
                return True
            if ours or time.monotonic() > patience:
                return False
            time.sleep(0.1)

    def _absent(self, chunk: Chunk) -> list[int]:
        """Return the positions of the chunk's clips that are not in the store."""
        return [k for k, content in enumerate(chunk.contents) if self.group.missing(content, chunk.layers)]

    # ---- computing and storing ----

    def _compute(self, chunk: Chunk, bar) -> None:
        """Encode a whole chunk, and keep the results that no other process has stored meanwhile."""
        self.group.refresh()
        fresh = set(self._absent(chunk))
        if not fresh:
            bar.update(len(chunk.clips))
            return
        start = time.monotonic()
        before = bar.n
        rows: dict[int, dict[str, np.ndarray]] = {}
        windows: Counter[int] = Counter()  # long clip -> fraction of its windows that are done

        def show(k: int | None = None, count: int = 0) -> None:
            if k is not None:
                windows[k] += 1 / count
            bar.n = round(before + finished + sum(windows.values()), 2)
            bar.update(0)

        finished = 0
        results = batching.stream(
            self.encoder,
            chunk.waveforms,
            layers=chunk.layers,
            pooling=self.policy.pooling,
            batch_seconds=self.batch_seconds,
            names=[self.ids[i] for i in chunk.clips],
            on_error=self._fail(chunk) if self.policy.skip else None,
            on_window=show,
            progress=False,
        )
        for finished, (k, arrays) in enumerate(results, 1):  # noqa: B007 (show reads it)
            windows.pop(k, None)
            show()
            if k in fresh:
                rows[k] = {
                    layer: self._pack(array, layer, chunk.clips[k])
                    for layer, array in zip(chunk.layers, arrays, strict=True)
                }
        elapsed = time.monotonic() - start
        bar.n = before + len(chunk.clips)
        bar.update(0)
        self.seconds += elapsed
        self.waiting_seconds += elapsed
        # added in one statement: an interrupt before it leaves nothing of the chunk, one after it the whole chunk
        self.waiting.setdefault(chunk.layers, []).extend((chunk.contents[k], rows[k]) for k in sorted(rows))
        self.computed += len(rows)
        self.waiting_bytes += sum(array.nbytes for row in rows.values() for array in row.values())
        if self.waiting_bytes >= SHARD_BYTES or time.monotonic() - self.written >= SHARD_SECONDS:
            self._flush()

    def _fail(self, chunk: Chunk) -> Callable[[int, AudioError], None]:
        def note(k: int, error: AudioError) -> None:
            self.failed[chunk.contents[k]] = error.reason

        return note

    def _pack(self, frames: np.ndarray, layer: str, clip: int) -> np.ndarray:
        stored = pack(frames, self.policy.dtype)
        if self.policy.dtype == "float16" and not np.isfinite(stored).all():
            peak = np.abs(frames).max()
            where = f"layer {layer} of clip {self.ids[clip]} reaches {peak:.3g}"
            raise ParameterError("dtype", "float16", f"bfloat16 or float32: {where}, float16 ends at 65504")
        return stored

    def _flush(self) -> None:
        """Write the waiting results to shards, then release the claims."""
        for layers in list(self.waiting):
            rows = self.waiting[layers]
            if not rows:  # the encoder failed on every clip
                continue
            contents = [content for content, _ in rows]
            frames = Frames.of(contents, [row for _, row in rows], ragged=self.policy.pooling is None)
            self.group.add(frames, self._record(frames, layers))
            del self.waiting[layers]  # only after it is stored, so that the next flush repeats an interrupted one
        self.waiting_bytes, self.waiting_seconds, self.written = 0, 0.0, time.monotonic()
        self.memo.save()
        if self.claims is not None:
            self.claims.release()

    def _record(self, frames: Frames, layers: Sequence[str]) -> dict[str, object]:
        """Return the record of how a shard was made."""
        policy = self.policy
        return {
            "encoder": self.encoder.describe(),
            "fingerprint": self.encoder.fingerprint,
            "layers": list(layers),
            "pooling": policy.pooling,
            "dtype": policy.dtype,
            "segment": {"seconds": policy.seconds, "tail": "whole" if policy.seconds is None else "pad"},
            "longer_clips": batching.windowed(self.encoder, sys.maxsize) or "cut",
            "compute_dtype": compute_dtype(self.encoder),
            "rate": self.encoder.rate,
            "resampler": "soxr HQ",
            "dataset": self.clips.name,
            "versions": _versions(),
            "device": str(self.encoder.device),
            "compute_seconds": round(self.waiting_seconds, 3),
            "peak_memory_bytes": _peak_memory(self.encoder.device),
            "count": len(frames.contents),
            "nan": sum(_count_nan(array) for name, array in frames.arrays.items() if name.startswith("frames/")),
        }

    # ---- the result ----

    def _bar(self, todo: list[int]):
        # windows of a long clip advance it by fractions
        return progress_bar(total=len(todo), desc=self.encoder.name, unit="clip", miniters=0, disable=not self.progress)

    def _warn(self) -> None:
        if self.skipped:
            lines = [f"{self.ids[i]}: {reason}" for i, reason in sorted(self.skipped.items())]
            more = "" if len(lines) <= 3 else f"; and {len(lines) - 3} more (see .skipped)"
            message = f"{len(lines)} of {len(self.clips)} clips cannot be read or encoded and are left out: "
            warn(message + "; ".join(lines[:3]) + more)
        left_out = [
            left
            for i, n in enumerate(self.samples)
            if i not in self.skipped and (left := batching.beyond(self.encoder, n))
        ]
        if left_out:
            warn(batching.unheard(self.encoder, left_out, len(self.clips)))

    def _result(self) -> Embeddings:
        valid = np.array([i for i in range(len(self.clips)) if i not in self.skipped], np.int64)
        contents = [self.contents[i] for i in valid]
        addresses = {layer: self.group.addresses(contents, layer) for layer in self.policy.layers}
        if any((rows < 0).any() for rows in addresses.values()):
            raise StoreError(f"shards were removed from {self.group.folder} while they were in use; run again")
        policy = (self.policy.pooling, self.policy.seconds, self.policy.dtype, tuple(self.policy.layers))
        return Embeddings(
            fingerprint=fingerprint(self.encoder.fingerprint, compute_dtype(self.encoder), *policy, contents),
            layers=tuple(self.policy.layers),
            ids=self.ids[valid],
            valid=valid,
            skipped={str(self.ids[i]): reason for i, reason in sorted(self.skipped.items())},
            pooling=self.policy.pooling,
            dtype=self.policy.dtype,
            encoder=self.encoder.describe(),
            clips=self.clips,
            hits=len(valid) - self.computed,
            computed=self.computed,
            seconds=self.seconds,
            shards=self.group.shards,
            addresses=addresses,
        )


def load_clip(clips: Clips, i: int, rate: int, seconds: float | None) -> tuple[str, np.ndarray]:
    """Return the content hash and the samples of a clip at this rate and length."""
    x = np.ascontiguousarray(clips.audio(i, rate=rate)[0], dtype=np.float32)
    if seconds is not None:
        x = audio.fit(x, rate, seconds=seconds)
    digest = hashlib.sha256(f"{rate}|".encode())
    digest.update(x.data)
    return digest.hexdigest()[:32], x


def _ahead(load: Callable[[int], tuple], todo: list[int], room: float) -> Iterator[tuple[int, Future]]:
    """Decode clips in threads, in order and in advance of the encoder, with at most about ``room`` samples waiting."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        queue: deque[tuple[int, Future]] = deque()
        ahead, rest = 2, iter(todo)  # until the length of the first clip is known
        while True:
            while len(queue) < ahead and (i := next(rest, None)) is not None:
                queue.append((i, pool.submit(load, i)))
            if not queue:
                return
            i, future = queue.popleft()
            if future.exception() is None:
                ahead = min(max(int(room // max(len(future.result()[1]), 1)), 1), 256)
            yield i, future
    finally:
        pool.shutdown(cancel_futures=True)


def _state(source: Path, now: float) -> tuple[str, bool]:
    """Return the state of a file (size, times, inode), and whether any later change will change this state.

    If not, the memo must not store the file. The ctime cannot be set back, but two changes within one tick of the file
    system's clock look like one; a tick is at most .1 s, or two seconds where times are whole seconds.
    """
    try:
        status = os.stat(source)
    except OSError:
        return "", False
    tick = 0.1 if status.st_ctime_ns % 10**9 else 2.0
    state = f"{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{status.st_ino}"
    return state, now - max(status.st_mtime, status.st_ctime) > tick


def _count_nan(stored: np.ndarray) -> int:
    if stored.dtype == np.uint16:  # bfloat16: all exponent bits are 1, and the fraction is not 0
        return int(np.count_nonzero((stored & 0x7FFF) > 0x7F80))
    return int(np.count_nonzero(np.isnan(stored)))


def _versions() -> dict[str, str]:
    versions = {"python": sys.version.split()[0]}
    for package in ("audio-workbench", "torch", "numpy", "soxr", "soundfile", "transformers"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _peak_memory(device: torch.device) -> int | None:
    """Return the peak memory in bytes, of the GPU if it is used, else of this process; None if it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    # kilobytes, but bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
