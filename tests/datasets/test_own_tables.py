"""A user's own csv: as Excel, pandas, R and people write it; what is missing; where the files are."""

import bz2
import gzip
import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from workbench.core.errors import DatasetError
from workbench.datasets import load_dataset

RATE = 8000


@pytest.fixture
def table(tmp_path, monkeypatch):
    """table(text) writes a csv beside snd/1.wav ... snd/4.wav (0.01 s each) and gives its path."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("snd")
    for i in range(1, 5):
        soundfile.write(f"snd/{i}.wav", np.full(80, i / 10, np.float32), RATE)

    def write(text, name="a.csv"):
        data = text if isinstance(text, bytes) else text.encode()
        Path(name).write_bytes(data)
        return name

    return write


def _quiet(file, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_dataset(file, **options)


def _told(file, words, **options):
    with pytest.warns(UserWarning) as caught:
        clips = load_dataset(file, **options)
    assert len(caught) == 1 and caught[0].filename == __file__ and words in str(caught[0].message)
    return clips


TWO = "snd/1.wav,dog\nsnd/2.wav,cat\n"


# --- the text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n" + TWO,
        "path,label\n" + TWO.replace("\n", ",\n"),  # a comma too many
        "path,label,\n" + TWO.replace("\n", ",\n"),
        "path,label,,\n" + TWO.replace("\n", ",,,,\n"),
        b"\xef\xbb\xbf" + ("path,label\n" + TWO).encode(),
        ("path,label\n" + TWO).encode("utf-16"),
        ("path\tlabel\n" + TWO.replace(",", "\t")).encode("utf-16"),
        ("path,label\n" + TWO).replace(",", ";"),
        ("path,label\n" + TWO).replace(",", "\t"),
        ("path,label\n" + TWO).replace(",", "|"),
        "sep=;\n" + ("path,label\n" + TWO).replace(",", ";"),
        ("path,label\n" + TWO).replace("\n", "\r\n"),
        ("path,label\n" + TWO).replace("\n", "\r"),
        "\n\npath,label\n\n" + TWO.replace("\n", "\n\n") + ",\n , \n",
        "# made by hand\npath,label\n# a dog, first\n" + TWO,
        ",path,label\n0,snd/1.wav,dog\n1,snd/2.wav,cat\n",
        "Unnamed: 0,path,label\n0,snd/1.wav,dog\n1,snd/2.wav,cat\n",
        '"path","label"\n"snd/1.wav","dog"\n"snd/2.wav","cat"\n',
        " Path , Label \n snd/1.wav , dog \nsnd/2.wav,cat\n",
        "file_name,label\n" + TWO,
        "File Name,LABEL\n" + TWO,
        "audio_filepath,label\n" + TWO,
        "path,label\nsnd\\1.wav,dog\nsnd\\2.wav,cat\n",
        "path,label\nfile:snd/1.wav,dog\n./snd/2.wav,cat\n",
    ],
)
def test_the_same_table_in_many_hands(table, text):
    clips = _quiet(table(text))
    assert clips.labels.tolist() == ["dog", "cat"] and clips.factors == () and clips.dropped == {}
    assert [round(float(clips.audio(i)[0][0]), 2) for i in range(2)] == [0.1, 0.2]


def test_packed_tables(table):
    text = ("path,label\n" + TWO).encode()
    for name, data in (("a.csv.gz", gzip.compress(text)), ("b.csv.bz2", bz2.compress(text))):
        assert len(_quiet(table(data, name))) == 2
    with pytest.raises(DatasetError, match="a.csv.gz: cannot be read"):
        load_dataset(table(gzip.compress(text)[:-9], "a.csv.gz"))


def test_letters_of_windows_are_read_and_said(table):
    file = table("path,label\nsnd/1.wav,chien\nsnd/2.wav,Vögel\n".encode("cp1252"))
    assert _told(file, "is not UTF-8 (line 3) and was read as Windows-1252").classes == ("Vögel", "chien")


def test_a_column_without_a_name_is_said(table):
    assert _told(table(",path,label\nx,snd/1.wav,dog\ny,snd/2.wav,cat\n"), "column 1 has no name").factors == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,label\nsnd/1.wav,dog\n\nsnd/2.wav\n",
            "1 rows have another number of cells than the header's 2: line 4 has 1",
        ),
        ("path,label\nsnd/1.wav,dog,big\n", "line 2 has 3"),
        ("path,label\n1,snd/1.wav,dog\n2,snd/2.wav,cat\n", "2 rows have another number of cells"),  # R's row names
        ("path,label,label\nsnd/1.wav,a,b\n", "1 column names are there twice: label"),
        (TWO, "has no header: its first line is snd/1.wav, dog; write one above it: path,label"),
        ('path,label\n"snd/1.wav,dog\n', "cannot be read as a table from line 2 on"),
        ("", "is empty; expected a header line"),
        (b"path,label\nsnd/1.wav,\0\n", "is not a table in a text file"),
        (b"RIFF\x00\x00\x81\x9d", "is not a table in a text file"),
        ("path,label\nhttps://x.org/1.wav,a\n", "a path on this machine: addresses are not fetched (1 rows: line 2)"),
        ("path,label,_tail\nsnd/1.wav,a,b\n", "the column '_tail' needs another name"),
        (
            "path,label,id\nsnd/1.wav,a,x\n\nsnd/2.wav,b,x\n",
            "2 rows share their id with another (line 2: x; line 4: x)",
        ),
        ("path,label,id\nsnd/1.wav,a,x\nsnd/2.wav,b,NaN\n", "id='NaN' must be a name (1 rows: line 3)"),
    ],
)
def test_what_cannot_be_read_says_why_and_where(table, text, words):
    with pytest.raises(DatasetError) as caught:
        load_dataset(table(text))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.parquet", "read_parquet"),
        ("metadata.jsonl", "lines=True"),
        ("a.xlsx", "save it as csv"),
        ("a.zip", "unpack"),
    ],
)
def test_other_kinds_of_tables_say_the_way_out(table, name, words):
    with pytest.raises(DatasetError, match=words):
        load_dataset(table("x", name))


# --- labels and what is missing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "  ", "NaN", "nan", "N/A", "null", "None", "<NA>", "#N/A", "\u200b"])
def test_a_missing_label_is_no_class(table, word):
    file = table(f"path,label\nsnd/1.wav,dog\nsnd/2.wav,cat\nsnd/3.wav,{word}\n")
    with pytest.raises(DatasetError) as caught:
        load_dataset(file)
    words = f'a.csv: label is missing in 1 of 3 rows (line 4: {word!r}); missing="skip" (--missing skip)'
    assert words in str(caught.value)
    clips = _quiet(file, missing="skip")
    assert clips.classes == ("cat", "dog") and clips.dropped == {"without label": 1}


def test_a_missing_label_of_another_column(table):
    file = table("path,label,kind\nsnd/1.wav,a,x\nsnd/2.wav,b,nan\n")
    with pytest.raises(DatasetError, match="kind is missing in 1 of 2 rows"):
        load_dataset(file, label="kind")
    assert load_dataset(file, label="kind", missing="skip").dropped == {"without kind": 1}


def test_a_table_without_any_label(table):
    assert _told(table("path,label\nsnd/1.wav,\nsnd/2.wav,nan\n"), "no row has a label").classes == ()


def test_tags_are_sets(table):
    file = table("path,tags\nsnd/1.wav,dog+rain\nsnd/2.wav,rain\nsnd/3.wav,none\nsnd/4.wav,dog\n")
    clips = _quiet(file, label="tags")
    assert clips.tags.astype(int).to_dict("list") == {"dog": [1, 0, 0, 1], "rain": [1, 1, 0, 0]}
    assert clips.factors == () and clips.take([0, 1]).tags.shape == (2, 2)


def test_twin_labels_are_one_and_near_ones_are_said(table):
    name = "Trällern"
    forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    rows = zip(range(1, 5), ["dog ", "dog", *forms], strict=True)
    clips = _told(table("path,label\n" + "".join(f"snd/{i}.wav,{x}\n" for i, x in rows)), "'dog' and 'dog '")
    assert clips.classes == (forms[0], "dog")
    file = table("path,label\nsnd/1.wav,1\nsnd/2.wav,1.0\nsnd/3.wav,TRUE\nsnd/4.wav,true\n")
    assert len(_told(file, "kept apart: '1' and '1.0', 'TRUE' and 'true'").classes) == 4


def test_missing_group_split_and_fold_are_said(table):
    text = "path,label,group,split,fold\nsnd/1.wav,a,g1,train,1.0\nsnd/2.wav,b,g1 ,test,2.0\nsnd/3.wav,a,NaN,NaN,\n"
    clips = _told(table(text), "1 of 3 clips have no group: each of these is a group of its own")
    assert clips.table["group"].tolist() == ["g1", "g1", ""] and clips.groups().tolist() == ["g1", "g1", "clip snd/3"]
    assert clips.table["split"].tolist() == ["train", "test", ""]
    assert clips.table["fold"].tolist()[:2] == [1, 2] and pd.isna(clips.table["fold"][2])
    for words in ("1 of 3 clips have no split", "1 of 3 clips have no fold"):
        _told(table(text), words)


def test_factors_with_missing_cells_keep_their_type(table):
    text = "path,label,hz,take,mood\nsnd/1.wav,a,1.5,1,none\nsnd/2.wav,b,NaN,,NaN\nsnd/3.wav,b,n/a,3,x \n"
    clips = _quiet(table(text))
    assert clips.table["hz"].dtype == float and clips.table["hz"].isna().tolist() == [False, True, True]
    assert clips.table["take"].dtype == "Int64" and clips.table["mood"].tolist() == ["none", "", "x"]


def test_decimal_commas_of_a_semicolon_table(table):
    clips = _quiet(table("path;label;start;stop;hz\nsnd/1.wav;a;0;0,005;1,5\nsnd/2.wav;b;0,005;0,01;2\n"))
    assert [len(clips.audio(i)[0]) for i in range(2)] == [40, 40] and clips.table["hz"].tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("column", "word", "expected"),
    [
        ("start", "inf", "a number of seconds"),
        ("start", "1e999", "a number of seconds"),
        ("start", "-1", "a number of seconds"),
        ("start", "0:01", "a number of seconds"),
        ("stop", "0", "later than start"),
        ("seconds", "1,5", "a number of seconds"),
        ("fold", "9" * 30, "a number of up to nine digits"),
        ("fold", "-1", "a number of up to nine digits"),
        ("fold", "1.5", "a number of up to nine digits"),
        ("fold", "one", "a number of up to nine digits"),
        ("split", "holdout", "train, valid, test or empty"),
    ],
)
def test_numbers_that_are_none(table, column, word, expected):
    with pytest.raises(DatasetError) as caught:
        load_dataset(table(f'path,label,{column}\nsnd/1.wav,a,\nsnd/2.wav,b,"{word}"\n'))
    text = str(caught.value)
    assert f"{column}=" in text and expected in text and "line 3" in text and len(text) < 300


def test_folds_by_name(table):
    clips = _quiet(table("path,label,fold\nsnd/1.wav,a,fold3\nsnd/2.wav,b,cv-10\nsnd/3.wav,b,02\n"))
    assert clips.table["fold"].tolist() == [3, 10, 2]


def test_other_names_of_start_and_stop(table):
    clips = _quiet(table("path,label,start_time,end\nsnd/1.wav,a,0.005,0.01\n"))
    assert len(clips.audio(0)[0]) == 40
    _told(table("path,label,start\nsnd/1.wav,a,0.005\n"), "there is a start column and no stop")


def test_a_stop_beyond_the_end_is_said_once(table):
    clips = _quiet(table("path,label,start,stop\nsnd/1.wav,a,0,5\nsnd/2.wav,b,0,5\n"))
    with pytest.warns(UserWarning, match=r"1.wav: ends at 0.010 s, and a clip of it was to stop at 5.0 s") as caught:
        assert [len(clips.audio(i)[0]) for i in (0, 1)] == [80, 80]
    assert len(caught) == 1


# --- where the files are -----------------------------------------------------------------------------------------


def test_paths_of_another_machine(table):
    for root in ("/home/ann/project", "C:\\Users\\ann\\project", "file:///home/ann"):
        mark = "\\" if "\\" in root else "/"
        rows = [f"{root}{mark}snd{mark}{i}.wav,{label}\n" for i, label in ((1, "a"), (2, "b"))]
        clips = _told(table("path,label\n" + "".join(rows)), "2 paths of another place were found by their end")
        assert [round(float(clips.audio(i)[0][0]), 2) for i in range(2)] == [0.1, 0.2]


def test_paths_relative_to_the_working_folder(table):
    os.makedirs("lists")
    clips = _told(table("path,label\n" + TWO, "lists/a.csv"), "2 paths are relative to the working folder")
    assert len(clips.audio(0)[0]) == 80


def test_home_and_unicode_forms(table, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = unicodedata.normalize("NFD", "ä.wav")
    os.rename("snd/2.wav", f"snd/{name}")
    assert len(_quiet(table("path,label\n~/snd/1.wav,a\nsnd/ä.wav,b\n")).audio(1)[0]) == 80


def test_names_that_are_not_utf8(table):
    os.rename("snd/2.wav", b"snd/\xe1.wav")
    clips = _quiet(table("path,label\nsnd/1.wav,a\nsnd/\\xe1.wav,b\n"))
    assert len(clips.audio(1)[0]) == 80 and clips.signature(1).encode()


def test_files_that_are_not_there_say_what_is(table):
    os.symlink("nowhere", "snd/l.wav")
    os.mkfifo("snd/p.wav")
    file = table("path,label\nsnd/1.wav,a\nsnd/l.wav,b\nsnd/p.wav,b\nsnd,b\nsnd/9.wav,b\n")
    with pytest.raises(DatasetError) as caught:
        load_dataset(file)
    for words in ("line 3: snd/l.wav (a broken link)", "snd/p.wav (no ordinary file)", "snd (a folder)", "snd/9.wav)"):
        assert words in str(caught.value)
    assert _quiet(file, missing="skip").dropped == {"clips whose file is missing": 4}


def test_the_command_line_takes_what_the_messages_recommend(table):
    from typer.testing import CliRunner

    from workbench.cli import app

    file = table("path,label\nsnd/1.wav,dog\nsnd/2.wav,\nsnd/9.wav,cat\n")
    told = CliRunner().invoke(app, ["data", "info", file])
    assert told.exit_code == 1 and "(--missing skip)" in told.output
    told = CliRunner().invoke(app, ["data", "info", file, "--missing", "skip", "--mono", "left"])
    assert told.exit_code == 0 and "1 clips, 1 classes, 1 without label left out" in told.output
    told = CliRunner().invoke(app, ["data", "info", file, "--missing", "drop"])
    assert told.exit_code == 1 and "missing='drop' must be 'raise' or 'skip'" in told.output
