import numpy as np
import pytest
import torch
from helpers import write_clips

import eat
from eat.evaluation import POOLINGS, Source, embed_clips, untrained_like
from eat.evaluation.vectors import pool_tokens


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [str(folder / name) for name, _ in write_clips(folder, 4)]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return eat.Encoder(eat.EncoderConfig(embed_dim=16, depth=3, num_heads=2)).eval()


@pytest.mark.parametrize(
    "pooling, num_steps, expected",
    [
        *(("cls", 3, [7, 8]), ("mean", 3, [5, 6]), ("time", 3, [1, 2, 5, 6, 9, 10])),
        *(("time", 1, [5, 6]), ("time", 6, [1, 2, 1, 2, 5, 6, 5, 6, 9, 10, 9, 10])),  # stretched
    ],
)
def test_tokens_are_pooled(pooling, num_steps, expected):
    patches = torch.arange(12.0).reshape(6, 2)  # 3 rows of 2 patches, D = 2
    tokens = torch.cat([torch.tensor([[7.0, 8.0]]), patches])
    assert pool_tokens(tokens, pooling, 2, num_steps).tolist() == expected


@pytest.mark.parametrize("target_length", [None, 64])
def test_vectors_are_those_of_extract_features(encoder, clips, target_length):
    options = {"layers": [1, 3], "target_length": target_length}
    vectors = embed_clips(encoder, clips, ("cls", "mean"), num_steps=2, **options)
    expected = eat.extract_features(clips, encoder, "all", **options)
    assert vectors.clips.tolist() == [0, 1, 2, 3] and vectors.failures == []
    assert list(vectors.values) == [Source(n, p) for n in (1, 3) for p in ("cls", "mean")]
    for row, number in enumerate((1, 3)):
        for index, tokens in enumerate(expected):
            cls_token = vectors.values[number, "cls"][index]
            mean = vectors.values[number, "mean"][index]
            np.testing.assert_allclose(cls_token, tokens[row, 0], atol=1e-6)
            np.testing.assert_allclose(mean, tokens[row, 1:].mean(dim=0), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "names"), [(None, [3]), ("all", [1, 2, 3]), ("mean", ["mean"]), ([2], [2])]
)
def test_layers_are_named(encoder, clips, layers, names):
    vectors = embed_clips(encoder, clips[:1], ("time",), layers, num_steps=5)
    assert [source.layer for source in vectors.values] == names
    assert {values.shape for values in vectors.values.values()} == {(1, 5 * 16)}


def test_a_clip_that_cannot_be_read_is_left_out(encoder, clips, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    vectors = embed_clips(encoder, [clips[0], str(broken), clips[1]])
    assert vectors.clips.tolist() == [0, 2]
    assert [failure.path for failure in vectors.failures] == [str(broken)]
    alone = embed_clips(encoder, clips[:2])
    for source, values in alone.values.items():
        np.testing.assert_allclose(vectors.values[source], values, atol=1e-6)


def test_impossible_requests(encoder, clips, tmp_path):
    with pytest.raises(ValueError, match="none of 1 clips can be read, e.g. .*none.wav"):
        embed_clips(encoder, [str(tmp_path / "none.wav")])
    with pytest.raises(ValueError, match="poolings: found 'max', expected some of"):
        embed_clips(encoder, clips, (*POOLINGS, "max"))


def test_an_untrained_encoder_has_the_size_and_front_end_but_not_the_weights(encoder):
    encoder.log_mel = eat.LogMel(mean=-1.0, std=2.0, target_length=None)
    state = torch.get_rng_state()
    first, again, other = (untrained_like(encoder, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.config == encoder.config and first.log_mel == encoder.log_mel
    assert not first.training
    weights = [e.blocks[0].attn.qkv.weight for e in (encoder, first, again, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[0]) and not torch.equal(weights[1], weights[3])
