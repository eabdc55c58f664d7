"""``lyra``: Google's Lyra v2, a small neural codec with a decoder that runs many times faster than real time on a CPU.

It maps 16 kHz mono to 50 frames a second of 64 numbers; encoder and residual quantiser are those of SoundStream
(Zeghidour et al. 2021, arXiv 2107.03312). The three published graphs (github.com/google/lyra, Apache-2.0) are run by
LiteRT, the optional package ``ai-edge-litert``. They process one hop of 320 samples at a time and keep state in
variables that LiteRT's ``reset_all_variables`` does not clear (in version 2.3); therefore each sound has its own
interpreter, which costs 2 ms. The sounds of a batch are processed one after the other (a second thread gains nothing).
On one core a second of sound takes 4 ms to encode and 9 ms to decode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.checks import whole
from ..core.errors import ParameterError, WeightsError
from ..core.fingerprints import fingerprint
from .interface import Codec

VERSION = 1
STAGES = 46
"""Stages of the residual quantiser, with 16 codes each, so that a stage takes 4 bits a frame."""
SHA256 = {
    "soundstream_encoder.tflite": "237da0b16226fb0a68d49551c81bebf614e42142af72764448359f68581e88f1",
    "quantizer.tflite": "841ee05989687d32d1f616a8ad1419fc7eda37599d3c05c7cf5a0d60ccf8ac5c",
    "lyragan.tflite": "50e7839cda4f30599a3a34cfaddcd9c98449b049eee884e1a74295780448ad06",
}
"""File name -> checksum of the published graphs: encoder, quantiser, decoder."""


class LyraCodec(Codec):
    """Lyra's encoder, decoder and quantiser as a codec.

    The latents are not quantised unless :meth:`quantise` is called between :meth:`encode` and :meth:`decode`. An
    incomplete last hop is zero-padded.

    Parameters
    ----------
    files : mapping of str to path
        File name of each graph, as in :data:`SHA256`, -> its path.

    Raises
    ------
    ParameterError
        The package ``ai-edge-litert`` is not installed.
    WeightsError
        A file is missing, or is not the published one.
    """

    name = "lyra"
    rate = 16000
    dim = 64
    hop = 320

    def __init__(self, files: Mapping[str, Path | str]):
        self._kind = _interpreter()
        self._graphs = {name: _checked(name, files.get(name)) for name in SHA256}
        self.fingerprint = fingerprint("lyra", VERSION, *SHA256.values())

    def encode(self, x: Tensor) -> Tensor:
        """Encode waveforms, see :meth:`Codec.encode`."""
        x = self.check_waveforms(x)
        x = torch.nn.functional.pad(x, (0, self.frames(x.shape[1]) * self.hop - x.shape[1]))
        hops = x.detach().unflatten(1, (-1, 1, self.hop)).numpy()
        return self._stream("soundstream_encoder.tflite", hops).flatten(2)

    def quantise(self, latents: Tensor, *, stages: int = STAGES) -> Tensor:
        """Return latents after residual quantisation.

        Parameters
        ----------
        latents : Tensor, float32 (B, T, 64)
        stages : int
            Number of stages, 1 to 46, of 200 bit/s each; Lyra itself uses 16 (3.2 kbit/s), 30 (6) and 46 (9.2).

        Returns
        -------
        Tensor, float32 (B, T, 64)
        """
        latents, _ = self.check_latents(latents, None)
        whole("stages", stages, least=1, most=STAGES)
        graph = self._graph("quantizer.tflite")
        encode, decode = graph.get_signature_runner("encode"), graph.get_signature_runner("decode")
        quantised = np.empty(latents.shape, np.float32)
        for index in np.ndindex(latents.shape[:2]):
            frame = latents[index].detach().numpy()[None, None]
            codes = encode(input_frames=frame, num_quantizers=np.int32(stages))["output_0"]
            quantised[index] = decode(encoding_indices=codes)["output_0"][0, 0]
        return torch.from_numpy(quantised)

    def decode(self, latents: Tensor, *, length: int | None = None, seed: int = 0) -> Tensor:
        """Decode latents, see :meth:`Codec.decode`; the result does not depend on `seed`."""
        latents, length = self.check_latents(latents, length, seed=seed)
        frames = latents.detach()[:, :, None, None].numpy()
        return self._stream("lyragan.tflite", frames).flatten(1)[:, :length]

    def _graph(self, name: str):
        """Return a new interpreter of a graph, in its initial state."""
        graph = self._kind(model_content=self._graphs[name], num_threads=1)
        graph.allocate_tensors()
        return graph

    def _stream(self, name: str, sounds: np.ndarray) -> Tensor:
        """Return a graph's output (B, T, 1, ...) for each step of each sound (B, T, ...)."""
        return torch.from_numpy(np.stack([self._run(name, steps) for steps in sounds]))

    def _run(self, name: str, steps: np.ndarray) -> np.ndarray:
        """Return a graph's output for each step of one sound, from its initial state."""
        graph = self._graph(name)
        source, result = graph.get_input_details()[0]["index"], graph.get_output_details()[0]["index"]
        outputs = []
        for step in steps:
            graph.set_tensor(source, step)
            graph.invoke()
            outputs.append(graph.get_tensor(result)[0])
        return np.stack(outputs)


def _interpreter() -> type:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        expected = 'used with the package ai-edge-litert installed: pip install "audio-workbench[lyra]"'
        raise ParameterError("name", "lyra", expected) from error
    return Interpreter


def _checked(name: str, path: Path | str | None) -> bytes:
    """Return the bytes of a graph, which must be the published ones."""
    if path is None or not Path(path).is_file():
        raise WeightsError(f"{path or name}: no such file; lyra needs {', '.join(SHA256)}")
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise WeightsError(f"{path}: not the published graph of lyra (sha256 {digest}, expected {SHA256[name]})")
    return content
