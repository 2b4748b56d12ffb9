"""Figures in TensorBoard cost no training: what goes wrong is warned of."""

import pytest
from fairseq import models, tasks
from helpers import compose, write_clips, write_tsv

import eat
import eat.models
import eat.tasks
from eat.data.labels import Label, write_descriptors, write_labels
from eat.figures.tensorboard import ValidationFigures


class Broken:
    """A data set whose files are gone."""

    @property
    def manifest(self):
        raise FileNotFoundError("no such file: valid.tsv")


@pytest.mark.parametrize("is_training", [True, False])
def test_errors_are_warned_of_and_the_encoder_keeps_its_mode(
    official_pretrain, tmp_path, caplog, is_training
):
    encoder = eat.load_encoder(official_pretrain).train(is_training)
    ValidationFigures(str(tmp_path)).write(Broken(), str, encoder, 10)
    assert "no figures for TensorBoard: FileNotFoundError: no such file: valid.tsv" in caplog.text
    assert encoder.training is is_training
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_validates_on_its_training_clips_has_figures_too(manifests, tmp_path):
    cfg = compose(
        "pretrain_tiny",
        task__data=str(manifests),
        dataset__valid_subset="train",
        common__tensorboard_logdir=str(tmp_path),
        model__depth=1,
        model__average_top_k_layers=1,
    )
    task = tasks.setup_task(cfg.task)
    task.load_dataset("train")
    task.begin_valid_epoch(1, models.build_model(cfg.model, task))
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    figures = accumulators.EventAccumulator(str(tmp_path / "figures")).Reload()
    assert figures.Tags()["images"] == ["clip", "attention", "embeddings"]


def test_clips_of_a_fine_tuning_are_coloured_by_their_label(tmp_path):
    clips = write_clips(tmp_path / "audio", 3)
    write_tsv(tmp_path / "valid.tsv", tmp_path / "audio", clips)
    write_descriptors(
        tmp_path / "label_descriptors.csv", [Label(0, "r", "Rain"), Label(1, "w", "Wind")]
    )
    names = [name for name, _ in clips]
    write_labels(tmp_path / "valid.lbl", zip(names, ["r", "w", "wr"], strict=True))
    cfg = compose(
        "finetune_tiny",
        task__data=str(tmp_path),
        criterion__loss="bce",
        criterion__metric="mAP",
        model__init_from=None,
    )
    task = tasks.setup_task(cfg.task)
    task.load_dataset("valid")
    assert [task.kind_of("valid", clip) for clip in range(3)] == ["Rain", "Wind", "Wind"]
