"""The store of embeddings, which consists of immutable shards in folders, without an index file that could be stale.

::

    <root>/embeddings/memo.txt              content hashes of unchanged files and recipes, which are not decoded again
    <root>/embeddings/<group>/<shard>       one group for encoder fingerprint + pooling + segment policy + dtype
    <root>/embeddings/<group>/claims        byte-range locks on the work that processes are computing

The key of a row is its group, its layer and the content of the audio, a hash of the float32 samples at the encoder's
rate. The index is held in memory and read from the headers of the shards. Any number of processes may read and write at
once: each writes shards under its own names, and a reader sees every row once (the oldest, if several processes
computed it). A process that is killed loses what it had not written; the temporary file that it leaves is removed when
the store is next opened.

Everything that is read is compared with a checksum first (:mod:`.shards` and :mod:`.memo` say how). Damaged rows are
named in a warning, count as missing and are computed again; they are never returned.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.checks import checked
from ..core.checks import number as _number
from ..core.errors import ParameterError, StoreError
from ..core.files import TEMPORARY, abandoned, cache_folder
from ..core.warn import warn
from . import shards
from .memo import Memo
from .shards import SHIFT, SUFFIX, Frames, Shard

if TYPE_CHECKING:
    import pandas as pd

#: Version of the layout; part of every group's name.
FORMAT = 1
_PRUNE = "(`workbench cache prune --damaged --yes` removes it)"


class Group:
    """The shards of one encoder, pooling, segment policy and dtype, and the index over them.

    Parameters
    ----------
    folder : Path or None
        With None everything is kept in memory.
    named : bool
        Whether the folder's name identifies its content, so that a shard of another group counts as damaged.

    Attributes
    ----------
    shards : list of Frames
        Shards in the order in which they were found; the high bits of an address are a position in this list.
    damaged : dict of Path to str
        Shard that cannot be read -> the reason. Each was named in a warning; its rows count as missing.
    """

    def __init__(self, folder: Path | None, *, named: bool = False):
        self.folder, self.named = folder, named
        self.shards: list[Frames] = []
        self._dropped: set[tuple[int, int]] = set()  # (number of the shard, row) of damaged rows
        self.damaged: dict[Path, str] = {}
        self._names: set[str] = set()
        self._index: dict[tuple[str, ...], dict[str, int]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Add the shards that have appeared since the last call."""
        for path in self._files(SUFFIX):
            if path.name in self._names:
                continue
            self._names.add(path.name)
            try:
                shard = Shard(path)
                if self.named and _name_of(shard.record) != self.folder.name:
                    error = ValueError("is of another encoder, pooling, segment or dtype than its folder")
                    raise StoreError(f"damaged shard {path}: {error}") from error
                self._take(shard)
            except FileNotFoundError:
                continue
            except StoreError as error:
                self.damaged[path] = str(error.__cause__)
                warn(f"{error}; its rows count as missing {_PRUNE}")

    def check(self, clips: Mapping[str, str], layers: Sequence[str]) -> None:
        """Compare stored rows with their checksums; damaged rows count as missing from then on.

        Parameters
        ----------
        clips : mapping of str to str
            Content hash -> id of the clip.
        layers : sequence of str

        Warns
        -----
        UserWarning
            Rows are damaged; the warning names the shard, the layer and the clips.
        """
        indexes = list(self._index.values())
        contents = [content for content in clips if any(content in rows for rows in indexes)]
        again = bool(contents)
        while again:  # another shard may have an intact copy of a dropped row
            again = False
            for layer in layers:
                addresses = np.unique(self.addresses(contents, layer))
                for number in np.unique(addresses[addresses >= 0] >> SHIFT).tolist():
                    rows = addresses[addresses >> SHIFT == number] & (2**SHIFT - 1)
                    try:
                        self.shards[number].check(layer, rows)
                    except StoreError as error:
                        again = True
                        self._drop(number, getattr(error, "rows", rows), getattr(error, "reason", str(error)), clips)
                if again:
                    break

    def _drop(self, number: int, rows: np.ndarray, reason: str, clips: Mapping[str, str]) -> None:
        """Remove damaged rows from the index, so that another copy of the same content is found if there is one."""
        shard = self.shards[number]
        ids = [clips[shard.contents[row]] for row in rows if shard.contents[row] in clips]
        named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        warn(
            f"damaged shard {shard.path}: {reason}; what it holds of {named} is not used but computed again {_PRUNE}",
        )
        self._dropped |= {(number, int(row)) for row in rows}
        self._index.clear()
        for k in range(len(self.shards)):
            self._enter(k)

    def add(self, frames: Frames, record: dict) -> None:
        """Store rows as one shard, completely or not at all.

        Raises
        ------
        StoreError
            The folder cannot be written or is full; nothing of the shard is left.
        """
        if self.folder is None:
            self._take(frames)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shard = shards.write(self.folder, frames, record)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        self._names.add(shard.path.name)
        self._take(shard)

    def check_writable(self) -> None:
        """Check that the folder can be written, before anything is computed.

        Raises
        ------
        StoreError
            The folder cannot be written; the message names it and says what to do.
        """
        if self.folder is None:
            return
        probe = self.folder / f"{uuid.uuid4().hex}{TEMPORARY}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
            probe.unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                probe.unlink()
            raise _unwritable(self.folder, error) from error

    def missing(self, content: str, layers: Sequence[str], *, among: int | None = None) -> tuple[str, ...]:
        """Return the layers that no shard (of the first ``among``) has for this content."""
        limit = (len(self.shards) if among is None else among) << SHIFT
        there = {name for names, rows in self._index.items() if rows.get(content, limit) < limit for name in names}
        return tuple(name for name in layers if name not in there)

    def addresses(self, contents: Sequence[str], layer: str) -> np.ndarray:
        """Return the address of each content's row of a layer, int64 (N,); -1 if it is not stored."""
        addresses = np.full(len(contents), -1, np.int64)
        for names, rows in self._index.items():
            if layer in names:
                here = np.fromiter((rows.get(content, -1) for content in contents), np.int64, len(contents))
                # of equal rows in several shards the oldest is used
                addresses = np.where((addresses < 0) | ((here >= 0) & (here < addresses)), here, addresses)
        return addresses

    def touch(self) -> None:
        """Set the folder's time, which records the last use of the group, if it may be set."""
        if self.folder is not None:
            with contextlib.suppress(OSError):
                os.utime(self.folder)

    def _files(self, suffix: str) -> list[Path]:
        if self.folder is None:
            return []
        try:
            return [self.folder / name for name in sorted(os.listdir(self.folder)) if name.endswith(suffix)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"cannot read the embedding store in {self.folder}: {error}") from error

    def _take(self, frames: Frames) -> None:
        self.shards.append(frames)
        self._enter(len(self.shards) - 1)

    def _enter(self, number: int) -> None:
        base, frames = number << SHIFT, self.shards[number]
        rows = self._index.setdefault(frames.layers, {})
        for row, content in enumerate(frames.contents):
            if (number, row) not in self._dropped:
                rows.setdefault(content, base + row)


