"""Clip vectors for measuring the models in the box: means of an encoder's frames, and the trivial control."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from tqdm import tqdm

from ..interface import Encoder
from .network import LogMel


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
