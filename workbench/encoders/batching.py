"""Run an encoder over many clips, in batches of bounded total length that are made smaller when memory runs out.

Clips are loaded when they are needed, a group of them at a time. Each group is sorted by length and cut into batches of
at most ``batch_seconds`` of padded sound. Which clips may share a batch depends on the encoder's padding policy:

- "masked": clips of any length, with at most a quarter more sound than there is, because padding changes nothing;
- "equal": clips of equal length, because padding would change the numbers;
- "fixed": any clips, each of which counts as long as the front end's window.

An encoder with a window ("fixed" ones, and others that cut longer clips) ignores the sound beyond it; one warning says
how much that is. Other encoders do not encode a clip of more than five minutes (:data:`LONGEST_SECONDS`) whole, as
memory and, with attention over the whole clip, time would grow without bound. Such a clip is cut into windows of five
minutes that overlap by ten seconds. Each window is encoded alone, and the frames of its outer five seconds
(:data:`CONTEXT_SECONDS`) serve as context and are dropped. The kept frames follow each other without gap: there are as
many as the whole clip would give, at the same times, and mean and deviation are taken over all of them. A frame equals
that of the whole clip if it depends on less than five seconds around it; if it depends on more (attention, a
normalisation over the clip), it is a frame of its window. A layer that gives one frame a clip (frame rate 0) gives one
frame a window, which a mean weights by the window's seconds.

On the CPU several batches run in parallel, each on its share of the cores, if the encoder allows it (its attribute
``reentrant``, which :func:`load_encoder` sets): a second core speeds up small matrices little, but a second batch does.
Frames are pooled on the device, over true frames only, so that only the requested arrays are copied to the CPU.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.checks import checked, choice, number
from ..core.errors import AudioError, ParameterError
from ..core.progress import progress_bar
from ..core.warn import warn
from .interface import Encoder, Layer
from .own import as_encoder

BATCH_SECONDS = {"cpu": 32.0, "mps": 96.0, "cuda": 480.0}
"""Padded seconds a batch by device if ``batch_seconds`` is not given; the number is halved when memory runs out."""
WINDOW_SECONDS = 1200.0
"""Seconds of sound that are held in memory at once (75 MB at 16 kHz), or four batches if those are more."""
LONGEST_SECONDS = 300.0
"""A longer clip is encoded in windows of this length."""
CONTEXT_SECONDS = 5.0
"""Seconds on either side of a window that are encoded as context and whose frames are dropped."""
AT_ONCE_SECONDS = 600.0
"""Largest number of padded seconds in all batches that run in parallel."""
WASTE = 1.25
"""Largest ratio of padded to true samples in a batch of a "masked" encoder."""
MOST_WORKERS = 4
"""Largest number of batches that run in parallel on the CPU; they share the cores."""
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
POOLINGS = ("mean", "mean+std", None)


class Waveforms(Protocol):
    """What :func:`extract` reads: a sequence of waveforms, float32 (samples,) at the encoder's rate."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class _Part(NamedTuple):
    """Place of a window in its clip: its number, how many there are, samples of context before it, samples kept."""

    number: int
    count: int
    before: int
    kept: int


class _Clip(NamedTuple):
    index: int
    x: np.ndarray
    samples: int
    part: _Part | None = None


