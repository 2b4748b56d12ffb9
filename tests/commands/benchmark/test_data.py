import pytest
import torch

from eat.audio import LogMel, mel_filter_bank
from eat.benchmark.baseline import StraightforwardDataset, filter_bank
from eat.benchmark.listing import measure_listing, write_listing
from eat.benchmark.loading import list_recordings
from eat.benchmark.recordings import KINDS, write_recordings
from eat.commands.benchmark.data import TABLES
from eat.commands.benchmark.report import as_text
from eat.data.datasets import PretrainingDataset
from eat.data.manifest import Manifest
from eat.nn import MaskingConfig


def test_the_straightforward_loader_gives_the_same_spectrograms(tmp_path):
    log_mel, masking = LogMel(target_length=128), MaskingConfig(num_clones=3, mask_block_size=3)
    paths = write_recordings(tmp_path, KINDS[1], 3, 1.0)
    ours = PretrainingDataset(
        list_recordings(tmp_path / "train.tsv", paths), log_mel, 0, False, masking, seed=1
    )
    baseline = StraightforwardDataset(paths, log_mel, masking)
    for index in range(3):
        one, two = ours[index], baseline[index]
        assert torch.allclose(one["source"], two["source"], atol=1e-4)
        assert one["mask"].sum(dim=1).tolist() == two["mask"].sum(dim=1).tolist()
    assert baseline.collater([baseline[0], baseline[1]])["source"].shape == (2, 1, 128, 128)


def test_the_straightforward_filter_bank_is_the_filter_bank():
    waveform = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(filter_bank(waveform, 128), mel_filter_bank(waveform)[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_recordings_are_of_their_kind(tmp_path, kind):
    from eat.audio import audio_info

    [path] = write_recordings(tmp_path, kind, 1, 0.5)
    info = audio_info(path)
    assert (info.sample_rate_hz, info.num_channels) == kind[1:]
    assert info.duration_seconds == pytest.approx(0.5, abs=0.1)


def test_a_manifest_is_opened_and_drawn(tmp_path):
    write_listing(tmp_path / "train.tsv", 1_000)
    assert len(Manifest(tmp_path / "train.tsv")) == 1_000
    found = measure_listing(1_000)
    assert found["lines"] == 1_000
    assert found["open_seconds"] > 0
    assert found["epoch_seconds"] > 0


def test_tables_without_rows_are_left_out():
    found = {"machine": {"cores": 2}, "loading": [], "waiting": []}
    found["listing"] = [{"lines": 5, "open_seconds": 0.25}]
    lines = as_text(found, TABLES).splitlines()
    assert lines == ["cores      2", "", "lines  open s", "    5   0.250"]
