"""Sound in and out: levels kept, damage named, segments and inversions as documented."""

import io
import os

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import audio
from workbench.core.errors import AudioError, ParameterError

RATE = 16000


def tone(seconds=1.0, rate=RATE, frequency=440.0, peak=0.5):
    return (peak * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), RATE)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_keeps_length_rate_and_level(tmp_path, suffix):
    path = audio.write(tmp_path / f"tone.{suffix}", tone(), RATE)
    x, rate = audio.load(path)
    assert rate == RATE and x.dtype == np.float32 and len(x) == RATE
    assert audio.level(x) == pytest.approx(audio.level(tone()), abs=0.2)


def test_sources_give_the_same_samples(wav):
    from_path, _ = audio.load(wav)
    for source in (
        str(wav),
        io.BytesIO(wav.read_bytes()),
        (from_path, RATE),
        (torch.from_numpy(from_path), RATE),
    ):
        x, rate = audio.load(source)
        assert rate == RATE
        np.testing.assert_array_equal(x, from_path)


def test_integers_are_divided_by_full_scale():
    for values, expected in (
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
    ):
        np.testing.assert_array_equal(audio.load((values, RATE))[0], expected)


def test_level_above_full_scale_survives(tmp_path):
    soundfile.write(tmp_path / "hot.wav", tone(peak=1.5), RATE, subtype="FLOAT")
    assert np.abs(audio.load(tmp_path / "hot.wav")[0]).max() == pytest.approx(1.5, abs=1e-3)


def test_eight_channels(tmp_path):
    channels = np.stack([np.full(100, c / 10, np.float32) for c in range(8)])
    soundfile.write(tmp_path / "eight.wav", channels.T, RATE, subtype="FLOAT")
    with pytest.warns(UserWarning, match="mean of its 8 channels is 6.0 dB fainter"):
        np.testing.assert_allclose(audio.load(tmp_path / "eight.wav")[0], 0.35, atol=1e-6)
    np.testing.assert_allclose(audio.load(tmp_path / "eight.wav", mono=3)[0], 0.3, atol=1e-6)
    assert audio.load(tmp_path / "eight.wav", mono="keep")[0].shape == (8, 100)
    with pytest.raises(ParameterError, match=r"mono=8 must be a channel below 8"):
        audio.load(tmp_path / "eight.wav", mono=8)


