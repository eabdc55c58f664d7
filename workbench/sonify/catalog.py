"""Names of the summary autoencoders that can be loaded, and checks of such names."""

from __future__ import annotations

import os

from ..core.checks import checked, close_match
from ..core.errors import ParameterError

BUILT_IN = ("mini-mel",)
"""Autoencoders that are part of the package."""
PUBLISHED = {
    "pecmae-4s": (
        4.0,
        "diffusion_encodec_transformer_4L8Lclsx1_punc01_330ksteps.ckpt",
        "c47ac4a56d1a6624c3bb874251f36368a1f30e6c061f8d336f5ee8d9086dab7f",
    ),
    "pecmae-1s": (
        1.0,
        "diffusion_encodec_transformer_4L8Lclsx1_punc01_250ksteps.ckpt",
        "cb15289b43b9c713936b3b376cabbdd30626c9be1cfa01d57fac852e97ca739c",
    ),
    "pecmae-10s": (
        10.0,
        "diffusion-10s-2L8L-jamendofma-285k.ckpt",
        "39452d90fadc11098f0baecb15895fd87745c6b89d3d3ce2df11c56d3d35bb2c",
    ),
}
"""For each released autoencoder the window in seconds, the file, and its SHA-256. Despite "4L" in two file names, the
sizes of the files show that they have two summary layers."""


def known_autoencoders(name: str | os.PathLike) -> str:
    """Return the text that an error for an unknown name lists: all known names, and a similar one if there is one."""
    known = (*BUILT_IN, *PUBLISHED)
    return f"{', '.join(known)}, or a file of a released one or of save_autoencoder{close_match(name, known)}"


@checked
def check_autoencoder_name(text: str, argument: str = "name_or_path") -> None:
    """Check a name for :func:`load_autoencoder` before anything is loaded.

    Raises
    ------
    ParameterError
        If it is neither a known name nor an existing file; the message names the argument and suggests a similar name.
    """
    if text not in (*BUILT_IN, *PUBLISHED) and not os.path.isfile(os.path.expanduser(text)):
        raise ParameterError(argument, text, known_autoencoders(text))
