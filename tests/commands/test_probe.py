import json

import numpy as np
import pytest
import soundfile

import eat
from eat.commands.main import main
from eat.commands.probe import as_text
from eat.data.labels import Label, write_descriptors, write_labels
from eat.data.manifest import Manifest, write_manifest
from eat.evaluation import METHODS, POOLINGS, ProbeSettings, folds, learned, probes, vectors

PITCHES_HZ = {"low": 300, "mid": 1000, "high": 3000}
SPEAKERS = "abcd"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tones of three pitches by four "speakers", in train and valid; the labels are the pitches."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    entries = {"train": [], "valid": []}
    for pitch, hz in PITCHES_HZ.items():
        for number in range(12):
            num_samples = int(generator.uniform(0.3, 0.8) * 16000)
            time = np.arange(num_samples) / 16000
            tone = 0.3 * np.sin(2 * np.pi * hz * generator.uniform(0.9, 1.1) * time)
            name = f"{pitch}/{SPEAKERS[number % 4]}_{number}.wav"
            (folder / pitch).mkdir(exist_ok=True)
            noise = 0.05 * generator.standard_normal(num_samples)
            soundfile.write(folder / name, tone + noise, 16000)
            entries["train" if number < 8 else "valid"].append((name, num_samples))
    write_split(folder, entries)
    return folder


def write_split(folder, entries, ids=lambda name: [name.split("/")[0]]):
    write_descriptors(
        folder / "label_descriptors.csv",
        [Label(index, pitch, pitch) for index, pitch in enumerate(PITCHES_HZ)],
    )
    for split, clips in entries.items():
        write_manifest(folder / f"{split}.tsv", str(folder), clips)
        write_labels(folder / f"{split}.lbl", [(name, ids(name)) for name, _ in clips])


