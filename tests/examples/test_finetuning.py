"""The scripts, on miniatures of the data sets in the layouts of their publishers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import GOLDEN, MINIATURE_CLASSIFIER, REPOSITORY

START = str(GOLDEN / "official_pretrain.pt")
# The sizes are those of the checkpoint to start from.
SHORT = [
    *(item for item in MINIATURE_CLASSIFIER if not item.startswith("model.")),
    *("common.fp16=false", "optimization.max_update=2", "lr_scheduler.warmup_updates=1"),
    "task.target_length=64",
]
# Those of events have a guide and an experiment in their place.
OF_EVENTS = {"finetune_as_strong", "finetune_events_tiny"}
RECIPES = {path.stem for path in (REPOSITORY / "config").glob("finetune_*.yaml")}
CONFIGS = sorted(RECIPES - OF_EVENTS)


def write_tone(path, hz, seconds=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * 16_000)) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * time), 16_000)


def run(script, folder, *arguments, status=0):
    """Output of a script that is started from another folder."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "CUDA_VISIBLE_DEVICES": ""}
    command = ["sh", str(REPOSITORY / "examples" / f"{script}.sh"), START, *map(str, arguments)]
    result = subprocess.run(
        [*command, *SHORT],
        **{"cwd": folder, "env": environment, "text": True, "timeout": 280},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert result.returncode == status, result.stdout
    return result.stdout


def metrics(folder, *parts):
    path = folder.joinpath("checkpoints", *parts, "metrics.json")
    return json.loads(path.read_text())["metrics"]


def test_every_recipe_has_its_script():
    scripts = {path.stem for path in (REPOSITORY / "examples").glob("finetune_*.sh")}
    assert scripts | OF_EVENTS == RECIPES


@pytest.mark.parametrize("script", CONFIGS)
def test_clips_of_another_folder_are_not_used(tmp_path, script):
    for name in ("birds", "old/birds"):
        (tmp_path / name).mkdir(parents=True)
    name = "birds" if script == "finetune_tiny" else script.removeprefix("finetune_")
    folder = tmp_path / "manifests" / name / ("fold1" if name == "esc50" else "")
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text(f"{tmp_path}/old/birds\nx.wav\t16000\n")
    inputs = [tmp_path / "birds"] * (2 if "as2" in script else 1)
    manifest = str(folder.relative_to(tmp_path) / "train.tsv")
    assert run(script, tmp_path, *inputs, status=1) == (
        f"{manifest}: found the clips of {tmp_path}/old/birds, expected those of {tmp_path}/birds:"
        " rename or remove it\n"
    )
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["as2m", "as20k"])
def test_audioset(tmp_path, part):
    names = {"as2m": "unbalanced_train", "as20k": "balanced_train"}
    meta, audio = tmp_path / "meta", tmp_path / "the audio"
    meta.mkdir()
    (meta / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'
    )
    for name, num_clips in ((names[part], 4), ("eval", 3)):
        lines = ["# Segments csv created", "# num_ytids=4", "# YTID, start_seconds, ..."]
        for index in range(num_clips):
            youtube_id = f"{name[:4]}id{index:05d}"
            labels = "/m/09x0r,/m/05zppz" if index % 2 else "/m/09x0r"
            lines.append(f'{youtube_id}, 30.000, 40.000, "{labels}"')
            if index != 0:  # the first one has gone from YouTube
                write_tone(audio / f"{youtube_id}.wav", 200 + 100 * index)
        (meta / f"{name}_segments.csv").write_text("\n".join(lines) + "\n")
    # Fewer clips than the recipe draws for an epoch.
    overrides = ["task.num_samples=3"] if part == "as2m" else []
    output = run(f"finetune_{part}", tmp_path, meta, audio, *overrides)
    assert "valid_mAP" not in output  # the split is called eval
    logged = [
        json.loads(line.split(" - ")[1]) for line in output.splitlines() if "eval_mAP" in line
    ]
    found = metrics(tmp_path, f"finetune_{part}", "eval")
    assert set(found) == {"mAP", "auc", "d_prime"}
    assert found["mAP"] == pytest.approx(
        max(float(record["eval_mAP"]) for record in logged), abs=1e-6
    )


@pytest.mark.slow
def test_esc50(tmp_path):
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for index in range(10):
        name = f"{index % 5 + 1}-{index}-A-{index % 2}.wav"
        write_tone(tmp_path / "ESC-50" / "audio" / name, 300 + 500 * (index % 2))
        category = ("dog", "rain")[index % 2]
        rows.append(f"{name},{index % 5 + 1},{index % 2},{category},False,{index},A")
    (tmp_path / "ESC-50" / "meta").mkdir()
    (tmp_path / "ESC-50" / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    output = run("finetune_esc50", tmp_path, "ESC-50")
    accuracies = [
        metrics(tmp_path, "finetune_esc50", f"fold{fold}", "valid")["accuracy"]
        for fold in range(1, 6)
    ]
    last_line = output.splitlines()[-1]
    assert last_line == f"mean accuracy of 5 folds: {np.mean(accuracies):.4f}"


@pytest.mark.slow
def test_speech_commands(tmp_path):
    commands = tmp_path / "commands"
    lists = {"validation_list.txt": [], "testing_list.txt": []}
    for hz, word in ((300, "yes"), (900, "no")):
        for index in range(6):
            write_tone(commands / word / f"{index}_nohash_0.wav", hz)
        lists["validation_list.txt"].append(f"{word}/0_nohash_0.wav")
        lists["testing_list.txt"].append(f"{word}/1_nohash_0.wav")
    for name, clips in lists.items():
        (commands / name).write_text("\n".join(clips) + "\n")
    output = run("finetune_spcv2", tmp_path, commands)
    assert "valid_accuracy" in output
    found = metrics(tmp_path, "finetune_spcv2", "eval")
    assert found["accuracy"] in (0.0, 0.5, 1.0)  # two test clips


@pytest.mark.slow
def test_own_labels(tmp_path):
    for hz, label in ((300, "blackbird"), (900, "wren, winter")):
        for index in range(10):
            write_tone(tmp_path / "birds" / label / f"{index}.wav", hz)
    run("finetune_tiny", tmp_path, tmp_path / "birds")
    path = tmp_path / "checkpoints" / "finetune_tiny" / "valid" / "metrics.json"
    report = json.loads(path.read_text())
    assert [row["label"] for row in report["classes"]] == ["blackbird", "wren, winter"]
    assert report["num_clips"] == 2  # one of each
