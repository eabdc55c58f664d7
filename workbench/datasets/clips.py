"""A dataset as `Clips`: its table with one row a clip, and the sound of each row, loaded when it is asked for."""

from __future__ import annotations

import functools
import hashlib
import html
import math
import tempfile
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import audio
from ..core.checks import checked, close_match, number, numbers, whole
from ..core.errors import AudioError, DatasetError, ParameterError
from ..core.labels import are_classes
from ..core.progress import progress_bar
from ..core.splits import Split
from ..core.warn import warn
from .changes import ChangedSounds, checked_amounts
from .contents import contents, printable
from .labels import is_missing, tidy
from .sounds import ArraySounds, Sounds
from .splits import ONE_GROUP, TOO_FEW, check, choose, each_fold, grouped_folds
from .thirds import cut_at_terciles

#: Columns that say where a sound lies in a file; sounds in memory cannot have them.
_TAKEN = ("path", "start", "stop")
#: Largest number of bytes of waveforms that are held in memory; larger arrays are mapped from a temporary file.
IN_MEMORY = 4e9


class Clips:
    """One dataset: a table with one row a clip, and the sounds of the clips, decoded or made when they are asked for.

    Parameters
    ----------
    table : DataFrame
        Has the columns id and label; split, fold and group where known; and factors and other properties of a clip.
    sounds : Sounds
        Source of the sound of each row.
    name, title, licence, citation : str
    factors : sequence of str
        Columns that are known properties of a clip.
    dropped : mapping of str to int
        Reason -> number of clips that were left out before for it.
    target_name : str
        Column of numbers whose thirds are the labels; "" where the labels are words.

    Attributes
    ----------
    table : DataFrame
        The table with a RangeIndex and at least the columns id (str, unique), label, split and group (str, "" where
        there is none) and fold (Int64).
    generated : bool
        Whether the sounds were made by this package; results on them must say so.

    Raises
    ------
    DatasetError
        There are no rows, a column is missing, or ids repeat (the error names their rows).
    """

    @checked
    def __init__(
        self,
        table: pd.DataFrame,
        sounds: Sounds,
        *,
        name: str,
        title: str = "",
        licence: str = "",
        citation: str = "",
        factors: Sequence[str] = (),
        dropped: Mapping[str, int] | None = None,
        target_name: str = "",
    ):
        if not isinstance(table, pd.DataFrame):
            raise ParameterError("table", type(table).__name__, "a DataFrame with the columns id and label")
        for word in ("audio", "signature", "identity"):
            if not callable(getattr(sounds, word, None)):
                raise ParameterError("sounds", type(sounds).__name__, "sounds, such as FileSounds()")
        self.name, self.title, self.licence, self.citation = name, title or name, licence, citation
        self.sounds, self.generated = sounds, sounds.generated
        if not all(isinstance(factor, str) for factor in factors):
            raise ParameterError("factors", factors, "names of columns")
        if dropped is not None and not isinstance(dropped, Mapping):
            raise ParameterError("dropped", dropped, "a mapping of reasons to numbers of clips")
        self.factors, self.dropped = tuple(factors), dict(dropped or {})
        self.table = _standard(table, name)
        missing = [factor for factor in self.factors if factor not in self.table]
        if missing:
            raise DatasetError(f"{name}: no column for the factors {', '.join(missing)}")
        if target_name and not pd.api.types.is_numeric_dtype(self.table.get(target_name, pd.Series("", [0]))):
            raise ParameterError("target_name", target_name, "a column of numbers")
        self.target_name = target_name

    @classmethod
    @checked
    def from_arrays(
        cls,
        arrays: Sequence,
        rate: int,
        *,
        name: str = "arrays",
        mono: str | int = "mean",
        **columns: Sequence[Any],
    ) -> Clips:
        """Make a dataset of sounds in memory.

        Parameters
        ----------
        arrays : sequence of np.ndarray (samples,) or (channels, samples)
        rate : int
            Hz.
        name : str
        mono : {"mean", "left", "right"} or int
            Whether to use the mean of the channels or one of them.
        **columns : sequences, one value a sound
            Columns id, label, split, fold, group and any factors; by default ids are "0", "1", ... and labels "".

        Raises
        ------
        ParameterError
            An array is not a sound (the error names it), a column has another length than `arrays`, or a label means
            "missing" (None, NaN, "nan"); a clip without a label has the label "".
        """
        whole("rate", rate, least=1)
        if isinstance(arrays, (str, bytes, Mapping)) or not hasattr(arrays, "__len__") or not len(arrays):
            raise ParameterError("arrays", type(arrays).__name__, "a list of at least one array of samples")
        if getattr(arrays, "ndim", 2) < 2 or any(isinstance(x, (int, float, np.number)) for x in arrays):
            raise ParameterError("arrays", f"a list of {len(arrays)} numbers", "a list of arrays, one a sound")
        kept = [_sound(f"arrays[{i}]", x) for i, x in enumerate(arrays)]
        table = pd.DataFrame({"id": [str(i) for i in range(len(arrays))], "label": ""})
        for column, values in columns.items():
            if column in _TAKEN:
                raise ParameterError(column, "a column", f"another name: {', '.join(_TAKEN)} are kept for files")
            if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
                raise ParameterError(column, values, f"a list, one value for each of the {len(arrays)} sounds")
            if len(values) != len(arrays):
                raise ParameterError(column, f"{len(values)} values", f"one value for each of the {len(arrays)} sounds")
            values = values.tolist() if hasattr(values, "detach") else values  # the items of a tensor are tensors
            table[column] = list(values)
            if column in ("id", "label", "split", "group"):
                _check_words(column, list(values))
        table["id"] = table["id"].astype(str)
        known = ("id", "label", "split", "fold", "group", "seconds")
        factors = [column for column in columns if column not in known]
        return cls(table, ArraySounds(_by_id(table["id"], kept, name), rate, mono), name=name, factors=factors)

    # --- looking ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.table)

    def _facts(self) -> list[str]:
        kinds = f"{len(self.classes)} classes" if self.tags is None else f"{self.tags.shape[1]} tags"
        facts = [f"{len(self)} clips", kinds]
        groups = self.table["group"].nunique() if (self.table["group"] != "").any() else 0
        facts += [f"{groups} groups"] if groups else []
        if "seconds" in self.table and self.table["seconds"].notna().all():
            hours = float(self.table["seconds"].sum()) / 3600
            facts.append(f"{hours:.2f} h" if hours >= 0.1 else f"{hours * 60:.1f} min")
        if self.target is not None:
            least, middle, most = np.quantile(self.target, [0, 0.5, 1])
            facts.append(f"{self.target_name} {least:.4g} to {most:.4g}, median {middle:.4g}")
        facts += ["generated audio"] if self.generated else []
        return facts + [f"{count} {reason} left out" for reason, count in self.dropped.items()]

    def __repr__(self) -> str:
        return f"Clips({self.name}: {', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        rows = [("clips", ", ".join(self._facts())), ("factors", ", ".join(self.factors)), ("licence", self.licence)]
        rows.append(("classes", ", ".join(self.classes[:12]) + (" ..." if len(self.classes) > 12 else "")))
        lines = [f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows if v]
        return f"<b>{html.escape(self.title)}</b><table>{''.join(lines)}</table>"

    @property
    def labels(self) -> np.ndarray:
        """Label of each clip, str (N,); "" where a clip has none."""
        return self.table["label"].to_numpy(dtype=str)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels, sorted; "" is not among them."""
        return tuple(sorted(set(self.table["label"]) - {""}))

    @property
    def target(self) -> np.ndarray | None:
        """Value of each clip in the column :attr:`target_name`, float64 (N,); None where labels are words.

        Where there is a target, the labels are its thirds, as :meth:`with_label` says.
        """
        return self.table[self.target_name].to_numpy(np.float64) if self.target_name else None

    @property
    def tags(self) -> pd.DataFrame | None:
        """Tags of each clip, bool (N, C) with one column a tag; None unless labels are sets ("bark+siren", "none")."""
        if "tags" not in self.table or not (self.table["tags"] == self.table["label"]).all():
            return None
        sets = [_tag_set(label) for label in self.table["label"]]
        names = sorted(set().union(*sets))
        return pd.DataFrame([[name in tags for name in names] for tags in sets], columns=names)

    def summary(self) -> pd.DataFrame:
        """Count clips, groups and (where known) seconds of each class, with the range of its target; index: label."""
        by_label = self.table.assign(group=self.table["group"].replace("", pd.NA)).groupby("label")
        counts = pd.DataFrame({"clips": by_label.size(), "groups": by_label["group"].nunique()})
        if "seconds" in self.table:
            counts["seconds"] = by_label["seconds"].sum().round(1)
        if self.target is not None:
            counts["least"], counts["most"] = by_label[self.target_name].min(), by_label[self.target_name].max()
        return counts

    # --- sound --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _columns(self) -> dict[str, list]:
        return {column: self.table[column].tolist() for column in self.sounds.columns if column in self.table}

    def _row(self, i: int) -> dict[str, Any]:
        if not -len(self) <= i < len(self):
            raise ParameterError("i", i, f"a row of the {len(self)} clips of {self.name}")
        return {column: values[i] for column, values in self._columns.items()}

    @checked
    def audio(self, i: int, *, rate: int | None = None) -> tuple[np.ndarray, int]:
        """Return the sound of row i, mono and at its own level; :func:`load_dataset`'s `mono` chose the channels.

        Parameters
        ----------
        i : int
        rate : int, optional
            Rate in Hz to resample to; by default the clip's own.

        Returns
        -------
        x : np.ndarray, float32 (samples,)
        rate : int
            Hz.

        Raises
        ------
        AudioError
            The sound cannot be decoded; the error names the clip and its file.
        """
        if rate is not None:
            whole("rate", rate, least=1)
        row = self._row(i)
        try:
            return self.sounds.audio(row, rate)
        except AudioError as error:
            source = printable(str(self.sounds.source(row)))
            raise AudioError(f"clip {self.table['id'].iat[i]} of {self.name} ({source})", error.reason) from None

    @checked
    def waveforms(self, *, rate: int, seconds: float, progress: bool = True) -> np.ndarray:
        """Return all sounds at one rate and length, each scaled to a peak of 1 (silence stays silence).

        Longer sounds are cut and shorter ones zero-padded on the right. An array larger than 4 GB is mapped into memory
        from a temporary file.

        Returns
        -------
        np.ndarray, float32 (N, samples)
        """
        shape = (len(self), round(whole("rate", rate, least=1) * number("seconds", seconds, above=0)))
        if not shape[1]:
            raise ParameterError("seconds", seconds, "at least one sample")
        if 4 * math.prod(shape) <= IN_MEMORY:
            x = np.zeros(shape, np.float32)
        else:
            with tempfile.TemporaryFile() as file:  # the mapping keeps it alive
                x = np.memmap(file, np.float32, "w+", shape=shape)
        for i in progress_bar(range(len(self)), desc=f"{self.name} at {rate} Hz", disable=not progress, leave=False):
            waveform = audio.fit(self.audio(i, rate=rate)[0], rate, seconds=seconds)
            x[i] = waveform / (np.abs(waveform).max() or 1.0)
        return x

    @checked
    def source(self, i: int) -> Path | str:
        """Return the file of row i, or a text that says where its sound comes from."""
        return self.sounds.source(self._row(i))

    @checked
    def signature(self, i: int) -> str:
        """Return a cache key of row i's sound; it is made without decoding and changes when the sound may have."""
        return self.sounds.signature(self._row(i))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of ids, labels, groups, targets and the sounds (their recipe, or all bytes), 16 hexadecimal digits.

        Each file is read whole once; its checksum is stored in the cache folder until the file changes.

        Warns
        -----
        UserWarning
            Some files cannot be read, which count as unreadable, or a sound is there twice under different labels.
        """
        digest, identities, unread = hashlib.sha256(), [], []
        rows = zip(*(self.table[c].tolist() for c in ("id", "label", "group")), strict=True)
        bar = progress_bar(rows, f"{self.name}: reading files", len(self), leave=False, delay=1, disable=self.generated)
        for i, key in enumerate(bar):
            try:
                identities.append(self.sounds.identity(self._row(i)))
            except AudioError as error:
                identities.append("unreadable")
                unread.append(str(error))
            digest.update("\x1f".join((*key, identities[-1])).encode() + b"\x1e")
        digest.update(b"" if self.target is None else self.target.tobytes())
        contents().save()
        if unread:
            warn(
                f"{self.name}: {len(unread)} of {len(self)} sounds cannot be read: {unread[0]}",
            )
        self._tell_twins(identities)
        return digest.hexdigest()[:16]

    def _tell_twins(self, keys: list[str]) -> None:
        """Warn of sounds that are there twice under different labels."""
        rows = pd.DataFrame({"key": keys, "id": self.table["id"], "label": self.table["label"]})
        rows = rows[rows["key"].duplicated(keep=False) & (rows["key"] != "unreadable")]
        several = [group["id"].tolist() for _, group in rows.groupby("key", sort=False) if group["label"].nunique() > 1]
        if several and not self.generated:
            shown = "; ".join(" = ".join(ids[:3]) for ids in several[:3]) + (" ..." if several[3:] else "")
            warn(
                f"{self.name}: {len(several)} sounds are there twice under different labels: {shown}",
            )

    @checked
    def changed(
        self,
        change: Literal["pitch", "tempo", "gain", "noise", "lowpass"],
        amount: Real | np.ndarray | Sequence[float],
        *,
        seed: int = 0,
    ) -> Clips:
        """Return the same clips with their sounds changed by a known amount, as :mod:`workbench.datasets.changes` says.

        >>> clips.changed("pitch", 2).audio(0)  # two semitones higher  # doctest: +SKIP
        >>> clips.changed("pitch", 2).changed("pitch", -2)  # there and back: what the change leaves  # doctest: +SKIP

        Parameters
        ----------
        change : {"pitch", "tempo", "gain", "noise", "lowpass"}
        amount : float or array_like (N,)
            One amount for all clips, or one for each. Its unit is semitones for "pitch"; for "tempo" a factor (2 is
            twice as fast); dB for "gain" (up to 40, never clipped); for "noise" the level of the clip above the noise
            in dB; for "lowpass" the cutoff in Hz. The amounts 0, 1, 0, infinity and infinity leave a sound as it is,
            bit for bit.
        seed : int
            Seed of the noise, which also depends on the sound itself: a clip has the same noise in any file and at any
            amount.

        Returns
        -------
        Clips
            The clips with the same ids, labels, groups and other columns, so that rows match by id, and a new column
            "pitch_change" (after a second change of pitch "pitch_change_2", and so on) with the amounts. "tempo" also
            changes `seconds`. Factors keep their values from before the change: the pitch of a note that was shifted is
            the old one.

        Raises
        ------
        ParameterError
            The change is unknown, an amount is out of its bounds, or the number of amounts is neither one nor N.
        """
        amounts, table = checked_amounts(change, amount, len(self)), self.table.copy()
        column = f"{change}_change"
        if column in table:
            column = next(f"{column}_{k}" for k in range(2, len(table.columns) + 2) if f"{column}_{k}" not in table)
        table[column] = amounts
        if change == "tempo" and "seconds" in table:
            table["seconds"] = table["seconds"] / amounts
        return self._with(table, None, ChangedSounds(self.sounds, change, column, seed))

    # --- choosing rows --------------------------------------------------------------------------------------------

    def _with(
        self, table: pd.DataFrame, target_name: str | None = None, sounds: Sounds | None = None, /, **dropped: int
    ) -> Clips:
        more = {**self.dropped, **dropped}
        target_name = self.target_name if target_name is None else target_name
        about = {"name": self.name, "title": self.title, "licence": self.licence, "citation": self.citation}
        about |= {"factors": self.factors, "dropped": more, "target_name": target_name}
        return Clips(table, sounds or self.sounds, **about)

    def _column(self, column: str) -> pd.Series:
        if column not in self.table:
            columns = list(self.table.columns)
            raise ParameterError("column", column, f"one of {', '.join(columns)}{close_match(column, columns)}")
        return self.table[column]

    @checked
    def take(self, rows: np.ndarray | Sequence[int]) -> Clips:
        """Return the rows at these positions, in this order, or the rows where a boolean mask (N,) is true."""
        try:
            rows = np.asarray(rows)
        except ValueError:
            raise ParameterError("rows", rows, "whole numbers or a mask, in a list") from None
        if rows.ndim != 1 or (rows.dtype.kind not in "iub" and rows.size):
            raise ParameterError("rows", _short(rows), "whole numbers or a mask, in a list")
        if rows.dtype == bool and rows.shape != (len(self),):
            raise ParameterError("rows", f"mask of shape {rows.shape}", f"of shape ({len(self)},)")
        if rows.dtype != bool and rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise ParameterError("rows", f"positions up to {rows.max()}", f"positions in {len(self)} clips")
        return self._with(self.table[rows] if rows.dtype == bool else self.table.iloc[rows.astype(int)])

    def where(self, **columns: Any) -> Clips:
        """Return the rows whose columns have a given value, one of several values, or a value that a function accepts.

        >>> clips.where(technique=["vibrato", "straight"], midi=lambda m: m > 60)  # doctest: +SKIP
        """
        mask = np.ones(len(self), bool)
        for column, wanted in columns.items():
            values = self._column(column)
            if callable(wanted):
                mask &= np.array([bool(wanted(value)) for value in values], bool)
            else:
                several = isinstance(wanted, (list, tuple, set, frozenset, np.ndarray, pd.Series))
                try:
                    mask &= values.isin(list(wanted) if several else [wanted]).to_numpy(bool)
                except (TypeError, ValueError, OverflowError):  # no value of such a column
                    mask[:] = False
        if not mask.any():
            raise DatasetError(f"{self.name}: no clip has {', '.join(f'{k}={v!r}' for k, v in columns.items())}")
        return self.take(mask)

    @checked
    def sample(self, n: int, *, seed: int = 0, per: str | None = None) -> Clips:
        """Draw n rows at random, in the table's order; with `per`, up to n rows for each value of that column."""
        whole("n", n, least=1)
        if per is None and n > len(self):
            raise ParameterError("n", n, f"between 1 and the {len(self)} clips of {self.name}")
        rng = np.random.default_rng(seed)
        if per is None:
            return self.take(np.sort(rng.choice(len(self), n, replace=False)))
        shuffled = rng.permutation(len(self))
        rank = self._column(per).iloc[shuffled].groupby(self._column(per).iloc[shuffled]).cumcount()
        return self.take(np.sort(shuffled[rank.to_numpy() < n]))

    @checked
    def balanced(self, size: int, *, seed: int = 0) -> Clips:
        """Draw `size` rows at random with classes as balanced as possible, in the table's order.

        The numbers of clips of two classes differ by at most one, unless a class has too few clips.
        """
        whole("size", size, least=1)
        if size >= len(self):
            return self
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(len(self))
        label = self.table["label"].iloc[shuffled]
        turn = label.groupby(label).cumcount().to_numpy()
        return self.take(np.sort(shuffled[np.argsort(turn, kind="stable")[:size]]))

    @checked
    def with_label(self, column: str, *, thirds: bool | None = None) -> Clips:
        """Label the clips by another column; clips where it is empty are left out and counted in `dropped`.

        Parameters
        ----------
        column : str
        thirds : bool, optional
            Whether numbers are cut at the terciles of all clips into classes such as "tempo below 92", "tempo between
            92 and 118" (92 included) and "tempo from 118", in this order; :attr:`target` then holds the numbers. By
            default numbers are cut that cannot be classes: if they are not whole and there are more than two different
            ones, or if there are more than 20 different whole ones that do not run from 0 or 1 without a gap, in a
            column that is not called an id, a class, a speaker or the like.

        Raises
        ------
        DatasetError
            The column is empty; or thirds are asked for and its values are not numbers, or are all equal.

        Warns
        -----
        UserWarning
            A column was cut by default; the warning names the thirds and their sizes.
        """
        words, named = self._words(column)
        table, target_name = self.table[named].copy(), ""
        table["label"] = words[named]
        if thirds or (thirds is None and not are_classes(table[column])):
            cut = cut_at_terciles(self.name, column, table[column])
            table["label"], target_name = cut.labels, column
            if thirds is None:
                warn(f"{self.name}: {cut.note}")
        lost = int((~named).sum())
        return self._with(table, target_name, **({f"without {column}": lost} if lost else {}))

    def with_group(self, column: str) -> Clips:
        """Use another column as the group, which is never on two sides of a split; "" for no groups."""
        table = self.table.copy()
        if column:
            words, named = self._words(column)
            table["group"] = words.where(named, "")
        else:
            table["group"] = ""
        return self._with(table)

    def with_fold(self, column: str) -> Clips:
        """Use the values of another column as folds, numbered in order; clips without a value are in no fold."""
        values, table = self._column(column), self.table.copy()
        words, named = self._words(column)
        kinds = sorted(set(values[named]), key=lambda value: (not isinstance(value, Real), value))
        if not 2 <= len(kinds) <= max(50, named.sum() / 2):
            raise DatasetError(
                f"{self.name}: column {column!r} has {len(kinds)} values; folds are two or more, and few"
            )
        whole_numbers = all(isinstance(kind, Real) and kind >= 0 and kind == int(kind) for kind in kinds)
        numbers = {str(kind): int(kind) if whole_numbers else i for i, kind in enumerate(kinds, 1)}
        table["fold"] = pd.array([numbers.get(str(value)) for value in values], "Int64")
        table["split"] = ""
        return self._with(table)

    def _words(self, column: str) -> tuple[pd.Series, pd.Series]:
        """Return a column as text, and for each clip whether it has a value there."""
        values = self._column(column)
        words = pd.Series([tidy(str(value)) for value in values.astype(object)], values.index, dtype=object)
        named = values.notna() & ~words.str.lower().isin(["", "nan", "<na>"])
        if not named.any():
            raise DatasetError(f"{self.name}: column {column!r} is empty")
        return words, named

    def relabel(self, names: Mapping[str, str]) -> Clips:
        """Keep only the clips with these labels, under new names; labels that get the same name become one class.

        >>> clips.relabel({"neutral": "calm", "calm": "calm", "angry": "angry"})  # doctest: +SKIP

        Raises
        ------
        ParameterError
            No clip has one of the labels, or a new name is empty.
        """
        if not isinstance(names, Mapping) or not names:
            raise ParameterError("names", names, "a mapping of labels to new names")
        for label, new in names.items():
            if label not in self.classes:
                raise ParameterError("names", label, f"labels of {self.name}: {', '.join(self.classes)}")
            if not isinstance(new, str) or not new.strip():
                raise ParameterError(f"names[{label!r}]", new, "text that is not empty")
        kept = self.table["label"].isin(list(names))
        table = self.table[kept].copy()
        table["label"] = table["label"].map(dict(names))
        lost = int((~kept).sum())
        return self._with(table, **({"with another label": lost} if lost else {}))

    # --- splitting ------------------------------------------------------------------------------------------------

    @checked
    def groups(self, by: str | None = None) -> np.ndarray:
        """Return the group of each clip, str (N,), from a column (default: group); an empty one is its own group."""
        column = self._column(by or "group")
        values = np.array([str(value) for value in column.astype(object)], dtype=str)
        alone = (values == "") | column.isna().to_numpy(bool)
        return np.where(alone, np.char.add("clip ", self.table["id"].to_numpy(str)), values)

    @checked
    def split(
        self,
        *,
        test: str | int | float | Sequence | None = None,
        valid: str | int | float | Sequence | None = None,
        by: str | None = None,
        seed: int = 0,
    ) -> Split:
        """Split the rows into train, validation and test, so that no group is on two sides.

        Parameters
        ----------
        test : str, int, float or several, optional
            A split's name ("test"), a fold ("fold5" or 5), several of these, or the share to draw at random (0.2).
            By default this is the publisher's test split, else the publisher's last fold, else a fifth drawn at random.
        valid : the same, optional
            By default this is the publisher's validation split if `test` is a published split too, else a fifth of the
            remaining clips; 0 means none. Whole groups are drawn, with classes in proportion. If `test` is a published
            split, clips are drawn from the published training split alone (or, without one, from the clips that are in
            no split).
        by : str, optional
            Column whose values must not be on two sides; by default the dataset's group. With "id" every clip is its
            own group, which a report must mention.
        seed : int

        Raises
        ------
        DatasetError
            A group is on two sides, train or test is empty, or test has none of train's classes.
        ParameterError
            The dataset does not have a split or fold of that name.
        """
        groups = self.groups(by)
        names, folds = self.table["split"].to_numpy(str), self._fold_numbers()
        split = choose(names, folds, self.labels, groups, test=test, valid=valid, seed=seed, name=self.name)
        check(split, groups, self._named(), name=self.name, by=by or "group")
        self._tell_leaks([split])
        return split

    @checked
    def testable(self, least: int = 3) -> Clips:
        """Keep the clips of classes that occur in at least `least` groups, for training, validation and test.

        Classes in fewer groups are left out and named in a warning. If there are no such classes, or fewer than `least`
        groups in all, all clips are kept.

        Raises
        ------
        DatasetError
            Fewer than two classes would be left, or all clips are in one group.
        """
        groups = set(self.groups())
        if len(groups) == 1:
            raise DatasetError(f"{self.name}: {ONE_GROUP.format(len(self))}")
        counts = pd.Series(self.groups()).groupby(self.labels).nunique()
        kept = sorted(counts.index[counts >= least])
        if len(kept) == len(counts) or len(groups) < least:
            return self
        if len(kept) < 2:
            total = f"{self.name}: each of {len(counts)} classes has one clip; none can be learnt and tested"
            if self.table["label"].value_counts().max() > 1:
                total = f"{self.name}: {len(kept)} of {len(counts)} classes have clips of {least} groups or more, as "
                total += "training, validation and testing need; another label or group may work"
            raise DatasetError(total)
        gone = self.labels[~np.isin(self.labels, kept)]
        few = f"{', '.join(sorted(set(gone))[:5])}; {len(gone)} clips"
        reason = f"fewer than {least} groups, too few for training, validation and testing"
        warn(f"{self.name}: {len(set(gone))} of {len(counts)} classes ({few}) are left out: they have {reason}")
        return self.where(label=kept)

    def folds(self, n: int | None = None, *, valid: bool = True, by: str | None = None, seed: int = 0) -> list[Split]:
        """Return one split for each fold, which is its test part: the publisher's folds, or random ones by group.

        Parameters
        ----------
        n : int, optional
            Number of random folds. By default the publisher's folds are used; where there are none, 5 random ones are
            made, or as many as there are groups if those are fewer.
        valid : bool
            Whether the fold after the test fold is the validation part; False leaves it in train.
        by, seed
            As for :meth:`split`.
        """
        groups, fold = self.groups(by), self._fold_numbers()
        if n is not None or not (fold >= 0).any():
            count = len(set(groups))
            if valid and count == 2 and n is None:
                raise DatasetError(f"{self.name}: {TOO_FEW}")
            fold = grouped_folds(self.labels, groups, min(5, max(2, count)) if n is None else n, seed=seed)
        splits = each_fold(fold, valid=valid)
        for split, fold_number in zip(splits, sorted(set(fold[fold >= 0])), strict=True):
            check(split, groups, self._named(), name=f"{self.name}, fold {fold_number}", by=by or "group")
        self._tell_leaks(splits)
        return splits

    @functools.cached_property
    def _alike(self) -> np.ndarray | None:
        """Key of each sound, str (N,), equal where the sounds are; None where no sound is there twice."""
        if self.generated or not hasattr(self.sounds, "alike"):
            return None
        keys = np.array(self.sounds.alike([self._row(i) for i in range(len(self))]))
        return keys if len(set(keys)) < len(keys) else None

    def _tell_leaks(self, splits: list[Split]) -> None:
        """Warn of the first pair of sides of a split that share a sound."""
        if self._alike is None:
            return
        for split in splits:
            for side, other in (("train", "test"), ("train", "valid"), ("valid", "test")):
                rows, others = getattr(split, side), getattr(split, other)
                shared = others[np.isin(self._alike[others], self._alike[rows])]
                if len(shared):
                    key = self._alike[shared[0]]
                    twin = next(i for i in rows if self._alike[i] == key)
                    ids = self.table["id"]
                    warn(
                        f"{self.name}: the split leaks: {len(shared)} sounds of {other} are in {side} too, under "
                        f"another name (such as {ids[shared[0]]} = {ids[twin]}); remove one or give both one group",
                    )
                    return

    def _named(self) -> list[frozenset[str]]:
        """Return the classes of each clip: its label, or the tags in it."""
        if self.tags is not None:
            return [_tag_set(label) for label in self.labels]
        return [frozenset([label] if label else []) for label in self.labels]

    def _fold_numbers(self) -> np.ndarray:
        return self.table["fold"].fillna(-1).to_numpy(int)


