"""Make an encoder of any torch module that takes waveforms, with :func:`encoder_from`.

>>> import torch
>>> from workbench.encoders import encoder_from
>>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 400, 160), torch.nn.ReLU(), torch.nn.Conv1d(8, 4, 3, 2))
>>> mine = encoder_from(net, rate=16000, device="cpu")
>>> [(layer.name, layer.dim, layer.frame_rate) for layer in mine.layers]
[('0', 8, 100.0), ('1', 8, 100.0), ('2', 4, 50.0)]

The layers, the axes of their tensors, their frame rates and the effect of padding are measured (:mod:`.stages`). The
frames are exactly those of the module: what a sound needs before it, such as a normalisation or a feature extractor,
must be part of its ``forward``.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from numbers import Real
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import checked, several, whole
from ..core.checks import seed as checked_seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.kept import plain
from ..core.warn import warn
from .interface import Encoder, Layer, check_encoder, check_fingerprint
from .splicing import replaced_output
from .stages import OUTPUT, Measured, measure, read, run, stage_names, tensor_of, with_tensor
from .untrained import reset

CODE_VERSION = 1
RATE_NAMES = ("rate", "sample_rate", "sampling_rate")
"""Attributes of a module or its ``config`` that are taken for the rate in Hz if they are whole and at least 1000."""
_TORCHS_OWN = frozenset(vars(nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"}


class ModuleEncoder(Encoder):
    """A torch module behind the encoder interface; :func:`encoder_from` makes it.

    Parameters
    ----------
    module : nn.Module
        The module in eval mode and on ``device``; it is not copied here.
    measured : Measured
    rate : int
        Hz.
    name : str
    device : torch.device
    record : dict
        What :meth:`describe` adds.
    """

    reentrant = False  # a module may keep state from one batch to the next
    compute = "float32"  # no autocast, as the module was written

    def __init__(self, module, measured: Measured, *, rate: int, name: str, device: torch.device, record: dict):
        self.module, self.measured, self.record = module, measured, record
        self.name, self.rate, self.device = name, rate, device
        self.padding, self.minimum = measured.padding, measured.minimum
        self.layers = tuple(Layer(each.name, each.dim, each.frame_rate) for each in measured.readings)
        said, weights, by_type = identity(module)
        readings = [repr(each) for each in measured.readings]
        policy = (rate, measured.form, measured.padding, measured.minimum, measured.alone, measured.doubled)
        self.fingerprint = fingerprint("module", CODE_VERSION, policy, readings, said, weights=weights)
        self.record["counted_by_type_only"] = by_type

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`; gradients flow to ``x``.

        Raises
        ------
        ParameterError
            The lengths differ, although padding would change the numbers.
        """
        return self._encode(x, lengths, layers)

    def forward_changed(self, x, lengths, layers, at, change) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch with the frames of one layer changed, see :meth:`Encoder.forward_changed`."""
        return self._encode(x, lengths, layers, at, change)

    def _encode(self, x, lengths, layers, at=None, change=None) -> list[tuple[Tensor, Tensor]]:
        if self.padding == "equal" and len(lengths) and bool((lengths != lengths[0]).any()):
            raise ParameterError("lengths", lengths.tolist(), f"all equal for {self.name}: padding changes its numbers")
        if x.shape[1] < self.minimum:
            x = F.pad(x, (0, self.minimum - x.shape[1]))
            lengths = lengths.clamp(min=self.minimum)
        readings = [self.measured.readings[i] for i in layers]
        apart = zip(x.split(1), lengths.split(1), strict=True) if self.measured.alone else [(x, lengths)]
        parts = []
        for rows, samples in apart:
            with nullcontext() if at is None else self._changing(self.measured.readings[at], samples, change):
                parts.append(self._frames(rows, readings))
        outputs = []
        for reading, *frames in zip(readings, *parts, strict=True):
            y = frames[0] if len(frames) == 1 else torch.cat(frames)
            counts = torch.full_like(lengths, y.shape[1])
            outputs.append((y, counts if self.padding == "equal" else reading.count(lengths)))
        return outputs

    @contextmanager
    def _changing(self, reading, lengths: Tensor, change) -> Iterator[None]:
        """Change the frames of a stage for clips of these lengths, wherever its module is called."""

        def put(output: object) -> object:
            tensor = tensor_of(output)
            frames = reading.frames(tensor)[: len(lengths)]  # a single clip may run as two copies
            total = torch.full_like(lengths, frames.shape[1])
            changed = change(frames, total if self.padding == "equal" else reading.count(lengths))
            copies = torch.cat([changed] * (tensor.shape[reading.batch] // len(lengths)))
            return with_tensor(output, reading.tensor(copies, tensor).to(tensor))

        part = self.module if reading.name == OUTPUT else self.module.get_submodule(reading.name)
        with replaced_output(part, put):
            yield

    def _frames(self, x: Tensor, readings: Sequence) -> list[Tensor]:
        copied = [reading.name for reading in readings if reading.copied]
        names, options = [reading.name for reading in readings], {"form": self.measured.form, "copied": copied}
        heard = run(self.module, x, names, doubled=self.measured.doubled, **options)
        return [read(reading, heard[reading.name], len(x)) for reading in readings]

    def untrained(self, seed: int) -> ModuleEncoder:
        """Return an encoder of the same module with new random weights, as :func:`encoder_from` makes it."""
        layers = [layer.name for layer in self.layers]
        options = {"rate": self.rate, "layers": layers, "device": self.device, "random_weights": seed}
        return encoder_from(self.module, name=self.name, **options)

    def describe(self) -> dict[str, object]:
        """Extend :meth:`Encoder.describe` by what was measured, and by the layers left out with the reasons."""
        measured = self.measured
        found = {"input": measured.form, "minimum": self.minimum, "one_clip_at_a_time": measured.alone}
        return {**super().describe(), **found, **self.record, "left_out": dict(measured.left_out)}


@checked
def encoder_from(
    module: nn.Module,
    *,
    rate: int | None = None,
    layers: str | Sequence[str] = "all",
    name: str | None = None,
    device: str | torch.device = "auto",
    random_weights: int | None = None,
    padding: Literal["auto", "equal"] = "auto",
) -> ModuleEncoder:
    """Make a frozen encoder of any torch module that takes waveforms.

    Parameters
    ----------
    module : nn.Module
        A module whose only argument is float waveforms, (B, samples) or (B, 1, samples); both shapes are tried. The
        encoder has a copy of it, in eval mode and without gradients of the weights, so that the module is not changed,
        and later changes of the module do not affect the encoder.
    rate : int, optional
        Sample rate (Hz) of its waveforms. By default it is read from the module's attribute ``rate``, ``sample_rate``
        or ``sampling_rate``, or from that of its ``config``.
    layers : "all", name or several names
        Where frames are read: sub-modules by their names in ``module.named_modules()``, and "output" for the output of
        the module itself. "all" means the entries of its outermost ``nn.ModuleList`` and ``nn.Sequential`` on every
        path, children that contain no such list, and the output, as far as they can be read and differ from each other;
        ``describe()["left_out"]`` gives the reason for each of the others.
    name : str, optional
        Name of the encoder; by default that of the module's class.
    device : str or torch.device
    random_weights : int, optional
        Seed for new random weights in the same network, as an untrained control. Sub-modules reset their parameters;
        parameters that no reset changes are permuted within themselves (``describe()`` counts them).
    padding : {"auto", "equal"}
        "auto" measures whether zeros behind a clip change its frames; "equal" assumes that they do.

    Returns
    -------
    ModuleEncoder
        Axes, D, frame rates and the shortest clip are measured with seeded noise of 2 s, or of 8 s if 2 s fail. A layer
        without an axis that grows with the clip has the frame rate 0: it gives one vector a clip, or tokens. Frames are
        (T, D) whatever the order of the axes; axes that are neither clips nor time are flattened into D.

    Raises
    ------
    ParameterError
        There is no rate; the module does not have a layer (the error suggests close names), or a layer cannot be read
        (it says why); the module cannot be copied, or does not take waveforms of every length from :attr:`minimum` on.

    Warns
    -----
    UserWarning
        The module holds an object whose content cannot be compared, so that only its type is in the fingerprint.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 400, 160), torch.nn.AdaptiveAvgPool1d(1))
    >>> encoder_from(net, rate=16000, device="cpu").layers[-1]
    Layer(name='1', dim=8, frame_rate=0.0)
    """
    if name is not None and not name.strip():
        raise ParameterError("name", name, "a text that is not empty, or None")
    rate = _rate(module) if rate is None else whole("rate", rate, least=1)
    asked = layers != "all"
    names = _asked(module, layers) if asked else stage_names(module)
    place = chosen_device(device)
    own, record = _copied(module), {"module": type(module).__name__, "random_weights": random_weights}
    if random_weights is not None:
        own = own.cpu()
        record |= reset(own, checked_seed(random_weights, "random_weights"))
    own = own.eval().requires_grad_(False).to(place)
    measured = measure(own, names, rate=rate, device=place, padding=padding, asked=asked)
    name = type(module).__name__ if name is None else name
    name = name if random_weights is None else f"{name}-random{random_weights}"
    encoder = ModuleEncoder(own, measured, rate=rate, name=name, device=place, record=record)
    if by_type := encoder.record["counted_by_type_only"]:
        warn(
            f"changes of {', '.join(by_type)} in {name} cannot be noticed: the fingerprint, by which stored embeddings "
            "are found again, depends on their types only"
        )
    return encoder


def as_encoder(encoder: Encoder | nn.Module, *, kept: bool = False) -> Encoder:
    """Return an encoder with checked attributes; a torch module is turned into one by :func:`encoder_from`.

    Parameters
    ----------
    encoder : Encoder or nn.Module
    kept : bool
        Whether its frames will be stored, for which it must have a fingerprint.

    Raises
    ------
    ParameterError
        The object is neither, or an attribute is missing or wrong.
    """
    if isinstance(encoder, nn.Module) and not isinstance(encoder, Encoder):
        return encoder_from(encoder)
    check_encoder(encoder)
    if kept:
        check_fingerprint(encoder)
    return encoder


def _rate(module: nn.Module) -> int:
    """Return the rate in Hz from the attributes of a module or its config, or raise an error."""
    found = _said_rate(module) or _said_rate(getattr(module, "config", None))
    if found is not None:
        return found
    inside = {rate: name for name, part in module.named_modules() if name and (rate := _said_rate(part))}
    guess = "".join(f" (its {name} says {rate})" for rate, name in inside.items())
    kind = type(module).__name__
    expected = f"given in Hz: {kind} has no attribute {', '.join(RATE_NAMES)}; encoder_from(module, rate=16000){guess}"
    raise ParameterError("rate", None, expected)


def _said_rate(part: object) -> int | None:
    for name in RATE_NAMES:
        value = getattr(part, name, None)
        if isinstance(value, Real) and not isinstance(value, bool) and value >= 1000 and value == int(value):
            return int(value)
    return None


def _asked(module: nn.Module, layers: str | Sequence[str]) -> list[str]:
    """Check that the module has the layers asked for, and return their names."""
    known = [*(name for name, _ in module.named_modules() if name), OUTPUT]

    def check(argument: str, name: object) -> str:
        if name in known:
            return name
        near = get_close_matches(str(name), known, 5, 0.3) or known[:5]
        raise ParameterError(argument, name, f"'all' or among module.named_modules(), such as {', '.join(near)}")

    names = [check("layers", layers)] if isinstance(layers, str) else several("layers", layers, check)
    return list(dict.fromkeys(names))


def _copied(module: nn.Module) -> nn.Module:
    """Copy a module; tensors that are not leaves of the graph, which torch does not copy, are copied detached."""
    memo = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever the module holds
        raise ParameterError("module", type(module).__name__, f"one that copy.deepcopy can copy ({error})") from error


# --- the fingerprint of a module ----------------------------------------------------------------------------------


def identity(module: nn.Module) -> tuple[list[object], dict[str, Tensor], list[str]]:
    """Return what determines a module's numbers: plain values, weights, and names of objects known by type only.

    Included are the content of weights and buffers (also those that a state dict leaves out), the module's repr, the
    code of its classes with everything that this code refers to (for classes of installed packages only their names and
    the package's version), and the content of other attributes and hooks.
    """
    weights = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    by_type: list[str] = []
    said: list[object] = [re.sub(r"0x[0-9a-f]+", "", repr(module))]
    for kind in {type(part): None for part in module.modules()}:
        said.append(_told(f"class {kind.__qualname__}", kind, by_type))
    for name, part in module.named_modules():
        said += [(name, key, _told(key, value, by_type)) for key, value in _attributes(name, part)]
    if isinstance(module, torch.jit.ScriptModule):
        said.append(str(module.inlined_graph))
    roots = sorted({type(part).__module__.partition(".")[0] for part in module.modules()} - {"torch", "__main__"})
    said += [(root, str(getattr(sys.modules.get(root), "__version__", ""))) for root in roots]
    return said, weights, by_type


def _attributes(name: str, part: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield the attributes of a module other than weights, buffers and sub-modules."""
    for key, value in sorted(vars(part).items()):
        if key in _TORCHS_OWN or (isinstance(part, nn.RNNBase) and "_weight" in key):  # the weights again
            continue
        value = list(value.values()) if key in ("_forward_hooks", "_forward_pre_hooks") else value
        if not (key.startswith("_forward") and not value):
            yield f"{name}.{key}".lstrip("."), value


def _told(name: str, value: object, by_type: list[str]) -> object:
    """Return a value in plain types or, if that cannot be done, its type, with an entry in `by_type`."""
    try:
        return plain(name, value)
    except Exception:  # objects of others fail in any way
        pass
    if isinstance(value, type):  # the class refers to something that has no plain form: use the text of its whole file
        try:
            return value.__qualname__, inspect.getsource(sys.modules[value.__module__])
        except (OSError, TypeError, KeyError):
            by_type.append(name)
            return value.__qualname__
    by_type.append(f"{name} ({type(value).__name__})")
    return f"{type(value).__module__}.{type(value).__qualname__}"
