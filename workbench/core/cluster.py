"""Run jobs on the workers of a dask scheduler, on this machine or on many, for studies, embeddings and notebooks.

:func:`connect` turns a text of the user (``local:2``, ``tcp://host:8786``, ``my_module:make_client``) into a client,
and :func:`spread` runs jobs on its workers. A job takes seconds to minutes, is given names rather than data, and writes
its results where every worker and the caller can read them. If a worker or the scheduler dies, therefore, only the jobs
in progress are lost, and they are done again; no file locks are needed.
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

#: Seconds to wait for a first connection, and for a scheduler or worker that was lost.
CONNECTING, PATIENCE = 10, 600.0
#: Environment variables of the caller that a job gets: folders, and numbers of threads for libraries that it loads.
FOLDERS = ("WORKBENCH_CACHE", "WORKBENCH_DATA", "WORKBENCH_WEIGHTS")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: Largest pickle in bytes that is sent with each job instead of in a file.
INLINE = 2**20
#: How often a job is repeated after a worker could not write or had too little memory.
TRIES = 3


@dataclass(frozen=True)
class Job:
    """A piece of work for one worker."""

    name: str
    """Name of the job in messages."""
    key: str
    """Key that is equal for equal work, so that the same work for two callers of a scheduler is computed once."""
    function: Callable[..., Any]
    """A function of this package, or one that can be pickled."""
    arguments: tuple = ()
    """Arguments of the function, which should be small: names, numbers, rows of a table."""
    smaller: Callable[[], Job] | None = None
    """Function that returns a job for the same work with less memory, for when a worker has too little."""


@dataclass(frozen=True)
class Parcel:
    """A large object that many jobs need, in a file that every worker reads once; :func:`parcels` makes it."""

    path: str
    """Absolute path of the file."""

    def open(self) -> Any:
        """Return the object, which is read at its first use in a process."""
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
    """Give a function that replaces large objects by parcels within a block, and returns small ones unchanged."""
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
    """Give a dask client within a block.

    Parameters
    ----------
    cluster : str
        "local" or "local:N" for N processes on this machine that end with the block (by default one for each GPU, or
        without GPUs one for each core); "tcp://HOST:PORT" (or tls, ucx) for a running scheduler; "module:function" or
        "file.py:function" for your own function, which returns a client or a cluster, such as dask-jobqueue's
        ``SLURMCluster``.

    Raises
    ------
    ParameterError
        The text has another form, or the function does not exist or returns something else.
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
    """Start a cluster of processes on this machine, each for one job at a time and, if there are GPUs, with one GPU."""
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
    # dask's default returns arrays of a hundred kilobytes to the system at once, and lets idle threads spin
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {"OMP_WAIT_POLICY": "PASSIVE"}}):
        return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR, name="workbench")


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [part.strip() for part in named.split(",") if part.strip() not in ("", "-1")]
    return [str(i) for i in range(torch.cuda.device_count())]


def _own(cluster: str) -> object:
    """Return the client or cluster that the user's own function makes."""
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
    """Whether an object is a dask client, without importing dask."""
    return any(kind.__module__.partition(".")[0] == "distributed" for kind in type(client).__mro__)


@functools.cache  # the files may change later, but this process keeps running the old code
def code_version() -> str:
    """Return the version of this package with a hash of its source, as a development copy may differ from a release."""
    digest, top = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(top.rglob("*.py")):
        digest.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{release() or 'not installed'}, code {digest.hexdigest()[:12]}"


#: Code that every worker runs to report its version; it does not need this package, which a worker may not have.
_ASK = """
def ask():
    try:
        from workbench.core import cluster
        return cluster.code_version()
    except Exception as error:
        return f"none that can be asked ({type(error).__name__}: {error})"
"""


