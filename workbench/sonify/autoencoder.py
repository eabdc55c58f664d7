"""From sound to one vector and back: :class:`SummaryAutoencoder` and :func:`load_autoencoder`.

A frozen encoder gives frames, a transformer sums them up in one vector z, a diffusion decoder draws latents of a frozen
codec that z could have come from, the codec makes them sound (Alonso-Jimenez et al., "Leveraging pre-trained
autoencoders for interpretable prototype learning of music audio", 2024, arXiv 2402.09318). The same z with another
seed gives another sound: what stays is what z holds, what changes the decoder made up.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio import SILENT, at_level, resample
from ..codecs import Codec, load_codec
from ..core.checks import checked, choice, number, numbers, several, whole
from ..core.checks import seed as checked_seed
from ..core.errors import AudioError, ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from ..core.fitting import VERSION, restored
from ..core.saving import write_tensors
from ..core.weights import Wanted, find
from ..encoders import Encoder, encodecmae, extract, load_encoder, residual
from .catalog import BUILT_IN, PUBLISHED, known_autoencoders
from .diffusion import check_sampling, draw_noise, sample
from .network import SummaryConfig, SummaryNet
from .window import WindowConfig, WindowNet

WEIGHTS = Path(__file__).parent / "mini_mel"
NETWORKS = {"transformer": (SummaryConfig, SummaryNet), "window": (WindowConfig, WindowNet)}
"""What may stand between encoder and codec: its settings, and itself."""
SHORTEST = 0.1
"""Seconds of sound below which a summary would be made of padding."""
ROWS = 32
"""Rows that go through the denoiser together."""


class SummaryAutoencoder:
    """Frames of a frozen encoder to one vector, and back to the sound of a frozen codec.

    Parameters
    ----------
    net : SummaryNet or WindowNet
    encoder : Encoder
    codec : Codec
    layer : str or int
        Whose frames are summed up.
    seconds : float
        The window: longest sound that goes in, length of what comes out.
    level : float, optional
        Root-mean-square level in dB relative to full scale to which every window is brought before it is encoded, so
        that a summary knows nothing of it; None leaves windows as they are, as the paper does.
    name : str, optional

    Attributes
    ----------
    encoder, codec, layer, seconds, level, name
        As given; ``layer`` by name.
    dim : int
        D of a summary.
    samples : int
        Length of a decoded sound, at ``codec.rate``.
    fingerprint : str
        Hash of everything that changes a summary or a sound.
    device : torch.device

    Raises
    ------
    ParameterError
        The encoder's layer or the codec does not fit the network.
    """

    @checked
    def __init__(
        self,
        net: SummaryNet | WindowNet,
        encoder: Encoder,
        codec: Codec,
        *,
        layer: str | int,
        seconds: float,
        level: float | None = None,
        name: str = "own",
    ):
        if not isinstance(net, (SummaryNet, WindowNet)):
            raise ParameterError("net", type(net).__name__, "a SummaryNet or a WindowNet")
        number("seconds", seconds, above=0)
        if level is not None:
            number("level", level, above=SILENT, most=0)
        config = net.config
        self._position = encoder.select(layer)[0]
        place = encoder.layers[self._position]
        self.samples = round(seconds * codec.rate)
        if place.dim != config.dim:
            raise ParameterError("encoder", encoder.name, f"one with {config.dim}-d frames, not {place.dim}")
        frames = codec.frames(self.samples)
        if (codec.dim, frames) != (config.latent_dim, config.latent_frames):
            wanted = f"one that gives {config.latent_frames} latent frames of {config.latent_dim} in {seconds:g} s"
            raise ParameterError("codec", codec.name, f"{wanted}, not {frames} of {codec.dim}")
        self.name, self.encoder, self.codec = name, encoder, codec
        self.layer, self.seconds, self.level = place.name, seconds, level
        self.dim, self.device = config.dim, encoder.device
        self.net = net.eval().requires_grad_(False).to(self.device)
        shape = tuple(asdict(config).items())
        frozen = (encoder.fingerprint, self.layer, codec.fingerprint, seconds, level)
        self.fingerprint = fingerprint("summary", shape, *frozen, weights=net.state_dict())

    def __repr__(self) -> str:
        return (
            f"SummaryAutoencoder({self.name}: {self.seconds:g} s, {self.encoder.name} layer {self.layer} "
            f"-> {self.dim} numbers -> {self.codec.name})"
        )

    @checked
    @torch.inference_mode()
    def summarise(self, frames: Tensor, lengths: Tensor, *, source: str | None = None) -> Tensor:
        """Sum up frames.

        Parameters
        ----------
        frames : Tensor, float32 (B, T, D)
            Of ``encoder`` at ``layer``.
        lengths : Tensor, int64 (B,)
            True frames of each row, at least 1; those of the whole window for a WindowNet.
        source : str, optional
            Fingerprint of the encoder the frames came from, where it is known: another one is refused.

        Returns
        -------
        Tensor, float32 (B, D)
        """
        if source is not None and source != self.encoder.fingerprint:
            expected = (
                f"{self.encoder.fingerprint}, the fingerprint of {self.encoder.name}: these are frames of another"
            )
            raise ParameterError("source", source, expected)
        if not isinstance(frames, Tensor) or not isinstance(lengths, Tensor) or lengths.is_floating_point():
            types = f"{type(frames).__name__} and {type(lengths).__name__}"
            raise ParameterError("frames, lengths", types, "tensors, lengths of whole numbers")
        if frames.ndim != 3 or 0 in frames.shape or frames.shape[2] != self.dim:
            raise ParameterError("frames", tuple(frames.shape), f"(B, T, {self.dim}) with B and T at least 1")
        if lengths.shape != frames.shape[:1] or not (lengths.min() >= 1 and lengths.max() <= frames.shape[1]):
            raise ParameterError("lengths", lengths.tolist(), f"{len(frames)} numbers from 1 to {frames.shape[1]}")
        if isinstance(self.net, WindowNet) and not (lengths == self.net.config.frames).all():
            raise ParameterError("lengths", lengths.tolist(), f"{self.net.config.frames}, those of a whole window")
        frames, lengths = frames.to(self.device, torch.float32), lengths.to(self.device)
        beyond = torch.arange(frames.shape[1], device=self.device) >= lengths[:, None]
        frames = frames.masked_fill(beyond[..., None], 0.0)
        _check_finite("frames", frames)
        chunks = zip(frames.split(ROWS), lengths.split(ROWS), strict=True)
        return torch.cat([self.net.summarise(*chunk) for chunk in chunks])

    @checked
    def embed(
        self,
        waveforms: Sequence[np.ndarray] | np.ndarray | Tensor,
        rate: int,
        *,
        pad: bool = True,
        progress: bool = False,
    ) -> Tensor:
        """Summaries of sounds.

        Parameters
        ----------
        waveforms : list of arrays (samples,), or one array or tensor (B, samples)
            0.1 s to ``seconds`` each. Cut longer ones with :func:`workbench.audio.segment`.
        rate : int
            Hz; must be the encoder's.
        pad : bool
            Zero-pad shorter sounds to ``seconds``; ``mini-mel`` reads whole windows alone. False encodes them at their
            own length, as the paper's code does with the rest of a track.
        progress : bool

        Returns
        -------
        Tensor, float32 (B, D)

        Raises
        ------
        ParameterError
            Another rate, or no sound at all.
        AudioError
            A sound that is too short, too long, not finite or not (samples,); names the clip.
        """
        if rate != self.encoder.rate:
            raise ParameterError("rate", rate, f"{self.encoder.rate} Hz, that of {self.encoder.name}: resample first")
        if not pad and isinstance(self.net, WindowNet):
            raise ParameterError("pad", pad, f"True: {self.name} reads whole windows")
        if isinstance(waveforms, (str, bytes, dict)) or not hasattr(waveforms, "__len__"):
            raise ParameterError("waveforms", type(waveforms).__name__, "a list of waveforms, or an array (B, samples)")
        if not len(waveforms):
            raise ParameterError("waveforms", "an empty batch", "at least one waveform")
        size = round(self.seconds * rate)
        clips = [self._clip(x, i, size, pad) for i, x in enumerate(waveforms)]
        options = {"layers": self._position, "pooling": None, "dtype": "float32", "progress": progress}
        frames: list[Tensor] = [torch.empty(0)] * len(clips)
        for i, (array,) in extract(self.encoder, clips, names=[str(i) for i in range(len(clips))], **options):
            frames[i] = torch.from_numpy(array)
        lengths = torch.tensor([len(rows) for rows in frames])
        return self.summarise(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)

    def _clip(self, x: np.ndarray | Tensor, index: int, size: int, pad: bool) -> np.ndarray:
        x = numbers(f"waveforms[{index}]", x, finite=False, empty=True).astype(np.float32)
        seconds = x.shape[-1] / self.encoder.rate if x.ndim else 0.0
        if seconds < SHORTEST:
            raise AudioError(f"clip {index}", f"lasts {seconds:.3f} s; a summary needs {SHORTEST:g} s")
        if x.shape[-1] > size:
            raise AudioError(f"clip {index}", f"lasts {seconds:.3f} s; the window is {self.seconds:g} s: segment it")
        if x.ndim != 1:
            return x  # the encoder refuses it, and names the clip
        x = np.pad(x, (0, size - len(x))) if pad else x
        return x if self.level is None or not np.isfinite(x).all() else at_level(x, self.level)

    @checked
    @torch.inference_mode()
    def generate(
        self,
        z: Tensor | np.ndarray,
        *,
        steps: int = 40,
        guidance: float = 1.0,
        seed: int | Sequence[int] = 0,
        progress: bool = False,
    ) -> Tensor:
        """Latents of the codec that the summaries could have come from.

        Parameters
        ----------
        z : Tensor or ndarray (B, D)
        steps, guidance
            S and g of :func:`~workbench.sonify.diffusion.sample`.
        seed : int or sequence of int
            Of the noise a row starts from: one for all rows, or one a row. A row does not depend on its batch.
        progress : bool

        Returns
        -------
        Tensor, float32 (B, T, codec.dim)

        Raises
        ------
        ParameterError
            Summaries of another width, not finite or none at all; another number of seeds than of rows; ``steps``
            below 1.
        """
        from tqdm.auto import tqdm

        check_sampling(steps, guidance)
        z = torch.as_tensor(numbers("z", z, finite=False, empty=True).astype(np.float32))
        if z.ndim != 2 or not len(z) or z.shape[1] != self.dim:
            raise ParameterError("z", tuple(z.shape), f"summaries (B, {self.dim}) with B at least 1")
        z = z.to(self.device, torch.float32)
        _check_finite("z", z)
        if isinstance(seed, (str, bytes)) or np.ndim(seed) == 0:
            seeds = [checked_seed(seed)] * len(z)
        else:
            seeds = several("seed", seed, lambda name, value: checked_seed(value, name))
        if len(seeds) != len(z):
            raise ParameterError("seed", f"{len(seeds)} seeds", f"one for all rows or one for each of {len(z)}")
        latents = []
        with tqdm(total=len(z) * steps, desc=self.name, unit="step", disable=not progress, leave=False) as bar:
            for start in range(0, len(z), ROWS):
                rows = z[start : start + ROWS]
                noise = draw_noise(seeds[start : start + ROWS], self.net.drawn, device=self.device)
                on_step = partial(bar.update, len(rows))
                drawn = sample(self.net, noise, rows, steps=steps, guidance=guidance, on_step=on_step)
                latents.append(self.net.latents(drawn))
        return torch.cat(latents)

    @checked
    def decode(
        self,
        z: Tensor | np.ndarray,
        *,
        steps: int = 40,
        guidance: float = 1.0,
        seed: int | Sequence[int] = 0,
        draws: int = 1,
        levels: np.ndarray | Sequence[float] | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Sound of summaries, (B, samples) float32 at ``codec.rate``; parameters and errors of :meth:`generate`.

        Not clipped: a sound may pass full scale.

        Parameters
        ----------
        draws : int
            Of so many sounds a row, the one is taken whose own summary lies nearest to the row: what the decoder made
            up disturbs least there. The first has the seed given, the others have seeds made from it.
        levels : array-like (B,), optional
            Level in dB of each row's sound, such as :attr:`.Summaries.levels`, where summaries know nothing of it; by
            default all come at the one that windows are brought to.
        """
        whole("draws", draws, least=1)
        if levels is not None and self.level is None:
            raise ParameterError("levels", levels, f"None: the summaries of {self.name} hold the level themselves")
        options = {"steps": steps, "guidance": guidance, "progress": progress}
        sound = self.codec.decode(self.generate(z, seed=seed, **options), length=self.samples)
        if draws > 1:
            seeds = np.broadcast_to(np.asarray(seed, dtype=np.uint64), (len(z),))
            best = self._distance(sound, z)
            for k in range(1, draws):
                others = [int(np.random.SeedSequence((int(one), k)).generate_state(1)[0]) for one in seeds]
                other = self.codec.decode(self.generate(z, seed=others, **options), length=self.samples)
                distance = self._distance(other, z)
                nearer = distance < best
                sound[nearer], best = other[nearer], torch.minimum(best, distance)
        if self.level is None:
            return sound
        wanted = np.full(len(sound), self.level) if levels is None else numbers("levels", levels, ndim=1)
        if len(wanted) != len(sound):
            raise ParameterError("levels", f"{len(wanted)} numbers", f"one for each of {len(sound)} summaries")
        rows = zip(sound.cpu().numpy(), wanted, strict=True)
        return torch.from_numpy(np.stack([at_level(row, to) for row, to in rows])).to(sound.device)

    def _distance(self, sound: Tensor, z: Tensor | np.ndarray) -> Tensor:
        """How far the summary of each sound (B, samples) lies from z (B, D), (B,)."""
        heard = [resample(row, self.codec.rate, self.encoder.rate) for row in sound.cpu().numpy()]
        longest = round(self.seconds * self.encoder.rate)
        again = self.embed([row[:longest] for row in heard], self.encoder.rate)
        return (again - torch.as_tensor(z, dtype=torch.float32, device=again.device)).norm(dim=1).to(sound.device)

    def reconstruct(self, waveforms, rate: int, **options) -> Tensor:
        """:meth:`embed`, then :meth:`decode` with ``options``."""
        return self.decode(self.embed(waveforms, rate), **options)


