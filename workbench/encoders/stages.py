"""Measure how frames can be read from the stages of a torch module: their axes, frame rates and the shortest clip.

A stage is a sub-module whose output is read. Nothing is assumed about the module's code; it is run on noise, with two
clips and three, and with clips of one length and of twice that length. The axis that grows from 2 to 3 is the batch,
the axis that grows with the length is time, and the others are flattened to D. The number of frames for clips of other
lengths, and whether zero-padding or the other clips of a batch change the numbers, are measured too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from ..core.errors import ParameterError

OUTPUT = "output"
"""Layer name of the output of the module itself."""
FORMS = ("(B, samples)", "(B, 1, samples)")
"""Shapes of waveforms that are tried, in this order."""
SECONDS = (2.0, 8.0)
"""Lengths of the noise in seconds, which are tried in this order; each is also doubled."""
TOLERANCE = 2e-5
"""Largest difference, relative to a layer's largest number, up to which numbers count as equal."""
ODD = (0.37, 0.53, 0.71, 0.89, 1.43)
"""Further lengths, as fractions of the noise's (made odd), at which the formula of frame counts is checked."""
_CHANNELS_FIRST = (_ConvNd, _BatchNorm, _AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
_PASSED_OVER = (nn.Dropout, nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid)


@dataclass(frozen=True)
class Reading:
    """How frames (B, T, D) are read from the output of one stage."""

    name: str
    """Layer name: the sub-module's name, or :data:`OUTPUT`."""
    ndim: int
    """Number of axes of its tensor."""
    batch: int
    """The axis of the clips."""
    time: int | None
    """The axis that grows with the length of a clip, or None."""
    channels: int
    """The axis of D if no axis grows and there are several, counted with the axis of the clips moved to the front."""
    dim: int
    """Length D of a frame."""
    hop: int | None = None
    """Samples between frames if the number of frames is exactly ``(samples - start) // hop + first``, else None."""
    start: int = 0
    first: int = 0
    frame_rate: float = 0.0
    """Frames a second (Hz); 0 if no axis grows."""
    copied: bool = False
    """Whether a later stage writes into its tensor, so that it must be copied before that."""

    def frames(self, tensor: Tensor) -> Tensor:
        """Return the frames (B, T, D) in a tensor of this stage."""
        if self.time is None:
            y = tensor.movedim(self.batch, 0)
            if y.ndim <= 2:
                return y.reshape(len(y), 1, -1)
            return y.movedim(self.channels, -1).flatten(1, -2)
        y = tensor.movedim((self.batch, self.time), (0, 1))
        return y.flatten(2) if y.ndim > 2 else y[..., None]

    def tensor(self, frames: Tensor, like: Tensor) -> Tensor:
        """Return the tensor of this stage, of the shape of ``like``, that holds these frames (B, T, D)."""
        if self.time is not None:
            shape = like.movedim((self.batch, self.time), (0, 1)).shape
            return frames.reshape(shape).movedim((0, 1), (self.batch, self.time))
        y = like.movedim(self.batch, 0)
        if y.ndim <= 2:
            return frames.reshape(y.shape).movedim(0, self.batch)
        tokens = y.movedim(self.channels, -1).shape
        return frames.reshape(tokens).movedim(-1, self.channels).movedim(0, self.batch)

    def count(self, samples: int) -> int:
        """Return the number of true frames of a clip, by the formula at :attr:`hop`."""
        return (samples - self.start) // self.hop + self.first


@dataclass(frozen=True)
class Measured:
    """What was measured of a module with noise."""

    form: str
    """The shape of its waveforms, one of :data:`FORMS`."""
    readings: tuple[Reading, ...]
    """The stages that can be read, in the order of their calls."""
    left_out: dict[str, str]
    """Name of another stage -> why it cannot be read."""
    minimum: int
    """Samples of the shortest clip for which every stage gives a frame."""
    padding: str
    """"masked" if zeros behind a clip change nothing, else "equal"."""
    alone: bool
    """Whether the other clips of a batch change a clip's numbers, so that each clip is run alone."""
    doubled: bool
    """Whether the module fails on a batch of one clip, which is then run as a batch of two copies."""


def stage_names(module: nn.Module) -> list[str]:
    """Return the stages of a network: entries of its outermost lists, children that contain no list, and its output."""

    def lists(part: nn.Module) -> bool:
        return isinstance(part, (nn.ModuleList, nn.Sequential)) and not isinstance(part, ParametrizationList)

    def below(part: nn.Module, prefix: str) -> Iterator[str]:
        for name, child in part.named_children():
            if is_parametrized(part) and name == "parametrizations":  # these compute weights, not frames
                continue
            if lists(part) or not any(map(lists, child.modules())):
                yield f"{prefix}{name}"
            else:
                yield from below(child, f"{prefix}{name}.")

    return [*below(module, ""), OUTPUT]


def tensor_of(output: object) -> Tensor | None:
    """Return the floating-point tensor in a module's output: ``last_hidden_state``, else the first one, else None."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        parts = [output.get("last_hidden_state"), *output.values()]
    elif isinstance(output, (list, tuple)):
        parts = list(output)
    elif is_dataclass(output):
        parts = [getattr(output, field.name) for field in fields(output)]
    else:
        return None
    return next((found for part in parts if (found := tensor_of(part)) is not None), None)


def with_tensor(output: object, tensor: Tensor) -> object:
    """Return a module's output with another tensor in the place of the one that :func:`tensor_of` finds."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        keys = ["last_hidden_state", *output] if output.get("last_hidden_state") is not None else list(output)
        key = next(key for key in keys if tensor_of(output[key]) is not None)
        changed = copy.copy(output)
        changed[key] = with_tensor(output[key], tensor)
        return changed
    if isinstance(output, (list, tuple)):
        place = next(i for i, part in enumerate(output) if tensor_of(part) is not None)
        parts = [*output[:place], with_tensor(output[place], tensor), *output[place + 1 :]]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    name = next(field.name for field in fields(output) if tensor_of(getattr(output, field.name)) is not None)
    return replace(output, **{name: with_tensor(getattr(output, name), tensor)})


@contextmanager
def listening(module: nn.Module, names: Sequence[str], copied: Sequence[str] = ()) -> Iterator[dict[str, list]]:
    """Record the outputs of the stages while the module runs: name -> (tensor or None, its version) of each call."""
    heard: dict[str, list] = {}

    def keep(name: str) -> Callable:
        def hook(_module, _inputs, output) -> None:
            tensor = tensor_of(output)
            if tensor is not None and name in copied:
                tensor = tensor.clone()
            version = -1 if tensor is None or tensor.is_inference() else tensor._version
            heard.setdefault(name, []).append((tensor, version))

        return hook

    parts = dict(module.named_modules())
    hooks = [parts["" if name == OUTPUT else name].register_forward_hook(keep(name)) for name in names]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def run(
    module: nn.Module, x: Tensor, names: Sequence[str], *, form: str, copied: Sequence[str] = (), doubled: bool = False
) -> dict[str, list]:
    """Run a module on waveforms (B, samples) and return what :func:`listening` recorded."""
    weight = next((each for each in module.parameters() if each.is_floating_point()), x)
    x = x.to(weight.dtype)
    if doubled and len(x) == 1:
        x = torch.cat([x, x])
    with listening(module, names, copied) as heard:
        module(x[:, None] if form == FORMS[1] else x)
    return heard


def read(reading: Reading, calls: list, rows: int) -> Tensor:
    """Return the frames (rows, T, D) of one stage from what :func:`run` recorded of it."""
    tensor = calls[0][0]
    if tensor.ndim != reading.ndim:
        raise ParameterError(
            "layers", reading.name, f"a layer of {reading.ndim} axes for every clip, not of {tuple(tensor.shape)}"
        )
    return reading.frames(tensor)[:rows]


def measure(
    module: nn.Module, names: Sequence[str], *, rate: int, device: torch.device, padding: str, asked: bool
) -> Measured:
    """Measure how the stages of a module in eval mode are read; see the docstring at the top of this file.

    Parameters
    ----------
    module : nn.Module
    names : sequence of str
        Stages, as :func:`stage_names` gives them.
    rate : int
        Sample rate, Hz.
    device : torch.device
        Device of the module.
    padding : {"auto", "equal"}
        Whether to measure the effect of padding, or to assume that it changes the numbers.
    asked : bool
        Whether the user named the stages, so that one that cannot be read is an error.

    Raises
    ------
    ParameterError
        The module does not take waveforms, none of the stages can be read, or it fails on clips of some lengths.
    """
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        return _Measuring(module, names, rate, device, padding, asked).result()


class _Measuring:
    """One call of :func:`measure`."""

    def __init__(self, module, names, rate, device, padding, asked):
        self.module, self.names, self.padding, self.asked = module, list(names), padding, asked
        generator = torch.Generator().manual_seed(0)
        self.noise = (0.1 * torch.randn(3, round(2 * SECONDS[-1] * rate), generator=generator)).clamp(-1, 1)
        self.rate, self.device, self.left_out = rate, device, {}
        self.doubled = self.alone = False
        self.copied: list[str] = []
        self.shapes: dict[int, dict[str, int]] = {}

    def result(self) -> Measured:
        self._find_form()
        self._compare_batches()
        self._keep()
        self.minimum = self._shortest()
        self._check_lengths()
        if not self.asked:
            self._drop_repeated()
            self._keep()
        self.readings = [self._timed(reading) for reading in self.readings]
        padding = "masked" if self.padding == "auto" and self._ignores_padding() else "equal"
        readings = tuple(self.readings)
        return Measured(self.form, readings, self.left_out, self.minimum, padding, self.alone, self.doubled)

    # ---- the shape of its input, and the axes of its outputs ----

    def _run(self, x: Tensor, form: str | None = None) -> dict[str, list]:
        options = {"form": form or self.form, "copied": self.copied, "doubled": self.doubled}
        return run(self.module, x.to(self.device), self.names, **options)

    def _find_form(self) -> None:
        """Find and set the shape of waveforms, the length of the noise, the readings and the stages left out."""
        errors, tried = [], []
        for seconds in SECONDS:
            self.samples = n = round(seconds * self.rate)
            for form in FORMS:
                try:
                    batches = [self._run(self.noise[:b, :m], form) for b, m in ((2, n), (3, n), (2, 2 * n))]
                except Exception as error:  # another's code may raise anything
                    errors.append(f"{form}: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
                    continue
                readings, left_out = self._axes(batches)
                tried.append((form, left_out))
                if readings:
                    self.form, self.readings, self.left_out = form, readings, left_out
                    return
        if tried:
            reasons = "; ".join(f"{name} {reason}" for name, reason in list(tried[0][1].items())[:8])
            raise ParameterError("layers", self._shown(), f"layers that can be read: {reasons}")
        expected = "a torch module that takes waveforms (B, samples) or (B, 1, samples) and nothing else; it raises"
        raise ParameterError("module", type(self.module).__name__, f"{expected} for {' | '.join(errors[:2])}")

    def _axes(self, batches: list[dict[str, list]]) -> tuple[list[Reading], dict[str, str]]:
        readings, left_out = [], {}
        order = [*batches[0], *(name for name in self.names if name not in batches[0])]
        for name in order:
            found = self._reading(name, [batch.get(name, []) for batch in batches])
            if isinstance(found, Reading):
                readings.append(found)
            else:
                left_out[name] = found
        return readings, left_out

    def _reading(self, name: str, calls: list[list]) -> Reading | str:
        """Return how a stage is read, or why it is not, from its calls with 2 clips, 3, and 2 of twice the length."""
        if len(calls[0]) != 1:
            return "is not called in a forward" if not calls[0] else f"is called {len(calls[0])} times in a forward"
        if any(len(each) != 1 or each[0][0] is None for each in calls):
            return "gives no tensor of floating-point numbers"
        two, three, long = (each[0][0].shape for each in calls)
        if not len(two) == len(three) == len(long):
            return f"gives other axes for other clips: {tuple(two)} and {tuple(three)}"
        batch = [i for i, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
        if not batch:
            return f"gives {tuple(two)} for 2 clips and for 3: it has no axis of clips"
        if len(batch) > 1 or (two[batch[0]], three[batch[0]]) != (2, 3):
            return f"gives {tuple(two)} for 2 clips and {tuple(three)} for 3: its axis of clips is merged with another"
        if long[batch[0]] != 2:
            return f"gives {tuple(two)} and, twice as long, {tuple(long)}: its axis of clips is merged with time"
        growing = [i for i, (a, b) in enumerate(zip(two, long, strict=True)) if a != b]
        if len(growing) > 1:
            return f"gives {tuple(two)} and, twice as long, {tuple(long)}: more than one axis grows with the clip"
        if growing and long[growing[0]] < two[growing[0]]:
            return f"gives {tuple(two)} and, twice as long, {tuple(long)}: fewer frames of a longer clip"
        if 0 in two or 0 in long:
            return f"gives nothing: {tuple(two)}"
        tensor, version = calls[0][0]
        channels = 1 if self._channels_first(name) else -1
        copied = not tensor.is_inference() and tensor._version != version
        reading = Reading(name, len(two), batch[0], growing[0] if growing else None, channels, 1, copied=copied)
        return replace(reading, dim=reading.frames(tensor).shape[2])

    def _channels_first(self, name: str) -> bool:
        """Whether a stage ends in a convolution, a pooling or a batch norm."""
        part = self.module.get_submodule("" if name == OUTPUT else name)
        leaves = [each for each in part.modules() if not any(True for _ in each.children())]
        leaves = [each for each in leaves if not isinstance(each, _PASSED_OVER)]
        return bool(leaves) and isinstance(leaves[-1], _CHANNELS_FIRST)

    def _shown(self) -> object:
        return self.names if self.asked else "all"

    def _keep(self) -> None:
        """Continue with the remaining readings; raise an error if a layer that was asked for is not among them."""
        readings = [reading.name for reading in self.readings]
        missing = [name for name in self.names if name not in readings]
        if self.asked and missing:
            expected = f"a layer that can be read: {missing[0]} {self.left_out[missing[0]]}"
            raise ParameterError("layers", missing[0], expected)
        if not readings:
            reasons = "; ".join(f"{name} {reason}" for name, reason in list(self.left_out.items())[:8])
            raise ParameterError("layers", self._shown(), f"layers that can be read: {reasons}")
        self.names = readings
        self.copied = [reading.name for reading in self.readings if reading.copied]

    # ---- whether other clips of a batch change the numbers ----

    def _compare_batches(self) -> None:
        """Leave out stages that differ between two equal runs; measure if other clips, or a batch of one, matter."""
        self.copied = [reading.name for reading in self.readings if reading.copied]
        x = self.noise[:, : self.samples]
        whole, again = self._frames(x), self._frames(x)
        for reading in list(self.readings):
            a, b = whole[reading.name], again[reading.name]
            if not a.isfinite().all():
                self._leave_out(reading, "gives NaN or infinite values for noise")
            elif not alike(a, b):
                self._leave_out(reading, "gives other numbers each time")
        try:
            first = self._frames(x[:1])
            fits = all(first[each.name].shape == whole[each.name][:1].shape for each in self.readings)
        except Exception:  # modules that drop axes of length 1 fail in any way
            fits = False
        if not fits:
            self.doubled = True
            first = self._frames(x[:1])
        self.alone = not all(alike(first[each.name], whole[each.name][:1]) for each in self.readings)

    def _leave_out(self, reading: Reading, reason: str) -> None:
        self.readings.remove(reading)
        self.left_out[reading.name] = reason

    def _drop_repeated(self) -> None:
        """Keep only the first of stages with equal numbers, as of dropout, or of an output and the last stage."""
        frames, kept = self._frames(self.noise[:1, : self.samples | 1]), []
        for reading in list(self.readings):
            own = frames[reading.name]
            same = next((each.name for each in kept if torch.equal(frames[each.name], own)), None)
            if same is not None:
                self._leave_out(reading, f"gives the same numbers as {same}")
            else:
                kept.append(reading)

    def _frames(self, x: Tensor) -> dict[str, Tensor]:
        heard = self._run(x)
        return {reading.name: read(reading, heard[reading.name], len(x)) for reading in self.readings}

    # ---- lengths ----

    def _counts(self, samples: int) -> dict[str, int] | None:
        """Return the number of frames of each stage for one clip of so many samples; None if the module fails on it."""
        if samples not in self.shapes:
            try:
                frames = self._frames(self.noise[:1, :samples])
                right = all(
                    y.shape[2] == r.dim and y.numel() for r, y in zip(self.readings, frames.values(), strict=True)
                )
                finite = right and all(bool(y.isfinite().all()) for y in frames.values())
                self.shapes[samples] = {name: y.shape[1] for name, y in frames.items()} if finite else None
            except Exception as error:
                self.shapes[samples], self.failure = None, error
        return self.shapes[samples]

    def _shortest(self) -> int:
        """Return the fewest samples for which the module gives a frame at every stage."""
        return _least(lambda n: self._counts(n) is not None, 0, self.samples)

    def _check_lengths(self) -> None:
        for n in self._lengths():
            if self._counts(n) is None:
                reason = (str(getattr(self, "failure", "")).splitlines() or [""])[0][:200]
                expected = f"one that takes clips of any length (pad or cut inside its forward): {n} samples, {reason}"
                raise ParameterError("module", type(self.module).__name__, expected)

    def _lengths(self) -> list[int]:
        odd = [round(share * self.samples) | 1 for share in ODD]
        return sorted({max(n, self.minimum) for n in (self.minimum, *odd, self.samples, 2 * self.samples)})

    def _timed(self, reading: Reading) -> Reading:
        """Add the frame rate to a reading and, if there is one, the formula of its number of frames."""
        if reading.time is None:
            return reading

        def count(n: int) -> int:
            return self._counts(n)[reading.name]

        n, low, most = self.samples, count(self.minimum), min(self.noise.shape[1], 4 * self.samples)
        slope = (count(2 * n) - count(n)) / n
        found = self._law(count, low, min(self.minimum + math.ceil(2 / slope) + 2, 2 * n))
        if found is not None:
            start, first, hop = found
            lawful = replace(reading, start=start, first=first, hop=hop, frame_rate=self.rate / hop)
            odd = [m for m, each in self.shapes.items() if each and lawful.count(m) != each[reading.name]]
            if not odd:
                return lawful
            if max(odd) < start:  # the formula fails only for clips shorter than a window
                return replace(lawful, hop=None)
        slope = (count(most) - count(n)) / (most - n) if self._counts(most) else slope
        return replace(reading, frame_rate=slope * self.rate)

    def _law(self, count: Callable[[int], int], low: int, most: int) -> tuple[int, int, int] | None:
        """Return the samples at which the next frame appears, the number of frames there, and the samples to the next.

        None if the numbers of frames do not follow such a formula.
        """
        if count(most) <= low:
            return None
        start = _least(lambda m: count(m) > low, self.minimum, most)
        first = count(start)
        seen = [(m, count(m) - first) for m in self._lengths() if m > start]
        least = max([(m - start) // (more + 1) + 1 for m, more in seen if more >= 0], default=1)
        largest = min([(m - start) // more for m, more in seen if more > 0], default=0)
        if least > largest:
            return None
        hop = _least(lambda c: start + c <= 2 * self.samples and count(start + c) > first, least - 1, largest)
        return start, first, hop

    def _ignores_padding(self) -> bool:
        """Whether a short clip has the same frames alone and with zeros behind it in a batch with longer clips."""
        if self.alone or self.doubled or any(reading.hop is None for reading in self.readings):
            return False
        for shares in ((0.37, 1.0), (0.89, 0.53, 1.43)):
            lengths = [max(round(share * self.samples) | 1, self.minimum) for share in shares]
            x = torch.zeros(len(lengths), max(lengths))
            for row, noise, n in zip(x, self.noise, lengths, strict=False):
                row[:n] = noise[:n]
            together = self._frames(x)
            for i, n in enumerate(lengths):
                own = self._frames(x[i : i + 1, :n])
                for reading in self.readings:
                    if not alike(own[reading.name], together[reading.name][i : i + 1, : reading.count(n)]):
                        return False
        return True


def _least(true: Callable[[int], bool], low: int, high: int) -> int:
    """Return the smallest whole number above ``low`` for which a monotonic condition is true, as it is at ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle, high)
    return high


def alike(a: Tensor, b: Tensor, within: float = TOLERANCE) -> bool:
    """Whether two tensors are equal up to a tolerance, relative to the largest number."""
    if a.shape != b.shape:
        return False
    return float((a - b).abs().max()) <= within * max(float(a.abs().max()), 1e-12) if a.numel() else True
