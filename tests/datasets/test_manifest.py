"""Manifests: those shipped are right, and wrong ones say what is wrong."""

import copy
from pathlib import Path

import pytest
import yaml

from workbench.core.errors import DatasetError
from workbench.datasets.manifest import _manifest_folder, manifests, read_manifest
from workbench.datasets.schema import human_bytes

GOOD = {
    "name": "tones",
    "title": "Tones",
    "licence": "CC0",
    "citation": "nobody",
    "homepage": "https://example.org/tones",
    "access": "open",
    "files": [{"url": "https://example.org/tones.zip", "bytes": 10, "checksum": "md5:" + "0" * 32, "unpack": True}],
    "layout": {"paths": r"(?P<kind>\w+)/(?P<pitch>\d+)\.wav"},
    "label": "kind",
    "factors": {"pitch": "int"},
    "group": "pitch",
    "splits": {"default": {"column": "kind", "test": "sine", "rest": "train"}},
    "clips": 3,
}

PAPERS_AND_STAND_INS = {
    "vocalset", "esc50", "esc10", "speech_commands_v2", "iemocap", "gtzan", "medley_solos_db", "nsynth", "xai_genre",
    "fma_large", "sonyc_ust", "fsdd", "philharmonia", "tinysol", "urbansound8k", "ravdess", "speech_commands",
    "librispeech", "slakh",
}  # fmt: skip


def _write(folder: Path, raw: dict) -> Path:
    path = folder / "tones.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def _changed(place: str, value: object) -> dict:
    raw = copy.deepcopy(GOOD)
    *way, last = place.split(".")
    inner = raw
    for key in way:
        inner = inner[int(key)] if key.isdigit() else inner[key]
    inner[last] = value
    return raw


def test_all_shipped_manifests_are_valid_and_complete():
    assert set(manifests()) >= PAPERS_AND_STAND_INS
    assert all(manifest.name == name for name, manifest in manifests().items())
    assert (_manifest_folder() / "README.md").is_file()


def test_shipped_facts():
    found = manifests()
    assert found["speech_commands_v2"].clips == 105_829
    assert found["vocalset"].files[0].bytes == 2_077_087_366
    assert found["vocalset"].splits["default"].test == ("female2", "female8", "male3", "male5", "male10")
    assert len(found["vocalset"].layout.keep["technique"]) == 10
    assert found["iemocap"].access == "on_request" and found["xai_genre"].access == "unreleased"
    assert len(found["sonyc_ust"].files) == 21
    assert found["sonyc_ust"].size == "unknown size" and found["nsynth"].size == "more than 23.8 GB"


def test_gtzan_filter_leaves_919_tracks_in_the_papers_split():
    gone = manifests()["gtzan"].layout.drop["track"]
    assert len(set(gone)) == 81
    kept = [f"{genre}.{i:05d}" for genre in GENRES for i in range(100)]
    kept = [track for track in kept if track not in gone]
    sizes = [sum(track.startswith(genre + ".") for track in kept) for genre in GENRES]
    assert sizes == [100, 92, 98, 92, 93, 95, 84, 92, 98, 75]
    assert sum(track.endswith("9") for track in kept) == 91 and sum(track.endswith("8") for track in kept) == 96


GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def test_a_good_manifest_is_read(tmp_path):
    manifest = read_manifest(_write(tmp_path, GOOD))
    assert manifest.layout.gives == ("kind", "pitch")
    assert manifest.group == ("pitch",) and manifest.splits["default"].test == ("sine",)
    assert manifest.files[0].filename == "tones.zip"
    assert "tones: Tones" in str(manifest) and "CC0" in str(manifest)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("titel", "x", ["titel='x'", "did you mean 'title'"]),
        ("title", "", ["title=''", "not empty"]),
        ("name", "Tones", ["name='Tones'", "lower-case"]),
        ("name", "tunes", ["name='tunes'", "'tones', the name of its file"]),
        ("homepage", "example.org", ["homepage='example.org'", "http"]),
        ("access", "opne", ["access='opne'", "did you mean 'open'"]),
        ("access", "on_request", ["obtain", "on_request"]),
        ("clips", "3", ["clips='3'", "whole number"]),
        ("clips", True, ["clips=True", "whole number"]),
        ("files.0.md5", "0" * 32, ["files[0].md5", "url, bytes, checksum"]),
        ("files.0.checksum", "md5:123", ["files[0].checksum='md5:123'", "32"]),
        ("files.0.checksum", "crc:123", ["files[0].checksum='crc:123'", "sha256"]),
        ("files.0.checksum", None, ["files[0].why", "null"]),
        ("files.0.bytes", -1, ["files[0].bytes=-1", "whole number"]),
        ("files.0.unpack", "rar", ["files[0].unpack='rar'", "tar.gz"]),
        ("files.0.to", "../elsewhere", ["files[0].to='../elsewhere'", "without '..'"]),
        ("files.0.url", "ftp://example.org/x.zip", ["files[0].url", "http"]),
        ("files", {}, ["files={}", "a list"]),
        ("layout.paths", "(?P<kind>", ["layout.paths", "regular expression"]),
        ("layout.csv", "table.csv", ["layout", "exactly one of paths, csv and text"]),
        ("layout.pahts", "x", ["layout.pahts", "did you mean 'paths'"]),
        ("layout.keep", {"knd": ["sine"]}, ["layout.keep='knd'", "did you mean 'kind'"]),
        ("layout.folders", {"a": 1}, ["layout.folders", "list of texts"]),
        ("label", "kidn", ["label='kidn'", "did you mean 'kind'"]),
        ("factors.pitch", "integer", ["factors.pitch='integer'", "str, int, float, bool"]),
        ("factors.loudness", "float", ["factors.loudness='loudness'", "kind, pitch"]),
        ("group", ["pitch", "singer"], ["group='singer'", "kind, pitch"]),
        ("splits.default.column", "sort", ["splits.default.column='sort'"]),
        ("splits.default.rest", "training", ["splits.default.rest='training'", "did you mean 'train'"]),
        ("splits.default.lists", {"test": "t.txt"}, ["splits.default.column", "either column or lists"]),
        ("layout.paths", r"(?P<kind>\w+)/(?P<pitch>\d+)/(?P<path>\w)\.wav", None),
    ],
)
def test_a_wrong_field_says_what_is_wrong(tmp_path, place, value, words):
    path = _write(tmp_path, _changed(place, value))
    if words is None:
        assert read_manifest(path).layout.gives == ("kind", "pitch", "path")
        return
    with pytest.raises(DatasetError) as caught:
        read_manifest(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_reserved_columns_cannot_be_factors(tmp_path):
    raw = _changed("layout.paths", r"(?P<kind>\w+)/(?P<pitch>\d+)/(?P<path>\w)\.wav")
    raw["factors"]["path"] = "str"
    with pytest.raises(DatasetError, match="columns of every table"):
        read_manifest(_write(tmp_path, raw))


def test_a_required_field_that_is_missing_is_named(tmp_path):
    raw = {key: value for key, value in GOOD.items() if key != "licence"}
    with pytest.raises(DatasetError, match="licence=None must be given"):
        read_manifest(_write(tmp_path, raw))


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "is not YAML"), ("- 1\n", "must be a mapping"), ("", "must be a mapping")]
)
def test_files_that_are_no_manifest(tmp_path, text, words):
    path = tmp_path / "tones.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_manifest(path)


