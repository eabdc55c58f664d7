"""Execute one notebook in a fresh kernel of this very interpreter, with papermill."""

from __future__ import annotations

import ast
import contextlib
import logging
import math
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import papermill
import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from ..core.errors import ParameterError, RunError
from .following import Follower
from .notebooks import Notebook

_ENGINE = "workbench"
_REPORT = "__import__('workbench.runs.provenance', fromlist=['kernel_report']).kernel_report()"
_LOADING = "__import__('workbench.runs.provenance', fromlist=['last_loading_problem']).last_loading_problem()"
_LONGEST_SOCKET = 90
"""Bytes that the name of a local socket may have before the kernel's endings: systems allow 104 to 108."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Execution:
    """How an execution went; filled in while it goes on."""

    notebook: Notebook
    """What is run."""
    node: object = None
    """The notebook so far, with its outputs (nbformat node)."""
    position: int = 0
    """The cell being run, counted from 0 in ``node``."""
    failure: dict[str, object] | None = None
    """Cell number, heading, source, error type, message and traceback of the cell that failed."""
    interrupted: bool = False
    """Ended by Ctrl-C."""
    report: dict[str, object] = field(default_factory=dict)
    """What :func:`workbench.runs.provenance.kernel_report` said in the kernel; empty when it died."""
    follower: Follower | None = None
    """Told of every cell that begins."""

    @property
    def status(self) -> str:
        """ "ok", "failed" or "interrupted"."""
        if self.interrupted:
            return "interrupted"
        return "ok" if self.failure is None else "failed"

    def source_position(self, position: int) -> int:
        """Position in the notebook on disk of a cell of ``node`` (papermill adds one after the parameters)."""
        return position - 1 if position > self.notebook.parameters_cell else position

    def fail(self, kind: str, message: str, traceback: str = "") -> None:
        """Note that the current cell failed."""
        position = min(self.source_position(self.position), len(self.notebook.headings) - 1)
        self.failure = {
            "cell": position + 1,
            "heading": self.notebook.headings[position],
            "source": self.node.cells[self.position].source if self.node else "",
            "type": kind,
            "message": message,
            "traceback": _COLOURS.sub("", traceback),
        }


def check_kernel(name: str | None) -> None:
    """Refuse a kernel that is not installed or is not one of Python.

    Raises
    ------
    ParameterError
        Names those that there are.
    """
    if name is None:
        return
    manager = KernelSpecManager()
    try:
        language = manager.get_kernel_spec(name).language
    except NoSuchKernel:
        language = ""
    if language.lower() != "python":
        installed = ", ".join(manager.find_kernel_specs()) or "there are none"
        raise ParameterError("kernel", name, f"an installed Jupyter kernel for Python ({installed}), or left out")


def execute(
    notebook: Notebook,
    *,
    parameters: Mapping[str, object],
    folder: Path,
    environment: Mapping[str, str],
    follower: Follower,
    kernel: str | None = None,
    seconds: float | None = None,
) -> Execution:
    """Run every cell of a notebook until one fails; those tagged ``raises-exception`` may.

    The kernel works in the caller's current directory, so relative paths among the parameters mean what they meant
    on the command line. It is killed when this call ends, however it ends.

    Parameters
    ----------
    notebook : Notebook
        What to run.
    parameters : mapping of str to object
        Values of all its parameters, checked already.
    folder : Path
        The state of the run is saved here as ``<name>.partial.ipynb``, after every cell as long as that takes no more
        than a twentieth of the time.
    environment : mapping of str to str
        Added to the kernel's environment variables.
    follower : Follower
        Told of every cell that begins.
    kernel : str, optional
        Name of an installed Jupyter kernel; without it, this interpreter (``sys.executable``) and nothing else.
    seconds : float, optional
        Longest time for all cells together; the one that runs then fails with a ``TimeoutError``.

    Returns
    -------
    Execution
        What happens inside the notebook does not raise, nor does Ctrl-C: see its ``status``.

    Raises
    ------
    RunError
        When the kernel does not start or the folder cannot be written.
    """
    execution = Execution(notebook, follower=follower)
    log = folder / "kernel-output.txt"
    papermill_engines.register(_ENGINE, _HereEngine)
    try:
        with _connection_folder(folder) as (connection, local), log.open("wb") as noise, _quiet_logs():
            papermill.execute_notebook(
                _as_template(notebook.path),
                _as_template(folder / f"{notebook.name}.partial.ipynb"),
                dict(parameters),
                engine_name=_ENGINE,
                kernel_name=kernel or "python3",
                language="python",
                progress_bar=False,
                execution=execution,
                own_interpreter=kernel is None,
                connection=connection,
                local=local,
                environment=_kernel_environment(environment),
                noise=noise,
                seconds=seconds,
            )
    except PapermillExecutionError:
        pass  # noted by the client already
    except KeyboardInterrupt:
        execution.interrupted = True
    except _TimeIsOver:
        execution.fail("TimeoutError", f"the time limit of {seconds:g} s was over")
    except DeadKernelError:
        words = _last_words(log)
        execution.fail("DeadKernelError", f"the kernel died, most often for want of memory{words}")
    except (
        Exception
    ) as error:  # the kernel does not start, the disk is full: zmq, asyncio and others raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        what = f"it could not go on in {folder}" if follower.cells_begun else "its kernel did not start"
        raise RunError(f"notebook {notebook.name}: {what}: {reason}{_last_words(log)}") from error
    if execution.node is not None:
        execution.node = remove_error_markers(execution.node)
    log.unlink(missing_ok=True)
    return execution


def _last_words(log: Path) -> str:
    """The last line of what the kernel wrote to its own streams."""
    try:
        said = log.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(said) if line.strip(" ^~")), "")
    return f"; the kernel's last words: {last[-300:]}" if last else ""


def _as_template(path: Path) -> str:
    """A path that papermill, which fills in braces, takes as it is."""
    return str(path.absolute()).replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def _connection_folder(folder: Path) -> Iterator[tuple[str, bool]]:
    """A folder for the kernel's connection file, and whether local sockets can stand beside it.

    Local sockets need no ports and are open to nobody else, but their names must be short: where the folder for
    temporary files has a long name, is missing or cannot be written, the next one is tried. The last resort is the
    run's own folder, with ports of this machine alone.
    """
    made, local = None, False
    if os.name == "posix":
        places = (os.environ.get("TMPDIR"), os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp")
        for place in filter(None, places):
            place = os.path.abspath(place)
            if len(os.fsencode(place)) + 32 > _LONGEST_SOCKET:
                continue
            with contextlib.suppress(OSError):
                _remove_stale(place)
                made = tempfile.mkdtemp(prefix=f"wb-{os.getpid()}-", dir=place)
                (Path(made) / "room").write_bytes(bytes(4096))  # a full disk takes folders, but no files
                local = True
                break
            if made:
                shutil.rmtree(made, ignore_errors=True)
                made = None
    made = made or tempfile.mkdtemp(prefix=".wb-", dir=folder.absolute())
    try:
        yield made, local
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _remove_stale(place: str) -> None:
    """Connection folders of this user's runs that were killed a day ago or more."""
    for old in Path(place).glob("wb-*-*"):
        number, about = old.name.split("-")[1], old.lstat()
        ours = number.isdigit() and about.st_uid == os.getuid()
        if ours and time.time() - about.st_mtime > 86400 and not psutil.pid_exists(int(number)):
            shutil.rmtree(old, ignore_errors=True)


