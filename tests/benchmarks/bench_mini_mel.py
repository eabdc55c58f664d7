"""How much of an unheard sound survives one vector of ``mini-mel``: the table of its model card, and a page to hear it.

    python tests/benchmarks/bench_mini_mel.py --data DATA [--weights FILE] [--clips 150] [--page FILE.html]
        [--beside FILE [--beside-encoder FILE]]

Windows of 2 s, brought to one level, of clips that neither autoencoder nor encoder was trained on: notes of
Philharmonia at other pitches, ten environmental sounds of another fold, digits by two other speakers, words by others.
Each set is named by a judge that has nothing to do with the autoencoder, a linear probe on real windows of the other
clips: on mn04_as (instruments, environmental sounds) or whisper-tiny.en (digits, words), whose weights are needed.

A row a system: the window itself, the codec there and back, the codec's frames on their principal axes alone (a linear
code as long as a summary), another window, one draw of the vector with several settings, and of some draws the one that
is nearest to its vector when it is heard again. Beside the share that is named rightly, with its 95 % interval over
pitches, sources or speakers: correlation of the codec's frames with the window's; how much they change from frame to
frame, over what the window's do; the Frechet distance of the judge's embeddings to those of other real windows, of
which "the window itself" is the floor. ``--beside`` measures another autoencoder, by its file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from workbench import embed, players
from workbench.audio import at_level, fit, load, segment
from workbench.core.splits import Split
from workbench.datasets import Clips
from workbench.encoders import load_encoder
from workbench.encoders.mini import load_mini
from workbench.encoders.mini.held_out import read_table, task_rows
from workbench.metrics.frechet import frechet_distance
from workbench.metrics.intervals import group_interval
from workbench.sonify import SummaryAutoencoder, fit_judge, load_autoencoder
from workbench.views.player_tables import Players

RATE, SECONDS, LEVEL = 16000, 2.0, -20.0
JUDGES = {
    "philharmonia": "mn04_as",
    "esc10": "mn04_as",
    "fsdd": "whisper-tiny.en",
    "speech_commands": "whisper-tiny.en",
}
FITTED = 1500
"""Most real windows that a judge is fitted on."""


def windows_of(root: Path, task: str, clips: int, seed: int) -> tuple[Clips, Split]:
    """The loudest window of each clip at one level, and which are unheard (test)."""
    table = read_table(root)
    table["label"] = np.where(table["part"] == "fsdd", table["digit"].astype("Int64").astype(str), table["label"])
    rows = task_rows(table, task)
    rng, held = np.random.default_rng(seed), rows["held_out"].to_numpy()
    chosen = [rng.permutation(np.flatnonzero(part))[:most] for part, most in ((~held, FITTED), (held, clips))]
    rows, sizes = rows.iloc[np.concatenate(chosen)], [len(part) for part in chosen]

    def window(file: str) -> np.ndarray:
        pieces = segment(load(root / file, rate=RATE)[0], RATE, seconds=SECONDS, tail="keep")
        loudest = max(pieces, key=lambda piece: float(np.square(piece).sum()))
        return at_level(fit(loudest, RATE, seconds=SECONDS), LEVEL)

    sources = [str(json.loads(text).get("freesound_id")) for text in rows["factors"]]
    groups = sources if task == "esc10" else rows["group"]
    columns = {"id": rows["file"], "label": rows["label"], "group": groups}
    sounds = Clips.from_arrays([window(file) for file in rows["file"]], RATE, name=task, **columns)
    return sounds, Split(np.arange(sizes[0]), [], np.arange(sizes[0], sum(sizes)))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over rows of Pearson's r between the flattened rows of ``a`` and ``b`` (N, ...); constant rows count 0."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return float(((a * b).sum(1) / np.where(norm > 0, norm, 1.0)).mean())


def change(frames: np.ndarray) -> float:
    """Mean absolute change of the codec's frames (N, T, D) from one to the next."""
    return float(np.abs(np.diff(frames, axis=1)).mean())


def draws_of(model: SummaryAutoencoder, x: np.ndarray, settings: tuple, draws: int) -> Iterator[tuple[str, np.ndarray]]:
    """Sounds of the vectors of windows (N, samples), by what was done."""
    z = model.embed(x, RATE)
    seeds = range(len(z))
    for steps, guidance in settings:
        yield f"S={steps}, g={guidance:g}", model.decode(z, steps=steps, guidance=guidance, seed=seeds).numpy()
    steps, guidance = settings[-1]
    if draws > 1:
        sound = model.decode(z, steps=steps, guidance=guidance, seed=seeds, draws=draws)
        yield f"S={steps}, g={guidance:g}, nearest of {draws}", sound.numpy()


