"""Wrong arguments everywhere: each call below ends in an error of this package or gives a result, never in a traceback.

:data:`CALLS` is the list: one small call that works of each public function, by name. For every argument, wrong values
follow from the value that works (numbers, text, arrays, lists, callables, tables ...). What no function may accept,
such as text for a number, must be refused; the rest, such as -1 where negative numbers make sense, may go through.
To add functions, write one more ``*_calls`` and add it to :data:`CALLS`.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from workbench.core.errors import WorkbenchError
from workbench.core.splits import Split

Call = tuple[Callable, dict[str, Any]]
RNG = np.random.default_rng(0)
N, D, C, K = 24, 5, 3, 4
"""Rows, columns, classes, codes of the calls below."""
X = RNG.standard_normal((N, D)).astype(np.float32)
Y = np.arange(N) % C
P = np.abs(RNG.standard_normal((N, C))) + 0.1
P /= P.sum(1, keepdims=True)
Q = np.roll(P, 1, axis=0)
GROUPS = np.arange(N) // 2
SPLIT = Split(np.arange(12), np.arange(12, 18), np.arange(18, 24))


def metrics_calls() -> dict[str, Call]:
    from workbench.metrics import (
        blocks,
        classification,
        disentanglement,
        equivariance,
        faithfulness,
        fidelity,
        geometry,
        importance,
        intervals,
        lasso,
        prototypes,
        regression,
        separation,
        sparse_coding,
    )

    quantities = {"true": X[:, 0], "predicted": X[:, :2].T}
    pair = {"true": Y, "predicted": np.roll(Y, 1)}
    right = {"right_a": Y == 0, "right_b": Y == 1}
    level = {"level": 0.9}
    R = np.abs(X[:K])
    codes = {"z": X, "v": np.stack([Y, Y % 2], 1), "discrete": True}
    folds = [(np.arange(16), np.arange(16, 24))]
    outputs = {"whole": P, "kept": Q, "classes": Y}
    drops = {"whole": P, "rest": Q, "classes": Y}
    labels = {"positives": P > 0.3, "scores": Q}
    sounds = {"reference": X, "estimate": X + 0.1}
    vectors = {"x": X, "x_hat": X + 0.1}
    moved = {"z": X, "changed": X + 0.1}
    slices = [slice(0, 2), slice(2, D)]
    curves = faithfulness.Curves(np.linspace(0, 1, 3), X[:, :3], X[:, :3], X[:, :3])
    levels = {"pitch": Y, "loud": Y % 2}
    found = blocks.block_information({"z1": Y, "z2": Y % 2}, levels)
    calls: dict[str, Call] = {
        "classification.validate": (classification.validate, pair | {"groups": GROUPS}),
        "classification.accuracy": (classification.accuracy, pair),
        "classification.balanced_accuracy": (classification.balanced_accuracy, pair),
        "classification.chance": (classification.chance, {"classes": Y}),
        "classification.majority": (classification.majority, {"train": Y, "true": Y}),
        "classification.wilson_interval": (classification.wilson_interval, {"successes": 3.0, "n": 7, "level": 0.9}),
        "regression.validate": (regression.validate, quantities),
        "regression.r2": (regression.r2, quantities),
        "regression.rank_correlation": (regression.rank_correlation, quantities),
        "regression.r2_interval": (regression.r2_interval, quantities | {"groups": GROUPS} | level),
        "regression.rank_interval": (regression.rank_interval, quantities | {"groups": GROUPS} | level),
        "regression.r2_difference": (
            regression.r2_difference,
            {"true": X[:, 0], "a": X[:, 1], "b": X[:, 2], "groups": GROUPS} | level,
        ),
        "intervals.group_interval": (
            intervals.group_interval,
            {"values": P[:, 0], "groups": GROUPS, "limits": (0, 1)} | level,
        ),
        "intervals.difference_interval": (
            intervals.difference_interval,
            {"a": P[:, 0], "b": P[:, 1], "groups": GROUPS, "limits": (-1, 1)} | level,
        ),
        "intervals.jackknife_interval": (
            intervals.jackknife_interval,
            {"estimate": 0.5, "without": P[:, 0], "sizes": np.arange(1, N + 1), "limits": (0, 1)} | level,
        ),
        "intervals.median_interval": (intervals.median_interval, {"values": P[:, 0], "groups": GROUPS} | level),
        "intervals.fold_interval": (
            intervals.fold_interval,
            {"values": P[:, 0], "folds": GROUPS, "limits": (0, 1)} | level,
        ),
        "classification.roc_auc": (classification.roc_auc, {"scores": X[:, 0], "positive": Y == 0}),
        "classification.roc_auc_interval": (
            classification.roc_auc_interval,
            {"scores": X[:, 0], "positive": Y == 0, "groups": GROUPS, "against": X[:, 1]} | level,
        ),
        "classification.mcnemar": (classification.mcnemar, right),
        "classification.paired_interval": (classification.paired_interval, right | {"groups": GROUPS} | level),
        "classification.evaluate": (
            classification.evaluate,
            pair | {"train": Y, "groups": GROUPS, "level": 0.9},
        ),
        "lasso.validate": (lasso.validate, {"z": X, "v": Y, "names": ["a"], "constant": "raise"}),
        "lasso.lasso": (
            lasso.lasso,
            {"z": X, "v": Y, "alphas": [0.1, 0.2], "names": ["a"], "tolerance": 1e-6, "max_rounds": 5, "workers": 1},
        ),
        "lasso.predict": (lasso.lasso(X, Y, 0.1).predict, {"z": X}),
        "geometry.validate": (geometry.validate, {"z": X, "y": Y}),
        "geometry.nc1": (geometry.nc1, {"z": X, "y": Y}),
        "geometry.nc2": (geometry.nc2, {"z": X, "y": Y}),
        "geometry.distances": (geometry.distances, {"z": X, "y": Y}),
        "geometry.silhouette": (geometry.silhouette, {"z": X, "y": Y, "metric": "cosine"}),
        "geometry.nearest_alike": (geometry.nearest_alike, {"z": X, "y": Y, "groups": np.arange(len(X)) // 2}),
        "geometry.alignment": (geometry.alignment, {"z": X, "targets": X + 0.1}),
        "geometry.mean_cosines": (geometry.mean_cosines, {"z": X, "y": Y}),
        "geometry.cosine_gap": (geometry.cosine_gap, {"z": X, "y": Y, "prototypes": X[:C]}),
        "geometry.nearest_prototype": (geometry.nearest_prototype, {"z": X, "prototypes": X[:C]}),
        "geometry.head_gap": (geometry.head_gap, {"true": Y, "head": Y, "nearest": Y}),
        "geometry.expected_calibration_error": (
            geometry.expected_calibration_error,
            {"probabilities": P, "y": Y, "bins": 5},
        ),
        "geometry.weighted_kappa": (geometry.weighted_kappa, pair),
        "geometry.rank_correlation": (geometry.rank_correlation, {"a": X[:, 0], "b": X[:, 1]}),
        "geometry.evaluate": (geometry.evaluate, {"z": X, "y": Y, "prototypes": X[:C], "probabilities": P}),
        "sparse_coding.validate": (sparse_coding.validate, vectors | {"name": "x"}),
        "sparse_coding.mse": (sparse_coding.mse, vectors),
        "sparse_coding.fvu": (sparse_coding.fvu, vectors | {"mean": X.mean(0)}),
        "sparse_coding.explained_variance": (sparse_coding.explained_variance, vectors | {"mean": X.mean(0)}),
        "sparse_coding.cosine": (sparse_coding.cosine, vectors),
        "sparse_coding.l0": (sparse_coding.l0, {"z": X}),
        "sparse_coding.latent_density": (sparse_coding.latent_density, {"z": X}),
        "sparse_coding.dead_fraction": (sparse_coding.dead_fraction, {"z": X}),
        "sparse_coding.evaluate": (sparse_coding.evaluate, vectors | {"z": X, "mean": X.mean(0)}),
        "prototypes.validate": (prototypes.validate, {"prototypes": X, "classes": Y}),
        "prototypes.diversity": (prototypes.diversity, {"prototypes": X, "classes": Y}),
        "prototypes.nearest": (prototypes.nearest, {"prototypes": X[:C], "z": X}),
        "prototypes.collapsed": (prototypes.collapsed, {"nearest": np.arange(6)}),
        "prototypes.near_duplicates": (prototypes.near_duplicates, {"prototypes": X, "classes": Y}),
        "prototypes.purity": (prototypes.purity, {"classes": Y[:6], "y": Y, "nearest": np.arange(6)}),
        "prototypes.wrong_starts": (prototypes.wrong_starts, {"classes": Y, "started": Y}),
        "prototypes.evaluate": (prototypes.evaluate, {"prototypes": X[:6], "classes": Y[:6], "z": X, "y": Y}),
        "disentanglement.disentanglement": (
            disentanglement.disentanglement,
            {"R": R, "base": "alive", "zero": "skip", "average": "mean", "epsilon": 0.1},
        ),
        "disentanglement.completeness": (
            disentanglement.completeness,
            {"R": R, "base": "alive", "zero": 1, "average": "mean", "epsilon": 0.1},
        ),
        "disentanglement.effective_codes": (disentanglement.effective_codes, {"R": R}),
        "disentanglement.modularity": (disentanglement.modularity, {"R": R}),
        "disentanglement.mig": (disentanglement.mig, codes | {"bins": 5, "names": ["a", "b"]}),
        "disentanglement.sap": (
            disentanglement.sap,
            codes | {"split": (np.arange(12), np.arange(12, 24)), "names": ["a", "b"]},
        ),
        "disentanglement.explicitness": (
            disentanglement.explicitness,
            {"z": X, "v": Y, "split": (np.arange(12), np.arange(12, 24)), "names": ["a"]},
        ),
        "disentanglement.evaluate": (
            disentanglement.evaluate,
            {"R": np.abs(X[:D, :2])} | codes | {"split": (np.arange(12), np.arange(12, 24))},
        ),
        "importance.mutual_information": (importance.mutual_information, codes | {"bins": 5}),
        "importance.lasso_importance": (
            importance.lasso_importance,
            {
                "z": X,
                "v": X[:, :2],
                "config": "default",
                "alpha": [0.1, 0.2],
                "folds": folds,
                "groups": GROUPS,
                "names": ["a", "b"],
                "constant": "raise",
                "seed": 0,
            },
        ),
        "fidelity.outputs": (fidelity.outputs, {"name": "p", "values": P, "probabilities": True}),
        "fidelity.validate": (fidelity.validate, {"model": P, "interpreter": Q}),
        "fidelity.top_k_fidelity": (fidelity.top_k_fidelity, {"model": P, "interpreter": Q, "k": 2}),
        "fidelity.each_class": (
            fidelity.each_class,
            {"model": P, "interpreter": Q, "names": list("abc"), "ks": [1, 2]},
        ),
        "fidelity.each_label": (fidelity.each_label, labels | {"names": ["a", "b", "c"]}),
        "fidelity.fidelity_interval": (
            fidelity.fidelity_interval,
            {"model": P, "interpreter": Q, "groups": GROUPS, "k": 2} | level,
        ),
        "fidelity.decisions": (fidelity.decisions, {"probabilities": P, "thresholds": 0.4}),
        "fidelity.best_thresholds": (fidelity.best_thresholds, {"labels": P > 0.3, "probabilities": Q}),
        "fidelity.auprc": (fidelity.auprc, labels | {"names": ["a", "b", "c"]}),
        "fidelity.auprc_interval": (fidelity.auprc_interval, labels | {"groups": GROUPS} | level),
        "fidelity.average_precision": (fidelity.average_precision, labels | {"names": ["a", "b", "c"]}),
        "fidelity.max_f1": (fidelity.max_f1, labels),
        "fidelity.evaluate": (
            fidelity.evaluate,
            {"model": P, "interpreter": Q, "groups": GROUPS, "ks": (1, 2), "level": 0.9},
        ),
        "fidelity.evaluate_multilabel": (
            fidelity.evaluate_multilabel,
            labels | {"groups": GROUPS, "level": 0.9},
        ),
        "faithfulness.validate": (
            faithfulness.validate,
            {"whole": P, "other": Q, "classes": Y, "output": "logits", "name": "kept"},
        ),
        "faithfulness.removal_drop": (
            faithfulness.removal_drop,
            drops | {"output": "probabilities", "groups": GROUPS} | level,
        ),
        "faithfulness.random_components": (
            faithfulness.random_components,
            {"selected": P > 0.3, "draws": 2, "seed": 0},
        ),
        "faithfulness.average_increase": (faithfulness.average_increase, outputs),
        "faithfulness.average_drop": (faithfulness.average_drop, outputs),
        "faithfulness.average_drop_double_softmax": (faithfulness.average_drop_double_softmax, outputs),
        "faithfulness.average_gain": (faithfulness.average_gain, outputs),
        "faithfulness.mean_removal_drop": (faithfulness.mean_removal_drop, drops),
        "faithfulness.fidelity_in": (faithfulness.fidelity_in, outputs),
        "faithfulness.sparseness": (faithfulness.sparseness, {"masks": P}),
        "faithfulness.complexity": (faithfulness.complexity, {"masks": P}),
        "faithfulness.mask_mean": (faithfulness.mask_mean, {"masks": P}),
        "faithfulness.deletion_insertion": (
            faithfulness.deletion_insertion,
            {"score": lambda there: there.mean(1), "importance": P, "steps": 2, "orders": 2, "seed": 0},
        ),
        "faithfulness.area": (curves.area, {"curve": "deletion"}),
        "faithfulness.evaluate": (faithfulness.evaluate, outputs | {"rest": Q, "masks": P}),
        "blocks.block_information": (blocks.block_information, {"codes": {"z1": Y, "z2": Y % 2}, "factors": levels}),
        "blocks.mig": (found.mig, {"corrected": True}),
        "blocks.evaluate": (found.evaluate, {"corrected": False}),
        "blocks.read_linearly": (
            blocks.read_linearly,
            {"block": X, "levels": np.stack([Y, Y % 2], 1), "groups": GROUPS, "folds": 3, "seed": 0},
        ),
        "blocks.leakage": (blocks.leakage, {"scores": P[:4], "chance": 0.1}),
        "blocks.faithfulness": (
            blocks.faithfulness,
            {"score": lambda z: z, "z": X, "blocks": slices, "contributions": X[:, :2], "background": X.mean(0)},
        ),
        "equivariance.validate": (equivariance.validate, moved),
        "equivariance.displacements": (equivariance.displacements, moved | {"groups": GROUPS}),
        "equivariance.sensitivity": (equivariance.sensitivity, moved | {"groups": GROUPS}),
        "equivariance.consistency": (equivariance.consistency, moved | {"groups": GROUPS}),
        "equivariance.evaluate": (equivariance.evaluate, moved | {"groups": GROUPS} | level),
        "separation.validate": (separation.validate, sounds | {"mixture": X}),
        "separation.sdr": (separation.sdr, sounds),
        "separation.si_sdr": (separation.si_sdr, sounds),
        "separation.improvement": (separation.improvement, sounds | {"mixture": X, "metric": separation.sdr}),
        "separation.activity": (
            separation.activity,
            {"x": X.ravel(), "rate": 100, "threshold": -20.0, "gap": 0.1, "frame": 0.05},
        ),
        "separation.onset_overlap": (
            separation.onset_overlap,
            {"x": X.ravel(), "intervals": [[0.1, 0.3]], "rate": 100, "threshold": -20.0, "gap": 0.1, "frame": 0.05},
        ),
        "separation.evaluate": (separation.evaluate, sounds | {"mixture": X}),
    }
    return {f"metrics.{name}": call for name, call in calls.items()}


def probe_calls() -> dict[str, Call]:
    from workbench.probes import fit_columns, fit_probes, fit_regression, paired, pooled

    layers = {"a": X, "b": X[:, :3]}
    common = {"layers": layers, "y": Y, "split": SPLIT, "groups": GROUPS, "level": 0.9, "device": "cpu"}
    fitted = fit_probes(layers, Y, SPLIT, penalties=[1.0, 10.0])
    read = fit_regression(layers, X[:, 0], SPLIT, penalties=[1.0, 10.0])
    return {
        "probes.fit_probes": (
            fit_probes,
            common | {"config": "default", "penalties": [1.0, 10.0], "seeds": [0, 1], "shuffle_labels": 3},
        ),
        "probes.fit_probes paper": (fit_probes, common | {"config": "paper", "seeds": [0], "progress": print_nothing}),
        "probes.fit_regression": (
            fit_regression,
            {"layers": layers, "y": Y, "split": SPLIT, "groups": GROUPS, "penalties": [1.0, 10.0]}
            | {"shuffle_labels": 0, "level": 0.9, "device": "cpu"},
        ),
        "probes.fit_columns": (
            fit_columns,
            {"layers": layers, "table": pd.DataFrame({"a": X[:, 0], "b": Y}), "splits": [SPLIT], "groups": GROUPS},
        ),
        "probes.regression peaks": (read.peaks, {"controls": None, "level": 0.9}),
        "probes.regression predict": (read.predict, {"layer": "a", "x": X}),
        "probes.position": (fitted.position, {"layer": "a"}),
        "probes.confusion": (fitted.confusion, {"layer": 0, "normalise": True}),
        "probes.confused": (fitted.confused, {"layer": "b", "n": 3}),
        "probes.paired": (paired, {"a": fitted, "layer_a": "b", "b": fitted, "layer_b": [0, "b"], "level": 0.9}),
        "probes.pooled": (pooled, {"probes": [fitted]}),
        "probes.compare": (fitted.compare, {"a": 0, "b": "b", "level": 0.9}),
        "probes.predict_proba": (fitted.predict_proba, {"layer": "a", "x": X}),
    }


def nmf_calls() -> dict[str, Call]:
    from workbench.nmf import SparseNMF, activations, objective

    frames, w, h = np.abs(X), np.abs(X[:2]), np.abs(X[:, :2])
    settings = {
        "components": 2,
        "sparsity": 0.1,
        "beta": "kl",
        "algorithm": "mu",
        "iterations": 3,
        "tolerance": 1e-3,
        "seed": 0,
        "device": "cpu",
        "dtype": "float64",
        "tile": 7,
        "progress": False,
    }
    quick = SparseNMF(2, iterations=3, progress=False, device="cpu")

    def fitted(**settings):
        return SparseNMF(**settings).fit(frames)

    def started(**options):
        return SparseNMF(2, iterations=3, progress=False, device="cpu").fit(**options)

    learnt = quick.fit(frames)
    return {
        "nmf.SparseNMF": (fitted, settings),
        "nmf.fit": (started, {"frames": frames, "components": w, "activations": h}),
        "nmf.fit_transform": (quick.fit_transform, {"frames": frames}),
        "nmf.transform": (learnt.transform, {"frames": frames}),
        "nmf.load": (SparseNMF.load, {"folder": "/nowhere/at/all"}),
        "nmf.inverse_transform": (learnt.inverse_transform, {"activations": h}),
        "nmf.activations": (
            activations,
            {"frames": frames, "components": w, "sparsity": 0.1, "beta": "kl", "iterations": 5, "tolerance": 0.1}
            | {"device": "cpu", "dtype": "float64"},
        ),
        "nmf.objective": (
            objective,
            {"frames": frames, "activations": h, "components": w, "sparsity": 0.1, "beta": "euclidean"},
        ),
    }


def sae_calls() -> dict[str, Call]:
    from workbench.metrics import sparse_coding
    from workbench.probes import fit_probes
    from workbench.sae import (
        SAEConfig,
        SparseAutoencoder,
        SparseCodes,
        Statements,
        absorption,
        controls,
        encode_frames,
        erasure,
        fewest_latents,
        fit_saes,
        found_again,
        interventions,
        k_of,
        load_saelens,
        name_latents,
        published,
        save_saelens,
        splitting,
        study,
    )

    sweep = fit_saes({"a": X}, SPLIT, ks=[2], latents=8, steps=2, progress=False, device="cpu")
    sae = sweep.saes[0]
    probes = fit_probes({"a": X}, Y, SPLIT, penalties=[1.0])
    rows = {"x": X, "k": 2, "train": SPLIT.train}
    z = sae.encode(X)
    lengths = np.array([2] * (len(X) // 2 - 1) + [2 + len(X) % 2])
    sparse = encode_frames(sae, X, lengths, progress=False)
    codes = {code.name: code for code in study.codes(X, {"s": sweep}, layer="a", train=SPLIT.train)}
    scored = fit_probes({name: code.features for name, code in codes.items()}, Y, SPLIT, penalties=[1.0])
    attributes = SimpleNamespace(values=X[:, :2], names=["f", "g"], families={"f": "m", "g": "n"})
    table = pd.DataFrame({"kind": ["s"] * 3, "sparsity": 0.5, "protocol": "paper", "attribute": list("abc")})
    table = table.assign(r2=[0.1, 0.3, 0.2], r2_valid=np.nan)
    settings = {
        "layers": {"a": X},
        "split": SPLIT,
        "ks": [2, 3],
        "seeds": [0, 1],
        "latents": 8,
        "config": "default",
        "batch": 4,
        "learning_rate": 1e-3,
        "keep": "best",
        "device": "cpu",
        "checkpoint": None,
        "activation": "batchtopk",
        "prefixes": (4,),
        "auxk": 0.1,
        "row_bound": 3.0,
    }
    fields = {"dim": 5, "latents": 8, "k": 2, "activation": "topk", "prefixes": (4,), "pre_bias": True}
    fields |= {"unit_norm_decoder": False, "tied_init": True, "normalise_input": True, "auxk": 0.1}
    fields |= {"auxk_latents": 3, "dead_after": 10, "decay": 0.1, "row_bound": 3.0}
    fields |= {"l0_weight": 1.0, "bandwidth": 0.2}
    probe = {"weights": probes.weights[0][0], "bias": probes.bias[0][0], "classes": probes.classes}
    return {
        "sae.k_of": (k_of, {"sparsity": 0.5, "latents": 8}),
        "sae.fewest_latents": (fewest_latents, {"sparsity": 0.5}),
        "sae.SAEConfig": (SAEConfig, fields),
        "sae.SAEConfig.named": (SAEConfig.named, {"config": "paper", "dim": 5, "latents": 8, "k": 2}),
        "sae.encode": (sae.encode, {"x": X}),
        "sae.preactivations": (sae.preactivations, {"x": X}),
        "sae.decode": (sae.decode, {"z": z}),
        "sae.to": (sae.to, {"device": "cpu"}),
        "sae.load": (SparseAutoencoder.load, {"folder": "/nowhere/at/all"}),
        "sae.load_saelens": (load_saelens, {"folder": "/nowhere/at/all"}),
        "sae.save_saelens": (save_saelens, {"sae": sae, "folder": None}),
        "sae.fit_saes": (partial(fit_saes, progress=False), settings | {"epochs": 1}),
        "sae.fit_saes rows": (partial(fit_saes, progress=False), settings | {"rows": 8, "config": "matryoshka"}),
        "sae.fit_saes steps": (
            partial(fit_saes, progress=False),
            settings | {"steps": 2, "ks": None, "sparsities": [0.5, 0.75]},
        ),
        "sae.sweep.sae": (sweep.sae, {"layer": "a", "sparsity": 0.75, "k": 2, "seed": 0}),
        "sae.sweep.encode": (sweep.encode, {"x": X}),
        "sae.principal_components": (controls.principal_components, rows),
        "sae.random_projection": (controls.random_projection, rows | {"seed": 0}),
        "sae.intervene": (interventions.intervene, {"x": X, "sae": sae, "latents": [0, 1], "factor": 2.0}),
        "sae.fit_eraser": (erasure.fit_eraser, {"x": X, "y": Y, "method": "means"}),
        "sae.LatentRemoval": (
            erasure.LatentRemoval,
            {"sae": sae, "latents": [0, 1], "unit": "frame", "instead": 3},
        ),
        "sae.speaking": (
            erasure.speaking,
            {"z": z, "decoder": sae.decoder.numpy(), "weights": X[0], "concept": Y == 0},
        ),
        "sae.erasure_curve": (
            partial(erasure.erasure_curve, device="cpu", others={"f": Y}),
            {"x": X, "z": z, "decoder": sae.decoder.numpy(), "concept": Y == 0, "split": SPLIT, "groups": GROUPS}
            | {"counts": [1, 2], "draws": 1, "seed": 0},
        ),
        "sae.steering_curve": (
            erasure.steering_curve,
            {"x": X, "y": Y, "z": z, "decoder": sae.decoder.numpy(), "target": 0, "groups": GROUPS, "top": 1}
            | {"choose": SPLIT.train, "test": SPLIT.test, "doses": [0.0, 1.0], "draws": 2, "seed": 0}
            | probe,
        ),
        "sae.attributions": (
            interventions.attributions,
            {"z": z, "decoder": sae.decoder.numpy(), "weights": X[:5, :3]},
        ),
        "sae.ablations": (
            interventions.ablations,
            {"x": X, "y": Y, "sae": sae, "choose": SPLIT.train, "test": SPLIT.test, "groups": GROUPS, "top": 2}
            | {"draws": 2, "factor": 0.5, "z": z, "seed": 0}
            | probe,
        ),
        "sae.chosen_against_random": (
            interventions.chosen_against_random,
            {"x": X, "y": Y, "sae": sae, "choose": SPLIT.train, "test": SPLIT.test, "seed": 0} | probe,
        ),
        "sae.Statements": (Statements, {"yes": X > 0, "names": list("abcde"), "listeners": list("fghij")}),
        "sae.Statements.from_labels": (Statements.from_labels, {"values": Y.tolist(), "listener": "label"}),
        "sae.Statements.from_numbers": (
            Statements.from_numbers,
            {"values": Y, "listener": "pitch", "naming": SPLIT.train, "unit": "Hz"},  # NaN: not defined
        ),
        "sae.Statements.from_scores": (
            Statements.from_scores,
            {"scores": X, "names": list("abcde"), "listener": "tagger", "naming": SPLIT.train},
        ),
        "sae.name_latents": (
            name_latents,
            {"codes": z, "split": SPLIT, "groups": GROUPS, "clips": np.arange(N), "draws": 19, "level": 0.1, "seed": 0}
            | {"statements": Statements.from_labels(Y, "label")},
        ),
        "sae.published": (published.table, {"quantity": "mse"}),
        "sae.codes": (
            lambda **given: list(study.codes(**given)),
            {"x": X, "sweeps": {"s": sweep}, "layer": "a", "train": SPLIT.train},
        ),
        "sae.codes of frames": (
            lambda **given: list(study.codes(**given)),
            {"x": X, "sweeps": {"s": sweep}, "layer": "a", "train": [0, 2, 5], "lengths": lengths},
        ),
        "sae.encode_frames": (
            partial(encode_frames, progress=False),
            {"sae": sae, "x": X, "lengths": lengths, "folder": None},
        ),
        "sae.SparseCodes": (
            SparseCodes,
            {
                "starts": sparse.starts,
                "indices": sparse.indices,
                "values": sparse.values,
                "lengths": lengths,
                "latents": 8,
            },
        ),
        "sae.SparseCodes.clip": (sparse.clip, {"i": 1}),
        "sae.SparseCodes.pooled": (sparse.pooled, {"how": "max"}),
        "sae.SparseCodes.strongest": (sparse.strongest, {"latents": [0, 3], "n": 2, "apart": 2}),
        "sae.SparseCodes.load": (SparseCodes.load, {"folder": "/nowhere/at/all"}),
        "sae.code_table": (study.code_table, {"x": X, "codes": codes, "probes": scored, "split": SPLIT}),
        "sae.attribute_table": (
            study._attribute_table,
            {
                "z": z,
                "v": X[:, :2].tolist(),
                "names": ["f", "g"],
                "split": SPLIT,
                "groups": GROUPS,
                "protocol": "held out",
            },
        ),
        "sae.attribute_study": (
            study.attribute_study,
            {"codes": {("s", 0.5): z}, "attributes": attributes, "split": SPLIT, "groups": GROUPS}
            | {"protocols": ("held out",)},
        ),
        "sae.best_attributes": (study.best_attributes, {"study": table, "n": 2}),
        "sae.found_again": (
            found_again,
            {
                "first": sae,
                "second": sae,
                "x": X,
                "threshold": 0.5,
                "groups": GROUPS,
                "within": Y,
                "draws": 2,
                "seed": 0,
            },
        ),
        "sae.splitting": (
            splitting,
            {"small": z, "large": z, "choose": SPLIT.train, "test": SPLIT.test, "threshold": 0.5, "most": 2},
        ),
        "sae.absorption": (
            absorption,
            {"z": np.abs(X), "decoder": np.eye(D), "direction": np.ones(D), "positive": Y == 0, "least": 0.5}
            | {"choose": SPLIT.train, "test": SPLIT.test},
        ),
        "sae.Scores": (sparse_coding.Scores, {"mean": X.mean(0)}),
        "sae.Scores.add": (lambda **given: sparse_coding.Scores().add(**given), {"x": X, "x_hat": X, "z": z}),
    }


def print_nothing(done: int, total: int) -> None:
    pass


def dataset_calls() -> dict[str, Call]:
    from workbench.attributes import Attributes, agreement
    from workbench.datasets import Clips

    clips = Clips.from_arrays(list(X), 1000)
    ids, rows = np.arange(N).astype(str), np.arange(N)
    a, b = (Attributes("voice", (name,), X[:, :1].astype(float), {}, {}, ids, rows, {}) for name in "fg")
    return {
        "attributes.agreement": (agreement, {"a": a, "b": b, "names": {"f": "g"}, "groups": GROUPS, "level": 0.9}),
        "datasets.changed": (clips.changed, {"change": "gain", "amount": 3.0, "seed": 1}),
        "datasets.changed each": (clips.changed, {"change": "gain", "amount": np.linspace(0, 30, N)}),
    }


CALLS: dict[str, Call] = dataset_calls() | metrics_calls() | probe_calls() | nmf_calls() | sae_calls()
CASES = [(name, argument) for name, (_, given) in CALLS.items() for argument in given]


# --- wrong values ---------------------------------------------------------------------------------------------------


def bad_values(value: object) -> Iterator[tuple[str, object, bool]]:
    """Of an argument that is ``value`` where all is well: what it is called, the wrong value, whether to refuse it."""
    yield "an object", object(), True
    if isinstance(value, (bool, np.bool_)):
        yield from (("text", "yes", True), ("2", 2, True), ("None", None, True), ("list", [True], False))
    elif isinstance(value, (int, float, np.number)):
        yield from (("text", "3", True), ("NaN", float("nan"), True), ("list", [1.5, "a"], True), ("bytes", b"1", True))
        yield from (("complex", 1j, True), ("dict", {"a": 1}, True), ("inf", float("inf"), False), ("-1", -1, False))
        yield from (("0", 0, False), ("-2.5", -2.5, False), ("1.5", 1.5, isinstance(value, int)), ("None", None, False))
        yield from (("1e9", 1e9, False), ("True", True, False), ("array", np.arange(3.0), False))
    elif isinstance(value, str):
        yield from (("another word", "no such thing", False), ("5", 5, False), ("empty", "", False))
        yield from (("bytes", b"cpu", True), ("list", ["a"], False), ("None", None, False), ("NaN", float("nan"), True))
    elif isinstance(value, (np.ndarray, torch.Tensor)):
        yield from bad_arrays(np.asarray(value))
    elif isinstance(value, slice) or callable(value):
        yield from (("text", "f", True), ("5", 5, True), ("array", X, False))
    elif isinstance(value, (dict, Mapping)):
        yield from (
            ("list", [1, 2], True),
            ("5", 5, True),
            ("text", "a", True),
            ("empty", {}, False),
            ("None", None, True),
        )
        for key in value:
            yield from ((f"[{key!r}] {w}", {**value, key: b}, r) for w, b, r in bad_values(value[key]) if r)
        yield "numbers for keys", dict(enumerate(value.values())), False
        yield "other mapping", UserDict(value), False
    elif isinstance(value, (list, tuple)):
        yield from (("5", 5, False), ("text", "ab", False), ("dict", {"a": 1}, False), ("empty", [], False))
        yield from (("NaN", [float("nan")], False), ("words", ["a", "b"], False), ("None within", [None], False))
        yield from (
            ("nested", [[0], [1]], False),
            ("1.7", [1.7], False),
            ("-1", [-1], False),
            ("twice", [*value] * 2, False),
        )
        yield from (
            ("True", [True], False),
            ("0", [0], False),
            ("iterator", iter(value), False),
            ("inf", [np.inf], False),
        )
    elif value is None:
        yield from (("5", 5, False), ("list", [3.5], False))
    else:
        yield from (("5", 5, True), ("text", "a", True), ("None", None, True), ("list", [1], True))


def bad_arrays(array: np.ndarray) -> Iterator[tuple[str, object, bool]]:
    yield from (("None", None, False), ("5", 5, False), ("text", "abc", False), ("dict", {"a": 1}, False))
    yield from (("empty", [], False), ("no rows", array[:0], False), ("one row", array[:1], False))
    yield from (
        ("fewer rows", array[:-1], False),
        ("one axis more", array[None], False),
        ("flat", array.ravel()[:7], False),
    )
    yield from (
        ("transposed", array.T, False),
        ("ragged", [[1, 2], [3]], False),
        ("objects", array.astype(object), False),
    )
    yield from (("None within", [None, *array.tolist()[1:]], False), ("words", array.astype(str), False))
    yield from (("complex", array.astype(complex), False), ("zeros", np.zeros_like(array), False))
    yield from (("dates", array.astype(np.int64).astype("M8[s]"), False), ("negative", -array.astype(float), False))
    yield from (("as list", array.tolist(), False), ("tensor", torch.from_numpy(array.copy()), False))
    yield from (("backwards", array[::-1], False), ("bytes", b"ab", False))
    if array.ndim < 3:
        yield "sparse", sparse.csr_array(np.atleast_2d(array) * 1), False
    yield "huge rows", array.astype(float) * 1e300, False
    if array.ndim < 3:
        yield "pandas", (pd.Series if array.ndim == 1 else pd.DataFrame)(array), False
    if array.dtype.kind == "f":
        for what, factor in (("1e30", 1e30), ("1e-30", 1e-30), ("NaN", np.nan), ("inf", np.inf)):
            broken = array.astype(np.float64)
            broken.flat[0] = factor
            yield f"{what} within", broken, what in ("NaN", "inf")
            if np.isfinite(factor):
                yield f"times {what}", array.astype(np.float64) * factor, False
        yield "with gradient", torch.tensor(array, requires_grad=True), False
        yield "float16", array.astype(np.float16), False
        yield "constant", np.ones_like(array), False
    else:
        yield "floats", array + 0.5, False
        yield "far", array.astype(np.int64) + 10**6, False


def outcome(function: Callable, given: dict[str, Any]) -> str:
    """ "refused", "returned", or the traceback's last words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function(**given)
        except WorkbenchError as error:
            assert str(error).strip()
            return "refused"
        except Exception as error:  # the fault that is looked for
            return f"{type(error).__name__}: {error}"
    return "returned"


