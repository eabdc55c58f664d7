"""What an encoder is: a frozen model that turns waveforms into frames, layer by layer.

Any torch module that takes waveforms becomes one by :func:`~workbench.encoders.encoder_from`. To write one yourself,
subclass :class:`Encoder`, fill in the attributes in ``__init__`` and write ``forward``; batching, padding, caching,
probing and the notebooks then work with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from ..core.checks import choice, number, several, whole
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint as fingerprint  # what subclasses need, at the room's door


@dataclass(frozen=True)
class Layer:
    """One place in a network where frames can be read."""

    name: str
    """What the family calls it: "0" ... "12" for transformer hidden states, "features.4" for a convolution block."""
    dim: int
    """Length D of one frame."""
    frame_rate: float
    """Frames a second (Hz); 0.0 when the layer gives one frame a clip."""


class Encoder(ABC):
    """A frozen model: waveforms and lengths in, frames of each layer and their lengths out.

    Attributes
    ----------
    name : str
        Registry name or the path it was loaded from.
    rate : int
        Sample rate (Hz) of the waveforms it takes.
    layers : tuple of Layer
        Where frames can be read, input side first.
    fingerprint : str
        Hash of everything that changes the numbers: weights, front end and its code version, padding policy,
        compute dtype. Equal fingerprints promise equal frames.
    padding : {"masked", "equal", "fixed"}
        What zero-padding a clip in a batch does. "masked": nothing (up to float tolerance); "equal": it would change
        the numbers, so only clips of equal length share a batch; "fixed": the front end pads or cuts every clip to
        ``window`` seconds itself, so batch-mates cannot matter.
    window : float or None
        Seconds the front end pads or cuts to, where ``padding == "fixed"``; with another policy, seconds that it cuts
        longer clips to, or None where it hears all.
    minimum : int
        Shortest waveform in samples that gives a frame; shorter clips are zero-padded to it on the right.
    device : torch.device
    recipe : mapping or None
        What :func:`~workbench.encoders.load_encoder` was given, but for the device; None where it was made otherwise.
    """

    name: str
    rate: int
    layers: tuple[Layer, ...]
    fingerprint: str
    padding: str = "masked"
    window: float | None = None
    minimum: int = 1
    device: torch.device = torch.device("cpu")
    recipe: Mapping[str, object] | None = None

    def __repr__(self) -> str:
        if not hasattr(self, "name") or not hasattr(self, "layers"):
            return super().__repr__()
        at = f"{self.frame_rate:g} frames a second" if self.frame_rate else "no frames in time"
        return f"Encoder({self.name}: {self.rate} Hz, {len(self.layers)} layers, the last of D = {self.dim}, {at})"

    @property
    def dim(self) -> int:
        """D of the last layer."""
        return self.layers[-1].dim

    @property
    def frame_rate(self) -> float:
        """Frames a second (Hz) of the last layer."""
        return self.layers[-1].frame_rate

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode one batch; called in inference mode, on ``self.device``, by :func:`workbench.encoders.extract`.

        Parameters
        ----------
        x : Tensor, float32 (B, samples)
            Zero-padded on the right.
        lengths : Tensor, int64 (B,)
            True samples of each row.
        layers : sequence of int
            Positions in ``self.layers``, ascending.

        Returns
        -------
        list of (frames, lengths), one a layer asked for
            ``frames`` (B, T, D) and ``lengths`` int64 (B,); frames past a row's length are undefined.
        """

    def select(self, layers: str | int | Sequence[str | int] = "all") -> tuple[int, ...]:
        """Positions in ``self.layers`` of the layers asked for: "all", a name, a position, or several of these.

        Raises
        ------
        ParameterError
            For a layer the encoder does not have; the message lists those it has.
        """
        names = [layer.name for layer in self.layers]

        def position(_: str, layer: object) -> int:
            if isinstance(layer, str) and layer in names:
                return names.index(layer)
            if isinstance(layer, Integral) and not isinstance(layer, bool) and -len(names) <= layer < len(names):
                return int(layer) % len(names)
            known = f"'all' or among {', '.join(names)} of encoder {self.name}"
            raise ParameterError("layers", layer, f"{known}, or a position from 0 to {len(names) - 1}")

        if isinstance(layers, str) and layers == "all":
            return tuple(range(len(names)))
        if not isinstance(layers, Iterable) or isinstance(layers, (str, bytes, dict)):
            return (position("layers", layers),)
        return tuple(sorted(set(several("layers", layers, position))))

    def describe(self) -> dict[str, object]:
        """What a run records about its encoder (plain types only)."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "rate": self.rate,
            "layers": [layer.name for layer in self.layers],
            "dim": self.dim,
            "frame_rate": self.frame_rate,
            "padding": self.padding,
            "device": str(self.device),
        }


def check_encoder(encoder: object) -> None:
    """Refuse an encoder of one's own whose attributes cannot be worked with.

    Raises
    ------
    ParameterError
        It is no :class:`Encoder`, or an attribute is missing or wrong; the message names it and says what to write.
    """
    if not isinstance(encoder, Encoder):
        raise ParameterError("encoder", encoder, "an Encoder, as load_encoder(name) returns, or a torch module")
    for name in ("name", "rate", "layers"):
        if not hasattr(encoder, name):
            raise ParameterError("encoder", type(encoder).__name__, f"one that sets its attribute {name!r} in __init__")
    if not isinstance(encoder.name, str) or not encoder.name:
        raise ParameterError("encoder.name", encoder.name, "text")
    whole("encoder.rate", encoder.rate, least=1)
    whole("encoder.minimum", encoder.minimum, least=1)
    choice("encoder.padding", encoder.padding, ("masked", "equal", "fixed"))
    if encoder.padding == "fixed" or encoder.window is not None:
        number("encoder.window", encoder.window, above=0)
    if not isinstance(encoder.device, torch.device):
        raise ParameterError("encoder.device", encoder.device, "a torch.device")
    several("encoder.layers", encoder.layers, _check_layer)
    names = [layer.name for layer in encoder.layers]
    if len(set(names)) < len(names):
        raise ParameterError("encoder.layers", names, "layers of different names")


def check_fingerprint(encoder: Encoder) -> None:
    """Refuse an encoder of one's own that does not say when its numbers change.

    Raises
    ------
    ParameterError
        Its fingerprint is missing or no text; the message says what to write.
    """
    mark = getattr(encoder, "fingerprint", None)
    if not isinstance(mark, str) or not mark:
        example = "self.fingerprint = fingerprint('mine', 1, weights=self.net.state_dict())"
        expected = "text that changes when the numbers do, for the store to tell encoders apart"
        way = f"in __init__, {example}, with fingerprint from workbench.encoders; encoder_from(module) makes its own"
        raise ParameterError("encoder.fingerprint", mark, f"{expected}: {way}")


def _check_layer(name: str, layer: object) -> None:
    if not isinstance(layer, Layer) or not isinstance(layer.name, str):
        raise ParameterError(name, layer, "a Layer(name, dim, frame_rate)")
    whole(f"{name}.dim", layer.dim, least=1)
    number(f"{name}.frame_rate", layer.frame_rate, least=0)
