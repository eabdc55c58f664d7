"""What ``mini`` knows of speakers, sources and pitches that no weight of it has heard: the tables of its model card.

    python tests/benchmarks/bench_mini.py --data DATA --weights part0.safetensors part1.safetensors part2.safetensors \
        [--beside logmel whisper-tiny.en whisper-base mn04_as] [--keep FOLDER] [--seconds]

Four questions, each by a linear probe (``fit_probes``, its penalty by grouped folds inside training) on the mean of a
clip's frames at every layer: ten spoken digits, each of six speakers held out in turn; three words, a third of the
speakers at a time; ten environmental sounds, each of the publisher's five folds in turn; fifteen instruments, at
pitches of which no other clip is in training. The weights of part i are asked about the clips that their training held
out (``workbench.encoders.mini.held_out``), so that three files judge every clip once; one file judges a part of them.
Intervals are over speakers, sources and pitches, as ``workbench.probes.pooled`` gives them.

Beside them: the same network with random weights, the log-mel spectrum (mean and standard deviation), and other
encoders, whose training nobody here held anything out of. Whisper hears a clip's own length (config "cut").
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from workbench.audio import level, load
from workbench.core.splits import Split
from workbench.encoders import extract, load_encoder
from workbench.encoders.mini.held_out import PARTS, read_table
from workbench.probes import fit_probes, fit_regression, paired, pooled

TASKS = ("fsdd", "speech_commands", "esc10", "philharmonia")
NUMBERS = ("pitch", "level")
TURNS = {"fsdd": "speaker", "esc10": "fold"}
"""Tasks whose held-out groups are tested one at a time."""


class Sounds:
    """The four sets, decoded once a rate, with labels, groups and who is held out of which part."""

    def __init__(self, root: Path):
        self.root = root
        tables = [read_table(root, part) for part in range(PARTS)]
        table = tables[0].assign(part_held_out=np.argmax([t["held_out"] for t in tables], 0))
        table = table[table["part"].isin(TASKS) & np.any([t["held_out"] for t in tables], 0)]
        table["y"] = np.where(table["part"] == "fsdd", table["digit"].astype("Int64").astype(str), table["label"])
        source = [str(json.loads(text).get("freesound_id")) for text in table["factors"]]
        table["leaks"] = np.where(table["part"] == "esc10", source, table["group"])
        table = table[(table["part"] != "philharmonia") | table["midi"].notna()]
        instruments = table[table["part"] == "philharmonia"].groupby("y")["part_held_out"].nunique()
        self.table = table[~table["y"].isin(instruments.index[instruments < PARTS])].reset_index(drop=True)
        self.rate, self.waveforms = None, []

    def at(self, rate: int) -> list[np.ndarray]:
        """Waveforms at a rate, in the order of the table."""
        if rate != self.rate:
            self.rate, self.waveforms = rate, [load(self.root / file, rate=rate)[0] for file in self.table["file"]]
        return self.waveforms

    def vectors(self, encoder, keep: Path | None, pooling: str = "mean") -> dict[str, np.ndarray]:
        """Layer -> (N, D), kept in a folder by the encoder's fingerprint."""
        path = None if keep is None else keep / f"{encoder.fingerprint}-{pooling}-{len(self.table)}.npz"
        if path is not None and path.is_file():
            with np.load(path) as file:
                return dict(file)
        rows = dict(extract(encoder, self.at(encoder.rate), pooling=pooling))
        layers = {
            layer.name: np.stack([rows[i][k] for i in range(len(rows))]) for k, layer in enumerate(encoder.layers)
        }
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **layers)
        return layers

    def ask(self, task: str, vectors: dict[int, dict[str, np.ndarray]]):
        """Probes over all clips held out of the parts that there are vectors for: part -> layer -> (N, D)."""
        rows = np.flatnonzero(self.table["part"] == task)
        table = self.table.iloc[rows]
        fits = []
        for part, layers in vectors.items():
            tested = (table["part_held_out"] == part).to_numpy()
            turns = table.loc[tested, "group"] if task in TURNS else np.zeros(tested.sum())
            for turn in np.unique(turns):
                test = np.flatnonzero(tested)[turns == turn]
                x = {name: values[rows] for name, values in layers.items()}
                split = Split(np.setdiff1d(np.arange(len(rows)), test), [], test)
                fits.append(fit_probes(x, table["y"].to_numpy(), split, groups=table["leaks"].to_numpy()))
        return pooled(fits)

    def read(self, number: str, vectors: dict[int, dict[str, np.ndarray]]):
        """Ridge regressions of pitch (MIDI, of notes) or level (dB, of environmental sounds), tested as in ``ask``."""
        rows = np.flatnonzero(self.table["part"] == {"pitch": "philharmonia", "level": "esc10"}[number])
        table = self.table.iloc[rows]
        y = table["midi"].astype(float) if number == "pitch" else [level(self.at(16000)[i]) for i in rows]
        fits = []
        for part, layers in vectors.items():
            test = np.flatnonzero(table["part_held_out"] == part)
            split = Split(np.setdiff1d(np.arange(len(rows)), test), [], test)
            x = {name: values[rows] for name, values in layers.items()}
            fits.append(fit_regression(x, {number: np.asarray(y)}, split, groups=table["leaks"].to_numpy()))
        return pooled(fits)


