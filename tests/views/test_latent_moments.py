"""Moments: the strongest frame against brute force, the cut against the waveform, what the page carries of them."""

from __future__ import annotations

import base64
import io
import weakref

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.views.test_latents import content, unpacked
from workbench.core.errors import AudioError
from workbench.views.latent_moments import curves_of, moment_of, packed_curves, strip
from workbench.views.latents import latent_page

RATE, N, LATENTS = 16000, 30, 40
#: Second at which each clip of 2 s has its burst, and the pitch of the burst.
AT = np.random.default_rng(5).uniform(0.3, 1.7, N)
PITCH = 400 + 100 * np.arange(N)


def burst(i: int) -> tuple[np.ndarray, int]:
    """Two seconds, silent but for 0.1 s of a tone around AT[i]."""
    t = np.arange(2 * RATE) / RATE
    x = 0.5 * np.sin(2 * np.pi * PITCH[i] * t) * (np.abs(t - AT[i]) < 0.05)
    return x.astype(np.float32), RATE


def frames(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Every latent fires where the burst is."""
    t = (np.arange(200) + 0.5) / 100
    return t, np.exp(-(((t - AT[i]) / 0.03) ** 2))[:, None] * np.ones((1, LATENTS))


@pytest.fixture(scope="module")
def codes():
    """(z, table): every latent is active in a third of the clips."""
    rng = np.random.default_rng(0)
    z = rng.uniform(0.5, 1, (N, LATENTS)) * (rng.random((N, LATENTS)) < 0.35)
    z[0] = 0.4
    return z, pd.DataFrame({"id": [f"clip {i}" for i in range(N)], "label": list("ab") * (N // 2)})


def sizes(data: dict) -> int:
    parts = [*data["clips"].values(), *(p["strip"] for p in data["latents"].values() if "strip" in p)]
    return sum((len(part["sound"]) + len(part["picture"])) * 3 // 4 for part in parts)


def heard(strip_: dict, place: int) -> float:
    """Pitch of the moment at a place of the row, as decoded."""
    x, rate = soundfile.read(io.BytesIO(base64.b64decode(strip_["sound"])))
    begin = round(place * strip_["step"] * rate)
    piece = x[begin : begin + round(strip_["lengths"][place] * rate)]
    spectrum = np.abs(np.fft.rfft(piece, 4 * len(piece)))
    return spectrum.argmax() * rate / (4 * len(piece))


def test_strongest_frame_is_the_largest_of_all_frames_also_beyond_what_is_shown():
    rng = np.random.default_rng(0)
    times, values = np.arange(700) / 50, rng.normal(size=(700, 5))
    values[:, 4] = -1
    curves = curves_of(lambda i: (times, values), {2: [0, 1], 3: [1], 4: [0]}, 5, 4.0)
    assert curves[2][0].at == curves[2][1].at == times[np.argmax(values[:, 2])]
    assert curves[3][1].at == times[np.argmax(values[:, 3])] and list(curves[3]) == [1]
    assert curves[4][0].at is None, "no frame is above 0"
    assert curves[2][0].times.max() <= 4 and curves[2][0].values.max() == values[times <= 4, 2].max()
    packed = packed_curves({0: curves[2][0], 1: curves[3][1]})
    largest = max(values[times <= 4, 2].max(), values[times <= 4, 3].max())
    assert packed["largest"] == pytest.approx(largest, rel=1e-3)
    levels = unpacked(packed["of"]["0"][1], "<u2") / 65535 * largest
    np.testing.assert_allclose(levels, curves[2][0].values, atol=1e-4)


def test_frames_of_one_clip_at_a_time_are_held():
    alive, most = weakref.WeakSet(), []

    class Dense(np.ndarray):
        pass

    def ask(i):
        made = np.ones((20, 50)).view(Dense)
        alive.add(made)
        most.append(len(alive))
        return np.arange(20.0), made

    Dense.__hash__ = object.__hash__
    Dense.__eq__ = object.__eq__
    curves_of(ask, {latent: range(30) for latent in range(50)}, 50, None)
    assert len(most) == 30 and max(most) <= 2, "asked once each, and let go of"


@pytest.mark.parametrize(("at", "start"), [(1.0, 0.75), (0.1, 0.0), (1.95, 1.5), (7.0, 1.5)])
def test_a_moment_is_the_sound_around_its_second(at, start):
    x = np.random.default_rng(0).uniform(-1, 1, 2 * RATE).astype(np.float32)
    moment = moment_of(x, RATE, at, 0.5)
    assert (moment.start, moment.seconds, moment.total) == (start, 0.5, 2.0)
    begin = round(start * RATE)
    np.testing.assert_array_equal(moment.x[80:-80], x[begin : begin + RATE // 2][80:-80])
    assert moment.x[0] == moment.x[-1] == 0, "5 ms of fade at either end"
    assert np.abs(moment.x[40]) == pytest.approx(np.abs(x[begin + 40]) * 40 / 79, rel=1e-4)


def test_a_clip_shorter_than_a_moment_plays_whole():
    x = np.ones(1000, dtype=np.float32)
    moment = moment_of(x, RATE, 0.03, 0.5)
    assert len(moment.x) == RATE // 2 and moment.seconds == 1000 / RATE and moment.start == 0
    assert not moment.x[1000:].any() and moment.x[500] == 1 and (x == 1).all(), "the clip itself is as it was"


def test_rates_may_differ_within_a_row():
    def tone(rate):
        return np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32) * 0.5, rate

    moments = {7: moment_of(*tone(8000), 0.5, 0.5), 3: moment_of(*tone(16000), 0.5, 0.5)}
    row = strip(moments, top=4000, peak_db=None, gain_db=0.0)
    assert row["clips"] == [7, 3] and row["starts"] == [0.25, 0.25] and row["totals"] == [1.0, 1.0]
    assert [heard(row, place) for place in (0, 1)] == pytest.approx([1000, 1000], abs=3)


def test_pictures_stand_side_by_side():
    """Each moment's brightest place in its own part of the picture: low on the left, high on the right."""
    from PIL import Image

    pitches = [300, 1500, 3500, 7000]
    t = np.arange(RATE) / RATE
    tones = [(0.5 * np.sin(2 * np.pi * f * t) * (np.abs(t - 0.5) < 0.05)).astype(np.float32) for f in pitches]
    row = strip({i: moment_of(x, RATE, 0.5, 0.5) for i, x in enumerate(tones)}, top=8000, peak_db=None, gain_db=0)
    picture = Image.open(io.BytesIO(base64.b64decode(row["picture"].split(",")[1]))).convert("L")
    parts = np.array_split(np.asarray(picture, dtype=float), 4, axis=1)
    for part in parts:
        bright = part.max(axis=0) > 0.7 * part.max()
        assert np.flatnonzero(bright).mean() / len(bright) == pytest.approx(0.5, abs=0.06), "in the middle of each"
        assert bright.mean() < 0.5
    heights = [part.max(axis=1).argmax() for part in parts]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 4


def test_page_carries_the_right_moments_within_its_room(codes):
    z, table = codes
    page = latent_page(z, table, audio=burst, frames=frames, sounds=11, megabytes=0.4, top=4)
    data = content(page)
    assert 0 < sizes(data) <= 400_000 and page.carried
    assert page.carried_moments == data["moments"] and len(page.carried_moments) > 10
    assert not set(page.carried) & set(page.carried_moments)
    for latent in page.carried_moments[:6]:
        parcel, strongest = data["latents"][str(latent)], page.example_clips(latent)[:4]
        row = parcel.get("strip", {"clips": []})
        assert {*row["clips"], *map(int, data["clips"])} >= set(strongest), "each is there, whole or as a moment"
        for place, i in enumerate(row["clips"]):
            assert str(i) not in data["clips"], "what the script can cut takes no room"
            assert heard(row, place) == pytest.approx(PITCH[i], abs=15)
            assert row["starts"][place] + 0.25 == pytest.approx(AT[i], abs=0.011)
            assert parcel["peaks"][str(i)] == pytest.approx(AT[i], abs=0.006)
    silent = [i for i in page.example_clips(page.carried[0]) if z[i, page.carried[0]] == 0]
    assert silent and not {str(i) for i in silent} & data["latents"][str(page.carried[0])]["peaks"].keys()
    rest = LATENTS - len(page.carried) - len(page.carried_moments)
    few = f"♩, {len(page.carried_moments)}, play the 0.5 s around their strongest frames; {rest} do not play here"
    assert few in data["note"]


def test_more_room_carries_more_moments(codes):
    z, table = codes
    options = {"audio": burst, "frames": frames, "sounds": 11, "top": 4}
    few, many = (latent_page(z, table, megabytes=room, **options) for room in (0.2, 0.5))
    assert 0 < len(few.carried_moments) < len(many.carried_moments)


def test_the_page_tells_its_own_size(codes):
    page = latent_page(*codes, audio=burst, frames=frames, sounds=11, megabytes=0.3)
    told = float(content(page)["note"].split("This page takes ")[1].split(" kB")[0])
    assert told == pytest.approx(len(page.html) / 1000, abs=1)


def test_without_frames_there_are_no_moments(codes):
    page = latent_page(*codes, audio=burst, sounds=11)
    data = content(page)
    assert page.carried_moments == [] == data["moments"] and "♩" not in data["note"] and not data["framed"]
    assert all("strip" not in parcel and not parcel["peaks"] for parcel in data["latents"].values())


def test_a_moment_behind_what_plays_has_its_own_sound(codes):
    z, table = codes
    page = latent_page(z, table, latents=[0], audio=burst, frames=frames, seconds=1.0)
    row = content(page)["latents"]["0"]["strip"]
    beyond = {i for i in page.example_clips(0) if z[i, 0] > 0 and frames(i)[0][frames(i)[1][:, 0].argmax()] > 1}
    assert set(row["clips"]) == beyond & set(row["clips"]) and beyond
    strongest = set(page.example_clips(0)[:6])
    assert beyond & strongest <= set(row["clips"])
    assert all(heard(row, k) == pytest.approx(PITCH[i], abs=15) for k, i in enumerate(row["clips"]))


def test_kernel_answers_with_moments_as_well(codes):
    z, table = codes
    page = latent_page(z, table, audio=burst, frames=frames, sounds=0, seconds=1.0)
    assert page.carried_moments == [], "0 sounds are none"
    parcel = page._answer({"index": N + 3})["parcel"]
    active = [i for i in page.example_clips(3) if z[i, 3] > 0]
    assert set(parcel["peaks"]) == set(map(str, active))
    assert set(parcel["strip"]["clips"]) == {i for i in active if parcel["peaks"][str(i)] > 1}


def test_a_damaged_clip_has_no_moment_and_is_named(codes):
    z, table = codes
    worst = int(np.argmax(z[:, 5]))

    def audio(i):
        if i == worst:
            raise AudioError(f"clip {i}", "the file is empty")
        return burst(i)

    page = latent_page(z, table, latents=[0, 5], audio=audio, frames=frames, sounds=1)
    assert page.failed[worst] == f"clip {worst}: the file is empty"
    row = content(page)["latents"]["5"]["strip"]
    assert worst not in row["clips"] and len(row["clips"]) == 5
