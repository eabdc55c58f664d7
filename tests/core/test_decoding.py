"""Pieces equal the same slice of the whole; lengths that headers state are compared with the file."""

import io
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from workbench import audio
from workbench.core import decoding
from workbench.core.errors import AudioError

RATE = 16000
PCM = (0.3 * 32767 * np.sin(np.arange(RATE) * 0.1)).astype("<i2")
BODY = struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)


def noise(seconds, channels=1, rate=RATE):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (channels, round(seconds * rate))).astype(np.float32)
    x *= np.repeat(np.random.default_rng(1).uniform(0, 1, 40), -(-x.shape[1] // 40))[: x.shape[1]].astype(np.float32)
    return x


def load(source, **options):
    return audio.load(source, mono="keep", **options)[0]


def encoded(x, rate, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, x.T, rate, **options)
    return buffer.getvalue()


FORMATS = [
    *({"format": "WAV", "subtype": s} for s in ("PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *({"format": "WAV", "subtype": s} for s in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16")),
    *({"format": f} for f in ("RF64", "W64", "AU", "AIFF", "CAF", "NIST", "VOC", "FLAC", "OGG")),
    {"format": "AIFF", "subtype": "DWVW_16"},
    {"format": "CAF", "subtype": "ALAC_16"},
    {"format": "OGG", "subtype": "OPUS"},
    {"format": "MP3"},
    *(
        {"format": "MP3", "bitrate_mode": m, "compression_level": c}
        for m in ("VARIABLE", "CONSTANT")
        for c in (0.3, 0.9)
    ),
]


@pytest.mark.parametrize("options", FORMATS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_piece_is_that_slice_of_the_whole(tmp_path, options):
    path = tmp_path / "sound.dat"
    path.write_bytes(encoded(noise(6), RATE, **options))
    whole = load(path)
    assert abs(whole.shape[1] - 6 * RATE) < 2400
    for source in (path, io.BytesIO(path.read_bytes())):
        for offset, duration in ((0.01, 0.2), (1.0, 0.5), (4.321, 1.0), (2.2, 0.3), (5.5, 9.0), (0.0, 0.1)):
            start, stop = round(offset * RATE), round(offset * RATE) + round(duration * RATE)
            piece = load(source, offset=offset, duration=duration)
            np.testing.assert_allclose(piece, whole[:, start:stop], rtol=0, atol=1e-6)
    with pytest.raises(AudioError, match=r"sound\.dat: ends at [56]\.\d+ s, before offset 7 s"):
        load(path, offset=7)


def test_pieces_of_a_long_file_in_any_order(tmp_path):
    path = tmp_path / "long.mp3"
    path.write_bytes(audio.encode(noise(90), RATE))
    whole = load(path)
    starts = np.arange(0, 88, 4.0)
    for order in (starts, np.random.default_rng(0).permutation(starts)):
        for start in order:
            piece = load(path, offset=start, duration=1.5)
            begin = round(start * RATE)
            np.testing.assert_allclose(piece, whole[:, begin : begin + 24000], rtol=0, atol=1e-6)
    kept = [one for one in decoding._idle if one.key and one.key[1] == str(path)]
    assert len(kept) == 1 and len(kept[0]._marks) >= 3 and kept[0]._landmarks
    path.write_bytes(audio.encode(noise(90)[:, ::-1].copy(), RATE))  # another file of that name
    np.testing.assert_allclose(load(path, offset=1, duration=1), load(path)[:, RATE : 2 * RATE], atol=1e-6)


def test_a_landmark_that_is_not_met_is_not_believed(tmp_path):
    path = tmp_path / "long.mp3"
    path.write_bytes(audio.encode(noise(70), RATE))
    whole = load(path)
    load(path, offset=65, duration=1)
    (kept,) = (one for one in decoding._idle if one.key and one.key[1] == str(path))
    for mark in kept._marks.values():
        mark[:] += 0.1
    np.testing.assert_allclose(load(path, offset=50, duration=1), whole[:, 50 * RATE : 51 * RATE], atol=1e-6)
    assert not kept._marks


def riff(size, *, total=0, data=None, tail=b"", form=b"RIFF", more=b""):
    data = PCM.tobytes() if data is None else data
    head = form + struct.pack("<I", total) + b"WAVE" + more + b"fmt " + BODY
    return head + b"data" + struct.pack("<I", size) + data + tail


def wide(size):
    return b"ds64" + struct.pack("<IQQQI", 28, size, size, size, 0)


def aiff(frames, size):
    rate = bytes.fromhex("400cfa00000000000000")
    head = b"FORM" + struct.pack(">I", 0) + b"AIFFCOMM" + struct.pack(">IHIH", 18, 1, frames, 16) + rate
    return head + b"SSND" + struct.pack(">III", size, 0, 0) + PCM.astype(">i2").tobytes()


def au(size):
    return b".snd" + struct.pack(">IIIII", 24, size, 3, RATE, 1) + PCM.astype(">i2").tobytes()


def caf(size):
    described = struct.pack(">d4sIIIII", RATE, b"lpcm", 0, 2, 1, 1, 16)
    head = b"caff" + struct.pack(">HH", 1, 0) + b"desc" + struct.pack(">q", 32) + described
    return head + b"data" + struct.pack(">qI", size, 0) + PCM.astype(">i2").tobytes()


def w64(size):
    data = bytearray(encoded((PCM / 32768.0).astype(np.float32)[None], RATE, format="W64", subtype="PCM_16"))
    at = data.index(b"data") + 16
    data[16:24] = struct.pack("<q", size)
    data[at : at + 8] = struct.pack("<q", size)
    return bytes(data)


UNKNOWN = {
    "zero.wav": riff(0),
    "zero36.wav": riff(0, total=36),
    "most.wav": riff(2**32 - 1, total=2**32 - 1),
    "sox.wav": riff(0x7FFFF000, total=0x7FFFF024),
    "gstreamer.wav": riff(0x7FFF0000, total=0x7FFF0024),
    "arecord.wav": riff(0x80000000, total=0x80000024),
    "ds64zero.wav": riff(2**32 - 1, form=b"RF64", more=wide(0)),
    "ds64most.wav": riff(2**32 - 1, form=b"RF64", more=wide(2**64 - 1)),
    "ds64dropped.wav": riff(0, form=b"RF64", more=wide(0)),
    "trailing.wav": riff(2 * RATE, total=2 * RATE + 36, tail=b"TAG" + bytes(125)),
    "zero.au": au(0),
    "most.au": au(2**32 - 1),
    "zero.aiff": aiff(0, 0),
    "eight.aiff": aiff(0, 8),
    "most.aiff": aiff(2**32 - 1, 2**32 - 1),
    "unknown.caf": caf(-1),
    "zero.caf": caf(0),
    "zero.w64": w64(0),
    "unknown.w64": w64(-1),
    "most.w64": w64(2**63 - 1),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_length_that_was_never_filled_in_is_that_of_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(UNKNOWN[name])
    for source in (tmp_path / name, io.BytesIO(UNKNOWN[name])):
        np.testing.assert_array_equal(load(source)[0], (PCM / 32768).astype(np.float32))
        np.testing.assert_array_equal(load(source, offset=0.5)[0], (PCM[8000:] / 32768).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.wav", riff(4 * RATE, total=4 * RATE + 36)),
        ("cut64.wav", riff(2**32 - 1, form=b"RF64", more=wide(4 * RATE))),
        ("cut.au", au(4 * RATE)),
        ("cut.aiff", aiff(2 * RATE, 4 * RATE + 8)),
        ("cut.caf", caf(4 * RATE + 4)),
        ("cut.w64", w64(4 * RATE + 24)),
    ],
)
def test_a_file_that_promises_more_than_it_holds_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=rf"{name}: is cut short"):
        load(tmp_path / name)


def test_no_samples_before_another_chunk_are_no_samples(tmp_path):
    (tmp_path / "none.wav").write_bytes(riff(0, data=b"LIST" + struct.pack("<I", 4) + b"INFO"))
    with pytest.raises(AudioError, match=r"none\.wav: has no samples"):
        load(tmp_path / "none.wav")


# --- MP3: the frames are counted ------------------------------------------------------------------------------------


def xing_place(data):
    return next(data.index(mark) for mark in (b"Xing", b"Info") if mark in data[:200])


def id3(size):
    length = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + length + b"Info Xing \xff\xfb\x90\x44".ljust(size, b"\xff")


@pytest.fixture(scope="module")
def mp3():
    data = audio.encode(noise(4), RATE)
    return data, load(io.BytesIO(data))


@pytest.mark.parametrize("stated", [0, 2, 30, 10**6])
def test_a_wrong_number_of_frames_in_an_mp3_is_put_right(mp3, stated):
    data, whole = mp3
    at = xing_place(data)
    changed = data[: at + 8] + struct.pack(">I", stated) + data[at + 12 :]
    np.testing.assert_array_equal(load(io.BytesIO(changed)), whole)


def test_a_variable_mp3_without_a_header_is_read_to_its_end(mp3, tmp_path):
    data, whole = mp3
    first = data[: data.index(b"\xff", xing_place(data))]
    bare = data[len(first) :]
    (tmp_path / "bare.mp3").write_bytes(bare)
    found = load(tmp_path / "bare.mp3")
    assert whole.shape[1] <= found.shape[1] <= whole.shape[1] + 3 * 1152
    shift = next(d for d in range(3000) if np.abs(found[0, d : d + 2000] - whole[0, :2000]).max() < 1e-5)
    np.testing.assert_allclose(found[0, shift:][: whole.shape[1]], whole[0, : found.shape[1] - shift], atol=1e-5)
    np.testing.assert_allclose(load(tmp_path / "bare.mp3", offset=2, duration=1), found[:, 2 * RATE : 3 * RATE])


@pytest.mark.parametrize("before", [b"", id3(200_000), id3(300) + id3(400)], ids=["bare", "picture", "two tags"])
@pytest.mark.parametrize("after", [b"", b"TAG" + bytes(125), bytes(50_000)], ids=["bare", "tag", "zeros"])
def test_tags_and_rubbish_around_an_mp3(mp3, before, after):
    data, whole = mp3
    np.testing.assert_array_equal(load(io.BytesIO(before + data + after)), whole)
    with pytest.raises(AudioError, match=r"is cut short: \d+ of \d+ frames"):
        load(io.BytesIO(before + data[: len(data) // 2] + after))


def test_joined_files_are_read_to_the_end(mp3):
    data, whole = mp3
    found = load(io.BytesIO(data + id3(3000) + data))
    np.testing.assert_array_equal(found[:, : whole.shape[1]], whole)
    assert found.shape[1] == pytest.approx(2 * whole.shape[1], abs=3000)
    ogg = audio.encode(noise(2), RATE, format="ogg")
    joined, one = load(io.BytesIO(ogg + ogg)), load(io.BytesIO(ogg))
    np.testing.assert_array_equal(joined, np.concatenate([one, one], axis=1))
    np.testing.assert_array_equal(load(io.BytesIO(ogg + ogg), offset=1.5, duration=1), joined[:, 24000:40000])
    other = audio.encode(noise(2, rate=22050), 22050, format="ogg")
    with pytest.raises(AudioError, match="changes its rate or its number of channels"):
        load(io.BytesIO(ogg + other))


@pytest.mark.parametrize("form", ["flac", "wav", "w64", "aiff", "au", "caf", "mp3", "ogg"])
def test_what_ffmpeg_writes_to_a_pipe(tmp_path, form):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    soundfile.write(tmp_path / "in.wav", PCM, RATE)
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", tmp_path / "in.wav", "-f", form, "-"], capture_output=True, check=True
    )
    assert load(io.BytesIO(done.stdout)).shape[1] == pytest.approx(RATE, abs=2400 if form == "mp3" else 0)
