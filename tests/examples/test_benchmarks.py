"""EAT in the benchmarks and toolkits of its neighbours."""

import hear_eat as hear
import pytest
import torch
import xares_eat as xares
import xares_llm_eat as xares_llm
from environments.target import run_with

import eat


@pytest.fixture
def audio():
    return torch.rand(3, 32_000, generator=torch.manual_seed(0)) * 2 - 1


def test_hear(official_pretrain, audio):
    model = hear.load_model(official_pretrain)
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate == 16_000
    assert model.scene_embedding_size == model.timestamp_embedding_size == 48

    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape == (3, 13, 48)
    assert timestamps.shape == (3, 13)
    assert torch.allclose(timestamps[2], 80.0 + 160 * torch.arange(13))
    expected = eat.extract_features(audio[1].numpy(), model.encoder, "time")
    assert (embeddings[1] - expected).abs().max() < 1e-5

    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == torch.float32
    expected = eat.extract_features(audio[1].numpy(), model.encoder, "utterance")
    assert scenes.shape == (3, 48)
    assert (scenes[1] - expected).abs().max() < 1e-5


def test_xares(official_pretrain, audio, monkeypatch):
    monkeypatch.setenv("EAT_CHECKPOINT", official_pretrain)
    (name,) = [name for name in dir(xares) if name.endswith("Encoder")]  # how X-ARES finds it
    encoder = getattr(xares, name)()
    assert encoder.sampling_rate == 16_000
    encoded = encoder(audio)
    assert encoded.shape == (3, 13, encoder.output_dim) == (3, 13, 48)
    assert encoded.shape[1] == -(-audio.shape[1] // 16 // encoder.hop_size_in_ms)
    expected = eat.extract_features(audio[1].numpy(), encoder.encoder, "time")
    assert (encoded[1] - expected).abs().max() < 1e-5
    assert (encoder(audio[1]) - encoded[1:2]).abs().max() < 1e-5


def test_xares_llm(official_pretrain, audio):
    """Its package is on no registry: what is asserted is what its README asks for."""
    (name,) = [name for name in dir(xares_llm) if name.endswith("Encoder")]
    encoder = getattr(xares_llm, name)(checkpoint=official_pretrain)
    lengths = (32_000, 9_000, 400)
    mask = (torch.arange(32_000) < torch.tensor(lengths).unsqueeze(1)).int()
    features, kept = encoder(audio, mask)
    assert features.shape == (*kept.shape, encoder.output_dim) == (3, 13, 48)
    assert kept.dtype == torch.long
    assert kept.sum(dim=1).tolist() == [13, 4, 1]
    for clip, length, clip_features, clip_kept in zip(audio, lengths, features, kept, strict=True):
        expected = eat.extract_features(clip[:length], encoder.encoder, "time")
        assert (clip_features[clip_kept.bool()] - expected).abs().max() < 1e-5
    unmasked, kept = encoder(audio)
    assert kept.all()
    assert (unmasked[0] - features[0]).abs().max() < 1e-5
    assert encoder(audio[0])[0].shape == (1, 13, 48)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hear", "mteb", "s3prl", "xares"])
def test_the_package_itself(name, tmp_path):
    script = "check_neighbours.py"
    output = run_with(f"{name}.txt", script, tmp_path, name, blocked=["torchaudio"])
    assert output.endswith(f"{name}: agrees\n"), output
