"""The encoders that have a name here, and what is known about them before they are loaded.

Revisions are commits of the Hugging Face hub, sizes those of the download, licences those of the weights.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.weights import CONFIG, Wanted

if TYPE_CHECKING:
    import pandas as pd

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?$")

MASKED = "zero-padding changes nothing: masked, and norms over time count true frames only"
EQUAL = "zero-padding would change the numbers: only clips of equal length share a batch"
FIXED_AST = "every clip is cut or zero-padded to 10.24 s; all 1214 tokens count, those over padding too"
FIXED_WHISPER = (
    "every clip is cut or zero-padded to 30 s; frames behind its end are dropped. config='cut' computes the clip's "
    "own positions only: many times faster for short clips, other numbers"
)


@dataclass(frozen=True)
class EncoderSpec:
    """What is known about an encoder before it is loaded."""

    name: str
    """Name for :func:`load_encoder`."""
    family: str
    """"built-in", "efficientat", "huggingface" or "encodecmae"."""
    title: str
    """Description in one line."""
    rate: int
    """Sample rate in Hz."""
    layers: int
    """Number of layers that can be read."""
    dim: int
    """Length of a frame of the last layer."""
    frame_rate: float
    """Frames a second of the last layer; 0 if its frames are not a time series."""
    padding: str
    """Whether zero-padding and the other clips of a batch change the numbers."""
    licence: str
    """Licence of the weights."""
    citation: str
    """Paper to cite."""
    source: str = ""
    """Hub id, or URL of the file; empty if nothing is downloaded."""
    revision: str | None = None
    """Commit on the hub, or None."""
    files: tuple[str, ...] = ()
    """Names of the files to download."""
    size: int | None = 0
    """Bytes to download; None if the size is not known."""
    sha256: str | None = None
    """Checksum of the single file; None if it is not recorded."""
    config: dict = field(default_factory=dict, repr=False)
    """Configuration of the network for random weights: config.json without values that are default in transformers."""
    preprocess: dict = field(default_factory=dict, repr=False)
    """Configuration of the front end for random weights, as in preprocessor_config.json."""

    @property
    def wanted(self) -> Wanted:
        """The files to look for on disk or to download."""
        return Wanted(self.name, self.source, self.revision, self.files, self.size, self.sha256, self.licence)


@dataclass(frozen=True)
class EncodecMAEConfig:
    """The dimensions of one of the released models."""

    layers: int
    """Number of layers of the encoder, which is called visible encoder in the paper."""
    dim: int = 768
    """D, the length of a frame after the linear map."""
    heads: int = 12
    """Number of attention heads, each ``dim // heads`` wide (in the large models 85 channels, and 1020 in all)."""
    mel: bool = False
    """Whether it is version 2, with the mel front end."""


CONFIGS = {
    "encodecmae-small": EncodecMAEConfig(5),
    "encodecmae-base": EncodecMAEConfig(10),
    "encodecmae-large": EncodecMAEConfig(20, 1024),
    "encodecmae-mel-base": EncodecMAEConfig(10, mel=True),
    "encodecmae-mel-base-st": EncodecMAEConfig(10, mel=True),
    "encodecmae-mel-large-st": EncodecMAEConfig(20, 1024, mel=True),
}
"""The released models by name; those with "st" were trained in an additional stage of self-training."""
_FILES = {
    "encodecmae-small": ("encodecmae-small/model.pt", 207_986_541),
    "encodecmae-base": ("encodecmae-base/model.pt", 255_255_453),
    "encodecmae-large": ("encodecmae-large/model.pt", None),
    "encodecmae-mel-base": ("encodecmae-v2/mel256-ec-base.pt", None),
    "encodecmae-mel-base-st": ("encodecmae-v2/mel256-ec-base_st.pt", None),
    "encodecmae-mel-large-st": ("encodecmae-v2/mel256-ec-large_st.pt", None),
}
"""Name of a model -> its repository and file on the hub, and the file's size in bytes if it is known."""
_SHA256 = {
    "encodecmae-small": "9c0403b6785655aaecd1df45cbc2e87668c88f85d99f4bd8cb12cf13c4c1eb90",
    "encodecmae-base": "1174f528715256a10e80434d4fbff2e694e9fc6b85d894681de6f6068016991c",
}
_COMMON = {
    "family": "encodecmae",
    "rate": 24000,
    "padding": "zero-padding changes nothing: each clip meets the front end at its own length, then masked",
    "citation": "Pepino, Riera, Ferrer: EnCodecMAE. arXiv 2309.07391, 2023",
}


