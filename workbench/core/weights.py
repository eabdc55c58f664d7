"""Find model weights on this machine, and download them if asked to.

Weights are looked for in this order: at the given path alone, if there is one; else in every folder named in the
environment variable ``WORKBENCH_WEIGHTS`` (several are separated as in ``PATH``), then in the download caches. Nothing
is downloaded unless ``fetch=True``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from .errors import WeightsError
from .files import cache_folder

CONFIG = "config.json"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
"""Further files that CLAP's text tower needs."""


@dataclass(frozen=True)
class Wanted:
    """The weights to find: one published file, or a model folder of the Hugging Face hub."""

    name: str
    """Name of the model that the user asked for."""
    source: str
    """URL of the file, or hub id ("facebook/hubert-base-ls960")."""
    revision: str | None = None
    """Commit on the hub; None for a file."""
    files: tuple[str, ...] = ()
    """Name of the file, or of the files of the folder that are needed (if empty, those that the hub lists)."""
    size: int | None = None
    """Bytes to download, if known."""
    sha256: str | None = None
    """Checksum of a single file, if known."""
    licence: str = "unknown: see the model card"
    kind: str = "encoder"
    """Kind of the model, for messages: "encoder", "codec" or "autoencoder"."""

    @property
    def is_file(self) -> bool:
        """Whether it is one file, not a folder."""
        return "://" in self.source

    @property
    def address(self) -> str:
        """URL at which a browser shows it."""
        if self.is_file:
            return self.source
        return f"https://huggingface.co/{self.source}/tree/{self.revision or 'main'}"


def roots() -> list[Path]:
    """Return the folders in the environment variable ``WORKBENCH_WEIGHTS``, in their order."""
    return [Path(part).expanduser() for part in os.environ.get("WORKBENCH_WEIGHTS", "").split(os.pathsep) if part]


def _cache() -> Path:
    """Return the folder of downloaded single files, ``weights`` in the package's cache folder."""
    return cache_folder() / "weights"


def find(wanted: Wanted, *, weights: str | os.PathLike | None = None, fetch: bool = False) -> Path:
    """Return the path of a file or model folder.

    Parameters
    ----------
    wanted : Wanted
    weights : path, optional
        The file or folder itself, or a folder that contains it; if given, no other place is searched.
    fetch : bool
        Whether to download it if it is not found; size and licence are printed first.

    Returns
    -------
    Path
        A file, or a folder with config.json.

    Raises
    ------
    WeightsError
        It is not found (the error says what it is, how large, under which licence, and how to get it), or the download
        failed.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        right = path.is_file() if wanted.is_file else (path / CONFIG).is_file()
        if path := path if right else _inside(path, wanted):
            return path
        needed = wanted.files[0] if wanted.is_file else f"a folder with {CONFIG} and weights"
        raise WeightsError(f"weights={str(weights)!r} for {wanted.kind} {wanted.name}: expected {needed} there")
    for place in roots():
        if path := _inside(place, wanted):
            return path
    if path := _inside(_cache(), wanted) if wanted.is_file else _hub(wanted):
        return path
    if not fetch:
        raise WeightsError(_missing(wanted))
    return _fetch_file(wanted) if wanted.is_file else _fetch_folder(wanted)


def _inside(root: Path, wanted: Wanted) -> Path | None:
    """Find a file, or a model's folder by hub id, short id, name or hub cache, up to two folders deep in a root."""
    if wanted.is_file:
        file = wanted.files[0]
        candidates = (path for pattern in (file, f"*/{file}", f"*/*/{file}") for path in sorted(root.glob(pattern)))
        return next((path for path in candidates if path.is_file()), None)
    owner, _, short = wanted.source.rpartition("/")
    snapshot = Path(f"models--{owner}--{short}", "snapshots", wanted.revision or "main")
    names = dict.fromkeys(str(name) for name in (wanted.source, short, wanted.name, snapshot))
    within = [Path(root), *(folder for pattern in ("*", "*/*") for folder in _folders(root, pattern))]
    folders = (place / name for place in within for name in names)
    return next((folder for folder in folders if (folder / CONFIG).is_file()), None)


