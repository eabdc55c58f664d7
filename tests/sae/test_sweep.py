"""sae.sweep: the grid, streaming, checkpoints that resume to the same bits, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.core.saving import read_record, write_record
from workbench.core.splits import Split
from workbench.sae import SAEConfig, SparseAutoencoder, data, fit_saes, sweep
from workbench.sae.result import SAESweep
from workbench.sae.stack import Stack


def vectors(rows: int = 120, dim: int = 10, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = rng.exponential(size=(rows, 8)) * (rng.random((rows, 8)) < 0.3)
    noise = 0.1 * rng.standard_normal((rows, dim)) + 2
    return (codes @ rng.standard_normal((8, dim)) + noise).astype(np.float32)


def sparse(rows: int = 2000, dim: int = 48, atoms: int = 96) -> np.ndarray:
    """Sums of a few of ``atoms`` directions, around a mean."""
    rng = np.random.default_rng(0)
    codes = rng.exponential(size=(rows, atoms)) * (rng.random((rows, atoms)) < 5 / atoms)
    noise = 0.05 * rng.standard_normal((rows, dim)) + rng.standard_normal(dim)
    return (codes @ rng.standard_normal((atoms, dim)) / dim**0.5 + noise).astype(np.float32)


SETTINGS = {"split": Split(np.arange(90), np.arange(90, 120)), "latents": 24, "batch": 8, "progress": False}


def small(layers=None, **options):
    layers = {"a": vectors(), "b": 5 * vectors(seed=1)} if layers is None else layers
    return fit_saes(layers, **{**SETTINGS, "ks": [2, 6], "epochs": 3} | options)


def weights(result) -> list[torch.Tensor]:
    return [tensor for sae in result.saes for tensor in sae.tensors().values()]


def same(a, b) -> bool:
    tables = a.table.equals(b.table) and a.history.equals(b.history)
    return tables and all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_table_has_a_row_a_member_and_its_numbers_are_those_of_the_autoencoder():
    layers = {"a": vectors(), "b": 5 * vectors(seed=1)}
    result = small(layers, seeds=(0, 3))
    table = result.table
    assert len(result) == 8 and list(table.columns[:4]) == ["layer", "sparsity", "k", "seed"]
    assert table.groupby(["layer", "k", "seed"]).size().eq(1).all() and (table.l0 <= table.k).all()
    for row, sae in zip(table.itertuples(), result.saes, strict=True):
        x = layers[row.layer][90:]
        rest = x - sae.decode(sae.encode(x))
        assert row.mse == pytest.approx(np.square(rest).mean(), rel=1e-5)
        assert row.fvu == pytest.approx(np.square(rest).sum() / np.square(x - x.mean(0)).sum(), rel=1e-4)
        assert row.dead == pytest.approx(1 - (sae.encode(x) > 0).any(0).mean())
        assert row.sparsity == 1 - row.k / 24
    steps = result.history.pivot(index="step", columns=["layer", "k", "seed"], values="fvu")
    assert steps.index.tolist() == [0, 12, 24, 36] and (steps.loc[36] < steps.loc[0]).all()


def test_members_are_found_by_what_names_them():
    layers = {"a": vectors(), "b": 5 * vectors(seed=1)}
    result = small(layers)
    assert result.sae(layer="b", k=6) is result.saes[3] and result.sae(layer="b", sparsity=0.75) is result.saes[3]
    np.testing.assert_array_equal(result.encode(layers["a"], layer="a", k=2), result.saes[0].encode(layers["a"]))
    with pytest.raises(ParameterError, match=r"not of 2, out of \{'layer': \['a', 'b'\]"):
        result.sae(k=2)
    with pytest.raises(ParameterError, match="among layer, sparsity, k, seed"):
        result.sae(depth=2)


def test_same_call_same_bits_and_another_seed_others():
    assert same(small(), small())
    assert small().table.mse.ne(small(seeds=(1,)).table.mse).all()


def test_sweep_equals_each_of_its_single_sweeps():
    layers = {"a": vectors(), "b": 5 * vectors(seed=1)}
    result = small(layers, seeds=(0, 1))
    for row, sae in zip(result.table.itertuples(), result.saes, strict=True):
        alone = small({row.layer: layers[row.layer]}, ks=[row.k], seeds=[row.seed])
        torch.testing.assert_close(sae.decoder, alone.saes[0].decoder, rtol=1e-4, atol=1e-4)
        assert alone.table.fvu[0] == pytest.approx(row.fvu, rel=1e-3)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("config", ["default", "paper"])
def test_a_sweep_on_several_devices_is_the_same(monkeypatch, tmp_path, layers, count, config):
    x = {name: vectors(seed=i, dim=10 if i < 3 else 7) for i, name in enumerate("abcd"[:layers])}
    options = {"ks": [2, 6, 9], "seeds": (0, 1), "config": config}
    alone = small(x, **options)
    monkeypatch.setattr(sweep, "all_devices", lambda device: [torch.device("cpu")] * count)
    shared = small(x, **options, checkpoint=tmp_path / "state")
    keys = ["layer", "sparsity", "k", "seed"]
    assert shared.table[keys].equals(alone.table[keys]) and shared.history[[*keys, "step"]].equals(
        alone.history[[*keys, "step"]]
    )
    for a, b in zip(weights(alone), weights(shared), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert same(small(x, **options, checkpoint=tmp_path / "state"), shared), "read back"
    monkeypatch.undo()
    with pytest.raises(ParameterError, match=f"devices was {count}, is 1"):
        small(x, **options, checkpoint=tmp_path / "state")


def test_default_sparsities_are_the_papers():
    result = small({"a": vectors()}, ks=None, latents=200, steps=1)
    assert result.table.k.tolist() == [50, 39, 30, 19, 10, 2]  # int((1 - .8) * 200) is 39: floating point


def test_a_sweep_of_nested_codes_by_its_name():
    """Every prefix alone is a code that reconstructs: a plain one's first latents are any of its latents."""
    layers, errors = {"a": vectors(rows=600)}, {}
    options = {"split": Split(np.arange(500), np.arange(500, 600)), "ks": [4], "epochs": 20}
    for config in ("batchtopk", "matryoshka"):
        sae = small(layers, config=config, **options).saes[0]
        z, x = sae.encode(layers["a"][500:]), layers["a"][500:]
        z[:, 12:] = 0
        errors[config] = np.square(sae.decode(z) - x).sum() / np.square(x - x.mean(0)).sum()
    assert sae.config.prefixes == (1, 3, 6, 12)
    assert errors["matryoshka"] < 0.6 * errors["batchtopk"], errors


