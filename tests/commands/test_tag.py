import json

import numpy as np
import pytest
import soundfile
import torch

import eat
from eat.commands.main import main
from eat.nn import pack_linears


@pytest.fixture
def classifier(official_finetune):
    return eat.load_classifier(official_finetune)


def write(path, seconds, seed=0):
    noise = np.random.default_rng(seed).standard_normal(round(seconds * 16000)) * 0.1
    soundfile.write(path, noise, 16000, subtype="FLOAT")
    return str(path)


@torch.no_grad()
def logits(classifier, samples):
    return classifier(classifier.log_mel(torch.from_numpy(samples)))[0]


def tag(capsys, checkpoint, *arguments):
    """Runs `eat tag --json`; returns status, result and messages."""
    status = main(["tag", *map(str, arguments), "--checkpoint", checkpoint, "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out), err


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_are_those_of_the_classifier(
    tmp_path, capsys, official_finetune, classifier, activation
):
    path = write(tmp_path / "a.wav", 1.0)
    options = ("--activation", activation)
    status, (result,), err = tag(capsys, official_finetune, path, *options)
    assert (status, err) == (0, "")
    assert result["path"] == path
    values = logits(classifier, eat.read_audio(path))
    expected = values.sigmoid() if activation == "sigmoid" else values.softmax(0)
    order = expected.argsort(descending=True).tolist()
    assert [tag["label"] for tag in result["tags"]] == [classifier.labels[i] for i in order]
    found = [tag["probability"] for tag in result["tags"]]
    assert found == pytest.approx(expected[order].tolist(), abs=1e-5)


@pytest.mark.parametrize("known, expected", [("softmax", "softmax"), (None, "sigmoid")])
def test_the_checkpoint_s_activation_is_the_default(
    tmp_path, capsys, monkeypatch, official_finetune, classifier, known, expected
):
    assert classifier.activation == "softmax"  # it was trained with the released ESC-50 flag
    classifier.activation = known
    monkeypatch.setattr(eat.checkpoint, "load_classifier", lambda *_: classifier)
    path = write(tmp_path / "a.wav", 1.0)
    default = tag(capsys, official_finetune, path)
    assert default == tag(capsys, official_finetune, path, "--activation", expected)


def test_parts_of_long_recordings_are_averaged(tmp_path, capsys, official_finetune, classifier):
    path = write(tmp_path / "a.wav", 3.0)
    assert classifier.log_mel.target_length == 128
    samples = eat.read_audio(path)  # 298 frames, 19 rows: rows 0-8, 8-16 and 11-19
    starts, weights = [0, 8, 11], [8, 5, 6]  # seams at rows 8 and 13
    parts = [samples[start * 2560 : start * 2560 + 127 * 160 + 400] for start in starts]
    values = torch.stack([logits(classifier, part).softmax(0) for part in parts])
    expected = (values * torch.tensor(weights).unsqueeze(1)).sum(0) / 19
    _, (result,), _ = tag(capsys, official_finetune, path)
    found = {tag["label"]: tag["probability"] for tag in result["tags"]}
    in_order = [found[label] for label in classifier.labels]
    assert in_order == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_table(tmp_path, capsys, official_finetune):
    paths = [write(tmp_path / f"{seed}.wav", 0.5, seed) for seed in range(2)]
    _, results, _ = tag(capsys, official_finetune, *paths, "--top", 2)
    assert main(["tag", *paths, "--checkpoint", official_finetune, "--top", "2"]) == 0
    out = capsys.readouterr().out
    for path, result in zip(paths, results, strict=True):
        first, second = (f"  {tag['probability']:.4f}  {tag['label']}" for tag in result["tags"])
        assert f"{path}\n{first}\n{second}\n" in out
    assert len(out.splitlines()) == 6


def test_failures_are_listed_after_the_others(tmp_path, capsys, official_finetune):
    good = write(tmp_path / "a.wav", 0.5)
    (tmp_path / "text.wav").write_text("hello")
    status, results, err = tag(capsys, official_finetune, tmp_path / "text.wav", good, "absent.wav")
    assert status == 1
    assert [result["path"] for result in results] == [good]
    first, second = err.splitlines()
    assert first.startswith(f"failed {tmp_path}/text.wav: not readable as audio: ")
    assert second == "failed absent.wav: no such audio file: absent.wav"


def test_the_files_of_a_folder(tmp_path, capsys, official_finetune):
    (tmp_path / "audio" / "sub").mkdir(parents=True)
    paths = [write(tmp_path / "audio" / name, 0.5) for name in ("a.wav", "sub/b.wav")]
    (tmp_path / "audio" / "notes.txt").touch()
    expected = tag(capsys, official_finetune, *paths)[1]
    found = tag(capsys, official_finetune, tmp_path / "audio")
    assert found == (0, expected, f"{tmp_path}/audio: left out 1 other files: 1 .txt\n")
    classifier = pack_linears(eat.load_classifier(official_finetune))
    tagging = eat.tag([str(tmp_path / "audio")], classifier)
    assert [path for path, _ in tagging.files] == paths
    assert eat.tag(tmp_path / "audio", official_finetune) == tagging  # one input, a checkpoint
    assert tagging[1:] == ([], [f"{tmp_path}/audio: left out 1 other files: 1 .txt"])
    (tmp_path / "empty").mkdir()
    arguments = ["tag", str(tmp_path / "empty"), "--checkpoint", official_finetune]
    assert main(arguments) == 1
    error = f"eat tag: error: {tmp_path}/empty: found no audio file (no file at all), expected"
    assert capsys.readouterr().err.startswith(error)


def test_the_clips_of_a_manifest(tmp_path, capsys, official_finetune):
    paths = [write(tmp_path / name, 0.5) for name in ("b.wav", "a.wav")]
    (tmp_path / "m.tsv").write_text(f"{tmp_path}\nb.wav\t8000\na.wav\t8000\nc.zip:0:9\t8000\n")
    status, found, err = tag(capsys, official_finetune, tmp_path / "m.tsv")
    assert (status, found) == (1, tag(capsys, official_finetune, *paths)[1])
    assert err == f"failed {tmp_path}/c.zip:0:9: no such pack of audio: {tmp_path}/c.zip\n"


def test_a_classifier_of_clips_of_any_length_without_names(
    tmp_path, capsys, monkeypatch, official_finetune, classifier
):
    classifier.labels = None
    classifier.log_mel = classifier.encoder.log_mel
    monkeypatch.setattr(eat.checkpoint, "load_classifier", lambda *_: classifier)
    path = write(tmp_path / "a.wav", 0.5)
    _, (result,), _ = tag(capsys, official_finetune, path)
    assert sorted(tag["label"] for tag in result["tags"]) == ["0", "1", "2"]
    expected = logits(classifier, eat.read_audio(path)).softmax(0)
    assert result["tags"][0]["probability"] == pytest.approx(expected.max().item(), abs=1e-5)


def test_equal_probabilities_keep_the_order_of_the_classes(tmp_path, classifier):
    path = write(tmp_path / "a.wav", 0.5)
    for parameter in classifier.head.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        classifier.head.bias[1] = -1
    ((_, tags),), *_ = eat.tag([path], classifier, top=5, activation="sigmoid")
    first, second, third = classifier.labels
    assert [tag.label for tag in tags] == [first, third, second]
    assert tags[0].probability == tags[1].probability == 0.5
    with pytest.raises(ValueError, match="activation: found 'relu', expected one of"):
        eat.tag([], classifier, activation="relu")
