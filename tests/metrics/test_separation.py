"""metrics.separation against golden values, closed forms and invariances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from workbench.core.errors import ParameterError
from workbench.metrics import separation as metrics

GOLDEN = json.loads((Path(__file__).parent / "golden" / "separation.json").read_text())


def expected(value: object) -> float:
    return float("nan") if value is None else float(value)


def orthogonal(seed: int = 0, samples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """A source and a noise of equal energy, orthogonal to each other."""
    s, n = np.random.default_rng(seed).standard_normal((2, samples))
    n -= s * (n @ s) / (s @ s)
    return s, n * np.linalg.norm(s) / np.linalg.norm(n)


@pytest.mark.parametrize("case", GOLDEN["ratios"], ids=lambda case: case["name"])
def test_golden_ratios(case):
    reference, estimate = case["reference"], case["estimate"]
    for name in ("si_sdr", "sdr"):
        found = float(getattr(metrics, name)(reference, estimate))
        assert found == pytest.approx(expected(case[name]), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("case", GOLDEN["overlap"], ids=lambda case: case["name"])
def test_golden_overlap(case):
    t = np.arange(1000) / 1000
    x = np.where((t >= case["from"]) & (t < case["to"]), np.cos(np.pi * np.arange(1000)), 0)
    found = metrics.onset_overlap(x, case["intervals"], 1000)
    assert found == pytest.approx(expected(case["overlap"]), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("snr", [-20.0, 0.0, 7.5, 60.0])
def test_orthogonal_noise_at_a_known_ratio(snr):
    s, n = orthogonal()
    estimate = s + n * 10 ** (-snr / 20)
    assert metrics.si_sdr(s, estimate) == pytest.approx(snr) and metrics.sdr(s, estimate) == pytest.approx(snr)
    assert metrics.improvement(s, estimate, s + n) == pytest.approx(snr)


def test_si_sdr_is_the_cosine_and_hears_no_scale():
    s, n = orthogonal(1)
    estimate = 0.3 * s + 0.2 * n
    cosine = s @ estimate / np.linalg.norm(s) / np.linalg.norm(estimate)
    expected = 10 * np.log10(cosine**2 / (1 - cosine**2))
    for scale in (1, 1e-4, -50):
        assert metrics.si_sdr(s, scale * estimate) == pytest.approx(expected)
        assert metrics.si_sdr(scale * s, estimate) == pytest.approx(expected)
    assert metrics.sdr(s, estimate) < metrics.sdr(s, estimate / 0.3)
    assert metrics.si_sdr(s, 0.7 * s) > 250


def test_sdr_falls_with_the_gain_alone():
    s, _ = orthogonal(2)
    for gain in (0.5, 0.9, 3.0):
        assert metrics.sdr(s, gain * s) == pytest.approx(-20 * np.log10(abs(1 - gain)))


def test_batches_have_the_scores_of_their_clips():
    rng = np.random.default_rng(3)
    reference, estimate, mixture = rng.standard_normal((3, 2, 4, 100)).astype(np.float32)
    reference[1, 2] = 0
    for metric in (metrics.si_sdr, metrics.sdr):
        found = metric(reference, estimate)
        assert found.shape == (2, 4) and np.isnan(found[1, 2]) and np.isfinite(found).sum() == 7
        assert found[0, 3] == pytest.approx(metric(reference[0, 3], estimate[0, 3]))
        gained = metrics.improvement(reference, estimate, mixture, metric=metric)
        assert gained[1, 0] == pytest.approx(found[1, 0] - metric(reference, mixture)[1, 0])


def test_activity_is_relative_to_the_loudest_frame():
    x = np.repeat([1.0, 0.1, 0.01, 0.0], 100)  # 0, -20, -40 dB, silence
    for threshold, frames in ((-10, 10), (-30, 20), (-50, 30)):
        for gain in (1, 1e-3):
            assert metrics.activity(gain * x, 1000, threshold=threshold).active.sum() == frames


def test_short_pauses_sound_and_long_ones_do_not():
    x = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0], [50, 200, 50, 400, 300])  # pauses of 0.2 and 0.4 s
    for gap, frames in ((0, 40), (0.19, 40), (0.2, 60), (0.4, 100)):
        assert metrics.activity(x, 1000, gap=gap).active.sum() == frames
    assert metrics.onset_overlap(x, [[0, 0.3], [0.7, 1]], 1000) == pytest.approx(1)
    assert metrics.onset_overlap(x, [[0, 0.3], [0.7, 1]], 1000, gap=0) == pytest.approx(0.4 / 0.6)


def test_last_frame_is_as_long_as_what_is_left():
    active, edges = metrics.activity(np.ones(1005), 1000, threshold=-1)
    assert active.all() and len(active) == 101 and edges[-1] == 1.005
    assert metrics.onset_overlap(np.ones(1005), [[0, 1.0]], 1000) == pytest.approx(1 / 1.005)


def test_evaluate_takes_medians_and_counts_silence():
    s, n = orthogonal(4)
    reference = np.stack([s, s, s, 0 * s])
    estimate = np.stack([s + 0.1 * n, s + n, 0 * s, s])
    scores = metrics.evaluate(reference, estimate, np.stack([s + n] * 4))
    names = ["si_sdr", "si_sdr_improvement", "sdr", "sdr_improvement", "silent", "skipped"]
    assert list(scores) == names
    assert scores["si_sdr"] == pytest.approx(0, abs=1e-9) and scores["sdr"] == pytest.approx(0, abs=1e-9)
    assert scores["silent"] == scores["skipped"] == 0.25
    alone = metrics.evaluate(0 * s, s, s)
    assert np.isnan(alone["si_sdr"]) and alone["skipped"] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.sdr([1, 2], [1]), r"estimate.shape=\(1,\) must be that of reference, \(2,\)"),
        (lambda: metrics.si_sdr([], []), r"reference.shape=\(0,\) must be \(..., samples\)"),
        (lambda: metrics.si_sdr([[1, 2]], [[1, np.nan]]), r"estimate\[0, 1\]='nan or inf' must be finite; 1 samples"),
        (lambda: metrics.improvement([1], [1], [np.inf]), r"mixture\[0\]='nan or inf'"),
        (lambda: metrics.activity([[1.0]], 10), r"x.shape=\(1, 1\) must be \(samples,\)"),
        (lambda: metrics.activity([1.0], 10), "frame=0.01 must be at least one sample long at rate=10"),
        (lambda: metrics.activity([1.0], 50), "frame=0.01 must be at least one sample long at rate=50"),
        (lambda: metrics.activity([1.0], 50, frame=1e300), r"frame=1e\+300 must be a finite number from 0 to 3600"),
        (lambda: metrics.activity([1.0], 1000, threshold=3), "threshold=3 must be a finite number, below 0"),
        (lambda: metrics.activity([1.0], 1000, gap=-1), "gap=-1 must be a finite number, 0 or more"),
        (lambda: metrics.onset_overlap([1.0], [0.1, 0.2], 1000), r"intervals.shape=\(2,\) must be \(M, 2\)"),
        (lambda: metrics.onset_overlap([1.0], [[0, 1], [2, 2]], 1000), r"intervals\[1\]=\[2.0, 2.0\] must be an onset"),
        (lambda: metrics.onset_overlap([1.0], [[0, np.nan]], 1000), r"intervals\[0\]=\[0.0, nan\]"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(call, message):
    with pytest.raises(ParameterError, match=message):
        call()


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e60, 1e-60])
def test_size_changes_no_ratio(factor):
    s, e = np.random.default_rng(0).standard_normal((2, 50))
    for metric in (metrics.sdr, metrics.si_sdr):
        assert metric(factor * s, factor * e) == pytest.approx(metric(s, e))
    with pytest.raises(ParameterError, match="reference='values up to .* must be from 1e-70 to 1e"):
        metrics.sdr(s * 1e-90, e)
    with pytest.raises(ParameterError, match="metric='int' must be si_sdr or sdr"):
        metrics.improvement(s, e, s, metric=3)
