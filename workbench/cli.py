"""``workbench ...``: a thin skin over the package. Every command is one call whose result is printed."""

from __future__ import annotations

import contextlib
import functools
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from .core.errors import DatasetError, WorkbenchError


class _Commands(TyperGroup):
    """Turns the package's errors into one line and an exit code."""

    def invoke(self, ctx):
        def show(message, category, *_rest, **_more):
            _say(f"warning: {message}", typer.colors.YELLOW)

        with warnings.catch_warnings(), _asked_to_stop():
            warnings.showwarning = show
            try:
                return super().invoke(ctx)
            except (BrokenPipeError, typer.Exit):
                raise
            except typer.Abort as stop:  # Ctrl-C or the end of the input, at a question
                _say("stopped: the question was not answered, nothing was done (--yes answers it)", typer.colors.RED)
                raise typer.Exit(130) from stop
            except KeyboardInterrupt as stop:
                _say(f"stopped. {stop}".strip(), typer.colors.RED)
                raise typer.Exit(130) from stop
            except Exception as error:
                text = _one_line(error)
                if text is None or ctx.params.get("debug"):
                    raise
                _say(f"error: {text}", typer.colors.RED)
                raise typer.Exit(1) from error


def _one_line(error: Exception) -> str | None:
    """What is said of an error; None for a fault of the package, whose traceback is of use."""
    if isinstance(error, WorkbenchError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"the memory does not suffice: {str(error) or 'ask for less'}"
    from .core.dependencies import explain

    return explain(error) or (str(error) if isinstance(error, OSError) else None)


def _say(text: str, colour: str) -> None:
    typer.secho(" ".join(text.split()), fg=colour, err=True)


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[None]:
    """The signals that clusters and closed terminals send before they kill act as Ctrl-C does."""

    def stop(number, _frame):
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores one
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keeps(what: str) -> Callable:
    """Decorator of a command: what is said when it is stopped."""

    def decorate(command):
        @functools.wraps(command)
        def wrapper(*args, **kwargs):
            try:
                return command(*args, **kwargs)
            except KeyboardInterrupt as stop:
                raise KeyboardInterrupt(str(stop) or f"{what}; the same command goes on from there") from stop

        return wrapper

    return decorate


@contextlib.contextmanager
def _client(cluster: str | None) -> Iterator[object]:
    """The dask client that --cluster asks for, or None."""
    if cluster is None:
        yield None
        return
    from .core.cluster import connect

    with connect(cluster) as client:
        count = len(client.scheduler_info(n_workers=-1)["workers"])
        typer.echo(f"{count} workers of {client.scheduler.address}; what they do: {client.dashboard_link}", err=True)
        yield client


def _group(text: str, **options) -> typer.Typer:
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        **options,
    )


app = _group("Hear and see what audio models know.", cls=_Commands, context_settings={"max_content_width": 110})
data = _group("Datasets: list, info, fetch, verify.")
encoders = _group("Encoders: list, info, fetch.")
cache = _group("The store of embeddings: info, verify, prune.")
notebooks = _group("The notebooks: copy.")
app.add_typer(data, name="data")
app.add_typer(encoders, name="encoders")
app.add_typer(cache, name="cache")
app.add_typer(notebooks, name="notebooks")

Root = Annotated[list[Path] | None, typer.Option(help="Folder with local data; looked at first. May be repeated.")]
Group = Annotated[str | None, typer.Option(help='Column of what must not be on two sides of a split; "" for none.')]
Fold = Annotated[str | None, typer.Option(help="Column of the folds.")]
Missing = Annotated[str | None, typer.Option(help="What clips without file or label do: raise or skip.")]
Mono = Annotated[str, typer.Option(help="mean of the channels, left, right, or a channel's number (0 the first).")]
Parameters = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="A parameter of the notebook.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that have another content.")]
Scale = Annotated[str, typer.Option(help="smoke (seconds), small (minutes) or paper.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random; the notebook's own without it.")]
Kernel = Annotated[str | None, typer.Option(help="An installed Jupyter kernel; this very Python without it.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="WHERE",
        help="Run on dask workers: local[:N] (N processes here), tcp://HOST:PORT, or module:function of one's own.",
    ),
]


