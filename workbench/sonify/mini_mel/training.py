"""Train ``mini-mel``: ``python -m workbench.sonify.mini_mel.training --help``.

Windows of sound are drawn, brought to one level and encoded once (frames of ``mini``, latents of the mel codec); the
principal axes of the latents are fitted. A step: frames to summary, one in ten summaries zeroed, the others shaken, so
that what lies between two is a sound too; the window's components made noisy at a sigma uniform in [0, 1]; the squared
error of what is found under the noise. The exponential mean of the weights is what is kept. Held-out clips (see
:mod:`workbench.encoders.mini.held_out`) are never decoded.
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...codecs import MelCodec
from ...core.checks import checked, whole
from ...core.fitting import seeded, train
from ...core.saving import write_tensors
from ...encoders.mini import held_out, load_mini
from ...encoders.mini import training as mini_training
from ..autoencoder import SummaryAutoencoder
from ..diffusion import diffuse
from ..files import save_autoencoder
from ..window import WindowConfig, WindowNet
from .sounds import LEVEL, Corpus, draw_window, encode_windows

if TYPE_CHECKING:
    import pandas as pd

CONFIG = WindowConfig()
LAYER, SECONDS = "2", 2.0
WINDOWS = 40000
BATCH = 128
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 1e-3, 0.05, 300
UNCONDITIONAL = 0.1
SHAKEN = 0.35
"""Most noise that a summary is given in training, in units of its numbers: what lies between two is a sound too."""
MOST = 5.0
"""Largest weight of a draw by its signal-to-noise ratio."""
FITTED = 10000
"""Windows from which the statistics are fitted."""
AVERAGED = 0.9995


def _loss(net: WindowNet, frames: Tensor, x: Tensor, rng: np.random.Generator) -> Tensor:
    """Squared error of the clean components x (B, K), from frames (B, T, D) and x made noisy.

    The sigmas of a batch are spread evenly over [0, 1]: each is uniform, their mean loss varies less. A draw counts by
    its signal-to-noise ratio, at most ``MOST`` (Hang et al., "Efficient diffusion training via min-SNR weighting
    strategy", 2023), and by 1 beside, so that pure noise counts too.
    """
    rows, device = len(frames), frames.device
    sigma = torch.from_numpy((rng.permutation(rows) + rng.uniform(size=rows)) / rows).float()
    noise = torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    kept = torch.from_numpy((rng.uniform(size=rows) >= UNCONDITIONAL).astype(np.float32))
    shaken = torch.from_numpy(rng.standard_normal((rows, net.config.dim), np.float32)) * torch.from_numpy(
        rng.uniform(0, SHAKEN, (rows, 1)).astype(np.float32)
    )
    sigma, noise, kept, shaken = (drawn.to(device) for drawn in (sigma, noise, kept, shaken))
    noisy, _ = diffuse(x, noise, sigma)
    z = net.summarise(frames, torch.full((rows,), frames.shape[1], device=device))
    guess = net.clean(noisy, sigma, (z + shaken) * kept[:, None])
    alpha, beta = torch.cos(sigma * math.pi / 2), torch.sin(sigma * math.pi / 2)
    weight = 1 + (alpha / beta.clamp(min=1e-3)).square().clamp(max=MOST)
    return (weight[:, None] * (guess - x).square()).mean()


def _prepare(root: Path, encoder, codec, seed: int, path: Path) -> dict[str, Tensor]:
    """The encoded windows of a seed: read from ``path`` when it is there, else drawn, encoded and written to it."""
    from safetensors.torch import load_file

    if not path.is_file():
        corpus = Corpus.read(root, held_out.read_table(root))
        drawn = (draw_window(corpus, np.random.default_rng((seed, 1, i)), SECONDS) for i in range(WINDOWS))
        write_tensors(path, encode_windows(drawn, WINDOWS, encoder, encoder.select(LAYER)[0], codec))
    return load_file(str(path))


@checked
def _train_mini_mel(
    root: Path, *, seed: int, steps: int, out: Path, device: str = "cpu", every: int = 200, command: str = ""
) -> pd.DataFrame:
    """Train and write the weights; goes on from ``out`` + ".checkpoint" when that is there.

    Parameters
    ----------
    root : Path
        Audio folder with ``manifest.csv``.
    seed, steps : int
        Every random draw of a step depends on these and the step's number alone, so a resumed run goes on as
        the undisturbed one would have.
    out : Path
        Where the float16 safetensors go at the end; ``out`` + ".windows" are the encoded sounds.
    device : str
        Where the network is trained; sounds are drawn and encoded on the CPU.
    every : int
        Steps from one checkpoint to the next.
    command : str
        Kept in the weights' metadata.

    Returns
    -------
    pandas.DataFrame
        A row every so many steps: the mean loss, and seconds.

    Raises
    ------
    ParameterError
        The checkpoint there is of another seed or number of steps.
    """
    whole("steps", steps, least=1)
    whole("every", every, least=1)
    encoder, codec = load_mini(), MelCodec()
    windows = _prepare(root, encoder, codec, seed, out.with_name(out.name + ".windows"))
    history, mean = _fit(windows, CONFIG, seed=seed, steps=steps, every=every, device=device, checkpoint=out)
    note = {"command": command, "steps": str(steps), "seconds": f"{history['seconds'].sum():.0f}"}
    autoencoder = SummaryAutoencoder(mean, encoder, codec, layer=LAYER, seconds=SECONDS, level=LEVEL, name="mini-mel")
    save_autoencoder(autoencoder, out, note=note)
    return history


def _fit(
    windows: dict[str, Tensor],
    config: WindowConfig,
    *,
    seed: int,
    steps: int,
    every: int,
    device: str,
    checkpoint: Path | None = None,
) -> tuple[pd.DataFrame, WindowNet]:
    """History, and the exponential mean of the weights of all steps."""
    with seeded(seed, torch.device("cpu")):
        net = WindowNet(config)
        some = torch.from_numpy(np.random.default_rng((seed, 3)).permutation(len(windows["frames"]))[:FITTED].copy())
        net.fit(windows["frames"][some].float(), windows["latents"][some].float(), seed)
        with torch.no_grad():
            components = torch.cat([net.components(part.float()) for part in windows["latents"].split(1024)])
        net = net.to(device)
        mean = copy.deepcopy(net).requires_grad_(False)
        adam = mini_training.optimizer(net, (0.9, 0.95), WEIGHT_DECAY)

        def advance(step: int) -> dict[str, float]:
            rng = np.random.default_rng((seed, 2, step))
            chosen = torch.from_numpy(rng.integers(len(windows["frames"]), size=BATCH))
            frames, x = (tensor[chosen].to(device).float() for tensor in (windows["frames"], components))
            loss = _loss(net, frames, x, rng)
            mini_training.step_once(
                adam, net, loss, mini_training.learning_rate(step + 1, steps, highest=LEARNING_RATE, warm_up=WARM_UP)
            )
            keep = min(AVERAGED, (step + 1) / (step + 10))  # a short memory while the weights still run
            with torch.no_grad():
                for slow, fast in zip(mean.parameters(), net.parameters(), strict=True):
                    slow.lerp_(fast, 1 - keep)
            return {"loss": float(loss.detach())}

        rounds, count = mini_training.in_rounds(advance, steps, every)
        fixed = {"module": net, "optimizer": adam, "state": {"mean": mean}, "name": "mini-mel", "unit": "round"}
        if checkpoint is not None:
            identity = f"mini-mel, seed {seed}, {steps} steps, {every} a round"
            path = checkpoint.with_name(checkpoint.name + ".checkpoint")
            fixed |= {"checkpoint": path, "identity": lambda: identity}
        history, _ = train(rounds, count, learning_rate=LEARNING_RATE, **fixed)
    return history, mean.eval()


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.sonify.mini_mel.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30000)
    parser.add_argument(
        "--out", type=Path, required=True, help="weights to write; beside them .checkpoint, from which a run goes on"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    command = (  # file names only: where they lay on the machine of the run is nobody's business
        f"python -m workbench.sonify.mini_mel.training --data DATA --seed {options.seed} --steps {options.steps} "
        f"--out {options.out.name}"
    )
    fixed = {"seed": options.seed, "steps": options.steps, "device": options.device}
    _train_mini_mel(options.data, out=options.out, command=command, **fixed)


if __name__ == "__main__":
    main()
