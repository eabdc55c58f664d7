"""Wrong arguments of prototypes, interpreters and sonify: each ends in an error of this package or gives a result.

Calls in the form of ``test_bad_arguments.py``, whose wrong values and judgement are used.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.core.errors import WorkbenchError
from workbench.core.fitting import Config
from workbench.core.splits import Split

HARNESS = Path(__file__).with_name("test_bad_arguments.py")
_spec = importlib.util.spec_from_file_location("bad_arguments_of_arrays", HARNESS)
harness = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = harness
_spec.loader.exec_module(harness)

Call = tuple[Callable, dict[str, Any]]
RNG = np.random.default_rng(0)
N, D, C, K = 24, 6, 3, 4
"""Clips, dimensions, classes, dimensions of embeddings."""
Y = np.arange(N) % C
X = (3 * np.eye(C, D)[Y] + RNG.normal(size=(N, D))).astype(np.float32)
SPLIT = Split(np.arange(12), np.arange(12, 18), np.arange(18, 24))
RATE, SAMPLES, BINS, FRAMES = 8000, 2000, 65, 32
"""Of sounds and their spectra."""
NOWHERE = "/nowhere/at/all"
FOLDER = tempfile.TemporaryDirectory()
"""Of files that calls read; it is removed at the end."""


class Listener(nn.Module):
    """Three band levels of a sound, tapped before the mean over time."""

    def __init__(self):
        super().__init__()
        self.rows = nn.AvgPool2d((8, 4))
        self.bands = nn.Conv2d(1, C, (8, 1))

    def forward(self, x):
        spectra = torch.stft(x, 128, 64, window=torch.hann_window(128), return_complex=True).abs()[:, None, 1:]
        return self.bands(self.rows(spectra.log1p())).mean((2, 3))


def sounds() -> torch.Tensor:
    time = np.arange(SAMPLES) / RATE
    waves = [np.sin(2 * np.pi * 500 * (1 + c) * time) for c in Y]
    return torch.tensor(np.stack(waves) + 0.01 * RNG.normal(size=(N, SAMPLES)), dtype=torch.float32)


def prototype_calls() -> dict[str, Call]:
    from workbench import prototypes as p
    from workbench.datasets.clips import Clips
    from workbench.prototypes import apnet as rivals
    from workbench.prototypes import losses, networks, references, rival_losses, tracks

    split = SPLIT
    network = partial(p.MLPProjector, D, K, hidden=8)
    points = p.prototypes("orthonormal", C, K, scale=2.0)
    fit = {"inputs": X, "y": Y, "split": split, "network": network, "prototypes": points, "device": "cpu"}
    recipe = {"epochs": 2, "batch": 8, "learning_rate": 0.01, "weight_decay": 1e-4, "optimizer": "adamw"}
    recipe |= {"betas": (0.9, 0.99), "schedule": "cosine", "warmup": 1, "mixup": 0.1, "keep": "best", "patience": 2}
    recipe |= {"standardise": "each"}
    learnt = {"per_class": 1, "steps": 4, "batch": 8, "check_every": 2, "learning_rate": 1e-3, "feed_forward": 8}
    learnt |= {"scale": 2.0, "temperature": 0.1, "cross_entropy": 0.25, "dropout": 0.1, "weight_decay": 1e-4}
    learnt |= {"adaptor": "none", "similarity": "mean", "start": "k-means", "order": "class-major", "keep": "loss"}
    fitted = p.fit_prototypes(X, Y, split, progress=False, **learnt)
    values = RNG.normal(size=(N, 2))
    levels = p.Levels.fit(values, ["pitch", "loud"], count=2)
    factors = p.FactorPrototypes(levels, K, scale=2.0)
    explained = p.explain(X[:, :K], X[:C, :K], X[:C, 0], factors)
    mels = RNG.normal(size=(N, 8, 8)).astype(np.float32)
    shape = {"frames": 8, "bands": 8, "filters": 2, "per_class": 1, "epochs": 2, "patience": 2, "batch": 8}
    shape |= {"loss_weights": (1.0, 1.0, 1.0), "learning_rate": 1e-3, "own_class_start": True}
    apnet = p.fit_apnet(mels, Y, split, device="cpu", progress=False, **shape)
    small = {"steps": 2, "batch": 4, "check_every": 1}
    mlp = references._fit_mlp(X, Y, split, device="cpu", progress=False, **small)
    vectors = {"z": X, "y": Y, "split": split, "tracks": np.arange(N)}
    table = pd.DataFrame({"loss": ["a", "b"] * 4, "fold": np.arange(8) // 2, "seed": 0, "accuracy": RNG.random(8)})
    history = pd.DataFrame({"epoch": range(4), "valid_accuracy": [0.2, 0.5, 0.7, 0.7]})
    decided = tracks.decide(X[:, :C], np.arange(C), np.arange(N) // 2)

    def made(**given):
        return losses.make_loss(classes=C, dim=K, prototypes=points, **given)

    waves = [row.numpy() for row in sounds()[:2]]
    calls: dict[str, Call] = {
        "fit_classifier": (
            partial(p.fit_classifier, progress=False),
            fit
            | recipe
            | {"loss": "prototype", "config": "default", "seed": 0, "track_geometry": False}
            | {"checkpoint": None},
        ),
        "fit_classifier factors": (
            partial(p.fit_classifier, progress=False),
            {"inputs": X, "y": Y, "split": split, "network": network, "factors": factors, "epochs": 1}
            | {"levels": levels.codes(values), "loss": {"name": "prototype", "weight": 1.0}},
        ),
        "ClassifierConfig": (p.ClassifierConfig, recipe),
        "ClassifierConfig masks": (p.ClassifierConfig, {"spec_augment": (2, 3)}),
        "ClassifierConfig.rate": (p.ClassifierConfig(**recipe).rate, {"epoch": 1}),
        "ClassifierConfig.named": (p.ClassifierConfig.named, {"config": "paper", "epochs": 2}),
        "TrainedClassifier.embed": (
            p.fit_classifier(X, Y, split, network=network, loss="cross_entropy", epochs=1).embed,
            {"inputs": X},
        ),
        "TrainedClassifier.load": (p.TrainedClassifier.load, {"folder": NOWHERE, "network": network}),
        "over_folds": (
            p.over_folds,
            {"table": table, "metric": "accuracy", "by": "loss", "limits": (0, 1), "level": 0.9},
        ),
        "setting_difference": (
            p.setting_difference,
            {"table": table, "a": "a", "b": "b", "metric": "accuracy", "by": "loss"},
        ),
        "spread": (p.spread, {"table": table, "columns": ["accuracy"], "by": "loss", "over": "fold", "digits": 2}),
        "paired_differences": (
            p.paired_differences,
            {"table": table, "baseline": "a", "metric": "accuracy", "by": "loss", "limits": (-1, 1), "level": 0.9},
        ),
        "evaluate_factors": (
            partial(p.evaluate_factors, network=network, epochs=1),
            {"inputs": X, "y": Y, "split": split, "values": values, "names": ["pitch", "loud"], "dim": K, "scale": 2.0}
            | {"told": "shuffled", "count": 2, "code": "one-hot", "weight": 1.0, "seed": 0},
        ),
        "placebos": (p.placebos, {"levels": levels.codes(values), "seed": 0}),
        "dynamics": (p.dynamics, {"runs": {"a": [history, history]}, "metric": "valid_accuracy", "share": 0.9}),
        "fit_prototypes": (
            partial(p.fit_prototypes, progress=False),
            vectors | {"seed": 0, "config": "default", "device": "cpu", "checkpoint": None} | learnt,
        ),
        "LearntConfig": (p.LearntConfig, learnt),
        "learnt.logits": (fitted.logits, {"z": X}),
        "learnt.contributions": (fitted.contributions, {"z": X}),
        "learnt.predict": (fitted.predict, {"x": X, "tracks": np.arange(N) // 2}),
        "learnt.nearest": (fitted.nearest, {"z": X, "count": 2}),
        "learnt.medoids": (fitted.medoids, {"z": X, "y": Y}),
        "learnt.evaluate": (fitted.evaluate, vectors),
        "learnt.load": (p.LearntPrototypes.load, {"folder": NOWHERE}),
        "decide": (tracks.decide, {"logits": X[:, :C], "labels": np.arange(C), "tracks": np.arange(N) // 2}),
        "score": (decided.score, {"y": (np.arange(N) // 2) % C, "tracks": np.arange(N) // 2}),
        "evaluate_references": (
            p.evaluate_references,
            vectors | {"per_class": 1, "neighbours": 2, "steps": 2, "drawn_only": False, "seed": 0, "device": "cpu"},
        ),
        "adversarial_example": (
            p.adversarial_example,
            {"model": fitted, "z": X[0], "target": int((fitted.predict(X[:1]).predictions[0] + 1) % C), "real": X[1:]}
            | {"real_labels": Y[1:], "directions": 3, "points": 5, "seed": 0},
        ),
        "adversarial_waveforms": (
            p.adversarial_waveforms,
            {"model": fitted, "embed": torch.nn.Identity(), "x": X[:2], "least_snr": 0.0, "steps": 2, "draws": 2}
            | {"targets": [int((c + 1) % C) for c in fitted.predict(X[:2]).predictions], "lead": "logit", "seed": 0},
        ),
        "fit_mlp": (
            partial(references._fit_mlp, progress=False),
            vectors | small | {"config": "paper", "seed": 0, "device": "cpu", "checkpoint": None},
        ),
        "mlp.logits": (mlp.logits, {"z": X}),
        "nearest_centroid": (references._nearest_centroid, {"z": X, "y": Y, "test": X}),
        "nearest_neighbours": (references._nearest_neighbours, {"z": X, "y": Y, "test": X, "neighbours": 2}),
        "untrained_prototypes": (
            references._untrained_prototypes,
            {"z": X, "y": Y, "test": X, "per_class": 1, "start": "medoids", "seed": 0},
        ),
        "fit_apnet": (
            partial(p.fit_apnet, progress=False),
            {"x": mels, "y": Y, "split": split, "tracks": np.arange(N), "config": "default", "seed": 0}
            | {"device": "cpu", "checkpoint": None}
            | shape,
        ),
        "APNetConfig": (rivals.APNetConfig, shape),
        "apnet.logits": (apnet.logits, {"x": mels}),
        "apnet.decode": (apnet.decode, {"x": mels, "seed": 0}),
        "apnet.predict": (apnet.predict, {"x": mels, "tracks": np.arange(N) // 2}),
        "apnet.load": (p.APNet.load, {"folder": NOWHERE}),
        "log_mel_to_audio": (
            p.log_mel_to_audio,
            {"log_mel": -np.abs(RNG.normal(size=(1, 8, 8))), "rate": RATE, "n_fft": 256, "hop": 64, "floor": 1e-6},
        ),
        "prototypes": (
            p.prototypes,
            {"kind": "simplex", "classes": C, "dim": K, "scale": 2.0, "seed": 0, "orthogonal_to_ones": True},
        ),
        "gram": (p.gram, {"rows": X}),
        "max_cosine": (p.max_cosine, {"rows": X}),
        "few_shot": (
            p.few_shot,
            {"z": X, "y": Y, "ways": 2, "shots": 1, "queries": 3, "episodes": 3, "seed": 0, "level": 0.9},
        ),
        "Levels.fit": (
            p.Levels.fit,
            {"values": values, "names": ["pitch", "loud"], "count": [2, 2], "by": np.arange(N) % 2}
            | {"method": "inclusive"},
        ),
        "Levels.codes": (levels.codes, {"values": values}),
        "FactorPrototypes": (p.FactorPrototypes, {"levels": levels, "dim": K, "scale": 2.0, "code": "thermometer"}),
        "factors.table": (factors.table, {"factor": "pitch"}),
        "factors.targets": (factors.targets, {"levels": levels.codes(values)}),
        "explain": (p.explain, {"z": X[:, :K], "weight": X[:C, :K], "bias": X[:C, 0], "factors": factors}),
        "explained.counterfactual": (explained.counterfactual, {"levels": {"pitch": 1}}),
        "explained.shapley": (explained.shapley, {"background": X[0, :K], "of": "probability"}),
        "explained.effects": (explained.effects, {"factor": "loud"}),
        "extractor": (
            partial(p.extractor, train="head", device="cpu", progress=False),
            {"clips": Clips.from_arrays(waves, RATE), "encoder": "mini", "dim": 4, "seconds": 0.2, "random_weights": 0},
        ),
        "LearntPrototypes.given": (
            p.LearntPrototypes.given,
            {"points": X[:C], "names": Y[:C], "z": X, "y": Y, "split": split, "scale": 2.0},
        ),
        "MLPProjector": (p.MLPProjector, {"dim_in": D, "k": K, "hidden": 4, "norm": True}),
        "SmallConvNet": (p.SmallConvNet, {"mels": 16, "k": K, "norm": True}),
        "log_mels": (
            p.log_mels,
            {"clips": waves, "mels": 16, "rate": RATE, "seconds": 0.2, "hop": 80, "progress": False},
        ),
        "filterbanks": (networks.filterbanks, {"clips": waves, "mels": 16, "seconds": 0.1, "progress": False}),
        "waveforms": (networks.waveforms, {"clips": waves, "rate": RATE, "seconds": 0.1, "progress": False}),
        "efficientat_mels": (networks.efficientat_mels, {"clips": waves, "seconds": 0.1, "progress": False}),
    }
    options = {
        "cross_entropy": {"classification": "softmax"},
        "focal": {"gamma": 1.0},
        "prototype": {"weight": 1.0, "reduction": "sum", "angular": True},
        "learnt_prototype": {"norm": 2.0, "weight": 1.0},
        "mean_prototype": {"momentum": 0.5},
        "center": {"weight": 0.1, "alpha": 0.5},
        "orthogonal_projection": {"config": "signed", "gamma": 0.5, "weight": 1.0},
        "angular_distance": {"weight": 1.0},
        "supervised_contrastive": {"temperature": 0.1, "seed": 0},
        "prototypical_network": {"momentum": 0.5},
        "arcface": {"scale": 30.0, "margin": 0.5, "seed": 0},
        "rbf": {"scale": 14.0, "width": 2.0, "seed": 0},
        "fixed_classifier": {"term": "cross-entropy", "scale": 10.0, "seed": 0},
        "hyperspherical": {"seed": 0},
    }
    assert set(options) == set(losses.LOSSES) and rival_losses.RANGES
    calls |= {f"loss {name}": (made, {"name": name} | given) for name, given in options.items()}
    return {f"prototypes.{name}": call for name, call in calls.items()}


def interpreter_calls() -> dict[str, Call]:
    from workbench import interpreters as i
    from workbench.interpreters import classifiers, gradients, masking, masks, vgg

    x = sounds()
    spectra = i.Spectra(rate=RATE, n_fft=128, hop=64)
    assert (spectra.bins, spectra.frames(SAMPLES)) == (BINS, FRAMES)
    torch.manual_seed(0)
    names = ["low", "middle", "high"]
    listener = Listener()
    f = i.Classifier(listener, rate=RATE, classes=names, taps=("rows", "bands"), device="cpu", name="bands")
    several = i.Classifier(listener, rate=RATE, classes=names, taps=("rows",), multilabel=True, device="cpu")
    w = np.abs(RNG.normal(size=(BINS, 5))).astype(np.float32)
    parts = SPLIT
    shared = {"classifier": f, "x": x, "split": parts, "seed": 0, "learning_rate": 1e-3, "epochs": 1}
    small = {"epochs": 2, "batch": 8, "learning_rate": 1e-3}
    l2i = {"pooling": "max", "width": 8, "reconstruction": 1.0, "sparsity": 0.1, "halved_after": 1, "keep": "best"}
    l2i |= {"rules": "paper"}
    flint = {"attributes": 4, "reconstruction": 0.8, "fidelity": 0.5, "fidelity_after": 0, "sparsity": 0.1}
    flint |= {"sparsity_after": 1, "entropy": 0.2, "entropy_after": 1}
    vibi = {"mels": 16, "height": 4, "width": 8, "cells": 3, "beta": 0.1, "temperature": 0.5, "decay": 0.9}
    vibi |= {"averaging": 0.9}
    lmac = {"kept": 4.0, "rest": 0.2, "sparsity": 1.0, "variation": 0.0, "finetuning": 1, "guidance": 4.0, "loud": 0.3}
    lmac |= {"alike": 0.6, "width": 4, "weight_decay": 0.0, "halve_after": 1}
    trained = i.fit_l2i(f, w, x, parts, spectra=spectra, progress=False, **small | l2i)
    seen = i.fit_vibi(f, x, parts, spectra=spectra, progress=False, **small | vibi)
    masking_net = i.fit_lmac(f, x, parts, spectra=spectra, progress=False, **small | lmac)
    imitates = i.fit_flint(f, x, parts, spectra=spectra, progress=False, **small | flint)
    explained = trained.explain(x[:4])
    one = {"classifier": f, "x": x[0], "index": 1, "seed": 0}
    given = {"ones": torch.ones(4, BINS, FRAMES), "half": torch.full((4, BINS, FRAMES), 0.5)}
    tags = np.eye(C, dtype=bool)[Y]

    calls: dict[str, Call] = {
        "Classifier": (
            i.Classifier,
            {"module": listener, "rate": RATE, "classes": names, "taps": ["rows"], "axes": "bcft", "multilabel": False}
            | {"batch": 4, "device": "cpu", "name": "bands"},
        ),
        "Classifier.logits": (f.logits, {"x": x}),
        "Classifier.probabilities": (f.probabilities, {"logits": X[:, :C]}),
        "Classifier.randomised": (f.randomised, {"seed": 0, "modules": 1}),
        "kumar_vgg": (classifiers.kumar_vgg, {"classes": names, "weights": None, "seed": 0, "device": "cpu"}),
        "kumar_vgg file": (classifiers.kumar_vgg, {"classes": names, "weights": NOWHERE}),
        "KumarVGG": (vgg.KumarVGG, {"classes": C, "hidden": 8, "dropout": 0.1}),
        "fit_l2i": (partial(i.fit_l2i, spectra=spectra, progress=False, **l2i), shared | {"dictionary": w}),
        "fit_flint": (partial(i.fit_flint, spectra=spectra, progress=False, **flint), shared),
        "fit_vibi": (partial(i.fit_vibi, spectra=spectra, progress=False, **vibi), shared),
        "fit_lmac": (partial(i.fit_lmac, spectra=spectra, progress=False, **lmac), shared),
        "LMACConfig": (i.LMACConfig, small | lmac),
        "LMAC.masks": (masking_net.masks, {"x": x}),
        "L2IConfig": (i.L2IConfig, small | l2i),
        "FlintConfig": (i.FlintConfig, small | flint),
        "VibiConfig": (i.VibiConfig, small | vibi),
        "L2I.scores": (trained.scores, {"x": x}),
        "L2I.explain": (trained.explain, {"x": x[:4], "classes": Y[:4], "rules": "paper"}),
        "Vibi.scores": (seen.scores, {"x": x}),
        "Vibi.masks": (seen.masks, {"x": x}),
        "Vibi.explain": (seen.explain, {"x": x[0]}),
        "Flint.masks": (
            imitates.masks,
            {"x": x[:2], "classes": Y[:2], "steps": 1, "start": 0.4, "sparsity": 1.0, "learning_rate": 0.1},
        ),
        "Flint.scores": (imitates.scores, {"x": x}),
        "fit_tagger": (
            partial(i.fit_tagger, progress=False),
            {"x": x[:, :1600], "tags": tags, "split": parts, "classes": names, "network": "conv", "epochs": 1}
            | {"batch": 6, "learning_rate": 1e-3, "seed": 0, "device": "cpu"},
        ),
        "dictionary_of": (
            partial(i.dictionary_of, progress=False),
            {"x": x[:4], "spectra": spectra, "components": 3, "frames": 60, "sparsity": 0.5, "seed": 0}
            | {"device": "cpu"},
        ),
        "explain_components": (
            partial(i.explain_components, spectra=spectra, progress=False),
            {"classifier": f, "x": x[:2], "dictionary": w, "classes": Y[:2], "sparsity": 0.5},
        ),
        "relevance": (i.relevance, {"z": X, "weights": X[0], "preset": "paper"}),
        "component_mask": (
            i.component_mask,
            {"dictionary": torch.tensor(w), "activations": explained[0].activations, "chosen": [0, 2]}
            | {"empty": "zero", "epsilon": 1e-6},
        ),
        "Interpretation.waveform": (explained[0].waveform, {"tau": 0.5}),
        "Interpretation.component": (explained[0].component, {"k": 1}),
        "as_mask": (masking.as_mask, {"relevance": torch.tensor(X), "sign": "absolute", "quantile": 0.9}),
        "masked_logits": (
            partial(masking.masked_logits, spectra=spectra),
            {"classifier": f, "x": x[0], "masks": given["half"], "domain": "linear"},
        ),
        "rectangles": (masking.rectangles, {"bins": BINS, "frames": FRAMES, "bands": 2, "times": 3}),
        "saliency": (
            partial(gradients.saliency, spectra=spectra),
            one | {"sign": "positive", "quantile": 0.9, "domain": "log", "progress": False},
        ),
        "smooth_gradient": (
            partial(gradients.smooth_gradient, spectra=spectra),
            one | {"samples": 2, "noise": 0.1, "quantile": 0.9, "progress": False},
        ),
        "integrated_gradients": (
            partial(gradients.integrated_gradients, spectra=spectra),
            one | {"steps": 2, "progress": False},
        ),
        "occlusion": (partial(masks.occlusion, spectra=spectra), one | {"times": 2, "bands": 2, "progress": False}),
        "slime": (
            partial(masks.slime, spectra=spectra),
            one | {"times": 2, "bands": 2, "samples": 5, "kept": 2, "progress": False},
        ),
        "lime_components": (
            partial(masks.lime_components, spectra=spectra),
            one
            | {"dictionary": w, "activations": explained[0].activations, "samples": 5, "kept": 2, "progress": False},
        ),
        "surrogate": (
            masks._surrogate,
            {"on": RNG.random((8, 3)) < 0.5, "outputs": X[:8, 0], "width": 0.2, "alpha": 1.0},
        ),
        "ones": (partial(masks.ones, spectra=spectra), one),
        "energy": (partial(masks.energy, spectra=spectra), one | {"quantile": 0.5}),
        "shuffled": (partial(masks.shuffled, f, x[0], 1), {"seed": 0} | {"like": given["half"][0]}),
        "shifted": (partial(masks.shifted, f, x[0], 1), {"seed": 0} | {"like": given["half"][0]}),
        "removal_study": (
            i.removal_study,
            {"explained": explained, "classifier": f, "taus": (0.5, 0.2), "draws": 2, "output": "probabilities"}
            | {"groups": np.arange(4), "seed": 0, "progress": False},
        ),
        "mask_study": (
            partial(i.mask_study, spectra=spectra),
            {"classifier": f, "x": x[:4], "masks": given, "classes": Y[:4], "groups": np.arange(4)}
            | {"against": "half"},
        ),
        "truth_study": (
            i.truth_study,
            {"x": x[:4], "stems": x[:4] * 0.5, "masks": given, "spectra": spectra, "domain": "log"}
            | {"intervals": [[[0.0, 0.1]]] * 4, "groups": np.arange(4), "against": "half"},
        ),
        "agreement": (i.agreement, {"interpreter": trained, "x": x, "split": parts, "groups": np.arange(N)}),
        "evaluate_interpreter": (
            i.evaluate_interpreter,
            {"interpreter": trained, "x": x, "split": parts, "groups": np.arange(N), "judged": 2, "seed": 0},
        ),
        "evaluate_interpreter tags": (
            partial(i.evaluate_interpreter, split=parts),
            {"interpreter": SimpleNamespace(classifier=several, scores=several.logits), "tags": tags, "x": x},
        ),
        "L2I.load": (i.L2I.load, {"folder": NOWHERE, "classifier": f}),
        "Psi": (i.Psi, {"shapes": [(1, 8, 8), (3, 1, 8)], "components": 5, "frames": FRAMES, "width": 8}),
        "Theta": (i.Theta, {"components": 5, "classes": C, "pooling": "attention", "dropout": 0.1}),
    }
    return {f"interpreters.{name}": call for name, call in calls.items()}


def sonify_calls() -> dict[str, Call]:
    from workbench import sonify as s
    from workbench.datasets.clips import Clips
    from workbench.encoders import load_encoder
    from workbench.sae import SAEConfig, SparseAutoencoder
    from workbench.sonify import diffusion
    from workbench.sonify.network import SummaryConfig
    from workbench.sonify.window import WindowConfig

    mini = s.load_autoencoder("mini-mel", device="cpu")
    rate = mini.encoder.rate
    waves = [0.1 * np.sin(np.arange(rate // 4) * step / 20).astype(np.float32) for step in (1, 2, 3)]
    clips = Clips.from_arrays([waves[k % 3] for k in range(12)], rate, label=["a", "b", "c"] * 4)
    split = Split(np.arange(6), np.arange(6, 9), np.arange(9, 12))
    z = mini.embed(waves, rate)
    frames, lengths = torch.randn(2, 51, mini.dim), torch.tensor([51, 51])
    judge = s.fit_judge(clips, load_encoder("mini", device="cpu"), split, progress=False)
    config = {"dim": 16, "latent_dim": 8, "latent_frames": 10, "summary_layers": 1, "denoiser_layers": 1, "heads": 2}
    config |= {"hidden": 8, "patch": 5, "skip": True}
    draw = {"steps": 1, "guidance": 0.0, "seed": 0, "progress": False}
    noise, vectors = torch.randn(2, 4, 3), Path(FOLDER.name) / "own.npy"
    np.save(vectors, z.numpy())
    vectors.with_suffix(".txt").write_text("a\nb\nc\n")
    turned, eye = s.sound_vectors(np.stack(waves), rate, mini.codec), torch.eye(80)
    zeros = {"encoder_bias": torch.ones(80), "bias": torch.zeros(80)}
    sparse = SparseAutoencoder(SAEConfig(dim=80, latents=80, k=80), encoder=eye, decoder=eye, **zeros)
    calls: dict[str, Call] = {
        "load_autoencoder": (s.load_autoencoder, {"name_or_path": "mini-mel", "device": "cpu", "fetch": False}),
        "load_autoencoder file": (s.load_autoencoder, {"name_or_path": NOWHERE, "encoder": mini.encoder}),
        "load_autoencoder released": (
            s.load_autoencoder,
            {"name_or_path": "pecmae-4s", "weights": NOWHERE, "device": "cpu", "fetch": False},
        ),
        "save_autoencoder": (s.save_autoencoder, {"autoencoder": mini, "path": "/proc/nowhere/at/all"}),
        "SummaryConfig": (SummaryConfig, config),
        "WindowConfig": (WindowConfig, {"dim": 8, "frames": 3, "components": 2, "width": 4, "blocks": 1}),
        "SummaryAutoencoder": (
            s.SummaryAutoencoder,
            {"net": mini.net, "encoder": mini.encoder, "codec": mini.codec, "layer": mini.layer, "seconds": 2.0}
            | {"level": -20.0, "name": "own"},
        ),
        "embed": (mini.embed, {"waveforms": waves, "rate": rate, "windows": "padded", "progress": False}),
        "summaries": (mini.summarise, {"frames": frames, "lengths": lengths, "source": mini.encoder.fingerprint}),
        "generate": (mini.generate, {"z": z[:1]} | draw),
        "SummaryAutoencoder layer": (
            partial(s.SummaryAutoencoder, mini.net, mini.encoder, mini.codec, seconds=2.0),
            {"layer": len(mini.encoder.layers) - 1},
        ),
        "decode drawn": (mini.decode, {"z": z[:1], "steps": 1, "seed": 0}),
        "reconstruct": (partial(mini.reconstruct, steps=1), {"waveforms": waves[:1], "rate": rate}),
        "prototypes_from": (
            s.prototypes_from,
            {"path": vectors, "autoencoder": mini, "windows": "padded", "progress": False},
        ),
        "decode": (
            partial(mini.decode, steps=1, guidance=0.0),
            {"z": z[:1], "draws": 1, "levels": [-30.0], "progress": False},
        ),
        "sound_vectors": (
            s.sound_vectors,
            {"waveforms": np.stack(waves), "rate": rate, "decoder": mini, "steps": 1, "guidance": 0.0, "seed": 0},
        ),
        "sound_vectors codec": (
            s.sound_vectors,
            {"waveforms": np.stack(waves), "rate": rate, "decoder": mini.codec, "seed": 0},
        ),
        "SoundVectors.decode": (turned.decode, {"x": turned.x}),
        "SoundVectors.codes": (turned.codes, {"sae": sparse}),
        "SoundVectors.typical": (turned.typical, {"sae": sparse, "latent": 0, "sounds": [0, 1]}),
        "SoundVectors.with_latent": (
            turned.with_latent,
            {"i": 0, "sae": sparse, "latent": 1, "values": [0.0, 2.0], "direction": np.arange(80.0)},
        ),
        "summarise": (
            s.summarise,
            {"clips": clips, "autoencoder": mini, "windows": "padded", "skip_short": True, "cache": False}
            | {"progress": False},
        ),
        "fit_judge": (
            s.fit_judge,
            {"clips": clips, "encoder": judge.encoder, "split": split, "progress": False},
        ),
        "judge.probabilities": (judge.probabilities, {"waveforms": waves, "rate": rate}),
        "judge.agreement": (judge.agreement, {"waveforms": waves, "rate": rate, "labels": ["a", "b", "c"]}),
        "diffuse": (diffusion.diffuse, {"x0": noise, "noise": noise, "sigma": torch.tensor([0.1, 0.5])}),
        "sample": (
            diffusion.sample,
            {"velocity": lambda x, sigma, z: x, "noise": noise, "z": noise[:, 0], "steps": 2, "guidance": 0.5},
        ),
        "draw_noise": (diffusion.draw_noise, {"seeds": [0, 1], "shape": (2, 3)}),
    }
    return {f"sonify.{name}": call for name, call in calls.items()}


#: Wrong values drawn of each argument; other ones for each argument.
MOST = int(os.environ.get("WORKBENCH_WRONG_VALUES", "2"))
CALLS: dict[str, Call] = prototype_calls() | interpreter_calls() | sonify_calls()
CASES = [(name, argument) for name, (_, given) in CALLS.items() for argument in given]


def bad_values(value: object) -> Iterator[tuple[str, object, bool]]:
    """Those of the table of arrays, which has no sparse arrays of three axes, and their likes for three."""
    if getattr(value, "ndim", 0) < 3:
        yield from harness.bad_values(value)
        return
    whole = np.asarray(value, dtype=np.float64)
    flat = [(what, wrong, refused) for what, wrong, refused in harness.bad_values(whole[:, 0]) if what != "sparse"]
    for what, factor in (("NaN", np.nan), ("inf", np.inf), ("1e300", 1e300)):
        broken = whole.copy()
        broken.flat[0] = factor
        yield f"{what} within", broken, what != "1e300"
    yield from (
        ("None", None, False),
        ("text", "abc", False),
        ("an object", object(), True),
        ("no rows", whole[:0], False),
    )
    yield from (("words", whole.astype(str), False), ("flat", whole.ravel(), False), ("zeros", 0 * whole, False))
    yield from (("with gradient", torch.tensor(whole, requires_grad=True), False), *flat)


@pytest.mark.parametrize(("name", "argument"), CASES, ids=[f"{name}-{argument}" for name, argument in CASES])
def test_a_wrong_argument_ends_in_an_error_of_this_package_or_works(name, argument):
    function, given = CALLS[name]
    faults = []
    values = list(bad_values(given[argument]))
    for i in np.random.default_rng([*map(ord, name + argument)]).permutation(len(values))[:MOST]:
        what, value, refused = values[i]
        found = harness.outcome(function, given | {argument: value})
        if found not in ("refused", "returned") or (refused and found == "returned"):
            faults.append(f"{argument}={what}: {found}")
    assert not faults, "\n".join([name, *faults])


ELSEWHERE = ("load", "save", "file")


@pytest.mark.parametrize("name", [name for name in CALLS if not any(word in name for word in ELSEWHERE)])
def test_the_calls_themselves_work(name):
    function, given = CALLS[name]
    assert harness.outcome(function, given) == "returned"


# --- fractions for counts -------------------------------------------------------------------------------------------

COUNTING = ("prototypes", "sonify")
"""Rooms whose every argument that is annotated as a whole number is given a fraction."""


def plain(function: Callable) -> Callable:
    """The function below partial applications, bound methods and decorators; of a class its __init__."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    return function.__init__ if isinstance(function, type) else function