def test_offset_and_duration_read_the_same_samples(wav):
    whole, _ = audio.load(wav)
    part, _ = audio.load(wav, offset=0.25, duration=0.5)
    np.testing.assert_array_equal(part, whole[4000:12000])
    assert len(audio.load(wav, offset=0.9, duration=5)[0]) == 1600
    with pytest.raises(AudioError, match="ends at 1.000 s, before offset 2"):
        audio.load(wav, offset=2)
    with pytest.raises(AudioError, match="a piece of 1e-05 s holds no sample at 16000 Hz"):
        audio.load(wav, offset=0.25, duration=1e-5)
    with pytest.raises(AudioError, match="has no samples within 1e-05 s"):
        audio.load((whole, 16000), duration=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_half_a_file_is_refused_by_name(tmp_path, suffix):
    # Noise, so that the stream is long enough for its second half to matter in every format.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE).astype(np.float32)
    whole = audio.encode(noise, RATE, format=suffix)
    (tmp_path / f"half.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=rf"half\.{suffix}: (is cut short|does not decode)"):
        audio.load(tmp_path / f"half.{suffix}")


def test_wav_from_a_pipe_is_whole(wav, tmp_path):
    data = bytearray(wav.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "pipe.wav").write_bytes(data)
    assert len(audio.load(tmp_path / "pipe.wav")[0]) == RATE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"not a sound" * 50, "does not decode"),
        (None, "no such file"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"bad\.wav: {message}"):
        audio.load(path)


def test_folder_zero_length_and_nan(tmp_path):
    with pytest.raises(AudioError, match="is a folder"):
        audio.load(tmp_path)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(AudioError, match=r"none\.wav: has no samples"):
        audio.load(tmp_path / "none.wav")
    x = tone()
    x[[7, 100]] = np.nan, np.inf
    soundfile.write(tmp_path / "nan.wav", x, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan\.wav: 2 of 16000 samples are not finite, the first at sample 7"):
        audio.load(tmp_path / "nan.wav")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mono": "middle"}, "mono='middle'"), ({"offset": -1}, "offset=-1"), ({"duration": 0}, "duration=0")],
)
def test_arguments_are_checked(wav, options, message):
    with pytest.raises(ParameterError, match=message):
        audio.load(wav, **options)


def test_resample_keeps_a_tone():
    y = audio.resample(tone(rate=44100), 44100, RATE)
    assert len(y) == RATE
    np.testing.assert_allclose(y[500:-500], tone()[500:-500], atol=2e-3)
    assert len(audio.resample(np.ones(1, np.float32), 44100, 8000)) == 1


@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_segments_tile_the_waveform(n, size, step):
    x = np.arange(1, n + 1, dtype=np.float32)
    cut = {tail: audio.segment(x, 1, seconds=size, hop=step, tail=tail) for tail in ("pad", "keep", "drop")}
    assert all(len(p) == size for p in cut["pad"] + cut["drop"])
    assert cut["drop"] == [] or all(p[-1] > 0 for p in cut["drop"])
    assert len(cut["drop"]) == max((n - size) // step + 1, 0)
    for padded, kept in zip(cut["pad"], cut["keep"], strict=True):
        np.testing.assert_array_equal(padded[: len(kept)], kept)
        assert not padded[len(kept) :].any()
    if step <= size:  # nothing is lost
        assert set(np.concatenate(cut["keep"])) == set(x)


def test_fit_pads_and_cuts():
    assert audio.fit(tone(0.5), RATE, seconds=1).shape == (RATE,)
    np.testing.assert_array_equal(audio.fit(tone(2), RATE, seconds=1), tone(2)[:RATE])


def test_level_of_known_signals():
    assert audio.level(np.ones(8)) == 0
    assert audio.level(tone(peak=1)) == pytest.approx(-3.0103, abs=1e-3)
    assert audio.level(np.zeros(8)) == -np.inf


def test_encode_refuses_to_clip():
    with pytest.raises(ParameterError, match=r"peak 1\.5' must be within \[-1, 1\]"):
        audio.encode(tone(peak=1.5), RATE)
    with pytest.raises(ParameterError, match="format='au'"):
        audio.encode(tone(), RATE, format="au")


def test_mp3_of_an_unknown_rate_is_resampled_up():
    x, rate = audio.load(io.BytesIO(audio.encode(tone(rate=20000), 20000)))
    assert rate == 22050 and len(x) == 22050


def test_write_leaves_nothing_partial(tmp_path):
    with pytest.raises(ParameterError):
        audio.write(tmp_path / "a.wav", tone(peak=2), RATE)
    assert list(tmp_path.iterdir()) == []


def test_spectrogram_peaks_at_the_tone_and_keeps_energy():
    S = audio.spectrogram(tone(frequency=1000.0), n_fft=512, hop=128)
    assert S.shape == (257, 126)
    assert S[:, 60].argmax() == round(1000 / RATE * 512)
    # Parseval: each sample is seen through the window n_fft / hop times.
    x = torch.randn(4, RATE, generator=torch.Generator().manual_seed(0))
    S = audio.spectrogram(x, n_fft=512, hop=128)
    energy = (2 * S.sum(1) - S[:, 0] - S[:, -1]).sum(-1)
    gain = 512 * torch.hann_window(512).square().sum() / 128
    torch.testing.assert_close(energy / gain, x.square().sum(-1), rtol=0.02, atol=0)


def test_short_clip_still_has_frames():
    assert audio.log_mel(tone(0.01), RATE, n_mels=40).shape == (40, 1)


def test_log_mel_matches_librosa():
    import librosa

    x = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    ours = audio.mel_spectrogram(x, RATE, n_fft=1024, hop=256, n_mels=64)
    theirs = librosa.feature.melspectrogram(y=x, sr=RATE, n_fft=1024, hop_length=256, n_mels=64, pad_mode="constant")
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("htk", "bands"), [(False, 80), (True, 128)])
def test_mel_filters_are_librosas(htk, bands):
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=22050, n_fft=4096, n_mels=bands, htk=htk)
    np.testing.assert_allclose(
        audio.mel_filters(22050, n_fft=4096, n_mels=bands, htk=htk).numpy().T, expected, atol=1e-6
    )


