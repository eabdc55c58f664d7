"""Public sets by name: what the datasets library reads from folders, encodings, splits, columns, what is not had."""

import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, DatasetError, DependencyError, ParameterError
from workbench.datasets import describe_dataset, load_dataset

datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
pa = pytest.importorskip("pyarrow")

parquet_file = pytest.importorskip("pyarrow.parquet").write_table

RATE = 8000


@pytest.fixture(autouse=True)
def own_hub(tmp_path, monkeypatch):
    """No test reads or writes the hub's cache, or asks the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    datasets.disable_progress_bars()


def sound(i, kind="WAV", channels=1):
    file = io.BytesIO()
    x = np.full((400, channels), (i + 1) / 100)
    soundfile.write(file, x, RATE, format=kind, **({"subtype": "FLOAT"} if kind == "WAV" else {}))
    return file.getvalue()


def cells(count, kinds=("WAV",), names=True, first=0):
    suffix = {"WAV": "wav", "FLAC": "flac", "MP3": "mp3"}
    used = [kinds[i % len(kinds)] for i in range(count)]
    return [
        {"bytes": sound(first + i, kind), "path": f"n{first + i}.{suffix[kind]}" if names else None}
        for i, kind in enumerate(used)
    ]


def columns(count, **more):
    """Features, and the rows of a small set."""
    features = {
        "audio": datasets.Audio(sampling_rate=RATE),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "tempo": datasets.Value("float32"),
    }
    rows = {"audio": cells(count), "label": [i % 2 for i in range(count)], "tempo": [60.1 + i for i in range(count)]}
    for name, (feature, values) in more.items():
        if feature is None:
            features.pop(name), rows.pop(name)
        else:
            features[name], rows[name] = feature, values
    return datasets.Features(features), rows


def made(count, **more):
    features, rows = columns(count, **more)
    return datasets.Dataset(pa.table(rows, schema=features.arrow_schema))


def parquet(folder, **splits):
    """A folder as the hub keeps a set, and its name."""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return f"hf:{folder}"


def told(name, words, **options):
    with pytest.warns(UserWarning) as caught:
        clips = load_dataset(name, **options)
    assert len(caught) == 1 and caught[0].filename == __file__ and words in str(caught[0].message)
    return clips


def quiet(name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_dataset(name, **options)


# --- sounds -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "off"), [("WAV", 0), ("FLAC", 2e-5), ("MP3", 0.1)])
def test_sounds_in_any_encoding(tmp_path, kind, off):
    name = parquet(tmp_path / "set", train=made(4, audio=(datasets.Audio(), cells(4, (kind,)))))
    clips = quiet(name)
    for i in range(4):
        x, rate = clips.audio(i)
        assert rate == RATE and x.dtype == np.float32 and abs(np.median(x) - (i + 1) / 100) <= off
    assert clips.table["id"].tolist() == ["n0", "n1", "n2", "n3"] and clips.name == "set"
    assert len(clips.audio(0, rate=4000)[0]) == pytest.approx(len(clips.audio(0)[0]) / 2, abs=1)


def test_a_folder_that_save_to_disk_wrote(tmp_path):
    datasets.DatasetDict({"train": made(4), "test": made(4).select([3, 1])}).save_to_disk(tmp_path / "saved")
    clips = load_dataset(f"hf:{tmp_path / 'saved'}")
    assert clips.table["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert [round(float(clips.audio(i)[0][0]), 2) for i in (0, 4, 5)] == [0.01, 0.04, 0.02]
    made(3).save_to_disk(tmp_path / "one")
    assert len(load_dataset(f"hf:{tmp_path / 'one'}")) == 3


def test_sounds_that_are_files(tmp_path):
    folder = tmp_path / "birds"
    for i in range(4):
        path = folder / "train" / ("tit", "wren")[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(100, (i + 1) / 10, np.float32), RATE, subtype="FLOAT")
    clips = quiet(f"hf:{folder}")
    assert clips.classes == ("tit", "wren") and len(clips.audio(0)[0]) == 100
    file = str(clips.source(0))
    assert file.startswith(str(folder)) and clips.signature(0).startswith(f"file|{file}|")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = load_dataset(folder)
    row, twin = clips._row(0), plain._row(plain.table["path"].tolist().index(file))
    assert clips.sounds.identity(row) == plain.sounds.identity(twin)


def test_paths_below_the_set_are_found_and_others_missing(tmp_path):
    features, rows = columns(3)
    rows["audio"] = [{"bytes": None, "path": f"snd/{i}.wav"} for i in range(3)]
    (tmp_path / "set" / "snd").mkdir(parents=True)
    for i in range(2):
        (tmp_path / "set" / "snd" / f"{i}.wav").write_bytes(sound(i))
    parquet_file(pa.table(rows, schema=features.arrow_schema), tmp_path / "set" / "train.parquet")
    with pytest.raises(DatasetError, match=r"the files of 1 of 3 clips are missing \(row 2: snd/2.wav\)"):
        load_dataset(f"hf:{tmp_path / 'set'}")
    clips = load_dataset(f"hf:{tmp_path / 'set'}", missing="skip")
    assert clips.dropped == {"clips whose file is missing": 1} and round(float(clips.audio(1)[0][0]), 2) == 0.02


def test_a_row_without_a_sound_is_refused_or_left_out(tmp_path):
    name = parquet(tmp_path / "set", train=made(4, audio=(datasets.Audio(), [*cells(3), None])))
    with pytest.raises(DatasetError, match=r"audio='' must be the path of a sound \(1 rows: row 3\)"):
        load_dataset(name)
    clips = load_dataset(name, missing="skip")
    assert len(clips) == 3 and clips.dropped == {"clips whose file is missing": 1}
    assert round(float(clips.audio(2)[0][0]), 2) == 0.03


def test_a_sound_that_cannot_be_decoded_is_named(tmp_path):
    broken = {"bytes": b"RIFF, but no more", "path": "broken.wav"}
    clips = load_dataset(parquet(tmp_path / "set", train=made(4, audio=(datasets.Audio(), [*cells(3), broken]))))
    with pytest.raises(AudioError, match=r"clip broken of set \(broken.wav, row 3 of .*arrow\)"):
        clips.audio(3)
    with pytest.raises(AudioError, match="channel"):
        load_dataset(f"hf:{tmp_path / 'set'}", mono=1).audio(0)


def test_signature_and_identity_are_of_the_bytes_and_do_not_decode(tmp_path, monkeypatch):
    twice = [*cells(3), cells(1)[0]]
    name = parquet(tmp_path / "set", train=made(4, audio=(datasets.Audio(), twice)))
    clips = quiet(name)
    monkeypatch.setattr("workbench.audio.load", lambda *_, **__: pytest.fail("decoded"))
    signatures = [clips.signature(i) for i in range(4)]
    identities = [clips.sounds.identity(clips._row(i)) for i in range(4)]
    assert len(set(signatures)) == 4 and identities[0] == identities[3] and len(set(identities)) == 3
    assert signatures[0] != quiet(name, mono=0).signature(0)
    alike = clips.sounds.alike([clips._row(i) for i in range(4)])
    assert alike[0] == alike[3] and len(set(alike)) == 3
    (tmp_path / "n0.wav").write_bytes(twice[0]["bytes"])
    (tmp_path / "one.csv").write_text("path,label\nn0.wav,a\n")
    one = load_dataset(tmp_path / "one.csv")
    assert one.sounds.identity(one._row(0)) == identities[0]
    assert quiet(name).fingerprint == clips.fingerprint


def test_bytes_are_hashed_once(tmp_path, monkeypatch):
    from workbench.datasets.contents import Contents

    monkeypatch.setattr("workbench.datasets.contents.LATELY", -(10**12))
    clips = quiet(parquet(tmp_path / "set", train=made(4)))
    first = clips.sounds.identity(clips._row(1))
    monkeypatch.setattr(type(clips.sounds), "_bytes", lambda *_: pytest.fail("read again"))
    assert clips.sounds.identity(clips._row(1)) == first
    assert Contents.of_part is not None and clips.take([1]).sounds.identity(clips._row(1)) == first


def test_sounds_pickle_and_hold_no_open_file(tmp_path):
    clips = quiet(parquet(tmp_path / "set", train=made(4)))
    clips.audio(0)
    again = pickle.loads(pickle.dumps(clips))
    assert (again.audio(3)[0] == clips.audio(3)[0]).all() and again.fingerprint == clips.fingerprint
    assert not any(isinstance(value, (pa.NativeFile, pa.ChunkedArray)) for value in vars(clips.sounds).values())


def test_a_file_of_rows_that_is_gone_is_named(tmp_path):
    import shutil

    clips = quiet(parquet(tmp_path / "set", train=made(4)))
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(AudioError, match=r"arrow.*cannot be read: No such file"):
        clips.audio(0)


def test_embeddings_of_rows_are_found_again(tmp_path):
    import workbench

    clips = quiet(parquet(tmp_path / "set", train=made(4)))
    encoder = workbench.load_encoder("logmel", device="cpu")
    first = workbench.embed(clips, encoder, progress=False)
    assert first.layer(-1).shape[0] == 4 and len(np.unique(first.layer(-1), axis=0)) == 4
    calls = []
    encoder.forward = lambda *args: calls.append(args)
    again = workbench.embed(pickle.loads(pickle.dumps(clips)), encoder, progress=False)
    assert (again.layer(-1) == first.layer(-1)).all() and not calls


# --- splits -------------------------------------------------------------------------------------------------------


def test_splits_are_ours(tmp_path):
    rows = {"train": made(4), "validation": made(2), "test": made(2)}
    clips = load_dataset(parquet(tmp_path / "set", **rows))
    assert clips.table["split"].tolist() == ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
    assert "split_name" not in clips.table and clips.table["id"].tolist()[3:5] == ["train 3", "validation 0"]


def test_one_split_is_none(tmp_path):
    clips = quiet(parquet(tmp_path / "set", train=made(10)))
    assert (clips.table["split"] == "").all() and len(clips.split().test) == 2


def test_splits_of_other_names_are_a_column(tmp_path):
    saved = datasets.DatasetDict({"train.clean": made(2), "train.other": made(2), "test.clean": made(2)})
    saved.save_to_disk(tmp_path / "set")
    clips = load_dataset(f"hf:{tmp_path / 'set'}")
    assert clips.table["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert clips.table["split_name"].tolist()[::2] == ["train.clean", "train.other", "test.clean"]
    assert clips.table["id"].is_unique and clips.table["id"][2] == "train.other 0"
    datasets.DatasetDict({"de": made(2), "fr": made(2)}).save_to_disk(tmp_path / "languages")
    clips = load_dataset(f"hf:{tmp_path / 'languages'}", label="split_name")
    assert clips.classes == ("de", "fr") and (clips.table["split"] == "").all()
    datasets.DatasetDict({f"fold{i}": made(2) for i in (1, 2, 3)}).save_to_disk(tmp_path / "folds")
    assert load_dataset(f"hf:{tmp_path / 'folds'}").table["fold"].tolist() == [1, 1, 2, 2, 3, 3]


def test_an_empty_split_is_said(tmp_path):
    datasets.DatasetDict({"train": made(4), "test": made(4).select([])}).save_to_disk(tmp_path / "set")
    clips = told(f"hf:{tmp_path / 'set'}", "the split 'test' is empty")
    assert len(clips) == 4 and (clips.table["split"] == "").all()
    clips = told(parquet(tmp_path / "files", train=made(4), test=made(4).select([])), "the split 'test' is empty")
    assert len(clips) == 4
    datasets.DatasetDict({"train": made(4).select([])}).save_to_disk(tmp_path / "none")
    with pytest.raises(DatasetError, match="has no rows"):
        load_dataset(f"hf:{tmp_path / 'none'}")


# --- columns ------------------------------------------------------------------------------------------------------


def test_columns_become_label_group_and_factors(tmp_path):
    text, number = datasets.Value("string"), datasets.Value("int64")
    more = {
        "take": (number, [1, 2, 3, None] * 3),
        "speaker_id": (text, [f"{i // 3:02}" for i in range(12)]),
        "path": (text, ["x"] * 12),
        "start": (datasets.Value("float64"), [0.5] * 12),
        "id": (number, [7] * 12),
    }
    name = parquet(tmp_path / "set", train=made(12, **more))
    clips = told(name, "group='speaker_id' (--group speaker_id) keeps them on one side")
    assert clips.classes == ("cat", "dog") and clips.dropped == {}
    assert clips.factors == ("tempo", "take", "speaker_id", "path_column", "start_column", "id_column")
    assert clips.table["tempo"].tolist()[:2] == [60.1, 61.1] and clips.table["take"].isna().sum() == 3
    grouped = quiet(name, group="speaker_id")
    assert grouped.table["group"].unique().tolist() == ["00", "01", "02", "03"]
    assert quiet(name, label="speaker_id", group="").target is None
    assert len(quiet(name, label="speaker_id", group="").classes) == 4


def test_an_id_column_without_repeats_is_the_id(tmp_path):
    name = parquet(tmp_path / "set", train=made(3, id=(datasets.Value("string"), ["x", "y", "z"])))
    assert quiet(name).table["id"].tolist() == ["x", "y", "z"]


def test_the_only_column_of_classes_is_the_label(tmp_path):
    genre = (datasets.ClassLabel(names=["rock", "folk"]), [0, 1, 1])
    name = parquet(tmp_path / "set", train=made(3, label=(None, None), genre=genre))
    assert quiet(name).labels.tolist() == ["rock", "folk", "folk"]
    two = {"genre": genre, "mood": genre, "label": (None, None)}
    with pytest.raises(DatasetError) as caught:
        load_dataset(parquet(tmp_path / "two", train=made(3, **two)))
    assert "has no column 'label', only genre, mood, tempo; choose one with label=" in str(caught.value)
    with pytest.raises(DatasetError, match="no column 'gerne', only .* did you mean 'genre'"):
        load_dataset(name, label="gerne")


def test_hidden_labels_are_missing(tmp_path):
    label = (datasets.ClassLabel(names=["cat", "dog"]), [0, 1, -1])
    name = parquet(tmp_path / "set", train=made(3, label=label))
    with pytest.raises(DatasetError, match=r"label is missing in 1 of 3 rows \(row 2: ''\)"):
        load_dataset(name)
    assert quiet(name, missing="skip").dropped == {"without label": 1}


def test_a_column_of_numbers(tmp_path):
    name = parquet(tmp_path / "set", train=made(12))
    clips = told(name, "the column 'tempo' holds numbers", label="tempo")
    assert clips.target.tolist() == [round(60.1 + i, 4) for i in range(12)]
    assert clips.classes == ("tempo below 64", "tempo between 64 and 68", "tempo from 68")
    age = (datasets.Value("string"), [f"{i}.5" for i in range(12)])
    words = parquet(tmp_path / "words", train=made(12, age=age))
    assert len(quiet(words, label="age").classes) == 12  # text is names, unless the caller says otherwise
    assert quiet(words, label="age", thirds=True).target.tolist() == [i + 0.5 for i in range(12)]


def test_several_columns_of_sounds_and_what_is_left_out(tmp_path):
    more = {
        "noisy": (datasets.Audio(), cells(3, first=50)),
        "words": (datasets.List(datasets.Value("string")), [["a"]] * 3),
    }
    name = parquet(tmp_path / "set", train=made(3, **more))
    clips = told(
        name, "of the columns of sounds 'audio' is taken; audio='noisy' takes another; columns that hold neither"
    )
    assert round(float(clips.audio(0)[0][0]), 2) == 0.01 and clips.factors == ("tempo",)
    noisy = load_dataset(name, audio="noisy")
    assert round(float(noisy.audio(0)[0][0]), 2) == 0.51 and noisy.signature(0) != clips.signature(0)
    with pytest.raises(ParameterError, match="audio='words' must be a column of sounds of .*: audio, noisy"):
        load_dataset(name, audio="words")
    with pytest.raises(ParameterError, match="audio='noisy' must be left out"):
        load_dataset("voices", audio="noisy")


def test_structs_of_bytes_and_path_are_sounds_and_names_need_not_be(tmp_path):
    (tmp_path / "set").mkdir()
    table = pa.table({"audio": cells(3, names=False), "label": ["a", "b", "a"]})
    parquet_file(table, tmp_path / "set" / "train.parquet")
    clips = quiet(f"hf:{tmp_path / 'set'}")
    assert clips.table["id"].tolist() == ["0", "1", "2"] and round(float(clips.audio(2)[0][0]), 2) == 0.03
    parquet_file(table.select(["label"]), tmp_path / "set" / "train.parquet")
    with pytest.raises(DatasetError, match="has no column of sounds, only label"):
        load_dataset(f"hf:{tmp_path / 'set'}")


def test_licence_and_configurations_of_the_card(tmp_path):
    name = parquet(tmp_path / "set", train=made(3))
    card = "---\nlicense: cc-by-4.0\nconfigs:\n"
    for config in ("clean", "noisy"):
        (tmp_path / "set" / config).mkdir()
        made(3 if config == "clean" else 5).to_parquet(tmp_path / "set" / config / "train.parquet")
        card += f"- config_name: {config}\n  data_files: {config}/*.parquet\n"
    (tmp_path / "set" / "README.md").write_text(card + "---\nA set.\n")
    clips = load_dataset(f"{name}:noisy")
    assert len(clips) == 5 and clips.licence == "cc-by-4.0" and clips.name == "set:noisy"
    with pytest.raises(DatasetError, match="has the configurations clean, noisy: name one, as in hf:.*/set:clean"):
        load_dataset(name)
    with pytest.raises(DatasetError, match="has no configuration 'noise', only clean, noisy; did you mean 'noisy'"):
        load_dataset(f"{name}:noise")


# --- what cannot be had -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:./nowhere", "hf:a b", "hf:/nowhere@main"])
def test_names_that_are_none(name):
    with pytest.raises(DatasetError, match="no such folder, and no name of a set on the hub: hf:owner/name"):
        load_dataset(name)


def test_a_file_and_a_name_without_prefix_say_the_way(tmp_path):
    name = parquet(tmp_path / "set", train=made(3))
    with pytest.raises(DatasetError, match="is a file; name the folder it lies in, hf:.*/set/data"):
        load_dataset(f"{name}/data/train-00000-of-00001.parquet")
    with pytest.raises(DatasetError, match="a public set of that name on the hub is hf:owner/name"):
        load_dataset("owner/name")
    with pytest.raises(DatasetError, match=r"load_dataset\('hf:owner/name'\) downloads it when first used"):
        describe_dataset("hf:owner/name")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: holds nothing that the datasets library reads"):
        load_dataset(f"hf:{tmp_path / 'empty'}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("Couldn't reach 'o/n' on the Hub (LocalEntryNotFoundError)"), "the hub cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'o/n' doesn't exist on the Hub"), "there is no such set"),
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'o/n' is a gated dataset on the Hub."),
            "accepted its conditions: do so on its page of the hub, then log in on this machine with `hf auth login`",
        ),
        (RuntimeError("Dataset scripts are no longer supported, but found n.py"), "hf:o/n@refs/convert/parquet"),
        (ValueError("something\nelse"), r"cannot be loaded \(ValueError: something else\)"),
    ],
)
def test_what_the_hub_does_not_give_says_what_to_do(monkeypatch, error, words):
    asked = []

    def refuse(*args, **options):
        asked.append((args, options["revision"]))
        raise error

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(DatasetError, match=words):
        load_dataset("hf:o/n:clean@v1")
    assert asked == [(("o/n", "clean"), "v1")]


def test_without_a_network_it_is_said():
    code = "from workbench.datasets import load_dataset\nload_dataset('hf:owner/nothere')"
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert "hf:owner/nothere: is not on this machine, and the hub cannot be reached" in done.stderr


def test_a_missing_library_is_one_line_and_nothing_else_imports_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DependencyError, match=r'The cure: pip install "audio-workbench\[datasets\]"'):
        load_dataset("hf:owner/name")
    code = "import sys, workbench\nworkbench.load_dataset('voices', size=3)\nassert 'datasets' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_command_line_and_runs_know_such_names(tmp_path):
    from typer.testing import CliRunner

    from workbench.cli import app
    from workbench.datasets import check_dataset_name

    name = parquet(tmp_path / "set", train=made(4))
    done = CliRunner().invoke(app, ["data", "info", name])
    assert done.exit_code == 0 and "4 clips, 2 classes" in done.output
    assert check_dataset_name(name, "dataset") is None
