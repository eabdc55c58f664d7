"""Where ``mini`` is judged: three tasks on real sound, with what its training never heard apart.

A logistic regression (scikit-learn, standardised inputs, penalty chosen by grouped validation inside the
training part) reads the mean over time of each layer's frames:

- ESC-10, ten environmental sounds: publisher's fold 5 held out;
- FSDD, ten spoken digits: each of the six speakers held out in turn, and the mean over speakers. Of all six,
  ``mini`` has never heard theo and yweweler (the last two by name), and of the other four no label;
- Philharmonia, instrument: a fixed seeded 22 % of the pitches held out.

How well a speaker's digits are read depends more on the speaker than on the system, so two speakers would not do.

The rivals are the mean and standard deviation over time of log-mel frames, and the teacher mn04_as.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from ...audio import load
from ...core.errors import DatasetError
from ..interface import Encoder
from .network import RATE, LogMel

HELD_OUT_FOLD = 5
HELD_OUT_SPEAKERS = ("theo", "yweweler")
HELD_OUT_PITCHES = 0.22
PENALTIES = (0.001, 0.01, 0.1, 1.0)
TASKS = ("esc10", "fsdd", "philharmonia")


def read_table(root: Path | str) -> pd.DataFrame:
    """The audio folder's manifest with one column a factor, the task's group, and who is held out.

    Parameters
    ----------
    root : path
        Folder with ``manifest.csv`` (columns file, part, label, factors as JSON ...).

    Returns
    -------
    DataFrame
        One row a clip; ``group`` is what must not leak (fold, speaker, pitch), ``held_out`` is True for the
        clips that only the evaluation may see.

    Raises
    ------
    DatasetError
        No manifest there.
    """
    path = Path(root) / "manifest.csv"
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected the audio folder's manifest")
    table = pd.read_csv(path)
    factors = pd.DataFrame([json.loads(text) for text in table["factors"]], index=table.index)
    table = table.join(factors[["fold", "speaker", "digit", "midi"]])
    part = table["part"]
    table["group"] = np.select(
        [part == "esc10", part == "fsdd", part == "philharmonia"],
        [table["fold"].astype(str), table["speaker"].astype(str), table["midi"].astype(str)],
        "",
    )
    pitches = np.sort(table.loc[part == "philharmonia", "midi"].dropna().unique())
    chosen = np.random.default_rng(0).permutation(pitches)[: round(HELD_OUT_PITCHES * len(pitches))]
    table["held_out"] = (
        ((part == "esc10") & (table["fold"] == HELD_OUT_FOLD))
        | ((part == "fsdd") & table["speaker"].isin(HELD_OUT_SPEAKERS))
        | ((part == "philharmonia") & table["midi"].isin(chosen))
    )
    return table


def task_rows(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """The clips of one task; Philharmonia without unpitched ones and those of instruments absent in training."""
    rows = table[table["part"] == task]
    if task == "philharmonia":
        rows = rows[rows["midi"].notna()]
        rows = rows[rows["label"].isin(rows.loc[~rows["held_out"], "label"])]
    return rows


def _batches(waveforms: list[np.ndarray], *, equal: bool, seconds: float, rate: int) -> Iterator[list[int]]:
    """Positions sorted by length, together at most ``seconds`` with padding; ``equal``: one length a batch."""
    batch: list[int] = []
    for i in np.argsort([len(x) for x in waveforms], kind="stable"):
        size = len(waveforms[i])
        full = (len(batch) + 1) * size > seconds * rate
        if batch and (full or (equal and size != len(waveforms[batch[0]]))):
            yield batch
            batch = []
        batch.append(int(i))
    if batch:
        yield batch


@torch.inference_mode()
def encoder_means(encoder: Encoder, waveforms: list[np.ndarray], title: str = "") -> dict[str, np.ndarray]:
    """Mean over each clip's own frames of every layer: name -> (N, D).

    A small stand-in for :func:`workbench.encoders.extract`, so that this module needs nothing but an encoder.
    """
    positions = encoder.select("all")
    means = [np.zeros((len(waveforms), layer.dim), np.float32) for layer in encoder.layers]
    groups = list(_batches(waveforms, equal=encoder.padding == "equal", seconds=60.0, rate=encoder.rate))
    for batch in tqdm(groups, desc=f"{encoder.name} {title}", leave=False):
        lengths = torch.tensor([len(waveforms[i]) for i in batch])
        x = torch.zeros(len(batch), max(int(lengths.max()), encoder.minimum))
        for row, i in enumerate(batch):
            x[row, : lengths[row]] = torch.from_numpy(waveforms[i])
        for mean, (frames, counts) in zip(means, encoder.forward(x, lengths, positions), strict=True):
            inside = torch.arange(frames.shape[1]) < counts[:, None]
            mean[batch] = ((frames * inside[..., None]).sum(1) / counts[:, None]).numpy()
    return {layer.name: mean for layer, mean in zip(encoder.layers, means, strict=True)}


@torch.inference_mode()
def log_mel_statistics(waveforms: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The trivial control: mean and standard deviation over time of the log-mel frames, (N, 160)."""
    front_end = LogMel(80)
    rows = []
    for x in waveforms:
        frames = front_end(torch.from_numpy(x)[None])[0]
        rows.append(torch.cat((frames.mean(0), frames.std(0, correction=0))).numpy())
    return {"mean+std": np.stack(rows)}