def faults_of(name: str, most: int | None = None) -> list[str]:
    """What went wrong with every wrong value of every argument of one call; ``most``: with so many drawn of each."""
    function, given = CALLS[name]
    faults = []
    for argument in given:
        wrong = list(bad_values(given[argument]))
        if most is not None:
            drawn = np.random.default_rng([*map(ord, name + argument)]).permutation(len(wrong))[:most]
            wrong = [wrong[i] for i in drawn]
        for what, value, refused in wrong:
            found = outcome(function, given | {argument: value})
            if found not in ("refused", "returned") or (refused and found == "returned"):
                faults.append(f"{argument}={what}: {found}")
    return faults


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_ends_in_an_error_of_this_package_or_works(name):
    faults = faults_of(name, most=4)
    assert not faults, "\n".join([name, *faults])


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_argument_ends_in_an_error_of_this_package_or_works(name):
    faults = faults_of(name)
    assert not faults, "\n".join([name, *faults])


@pytest.mark.parametrize("name", [name for name in CALLS if "load" not in name and "save" not in name])
def test_the_calls_themselves_work(name):
    function, given = CALLS[name]
    assert outcome(function, given) == "returned"


def test_two_wrong_arguments_at_once():
    rng, faults = np.random.default_rng(0), []
    names = [name for name, (_, given) in CALLS.items() if len(given) > 1]
    for _ in range(300):
        name = names[rng.integers(len(names))]
        function, given = CALLS[name]
        for argument in rng.choice(list(given), 2, replace=False):
            wrong = list(bad_values(CALLS[name][1][argument]))
            what, value, _ = wrong[rng.integers(len(wrong))]
            given = given | {argument: value}
        found = outcome(function, given)
        if found not in ("refused", "returned"):
            faults.append(f"{name}: {found} ({what})")
    assert not faults, "\n".join(faults)


def test_messages_name_the_argument():
    named = 0
    for name, argument in CASES:
        function, given = CALLS[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                function(**given | {argument: object()})
            except WorkbenchError as error:
                named += bool(re.search(rf"\b{re.escape(argument)}\b", str(error)))
            except Exception:
                named += 0
    assert named > 0.9 * len(CASES)


def test_every_argument_of_the_calls_exists():
    for name, (function, given) in CALLS.items():
        parameters = inspect.signature(function).parameters.values()
        names = {parameter.name for parameter in parameters}
        assert set(given) <= names or any(p.kind is p.VAR_KEYWORD for p in parameters), name
