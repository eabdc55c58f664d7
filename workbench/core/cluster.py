"""Work on the processes of a dask scheduler, on this machine or on many: one way for studies, stores and runs.

:func:`connect` turns what a user writes (``local:2``, ``tcp://host:8786``, ``my_module:make_client``) into a client,
and :func:`spread` runs jobs on its workers. A job is coarse, carries names rather than data, and leaves what it makes
where every worker and the caller can read it. So a worker or a scheduler that dies costs the jobs in flight, which are
done again, and nothing else; no lock on any file is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import logging
import os
import pickle
import queue
import sys
import time
import types
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .checks import checked
from .dependencies import load, release
from .errors import ClusterError, ParameterError, StoreError
from .files import cache_folder, write_whole
from .warn import warn

if TYPE_CHECKING:
    from distributed import Client, Future

#: Seconds that a first connection may take, and that a scheduler or worker which went away is waited for.
CONNECTING, PATIENCE = 10, 600.0
#: What a job knows of its caller's environment: folders, and the threads of libraries that a job's kernel loads.
FOLDERS = ("WORKBENCH_CACHE", "WORKBENCH_DATA", "WORKBENCH_WEIGHTS")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: Bytes of a pickle up to which it travels with each job.
INLINE = 2**20
#: How often a job is tried on another worker after one could not write or had no memory left.
TRIES = 3


@dataclass(frozen=True)
class Job:
    """A piece of work for one worker."""

    name: str
    """What messages call it."""
    key: str
    """The same for the same work, whoever asks: of two callers of a scheduler one computation serves both."""
    function: Callable[..., Any]
    """A function of this package, or what pickle can carry."""
    arguments: tuple = ()
    """What it is given, small: names, numbers, rows of a table."""
    smaller: Callable[[], Job] | None = None
    """Gives the same work in less memory, for when a worker runs out of it."""


@dataclass(frozen=True)
class Parcel:
    """Something large that many jobs need, in a file that every worker reads once; made by :func:`parcels`."""

    path: str
    """The file, from the root."""

    def open(self) -> Any:
        """What was packed; it is read at the first use in a process."""
        return _opened(self.path)


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            return pickle.load(file)
    except OSError as error:
        text = f"a worker cannot read {path} ({error}): the cache folder (WORKBENCH_CACHE) must be one that all share"
        raise ClusterError(text) from error


@contextlib.contextmanager
def parcels() -> Iterator[Callable[[Any], Any]]:
    """Give a function that packs what is large, for the length of a block; small things pass through it as they are."""
    from cloudpickle import dumps

    paths: list[Path] = []

    def pack(value: Any) -> Any:
        data = dumps(value)
        if len(data) <= INLINE:
            return value
        path = cache_folder().absolute() / "parcels" / f"{hashlib.sha256(data).hexdigest()[:24]}-{uuid.uuid4().hex[:8]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        paths.append(path)
        return Parcel(str(path))

    try:
        yield pack
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
@checked
def connect(cluster: str) -> Iterator[Client]:
    """Give a dask client for the length of a block.

    Parameters
    ----------
    cluster : str
        "local" or "local:N": N processes on this machine (by default one a GPU, or one a core), ended with the block.
        "tcp://HOST:PORT" (or tls, ucx): a scheduler that runs. "module:function" or "file.py:function": one's own
        function, which returns a client or a cluster, such as dask-jobqueue's ``SLURMCluster``.

    Raises
    ------
    ParameterError
        Another text, a function that is not there or returns something else.
    ClusterError
        No scheduler answers.
    DependencyError
        dask.distributed is not installed.
    """
    distributed = load("distributed")
    kind, _, rest = cluster.partition(":")
    with contextlib.ExitStack() as stack:
        if kind == "local" and (not rest or rest.isdecimal() and int(rest)):
            made = stack.enter_context(_local(int(rest or 0)))
        elif "://" in cluster:
            made = cluster
        else:
            made = _own(cluster)
        if not isinstance(made, distributed.Client):
            try:
                made = stack.enter_context(distributed.Client(made, timeout=CONNECTING))
            except (OSError, TimeoutError, ValueError) as error:
                raise ClusterError(f"cluster={cluster!r}: no scheduler answers ({error})") from error
        yield made


def _local(count: int):
    """A cluster of processes on this machine: one job each at a time, and where there are GPUs one of them each."""
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = _gpus()
    workers = {}
    for i in range(count or len(gpus) or os.cpu_count() or 1):
        options: dict[str, Any] = {"nthreads": 1, "memory_limit": "auto", "dashboard_address": None}
        options |= {"silence_logs": logging.ERROR}
        if gpus:
            options |= {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]}}
        workers[i] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {"port": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    # dask's own would give every array of a hundred kilobytes back to the system at once, and it lets threads spin
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {"OMP_WAIT_POLICY": "PASSIVE"}}):
        return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR, name="workbench")


def _gpus() -> list[str]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    return [str(i) for i in range(torch.cuda.device_count())]


def _own(cluster: str) -> object:
    """What the user's own function makes."""
    module, colon, name = cluster.rpartition(":")
    expected = "local[:N], tcp://HOST:PORT, or module:function (or file.py:function) that returns a dask client"
    if not colon or not module or not name.isidentifier():
        raise ParameterError("cluster", cluster, expected)
    try:
        if module.endswith(".py"):
            loaded = types.ModuleType(Path(module).stem)
            exec(compile(Path(module).read_text(encoding="utf-8"), module, "exec"), loaded.__dict__)
        else:
            sys.path.insert(0, os.getcwd())
            try:
                loaded = importlib.import_module(module)
            finally:
                sys.path.pop(0)
        function = getattr(loaded, name)
    except (ImportError, OSError, AttributeError, SyntaxError) as error:
        raise ParameterError("cluster", cluster, f"{expected}: {error}") from error
    made = function()
    if not (hasattr(made, "submit") or hasattr(made, "scheduler_address")):
        raise ParameterError("cluster", cluster, f"a function that returns a dask client or cluster, not {made!r}")
    return made


