"""How much of a sound survives: reconstructions of held-out notes, by their spectra and by an independent judge.

Philharmonia notes at held-out pitches go through the summary and back. Log-mel correlation is Pearson's r between the
latents of the clip and of the sound that came back, all bands and frames together, averaged over clips; rivals are the
codec's own round trip (the ceiling), the mean of the training notes and another held-out clip (the floor). The judges
are logistic regressions trained on real notes at the other pitches, on features that the autoencoder did not use.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...audio import fit, load, resample
from ...encoders import efficientat
from ...encoders.mini import evaluation as mini_evaluation
from ...encoders.mini import held_out
from ..autoencoder import SummaryAutoencoder

SETTINGS = ((10, 0.0), (40, 0.0), (10, 0.5), (10, 1.0), (40, 1.0), (40, 2.0))
"""(steps, guidance) that are compared."""
PENALTY = 0.01

Judge = Callable[[np.ndarray], np.ndarray]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of Pearson's r between the flattened rows of ``a`` and ``b`` (N, ...); constant rows count 0."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return float(((a * b).sum(1) / np.where(norm > 0, norm, 1.0)).mean())


def _judges(rate: int, path: Path | None) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Features by name, each from waveforms (N, samples) at ``rate`` to (N, D)."""
    features = {"log-mel statistics": lambda x: mini_evaluation.log_mel_statistics(list(x))["mean+std"]}
    if path is not None:
        teacher = efficientat.load_efficientat("mn04_as", weights=path, device="cpu")
        last = teacher.layers[-1].name
        features["mn04_as"] = lambda x: mini_evaluation.encoder_means(
            teacher, [resample(row, rate, teacher.rate) for row in x]
        )[last]
    return features


def _fit_judge(features: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray) -> Judge:
    """A judge: waveforms to labels, fitted on real ones."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=300, tol=1e-3))
    model.fit(features(x), y)
    return lambda waveforms: model.predict(features(waveforms))


def evaluate(
    root: Path | str,
    autoencoder: SummaryAutoencoder,
    *,
    judge: Path | None = None,
    settings: tuple[tuple[int, float], ...] = SETTINGS,
    clips: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of the model card.

    Parameters
    ----------
    root : path
        Audio folder with ``manifest.csv``.
    autoencoder : SummaryAutoencoder
    judge : Path, optional
        mn04_as checkpoint, for a second judge.
    settings : tuple of (steps, guidance)
    clips : int, optional
        At most so many held-out clips, drawn by ``seed``; by default all.
    seed : int
        Also of the reconstructions.

    Returns
    -------
    DataFrame
        A row a system; correlation, then accuracy (0 to 1) of each judge.
    """
    rows = held_out.task_rows(held_out.read_table(root), "philharmonia")
    rate = autoencoder.codec.rate
    x = np.stack([fit(load(Path(root) / f, rate=rate)[0], rate, seconds=autoencoder.seconds) for f in rows["file"]])
    y, test = rows["label"].to_numpy(), rows["held_out"].to_numpy()
    fitted = {name: _fit_judge(features, x[~test], y[~test]) for name, features in _judges(rate, judge).items()}
    mean = sum(autoencoder.codec.encode(part).sum(0) for part in torch.from_numpy(x[~test]).split(64)) / (~test).sum()
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(test))[:clips]
    x, y = x[chosen], y[chosen]
    latents = autoencoder.codec.encode(torch.from_numpy(x))
    z = autoencoder.embed(x, rate)
    table = {
        "mean of the training notes": {"correlation": _correlation(latents.numpy(), mean.expand_as(latents).numpy())}
    }

    def add(name: str, sound: np.ndarray) -> None:
        again = autoencoder.codec.encode(torch.from_numpy(sound))
        row = {"correlation": _correlation(latents.numpy(), again.numpy())}
        table[name] = row | {judge: float((rule(sound) == y).mean()) for judge, rule in fitted.items()}

    add("another held-out clip", np.roll(x, 1, 0))
    for steps, guidance in settings:
        seeds = range(seed, seed + len(z))
        add(f"S={steps}, g={guidance:g}", autoencoder.decode(z, steps=steps, guidance=guidance, seed=seeds).numpy())
    add("codec round trip", autoencoder.codec.decode(latents, length=x.shape[1]).numpy())
    add("the clip itself", x)
    return pd.DataFrame(table).T
