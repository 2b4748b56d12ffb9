import pytest

from eat.benchmark.extraction import make_encoder, measure_extraction
from eat.commands.benchmark.extract import Case


def case(**settings):
    defaults = {
        **{"checkpoint": None, "size": "tiny", "dtype": "fp32", "kind": 0, "seconds": 1.0},
        **{"num_clips": 4, "repeats": 1, "batch_size": None, "num_workers": 2, "device": "cpu"},
    }
    return Case(**{**defaults, **settings})


def test_extraction_and_network_are_compared(official_pretrain):
    found = measure_extraction(case(checkpoint=official_pretrain))
    assert found["checkpoint"] == "official_pretrain.pt"
    assert found["files"] == "wav 16 kHz mono, 1 s"
    for rate in ("network_clips_per_second", "clips_per_second", "one_by_one_clips_per_second"):
        assert found[rate] > 0
    # One round: the ratios are those of its rates.
    assert found["share"] == pytest.approx(
        found["clips_per_second"] / found["network_clips_per_second"]
    )
    assert found["gain"] == pytest.approx(
        found["clips_per_second"] / found["one_by_one_clips_per_second"]
    )


def test_an_untrained_encoder_has_the_size_of_its_config():
    encoder = make_encoder(case())
    assert (encoder.config.embed_dim, encoder.config.depth) == (192, 6)
    assert not encoder.training