def is_dask(client: object) -> bool:
    """Whether an object is a dask client, found out without importing dask."""
    return any(kind.__module__.partition(".")[0] == "distributed" for kind in type(client).__mro__)


@functools.cache  # what is on the disk later is not what this process runs
def code_version() -> str:
    """Version of this package and a hash of its source, which a development copy changes under the same version."""
    digest, top = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(top.rglob("*.py")):
        digest.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{release() or 'not installed'}, code {digest.hexdigest()[:12]}"


#: Asked of every worker in words that need nothing of this package there: it may have another version of it, or none.
_ASK = """
def ask():
    try:
        from workbench.core import cluster
        return cluster.code_version()
    except Exception as error:
        return f"none that can be asked ({type(error).__name__}: {error})"
"""


def spread(client: Client, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
    """Run jobs on a client's workers, and give each with what it returned, or the exception it raised, as it ends.

    No more jobs are handed out than the workers can soon begin, so that a million of them are no burden. A job whose
    worker died is done again by another, as dask sees to; one that ran out of memory is done again in its smaller form;
    one that could not write is tried on other workers; when the scheduler goes away, it is waited for. A job computes
    with as many threads as its caller has, with which its numbers are the same.

    Parameters
    ----------
    client : distributed.Client
    jobs : iterable of Job

    Raises
    ------
    ClusterError
        No worker is of this package's version, or the scheduler does not come back.

    Warns
    -----
    UserWarning
        Workers of another version, which get no job; jobs that were done again, and why.
    """
    from cloudpickle import dumps

    team = _Team(client)
    context = (torch.get_num_threads(), _environment(), os.getcwd())
    waiting, done = iter(jobs), queue.SimpleQueue()
    flying: dict[Future, tuple[Job, int, frozenset[str]]] = {}
    places: dict[Future, frozenset[str]] = {}  # of those that may run on some workers only

    def submit(job: Job, attempt: int = 0, avoid: frozenset[str] = frozenset()) -> None:
        key = job.key if not attempt else f"{job.key}-{attempt}-{uuid.uuid4().hex[:8]}"
        where = team.allowed(avoid)
        # packed here: what a worker's own reading fails on would never be answered
        future = team.submit(_perform, dumps((job.function, job.arguments)), *context, key=key, workers=where)
        flying[future] = job, attempt, avoid
        if where:
            places[future] = where
        future.add_done_callback(done.put)

    try:
        while True:
            while len(flying) < team.room():
                if (job := next(waiting, None)) is None:
                    break
                submit(job)
            if not flying:
                return
            try:
                future = done.get(timeout=5)
            except queue.Empty:
                with contextlib.suppress(OSError, TimeoutError):  # it went away; the futures will say so
                    team.look()
                    for future in [each for each, where in places.items() if not where & set(team.known)]:
                        job, attempt, avoid = flying.pop(future)  # its workers are gone; nobody else may do it
                        del places[future]
                        future.cancel()
                        submit(job, attempt + 1, avoid)
                continue
            if future not in flying:  # of a connection that was lost
                continue
            job, attempt, avoid = flying.pop(future)
            places.pop(future, None)
            if future.status in ("cancelled", "lost"):
                team.wait()
                submit(job, attempt, avoid)
                continue
            worker, outcome = _outcome(future)
            again = None
            if isinstance(outcome, Exception) and attempt < TRIES:
                if _no_memory(worker, outcome) and job.smaller is not None:
                    again, avoid = replace(job.smaller(), key=job.key), avoid
                elif isinstance(outcome, (StoreError, OSError)) and worker and team.others({*avoid, worker}):
                    again, avoid = job, avoid | {worker}
                elif worker is None and team.look():  # what a worker of another version makes of it
                    again = job
            if again is None:
                yield job, outcome
            else:
                warn(f"{job.name} is done again: on {worker or 'its worker'}, {type(outcome).__name__}: {outcome}")
                submit(again, attempt + 1, avoid)
    finally:
        for future in flying:
            with contextlib.suppress(Exception):  # a connection that is gone
                future.cancel()


class _Team:
    """The workers that may be given jobs, through a client that is renewed where its scheduler went away."""

    def __init__(self, client: Client):
        self.client, self.address = client, client.scheduler.address
        self.version, self.known, self.refused = code_version(), {}, set()
        self.begun = False  # whether there was ever a worker that may work
        self.look()
        self.begun = True

    def look(self) -> bool:
        """Ask workers that came lately for their version; whether there was a foreign one among them."""
        there = self._info()
        self.known = {address: state for address, state in there.items() if address in self.known}
        if not (late := [address for address in there if address not in self.known]):
            return False
        namespace: dict[str, Any] = {}
        exec(_ASK, namespace)  # so that pickle carries it by its code
        answers = self.client.run(namespace["ask"], workers=late, on_error="return")
        answers = {address: answer for address, answer in answers.items() if isinstance(answer, str)}  # else it died
        foreign = {address: answer for address, answer in answers.items() if answer != self.version}
        self.known |= {address: there[address] for address in answers}
        if not foreign:
            return False
        self.refused |= set(foreign)
        listed = "; ".join(f"{address} has workbench {answer}" for address, answer in sorted(foreign.items())[:5])
        text = f"{listed}{' ...' if len(foreign) > 5 else ''}; here it is {self.version}"
        if not set(self.known) - self.refused and not self.begun:
            raise ClusterError(f"no worker of {self.address} has this version of the package: {text}")
        self.begun = True
        warn(f"{len(foreign)} workers get no work, as their version of the package is another: {text}")
        return True

    def _info(self) -> dict[str, dict]:
        deadline = time.monotonic() + PATIENCE
        told = False
        while not (there := self.client.scheduler_info(n_workers=-1)["workers"]):
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.address}: no worker came in {PATIENCE:.0f} s")
            if not told:
                warn(f"{self.address} has no workers yet; waiting for some")
                told = True
            time.sleep(0.2)
        return there

    def room(self) -> int:
        """How many jobs may be on their way: what runs, and one more a thread to go on with."""
        good = [state for address, state in self.known.items() if address not in self.refused]
        return 2 * sum(state.get("nthreads", 1) for state in good) + 2

    def others(self, avoid: set[str]) -> bool:
        """Whether there are workers besides these, which may have come lately."""
        self.look()
        return bool(set(self.known) - self.refused - avoid)

    def allowed(self, avoid: frozenset[str]) -> frozenset[str]:
        """The workers that may do a job, empty where all may; waits for one where there is none."""
        if not self.refused and not avoid:
            return frozenset()
        deadline = time.monotonic() + PATIENCE
        while not (good := frozenset(self.known) - self.refused - avoid):
            if time.monotonic() > deadline:
                raise ClusterError(f"{self.address}: no worker that may do the work came in {PATIENCE:.0f} s")
            time.sleep(0.5)
            self.look()
        return good

    def submit(self, function: Callable, *arguments: Any, key: str, workers: frozenset[str]) -> Future:
        options: dict[str, Any] = {"workers": sorted(workers)} if workers else {}
        if self.client.status == "closed":
            self.wait()
        if any("GPU" in state.get("resources", {}) for state in self.known.values()):
            options["resources"] = {"GPU": 1}
        return self.client.submit(function, *arguments, key=f"workbench-{key}", **options)

    def wait(self) -> None:
        """Until the scheduler is back; its workers are asked anew.

        Raises
        ------
        ClusterError
            It does not come back.
        """
        from distributed import Client

        deadline = time.monotonic() + PATIENCE
        if self.client.status != "running":
            warn(f"the scheduler at {self.address} went away; waiting for it")
        while self.client.status != "running":
            if time.monotonic() > deadline:
                raise ClusterError(f"the scheduler at {self.address} went away and did not come back")
            if self.client.status == "closed":
                with contextlib.suppress(OSError, TimeoutError):
                    self.client = Client(self.address, timeout=CONNECTING)
            time.sleep(0.2)
        self.known = {}
        self.look()