class Store:
    """A folder of embeddings.

    Parameters
    ----------
    root : path, optional
        By default the folder in the environment variable ``WORKBENCH_CACHE``, else the user's cache folder.

    Raises
    ------
    ParameterError
        ``root`` is a file.
    """

    @checked
    def __init__(self, root: str | os.PathLike | None = None):
        if root is not None and (not os.fspath(root) or "\0" in str(root)):
            raise ParameterError("root", root, "the path of a folder")
        self.root = Path(root).expanduser() if root is not None else cache_folder()
        self.folder = self.root / "embeddings"
        for path in (self.root, self.folder):
            if path.exists() and not path.is_dir():
                raise ParameterError("root", str(path), "a folder (one that is not there yet is made), not a file")

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def group(self, fingerprint: str, *, compute: str, pooling: str | None, seconds: float | None, dtype: str) -> Group:
        """Return the group of such rows; ``compute`` is the type of computation, ``dtype`` the type in the store."""
        name = _name(fingerprint, compute, pooling, None if seconds is None else float(seconds), dtype)
        for path in self.leftovers():
            with contextlib.suppress(OSError):  # a folder that may only be read
                path.unlink()
        return Group(self.folder / name, named=True)

    def memo(self) -> Memo:
        """Return the memo of content hashes."""
        return Memo(self.folder / "memo.txt")

    def leftovers(self) -> list[Path]:
        """Return the temporary files of processes that were killed."""
        paths = (path for depth in ("*", "*/*") for path in self.folder.glob(depth + TEMPORARY))
        return sorted(filter(abandoned, paths))

    def info(self) -> pd.DataFrame:
        """List the content of the store, with one row for each encoder, pooling, segment policy, dtype and layer.

        Returns
        -------
        DataFrame
            Columns encoder, fingerprint, pooling, seconds (NaN for whole clips), dtype, layer, clips, bytes and
            last_used.
        """
        import pandas as pd

        columns = ["encoder", "fingerprint", "pooling", "seconds", "dtype", "layer", "clips", "bytes", "last_used"]
        rows = [row for group in self._groups() for row in _contents(group)]
        return pd.DataFrame(rows, columns=columns)

    def verify(self) -> pd.DataFrame:
        """Read every shard and the memo, and compare their checksums.

        Returns
        -------
        DataFrame
            Columns path, clips, bytes and problem ("" if the file is intact), with one row for each shard and one for
            the memo if it exists.
        """
        import pandas as pd

        rows = []
        for group in self._groups(quiet=True):
            rows += [(str(p), 0, _size(p), problem) for p, problem in group.damaged.items()]
            rows += [(str(s.path), len(s.contents), s.bytes, s.problem()) for s in group.shards]
        memo = self.folder / "memo.txt"
        if memo.exists():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                held = Memo(memo)
            rows.append((str(memo), len(held), _size(memo), held.problem))
        return pd.DataFrame(rows, columns=["path", "clips", "bytes", "problem"])

    @checked
    def prune(
        self,
        *,
        encoder: str | None = None,
        older_than: float | None = None,
        damaged: bool = False,
        dry_run: bool = True,
    ) -> pd.DataFrame:
        """Remove shards, and in any case temporary files of processes that were killed.

        Parameters
        ----------
        encoder : str, optional
            Name or fingerprint of the encoder whose shards are removed; "all" for all encoders.
        older_than : float, optional
            Remove groups that were not used for so many days; with ``encoder`` only those of that encoder.
        damaged : bool
            Whether to remove shards that :meth:`verify` finds damaged, and damaged lines of the memo.
        dry_run : bool
            Whether only to list files; nothing is removed unless this is False.

        Returns
        -------
        DataFrame
            Columns path, bytes and why, with one row for each file that was, or would be, removed.

        Raises
        ------
        ParameterError
            An argument is wrong, or the store has no shards of that encoder; the message lists its encoders.
        StoreError
            A file cannot be removed.
        """
        import pandas as pd

        if older_than is not None:
            _number("older_than", older_than, least=0)
        doomed: dict[Path, str] = dict.fromkeys(self.leftovers(), "left by a killed writer")
        names = {"all"}
        for group in self._groups(quiet=True):
            if damaged:
                doomed |= {path: f"damaged: {problem}" for path, problem in _damage(group)}
            mine = {name for shard in group.shards for name in _identity(shard)}
            names |= mine
            stale = older_than is not None and time.time() - group.folder.stat().st_mtime > older_than * 86400
            chosen = encoder in mine | {"all"}
            if (chosen and (stale or older_than is None)) or (stale and encoder is None):
                why = f"encoder {encoder}" if chosen else f"unused for more than {older_than:g} days"
                doomed |= {path: why for path in group._files(SUFFIX) if path not in doomed}
        if encoder is not None and encoder not in names:
            raise ParameterError("encoder", encoder, f"one that the store holds: {', '.join(sorted(names))}")
        table = [(str(path), _size(path), why) for path, why in doomed.items()]
        for path in () if dry_run else doomed:
            try:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreError(f"cannot remove {path}: {error}") from error
        if damaged:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                memo = self.memo()
            if memo.problem:
                table.append((str(memo.path), 0, f"damaged: {memo.problem}"))
                if not dry_run:
                    memo.save()
        return pd.DataFrame(table, columns=["path", "bytes", "why"])

    def _groups(self, *, quiet: bool = False) -> Iterator[Group]:
        """Yield every group; with ``quiet``, damaged shards are not warned of, as the caller reports them."""
        folders = sorted(p for p in self.folder.iterdir() if p.is_dir()) if self.folder.is_dir() else []
        for folder in folders:
            with warnings.catch_warnings():
                if quiet:
                    warnings.simplefilter("ignore")
                group = Group(folder, named=True)
            yield group


