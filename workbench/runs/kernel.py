"""Execute one notebook in a fresh kernel of this very interpreter, with papermill."""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers
from tqdm.auto import tqdm

from ..errors import ParameterError, RunError
from .notebooks import Notebook

_ENGINE = "workbench"
_REPORT = "__import__('workbench.runs.provenance', fromlist=['kernel_report']).kernel_report()"
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
    progress: tqdm | None = None
    """The bar, when one is shown."""

    @property
    def status(self) -> str:
        """ "ok", "failed" or "interrupted"."""
        if self.interrupted:
            return "interrupted"
        return "ok" if self.failure is None else "failed"

    def source_position(self, position: int) -> int:
        """Position in the notebook on disk of a cell of ``node`` (papermill adds one after the parameters)."""
        return position - 1 if position > self.notebook.parameters_cell + 1 else position

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


def execute(
    notebook: Notebook,
    *,
    parameters: Mapping[str, object],
    folder: Path,
    environment: Mapping[str, str],
    kernel: str | None = None,
    progress: bool = True,
) -> Execution:
    """Run every cell of a notebook until one fails.

    The kernel works in the caller's current directory, so relative paths among the parameters mean what they meant
    on the command line. It is killed when this call ends, however it ends.

    Parameters
    ----------
    notebook : Notebook
        What to run.
    parameters : mapping of str to object
        Values of all its parameters, checked already.
    folder : Path
        The state of the run is saved here after every cell as ``<name>.partial.ipynb``.
    environment : mapping of str to str
        Added to the kernel's environment variables.
    kernel : str, optional
        Name of an installed Jupyter kernel; without it, this interpreter (``sys.executable``) and nothing else.
    progress : bool
        Show a bar that counts cells and names the current heading.

    Returns
    -------
    Execution
        What happens inside the notebook does not raise, nor does Ctrl-C: see its ``status``.

    Raises
    ------
    ParameterError
        For a kernel that is not installed.
    RunError
        When the kernel does not start or the folder cannot be written.
    """
    execution = Execution(notebook)
    log = folder / "kernel.log"
    papermill_engines.register(_ENGINE, _HereEngine)
    # a short path: the kernel talks over local sockets, whose names may have 100 characters or so
    with tempfile.TemporaryDirectory(prefix="wb-") as sockets, log.open("wb") as noise, _quiet_logs():
        try:
            papermill.execute_notebook(
                str(notebook.path),
                str(folder / f"{notebook.name}.partial.ipynb"),
                dict(parameters),
                engine_name=_ENGINE,
                kernel_name=kernel or "python3",
                language="python",
                progress_bar=False,
                execution=execution,
                own_interpreter=kernel is None,
                sockets=sockets,
                environment=_kernel_environment(environment),
                noise=noise,
                show=progress,
            )
        except PapermillExecutionError:
            pass  # noted by the client already
        except KeyboardInterrupt:
            execution.interrupted = True
        except DeadKernelError:
            said = " ".join(log.read_text(errors="replace").split()[-60:])
            words = f"; its last words: {said}" if said else ""
            execution.fail("DeadKernelError", f"the kernel died, most often for want of memory{words}")
        except NoSuchKernel as error:
            installed = ", ".join(KernelSpecManager().find_kernel_specs()) or "none"
            raise ParameterError("kernel", kernel, f"an installed Jupyter kernel ({installed}), or None") from error
        except (RuntimeError, OSError) as error:  # the kernel does not start, the disk is full
            said = log.read_text(errors="replace").strip()[-500:]
            raise RunError(f"notebook {notebook.name} could not be run in {folder}: {error} {said}".rstrip()) from error
        finally:
            if execution.progress is not None:
                execution.progress.close()
    if execution.node is not None:
        execution.node = remove_error_markers(execution.node)
    log.unlink(missing_ok=True)
    return execution


class _HereKernel(AsyncKernelManager):
    """A kernel of the interpreter that asks for it, whatever kernels are installed elsewhere under the same name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python", interrupt_mode="signal")


class _HereClient(PapermillNotebookClient):
    """Runs the cells, follows them with the progress bar, and asks the kernel for its report at the end."""

    def __init__(self, nb_man, execution: Execution, **options):
        super().__init__(nb_man, **options)
        self.execution = execution

    def papermill_execute_cells(self):
        execution = self.execution
        for index, cell in enumerate(self.nb.cells):
            execution.position = index
            self._follow(index)
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
            except DeadKernelError as error:
                self.nb_man.cell_exception(cell, cell_index=index, exception=error)
                raise
            finally:
                self.nb_man.cell_complete(cell, cell_index=index)
        if execution.progress is not None and execution.failure is None:
            execution.progress.update(len(self.nb.cells) - execution.progress.n)
        self._ask()

    def _follow(self, index: int) -> None:
        bar, execution = self.execution.progress, self.execution
        if bar is not None:
            position = min(execution.source_position(index), len(execution.notebook.headings) - 1)
            heading = execution.notebook.headings[position] or execution.notebook.name
            bar.set_description_str(f"{execution.notebook.name}: {heading[:40]}", refresh=False)
            bar.update(index - bar.n)
            bar.refresh()

    def _ask(self) -> None:
        request = self.kc.execute("", silent=True, store_history=False, user_expressions={"report": _REPORT})
        reply = self.wait_for_reply(request)
        answer = (reply or {}).get("content", {}).get("user_expressions", {}).get("report", {})
        if answer.get("status") == "ok":
            self.execution.report = ast.literal_eval(answer["data"]["text/plain"])


class _HereEngine(Engine):
    """Lets papermill use the kernel and client above."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, *, execution, own_interpreter, sockets, environment, noise, show, **_unused
    ):
        execution.node = nb_man.nb
        if show:
            execution.progress = tqdm(
                total=len(nb_man.nb.cells), desc=execution.notebook.name, unit="cell", leave=False, file=sys.stderr
            )
        options = {"kernel_manager_class": _HereKernel} if own_interpreter else {}
        client = _HereClient(
            nb_man,
            execution,
            kernel_name=kernel_name,
            timeout=None,
            startup_timeout=120,
            store_widget_state=False,
            log=logging.getLogger("papermill"),
            **options,
        )
        client.km = client.create_kernel_manager()
        client.km.connection_file = os.path.join(sockets, "kernel.json")
        if os.name == "posix":
            client.km.transport = "ipc"  # no ports to race for, nothing open to the network
        client.execute(cleanup_kc=True, env=environment, stderr=noise, stdout=noise)


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
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