def test_a_jumprelu_reaches_the_k_that_it_was_asked_for(tmp_path):
    """On unseen rows of a planted dictionary, at about the error of a BatchTopK, whose threshold is one for all."""
    options = {"layers": {"a": sparse()}, "ks": [4, 12], "latents": 128, "steps": 1500, "batch": 16}
    options["split"] = Split(np.arange(1600), np.arange(1600, 2000))
    jumprelu, batchtopk = (small(**options, config=config) for config in ("jumprelu", "batchtopk"))
    assert jumprelu.table.l0.tolist() == pytest.approx([4, 12], rel=0.15)
    assert (jumprelu.table.fvu < 1.2 * batchtopk.table.fvu).all() and (jumprelu.table.fvu < 0.6).all()
    assert [sae.config.activation for sae in SAESweep.load(jumprelu.save(tmp_path)).saes] == ["jumprelu"] * 2


def test_layers_of_different_width_share_a_sweep():
    layers = {"a": vectors(), "wide": vectors(dim=14), "b": vectors(seed=1)}
    result = small(layers)
    assert result.table.layer.tolist() == ["a", "a", "b", "b", "wide", "wide"]
    assert result.sae(layer="wide", k=2).decoder.shape == (24, 14)
    alone = small({"wide": layers["wide"]})
    torch.testing.assert_close(alone.sae(k=6).decoder, result.sae(layer="wide", k=6).decoder, rtol=1e-4, atol=1e-4)


def test_no_steps_give_the_untrained_control():
    layers = {"a": vectors()}
    paper = small(layers, steps=0, config="paper", ks=[6])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = torch.nn.Linear(10, 24)
    torch.testing.assert_close(paper.saes[0].encoder, encoder.weight.detach(), rtol=0, atol=0)
    assert paper.saes[0].config == SAEConfig.named("paper", dim=10, latents=24, k=6)
    assert paper.table.kept[0] == 0 and small(layers, ks=[6]).table.fvu[0] < paper.table.fvu[0]


