"""Run an encoder over many clips: batches by total length, true lengths respected, memory back-off.

Clips are loaded when they are needed, a window of them at a time; a window is sorted by length and cut into batches
of at most ``batch_seconds`` of padded sound. What may share a batch is the encoder's padding policy:

- "masked": any lengths, with bounded waste (at most a quarter more sound than there is); padding changes nothing;
- "equal": clips of one length only, because padding would change the numbers;
- "fixed": any, each counted as the front end's window.

An encoder with a window ("fixed" ones, and others that cut longer clips) does not hear what lies behind it; one
warning says how much that is. Without one, a clip longer than five minutes (:data:`LONGEST_SECONDS`) is not encoded
whole: memory and, where a network attends over everything, time would grow beyond bounds. It is cut into windows of
five minutes that overlap by ten seconds. Each is encoded alone, its outer five seconds (:data:`CONTEXT_SECONDS`) are
heard but not kept, and the kept frames follow each other without gap: as many as the whole clip would give, at the
same times. Their mean and deviation are those of all kept frames together. The numbers are those of the whole clip
where a frame depends on less than five seconds around it; where it depends on more (attention, a normalisation over
the clip) they are those of its window. A layer that gives one frame a clip (frame rate 0) gives one a window, weighted
by its seconds in a mean.

On the CPU several batches run side by side, each on its share of the cores, where the encoder can (its attribute
``reentrant``, which :func:`load_encoder` sets): many small matrices gain little from a second core, two batches do.
Frames are pooled on the device over true frames only, so only what is asked for travels back.
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
"""Padded seconds a batch by device when ``batch_seconds`` is not given; halved when memory runs out."""
WINDOW_SECONDS = 1200.0
"""Most seconds of sound held at once (75 MB at 16 kHz)."""
LONGEST_SECONDS = 300.0
"""A longer clip is encoded in windows of this length."""
CONTEXT_SECONDS = 5.0
"""Sound on either side of a window that is heard but whose frames are not kept."""
AT_ONCE_SECONDS = 600.0
"""Padded seconds that are in work at once, at most, where several batches run side by side."""
WASTE = 1.25
"""Padded over true samples that a batch of a "masked" encoder may reach."""
MOST_WORKERS = 4
"""Batches that run side by side on the CPU, at most; the cores are shared out among them."""
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
POOLINGS = ("mean", "mean+std", None)


class Waveforms(Protocol):
    """What :func:`extract` reads: a length, and float32 (samples,) at the encoder's rate by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


