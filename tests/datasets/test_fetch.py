"""Downloads from a small local server: resume, checksums, damage; archives that must not be unpacked; verifying."""

import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from workbench.core.download import PIECE, download
from workbench.core.errors import DatasetError
from workbench.datasets import fetch, load_dataset, verify
from workbench.datasets import manifest as manifest_module
from workbench.datasets.archives import unpack
from workbench.datasets.fetching import JOURNAL

CONTENT = bytes(range(256)) * 4000
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server:
    """Serves bytes by path, with Range; `drop` closes the connection after that many bytes of an answer."""

    def __init__(self):
        self.files, self.asked, self.drop, self.ranges = {}, [], [], True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # clients that hang up are part of the tests
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, request):
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and self.ranges else 0
        if wanted and self.ranges and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
        request.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + self.drop.pop(0) if self.drop else len(content)
        request.wfile.write(content[start:end])
        request.close_connection = True

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server():
    server = Server()
    server.files["/tone.bin"] = CONTENT
    yield server
    server.close()


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)


# --- download ---------------------------------------------------------------------------------------------


def test_a_file_is_downloaded_checked_and_not_downloaded_again(server, tmp_path):
    path = tmp_path / "new" / "tone.bin"
    for _ in range(2):
        assert download(f"{server.url}/tone.bin", path, size=len(CONTENT), checksum=MD5, progress=False) == path
    assert path.read_bytes() == CONTENT and server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["tone.bin"]


def test_a_broken_connection_is_resumed_within_the_call(server, tmp_path):
    server.drop = [10 * PIECE + 7, 5 * PIECE]
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", size=len(CONTENT), checksum=MD5, progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={10 * PIECE}-", f"bytes={15 * PIECE}-"]


def test_a_download_that_gave_up_goes_on_in_the_next_call(server, tmp_path):
    path = tmp_path / "tone.bin"
    server.drop = [12 * PIECE, 0, 0, 0]
    with pytest.raises(DatasetError, match=r"broke after 393.2 kB of 1.0 MB; 393.2 kB are kept in tone.bin.part"):
        download(f"{server.url}/tone.bin", path, size=len(CONTENT), checksum=MD5, progress=False)
    assert not path.exists() and (tmp_path / "tone.bin.part").stat().st_size == 12 * PIECE
    server.asked.clear()
    download(f"{server.url}/tone.bin", path, size=len(CONTENT), checksum=MD5, progress=False)
    assert path.read_bytes() == CONTENT and server.asked == [f"bytes={12 * PIECE}-"]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["tone.bin"]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    (tmp_path / "tone.bin.part").write_bytes(b"x" * 1000)
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT and server.asked == ["bytes=1000-"]


def test_a_complete_part_is_taken_as_it_is(server, tmp_path):
    (tmp_path / "tone.bin.part").write_bytes(CONTENT)
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT and server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "tone.bin.part").write_bytes(CONTENT + b"more")
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT and len(server.asked) == 2


def test_without_size_and_checksum_nothing_is_resumed(server, tmp_path):
    (tmp_path / "tone.bin.part").write_bytes(b"of another version")
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT and server.asked == [None]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_a_wrong_checksum_names_both_values_and_leaves_nothing(server, tmp_path, algorithm):
    right, wrong = hashlib.new(algorithm, CONTENT).hexdigest(), hashlib.new(algorithm, b"other").hexdigest()
    with pytest.raises(DatasetError) as caught:
        download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=f"{algorithm}:{wrong}", progress=False)
    assert right in str(caught.value) and wrong in str(caught.value) and "tone.bin" in str(caught.value)
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_a_damaged_file_under_the_final_name_is_replaced(server, tmp_path):
    (tmp_path / "tone.bin").write_bytes(b"damaged")
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    assert (tmp_path / "tone.bin").read_bytes() == CONTENT


def test_another_size_on_the_server_is_an_error_before_downloading(server, tmp_path):
    with pytest.raises(DatasetError, match=f"has {len(CONTENT)} bytes, the manifest says 5"):
        download(f"{server.url}/tone.bin", tmp_path / "tone.bin", size=5, progress=False)
    assert not [p for p in tmp_path.iterdir() if p.is_file()]


def test_errors_of_the_server_and_no_network(server, tmp_path):
    with pytest.raises(DatasetError, match="the server answers 404"):
        download(f"{server.url}/nothing.bin", tmp_path / "x", progress=False)
    server.close()
    with pytest.raises(DatasetError, match="cannot be reached; is there a network"):
        download(f"{server.url}/tone.bin", tmp_path / "x", progress=False)
    server.__init__()


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be made"):
        download(f"{server.url}/tone.bin", tmp_path / "file" / "x", progress=False)