@app.callback()
def _main(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Hear and see what audio models know."""


# --- datasets ------------------------------------------------------------------------------------------------------


@data.command("list")
def data_list(root: Root = None) -> None:
    """The datasets known by name, and where they lie on this machine."""
    from .datasets import list_datasets

    _print_table(list_datasets(root=root)[["name", "clips", "access", "size", "found", "licence", "title"]])


@data.command("info")
def data_info(
    name: Annotated[
        str, typer.Argument(help="A name from the list, a folder of sounds, a csv file, or hf:owner/name.")
    ],
    root: Root = None,
    label: Annotated[str | None, typer.Option(help="Column to use as label.")] = None,
    group: Group = None,
    fold: Fold = None,
    missing: Missing = None,
    mono: Mono = "mean",
) -> None:
    """What a dataset is, and what of it is here."""
    from .datasets import describe_dataset, list_datasets, load_dataset

    known = list_datasets(root=root).set_index("name")["found"]
    if name in known:
        typer.echo(f"{describe_dataset(name)}\n")
    try:
        clips = load_dataset(name, root=root, label=label, group=group, fold=fold, **_reading(missing, mono))
    except DatasetError as error:
        if name in known and not known[name]:  # not being here is news, not an error
            typer.echo(error)
            return
        raise
    typer.echo(f"{clips!r}\n")
    _print_table(clips.summary().reset_index())


def _reading(missing: str | None, mono: str) -> dict[str, object]:
    """Options of load_dataset that were given: a generated set takes none of them."""
    options = {} if missing is None else {"missing": missing}
    return options if mono == "mean" else {**options, "mono": int(mono) if mono.isdecimal() else mono}


@data.command("fetch")
@_keeps("What was downloaded is kept")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name from the list.")],
    root: Annotated[Path | None, typer.Option(help="Folder to put it into; the download cache without it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the download begins.")] = False,
) -> None:
    """Download a dataset.

    Size and licence are shown first. A download that was interrupted goes on where it stopped.
    """
    from .datasets import fetch

    fetch(name, root=root, confirm=None if yes else typer.confirm, say=typer.echo)


@data.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="A name from the list.")], root: Root = None) -> None:
    """Check a dataset's files against what is known of them; exit code 1 when something is wrong."""
    from .datasets import verify

    problems = verify(name, root=root)
    if problems.empty:
        typer.echo(f"{name}: nothing is wrong")
        return
    _print_table(problems)
    raise typer.Exit(1)


# --- encoders ------------------------------------------------------------------------------------------------------


@encoders.command("list")
def encoders_list() -> None:
    """The encoders known by name."""
    from .encoders import list_encoders

    table = list_encoders()[["name", "rate", "layers", "dim", "frame_rate", "size", "licence", "title"]]
    _print_table(table.rename(columns={"rate": "rate (Hz)", "frame_rate": "frames/s", "size": "size (MB)"}))


@encoders.command("info")
def encoders_info(
    name: Annotated[str, typer.Argument(help="A name from the list, or code of your own: path/to/file.py:name.")],
) -> None:
    """What is known of an encoder; code of your own is run, and what it gives measured."""
    from dataclasses import asdict

    from .encoders import describe_encoder, load_encoder

    if ":" in name:
        _print_encoder(load_encoder(name, device="cpu"))
        return
    for key, value in asdict(describe_encoder(name)).items():
        if value not in (None, "", {}, ()) and key not in ("config", "preprocess"):
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            typer.echo(f"{key:<12}{text}")


def _print_encoder(encoder) -> None:
    """What a loaded encoder says of itself, and a row a layer."""
    import pandas as pd

    left_out = {}
    for key, value in encoder.describe().items():
        if key == "left_out" and isinstance(value, dict):
            left_out = value
        elif key not in ("layers", "dim", "frame_rate") and value not in (None, "", [], {}):
            typer.echo(f"{key:<22}{', '.join(map(str, value)) if isinstance(value, list) else value}")
    rows = [(layer.name, layer.dim, round(layer.frame_rate, 3)) for layer in encoder.layers]
    typer.echo("")
    _print_table(pd.DataFrame(rows, columns=["layer", "dim", "frames/s"]))
    for layer, reason in left_out.items():
        typer.echo(f"left out: {layer} {reason}")


@encoders.command("fetch")
@_keeps("What was downloaded is kept")
def encoders_fetch(name: Annotated[str, typer.Argument(help="A name from the list, or a hub id.")]) -> None:
    """Download an encoder's weights, unless they are here, and load it once.

    Size and licence are printed first.
    """
    from .encoders import load_encoder

    typer.echo(f"{load_encoder(name, device='cpu', fetch=True)!r} is on this machine")


# --- embeddings ----------------------------------------------------------------------------------------------------


@app.command()
@_keeps("What was embedded is in the store")
def embed(
    dataset: Annotated[str, typer.Argument(help="Name, folder of sounds, csv file, or hf:owner/name.")],
    encoder: Annotated[str, typer.Argument(help="Name, model folder, hub id, or path/to/file.py:name.")],
    layers: Annotated[str, typer.Option(help="all, or names with commas between.")] = "all",
    pooling: Annotated[str, typer.Option(help="mean, mean+std, or none to keep the frames.")] = "mean",
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16, as stored.")] = "float32",
    seconds: Annotated[float | None, typer.Option(help="First seconds of each clip; whole clips without it.")] = None,
    label: Annotated[str | None, typer.Option(help="Column to use as label.")] = None,
    group: Group = None,
    fold: Fold = None,
    size: Annotated[int | None, typer.Option(help="Number of clips.")] = None,
    seed: Annotated[int, typer.Option(help="Of a generated dataset, or of the choice that --size makes.")] = 0,
    root: Root = None,
    missing: Missing = None,
    mono: Mono = "mean",
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="File or folder with the encoder's weights.")] = None,
    config: Annotated[str, typer.Option(help="How it is loaded: default, cut (Whisper) or paper (WavLM).")] = "default",
    fetch: Annotated[bool, typer.Option("--fetch", help="Download missing weights.")] = False,
    on_error: Annotated[str, typer.Option(help="What an unreadable clip does: raise or skip.")] = "raise",
    cluster: Cluster = None,
) -> None:
    """Run an encoder over a dataset, once.

    What it says is stored: the second time costs nothing, a new clip costs one clip.
    """
    from .datasets import load_dataset
    from .embeddings import embed as run_encoder
    from .encoders import load_encoder

    warnings.filterwarnings("ignore", message=".*no group is named")  # nothing is split here
    columns = {"label": label, "group": group, "fold": fold}
    clips = load_dataset(dataset, root=root, **columns, size=size, seed=seed, **_reading(missing, mono))
    model = load_encoder(encoder, device=device, weights=weights, config=config, fetch=fetch)
    typer.echo(f"{clips!r}\n{model.name}: {len(model.layers)} layers, {model.rate} Hz, on {model.device}")
    warnings.filterwarnings("ignore", message=".*cannot be read or encoded and are left out")  # they are listed below
    options = {"dtype": dtype, "seconds": seconds, "on_error": on_error}
    options |= {"layers": layers if layers == "all" else layers.split(",")}
    with _client(cluster) as client:
        embeddings = run_encoder(clips, model, pooling=None if pooling == "none" else pooling, client=client, **options)
    typer.echo(f"{embeddings!r}")
    for name, reason in embeddings.skipped.items():
        typer.secho(f"skipped {name}: {reason}", fg=typer.colors.YELLOW, err=True)
    if not len(embeddings):
        raise typer.Exit(1)