def test_kept_weights_are_the_best_on_all_validation_rows_or_as_asked():
    layers = {"a": vectors()}
    options = {"ks": [2], "epochs": 12, "learning_rate": 0.05, "decay": 0.0}
    best, last, paper = (small(layers, keep=keep, **options) for keep in ("best", "last", "last batch"))
    curve = best.history.fvu.to_numpy()
    assert best.table.kept[0] == best.history.step[curve.argmin()] < last.table.kept[0] == 144
    mean, x = layers["a"][:90].mean(0), layers["a"][90:]
    for result, at in ((best, curve.argmin()), (last, -1)):
        rest = x - result.saes[0].decode(result.saes[0].encode(x))
        assert np.square(rest).sum() / np.square(x - mean).sum() == pytest.approx(curve[at], rel=1e-4)
    x = layers["a"][114:]  # 30 validation rows in batches of 8: the last has 6
    rest = x - paper.saes[0].decode(paper.saes[0].encode(x))
    assert np.square(rest).sum() / np.square(x - mean).sum() == pytest.approx(paper.history.fvu.min(), rel=1e-4)


class Rows:
    """Ten million vectors made when asked for; remembers the largest request."""

    def __init__(self, count: int, dim: int):
        self.shape, self.largest, self.asked = (count, dim), 0, 0

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        assert rows.ndim == 1 and (np.diff(rows) > 0).all()  # ascending: as they lie on disk
        self.largest, self.asked = max(self.largest, len(rows)), self.asked + len(rows)
        return np.sin(rows[:, None] * (1.0 + np.arange(self.shape[1]))).astype(np.float32)


def test_ten_million_rows_stream(monkeypatch):
    monkeypatch.setattr(data, "CHUNK", 4 * 8 * 500)
    monkeypatch.setattr(data, "SAMPLE", 3000)
    rows = Rows(10_000_000, 8)
    result = fit_saes(
        {"a": rows},
        Split(np.arange(9_999_000), np.arange(9_999_000, 10_000_000)),
        ks=[3],
        latents=16,
        steps=40,
        batch=64,
        progress=False,
    )
    assert rows.largest <= 500 and rows.asked < 25_000
    assert result.table.fvu[0] < result.history.fvu[0]


def test_every_row_once_an_epoch_and_the_same_for_all_layers(monkeypatch):
    seen = {name: [] for name in "ab"}
    train = Stack.train

    def spy(self, x, batch, rates):
        for name, rows in zip("ab", x, strict=True):
            seen[name] += rows[:, 0].tolist()
        train(self, x, batch, rates)

    monkeypatch.setattr(Stack, "train", spy)
    monkeypatch.setattr(data, "CHUNK", 2 * 4 * 10 * 20)  # 20 rows a chunk: 16 that are whole batches
    numbered = np.repeat(np.arange(120, dtype=np.float32)[:, None], 10, 1) + vectors() / 1000
    small({"a": numbered, "b": numbered})
    epochs = np.round(np.array(seen["a"])).reshape(3, 90)
    assert seen["a"] == seen["b"] and (np.sort(epochs, 1) == np.arange(90)).all()
    assert not (epochs[0] == epochs[1]).all()


@pytest.mark.parametrize(
    ("count", "batch", "steps"),
    [(970, 16, 6100), (8191, 16, 51200), (8192, 32, 25600), (100_000, 256, 39100), (2_000_000, 4096, 24450)],
)
def test_batch_and_steps_follow_the_number_of_rows(monkeypatch, count, batch, steps):
    """970 clips are trained on as in the paper; two million frames are seen fifty times, a hundred million in all."""
    runs = []
    monkeypatch.setattr(sweep._Run, "go", lambda run, *_, **__: runs.append(run))
    monkeypatch.setattr(sweep._Run, "judge", lambda run: None)
    monkeypatch.setattr(sweep._Run, "result", lambda run: None)
    monkeypatch.setattr(data, "SAMPLE", 3000)
    split = Split(np.arange(count), np.arange(count, count + 10))
    fit_saes({"a": Rows(count + 10, 4)}, split, ks=[2], latents=8, progress=False)
    assert (runs[0].batch, runs[0].steps) == (batch, steps)