def _encodecmae_specs() -> list[EncoderSpec]:
    """Return the spec of each released EnCodecMAE."""
    rows = []
    for name, (file, size) in _FILES.items():
        config = CONFIGS[name]
        front = "log-mel bands (version 2)" if config.mel else "EnCodec latents (version 1)"
        row = {"name": name, "title": f"EnCodecMAE, {config.layers} layers on {front}"}
        row |= {"layers": config.layers + 1, "dim": config.dim, "frame_rate": 24000 / (318 if config.mel else 320)}
        row["licence"] = "MIT" if name == "encodecmae-base" else "unknown: see the model card (that of base is MIT)"
        row["source"] = "https://huggingface.co/lpepino/{}/resolve/main/{}".format(*file.split("/"))
        fields = _COMMON | row | {"files": (file,), "size": size, "sha256": _SHA256.get(name)}
        rows.append(EncoderSpec(**fields))
    return rows


def _efficientat(name: str, score: str, dim: int, size: int | None, sha256: str | None = None) -> EncoderSpec:
    file = f"{name}_mAP_{score}.pt"
    return EncoderSpec(
        name,
        "efficientat",
        f"EfficientAT, MobileNetV3 of width {int(name[2:4]) / 10:g} tagging AudioSet, mAP .{score}",
        rate=32000,
        layers=17,
        dim=dim,
        frame_rate=3.125,
        padding=EQUAL,
        licence="MIT",
        citation="Schmid, Koutini, Widmer: Efficient large-scale audio tagging via transformer-to-CNN "
        "knowledge distillation. ICASSP 2023",
        source=f"https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{file}",
        files=(file,),
        size=size,
        sha256=sha256,
    )


def _hub(name: str, title: str, source: str, revision: str, weights: str, size: int, **rest) -> EncoderSpec:
    files = (CONFIG, "preprocessor_config.json", weights)
    return EncoderSpec(name, "huggingface", title, source=source, revision=revision, files=files, size=size, **rest)


_SPEECH = {"rate": 16000, "layers": 13, "dim": 768, "frame_rate": 50.0, "padding": MASKED}
_RAW = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": True}
_WHISPER = {
    "rate": 16000,
    "frame_rate": 50.0,
    "padding": FIXED_WHISPER,
    "licence": "MIT by its authors' repository (openai/whisper); Apache-2.0 by its card on the hub",
    "citation": "Radford et al.: Robust speech recognition via large-scale weak supervision. ICML 2023",
    "preprocess": {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16000, "feature_size": 80},
}


def _whisper_config(dim: int, layers: int, heads: int) -> dict:
    shape = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * dim}
    return {
        "model_type": "whisper",
        "d_model": dim,
        **{f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in shape.items()},
    }


