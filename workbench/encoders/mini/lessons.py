"""Lessons for ``mini``: batches of sounds with the frames of its teachers, stored on disk and read in every epoch.

A lesson is one batch of distorted sounds (:mod:`.sounds`) with the frames that each teacher computes from them at two
layers, a middle and a late one. Frame rates above the student's 25 a second are reduced to it by averaging; lower ones
are kept. Whisper runs on a clip's own length ("cut"), not on 30 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...core.errors import ParameterError
from ...core.fingerprints import fingerprint
from ...core.saving import write_tensors
from ..interface import Encoder
from ..registry import load_encoder
from .held_out import read_table
from .network import HOP, frame_mask
from .sounds import SECONDS, SHARES, Corpus, draw_batch, halve

VERSION = 1
"""Increased when draws, distortions or teachers' frames change in a way that the fingerprint would not notice."""
BATCH = {"short": 28, "long": 10}
"""Number of clips of a lesson, each of which has two views."""
SOUNDS = "sounds"


@dataclass(frozen=True)
class Taught:
    """One layer of one teacher, and the layer of the student that learns it."""

    teacher: str
    """Name of the teacher in the registry of encoders."""
    layer: str
    """Name of the teacher's layer."""
    at: int
    """Position of the student's layer that learns it."""
    weight: float
    """Weight of its losses."""

    @property
    def name(self) -> str:
        """Key of its frames in a lesson."""
        return f"{self.teacher} {self.layer}"


TAUGHT = (
    Taught("whisper-tiny.en", "2", 4, 1.0),
    Taught("whisper-tiny.en", "4", 6, 1.0),
    Taught("whisper-base", "3", 4, 1.0),
    Taught("whisper-base", "6", 6, 1.0),
    Taught("mn04_as", "features.13", 6, 0.6),
    Taught("mn04_as", "features.16", 6, 0.6),
)


def taught(teachers: Sequence[str]) -> list[Taught]:
    """Return the entries of ``TAUGHT`` for the teachers with these names."""
    known = {entry.teacher for entry in TAUGHT}
    for name in teachers:
        if name not in known:
            raise ParameterError("teachers", name, f"some of {sorted(known)}")
    return [entry for entry in TAUGHT if entry.teacher in teachers]


def student_frames(lengths: Tensor) -> Tensor:
    """Return the number of frames at 25 Hz, (B,), of clips of ``lengths`` samples at 16 kHz."""
    return (lengths // HOP + 1 + 3) // 4


def inside(lengths: Tensor, frames: int, total: int) -> Tensor:
    """Return a mask (B, frames), True where a frame of a lesson belongs to its clip, also for slower frames.

    ``lengths`` are samples at 16 kHz, ``total`` is the width of the batch in frames of the student.
    """
    counts = student_frames(lengths)
    return frame_mask(counts if frames == total else (counts * frames / total).ceil().long(), frames)


@torch.inference_mode()
def _frames(teacher: Encoder, layers: list[int], x: Tensor, lengths: Tensor, total: int) -> list[Tensor]:
    """Compute a teacher's frames for 32 kHz sounds, averaged to at most ``total`` a row: float16 (B, T, D)."""
    if teacher.rate == 16000:
        x, lengths = halve(x), lengths // 2
    if teacher.padding == "equal":
        lengths = torch.full_like(lengths, x.shape[1])
    with torch.autocast("cpu", torch.bfloat16, enabled=teacher.name.startswith("whisper")):
        outputs = [y.float() for y, _ in teacher.forward(x, lengths, layers)]
    for i, y in enumerate(outputs):
        if (factor := round(y.shape[1] / total)) > 1:
            lack = max(0, factor * total - y.shape[1])
            y = F.pad(y.transpose(1, 2), (0, lack), mode="replicate").transpose(1, 2)
            outputs[i] = y[:, : factor * total].unflatten(1, (total, factor)).mean(2)
    return [y.half() for y in outputs]


class Lessons:
    """Lessons on disk: for each, a file with its sounds and one with the frames of each teacher.

    Parameters
    ----------
    folder : Path
        Folder of the files, which trainings with the same sounds, seed and held-out part share.
    count : int
        Number of lessons.
    teachers : sequence of str
        Names of encoders whose weights can be found (``WORKBENCH_WEIGHTS``).
    root : Path
        Audio folder with ``manifest.csv``; with another manifest the lessons are others.
    part : int
        Part of the clips that is held out (:func:`.held_out.read_table`).
    seed : int
        Seed of all random draws; a lesson depends on it and on its number.
    """

    def __init__(self, folder: Path, count: int, teachers: Sequence[str], *, root: Path, part: int, seed: int):
        self.entries, self.count, self.seed = taught(teachers), count, seed
        self.root, self.table = root, read_table(root, part)
        heard = self.table.to_csv()
        drawn = (repr(SHARES), repr(SECONDS), repr(BATCH), heard, part, seed)
        self.fingerprint = fingerprint("lessons of mini", VERSION, *drawn)
        self.folder = folder / f"part{part}-seed{seed}-{self.fingerprint[:8]}"
        self.sources = [SOUNDS, *dict.fromkeys(entry.teacher for entry in self.entries)]

    def __len__(self) -> int:
        return self.count

    def _path(self, source: str, i: int) -> Path:
        return self.folder / source / f"{i:05d}.safetensors"

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Return "x" int16 (B, samples) at 16 kHz, "lengths" (B,), and frames float16 (B, T, D) by `Taught.name`."""
        from safetensors.torch import load_file

        return {name: y for source in self.sources for name, y in load_file(str(self._path(source, i))).items()}

    def make(self) -> None:
        """Make and write the files that are missing."""
        missing = {i: [s for s in self.sources if not self._path(s, i).is_file()] for i in range(self.count)}
        missing = {i: sources for i, sources in missing.items() if sources}
        if not missing:
            return
        corpus, loaded = Corpus.read(self.root, self.table), {}
        for name in {name for sources in missing.values() for name in sources} - {SOUNDS}:
            config = "cut" if name.startswith("whisper") else "default"
            loaded[name] = load_encoder(name, device="cpu", config=config)
        for i, sources in tqdm(missing.items(), "lessons", mininterval=5):
            kind = "short" if i % 2 else "long"
            x, lengths = draw_batch(corpus, np.random.default_rng((self.seed, 2, i)), kind, BATCH[kind])
            student = {"x": (halve(x).clamp(-1, 1) * 32767).short(), "lengths": lengths // 2}
            total = int(student_frames(student["lengths"]).max())
            for source in sources:
                if source == SOUNDS:
                    write_tensors(self._path(source, i), student)
                    continue
                mine = [entry for entry in self.entries if entry.teacher == source]
                layers = [loaded[source].select(entry.layer)[0] for entry in mine]
                frames = _frames(loaded[source], layers, x, lengths, total)
                write_tensors(self._path(source, i), {e.name: y for e, y in zip(mine, frames, strict=True)})
