"""Any torch module that takes waveforms, as an encoder: :func:`encoder_from`.

>>> import torch
>>> from workbench.encoders import encoder_from
>>> net = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 400, 160), torch.nn.ReLU(), torch.nn.Conv1d(8, 4, 3, 2))
>>> mine = encoder_from(net, rate=16000, device="cpu")
>>> [(layer.name, layer.dim, layer.frame_rate) for layer in mine.layers]
[('0', 8, 100.0), ('1', 8, 100.0), ('2', 4, 50.0)]

Which layers there are, how their tensors are read, their frame rates and what padding does are measured
(:mod:`.stages`). The numbers are those of the module itself: what is done to a sound before it (a normalisation, a
feature extractor) belongs into its ``forward``.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
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
from .stages import OUTPUT, Measured, measure, read, run, stage_names
from .untrained import reset

CODE_VERSION = 1
RATE_NAMES = ("rate", "sample_rate", "sampling_rate")
"""Attributes of a module, or of its ``config``, that are taken for Hz where they are whole numbers of 1000 or more."""
_TORCHS_OWN = frozenset(vars(nn.Module())) - {"_forward_hooks", "_forward_pre_hooks"}


class ModuleEncoder(Encoder):
    """A torch module behind the encoder interface; :func:`encoder_from` makes it.

    Parameters
    ----------
    module : nn.Module
        In eval mode and on ``device``; it is not copied here.
    measured : Measured
    rate : int
    name : str
    device : torch.device
    record : dict
        What :meth:`describe` adds.
    """

    reentrant = False  # nothing is known of what a module keeps from one batch to the next
    compute = "float32"  # as its owner runs it

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
        """See :meth:`Encoder.forward`; gradients flow to ``x``.

        Raises
        ------
        ParameterError
            Lengths differ although padding would change the numbers.
        """
        if self.padding == "equal" and len(lengths) and bool((lengths != lengths[0]).any()):
            raise ParameterError("lengths", lengths.tolist(), f"all equal for {self.name}: padding changes its numbers")
        if x.shape[1] < self.minimum:
            x = F.pad(x, (0, self.minimum - x.shape[1]))
            lengths = lengths.clamp(min=self.minimum)
        readings = [self.measured.readings[i] for i in layers]
        parts = [self._frames(rows, readings) for rows in (x.split(1) if self.measured.alone else [x])]
        outputs = []
        for reading, *frames in zip(readings, *parts, strict=True):
            y = frames[0] if len(frames) == 1 else torch.cat(frames)
            counts = torch.full_like(lengths, y.shape[1])
            outputs.append((y, counts if self.padding == "equal" else reading.count(lengths)))
        return outputs

    def _frames(self, x: Tensor, readings: Sequence) -> list[Tensor]:
        copied = [reading.name for reading in readings if reading.copied]
        names, options = [reading.name for reading in readings], {"form": self.measured.form, "copied": copied}
        heard = run(self.module, x, names, doubled=self.measured.doubled, **options)
        return [read(reading, heard[reading.name], len(x)) for reading in readings]

    def untrained(self, seed: int) -> ModuleEncoder:
        """The same module with fresh weights, as ``random_weights`` of :func:`encoder_from` makes it."""
        layers = [layer.name for layer in self.layers]
        options = {"rate": self.rate, "layers": layers, "device": self.device, "random_weights": seed}
        return encoder_from(self.module, name=self.name, **options)

    def describe(self) -> dict[str, object]:
        """See :meth:`Encoder.describe`; adds what was measured, and the layers left out with the reasons."""
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
    """Any torch module that takes waveforms, as a frozen encoder.

    Parameters
    ----------
    module : nn.Module
        Takes float waveforms (B, samples) or (B, 1, samples), which of them is tried, and nothing else. The encoder
        has a copy of it, in eval mode and without gradients of the weights: the module stays as it is, and what becomes
        of it later does not change the encoder.
    rate : int, optional
        Hz at which it hears. None reads its attribute ``rate``, ``sample_rate`` or ``sampling_rate``, or that of its
        ``config``.
    layers : "all", name or several names
        Where frames are read: sub-modules as ``module.named_modules()`` calls them, and "output" for what the module
        itself gives. "all" are the entries of its outermost ``nn.ModuleList`` and ``nn.Sequential`` on every path, the
        children that hold none, and its output, as far as they can be read and differ;
        ``describe()["left_out"]`` says why the others are not among them.
    name : str, optional
        The class's name by default.
    device : str or torch.device
    random_weights : int, optional
        Seed: the same network with fresh weights, as a control. Sub-modules reset themselves; parameters that no reset
        reaches are permuted within themselves (``describe()`` counts them).
    padding : {"auto", "equal"}
        "auto" measures whether zeros behind a clip change its numbers; "equal" takes it that they do.

    Returns
    -------
    ModuleEncoder
        Axes, D, frame rates and the shortest clip are measured with seeded noise of 2 s, or of 8 s where 2 s fail. A
        layer without an axis that grows with the clip has the frame rate 0: one vector a clip, or tokens. Frames are
        (T, D), whatever the order of the axes; what is neither clip nor time is flattened into D.

    Raises
    ------
    ParameterError
        No rate; a layer that the module does not have (near names are given) or that cannot be read (the reason is); a
        module that cannot be copied, or does not take waveforms of any length from :attr:`minimum` on.

    Warns
    -----
    UserWarning
        Something that the module holds cannot be told apart by content: its fingerprint knows only the type.

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
            f"of {', '.join(by_type)} in {name} it cannot be told whether they change: the fingerprint, by which "
            "stored embeddings are found again, knows their types only"
        )
    return encoder


