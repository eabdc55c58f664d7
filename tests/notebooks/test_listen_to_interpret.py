"""notebooks/listen_to_interpret.ipynb at the paper's scale: tiny ESC-50 and SONYC-UST in the publishers' layouts.

The same code path as with the real ones, with the paper's network, trained for one epoch.
"""

import numpy as np
import pytest

from workbench import audio, run

RATE = 16000
TAGS = ["1_engine", "2_machinery-impact", "3_non-machinery-impact", "4_powered-saw"]
TAGS += ["5_alert-signal", "6_music", "7_human-voice", "8_dog"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """ESC-50 of four classes in three folds, SONYC-UST of 32 clips, all of two seconds."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def sound(path, seconds, pitches):
        t = np.arange(round(RATE * seconds)) / RATE
        x = sum((0.1 * np.sin(2 * np.pi * pitch * t) for pitch in pitches), 0.01 * rng.standard_normal(len(t)))
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, x.astype(np.float32), RATE)

    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(24):
        fold, target = i // 4 % 3 + 1, i % 4
        name = f"{fold}-{1000 + i}-A-{target}.wav"
        lines.append(f"{name},{fold},{target},class{target},False,{1000 + i},A")
        sound(root / "ESC-50-master" / "audio" / name, 2.0, [200 + 500 * target])
    (root / "ESC-50-master" / "meta").mkdir()
    (root / "ESC-50-master" / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    names = [f"{tag}_presence" for tag in TAGS]
    lines = ["split,sensor_id,audio_filename,annotator_id,year,week,day,hour," + ",".join(names)]
    for i in range(32):
        on = rng.uniform(size=8) < 0.4
        on[i % 8] = True
        part = ["train", "train", "validate", "test"][i // 8]
        lines.append(f"{part},{i % 5},{i:02d}.wav,0,2019,1,2,3,{','.join(map(str, on.astype(int)))}")
        sound(root / "SONYC-UST" / "audio" / f"{i:02d}.wav", 2.0, 200 + 400 * np.flatnonzero(on))
    (root / "SONYC-UST" / "annotations.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["esc50", "sonyc_ust"])
def test_paper_scale_runs_once_the_data_are_there(tmp_path, monkeypatch, data_root, dataset):
    monkeypatch.setenv("WORKBENCH_DATA", str(data_root))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    parameters = {"dataset": dataset, "classifier": "vgg", "epochs": 1, "explained_clips": 4, "draws": 5}
    parameters |= {"components": 8, "folds": 2}
    (result,) = run("listen_to_interpret", scale="paper", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    assert len(result.results["headline"]) == 3
    assert result.results["context"]["dataset"]["name"] == dataset
    assert result.metrics["classifier"] == "VGG"
    folds = 2 if dataset == "esc50" else 1  # SONYC-UST has one published split
    assert len(result.metrics["fidelities"]) == 4 * folds
    assert len(result.metrics["removals"]) == 2 * 4 * folds
    measure = "top_1" if dataset == "esc50" else "macro_auprc"
    assert all(0 <= row[measure] <= 1 for row in result.metrics["fidelities"])
    kept = list((tmp_path / "cache" / "trained").glob("*.json"))
    assert len(kept) == 4 * folds, "a file a system and fold, to go on from"