SPECS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec(
            "mini",
            "built-in",
            "small transformer on log-mel, trained by this project and shipped with it",
            rate=16000,
            layers=7,
            dim=256,
            frame_rate=25.0,
            padding=MASKED,
            licence="MIT",
            citation="this project; see workbench/encoders/mini/mini.md",
        ),
        EncoderSpec(
            "logmel",
            "built-in",
            "log-mel frames, the trivial control; use pooling='mean+std'",
            rate=16000,
            layers=1,
            dim=64,
            frame_rate=100.0,
            padding=MASKED,
            licence="MIT",
            citation="no paper",
        ),
        _hub(
            "whisper-tiny.en",
            "Whisper tiny.en, encoder only: the smallest real model of speech here, and a good first one; "
            "config='cut' for clips much shorter than 30 s",
            "openai/whisper-tiny.en",
            "87c7102498dcde7456f24cfd30239ca606ed9063",
            "model.safetensors",
            151_060_136,
            layers=5,
            dim=384,
            config=_whisper_config(384, 4, 6),
            **_WHISPER,
        ),
        _efficientat("mn01_as", "298", 96, 612_421),
        _efficientat(
            "mn04_as",
            "432",
            384,
            4_066_513,
            "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        ),
        _efficientat("mn05_as", "443", 480, 5_878_097),
        _efficientat("mn10_as", "471", 960, 19_708_753),
        _efficientat("mn20_as", "478", 1920, 71_938_961),
        _efficientat("mn40_as", "484", 3840, None),
        _hub(
            "hubert-base",
            "HuBERT base, 960 h of English speech",
            "facebook/hubert-base-ls960",
            "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
            "pytorch_model.bin",
            377_569_754,
            licence="Apache-2.0",
            citation="Hsu et al.: HuBERT. IEEE/ACM TASLP 2021",
            config={"model_type": "hubert"},
            preprocess=_RAW,
            **_SPEECH,
        ),
        _hub(
            "wav2vec2-base",
            "wav2vec 2.0 base, 960 h of English speech",
            "facebook/wav2vec2-base",
            "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
            "pytorch_model.bin",
            380_267_417,
            licence="Apache-2.0",
            citation="Baevski et al.: wav2vec 2.0. NeurIPS 2020",
            config={"model_type": "wav2vec2"},
            preprocess=_RAW,
            **_SPEECH,
        ),
        _hub(
            "wavlm-base-plus",
            "WavLM base+, 94,000 h of English speech; config='paper' loads it as arXiv 2509.24793 does",
            "microsoft/wavlm-base-plus",
            "4c66d4806a428f2e922ccfa1a962776e232d487b",
            "pytorch_model.bin",
            377_617_425,
            licence="CC BY-SA 3.0 by the file its card links to (microsoft/UniSpeech); its code's repository is MIT",
            citation="Chen et al.: WavLM. IEEE JSTSP 2022",
            config={"model_type": "wavlm"},
            preprocess={**_RAW, "do_normalize": False},
            **_SPEECH,
        ),
        _hub(
            "ast",
            "Audio spectrogram transformer, fine-tuned on AudioSet, mAP .4593",
            "MIT/ast-finetuned-audioset-10-10-0.4593",
            "f826b80d28226b62986cc218e5cec390b1096902",
            "model.safetensors",
            346_404_948,
            rate=16000,
            layers=13,
            dim=768,
            frame_rate=0.0,
            padding=FIXED_AST,
            licence="BSD-3-Clause",
            citation="Gong, Chung, Glass: AST. Interspeech 2021",
            config={"model_type": "audio-spectrogram-transformer"},
            preprocess={"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": 16000},
        ),
        _hub(
            "mert-95m",
            "MERT v1 95M, self-supervised on music",
            "m-a-p/MERT-v1-95M",
            "12af15fef9d0ac838c3f475bfbbf26d2060dd4f5",
            "pytorch_model.bin",
            377_552_987,
            licence="CC BY-NC 4.0 (no commercial use)",
            citation="Li et al.: MERT. ICLR 2024",
            config={"model_type": "mert_model", "feature_extractor_cqt": False, "deepnorm": False},
            preprocess={**_RAW, "sampling_rate": 24000},
            **{**_SPEECH, "rate": 24000, "frame_rate": 75.0},
        ),
        _hub(
            "whisper-base",
            "Whisper base, encoder only",
            "openai/whisper-base",
            "e37978b90ca9030d5170a5c07aadb050351a65bb",
            "model.safetensors",
            290_403_936,
            layers=7,
            dim=512,
            config=_whisper_config(512, 6, 8),
            **_WHISPER,
        ),
        _hub(
            "whisper-small",
            "Whisper small, encoder only",
            "openai/whisper-small",
            "973afd24965f72e36ca33b3055d56a652f456b4d",
            "model.safetensors",
            966_995_080,
            layers=13,
            dim=768,
            config=_whisper_config(768, 12, 12),
            **_WHISPER,
        ),
        *_encodecmae_specs(),
    )
}
"""The registry, by name."""


def list_encoders() -> pd.DataFrame:
    """List the encoders that have a name, one row each.

    Returns
    -------
    pandas.DataFrame
        Columns name, title, rate (Hz), layers, dim, frame_rate (Hz), size (MB to download; 0 for built-in encoders,
        missing if not known), licence, source and revision.
    """
    import pandas as pd

    columns = ("name", "title", "rate", "layers", "dim", "frame_rate", "size", "licence", "source", "revision")
    table = pd.DataFrame([{column: getattr(spec, column) for column in columns} for spec in SPECS.values()])
    table["size"] = (table["size"].astype("Float64") / 1e6).round(1)
    return table


@checked
def describe_encoder(name: str) -> EncoderSpec:
    """Return what is known about an encoder by name, without loading it.

    Raises
    ------
    ParameterError
        There is no such name; the message lists all names and suggests close ones.
    """
    if name not in SPECS:
        raise ParameterError("name", name, known_names(name))
    return SPECS[name]


def known_names(name: str, others: Iterable[str] = ()) -> str:
    """Return the end of an error about an unknown name: all known names (and ``others``), and close ones."""
    known = (*others, *SPECS)
    close = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    guess = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"among {', '.join(known)}{guess}"