@cache.command("info")
def cache_info() -> None:
    """What the store holds and where it is."""
    from .core.keeping import stages
    from .embeddings import Store

    store = Store()
    typer.echo(f"{store!r}")
    _print_table(store.info())
    kept = stages()
    typer.echo(f"{len(kept)} stages of notebooks, {sum(kept.values()) / 1e6:.1f} MB")
    left = store.prune()
    if len(left):
        size = left["bytes"].sum() / 1e6
        typer.echo(
            f"{len(left)} files, {size:.1f} MB left by killed writers (`workbench cache prune --yes` removes them)"
        )


@cache.command("verify")
def cache_verify() -> None:
    """Read every shard and the memo and compare their checksums; exit code 1 when one is damaged."""
    from .embeddings import Store

    shards = Store().verify()
    damaged = shards[shards["problem"] != ""]
    _print_table(damaged)
    typer.echo(f"{len(shards)} files read, {len(damaged)} damaged")
    if len(damaged):
        raise typer.Exit(1)


@cache.command("prune")
def cache_prune(
    encoder: Annotated[str | None, typer.Option(help="Name or fingerprint of an encoder, or all.")] = None,
    older_than: Annotated[float | None, typer.Option(help="Not used for so many days.")] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Shards that verify finds damaged.")] = False,
    stages: Annotated[bool, typer.Option("--stages", help="Kept stages of notebooks, and no embeddings.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove; without it they are only listed.")] = False,
) -> None:
    """Remove stored embeddings, or kept stages of notebooks, and what killed writers left behind."""
    from .core import keeping
    from .embeddings import Store

    what = "removed" if yes else "would be removed (--yes does it)"
    if stages:
        if encoder is not None or older_than is not None or damaged:
            raise typer.BadParameter("--stages goes with --yes alone", param_hint="--stages")
        kept = keeping.stages()
        for path in kept if yes else ():
            shutil.rmtree(path)
        typer.echo(f"{len(kept)} stages, {sum(kept.values()) / 1e6:.1f} MB {what}")
        return
    gone = Store().prune(encoder=encoder, older_than=older_than, damaged=damaged, dry_run=not yes)
    _print_table(gone)
    typer.echo(f"{len(gone)} files, {gone['bytes'].sum() / 1e6:.1f} MB {what}")