def test_mel_filters_check_their_range():
    with pytest.raises(ParameterError, match="f_min, f_max"):
        audio.mel_filters(RATE, f_max=9000.0)


def chirp():
    t = np.arange(2 * RATE) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 * t + 400 * t**2))).astype(np.float32)


def test_griffin_lim_returns_the_spectrogram_and_is_seeded():
    S = audio.spectrogram(chirp(), power=1)
    y = audio.griffin_lim(S, seed=1)
    error = (audio.spectrogram(y, power=1) - S).norm() / S.norm()
    assert error < 0.15
    assert torch.equal(y, audio.griffin_lim(S, seed=1)) and not torch.equal(y, audio.griffin_lim(S, seed=2))


def test_mel_inversion_keeps_level_and_mel():
    mel = audio.mel_spectrogram(chirp(), RATE, n_mels=80)
    y = audio.mel_to_audio(mel, RATE, length=2 * RATE)
    assert y.shape == (2 * RATE,)
    assert audio.level(y.numpy()) == pytest.approx(audio.level(chirp()), abs=1.5)
    again = audio.mel_spectrogram(y, RATE, n_mels=80)
    assert np.corrcoef((mel + 1e-4).log().flatten(), (again + 1e-4).log().flatten())[0, 1] > 0.95


def test_real_files_decode(shared_audio):
    for path in sorted(shared_audio.glob("*/*/*.*"))[::300]:
        if path.suffix in (".wav", ".flac", ".ogg", ".mp3"):
            x, rate = audio.load(path, rate=RATE)
            assert rate == RATE and len(x) > 0


# --- what changes on the way in -------------------------------------------------------------------------------------


def told(source, **options):
    changes = []
    x, _ = audio.load(source, report=changes.append, **options)
    return x, {change.kind: change for change in changes}


def test_channels_that_cancel_or_are_silent_are_said(tmp_path, recwarn):
    x, other = tone(), np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    for channels, lost in (
        ((x, -x), np.inf),
        ((x, 0 * x), 6.02),
        ((x, x), None),
        ((x, 0.7 * x), None),
        ((other, np.roll(other, 3000)), None),  # independent channels lose 3 dB
        ((0 * x, 0 * x), None),
    ):
        soundfile.write(tmp_path / "two.wav", np.stack(channels, 1), RATE)
        _, changes = told(tmp_path / "two.wav")
        assert (changes["level"].figure if changes else None) == (lost and pytest.approx(lost, abs=0.05))
    assert not recwarn
    soundfile.write(tmp_path / "two.wav", np.stack([x, -x], 1), RATE)
    with pytest.warns(UserWarning, match=r"two\.wav: the mean of its 2 channels is silent, .* .--mono. takes") as found:
        audio.load(tmp_path / "two.wav")
    assert len(found) == 1 and found[0].filename == __file__
    for choice, expected in (("left", x), ("right", -x), (0, x), (1, -x)):
        kept, changes = told(tmp_path / "two.wav", mono=choice)
        np.testing.assert_allclose(kept, expected, atol=1e-4)
        assert not changes
    assert told(tmp_path / "two.wav", mono="keep")[0].shape == (2, RATE)
    silent = told((np.stack([x, 0 * x]), RATE), mono="right")[1]["level"]
    assert str(silent).startswith("array: its channel 1 is silent")
    with pytest.raises(ParameterError, match="mono=1 must be a channel below 1"):
        audio.load((x, RATE), mono="right")


def test_a_band_that_is_lost_is_said():
    low, high = tone(rate=44100, frequency=1000, peak=0.5), tone(rate=44100, frequency=12000, peak=0.25)
    _, changes = told((low + high, 44100), rate=RATE)
    assert changes["band"].figure == pytest.approx(0.2, abs=0.005)
    assert "20% of its energy lies above 8000 Hz and is lost at 16000 Hz" in str(changes["band"])
    for x, rate in ((low, RATE), (low + 0.2 * high, RATE), (low + high, 48000), (low + high, None)):
        assert not told((x, 44100), rate=rate)[1]


