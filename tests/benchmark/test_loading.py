import pytest
import torch
from helpers import write_clips, write_tsv

from eat.audio import AudioError, LogMel
from eat.benchmark.loading import time_worker
from eat.data.manifest import Manifest


@pytest.fixture
def data(tmp_path):
    """A data set of fairseq with two clips, which are in `tmp_path`."""
    datasets = pytest.importorskip("eat.data.datasets")
    write_tsv(tmp_path / "train.tsv", tmp_path, write_clips(tmp_path, 2))
    manifest = Manifest(tmp_path / "train.tsv")
    return datasets.SpectrogramDataset(manifest, LogMel(target_length=64), 0, False)


def test_a_few_clips_are_read_several_times(data):
    assert 1 < time_worker(data, 4, 1) < 100_000


def test_a_clip_that_cannot_be_read_is_named(data, tmp_path):
    (tmp_path / "clip 1.wav").write_text("no audio")
    with pytest.raises(AudioError) as error:
        time_worker(data, 2, 1)
    reason = f"{tmp_path / 'clip 1.wav'}: not readable as audio: Format not recognised."
    assert str(error.value) == f"{tmp_path / 'train.tsv'}:3: {reason}"


@pytest.mark.slow
def test_a_dev_shm_that_is_too_small_is_one_line(data, monkeypatch):
    def refuse(tensor):
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    with pytest.raises(OSError, match="^dataset.num_workers: /dev/shm has no room"):
        time_worker(data, 2, 1)
