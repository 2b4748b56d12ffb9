"""Real fairseq-hydra-train runs of fine-tuning, each in a fresh process, on a miniature model."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from faults import training
from helpers import GOLDEN, MINIATURE_CLASSIFIER, TONES_HZ, logged, write_tsv

import eat
from eat.audio import read_audio
from eat.commands.main import main
from eat.data.labels import write_descriptors, write_labels
from eat.data.manifest import Manifest
from eat.data.split import open_split

PRETRAINED = f"model.init_from='{GOLDEN / 'official_pretrain.pt'}'"
MULTI_LABEL = ("criterion.loss=bce", "criterion.metric=mAP", "criterion.reduction=labels")
# Everything that is random in fine-tuning.
RANDOM = (
    *("task.roll=true", "task.noise=true", "task.mixup_alpha=0.8", "task.num_samples=20"),
    *("task.spec_augment_ratio=0.2", "model.drop_path=0.1"),
)


def checkpoint(folder, name="checkpoint_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def assert_same_weights(found, expected, tolerance=0.0):
    assert set(found["model"]) == set(expected["model"])
    for key, value in expected["model"].items():
        assert (found["model"][key] - value).abs().max() <= tolerance, key


def finetune(train, folder, *overrides):
    """The log of a run that must succeed."""
    run = train(*overrides, config="finetune_tiny", data=folder)
    assert run.returncode == 0, run.stdout
    return run.stdout


def evaluate(capsys, checkpoint, data):
    arguments = ["--data", str(data), "--split", "valid", "--batch-size", "8", "--json"]
    assert main(["evaluate", str(checkpoint), *arguments]) == 0
    return json.loads(capsys.readouterr().out)["metrics"]


def test_from_a_released_checkpoint_to_one_that_needs_nothing_else(
    train, labelled, tmp_path, capsys, monkeypatch
):
    output = finetune(train, labelled, PRETRAINED, "optimization.max_update=6", *RANDOM[:-1])
    losses = [record["loss"] for record in logged(output)]
    assert len(losses) == 6
    assert all(0.3 < loss < 1.5 for loss in losses)
    valid = logged(output, "valid")
    assert [record["valid_num_updates"] for record in valid] == [3, 6]
    best = max(record["valid_accuracy"] for record in valid)
    assert valid[-1]["valid_best_accuracy"] == best

    moved = shutil.move(tmp_path / "checkpoints", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    last, best_path = (f"{moved}/checkpoint_{name}.pt" for name in ("last", "best"))
    classifier = eat.load_classifier(last)
    assert classifier.labels == ["low tone", "middle tone", "high tone"]
    assert classifier.activation == "softmax"
    assert classifier.log_mel == eat.LogMel(target_length=128)
    assert classifier.encoder.config.depth == 3
    assert main(["convert", last, "folder", "--to", "huggingface"]) == 0
    assert eat.load_classifier("folder").activation == "softmax"
    capsys.readouterr()
    # The same numbers as in the log.
    found = evaluate(capsys, last, labelled)
    assert found["accuracy"] == pytest.approx(valid[-1]["valid_accuracy"], abs=1e-6)
    assert evaluate(capsys, best_path, labelled)["accuracy"] == pytest.approx(best, abs=1e-6)


@pytest.mark.slow
def test_fine_tuning_goes_on_from_fine_tuned_checkpoints(
    train, multi_labelled, tmp_path, capsys, official_finetune
):
    """The released one for other classes, then ours for the same."""
    start = f"model.init_from='{official_finetune}'"
    refused = train(start, *MULTI_LABEL, config="finetune_tiny", data=multi_labelled)
    assert refused.returncode != 0
    assert "found 'en' as class 0, expected 'low tone' as in task.data" in refused.stdout
    output = finetune(train, multi_labelled, start, "model.new_head=true", *MULTI_LABEL)
    valid = logged(output, "valid")[-1]
    first = tmp_path / "checkpoints" / "checkpoint_last.pt"
    metrics = evaluate(capsys, first, multi_labelled)
    assert metrics["mAP"] == pytest.approx(valid["valid_mAP"], abs=1e-6)
    assert "1 of 3 classes have no clip here and are left out of mAP: high tone" in output
    output = finetune(
        train,
        multi_labelled,
        *(f"model.init_from='{first}'", *MULTI_LABEL, "checkpoint.save_dir=second"),
        *("optimization.max_update=1", "optimization.lr=[1e-30]", "lr_scheduler.min_lr=0.0"),
    )
    assert logged(output, "valid")[-1]["valid_mAP"] == pytest.approx(metrics["mAP"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("adapters", [(), (PRETRAINED, "model.lora_rank=2")], ids=["all", "lora"])
def test_resuming_in_mid_epoch_gives_the_uninterrupted_run(train, labelled, tmp_path, adapters):
    """4 updates equal 2 and 2 more to the bit, with all that is random switched on."""
    overrides = [
        *adapters,
        *("optimization.max_update=4", "checkpoint.save_interval_updates=2", *RANDOM),
        *("dataset.batch_size=6", "checkpoint.no_epoch_checkpoints=false"),
    ]
    finetune(train, labelled, *overrides)
    expected = checkpoint(tmp_path)
    middle = checkpoint(tmp_path, "checkpoint_1_2.pt")
    assert not torch.equal(middle["model"]["head.weight"], expected["model"]["head.weight"])
    shutil.move(
        tmp_path / "checkpoints" / "checkpoint_1_2.pt",
        tmp_path / "checkpoints" / "checkpoint_last.pt",
    )
    output = finetune(train, labelled, *overrides)
    assert [record["num_updates"] for record in logged(output)] == [3, 4]
    assert_same_weights(checkpoint(tmp_path), expected)


@pytest.mark.slow
def test_the_number_of_loader_workers_changes_nothing(train, labelled, tmp_path):
    finetune(train, labelled, *RANDOM)
    expected = checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    finetune(train, labelled, *RANDOM, "dataset.num_workers=3")
    assert_same_weights(checkpoint(tmp_path), expected)


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(train, multi_labelled, tmp_path):
    """All 24 clips are one update. Mixup pairs the clips of a process, drop path is per process."""
    common = [
        *("task.mixup_alpha=0.0", "model.drop_path=0.0", "dataset.batch_size_valid=4"),
        *("task.roll=true", "task.noise=true", "task.spec_augment_ratio=0.2", *MULTI_LABEL),
        *("optimization.lr=[0.01]", "lr_scheduler.warmup_updates=1"),
    ]
    output = finetune(
        train, multi_labelled, *common, "dataset.batch_size=24", "checkpoint.save_dir=single"
    )
    overrides = [
        *(f"task.data='{multi_labelled}'", "checkpoint.save_dir=double"),
        *(*MINIATURE_CLASSIFIER, *common, "dataset.batch_size=12"),
    ]
    double = training.run(overrides, tmp_path, 2, config="finetune_tiny").check().log
    for one, two in zip(logged(output), logged(double), strict=True):
        assert two["bsz"] == one["bsz"] == 24
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
    # Three batches of 9 clips: one worker validates two of them, the other one and a repetition.
    for one, two in zip(logged(output, "valid"), logged(double, "valid"), strict=True):
        assert two["valid_mAP"] == one["valid_mAP"]
        assert two["valid_loss"] == pytest.approx(one["valid_loss"], rel=1e-3)
    assert_same_weights(
        *(
            torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)
            for name in ("double", "single")
        ),
        tolerance=1e-5,
    )


@pytest.mark.slow
def test_a_linear_probe_in_bf16_stops_early(train, labelled, tmp_path):
    output = finetune(
        train,
        labelled,
        *(PRETRAINED, "model.freeze_encoder=true", "common.bf16=true"),
        # The metric cannot improve, so the second validation is the last.
        *("optimization.lr=[1e-30]", "lr_scheduler.min_lr=0.0", "checkpoint.patience=1"),
        *("optimization.max_update=100", "optimizer.weight_decay=0.0"),
    )
    assert "early stop since valid performance hasn't improved for last 1 runs" in output
    assert len(logged(output, "valid")) == 2
    pretrained = eat.load_encoder(GOLDEN / "official_pretrain.pt", dtype=torch.bfloat16)
    found = eat.load_encoder(tmp_path / "checkpoints" / "checkpoint_last.pt")
    for key, value in pretrained.state_dict().items():
        if key != "positions":
            assert torch.equal(found.state_dict()[key], value.float()), key


TIMED = (
    *("task.labels=time", "task.time_step_ms=80", "model.pooling=time", "criterion.loss=bce"),
    *("criterion.reduction=labels", "criterion.metric=mAP", "criterion.label_smoothing=0.1"),
)


@pytest.mark.slow
def test_labels_in_time_from_a_released_checkpoint_to_one_that_needs_nothing_else(
    train, timed, tmp_path
):
    """4 updates equal 2 and 2 more to the bit; the checkpoint knows its steps and classes."""
    overrides = [
        *(PRETRAINED, *TIMED, *RANDOM, "task.crop=random", "model.lora_rank=2"),
        *("optimization.max_update=4", "checkpoint.save_interval_updates=2"),
        *("dataset.batch_size=5", "checkpoint.no_epoch_checkpoints=false"),
    ]
    finetune(train, timed, *overrides)
    expected = checkpoint(tmp_path)
    folder = tmp_path / "checkpoints"
    classifier = eat.load_classifier(folder / "checkpoint_last.pt")
    assert (classifier.config.pooling, classifier.config.steps_per_row) == ("time", 2)
    assert classifier.labels == ["low tone", "middle tone", "high tone"]
    assert (classifier.activation, classifier.step_seconds) == ("sigmoid", pytest.approx(0.08))
    shutil.move(folder / "checkpoint_1_2.pt", folder / "checkpoint_last.pt")
    output = finetune(train, timed, *overrides, "dataset.num_workers=2")
    assert [record["num_updates"] for record in logged(output)] == [3, 4]
    assert_same_weights(checkpoint(tmp_path), expected)
    refused = train(*overrides, "task.time_step_ms=40", config="finetune_tiny", data=timed)
    assert refused.returncode != 0 and "that the architectures match" in refused.stdout


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["mAP", "event_f1", "psds"])
def test_metrics_in_time_are_the_same_for_two_workers(train, timed, tmp_path, metric):
    if metric != "mAP":
        pytest.importorskip("sed_scores_eval")
    common = [
        *(*TIMED, f"criterion.metric={metric}", "dataset.batch_size_valid=4"),
        *("task.mixup_alpha=0.0", "model.drop_path=0.0", "optimization.lr=[0.01]"),
        *("lr_scheduler.warmup_updates=1", "criterion.reduction=clips"),
    ]
    output = finetune(train, timed, *common, "dataset.batch_size=24", "checkpoint.save_dir=single")
    overrides = [
        *(f"task.data='{timed}'", "checkpoint.save_dir=double"),
        *(*MINIATURE_CLASSIFIER, *common, "dataset.batch_size=12"),
    ]
    double = training.run(overrides, tmp_path, 2, config="finetune_tiny").check().log
    pairs = list(zip(logged(output, "valid"), logged(double, "valid"), strict=True))
    for one, two in pairs:
        assert two[f"valid_{metric}"] == one[f"valid_{metric}"]
        assert two["valid_loss"] == pytest.approx(one["valid_loss"], rel=1e-3)
    best = max(one[f"valid_{metric}"] for one, _ in pairs)
    assert pairs[-1][0][f"valid_best_{metric}"] == best
    assert (tmp_path / "single" / "checkpoint_best.pt").exists()


@pytest.mark.slow
def test_parts_of_recordings_train_as_files_do(train, tmp_path, capsys):
    """From label tracks to a classifier, with every command on the way; and the same as files."""
    generator = np.random.default_rng(0)
    tables, files = tmp_path / "tables", tmp_path / "files"
    for folder in (tables, files, tmp_path / "audio"):
        folder.mkdir()
    for index in range(6):
        name, time = f"{index}.wav", np.arange(16_000 * 8) / 16_000
        sound, lines = 0.05 * generator.standard_normal(len(time)), []
        for start in range(8):
            kind = generator.choice([*TONES_HZ])
            on, off = start + 0.123456, start + generator.uniform(0.5, 0.9)
            tone = 0.2 * np.sin(2 * np.pi * TONES_HZ[kind] * time)
            sound += tone * (on <= time) * (time < off)
            lines.append(f"{on:.6f}\t{off:.6f}\t{kind}\n")
        soundfile.write(tmp_path / "audio" / name, sound, 16_000)
        (tables / f"{index}.txt").write_text("".join(lines))
    parts, data = str(tmp_path / "parts"), str(tmp_path / "data")
    events = ["manifest", "events", str(tables), "--audio", str(tmp_path / "audio"), "--out", parts]
    assert main([*events, "--valid-fraction", "0.34"]) == 0
    for split, count in (("train", 32), ("valid", 16)):
        manifest, descriptors, labels, _ = open_split(parts, split)
        assert len(manifest) == count
        (tmp_path / "data").mkdir(exist_ok=True)
        clips = [f"{path.replace('/', ' ')}.wav" for path in manifest.relative_paths()]
        for clip, name in enumerate(clips):
            soundfile.write(files / name, read_audio(manifest.path(clip)), 16_000)
        sizes = manifest.num_samples.tolist()
        write_tsv(tmp_path / f"data/{split}.tsv", files, [*zip(clips, sizes, strict=True)])
        ids = [[descriptors[i].id for i in labels.classes(clip)] for clip in range(count)]
        write_labels(tmp_path / f"data/{split}.lbl", zip(clips, ids, strict=True))
        write_descriptors(tmp_path / "data/label_descriptors.csv", descriptors)

    logs = []
    for folder in (parts, data):
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        crop = ("task.crop=random", "task.target_length=48", "task.min_samples=400")
        logs.append(logged(finetune(train, folder, *crop, "optimization.max_update=6")))
    assert len(logs[0]) == 6
    assert [one["loss"] for one in logs[0]] == [one["loss"] for one in logs[1]]
    last = str(tmp_path / "checkpoints/checkpoint_last.pt")
    capsys.readouterr()
    assert evaluate(capsys, last, parts) == evaluate(capsys, last, data)
    part = Manifest(f"{parts}/valid.tsv").path(0)
    assert main(["tag", part, "--checkpoint", last]) == 0
    assert part in capsys.readouterr().out
    probe = ["probe", last, "--data", parts, "--folds", "3", "--groups-from", "parent"]
    assert main([*probe, "--out", str(tmp_path / "probe")]) == 0
    part = f"{tmp_path}/audio/0.wav/1.5-7.5"
    assert main(["plot", "clip", part, "--out", str(tmp_path / "clip.png")]) == 0
