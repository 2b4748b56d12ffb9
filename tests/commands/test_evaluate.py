import csv
import json
import shutil

import numpy as np
import pytest
import torch

import eat
from eat.commands.main import main
from eat.data.labels import Label, write_descriptors
from eat.evaluation import evaluate_checkpoint
from eat.evaluation.metrics import accuracy, average_precisions
from eat.evaluation.tagging import score_clips


@pytest.fixture
def data(labelled, tmp_path):
    """Labelled clips, with the classes of the recorded classifier."""
    folder = shutil.copytree(labelled, tmp_path / "data")
    names = ["en", "fr", "ru"]
    write_descriptors(
        folder / "label_descriptors.csv", [Label(i, f"/t/{i}", n) for i, n in enumerate(names)]
    )
    return folder


def evaluate(capsys, checkpoint, data, *arguments, split="valid"):
    """Runs `eat evaluate`; returns status, output and messages."""
    arguments = ["--data", str(data), "--split", split, *map(str, arguments)]
    status = main(["evaluate", str(checkpoint), *arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_metrics_of_the_recorded_checkpoint(capsys, official_finetune, data):
    status, out, err = evaluate(capsys, official_finetune, data, "--json")
    assert (status, err) == (0, "")
    paths = [str(data / "audio" / f"valid {index}.wav") for index in range(9)]
    scores, _ = score_clips(eat.load_classifier(official_finetune), paths, 1)
    scores = np.stack([scores[index] for index in range(9)])
    targets, report = np.eye(3)[np.arange(9) % 3], json.loads(out)
    assert report["num_clips"] == 9
    assert report["metrics"] == {
        "accuracy": accuracy(scores, targets),
        "mAP": pytest.approx(average_precisions(scores, targets).mean()),
    }
    assert np.sum(report["confusion_matrix"], axis=1).tolist() == [3, 3, 3]
    assert [row["label"] for row in report["classes"]] == ["en", "fr", "ru"]
    _, text, _ = evaluate(capsys, official_finetune, data)
    lines = [f"{name:10}{report['metrics'][name]:.4f}" for name in ("accuracy", "mAP")]
    assert text.splitlines() == ["clips     9", *lines]


def test_the_names_of_the_data_are_enough(capsys, caplog, official_finetune, data, tmp_path):
    state = torch.load(official_finetune, weights_only=True)
    torch.save({**state, "task_state": {}}, tmp_path / "nameless.pt")
    expected = evaluate(capsys, official_finetune, data)
    assert evaluate(capsys, tmp_path / "nameless.pt", data) == expected
    assert "names no classes" not in caplog.text


def test_files(capsys, official_finetune, data, tmp_path):
    _, out, _ = evaluate(capsys, official_finetune, data, "--json", "--out", tmp_path / "out")
    figures = {f"{name}.{kind}" for name in ("classes", "confusion") for kind in ("png", "svg")}
    tables = {"metrics.json", "classes.csv", "confusion.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == tables | figures
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report == json.loads(out)
    assert report == evaluate_checkpoint(official_finetune, data, "valid").as_dict()  # of a Path
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, report["classes"], strict=True):
        assert row == {key: str(value) for key, value in expected.items()}
    with open(tmp_path / "out" / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["", "en", "fr", "ru"]
    assert [list(map(int, row[1:])) for row in table[1:]] == report["confusion_matrix"]


def test_results_are_printed_also_where_they_cannot_be_written(
    capsys, official_finetune, data, tmp_path
):
    (tmp_path / "out").write_text("a file")
    status, out, err = evaluate(capsys, official_finetune, data, "--out", tmp_path / "out")
    assert (status, err.startswith("eat evaluate: error: ")) == (1, True)
    assert out.startswith("clips     9\naccuracy")


def test_several_labels_and_a_class_without_clips(capsys, official_finetune, multi_labelled, data):
    for name in ("valid.tsv", "valid.lbl"):
        shutil.copy(multi_labelled / name, data)
    status, out, _ = evaluate(capsys, official_finetune, data, "--out", data / "out")
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["clips", "mAP", "auc", "d_prime"]
    assert lines[4] == "1 of 3 classes have no clip here and are left out of mAP: ru"
    assert not (data / "out" / "confusion.csv").exists()
    assert (data / "out" / "classes.csv").read_text().splitlines()[3] == "ru,/t/2,0,,"


def test_clips_that_cannot_be_read_are_left_out_and_listed(capsys, official_finetune, data):
    manifest = (data / "valid.tsv").read_text().splitlines()
    (data / "broken").mkdir()
    for index in range(8):
        shutil.copy(f"{manifest[0]}/valid {index}.wav", data / "broken")
    (data / "broken" / "valid 8.wav").write_text("hello")
    (data / "valid.tsv").write_text("\n".join([str(data / "broken"), *manifest[1:]]))
    status, out, err = evaluate(capsys, official_finetune, data, "--json")
    assert status == 1
    assert err.startswith(f"failed {data}/broken/valid 8.wav: not readable as audio: ")
    report = json.loads(out)
    assert report["num_clips"] == 8
    assert [failure["path"] for failure in report["failed"]] == [f"{data}/broken/valid 8.wav"]


def test_wrong_use_is_explained(
    capsys, monkeypatch, official_finetune, official_pretrain, data, tmp_path
):
    descriptors = (data / "label_descriptors.csv").read_text()
    (data / "label_descriptors.csv").write_text(descriptors.replace("ru", "de"))
    status, _, err = evaluate(capsys, official_finetune, data)
    assert (status, "found 'ru' as class 2, expected 'de' as in " in err) == (1, True)
    status, _, err = evaluate(capsys, official_pretrain, data)
    assert (status, "expected a fine-tuned one" in err) == (1, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = evaluate(capsys, official_finetune, data)
    assert (status, "found no scikit-learn, expected it for metrics" in err) == (1, True)