class _Part(NamedTuple):
    """Where a window lies in its clip: which of how many, samples of context before it, samples kept of it."""

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
        A torch module becomes one by :func:`encoder_from`, which reads its rate.
    waveforms : sequence of np.ndarray, float32 (samples,)
        At ``encoder.rate``. Only ``len()`` and indexing are used, once a clip, so it may decode lazily.
    layers : "all", str, int or several of these
        Which of ``encoder.layers``.
    pooling : {"mean", "mean+std", None}
        Over the true frames of a clip: the mean, (D,); mean and population standard deviation, (2 D,);
        or none, (T, D).
    batch_seconds : float, optional
        Most padded seconds a batch; by device when None (:data:`BATCH_SECONDS`). One clip always makes a batch.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Compute precision: "auto" is :func:`compute_dtype`, which the encoder's fingerprint knows when it comes
        from :func:`load_encoder`; anything else changes the numbers without the fingerprint knowing.
    names : sequence of str, optional
        What error messages call the clips.
    on_error : callable (index, AudioError), optional
        Called for a clip that cannot be loaded or encoded, which is then left out; without it the error is raised.
    loaders : int
        Threads that load clips ahead of need; 0 loads them in the calling thread. Needs thread-safe indexing.
    progress : bool
        A progress bar in seconds of sound.

    Yields
    ------
    index : int
        Position in ``waveforms``.
    arrays : list of np.ndarray, float32
        One a layer, in the order of ``encoder.layers``.

    Raises
    ------
    ParameterError
        A wrong argument, raised at the call; or an encoder whose frames are not what it declares.
    AudioError
        A clip that is not a finite, non-empty (samples,) array, that gives non-finite frames, or that alone does
        not fit into memory; names the clip.

    Warns
    -----
    UserWarning
        Clips are longer than the encoder's window, if it has one; says how many seconds are left out. Or a layer's
        frame rate is a tenth or more beside what clips of a second or longer show.

    Notes
    -----
    Clips shorter than ``encoder.minimum`` samples are zero-padded to it and count as that long. When memory runs
    out the batch is cut in half, and later batches keep to the smaller size; the results do not depend on it.
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
    """:func:`extract` for a caller that warns and shows progress itself.

    ``on_window`` is called with the clip and the number of its windows whenever one of them is done; to ``left_out``
    go the seconds that each clip has beyond the encoder's window.
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
    """What stays the same for all clips."""

    encoder: Encoder
    layers: tuple[int, ...]
    pooling: str | None
    precision: str
    name: Callable[[int], str]
    on_error: Callable[[int, AudioError], None] | None
    on_window: Callable[[int, int], None] | None
    left_out: list[float]
    rated: dict[str, str]
    """Layers whose frame rate has been looked at, and what is wrong with it or nothing."""

    def report(self, error: AudioError, index: int) -> None:
        if self.on_error is None:
            raise error
        self.on_error(index, error)


def unheard(encoder: Encoder, left_out: Sequence[float], clips: int) -> str:
    """The warning that clips are longer than what an encoder hears of them."""
    return (
        f"{len(left_out)} of {clips} clips are longer than the {encoder.window:g} s that encoder {encoder.name} hears: "
        f"{sum(left_out):.1f} s behind that are left out (workbench.audio.segment cuts sounds into windows; "
        f"seconds={encoder.window:g} of embed takes the beginning on purpose)"
    )


def beyond(encoder: Encoder, samples: int) -> float:
    """Seconds of a clip that an encoder with a window does not hear; less than a tenth of a second is none."""
    if not encoder.window:
        return 0.0
    seconds = samples / encoder.rate - encoder.window
    return seconds if seconds >= 0.1 else 0.0


def windowed(encoder: Encoder, samples: int) -> str:
    """How a clip of this length is cut, in words that a key can hold; empty where it is encoded whole."""
    if encoder.window or samples <= LONGEST_SECONDS * encoder.rate:
        return ""
    return f"windows of {LONGEST_SECONDS:g} s, context {CONTEXT_SECONDS:g} s"


@checked
def compute_dtype(encoder: Encoder, dtype: str = "auto") -> str:
    """The precision an encoder computes in: "float32", or "bfloat16" on a GPU (cuda) unless it says otherwise.

    Parameters
    ----------
    encoder : Encoder
        Its attribute ``compute``, set by :func:`load_encoder`, decides where there is one.
    dtype : str
        "auto" or the precision itself.
    """
    choice("dtype", dtype, PRECISIONS)
    if dtype != "auto":
        return dtype
    return getattr(encoder, "compute", None) or ("bfloat16" if encoder.device.type == "cuda" else "float32")


@checked
def _plan(
    samples: Sequence[int], *, padding: Literal["masked", "equal", "fixed"], budget: float, window: int = 0
) -> list[list[int]]:
    """Cut clips into batches, longest first.

    Parameters
    ----------
    samples : sequence of int
        Length of each clip.
    padding : {"masked", "equal", "fixed"}
        The encoder's policy.
    budget : float
        Most padded samples a batch; a clip longer than that is a batch of its own.
    window : int
        Samples that a clip counts where ``padding == "fixed"``.

    Returns
    -------
    list of list of int
        Positions in ``samples``; each appears once.
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
            if clips:  # the total is a guess that each window improves
                done, spent = done + len({clip.index for clip in clips}), spent + sound / encoder.rate
                bar.total = round(spent / done * len(waveforms))
            # few clips still make a batch for every worker
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
    """Whether one more batch may start: one waits for each worker, but long ones are not all held at once."""
    if len(running) > workers - (workers == 1):
        return False
    sizes = [len(clips) * max(clip.samples for clip in clips) for clips in (batch, *(b for b, _ in running))]
    return not running or sum(sizes) <= AT_ONCE_SECONDS * rate


class _Parts:
    """Puts the windows of long clips together again."""

    def __init__(self, job: _Job):
        self.job = job
        self.failed: set[int] = set()
        self._waiting: dict[int, list] = {}

    def add(self, clip: _Clip, result: list | None) -> tuple[list[np.ndarray] | None, str | None]:
        """The arrays of a clip, or why it has none; neither while windows are missing."""
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
    """One layer of a whole clip from its windows; lets go of theirs."""
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
    """Batches that run side by side on the CPU: small matrices keep two cores busier in two batches than in one."""
    if encoder.device.type != "cpu" or not getattr(encoder, "reentrant", False):
        return 1
    return min(torch.get_num_threads(), MOST_WORKERS)


@contextmanager
def _side_by_side(workers: int) -> Iterator[Callable[..., Future]]:
    """A submit function; with one worker it runs at once in the calling thread."""
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
            torch.set_num_threads(threads)  # the workers' setting is also what threads started later would get


def _batches(clips: list[_Clip], padding: str, budget: float, window: int) -> list[list[_Clip]]:
    """Windows of long clips alone, then batches of the others."""
    whole = [clip for clip in clips if clip.part is None]
    order = _plan([clip.samples for clip in whole], padding=padding, budget=budget, window=window)
    return [[clip] for clip in clips if clip.part is not None] + [[whole[i] for i in batch] for batch in order]