def annotation_of(function: Callable, argument: str) -> str:
    """What a signature, or the configuration that the function's options belong to, says of an argument."""
    parameter = inspect.signature(plain(function)).parameters.get(argument)
    return "" if parameter is None else str(parameter.annotation)


def fractions_for(annotation: str, value: object) -> list[object]:
    """Values that are no whole number, in place of one that is; none where other numbers are allowed."""
    if isinstance(value, (bool, np.ndarray)) or "float" in annotation:
        return []
    counts = re.search(r"\bint\b", annotation) is not None
    if isinstance(value, int) or (value is None and counts):
        return [(value or 0) + 1.5, np.float32((value or 0) + 0.5)]
    if isinstance(value, (list, tuple)) and value and all(type(item) is int for item in value):
        return [[value[0] + 0.5, *value[1:]], value[0] + 1.5]
    if isinstance(value, dict) and counts:
        return [{**value, key: one + 0.5} for key, one in value.items() if type(one) is int]
    return []


FRACTIONS = [
    (name, argument, wrong)
    for name, (function, given) in CALLS.items()
    if name.split(".")[0] in COUNTING
    for argument, value in given.items()
    for wrong in fractions_for(annotation_of(function, argument), value)
]


@pytest.mark.parametrize(("name", "argument", "wrong"), FRACTIONS, ids=[f"{n}-{a}-{w}" for n, a, w in FRACTIONS])
def test_a_fraction_is_no_count(name, argument, wrong):
    function, given = CALLS[name]
    with pytest.raises(WorkbenchError, match=re.escape(argument)):
        function(**given | {argument: wrong})