@checked
def extract(
    encoder: Encoder | nn.Module,
    waveforms: Waveforms | Sequence[np.ndarray],
    *,
    layers: str | int | Sequence[str | int] = "all",
    pooling: Literal["mean", "mean+std"] | None = "mean",
    batch_seconds: float | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    names: Sequence[str] | None = None,
    on_error: Callable[[int, AudioError], None] | None = None,
    loaders: int = 0,
    progress: bool = True,
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Encode clips, batch by batch; results come as batches finish, not in the order of the clips.

    Parameters
    ----------
    encoder : Encoder or nn.Module
        A torch module is turned into an encoder by :func:`encoder_from`, which reads its rate.
    waveforms : sequence of np.ndarray, float32 (samples,)
        Waveforms at ``encoder.rate``. Only ``len()`` and indexing are used, once for each clip, so that the sequence
        may decode lazily.
    layers : "all", str, int or several of these
        Names or positions in ``encoder.layers``.
    pooling : {"mean", "mean+std", None}
        How the true frames of a clip are pooled: their mean, (D,); mean and population standard deviation, (2 D,);
        or not at all, (T, D).
    batch_seconds : float, optional
        Largest number of padded seconds in a batch; by default it depends on the device (:data:`BATCH_SECONDS`). A
        longer clip is a batch of its own.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Compute precision. "auto" is what :func:`compute_dtype` returns, and is part of the fingerprint of an encoder
        from :func:`load_encoder`; another precision changes the numbers, but not the fingerprint.
    names : sequence of str, optional
        Names of the clips in error messages.
    on_error : callable (index, AudioError), optional
        Called for a clip that cannot be loaded or encoded, which is then left out; by default the error is raised.
    loaders : int
        Number of threads that load clips in advance, for which indexing must be thread-safe; 0 loads clips in the
        calling thread.
    progress : bool
        Whether to show a progress bar in seconds of sound.

    Yields
    ------
    index : int
        Position in ``waveforms``.
    arrays : list of np.ndarray, float32
        One array for each layer, in the order of ``encoder.layers``.

    Raises
    ------
    ParameterError
        An argument is wrong (raised at the call), or the encoder's frames are not what it declares.
    AudioError
        A clip is not a finite, non-empty array (samples,), gives frames that are not finite, or does not fit into
        memory even alone; the error names the clip.

    Warns
    -----
    UserWarning
        Clips are longer than the encoder's window (the warning says how many seconds are left out), or the frame rate
        that a layer declares differs by a tenth or more from what clips of at least a second show.

    Notes
    -----
    Clips shorter than ``encoder.minimum`` samples are zero-padded to it and count as that long. When memory runs out,
    the size of batches is halved for the rest of the clips; the results do not depend on it.
    """
    encoder, left_out = as_encoder(encoder), []
    options = {"pooling": pooling, "batch_seconds": batch_seconds, "dtype": dtype, "names": names}
    options |= {"on_error": on_error, "loaders": loaders, "progress": progress, "left_out": left_out}
    results = stream(encoder, waveforms, layers=layers, **options)

    def with_warning() -> Iterator[tuple[int, list[np.ndarray]]]:
        yield from results
        if left_out:
            warn(unheard(encoder, left_out, len(waveforms)))

    return with_warning()


def stream(
    encoder: Encoder,
    waveforms: Waveforms | Sequence[np.ndarray],
    *,
    layers: str | int | Sequence[str | int] = "all",
    pooling: str | None = "mean",
    batch_seconds: float | None = None,
    dtype: str = "auto",
    names: Sequence[str] | None = None,
    on_error: Callable[[int, AudioError], None] | None = None,
    loaders: int = 0,
    progress: bool = True,
    on_window: Callable[[int, int], None] | None = None,
    left_out: list[float] | None = None,
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Run :func:`extract` for a caller that gives the warnings itself.

    ``on_window`` is called with the clip's index and the number of its windows whenever one of them is done. The
    seconds that clips have beyond the encoder's window are appended to ``left_out``.
    """
    encoder = as_encoder(encoder)
    chosen = encoder.select(layers)
    sized = hasattr(waveforms, "__getitem__") and hasattr(waveforms, "__len__") and getattr(waveforms, "ndim", 1)
    if not sized or isinstance(waveforms, (str, bytes, dict)):
        raise ParameterError("waveforms", type(waveforms).__name__, "a sequence of arrays (samples,)")
    if on_error is not None and not callable(on_error):
        raise ParameterError("on_error", on_error, "a function of (index, error), or None")
    choice("pooling", pooling, POOLINGS)
    kind = encoder.device.type
    seconds = BATCH_SECONDS.get(kind, BATCH_SECONDS["cpu"])
    if batch_seconds is not None:
        seconds = number("batch_seconds", batch_seconds, above=0)
    precision = compute_dtype(encoder, dtype)
    if names is not None and len(names) != len(waveforms):
        raise ParameterError("names", f"{len(names)} names", f"one a clip ({len(waveforms)})")

    def name(index: int) -> str:
        return f"clip {index}" if names is None else f"clip {names[index]}"

    left_out = [] if left_out is None else left_out
    job = _Job(encoder, chosen, pooling, precision, name, on_error, on_window, left_out, {})
    return _run(job, waveforms, seconds, loaders, progress)


class _Job(NamedTuple):
    """Options of a run, which are the same for all clips."""

    encoder: Encoder
    layers: tuple[int, ...]
    pooling: str | None
    precision: str
    name: Callable[[int], str]
    on_error: Callable[[int, AudioError], None] | None
    on_window: Callable[[int, int], None] | None
    left_out: list[float]
    rated: dict[str, str]
    """Name of a layer whose frame rate has been checked -> a warning, or "" if there is none to give."""

    def report(self, error: AudioError, index: int) -> None:
        if self.on_error is None:
            raise error
        self.on_error(index, error)


def unheard(encoder: Encoder, left_out: Sequence[float], clips: int) -> str:
    """Return the warning that clips are longer than the encoder's window."""
    return (
        f"{len(left_out)} of {clips} clips are longer than the {encoder.window:g} s that encoder {encoder.name} hears: "
        f"{sum(left_out):.1f} s behind that are left out (workbench.audio.segment cuts sounds into windows; "
        f"seconds={encoder.window:g} of embed takes the beginning on purpose)"
    )


def beyond(encoder: Encoder, samples: int) -> float:
    """Return the seconds of a clip beyond the encoder's window; 0 without a window, or if they are less than 0.1."""
    if not encoder.window:
        return 0.0
    seconds = samples / encoder.rate - encoder.window
    return seconds if seconds >= 0.1 else 0.0


def windowed(encoder: Encoder, samples: int) -> str:
    """Return how a clip of this length is cut into windows, as text for a key; "" if it is encoded whole."""
    if encoder.window or samples <= LONGEST_SECONDS * encoder.rate:
        return ""
    return f"windows of {LONGEST_SECONDS:g} s, context {CONTEXT_SECONDS:g} s"


@checked
def compute_dtype(encoder: Encoder, dtype: str = "auto") -> str:
    """Return the precision in which an encoder computes, "float32", "bfloat16" or "float16".

    Parameters
    ----------
    encoder : Encoder
        For "auto", its attribute ``compute``, which :func:`load_encoder` sets, is used if it has one; else the
        precision is "bfloat16" on cuda and "float32" elsewhere.
    dtype : str
        "auto", or the precision itself.
    """
    choice("dtype", dtype, PRECISIONS)
    if dtype != "auto":
        return dtype
    return getattr(encoder, "compute", None) or ("bfloat16" if encoder.device.type == "cuda" else "float32")


@checked
def _plan(
    samples: Sequence[int], *, padding: Literal["masked", "equal", "fixed"], budget: float, window: int = 0
) -> list[list[int]]:
    """Divide clips into batches, the longest clips first.

    Parameters
    ----------
    samples : sequence of int
        Length of each clip in samples.
    padding : {"masked", "equal", "fixed"}
        The encoder's padding policy.
    budget : float
        Largest number of padded samples in a batch; a longer clip is a batch of its own.
    window : int
        Number of samples that each clip counts if ``padding == "fixed"``.

    Returns
    -------
    list of list of int
        Positions in ``samples``, each of them once.
    """
    batches: list[list[int]] = []
    first = total = 0
    for i in sorted(range(len(samples)), key=lambda i: (-samples[i], i)):
        if batches:
            padded = (len(batches[-1]) + 1) * (window if padding == "fixed" else first)
            fits = padded <= budget
            if padding == "equal":
                fits = fits and samples[i] == first
            elif padding == "masked":
                fits = fits and padded <= WASTE * (total + samples[i])
            if fits:
                batches[-1].append(i)
                total += samples[i]
                continue
        batches.append([i])
        first = total = samples[i]
    return batches


def _run(job: _Job, waveforms, seconds, loaders, progress):
    encoder = job.encoder
    _eval(encoder)
    window = round((encoder.window or 0) * encoder.rate)
    budget = seconds * encoder.rate
    workers = _workers(encoder)
    bar = progress_bar(total=None, unit="s", desc=encoder.name, disable=not progress, leave=False)
    done = spent = 0.0
    parts = _Parts(job)
    with bar, _side_by_side(workers) as submit:
        for clips in _windows(job, waveforms, seconds, loaders):
            sound = sum(clip.samples for clip in clips)
            if clips:  # the total is an estimate, which becomes better with each group of clips
                done, spent = done + len({clip.index for clip in clips}), spent + sound / encoder.rate
                bar.total = round(spent / done * len(waveforms))
            # divide even few clips into a batch for each worker
            share = min(budget, max(len(clips) * window, sound) / workers)
            queue = deque(_batches(clips, encoder.padding, share, window))
            running: deque = deque()
            while queue or running:
                while queue and _room(running, queue[0], workers, encoder.rate):
                    batch = queue.popleft()
                    if not parts.failed.issuperset(clip.index for clip in batch):
                        running.append((batch, submit(_attempt, job, batch)))
                if not running:
                    continue
                batch, future = running.popleft()
                results = future.result()
                if results is None and len(batch) > 1:
                    budget = min(budget, len(batch) * (window or max(clip.samples for clip in batch)) / 2)
                    bar.set_postfix_str(f"out of memory, batches of {budget / encoder.rate:.0f} s")
                    rest = [clip for other in (batch, *queue) for clip in other]
                    queue = deque(_batches(rest, encoder.padding, budget, window))
                    continue
                for layer in [layer for layer, wrong in job.rated.items() if wrong]:
                    warn(job.rated[layer])
                    job.rated[layer] = ""
                for clip, arrays in zip(batch, results or [None], strict=True):
                    bar.update(round((len(clip.x) if clip.part is None else clip.part.kept) / encoder.rate, 2))
                    arrays, error = parts.add(clip, arrays)
                    if error:
                        job.report(AudioError(job.name(clip.index), error), clip.index)
                    elif arrays:
                        yield clip.index, arrays


def _room(running: deque, batch: list[_Clip], workers: int, rate: int) -> bool:
    """Whether one more batch may be submitted: one beyond the number of workers, within AT_ONCE_SECONDS in all."""
    if len(running) > workers - (workers == 1):
        return False
    sizes = [len(clips) * max(clip.samples for clip in clips) for clips in (batch, *(b for b, _ in running))]
    return not running or sum(sizes) <= AT_ONCE_SECONDS * rate


class _Parts:
    """Joins the results of the windows of long clips."""

    def __init__(self, job: _Job):
        self.job = job
        self.failed: set[int] = set()
        self._waiting: dict[int, list] = {}

    def add(self, clip: _Clip, result: list | None) -> tuple[list[np.ndarray] | None, str | None]:
        """Add a result; return the arrays of its clip, or why it has none, or neither while windows are missing."""
        if clip.part is None or clip.index in self.failed:
            return (None, None) if clip.index in self.failed else (result, _problem(self.job, clip, result))
        if result is None:
            self.failed.add(clip.index)
            self._waiting.pop(clip.index, None)
            return None, _problem(self.job, clip, None)
        waiting = self._waiting.setdefault(clip.index, [None] * clip.part.count)
        waiting[clip.part.number] = result
        if self.job.on_window is not None:
            self.job.on_window(clip.index, clip.part.count)
        if any(part is None for part in waiting):
            return None, None
        arrays = [_merged(waiting, layer, self.job.pooling) for layer in range(len(self.job.layers))]
        del self._waiting[clip.index]
        return arrays, _problem(self.job, clip, arrays)


def _merged(parts: list[list], layer: int, pooling: str | None) -> np.ndarray:
    """Join one layer of a clip from its windows, whose arrays are freed."""
    windows = [part[layer] for part in parts]
    for part in parts:
        part[layer] = None
    if pooling is None:
        return np.concatenate(windows)
    windows = [window for window in windows if window[0]]
    if not windows:
        return np.zeros(0, np.float32)
    weights, means, squares = (np.array(column, np.float64) for column in zip(*windows, strict=True))
    share = (weights / weights.sum())[:, None]
    mean = (share * means).sum(0)
    if pooling == "mean":
        return mean.astype(np.float32)
    variance = (share * (squares + (means - mean) ** 2)).sum(0)
    return np.concatenate([mean, np.sqrt(variance)]).astype(np.float32)


def _workers(encoder: Encoder) -> int:
    """Return the number of batches that run in parallel: 1, or on the CPU up to MOST_WORKERS for reentrant encoders."""
    if encoder.device.type != "cpu" or not getattr(encoder, "reentrant", False):
        return 1
    return min(torch.get_num_threads(), MOST_WORKERS)


@contextmanager
def _side_by_side(workers: int) -> Iterator[Callable[..., Future]]:
    """Give a function that submits a call to the workers; with one worker it is run at once in the calling thread."""
    if workers == 1:

        def submit(function, *arguments) -> Future:
            future: Future = Future()
            future.set_result(function(*arguments))
            return future

        yield submit
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
        try:
            yield pool.submit
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            torch.set_num_threads(threads)  # threads that start later would get the workers' setting, too


def _batches(clips: list[_Clip], padding: str, budget: float, window: int) -> list[list[_Clip]]:
    """Return each window of a long clip as a batch, followed by batches of the other clips."""
    whole = [clip for clip in clips if clip.part is None]
    order = _plan([clip.samples for clip in whole], padding=padding, budget=budget, window=window)
    return [[clip] for clip in clips if clip.part is not None] + [[whole[i] for i in batch] for batch in order]


def _cut(encoder: Encoder, clip: _Clip) -> list[_Clip]:
    """Return the windows of a long clip, or the clip itself if it is not long."""
    if not windowed(encoder, len(clip.x)):
        return [clip]
    unit, n = _unit(encoder), len(clip.x)
    context = -(-round(CONTEXT_SECONDS * encoder.rate) // unit) * unit
    step = (round(LONGEST_SECONDS * encoder.rate) - 2 * context) // unit * unit
    starts = range(0, n - context, step)  # the rest after the last window is no longer than its context
    windows = []
    for k, start in enumerate(starts):
        end = n if k == len(starts) - 1 else start + step
        begin = max(start - context, 0)
        x = clip.x[begin : end + context]
        part = _Part(k, len(starts), start - begin, end - start)
        windows.append(_Clip(clip.index, x, max(len(x), encoder.minimum), part))
    return windows


def _unit(encoder: Encoder) -> int:
    """Return the samples in which every layer has a whole number of frames, so that windows begin where frames do."""
    periods = [
        Fraction(encoder.rate) / Fraction(layer.frame_rate).limit_denominator(1000)
        for layer in encoder.layers
        if layer.frame_rate
    ]
    unit = math.lcm(1, *(period.numerator for period in periods))
    return unit if unit <= CONTEXT_SECONDS * encoder.rate else 1  # else to the nearest frame


def _eval(encoder: Encoder) -> None:
    """Set every module to eval mode, as dropout, LayerDrop and batch statistics would change the numbers."""
    for module in (encoder, *vars(encoder).values()):
        if isinstance(module, nn.Module):
            module.eval()


def _windows(job: _Job, waveforms, seconds, loaders) -> Iterator[list[_Clip]]:
    """Yield lists of loaded clips; the first is small, so that results come soon, later ones have WINDOW_SECONDS."""
    encoder = job.encoder
    limit = min(4 * seconds, WINDOW_SECONDS) * encoder.rate
    clips: list[_Clip] = []
    held = 0
    for index, loaded in _loaded(waveforms, loaders):
        try:
            clip = _check(loaded, index, encoder.minimum, job.name)
        except AudioError as error:
            job.report(error, index)
            continue
        clips += _cut(encoder, clip)
        job.left_out.extend([left] if (left := beyond(encoder, len(clip.x))) else [])
        held += clip.samples
        if held >= limit:
            yield clips
            clips, held = [], 0
            limit = max(min(2 * limit, WINDOW_SECONDS * encoder.rate), 4 * seconds * encoder.rate)
    yield clips


def _loaded(waveforms, loaders: int) -> Iterator[tuple[int, np.ndarray | AudioError]]:
    """Yield (index, array or the error that loading raised) in order; loaders load a few clips in advance."""

    def load(index: int):
        try:
            return waveforms[index]
        except AudioError as error:
            return error

    if loaders <= 0:
        for index in range(len(waveforms)):
            yield index, load(index)
        return
    with ThreadPoolExecutor(loaders) as pool:
        ahead: deque = deque()
        try:
            for index in range(len(waveforms)):
                ahead.append((index, pool.submit(load, index)))
                if len(ahead) >= 8 * loaders:
                    first, future = ahead.popleft()
                    yield first, future.result()
            while ahead:
                first, future = ahead.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _check(loaded, index: int, minimum: int, name) -> _Clip:
    if isinstance(loaded, AudioError):
        raise loaded
    try:
        x = np.asarray(loaded)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(name(index), f"expected a waveform (samples,), got {type(loaded).__name__}") from error
    if x.dtype.kind != "f" and x.size:
        raise AudioError(name(index), f"expected a waveform of float samples, got an array of {x.dtype}")
    x = np.asarray(x, np.float32)
    if x.ndim != 1:
        raise AudioError(name(index), f"expected a waveform (samples,), got an array of shape {x.shape}")
    if not len(x):
        raise AudioError(name(index), "has no samples")
    if bad := len(x) - int(np.count_nonzero(np.isfinite(x))):
        raise AudioError(name(index), f"{bad} of {len(x)} samples are NaN or infinite")
    return _Clip(index, x, max(len(x), minimum))


def _problem(job: _Job, clip: _Clip, arrays: list[np.ndarray] | None) -> str | None:
    """Return why the result of a clip cannot be used, or None."""
    encoder = job.encoder
    if arrays is None:
        seconds = clip.samples / encoder.rate
        return (
            f"{seconds:.1f} s do not fit into memory with encoder {encoder.name} on {encoder.device}, even alone; "
            "use a part of it (seconds=...) or another device"
        )
    for position, array in zip(job.layers, arrays, strict=True):
        if not array.size:
            return f"encoder {encoder.name} gives no frame at layer {encoder.layers[position].name}"
        if not np.isfinite(array).all():
            return f"encoder {encoder.name} gives NaN or infinite values at layer {encoder.layers[position].name}"
    return None


def _attempt(job: _Job, batch: list[_Clip]) -> list[list] | None:
    """Return the results of a batch, or None if memory ran out; the memory of a failed attempt is freed."""
    try:
        return _encode(job, batch)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    # outside the handler: the traceback no longer keeps the tensors alive
    if job.encoder.device.type == "cuda":
        torch.cuda.empty_cache()
    elif job.encoder.device.type == "mps":
        torch.mps.empty_cache()
    return None


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # the CPU allocator and cuBLAS raise a plain RuntimeError
    signs = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)


def _encode(job: _Job, batch: list[_Clip]) -> list[list]:
    encoder = job.encoder
    x = np.zeros((len(batch), max(clip.samples for clip in batch)), np.float32)
    for row, clip in zip(x, batch, strict=True):
        row[: len(clip.x)] = clip.x
    device = encoder.device
    lengths = torch.tensor([clip.samples for clip in batch], device=device)
    with torch.inference_mode(), _precision(device.type, job.precision):
        outputs = encoder.forward(torch.from_numpy(x).to(device), lengths, job.layers)
    _check_outputs(encoder, outputs, job.layers, len(batch))
    _check_rates(job, batch, outputs)
    with torch.inference_mode():
        if batch[0].part is not None:  # a window, alone
            layers = [encoder.layers[position] for position in job.layers]
            return [[_window(job, batch[0], *pair, layer) for pair, layer in zip(outputs, layers, strict=True)]]
        by_layer = [_pool(frames, counts.to(frames.device), job.pooling) for frames, counts in outputs]
    return [list(arrays) for arrays in zip(*by_layer, strict=True)]


@contextmanager
def _precision(device: str, name: str) -> Iterator[None]:
    """Compute in this precision, except that convolutions on the CPU stay in float32."""
    if name == "float32":
        yield
        return
    with torch.autocast(device, getattr(torch, name)), _FullConvolutions() if device == "cpu" else nullcontext():
        yield


class _FullConvolutions(TorchFunctionMode):
    """Computes convolutions in float32 also under autocast.

    On processors with matrix tiles (AMX), oneDNN's bfloat16 kernel has relative errors of about 1 if a group has few
    channels (seen with torch 2.14: 6 and 8 channels, kernels of 8 and 16).
    """

    functions = frozenset({torch.conv1d, torch.conv2d, torch.conv3d})

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in self.functions:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            args = [part.float() if isinstance(part, Tensor) else part for part in args]
            kwargs = {k: part.float() if isinstance(part, Tensor) else part for k, part in (kwargs or {}).items()}
            return func(*args, **kwargs).to(torch.get_autocast_dtype("cpu"))


def _check_outputs(encoder: Encoder, outputs: object, layers: Sequence[int], rows: int) -> None:
    """Raise an error if the outputs of ``forward`` are not what the encoder declares."""

    def wrong(expected: str) -> ParameterError:
        return ParameterError("encoder", encoder.name, f"one whose forward gives {expected}")

    if not isinstance(outputs, (list, tuple)) or len(outputs) != len(layers):
        shown = f"{len(outputs)}" if isinstance(outputs, (list, tuple)) else type(outputs).__name__
        raise wrong(f"a list of (frames, lengths), one for each of the {len(layers)} layers asked for, not {shown}")
    for position, pair in zip(layers, outputs, strict=True):
        name, dim = encoder.layers[position].name, encoder.layers[position].dim
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(t, Tensor) for t in pair):
            raise wrong(f"a pair of tensors (frames, lengths) at layer {name}, not {type(pair).__name__}")
        frames, counts = pair
        if frames.ndim != 3 or frames.shape[0] != rows or frames.shape[2] != dim or not frames.is_floating_point():
            shape = f"{frames.dtype} of shape {tuple(frames.shape)}"
            raise wrong(f"float frames ({rows}, T, {dim}) at layer {name}, as its dim declares, not {shape}")
        if counts.shape != (rows,) or counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
            shape = f"{counts.dtype} of shape {tuple(counts.shape)}"
            raise wrong(f"whole lengths ({rows},) at layer {name}, not {shape}")
        least, most = torch.stack(counts.aminmax()).tolist() if rows else (0, 0)  # in one transfer from the GPU
        if least < 0 or most > frames.shape[1]:
            raise wrong(f"lengths from 0 to T = {frames.shape[1]} at layer {name}, not {counts.tolist()}")


