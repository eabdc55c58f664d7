"""The codecs that have a name here, and :func:`load_codec`, which loads them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..core.checks import checked, seed
from ..core.devices import chosen_device
from ..core.errors import ParameterError, WeightsError
from ..core.weights import CONFIG, Wanted, find
from .interface import Codec
from .lyra import SHA256

if TYPE_CHECKING:
    import pandas as pd

LYRA_SIZES = {"soundstream_encoder.tflite": 1_779_200, "quantizer.tflite": 329_012, "lyragan.tflite": 1_475_160}
LYRA_SOURCE = "https://github.com/google/lyra/raw/9cc2231473202761b91e1159d6b8d423b337b685/lyra/model_coeffs"


@dataclass(frozen=True)
class _CodecSpec:
    """What is known about a codec before it is loaded."""

    name: str
    """Name for :func:`load_codec`."""
    title: str
    """Description in one line."""
    rate: int
    """Sample rate in Hz."""
    dim: int
    """Length of a latent frame."""
    hop: int
    """Samples between latent frames."""
    licence: str
    """Licence of the weights."""
    citation: str
    """Paper to cite."""
    wanted: tuple[Wanted, ...] = ()
    """Files to look for on disk or to download; empty if there are none."""

    @property
    def frame_rate(self) -> float:
        """Latent frames a second (Hz)."""
        return self.rate / self.hop

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(wanted.size for wanted in self.wanted)

    @property
    def source(self) -> str:
        """Hub id, or URL of the folder of the files; empty if nothing is downloaded."""
        return LYRA_SOURCE if self.name == "lyra" else "".join(wanted.source for wanted in self.wanted)


_UNDECLARED = "unknown: its model card declares none"
SPECS: dict[str, _CodecSpec] = {
    spec.name: spec
    for spec in (
        _CodecSpec(
            "mel",
            "log-mel frames and phase recovery, built in",
            rate=16000,
            dim=80,
            hop=256,
            licence="MIT",
            citation="Perraudin, Balazs, Sondergaard: A fast Griffin-Lim algorithm. WASPAA 2013",
        ),
        _CodecSpec(
            "encodec",
            "EnCodec 24 kHz, continuous latents before quantisation",
            rate=24000,
            dim=128,
            hop=320,
            licence=_UNDECLARED,
            citation="Defossez et al.: High fidelity neural audio compression. arXiv 2210.13438, 2022",
            wanted=(
                Wanted(
                    "encodec",
                    "facebook/encodec_24khz",
                    "c1dbe2ae3f1de713481a3b3e7c47f357092ee040",
                    (CONFIG, "model.safetensors"),
                    93_092_872,  # its 23,273,218 numbers; the header comes on top
                    licence=_UNDECLARED,
                    kind="codec",
                ),
            ),
        ),
        _CodecSpec(
            "lyra",
            "Lyra v2 (SoundStream), streaming; needs the package ai-edge-litert",
            rate=16000,
            dim=64,
            hop=320,
            licence="Apache-2.0",
            citation="Zeghidour et al.: SoundStream, an end-to-end neural audio codec. IEEE/ACM TASLP 2021",
            wanted=tuple(
                Wanted("lyra", f"{LYRA_SOURCE}/{file}", None, (file,), size, SHA256[file], "Apache-2.0", "codec")
                for file, size in LYRA_SIZES.items()
            ),
        ),
    )
}
"""The registry, by name."""


def list_codecs() -> pd.DataFrame:
    """List the codecs, one row each.

    Returns
    -------
    pandas.DataFrame
        Columns name, title, rate (Hz), dim, hop (samples), frame_rate (Hz), size (MB to download; 0 for the built-in
        one), licence and source.
    """
    import pandas as pd

    columns = ("name", "title", "rate", "dim", "hop", "frame_rate", "size", "licence", "source")
    table = pd.DataFrame([{column: getattr(spec, column) for column in columns} for spec in SPECS.values()])
    table["size"] = (table["size"].astype("Float64") / 1e6).round(1)
    return table


@checked
def load_codec(
    name: str,
    *,
    device: str | torch.device = "auto",
    weights: str | Path | None = None,
    random_weights: int | None = None,
    fetch: bool = False,
) -> Codec:
    """Load a codec.

    Parameters
    ----------
    name : str
        A registry name (:func:`list_codecs`).
    device : str or torch.device
        "auto" is cuda if available, else mps, else cpu; lyra runs on the cpu only.
    weights : path, optional
        The model folder of encodec, or the folder with the three files of lyra. By default they are looked for in the
        folders of ``WORKBENCH_WEIGHTS`` and in the download caches.
    random_weights : int, optional
        Seed for random weights in the networks of encodec, as an untrained control; nothing needs to be on disk.
    fetch : bool
        Whether to download what is missing; size and licence are printed first.

    Returns
    -------
    Codec

    Raises
    ------
    ParameterError
        The name or device is unknown, options exclude each other or do not apply to the codec, or the package for lyra
        is not installed.
    WeightsError
        The weights are missing (the error says which, how large, under which licence and how to get them), are damaged,
        or do not fit the networks.

    Examples
    --------
    >>> codec = load_codec("mel", device="cpu")
    >>> codec.rate
    16000
    """
    if name not in SPECS:
        close = difflib.get_close_matches(str(name).lower(), SPECS, n=3, cutoff=0.5)
        guess = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ParameterError("name", name, f"among {', '.join(SPECS)}{guess}")
    if random_weights is not None and weights is not None:
        raise ParameterError("weights", weights, "None when random_weights is given")
    if random_weights is not None and name != "encodec":
        raise ParameterError("random_weights", random_weights, f"None for {name}; only encodec takes it")
    if random_weights is not None:
        seed(random_weights, "random_weights")
    place = torch.device("cpu") if name == "lyra" and str(device) == "auto" else chosen_device(device)
    if name == "mel":
        from .mel import MelCodec

        if weights is not None:
            raise ParameterError("weights", weights, "None for mel, which has none")
        return MelCodec(device=place)
    if name == "lyra":
        from .lyra import LyraCodec

        if place.type != "cpu":
            raise ParameterError("device", str(device), "'auto' or 'cpu' for lyra, whose runtime knows no other")
        return LyraCodec({wanted.files[0]: _find(wanted, weights, fetch) for wanted in SPECS[name].wanted})
    from .encodec import load_encodec

    folder = None if random_weights is not None else _find(SPECS[name].wanted[0], weights, fetch)
    return load_encodec(folder=folder, device=place, random_weights=random_weights)


def _find(wanted: Wanted, weights: str | Path | None, fetch: bool) -> Path:
    try:
        return find(wanted, weights=weights, fetch=fetch)
    except WeightsError as error:
        files = [other.files[0] for other in SPECS[wanted.name].wanted]
        needed = f" {wanted.name} needs {', '.join(files)}, in one folder." if len(files) > 1 else ""
        raise WeightsError(f"{error}{needed}") from error