def counted(room: str) -> set[tuple[str, str]]:
    """Every argument annotated as a whole number of what stands at a room's door: the function's name, and its own."""
    door, found = importlib.import_module(f"workbench.{room}"), set()
    for offered in (getattr(door, name) for name in door.__all__):
        members = [offered]
        if isinstance(offered, type):
            named = [(name, member) for name, member in vars(offered).items() if name[0] != "_" or name == "__init__"]
            members = [getattr(member, "__func__", member) for _, member in named]
        for function in filter(inspect.isfunction, map(inspect.unwrap, members)):
            if (
                function.__name__ == "__init__"
                and dataclasses.is_dataclass(offered)
                and not issubclass(offered, Config)
            ):
                continue  # a result, which only the package makes
            for argument, parameter in inspect.signature(function).parameters.items():
                if re.search(r"\bint\b", str(parameter.annotation)) and "float" not in str(parameter.annotation):
                    found.add((function.__qualname__, argument))
    return found


@pytest.mark.parametrize("room", COUNTING)
def test_no_count_is_left_out(room):
    """The list above has every argument of the room's door that is annotated as a whole number."""
    listed = {(plain(CALLS[name][0]).__qualname__, argument) for name, argument, _ in FRACTIONS}
    assert sorted(counted(room) - listed) == []