def test_a_full_disk_is_told_before_downloading(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DatasetError, match="1.0 MB needed, 10 bytes free"):
        download(f"{server.url}/tone.bin", tmp_path / "x", progress=False)


def test_an_interrupted_download_keeps_what_came(server, tmp_path, monkeypatch):
    import requests

    real = requests.Response.iter_content

    def stop_after_one(self, size):
        yield next(iter(real(self, 100_000)))
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["tone.bin.part"]
    download(f"{server.url}/tone.bin", tmp_path / "tone.bin", checksum=MD5, progress=False)
    assert server.asked == [None, "bytes=100000-"]


# --- archives ---------------------------------------------------------------------------------------------


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def _tar(path, members, kind=None, mode="w:gz"):
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if kind is not None:
                info.type, info.linkname, info.size = kind, "/etc/passwd", 0
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("make", [_zip, _tar])
def test_archives_are_unpacked_and_listed(tmp_path, make):
    archive = make(tmp_path / "a.pack", {"top/one.txt": b"1", "top/deep/two.txt": b"22", "./three.txt": b""})
    (tmp_path / "into" / "top").mkdir(parents=True)
    (tmp_path / "into" / "top" / "old.txt").write_text("stays")
    found = unpack(archive, tmp_path / "into")
    assert sorted(found)[0] == ("three.txt", 0, 0) and {name for name, _, _ in found} == {
        "top/one.txt",
        "top/deep/two.txt",
        "three.txt",
    }
    assert (tmp_path / "into" / "top" / "deep" / "two.txt").read_bytes() == b"22"
    assert (tmp_path / "into" / "top" / "old.txt").exists()
    assert not [p for p in (tmp_path / "into").iterdir() if p.name.startswith(".unpacking")]


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "C:/evil", "a\\..\\evil"])
@pytest.mark.parametrize("make", [_zip, _tar])
def test_members_outside_the_folder_are_refused(tmp_path, make, name):
    archive = make(tmp_path / "a.pack", {"fine.txt": b"1", name: b"evil"})
    with pytest.raises(DatasetError, match="would be written outside the folder; refused"):
        unpack(archive, tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == [] and not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with pytest.raises(DatasetError, match="'bad' is a link or a device"):
        unpack(_tar(tmp_path / "a.tar.gz", {"bad": b""}, kind), tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("bad")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DatasetError, match="'bad' is a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "into")


@pytest.mark.parametrize("make", [_zip, _tar])
def test_bombs_are_refused(tmp_path, make):
    archive = make(tmp_path / "a.pack", {f"{i}.bin": bytes(200_000) for i in range(10)})
    with pytest.raises(DatasetError, match="possible archive bomb"):
        unpack(archive, tmp_path / "into", limit=1_000_000)
    assert list((tmp_path / "into").iterdir()) == []
    assert len(unpack(archive, tmp_path / "into", limit=2_000_000)) == 10


def test_damaged_archives(tmp_path):
    whole = _tar(tmp_path / "a.tar.gz", {"x": os.urandom(100_000)}).read_bytes()
    (tmp_path / "half.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"half.tar.gz: is damaged"):
        unpack(tmp_path / "half.tar.gz", tmp_path / "into")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DatasetError, match=r"text.zip: is damaged or not an archive"):
        unpack(tmp_path / "text.zip", tmp_path / "into")
    with pytest.raises(DatasetError, match="no such archive"):
        unpack(tmp_path / "gone.zip", tmp_path / "into")
    content = bytearray(_zip(tmp_path / "b.zip", {"x": b"A" * 50}).read_bytes())
    content[35] ^= 0xFF
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(DatasetError, match=r"b.zip: is damaged"):
        unpack(tmp_path / "b.zip", tmp_path / "into")


# --- fetch and verify -------------------------------------------------------------------------------------


def _tone(hz):
    file = io.BytesIO()
    soundfile.write(file, np.sin(2 * np.pi * hz * np.arange(800) / 8000), 8000, format="WAV")
    return file.getvalue()


@pytest.fixture
def tones(server, tmp_path, monkeypatch):
    """A dataset `tones` on the server: a zip of sounds and a list, known to the package while the test runs."""
    sounds = {f"tones-main/{kind}/{hz}.wav": _tone(hz) for kind, hz in (("low", 100), ("low", 120), ("high", 900))}
    pack = _zip(tmp_path / "tones.zip", sounds).read_bytes()
    server.files |= {"/tones.zip": pack, "/about.txt": b"tones"}
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "tones.yaml").write_text(
        json.dumps(
            {
                "name": "tones",
                "title": "Tones & beeps",
                "licence": "CC0",
                "citation": "nobody",
                "homepage": "https://example.org",
                "access": "open",
                "files": [
                    {
                        "url": f"{server.url}/tones.zip",
                        "bytes": len(pack),
                        "checksum": "sha256:" + hashlib.sha256(pack).hexdigest(),
                        "unpack": True,
                    },
                    {
                        "url": f"{server.url}/about.txt?download=1",
                        "bytes": None,
                        "checksum": None,
                        "why": "new",
                        "to": "doc",
                    },
                ],
                "checks": {"doc/about.txt": "md5:" + hashlib.md5(b"tones").hexdigest()},
                "layout": {"paths": r"(?P<kind>low|high)/(?P<hz>\d+)\.wav"},
                "label": "kind",
                "factors": {"hz": "int"},
                "clips": 3,
            }
        )
    )
    server.files["/about.txt?download=1"] = b"tones"
    found = {"tones": manifest_module.read_manifest(folder / "tones.yaml"), **manifest_module.manifests()}
    for module in ("catalog", "fetching"):
        monkeypatch.setattr(sys.modules[f"workbench.datasets.{module}"], "manifests", lambda: found)
    return server


def test_fetch_tells_then_downloads_unpacks_and_loads(tones, tmp_path):
    said = []
    folder = fetch("tones", root=tmp_path / "root", progress=False, say=said.append)
    assert folder == tmp_path / "root" / "tones" and (folder / "doc" / "about.txt").read_bytes() == b"tones"
    told = "\n".join(said)
    assert told.index("licence: CC0") < told.index("2 of 2 files to download (at least") < told.index("tones.zip (")
    assert "no checksum is known for it: new" in told and told.endswith(f"tones is in {folder}")
    clips = load_dataset("tones", root=tmp_path / "root")
    assert clips.table["hz"].tolist() == [900, 100, 120] and len(clips.audio(0)[0]) == 800
    assert verify("tones", root=tmp_path / "root").empty
    assert not list(folder.glob("*.zip"))


def test_fetch_again_downloads_nothing_and_repairs_what_is_missing(tones, tmp_path):
    folder = fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    tones.asked.clear()
    fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    assert tones.asked == []
    (folder / "tones-main" / "low" / "100.wav").unlink()
    fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    assert len(tones.asked) == 1 and verify("tones", root=tmp_path / "root").empty


def test_fetch_into_the_cache_by_default(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "c"))
    assert fetch("tones", progress=False, say=lambda _: None) == tmp_path / "c" / "data" / "tones"
    assert len(load_dataset("tones")) == 3


