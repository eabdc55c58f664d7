"""What a file is: its content, remembered as long as nobody touches it."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from workbench.core.errors import AudioError, ParameterError
from workbench.datasets import Clips, load_dataset
from workbench.datasets import contents as room
from workbench.datasets.contents import Contents, alike, on_disk, printable, quick_look

RATE = 8000


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        os.makedirs(f"s/{'ab'[i % 2]}", exist_ok=True)
        soundfile.write(f"s/{'ab'[i % 2]}/{i}.wav", np.full(80, (i + 1) / 10), RATE)
    return "s"


def _replace(path, value):
    """Another sound of the same size, with the times of the one before."""
    before = os.stat(path)
    time.sleep(0.02)  # a tick of the file system's clock
    soundfile.write(path, np.full(80, value), RATE)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_file_replaced_by_one_of_equal_size_and_time_is_another(folder):
    clips = load_dataset(folder)
    signature, fingerprint = clips.signature(0), clips.fingerprint
    assert load_dataset(folder).signature(0) == signature and load_dataset(folder).fingerprint == fingerprint
    _replace("s/a/0.wav", 0.7)
    assert load_dataset(folder).signature(0) != signature and load_dataset(folder).fingerprint != fingerprint


def test_a_file_put_in_the_place_of_another_is_another(folder):
    signature = load_dataset(folder).signature(0)
    before = os.stat("s/a/0.wav")
    soundfile.write("new.wav", np.full(80, 0.9), RATE)
    os.utime("new.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace("new.wav", "s/a/0.wav")
    assert load_dataset(folder).signature(0) != signature


def test_a_copy_elsewhere_has_the_same_fingerprint(folder):
    fingerprint = load_dataset(folder).fingerprint
    shutil.copytree("s", "t")
    assert load_dataset("t").fingerprint == fingerprint


def test_a_declared_checksum_is_not_believed(folder):
    with open("a.csv", "w") as file:
        file.write(f"path,label,sha256\ns/a/0.wav,x,{'0' * 64}\n")
    fingerprint = load_dataset("a.csv").fingerprint
    _replace("s/a/0.wav", 0.7)
    assert load_dataset("a.csv").fingerprint != fingerprint


def test_a_file_that_cannot_be_read_does_not_stop_a_fingerprint(folder):
    clips, whole = load_dataset(folder), load_dataset(folder).fingerprint
    os.remove("s/b/1.wav")
    with pytest.warns(UserWarning, match=r"1 of 3 sounds cannot be read: .*1.wav"):
        assert clips.fingerprint != whole


def test_contents_are_remembered_read_once_and_checked(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LATELY", 0)
    memory = tmp_path / "memory.txt"
    first = Contents(memory)
    paths = ["s/a/0.wav", "s/b/1.wav"]
    right = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    assert [first.of(path) for path in paths] == right
    first.save()
    reads = []
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: reads.append(file.name) or hashlib.sha256(b""))
    assert [Contents(memory).of(path) for path in paths] == right and reads == []
    lines = memory.read_text().split("\n")
    (one, two) = [line for line in lines if line]
    swapped = f"{one.split()[0]} {two.split(' ', 1)[1]}\n{two.split()[0]} {one.split(' ', 1)[1]}\n"
    for damaged in (swapped, one[:-1] + "\n", "\x00\xff\n" + one[:40], one.replace("a", "b") + "\n"):
        memory.write_text(damaged, encoding="latin-1")
        reads.clear()
        Contents(memory).of(paths[0])
        assert reads == [paths[0]]


def test_a_file_just_written_is_not_remembered(folder, tmp_path):
    found = Contents(tmp_path / "memory.txt")
    found.of("s/a/0.wav")
    found.save()
    assert not (tmp_path / "memory.txt").exists()


def test_equal_files_are_found_by_reading_as_little_as_that_takes(folder, monkeypatch):
    shutil.copy("s/a/0.wav", "s/a/copy.wav")
    with open("s/other.wav", "wb") as file:
        file.write(b"x" * 10)
    whole = []
    of = Contents.of
    monkeypatch.setattr(Contents, "of", lambda self, path: whole.append(path) or of(self, path))
    keys = alike(["s/a/0.wav", "s/b/1.wav", "s/a/copy.wav", "s/other.wav", "s/gone.wav", "s/gone2.wav"])
    assert keys[0] == keys[2] and len(set(keys)) == 5
    assert whole == ["s/a/0.wav", "s/a/copy.wav"]


def test_names_as_text_and_back():
    raw = os.fsdecode(b"b/\xe1\xff.wav")
    assert printable(raw) == "b/\\xe1\\xff.wav" and on_disk(printable(raw)) == raw
    assert printable("ä/b.wav") == "ä/b.wav" and on_disk("plain\\xzz.wav") == "plain\\xzz.wav"
    with pytest.raises(AudioError, match="No such file"):
        quick_look("nowhere.wav")


# --- one channel of several --------------------------------------------------------------------------------------


def test_a_channel_can_be_chosen_and_is_another_sound(folder):
    os.makedirs("st/a")
    soundfile.write("st/a/0.wav", np.stack([np.full(80, 0.1), np.full(80, 0.5)], 1), RATE, subtype="FLOAT")
    sets = {mono: load_dataset("st", mono=mono) for mono in ("mean", "left", "right", 0, 1)}
    values = {mono: round(float(clips.audio(0)[0][0]), 3) for mono, clips in sets.items()}
    assert values == {"mean": 0.3, "left": 0.1, "right": 0.5, 0: 0.1, 1: 0.5}
    for identity in ([c.signature(0) for c in sets.values()], [c.fingerprint for c in sets.values()]):
        assert len(set(identity)) == 3 and identity[1] == identity[3]
    with pytest.raises(AudioError, match=r"clip a/0 of st .*mono=2 must be a channel"):
        load_dataset("st", mono=2).audio(0)
    for wrong in ("both", -1, True, 1.5, None):
        with pytest.raises(ParameterError, match="mono="):
            load_dataset("st", mono=wrong)
    with pytest.raises(ParameterError, match="mono='left' must be left out: voices is generated"):
        load_dataset("voices", mono="left")


def test_what_mixing_takes_away_is_said_once_a_dataset(folder):
    os.makedirs("st/a")
    tone = np.sin(np.arange(800) * 0.3)
    for i in range(3):
        soundfile.write(f"st/a/{i}.wav", np.stack([tone, -tone], 1) * (0.9 - i / 10), RATE)
    clips = load_dataset("st")
    with pytest.warns(UserWarning, match=r"st/a/0.wav: .*dB") as caught:
        for i in range(3):
            clips.take([i]).audio(0)
    assert len(caught) == 1


# --- arrays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ([np.zeros((90, 2))], r"arrays\[0\]='array of shape \(90, 2\)' must be .*transpose it"),
        (np.zeros(90), "arrays='a list of 90 numbers' must be a list of arrays"),
        ([0.0, 1.0], "a list of arrays"),
        ([np.zeros(9), "x.wav"], r"arrays\[1\]='x.wav' must be an array of numbers"),
        ([np.zeros(9), None], r"arrays\[1\]"),
        ([np.zeros((2, 2, 9))], "an array of 1 or 2 axes"),
        ([np.zeros(0)], "at least one element"),
        ([], "at least one array"),
        ("abc", "at least one array"),
        ({"a": np.zeros(9)}, "at least one array"),
    ],
)
def test_arrays_that_are_no_sounds(arrays, words):
    with pytest.raises(ParameterError, match=words):
        Clips.from_arrays(arrays, RATE)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": ["a", np.nan]}, r"label\[1\]=nan must be a name or"),
        ({"label": np.array(["a", np.nan])}, r"label\[1\]=.*nan.* must be a name or"),
        ({"label": ["a", None]}, r"label\[1\]=None"),
        ({"id": ["a", ""]}, r"id\[1\]='' must be a name"),
        ({"label": "ab"}, "label='ab' must be a list"),
        ({"label": [["a"], ["b"]]}, r"label\[0\]=\['a'\] must be text or a number"),
        ({"path": ["a", "b"]}, "path='a column' must be another name"),
        ({"fold": [1.5, 2]}, "must be whole numbers"),
        ({"fold": ["x", "y"]}, "must be whole numbers"),
    ],
)
def test_columns_of_arrays_that_cannot_be(columns, words):
    with pytest.raises(Exception, match=words) as caught:
        Clips.from_arrays([np.zeros(9)] * 2, RATE, **columns)
    assert type(caught.value).__module__ == "workbench.core.errors"


def test_labels_in_a_tensor():
    clips = Clips.from_arrays(torch.zeros(2, 9), RATE, label=torch.tensor([3, 1]), fold=torch.tensor([1, 2]))
    assert clips.classes == ("1", "3") and clips.table["fold"].tolist() == [1, 2]


def test_lists_of_numbers_and_odd_ids_are_fine():
    clips = Clips.from_arrays([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], RATE, id=["a/b", 7], label=["x", ""])
    assert clips.table["id"].tolist() == ["a/b", "7"] and clips.classes == ("x",)
    np.testing.assert_allclose(clips.audio(0)[0], [0.1, 0.2, 0.3], atol=1e-6)
