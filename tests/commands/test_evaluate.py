import csv
import json
import shutil

import numpy as np
import pytest
import torch

import eat
from eat.commands.main import main
from eat.data.labels import Label, write_descriptors
from eat.evaluation.metrics import accuracy, average_precisions


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


@torch.no_grad()
def expected_scores(checkpoint, data):
    classifier = eat.load_classifier(checkpoint)
    paths = [data / "audio" / f"valid {index}.wav" for index in range(9)]
    logits = [classifier(classifier.log_mel(torch.from_numpy(eat.read_audio(p)))) for p in paths]
    return torch.cat(logits).log_softmax(dim=1).numpy()


def test_metrics_of_the_recorded_checkpoint(capsys, official_finetune, data):
    status, out, err = evaluate(capsys, official_finetune, data, "--json")
    assert (status, err) == (0, "")
    scores, targets = expected_scores(official_finetune, data), np.eye(3)[np.arange(9) % 3]
    report = json.loads(out)
    assert report["num_clips"] == 9
    assert report["metrics"] == {
        "accuracy": accuracy(scores, targets),
        "mAP": pytest.approx(average_precisions(scores, targets).mean()),
    }
    assert np.sum(report["confusion_matrix"], axis=1).tolist() == [3, 3, 3]
    assert [row["label"] for row in report["classes"]] == ["en", "fr", "ru"]
    _, text, _ = evaluate(capsys, official_finetune, data)
    assert text.splitlines() == [
        "clips     9",
        f"accuracy  {report['metrics']['accuracy']:.4f}",
        f"mAP       {report['metrics']['mAP']:.4f}",
    ]


def test_files(capsys, official_finetune, data, tmp_path):
    _, out, _ = evaluate(capsys, official_finetune, data, "--json", "--out", tmp_path / "out")
    figures = {f"{name}.{kind}" for name in ("classes", "confusion") for kind in ("png", "svg")}
    tables = {"metrics.json", "classes.csv", "confusion.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == tables | figures
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report == json.loads(out)
    with open(tmp_path / "out" / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, report["classes"], strict=True):
        assert row == {key: str(value) for key, value in expected.items()}
    with open(tmp_path / "out" / "confusion.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[0] == ["", "en", "fr", "ru"]
    assert [list(map(int, row[1:])) for row in table[1:]] == report["confusion_matrix"]


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


@pytest.mark.parametrize(
    "descriptors, message",
    [
        ("0,/t/0,en\n1,/t/1,fr\n2,/t/2,de\n", "found 'ru' as class 2, expected 'de' as in "),
        ("0,/t/0,en\n1,/t/1,fr\n2,/t/2,ru\n3,x,x\n", "found 3 classes, expected 4 as in "),
        ("", "label_descriptors.csv:1: found no classes"),
        ("0,/t/0,en\n1,/t/1,fr\n", "valid.lbl:3: found the label '/t/2', expected an id of"),
    ],
)
def test_classes_that_are_not_the_checkpoint_s(
    capsys, official_finetune, data, descriptors, message
):
    (data / "label_descriptors.csv").write_text(descriptors)
    status, _, err = evaluate(capsys, official_finetune, data)
    assert status == 1
    assert message in err


def test_missing_files_and_other_checkpoints(capsys, official_finetune, official_pretrain, data):
    status, _, err = evaluate(capsys, official_pretrain, data)
    assert (status, "expected a fine-tuned one" in err) == (1, True)
    for name, message in (("valid.lbl", "no such labels"), ("valid.tsv", "no such manifest")):
        (data / name).unlink()
        assert message in evaluate(capsys, official_finetune, data)[2]


def test_without_scikit_learn(capsys, monkeypatch, official_finetune, data):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = evaluate(capsys, official_finetune, data)
    assert (status, "found no scikit-learn, expected it for metrics" in err) == (1, True)
