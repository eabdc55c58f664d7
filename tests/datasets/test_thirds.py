"""Columns of numbers as the question: when they are classes, where they are cut, and what goes with the clips."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from workbench.core.errors import DatasetError, ParameterError
from workbench.core.labels import are_classes
from workbench.datasets import Clips, load_dataset
from workbench.datasets.sounds import FileSounds
from workbench.datasets.thirds import cut_at_terciles


def _numbered(numbers, **columns):
    arrays = [np.full(80, (i + 1) / 200, np.float32) for i in range(len(numbers))]
    return Clips.from_arrays(arrays, 8000, tempo=numbers, **columns)


TEMPO = np.random.default_rng(0).uniform(60, 180, 60).round(1)


@pytest.mark.parametrize(
    ("numbers", "classes"),
    [
        ([1, 2, 3, 4, 5] * 5, True),  # stars
        (range(10), True),
        (range(50), True),  # codes
        (range(1, 61), True),
        (range(2, 62), False),
        ([*range(21), 30], False),
        (range(100, 120), True),
        (range(100, 121), False),
        ([0.5, 1.5, 0.5], True),
        ([0.5, 1.5, 2.5], False),
        ([1.0, 2.0, 3.0], True),
        ([7.5, 7.5], False),
        (["a", "b", "1.5"], True),
        ([True, False], True),
    ],
)
def test_which_numbers_are_classes(numbers, classes):
    assert are_classes(pd.Series(list(numbers))) is classes


@pytest.mark.parametrize("name", ["speaker", "Speaker ID", "classID", "singers", "source"])
def test_numbers_that_are_names_by_the_columns_own_are_classes(name):
    assert are_classes(pd.Series(range(100, 200, 3), name=name))
    assert not are_classes(pd.Series(range(100, 200, 3), name="tempo"))
    assert not are_classes(pd.Series(np.linspace(0, 1, 9), name=name))  # not whole: a measure of it


@pytest.mark.parametrize("seed", range(20))
def test_thirds_are_thirds_and_their_names_are_true_and_sort_as_the_numbers(seed):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(0, 10.0 ** rng.integers(-6, 7), 99) + rng.normal()
    labels = np.array(cut_at_terciles("mine", "x", pd.Series(numbers)).labels)
    names = sorted(set(labels))
    assert [int((labels == name).sum()) for name in names] == [33, 33, 33]
    low, high = float(names[0].split()[-1]), float(names[2].split()[-1])
    assert names == [f"x below {low:.15g}", f"x between {low:.15g} and {high:.15g}", f"x from {high:.15g}"]
    assert numbers[labels == names[0]].max() < low <= numbers[labels == names[1]].min()
    assert numbers[labels == names[1]].max() < high <= numbers[labels == names[2]].min()


@pytest.mark.parametrize(
    ("numbers", "sizes"),
    [
        ([1.5] * 8 + [2.5, 3.5], [8, 2]),  # both cuts fall in one place
        ([1.5] + [2.5] * 8 + [3.5], [1, 8, 1]),
        ([1.5, 2.5], [1, 1]),
        ([1.5, 2.5, 3.5], [1, 1, 1]),
        ([1.5] * 5 + [2.5] * 5, [5, 5]),
        ([0.1] * 4 + [0.2] * 4 + [0.3] * 4, [4, 4, 4]),
    ],
)
def test_equal_numbers_are_never_parted_and_no_class_is_empty(numbers, sizes):
    labels = np.array(cut_at_terciles("mine", "x", pd.Series(numbers)).labels)
    assert np.unique(labels, return_counts=True)[1].tolist() == sizes
    assert all(len(set(labels[np.array(numbers) == number])) == 1 for number in numbers)


def test_neighbours_in_the_last_digit_are_parted():
    low, high = 1.0, np.nextafter(1.0, 2)
    labels = cut_at_terciles("mine", "x", pd.Series([low, high])).labels
    assert len(set(labels)) == 2


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([92.5] * 4, "column 'tempo' is 92.5 in all 4 clips and cannot be cut into classes"),
        ([1.5, 2.5, np.inf, 3.5], "column 'tempo' is infinite in 1 clips"),
    ],
)
def test_what_cannot_be_cut_is_refused(numbers, words):
    with pytest.raises(DatasetError) as caught:
        _numbered(numbers).with_label("tempo")
    assert words in str(caught.value)


def test_words_cannot_be_cut_and_thirds_need_a_label():
    with pytest.raises(DatasetError, match="column 'style' does not hold numbers and cannot be cut into thirds"):
        _numbered(TEMPO, style=["a", "b"] * 30).with_label("style", thirds=True)
    with pytest.raises(ParameterError, match="thirds=True must be left out where no label= names the column"):
        load_dataset("voices", size=6, thirds=True)
    with pytest.raises(ParameterError, match="target_name='style' must be a column of numbers"):
        table = pd.DataFrame({"id": ["a"], "label": ["b"], "style": ["c"]})
        Clips(table, FileSounds(), name="mine", target_name="style")


def test_a_column_of_numbers_is_told_once_and_gives_target_and_thirds():
    with pytest.warns(UserWarning) as caught:
        clips = _numbered(TEMPO).with_label("tempo")
    assert len(caught) == 1 and caught[0].filename == __file__
    text = str(caught[0].message)
    assert (
        all(f"{name} (20 clips)" in text for name in clips.classes) and "fit_regression(..., clips.target, ...)" in text
    )
    assert clips.target_name == "tempo" and clips.target.dtype == np.float64 and (clips.target == TEMPO).all()
    assert [name.split()[1] for name in clips.classes] == ["below", "between", "from"]
    assert f"tempo {TEMPO.min():.4g} to {TEMPO.max():.4g}, median {np.median(TEMPO):.4g}" in repr(clips)
    ranges = clips.summary()[["least", "most"]].to_numpy().ravel()
    assert (np.diff(ranges) > 0).all() and ranges[0] == TEMPO.min() and ranges[-1] == TEMPO.max()
    assert _numbered(TEMPO).target is None and "median" not in repr(_numbered(TEMPO))


def test_the_caller_decides():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stars = _numbered([1, 2, 3, 4, 5] * 6)
        assert stars.with_label("tempo").classes == tuple("12345") and stars.with_label("tempo").target is None
        cut = stars.with_label("tempo", thirds=True)
        assert cut.classes == ("tempo below 3", "tempo between 3 and 4", "tempo from 4")
        each = _numbered(TEMPO).with_label("tempo", thirds=False)
    assert each.target is None and len(each.classes) == len(set(TEMPO))


def test_the_target_goes_with_the_clips():
    groups = [f"g{i % 12}" for i in range(60)]
    clips = _numbered(TEMPO, style=["a", "b"] * 30, group=groups).with_label("tempo", thirds=True)
    rows = [5, 3, 50]
    assert clips.take(rows).target.tolist() == TEMPO[rows].tolist()
    assert (clips.where(style="a").target == TEMPO[::2]).all()
    for some in (clips.sample(9), clips.sample(2, per="label"), clips.balanced(12), clips.with_group("style")):
        assert (some.target == TEMPO[some.table["id"].astype(int)]).all() and some.classes == clips.classes
    low, middle, high = clips.classes
    assert (clips.relabel({low: "slow", middle: "slow", high: "fast"}).target == TEMPO).all()
    assert (clips.testable().target == TEMPO).all() and clips.with_fold("style").target_name == "tempo"
    again = pickle.loads(pickle.dumps(clips))
    assert (again.target == TEMPO).all() and again.fingerprint == clips.fingerprint
    assert clips.with_label("style").target is None and clips.with_label("style").target_name == ""
    assert set(clips.labels[clips.split().test]) == set(clips.classes) and len(clips.folds()) == 5


def test_the_fingerprint_knows_the_numbers():
    thirds = [cut.with_label("tempo", thirds=True) for cut in (_numbered(TEMPO), _numbered(TEMPO + 1e-9))]
    assert thirds[0].labels.tolist() == thirds[1].labels.tolist()
    assert thirds[0].fingerprint != thirds[1].fingerprint


def test_gaps_are_left_out_and_counted():
    clips = _numbered([*TEMPO[:58], np.nan, None]).with_label("tempo", thirds=True)
    assert len(clips) == 58 and clips.dropped == {"without tempo": 2} and (clips.target == TEMPO[:58]).all()


def test_generated_sets_take_it_too():
    clips = load_dataset("voices", size=60, label="f0", thirds=True)
    assert [name.split()[:2] for name in clips.classes] == [["f0", "below"], ["f0", "between"], ["f0", "from"]]
    assert np.ptp(clips.summary()["clips"]) <= 2 and (clips.target == clips.table["f0"]).all()


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """table(header, cells) writes a csv of 24 sounds, the cells joined by the delimiter of the header."""

    def write(header, cells, delimiter=","):
        lines = [delimiter.join(["path", *header])]
        for i, cell in enumerate(cells):
            soundfile.write(tmp_path / f"{i}.wav", np.full(80, (i + 1) / 50, np.float32), 8000)
            lines.append(delimiter.join([f"{i}.wav", *cell]))
        (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "mine.csv"

    return write


def test_a_csv_keeps_the_numbers_as_a_factor(table):
    file = table(["tempo", "style"], [(str(tempo), "ab"[i % 2]) for i, tempo in enumerate(TEMPO[:24])])
    with pytest.warns(UserWarning) as caught:
        clips = load_dataset(file, label="tempo")
    assert len(caught) == 1 and "mine.csv: the column 'tempo' holds numbers" in str(caught[0].message)
    assert clips.target.tolist() == TEMPO[:24].tolist() and clips.factors == ("style", "tempo")
    assert load_dataset(file, label="style").target is None
    assert len(load_dataset(file, label="tempo", thirds=False).classes) == len(set(TEMPO[:24]))
    with pytest.raises(DatasetError, match="column 'style' does not hold numbers"):
        load_dataset(file, label="style", thirds=True)


def test_a_label_column_of_its_own_is_the_column_number(table):
    clips = load_dataset(table(["label"], [(str(tempo),) for tempo in TEMPO[:24]]), thirds=True)
    assert clips.target_name == "number" and clips.target.tolist() == TEMPO[:24].tolist()
    assert clips.classes[0].startswith("label below ") and clips.factors == ("number",)


def test_the_length_of_clips_can_be_the_question(table):
    clips = load_dataset(table(["seconds"], [(str(tempo),) for tempo in TEMPO[:24]]), label="seconds", thirds=True)
    assert clips.target_name == "seconds" and clips.target.tolist() == TEMPO[:24].tolist() and clips.factors == ()


@pytest.mark.parametrize(
    ("cells", "target"),
    [
        ([str(i % 5 + 1) for i in range(24)], False),
        ([f"{i:03}" for i in range(100, 124)], True),
        ([f"{i:03}" for i in range(24)], False),  # codes such as 007 are text
        ([f"{i},5" for i in range(24)], True),  # where semicolons part the cells
        ([f"{i},5" for i in range(23)] + ["fast"], False),
    ],
)
def test_cells_that_are_numbers(table, cells, target):
    clips = load_dataset(table(["tempo"], [(cell,) for cell in cells], delimiter=";"), label="tempo")
    assert (clips.target is not None) is target
    if target:
        assert clips.target.tolist() == [float(cell.replace(",", ".")) for cell in cells]


def test_empty_cells_do_as_missing_says(table):
    file = table(["tempo"], [(str(tempo) if i else "",) for i, tempo in enumerate(TEMPO[:24])])
    with pytest.raises(DatasetError, match="tempo is missing in 1 of 24 rows"):
        load_dataset(file, label="tempo")
    clips = load_dataset(file, label="tempo", missing="skip", thirds=True)
    assert clips.target.tolist() == TEMPO[1:24].tolist() and clips.dropped == {"without tempo": 1}


def test_the_command_line_prints_range_median_and_thirds(table):
    from typer.testing import CliRunner

    from workbench.cli import app

    file = table(["tempo"], [(str(tempo),) for tempo in TEMPO[:24]])
    told = CliRunner().invoke(app, ["data", "info", str(file), "--label", "tempo"])
    some = TEMPO[:24]
    assert told.exit_code == 0, told.output
    assert (
        f"24 clips, 3 classes, tempo {some.min():.4g} to {some.max():.4g}, median {np.median(some):.4g}" in told.output
    )
    assert all(words in told.output for words in ("tempo below", "tempo between", "tempo from", "least", "most"))
