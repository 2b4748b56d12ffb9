"""What a checkpoint does not tell, on the command line."""

import importlib
import json
from dataclasses import fields

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

import eat
from eat.commands.main import COMMANDS, main
from eat.commands.shared import CheckpointOptions, LabelsOption

STATED = ("--num-heads", "4", "--mean", "-5.5", "--std", "4.5")


@pytest.fixture
def weights(official_finetune, tmp_path):
    """The tensors of a fine-tuned checkpoint alone, and a clip."""
    save_file(torch.load(official_finetune, weights_only=True)["model"], tmp_path / "w.safetensors")
    noise = np.random.default_rng(0).standard_normal(16000) * 0.1
    soundfile.write(tmp_path / "a.wav", noise, 16000, subtype="FLOAT")
    return tmp_path


def test_every_command_that_reads_a_checkpoint_takes_the_same_options():
    found = set()
    for name in COMMANDS:
        module = importlib.import_module(f"eat.commands.{name}")
        actions = getattr(module, "ACTIONS", {"": (getattr(module, "Options", None), None)})
        for action, (options, _) in actions.items():
            if options is not None and {"checkpoint", "source"} & {f.name for f in fields(options)}:
                assert issubclass(options, CheckpointOptions), (name, action)
                found.add(f"{name} {action}".strip())
    plots = {f"plot {action}" for action in ("attention", "clip", "embeddings", "masks")}
    commands = {"convert", "evaluate", "extract", "probe", "tag", "benchmark extract"}
    assert found == commands | plots
    for name in ("convert", "evaluate", "tag"):
        assert issubclass(importlib.import_module(f"eat.commands.{name}").Options, LabelsOption)


def test_features_are_made_with_stated_constants(weights, capsys):
    checkpoint = str(weights / "w.safetensors")
    command = ["extract", str(weights / "a.wav"), "--out", str(weights / "out")]
    command += ["--checkpoint", checkpoint]
    assert main(command) == 1
    assert "expected num_heads=... (on the command line --num-heads)" in capsys.readouterr().err
    assert main([*command, *STATED]) == 0
    encoder = eat.load_encoder(checkpoint, mean=-5.5, std=4.5, num_heads=4)
    expected = eat.extract_features(str(weights / "a.wav"), encoder)
    (file,) = (weights / "out").glob("*.npy")
    assert np.allclose(np.load(file), expected.numpy(), atol=1e-5)
    settings = (weights / "out" / "settings.json").read_text()
    assert '"mean": -5.5' in settings
    assert '"std": 4.5' in settings


def test_tags_have_the_stated_names(weights, capsys):
    (weights / "names.txt").write_text("wren\nowl\nbat\n")
    command = ["tag", str(weights / "a.wav"), "--checkpoint", str(weights / "w.safetensors")]
    assert main([*command, *STATED, "--labels", str(weights / "names.txt"), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert {tag["label"] for tag in result["tags"]} == {"wren", "owl", "bat"}


def test_what_is_stated_is_written_by_convert(weights):
    (weights / "names.txt").write_text("wren\nowl\nbat\n")
    out = str(weights / "ours.pt")
    command = ["convert", str(weights / "w.safetensors"), out, "--to", "eat", *STATED]
    assert main([*command, "--labels", str(weights / "names.txt")]) == 0
    classifier = eat.load_classifier(out)
    assert (classifier.labels, classifier.log_mel) == (
        ["wren", "owl", "bat"],
        eat.LogMel(-5.5, 4.5),
    )


def test_metrics_name_the_checkpoint_by_its_path(weights, labelled, capsys):
    checkpoint = str(weights / "w.safetensors")
    command = ["evaluate", checkpoint, "--data", str(labelled), "--split", "valid", "--json"]
    assert main([*command, *STATED]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"] == checkpoint
    (weights / "names.txt").write_text("wren\nowl\nbat\n")
    assert main([*command, *STATED, "--labels", str(weights / "names.txt")]) == 1
    assert f"{checkpoint}: " in capsys.readouterr().err  # other classes than those of the data


def test_a_probe_names_the_checkpoint_by_its_path(weights, labelled, capsys):
    checkpoint = str(weights / "w.safetensors")
    command = ["probe", checkpoint, "--data", str(labelled), "--test", "valid", "--untrained", "0"]
    assert main([*command, *STATED, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["checkpoint"] == checkpoint
    assert {one["encoder"] for one in report["results"]} == {checkpoint}
