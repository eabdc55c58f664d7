"""Change the frames of one layer and run the rest of the network on them, with :func:`splice`.

What a later layer gives then is the network's own answer to the change, not that of a probe. Each family says how its
layers are changed (:meth:`Encoder.forward_changed`); this module gives the change only frames that belong to a clip,
checks what it returns, and measures with two noises which later layers the changed layer determines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident

import torch
from torch import Tensor, nn

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.kept import plain
from .interface import Encoder, check_encoder
from .stages import alike

Change = Callable[[Tensor, Tensor], Tensor]
"""Function of frames (B, T, D) and lengths (B,) that returns frames (B, T, D)."""


@checked
def splice(encoder: Encoder, layer: str | int, change: Change) -> Encoder:
    """Make an encoder in which the frames of one layer are changed before the rest of the network goes on with them.

    Parameters
    ----------
    encoder : Encoder
    layer : str or int
        Name or position of the layer.
    change : callable
        Given frames, Tensor (B, T, D), and their true numbers, int64 (B,), it returns frames of the same shape. Frames
        behind a clip's end are zero in what it is given, and stay as they are whatever it returns. It should depend on
        its arguments alone. Of a layer that is the mean of a larger feature map (the frames of EfficientAT, over
        frequency) the difference is added everywhere, which is the least change of the map.

    Returns
    -------
    Encoder
        Earlier layers are unchanged, the layer gives the changed frames, and later ones what follows from them. Its
        attribute ``bypassed`` names the later layers that also depend on what comes before the layer, around it. The
        change is part of the fingerprint. The network is shared with ``encoder``.

    Raises
    ------
    ParameterError
        There is no such layer, its frames cannot be changed, or ``change`` is no function or returns other shapes.

    Examples
    --------
    >>> from workbench.encoders import load_encoder, splice
    >>> silent = splice(load_encoder("mini", device="cpu"), "3", lambda frames, lengths: 0 * frames)
    >>> frames, lengths = silent.forward(torch.ones(1, 1600), torch.tensor([1600]), [3])[0]
    >>> float(frames.abs().max())
    0.0
    """
    check_encoder(encoder)
    if layer == "all":
        raise ParameterError("layer", layer, "one layer")
    if not callable(change):
        raise ParameterError("change", change, "a function of frames (B, T, D) and lengths (B,)")
    return Spliced(encoder, encoder.select(layer)[0], change)


class Spliced(Encoder):
    """An encoder in which the frames of one layer are changed; :func:`splice` makes it.

    Parameters
    ----------
    encoder : Encoder
    at : int
        Position of the layer in ``encoder.layers``.
    change : callable

    Attributes
    ----------
    bypassed : tuple of str
        Later layers that also depend on what comes before the changed layer, around it (skip connections, or a feature
        map of which the layer's frames are the mean): a change of the layer cannot take everything from these.
    """

    reentrant = False  # hooks lie on the network while it runs

    def __init__(self, encoder: Encoder, at: int, change: Change):
        self.encoder, self.at, self.change = encoder, at, change
        self.name = f"{encoder.name}, layer {encoder.layers[at].name} changed"
        for name in ("rate", "layers", "padding", "window", "minimum", "device"):
            setattr(self, name, getattr(encoder, name))
        self.compute = getattr(encoder, "compute", None)
        parts = ("spliced", 1, encoder.fingerprint, at, repr(plain("change", change)))
        self.fingerprint = fingerprint(*parts)
        self.bypassed = _bypassed(encoder, at)

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`; the changed layer gives the changed frames."""
        return self.encoder.forward_changed(x, lengths, layers, self.at, self._changed)

    def _changed(self, frames: Tensor, lengths: Tensor) -> Tensor:
        inside = torch.arange(frames.shape[1], device=frames.device) < lengths.to(frames.device)[:, None]
        given = frames.masked_fill(~inside[:, :, None], 0.0)  # frames behind a clip's end are undefined
        changed = self.change(given, lengths)
        if not isinstance(changed, Tensor) or changed.shape != frames.shape or not changed.is_floating_point():
            shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ParameterError("change", shape, f"a function that returns float frames {tuple(frames.shape)}")
        if not changed[inside].isfinite().all():
            raise ParameterError("change", "nan or inf", "a function that returns finite frames")
        return torch.where(inside[:, :, None], changed.to(frames), frames)

    def describe(self) -> dict[str, object]:
        """Extend :meth:`Encoder.describe` by the changed layer and the layers that bypass it."""
        return {**super().describe(), "changed": self.layers[self.at].name, "bypassed": list(self.bypassed)}


def _bypassed(encoder: Encoder, at: int) -> tuple[str, ...]:
    """Return the later layers that do not become those of another sound when the layer's frames are replaced by its."""
    seconds = min(1.0, encoder.window or 1.0)
    count = max(round(seconds * encoder.rate), encoder.minimum)
    noise = 0.1 * torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    lengths, after = torch.tensor([count], device=encoder.device), list(range(at, len(encoder.layers)))
    a, b = (row[None].to(encoder.device) for row in noise)
    with torch.no_grad():
        before, other = (encoder.forward(x, lengths, after) for x in (a, b))
        same = encoder.forward_changed(a, lengths, after, at, lambda frames, _: frames)
        for position, one, two in zip(after, before, same, strict=True):
            if not alike(one[0][:, : one[1][0]], two[0][:, : two[1][0]]):
                expected = f"one whose layer {encoder.layers[position].name} stays as it is when nothing is changed"
                raise ParameterError("encoder", encoder.name, expected)
        swapped = encoder.forward_changed(a, lengths, after, at, lambda *_: other[0][0])
    pairs = zip(after[1:], other[1:], swapped[1:], strict=True)
    return tuple(
        encoder.layers[i].name for i, x, y in pairs if not alike(x[0][:, : x[1][0]], y[0][:, : y[1][0]], within=1e-3)
    )


def unable(encoder: Encoder, at: int, why: str) -> ParameterError:
    """Return the error for a layer whose frames cannot be changed."""
    name = encoder.layers[at].name
    return ParameterError("layer", name, f"a layer of {encoder.name} whose frames can be changed: {why}")


@contextmanager
def replaced_output(module: nn.Module, function: Callable[[object], object]) -> Iterator[None]:
    """Replace the output of a module by a function of it, for calls by the present thread."""
    owner = get_ident()

    def hook(_module, _inputs, output):
        return function(output) if get_ident() == owner else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replaced_input(module: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the first frames (B, T, D) that a module is given by a function of them, in the present thread."""
    owner = get_ident()

    def hook(_module, args, kwargs=None):  # a call of another thread may come without, while the hook is being removed
        if get_ident() != owner or (place := first_frames(args, kwargs)) is None:
            return None
        if isinstance(place, int):
            return (*args[:place], function(args[place]), *args[place + 1 :]), kwargs
        return args, {**kwargs, place: function(kwargs[place])}

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def first_frames(args: Sequence, kwargs: Mapping[str, object]) -> int | str | None:
    """Return the place of the first float tensor (B, T, D) among the arguments of a call, or None."""
    for place, value in (*enumerate(args), *kwargs.items()):
        if isinstance(value, Tensor) and value.ndim == 3 and value.is_floating_point():
            return place
    return None


def readers(model: nn.Module, states: Sequence[Tensor], run: Callable[[], object]) -> list[nn.Module | None]:
    """Return for each of some frames (B, T, D) the first module within a model that is given them when it runs."""
    owner, found = get_ident(), [None] * len(states)

    def listen(module, args, kwargs=None) -> None:  # as in replaced_input, another thread may call it without
        if get_ident() != owner or (place := first_frames(args, kwargs)) is None:
            return
        given = args[place] if isinstance(place, int) else kwargs[place]
        for i, state in enumerate(states):
            if found[i] is None and given.shape == state.shape and torch.equal(given, state):
                found[i] = module

    handles = [
        part.register_forward_pre_hook(listen, with_kwargs=True) for part in model.modules() if part is not model
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return found