def test_a_peak_far_beyond_full_scale_is_said(tmp_path):
    soundfile.write(tmp_path / "hot.wav", tone(peak=20000), RATE, subtype="FLOAT")
    x, changes = told(tmp_path / "hot.wav")
    assert np.abs(x).max() == pytest.approx(20000, rel=1e-3)
    assert "86 dB beyond full scale" in changes["scale"].text
    assert not told((tone(peak=1.5), RATE))[1]


# --- arrays that are no sound ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((RATE, 2), np.float32), r"shape \(16000, 2\)' must be samples last, .*transpose it"),
        (np.zeros((RATE, 1), np.float32), "transpose it"),
        (np.zeros((100, RATE), np.float32), "a batch is given one by one"),
        (np.zeros((2, 3, 4)), "1 or 2 axes"),
        (np.full(9, 3e4, np.float32), r"peak 30000' must be within \[-1, 1\]: divide .*32768"),
        (np.ones(9, np.int64), r"array of int64.*astype\(np.int16\)"),
        (np.ones(9, bool), "array of bool"),
        (np.ones(9, complex), "array of complex128"),
        (np.array(["a"]), "an array of numbers"),
        ([[1.0], [1.0, 2.0]], "all rows of one length"),
    ],
)
def test_arrays_that_are_no_sound(x, message):
    with pytest.raises(ParameterError, match=message):
        audio.load((x, RATE))


def test_soundfile_s_arrays_are_refused_wherever_sound_comes_in(tmp_path):
    x = np.zeros((RATE, 2), np.float32)
    for call in (
        lambda: audio.as_channels(x),
        lambda: audio.resample(x, RATE, 8000),
        lambda: audio.encode(x, RATE, format="wav"),
        lambda: audio.write(tmp_path / "a.wav", x, RATE),
        lambda: audio.spectrogram(x),
        lambda: audio.log_mel(torch.from_numpy(x), RATE),
    ):
        with pytest.raises(ParameterError, match="transpose it"):
            call()
    for call in (lambda: audio.segment(x, RATE, seconds=1), lambda: audio.fit(x, RATE, seconds=1)):
        with pytest.raises(ParameterError, match="an array of 1 axes"):
            call()


def test_tensors_with_gradients_and_wide_floats():
    x = torch.linspace(-0.5, 0.5, 100, dtype=torch.float64, requires_grad=True)
    found = audio.load((x, RATE))[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.linspace(-0.5, 0.5, 100), atol=1e-7)
    assert told((np.full(100, 20000, np.int32), RATE))[1]["scale"].text.startswith("peaks -101 dB below full scale")
    assert audio.spectrogram(x).requires_grad


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((16000, np.zeros(9)), "the other way round"),
        ((np.zeros(9), "16000"), "rate='16000' must be a whole number"),
        ((np.zeros(9), 0), "rate=0 must be"),
        ((np.zeros(9), 16000.0), "rate=16000.0 must be"),
        ((np.zeros(9), True), "rate=True must be"),
        (np.zeros(9), r"a path, a binary file object or a tuple \(array, rate\)"),
        (b"RIFF", r"source='bytes' must be .*io.BytesIO\(data\)"),
        (None, "source=None"),
        ((np.zeros(9),), "source='tuple of 1'"),
        (io.StringIO("RIFF"), "opened in binary mode"),
    ],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(ParameterError, match=message):
        audio.load(source)


def test_file_objects_that_are_none():
    closed = io.BytesIO(b"RIFF")
    closed.close()
    for source, message in ((closed, "BytesIO: cannot be read"), (io.BytesIO(), "BytesIO: the file is empty")):
        with pytest.raises(AudioError, match=message):
            audio.load(source)


@pytest.mark.parametrize("format", ["ogg", "mp3", "flac", "wav"])
def test_a_minute_of_noise_is_written(format, tmp_path):
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (1 if format == "mp3" else 2, 44100 * 60)).astype(np.float32)
    path = audio.write(tmp_path / f"long.{format}", x, 44100)
    assert soundfile.info(path).frames == x.shape[1]


