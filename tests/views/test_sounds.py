"""A clip made ready: cut with a fade, shared gain, clipping counted, errors that name the clip."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from workbench.core.errors import AudioError, ParameterError
from workbench.views.sounds import compress, cut, duration, shared_gain, waveform


def test_cut_fades_only_what_was_cut():
    x = np.ones(16000, dtype=np.float32)
    assert cut(x, 16000, seconds=None) is x
    assert cut(x, 16000, seconds=2) is x
    short = cut(x, 16000, seconds=0.5)
    assert len(short) == 8000 and short[-1] == 0 and short[-161] == 1 and short[0] == 1
    assert x[-1] == 1, "the clip itself is not changed"


def test_shared_gain_is_one_number_with_a_ceiling():
    quiet, loud = np.full(9, 0.1, np.float32), np.full(9, -0.5, np.float32)
    assert shared_gain([quiet, loud]) == pytest.approx(-1 - 20 * np.log10(0.5))
    assert shared_gain([np.full(3, 1e-4)]) == 20
    assert shared_gain([np.full(3, 4.0)]) == pytest.approx(-1 - 20 * np.log10(4))
    assert shared_gain([np.zeros(5)]) == 0 == shared_gain([])


@pytest.mark.parametrize(("format", "tolerance"), [("mp3", 0.06), ("ogg", 0.03), ("flac", 1e-3), ("wav", 1e-3)])
def test_compressed_sound_keeps_level_and_length(tone, format, tolerance):
    x, rate = tone(4)
    sound = compress(x, rate, total=0.5, gain_db=6, format=format)
    y, back = soundfile.read(io.BytesIO(sound.data), dtype="float32")
    assert back == rate and len(y) == len(x)
    ratio = np.sqrt(np.mean(y**2) / np.mean(x**2))
    assert ratio == pytest.approx(10 ** (6 / 20), rel=tolerance)
    assert sound.caption == "0.50 s · 16 kHz"


def test_clipping_is_counted_in_the_caption():
    x = np.array([0.0, 1.5, -2.0, 0.5] * 400, dtype=np.float32)
    assert compress(x, 8000, total=0.2, format="wav").caption == "0.20 s · 8 kHz · 800 samples clipped"


def test_caption_of_a_part_and_odd_rate(tone):
    x = tone(0)[0]
    assert compress(x, 22050, total=190, format="wav").caption == "first 0.36 s of 3 min 10 s · 22.05 kHz"
    assert duration(12.34) == "12.3 s"
    assert duration(99.97) == "1 min 40 s"


def test_errors_name_the_clip():
    with pytest.raises(AudioError, match=r"clip 7: 2 of 4 samples are NaN"):
        waveform("clip 7", np.array([0, np.nan, np.inf, 0]), 8000)
    with pytest.raises(AudioError, match=r"clip 7: .*shape \(2, 4\)"):
        waveform("clip 7", np.zeros((2, 4)), 8000)
    with pytest.raises(AudioError, match="clip 7: .*int16"):
        waveform("clip 7", np.zeros(4, dtype=np.int16), 8000)
    with pytest.raises(AudioError, match="rate 0"):
        waveform("clip 7", np.zeros(4), 0)
    with pytest.raises(ParameterError, match="format='aac'"):
        compress(np.zeros(4), 8000, total=1, format="aac")