def _check_finite(name: str, x: Tensor) -> None:
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ParameterError(name, f"{bad} of {x.numel()} numbers that are NaN or infinite", "finite")


@checked
def save_autoencoder(autoencoder: SummaryAutoencoder, path: Path | str, *, note: dict[str, str] | None = None) -> None:
    """Write network and settings as float16 safetensors, atomically; ``note`` is kept in the metadata."""

    if not isinstance(autoencoder, SummaryAutoencoder):
        raise ParameterError("autoencoder", type(autoencoder).__name__, "a SummaryAutoencoder")
    path = Path(path)
    if not path.name:
        raise ParameterError("path", str(path), "the name of a file")
    state = autoencoder.net.state_dict()
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    settings = {
        "network": next(name for name, (_, kind) in NETWORKS.items() if isinstance(autoencoder.net, kind)),
        "config": asdict(autoencoder.net.config),
        "layer": autoencoder.layer,
        "seconds": autoencoder.seconds,
        "level": autoencoder.level,
        "encoder": [autoencoder.encoder.name, autoencoder.encoder.fingerprint],
        "codec": [autoencoder.codec.name, autoencoder.codec.fingerprint],
        "version": VERSION,
    }
    try:
        write_tensors(path, state, {"settings": json.dumps(settings), **(note or {})})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error})") from error


