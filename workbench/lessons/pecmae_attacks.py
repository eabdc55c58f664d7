"""What the attacks in Part 6 of ``notebooks/pecmae.ipynb`` compute and say: on a segment's vector, and on its sound.

``told`` is everywhere what :func:`workbench.sonify.summarise` gave: N segments with their vectors, labels and sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import audio
from ..core.splits import Split
from ..metrics.intervals import difference_interval
from ..prototypes import LearntPrototypes, adversarial_example, adversarial_waveforms
from ..sonify import Judge, SummaryAutoencoder
from ..views import compared
from .pecmae import levelled, windows

# Vectors --------------------------------------------------------------------------------------------------------------


def second(learnt: LearntPrototypes, z: np.ndarray) -> np.ndarray:
    """The label that came second for each vector (n, D), (n,)."""
    return learnt.labels[learnt.logits(z).argsort(1)[:, -2]]


def move(learnt: LearntPrototypes, told: Any, split: Split, i: int, *, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """Move segment i towards the class that came second until the decision changes.

    Returns
    -------
    row : dict
        What the move was, for a table.
    sounding : dict of str to array (D,)
        The vector before and after, and the prototype it went to; empty where no way changes the decision.
    """
    z, y = told.z, told.labels
    target = second(learnt, z[[i]])[0]
    real = {"real": z[split.train], "real_labels": y[split.train]}
    moved = adversarial_example(learnt, z[i], target, **real, seed=seed)
    row = {"clip": told.names[i], "is": y[i], "becomes": target, "move / nearest neighbour": moved.relative}
    row |= {"share of the way": moved.share, "random directions that flip": moved.random_flips}
    row |= {"towards real clips": moved.towards_others / max(moved.length, 1e-9)}
    if not np.isfinite(moved.length):
        return row, {}
    prototype = learnt.prototypes()[moved.prototype]
    return row, {f"{y[i]}, as it was": z[i], f'now "{target}"': moved.z, f"the prototype of {target}": prototype}


def move_sentences(moves: Sequence[Mapping[str, Any]]) -> list[str]:
    """How short the moves are beside the way to real segments and beside random directions."""
    if not moves:
        return ["No test segment is decided rightly, so that none was moved."]
    names = ["move / nearest neighbour", "random directions that flip", "towards real clips"]
    short, often, longer = (np.array([row[name] for row in moves], dtype=float) for name in names)
    return [
        f"{(short < 1).sum()} of {len(short)} moves are shorter than the way to the nearest real segment; "
        f"the median is {np.median(short):.2f} of it.",
        f"Towards real segments of that class the way is longer in {(longer > 1).sum()} of {len(short)}.",
        f"Random directions of the same length change {often.mean():.1%} of decisions on average.",
    ]


# Sounds ---------------------------------------------------------------------------------------------------------------


def differentiable(model: SummaryAutoencoder) -> Callable[[Tensor], Tensor]:
    """Whole windows (B, samples) at the encoder's rate -> their vectors (B, D), by the autoencoder, with a gradient.

    What :meth:`workbench.sonify.SummaryAutoencoder.embed` computes without one: the level, the encoder's own front end,
    its frames and their summary, all by operations of torch.
    """
    position = model.encoder.select(model.layer)[0]

    def embed(x: Tensor) -> Tensor:
        x = levelled(x.to(model.device), model.level)
        with torch.backends.cudnn.flags(enabled=False):  # whose recurrent layers have no gradient in eval mode
            frames, lengths = model.encoder.forward(x, torch.full((len(x),), x.shape[1], device=x.device), [position])[
                0
            ]
            return model.net.summarise(frames.float(), lengths)

    return embed


class Attack(NamedTuple):
    """Segments, what they are and are to become, and the sounds that were made of them."""

    rows: np.ndarray
    """Numbers of the segments (n,)."""
    targets: np.ndarray
    """The classes that came second (n,)."""
    x: np.ndarray
    """The segments at ``rate``, (n, samples)."""
    rate: int
    """That of the encoder, Hz."""
    led: dict
    """Lead -> :class:`workbench.prototypes.adversarial.AdversarialWaveforms`; empty where there is no segment."""

    @property
    def made(self) -> np.ndarray:
        """Which of the segments the prototype's lead changed to their targets, numbers from 0."""
        return np.flatnonzero(self.led["prototype"].found) if self.led else np.arange(0)