def test_training_ends_with_epochs_rows_or_steps():
    """90 rows in batches of 8 are 12 steps, the last of 2 rows."""

    def taken(**options) -> int:
        return small({"a": vectors()}, ks=[2], **options).history.step.max()

    assert taken(epochs=2) == 24 and taken(epochs=None, rows=180) == 24
    assert taken(rows=1) == 1 and taken(rows=90) == 12 and taken(rows=91) == 13 and taken(rows=106) == 14
    assert taken(rows=106, steps=3) == 3
    assert same(small(epochs=2), small(epochs=None, rows=180))


def test_what_takes_long_is_announced_with_its_time(monkeypatch, capsys):
    """Time stands still but for the steps, of which the first two are slow, and the looks of 3 s."""
    clock, each, train, evaluate = [0.0], [20], Stack.train, sweep._Run.evaluate

    def slow(self, x, batch, rates):
        clock[0] += each[0] * len(rates) if self.steps >= 2 else 10_000
        train(self, x, batch, rates)

    monkeypatch.setattr(Stack, "train", slow)
    monkeypatch.setattr(sweep._Run, "evaluate", lambda run: (clock.append(clock.pop() + 3), evaluate(run)))
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    done, options = [], {"layers": {"a": vectors()}, "ks": [2, 3]}
    small(**options, progress=lambda *numbers: done.append(numbers))
    assert done[0] == (10, 36) and done[-1] == (36, 36) and not capsys.readouterr().out
    small(**options, progress=True)
    assert capsys.readouterr().out == "2 autoencoders, 90 rows, 36 steps of 8: about 12 min\n"  # 36 * 20 + 3 * 3 s
    each[:] = [300]
    small(**options, progress=True)
    assert capsys.readouterr().out.endswith(" 36 steps of 8: about 3.0 h\n")
    each[:] = [1]
    small(**options, progress=True)
    assert not capsys.readouterr().out  # less than a minute


def test_embeddings_can_be_passed_as_they_are():
    class Held:
        layers, pooling = ("a",), "mean"

        def layer(self, name):
            return vectors()

    assert same(small(Held()), small({"a": vectors()}))


# ---- rows that are far from all others ----


FAR = np.arange(100, 2000, 333)  # .3 % of the rows


@pytest.mark.parametrize("kind", ["scaled", "in one direction"])
def test_a_few_rows_of_300_times_the_norm_change_little(kind):
    plain = sparse()
    far = plain.copy()
    if kind == "scaled":
        far[FAR] *= 300
    else:
        far[FAR] += 300 * np.linalg.norm(plain, axis=1).mean() / 48**0.5
    usual, options = np.setdiff1d(np.arange(1600, 2000), FAR), {"ks": [6], "latents": 128, "steps": 1500, "batch": 16}

    def judged(x: np.ndarray, **fields) -> tuple[float, float]:
        sae = small({"a": x}, split=Split(np.arange(1600), np.arange(1600, 2000)), **options, **fields).saes[0]
        z = sae.encode(plain[usual])
        rest, trained = sae.decode(z) - plain[usual], sae.encode(plain[:1600])
        fvu = np.square(rest).sum() / np.square(plain[usual] - plain[usual].mean(0)).sum()
        return fvu, 1 - (trained > 0).any(0).mean()

    (fvu, dead), (bounded, bounded_dead) = judged(plain), judged(far)
    unbounded, unbounded_dead = judged(far, row_bound=None)
    assert bounded < 1.15 * fvu and bounded_dead < dead + 0.03, (fvu, bounded, dead, bounded_dead)
    assert unbounded > 2 * fvu and unbounded_dead > dead + 0.05, (unbounded, unbounded_dead)


def test_rows_none_of_which_is_far_are_trained_on_as_they_are():
    x = {"a": np.random.default_rng(0).standard_normal((120, 10)).astype(np.float32)}
    assert same(small(x), small(x, row_bound=None))