def by_part(sounds: Sounds, answers: dict[str, object]) -> pd.DataFrame:
    """Accuracy in per cent of the last layer on what each training held out: a row a part, a column a task."""
    rows = {}
    for task, probes in answers.items():
        if task not in NUMBERS:
            part = sounds.table.loc[sounds.table["part"] == task, "part_held_out"].to_numpy()[probes.test]
            right = probes.predictions[-1, 0] == probes.true
            rows[task] = {f"part {one}": round(100 * right[part == one].mean(), 1) for one in np.unique(part)}
    return pd.DataFrame(rows)


def table_of(answers: dict[str, dict[str, object]]) -> pd.DataFrame:
    """Accuracy in per cent, or R2 of numbers, with its interval: a row a system and layer, a column a task."""
    rows = {}
    for system, by_task in answers.items():
        for task, probes in by_task.items():
            if task in NUMBERS:
                for name, r2, (low, high) in zip(probes.names, probes.r2[:, 0], probes.interval[:, 0], strict=True):
                    rows.setdefault((system, name), {})[task] = f"{r2:.2f} [{low:.2f}, {high:.2f}]"
                continue
            for name, accuracy, (low, high) in zip(probes.names, probes.accuracy.mean(1), probes.interval, strict=True):
                rows.setdefault((system, name), {})[task] = f"{100 * accuracy:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    return pd.DataFrame(rows.values(), index=pd.MultiIndex.from_tuples(rows, names=["system", "layer"]))


def gains(answers: dict[str, dict[str, object]]) -> pd.DataFrame:
    """Points that mini's last layer is better than the untrained copy's last and best layer, with intervals."""
    rows = {}
    for task, probes in answers["mini"].items():
        if task in NUMBERS:
            continue
        rival = answers["untrained"][task]
        for title, layer in (("last", rival.names[-1]), ("best", rival.best_layer)):
            difference, low, high = (100 * value for value in paired(probes, probes.names[-1], rival, layer))
            text = f"{difference:+.1f} [{low:+.1f}, {high:+.1f}]"
            rows.setdefault(f"untrained, {title} layer", {})[task] = text
    return pd.DataFrame(rows).T


def speed(encoders: dict[str, object], rounds: int = 5) -> pd.DataFrame:
    """Fastest of some rounds: seconds for 32 clips of 1 s and of 5 s, encoders taking turns."""
    clips = {f"32 clips of {s} s": torch.randn(32, 16000 * s) * 0.1 for s in (1, 5)}
    best = {name: dict.fromkeys(clips, np.inf) for name in encoders}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, encoder in encoders.items():
                for title, x in clips.items():
                    begin = time.perf_counter()
                    encoder.forward(x, torch.full((len(x),), x.shape[1]), [len(encoder.layers) - 1])
                    best[name][title] = min(best[name][title], time.perf_counter() - begin)
    return pd.DataFrame(best).T


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument(
        "--weights", type=Path, nargs="+", default=[None], help="files of part 0, 1, 2; else the shipped"
    )
    parser.add_argument("--parts", type=int, nargs="+", help="which parts the files held out, if not the first ones")
    parser.add_argument("--beside", nargs="*", default=["logmel"], help="names of other encoders")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--numbers", action="store_true", help="R2 of pitch (notes) and level (ESC-10) beside")
    parser.add_argument("--keep", type=Path, help="folder that remembers clip vectors")
    parser.add_argument("--seconds", action="store_true", help="time the encoders too")
    options = parser.parse_args()
    sounds = Sounds(options.data)
    parts = options.parts or range(len(options.weights))
    trained = [load_encoder("mini", device="cpu", weights=path) for path in options.weights]
    encoders = {"mini": trained, "untrained": [load_encoder("mini", device="cpu", random_weights=0)]}
    for name in options.beside:
        config = "cut" if name.startswith("whisper") else "default"
        encoders[name] = [load_encoder(name, device="cpu", config=config)]
    answers = {}
    for system, loaded in encoders.items():
        pooling = "mean+std" if system == "logmel" else "mean"
        vectors = [sounds.vectors(encoder, options.keep, pooling) for encoder in loaded]
        vectors = dict(zip(parts, (vectors * len(trained))[: len(trained)], strict=True))
        answers[system] = {task: sounds.ask(task, vectors) for task in options.tasks}
        answers[system] |= {number: sounds.read(number, vectors) for number in NUMBERS if options.numbers}
        print(table_of({system: answers[system]}).to_string(), flush=True)
    print(by_part(sounds, answers["mini"]).to_string())
    print(gains(answers).to_string())
    if options.seconds:
        print(speed({name: loaded[0] for name, loaded in encoders.items() if name != "untrained"}).round(3).to_string())


if __name__ == "__main__":
    main()