def attack(
    learnt: LearntPrototypes, model: SummaryAutoencoder, told: Any, rows: np.ndarray, *, steps: int, seed: int
) -> Attack:
    """Change segments as little as possible until the class that came second is decided, led in both ways.

    Of ``rows`` those are left out whose padded window, which is what is changed, is not decided rightly as it is.
    """
    rate, rows = model.encoder.rate, np.asarray(rows, dtype=int)
    none = Attack(rows[:0], told.labels[:0], np.zeros((0, 0), np.float32), rate, {})
    if not len(rows):
        return none
    x = windows(told, rows, rate)
    z = model.embed(x, rate).cpu().numpy()
    right = learnt.predict(z).predictions == told.labels[rows]
    if not right.any():
        return none
    rows, x, z = rows[right], x[right], z[right]
    targets, embed = second(learnt, z), differentiable(model)
    options = {"steps": steps, "draws": 10, "seed": seed}
    made = {
        lead: adversarial_waveforms(learnt, embed, x, targets, lead=lead, **options) for lead in ("prototype", "logit")
    }
    return Attack(rows, targets, x, rate, made)


def in_16_bits(x: np.ndarray) -> np.ndarray:
    """Sounds as a file of 16 bits would hold them."""
    return (np.round(np.clip(x, -1, 1) * 32767) / 32767).astype(np.float32)


def noisy(x: np.ndarray, snr: Sequence[float] | np.ndarray, seed: int) -> np.ndarray:
    """Sounds (n, samples) with white noise that lies ``snr`` (n,) dB below each."""
    noise = np.random.default_rng(seed).standard_normal(x.shape)
    gain = np.linalg.norm(x, axis=1) / np.linalg.norm(noise, axis=1) * 10 ** (-np.asarray(snr, dtype=float) / 20)
    return (x + gain[:, None] * noise).astype(np.float32)


def noise_flips(
    learnt: LearntPrototypes, model: SummaryAutoencoder, attacked: Attack, *, levels: Sequence[int], seed: int
) -> dict[str, float]:
    """Share of decisions that white noise changes to any other class, by its level below the sound, such as "20 dB"."""
    if not len(attacked.rows):
        return {}
    before = learnt.predict(model.embed(attacked.x, attacked.rate).cpu().numpy()).predictions
    flips = {}
    for level in levels:
        sounds = noisy(attacked.x, [level] * len(attacked.x), seed)
        after = learnt.predict(model.embed(sounds, attacked.rate).cpu().numpy()).predictions
        flips[f"{level} dB"] = float((after != before).mean())
    return flips


def attack_table(
    learnt: LearntPrototypes, model: SummaryAutoencoder, told: Any, attacked: Attack, judge: Judge, rate: int, seed: int
) -> pd.DataFrame:
    """What each attack took, whether it holds in 16 bits, and what a judge hears before, after and with noise as loud.

    ``rate``: that of the sounds which the judge was fitted on, Hz.
    """
    at, made = attacked.made, attacked.led.get("prototype")
    if not len(at):
        return pd.DataFrame()

    def heard(x: np.ndarray) -> np.ndarray:
        sounds = [audio.resample(each, attacked.rate, rate) for each in x]
        return judge.classes[judge.probabilities(sounds, rate).argmax(1)]

    rows, sounds = attacked.rows[at], made.sounds[at]
    kept = learnt.predict(model.embed(in_16_bits(sounds), attacked.rate).cpu().numpy()).predictions
    return pd.DataFrame(
        {
            "clip": told.names[rows],
            "is": told.labels[rows],
            "becomes": attacked.targets[at],
            "dB below the sound": made.snr[at],
            "led by the logit": attacked.led["logit"].snr[at],
            "noise as loud flips": made.noise_flips[at],
            "holds in 16 bits": kept == attacked.targets[at],
            "judge before": heard(attacked.x[at]),
            "judge after": heard(sounds),
            "judge, noise as loud": heard(noisy(attacked.x[at], made.snr[at], seed)),
        }
    )