def _check_rates(job: _Job, batch: list[_Clip], outputs: list[tuple[Tensor, Tensor]]) -> None:
    """Note for each layer, once, whether its frame rate is off by a tenth or more for a clip of at least a second."""
    encoder, row = job.encoder, max(range(len(batch)), key=lambda i: batch[i].samples)
    seconds = batch[row].samples / encoder.rate
    heard = (min(seconds, encoder.window), max(seconds, encoder.window)) if encoder.window else (seconds, seconds)
    for position, (_, counts) in zip(job.layers, outputs, strict=True):
        layer = encoder.layers[position]
        if seconds < 1 or not layer.frame_rate or layer.name in job.rated:
            continue
        count, (low, high) = int(counts[row]), (part * layer.frame_rate for part in heard)
        job.rated[layer.name] = ""
        edges = max(2, 0.2 * layer.frame_rate)  # frames that a front end without padding lacks at the ends of a clip
        if count < low - max(edges, 0.1 * low) or count > high + max(edges, 0.1 * high):
            job.rated[layer.name] = (
                f"encoder {encoder.name} declares {layer.frame_rate:g} frames a second at layer {layer.name} and gives "
                f"about {count / seconds:.2g}: the times of its frames are wrong until Layer(..., frame_rate) is right"
            )


