"""Train ``mini-mel``, or measure it: ``python -m workbench.sonify.mini_mel.training --help``.

Windows of sound are drawn and encoded once (frames of ``mini``, latents of the mel codec). A step is the paper's:
frames to summary, one in ten summaries zeroed, latents made noisy at a sigma uniform in [0, 1], mean squared error of v
over all frames. The exponential mean of the weights is what is kept. Held-out clips (see
:mod:`workbench.encoders.mini.evaluation`) are never decoded.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from ...codecs.mel import MelCodec
from ...core.checks import checked, number, whole
from ...core.errors import ParameterError, WeightsError
from ...core.saving import write_checkpoint, write_tensors
from ...encoders.mini import load_mini
from ...encoders.mini.evaluation import read_table
from ..autoencoder import SummaryAutoencoder, load_autoencoder, save_autoencoder
from ..diffusion import diffuse
from ..network import SummaryConfig, SummaryNet
from .sounds import Corpus, draw_window, encode_windows

CONFIG = SummaryConfig(dim=256, latent_dim=80, latent_frames=125, heads=8, hidden=1024, patch=5, skip=True)
LAYER, SECONDS = "2", 2.0
WINDOWS = 20000
BATCH = 32
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 1e-3, 0.05, 300
UNCONDITIONAL = 0.1
AVERAGED = 0.999


def velocity_loss(net: SummaryNet, frames: Tensor, latents: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean squared error of v for one batch: frames (B, T, D), latents (B, T', D'), on the network's device.

    The sigmas of a batch are spread evenly over [0, 1]: each is uniform, their mean loss varies less.
    """
    rows, device = len(frames), frames.device
    sigma = torch.from_numpy((rng.permutation(rows) + rng.uniform(size=rows)) / rows).float()
    noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    kept = torch.from_numpy((rng.uniform(size=rows) >= UNCONDITIONAL).astype(np.float32))
    sigma, noise, kept = (drawn.to(device) for drawn in (sigma, noise, kept))
    x, v = diffuse(latents, noise, sigma)
    # on CPUs the fused attention's backward pass in bfloat16 is slower than plain matrix products
    plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16), plain:
        z = net.summarise(frames, torch.full((rows,), frames.shape[1], device=device))
        guess = net(x, sigma, z * kept[:, None])
    return (guess - v).square().mean()


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine to zero."""
    return LEARNING_RATE * min(step / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


@dataclass
class State:
    """What a checkpoint holds: everything that training needs to go on."""

    net: SummaryNet
    mean: SummaryNet
    optimiser: torch.optim.Optimizer
    seed: int
    steps: int
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def new(cls, config: SummaryConfig, seed: int, steps: int, device: str = "cpu") -> State:
        """Seeded random weights; matrices decay, vectors do not."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = SummaryNet(config).to(device)
        parameters = list(net.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        mean = copy.deepcopy(net).requires_grad_(False)
        return cls(net, mean, torch.optim.AdamW(groups, betas=(0.9, 0.95)), seed, steps)

    def save(self, path: Path) -> None:
        """Write a checkpoint, completely or not at all."""
        modules = {key: getattr(self, key).state_dict() for key in ("net", "mean", "optimiser")}
        numbers = {key: getattr(self, key) for key in ("seed", "steps", "step", "seconds")}
        write_checkpoint(path, {**modules, **numbers})

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same run; raises ParameterError for one of another seed or schedule."""
        try:
            saved = torch.load(path, weights_only=True, map_location="cpu")
            missing = [
                key for key in ("net", "mean", "optimiser", "seed", "steps", "step", "seconds") if key not in saved
            ]
        except Exception as error:  # torch raises a dozen kinds; the reader needs one message
            reason = (str(error).splitlines() or [""])[0]
            raise WeightsError(f"{path}: no checkpoint of this training ({type(error).__name__}: {reason})") from error
        if missing:
            raise WeightsError(f"{path}: no checkpoint of this training (without {', '.join(missing)})")
        for key in ("seed", "steps"):
            if saved[key] != getattr(self, key):
                raise ParameterError(
                    key, getattr(self, key), f"{saved[key]} to go on from {path}, or that file removed"
                )
        for key in ("net", "mean", "optimiser"):
            getattr(self, key).load_state_dict(saved[key])
        self.step, self.seconds = saved["step"], saved["seconds"]


def advance(state: State, windows: dict[str, Tensor], batch: int) -> float:
    """One step; every random draw depends on the seed and the step's number alone. Returns the loss."""
    rng = np.random.default_rng((state.seed, 2, state.step))
    chosen = torch.from_numpy(rng.integers(len(windows["frames"]), size=batch))
    device = state.net.token.device
    frames, latents = (windows[name][chosen].to(device).float() for name in ("frames", "latents"))
    loss = velocity_loss(state.net, frames, latents, rng)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step + 1, state.steps)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.net.parameters(), 1.0)
    state.optimiser.step()
    state.step += 1
    keep = min(AVERAGED, state.step / (state.step + 9))  # a short memory while the weights still run
    with torch.no_grad():
        for slow, fast in zip(state.mean.parameters(), state.net.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)
    return float(loss.detach())


