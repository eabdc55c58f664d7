"""Encode sound to one vector and decode it again: :class:`SummaryAutoencoder`.

A frozen encoder computes frames, a transformer summarises them in one vector z, a diffusion decoder samples latents of
a frozen codec given z, and the codec decodes these to sound (Alonso-Jimenez et al., "Leveraging pre-trained
autoencoders for interpretable prototype learning of music audio", 2024, arXiv 2402.09318). The same z with another seed
gives another sound: what all samples share is determined by z, what differs was added by the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..audio import SILENT, at_level, resample
from ..codecs import Codec
from ..core.checks import checked, number, numbers, several, whole
from ..core.checks import seed as checked_seed
from ..core.errors import AudioError, ParameterError
from ..core.fingerprints import fingerprint
from ..core.progress import progress_bar
from ..encoders import Encoder, encodecmae, extract
from .diffusion import check_sampling, draw_noise, sample
from .network import SummaryNet
from .window import WindowNet

SHORTEST = 0.1
"""Shortest sound in seconds; the summary of a shorter one would mostly describe padding."""
ROWS = 32
"""Number of rows that pass through the network together."""


class SummaryAutoencoder:
    """Autoencoder from the frames of a frozen encoder to one vector, and from it to the sound of a frozen codec.

    Parameters
    ----------
    net : SummaryNet or WindowNet
        Network that summarises and denoises.
    encoder : Encoder
        Frozen encoder.
    codec : Codec
        Frozen codec.
    layer : str or int
        Layer of the encoder whose frames are summarised.
    seconds : float
        Length of the window: the longest input, and the length of decoded sounds.
    level : float, optional
        Root-mean-square level in dB relative to full scale to which every window is scaled before it is encoded, so
        that summaries do not depend on the level. With None, as in the paper, windows are not scaled.
    name : str, optional
        Name of the autoencoder.

    Attributes
    ----------
    encoder, codec, layer, seconds, level, name
        As given, with ``layer`` as a name.
    dim : int
        Number of dimensions D of a summary.
    samples : int
        Length of a decoded sound in samples at ``codec.rate``.
    fingerprint : str
        Hash of everything that affects a summary or a decoded sound.
    device : torch.device
        Device of the encoder and the network.

    Raises
    ------
    ParameterError
        If the encoder's layer or the codec does not match the network.
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
        """Summarise frames of the encoder.

        Parameters
        ----------
        frames : Tensor, float32 (B, T, D)
            Frames of ``encoder`` at ``layer``.
        lengths : Tensor, int64 (B,)
            Number of frames of each row without padding, at least 1; for a WindowNet, that of a whole window.
        source : str, optional
            Fingerprint of the encoder that computed the frames, if it is known; that of another encoder is an error.

        Returns
        -------
        Tensor, float32 (B, D)
            Summaries.

        Raises
        ------
        ParameterError
            If the frames are of another encoder, shapes or lengths are wrong, or frames are not finite.
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
        windows: Literal["padded", "unpadded", "paper"] = "padded",
        progress: bool = False,
    ) -> Tensor:
        """Compute the summaries of sounds.

        Parameters
        ----------
        waveforms : list of arrays (samples,), or one array or tensor (B, samples)
            Sounds of 0.1 s to ``seconds`` each. Cut longer ones with :func:`workbench.audio.segment`.
        rate : int
            Sampling rate in Hz; it must be the encoder's.
        windows : {"padded", "unpadded", "paper"}
            What becomes of sounds shorter than ``seconds``. "padded" zero-pads them, which ``mini-mel`` requires.
            "unpadded" encodes them at their own length, as the latest code of the authors of arXiv 2402.09318 does:
            EnCodecMAE leaves a last frame of fewer than 320 samples out of its attention. "paper" also encodes them at
            their own length, but attends to all frames, as the code of the paper's results does, which gives the length
            of a whole window with every sound.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        Tensor, float32 (B, D)
            Summaries.

        Raises
        ------
        ParameterError
            If the rate is not the encoder's, there is no sound, or the network requires "padded".
        AudioError
            If a sound is too short, too long, not finite or not (samples,); the clip is named.
        """
        if rate != self.encoder.rate:
            raise ParameterError("rate", rate, f"{self.encoder.rate} Hz, that of {self.encoder.name}: resample first")
        if windows != "padded" and isinstance(self.net, WindowNet):
            raise ParameterError("windows", windows, f"'padded': {self.name} reads whole windows")
        if isinstance(waveforms, (str, bytes, dict)) or not hasattr(waveforms, "__len__"):
            raise ParameterError("waveforms", type(waveforms).__name__, "a list of waveforms, or an array (B, samples)")
        if not len(waveforms):
            raise ParameterError("waveforms", "an empty batch", "at least one waveform")
        size = round(self.seconds * rate)
        clips = [self._clip(x, i, size, windows == "padded") for i, x in enumerate(waveforms)]
        options = {"layers": self._position, "pooling": None, "dtype": "float32", "progress": progress}
        frames: list[Tensor] = [torch.empty(0)] * len(clips)
        encoder = self._unmasked if windows == "paper" else self.encoder
        for i, (array,) in extract(encoder, clips, names=[str(i) for i in range(len(clips))], **options):
            frames[i] = torch.from_numpy(array)
        lengths = torch.tensor([len(rows) for rows in frames])
        return self.summarise(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)

    @cached_property
    def _unmasked(self) -> Encoder:
        """The encoder, attending to all frames of a clip; it is the encoder itself if that is what it does."""
        return self.encoder.unmasked() if isinstance(self.encoder, encodecmae.EncodecMAE) else self.encoder

    def _clip(self, x: np.ndarray | Tensor, index: int, size: int, pad: bool) -> np.ndarray:
        x = numbers(f"waveforms[{index}]", x, finite=False, empty=True).astype(np.float32)
        seconds = x.shape[-1] / self.encoder.rate if x.ndim else 0.0
        if seconds < SHORTEST:
            raise AudioError(f"clip {index}", f"lasts {seconds:.3f} s; a summary needs {SHORTEST:g} s")
        if x.shape[-1] > size:
            raise AudioError(f"clip {index}", f"lasts {seconds:.3f} s; the window is {self.seconds:g} s: segment it")
        if x.ndim != 1:
            return x  # the encoder raises an error that names the clip
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
        """Sample latents of the codec given summaries.

        Parameters
        ----------
        z : Tensor or ndarray (B, D)
            Summaries.
        steps, guidance
            Number of steps S and guidance g, as in :func:`~workbench.sonify.diffusion.sample`.
        seed : int or sequence of int
            Seed of the initial noise, one for all rows or one per row. The result for a row does not depend on its
            batch.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        Tensor, float32 (B, T, codec.dim)
            Latent frames.

        Raises
        ------
        ParameterError
            If summaries have another D, are not finite or empty, the number of seeds is wrong, or ``steps`` is below 1.
        """
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
        with progress_bar(total=len(z) * steps, desc=self.name, unit="step", disable=not progress, leave=False) as bar:
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
        """Decode summaries to sound, (B, samples) float32 at ``codec.rate``.

        The sound is not clipped and may exceed full scale. Other parameters and errors are those of :meth:`generate`.

        Parameters
        ----------
        draws : int
            Number of sounds that are sampled per row; the one whose own summary is nearest to the row is returned. The
            first has the given seed, the others have seeds derived from it.
        levels : array-like (B,), optional
            Level in dB of each row's sound, such as :attr:`.Summaries.levels`, if summaries do not contain the level.
            By default all sounds have the level to which windows are scaled.
        """
        whole("draws", draws, least=1)
        if levels is not None and self.level is None:
            raise ParameterError("levels", levels, f"None: the summaries of {self.name} hold the level themselves")
        levels = None if levels is None else numbers("levels", levels, ndim=1)
        if levels is not None and np.ndim(z) and len(levels) != len(z):
            raise ParameterError("levels", f"{len(levels)} numbers", f"one for each of {len(z)} summaries")
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
        wanted = np.full(len(sound), self.level) if levels is None else levels
        rows = zip(sound.cpu().numpy(), wanted, strict=True)
        return torch.from_numpy(np.stack([at_level(row, to) for row, to in rows])).to(sound.device)

    def _distance(self, sound: Tensor, z: Tensor | np.ndarray) -> Tensor:
        """Return the distance of the summary of each sound (B, samples) to z (B, D), (B,)."""
        heard = [resample(row, self.codec.rate, self.encoder.rate) for row in sound.cpu().numpy()]
        longest = round(self.seconds * self.encoder.rate)
        again = self.embed([row[:longest] for row in heard], self.encoder.rate)
        return (again - torch.as_tensor(z, dtype=torch.float32, device=again.device)).norm(dim=1).to(sound.device)

    def reconstruct(self, waveforms, rate: int, **options) -> Tensor:
        """Encode sounds by :meth:`embed` and decode their summaries by :meth:`decode` with ``options``."""
        return self.decode(self.embed(waveforms, rate), **options)


def _check_finite(name: str, x: Tensor) -> None:
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ParameterError(name, f"{bad} of {x.numel()} numbers that are NaN or infinite", "finite")
