"""Read csv and tsv files of any common encoding and delimiter, and keep the line number of each row for messages."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
from pathlib import Path

import pandas as pd

from ..core.errors import DatasetError
from .contents import printable

DELIMITERS = (",", ";", "\t", "|")
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
#: Suffix of files that are not read -> what to do instead.
OTHERS = {
    ".parquet": "write it as csv: pandas.read_parquet(...).to_csv(..., index=False)",
    ".feather": "write it as csv: pandas.read_feather(...).to_csv(..., index=False)",
    ".jsonl": "write it as csv: pandas.read_json(..., lines=True).to_csv(..., index=False)",
    ".json": "write it as csv: pandas.read_json(...).to_csv(..., index=False)",
    ".pkl": "write it as csv with to_csv(..., index=False); pickles are not read",
    ".xlsx": "save it as csv",
    ".xls": "save it as csv",
    ".ods": "save it as csv",
    ".zip": "unpack it and give the folder",
    ".tar": "unpack it and give the folder",
    ".tgz": "unpack it and give the folder",
}


def read_rows(file: Path, delimiter: str | None = None) -> pd.DataFrame:
    """Read a csv as text; empty cells are "".

    Parameters
    ----------
    file : Path
        Text in UTF-8, or in UTF-16 with a byte order mark; other text is read as Windows-1252. The file may be
        compressed (.gz, .bz2, .xz).
    delimiter : str, optional
        By default comma, semicolon, tab or bar: the one that divides the header into the most cells.

    Returns
    -------
    DataFrame
        Its index is the line of the file where each row begins; ``attrs["notes"]`` holds texts for a warning and
        ``attrs["delimiter"]`` the delimiter. Left out are blank lines, comment lines (that begin with "# ", or have one
        cell that begins with "#"), empty cells beyond the header, and columns without a name.

    Raises
    ------
    DatasetError
        The file cannot be read, is not text, has two columns of one name, or has rows of another length than the
        header; the error names the lines.
    """
    where, notes = printable(file), []
    if (hint := OTHERS.get(file.suffix.lower())) is not None:
        raise DatasetError(f"{where}: {file.suffix} files are not read as tables; {hint}")
    text = _text(file, where, notes)
    first = text.split("\n", 1)[0]
    if (match := re.fullmatch(r'"?sep=(.)"?', first.strip())) is not None:  # Excel's way to name the delimiter
        delimiter, text = match[1], "\n" + text.partition("\n")[2]
    if delimiter is None:
        head = next((line for line in text.split("\n") if line.strip() and not line.startswith("#")), "")
        order = ("\t", *DELIMITERS) if ".tsv" in file.suffixes else DELIMITERS
        delimiter = max(order, key=lambda mark: len(next(csv.reader([head], delimiter=mark))))
    lines, rows = _rows(text, delimiter, where)
    if not rows:
        raise DatasetError(f"{where}: is empty; expected a header line such as path,label and a row a clip")
    header, rows, lines = [cell.strip().lstrip("\ufeff") for cell in rows[0]], rows[1:], lines[1:]
    rows = _as_wide(header, rows, lines, where)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DatasetError(f"{where}: {len(twice)} column names are there twice: {', '.join(twice)}; rename one")
    table = pd.DataFrame(rows, columns=range(len(header)), index=lines, dtype=str)
    for position, name in enumerate(header):
        if not name or re.fullmatch(r"Unnamed: \d+", name):
            if not _is_count(table[position]) and (table[position] != "").any():
                notes.append(f"column {position + 1} has no name and is not used")
            table = table.drop(columns=position)
    table.columns = [header[position] for position in table.columns]
    table.attrs.update(notes=notes, delimiter=delimiter)
    return table


def _text(file: Path, where: str, notes: list[str]) -> str:
    try:
        with OPENERS.get(file.suffix.lower(), open)(file, "rb") as stream:
            raw = stream.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DatasetError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = raw.decode("utf-16")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        try:
            text = raw.decode("cp1252")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" not in text:
            line = raw[: wrong.start].count(b"\n") + 1
            notes.append(f"is not UTF-8 (line {line}) and was read as Windows-1252: look at its special letters")
    if "\0" in text:
        raise DatasetError(f"{where}: is not a table in a text file (expected csv or tsv in UTF-8)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rows(text: str, delimiter: str, where: str) -> tuple[list[int], list[list[str]]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    lines, rows, before = [], [], 0
    try:
        for row in reader:
            comment = row and row[0].startswith("#") and (row[0].startswith("# ") or len(row) == 1)
            if any(map(str.strip, row)) and not comment:
                lines.append(before + 1)
                rows.append(row)
            before = reader.line_num
    except csv.Error as error:
        raise DatasetError(f"{where}: cannot be read as a table from line {before + 1} on: {error}") from None
    return lines, rows


def _as_wide(header: list[str], rows: list[list[str]], lines: list[int], where: str) -> list[list[str]]:
    """Return rows as wide as the header; empty cells beyond it are cut off."""
    width = len(header)
    if all(len(row) == width for row in rows):
        return rows
    rows = [row[:width] if len(row) > width and not any(map(str.strip, row[width:])) else row for row in rows]
    wrong = [(line, len(row)) for line, row in zip(lines, rows, strict=True) if len(row) != width]
    if wrong:
        shown = ", ".join(f"line {line} has {count}" for line, count in wrong[:5]) + (" ..." if wrong[5:] else "")
        raise DatasetError(
            f"{where}: {len(wrong)} rows have another number of cells than the header's {width}: {shown}"
        )
    return rows


def _is_count(column: pd.Series) -> bool:
    """Whether the column is the row number that pandas writes by default."""
    return (
        len(column) > 0
        and column.iloc[0] in ("0", "1")
        and column.tolist() == [str(i + int(column.iloc[0])) for i in range(len(column))]
    )