def test_what_a_format_does_not_have_is_said():
    for x, format in ((np.zeros((3, 99)), "mp3"), (np.zeros((9, 99)), "flac")):
        with pytest.raises(ParameterError, match=rf"format='{format}' must be one that takes {len(x)} channel"):
            audio.encode(x, 44100, format=format)
    for x, message in ((np.zeros(0), "at least one"), (np.array([np.nan]), "finite"), (np.ones(3, int), "of floats")):
        with pytest.raises(ParameterError, match=message):
            audio.encode(x, RATE)


# --- transforms without a way back ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: audio.spectrogram(tone(), n_fft=1023), "n_fft=1023 must be an even number"),
        (lambda: audio.spectrogram(tone(), n_fft=1), "n_fft=1"),
        (lambda: audio.spectrogram(tone(), hop=1025), "hop=1025"),
        (lambda: audio.spectrogram(tone(), hop=0), "hop=0"),
        (lambda: audio.spectrogram(tone(), power=-1.0), r"power=-1\.0"),
        (lambda: audio.spectrogram(np.ones(99, int)), "of floats"),
        (lambda: audio.griffin_lim(np.ones((513, 20)), hop=1024), "hop=1024 must be from 1 to 512, half of n_fft=1024"),
        (lambda: audio.griffin_lim(np.ones((513, 20)), hop=600), "hop=600"),
        (lambda: audio.griffin_lim(-np.ones((513, 20))), r"values down to -1' must be 0 or more"),
        (lambda: audio.griffin_lim(np.full((513, 20), np.nan)), "must be finite"),
        (lambda: audio.griffin_lim(np.ones((513, 20)) * 1j), "magnitude="),
        (lambda: audio.griffin_lim(np.ones((513, 3))), "of at least 4 frames"),
        (
            lambda: audio.griffin_lim(np.ones((513, 20)), length=20 * 256),
            "length=5120 must be a whole number from 1 to 5119",
        ),
        (lambda: audio.griffin_lim(np.ones((513, 20)), steps=0), "steps=0"),
        (lambda: audio.griffin_lim(np.ones((513, 20)), seed=-1), "seed=-1"),
        (lambda: audio.mel_to_audio(np.ones((40, 20)), RATE, n_mels=80), "n_mels=80 must be 40"),
        (
            lambda: audio.mel_to_audio(np.ones((400, 20)), RATE),
            r"n_mels=400 must be fewer, or n_fft larger than 1024: \d+",
        ),
        (lambda: audio.mel_to_audio(np.full((80, 20), -3.0), RATE), "no logarithm"),
        (lambda: audio.mel_to_audio(np.ones((80, 20)), RATE, hop=1000), "hop=1000"),
        (lambda: audio.mel_to_audio(np.ones((80, 20)), RATE, f_max=9000.0), "f_min, f_max"),
    ],
)
def test_settings_without_a_way_back_are_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize("samples", [4 * 1024, 4 * 1024 + 400, 4 * 1024 + 511])
def test_phase_recovery_leaves_no_click_at_the_end(samples):
    x = 0.2 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    y = audio.griffin_lim(audio.spectrogram(x, hop=512, power=1), hop=512, length=samples, steps=10)
    assert y.shape == (samples,) and y.abs().max() < 1.5 * x.abs().max()
    short = audio.griffin_lim(audio.spectrogram(x, power=1), length=1000, steps=2)
    assert short.shape == (1000,)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes")
def test_names_that_are_not_utf8(tmp_path):
    audio.write(tmp_path / "plain.wav", np.full(800, 0.1, np.float32), 16000)
    name = os.fsencode(tmp_path) + b"/\xe1.wav"
    os.rename(tmp_path / "plain.wav", name)
    x, rate = audio.load(os.fsdecode(name))
    assert len(x) == 800 and rate == 16000
    with pytest.raises(AudioError, match=r"udce2.wav: no such file") as caught:
        audio.load(os.fsdecode(os.fsencode(tmp_path) + b"/\xe2.wav"))
    str(caught.value).encode()


def test_mel_filters_that_are_asked_for_again_are_equal_and_ones_own():
    first = audio.mel_filters(RATE, n_mels=20)
    whole = first.clone()
    first.zero_()
    assert torch.equal(audio.mel_filters(RATE, n_mels=20), whole) and whole.max() > 0
