"""Psi and Theta, the two networks of Listen to Interpret (Parekh et al., arXiv 2202.11479).

Psi maps a classifier's feature maps for a clip to H (K, T) >= 0, the activations of a dictionary's components over
time. Theta pools H over time to z (K,) and imitates the classifier's scores by a linear map without bias, so that each
class score is a sum over components.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.checks import checked, choice, whole
from ..core.errors import ParameterError

#: Number of frequency rows of the outputs of all branches of Psi.
ROWS = 4
#: Number of channels of the paper's trunk.
WIDTH = 256


class Psi(nn.Module):
    """Network from feature maps (B, channels_i, frequency_i, time_i) to activations H (B, K, T).

    For the three maps of the paper's VGG it is the paper's network (2,866,200 weights at K = 100). Maps of other
    networks all go through the same kind of branch: a 3 x 3 convolution at the size of the map, then average pooling to
    4 rows and the number of time steps at the start of the trunk.

    Parameters
    ----------
    shapes : sequence of (channels, frequency, time)
        Shapes of the maps of one clip, shallow first.
    components : int
        Number of components K.
    frames : int
        Number of frames T.
    width : int
        Number of channels of the trunk, twice that of a branch; it must be 256 with maps like the paper's.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]], components: int, frames: int, *, width: int = WIDTH):
        super().__init__()
        for name, value in (("components", components), ("frames", frames)):
            whole(name, value, least=1)
        whole("width", width, least=2)
        if isinstance(shapes, str) or not isinstance(shapes, Sequence) or not len(shapes):
            raise ParameterError("shapes", shapes, "at least one map (channels, frequency, time)")
        for i, shape in enumerate(shapes):
            if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 3:
                raise ParameterError(f"shapes[{i}]", shape, "(channels, frequency, time)")
            for size in shape:
                whole(f"shapes[{i}]", size, least=1)
        self.shapes, self.frames = [tuple(map(int, shape)) for shape in shapes], frames
        self.time = self.shapes[-1][2]
        if not _like_the_paper(self.shapes):
            # the trunk ends with 16 times as many steps, which should be at most about half the number of frames
            self.time = min(self.time, -(-frames // 32))
        if _like_the_paper(self.shapes):
            made = zip((_Shallow, _Middle, _Deep), self.shapes, strict=True)
            branches = [kind(channels) for kind, (channels, _, _) in made]
            joined = sum(branch.channels for branch in branches)
            if width != WIDTH:
                raise ParameterError("width", width, f"{WIDTH} with the maps of the paper's network")
        else:
            branches, joined = [_Branch(shape[0], width // 2) for shape in self.shapes], width // 2 * len(self.shapes)
        self.branches = nn.ModuleList(branches)
        self.join = nn.Conv2d(joined, width, 3, padding=1)
        self.collapse = nn.Conv2d(width, width, (ROWS, 1))
        self.smooth = nn.Conv1d(width, components, 5, padding=2)
        self.out = nn.Conv1d(components, components, 5, padding=2)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the feature maps of a batch to H, float32 (B, K, T), 0 or more."""
        got = [tuple(values.shape[1:]) for values in maps]
        if [(c, f) for c, f, _ in got] != [(c, f) for c, f, _ in self.shapes]:
            raise ParameterError("maps", got, f"{self.shapes}, as Psi was made for")
        y = torch.cat([branch(values, 4 * self.time) for branch, values in zip(self.branches, maps, strict=True)], 1)
        y = self.join(_stretched(y)).relu()
        y = self.collapse(_stretched(y)).relu()
        y = F.interpolate(y, (1, self.frames), mode="bilinear", align_corners=True).squeeze(2)
        return self.out(self.smooth(y).relu()).relu()


def _like_the_paper(shapes: Sequence[tuple[int, int, int]]) -> bool:
    """Return whether these are maps of three stages, each half as long and half as high as the one before."""
    if len(shapes) != 3 or [f for _, f, _ in shapes] != [4 * ROWS, 2 * ROWS, ROWS]:
        return False
    (_, _, a), (_, _, b), (_, _, c) = shapes
    return b // 2 == c and a // 2 == b


def _stretched(x: Tensor) -> Tensor:
    """Interpolate to twice the length in time."""
    return F.interpolate(x, (x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=True)


class _Deep(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.channels = WIDTH // 2
        self.convolution = nn.Conv2d(channels, self.channels, 3, padding=1)

    def forward(self, x: Tensor, time: int) -> Tensor:
        return _stretched(self.convolution(_stretched(x)).relu())


class _Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: int) -> Tensor:
        return F.avg_pool2d(self.convolution(_stretched(x[..., : time // 2])).relu(), (2, 1))


class _Shallow(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(channels, channels, (4, 1), stride=(4, 1))

    def forward(self, x: Tensor, time: int) -> Tensor:
        return self.convolution(x[..., :time]).relu()


class _Branch(nn.Module):
    def __init__(self, channels: int, out: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor, time: int) -> Tensor:
        y = self.convolution(x).relu()
        y = F.adaptive_avg_pool2d(y, (min(ROWS, y.shape[2]), min(time, y.shape[3])))
        return F.interpolate(y, (ROWS, time), mode="bilinear", align_corners=True)


class Theta(nn.Module):
    """Network from H (B, K, T) to scores (B, C), which are linear in the pooled activations z (B, K).

    Parameters
    ----------
    components, classes : int
        Number of components K and of classes C.
    pooling : {"attention", "max"}
        "attention" is a weighted mean over time, with the gated attention of Ilse et al. (2018, arXiv 1802.04712) and a
        ReLU in place of its sigmoid, as in the code of arXiv 2202.11479. "max" is the maximum over time.
    dropout : float
        Dropout probability, applied to the input of the attention, or to z with "max"; by default .4 and .3.
    """

    @checked
    def __init__(self, components: int, classes: int, *, pooling: str = "attention", dropout: float | None = None):
        super().__init__()
        choice("pooling", pooling, ("attention", "max"))
        for name, value in (("components", components), ("classes", classes)):
            whole(name, value, least=1)
        if dropout is not None and not 0 <= dropout < 1:
            raise ParameterError("dropout", dropout, "from 0 to below 1")
        self.pooling = pooling
        self.dropout = nn.Dropout((0.4 if pooling == "attention" else 0.3) if dropout is None else dropout)
        if pooling == "attention":
            self.what, self.gate = nn.Linear(components, 256), nn.Linear(components, 256)
            self.score = nn.Linear(256, 1)
        self.classes = nn.Linear(components, classes, bias=False)

    def attention(self, h: Tensor) -> Tensor:
        """Return the attention weights over time, (B, T), which sum to 1."""
        frames = self.dropout(h.mT)
        return self.score(self.what(frames).tanh() * self.gate(frames).relu()).squeeze(2).softmax(1)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        if self.pooling == "max":
            z = h.amax(2)
            return self.classes(self.dropout(z)), z
        z = torch.bmm(h, self.attention(h)[:, :, None]).squeeze(2)
        return self.classes(z), z