def _folders(root: Path, pattern: str) -> list[Path]:
    """Return folders inside a root that are not models, as the parts of a model may have the name of another model."""
    return [path for path in sorted(root.glob(pattern)) if path.is_dir() and not (path / CONFIG).is_file()]


def _hub(wanted: Wanted, *, local: bool = True) -> Path | None:
    """Return the folder in the hub's own cache, or None; unless ``local``, it is downloaded first."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    files = list(wanted.files) or [CONFIG, "preprocessor_config.json", "processor_config.json", *WEIGHT_FILES]
    try:
        folder = snapshot_download(
            wanted.source, revision=wanted.revision, local_files_only=local, allow_patterns=files
        )
    except HFValidationError as error:
        raise WeightsError(f"{wanted.source[:100]!r} is no hub id ({str(error)[:150]})") from error
    except LocalEntryNotFoundError:
        if local:
            return None
        raise
    folder = Path(folder)
    has_weights = any((folder / file).exists() for file in WEIGHT_FILES)
    return folder if (folder / CONFIG).exists() and has_weights else None


def _size(wanted: Wanted) -> str:
    return "size not known" if wanted.size is None else f"{wanted.size / 1e6:.1f} MB"


def _missing(wanted: Wanted) -> str:
    if wanted.is_file:
        what, put = wanted.files[0], f"<folder>/{wanted.files[0]}"
    else:
        files = ", ".join(wanted.files) if wanted.files else f"{CONFIG}, preprocessor_config.json, model.safetensors"
        what, put = f"{wanted.source} ({files})", f"<folder>/{wanted.source}"
    looked = ", ".join(map(str, roots())) or "WORKBENCH_WEIGHTS, which is not set"
    command = f"`workbench encoders fetch {wanted.name}` or " if wanted.kind == "encoder" else ""
    return (
        f"the weights of {wanted.kind} {wanted.name!r} are not on this machine: {what}; {_size(wanted)}; "
        f"licence {wanted.licence}. Looked in {looked}, and in the download cache. Two ways to get them: {command}"
        f"load_{wanted.kind}({wanted.name!r}, fetch=True) downloads them; or download {wanted.address} yourself, "
        f"put it at {put} and set WORKBENCH_WEIGHTS=<folder> (or pass weights=<path>)."
    )


def _announce(wanted: Wanted) -> None:
    print(f"Fetching {wanted.address} ({_size(wanted)}, licence {wanted.licence})")


def _fetch_file(wanted: Wanted) -> Path:
    from .download import download

    _announce(wanted)
    checksum = f"sha256:{wanted.sha256}" if wanted.sha256 else None
    return Path(download(wanted.source, _cache() / wanted.files[0], size=wanted.size, checksum=checksum))


def _fetch_folder(wanted: Wanted) -> Path:
    try:
        if not wanted.files:
            wanted = _listed(wanted)
        _announce(wanted)
        folder = _hub(wanted, local=False)
    except Exception as error:  # the hub's client raises a dozen kinds; the reader needs one message
        reason = (str(error).splitlines() or [""])[0]
        raise WeightsError(
            f"fetching {wanted.address} failed ({type(error).__name__}: {reason});"
            f" without a network, download it elsewhere and set WORKBENCH_WEIGHTS to the folder it lies in"
        ) from error
    if folder is None:
        raise WeightsError(f"{wanted.address} holds no {CONFIG} with weights")
    return folder


def _listed(wanted: Wanted) -> Wanted:
    """Return which files of a hub folder are needed, with their size, from its listing; safetensors are preferred."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(wanted.source, revision=wanted.revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings if "/" not in file.rfilename}
    words = TOKENIZER_FILES if (info.config or {}).get("model_type") == "clap" or "clap" in (info.tags or ()) else ()
    kept = [file for file in (CONFIG, "preprocessor_config.json", "processor_config.json", *words) if file in sizes]
    for start, end in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        weights = [f for f in sizes if f.startswith(start) and f.endswith((end, f"{end}.index.json"))]
        if weights:
            kept += weights
            break
    return replace(wanted, files=tuple(kept), size=sum(sizes[file] for file in kept), revision=info.sha)
