"""Loading by name, from publishers' layouts, data roots, folders and tables; and what is said when that fails."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workbench.core.errors import DatasetError, ParameterError
from workbench.datasets import describe_dataset, list_datasets, load_dataset
from workbench.datasets.layouts import _files_below
from workbench.datasets.tables import _midi_number

RATE = 8000


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)


def _sounds(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(80, 0.1), RATE)


# --- publishers' layouts ---------------------------------------------------------------------------


def _vocalset(folder: Path, *, sorted_by_hand: bool = False) -> None:
    names = []
    for singer in ("female1", "female2", "male1", "male5"):
        part = ("test/" if singer in ("female2", "male5") else "train/") if sorted_by_hand else ""
        short = singer.replace("female", "f").replace("male", "m")
        where = f"FULL/{part}{singer}"
        names += [
            f"{where}/arpeggios/belt/{short}_arpeggios_belt_c_a.wav",
            f"{where}/scales/vibrado/{short}_scales_vibrado_e.wav",
            f"{where}/scales/vibrato/{short}_scales_vibrato_i.wav",
            f"{where}/excerpts/spoken/{short}_spoken.wav",
            f"{where}/excerpts/vibrato/{short}_row_vibrato.wav",  # a whole song
            f"{where}/scales/slow_forte/{short}_scales_slow_forte_a.wav",  # not one of the ten techniques
        ]
    _sounds(folder, *names)
    fork = folder / "__MACOSX/FULL/female1/scales/vibrato/._f1_scales_vibrato_i.wav"
    fork.parent.mkdir(parents=True)
    fork.write_bytes(b"fork")
    (folder / "FULL" / "._x_a.wav").write_bytes(b"fork")


@pytest.mark.parametrize("sorted_by_hand", [False, True])
@pytest.mark.parametrize("place", ["vocalset", "VocalSet", "."])
def test_vocalset(tmp_path, sorted_by_hand, place):
    _vocalset(tmp_path / place, sorted_by_hand=sorted_by_hand)
    clips = load_dataset("vocalset", root=tmp_path)
    assert len(clips) == 16 and clips.classes == ("belt", "spoken", "vibrato")
    assert clips.summary()["clips"].to_dict() == {"belt": 4, "spoken": 4, "vibrato": 8}
    assert set(clips.where(split="test").table["group"]) == {"female2", "male5"}
    assert set(clips.table["vowel"]) == {"a", "e", "i", "spoken"} and set(clips.table["context"]) >= {"scales"}
    assert "female1/arpeggios/belt/f1_arpeggios_belt_c_a" in set(clips.table["id"])
    split = clips.split(valid=0.5)
    sides = [set(clips.table["singer"].iloc[rows]) for rows in split]
    assert sides[2] == {"female2", "male5"} and len(sides[0]) == len(sides[1]) == 1
    assert len(clips.audio(0)[0]) == 80


def test_vocalset_ids_and_fingerprint_do_not_depend_on_the_place(tmp_path):
    _vocalset(tmp_path / "one")
    _vocalset(tmp_path / "two" / "vocalset", sorted_by_hand=True)
    one, two = (load_dataset("vocalset", root=tmp_path / name) for name in ("one", "two"))
    assert set(one.table["id"]) == set(two.table["id"])
    order = [two.table["id"].tolist().index(name) for name in one.table["id"]]
    assert one.fingerprint == two.take(order).fingerprint


def _esc50(folder: Path) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(20):
        fold, target = i % 5 + 1, i % 2
        name = f"{fold}-{1000 + i}-A-{target}.wav"
        lines.append(f"{name},{fold},{target},{['dog', 'rooster'][target]},{i % 2 == 0},{1000 + i},A")
        _sounds(folder, f"audio/{name}")
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("place", ["esc50/ESC-50-master", "ESC-50-master", "."])
def test_esc50(tmp_path, place):
    _esc50(tmp_path / place)
    clips = load_dataset("esc50", root=tmp_path)
    assert len(clips) == 20 and clips.classes == ("dog", "rooster")
    assert clips.table["esc10"].dtype == bool and clips.table["target"].dtype == "int64"
    assert [len(split.test) for split in clips.folds()] == [4] * 5
    assert clips.table["group"].nunique() == 20


def test_esc50_with_missing_files(tmp_path):
    _esc50(tmp_path / "esc50")
    (tmp_path / "esc50" / "audio" / "1-1000-A-0.wav").unlink()
    with pytest.raises(DatasetError) as caught:
        load_dataset("esc50", root=tmp_path)
    for words in ("1 of 20 clips are missing", "line 2: 1-1000-A-0.wav", "CC BY-NC", "workbench data fetch esc50"):
        assert words in str(caught.value)
    clips = load_dataset("esc50", root=tmp_path, missing="skip")
    assert len(clips) == 19 and clips.dropped == {"clips whose file is missing": 1}


def test_esc50_with_a_column_missing(tmp_path):
    _esc50(tmp_path / "esc50")
    table = tmp_path / "esc50" / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("src_file", "source_file"))
    with pytest.raises(DatasetError, match=r"has no column 'src_file' .*did you mean 'source_file'"):
        load_dataset("esc50", root=tmp_path)


def test_esc50_with_a_wrong_value(tmp_path):
    _esc50(tmp_path / "esc50")
    table = tmp_path / "esc50" / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(",0,dog,True,1000,", ",zero,dog,True,1000,"))
    with pytest.raises(DatasetError, match=r"2: target='zero' must be int \(1 such rows\)"):
        load_dataset("esc50", root=tmp_path)


def test_esc10(tmp_path):
    _sounds(tmp_path / "ESC-10-master", "001 - Dog bark/1-100032-A.ogg", "009 - Rooster/2-100786-B.ogg")
    clips = load_dataset("esc10", root=tmp_path)
    assert clips.classes == ("dog_bark", "rooster") and clips.table["id"].tolist() == ["1-100032-A", "2-100786-B"]
    assert clips.table["fold"].tolist() == [1, 2] and clips.table["group"].tolist() == ["100032", "100786"]


def _speech_commands(folder: Path) -> None:
    speakers = [f"{i:08x}" for i in range(6)]
    _sounds(folder, *(f"{word}/{speaker}_nohash_0.wav" for word in ("bed", "cat") for speaker in speakers))
    _sounds(folder, "_background_noise_/pink_noise.wav")
    (folder / "validation_list.txt").write_text(f"bed/{speakers[1]}_nohash_0.wav\ncat/{speakers[1]}_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text(f"bed/{speakers[0]}_nohash_0.wav\ncat/{speakers[0]}_nohash_0.wav\n")


@pytest.mark.parametrize("place", ["speech_commands_v2", "SpeechCommands/speech_commands_v0.02", "."])
def test_speech_commands(tmp_path, place):
    _speech_commands(tmp_path / place)
    clips = load_dataset("speech_commands_v2", root=tmp_path)
    assert len(clips) == 12 and clips.classes == ("bed", "cat")
    split = clips.split()
    assert [len(rows) for rows in split] == [8, 2, 2]
    assert set(clips.table["speaker"].iloc[split.test]) == {"00000000"}


def test_speech_commands_without_a_list(tmp_path):
    _speech_commands(tmp_path / "speech_commands_v2")
    (tmp_path / "speech_commands_v2" / "testing_list.txt").unlink()
    with pytest.raises(DatasetError, match="no testing_list.txt, which names the test clips"):
        load_dataset("speech_commands_v2", root=tmp_path)


def test_a_publishers_split_can_be_left_aside(tmp_path):
    _speech_commands(tmp_path / "speech_commands_v2")
    clips = load_dataset("speech_commands_v2", root=tmp_path, split="none")
    assert set(clips.table["split"]) == {""}
    with pytest.raises(ParameterError, match="split='takes' must be one of none, default"):
        load_dataset("speech_commands_v2", root=tmp_path, split="takes")


def test_gtzan(tmp_path):
    tracks = [f"genres/blues/blues.{i:05d}.wav" for i in range(20)] + ["genres/jazz/jazz.00054.wav"]
    _sounds(tmp_path / "gtzan", *tracks, "genres/jazz/jazz.00055.wav")
    clips = load_dataset("gtzan", root=tmp_path)
    assert len(clips) == 21 and "jazz.00054" not in set(clips.table["id"])
    assert clips.table["split"].value_counts().to_dict() == {"train": 17, "valid": 2, "test": 2}
    assert clips.where(split="test").table["id"].tolist() == ["blues.00009", "blues.00019"]


def test_medley_solos_db(tmp_path):
    lines = ["subset,instrument,instrument_id,song_id,uuid4"]
    folder = tmp_path / "medley_solos_db"
    for i, part in enumerate(["training"] * 6 + ["validation"] * 2 + ["test"] * 2):
        label, number = [("clarinet", 0), ("flute", 3)][i % 2]
        uuid = f"{i:08d}-b909-5830-f5a9-02a4d4a75d8c"
        lines.append(f"{part},{label},{number},{i // 2:03d},{uuid}")
        _sounds(folder, f"Medley-solos-DB_{part}-{number}_{uuid}.wav")
    (folder / "Medley-solos-DB_metadata.csv").write_text("\n".join(lines))
    clips = load_dataset("medley_solos_db", root=tmp_path)
    assert [len(rows) for rows in clips.split()] == [6, 2, 2] and clips.classes == ("clarinet", "flute")
    assert clips.table["song"].tolist()[:3] == ["000", "000", "001"]


def test_urbansound8k(tmp_path):
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for i in range(30):
        fold, target = i % 10 + 1, i // 10
        name = f"{500 + fold}-{target}-0-{i}.wav"
        lines.append(f"{name},{500 + fold},0.0,4.0,1,{fold},{target},{['car_horn', 'siren', 'drilling'][target]}")
        _sounds(tmp_path / "UrbanSound8K", f"audio/fold{fold}/{name}")
    (tmp_path / "UrbanSound8K" / "metadata").mkdir()
    (tmp_path / "UrbanSound8K" / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines))
    clips = load_dataset("urbansound8k", root=tmp_path)
    assert len(clips) == 30 and len(clips.folds()) == 10 and clips.table["group"].nunique() == 10
    assert clips.table["salience"].tolist() == [1] * 30


def test_ravdess(tmp_path):
    names = [f"Actor_{a:02d}/03-01-0{e}-01-01-01-{a:02d}.wav" for a in (1, 2, 3, 4) for e in (1, 5)]
    _sounds(tmp_path / "ravdess", *names, "Actor_01/03-02-01-01-01-01-01.wav", "Actor_02/03-01-01-01-01-01-03.wav")
    clips = load_dataset("ravdess", root=tmp_path)
    assert len(clips) == 8 and clips.classes == ("angry", "neutral")
    assert clips.where(actor="02").table["gender"].tolist() == ["female", "female"]
    assert set(clips.table["statement"]) == {"kids are talking by the door"}
    assert clips.table["group"].nunique() == 4


def test_nsynth(tmp_path):
    for part, instruments in (("train", range(4)), ("valid", (7, 8)), ("test", (7, 8))):
        names = [
            f"nsynth-{part}/audio/{family}_acoustic_{i:03d}-{pitch + (part == 'test'):03d}-100.wav"
            for family in ("bass", "synth_lead")
            for i in instruments
            for pitch in (40, 60)
        ]
        _sounds(tmp_path / "nsynth", *names)
    clips = load_dataset("nsynth", root=tmp_path)
    assert len(clips) == 32 and clips.classes == ("bass", "synth_lead")
    assert sorted(set(clips.table["midi"])) == [40, 41, 60, 61]
    split = clips.split(valid=0.25)
    assert [len(rows) for rows in split] == [12, 4, 8]
    published = load_dataset("nsynth", root=tmp_path, split="published")
    assert [len(rows) for rows in published.split()] == [16, 8, 8]
    with pytest.raises(DatasetError, match="leaks: 4 of its groups"):
        load_dataset("nsynth", root=tmp_path, split="published", group="instrument").split()


def test_fsdd_and_its_official_takes(tmp_path):
    names = [f"recordings/{d}_{s}_{t}.wav" for d in range(2) for s in ("ann", "bob", "cy") for t in range(8)]
    _sounds(tmp_path / "free-spoken-digit-dataset", *names)
    by_speaker = load_dataset("fsdd", root=tmp_path)
    assert (by_speaker.table["split"] == "").all() and by_speaker.table["group"].nunique() == 3
    takes = load_dataset("fsdd", root=tmp_path, split="takes")
    assert len(takes.split().test) == 30 and set(takes.table["take"].iloc[takes.split().test]) == set(range(5))


def test_tinysol(tmp_path):
    folder = tmp_path / "tinysol"
    head = "Path,Fold,Family,Instrument (abbr.),Instrument (in full),Technique (abbr.),Technique (in full),Pitch,"
    lines = [head + "Pitch ID,Dynamics,Dynamics ID,Instance ID,String ID (if applicable),Needed digital retuning"]
    for i in range(10):
        name = f"Winds/Flute/ordinario/Fl-ord-C#{i}-pp-N-N.wav"
        lines.append(f"{name},{i % 5},Winds,Fl,Flute,ord,ordinario,C#{i},{13 + 12 * i},pp,0,0,,FALSE")
        _sounds(folder / "TinySOL", name)
    (folder / "TinySOL_metadata.csv").write_text("\n".join(lines))
    clips = load_dataset("tinysol", root=tmp_path)
    assert clips.table["midi"].tolist()[:2] == [13, 25] and not clips.table["retuned"].any()
    assert sorted(set(clips.table["fold"])) == [0, 1, 2, 3, 4]


def test_philharmonia(tmp_path):
    folder = tmp_path / "philharmonia"
    _sounds(folder, "audio/flute/flute_As4_1_piano_normal.mp3", "audio/percussion/bass drum__025_forte_struck.mp3")
    clips = load_dataset("philharmonia", root=tmp_path)
    assert clips.table.loc[0, ["instrument", "midi", "dynamic"]].tolist() == ["flute", 70, "piano"]
    assert len(clips) == 1 and clips.table["group"].tolist() == ["70"]


def test_sonyc_ust(tmp_path):
    tags = ["1_engine", "2_machinery-impact", "3_non-machinery-impact", "4_powered-saw", "5_alert-signal", "6_music"]
    tags = [f"{tag}_presence" for tag in [*tags, "7_human-voice", "8_dog"]]
    rows = [
        ("train", 1, "01_a.wav", 11, "10000000"),  # two volunteers: any of them counts
        ("train", 1, "01_a.wav", 12, "00000010"),
        ("validate", 2, "02_b.wav", 11, "11111111"),  # the agreed annotation wins over volunteers
        ("validate", 2, "02_b.wav", 0, "00000000"),
        ("test", 1, "03_c.wav", 0, "00000001"),
    ]
    lines = ["split,sensor_id,audio_filename,annotator_id,year,week,day,hour," + ",".join(tags)]
    lines += [f"{s},{n},{f},{a},2019,1,2,3,{','.join(t)}" for s, n, f, a, t in rows]
    folder = tmp_path / "sonyc_ust"
    _sounds(folder, "audio/01_a.wav", "audio/02_b.wav", "audio/03_c.wav")
    (folder / "annotations.csv").write_text("\n".join(lines))
    clips = load_dataset("sonyc_ust", root=tmp_path)
    assert clips.labels.tolist() == ["engine+human_voice", "none", "dog"]
    assert clips.table["split"].tolist() == ["train", "valid", "test"]
    assert clips.table[["engine", "human_voice", "dog"]].to_numpy().tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert set(clips.table["group"]) == {""} and clips.table["sensor"].tolist() == ["1", "2", "1"]


def test_iemocap(tmp_path):
    for session in (1, 2, 3):
        base = tmp_path / "IEMOCAP_full_release" / f"Session{session}"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for i, (emotion, who) in enumerate([("neu", "F"), ("exc", "M"), ("xxx", "M")]):
            turn = f"Ses0{session}F_impro01_{who}{i:03d}"
            lines += [f"[6.2901 - 8.2357]\t{turn}\t{emotion}\t[2.5000, 2.0000, 3.5000]", "C-E2:\tNeutral;\t()", ""]
            _sounds(base, f"sentences/wav/Ses0{session}F_impro01/{turn}.wav")
        (base / "dialog" / "EmoEvaluation" / "Attribute").mkdir(parents=True)
        (base / "dialog" / "EmoEvaluation" / f"Ses0{session}F_impro01.txt").write_text("\n".join(lines))
    clips = load_dataset("iemocap", root=tmp_path)
    assert len(clips) == 6 and clips.classes == ("excited", "neutral")
    assert clips.table.loc[0, ["session", "gender", "valence", "dominance"]].tolist() == [1, "female", 2.5, 3.5]
    assert len(clips.folds()) == 3 and set(clips.table["fold"]) == {1, 2, 3}


def test_slakh(tmp_path):
    for part, track in (("train", "Track00001"), ("test", "Track00002")):
        base = tmp_path / "slakh" / "slakh2100_flac_redux" / part / track
        lines = ["UUID: x", "stems:"]
        for stem, rendered in (("S00", "true"), ("S01", "true"), ("S02", "false")):
            lines += [f"  {stem}:", f"    audio_rendered: {rendered}", "    inst_class: Bass", "    is_drum: false"]
        _sounds(base, "stems/S00.flac", "stems/S01.flac", "mix.flac")
        (base / "metadata.yaml").write_text("\n".join(lines) + "\n")
    clips = load_dataset("slakh", root=tmp_path)
    assert clips.table["id"].tolist() == ["Track00002/S00", "Track00002/S01", "Track00001/S00", "Track00001/S01"]
    assert clips.table["split"].tolist() == ["test", "test", "train", "train"] and clips.classes == ("Bass",)


def test_fma_large(tmp_path):
    folder = tmp_path / "fma_large"
    _sounds(folder, *(f"fma_large/000/{i:06d}.mp3" for i in (2, 3, 5)))
    lines = [
        ",artist,set,set,track,track",
        ",id,split,subset,genre_top,title",
        "track_id,,,,,",
        "2,1,training,large,Hip-Hop,Food",
        "3,1,training,large,,Electric Ave",
        "5,9,test,large,Hip-Hop,This World",
    ]
    (folder / "fma_metadata").mkdir()
    (folder / "fma_metadata" / "tracks.csv").write_text("\n".join(lines))
    clips = load_dataset("fma_large", root=tmp_path)
    assert clips.labels.tolist() == ["Hip-Hop", "", "Hip-Hop"] and clips.table["id"].tolist()[0] == "000002"
    assert clips.classes == ("Hip-Hop",) and clips.table["group"].tolist() == ["1", "1", "9"]
    (folder / "fma_large" / "000" / "000003.mp3").unlink()
    with pytest.raises(DatasetError, match="line 5: 000003.mp3"):
        load_dataset("fma_large", root=tmp_path)


def test_librispeech(tmp_path):
    names = [
        f"LibriSpeech/test-other/{s}/{c}/{s}-{c}-{u:04d}.flac" for s, c in ((10, 7), (10, 8), (11, 9)) for u in range(2)
    ]
    _sounds(tmp_path, *names)
    clips = load_dataset("librispeech", root=tmp_path)
    assert clips.classes == ("10", "11") and clips.table["group"].tolist()[:3] == ["7-0000", "7-0001", "8-0000"]
    assert load_dataset("librispeech", root=tmp_path, group="chapter").table["group"].tolist()[:3] == ["7", "7", "8"]


def test_two_copies_of_a_file_are_refused(tmp_path):
    _esc50(tmp_path / "esc50")
    for place in ("a", "b"):
        _sounds(tmp_path / "esc50" / place, "1-1000-A-0.wav")
    (tmp_path / "esc50" / "audio" / "1-1000-A-0.wav").unlink()
    with pytest.raises(DatasetError, match=r"'1-1000-A-0.wav' could be any of a/1-1000-A-0.wav, b/1-1000-A-0.wav"):
        load_dataset("esc50", root=tmp_path)


def test_two_copies_of_a_set_share_ids_and_are_refused(tmp_path):
    _sounds(tmp_path / "fsdd", "one/1_ann_1.wav", "two/1_ann_1.wav")
    with pytest.raises(DatasetError, match="2 rows share their id"):
        load_dataset("fsdd", root=tmp_path)


# --- roots -----------------------------------------------------------------------------------------


def _root(folder: Path, rows: list[tuple[str, str, str, dict]]) -> Path:
    lines = ["file,part,label,factors,split,seconds"]
    for file, part, label, factors in rows:
        _sounds(folder, file)
        lines.append(f'{file},{part},{label},"{json.dumps(factors).replace(chr(34), chr(34) * 2)}",,0.01')
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def test_a_part_of_a_root_with_its_own_manifest(tmp_path):
    rows = [
        (f"fsdd/{d}_{s}_0.wav", "fsdd", str(d), {"digit": d, "speaker": s, "take": 0})
        for d in range(2)
        for s in ("ann", "bob")
    ]
    rows += [("tones/a.wav", "tones", "low", {"hz": 100}), ("tones/b.wav", "tones", "high", {"hz": 200})]
    root = _root(tmp_path, rows)
    clips = load_dataset("fsdd", root=root)
    assert len(clips) == 4 and clips.table["seconds"].tolist() == [0.01] * 4 and clips.table["digit"].dtype == "int64"
    assert clips.licence == "CC BY-SA 4.0"
    unnamed = load_dataset("tones", root=root)
    assert unnamed.classes == ("high", "low") and unnamed.factors == ("hz",)
    # the root's other files are not taken for a set in its publisher's layout
    with pytest.raises(DatasetError, match="'speech_commands_v2' .* is not on this machine"):
        load_dataset("speech_commands_v2", root=root)


def test_a_part_with_wrong_json_or_a_missing_file_names_the_line(tmp_path):
    root = _root(tmp_path, [(f"tones/{i}.wav", "tones", "x", {"hz": i}) for i in range(3)])
    (root / "tones" / "1.wav").unlink()
    with pytest.raises(DatasetError, match=r"1 of 3 clips are missing \(line 3: 1.wav\)"):
        load_dataset("tones", root=root)
    text = (root / "manifest.csv").read_text().replace('{""hz"": 1}', "{hz}")
    (root / "manifest.csv").write_text(text + " ")
    with pytest.raises(DatasetError, match="line 3: factors='{hz}' must be a JSON object"):
        load_dataset("tones", root=root)


def test_roots_in_order_option_environment_cache(tmp_path, monkeypatch):
    for place in ("option", "environment", "cache/data"):
        _sounds(tmp_path / place / "gtzan", f"genres/blues/blues.0000{len(place) % 10}.wav")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    assert load_dataset("gtzan").table["id"].tolist() == ["blues.00000"]
    monkeypatch.setenv("WORKBENCH_DATA", os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path / "environment")]))
    assert load_dataset("gtzan").table["id"].tolist() == ["blues.00001"]
    assert load_dataset("gtzan", root=tmp_path / "option").table["id"].tolist() == ["blues.00006"]
    assert load_dataset("gtzan", root=[tmp_path / "nothing_here", tmp_path / "option"][1:]).name == "gtzan"
    with pytest.raises(DatasetError, match="no such folder"):
        load_dataset("gtzan", root=tmp_path / "nothing_here")


# --- what is said when it is not there -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "vocalset",
            [
                "CC BY 4.0",
                "2.1 GB",
                "https://zenodo.org",
                "workbench data fetch vocalset",
                "ROOT/vocalset",
                "WORKBENCH_DATA",
            ],
        ),
        ("iemocap", ["release form", "sail.usc.edu", "ROOT/iemocap"]),
        ("xai_genre", ["never released", "cannot be reproduced"]),
        ("esc11", ["unknown dataset 'esc11'", "voices", "did you mean 'esc10'"]),
        ("iemocp", ["did you mean 'iemocap'"]),
        ("./my_sounds", ["./my_sounds: no such folder or file"]),
        ("table.csv", ["table.csv: no such folder or file"]),
    ],
)
def test_a_dataset_that_is_not_there(name, words):
    with pytest.raises(DatasetError) as caught:
        load_dataset(name)
    for word in words:
        assert word in str(caught.value)


def test_options_a_dataset_does_not_take_are_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"spilt='x' must be left out.*did you mean 'split'"):
        load_dataset("gtzan", spilt="x")
    with pytest.raises(ParameterError, match="missing='ignore' must be 'raise' or 'skip'"):
        load_dataset("gtzan", missing="ignore")
    with pytest.raises(ParameterError, match="name='' must be a dataset's name"):
        load_dataset("")
    with pytest.raises(ParameterError, match="split='x' must be left out: voices is generated"):
        load_dataset("voices", split="x")
    with pytest.raises(ParameterError, match="column='x' must be one of .*technique"):
        load_dataset("voices", size=20, group="x")


def test_list_and_describe(tmp_path):
    _vocalset(tmp_path)
    table = list_datasets(root=tmp_path).set_index("name")
    assert list(table.columns) == ["title", "licence", "access", "clips", "size", "found"]
    assert table.loc["vocalset", "found"] == str(tmp_path / "FULL") and table.loc["esc50", "found"] == ""
    assert table.loc["voices", ["access", "found"]].tolist() == ["generated", "built in"]
    assert table.loc["speech_commands_v2", "clips"] == 105_829
    assert "singer" in str(describe_dataset("vocalset")) and "generated" in str(describe_dataset("voices"))
    with pytest.raises(DatasetError, match="did you mean 'voices'"):
        describe_dataset("voicse")


# --- own folders and tables ------------------------------------------------------------------------


def test_a_folder_of_labels(tmp_path):
    _sounds(tmp_path, "dog/a.wav", "dog/deep/b.flac", "cat/a.ogg", "cat/.hidden.wav")
    (tmp_path / "dog" / "notes.txt").write_text("not a sound")
    clips = load_dataset(tmp_path)
    assert clips.table["id"].tolist() == ["cat/a", "dog/a", "dog/deep/b"] and clips.labels.tolist() == [
        "cat",
        "dog",
        "dog",
    ]
    assert clips.name == tmp_path.stem and len(clips.audio(0)[0]) > 0


def test_a_folder_with_train_and_test(tmp_path):
    _sounds(
        tmp_path, *(f"{part}/{label}/{i}.wav" for part in ("train", "val", "Test") for label in "ab" for i in range(3))
    )
    clips = load_dataset(str(tmp_path))
    assert clips.classes == ("a", "b") and [len(rows) for rows in clips.split()] == [6, 6, 6]


def test_files_that_differ_in_suffix_only_get_their_own_ids(tmp_path):
    _sounds(tmp_path, "x/a.wav", "x/a.flac")
    assert load_dataset(tmp_path).table["id"].tolist() == ["x/a.flac", "x/a.wav"]


def test_a_flat_folder_has_no_labels_and_says_so(tmp_path):
    _sounds(tmp_path, "a.wav", "b.wav")
    with pytest.warns(UserWarning, match="all 2 sounds lie in one folder, so they have no labels"):
        clips = load_dataset(tmp_path)
    assert clips.classes == () and len(clips) == 2


def test_loose_files_beside_label_folders_are_refused(tmp_path):
    _sounds(tmp_path, "a/x.wav", "loose.wav")
    with pytest.raises(DatasetError, match="1 sounds lie outside the folders that are the labels: loose.wav"):
        load_dataset(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no sounds in it"):
        load_dataset(tmp_path)


def test_a_data_root_is_not_a_dataset(tmp_path):
    _root(tmp_path, [("tones/a.wav", "tones", "x", {})])
    with pytest.raises(DatasetError, match=r"data root of several sets \(tones\)"):
        load_dataset(tmp_path)


def _table(folder: Path, text: str) -> Path:
    _sounds(folder, *(f"sub/{name}.wav" for name in "abcd"))
    (folder / "mine.csv").write_text(text)
    return folder / "mine.csv"


def test_a_csv_with_everything(tmp_path):
    file = _table(
        tmp_path,
        "path,label,group,split,fold,take,code,hz\n"
        "sub/a.wav,x,s1,training,fold1,1,007,1.5\n"
        "sub/b.wav,y,s1,train,fold1,2,008,\n"
        "sub/c.wav,x,s2,dev,fold2,3,009,2.0\n"
        "sub/d.wav,y,s3,test,fold3,4,010,2.5\n",
    )
    clips = load_dataset(file)
    assert clips.factors == ("take", "code", "hz") and clips.name == "mine"
    assert clips.table["split"].tolist() == ["train", "train", "valid", "test"] and clips.table["fold"].tolist() == [
        1,
        1,
        2,
        3,
    ]
    assert clips.table["take"].tolist() == [1, 2, 3, 4] and clips.table["code"].tolist()[0] == "007"
    assert clips.table["hz"].isna().sum() == 1
    assert load_dataset(file, label="code").classes == ("007", "008", "009", "010")
    assert [len(rows) for rows in clips.split()] == [2, 1, 1]
    assert len(load_dataset(file, size=2)) == 2


def test_a_csv_of_pieces(tmp_path):
    file = _table(tmp_path, "file,label,start,stop\nsub/a.wav,x,0,0.005\nsub/a.wav,y,0.005,0.01\n")
    clips = load_dataset(file)
    assert [len(clips.audio(i)[0]) for i in range(2)] == [40, 40] and clips.table["id"].nunique() == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,label\na,x\n", "no column of paths (path, file"),
        ("path,labl\nsub/a.wav,x\n", "no column 'label', only path, labl; did you mean 'labl'"),
        ("path,label\n", "a header and no rows"),
        ("path,label\nsub/a.wav,x\n,y\n", "path='' must be the path of a sound (1 rows: line 3)"),
        ("path,label\nsub/a.wav,x\nsub/z.wav,y\n", "1 of 2 clips are missing (line 3: sub/z.wav)"),
        ("path,label\nsub/z.wav,y\n", "1 of 1 clips are missing"),
        ("path,label\nsub/a.wav,x\nsub/a.wav,y\n", "path='sub/a.wav' must be there once"),
        ("path,label,split\nsub/a.wav,x,trian\n", "split='trian' must be train, valid, test or empty (1 rows: line 2)"),
        ("path,label,fold\nsub/a.wav,x,one\n", "fold='one' must be a number"),
        ("path,label,start\nsub/a.wav,x,soon\n", "start='soon' must be a number of seconds"),
        ("path,label,start,stop\nsub/a.wav,x,2,1\n", "stop='1' must be later than start"),
        ("path,label,id\nsub/a.wav,x,1\nsub/b.wav,y,1\n", "2 rows share their id"),
    ],
)
def test_a_wrong_csv_says_where(tmp_path, text, words):
    with pytest.raises(DatasetError) as caught:
        load_dataset(_table(tmp_path, text))
    assert words in str(caught.value)


def test_an_own_manifest(tmp_path):
    _sounds(tmp_path / "tones", "low/100.wav", "high/200.wav")
    about = "name: tones\ntitle: Tones\nlicence: CC0\ncitation: nobody\nhomepage: https://example.org\naccess: open\n"
    about += (
        "obtain: make them\nlayout: {paths: '(?P<kind>low|high)/(?P<hz>\\d+)\\.wav'}\nlabel: kind\nfactors: {hz: int}\n"
    )
    (tmp_path / "tones.yaml").write_text(about)
    assert load_dataset(tmp_path / "tones.yaml", root=tmp_path).table["hz"].tolist() == [200, 100]


# --- generated, sizes, small things ----------------------------------------------------------------


def test_voices_are_generated():
    clips = load_dataset("voices", size=30, seed=2)
    assert clips.generated and len(clips) == 30 and "generated audio" in repr(clips)
    x, rate = clips.audio(0, rate=16000)
    assert rate == 16000 and x.dtype == np.float32 and len(x) == 80_000
    assert load_dataset("voices", size=30, seed=2).fingerprint == clips.fingerprint
    assert load_dataset("voices", size=30, seed=3).fingerprint != clips.fingerprint
    assert clips.signature(0) != clips.signature(1) and "VoiceRecipe" in clips.source(0)
    assert load_dataset("voices", size=30, label="vowel").classes == ("a", "e", "i", "o", "u")


@pytest.mark.parametrize(
    ("note", "number"), [("A4", 69), ("C4", 60), ("Cs3", 49), ("C#3", 49), ("Bb2", 46), ("C-1", 0)]
)
def test_midi_numbers(note, number):
    assert _midi_number(note) == number


def test_a_note_that_is_none(tmp_path):
    with pytest.raises(DatasetError, match="line 7: note 'H2' must be a letter A to G"):
        _midi_number("H2", "line 7")


def test_walking_skips_hidden_files_and_stays_shallow_when_told(tmp_path):
    _sounds(tmp_path, "a/b/c.wav", "a/d.wav", "e.wav", ".git/f.wav", "__MACOSX/g.wav", "a/._h.wav")
    assert list(_files_below(tmp_path)) == ["e.wav", "a/d.wav", "a/b/c.wav"]
    assert list(_files_below(tmp_path, depth=1)) == ["e.wav", "a/d.wav"]
    assert list(_files_below(tmp_path, [".flac"])) == []


# --- real files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clips", "classes", "groups"),
    [
        ("esc10", 398, 10, 302),
        ("fsdd", 1800, 10, 6),
        ("librispeech", 100, 10, 100),
        ("speech_commands", 450, 3, 150),
        ("philharmonia", 2691, 15, 80),
        ("slakh", 5, 4, 1),
    ],
)
def test_parts_of_the_real_root(shared_audio, name, clips, classes, groups):
    found = load_dataset(name, root=shared_audio)
    assert (len(found), len(found.classes), found.table["group"].nunique()) == (clips, classes, groups)
    assert found.table["seconds"].notna().all() and found.table["id"].is_unique
    x, rate = found.audio(0)
    # the headers of these mp3 files promise up to 0.27 s more than there is
    assert abs(len(x) / rate - found.table["seconds"].iloc[0]) < 0.3


def test_real_esc10_folds_do_not_leak(shared_audio):
    splits = load_dataset("esc10", root=shared_audio).folds()
    assert [len(split.test) for split in splits] == [79, 79, 80, 80, 80]


def test_real_philharmonia_by_articulation_and_by_instrument(shared_audio):
    techniques = load_dataset("philharmonia", root=shared_audio, label="articulation")
    assert len(techniques.classes) == 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        split = techniques.split()
        by_instrument = load_dataset(
            "philharmonia", root=shared_audio, label="articulation", group="instrument"
        ).split()
    midi, instrument = techniques.table["midi"], techniques.table["instrument"]
    assert not set(midi.iloc[split.train]) & set(midi.iloc[split.test])
    assert not set(instrument.iloc[by_instrument.train]) & set(instrument.iloc[by_instrument.test])


def test_a_balanced_part_of_real_clips(shared_audio):
    clips = load_dataset("fsdd", root=shared_audio, size=50, seed=1)
    assert clips.summary()["clips"].tolist() == [5] * 10
    assert clips.fingerprint == load_dataset("fsdd", root=shared_audio, size=50, seed=1).fingerprint