def _window(job: _Job, clip: _Clip, frames: Tensor, counts: Tensor, layer: Layer):
    """Return the kept frames of a window at one layer, or their weight, mean and variance if they are pooled."""
    part, rate, count = clip.part, job.encoder.rate, int(counts[0])
    weight, kept = part.kept / rate, slice(0, count)
    if layer.frame_rate:
        expected = clip.samples / rate * layer.frame_rate
        if abs(count - expected) > max(4, 0.01 * expected):
            declared = f"one whose layer {layer.name} gives the {layer.frame_rate:g} frames a second that it declares"
            cause = f"{clip.samples / rate:.1f} s gave {count}, so that a long clip cannot be put together from windows"
            raise ParameterError("encoder", job.encoder.name, f"{declared}: {cause}")
        first, behind = (round(n / rate * layer.frame_rate) for n in (part.before, part.before + part.kept))
        kept = slice(first, count if part.number == part.count - 1 else behind)
        weight = max(min(kept.stop, count) - first, 0)
    y = frames[0, kept].float()
    if job.pooling is None:
        return y.cpu().numpy().copy()
    if not len(y):
        return 0, np.zeros(layer.dim, np.float32), np.zeros(layer.dim, np.float32)
    mean = y.mean(0)
    return weight, mean.cpu().numpy(), (y - mean).square().mean(0).cpu().numpy()


def _pool(frames: Tensor, counts: Tensor, pooling: str | None) -> list[np.ndarray]:
    """Return one array for each row, float32 on the CPU, from frames (B, T, D) and their true number in each row."""
    if pooling is None:
        array = frames.float().cpu().numpy()
        return [array[i, :n].copy() for i, n in enumerate(counts.tolist())]
    padded = torch.arange(frames.shape[1], device=frames.device) >= counts[:, None]
    # frames behind a row's last one are undefined and may be NaN: they are replaced, not multiplied by zero
    y = frames.float().masked_fill(padded[:, :, None], 0.0)
    n = counts[:, None].float()
    mean = y.sum(1) / n
    if pooling == "mean+std":
        deviation = (y - mean[:, None]).masked_fill(padded[:, :, None], 0.0)
        mean = torch.cat((mean, (deviation.square().sum(1) / n).sqrt()), 1)
    # a row without frames has no mean
    return [row if count else row[:0] for row, count in zip(mean.cpu().numpy(), counts.tolist(), strict=True)]
