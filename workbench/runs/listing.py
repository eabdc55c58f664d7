"""What a notebook takes and which sounds it works on, as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from ..core.errors import WorkbenchError
from .meaning import SCALES, datasets_among
from .notebooks import Notebook
from .scales import settings
from .sweeps import text_table


def notebook_text(notebook: Notebook, *, width: int = 100) -> str:
    """Title, the sounds of every scale and how much they are, and all parameters; nothing is cut.

    Parameters
    ----------
    notebook : Notebook
        From :func:`find_notebooks`.
    width : int
        Characters that a line may have; what is longer goes on in the next.
    """
    lines = textwrap.wrap(f"{notebook.name}: {notebook.title}", width)
    for scale in SCALES:
        try:
            plan = settings(notebook.path, scale)
        except WorkbenchError:  # a notebook without a file of settings, or without this scale
            continue
        sounds = [_amount(name, plan) for name in datasets_among(notebook) if plan.get(name)]
        lines += textwrap.wrap(f"  {scale:<7}{'; '.join(sounds)}", width, subsequent_indent=" " * 9)
    rows = [[f"  {p.name}", repr(p.default), p.type_name, p.help] for p in notebook.parameters.values()]
    return "\n".join([*lines, text_table(["  parameter", "default", "type", ""], rows, width=width)])


def _amount(setting: str, plan: Mapping[str, object]) -> str:
    """A dataset of a scale, and how much of it there is and is taken."""
    from ..datasets import describe_dataset, load_dataset

    name = plan[setting]
    size = plan.get("size") if setting == "dataset" else plan.get(name)  # of a second set, by its own name
    try:
        about = describe_dataset(name)
        if about.access != "generated":
            chosen = f", {size:,} of them taken" if size else ""
            return f"{name}: {about.amount or 'its publisher states no number of clips'}{chosen}"
        clips = load_dataset(name, size=size)
    except WorkbenchError:  # somebody's own folder
        return str(name)
    return f"{name}: {len(clips):,} clips, {clips.table['seconds'].sum() / 3600:.2g} h, generated"
