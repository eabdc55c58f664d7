"""nmf against reference values, scikit-learn, scipy, closed forms and the properties that its updates promise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.core.errors import ParameterError, WeightsError
from workbench.nmf import SparseNMF, activations, objective
from workbench.nmf.updates import FLOOR, multiply, parts

VECTORS = json.loads((Path(__file__).parent / "nmf_vectors.json").read_text())
FRAMES = np.array(VECTORS["frames"], dtype=float)
BETAS = {"euclidean": 2, "kl": 1, "is": 0}
UPDATES = [("euclidean", "hals"), *((beta, "mu") for beta in BETAS)]


def nmf(components: int = 5, **options: object) -> SparseNMF:
    quiet = {"tolerance": 0.0, "device": "cpu", "dtype": "float64", "progress": False}
    return SparseNMF(components, **quiet | options)


def mixtures(*shape: int, components: int = 5, seed: int = 0, noise: float = 0.1) -> np.ndarray:
    """Frames (..., N, F) of sparse activations of sparse components, plus noise."""
    rng = np.random.default_rng(seed)
    *batch, frames, bins = shape
    w = rng.exponential(size=(*batch, components, bins)) * (rng.random((*batch, components, bins)) < 0.4)
    h = rng.exponential(size=(*batch, frames, components)) * (rng.random((*batch, frames, components)) < 0.4)
    return h @ w + noise * rng.random(shape)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: f"{case['beta']}-{case['sparsity']}")
def test_multiplicative_updates_reach_the_reference_objectives(case):
    x = FRAMES + case["added"]
    model = nmf(2, sparsity=case["sparsity"], beta=case["beta"], algorithm="mu", iterations=200)
    h = model.fit_transform(x, components=VECTORS["components"], activations=np.ones((4, 2)))
    np.testing.assert_allclose(model.history_[VECTORS["iterations"]], case["objective"], atol=6e-7)
    again = objective(x, h, model.components_, sparsity=case["sparsity"], beta=case["beta"])
    assert again == pytest.approx(model.history_[-1], rel=1e-12)


def test_one_multiplicative_iteration_gives_the_reference_factors():
    expected = VECTORS["after_one"]
    model = nmf(2, sparsity=expected["sparsity"], algorithm="mu", iterations=1)
    h = model.fit_transform(FRAMES, components=VECTORS["components"], activations=np.ones((4, 2)))
    np.testing.assert_allclose(model.components_, expected["components"], atol=6e-7)
    np.testing.assert_allclose(h, expected["activations"], atol=6e-7)


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.8, 3])
@pytest.mark.parametrize(("beta", "algorithm"), UPDATES)
def test_the_objective_never_rises(beta, algorithm, sparsity):
    for x in mixtures(4, 18, 12):
        model = nmf(4, beta=beta, algorithm=algorithm, sparsity=sparsity, iterations=100, seed=3).fit(x)
        rise = np.diff(model.history_) / model.history_[:-1]
        assert len(rise) == 100 and rise.max() < 1e-12
        assert model.history_[-1] < 0.7 * model.history_[0]
        np.testing.assert_allclose(np.linalg.norm(model.components_, axis=1), 1, atol=1e-12)


def shortcut_rise(x: np.ndarray, beta: int, sparsity: float, rescale: bool) -> float:
    """Largest relative rise of the objective under the plain update of W followed by normalisation."""
    rng = np.random.default_rng(1)
    w, h = unit(rng.random((4, x.shape[1]))), np.ones((len(x), 4))
    name, costs = {number: name for name, number in BETAS.items()}[beta], []
    for _ in range(100):
        whole = h @ w
        h = h * ((x * whole ** (beta - 2)) @ w.T) / (whole ** (beta - 1) @ w.T + sparsity)
        whole = h @ w
        w = w * (h.T @ (x * whole ** (beta - 2))) / (h.T @ whole ** (beta - 1))
        lengths = np.linalg.norm(w, axis=1)
        w, h = w / lengths[:, None], h * lengths if rescale else h
        costs.append(objective(x, h, w, sparsity=sparsity, beta=name))
    return float((np.diff(costs) / costs[:-1]).max())


@pytest.mark.parametrize("beta", [2, 1, 0])
@pytest.mark.parametrize("rescale", [False, True])
def test_normalising_after_the_plain_update_does_raise_it(beta, rescale):
    """So a decreasing curve says something about the updates, not only about the problems."""
    rises = [shortcut_rise(mixtures(18, 12, seed=seed), beta, 3.0, rescale) for seed in range(6)]
    assert max(rises) > 1e-5


@pytest.mark.parametrize(("beta", "sparsity"), [(2, 0.3), (1, 0.0)])  # with H fixed, its KL sums up the penalty
def test_activation_updates_are_those_of_scikit_learn(beta, sparsity):
    from sklearn.decomposition import non_negative_factorization

    x, w = mixtures(30, 20) + 0.05, unit(np.random.default_rng(2).random((5, 20)))
    loss = {2: "frobenius", 1: "kullback-leibler"}[beta]
    options = {"solver": "mu", "beta_loss": loss, "update_H": False, "max_iter": 50, "tol": 0}
    penalty = {"alpha_W": sparsity / 20, "alpha_H": 0, "l1_ratio": 1}
    theirs, _, _ = non_negative_factorization(x, H=w, n_components=5, **options, **penalty)
    frames, rows = torch.from_numpy(x), torch.from_numpy(w)
    h = torch.full((5, 30), float(np.sqrt(x.mean() / 5)), dtype=torch.float64)
    for _ in range(50):
        _, ratio, _ = parts(frames, h, rows, 1)
        if beta == 2:
            multiply(h, rows @ frames.T, rows @ rows.T @ h + sparsity)
        else:
            multiply(h, rows @ ratio.T, rows.sum(1, keepdim=True) + sparsity)
    np.testing.assert_allclose(h.T, theirs, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("sparsity", [0, 0.3])
def test_exact_activations_meet_the_optimality_conditions(sparsity):
    x, w = mixtures(40, 20), unit(np.random.default_rng(2).random((8, 20)))
    h, residual = activations(x, w, sparsity=sparsity, device="cpu", dtype="float64")
    gradient = (h @ w - x) @ w.T + sparsity
    assert (h >= 0).all() and gradient.min() > -1e-11 and np.abs(gradient * h).max() < 1e-11
    assert 0.1 < (h == 0).mean() < 0.9 and residual.shape == (40,) and residual.max() < 1e-12


def test_exact_activations_are_least_squares_without_penalty():
    from scipy.optimize import nnls

    x, w = mixtures(40, 20), 3 * np.random.default_rng(2).random((8, 20))  # of any length
    h, _ = activations(x, w, device="cpu", dtype="float64")
    np.testing.assert_allclose(h, [nnls(w.T, frame)[0] for frame in x], atol=1e-10)


def test_one_component_has_a_closed_form():
    x, w = mixtures(50, 6), unit(np.arange(1.0, 7)[None])
    h, _ = activations(x, w, sparsity=0.5, device="cpu", dtype="float64")
    np.testing.assert_allclose(h, np.maximum(x @ w.T - 0.5, 0), atol=1e-12)


def test_components_that_repeat_or_outnumber_the_bins_are_solved_too():
    w = unit(np.random.default_rng(2).random((8, 20)))
    for many in (np.concatenate([w, w]), unit(np.random.default_rng(3).random((30, 10)))):
        x = mixtures(40, many.shape[1])
        h, residual = activations(x, many, sparsity=0.1, device="cpu", dtype="float64")
        assert residual.max() < 1e-9 and np.isfinite(h).all()
    once, _ = activations(mixtures(40, 20), w, sparsity=0.1, device="cpu", dtype="float64")
    twice, _ = activations(mixtures(40, 20), np.concatenate([w, w]), sparsity=0.1, device="cpu", dtype="float64")
    np.testing.assert_allclose(twice[:, :8] + twice[:, 8:], once, atol=1e-7)


@pytest.mark.parametrize("beta", ["kl", "is"])
def test_iterated_activations_approach_the_minimum(beta):
    x, w = mixtures(20, 12) + 0.05, unit(np.random.default_rng(2).random((4, 12)))
    options = {"sparsity": 0.2, "beta": beta, "device": "cpu", "dtype": "float64"}
    rough, far = activations(x, w, iterations=3, **options)
    fine, near = activations(x, w, iterations=20_000, tolerance=1e-6, **options)
    assert near.max() <= 1e-6 < 1e-2 < far.max()
    cost = [objective(x, h, w, sparsity=0.2, beta=beta) for h in (rough, fine)]
    assert cost[1] < cost[0]
    nudged = fine * np.exp(0.02 * np.random.default_rng(0).standard_normal(fine.shape))
    assert objective(x, nudged, w, sparsity=0.2, beta=beta) > cost[1]


def test_transform_warns_where_it_stops_early(monkeypatch):
    import workbench.nmf.model as module

    x = mixtures(20, 12)
    model = nmf(4, beta="kl", iterations=5).fit(x)
    model.transform(x)
    assert 1e-6 < model.residual_ <= 1e-2
    monkeypatch.setattr(module, "RESIDUAL", 1e-6)
    with pytest.warns(UserWarning, match="not at the minimum: residual"):
        model.transform(x)


def test_transform_ends_no_higher_than_the_fit_and_keeps_leading_axes():
    x = mixtures(60, 20)
    model = nmf(sparsity=0.2, iterations=30)
    h = model.fit_transform(x)
    best = model.transform(x)
    assert objective(x, best, model.components_, sparsity=0.2) <= model.history_[-1]
    assert model.residual_ < 1e-12 and best.shape == h.shape == (60, 5)
    np.testing.assert_array_equal(model.transform(x.reshape(3, 20, 20)), best.reshape(3, 20, 5))
    np.testing.assert_allclose(model.inverse_transform(best), best @ model.components_)


def test_coordinate_passes_are_ahead_of_multiplicative_updates():
    x = mixtures(200, 40, components=10)
    ends = {name: nmf(10, sparsity=0.2, algorithm=name, iterations=20).fit(x).history_[-1] for name in ("hals", "mu")}
    assert ends["hals"] < 0.9 * ends["mu"]


def test_planted_components_are_found():
    rng = np.random.default_rng(0)
    w = unit(rng.exponential(size=(6, 30)) * (rng.random((6, 30)) < 0.3))
    h = rng.exponential(size=(400, 6)) * (rng.random((400, 6)) < 0.3)
    models = [nmf(6, sparsity=1e-3, iterations=300, seed=seed, dtype="float32").fit(h @ w) for seed in range(4)]
    model = min(models, key=lambda model: model.history_[-1])
    cosine = w @ model.components_.T
    assert sorted(cosine.argmax(1)) == list(range(6)) and cosine.max(1).min() > 0.999


@pytest.mark.parametrize("beta", BETAS)
def test_tiles_of_any_kind_give_what_the_whole_gives(beta, tmp_path):
    x = mixtures(150, 20)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = {"sparsity": 0.2, "beta": beta, "iterations": 20}
    whole = nmf(**options)
    h = whole.fit_transform(x)
    for source in (x, mapped, torch.from_numpy(x), lambda: (mapped[i : i + 49] for i in range(0, 150, 49))):
        tiled = nmf(tile=32, **options)
        np.testing.assert_allclose(tiled.fit_transform(source), h, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(tiled.components_, whole.components_, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(tiled.history_, whole.history_, rtol=1e-9)


def test_same_seed_same_numbers_and_the_global_generator_is_left_alone():
    x = mixtures(60, 20)
    before = torch.get_rng_state()
    first, second, other = (nmf(iterations=5, seed=seed, dtype="float32").fit(x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.components_, second.components_)
    assert np.abs(first.components_ - other.components_).max() > 0.01
    assert torch.equal(before, torch.get_rng_state())


def test_a_seed_may_be_a_number_of_numpy():
    x = np.abs(np.random.default_rng(0).normal(size=(9, 4)))
    one, other = (nmf(2, iterations=3, seed=seed).fit(x).components_ for seed in (7, np.int64(7)))
    np.testing.assert_array_equal(one, other)


def test_float32_follows_float64_and_matmul_precision_is_restored():
    x = mixtures(300, 60)
    torch.set_float32_matmul_precision("high")
    try:
        single, double = (nmf(sparsity=0.2, iterations=20, dtype=dtype).fit(x) for dtype in ("float32", "float64"))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert single.components_.dtype == np.float32
    np.testing.assert_allclose(single.history_, double.history_, rtol=1e-4)
    h, residual = activations(x, single.components_, sparsity=0.2, device="cpu")
    assert h.dtype == np.float32 and residual.max() < 1e-6


def test_tolerance_stops_where_progress_does():
    x = mixtures(60, 20)
    model = nmf(tolerance=1e-3, iterations=500).fit(x)
    fall = -np.diff(model.history_) / model.history_[:-1]
    assert len(fall) < 500
    assert fall[-1] < 1e-3 <= fall[:-1].min()


def test_silent_frames_stay_silent():
    x = mixtures(40, 20)
    x[7] = 0
    for beta in BETAS:
        model = nmf(beta=beta, sparsity=0.1, iterations=10)
        assert np.isfinite(model.fit_transform(x)).all() and np.isfinite(model.history_).all()
        assert model.transform(x)[7].max() < 1e-6


@pytest.mark.parametrize("algorithm", ["hals", "mu"])
def test_a_penalty_above_everything_leaves_finite_components_of_length_one(algorithm):
    x = mixtures(40, 20)
    model = nmf(sparsity=1e4, iterations=200, algorithm=algorithm)
    h = model.fit_transform(x)
    assert h.max() == 0 and np.isfinite(model.components_).all()
    np.testing.assert_allclose(np.linalg.norm(model.components_, axis=1), 1, atol=1e-12)
    assert model.history_[-1] == pytest.approx((x**2).sum() / 2)


def test_more_components_than_frames_are_allowed():
    assert nmf(10, iterations=50).fit(mixtures(4, 20)).history_[-1] < 0.01


def test_objective_of_nothing_is_half_the_sum_of_squares():
    x = mixtures(40, 20)
    assert objective(x, np.zeros((40, 1)), np.ones((1, 20))) == pytest.approx((x**2).sum() / 2)
    assert objective([[0.0]], [[0.0]], [[1.0]], beta="is") == 0.0  # both at the floor
    assert objective([[1.0]], [[2.0]], [[1.0]], beta="is") == pytest.approx(np.log(2) - 0.5)
    assert objective([[0.0]], [[0.0]], [[1.0]], beta="kl") == FLOOR


def test_parameters_in_the_manner_of_scikit_learn():
    from sklearn.base import clone

    model = nmf(7, sparsity=0.3)
    copy = clone(model)
    assert copy.get_params() == model.get_params() and copy.components == 7 and copy is not model
    assert copy.set_params(sparsity=0.5).sparsity == 0.5
    with pytest.raises(ParameterError, match="parameter='sparsety' must be 'components', 'sparsity'"):
        copy.set_params(sparsety=1)


def test_what_was_saved_comes_back(tmp_path):
    x = mixtures(20, 10)
    for dtype in ("float32", "float64"):
        model = nmf(3, sparsity=0.2, iterations=5, dtype=dtype).fit(x)
        loaded = SparseNMF.load(model.save(tmp_path / dtype))
        assert loaded.get_params() == model.get_params()
        for name in ("components_", "history_"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name), strict=True)
        np.testing.assert_array_equal(loaded.transform(x), model.transform(x))
    with pytest.raises(ParameterError, match="components_=None must be learnt before: call fit"):
        nmf().save(tmp_path)


def test_folders_that_hold_no_model_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds no SparseNMF"):
        SparseNMF.load(tmp_path)
    record = nmf(2, iterations=2).fit(FRAMES).save(tmp_path) / "fitted.json"
    text = record.read_text()
    for wrong, message in (
        (text, "no SparseNMF that this package can read"),
        (text[:50], "holds no"),
        ("[]", "holds no"),
    ):
        record.write_text(wrong.replace('"auto"', '"als"'))
        with pytest.raises(WeightsError, match=message):
            SparseNMF.load(tmp_path)


def test_progress_is_shown_on_request(capsys):
    nmf(iterations=3, progress=True).fit(mixtures(20, 10))
    assert "sparse NMF" in capsys.readouterr().err
    nmf(iterations=3).fit(mixtures(20, 10))
    assert capsys.readouterr().err == ""


def changed(at: tuple, value: float) -> np.ndarray:
    x = mixtures(40, 20)
    x[at] = value
    return x


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (changed((33, 2), np.nan), {"tile": 8}, r"frames\[33\]=nan must be finite everywhere"),
        (changed((33, 2), -0.5), {"tile": 8}, r"frames\[33\]=-0.5 must be non-negative everywhere"),
        (np.zeros((5, 3)), {}, "frames='zeros in all 5 rows .as float64.' must be above 0 somewhere"),
        (np.stack([FRAMES, FRAMES]), {}, r"frames.shape=\(2, 4, 3\) must be \(N, F\)"),
        (np.ones(5), {}, r"frames.shape=\(5,\) must be \(N, F\)"),
        (np.ones((0, 5)), {}, r"frames.shape=\(0, 5\) must be"),
        (lambda: [], {}, "frames='no tile' must be at least one frame"),
        (lambda: [FRAMES, FRAMES[:, :2]], {}, r"frames.shape=\(4, 2\) must be \(n, 3\), as in the first tile"),
        (FRAMES, {"components": 0}, "components=0 must be a whole number, 1 or more"),
        (FRAMES, {"iterations": 0}, "iterations=0 must be"),
        (FRAMES, {"tile": 0}, "tile=0 must be"),
        (FRAMES, {"sparsity": -1}, "sparsity=-1 must be a finite number, 0 or more"),
        (FRAMES, {"tolerance": float("nan")}, "tolerance=nan must be a finite number"),
        (FRAMES, {"beta": "l1"}, "beta='l1' must be 'euclidean', 'kl' or 'is'"),
        (FRAMES, {"beta": "kl", "algorithm": "hals"}, "algorithm='hals' must be 'mu' or 'auto' for beta='kl'"),
        (FRAMES, {"dtype": "half"}, "dtype='half' must be 'float32' or 'float64'"),
        (FRAMES, {"device": "tpu"}, "device='tpu' must be"),
    ],
)
def test_bad_input_is_named(frames, options, message):
    with pytest.raises(ParameterError, match=message):
        nmf(**options).fit(frames)


def test_bad_starts_are_named():
    with pytest.raises(ParameterError, match=r"components.shape=\(2, 4\) must be \(5, 3\)"):
        nmf().fit(FRAMES, components=np.ones((2, 4)))
    with pytest.raises(ParameterError, match=r"activations\[1\]=-1.0 must be non-negative"):
        nmf(1).fit(FRAMES, activations=[[1.0], [-1.0], [1.0], [1.0]])
    with pytest.raises(ParameterError, match="components='0 in row 1' must be above 0"):
        nmf(2).fit(FRAMES, components=[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])


def test_transform_names_what_does_not_fit():
    with pytest.raises(ParameterError, match="components_=None must be learnt before: call fit"):
        nmf().transform(FRAMES)
    model = nmf(2, iterations=2).fit(FRAMES)
    with pytest.raises(ParameterError, match=r"frames.shape=\(4, 2\) must be \(..., 3\), like the components"):
        model.transform(FRAMES[:, :2])
    with pytest.raises(ParameterError, match=r"frames\[0\]=-1.0 must be non-negative"):
        model.transform(-np.ones((1, 3)))
    with pytest.raises(ParameterError, match="components='0 in row 1' must be above 0"):
        activations(FRAMES, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("beta", BETAS)
def test_a_gpu_gives_what_the_cpu_gives(beta):
    x = mixtures(300, 60) + 0.05
    here, there = (nmf(beta=beta, sparsity=0.2, iterations=20, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there.fit_transform(x), here.fit_transform(x), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(there.history_, here.history_, rtol=1e-9)
    np.testing.assert_allclose(there.transform(x), here.transform(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("beta", "algorithm"), UPDATES)
@pytest.mark.parametrize("power", [-110, -60, 60, 100])  # about 1e-33, 1e-18, 1e18, 1e30
def test_frames_of_any_size_are_learnt_alike(power, beta, algorithm, dtype):
    x = np.float32(mixtures(30, 8)) + np.float32(1e-3)
    options = {"beta": beta, "algorithm": algorithm, "iterations": 20, "dtype": dtype}
    one, other = nmf(3, sparsity=0.1, **options), nmf(3, sparsity=0.1 * 2.0 ** (power * (BETAS[beta] - 1)), **options)
    h, scaled = one.fit_transform(x), other.fit_transform(np.ldexp(x, power))
    tolerance = {"rtol": 2e-2, "atol": 1e-3} if dtype == "float32" else {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(other.components_, one.components_, **tolerance)
    np.testing.assert_allclose(np.ldexp(scaled, -power), h, **tolerance)
    expected = np.ldexp(one.history_, power * BETAS[beta])
    np.testing.assert_allclose(other.history_, expected, rtol=1e-3 if dtype == "float32" else 1e-9)
    known = np.ldexp(other.transform(np.ldexp(x, power)), -power)
    np.testing.assert_allclose(known, one.transform(x), rtol=2e-2, atol=1e-2)


def test_components_of_any_size_are_used_alike():
    x, w = mixtures(20, 6), np.abs(mixtures(3, 6, seed=1)) + 0.1
    for beta in BETAS:
        h, _ = activations(x, w, beta=beta, dtype="float64", device="cpu")
        scaled, residual = activations(np.ldexp(x, 90), np.ldexp(w, 70), beta=beta, dtype="float64", device="cpu")
        np.testing.assert_allclose(np.ldexp(scaled, -20), h, rtol=1e-6)
        assert np.isfinite(residual).all()


def test_sizes_that_cannot_be_held_are_refused():
    x = mixtures(10, 4)
    with pytest.raises(ParameterError, match=r"frames='values up to .*e\+37' must be 1e\+36 at most in torch.float32"):
        nmf(2, dtype="float32", iterations=2).fit(x * 1e37 / x.max())
    with pytest.raises(ParameterError, match=r"frames='values up to 1.0e\+200' must be 1e\+150"):
        nmf(2, iterations=2).fit(x * 1e200 / x.max())
    with pytest.raises(ParameterError, match="objective=inf must be finite"):
        objective(x * 1e200, np.ones((10, 2)), np.ones((2, 4)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a", "b"], ["c", "d"]], "frames='array of <U1' must be an array of numbers"),
        ([[1, 2], [3]], "frames='list' must be an array of numbers"),
        (None, "frames=None must be an array of numbers"),
        (np.ones((3, 4), dtype=complex), "frames='array of complex128' must be an array of numbers"),
        (torch.ones(3, 4, dtype=torch.complex64), "frames='Tensor' must be a dense array"),
        (lambda: 5, r"frames\(\)='int' must be an iterable of tiles"),
        (lambda: [np.ones(3)], r"frames.shape=\(3,\) must be \(n, F\)"),
    ],
)
def test_frames_that_are_none_are_named(values, message):
    with pytest.raises(ParameterError, match=message):
        nmf(2, iterations=2).fit(values)


def test_arrays_of_any_make_are_taken():
    x = mixtures(12, 4)
    expected = nmf(2, iterations=3).fit(x).components_
    for same in (x.astype(">f8"), x[::-1][::-1], np.asfortranarray(x), torch.tensor(x, requires_grad=True), x.tolist()):
        np.testing.assert_allclose(nmf(2, iterations=3).fit(same).components_, expected, rtol=1e-9)
    assert nmf(2, iterations=3).fit(x[::-1]).components_.shape == (2, 4)


def test_activations_of_half_precision_are_taken():
    nmf = SparseNMF(2, iterations=3, device="cpu").fit(np.abs(np.random.default_rng(0).normal(size=(9, 4))))
    h = torch.tensor([[0.5, 2.0]], dtype=torch.bfloat16)
    np.testing.assert_allclose(nmf.inverse_transform(h), h.float().numpy() @ nmf.components_)


def test_nothing_learnt_is_said():
    start = {"components": [[0.6, 0.8]], "activations": [[5.0], [10.0]]}
    with pytest.warns(UserWarning, match="nothing was learnt: 2 iterations did not lower the objective, 0$") as said:
        nmf(1, iterations=2).fit([[3.0, 4.0], [6.0, 8.0]], **start)
    assert said[0].filename == __file__
