"""L-MAC: a decoder that turns a classifier's feature maps into the mask of what the decision is made of.

Paissan, Ravanelli, Subakan: "Listenable maps for audio classifiers" (ICML 2024, arXiv 2403.13086). For a clip with the
log magnitudes X = log(1 + |STFT|) the decoder gives a mask M in [0, 1] from the classifier's feature maps. M X and
(1 - M) X, with the phase of the clip, are turned into sound and classified again. With yhat, the classifier's own
decision for the clip, the loss is

    l_in CE(f(M X), yhat) - l_out CE(f((1 - M) X), yhat) + l_1 mean M + l_tv TV(M),

so what the mask keeps must be enough for the decision, and what it leaves must not be. Only the decoder is trained.
A mask of ones, which leaves silence, does well in both of the first two terms; l_1 alone keeps masks from that.

In epochs of fine-tuning, at the end, clips for which the cosine of X and M X is at least .6 have in place of the last
two terms the binary cross-entropy of M with the bins that are at least .35 of the loudest, so that masks sound better.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked
from ..core.errors import ParameterError
from ..core.fingerprints import fingerprint
from ..core.fitting import RATES, Config, seeded, settle, train
from ..core.progress import Progress
from ..core.splits import Split
from ..core.warn import warn
from .classifiers import Classifier
from .imitation import BATCH, Interpreter, Seen, agreement, batches, prepared
from .spectra import Spectra

#: Largest number of frequency rows of the decoder; higher maps are averaged to so many.
ROWS = 16
#: Epochs without a higher fidelity after which the learning rate is halved.
PATIENCE = 3
#: Mean masks outside of this range keep all, or nothing, of every clip.
USEFUL = (0.01, 0.99)


@dataclass(frozen=True)
class LMACConfig(Config):
    """Configuration of L-MAC: weights of the loss, guidance, decoder and training.

    The weights and the guidance are those of the authors' program, and so is the training of the preset "paper".
    """

    PRESETS: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "paper": {
            "epochs": 200,
            "batch": 16,
            "learning_rate": 2e-4,
            "halve_after": 100,
            "weight_decay": 2e-6,
            "width": 256,
        }
    }

    kept: float = 4.0
    """Weight l_in of the cross-entropy of the classifier's decision when it hears what the mask keeps."""
    rest: float = 0.2
    """Weight l_out of the cross-entropy, which is to be large, when it hears what the mask leaves."""
    sparsity: float = 6.4
    """Weight l_1 of the mean of the mask. The authors give .4, but their program adds up this term over the batch of
    16 clips, where the others are means."""
    variation: float = 0.0
    """Weight l_tv of the total variation: half the sum of squared differences between neighbouring bins."""
    finetuning: int = 0
    """Number of epochs with guidance after the others."""
    guidance: float = 4.0
    """Weight of the binary cross-entropy of the mask with the loud bins, in epochs of fine-tuning."""
    loud: float = 0.35
    """Share of a clip's largest log magnitude from which a bin is loud."""
    alike: float = 0.6
    """Cosine of X and M X from which a clip is guided."""
    width: int = 64
    """Number of channels of the decoder."""
    epochs: int = 20
    """Number of passes over the training clips before those of fine-tuning."""
    batch: int = 8
    """Largest number of clips per step. After few steps all masks are still about the same: on small sets take small
    batches, so that there are hundreds."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    weight_decay: float = 0.0
    """Weight of the squared weights in Adam."""
    halve_after: int = 10
    """Number of epochs after which the learning rate is halved whenever the fidelity has not grown for 3 epochs."""

    def __post_init__(self):
        weights = ("kept", "rest", "sparsity", "variation", "guidance", "weight_decay", "finetuning", "halve_after")
        shares = dict.fromkeys(("loud", "alike"), {"least": 0, "most": 1})
        counts = dict.fromkeys(("width", "epochs", "batch"), {"least": 1})
        settle(self, **dict.fromkeys(weights, {"least": 0}), **shares, **counts, learning_rate=RATES)


class MaskDecoder(nn.Module):
    """Network from feature maps (B, channels_i, frequency_i, time_i) to the logits of a mask (B, F, T).

    A U-Net's way up: from the deepest map to the shallowest, each is normalised, convolved and added to what came from
    below, which is stretched to its size. Then time is doubled, with a convolution each, up to T / 2 or more. At last a
    linear layer maps the rows of all channels to the F bins of a frame, since rows are mostly mel bands, which lie
    elsewhere than bins.

    Parameters
    ----------
    shapes : sequence of (channels, frequency, time)
        Shapes of the maps of one clip, shallow first.
    bins, frames : int
        Numbers of bins F and of frames T.
    width : int
        Number of channels.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]], bins: int, frames: int, *, width: int):
        super().__init__()
        self.frames, self.rows = frames, min(ROWS, max(rows for _, rows, _ in shapes))
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 3, padding=1))
            for channels, _, _ in shapes
        )
        self.joins = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in shapes)
        self.time, doublings = shapes[0][2], 0
        while self.time << doublings < frames / 2:
            doublings += 1
        self.doubled = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(doublings))
        self.normalised = nn.BatchNorm2d(width)
        self.out = nn.Conv1d(width * self.rows, bins, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        y = None
        for lateral, join, values in reversed(list(zip(self.laterals, self.joins, maps, strict=True))):
            if values.shape[2] > self.rows:
                values = F.adaptive_avg_pool2d(values, (self.rows, values.shape[3]))
            own = lateral(values)
            y = join((own if y is None else own + _stretched(y, own.shape[2:])).relu()).relu()
        for convolution in self.doubled:
            y = convolution(_stretched(y, (y.shape[2], 2 * y.shape[3]))).relu()
        y = self.normalised(_stretched(y, (self.rows, self.frames)))
        return self.out(y.flatten(1, 2))


def _stretched(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class LMAC(Interpreter):
    """A trained L-MAC decoder; made by :func:`fit_lmac`.

    Its scores (:meth:`scores`) are the classifier's own for the sound of what the masks keep, so that their agreement
    with the classifier's decisions is the fidelity to the input, Fid-In. Attributes are those of
    :class:`~.imitation.Interpreter`; the history has the terms of the loss over the training clips, without weights,
    and over the validation clips the fidelity, the mean mask and the loss.
    """

    CONFIG = LMACConfig
    TERMS = ("kept_loss", "rest_loss", "sparsity", "variation", "guidance")

    def __init__(self, classifier: Classifier, spectra: Spectra, samples: int, config: LMACConfig):
        frames = spectra.frames(samples)
        decoder = MaskDecoder(classifier.shapes(samples), spectra.bins, frames, width=config.width)
        super().__init__(classifier, spectra, config, decoder, frames, {"samples": samples})

    def __repr__(self) -> str:
        return f"LMAC({self.classifier.name}; masks of {self.spectra.bins} x {self.frames} bins)"

    @torch.no_grad()
    def masks(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the masks of clips, by the classifier's decisions for them.

        Parameters
        ----------
        x : array_like (N, samples)
            Waveforms at the classifier's rate.

        Returns
        -------
        Tensor, float32 (N, F, T) in [0, 1]
            Masks on log(1 + |STFT|). Other classes than the decision cannot be explained.

        Raises
        ------
        ParameterError
            If clips have another length than in training, or are not finite.
        """
        parts = self._clips(x).split(BATCH)
        return torch.cat([self.module(self.classifier.tapped(part)[1]).sigmoid().cpu() for part in parts])

    def weights(self) -> list[float]:
        """Return the weights of the terms of the loss."""
        config = self.config
        return [config.kept, -config.rest, config.sparsity, config.variation, config.guidance]

    def terms(self, x: Tensor, maps: list[Tensor], decided: Tensor, *, guided: bool) -> tuple[list[Tensor], ...]:
        """Return the five terms of the loss, means over clips without weights, the scores (B, C) of M X, and M.

        ``decided`` is the class of each clip, int64 (B,). In epochs of fine-tuning ``guided`` is true: clips with a
        cosine of X and M X of at least ``alike`` then count in the guidance, and no longer in sparsity and variation.
        """
        log_magnitude, phase = self.spectra.analyse(x)
        logits = self.module(maps)
        mask = logits.sigmoid()
        parts = torch.cat([mask, 1 - mask]) * log_magnitude.repeat(2, 1, 1)
        heard = self.spectra.invert(parts, phase.repeat(2, 1, 1), x.shape[1])
        kept, rest = self.classifier.module(heard).float().chunk(2)
        count = mask[0].numel()
        held = guided & (_cosine(log_magnitude, parts[: len(x)]) >= self.config.alike)
        loud = log_magnitude >= self.config.loud * log_magnitude.amax((1, 2), keepdim=True)
        guidance = F.binary_cross_entropy_with_logits(logits, loud.float(), reduction="none").sum((1, 2)) / count
        each = [self._decision_loss(kept, decided), self._decision_loss(rest, decided)]
        each += [mask.mean((1, 2)) * ~held, total_variation(mask) * ~held, guidance * held]
        return [values.mean() for values in each], kept, mask

    def _decision_loss(self, scores: Tensor, decided: Tensor) -> Tensor:
        """Return the cross-entropy of decisions (B,) with scores (B, C); with several labels, of that label alone."""
        if self.classifier.multilabel:
            return -F.logsigmoid(scores.gather(1, decided[:, None])[:, 0])
        return F.cross_entropy(scores, decided, reduction="none")

    def _scores(self, x: Tensor) -> Tensor:
        x = x.to(self.classifier.device)
        masks = self.module(self.classifier.tapped(x)[1]).sigmoid()
        return self.classifier.module(self.spectra.masked(x, masks)).float()


def total_variation(masks: Tensor) -> Tensor:
    """Return half the sum of the squared differences between neighbouring bins of masks (B, F, T), (B,)."""
    return (masks.diff(dim=1).square().sum((1, 2)) + masks.diff(dim=2).square().sum((1, 2))) / 2


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine between the spectrograms (B, F, T) of each clip, (B,); 0 for silence."""
    return F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)


@checked
def fit_lmac(
    classifier: Classifier,
    x: ArrayLike | Tensor,
    split: Split,
    *,
    spectra: Spectra | None = None,
    config: LMACConfig | str = "default",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    progress: Progress | bool | None = True,
    **fields: object,
) -> LMAC:
    """Train L-MAC on a frozen classifier's feature maps; the epoch with the lowest validation loss is kept.

    The decision that a mask explains is the classifier's class with the largest score. For a multilabel classifier it
    is that label alone, with the binary cross-entropy. The gradient goes through the classifier and its front end, so
    the classifier must be differentiable. With epochs of fine-tuning one of them is kept.

    Everything is computed on the classifier's device. Arguments and errors are those of :func:`~.l2i.fit_l2i`, without
    a dictionary. ``config`` is an :class:`LMACConfig`, "default" or "paper", and ``fields`` replace its fields.

    Raises
    ------
    ParameterError
        As :func:`~.l2i.fit_l2i`, or if no gradient, or one that is not finite, comes through the classifier.

    Warns
    -----
    UserWarning
        If the masks keep everything or nothing.
    """
    config = LMACConfig.named(config, **fields)
    x, split, spectra = prepared(classifier, x, split, spectra)
    with seeded(seed, classifier.device):
        fitted = LMAC(classifier, spectra, x.shape[1], config)
        seen, decoder, rng = Seen(classifier, spectra, x), fitted.module.requires_grad_(), np.random.default_rng(seed)
        adam = torch.optim.Adam(decoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        halving = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, "max", factor=0.5, patience=PATIENCE)
        weights, now = torch.tensor(fitted.weights(), device=classifier.device), 0

        def heard(batch: np.ndarray, *, guided: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            """Return the terms of the loss, the scores of clips and of what their masks keep, and the masks."""
            logits, maps, _ = seen(batch)
            clips = x[torch.from_numpy(batch)].to(classifier.device)
            terms, kept, masks = fitted.terms(clips, maps, logits.argmax(1), guided=guided)
            return torch.stack(terms), logits, kept, masks

        def epoch(i: int) -> dict[str, float]:
            nonlocal now
            now, sums = i, np.zeros(len(LMAC.TERMS))
            for batch in batches(rng.permutation(split.train), config.batch):
                try:
                    terms, _, kept, _ = heard(batch, guided=i >= config.epochs)
                    if not kept.requires_grad:
                        raise RuntimeError("no gradient reaches its input")
                    adam.zero_grad()
                    (terms * weights).sum().backward()
                except RuntimeError as error:
                    raise classifier.unfit(x, error) from error
                if not all(values.grad.isfinite().all() for values in decoder.parameters()):
                    raise ParameterError(f"gradient of {classifier.name}", "nan or inf", "finite")
                adam.step()
                sums += terms.detach().cpu().numpy() * len(batch)
            means = sums / len(split.train)
            loss = {"loss": float(means @ fitted.weights())}
            return loss | dict(zip(LMAC.TERMS, means.tolist(), strict=True))

        @torch.no_grad()
        def validate() -> dict[str, float]:
            sums = np.zeros(3)
            for batch in batches(split.valid, BATCH):
                terms, logits, kept, masks = heard(batch, guided=now >= config.epochs)
                same = agreement(logits, kept, multilabel=classifier.multilabel).mean()
                sums += [float(value) * len(batch) for value in (same, masks.mean(), (terms * weights).sum())]
            fidelity, mean, loss = (sums / len(split.valid)).tolist()
            if now >= config.halve_after:
                halving.step(fidelity)
            return {"fidelity": fidelity, "mask_mean": mean, "valid_loss": loss}

        def identity() -> str:
            parts = ("LMAC", config, spectra, seed, classifier.fingerprint, split.train.tolist(), split.valid.tolist())
            return fingerprint(*parts, weights={"x": x, **decoder.state_dict()})

        fitted.history, chosen = train(
            epoch,
            config.epochs + config.finetuning,
            module=decoder,
            optimizer=adam,
            validate=validate,
            score=lambda row: (row["epoch"] >= config.epochs, -row["valid_loss"]),
            learning_rate=config.learning_rate,
            name="LMAC",
            state={"halving": halving},
            generators=[rng],
            checkpoint=checkpoint,
            identity=identity,
            progress=progress,
        )
    decoder.requires_grad_(False)
    mean = fitted.history["mask_mean"].iloc[chosen]
    if not USEFUL[0] <= mean <= USEFUL[1]:
        share, change = ("nothing", "lower") if mean < USEFUL[0] else ("everything", "raise")
        warn(f"the masks keep {share} ({mean:.1%} of every bin on average): {change} sparsity={config.sparsity:g}")
    return fitted
