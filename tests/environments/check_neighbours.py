"""Use EAT in the benchmarks and toolkits of examples/, as they themselves do.

    python check_neighbours.py NAME

Run by tests/examples/test_benchmarks.py with the packages of NAME.txt. What they import for models
other than ours (TensorFlow, torchaudio, transformers) is replaced by stand-ins that can do nothing.
"""

import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch

import eat

REPOSITORY = Path(__file__).resolve().parents[2]
CHECKPOINT = str(REPOSITORY / "tests" / "golden" / "official_pretrain.pt")
sys.path.insert(0, str(REPOSITORY / "examples"))


def clips(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


def assert_close(found, expected):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert (found - expected).abs().max() < 1e-4, (found - expected).abs().max()


def check_hear():
    nothing = type("Nothing", (), {})
    sys.modules["tensorflow"] = MagicMock(Module=nothing, Tensor=nothing)
    from hearvalidator.validate import ValidateModel

    ValidateModel("hear_eat", CHECKPOINT, device="cpu")()


def check_xares():
    import xares_eat
    from xares.audio_encoder_checker import check_audio_encoder

    assert check_audio_encoder(xares_eat.EatEncoder(CHECKPOINT))


def check_mteb():
    import mteb
    import mteb_eat
    from datasets import Dataset, DatasetDict
    from mteb.mocks.mock_tasks.classification import MockAudioClassification

    sounds = [
        {"array": clip.tolist(), "sampling_rate": rate}
        for clip, rate in zip(clips(16_000, 9_000), (16_000, 8_000), strict=True)
    ]

    class Task(MockAudioClassification):
        def load_data(self, **_):  # without their codec for files
            rows = {"audio": sounds, "label": [1, 2]}
            train = {key: 5 * values for key, values in rows.items()}
            splits = {"test": Dataset.from_dict(rows), "train": Dataset.from_dict(train)}
            self.dataset, self.data_loaded = DatasetDict(splits), True

    model = mteb_eat.EatEncoder(CHECKPOINT)
    table = mteb.evaluate(model, [Task()], cache=None).to_dataframe()
    assert table.iloc[0].tolist() == ["MockAudioClassification", 1.0], table  # heard in training
    for sound, vector in zip(sounds, model.encode([{"audio": sounds}]), strict=True):
        samples, rate = torch.tensor(sound["array"]).numpy(), sound["sampling_rate"]
        expected = eat.extract_features(samples, CHECKPOINT, "utterance", sample_rate_hz=rate)
        assert_close(vector, expected)
    stereo = {"array": [sounds[0]["array"]] * 2, "sampling_rate": 16_000}
    assert_close(model.encode([{"audio": [stereo]}]), model.encode([{"audio": sounds[:1]}]))


def check_s3prl():
    parts = ("compliance", "functional", "sox_effects", "transforms")
    for name in ("transformers", "torchaudio", *(f"torchaudio.{part}" for part in parts)):
        sys.modules[name] = MagicMock()
    import s3prl.hub
    from s3prl.nn import Featurizer, S3PRLUpstream
    from s3prl_eat import UpstreamExpert

    s3prl.hub.eat_local = UpstreamExpert
    upstream = S3PRLUpstream("eat_local", CHECKPOINT).eval()
    assert (upstream.num_layers, upstream.hidden_sizes) == (3, [48] * 3)
    lengths = (32_000, 9_000)
    waveforms = torch.nn.utils.rnn.pad_sequence(clips(*lengths), batch_first=True)
    hidden, sizes = upstream(waveforms, torch.tensor(lengths))
    assert [size.tolist() for size in sizes] == [[13, 4]] * 3
    for clip, number, length in zip(clips(*lengths), range(2), (13, 4), strict=True):
        expected = eat.extract_features(clip, CHECKPOINT, "time", layers="all")  # (layers, H, D)
        for layer, features in zip(hidden, expected, strict=True):
            assert_close(layer[number, :length][: len(features)], features)
    weighted, _ = Featurizer(upstream)(hidden, sizes)
    assert_close(weighted, torch.stack(hidden).mean(dim=0))


if __name__ == "__main__":
    {"hear": check_hear, "xares": check_xares, "mteb": check_mteb, "s3prl": check_s3prl}[
        sys.argv[1]
    ]()
    print(f"{sys.argv[1]}: agrees")
