"""CREPE's pitch of sounds that are known."""

import numpy as np
import pytest

from workbench.attributes import crepe, measure
from workbench.attributes.crepe import CREPE
from workbench.attributes.voice import VOICE
from workbench.core.errors import ParameterError
from workbench.datasets import Clips

RATE = 16000


def reed(frequency, seconds=0.5) -> np.ndarray:
    t = np.arange(int(seconds * RATE)) / RATE
    return 0.1 * sum(np.sin(2 * np.pi * frequency * n * t) / n for n in range(1, 12))


def test_without_torchcrepe(monkeypatch):
    monkeypatch.setattr(crepe, "installed", lambda: False)
    clips = Clips.from_arrays([np.zeros(RATE, np.float32)], RATE)
    with pytest.raises(
        ParameterError, match=r'set=.crepe. must be "voice", or .*pip install "audio-workbench\[crepe\]"'
    ):
        measure(clips, set="crepe")


def test_names_are_those_of_the_set_voice():
    assert {name: VOICE[name] for name in CREPE} == CREPE


@pytest.mark.parametrize("frequency", [110, 220, 659])
def test_pitch_of_a_reed(frequency):
    pytest.importorskip("torchcrepe")
    found = crepe.crepe(reed(frequency), RATE)
    assert list(found) == list(CREPE)
    assert found["f0_median"] == pytest.approx(12 * np.log2(frequency / 27.5), abs=0.25)
    assert found["f0_std"] < 0.2 and found["voiced_fraction"] > 0.9


def test_two_notes_and_a_rest():
    pytest.importorskip("torchcrepe")
    found = crepe.crepe(np.concatenate([reed(220), np.zeros(RATE // 2), reed(330)]), RATE)
    assert found["f0_p20"] == pytest.approx(36, abs=0.3) and found["f0_p80"] == pytest.approx(43.02, abs=0.3)
    assert found["voiced_fraction"] == pytest.approx(2 / 3, abs=0.08)


def test_the_set_crepe_is_the_same_each_time():
    """Without the dither of torchcrepe's decoders, and without a draw from numpy's global generator."""
    pytest.importorskip("torchcrepe")
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    sounds = [reed(220), noise, np.zeros(RATE), reed(220)[:1000]]
    clips = Clips.from_arrays([x.astype(np.float32) for x in sounds], RATE)
    state = np.random.get_state()[1].copy()
    a, b = (measure(clips, set="crepe", cache=False, progress=False) for _ in range(2))
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert a.set == "crepe" and a.table["f0_median"].isna().tolist()[2:] == [True, True]
    assert a.table["voiced_fraction"].iloc[1] < 0.15 and a.table["voiced_fraction"].iloc[2] == 0
    assert np.isnan(a.values[3]).all()
