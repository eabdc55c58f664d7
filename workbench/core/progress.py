"""How a long job says how far it is."""

from __future__ import annotations

from collections.abc import Callable

from .errors import ParameterError

Progress = Callable[[int, int], None]
"""Called with what is done and how much there is in all."""


def reporter(progress: Progress | bool | None, name: str | None = None) -> Progress:
    """What a job calls to say how far it is: a bar (True), nothing (False, None), or the caller's own function.

    ``name`` stands before the bar.

    Raises
    ------
    ParameterError
        ``progress`` is something else.
    """
    if callable(progress):
        return progress
    if progress is None or progress is False:
        return lambda done, total: None
    if progress is not True:
        raise ParameterError("progress", progress, "True, False, None or a function of (done, total)")
    from tqdm.auto import tqdm

    bars = []

    def show(done: int, total: int) -> None:
        bar = bars[0] if bars else tqdm(total=total, leave=False, desc=name)
        bars[:] = [bar]
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show
