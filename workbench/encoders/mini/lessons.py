"""What the teachers of ``mini`` say of drawn sounds: lessons, made once, kept on disk, read in every epoch.

A lesson is one batch of distorted sounds (:mod:`.sounds`) with the frames that each teacher gives at two depths, a
middle and a last one. Teachers hear just what the student hears. Frames faster than the student's 25 a second are
averaged to them; slower ones stay as they are. Whisper hears a clip's own length ("cut"), not 30 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ...core.errors import ParameterError
from ...core.saving import write_tensors
from ..interface import Encoder
from ..registry import load_encoder
from .network import HOP, frame_mask
from .sounds import Corpus, draw_batch, halve

BATCH = {"short": 28, "long": 10}
"""Clips of a lesson, each in two views."""


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
    """Lessons on disk, a file each.

    Parameters
    ----------
    folder : Path
    count : int
    """

    def __init__(self, folder: Path, count: int):
        self.paths = [folder / f"{i:05d}.safetensors" for i in range(count)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        """Tensors "x" int16 (B, samples) at 16 kHz, "lengths" (B,), and float16 (B, T, D) by name of what is taught."""
        from safetensors.torch import load_file

        return load_file(str(self.paths[i]))

    def make(self, corpus: Callable[[], Corpus], teachers: Sequence[str], *, seed: int) -> None:
        """Write those that are missing.

        Parameters
        ----------
        corpus : callable
            Gives the sounds, where any are needed.
        teachers : sequence of str
            Names of encoders whose weights are found (``WORKBENCH_WEIGHTS``).
        seed : int
            Of every draw; a lesson depends on it and on its number alone.
        """
        missing = [i for i, path in enumerate(self.paths) if not path.is_file()]
        if not missing:
            return
        entries, heard = taught(teachers), corpus()
        loaded = {}
        for name in dict.fromkeys(entry.teacher for entry in entries):
            config = "cut" if name.startswith("whisper") else "default"
            loaded[name] = load_encoder(name, device="cpu", config=config)
        for i in tqdm(missing, "lessons", mininterval=5):
            kind = "short" if i % 2 else "long"
            x, lengths = draw_batch(heard, np.random.default_rng((seed, 2, i)), kind, BATCH[kind])
            student = halve(x)
            lesson = {"x": (student.clamp(-1, 1) * 32767).short(), "lengths": lengths // 2}
            total = int(student_frames(lesson["lengths"]).max())
            for name, teacher in loaded.items():
                mine = [entry for entry in entries if entry.teacher == name]
                layers = [teacher.select(entry.layer)[0] for entry in mine]
                for entry, frames in zip(mine, _frames(teacher, layers, x, lengths, total), strict=True):
                    lesson[entry.name] = frames
            write_tensors(self.paths[i], lesson)