# --- runs ----------------------------------------------------------------------------------------------------------


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Notebooks; all without it.")] = None,
    parameter: Parameters = None,
    scale: Scale = "smoke",
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="A new folder; runs/<date and time> without it.")] = None,
    kernel: Kernel = None,
    cluster: Cluster = None,
    show: Annotated[bool, typer.Option("--list", help="List the notebooks and their parameters instead.")] = False,
) -> None:
    """Execute notebooks, write a report.

    A page, the executed notebook and results.json of each, and an index of all; its place is printed.
    """
    from . import runs

    if show:
        for notebook in runs.find_notebooks(names or None):
            typer.echo(runs.notebook_text(notebook, width=_width()) + "\n")
        return
    changes = _pairs(parameter)
    options = {"parameters": changes, "scale": scale, "seed": seed, "out": out, "kernel": kernel, "text": True}
    with _client(cluster) as client:
        results = runs.run(names or None, client=client, **options)
    typer.echo(results[0].folder.parent / "index.html")
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(help="A notebook.")],
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", metavar="KEY=A,B,C", help="Values of a parameter; lists as [1,2].")
    ],
    scale: Scale = "smoke",
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; runs/sweep-NAME without it.")] = None,
    kernel: Kernel = None,
    cluster: Cluster = None,
) -> None:
    """Run one notebook over a grid of parameters.

    Finished combinations are skipped on a rerun, a failed one does not stop the others.
    """
    from . import runs
    from .runs import split_values

    grid = {key: split_values(text) for key, text in _pairs(parameter).items()}
    for key, values in grid.items():
        if "" in values and len(values) > 1:
            raise typer.BadParameter(f"{key}: nothing between commas ('' is an empty text)", param_hint="--parameter")
    with _client(cluster) as client:
        results = runs.sweep(name, grid, scale=scale, seed=seed, out=out, kernel=kernel, client=client, text=True)
    typer.echo(runs.text_table(*runs.sweep_table(results, list(grid), inner=False)))
    typer.echo(f"every metric: {results[0].folder.parent / 'sweep.csv'}, {results[0].folder.parent / 'index.html'}")
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs or results.json files.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file too.")] = None,
) -> None:
    """Put runs side by side.

    First what was asked of each notebook; then the parameters, data and encoders that differ, every metric, and for two
    runs their difference.
    """
    from . import runs as room

    table = room.compare(*runs)
    if csv is not None:
        table.to_csv(csv)
    typer.echo(room.asked_text(*runs, width=_width()) + "\n")
    _print_table(table.reset_index())


