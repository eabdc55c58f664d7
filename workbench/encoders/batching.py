"""Run an encoder over many clips: batches by total length, true lengths respected, memory back-off.

Clips are loaded when they are needed, a window of them at a time; a window is sorted by length and cut into batches
of at most ``batch_seconds`` of padded sound. What may share a batch is the encoder's padding policy:

- "masked": any lengths, with bounded waste (at most a quarter more sound than there is); padding changes nothing;
- "equal": clips of one length only, because padding would change the numbers;
- "fixed": any, each counted as the front end's window.

On the CPU several batches run side by side, each on its share of the cores, where the encoder can (its attribute
``reentrant``, which :func:`load_encoder` sets): many small matrices gain little from a second core, two batches do.
Frames are pooled on the device over true frames only, so only what is asked for travels back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import AudioError, ParameterError
from .interface import Encoder

BATCH_SECONDS = {"cpu": 32.0, "mps": 96.0, "cuda": 480.0}
"""Padded seconds a batch by device when ``batch_seconds`` is not given; halved when memory runs out."""
WINDOW_SECONDS = 1200.0
"""Most seconds of sound held at once (75 MB at 16 kHz)."""
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


class _Clip(NamedTuple):
    index: int
    x: np.ndarray
    samples: int


def extract(
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
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Encode clips, batch by batch; results come as batches finish, not in the order of the clips.

    Parameters
    ----------
    encoder : Encoder
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
        Unknown layer, pooling or dtype, a batch size that is not positive; raised at the call.
    AudioError
        A clip that is not a finite, non-empty (samples,) array, that gives non-finite frames, or that alone does
        not fit into memory; names the clip.

    Notes
    -----
    Clips shorter than ``encoder.minimum`` samples are zero-padded to it and count as that long. When memory runs
    out the batch is cut in half, and later batches keep to the smaller size; the results do not depend on it.
    """
    chosen = encoder.select(layers)
    if pooling not in POOLINGS:
        raise ParameterError("pooling", pooling, "'mean', 'mean+std' or None")
    kind = encoder.device.type
    seconds = BATCH_SECONDS.get(kind, BATCH_SECONDS["cpu"]) if batch_seconds is None else batch_seconds
    if not seconds > 0:
        raise ParameterError("batch_seconds", batch_seconds, "a positive number of seconds")
    precision = compute_dtype(encoder, dtype)
    if names is not None and len(names) != len(waveforms):
        raise ParameterError("names", f"{len(names)} names", f"one a clip ({len(waveforms)})")

    def name(index: int) -> str:
        return f"clip {index}" if names is None else f"clip {names[index]}"

    return _run(encoder, waveforms, chosen, pooling, seconds, precision, name, on_error, loaders, progress)


def compute_dtype(encoder: Encoder, dtype: str = "auto") -> str:
    """The precision an encoder computes in: "float32", or "bfloat16" on a GPU (cuda) unless it says otherwise.

    Parameters
    ----------
    encoder : Encoder
        Its attribute ``compute``, set by :func:`load_encoder`, decides where there is one.
    dtype : str
        "auto" or the precision itself.
    """
    if dtype not in PRECISIONS:
        raise ParameterError("dtype", dtype, "'auto', 'float32', 'bfloat16' or 'float16'")
    if dtype != "auto":
        return dtype
    return getattr(encoder, "compute", None) or ("bfloat16" if encoder.device.type == "cuda" else "float32")


def plan(samples: Sequence[int], *, padding: str, budget: float, window: int = 0) -> list[list[int]]:
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


def _run(encoder, waveforms, layers, pooling, seconds, precision, name, on_error, loaders, progress):
    from tqdm.auto import tqdm

    _eval(encoder)
    window = round((encoder.window or 0) * encoder.rate)
    budget = seconds * encoder.rate
    workers = _workers(encoder)
    bar = tqdm(total=None, unit="s", desc=encoder.name, disable=not progress, leave=False)
    done = spent = 0.0
    with bar, _side_by_side(workers) as submit:
        for clips in _windows(encoder, waveforms, seconds, name, on_error, loaders):
            sound = sum(clip.samples for clip in clips)
            if clips:  # the total is a guess that each window improves
                done, spent = done + len(clips), spent + sound / encoder.rate
                bar.total = round(spent / done * len(waveforms))
            # few clips still make a batch for every worker
            share = min(budget, max(len(clips) * window, sound) / workers)
            queue = deque(_batches(clips, encoder.padding, share, window))
            running: deque = deque()
            while queue or running:
                while queue and len(running) <= workers - (workers == 1):
                    batch = queue.popleft()
                    running.append((batch, submit(_attempt, encoder, batch, layers, pooling, precision)))
                batch, future = running.popleft()
                results = future.result()
                if results is None and len(batch) > 1:
                    budget = min(budget, len(batch) * (window or max(clip.samples for clip in batch)) / 2)
                    bar.set_postfix_str(f"out of memory, batches of {budget / encoder.rate:.0f} s")
                    rest = [clip for other in (batch, *queue) for clip in other]
                    queue = deque(_batches(rest, encoder.padding, budget, window))
                    continue
                for clip, arrays in zip(batch, results or [None], strict=True):
                    error = _problem(encoder, clip, arrays, layers)
                    if error:
                        _report(AudioError(name(clip.index), error), clip.index, on_error)
                    else:
                        yield clip.index, arrays
                    bar.update(round(len(clip.x) / encoder.rate, 2))


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
    order = plan([clip.samples for clip in clips], padding=padding, budget=budget, window=window)
    return [[clips[i] for i in batch] for batch in order]