def test_far_rows_count_at_most_at_the_bound():
    """The mean and the scale of the rows that training sees, which are computed from them here in one go."""
    x = np.random.default_rng(3).standard_normal((400, 5)).astype(np.float32) + 4
    x[[7, 90, 300]] *= np.array([[300], [40], [1e30]], np.float32)
    train = np.arange(390)
    moments = data.statistics({"a": x}, train, 2.0)["a"]
    middle = np.median(x[train], axis=0).astype(float)
    far = np.linalg.norm(x - middle, axis=1)
    reach = 2 * np.quantile(far[train], 0.9)
    expected = middle + (x - middle) * np.minimum(1, reach / far)[:, None]
    seen = data.tensors({"a": x}, [("a", np.arange(400))], torch.device("cpu"), {"a": moments})[0].numpy()
    np.testing.assert_allclose(seen, expected, rtol=1e-5)
    np.testing.assert_array_equal(seen[far <= reach], x[far <= reach])
    assert moments.reach == pytest.approx(reach) and (far > reach).sum() == 3
    np.testing.assert_allclose(moments.mean, expected[train].mean(0), rtol=1e-5)
    assert moments.scale == pytest.approx(expected[train].var(0).mean() ** 0.5, rel=1e-5)
    free = data.statistics({"a": x[:300]}, np.arange(300), None)["a"]
    assert free.reach == np.inf and free.scale == pytest.approx(x[:300].astype(float).var(0).mean() ** 0.5, rel=1e-5)
    x[:] = 1  # nine in ten are equal: there is no usual distance
    x[:9] = 50
    assert data.statistics({"a": x}, train, 2.0)["a"].reach == np.inf


# ---- resuming ----

RESUMABLE = {"ks": [2, 6], "epochs": 4, "seeds": (0, 1), "dead_after": 24, "activation": "batchtopk"}


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("calls", "activation"), [(1, "topk"), (2, "batchtopk"), (5, "batchtopk"), (2, "jumprelu")])
def test_resumed_is_bit_identical(tmp_path, monkeypatch, calls, activation):
    monkeypatch.setattr(data, "CHUNK", 2 * 4 * 10 * 2 * 40)
    monkeypatch.setattr(sweep, "CHECKPOINT_SECONDS", 0.0)
    resumable = RESUMABLE | {"activation": activation}
    whole, train, done = small(**resumable), Stack.train, []

    def breaks(self, x, batch, rates):
        if len(done) == calls:
            raise Stopped
        done.append(len(rates))
        train(self, x, batch, rates)

    monkeypatch.setattr(Stack, "train", breaks)
    with pytest.raises(Stopped):
        small(**resumable, checkpoint=tmp_path / "sweep")
    monkeypatch.setattr(Stack, "train", train)
    assert same(small(**resumable, checkpoint=tmp_path / "sweep"), whole)
    monkeypatch.setattr(Stack, "train", None)  # what is finished is read, not trained
    assert same(small(**resumable, checkpoint=tmp_path / "sweep"), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


def test_killed_process_is_resumed_bit_identically(tmp_path, monkeypatch):
    script = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import torch
        torch.set_num_threads({torch.get_num_threads()})
        from test_sweep import RESUMABLE, small, sweep
        sweep.CHECKPOINT_SECONDS = 0.0
        save = sweep._Run.save
        def slow(self):
            save(self)
            print(self.step, flush=True)
            time.sleep(0.2)
        sweep._Run.save = slow
        small(**RESUMABLE, checkpoint={str(tmp_path / "sweep")!r})
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    for line in process.stdout:
        if int(line) >= 24:
            time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    steps = []
    train = Stack.train
    monkeypatch.setattr(
        Stack, "train", lambda self, x, batch, rates: (steps.append(len(rates)), train(self, x, batch, rates))
    )
    resumed = small(**RESUMABLE, checkpoint=tmp_path / "sweep")
    assert 0 < sum(steps) < 48
    assert same(resumed, small(**RESUMABLE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.01}, "learning_rate was 0.001, is 0.01"),
        ({"ks": [2, 5]}, r"ks was \[2, 6\], is \[2, 5\]"),
        ({"seeds": (0,)}, r"seeds was \[0, 1\], is \[0\]"),
        ({"epochs": 5}, "steps was 48, is 60"),
        ({"dead_after": 25}, "config.dead_after was 24, is 25"),
        ({"layers": {"a": vectors(seed=7), "b": 5 * vectors(seed=1)}}, "layers and their training rows was"),
        ({"split": Split(np.arange(1, 90), np.arange(90, 120))}, "layers and their training rows was"),
        ({"split": Split(np.arange(90), np.arange(91, 120))}, "valid was"),
    ],
)
def test_resuming_with_other_settings_names_what_differs(finished, change, message):
    with pytest.raises(ParameterError, match=f"of a sweep with these settings; {message}"):
        small(**RESUMABLE | {"checkpoint": finished} | change)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep"
    small(**RESUMABLE, checkpoint=path)
    return path


