"""Read and write sparse autoencoders in the file layout of SAELens (github.com/decoderesearch/SAELens)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..core.checks import checked
from ..core.errors import ParameterError, WeightsError
from ..core.files import write_whole
from ..core.saving import write_record
from .model import SAEConfig, SparseAutoencoder

#: First release of SAELens with the layout that is written here; readers of SAELens check it.
LAYOUT = "6.0.0"
#: Newest major release of SAELens whose folders can be read.
NEWEST = 6
#: Files by which folders of other programs are recognised.
FOREIGN = {
    "ae.pt": "a file of dictionary_learning",
    "sae.safetensors": "a file of sparsify",
    "params.npz": "a file of Gemma Scope",
    "hyperparams.json": "a file of Llama Scope",
}
#: Values of ``normalize_activations`` for inputs divided by their average length (True in the first releases).
AVERAGED = ("expected_average_only_in", True)
#: Settings, in all releases, of the training, of the host model and of its data; they do not affect the computation.
SILENT = """
    act_store_device adam_beta1 adam_beta2 autocast autocast_lm aux_loss_coefficient b_dec_init_method
    cached_activations_path checkpoint_path compile_llm compile_sae context_size dataset_path dataset_trust_remote_code
    dead_feature_threshold dead_feature_window decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm
    decoder_orthogonal_init device disable_concat_sequences dtype eval_batch_size_prompts eval_every_n_wandb_logs
    exclude_special_tokens expansion_factor feature_sampling_window finetuning_method finetuning_tokens
    from_pretrained_path ghost_grads hook_head_index hook_layer hook_name hook_point hook_point_eval
    hook_point_head_index hook_point_layer init_encoder_as_decoder_transpose is_dataset_tokenized
    jumprelu_bandwidth jumprelu_init_threshold jumprelu_sparsity_loss_mode jumprelu_tanh_scale l0_coefficient
    l0_warm_up_steps l1_coefficient l1_warm_up_steps llm_compilation_mode log_activations_store_to_wandb
    log_optimizer_state_to_wandb log_to_wandb lp_norm lr lr_decay_steps lr_end lr_scheduler_name lr_warm_up_steps meta
    metadata model_batch_size model_class_name model_from_pretrained_kwargs model_kwargs model_name
    mse_loss_normalization n_batches_in_buffer n_checkpoints n_eval_batches n_restart_cycles neuronpedia neuronpedia_id
    noise noise_scale normalize_sae_decoder pre_act_loss_coefficient prepend_bos resume run_name
    sae_compilation_mode sae_lens_training_version sae_lens_version scale_sparsity_penalty_by_decoder_norm seed
    seqpos seqpos_slice sequence_separator_token store_batch_size_prompts streaming tokens_per_buffer
    train_batch_size_tokens training_tokens use_cached_activations use_ghost_grads use_sparse_activations verbose
    wandb_entity wandb_id wandb_log_frequency wandb_project
