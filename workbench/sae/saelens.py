"""Sparse autoencoders in the file layout of SAELens (github.com/decoderesearch/SAELens), both ways."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..errors import WeightsError
from .model import SAEConfig, SparseAutoencoder, write

#: First release series of SAELens whose layout this is; its readers look for it.
LAYOUT = "6.0.0"


def save_saelens(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write ``cfg.json`` and ``sae_weights.safetensors`` as ``sae_lens.SAE.load_from_disk`` expects them.

    TopK becomes their "topk", BatchTopK their "jumprelu", as they do themselves. How it was trained travels in the
    metadata, so that :func:`load_saelens` gives the same configuration back.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    weights = {"W_enc": sae.encoder.T, "b_enc": sae.encoder_bias, "W_dec": sae.decoder, "b_dec": sae.bias}
    config = {
        "architecture": "topk" if sae.threshold is None else "jumprelu",
        "d_in": sae.config.dim,
        "d_sae": sae.config.latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT, "sae_lens_training_version": None, "workbench": asdict(sae.config)},
    }
    if sae.threshold is None:
        config |= {"k": sae.config.k, "rescale_acts_by_decoder_norm": False}
    else:
        weights["threshold"] = sae.threshold
    write(folder / "sae_weights.safetensors", weights, {})
    temporary = folder / "cfg.json.tmp"
    temporary.write_text(json.dumps(config, indent=1))
    temporary.replace(folder / "cfg.json")
    return folder


def load_saelens(folder: str | Path) -> SparseAutoencoder:
    """Read a folder that SAELens wrote, or :func:`save_saelens`.

    Their "topk", "jumprelu" and "standard" (ReLU: the top-k that keeps all) can be held here.

    Raises
    ------
    WeightsError
        Files that are missing or damaged; another architecture, or inputs normalised at run time.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "cfg.json").read_text())
        weights = {name: value.float() for name, value in load_file(folder / "sae_weights.safetensors").items()}
        encoder, encoder_bias = weights["W_enc"].T.contiguous(), weights["b_enc"]
        decoder, bias = weights["W_dec"], weights["b_dec"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(f"{folder}: not a SAELens folder ({error!r})") from error
    architecture, normalised = config.get("architecture", "standard"), config.get("normalize_activations", "none")
    if architecture not in ("topk", "jumprelu", "standard") or normalised != "none":
        raise WeightsError(
            f"{folder}: architecture {architecture!r} with normalize_activations={normalised!r}; "
            "only topk, jumprelu and standard without normalisation can be read"
        )
    if config.get("rescale_acts_by_decoder_norm"):  # the code counts in decoder lengths: folded into the weights
        norm = decoder.norm(dim=1).clamp_min(1e-8)
        encoder, encoder_bias, decoder = encoder * norm[:, None], encoder_bias * norm, decoder / norm[:, None]
    if not config.get("apply_b_dec_to_input", True):  # here b_dec is always subtracted, so it is added back
        encoder_bias = encoder_bias + encoder @ bias
    latents, dim = encoder.shape
    own = config.get("metadata", {}).get("workbench") or {
        "k": config.get("k", latents),
        "activation": "batchtopk" if architecture == "jumprelu" else "topk",
        "auxk": 0.0,
    }
    return SparseAutoencoder(
        SAEConfig(**{**own, "dim": dim, "latents": latents}),
        encoder=encoder,
        encoder_bias=encoder_bias,
        decoder=decoder,
        bias=bias,
        threshold=weights["threshold"] if architecture == "jumprelu" else None,
    )