def table_of(
    task: str, clips: Clips, split: Split, models: dict[str, SummaryAutoencoder], settings: tuple, draws: int
) -> pd.DataFrame:
    """The table of one set."""
    codec = next(iter(models.values())).codec
    config = "cut" if JUDGES[task].startswith("whisper") else "default"
    ear = load_encoder(JUDGES[task], device="cpu", config=config)
    judge = fit_judge(clips, ear, split, progress=False)
    sound = np.stack([clips.audio(i)[0] for i in range(len(clips))])
    x, y, groups = sound[split.test], clips.labels[split.test], clips.groups()[split.test]
    latents = codec.encode(torch.from_numpy(x)).numpy()
    other = np.random.default_rng(0).permutation(split.train)[: len(x)]

    def heard(waveforms: np.ndarray) -> np.ndarray:
        return embed(Clips.from_arrays(list(waveforms), RATE), ear, layers=-1, progress=False).layer(0)

    real = heard(sound[other])
    axes = codec.encode(torch.from_numpy(sound[split.train])).flatten(1)
    mean = axes.mean(0)
    size = min(256, len(axes) - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        axes = torch.svd_lowrank(axes - mean, q=size, niter=3)[2]
    linear = (mean + (torch.from_numpy(latents).flatten(1) - mean) @ axes @ axes.T).reshape(latents.shape)
    systems = {
        "the window itself": x,
        "codec there and back": codec.decode(torch.from_numpy(latents), length=x.shape[1]).numpy(),
        f"{size} principal axes of this set": codec.decode(linear, length=x.shape[1]).numpy(),
        "another of these windows": np.roll(x, 1, 0),
    }
    for name, model in models.items():
        systems |= {f"{name}, {what}": made for what, made in draws_of(model, x, settings, draws)}
    rows = {}
    for name, made in systems.items():
        again, right = codec.encode(torch.from_numpy(made)).numpy(), judge.agreement(made, RATE, y)
        low, high = group_interval(right.astype(float), groups, limits=(0, 1))
        rows[name] = {
            "named rightly": f"{100 * right.mean():.1f} [{100 * low:.0f}, {100 * high:.0f}]",
            "correlation": correlation(latents, again),
            "change": change(again) / change(latents),
            "Frechet": frechet_distance(heard(made), real),
        }
    return pd.DataFrame(rows).T


def page_of(
    task: str, clips: Clips, split: Split, models: dict[str, SummaryAutoencoder], setting: tuple, draws: int
) -> Players:
    """Players: the first unheard window of up to six classes, and what codec and autoencoders make of it."""
    codec, labels = next(iter(models.values())).codec, clips.labels[split.test]
    first = [split.test[np.flatnonzero(labels == name)[0]] for name in np.unique(labels)][:6]
    x = np.stack([clips.audio(i)[0] for i in first])
    systems = {"original": x, "codec": codec.round_trip(torch.from_numpy(x)).numpy()}
    options = {"steps": setting[0], "guidance": setting[1]}
    for name, model in models.items():
        z = model.embed(x, RATE)
        systems |= {f"{name}, draw {k + 1}": model.decode(z, seed=k, **options).numpy() for k in range(3)}
        systems[f"{name}, nearest of {draws}"] = model.decode(z, draws=draws, **options).numpy()
    named = {
        f"{clips.labels[i]}: {name}": (made[k], RATE) for k, i in enumerate(first) for name, made in systems.items()
    }
    return players(named, title=task, gain="each", limit=len(named))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument("--weights", default="mini-mel", help="file of the autoencoder; else the built-in one")
    parser.add_argument("--beside", type=Path, help="file of another autoencoder")
    parser.add_argument("--beside-encoder", type=Path, help="weights of mini that it was trained with")
    parser.add_argument("--tasks", nargs="+", default=list(JUDGES), choices=list(JUDGES))
    parser.add_argument("--clips", type=int, default=150, help="most unheard windows of a set")
    parser.add_argument("--settings", nargs="+", default=["10,0", "10,1", "40,0"], help="steps,guidance")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--page", type=Path, help="html with players of one window a class")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = tuple((int(s), float(g)) for s, g in (text.split(",") for text in options.settings))
    models = {"mini-mel": load_autoencoder(options.weights, device="cpu")}
    if options.beside is not None:
        encoder = options.beside_encoder and load_mini(weights=options.beside_encoder)
        models["beside"] = load_autoencoder(options.beside, device="cpu", encoder=encoder)
    views = []
    for task in options.tasks:
        clips, split = windows_of(options.data, task, options.clips, options.seed)
        table = table_of(task, clips, split, models, settings, options.draws)
        print(f"{task}, judge {JUDGES[task]}, {len(split.test)} unheard windows")
        print(table.to_string(float_format="{:.2f}".format), flush=True)
        if options.page is not None:
            views.append(page_of(task, clips, split, models, settings[-1], options.draws))
    if options.page is not None:
        options.page.write_text('<meta charset="utf-8">' + "".join(view.html for view in views), encoding="utf-8")


if __name__ == "__main__":
    main()
