import pytest

from eat.audio import audio_info
from eat.benchmark import RECORDINGS, ExtractionCase, measure_extraction
from eat.benchmark.extraction import make_encoder, write_recordings


def test_extraction_and_network_are_compared(official_pretrain):
    sizes = {"seconds": 1.0, "num_clips": 4, "num_workers": 2, "repeats": 1}
    found = measure_extraction(ExtractionCase(checkpoint=official_pretrain, **sizes))
    assert found["checkpoint"] == "official_pretrain.pt"
    assert found["files"] == "wav 16 kHz mono, 1 s"
    network, whole = found["network_clips_per_second"], found["clips_per_second"]
    assert min(network, whole, found["one_by_one_clips_per_second"]) > 0
    # One round: the ratios are those of its rates.
    assert found["share"] == pytest.approx(whole / network)
    assert found["gain"] == pytest.approx(whole / found["one_by_one_clips_per_second"])


def test_an_untrained_encoder_has_the_size_of_its_config():
    encoder = make_encoder(ExtractionCase(config="tiny"))
    assert (encoder.config.embed_dim, encoder.config.depth) == (192, 6)
    assert not encoder.training


@pytest.mark.parametrize("kind", range(len(RECORDINGS)))
def test_recordings_are_of_their_kind(tmp_path, kind):
    (path,) = write_recordings(str(tmp_path), ExtractionCase(kind=kind, num_clips=1, seconds=0.5))
    info = audio_info(path)
    assert path.endswith(RECORDINGS[kind][0])
    assert (info.sample_rate_hz, info.num_channels) == RECORDINGS[kind][1:]
    assert info.duration_seconds == pytest.approx(0.5, abs=0.1)
