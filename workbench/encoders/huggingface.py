"""Audio models of the transformers library: HuBERT, WavLM, wav2vec2, MERT, AST, Whisper, CLAP, codecs, and others.

A model is a local folder with ``config.json``, ``preprocessor_config.json`` and weights (safetensors, or a ``.bin``
read with ``weights_only``); code that lies beside it is never run. Layers are the hidden states: "0" is the input
of block 1, "12" the output of block 12, exactly as transformers returns them.

The padding policy (see :class:`.interface.Encoder`) and the layers depend on the model:

- HuBERT, WavLM, wav2vec2, UniSpeech, MERT: "masked". Attention is masked, and where the first convolution has a group
  norm over time (the base models), its statistics are taken over the true frames only, so that a clip has in any batch
  the numbers that transformers computes for it alone. (transformers itself pads such models without a mask.) If
  ``do_normalize`` is set, the normalisation to zero mean and unit variance is over the true samples.
- AST: "fixed", 1024 filterbank frames (10.24 s), zero-padded or cut. Its frames are tokens: class and distillation
  token, then 12 x 101 patches, low frequencies first. A mean is over all tokens, including those of padding, as in the
  sparse-autoencoder paper. Tokens are not a time series, so the frame rate is 0.
- Whisper, and every encoder with its front end (Qwen2-Audio, Voxtral, AudioFlamingo 3, GLM-ASR): "fixed", 30 s,
  zero-padded or cut; frames beyond the clip's end are dropped.
- CLAP's audio tower: "fixed", 10 s by its front end; shorter clips are repeated, longer ones cut (transformers takes a
  random part). Its layers are tokens of an image, without a frame rate. The last layer is the vector in the space
  shared with texts, to which ``encoder.text(["a dog", ...])`` maps words.
- EnCodec, DAC, Mimi: "equal"; the last layer is the input of the quantiser.
- Any other model with hidden states of shape (B, T, D): "equal".

Layers may differ in length, as in an encoder that pools between its blocks or after the last: each has its own frame
rate and its own number of true frames. Of a larger model (Whisper, a language model with an audio tower, a fine-tuned
checkpoint with its heads) only the audio encoder is built and read; ``describe()["left_out"]`` lists the other entries
of the checkpoint. A weight of the encoder that is missing or has another shape is an error.

``config="paper"`` loads WavLM weights into the wav2vec2 network, as the code of arXiv 2509.24793 does: the gated
relative position bias (``gru_rel_pos_const``, ``gru_rel_pos_linear``, ``rel_attn_embed``) is left out.

``config="cut"`` runs Whisper on the positions of the clip alone: features, position embeddings and attention end where
the clip ends, instead of covering 30 s of mostly silence. As the network was trained with the silence, the numbers
differ, and more so for shorter clips. Measured with whisper-tiny.en on clip means, cut against 30 s, at layers 0 to 4:
for ten utterances of LibriSpeech (7.2 s on average) the cosine is 1.000, 1.000, .999, .998, .989 and the relative
difference .001, .027, .052, .062, .147, in a seventh of the time; for 150 spoken digits of FSDD (.46 s) the cosine is
1.000, .989, .978, .959, .793 and the difference .01, .14, .21, .28, .67, in a 24th of the time. A linear probe of the
digit with held-out speakers has an accuracy of .64, .80, .90, .96, .95, against .65, .87, .96, .96, .97 with 30 s.
Clips beyond 30 s are cut in both cases.

MERT is loaded into the HuBERT network, which it equals if its options are off; with the CQT input or with deep-norm it
is refused. ``attention_relax`` is used by the deep-norm layers only, and the softmax is invariant to it.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..core.checks import several
from ..core.errors import ParameterError, WeightsError, WorkbenchError
from ..core.fingerprints import fingerprint
from ..core.weights import TOKENIZER_FILES, WEIGHT_FILES
from .frontends import ClapFront, CutWhisperFront, FilterbankFront, OtherFront, WaveformFront, WhisperFront
from .interface import Encoder, Layer
from .splicing import readers, replaced_input, unable
from .towers import CutWhisper, Tower, frames, reason, tower

CODE_VERSION = 1
OF_ONE_PART = ("hubert", "wav2vec2", "wavlm", "unispeech", "unispeech-sat", "audio-spectrogram-transformer")
"""Model types that are only an audio encoder, which is known without building them."""
FRONTS = {
    **dict.fromkeys(OF_ONE_PART, WaveformFront),
    "audio-spectrogram-transformer": FilterbankFront,
    "clap": ClapFront,
    "clap_audio_model": ClapFront,
    "WhisperFeatureExtractor": WhisperFront,
}
"""Model type, or type of a model's feature extractor -> front end."""
POSITION_BIAS = re.compile(
    r"^encoder\.layers\.\d+\.attention\.(gru_rel_pos_(const|linear\.\w+)|rel_attn_embed\.weight)$"
)
REMOTE = "remote code is never run"
RATE_WITHIN = ("GraniteSpeechFeatureExtractor",)
"""Feature extractors whose rate is nested in preprocessor_config.json instead of at its top level."""
NOT_IN_FINGERPRINT = {
    "transformers_version", "architectures", "id2label", "label2id", "dtype", "torch_dtype", "auto_map",
    "output_hidden_states", "return_dict", "problem_type", "tokenizer_class", "task_specific_params",
}  # fmt: skip