# ---- bad input ----


def broken(row: int) -> np.ndarray:
    x = vectors()
    x[row, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ks": [25]}, "k=25 must be from 1 to latents=24"),
        ({"ks": [0]}, "k=0 must be from 1 to latents=24"),
        ({"ks": []}, r"ks=\[\] must be a list of at least one"),
        ({"ks": None, "sparsities": [0.99]}, "sparsity=0.99 must be at most 0.958 with latents=24"),
        ({"sparsities": [0.5]}, r"ks=\[2, 6\] must be None where sparsities are given"),
        ({"split": Split([], [0])}, r"split.train=\[\] must be at least one clip"),
        ({"split": Split([0], np.zeros(120, bool))}, r"split.valid=\[\] must be at least one clip"),
        ({"split": Split([0, 120], [1])}, r"split.train=\[120\] must be rows in \[0, 120\)"),
        ({"layers": {}}, r"layers=\[\] must be at least one layer"),
        ({"layers": vectors()}, "layers='ndarray' must be a mapping"),
        ({"layers": {"a": vectors(), "b": vectors(50)}}, r"layers\['b'\].shape=\(50, 10\) must be \(N, D\) with N=120"),
        ({"layers": {"a": vectors(), "b": broken(17)}}, r"layers\['b'\]\[17\]='nan or inf' must be finite"),
        ({"layers": {"a": broken(100)}}, r"layers\['a'\]\[100\]='nan or inf' must be finite"),
        ({"config": "best"}, "config='best' must be 'default', 'paper', 'batchtopk', 'jumprelu' or 'matryoshka'"),
        ({"keep": "all"}, "keep='all' must be 'best' or 'last' or 'last batch'"),
        ({"seeds": (1, 1)}, r"seeds=\[1, 1\] must be at least one, all different"),
        ({"batch": 0}, "batch=0 must be a whole number, 1 or more"),
        ({"width": 3}, r"width=3 must be left out: SAEConfig has \['dim', 'latents'"),
        ({"k": 5}, "k=.* must be left out: each layer has its dim, each sparsity its k"),
        ({"learning_rate": np.nan}, "learning_rate=nan must be a finite number"),
        ({"learning_rate": -1}, "learning_rate=-1 must be a finite number, above 0 and 1 or less"),
        ({"learning_rate": 0}, "learning_rate=0 must be"),
        ({"learning_rate": 1e9}, "learning_rate=1000000000.0 must be"),
        ({"ks": [1.7]}, r"ks=\[1.7\] must be a list, each item a whole number"),
        ({"ks": 4}, "ks=4 must be a list"),
        ({"ks": [np.nan]}, r"ks=\[nan\] must be a list, each item a whole number"),
        ({"ks": [True]}, r"ks=\[True\] must be a list"),
        ({"epochs": 2.0}, "epochs=2.0 must be a whole number"),
        ({"epochs": 0}, "epochs=0 must be a whole number, 1 or more"),
        ({"epochs": True}, "epochs=True must be a whole number"),
        ({"rows": 0}, "rows=0 must be a whole number, 1 or more"),
        ({"rows": 1e6}, "rows=1000000.0 must be a whole number"),
        ({"steps": -1}, "steps=-1 must be a whole number, 0 or more"),
        ({"seeds": (-1,)}, r"seeds\[0\]=-1 must be a whole number from 0"),
        ({"seeds": ("a",)}, r"seeds=\('a',\) must be a list, each item a whole number"),
        ({"layers": {1: vectors(), "1": vectors()}}, "names that differ as text"),
        ({"layers": {"a": vectors().astype(str)}}, r"layers\['a'\]='array of <U.*' must be an array of numbers"),
        ({"layers": {"a": None}}, r"layers\['a'\]=None must be an array of numbers"),
        ({"auxk": np.nan}, "auxk=nan must be a finite number"),
        ({"row_bound": 0}, "row_bound=0 must be a finite number, above 0"),
        ({"row_bound": "far"}, "row_bound='far' must be a finite number or None"),
        ({"decay": "a"}, "decay='a' must be a finite number"),
        ({"prefixes": 4}, "prefixes=4 must be a list"),
        ({"device": "tpu"}, "device='tpu' must be 'auto', 'cpu'"),
    ],
)
def test_errors_name_the_argument_its_value_and_what_was_expected(options, message):
    with pytest.raises(ParameterError, match=message):
        small(**options)