def as_encoder(encoder: Encoder | nn.Module, *, kept: bool = False) -> Encoder:
    """An encoder whose attributes are checked; of a torch module the one that :func:`encoder_from` makes.

    Parameters
    ----------
    encoder : Encoder or nn.Module
    kept : bool
        Whether its frames are to be found again: it must have a fingerprint then.

    Raises
    ------
    ParameterError
        It is neither, or cannot be worked with.
    """
    if isinstance(encoder, nn.Module) and not isinstance(encoder, Encoder):
        return encoder_from(encoder)
    check_encoder(encoder)
    if kept:
        check_fingerprint(encoder)
    return encoder


def _rate(module: nn.Module) -> int:
    """Hz as a module's attributes say."""
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
    """Names of layers that the module has."""
    known = [*(name for name, _ in module.named_modules() if name), OUTPUT]

    def check(argument: str, name: object) -> str:
        if name in known:
            return name
        near = get_close_matches(str(name), known, 5, 0.3) or known[:5]
        raise ParameterError(argument, name, f"'all' or among module.named_modules(), such as {', '.join(near)}")

    names = [check("layers", layers)] if isinstance(layers, str) else several("layers", layers, check)
    return list(dict.fromkeys(names))


def _copied(module: nn.Module) -> nn.Module:
    """A copy; tensors that gradients lead to, which torch does not copy, are taken without them."""
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


# --- what decides a module's numbers ------------------------------------------------------------------------------


def identity(module: nn.Module) -> tuple[list[object], dict[str, Tensor], list[str]]:
    """What a module is: plain values, weights, and the names of what could only be told by its type.

    Weights and buffers (also those that a state dict leaves out) count by their content, its print by its text, classes
    that are not of installed packages by their code and all that it takes from outside, and other attributes and hooks
    by their content. Classes of packages count by their names and the package's version.
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
    """What a module holds besides weights, buffers and sub-modules."""
    for key, value in sorted(vars(part).items()):
        if key in _TORCHS_OWN or (isinstance(part, nn.RNNBase) and "_weight" in key):  # weights once more
            continue
        value = list(value.values()) if key in ("_forward_hooks", "_forward_pre_hooks") else value
        if not (key.startswith("_forward") and not value):
            yield f"{name}.{key}".lstrip("."), value


def _told(name: str, value: object, by_type: list[str]) -> object:
    """A value in plain types; by its type, and noted, where that cannot be done."""
    try:
        return plain(name, value)
    except Exception:  # objects of others fail in any way
        pass
    if isinstance(value, type):  # the code of a class refers to something that cannot be told: all of its file counts
        try:
            return value.__qualname__, inspect.getsource(sys.modules[value.__module__])
        except (OSError, TypeError, KeyError):
            by_type.append(name)
            return value.__qualname__
    by_type.append(f"{name} ({type(value).__name__})")
    return f"{type(value).__module__}.{type(value).__qualname__}"