class _TimeIsOver(Exception):
    """The time that a run may take has passed."""


class _HereKernel(AsyncKernelManager):
    """A kernel of the interpreter that asks for it, whatever kernels are installed elsewhere under the same name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python", interrupt_mode="signal")


class _HereClient(PapermillNotebookClient):
    """Runs the cells, follows them with the progress bar, and asks the kernel for its report at the end."""

    def __init__(self, nb_man, execution: Execution, seconds: float | None, **options):
        super().__init__(nb_man, **options)
        self.execution, self.seconds = execution, seconds

    def papermill_execute_cells(self):
        execution = self.execution
        ends = time.monotonic() + (self.seconds or 0.0)
        if self.seconds is not None:
            self.timeout_func = lambda cell: max(ends - time.monotonic(), 0.01)  # 0 would be no limit
        for index, cell in enumerate(self.nb.cells):
            execution.position = index
            if cell.cell_type == "code":
                position = min(execution.source_position(index), len(execution.notebook.headings) - 1)
                execution.follower.cell(position, execution.notebook.headings[position])
            try:
                self.nb_man.cell_start(cell, index)
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                execution.fail(error.ename, error.evalue, error.traceback)
                break
            except KeyboardInterrupt:
                self.shutdown_kernel = "immediate"
                self.nb_man.cell_exception(cell, cell_index=index)
                raise
            except CellTimeoutError as error:
                if self.seconds is None or time.monotonic() < ends - 0.1:
                    raise  # outputs that do not arrive, for one
                self.shutdown_kernel = "immediate"
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise _TimeIsOver from error
            except DeadKernelError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)
        self._ask()

    def _ask(self) -> None:
        wanted = {"report": _REPORT}
        if self.execution.failure is not None:
            wanted["loading"] = _LOADING
        request = self.kc.execute("", silent=True, store_history=False, user_expressions=wanted)
        reply = self.wait_for_reply(request)
        answers = (reply or {}).get("content", {}).get("user_expressions", {})
        values = {
            key: ast.literal_eval(answer["data"]["text/plain"])
            for key, answer in answers.items()
            if answer.get("status") == "ok"
        }
        self.execution.report = values.get("report", {})
        if values.get("loading"):
            self.execution.failure["message"] = values["loading"]


class _HereEngine(Engine):
    """Lets papermill use the kernel and client above."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man,
        kernel_name,
        *,
        execution,
        own_interpreter,
        connection,
        local,
        environment,
        noise,
        seconds,
        **_unused,
    ):
        execution.node = nb_man.nb
        nb_man.save = _sparingly(nb_man.save)
        options = {"kernel_manager_class": _HereKernel} if own_interpreter else {}
        client = _HereClient(
            nb_man,
            execution,
            seconds,
            kernel_name=kernel_name,
            timeout=None,
            startup_timeout=120,
            store_widget_state=False,
            log=logging.getLogger("papermill"),
            **options,
        )
        client.km = client.create_kernel_manager()
        client.km.connection_file = os.path.join(connection, "kernel.json")
        if local:
            client.km.transport = "ipc"
        client.execute(cleanup_kc=True, env=environment, stderr=noise, stdout=noise)


def _sparingly(save: Callable) -> Callable:
    """A function that calls ``save`` unless more than a twentieth of the time would go into it.

    Papermill saves twice a cell, which takes longer than most cells once a notebook holds ten megabytes of sound.
    """
    ended, took = -math.inf, 0.0

    def saving(**options) -> None:
        nonlocal ended, took
        began = time.monotonic()
        if began - ended >= 19 * took:
            save(**options)
            ended = time.monotonic()
            took = ended - began

    return saving


def _kernel_environment(extra: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, **extra, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    # Threads that spin while they wait make small steps up to a hundred times slower beside any other busy process.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    home = Path(__file__).resolve().parents[2]
    if home.name not in ("site-packages", "dist-packages"):
        # the notebook must import this very package, also when it is used from a checkout without being installed
        paths = [str(home), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


@contextlib.contextmanager
def _quiet_logs():
    """Messages of papermill and jupyter_client that repeat what the run reports anyway."""
    loggers = [logging.getLogger(name) for name in ("papermill", "traitlets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the file is not specified with any extension")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