def _outcome(future: Future) -> tuple[str | None, Any]:
    """The worker's address and what the job returned or raised; no address where dask itself gave up."""
    try:
        worker, value, said = future.result()
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            return None, error
        return None, ClusterError("the workers that were at it were killed, most often for want of memory")
    for text in said:
        warn(text)
    return worker, value


def _no_memory(worker: str | None, error: Exception) -> bool:
    """Whether memory ran out, or several workers were killed, as systems do then."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (worker is None and type(error) is ClusterError)


def _environment() -> dict[str, str | None]:
    """What of the caller's environment a job is told, with folders from the root; None where there is nothing."""
    folders = {name: os.environ[name].split(os.pathsep) for name in FOLDERS if os.environ.get(name)}
    whole = {
        name: os.pathsep.join(os.path.abspath(os.path.expanduser(part)) for part in parts)
        for name, parts in folders.items()
    }
    return whole | {name: os.environ.get(name) for name in THREADS}


def _given(work: bytes) -> tuple[Callable, list]:
    """A job's function and what it is given, on a worker."""
    try:
        function, arguments = pickle.loads(work)
        return function, [part.open() if isinstance(part, Parcel) else part for part in arguments]
    except (ClusterError, StoreError, MemoryError):
        raise
    except Exception as error:  # a module that only the caller can import, another version of a library ...
        text = f"a worker cannot read what it is given ({type(error).__name__}: {error})"
        raise ClusterError(
            f"{text}: code that jobs use must be importable there, or be written in the notebook"
        ) from error


@functools.cache
def _keep_memory() -> None:
    """Let a worker keep the memory of arrays from one to the next, as other processes do.

    dask has glibc give back whatever is free above 64 kB, with which arithmetic on arrays of a megabyte takes several
    times as long, most of it in the system.
    """
    if sys.platform == "linux" and os.environ.get("MALLOC_TRIM_THRESHOLD_"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            allocator = ctypes.CDLL(None)
            allocator.mallopt(-1, 2**27)  # M_TRIM_THRESHOLD
            allocator.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


def _perform(work: bytes, threads: int, environment: dict, folder: str) -> tuple:
    """On a worker: run a job; the worker's address, what the job returned or raised, and what it warned of."""
    from distributed import get_worker
    from threadpoolctl import threadpool_limits

    for name, setting in environment.items():
        os.environ.pop(name, None) if setting is None else os.environ.update({name: setting})
    torch.set_num_threads(threads)
    _keep_memory()
    with contextlib.suppress(OSError):  # a folder of another machine; paths that are given are whole ones
        os.chdir(folder)
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(threads):
        warnings.simplefilter("always")
        try:
            function, arguments = _given(work)
            value = function(*arguments)
        except Exception as error:
            value = error
    said = dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning))
    return get_worker().address, value, list(said)