def spread(client: Client, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
    """Run jobs on a client's workers; yield each job when it ends, with its result or the exception that it raised.

    Only as many jobs are submitted as the workers can start soon, so that there may be a million of them. If a worker
    dies, dask repeats its job on another one. A job that ran out of memory is repeated in its smaller form, and a job
    that could not write is repeated on other workers. If the scheduler is lost, it is waited for. A job computes with
    as many threads as its caller, so that its numbers are the same.

    Parameters
    ----------
    client : distributed.Client
    jobs : iterable of Job

    Raises
    ------
    ClusterError
        No worker has this version of the package, or the scheduler does not come back.

    Warns
    -----
    UserWarning
        Some workers have another version of the package and get no jobs, or a job is done again (with the reason).
    """
    from cloudpickle import dumps

    team = _Team(client)
    context = (torch.get_num_threads(), _environment(), os.getcwd())
    waiting, done = iter(jobs), queue.SimpleQueue()
    flying: dict[Future, tuple[Job, int, frozenset[str]]] = {}
    places: dict[Future, frozenset[str]] = {}  # for jobs that may run on some workers only

    def submit(job: Job, attempt: int = 0, avoid: frozenset[str] = frozenset()) -> None:
        key = job.key if not attempt else f"{job.key}-{attempt}-{uuid.uuid4().hex[:8]}"
        where = team.allowed(avoid)
        # pickled here, as dask would not report an error of a worker that cannot unpickle it
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
                with contextlib.suppress(OSError, TimeoutError):  # the scheduler was lost; the futures will say so
                    team.look()
                    for future in [each for each, where in places.items() if not where & set(team.known)]:
                        job, attempt, avoid = flying.pop(future)  # its workers are gone, and no other may run it
                        del places[future]
                        future.cancel()
                        submit(job, attempt + 1, avoid)
                continue
            if future not in flying:  # from a lost connection
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
                elif worker is None and team.look():  # the error of a worker with another version
                    again = job
            if again is None:
                yield job, outcome
            else:
                warn(f"{job.name} is done again: on {worker or 'its worker'}, {type(outcome).__name__}: {outcome}")
                submit(again, attempt + 1, avoid)
    finally:
        for future in flying:
            with contextlib.suppress(Exception):  # the connection is lost
                future.cancel()


class _Team:
    """The workers that may get jobs, through a client that is renewed if its scheduler was lost."""

    def __init__(self, client: Client):
        self.client, self.address = client, client.scheduler.address
        self.version, self.known, self.refused = code_version(), {}, set()
        self.begun = False  # whether there was ever a worker that may get jobs
        self.look()
        self.begun = True

    def look(self) -> bool:
        """Ask new workers for their version; return whether one of them has another version."""
        there = self._info()
        self.known = {address: state for address, state in there.items() if address in self.known}
        if not (late := [address for address in there if address not in self.known]):
            return False
        namespace: dict[str, Any] = {}
        exec(_ASK, namespace)  # so that it is pickled with its code
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
        warn(f"{len(foreign)} workers get no work, as they have another version of the package: {text}")
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
        """Return how many jobs may be submitted: those that run, and one more for each thread."""
        good = [state for address, state in self.known.items() if address not in self.refused]
        return 2 * sum(state.get("nthreads", 1) for state in good) + 2

    def others(self, avoid: set[str]) -> bool:
        """Whether there are workers besides these, including new ones."""
        self.look()
        return bool(set(self.known) - self.refused - avoid)

    def allowed(self, avoid: frozenset[str]) -> frozenset[str]:
        """Return the workers that may run a job, or an empty set if all may; wait if there is none."""
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
        """Wait until the scheduler is back, and ask its workers for their version again.

        Raises
        ------
        ClusterError
            The scheduler does not come back.
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
    """Return the worker's address, or None if dask gave up, and what the job returned or raised."""
    try:
        worker, value, said = future.result()
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            return None, error
        return None, ClusterError("the workers that ran it were killed, most often because they had too little memory")
    for text in said:
        warn(text)
    return worker, value


def _no_memory(worker: str | None, error: Exception) -> bool:
    """Whether memory ran out, or several workers were killed, which then is the likely reason."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (worker is None and type(error) is ClusterError)


def _environment() -> dict[str, str | None]:
    """Return the environment variables that a job gets, folders as absolute paths; None for unset ones."""
    folders = {name: os.environ[name].split(os.pathsep) for name in FOLDERS if os.environ.get(name)}
    whole = {
        name: os.pathsep.join(os.path.abspath(os.path.expanduser(part)) for part in parts)
        for name, parts in folders.items()
    }
    return whole | {name: os.environ.get(name) for name in THREADS}


def _given(work: bytes) -> tuple[Callable, list]:
    """Unpickle a job's function and arguments, on a worker."""
    try:
        function, arguments = pickle.loads(work)
        return function, [part.open() if isinstance(part, Parcel) else part for part in arguments]
    except (ClusterError, StoreError, MemoryError):
        raise
    except Exception as error:  # a module that only the caller can import, another version of a library ...
        text = f"a worker cannot unpickle its job ({type(error).__name__}: {error})"
        raise ClusterError(
            f"{text}: code that jobs use must be importable there, or be written in the notebook"
        ) from error


@functools.cache
def _keep_memory() -> None:
    """Let a worker keep freed memory for the next arrays, as other processes do.

    dask sets glibc to return free memory above 64 kB to the system, which makes arithmetic on arrays of a megabyte
    several times slower.
    """
    if sys.platform == "linux" and os.environ.get("MALLOC_TRIM_THRESHOLD_"):
        with contextlib.suppress(OSError, AttributeError):  # another C library
            allocator = ctypes.CDLL(None)
            allocator.mallopt(-1, 2**27)  # M_TRIM_THRESHOLD
            allocator.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


def _perform(work: bytes, threads: int, environment: dict, folder: str) -> tuple:
    """Run a job on a worker; return the worker's address, the job's result or exception, and its warnings."""
    from distributed import get_worker
    from threadpoolctl import threadpool_limits

    for name, setting in environment.items():
        os.environ.pop(name, None) if setting is None else os.environ.update({name: setting})
    torch.set_num_threads(threads)
    _keep_memory()
    with contextlib.suppress(OSError):  # the folder may not exist on this machine; paths in jobs are absolute
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