def _eval(encoder: Encoder) -> None:
    """Dropout, LayerDrop and batch statistics would change the numbers: every module goes to eval mode."""
    for module in (encoder, *vars(encoder).values()):
        if isinstance(module, nn.Module):
            module.eval()


def _windows(encoder, waveforms, seconds, name, on_error, loaders) -> Iterator[list[_Clip]]:
    """Lists of loaded clips: the first small so that results come soon, then up to WINDOW_SECONDS."""
    limit = min(4 * seconds, WINDOW_SECONDS) * encoder.rate
    clips: list[_Clip] = []
    held = 0
    for index, loaded in _loaded(waveforms, loaders):
        try:
            clip = _check(loaded, index, encoder.minimum, name)
        except AudioError as error:
            _report(error, index, on_error)
            continue
        clips.append(clip)
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
    x = np.asarray(loaded, dtype=np.float32)
    if x.ndim != 1:
        raise AudioError(name(index), f"expected a waveform (samples,), got an array of shape {x.shape}")
    if not len(x):
        raise AudioError(name(index), "has no samples")
    if bad := int(np.count_nonzero(~np.isfinite(x))):
        raise AudioError(name(index), f"{bad} of {len(x)} samples are NaN or infinite")
    return _Clip(index, x, max(len(x), minimum))


def _report(error: AudioError, index: int, on_error) -> None:
    if on_error is None:
        raise error
    on_error(index, error)


def _problem(encoder: Encoder, clip: _Clip, arrays: list[np.ndarray] | None, layers) -> str | None:
    """Why a clip's result cannot be used, or None."""
    if arrays is None:
        seconds = clip.samples / encoder.rate
        return (
            f"{seconds:.1f} s do not fit into memory with encoder {encoder.name} on {encoder.device}, even alone; "
            "use a part of it (seconds=...) or another device"
        )
    for position, array in zip(layers, arrays, strict=True):
        if not array.size:
            return f"encoder {encoder.name} gives no frame at layer {encoder.layers[position].name}"
        if not np.isfinite(array).all():
            return f"encoder {encoder.name} gives NaN or infinite values at layer {encoder.layers[position].name}"
    return None


def _attempt(encoder, batch, layers, pooling, precision) -> list[list[np.ndarray]] | None:
    """Results of a batch, or None when memory ran out (whatever the failed attempt held is free again)."""
    try:
        return _encode(encoder, batch, layers, pooling, precision)
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    # outside the handler: the traceback no longer keeps the tensors alive
    if encoder.device.type == "cuda":
        torch.cuda.empty_cache()
    elif encoder.device.type == "mps":
        torch.mps.empty_cache()
    return None


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # the CPU allocator and cuBLAS raise a plain RuntimeError
    signs = ("can't allocate memory", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)


def _encode(encoder, batch, layers, pooling, precision) -> list[list[np.ndarray]]:
    x = np.zeros((len(batch), max(clip.samples for clip in batch)), np.float32)
    for row, clip in zip(x, batch, strict=True):
        row[: len(clip.x)] = clip.x
    device = encoder.device
    lengths = torch.tensor([clip.samples for clip in batch], device=device)
    low = precision != "float32"
    autocast = torch.autocast(device.type, getattr(torch, precision)) if low else nullcontext()
    with torch.inference_mode(), autocast:
        outputs = encoder.forward(torch.from_numpy(x).to(device), lengths, layers)
    with torch.inference_mode():
        by_layer = [_pool(frames, counts.to(frames.device), pooling) for frames, counts in outputs]
    return [list(arrays) for arrays in zip(*by_layer, strict=True)]


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