class _Enough(Exception):
    """All layers that are wanted have been reached."""


class HuggingFaceEncoder(Encoder):
    """A transformers model behind the encoder interface; see the module for padding and layers.

    Parameters
    ----------
    name : str
    model : torch.nn.Module
        Model that takes the front end's inputs and ``output_hidden_states``.
    front : front end
        One of :mod:`.frontends`.
    layers : tuple of Layer
    device : torch.device
    record : dict
        What :meth:`describe` adds, such as model class, config, revision and weights that were left out.
    parts : tuple
        What the fingerprint depends on besides the weights.
    """

    def __init__(self, name, model, front, layers, *, device, record, parts):
        self.name = name
        self.device = torch.device(device)
        self.rate, self.padding, self.window, self.minimum = front.rate, front.padding, front.window, front.minimum
        self.layers = layers
        weights = {key: value for key, value in model.state_dict().items() if not key.endswith("masked_spec_embed")}
        self.fingerprint = fingerprint("huggingface", CODE_VERSION, self.padding, *parts, weights=weights)
        self.front = front
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.record = record

    def forward(self, x: Tensor, lengths: Tensor, layers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch, see :meth:`Encoder.forward`."""
        wanted = set(layers)
        known = self._all_readers() if wanted and max(wanted) < len(self.layers) - 1 else []  # before the front end,
        with torch.autocast(self.device.type, enabled=False):  # which tells the network of this batch; in float32
            inputs = self.front.inputs(x, lengths)
        states = self._states(inputs, {i: known[i] for i in wanted} if known else {})
        return [(states[i], self.front.frames(lengths, states[i].shape[1], i)) for i in layers]

    def _states(
        self, inputs: dict[str, Tensor], known: Mapping[int, nn.Module | None]
    ) -> Mapping[int, Tensor] | Sequence[Tensor]:
        """Return frames (B, T, D) by layer; if the readers of all that are wanted are known, no block behind is run."""
        if not known or None in known.values():
            return frames(self.model(**inputs, output_hidden_states=True))
        states: dict[int, Tensor] = {}

        def taken(i: int, state: Tensor) -> Tensor:
            states.setdefault(i, state)
            if len(states) == len(known):
                raise _Enough
            return state

        with contextlib.ExitStack() as hooks:
            for i, module in known.items():
                hooks.enter_context(replaced_input(module, functools.partial(taken, i)))
            with contextlib.suppress(_Enough):
                self.model(**inputs, output_hidden_states=True)
        return states

    def forward_changed(self, x, lengths, layers, at, change) -> list[tuple[Tensor, Tensor]]:
        """Encode a batch with the frames of one layer changed, see :meth:`Encoder.forward_changed`.

        The frames are replaced where the first module of the network is given them; the last layer's have no reader.
        """
        last, seen = len(self.layers) - 1, []
        module = None if at == last else self._reader(at)  # found before the front end tells the network of this batch
        with torch.autocast(self.device.type, enabled=False):
            inputs = self.front.inputs(x, lengths)

        def put(state: Tensor) -> Tensor:
            seen.append(change(state, self.front.frames(lengths, state.shape[1], at)))
            return seen[-1]

        with contextlib.nullcontext() if module is None else replaced_input(module, put):
            states = frames(self.model(**inputs, output_hidden_states=True))
        states[at] = put(states[at]) if at == last else seen[-1]
        return [(states[i], self.front.frames(lengths, states[i].shape[1], i)) for i in layers]

    def _reader(self, at: int) -> nn.Module:
        """Return the module that reads the frames of a layer."""
        if (found := self._all_readers()[at]) is None:
            raise unable(self, at, "no module of the network is given these frames as they are")
        return found

    def _all_readers(self) -> list[nn.Module | None]:
        """Return for every layer the module that reads its frames, or None; they are found with noise, once."""
        if "_readers" not in self.__dict__:
            count = max(self.minimum, self.rate // 2)
            noise = 0.1 * torch.randn(1, count, generator=torch.Generator().manual_seed(0)).to(self.device)
            with torch.no_grad():
                inputs = self.front.inputs(noise, torch.tensor([count], device=self.device))

                def run() -> list[Tensor]:
                    return frames(self.model(**inputs, output_hidden_states=True))

                self._readers = readers(self.model, run(), run)
        return self._readers

    def describe(self) -> dict[str, object]:
        """Extend :meth:`Encoder.describe` by model class, config, revision and weights that were left out."""
        return {**super().describe(), **self.record}


class ClapEncoder(HuggingFaceEncoder):
    """CLAP's audio tower, with :meth:`text` for the vectors of texts in the space of its last layer."""

    read_words: Callable[[], tuple]
    """Function that returns the tokenizer and the text tower; :func:`load_huggingface` sets it."""
    _words: tuple | None = None

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, for comparison with sounds; tokenizer and text tower are read at the first call.

        Parameters
        ----------
        texts : sequence of str

        Returns
        -------
        np.ndarray, float32 (N, D)
            Vectors in the space of the last layer, like it directly after the projection and not of length 1. CLAP
            compares by cosine, so divide both by their lengths (``ClapModel.get_text_features`` does so).

        Raises
        ------
        ParameterError
            A text is not a string, is empty, or has more tokens than the model has positions.
        WeightsError
            The folder lacks the files of the tokenizer or the weights of the text tower.
        """
        texts = several("texts", texts, _text)
        if self._words is None:
            self._words = self.read_words()
        tokenizer, model = self._words
        most = model.config.max_position_embeddings - model.config.pad_token_id - 1
        rows = []
        for text in texts:  # one by one, without padding, as texts are few
            inputs = tokenizer(text, return_tensors="pt").to(self.device)
            if (count := inputs["input_ids"].shape[1]) > most:
                raise ParameterError("texts", f"{text[:40]}... ({count} tokens)", f"texts of at most {most} tokens")
            with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
                output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            rows.append(output.text_embeds[0].float().cpu().numpy())
        return np.stack(rows)


def _text(name: str, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ParameterError(name, text, "a text that is not empty")
    return text


def _words(folder: Path, settings, seed: int | None, device: torch.device) -> tuple:
    """Load the tokenizer and the text tower of a CLAP folder."""
    from transformers import AutoTokenizer, ClapTextModelWithProjection

    if not (folder / "tokenizer.json").is_file() and not (folder / "merges.txt").is_file():
        raise WeightsError(
            f"{folder / 'tokenizer.json'}: no such file (nor vocab.json and merges.txt); texts need it: put the files "
            f"{', '.join(TOKENIZER_FILES)} of the model's page there, as far as it has them"
        )
    text_tower = Tower(ClapTextModelWithProjection, settings.text_config)
    model = _load(text_tower, folder, None)[0] if seed is None else _random(text_tower, seed)
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each tokenizer fails in its own way
        raise WeightsError(f"{folder}: the tokenizer's files cannot be read ({reason(error)})") from error
    return tokenizer, model.eval().requires_grad_(False).to(device)


def load_huggingface(
    name: str,
    *,
    folder: Path | str | None,
    device: str | torch.device = "cpu",
    config: str = "default",
    random_weights: int | None = None,
    architecture: dict | None = None,
    preprocess: dict | None = None,
    revision: str | None = None,
) -> HuggingFaceEncoder:
    """Load a transformers model from a local folder, or make one with seeded random weights.

    Parameters
    ----------
    name : str
        The encoder's name.
    folder : path or None
        Folder with config.json, preprocessor_config.json and, unless ``random_weights`` is given, the weights. None
        only with ``random_weights``, ``architecture`` and ``preprocess``.
    device : str or torch.device
    config : {"default", "paper", "cut"}
        "paper": WavLM weights in the wav2vec2 network; "cut": Whisper on the clip's own positions (see the module).
    random_weights : int, optional
        Seed for random weights in the configured network, as an untrained control.
    architecture, preprocess : dict, optional
        Settings to use instead of the folder's config.json and preprocessor_config.json.
    revision : str, optional
        Commit on the hub, recorded if the folder is the hub cache's for that commit.

    Returns
    -------
    HuggingFaceEncoder

    Raises
    ------
    WeightsError
        A file is missing or damaged, or the checkpoint's entries are not those of the network (the error lists up to 20
        of each kind).
    ParameterError
        The model type, an option of MERT or `config` is not supported.
    """
    architecture = _json(folder, "config.json") if architecture is None else architecture
    preprocess = _preprocess(folder) if preprocess is None else preprocess
    settings = _settings(architecture, config)
    kind = settings.model_type
    audio = Tower(_whole(settings), settings) if kind in OF_ONE_PART else tower(settings)
    if random_weights is None:
        model, left_out = _load(audio, Path(folder), config)
    else:
        model, left_out = _random(audio, random_weights), []
    model = audio.kept(model)
    front_of = FRONTS.get(audio.settings.model_type) or FRONTS.get(preprocess.get("feature_extractor_type"), OtherFront)
    if config == "cut":
        model, front_of = CutWhisper(model), CutWhisperFront
    # torch warns of WavLM's float bias together with a boolean mask; the result is right
    warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
    model.eval()
    with _quiet():
        try:
            front = front_of(audio.settings, preprocess, model)
            layers = tuple(Layer(str(i), dim, rate) for i, (dim, rate) in enumerate(front.layers(model)))
        except WorkbenchError:
            raise
        except Exception as error:  # a front end and a network that do not go together fail in any way
            raise WeightsError(
                f"{name}: the front end of preprocessor_config.json and the network of config.json "
                f"({type(model).__name__}) do not go together ({reason(error)})"
            ) from error
    noise = {key: value for key, value in settings.to_dict().items() if key not in NOT_IN_FINGERPRINT and key[0] != "_"}
    parts = (type(model).__name__, _transformers(), front.parts, json.dumps(noise, sort_keys=True, default=str))
    record = {"model": type(model).__name__, "transformers": _transformers(), "config": config}
    record |= {"revision": revision if folder and Path(folder).name == revision else None}
    record |= {"random_weights": random_weights, "left_out": sorted(left_out)}
    name = name if random_weights is None else f"{name}-random{random_weights}"
    family = ClapEncoder if kind == "clap" else HuggingFaceEncoder
    encoder = family(name, model, front, layers, device=device, record=record, parts=parts)
    if kind == "clap":
        encoder.read_words = functools.partial(_words, Path(folder), settings, random_weights, encoder.device)
    return encoder


def _transformers() -> str:
    """Return the major and minor version of transformers, between which hidden states have changed."""
    import transformers

    return ".".join(transformers.__version__.split(".")[:2])


def _json(folder: Path | str | None, file: str) -> dict:
    path = Path(folder) / file
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(
            f"{path}: no such file; a model folder holds config.json, preprocessor_config.json and the weights"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not valid json ({reason(error)})") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path}: expected settings by name ({{...}}), found {type(settings).__name__}")
    return settings


def _preprocess(folder: Path | str | None) -> dict:
    """Read the settings of the feature extractor, which newer folders have inside processor_config.json."""
    file, within = Path(folder) / "preprocessor_config.json", Path(folder) / "processor_config.json"
    options = None
    if not file.exists() and within.exists():
        parts = _json(folder, within.name)
        options = parts.get("feature_extractor") or parts.get("audio_processor")
        file = within
    if options is None:
        options = _json(folder, "preprocessor_config.json")
    if not isinstance(options, dict):
        raise WeightsError(f"{file}: expected the feature extractor's settings by name, found {type(options).__name__}")
    if "sampling_rate" not in options and options.get("feature_extractor_type") not in RATE_WITHIN:
        raise WeightsError(f"{file}: has no sampling_rate")
    rate = options.get("sampling_rate", 16000)
    if isinstance(rate, bool) or not isinstance(rate, int) or not 1000 <= rate <= 1_000_000:
        raise WeightsError(f"{file}: sampling_rate is {rate!r}, expected Hz as a whole number from 1000 to 1000000")
    return options


def _settings(architecture: dict, config: str):
    """Make the transformers configuration object for a config.json, without any remote code."""
    from transformers import CONFIG_MAPPING

    kind = architecture.get("model_type")
    if config != "default" and kind != {"paper": "wavlm", "cut": "whisper"}.get(config):
        raise ParameterError(
            "config", config, f"'default' for a {kind} model ('paper' is for wavlm, 'cut' for whisper)"
        )
    if kind == "mert_model":
        for option in ("feature_extractor_cqt", "deepnorm"):
            if architecture.get(option):
                raise ParameterError(
                    option, architecture[option], "false: only MERT models that are HuBERT networks load"
                )
        kind = "hubert"
    elif config == "paper":
        kind = "wav2vec2"
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        close = difflib.get_close_matches(str(kind), CONFIG_MAPPING.keys(), n=1)
        guess = f" (did you mean {close[0]!r}?)" if close else ""
        raise ParameterError("model_type", kind, f"a type that transformers itself knows{guess}; {REMOTE}")
    try:
        return CONFIG_MAPPING[kind].from_dict({**architecture, "model_type": kind})
    except Exception as error:  # each configuration has checks of its own
        raise WeightsError(f"config.json is not that of a {kind} model ({reason(error)})") from error


def _whole(settings) -> type:
    from transformers import MODEL_MAPPING

    return MODEL_MAPPING[type(settings)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' loading report and progress bar; the weights are checked here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _random(tower: Tower, seed: int) -> nn.Module:
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tower.network(tower.settings)


def _load(tower: Tower, folder: Path, config: str) -> tuple[nn.Module, list[str]]:
    """Return the network with a folder's weights, and the entries of the checkpoint that are not part of it."""
    network = tower.network
    with _quiet():
        with torch.device("meta"):
            bare = network(tower.settings)
        try:
            entries = _entries(folder)
            prefix = _prefix(entries, set(bare.state_dict()))
            inside = {key[len(prefix) :]: key for key in entries if key.startswith(prefix)}
            model, info = network.from_pretrained(
                None,
                config=tower.settings,
                state_dict={key: entries[whole]() for key, whole in inside.items()},
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # so that all of them are listed below
                dtype=torch.float32,
            )
        except Exception as error:
            raise WeightsError(f"{folder}: weights cannot be read ({reason(error)})") from error
    # heads of pretraining and fine-tuning are parts of their own, never inside a part of the encoder
    parts = {key.split(".")[0] for key in bare.state_dict()}
    surplus = set(info["unexpected_keys"])
    heads = {key for key in surplus if key.split(".")[0] not in parts or key.endswith("masked_spec_embed")}
    if config == "paper":
        heads |= {key for key in surplus if POSITION_BIAS.match(key)}
    left_out = set(entries) - set(inside.values()) | {inside.get(key, key) for key in heads}
    problems = {
        "missing keys": [key for key in info["missing_keys"] if not key.endswith("masked_spec_embed")],
        "unexpected keys": surplus - heads,
        "wrong shapes": [f"{key} {tuple(own)}, expected {tuple(of)}" for key, own, of in info["mismatched_keys"]],
    }
    listed = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems.items() if keys)
    if listed or info["error_msgs"]:
        more = " ".join(info["error_msgs"])
        raise WeightsError(f"{folder} does not fit {network.__name__}: {listed} {more}".rstrip())
    return model, sorted(left_out)


