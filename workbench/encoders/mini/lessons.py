"""What the teachers of ``mini`` say of drawn sounds: lessons, made once, kept on disk, read in every epoch.

A lesson is one batch of distorted sounds (:mod:`.sounds`) with the frames that each teacher gives at two depths, a
middle and a last one. Teachers hear just what the student hears. Frames faster than the student's 25 a second are
averaged to them; slower ones stay as they are. Whisper hears a clip's own length ("cut"), not 30 s.
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
"""Of everything that changes a lesson and is not in its fingerprint already: draws, distortions, teachers' frames."""
BATCH = {"short": 28, "long": 10}
"""Clips of a lesson, each in two views."""
SOUNDS = "sounds"


@dataclass(frozen=True)
class Taught:
    """One depth of one teacher, and where the student learns it."""

    teacher: str
    """Name of an encoder of the registry."""
    layer: str
    """Its layer."""
    at: int
    """The student's layer that learns it."""
    weight: float
    """Of its losses."""

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
    """The entries of ``TAUGHT`` of some teachers, each with the name of an encoder."""
    known = {entry.teacher for entry in TAUGHT}
    for name in teachers:
        if name not in known:
            raise ParameterError("teachers", name, f"some of {sorted(known)}")
    return [entry for entry in TAUGHT if entry.teacher in teachers]


def student_frames(lengths: Tensor) -> Tensor:
    """Frames at 25 Hz of clips of ``lengths`` samples at 16 kHz, (B,)."""
    return (lengths // HOP + 1 + 3) // 4


def inside(lengths: Tensor, frames: int, total: int) -> Tensor:
    """(B, frames) True where a frame of a lesson belongs to its clip; ``frames`` may be slower than the student's.

    ``lengths`` are samples at 16 kHz, ``total`` is the width of the batch in frames of the student.
    """
    counts = student_frames(lengths)
    return frame_mask(counts if frames == total else (counts * frames / total).ceil().long(), frames)


@torch.inference_mode()
def _frames(teacher: Encoder, layers: list[int], x: Tensor, lengths: Tensor, total: int) -> list[Tensor]:
    """The teacher's frames for 32 kHz sounds at no more than ``total`` a row, float16 (B, T, D)."""
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
    """Lessons on disk: a file for the sounds of each, and one for each teacher.

    Parameters
    ----------
    folder : Path
        Trainings that agree in sounds, seed and held-out part share what is in it.
    count : int
        How many.
    teachers : sequence of str
        Names of encoders whose weights are found (``WORKBENCH_WEIGHTS``).
    root : Path
        Audio folder with ``manifest.csv``; a lesson of another manifest is another lesson.
    part : int
        Which clips are not heard (:func:`.held_out.read_table`).
    seed : int
        Of every draw; a lesson depends on it and on its number alone.
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
        """Tensors "x" int16 (B, samples) at 16 kHz, "lengths" (B,), and float16 (B, T, D) by name of what is taught."""
        from safetensors.torch import load_file

        return {name: y for source in self.sources for name, y in load_file(str(self._path(source, i))).items()}

    def make(self) -> None:
        """Write what is missing."""
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
