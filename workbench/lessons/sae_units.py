"""What the autoencoders of ``notebooks/sae.ipynb`` are trained on: one vector a clip, or every frame of the clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..core.checks import checked, choice
from ..core.errors import ParameterError
from ..core.splits import Split
from ..embeddings import embed
from ..sae import SparseAutoencoder, SparseCodes, encode_frames

if TYPE_CHECKING:
    from ..datasets import Clips
    from ..encoders import Encoder

UNITS = ("clip", "frame")
"""What one row of the training data is."""


class Inputs:
    """Vectors of clips, or frames, of some layers, with the splits of these rows.

    Parameters
    ----------
    unit : {"clip", "frame"}
        "clip" takes the mean over time of each clip, "frame" each frame by itself, read from the store when needed.
    clips : Clips
    network : Encoder
    layers : sequence of str
    splits : sequence of Split
        Splits of the clips.
    seconds : float, optional
        What is heard of each clip, as in :func:`workbench.embed`.

    Attributes
    ----------
    vectors : dict of str to array (rows, D)
        What autoencoders are trained on, by layer.
    splits : list of Split
        Splits of these rows; the frames of a clip are all in one part.
    lengths : ndarray, int64 (N,), or None
        Number of frames of each clip; None with "clip".
    means : dict of str to ndarray (N, D)
        The vectors of the clips, with either unit.
    """

    @checked
    def __init__(
        self,
        unit: Literal["clip", "frame"],
        clips: Clips,
        network: Encoder,
        layers: Sequence[str],
        splits: Sequence[Split],
        *,
        seconds: float | None = None,
    ):
        self.unit, self.clips, self.lengths = choice("unit", unit, UNITS), len(clips), None
        layers = list(layers)
        self.means = embed(clips, network, layers=layers, seconds=seconds).arrays()
        self.vectors, self.splits = dict(self.means), list(splits)
        if unit == "clip":
            return
        frames = embed(clips, network, layers=layers, pooling=None, seconds=seconds)
        self.vectors = {name: frames.flat_frames(name) for name in frames.layers}
        counts = {name: flat.lengths for name, flat in self.vectors.items()}
        self.lengths = next(iter(counts.values()))
        if any((each != self.lengths).any() for each in counts.values()):
            sums = {name: int(each.sum()) for name, each in counts.items()}
            raise ParameterError("layers", sums, "of as many frames each; choose one of them")
        self.splits = [next(iter(self.vectors.values())).split(split) for split in splits]

    def budget(self, plan: Mapping) -> dict[str, int]:
        """How long :func:`workbench.fit_saes` trains: ``epochs`` of a plan over clips, or ``frames_seen`` frames."""
        return {"epochs": plan["epochs"]} if self.unit == "clip" else {"rows": plan["frames_seen"]}

    def codes(self, sae: SparseAutoencoder, layer: str) -> SparseCodes:
        """Codes of all frames, which is what an autoencoder of frames gives.

        Raises
        ------
        ParameterError
            The unit is "clip".
        """
        if self.unit == "clip":
            raise ParameterError("unit", self.unit, "'frame', to have codes of frames")
        return encode_frames(sae, self.vectors[layer], self.lengths, progress=False)

    def encode(self, sae: SparseAutoencoder, layer: str, *, how: Literal["mean", "max"] = "mean") -> np.ndarray:
        """Codes of the clips, float32 (N, latents): of their vectors, or the mean or maximum of their frames' codes."""
        return sae.encode(self.means[layer]) if self.unit == "clip" else self.codes(sae, layer).pooled(how)

    def some(self, layer: str, clips: Clips, *, most: int = 20_000) -> tuple[np.ndarray, Split, dict[str, np.ndarray]]:
        """Rows of a layer that fit in memory, with their split, and their ``groups`` and ``labels``.

        Of clips these are all vectors; of more than ``most`` frames as many, evenly spaced in each part of the first
        split.
        """
        of_clips = {"groups": clips.groups(), "labels": np.asarray(clips.labels)}
        if self.unit == "clip":
            return self.means[layer], self.splits[0], of_clips
        share = min(1.0, most / self.lengths.sum())
        parts = [rows[np.linspace(0, len(rows) - 1, int(share * len(rows))).astype(int)] for rows in self.splits[0]]
        rows, ends = np.concatenate(parts), np.cumsum([len(part) for part in parts[:2]])
        owner = np.repeat(np.arange(self.clips), self.lengths)[rows]
        x = np.concatenate([np.asarray(self.vectors[layer][part]) for part in parts if len(part)])
        split = Split(*np.split(np.arange(len(rows)), ends))
        return x, split, {name: values[owner] for name, values in of_clips.items()}

    def moments(self, sae: SparseAutoencoder, frames: np.ndarray) -> np.ndarray:
        """What each latent is at each frame (T, D) of a clip, float32 (T, latents).

        An autoencoder of frames gives this as their codes. One of clips sees the mean frame; its latents get what each
        frame adds to that, before ReLU and top-k, where it is above zero.
        """
        return sae.encode(frames) if self.unit == "frame" else np.maximum(sae.preactivations(frames), 0)

    def sentences(self, plan: Mapping, *, forms: int) -> list[str]:
        """What is trained on, and for how long, before it starts."""
        train, row = len(self.splits[0].train), self.unit
        layers = f"layer{'s' * (len(self.vectors) > 1)} {', '.join(self.vectors)}"
        told = f"Autoencoders of {row}s of {layers}: {forms} forms, {plan['sae_seeds']} seeds each."
        if self.unit == "clip":
            return [told, f"Training: {train} clips of the first split, each seen {plan['epochs']} times."]
        seen, frames = plan["frames_seen"], self.lengths.sum()
        return [
            told,
            f"{frames:,} frames of {self.clips} clips, {self.lengths.mean():.0f} a clip, all of them on one side.",
            f"Training: {seen:,} frames are seen; the first split has {train:,}, so each is seen {seen / train:.1f} "
            "times on average. What takes a minute or more says first how long.",
        ]

    def mean_sentences(self, coded: Mapping, *, k: int) -> list[str]:
        """That a mean of sparse codes is less sparse than they are, where codes are of frames.

        Parameters
        ----------
        coded : mapping of name to :class:`workbench.sae.study.Code`
            Codes of the clips.
        k : int
            Numbers that a frame keeps in those that are looked at.
        """
        mine = [code for code in coded.values() if (code.kind, code.k) == ("SAE", k)]
        if self.unit == "clip" or not mine:
            return []
        active = np.mean([(code.z != 0).sum(1).mean() for code in mine])
        told = f"A frame keeps about {k} of {mine[0].z.shape[1]} latents; in the mean over a clip's frames {active:.0f}"
        return [f"{told} are not zero. A probe reads all of these, and of the linear controls {k} numbers."]

    def moments_sentence(self, sae: SparseAutoencoder, frames: np.ndarray, x: np.ndarray, z: np.ndarray) -> str:
        """Check on one clip that what is drawn over time adds up to what the clip has, and say so.

        Parameters
        ----------
        sae : SparseAutoencoder
        frames : ndarray (T, D)
        x : ndarray (D,)
            Its mean frame.
        z : ndarray (latents,)
            Its code.

        Raises
        ------
        AssertionError
            The mean over time is not the clip's number.
        """
        if self.unit == "frame":
            assert np.allclose(sae.encode(frames).mean(0), z, atol=1e-3), "a clip's code is the mean of its frames'"
            told = f"The code of the first clip is the mean of those of its {len(frames)} frames"
            return f"{told}, for all {len(z)} latents."
        seen = sae.preactivations(frames).mean(0)
        assert np.allclose(seen, sae.preactivations(x[None])[0], atol=1e-3), "equation 4"
        return f"Equation 4 holds for all {len(z)} latents of the first clip."


def some_of(clips: Clips, split: Split, *, most: int, seed: int) -> tuple[np.ndarray, Split]:
    """At most so many clips, with the same shares of training, validation and test, and their own split.

    Returns
    -------
    rows : ndarray of int (N,)
        Positions among the clips.
    split : Split
        Of positions in ``rows``.
    """
    share, rng = min(1.0, most / len(clips)), np.random.default_rng(seed)
    parts = [rng.permutation(part)[: max(1, round(share * len(part)))] for part in split]
    ends = np.cumsum([0, *map(len, parts)])
    return np.concatenate(parts), Split(*(np.arange(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)))