def _some(keys, most: int = 20) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _entries(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """Return name -> function that reads an entry of a folder's weights, from one file or several with an index.

    No code in the files is run.
    """
    for name in WEIGHT_FILES:
        path = folder / name
        if not path.is_file():
            continue
        files = [path]
        if name.endswith(".index.json"):
            files = [folder / file for file in sorted(set(json.loads(path.read_text())["weight_map"].values()))]
        return {key: read for file in files for key, read in _file_entries(file).items()}
    raise FileNotFoundError(f"none of {', '.join(WEIGHT_FILES)} there")


def _file_entries(path: Path) -> dict[str, Callable[[], Tensor]]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        file = safe_open(path, framework="pt")
        return {key: functools.partial(file.get_tensor, key) for key in file.keys()}  # noqa: SIM118
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, ValueError):  # written before 2020: no zip archive to map
        state = torch.load(path, map_location="cpu", weights_only=True)
    return {key: lambda value=value: value for key, value in state.items() if isinstance(value, Tensor)}


def _prefix(entries: Iterable[str], own: set[str]) -> str:
    """Return the prefix of the network's entries in a checkpoint, such as "" or "model.audio_tower.".

    It is the prefix under which most keys of the network are found.
    """
    votes: Counter[str] = Counter()
    for key in entries:
        names = key.split(".")
        votes.update(".".join([*names[:i], ""]) if i else "" for i in range(len(names)) if ".".join(names[i:]) in own)
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix)), default="")