def _probe(z: np.ndarray, y: np.ndarray, groups: np.ndarray, test: np.ndarray) -> float:
    """Accuracy (%) on ``test`` of a logistic regression whose penalty grouped validation chose on the rest.

    Parameters
    ----------
    z : ndarray (N, D)
    y : ndarray (N,)
    groups : ndarray (N,)
        What must not be on both sides of a validation split.
    test : ndarray of bool (N,)
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=200, tol=1e-3)) for c in PENALTIES]
        folds = GroupKFold(4)
        train = ~test
        scores = [cross_val_score(m, z[train], y[train], groups=groups[train], cv=folds).mean() for m in models]
        best = models[int(np.argmax(scores))].fit(z[train], y[train])
    return 100.0 * float((best.predict(z[test]) == y[test]).mean())


def held_out_in_turn(rows: pd.DataFrame, task: str) -> dict[str, np.ndarray]:
    """Who is tested: of the digits every speaker in turn, else the clips that are held out.

    Parameters
    ----------
    rows : DataFrame (N rows)
        Of :func:`task_rows`.
    task : str

    Returns
    -------
    dict of str to np.ndarray of bool (N,)
        Name of the test part -> its clips.
    """
    if task == "fsdd":
        return {speaker: (rows["group"] == speaker).to_numpy() for speaker in sorted(rows["group"].unique())}
    return {"held out": rows["held_out"].to_numpy()}


def evaluate(
    root: Path | str,
    systems: dict[str, tuple[int, Callable[[list[np.ndarray]], dict[str, np.ndarray]]]],
    *,
    tasks: Sequence[str] = TASKS,
) -> pd.DataFrame:
    """Probe accuracy (%) of several systems on the three tasks.

    Parameters
    ----------
    root : path
        Folder with ``manifest.csv``.
    systems : dict
        Name -> (rate in Hz, function from a list of waveforms to {layer: (N, D)}).
    tasks : sequence of str, optional
        Among "esc10", "fsdd", "philharmonia".

    Returns
    -------
    DataFrame
        Index (system, layer); one column a task, their average, then the digits of each speaker ("fsdd george").
    """
    table = read_table(root)
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for task in tasks:
        rows = task_rows(table, task)
        y = rows["digit" if task == "fsdd" else "label"].to_numpy()
        groups, tests = rows["group"].to_numpy(), held_out_in_turn(rows, task)
        waveforms: dict[int, list[np.ndarray]] = {}
        for name, (rate, vectors) in systems.items():
            if rate not in waveforms:
                files = tqdm(rows["file"], desc=f"{task} at {rate} Hz", leave=False)
                waveforms = {rate: [load(Path(root) / file, rate=rate)[0] for file in files]}
            for layer, z in vectors(waveforms[rate]).items():
                each = {part: _probe(z, y, groups, test) for part, test in tests.items()}
                row = scores.setdefault((name, layer), {})
                row[task] = float(np.mean(list(each.values())))
                row |= {f"{task} {part}": score for part, score in each.items() if len(each) > 1}
    frame = pd.DataFrame(scores.values(), index=pd.MultiIndex.from_tuples(scores, names=["system", "layer"]))
    parts = [name for name in frame if name not in tasks]
    return frame[list(tasks)].assign(average=frame[list(tasks)].mean(axis=1)).join(frame[parts])


def evaluate_mini(root: Path | str, mini: Encoder, teacher: Encoder | None) -> pd.DataFrame:
    """The table of the model card: ``mini`` layer by layer, log-mel statistics, and the teacher's embedding."""
    systems = {
        "log-mel": (RATE, log_mel_statistics),
        "mini": (mini.rate, lambda waveforms: encoder_means(mini, waveforms)),
    }
    if teacher is not None:
        last = teacher.layers[-1].name
        systems["mn04_as"] = (teacher.rate, lambda waveforms: {last: encoder_means(teacher, waveforms)[last]})
    return evaluate(root, systems)