def test_fetch_can_be_declined(tones, tmp_path):
    asked = []
    with pytest.raises(DatasetError, match="not fetched"):
        fetch("tones", root=tmp_path / "r", confirm=lambda q: asked.append(q), progress=False, say=lambda _: None)
    assert "CC0" in asked[0] and tones.asked == [] and not (tmp_path / "r").exists()


def test_verify_finds_missing_changed_and_too_few(tones, tmp_path):
    folder = fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    (folder / "tones-main" / "low" / "100.wav").unlink()
    changed = folder / "tones-main" / "high" / "900.wav"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    (folder / "doc" / "about.txt").write_bytes(b"shorter?"[:4])
    found = verify("tones", root=tmp_path / "root")
    problems = {(os.path.basename(row.file), row.problem) for row in found.itertuples()}
    assert problems == {
        ("100.wav", "missing"),
        ("900.wav", "damaged"),
        ("about.txt", "damaged"),
        ("tones", "clip count"),
    }
    assert found.set_index("problem").loc["clip count", ["expected", "found"]].tolist() == ["3", "2"]
    quick = verify("tones", root=tmp_path / "root", deep=False)
    assert ("900.wav", "damaged") not in {(os.path.basename(row.file), row.problem) for row in quick.itertuples()}


def test_a_damaged_journal_means_fetching_again(tones, tmp_path):
    folder = fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    (folder / JOURNAL).write_text("{")
    tones.asked.clear()
    fetch("tones", root=tmp_path / "root", progress=False, say=lambda _: None)
    assert len(tones.asked) >= 1 and verify("tones", root=tmp_path / "root").empty


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("iemocap", "release form"),
        ("xai_genre", "never released"),
        ("voices", "nothing to fetch"),
        ("voicse", "did you mean 'voices'"),
    ],
)
def test_what_cannot_be_fetched_says_why(name, words):
    with pytest.raises(DatasetError, match=words):
        fetch(name)


def test_verify_of_what_is_not_there():
    with pytest.raises(DatasetError, match="workbench data fetch gtzan"):
        verify("gtzan")
    with pytest.raises(DatasetError, match="no files to verify"):
        verify("voices")


def test_real_parts_are_whole(shared_audio):
    assert verify("esc10", root=shared_audio).empty
    assert verify("slakh", root=shared_audio).empty
    assert verify("librosa", root=shared_audio).empty
