"""notebooks/predefined_prototypes.ipynb at the paper's scale: tiny sets in the publishers' layouts, a small AST.

The same code path as with the real ones: every weight of the AST is trained, with the paper's recipe for one epoch.
"""

import pytest
import torch

from workbench import audio, run
from workbench.datasets import load_dataset
from workbench.datasets.generated import utterances

CLASSES = ("bark", "bell", "clap", "drip", "hum", "rain")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """ESC-50 of six classes, Speech Commands of six words, IEMOCAP of four emotions in five sessions."""
    root = tmp_path_factory.mktemp("data")
    generator = torch.Generator().manual_seed(0)

    def sound(seconds, pitch):
        t = torch.arange(round(16000 * seconds)) / 16000
        return (0.2 * torch.sin(6.283 * pitch * t) + 0.02 * torch.randn(len(t), generator=generator)).numpy()

    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(60):
        fold, target = i // 6 % 5 + 1, i % 6
        name = f"{fold}-{1000 + i}-A-{target}.wav"
        lines.append(f"{name},{fold},{target},{CLASSES[target]},False,{1000 + i},A")
        path = root / "ESC-50-master" / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, sound(1.2, 200 + 150 * target + 5 * i), 16000)
        word = root / "speech_commands_v0.02" / CLASSES[target] / f"{i:08x}_nohash_0.wav"
        word.parent.mkdir(parents=True, exist_ok=True)
        audio.write(word, sound(1.0, 200 + 150 * target + 5 * i), 16000)
    (root / "ESC-50-master" / "meta").mkdir()
    (root / "ESC-50-master" / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    for name, fold in (("validation_list", 3), ("testing_list", 4)):
        held = [f"{CLASSES[i % 6]}/{i:08x}_nohash_0.wav" for i in range(60) if i // 6 % 5 == fold]
        (root / "speech_commands_v0.02" / f"{name}.txt").write_text("\n".join(held) + "\n")
    spoken = utterances.table(60, seed=0)
    for session in range(1, 6):
        base, lines = root / "IEMOCAP_full_release" / f"Session{session}", []
        for i in range(12):
            turn = f"Ses0{session}F_impro01_{'FM'[i % 2]}{i:03d}"
            emotion = ("neu", "exc", "hap", "ang", "sad", "oth")[i % 6]
            lines.append(f"[6.2901 - 8.2357]\t{turn}\t{emotion}\t[2.5000, 2.0000, 3.5000]")
            path = base / "sentences" / "wav" / f"Ses0{session}F_impro01" / f"{turn}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            x = utterances.render(utterances.recipe(spoken.iloc[12 * (session - 1) + i]))
            audio.write(path, x, utterances.RATE)
        (base / "dialog" / "EmoEvaluation").mkdir(parents=True)
        (base / "dialog" / "EmoEvaluation" / f"Ses0{session}F_impro01.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def weights_root(tmp_path_factory):
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ASTModel(ASTConfig(**shape)).save_pretrained(root / "ast")
    ASTFeatureExtractor().save_pretrained(root / "ast")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["esc50", "speech_commands_v2"])
def test_paper_scale_runs_once_data_and_weights_are_there(tmp_path, monkeypatch, data_root, weights_root, dataset):
    monkeypatch.setenv("WORKBENCH_DATA", str(data_root))
    monkeypatch.setenv("WORKBENCH_WEIGHTS", str(weights_root))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    parameters = {"dataset": dataset, "size": 60, "seeds": 1, "epochs": 1}
    (result,) = run("predefined_prototypes", scale="paper", parameters=parameters, out=tmp_path / "run", progress=False)
    assert result.status == "ok", result.problem
    assert len(result.results["headline"]) == 3
    assert result.results["context"]["dataset"]["name"] == dataset
    assert result.results["context"]["speech"]["name"] == "iemocap"
    assert result.metrics["trained"] == "ast, all"
    folds = 5 if dataset == "esc50" else 1
    losses = len(result.metrics["accuracy"])
    # a prototypical network needs hard labels, which the recipe for Speech Commands mixes
    assert losses == 13 + (dataset == "esc50")
    kept = list((tmp_path / "cache" / "trained").glob("*.json"))
    # of every fold the losses, and three from scratch; twelve pulls; seven starts (six without the prototypical
    # network) of two turns of new classes; factors told in 13 ways to 5 folds, and eight more sets and placebos
    starts = 6 + (dataset == "esc50")
    assert len(kept) == (losses + 3) * folds + 12 + 2 * starts + (13 + 8) * 5, "a file a run of every study, to go on"


def test_iemocap_in_the_usual_four_classes(data_root):
    clips = load_dataset("iemocap", root=data_root)
    four = clips.relabel({"neutral": "neutral", "happy": "happy", "excited": "happy", "angry": "angry", "sad": "sad"})
    assert len(clips) == 60 and len(four) == 50
    assert four.summary()["clips"].to_dict() == {"angry": 10, "happy": 20, "neutral": 10, "sad": 10}
    assert [len(fold.test) for fold in four.folds()] == [10] * 5