def test_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="nowhere.yaml: cannot be read"):
        read_manifest(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 bytes"), (1234, "1.2 kB"), (2_077_087_366, "2.1 GB"), (100_306_112_191, "100.3 GB"), (5e12, "5000.0 GB")],
)
def test_sizes_for_people(count, text):
    assert human_bytes(count) == text


# --- what YAML and templates could do ------------------------------------------------------------------------------

SMALL = {
    "name": "mine",
    "title": "Mine",
    "licence": "CC0",
    "citation": "nobody",
    "homepage": "https://example.org",
    "access": "open",
    "obtain": "make them",
    "label": "kind",
    "layout": {"csv": "t.csv", "columns": {"kind": "k", "file": "f"}, "audio": "{file}.wav"},
}


def _small(tmp_path, **changes):
    raw = yaml.safe_load(yaml.safe_dump(SMALL))
    for place, value in changes.items():
        *above, last = place.split("__")
        inside = raw
        for name in above:
            inside = inside.setdefault(name, {})
        inside[last] = value
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return tmp_path / "mine.yaml"


def test_the_good_one_is_good(tmp_path):
    assert read_manifest(_small(tmp_path)).layout.audio == "{file}.wav"
    assert read_manifest(_small(tmp_path, layout__audio="{file:0>6}.mp3")).layout.audio == "{file:0>6}.mp3"


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("layout__audio", "{file.__class__}", "a template with columns in braces"),
        ("layout__audio", "{file[0]}", "a template"),
        ("layout__audio", "{file!r}", "a template"),
        ("layout__audio", "{file:>999999999}", "a template"),
        ("layout__audio", "{file:d}", "a template"),
        ("layout__audio", "{}", "a template"),
        ("layout__audio", "{file", "a template"),
        ("id", "{kind.__init__.__globals__}", "a template"),
        ("layout__folders", ["../"], "a path inside the dataset's folder"),
        ("layout__folders", ["/etc"], "a path inside the dataset's folder"),
        ("layout__csv", "", "a path inside the dataset's folder"),
        ("checks", {"../x": None}, "a path inside the dataset's folder"),
        ("splits", {"default": None}, "a mapping with column"),
        ("splits", {"default": {"lists": {"train": "/etc/passwd"}}}, "a path inside the dataset's folder"),
        ("splits", {"default": {"lists": {"other": "x.txt"}}}, "train, valid or test"),
        (
            "files",
            [{"url": "https://x.org/..", "bytes": 1, "checksum": None, "why": "x"}],
            "ends in the name of a file",
        ),
        ("clips", float("nan"), "a whole number"),
        ("label", ["kind"], "a text that is not empty"),
        ("title", b"\x00\xff", "a text that is not empty"),
        ("layout__header", 1.5, "a whole number, 1 or more"),
        ("layout__columns", {True: "k"}, "names are texts"),
        ("layout__columns", [1], "a mapping"),
    ],
)
def test_values_that_reach_too_far(tmp_path, place, value, words):
    with pytest.raises(DatasetError) as caught:
        read_manifest(_small(tmp_path, **{place: value}))
    assert words in str(caught.value) and "mine.yaml" in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x\n", "an alias (*x) is not allowed line 2"),
        ("name: a\nname: b\n", "'name' is given twice line 2"),
        ("- 1\n- 2\n", "must be a mapping with name"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML"),
        ("--- a\n--- b\n", "expected a single document"),
        ("[" * 5000, "is not YAML"),
        (b"\x89PNG\r\n\x1a\n", "is not YAML"),
        (b"name: \xe1", "is not YAML"),
    ],
)
def test_text_that_is_no_manifest(tmp_path, text, words):
    file = tmp_path / "mine.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError) as caught:
        read_manifest(file)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_words_that_yaml_takes_for_others_stay_words(tmp_path):
    file = _small(tmp_path)
    values = "layout:\n  values: {kind: {010: no, 1e3: yes, off: '1'}}\n"
    file.write_text(file.read_text().replace("layout:\n", values))
    assert read_manifest(file).layout.values == {"kind": {"010": "no", "1e3": "yes", "off": "1"}}