def _cut(encoder: Encoder, clip: _Clip) -> list[_Clip]:
    """The windows of a long clip; a clip that is not long as it is."""
    if not windowed(encoder, len(clip.x)):
        return [clip]
    unit, n = _unit(encoder), len(clip.x)
    context = -(-round(CONTEXT_SECONDS * encoder.rate) // unit) * unit
    step = (round(LONGEST_SECONDS * encoder.rate) - 2 * context) // unit * unit
    starts = range(0, n - context, step)  # what remains behind the last is no longer than its context
    windows = []
    for k, start in enumerate(starts):
        end = n if k == len(starts) - 1 else start + step
        begin = max(start - context, 0)
        x = clip.x[begin : end + context]
        part = _Part(k, len(starts), start - begin, end - start)
        windows.append(_Clip(clip.index, x, max(len(x), encoder.minimum), part))
    return windows


def _unit(encoder: Encoder) -> int:
    """Samples in which every layer has a whole number of frames, so that windows begin where frames do."""
    periods = [
        Fraction(encoder.rate) / Fraction(layer.frame_rate).limit_denominator(1000)
        for layer in encoder.layers
        if layer.frame_rate
    ]
    unit = math.lcm(1, *(period.numerator for period in periods))
    return unit if unit <= CONTEXT_SECONDS * encoder.rate else 1  # else to the nearest frame


def _eval(encoder: Encoder) -> None:
    """Dropout, LayerDrop and batch statistics would change the numbers: every module goes to eval mode."""
    for module in (encoder, *vars(encoder).values()):
        if isinstance(module, nn.Module):
            module.eval()


def _windows(job: _Job, waveforms, seconds, loaders) -> Iterator[list[_Clip]]:
    """Lists of loaded clips: the first small so that results come soon, then up to WINDOW_SECONDS."""
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
    """(index, array or the error its loading raised), in order, loaded a few ahead when there are loaders."""

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
    """Why a clip's result cannot be used, or None."""
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
    """Results of a batch, or None when memory ran out (whatever the failed attempt held is free again)."""
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
    """Compute in this precision; on the CPU its convolutions stay in float32."""
    if name == "float32":
        yield
        return
    with torch.autocast(device, getattr(torch, name)), _FullConvolutions() if device == "cpu" else nullcontext():
        yield


class _FullConvolutions(TorchFunctionMode):
    """Convolutions in float32 also under autocast.

    On processors with matrix tiles (AMX), oneDNN's bfloat16 kernel gives values that are wrong by as much as they are
    large where a group has few channels (seen with torch 2.14: 6 and 8 channels, kernels of 8 and 16).
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
    """Refuse what ``forward`` gave where it is not what its encoder declares."""

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
        least, most = torch.stack(counts.aminmax()).tolist() if rows else (0, 0)  # together: a GPU is waited for once
        if least < 0 or most > frames.shape[1]:
            raise wrong(f"lengths from 0 to T = {frames.shape[1]} at layer {name}, not {counts.tolist()}")


def _check_rates(job: _Job, batch: list[_Clip], outputs: list[tuple[Tensor, Tensor]]) -> None:
    """Note, once a layer, a frame rate that is a tenth or more beside what a clip of a second or longer shows."""
    encoder, row = job.encoder, max(range(len(batch)), key=lambda i: batch[i].samples)
    seconds = batch[row].samples / encoder.rate
    heard = (min(seconds, encoder.window), max(seconds, encoder.window)) if encoder.window else (seconds, seconds)
    for position, (_, counts) in zip(job.layers, outputs, strict=True):
        layer = encoder.layers[position]
        if seconds < 1 or not layer.frame_rate or layer.name in job.rated:
            continue
        count, (low, high) = int(counts[row]), (part * layer.frame_rate for part in heard)
        job.rated[layer.name] = ""
        edges = max(2, 0.2 * layer.frame_rate)  # what a front end without padding loses at a clip's ends
        if count < low - max(edges, 0.1 * low) or count > high + max(edges, 0.1 * high):
            job.rated[layer.name] = (
                f"encoder {encoder.name} declares {layer.frame_rate:g} frames a second at layer {layer.name} and gives "
                f"about {count / seconds:.2g}: the times of its frames are wrong until Layer(..., frame_rate) is right"
            )


def _window(job: _Job, clip: _Clip, frames: Tensor, counts: Tensor, layer: Layer):
    """Return, of one window and layer, the frames that are kept, or their weight, mean and mean squared deviation."""
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
    """One array a row, float32 on the CPU, from (B, T, D) and the true number of frames of each row."""
    if pooling is None:
        array = frames.float().cpu().numpy()
        return [array[i, :n].copy() for i, n in enumerate(counts.tolist())]
    padded = torch.arange(frames.shape[1], device=frames.device) >= counts[:, None]
    # what lies behind a row's last frame is undefined, it may even be NaN: replaced, not multiplied by zero
    y = frames.float().masked_fill(padded[:, :, None], 0.0)
    n = counts[:, None].float()
    mean = y.sum(1) / n
    if pooling == "mean+std":
        deviation = (y - mean[:, None]).masked_fill(padded[:, :, None], 0.0)
        mean = torch.cat((mean, (deviation.square().sum(1) / n).sqrt()), 1)
    # a row without frames has no mean
    return [row if count else row[:0] for row, count in zip(mean.cpu().numpy(), counts.tolist(), strict=True)]