def probe(capsys, checkpoint, data, *arguments):
    """Runs `eat probe --json`; returns status, report and messages."""
    status = main(["probe", checkpoint, "--data", str(data), "--json", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


def test_the_scores_are_those_of_the_library(capsys, official_pretrain, data):
    options = ("--folds", 3, "--steps", 2, "--neighbours", 3, "--layers", "2,3", "--untrained", 0)
    status, report, err = probe(capsys, official_pretrain, data, *options)
    assert (status, err) == (0, "")
    manifests = Manifest(data / "train.tsv"), Manifest(data / "valid.tsv")
    names = [name for manifest in manifests for name in manifest.relative_paths()]
    targets = np.eye(3)[[list(PITCHES_HZ).index(name.split("/")[0]) for name in names]]
    encoder = eat.load_encoder(official_pretrain)
    paths = [str(data / name) for name in names]
    found = vectors.embed_clips(encoder, paths, POOLINGS, [2, 3], num_steps=2)
    parts = folds.make_folds(targets, None, 3, 1)
    expected = probes.score_vectors(found, targets, parts, ProbeSettings(neighbours=3))
    for result, score in zip(report["results"], expected, strict=True):
        close = {key: pytest.approx(score[key]) for key in ("mean", "std", "per_fold")}
        assert result == {"encoder": official_pretrain, **score, **close}
    assert len(report["results"]) == 2 * len(POOLINGS) * len(METHODS)


def test_an_untrained_encoder_is_always_compared(capsys, official_pretrain, data, tmp_path):
    options = ("--folds", 2, "--pooling", "mean", "--methods", "logistic", "--untrained", 2)
    status, report, _ = probe(capsys, official_pretrain, data, *options, "--out", tmp_path / "out")
    assert status == 0
    encoders = [official_pretrain, "untrained (seed 1)", "untrained (seed 2)"]
    assert [result["encoder"] for result in report["results"]] == encoders
    assert json.loads((tmp_path / "out" / "probe.json").read_text()) == report
    assert main(["probe", official_pretrain, "--data", str(data), *map(str, options)]) == 0
    description, empty, *table = capsys.readouterr().out.splitlines()
    if report["conclusions"]:
        assert table[-1] == report["conclusions"][-1]
        del table[-1 - len(report["conclusions"]) :]
    assert description == (
        f"{data}: 36 clips of 3 classes; accuracy, mean ± standard deviation of 2 folds"
    )
    assert empty == "" and table[0].split() == ["encoder", "layer", "pooling", "logistic"]
    for line, result in zip(table[1:], report["results"], strict=True):
        score = f"{result['mean']:.3f} ± {result['std']:.3f}"
        assert line.startswith(result["encoder"]) and line.endswith(f"3      mean     {score}")


def test_conclusions():
    def result(encoder, pooling, mean, std=0.02, layer=12, method="knn"):
        names = {"encoder": encoder, "layer": layer, "pooling": pooling, "method": method}
        return {**names, "mean": mean, "std": std}

    results = [
        result("x.pt", "cls", 0.725),
        result("x.pt", "cls", 0.6, method="logistic"),
        result("x.pt", "mean", 0.883),
        result("x.pt", "time", 0.95),  # no pooling of classifiers of clips
        result("untrained (seed 1)", "cls", 0.868),
        result("untrained (seed 1)", "mean", 0.7),
    ]
    worse = (
        "cls of layer 12: 0.725 is below the 0.868 of an untrained network; training made it worse"
    )
    advice = "fine-tune with model.pooling=mean (mean 0.883, cls 0.725)"
    assert probes.conclude(results, "x.pt", 12) == [worse, advice]
    assert probes.conclude(results, "x.pt", 24) == [worse]  # another layer than classifiers use
    unsure = [result("x.pt", "cls", 0.875), result("x.pt", "mean", 0.883)]
    assert probes.conclude(unsure, "x.pt", 12) == []
    close = [result("x.pt", "mean", 0.86), result("untrained (seed 1)", "mean", 0.868)]
    (sentence,) = probes.conclude(close, "x.pt", 12)
    assert sentence.endswith("below the 0.868 of an untrained network; training gained nothing")


def test_where_the_labels_are_is_concluded():
    def result(method, mean, layers, parts, pooling="prototypes", **more):
        where = {"where": {"layers": layers, "parts": parts}} if layers else {}
        names = {"encoder": "x.pt", "method": method, "layer": "all", "pooling": pooling}
        return {**names, "mean": mean, "std": 0.02, **where, **more}

    weights = {"1": 0.1, "2": 0.4, "3": 0.3, "4": 0.2}
    parts = {"min": 0.5, "max": 0.4, "cls": 0.1}
    last = result("knn", 0.5, None, None, "mean", layer=4)
    gated = result("gated", 0.9, weights, parts)
    attentive = result("attentive", 0.8, {"4": 1.0}, {"cls": 0.01, "patches": 0.99}, layer=4)
    shares = "gated: shares of the scores are min 0.50, max 0.40, cls 0.10; "
    assert probes.conclude([last, attentive, gated], "x.pt", 4) == [  # of the better one
        "gated: layer 2 of 4 has the highest weight, 0.40; extract with --layers 2,3, which have"
        " over half of the weight",
        f"{shares}use CLS and patches (--granularity all)",
    ]
    assert probes.conclude([last, attentive], "x.pt", 4) == [
        "attentive: shares of the scores are cls 0.01, patches 0.99; leave CLS out (--granularity"
        " frame)"
    ]
    even = result("gated", 0.51, dict.fromkeys("1234", 0.25), {"min": 0, "max": 0.02, "cls": 0.98})
    assert probes.conclude([last, even], "x.pt", 4) == [
        "gated finds no more than mean of the last layer",
        "gated: layer 1 of 4 has the highest weight, 0.25; none stands out: extract with"
        " --layers mean",
        "gated: shares of the scores are min 0.00, max 0.02, cls 0.98; use CLS alone"
        " (--granularity utterance)",
    ]
    poor = result("gated", 0.3, weights, parts)
    assert probes.conclude([last, poor], "x.pt", 4) == [
        "gated finds less than mean of the last layer: its weights tell nothing"
    ]
    assert probes.conclude([last, gated], "y.pt", 4) == []  # of an untrained network nothing


@pytest.mark.parametrize("layers", ["2,3", "mean"])
def test_probes_of_all_tokens_are_told_and_drawn(
    capsys, official_pretrain, data, tmp_path, monkeypatch, layers
):
    monkeypatch.setattr(learned, "_EPOCHS", (5, 5))
    options = ("--folds", 2, "--pooling", "mean", "--methods", "knn", "attentive", "gated")
    options += ("--layers", layers, "--out", tmp_path)
    status, report, err = probe(capsys, official_pretrain, data, *options)
    assert (status, err) == (0, "")
    name = "mean" if layers == "mean" else layers
    found = [(r["layer"], r["pooling"], r["method"]) for r in report["results"]]
    tokens = [(name, "attention", "attentive"), ("all", "prototypes", "gated")]
    vectors = [("mean",)] if layers == "mean" else [(2,), (3,)]
    assert found == 2 * [*((*layer, "mean", "knn") for layer in vectors), *tokens]
    attentive, gated = report["results"][-2:]
    assert [*attentive["where"]["layers"]] == name.split(",")
    assert [*gated["where"]["layers"]] == ["1", "2", "3"]
    assert [*gated["where"]["parts"]] == ["min", "max", "cls"]
    for result in (attentive, gated):
        for shares in result["where"].values():
            assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"probe.json", "layers.png", "layers.svg"}
    out = as_text(report).splitlines()
    assert out[2].split() == ["encoder", "layer", "pooling", "knn", "attentive", "gated"]
    (line,) = (line for line in out if line.startswith("untrained") and "prototypes" in line)
    assert line.index("±") > out[2].index("gated")


def test_clips_can_be_drawn(capsys, official_pretrain, data):
    options = ("--max-clips", 30, "--folds", 2, "--pooling", "cls", "--untrained", 0)
    reports = [probe(capsys, official_pretrain, data, *options, "--seed", n)[1] for n in (1, 1, 2)]
    assert reports[0]["num_clips"] == 30 and reports[0] == reports[1]
    assert reports[0]["results"] != reports[2]["results"]


def test_a_split_can_be_the_test(capsys, official_pretrain, data):
    options = ("--test", "valid", "--pooling", "cls", "--methods", "knn")
    status, report, _ = probe(capsys, official_pretrain, data, *options)
    assert status == 0
    assert report["test"] == "valid" and report["num_folds"] == 1
    assert report["splits"] == ["train", "valid"]
    for result in report["results"]:
        assert result["per_fold"] == [result["mean"]]
        assert 12 * result["mean"] == pytest.approx(round(12 * result["mean"]))  # of 12 clips
    assert main(["probe", official_pretrain, "--data", str(data), *options]) == 0
    out = capsys.readouterr().out
    assert "accuracy, tested on valid\n" in out and "±" not in out


@pytest.mark.parametrize("source", ["regex", "csv"])
def test_groups_are_on_one_side(capsys, monkeypatch, official_pretrain, data, tmp_path, source):
    seen, make_folds = [], folds.make_folds
    monkeypatch.setattr(
        folds, "make_folds", lambda *args: seen.append(args[1]) or make_folds(*args)
    )
    manifest_names = list(Manifest(data / "train.tsv").relative_paths())
    table = tmp_path / "speakers.csv"
    rows = [f"{name},{name.split('/')[1][0]}" for name in manifest_names]
    table.write_text("\n".join(["file,group", *rows]))
    groups_from = f"csv:{table}" if source == "csv" else "regex:/(.)_"
    options = ("--splits", "train", "--folds", 4, "--groups-from", groups_from, "--untrained", 0)
    status, report, _ = probe(capsys, official_pretrain, data, *options, "--pooling", "cls")
    assert status == 0 and report["num_folds"] == 4
    # Before the clips are embedded, and of those that could be read.
    assert seen == [[name.split("/")[1][0] for name in manifest_names]] * 2


def test_a_class_in_one_group_cannot_be_learnt_and_this_is_said(capsys, official_pretrain, data):
    options = ("--groups-from", "parent", "--folds", 3, "--untrained", 0, "--pooling", "cls")
    status, report, _ = probe(capsys, official_pretrain, data, *options)
    assert status == 0 and report["not_learnt"] == list(PITCHES_HZ)
    assert [result["mean"] for result in report["results"]] == [0, 0]
    assert main(["probe", official_pretrain, "--data", str(data), *map(str, options)]) == 0
    out = capsys.readouterr().out
    assert "3 folds that share no group of parent\n" in out
    assert "tested without a clip to learn from, in some fold: low, mid, high\n" in out


def test_several_labels_are_scored_by_map(capsys, official_pretrain, data, tmp_path):
    names = [f"{pitch}/{SPEAKERS[n % 4]}_{n}.wav" for pitch in PITCHES_HZ for n in range(12)]
    clips = [(name, 5000) for name in names]
    write_split(
        tmp_path, {"eval": clips}, lambda name: [name.split("/")[0], "low"][: 1 + ("_1" in name)]
    )
    write_manifest(tmp_path / "eval.tsv", str(data), clips)
    options = ("--folds", 2, "--pooling", "mean")
    status, report, _ = probe(capsys, official_pretrain, tmp_path, *options)
    assert status == 0 and (report["metric"], report["splits"]) == ("mAP", ["eval"])
    assert all(0.3 < result["mean"] <= 1 for result in report["results"])


def test_unreadable_clips_are_left_out_and_named(capsys, official_pretrain, data, tmp_path):
    names = ["low/broken.wav", *Manifest(data / "train.tsv").relative_paths()]
    write_split(tmp_path, {"train": [(name, 5000) for name in names]})
    write_manifest(tmp_path / "train.tsv", str(data), [(name, 5000) for name in names])
    options = ("--folds", 2, "--pooling", "cls", "--untrained", 1)
    status, report, err = probe(capsys, official_pretrain, tmp_path, *options)
    assert status == 1 and report["num_clips"] == 24
    path = str(data / "low/broken.wav")
    assert report["failed"] == [{"path": path, "reason": f"no such audio file: {path}"}]
    assert err == f"failed {path}: no such audio file: {path}\n"


def test_impossible_folds_are_refused_before_clips_are_embedded(
    capsys, monkeypatch, official_pretrain, data
):
    monkeypatch.setattr("eat.evaluation.probes.embed_clips", None)
    status, _, err = probe(capsys, official_pretrain, data, "--folds", 37)
    assert (status, "found 37 for 12 clips of the most frequent class" in err) == (1, True)


def test_wrong_use_is_explained(capsys, official_pretrain, data, tmp_path):
    table = tmp_path / "speakers.csv"
    table.write_text("file,group\nlow/a_0.wav,a\nlow/a_0.wav,b\n")
    for arguments, message in (
        (["--test", "eval"], "--test: found the splits train, valid, expected eval and another"),
        (["--splits", "train", "--test", "train"], "expected train and another to learn from"),
        (["--splits", "none"], "none.tsv"),
        (["--folds", "37"], "found 37 for 12 clips of the most frequent class, expected 2 to 12"),
        (["--layers", "9"], "numbers of blocks from 1 to 3"),
        (["--groups-from", f"csv:{table}"], "['a', 'b'] of 'low/a_0.wav', expected one group"),
        (["--data", tmp_path], "found none of train.lbl, valid.lbl, eval.lbl, test.lbl, expected"),
    ):
        status, _, err = probe(capsys, official_pretrain, data, *arguments, "--untrained", 0)
        assert status == 1
        assert message in err
