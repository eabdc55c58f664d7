"""The transformer of EnCodecMAE and of the summary autoencoder, with ResiDual streams and a shared feed-forward block.

Two streams a = b = x run through the layers (Xie et al., "ResiDual: transformer with dual residual connections",
2023, arXiv 2304.14802). In each layer

    u = attention(a),     a = norm1(a + u),  b = b + u
    f = feed_forward(a),  a = norm2(a + f),  b = b + f

and the output of the stack is a + final_norm(b). All layers share one feed-forward block; the attention has no biases.
This is the form of EnCodecMAE (Pepino, Riera and Ferrer, 2023, arXiv 2309.07391).

Released weights repeat the shared block for each layer and interleave the heads: channel d * heads + h is channel d of
head h. :func:`released_to_own` keeps one copy of the block and puts the channels of a head side by side, as is usual.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.checks import whole
from ..core.errors import ParameterError, WeightsError

#: Largest number of frames, layers, heads or channels that is accepted.
MOST = 10**6
#: Largest table of positions that is cached, in numbers (8 MB).
_KEPT = 2**21
RELEASED = re.compile(r"^encoder_layers\.(\d+)\.(att_layer|ff_layer|norm1|norm2)\.(.+)$")


def sinusoidal(frames: int, dim: int, *, device: str | torch.device = "cpu") -> Tensor:
    """Return sinusoidal position embeddings of positions 0 ... frames - 1, with base 10000.

    Parameters
    ----------
    frames : int
        Number of positions T.
    dim : int
        Length D of an embedding, even.
    device : str or torch.device

    Returns
    -------
    Tensor, float32 (T, D)
        Column 2i is sin(t / 10000^(2i / D)), column 2i + 1 is the cosine of the same angle (Vaswani et al. 2017).

    Raises
    ------
    ParameterError
        A size is not a whole number or is out of range, or ``dim`` is odd.
    """
    whole("frames", frames, least=0, most=MOST)
    if whole("dim", dim, least=2, most=MOST) % 2:
        raise ParameterError("dim", dim, "even")
    if frames * dim > _KEPT:
        return _positions(frames, dim).to(device)
    place = torch.empty(0, device=device).device  # "cuda" is the current GPU
    return _kept_positions(frames, dim, place).clone()


def _positions(frames: int, dim: int) -> Tensor:
    speed = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(frames, dtype=torch.float64)[:, None] * speed
    return torch.stack((angle.sin(), angle.cos()), 2).flatten(1).float()


@lru_cache(maxsize=8)
def _kept_positions(frames: int, dim: int, device: torch.device) -> Tensor:
    """Cache positions on the device: a sampler needs them at every step, and a copy to a GPU would synchronise."""
    with torch.inference_mode(False):  # tensors made in inference mode could not be used in training
        return _positions(frames, dim).to(device)


class _Attention(nn.Module):
    """Multi-head self-attention without biases, with heads ``dim // heads`` wide also if this leaves a remainder."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        inner = heads * (dim // heads)
        self.heads = heads
        self.wq = nn.Linear(dim, inner, bias=False)
        self.wk = nn.Linear(dim, inner, bias=False)
        self.wv = nn.Linear(dim, inner, bias=False)
        self.wo = nn.Linear(inner, dim, bias=False)

    def forward(self, a: Tensor, keys: Tensor | None) -> Tensor:
        q, k, v = (w(a).unflatten(2, (self.heads, -1)).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        return self.wo(F.scaled_dot_product_attention(q, k, v, attn_mask=keys).transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """The parts of a layer that are not shared: attention and two norms."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attention = _Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, a: Tensor, b: Tensor, keys: Tensor | None, feed_forward: nn.Module) -> tuple[Tensor, Tensor]:
        u = self.attention(a, keys)
        a, b = self.norm1(a + u), b + u
        f = feed_forward(a)
        return self.norm2(a + f), b + f


class ResiDualStack(nn.Module):
    """Transformer layers with ResiDual streams and one shared feed-forward block; see the module.

    Parameters
    ----------
    dim : int
        Length D of a frame.
    layers, heads : int
        Number of layers, and of attention heads.
    hidden : int
        Width of the feed-forward block (linear, ReLU, linear).

    Raises
    ------
    ParameterError
        A size is below 1, or there are more heads than ``dim``.

    Notes
    -----
    Matrices are initialised Xavier-uniform from torch's global generator (seed it, or load weights), biases to 0.
    """

    def __init__(self, dim: int, layers: int, heads: int, hidden: int = 4096):
        super().__init__()
        for name, value in (("dim", dim), ("layers", layers), ("heads", heads), ("hidden", hidden)):
            whole(name, value, least=1, most=MOST)
        if heads > dim:
            raise ParameterError("heads", heads, f"at most dim={dim}")
        self.dim, self.heads = dim, heads
        self.layers = nn.ModuleList(_Layer(dim, heads) for _ in range(layers))
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.final_norm = nn.LayerNorm(dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Return the output of the stack.

        Parameters
        ----------
        x : Tensor, float32 (B, T, D)
        padding : Tensor, bool (B, T), optional
            True where a frame is padding, to which no frame attends. Each row needs at least one frame that is not.

        Returns
        -------
        Tensor (B, T, D)
            Padded frames are undefined.
        """
        return self.outputs(x, padding)[-1]

    def outputs(
        self,
        x: Tensor,
        padding: Tensor | None = None,
        *,
        depth: int | None = None,
        changes: Mapping[int, Callable[[Tensor], Tensor]] | None = None,
    ) -> list[Tensor]:
        """Return the frames of layers 0 to depth, each (B, T, D).

        Layer 0 is ``x``; layer i is stream a after layer i, from which the attention of layer i + 1 reads; the last
        layer is the output of the stack, a + final_norm(b), as the model's authors use it. (The final norm is applied
        in the last layer only, as with the hidden states of transformers, because it was not trained on the stream b of
        earlier layers.)

        Parameters
        ----------
        x, padding
            As for :meth:`forward`.
        depth : int, optional
            Last layer to return; later ones are not computed. By default all layers are returned.
        changes : mapping of int to callable, optional
            Functions of the frames of some layers, which go on with what these return. Stream b is not changed, so that
            what a layer has added to it still reaches the last layer.
        """
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[2] != self.dim or not x.is_floating_point():
            raise ParameterError("x", _told(x), f"frames (B, T, {self.dim}) of floats")
        if padding is not None and not (
            isinstance(padding, Tensor) and padding.dtype == torch.bool and padding.shape == x.shape[:2]
        ):
            raise ParameterError("padding", _told(padding), f"bool of shape {tuple(x.shape[:2])}, as the frames")
        if depth is not None:
            whole("depth", depth, least=0, most=len(self.layers))
        keys = None if padding is None else ~padding[:, None, None]
        changes, last = changes or {}, len(self.layers)
        a = b = x
        if 0 in changes:
            a = changes[0](x)
        outputs = [a]
        for i, layer in enumerate(self.layers[:depth], 1):
            a, b = layer(a, b, keys, self.feed_forward)
            if i in changes and i < last:
                a = changes[i](a)
            outputs.append(a)
        if len(outputs) == last + 1:
            outputs[-1] = a + self.final_norm(b)
            if last in changes:
                outputs[-1] = changes[last](outputs[-1])
        return outputs


def _told(value: object) -> object:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return tuple(value.shape) if value.is_floating_point() else f"{value.dtype} {tuple(value.shape)}"


def _deinterleave(weight: Tensor, heads: int, *, columns: bool = False) -> Tensor:
    """Put the channels of a head side by side: row h * d + j is row j * heads + h of the released matrix.

    Parameters
    ----------
    weight : Tensor (heads * d, inputs), or (outputs, heads * d) with ``columns``
    heads : int
    columns : bool
        Whether the columns are the channels, as in the output matrix of an attention.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    whole("heads", heads, least=1)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ParameterError("weight", _told(weight), "a matrix")
    if columns:
        return _deinterleave(weight.T, heads).T
    if weight.shape[0] % heads:
        raise ParameterError("weight", tuple(weight.shape), f"a matrix whose channels {heads} heads share evenly")
    return weight.unflatten(0, (-1, heads)).transpose(0, 1).flatten(0, 1)


def released_to_own(state: Mapping[str, Tensor], heads: int) -> dict[str, Tensor]:
    """Convert the entries of a released stack to the names and the channel order of :class:`ResiDualStack`.

    Parameters
    ----------
    state : mapping of str to Tensor
        ``encoder_layers.<i>.att_layer.<wq, wk, wv, wo>.weight``, ``.ff_layer.<0, 2>.<weight, bias>`` repeated for
        every i, ``.norm1``, ``.norm2``, and ``final_norm``, without the prefix of the stack.
    heads : int

    Returns
    -------
    dict of str to Tensor
        Entries for ``load_state_dict``, which finds those that are missing, unexpected or of another shape; entries
        with other names keep them.

    Raises
    ------
    WeightsError
        The feed-forward blocks of two layers differ, so that the checkpoint is of another model.
    """
    whole("heads", heads, least=1)
    if not isinstance(state, Mapping):
        raise ParameterError("state", _told(state), "a mapping of names to tensors")
    own: dict[str, Tensor] = {}
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ParameterError("state", {key: _told(value)}, "a mapping of names to tensors")
        match = RELEASED.match(key)
        if match is None:
            own[key] = value
            continue
        layer, part, rest = match.groups()
        if part == "ff_layer":
            name = f"feed_forward.{rest}"
            if name in own and not torch.equal(own[name], value):
                raise WeightsError(f"{key} differs from that of the layer before: the layers share no feed-forward")
            own[name] = value
        elif part == "att_layer":
            fits = value.ndim == 2 and value.shape[rest.startswith("wo.")] % heads == 0
            ordered = _deinterleave(value, heads, columns=rest.startswith("wo.")) if fits else value
            own[f"layers.{layer}.attention.{rest}"] = ordered.contiguous()
        else:
            own[f"layers.{layer}.{part}.{rest}"] = value
    return own
