"""Every command of the guides runs, in their order, on a few small clips."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from helpers import GOLDEN, MINIATURE, REPOSITORY, write_clips
from timeline_sound import EVENTS, RATE_HZ, make_sound

from eat.commands.main import main

GUIDES = REPOSITORY / "examples"
# What a reader does once, and the tests have behind them.
PREPARATION = ["make venv", "source .venv/bin/activate"]
FINETUNED_MINIATURE = [
    *("dataset.batch_size=4", "dataset.num_workers=0", "dataset.data_buffer_size=0"),
    *("optimization.max_update=4", "lr_scheduler.warmup_updates=1", "common.log_interval=1"),
]
# The sizes of the recorded checkpoint that stands for a released one.
RECORDED = [
    *("model.embed_dim=48", "model.depth=3", "model.num_heads=4", "model.decoder_depth=2"),
    *("model.decoder_groups=4", "model.average_top_k_layers=3", "task.target_length=128"),
    *("model.mask_block_size=3", "task.min_samples=1000", "common.fp16=false"),
    *("dataset.batch_size=4", "dataset.num_workers=0", "optimization.max_update=2"),
    "lr_scheduler.warmup_updates=0",
]


def commands(guide):
    """The commands in a guide's shell blocks, as lists of words."""
    text = (GUIDES / guide).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line not in PREPARATION]


def shrink(words):
    """A training command, with what makes it small enough for a test."""
    config = words[words.index("--config-name") + 1]
    if config == "pretrain_base":
        return [*words, *RECORDED]
    kept = [word for word in words if not word.startswith("optimization.max_update=")]
    return [*kept, *(MINIATURE if config == "pretrain_tiny" else FINETUNED_MINIATURE)]


def train(words, cwd):
    program, *arguments = shrink(words)
    assert program == "fairseq-hydra-train"
    run = subprocess.run(
        [sys.executable, "-m", "fairseq_cli.hydra_train", *arguments],
        cwd=cwd,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder that looks like a checkout, the recordings of the guides beside it."""
    folder = tmp_path_factory.mktemp("guides")
    for name in ("config", "user_dir"):
        (folder / name).symlink_to(REPOSITORY / name)
    shutil.copy(GOLDEN / "official_pretrain.pt", folder / "EAT-base_epoch30_pt.pt")
    for seed, name in enumerate(("recordings/birds", "recordings/rain")):
        write_clips(folder / "data" / name, 40, seed)
    (folder / "data/recordings/birds/clip 0.wav").rename(folder / "data/recordings/birds/wren.flac")
    for seed, name in enumerate(("kick", "snare", "tom")):
        write_clips(folder / "data/labelled" / name, 10, 10 + seed)
    (folder / "data/labelled/snare/clip 0.wav").rename(folder / "data/labelled/snare/one.wav")
    names = [name for name, _ in write_clips(folder / "data/tagged", 12, 20)]
    tags = ["rain", "wind", "rain,wind"] * 4
    rows = [f'{name},"{labels}"\n' for name, labels in zip(names, tags, strict=True)]
    (folder / "data/tagged/labels.csv").write_text("filename,labels\n" + "".join(rows))
    (folder / "data/calls/tables").mkdir(parents=True)
    for name in ("night", *"abcdefg"):
        soundfile.write(folder / f"data/calls/{name}.wav", make_sound(20), RATE_HZ)
        lines = [f"{on}\t{off}\t{'high' if hertz > 1000 else 'low'}\n" for on, off, hertz in EVENTS]
        (folder / f"data/calls/tables/{name}.txt").write_text("".join(lines[:3]))
    return folder


@pytest.fixture
def follow(checkout, monkeypatch, capsys):
    """`follow(guide)` runs all of its commands and returns what the last `eat stats` printed."""
    monkeypatch.chdir(checkout)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((200, 24)))

    def run(guide):
        for words in commands(guide):
            words = [word.replace("/data/", f"{checkout}/data/") for word in words]
            if words[0] == "eat":
                assert main(words[1:]) == 0, words
            else:
                train(words, checkout)
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_from_recordings_to_an_encoder_and_from_labels_to_a_classifier(follow, checkout):
    pytest.importorskip("fairseq")
    follow("pretrain_your_audio.md")
    for path in ("figures/masks", "figures/clip", "figures/curves", "figures/embeddings"):
        assert (checkout / f"{path}.png").exists() and (checkout / f"{path}.svg").exists()
    assert len(list((checkout / "features").rglob("*.npy"))) == 4  # 5 % of 80
    assert "Pre-training with pretrain_tiny" in (checkout / "report.html").read_text()
    assert (checkout / "checkpoints/continued/checkpoint_last.pt").exists()
    assert list((checkout / "tensorboard/mine/figures").iterdir())

    follow("finetune_your_labels.md")
    page = (checkout / "report_labelled.html").read_text()
    assert "Fine-tuning with finetune_tiny" in page and "Evaluation on" in page
    assert (checkout / "checkpoints/mine/probe/probe.json").exists()
    assert (checkout / "checkpoints/tagged/checkpoint_best.pt").exists()
    assert (checkout / "classifier/model.safetensors").exists()


@pytest.mark.slow
def test_from_annotations_to_events(follow, checkout):
    for library in ("fairseq", "sed_eval", "sed_scores_eval"):
        pytest.importorskip(library)
    (checkout / "checkpoints/mine").mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / "official_pretrain.pt", checkout / "checkpoints/mine/checkpoint_last.pt")
    follow("find_events.md")
    assert (checkout / "manifests/calls/eval.events.tsv").exists()
    report = json.loads((checkout / "checkpoints/calls/evaluation/metrics.json").read_text())
    assert {"event_f1", "segment_f1", "psds"} <= report["metrics"].keys()
    assert (checkout / "figures/night.png").exists()
    assert len(list((checkout / "found").glob("*.wav.txt"))) == 8
    assert (checkout / "found.csv").read_text().startswith("filename,onset,offset,event_label")


def test_all_commands_and_links_are_ours():
    for guide in GUIDES.glob("*.md"):
        assert {words[0] for words in commands(guide.name)} <= {"eat", "fairseq-hydra-train"}
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", guide.read_text(encoding="utf-8")):
            assert (Path(guide).parent / target).exists(), f"{guide.name}: {target}"


def test_the_list_of_examples_is_whole():
    text = (GUIDES / "README.md").read_text(encoding="utf-8")
    linked = {target.rstrip("/") for target in re.findall(r"\]\(([^)]+)\)", text)}
    names = {path.name for path in GUIDES.iterdir()} - {"README.md", "__pycache__"}
    assert names <= linked