"""
#: Settings that affect the computation and are supported here.
UNDERSTOOD = (
    *("architecture", "d_in", "d_sae", "k", "activation_fn", "activation_fn_str", "activation_fn_kwargs"),
    *("apply_b_dec_to_input", "normalize_activations", "reshape_activations", "finetuning_scaling_factor"),
    "rescale_acts_by_decoder_norm",
)
#: Tensors of each supported architecture, in addition to W_enc, W_dec and b_dec.
BIASES = {
    "topk": ("b_enc",),
    "standard": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}


@checked
def save_saelens(sae: SparseAutoencoder, folder: str | Path) -> Path:
    """Write ``cfg.json`` and ``sae_weights.safetensors`` as ``sae_lens.SAE.load_from_disk`` expects them.

    TopK is written as their "topk", JumpReLU and BatchTopK as their "jumprelu", as SAELens itself does. The training
    configuration is stored in the metadata, so that :func:`load_saelens` restores it.

    Returns
    -------
    Path
        The folder.
    """
    if not isinstance(sae, SparseAutoencoder):
        raise ParameterError("sae", type(sae).__name__, "a SparseAutoencoder")
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
    write_record(folder / "sae_weights.safetensors", weights, {})
    write_whole(folder / "cfg.json", json.dumps(config, indent=1).encode())
    return folder


@checked
def load_saelens(folder: str | Path) -> SparseAutoencoder:
    """Read a folder that SAELens, up to release series 6, or :func:`save_saelens` wrote.

    The supported architectures are "topk", "jumprelu", "standard" (a ReLU, read as a top-k that keeps all latents) and
    "gated". A gated autoencoder is read as a JumpReLU, because its gate has the same directions as its magnitude and
    therefore opens where the magnitude exceeds a threshold. Before 6.0 the k of a top-k, also of "standard", was in
    ``activation_fn_kwargs``.

    Raises
    ------
    WeightsError
        If files are missing or damaged, the release is newer, the architecture or activation function is not supported,
        inputs are normalised at run time, settings or tensors are unknown (they are named), or shapes or values
        contradict each other.
    """
    folder = Path(folder)
    config, weights = _read(folder)

    def refuse(what: str) -> NoReturn:
        raise WeightsError(f"{folder}: {what}")

    architecture, k = _form(config, refuse)
    used = {"W_enc", "W_dec", "b_dec", *BIASES[architecture]}
    _simplify(config, weights, refuse)
    for words, names in (("no tensor", used - set(weights)), ("unknown tensors", set(weights) - used)):
        if names:
            refuse(f"{words} {', '.join(sorted(names))} for architecture {architecture!r}")
    shape = tuple(weights["W_dec"].shape)
    if len(shape) != 2:
        refuse(f"W_dec has shape {shape}, expected (d_sae, d_in)")
    sizes = tuple(config.get(name) or size for name, size in zip(("d_sae", "d_in"), shape, strict=True))
    wanted = dict.fromkeys(used, sizes[:1]) | {"W_enc": sizes[::-1], "W_dec": sizes, "b_dec": sizes[1:]}
    for name, tensor in sorted(weights.items()):
        if tuple(tensor.shape) != wanted[name]:
            refuse(f"{name} has shape {tuple(tensor.shape)}, expected {wanted[name]} of d_sae, d_in = {sizes}")
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            refuse(f"{name} holds values that are not finite numbers ({tensor.dtype})")
    weights = {name: tensor.float() for name, tensor in weights.items()}
    encoder, decoder, bias = weights["W_enc"].T.contiguous(), weights["W_dec"], weights["b_dec"]
    encoder_bias, threshold = weights.get("b_enc"), weights.get("threshold")
    if architecture == "gated":  # x w + b_gate > 0 where x w e^r + b_mag > b_mag - b_gate e^r
        scale = weights["r_mag"].exp()
        encoder, encoder_bias = encoder * scale[:, None], weights["b_mag"]
        threshold = encoder_bias - weights["b_gate"] * scale
    if config.get("rescale_acts_by_decoder_norm"):  # activations are in units of decoder lengths: scale the weights
        norm = decoder.norm(dim=1).clamp_min(1e-8)
        encoder, encoder_bias, decoder = encoder * norm[:, None], encoder_bias * norm, decoder / norm[:, None]
    if not config.get("apply_b_dec_to_input", True):  # here b_dec is always subtracted, so it is added back
        encoder_bias = encoder_bias + encoder @ bias
    if "finetuning_scaling_factor" in config:
        decoder = decoder * config["finetuning_scaling_factor"][:, None]
    fields = {"auxk": 0.0} | _own(config, refuse)
    k = fields.get("k", sizes[0]) if k is None else k
    activation = "topk" if threshold is None else "jumprelu"
    if threshold is not None and fields.get("activation") == "batchtopk":  # the two differ in training alone
        activation = "batchtopk"
    for name, value in (("k", k), ("activation", activation)):
        if fields.get(name, value) != value:
            refuse(f"{name}={value!r} in cfg.json, but {fields[name]!r} in what this package wrote into its metadata")
    try:
        form = SAEConfig(**fields | {"dim": sizes[1], "latents": sizes[0], "k": k, "activation": activation})
    except (ParameterError, TypeError) as error:
        refuse(str(error))
    return SparseAutoencoder(
        form, encoder=encoder, encoder_bias=encoder_bias, decoder=decoder, bias=bias, threshold=threshold
    )


def _read(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "sae_weights.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        other = sorted({path.name for path in folder.glob("*")} & set(FOREIGN))
        hint = "; ".join(f"{name} is {FOREIGN[name]}, which cannot be read" for name in other)
        raise WeightsError(f"{folder}: not a SAELens folder ({hint or error})") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{folder}: not a SAELens folder (cfg.json holds a {type(config).__name__}, not settings)")
    return config, weights


def _form(config: dict, refuse: Callable[[str], NoReturn]) -> tuple[str, int | None]:
    """Return architecture and k (None if not a top-k); raise an error for unsupported settings."""
    meta = config.get("metadata") or config.get("meta") or {}
    version = str(config.get("sae_lens_version") or (meta.get("sae_lens_version") if isinstance(meta, dict) else ""))
    if (series := re.match(r"v?(\d+)\.", version)) and int(series[1]) > NEWEST:
        refuse(f"written by SAELens {version}; up to series {NEWEST} can be read")
    unknown = sorted(name for name in set(config) - set(SILENT.split()) - set(UNDERSTOOD) if config[name] is not None)
    if unknown:
        refuse(f"unknown settings {', '.join(unknown)}: what they would change is not known here")
    architecture = config.get("architecture") or "standard"
    normalised = config.get("normalize_activations") or "none"
    if architecture not in list(BIASES) or normalised != "none":
        reason = "; its factor is not in the folder, fold it in and save again" if normalised in AVERAGED else ""
        refuse(
            f"architecture {architecture!r} with normalize_activations={normalised!r}{reason}; only topk, jumprelu, "
            "gated and standard without normalisation can be read"
        )
    if config.get("reshape_activations", "none") not in ("none", "hook_z", None):  # hook_z: heads side by side
        refuse(f"reshape_activations={config['reshape_activations']!r} is not known here")
    arguments = config.get("activation_fn_kwargs") or {}
    if not isinstance(arguments, dict):
        refuse(f"activation_fn_kwargs={arguments!r} are no settings by name")
    activation = config.get("activation_fn_str") or config.get("activation_fn")
    activation = activation or ("topk" if architecture == "topk" or "k" in arguments else "relu")
    ks = [where["k"] for where in (config, arguments) if where.get("k") is not None]
    plain = activation == "topk" if architecture == "topk" else activation == "relu"
    if set(arguments) - {"k"} or not (plain or (architecture, activation) in (("standard", "topk"), ("topk", "relu"))):
        refuse(f"activation function {activation!r} with {arguments} cannot be held by architecture {architecture!r}")
    if architecture != "topk" and activation != "topk":
        if ks or config.get("rescale_acts_by_decoder_norm"):
            name = "k" if ks else "rescale_acts_by_decoder_norm"
            refuse(f"{name} is given, but architecture {architecture!r} has none")
        return architecture, None
    if not ks or len(set(map(repr, ks))) > 1 or isinstance(ks[0], bool) or not isinstance(ks[0], int):
        refuse(f"k, the number of latents that topk keeps, is {ks or 'not given'}; expected one whole number")
    return architecture, ks[0]


def _simplify(config: dict, weights: dict[str, Tensor], refuse: Callable[[str], NoReturn]) -> None:
    """Rename tensors of older releases, and move the finetuning factor from the weights to ``config``."""
    if "log_threshold" in weights:  # in checkpoints of a training
        weights["threshold"] = weights.pop("log_threshold").exp()
    factors = [weights.pop(n) for n in ("scaling_factor", "finetuning_scaling_factor") if n in weights]
    flag = config.pop("finetuning_scaling_factor", False)
    wanted = tuple(weights["W_dec"].shape[:1]) if "W_dec" in weights else ()
    if flag and len(factors) != 1:
        refuse("finetuning_scaling_factor is set, but there is no such tensor (or two)")
    for factor in factors:
        if tuple(factor.shape) != wanted or not factor.isfinite().all():
            refuse(f"finetuning_scaling_factor of shape {tuple(factor.shape)}, expected {wanted} finite numbers")
        if flag:
            config["finetuning_scaling_factor"] = factor.float()
        elif not torch.allclose(factor.float(), torch.ones(wanted)):
            refuse("the weights have a finetuning_scaling_factor, but the setting of that name is not set")


def _own(config: dict, refuse: Callable[[str], NoReturn]) -> dict[str, Any]:
    """Return the fields of the training configuration, if this package wrote the folder."""
    meta = config.get("metadata")
    own = (meta.get("workbench") if isinstance(meta, dict) else None) or {}
    if not isinstance(own, dict):
        refuse(f"metadata.workbench={own!r} are no fields by name")
    unknown = sorted(set(own) - set(SAEConfig.__dataclass_fields__))
    if unknown:
        refuse(f"fields {', '.join(unknown)} of another version of this package")
    return own