@checked
def load_autoencoder(
    name_or_path: str | os.PathLike = "mini-mel",
    *,
    device: str | torch.device = "auto",
    encoder: Encoder | None = None,
    codec: Codec | None = None,
    fetch: bool = False,
) -> SummaryAutoencoder:
    """A summary autoencoder with its weights.

    Parameters
    ----------
    name_or_path : str or path
        "mini-mel", the built-in one (frames of ``mini``, latents of the mel codec, 2 s), a file written by
        :func:`save_autoencoder`, or "pecmae-4s", "pecmae-1s", "pecmae-10s", which
        :func:`load_published` finds with EnCodecMAE in the same file.
    device : str or torch.device
        Where encoder and codec are loaded; those given stay where they are.
    encoder, codec : optional
        The frozen parts, where they are loaded already; by default those that the weights were trained with.
    fetch : bool
        Download a released one that is missing; size and licence are printed first.

    Returns
    -------
    SummaryAutoencoder

    Raises
    ------
    WeightsError
        File missing, damaged or not fitting, or an encoder or codec other than that of the training.
    """
    if not isinstance(device, (str, torch.device)):
        raise ParameterError("device", device, "text such as 'auto' or 'cpu', or a torch device")
    name = str(name_or_path)
    if name.startswith("pecmae-"):
        if encoder is not None:
            raise ParameterError("encoder", encoder.name, f"None for {name}, whose file holds its own")
        return load_published(name, codec=codec, device=device, fetch=fetch)
    path = WEIGHTS / f"{name}.safetensors" if name in BUILT_IN else Path(name_or_path).expanduser()
    settings, state = _read(path)
    if (kind := settings.get("network", "transformer")) not in NETWORKS:
        raise WeightsError(f"{path}: its network is {kind!r}; this package knows {', '.join(NETWORKS)}")
    shape, network = NETWORKS[kind]
    config = restored(path, settings, "config", shape, what="summary autoencoder")
    named = all(isinstance(settings.get(key), list) and len(settings[key]) == 2 for key in ("encoder", "codec"))
    if not named or not isinstance(settings.get("layer"), str) or not isinstance(settings.get("seconds"), (int, float)):
        raise WeightsError(f"{path}: its settings lack encoder, codec, layer or seconds: {sorted(settings)}")
    if not isinstance(settings.get("level"), (int, float, type(None))):
        raise WeightsError(f"{path}: its level is {settings['level']!r}; a number in dB or nothing is expected")
    encoder = encoder or load_encoder(settings["encoder"][0], device=device, dtype="float32")
    codec = codec or load_codec(settings["codec"][0], device=encoder.device)
    for part, (wanted, mark) in ((encoder, settings["encoder"]), (codec, settings["codec"])):
        # frames are computed in float32 here, whatever precision the encoder was loaded for
        if part.fingerprint not in (mark, fingerprint(mark, getattr(part, "compute", "float32"))):
            raise WeightsError(f"{path} was trained with {wanted} {mark}, not with {part.name} {part.fingerprint}")
    net = network(config)
    expected = {key: value.shape for key, value in net.state_dict().items()}
    if expected != {key: value.shape for key, value in state.items()}:
        wrong = sorted(k for k in expected.keys() | state.keys() if k not in state or expected.get(k) != state[k].shape)
        raise WeightsError(f"{path} does not fit its own settings: missing, left over or misshapen {wrong}")
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    if broken := [key for key, value in state.items() if not value.isfinite().all()]:
        raise WeightsError(f"{path}: {len(broken)} entries hold NaN or infinity, such as {broken[0]}")
    net.load_state_dict(state)
    short = name if name in BUILT_IN else path.stem
    place = {name: settings.get(name) for name in ("layer", "seconds", "level")}
    return SummaryAutoencoder(net, encoder, codec, name=short, **place)


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise WeightsError(f"{path}: a folder; expected a file that save_autoencoder wrote")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected {known_autoencoders(path)}")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    if "settings" not in metadata:
        raise WeightsError(f"{path}: its metadata has no 'settings'; weights are written by save_autoencoder")
    try:
        settings = json.loads(metadata["settings"])
    except ValueError as error:
        raise WeightsError(f"{path}: its settings are no JSON ({error})") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path}: its settings are a {type(settings).__name__}, not fields by name")
    return settings, state