def attack_sentences(
    table: pd.DataFrame, attacked: Attack, flips: Mapping[str, float], groups: np.ndarray
) -> list[str]:
    """The control first, then how quiet the changes are, whether the prototype leads well, and whether an ear follows.

    Parameters
    ----------
    table : DataFrame
        Of :func:`attack_table`.
    attacked : Attack
    flips : mapping of str to float
        Of :func:`noise_flips`.
    groups : array (N,)
        Groups of all segments.
    """
    if not len(attacked.rows):
        return ["No test segment is decided rightly, so that none was attacked."]
    curve = ", ".join(f"{share:.0%} at {level}" for level, share in flips.items())
    sentences = [f"White noise below the sound changes this share of decisions, to any other class: {curve}."]
    if not len(table):
        return [*sentences, f"None of {len(attacked.rows)} decisions changed to the class that came second."]
    snr = table["dB below the sound"]
    sentences += [
        f"The change led by a prototype was found for {len(table)} of {len(attacked.rows)} segments; it lies "
        f"{snr.median():.0f} dB below the sound (median; {snr.min():.0f} to {snr.max():.0f}), and noise as loud flips "
        f"{table['noise as loud flips'].mean():.0%}.",
        f"In a file of 16 bits the new decision holds for {table['holds in 16 bits'].sum()} of them.",
    ]
    both = np.isfinite(table["led by the logit"].to_numpy(dtype=float))
    if both.any():
        pair = snr[both], table["led by the logit"][both]
        gap = difference_interval(*pair, groups[attacked.rows[attacked.made[both]]])
        lead = ("that led by the prototype", "that led by the classifier's logit")
        then = {"below": "It is the louder change: the prototype is not the shortest way."}
        form = {"factor": 1, "unit": "dB", "missing": "there are too few groups"}
        sentences.append(compared(*lead, gap, of="Distance of the change below the sound", **form, **then))
    before = table["judge before"]
    changed, noise = ((table[name] != before).sum() for name in ("judge after", "judge, noise as loud"))
    followed = ((table["judge after"] != before) & (table["judge after"] == table["becomes"])).sum()
    sentences.append(
        f"The judge says another class of {changed} of {len(table)} changed sounds than of the originals ({followed} "
        f"times the new one); with noise as loud, of {noise}."
    )
    return sentences


def attack_sounds(attacked: Attack, names: Sequence[str]) -> dict[str, tuple[np.ndarray, int]]:
    """The first segment that was changed: as it was, changed, the change made as loud as it, and noise made so too.

    Where none was changed, the first that resisted, or of no attack at all an empty mapping.
    """
    if not len(attacked.rows):
        return {}
    if not len(attacked.made):
        return {f"{names[0]}, which resisted": (attacked.x[0], attacked.rate)}
    k = attacked.made[0]
    x, sound = attacked.x[k].astype(np.float64), attacked.led["prototype"].sounds[k]
    difference, gain = sound - x, attacked.led["prototype"].snr[k]
    louder = (difference * 10 ** (gain / 20)).astype(np.float32)
    return {
        f"{names[k]}, as it was": (attacked.x[k], attacked.rate),
        f'decided as "{attacked.targets[k]}"': (sound, attacked.rate),
        f"the change alone, {gain:.0f} dB louder": (louder, attacked.rate),
        "with noise as loud as the change": (noisy(attacked.x[[k]], [gain], 0)[0], attacked.rate),
    }
