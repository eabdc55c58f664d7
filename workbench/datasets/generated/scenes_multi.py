"""Generated set `scenes_multi`: one to four overlapping classes over a background, every stem, onset and level known.

The multi-label version of `scenes`, modelled on SONYC-UST (Cartwright et al., DCASE 2020): the label is the set of
classes ("bark+siren"), each class is also a 0/1 factor, and all clips of a site are on one side of a split. Events,
backgrounds, recipes and stems are those of `scenes`; only the table differs.
"""

from __future__ import annotations

import pandas as pd

from .portable_math import Draws
from .recipes import check_size
from .scenes import (
    CLASSES,
    HEAD,
    LEVELS,
    RATE,
    SECONDS,
    SNRS,
    TAIL,
    VERSION,
    described,
    draw_event,
    draw_scene,
    place,
    recipe,
    render,
    site_in_turn,
    stems,
)
from .voices import shuffled

__all__ = ["CLASSES", "FACTORS", "RATE", "SECONDS", "VERSION", "recipe", "render", "stems", "table"]

FACTORS = ("tags", *CLASSES, "count", "overlap", "site", "background", "snr")

# Numbers of classes of five scenes, which have each of the twelve classes once.
_COUNTS = (1, 2, 2, 3, 4)


def table(size: int, *, seed: int = 0) -> pd.DataFrame:
    """Return the table of the first `size` scenes of the endless set with this seed.

    Every five scenes have each class once and each fold once; one of the five has one class, two have two, one has
    three and one has four.

    Parameters
    ----------
    size : int
        Number of scenes, at least 1.
    seed : int
        Another seed gives other scenes of the same twenty sites.

    Returns
    -------
    pandas.DataFrame
        Columns id, label (the classes in alphabetical order, joined by "+"), split, fold, group (the site) and the
        last three columns as in `scenes.table`; and the `FACTORS`: tags (equal to label), a 0/1 column for each class,
        count (number of classes), overlap (fraction of the time with any event in which several sound), site,
        background, and snr (level of the loudest event relative to the background, dB).

    Raises
    ------
    ParameterError
        If `size` or `seed` is not a whole number in range.
    """
    check_size(size, seed)
    return pd.DataFrame([_row(index, int(seed)) for index in range(size)])


def _row(index: int, seed: int) -> dict:
    block, slot = divmod(index, len(_COUNTS))
    counts = [_COUNTS[i] for i in shuffled(seed, 600, block, len(_COUNTS))]
    first = sum(counts[:slot])
    order = shuffled(seed, 601, block, len(CLASSES))[first : first + counts[slot]]
    site = site_in_turn(seed, 602, index)
    rng = Draws((seed, 700, index))
    snr = round(rng.between(*SNRS), 2)
    events = [
        draw_event(CLASSES[number], site, rng, seconds=(1.0, 3.5), level=round(rng.between(*LEVELS), 2))
        for number in sorted(order)
    ]
    made = draw_scene(tuple(events), index, seed, snr, rng)
    tags = "+".join(made.labels)
    row = place(f"scenes_multi-{seed}-{index:06d}", tags, site) | {name: int(name in made.labels) for name in CLASSES}
    row |= {"tags": tags, "count": len(events), "overlap": made.overlap} | described(made)
    return {name: row[name] for name in (*HEAD, *FACTORS, *TAIL)}