# --- the released ones of PECMAE (arXiv 2402.09318): 4 s, the paper's, 1 s and 10 s ------------------------------
#
# One checkpoint holds EnCodecMAE base, the summary transformer, the denoiser and the state of the optimiser. What it
# does not hold is EnCodec's decoder: that comes from the codec ``encodec``. No released file was at hand when this was
# written: layout and arithmetic follow the authors' code and the published sizes, and a file that does not fit is
# refused with its first odd entries.

HEADS = 8
"""Attention heads of both stacks; the paper's 12 are those of EnCodecMAE."""
BACKBONE = "encodecmae-base"
FRAME_RATE = 75
SOURCE = "https://huggingface.co/lpepino/encodecmae-base/resolve/main/ae"
SIZE = 699_535_532
STACKS = {"encoder.encoder.": "summary.", "denoiser.": "denoiser."}
NAMES = {
    "encoder.cls_tokens.weight": "token",
    "encoder.pos_encoder.scale": "position_scale",
    "in_adapter.weight": "in_adapter.weight",
    "in_adapter.bias": "in_adapter.bias",
    "out_adapter.weight": "out_adapter.weight",
    "out_adapter.bias": "out_adapter.bias",
    "time_embedding.0.weight": "time_embedding.0.weight",
    "time_embedding.0.bias": "time_embedding.0.bias",
    "time_embedding.2.weight": "time_embedding.2.weight",
    "time_embedding.2.bias": "time_embedding.2.bias",
}
"""Entries outside the stacks and what :class:`SummaryNet` calls them."""


