"""A warning names the line that used the package, from whatever depth it comes."""

import inspect
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from workbench import audio
from workbench.core.fitting import NothingLearntWarning
from workbench.core.warn import warn

FAR_TOO_LOUD = (np.full(1000, 8.0, np.float32), 8000)


def line() -> int:
    return inspect.currentframe().f_back.f_lineno


@pytest.mark.parametrize(
    "call",
    [
        lambda: warn("here"),
        lambda: audio.load(FAR_TOO_LOUD),
        lambda: audio.load(FAR_TOO_LOUD, rate=4000, mono="keep"),
    ],
)
def test_the_line_is_that_of_the_caller(call):
    with pytest.warns(UserWarning) as seen:
        call()
    assert {one.filename for one in seen} == {__file__} and seen[0].lineno == call.__code__.co_firstlineno


def test_what_calls_the_package_again_is_not_its_line():
    def report(change):  # as a user's own encoder or task might
        audio.load(FAR_TOO_LOUD)

    with pytest.warns(UserWarning) as seen:
        audio.load(FAR_TOO_LOUD, report=report)
        expected = line() - 1
    assert [(one.filename, one.lineno) for one in seen] == [(__file__, expected)]


def test_a_thread_that_the_package_started_has_no_line():
    with warnings.catch_warnings(record=True) as seen, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        pool.submit(audio.load, FAR_TOO_LOUD).result()
    assert [one.filename for one in seen] == ["workbench"]


def test_the_same_is_said_once_a_line():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for text in ("a", "a", "b"):
            warn(text, NothingLearntWarning)
    assert [str(one.message) for one in seen] == ["a", "b"] and seen[0].category is NothingLearntWarning