def prepare(root: Path, encoder, codec, seed: int, path: Path) -> dict[str, Tensor]:
    """The encoded windows of a seed: read from ``path`` when it is there, else drawn, encoded and written to it."""
    from safetensors.torch import load_file

    if not path.is_file():
        corpus = Corpus.read(root, read_table(root))
        drawn = (draw_window(corpus, np.random.default_rng((seed, 1, i)), SECONDS) for i in range(WINDOWS))
        write_tensors(path, encode_windows(drawn, WINDOWS, encoder, encoder.select(LAYER)[0], codec))
    return load_file(str(path))


@checked
def train(
    root: Path, *, seed: int, steps: int, out: Path, device: str = "cpu", every: float = 120.0, command: str = ""
) -> None:
    """Train and write the weights; goes on from ``out`` + ".checkpoint" when that is there.

    Parameters
    ----------
    root : Path
        Audio folder with ``manifest.csv``.
    seed, steps : int
        Every random draw of a step depends on these and the step's number alone, so a resumed run goes on as
        the undisturbed one would have.
    out : Path
        Where the float16 safetensors go, at every checkpoint and at the end; ``out`` + ".windows" are the encoded
        sounds.
    device : str, optional
        Where the network is trained; sounds are drawn and encoded on the CPU.
    every : float, optional
        Seconds between checkpoints.
    command : str, optional
        Kept in the weights' metadata.

    Raises
    ------
    ParameterError
        The checkpoint there is of another seed or number of steps.
    """
    whole("steps", steps, least=1)
    number("every", every, least=0)
    encoder, codec = load_mini(), MelCodec()
    checkpoint = out.with_name(out.name + ".checkpoint")
    state = State.new(CONFIG, seed, steps, device)
    if checkpoint.is_file():
        state.load(checkpoint)
    windows = prepare(root, encoder, codec, seed, out.with_name(out.name + ".windows"))
    saved, started, mean = time.monotonic(), time.monotonic() - state.seconds, None
    with tqdm(total=steps, initial=state.step, desc="mini-mel", mininterval=10) as bar:
        while state.step < steps:
            loss = advance(state, windows, BATCH)
            if not math.isfinite(loss):
                raise ParameterError("steps", steps, f"another schedule: the loss is {loss} at step {state.step}")
            mean = loss if mean is None else 0.98 * mean + 0.02 * loss
            bar.update()
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if state.step == steps or time.monotonic() - saved > every:
                saved = time.monotonic()
                state.seconds = saved - started
                state.save(checkpoint)
                note = {"command": command, "steps": f"{state.step}/{steps}", "seconds": f"{state.seconds:.0f}"}
                autoencoder = SummaryAutoencoder(
                    copy.deepcopy(state.mean), encoder, codec, layer=LAYER, seconds=SECONDS, name="mini-mel"
                )
                save_autoencoder(autoencoder, out, note=note)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workbench.sonify.mini_mel.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="audio folder with manifest.csv")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--out", type=Path, help="weights to write; beside them .checkpoint, from which a run goes on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="print the table for these weights instead")
    parser.add_argument(
        "--judge", type=Path, metavar="FILE", help="with --evaluate: mn04_as checkpoint, a second judge"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.evaluate is not None:
        from .evaluation import evaluate

        print(evaluate(options.data, load_autoencoder(options.evaluate), judge=options.judge).round(3).to_string())
        return
    if options.out is None:
        parser.error("training needs --out")
    command = (  # file names only: where they lay on the machine of the run is nobody's business
        f"python -m workbench.sonify.mini_mel.training --data DATA --seed {options.seed} --steps {options.steps} "
        f"--out {options.out.name}"
    )
    train(options.data, seed=options.seed, steps=options.steps, out=options.out, device=options.device, command=command)


if __name__ == "__main__":
    main()
