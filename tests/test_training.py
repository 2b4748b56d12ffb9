"""Real fairseq-hydra-train runs, each in a fresh process, on a miniature model."""

import os
import shutil
import subprocess

import pytest
import torch
from faults import training
from helpers import MINIATURE, MINIATURE_CLASSIFIER, REPOSITORY, logged, train_command

import eat
from eat.commands.main import main
from eat.training.record import read_starts


def checkpoint(folder, name="checkpoint_last.pt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


@pytest.fixture(scope="module")
def trained(manifests, labelled, tmp_path_factory):
    """One run of 3 updates, probed at the end: (its output, its folder)."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = [f"task.data='{manifests}'", "checkpoint.save_dir=checkpoints", *MINIATURE]
    overrides.append("optimization.lr=[0.0001]")  # so that the teacher stays near
    best = ["best_checkpoint_metric=probe_accuracy", "maximize_best_checkpoint_metric=true"]
    overrides += [f"task.probe_data='{labelled}'", *(f"checkpoint.{text}" for text in best)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(
        train_command("pretrain_tiny", overrides),
        **{"cwd": folder, "env": environment, "capture_output": True, "text": True},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, folder


def test_what_is_logged(trained):
    records = logged(trained[0])
    assert [record["num_updates"] for record in records] == [1, 2, 3]
    for record in records:
        assert record["loss"] == pytest.approx(
            record["frame_loss"] + record["utterance_loss"], abs=1e-3
        )
        assert record["mask_ratio"] == pytest.approx(52 / 64, abs=1e-4)
        assert record["target_var"] == pytest.approx(1.0, abs=0.1)
        assert 0 < record["prediction_var"] < 1
        assert record["gnorm"] > 0
    assert [record["ema_decay"] for record in records] == pytest.approx(
        [0.998 + 0.0019 * n / 1000 for n in (1, 2, 3)], abs=1e-6
    )
    valid = logged(trained[0], "valid")[0]
    assert valid["valid_frame_loss"] > 0
    # The probes, of which one chooses the best checkpoint.
    assert valid["valid_probe_accuracy"] > 0.5 and valid["valid_probe_logistic_accuracy"] > 0.5
    best = checkpoint(trained[1], "checkpoint_best.pt")["extra_state"]
    assert best["best"] == best["val_loss"] == valid["valid_probe_accuracy"]


def test_nothing_is_left_beside_the_checkpoints(trained):
    assert [path.name for path in trained[1].iterdir()] == ["checkpoints"]


def test_the_checkpoint_is_plain_and_holds_student_and_teacher(trained):
    state = checkpoint(trained[1])
    cfg = state["cfg"]["model"]
    assert cfg["_name"] == "eat"
    names = set(state["model"])
    assert {name for name in names if name.startswith("encoder.")} == {
        name.removeprefix("teacher.") for name in names if name.startswith("teacher.")
    }
    key = "blocks.1.mlp.fc2.weight"
    student, teacher = (state["model"][f"{part}.{key}"] for part in ("encoder", "teacher.encoder"))
    assert not torch.equal(student, teacher)
    assert (student - teacher).abs().max() < 1e-3


def test_our_checkpoint_loads(trained):
    path = trained[1] / "checkpoints" / "checkpoint_last.pt"
    state = checkpoint(trained[1])["model"]
    for weights, prefix in [("student", "encoder."), ("teacher", "teacher.encoder.")]:
        encoder = eat.load_encoder(path, weights=weights)
        for key, value in encoder.state_dict().items():
            assert torch.equal(value, state[prefix + key])
    model = eat.load_pretraining_model(path, num_clones=2)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_resuming_in_mid_epoch_gives_the_uninterrupted_run(train, labelled, tmp_path):
    """4 updates equal 2 and 2 more to the bit: weights, teacher, optimizer, data, masks.

    The last ones are probed, which changes nothing.
    """
    overrides = [
        *("optimization.max_update=4", "checkpoint.save_interval_updates=2"),
        "checkpoint.keep_interval_updates=2",
    ]
    whole = train(*overrides)
    assert whole.returncode == 0, whole.stdout
    expected = checkpoint(tmp_path)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", "checkpoint_2_4.pt"):
        (tmp_path / "checkpoints" / name).unlink()
    shutil.move(
        tmp_path / "checkpoints" / "checkpoint_1_2.pt",
        tmp_path / "checkpoints" / "checkpoint_last.pt",
    )
    probed = (f"task.probe_data='{labelled}'", "dataset.validate_interval_updates=1")
    resumed = train(*overrides, *probed)
    probes = [record["valid_probe_accuracy"] for record in logged(resumed.stdout, "valid")]
    assert len(probes) == 2 and min(probes) > 0.3
    assert resumed.returncode == 0, resumed.stdout
    assert [record["num_updates"] for record in logged(resumed.stdout)] == [3, 4]
    found = checkpoint(tmp_path)
    for key, value in expected["model"].items():
        assert torch.equal(found["model"][key], value), key
    moments = expected["last_optimizer_state"]["state"]
    for index, state in found["last_optimizer_state"]["state"].items():
        assert torch.equal(state["exp_avg_sq"], moments[index]["exp_avg_sq"])


@pytest.mark.slow
def test_the_second_stage_of_mixtures_continues_exactly(trained, train, tmp_path):
    """From a checkpoint of the first; 4 updates equal 2 and 2 more to the bit."""
    overrides = [
        f"model.init_from='{trained[1] / 'checkpoints' / 'checkpoint_last.pt'}'",
        *("model.num_position_rows=64", "model.mask_block_size=3", "task.target_length=128"),
        *("task.min_samples=1000", "common.fp16=false", "criterion.utterance_weight=1"),
        *("optimization.max_update=4", "checkpoint.save_interval_updates=2"),
        *("dataset.batch_size_valid=4", "checkpoint.keep_interval_updates=2"),
    ]
    whole = train(*overrides, config="pretrain_base_mixtures")
    assert whole.returncode == 0, whole.stdout
    for record in logged(whole.stdout):
        parts = (record[f"{name}_loss"] for name in ("frame", "utterance", "source"))
        assert record["loss"] == pytest.approx(sum(parts), abs=1e-3)
        assert record["bsz"] == 4 and record["mask_ratio"] == pytest.approx(52 / 64, abs=1e-4)
    folder = tmp_path / "checkpoints"
    expected = checkpoint(tmp_path)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt", "checkpoint_2_4.pt"):
        (folder / name).unlink(missing_ok=True)
    shutil.move(folder / "checkpoint_1_2.pt", folder / "checkpoint_last.pt")
    resumed = train(*overrides, config="pretrain_base_mixtures")
    assert [record["num_updates"] for record in logged(resumed.stdout)] == [3, 4], resumed.stdout
    for key, value in checkpoint(tmp_path)["model"].items():
        assert torch.equal(value, expected["model"][key]), key
    # It is a plain EAT checkpoint.
    eat.convert_checkpoint(folder / "checkpoint_last.pt", tmp_path / "official.pt", to="official")
    encoder = eat.load_encoder(tmp_path / "official.pt")
    assert torch.equal(encoder.cls_token, expected["model"]["encoder.cls_token"])
    assert eat.load_pretraining_model(folder / "checkpoint_last.pt").num_updates == 0


@pytest.mark.slow
def test_a_run_that_an_epoch_ends_is_saved(train, tmp_path):
    """Also where the recipe validates and saves by updates only."""
    settings = ("optimization.max_epoch=2", "optimization.max_update=1000")
    run = train(*settings)
    assert run.returncode == 0, run.stdout
    records = logged(run.stdout)
    assert records[-1]["epoch"] == 2
    state = checkpoint(tmp_path)
    assert state["optimizer_history"][-1]["num_updates"] == records[-1]["num_updates"]
    valid = logged(run.stdout, "valid")
    assert [record["valid_num_updates"] for record in valid] == [records[-1]["num_updates"]]
    again = train(*settings)
    assert again.returncode == 0, again.stdout
    assert logged(again.stdout) == []


@pytest.mark.slow
def test_bf16_and_workers_from_another_folder(train, tmp_path):
    run = train("common.bf16=true", "dataset.num_workers=2", "optimization.update_freq=[2]")
    assert run.returncode == 0, run.stdout
    assert all(record["loss"] > 0 for record in logged(run.stdout))
    model = checkpoint(tmp_path)["model"]
    # Both are as exact as what was trained, with values that bf16 cannot hold.
    for weights in (model["encoder.cls_token"], model["teacher.encoder.cls_token"]):
        assert not torch.equal(weights, weights.bfloat16().float())


@pytest.mark.slow
def test_continued_pretraining_from_the_repository_root(train, official_pretrain):
    """`user_dir` as a relative path, and a released checkpoint to start from."""
    run = train(
        "common.user_dir=user_dir",
        f"model.init_from='{official_pretrain}'",
        *("model.depth=3", "model.average_top_k_layers=3", "model.num_position_rows=768"),
        *("model.decoder_depth=2", "model.decoder_groups=4", "optimization.max_update=1"),
        cwd=REPOSITORY,
    )
    assert run.returncode == 0, run.stdout
    # Already trained: an untrained miniature starts at 8.2.
    assert logged(run.stdout)[0]["frame_loss"] < 7.9


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(train, manifests, labelled, tmp_path):
    """All 12 clips are one update, so that both runs see the same clips in each."""
    common = ["model.mask_noise_std=0.0", "optimization.max_update=2"]  # noise is per process
    common.append(f"task.probe_data='{labelled}'")
    single = train(*common, "dataset.batch_size=12", "checkpoint.save_dir=single")
    assert single.returncode == 0, single.stdout
    distributed = [
        *(f"task.data='{manifests}'", "checkpoint.save_dir=double", *MINIATURE, *common),
        "dataset.batch_size=6",
    ]
    double = training.run(distributed, tmp_path, num_workers=2).check().log
    for one, two in zip(logged(single.stdout), logged(double), strict=True):
        assert two["bsz"] == one["bsz"] == 12
        for key in ("loss", "frame_loss", "utterance_loss", "gnorm", "mask_ratio", "ema_decay"):
            assert two[key] == pytest.approx(one[key], rel=1e-3), key
    # All 4 clips are one batch, so that the second process has none of its own.
    one, two = logged(single.stdout, "valid")[-1], logged(double, "valid")[-1]
    assert (one["valid_max_cls_rank"], one["valid_max_patch_rank"]) == (3, 48)
    assert two["valid_probe_accuracy"] == pytest.approx(one["valid_probe_accuracy"], abs=0.1)
    for key in ("cls_rank", "max_cls_rank", "patch_rank", "max_patch_rank"):
        assert two[f"valid_{key}"] == pytest.approx(one[f"valid_{key}"], rel=1e-3), key
    one, two = (
        torch.load(tmp_path / name / "checkpoint_last.pt", weights_only=True)["model"]
        for name in ("single", "double")
    )
    for key, value in one.items():
        assert torch.allclose(two[key], value, atol=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("config", ["pretrain_tiny", "finetune_tiny"])
def test_several_corpora_are_trained_on_and_reported(config, labelled, tmp_path):
    """The list, the shares, a resumed epoch and the record, by the command of the guides."""
    other = shutil.copytree(labelled, tmp_path / "other")
    overrides = [
        *(f"task.data=['{labelled}','{other}']", "task.weights=[3,1]"),
        *("checkpoint.save_dir=checkpoints", "task.min_samples=0", "common.cpu=true"),
        *(MINIATURE if config == "pretrain_tiny" else MINIATURE_CLASSIFIER),
    ]
    for num_updates in (2, 3):
        run = subprocess.run(
            train_command(config, [*overrides, f"optimization.max_update={num_updates}"]),
            **{"cwd": tmp_path, "capture_output": True, "text": True},
        )
        assert run.returncode == 0, run.stdout + run.stderr
    assert len(logged(run.stdout)) == 1
    data = read_starts(tmp_path / "checkpoints")[-1]["data"]
    for split, count in (("train", 24), ("valid", 9)):
        assert data[split] == [
            {"manifest": str(folder / f"{split}.tsv"), "clips": count, "used": count}
            for folder in (labelled, other)
        ]
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "checkpoints"), "--out", str(page)]) == 0
    assert f"valid of {other}" in page.read_text()