def test_constant_vectors_do_not_break():
    with pytest.warns(UserWarning, match="nothing to learn: the validation rows of layer a, k=2, seed 0 do not vary"):
        result = small({"a": np.ones((120, 10), np.float32)})
    assert np.isfinite(result.table.mse).all() and result.table.fvu.isna().all()


def test_result_is_plain(tmp_path):
    result = small({"a": vectors()}, ks=[2])
    assert isinstance(result.table, pd.DataFrame) and isinstance(result.saes[0], SparseAutoencoder)
    x = vectors()
    again = SparseAutoencoder.load(result.sae().save(tmp_path / "a"))
    np.testing.assert_array_equal(again.encode(x), result.encode(x))


def test_a_sweep_is_saved_whole(tmp_path):
    result = small(activation="batchtopk")
    again = SAESweep.load(result.save(tmp_path))
    assert same(again, result) and [sae.config for sae in again.saes] == [sae.config for sae in result.saes]
    with pytest.raises(WeightsError, match="holds SAESweep of version 1, not SparseAutoencoder"):
        SparseAutoencoder.load(tmp_path)


@pytest.mark.parametrize("config", ["default", "paper"])
def test_nothing_learnt_is_said(config):
    with pytest.warns(UserWarning, match="nothing was learnt by 4 of 4 .* rate 1: .*layer a, k=2, seed 0: FVU"):
        result = small(learning_rate=1.0, epochs=1, config=config)
    assert (result.table.kept == 0).all()
    with pytest.warns(UserWarning, match="nothing was learnt by 4 of 4"):
        small(learning_rate=1.0, epochs=1, config=config, keep="last")


def test_a_loss_that_is_no_number_is_told_with_its_step(monkeypatch):
    errors = Stack.errors

    def broken(self, x):
        return errors(self, x) * (torch.nan if self.steps >= 24 else 1)

    monkeypatch.setattr(Stack, "errors", broken)
    with pytest.warns(UserWarning, match="training went wrong for 4 of 4 .* no finite loss from step 24 on .layer a"):
        result = small()
    assert (result.table.kept == 12).all() and np.isfinite(result.table.fvu).all()
    with pytest.raises(ParameterError, match="no finite loss from step 24 on .layer a, k=2, seed 0.' must be smaller"):
        small(keep="last")


@pytest.mark.parametrize("power", [100, -100])
def test_vectors_of_any_size_are_scored_alike(power):
    one, other = small({"a": vectors()}), small({"a": np.ldexp(vectors(), power)})
    np.testing.assert_allclose(other.table.fvu, one.table.fvu, rtol=1e-4)
    np.testing.assert_allclose(other.history.fvu, one.history.fvu, rtol=1e-3)


def test_arrays_of_any_make_are_taken():
    x = vectors()
    expected = small({"a": x}).table
    for same in (pd.DataFrame(x), x.tolist(), torch.tensor(x, requires_grad=True), x[::-1][::-1]):
        assert small({"a": same}).table.equals(expected)


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    small({"a": vectors()}, checkpoint=tmp_path / "sweep")
    path = tmp_path / "sweep"
    tensors, record = read_record(path)
    write_record(path, {name: value for name, value in tensors.items() if "first" not in name}, record)
    with pytest.raises(WeightsError, match="a checkpoint without encoder.first"):
        small({"a": vectors()}, checkpoint=tmp_path / "sweep")
    write_record(path, tensors, {"settings": record["settings"]})
    with pytest.raises(WeightsError, match="not a checkpoint of a sweep"):
        small({"a": vectors()}, checkpoint=tmp_path / "sweep")
