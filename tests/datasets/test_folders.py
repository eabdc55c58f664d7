"""A user's own folder: what is a label, what is a split, and that nothing is left out without a word."""

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workbench.core.errors import DatasetError
from workbench.datasets import load_dataset

RATE = 8000


@pytest.fixture
def put(tmp_path, monkeypatch):
    """put("a/1.wav", ...) makes different sounds in folder s."""
    monkeypatch.chdir(tmp_path)
    count = iter(range(1, 1000))

    def write(*names, folder="s"):
        for name in names:
            path = os.path.join(os.fsencode(folder), name if isinstance(name, bytes) else os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                format = "WAV" if not str(name).endswith(".flac") else "FLAC"
                soundfile.write(file, np.full(80, next(count) / 1000, np.float32), RATE, format=format)
        return folder

    return write


def _quiet(folder, **options):
    """Loaded without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_dataset(folder, **options)


def _told(folder, words, **options):
    """Loaded with one warning that says `words`, in one line."""
    with pytest.warns(UserWarning) as caught:
        clips = load_dataset(folder, **options)
    assert len(caught) == 1 and caught[0].filename == __file__
    text = str(caught[0].message)
    assert "\n" not in text
    for word in [words] if isinstance(words, str) else words:
        assert word in text
    return clips


def _classes(folder, words, **options):
    return _told(folder, words, **options).classes


# --- sounds that are not read ------------------------------------------------------------------------------------


def test_the_warning_is_of_the_line_that_loads(put):
    put("dog/1.wav", "cat/2.m4a")
    with pytest.warns(UserWarning, match="1 sounds are left out") as caught:
        load_dataset("s")
    assert caught[0].filename == __file__  # not that of this test's own caller


def test_formats_that_are_not_read_are_counted_by_class_with_the_cure(put):
    put("dog/1.wav", "cat/1.wav", *(f"siren/{i}.m4a" for i in range(3)), "dog/2.M4A", "dog/x.webm")
    words = [
        "5 sounds are left out, as .m4a, .webm cannot be read",
        "3 in siren (which has no other sound)",
        "2 in dog",
    ]
    clips = _told("s", [*words, "ffmpeg -i NAME.m4a NAME.wav"])
    assert clips.dropped == {"sounds in .m4a files": 4, "sounds in .webm files": 1}
    assert "4 sounds in .m4a files left out" in repr(clips)


def test_a_folder_of_such_formats_alone_is_an_error_that_says_so(put):
    with pytest.raises(DatasetError, match=r"no sounds in it.*2 sounds are left out, as \.m4a cannot be read.*ffmpeg"):
        load_dataset(put("a/1.m4a", "b/2.m4a"))


def test_upper_case_and_rarer_suffixes_are_read(put):
    clips = _quiet(put("a/1.WAV", "a/2.Wave", "a/3.snd", "b/4.FLAC", "b/5.aifc", "b/6.mp2"))
    assert len(clips) == 6 and len(clips.audio(1)[0]) == 80


def test_a_file_without_a_suffix_is_taken_by_its_content(put):
    put("a/one", "b/two.recording", "b/3.wav")
    Path("s/a/notes").write_text("nothing")
    assert len(_told("s", "2 files are taken as sounds by what they begin with: a/one, b/two.recording")) == 3


def test_files_that_programs_leave_are_no_sounds(put):
    put("a/1.wav", "a/._1.wav", "__MACOSX/a/1.wav", "a/.DS_Store", "b/2.wav")
    for name in ("a/Thumbs.db", "a/Icon\r", "b/2.wav.asd", "b/desktop.ini", "b/2.TextGrid"):
        with open(f"s/{name}", "w") as file:
            file.write("x")
    assert _quiet("s").table["id"].tolist() == ["a/1", "b/2"]


def test_hidden_sounds_are_counted(put):
    _classes(put("a/1.wav", "b/2.wav", "a/.3.wav", ".trash/4.wav"), "2 hidden sounds")


# --- what is no sound although its name says so --------------------------------------------------------------------


def test_links_pipes_and_empty_files_do_not_block_a_folder(put):
    put("a/1.wav", "b/2.wav")
    os.symlink("/nowhere.wav", "s/a/gone.wav")
    os.symlink("self.wav", "s/a/self.wav")
    os.mkfifo("s/b/pipe.wav")
    open("s/b/empty.wav", "w").close()
    words = ["2 broken links: a/gone.wav, a/self.wav are left out", "1 pipes, sockets or devices: b/pipe.wav"]
    clips = _told("s", [*words, "1 empty files (0 bytes): b/empty.wav"])
    assert clips.table["id"].tolist() == ["a/1", "b/2"] and sum(clips.dropped.values()) == 4
    assert _quiet("s", missing="skip").dropped == clips.dropped
    with pytest.raises(DatasetError, match=r'broken links: a/gone.wav.*missing="skip" \(--missing skip\)'):
        load_dataset("s", missing="raise")


def test_linked_folders_are_followed_and_circles_are_not(put):
    put("a/1.wav", "b/2.wav")
    put("3.wav", folder="elsewhere")
    os.symlink("../elsewhere", "s/c")
    os.symlink("..", "s/a/round")
    assert _classes("s", "1 links that lead back to a folder around them: a/round") == ("a", "b", "c")


def test_one_file_by_two_names_is_said(put):
    put("train/a/1.wav", "train/b/2.wav")
    os.makedirs("s/test/a")
    os.symlink("../../train/a/1.wav", "s/test/a/9.wav")
    assert len(_told("s", "1 files are there twice, by a link: test/a/9.wav and train/a/1.wav")) == 3


def test_a_name_that_is_not_utf8_is_escaped_everywhere_and_read(put):
    put("a/1.wav", b"b/\xe1.wav", b"\xfc/2.wav")
    clips = _quiet("s")
    assert clips.table["id"].tolist() == ["a/1", "b/\\xe1", "\\xfc/2"] and clips.classes == ("\\xfc", "a", "b")
    clips.table.to_csv("table.csv")  # nothing in it that cannot be written
    assert [len(clips.audio(i)[0]) for i in range(3)] == [80, 80, 80] and clips.source(1).is_file()
    assert all(clips.signature(i).encode() for i in range(3)) and len(clips.fingerprint) == 16
    os.remove(b"s/b/\xe1.wav")
    with pytest.raises(Exception, match=r"b/\\xe1"):
        clips.audio(1)


# --- labels ------------------------------------------------------------------------------------------------------


def test_folders_that_look_the_same_are_one_class_and_it_is_said(put):
    name = "Trällern"
    put("dog/1.wav", "dog /2.wav", unicodedata.normalize("NFC", name) + "/3.wav")
    put(unicodedata.normalize("NFD", name) + "/4.wav")
    words = ["labels that differ in blanks or Unicode form only are taken as one", "'dog' and 'dog '"]
    assert _classes("s", words) == (unicodedata.normalize("NFC", name), "dog")


def test_folders_that_differ_in_case_are_two_classes_and_it_is_said(put):
    put("Dog/1.wav", "dog/2.wav")
    assert _classes("s", "labels that may be meant to be one are kept apart: 'Dog' and 'dog'") == ("Dog", "dog")


def test_an_empty_class_and_a_label_that_reads_like_a_missing_one_are_said(put):
    put("a/1.wav", "nan/2.wav")
    os.makedirs("s/c")
    _classes("s", ["1 sub-folders without a sound: c", "reads like a missing one: 'nan'"])


def test_one_folder_around_all_is_said(put):
    put("data/dog/1.wav", "data/cat/2.wav")
    assert _classes("s", "all 2 sounds have the one label 'data': if cat, dog in it are the labels") == ("data",)


def test_class_speaker_sound_is_fine(put):
    assert _quiet(put("dog/ann/1.wav", "dog/bob/2.wav", "cat/ann/3.wav")).classes == ("cat", "dog")


def test_a_table_beside_sounds_without_labels_is_named(put):
    put("1.wav", "2.wav")
    Path("s/metadata.csv").write_text("file_name,label\n1.wav,a\n2.wav,b\n")
    _told("s", ["so they have no labels", "metadata.csv is not read; load a csv by its own path"])
    assert _quiet("s/metadata.csv").classes == ("a", "b")


# --- splits ------------------------------------------------------------------------------------------------------


def test_split_folders_with_others_beside_them(put):
    put(*(f"{part}/{label}/1.wav" for part in ("train", "test") for label in ("cat", "dog")), "unlabelled/x/1.wav")
    clips = _told("s", "1 sounds in unlabelled are left out, as the folders beside are splits (test, train)")
    assert clips.classes == ("cat", "dog") and set(clips.table["split"]) == {"train", "test"}
    assert clips.dropped == {"sounds outside the split folders": 1}


def test_split_folders_without_labels_beside_others_are_refused(put):
    with pytest.raises(DatasetError, match="test, train read like splits, noise beside them do not"):
        load_dataset(put("train/1.wav", "test/2.wav", "noise/3.wav"))


def test_a_class_called_train(put):
    assert _quiet(put("train/1.wav", "plane/2.wav")).classes == ("plane", "train")
    deep = put("train/x/1.wav", "plane/x/2.wav", folder="deep")
    assert _classes(deep, "the folder train is taken as a label") == ("plane", "train")


def test_splits_below_the_labels(put):
    put(*(f"{label}/{part}/1.wav" for part in ("train", "val", "test") for label in ("cat", "dog")))
    clips = _told("s", "the sub-folders of the labels are taken as splits")
    assert clips.classes == ("cat", "dog") and sorted(set(clips.table["split"])) == ["test", "train", "valid"]


def test_split_names_with_more_behind_them(put):
    clips = _told(put("train-clean-100/a/1.wav", "dev-clean/b/2.wav", "test-other/a/3.wav"), "taken as splits")
    assert clips.table["split"].tolist() == ["valid", "test", "train"] and clips.classes == ("a", "b")


def test_fold_folders(put):
    clips = _told(put("fold1/a/1.wav", "fold2/b/2.wav", "fold10/a/3.wav"), "are taken as folds")
    assert clips.table["fold"].tolist() == [1, 10, 2] and clips.classes == ("a", "b")


# --- the same sound twice ----------------------------------------------------------------------------------------


def test_a_copy_in_train_and_test_is_a_leak_that_is_said(put):
    put(*(f"{part}/{label}/{i}.wav" for part in ("train", "test") for label in "ab" for i in range(4)))
    with open("s/train/a/0.wav", "rb") as one, open("s/test/a/3.wav", "wb") as other:
        other.write(one.read())
    clips = _quiet("s")
    with pytest.warns(UserWarning, match=r"leaks: 1 sounds of test are in train too.*test/a/3 = train/a/0"):
        clips.split(valid=0)


def test_a_copy_under_another_label_is_said(put):
    put("a/1.wav", "b/2.wav", "b/3.wav")
    with open("s/a/1.wav", "rb") as one, open("s/b/2.wav", "wb") as other:
        other.write(one.read())
    with pytest.warns(UserWarning, match="1 sounds are there twice under different labels: a/1 = b/2"):
        assert load_dataset("s").fingerprint
