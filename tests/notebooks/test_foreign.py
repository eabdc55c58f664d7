"""The notebooks on a set that none was made with: a csv of two classes, its own columns of label, speaker and session.

Sounds of .3 to 3 s, stereo, at 44.1 kHz in mp3; blanks and umlauts in names. Smallest settings: whether a notebook gets
to its end, not what it finds.
"""

import numpy as np
import pytest
import soundfile

from workbench import run

SMALLEST = {
    "sae": {"latents": 64, "sparsities": [0.75, 0.9], "attributes": "voice"},
    "pecmae": {"prototypes": 1, "most_prototypes": 2, "train_steps": 40, "sampling_steps": 1, "seeds": 1, "folds": 1},
    "predefined_prototypes": {"size": 60, "seeds": 1, "epochs": 2},
    "listen_to_interpret": {"components": 8, "epochs": 1, "explained_clips": 4, "draws": 5, "folds": 1},
}
COLUMNS = {"label": "Gefühl", "group": "speaker id", "fold": "session"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("fremde Töne"), np.random.default_rng(0)
    lines = ["path,Gefühl,speaker id,session"]
    for i in range(60):
        t = np.arange(round(44100 * rng.choice([0.3, 1.0, 2.0, 3.0]))) / 44100
        x = 0.2 * np.sin(2 * np.pi * (180 + 150 * (i % 2)) * rng.uniform(0.9, 1.1) * t) * np.exp(-t)
        x += 0.01 * rng.standard_normal(len(t))
        soundfile.write(folder / f"Ton {i} ä.mp3", np.stack([x, 0.5 * x], 1), 44100)
        lines.append(f"Ton {i} ä.mp3,{['wütend', 'ganz ruhig'][i % 2]},sp{i // 6},{i // 12 + 1}")
    (folder / "töne.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "töne.csv"


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_foreign_table_goes_through(tmp_path, table, name):
    parameters = {"dataset": str(table), **COLUMNS, **SMALLEST[name]}
    (result,) = run(name, parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    about = result.results["context"]["dataset"]
    assert about["name"] == "töne" and about["clips"] == 60