def _own_entries(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries of a released checkpoint, without those of EnCodecMAE, as :class:`SummaryNet` names and orders them."""
    own: dict[str, Tensor] = {}
    stacks: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in STACKS}
    for key, value in state.items():
        prefix = next((prefix for prefix in STACKS if key.startswith(prefix)), None)
        if key.startswith(encodecmae.NESTED):
            continue
        if prefix is not None:
            stacks[prefix][key.removeprefix(prefix)] = value
        elif key in ("encoder.cls_tokens.weight", "encoder.pos_encoder.scale"):
            own[NAMES[key]] = value.squeeze(0) if value.ndim else value  # one token, one number
        else:
            own[NAMES.get(key, key)] = value
    for prefix, entries in stacks.items():
        own |= {f"{STACKS[prefix]}{key}": value for key, value in residual.released_to_own(entries, HEADS).items()}
    return own


def _shape_of(own: Mapping[str, Tensor], seconds: float) -> SummaryConfig:
    """The configuration that entries of :func:`_own_entries` tell, for a window of ``seconds``.

    Raises
    ------
    WeightsError
        The entries that tell it are not there.
    """
    needed = ("in_adapter.weight", "summary.feed_forward.0.weight")
    missing = [key for key in needed if key not in own]
    if missing:
        raise WeightsError(f"no entries {', '.join(missing)}: this is no summary autoencoder")
    for key in needed:
        if own[key].ndim != 2:
            raise WeightsError(f"{key} is of shape {tuple(own[key].shape)}: a matrix is expected")
    dim, latent_dim = own["in_adapter.weight"].shape
    layers = {
        stack: 1 + max((int(m[1]) for m in (re.match(rf"{stack}\.layers\.(\d+)\.", k) for k in own) if m), default=0)
        for stack in ("summary", "denoiser")
    }
    if dim % HEADS:
        raise WeightsError(f"in_adapter.weight has {dim} rows, which {HEADS} heads cannot share")
    return SummaryConfig(
        dim=dim,
        latent_dim=latent_dim,
        latent_frames=round(seconds * FRAME_RATE),
        summary_layers=layers["summary"],
        denoiser_layers=layers["denoiser"],
        heads=HEADS,
        hidden=own["summary.feed_forward.0.weight"].shape[0],
    )


@checked
def load_published(
    name: str = "pecmae-4s",
    *,
    weights: Path | str | None = None,
    codec: Codec | None = None,
    device: str | torch.device = "auto",
    fetch: bool = False,
) -> SummaryAutoencoder:
    """A released summary autoencoder.

    Parameters
    ----------
    name : str
        A name of :data:`PUBLISHED`; it says how long the window is, which the file does not.
    weights : path, optional
        The checkpoint, or a folder that holds it; else it is looked for in the folders of ``WORKBENCH_WEIGHTS`` and
        in the download cache. One of more layers than the file of that name is taken as it is.
    codec : Codec, optional
        EnCodec at 24 kHz; by default ``load_codec("encodec")``.
    device : str or torch.device
        Where the codec and, with it, the networks are loaded.
    fetch : bool
        Download what is missing, 0.7 GB; size and licence are printed first.

    Returns
    -------
    SummaryAutoencoder

    Raises
    ------
    ParameterError
        Unknown name, or a codec that is not EnCodec at 24 kHz.
    WeightsError
        Files missing, damaged, of another layout, or with more in them than tensors and plain values.
    """
    choice("name", name, PUBLISHED)
    if not isinstance(device, (str, torch.device)):
        raise ParameterError("device", device, "text such as 'auto' or 'cpu', or a torch device")
    seconds, file, sha256 = PUBLISHED[name]
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        licence = "MIT, as its model card says"
        wanted = Wanted(name, f"{SOURCE}/{file}", None, (file,), SIZE, sha256, licence, "autoencoder")
        path = find(wanted, weights=weights, fetch=fetch)
    codec = codec or load_codec("encodec", device=device, fetch=fetch)
    if (codec.rate, codec.hop) != (24000, 320):
        raise ParameterError("codec", codec.name, "EnCodec at 24 kHz, whose latents these weights generate")
    try:
        state = encodecmae.read_checkpoint(path)
    except WeightsError as error:
        advice = "If its training saved other objects beside the weights, take them out once, where that is safe: "
        code = "torch.save(torch.load(path, weights_only=False)['state_dict'], new_path)"
        raise WeightsError(f"{error}. {advice}{code}") from error
    try:
        own = _own_entries(state)
        net = SummaryNet(_shape_of(own, seconds))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    encodecmae.fit(net, own, path=path, name=name)
    encoder = encodecmae.load_encodecmae(BACKBONE, weights=path, device=codec.device)
    return SummaryAutoencoder(net, encoder, codec, layer=-1, seconds=seconds, name=name)
