"""Figures in TensorBoard cost no training: what goes wrong is warned of."""

import pytest

import eat
from eat.tasks.figures import ValidationFigures


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
