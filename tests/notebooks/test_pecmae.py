"""notebooks/pecmae.ipynb at the paper's scale: tiny Medley-solos-DB and GTZAN in the publishers' layouts.

The same code path as with the real ones, but for the autoencoder: the built-in one, as the released one takes minutes a
sound on a CPU (tests/sonify/test_published.py goes from sound to sound with a file of its layout).
"""

import numpy as np
import pytest

from workbench import audio, run

RATE = 22050
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def sound(path, seconds, pitch):
        t = np.arange(round(RATE * seconds)) / RATE
        x = 0.2 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * t) + 0.01 * rng.standard_normal(len(t))
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, x.astype(np.float32), RATE)

    lines = ["subset,instrument,instrument_id,song_id,uuid4"]
    for i in range(80):
        k, subset = i % 8, ("training", "training", "training", "validation", "test")[i // 16]
        lines.append(f"{subset},instrument {k},{k},{i // 4},{i:08x}")
        sound(root / "Medley-solos-DB" / f"Medley-solos-DB_{subset}-{k}_{i:08x}.wav", 2.97, 150 * 1.4**k)
    (root / "Medley-solos-DB" / "Medley-solos-DB_metadata.csv").write_text("\n".join(lines) + "\n")
    for k, genre in enumerate(GENRES):
        for number in (5, 6, 7, 8, 9):
            sound(root / "genres" / genre / f"{genre}.000{number:02d}.wav", 5.0, 150 * 1.3**k)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "classes"), [("medley_solos_db", 8), ("gtzan", 10)])
def test_paper_scale_runs_once_the_data_are_there(tmp_path, monkeypatch, data_root, dataset, classes):
    monkeypatch.setenv("WORKBENCH_DATA", str(data_root))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    parameters = {"dataset": dataset, "autoencoder": "mini-mel", "judge": "logmel", "prototypes": 2}
    parameters |= {"most_prototypes": 3, "train_steps": 2, "sampling_steps": 1, "seeds": 1}
    (result,) = run("pecmae", scale="paper", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    assert len(result.results["headline"]) == 3
    assert result.results["context"]["dataset"]["name"] == dataset
    assert [row["per_class"] for row in result.metrics["against_k"]] == [1, 2, 3]
    assert result.metrics["verdict"]["prototypes, noise seed 0"]["sounds"] == 2 * classes
    assert len(result.metrics["ablation"]) == 10