@app.command()
def gallery(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or a gallery, which is replaced.")],
    runs: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="Where runs are; runs/ without it. May be repeated.")
    ] = None,
) -> None:
    """Write the executed pages as a static site for any host.

    The newest finished run of every notebook, an index of them with pictures and sounds, and a reference of the
    package. Its links are checked; exit code 1 when one leads nowhere, and nothing is written then.
    """
    from . import runs as room

    for run in room.gallery(folder, runs=runs or "runs"):
        typer.echo(
            f"{run.name}: {run.folder}, scale {run.results['parameters'].get('scale')}, {run.results['started']}"
        )
    typer.echo(folder / "index.html")


@app.command()
def results(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN", help="Folders of runs or sweeps.")] = None,
    brief: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="One more, with its main results alone; again for others.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file; printed without it.")] = None,
) -> None:
    """Write down what runs have found, as Markdown.

    Of each run its command, its main results with interval and control, and the tables and readings of its notebook.
    Runs given with --brief follow side by side, in a table for each main result.
    """
    from . import runs as room

    text = room.results_text(*(runs or ()), brief=brief or (), out=out)
    typer.echo(text if out is None else out, nl=out is not None)


# --- teaching ------------------------------------------------------------------------------------------------------


@notebooks.command("copy")
def notebooks_copy(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy them into.")],
    force: Force = False,
) -> None:
    """Copy the notebooks, and the settings of their scales, into a folder of one's own."""
    from .runs import copy_notebooks

    for path in copy_notebooks(folder, force=force):
        typer.echo(path)


@app.command()
def handout(
    name: Annotated[str, typer.Argument(help="A notebook.")],
    answers: Annotated[bool, typer.Option("--answers", help="The instructor's copy, with the solutions.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write it into.")] = Path("handout"),
    force: Force = False,
) -> None:
    """Write a student's copy of a notebook: names to fill in where solutions stood, no outputs."""
    from . import runs

    typer.echo(runs.handout(name, answers=answers, out=out, force=force))


@app.command()
@_keeps("What was graded is in grades.csv")
def grade(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the returned notebooks are.")],
    minutes: Annotated[float, typer.Option(help="Longest time for one notebook.")] = 10.0,
    notebook: Annotated[Path | None, typer.Option(help="Original of the handouts, if it is your own.")] = None,
) -> None:
    """Run returned handouts at scale smoke, and say which exercises they solve.

    The checks are those of the original. grades.csv in the folder keeps the table, graded/ the executed notebooks;
    what is graded already is not run again. A returned notebook runs with your rights.
    """
    from . import runs

    _print_table(runs.grade(folder, notebook=notebook, minutes=minutes), longest=160)


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{text!r} must have the form key=value", param_hint="--parameter")
        if key.strip() in pairs:
            raise typer.BadParameter(f"{key.strip()} is given twice", param_hint="--parameter")
        pairs[key.strip()] = value
    return pairs


def _width() -> int:
    """Characters of a line: the terminal's, or 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def _print_table(frame, *, longest: int = 48) -> None:
    """A data frame as aligned text; empty ones say so."""
    from .runs import text_table

    if frame.empty:
        typer.echo("(none)")
        return
    rows = frame.astype(object).where(frame.notna(), None).values.tolist()
    typer.echo(text_table([str(column) for column in frame.columns], rows, longest=longest))


def main() -> None:
    """Entry point of the command ``workbench``."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 must not end a command
    app(prog_name="workbench")