def _name(fingerprint: str, compute: str, pooling: str | None, seconds: float | None, dtype: str) -> str:
    identity = repr((FORMAT, fingerprint, compute, pooling, seconds, dtype))
    return hashlib.sha256(identity.encode()).hexdigest()[:24]


def _name_of(record: dict) -> str:
    """Return the name of the group to which a shard with this record belongs; "" if the record does not say."""
    try:
        seconds = record["segment"]["seconds"]
        segment = None if seconds is None else float(seconds)
        return _name(record["fingerprint"], record["compute_dtype"], record["pooling"], segment, record["dtype"])
    except (KeyError, TypeError, ValueError):
        return ""


def _unwritable(folder: Path, error: OSError) -> StoreError:
    """Return the error for a store that cannot be written, which says what to do."""
    return StoreError(
        f"cannot write embeddings to {folder}: {error}. Name a folder with room that you may write to in the "
        "environment variable WORKBENCH_CACHE (or store=...), or pass store=False to keep them in memory only"
    )


def _contents(group: Group) -> Iterator[tuple]:
    """Yield the rows of :meth:`Store.info` for one group."""
    import pandas as pd

    if not group.shards:
        return
    record = group.shards[0].record
    used = pd.Timestamp(group.folder.stat().st_mtime, unit="s").round("s")
    policy = (record["pooling"] or "frames", record["segment"]["seconds"] or float("nan"), record["dtype"])
    for layer in _in_order(name for shard in group.shards for name in shard.layers):
        having = [shard for shard in group.shards if layer in shard.layers]
        clips = len({content for shard in having for content in shard.contents})
        size = sum(shard.layer_bytes(layer) for shard in having)
        yield record["encoder"]["name"], record["fingerprint"], *policy, layer, clips, size, used


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the different names in natural order ("features.2" before "features.10")."""
    import re

    return sorted(set(names), key=lambda n: [(int(d or -1), t) for d, t in re.findall(r"(\d+)|(\D+)", n)])


def _identity(shard: Shard) -> set[str]:
    return {shard.record["encoder"]["name"], shard.record["fingerprint"]}


def _damage(group: Group) -> list[tuple[Path, str]]:
    problems = ((shard.path, shard.problem()) for shard in group.shards)
    return [*group.damaged.items(), *((path, problem) for path, problem in problems if problem)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