def _tag_set(label: str) -> frozenset[str]:
    """Return the tags in a label such as "bark+siren"; "none" and "" have none."""
    return frozenset(label.split("+")) - {"none", ""}


def _short(rows: np.ndarray) -> object:
    return rows.tolist() if rows.size <= 8 else f"array of {rows.dtype} of shape {rows.shape}"


def _check_words(column: str, values: list[object]) -> None:
    """Check that the ids, labels, splits or groups of arrays are text or numbers, and that ids and labels are given."""
    for i, value in enumerate(values):
        if not (value is None or value is pd.NA or np.isscalar(value)) or isinstance(value, bytes):
            raise ParameterError(f"{column}[{i}]", value, "text or a number")
        # "none" is allowed: among labels that are sets of tags it is the empty set
        said = value not in ("", "none") and is_missing(value) if isinstance(value, str) else False
        gone = said or (not isinstance(value, str) and pd.isna(value))
        if column in ("id", "label") and gone or column == "id" and value == "":
            ways = ' or "" where there is none' if column == "label" else ""
            raise ParameterError(f"{column}[{i}]", value, f"a name{ways}")


def _sound(name: str, x: object) -> np.ndarray:
    """Check an array of samples and return it in its own type."""
    audio.as_channels(x, name=name)
    return numbers(name, x, finite=False)


