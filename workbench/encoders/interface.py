"""The interface of an encoder, a frozen model that turns waveforms into frames of each of its layers.

:func:`~workbench.encoders.encoder_from` makes an encoder of any torch module that takes waveforms. To write one
yourself, subclass :class:`Encoder`, set the attributes in ``__init__`` and write ``forward``; batching, padding,
caching, probing and the notebooks then work with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """Its name, such as "0" to "12" for the hidden states of a transformer, or "features.4" for a convolution block."""
    dim: int
    """Length D of one frame."""
    frame_rate: float
    """Frames a second (Hz); 0.0 if the frames are not a time series, as with one frame a clip."""


class Encoder(ABC):
    """A frozen model that maps waveforms and their lengths to frames of each layer and their lengths.

    Attributes
    ----------
    name : str
        Registry name, or the path from which it was loaded.
    rate : int
        Sample rate (Hz) of its waveforms.
    layers : tuple of Layer
        Places where frames can be read, from the input to the output.
    fingerprint : str
        Hash of everything that changes the numbers: weights, front end and its code version, padding policy and
        compute dtype. Encoders with equal fingerprints give equal frames.
    padding : {"masked", "equal", "fixed"}
        Effect of zero-padding a clip in a batch. "masked": none (up to float tolerance). "equal": it would change the
        numbers, so that only clips of equal length share a batch. "fixed": the front end pads or cuts every clip to
        ``window`` seconds, so that the other clips of a batch have no effect.
    window : float or None
        With ``padding == "fixed"``, seconds to which the front end pads or cuts; with another policy, seconds to which
        it cuts longer clips, or None if it uses the whole clip.
    minimum : int
        Samples of the shortest waveform that gives a frame; shorter clips are zero-padded to it on the right.
    device : torch.device
    recipe : mapping or None
        Arguments given to :func:`~workbench.encoders.load_encoder`, without the device; None for other encoders.
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
            Waveforms, zero-padded on the right.
        lengths : Tensor, int64 (B,)
            Number of true samples of each row.
        layers : sequence of int
            Positions in ``self.layers``, in ascending order.

        Returns
        -------
        list of (frames, lengths), one for each of ``layers``
            ``frames`` (B, T, D) and ``lengths`` int64 (B,); frames beyond a row's length are undefined.
        """

    def forward_changed(
        self, x: Tensor, lengths: Tensor, layers: Sequence[int], at: int, change: Callable[[Tensor, Tensor], Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Encode one batch with the frames of one layer changed, from which the later layers are computed.

        A subclass that can do so overrides it; :func:`workbench.encoders.splice` calls it.

        Parameters
        ----------
        x, lengths, layers
            As for :meth:`forward`.
        at : int
            Position of the layer that is changed.
        change : callable
            Given frames (B, T, D) and lengths (B,) of that layer, it returns the frames (B, T, D) to go on with.

        Returns
        -------
        list of (frames, lengths), one for each of ``layers``
            The layer ``at`` gives the changed frames.

        Raises
        ------
        ParameterError
            The frames of the layer cannot be changed; the message says why.
        """
        expected = f"a layer of an encoder that has forward_changed, which {type(self).__name__} lacks"
        raise ParameterError("layer", self.layers[at].name, expected)

    def select(self, layers: str | int | Sequence[str | int] = "all") -> tuple[int, ...]:
        """Return the positions in ``self.layers`` of "all" layers, of a name or position, or of several of these.

        Raises
        ------
        ParameterError
            The encoder does not have such a layer; the message lists its layers.
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
        """Return what a run records about its encoder, in plain types."""
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
    """Refuse an object that is not an encoder, or an encoder with missing or wrong attributes.

    Raises
    ------
    ParameterError
        It is not an :class:`Encoder`, or an attribute is missing or wrong; the message names it and says what to write.
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
    """Refuse an encoder without a fingerprint, by which changes of its numbers are noticed.

    Raises
    ------
    ParameterError
        Its fingerprint is missing or not text; the message says what to write.
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
