"""Columns as label, group and fold, and the question where one looks like a group and is not named."""

import warnings

import numpy as np
import pytest

from workbench import audio
from workbench.core.errors import DatasetError, ParameterError
from workbench.datasets import load_dataset

RATE = 8000


def csv(folder, columns, names=None):
    """Twelve sounds and a csv about them; columns are lists of twelve."""
    rng = np.random.default_rng(0)
    names = [f"{i:02d}" for i in range(12)] if names is None else names
    lines = [",".join(["path", *columns])]
    for i, name in enumerate(names):
        audio.write(folder / f"{name}.wav", 0.1 * rng.standard_normal(800).astype(np.float32), RATE)
        lines.append(",".join([f"{name}.wav", *(str(values[i]) for values in columns.values())]))
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "clips.csv")


LABELS = ["a", "b"] * 6
SPEAKERS = ["s1", "s1", "s2", "s2", "s3", "s3"] * 2


def test_a_column_of_speakers_is_asked_about_until_it_is_named(tmp_path):
    path = csv(tmp_path, {"label": LABELS, "Speaker ID": SPEAKERS})
    with pytest.warns(UserWarning, match=r"'Speaker ID' \(3 values\) looks like .* share, and no group is named"):
        clips = load_dataset(path)
    split = clips.split(seed=0)
    spoken = clips.table["Speaker ID"].to_numpy()
    assert set(spoken[split.train]) & set(spoken[split.test]), "which is why it is asked"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clips = load_dataset(path, group="Speaker ID")
        load_dataset(path, group="")
    split = clips.split(seed=0)
    assert not set(spoken[split.train]) & set(spoken[split.test]) and set(clips.groups()) == {"s1", "s2", "s3"}


@pytest.mark.parametrize(
    "columns",
    [
        {"label": LABELS, "group": SPEAKERS},
        {"label": LABELS, "pitch": range(12)},
        {"label": LABELS, "speaker": [f"s{i}" for i in range(12)]},  # each clip alone
        {"label": LABELS, "speaker": [{"a": "x", "b": "y"}[label] for label in LABELS]},  # the label in other words
        {"label": LABELS, "loudspeakers_hz": SPEAKERS},
    ],
)
def test_nothing_is_asked_where_nothing_is_to_be_asked(tmp_path, columns):
    path = csv(tmp_path, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset(path)


def test_beginnings_of_file_names_are_asked_about(tmp_path):
    names = [f"{speaker}_{take}" for speaker in ("anna", "ben", "cleo") for take in range(4)]
    with pytest.warns(UserWarning, match=r"begin with one of 3 words \(anna, ben, cleo ...\)"):
        load_dataset(csv(tmp_path, {"label": LABELS}, names))


def test_folds_of_a_column(tmp_path):
    path = csv(
        tmp_path, {"label": LABELS, "session": ["s2", "s2", "s1", "s1", "s3", "s3"] * 2, "take": [4, 4, 2, 2, 9, 9] * 2}
    )
    clips = load_dataset(path, fold="session", group="session")
    assert clips.table["fold"].tolist() == [2, 2, 1, 1, 3, 3] * 2 and len(clips.folds()) == 3
    assert load_dataset(path, fold="take", group="").table["fold"].tolist() == [4, 4, 2, 2, 9, 9] * 2
    with pytest.raises(ParameterError, match="column='sesion' must be .*did you mean 'session'"):
        load_dataset(path, fold="sesion", group="")
    with pytest.raises(DatasetError, match="no class of test .* is in train"):
        load_dataset(path, fold="label", group="").folds(valid=False)
    with pytest.raises(ParameterError, match="fold='' must be the name of a column"):
        load_dataset(path, fold="")


def test_a_generated_set_takes_other_columns(tmp_path):
    clips = load_dataset("notes", size=60, group="dynamic", label="articulation")
    assert set(clips.groups()) == set(clips.table["dynamic"]) and set(clips.classes) == set(clips.table["articulation"])