def _by_id(ids: pd.Series, arrays: Sequence[np.ndarray], name: str) -> dict[str, np.ndarray]:
    _refuse_twins(ids, name)
    return dict(zip(ids, arrays, strict=True))


def _refuse_twins(ids: pd.Series, name: str) -> None:
    twice = ids.index[ids.duplicated(keep=False)]
    if len(twice):
        shown = "; ".join(f"row {i}: {ids[i]}" for i in twice[:6])
        raise DatasetError(f"{name}: {len(twice)} rows share their id with another ({shown})")


def _standard(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a checked copy of the table that has the columns of every dataset."""
    for column in ("id", "label"):
        if column not in table:
            raise DatasetError(f"{name}: the table has no column {column!r}, only {', '.join(map(str, table.columns))}")
    if not len(table):
        raise DatasetError(f"{name}: no clips")
    table = table.reset_index(drop=True)
    for column in ("id", "label", "split", "group"):
        series = table[column] if column in table else pd.Series("", table.index)
        table[column] = series.astype(object).where(series.notna(), "").astype(str)
    fold = table["fold"] if "fold" in table else [pd.NA] * len(table)
    try:
        table["fold"] = pd.array(fold, dtype="Int64")
    except (TypeError, ValueError, OverflowError):
        raise DatasetError(f"{name}: fold={list(fold)[:4]!r} ... must be whole numbers, or missing") from None
    _refuse_twins(table["id"], name)
    first = ["id", "label", "split", "fold", "group"]
    return table[first + [column for column in table.columns if column not in first]]
