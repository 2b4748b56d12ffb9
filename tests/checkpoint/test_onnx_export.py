import importlib.util

import pytest
import torch
from environments.target import run_with

import eat
from eat.audio import LogMel
from eat.audio.log_mel import POWER_FLOOR
from eat.checkpoint import convert_checkpoint
from eat.checkpoint.onnx_network import FromLogMel, FromWaveform
from eat.commands.main import main


def test_missing_packages_are_named(official_pretrain, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    found = {"onnx": find_spec("json"), "onnxscript": None, "onnxruntime": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found[name] if name in found else find_spec(name)
    )
    with pytest.raises(
        ValueError, match=r"found no onnxscript, onnxruntime, .*pip install 'eat-fairseq\[onnx\]'"
    ):
        convert_checkpoint(official_pretrain, tmp_path / "model.onnx", to="onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options, message",
    [
        (
            ("eat", "--input", "waveform"),
            "input: found 'waveform' with to='eat', expected to='onnx'",
        ),
        (("huggingface", "--quantize", "int8"), "quantize: found 'int8' with to='huggingface'"),
        (("safetensors", "--input", "spectrogram"), "input: found 'spectrogram' with to="),
        (
            ("onnx", "--license", "mit"),
            "license: found 'mit' with to='onnx', expected to='huggingface'",
        ),
    ],
)
def test_options_of_other_layouts_are_refused(
    official_pretrain, tmp_path, capsys, options, message
):
    out = tmp_path / "out"
    assert main(["convert", official_pretrain, str(out), "--to", *options]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "option, message",
    [
        ({"input": "mp3"}, "input: found 'mp3', expected one of spectrogram, waveform"),
        ({"quantize": "int4"}, "quantize: found 'int4', expected int8 or None"),
    ],
)
def test_unknown_values_are_refused(official_pretrain, tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(official_pretrain, tmp_path / "out.onnx", to="onnx", **option)


def test_the_filter_bank_as_convolutions():
    samples = torch.arange(16_000) / 16_000
    tones = sum(torch.sin(2 * torch.pi * hz * samples) for hz in (100.0, 440.0, 3000.0))
    noise = torch.randn(16_000, generator=torch.manual_seed(0))
    waveform = 0.1 * tones + 0.001 * noise + 0.2
    kernel, filters = LogMel().as_convolutions()
    centred = (waveform - waveform.mean()).view(1, 1, -1)
    spectrum = torch.nn.functional.conv1d(centred, kernel, stride=160)
    energies = torch.nn.functional.conv1d(spectrum.square(), filters).clamp_min(POWER_FLOOR)
    expected = LogMel().filter_bank(waveform)
    difference = (energies.log()[0].T - expected[0]).abs()
    assert difference.max() < 1e-3  # in the troughs between the tones
    assert difference.mean() < 5e-5


CLIPS = (16_000, 9_000, 4_321, 100)  # samples; the last one is shorter than a frame


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean", "time"])
def test_a_padded_batch_gives_what_single_clips_give(official_pretrain, official_finetune, pooling):
    encoder, classifier = (
        eat.load_encoder(official_pretrain),
        eat.load_classifier(official_finetune),
    )
    classifier.config.pooling = pooling
    if pooling == "time":
        classifier.head = torch.nn.Linear(8 * 48, 3)
    waveforms = 0.1 * torch.randn(4, 20_000, generator=torch.manual_seed(0))  # padded with noise
    lengths = torch.tensor(CLIPS)
    for network in (encoder, classifier):
        for waveform, length, output in zip(
            waveforms, CLIPS, FromWaveform(network)(waveforms, lengths), strict=True
        ):
            expected = network(network.log_mel(waveform[:length]))[0]
            expected = expected.softmax(-1) if network is classifier else expected
            assert (output[: len(expected)] - expected).abs().max() < 1e-4
    sources = torch.randn(4, 1, 64, 128, generator=torch.manual_seed(0))
    lengths = torch.tensor([64, 40, 17, 1])
    for network in (encoder, classifier):
        expected = network(sources, lengths)
        assert torch.equal(FromLogMel(network)(sources, lengths), expected)
        beyond = FromLogMel(network)(sources, torch.tensor([99, 40, 17, 0]))  # the nearest that fit
        assert torch.equal(beyond, expected)
        assert not torch.allclose(FromLogMel(network)(sources, torch.full((4,), 64)), expected)


@torch.no_grad()
def test_an_offset_and_padding_of_any_kind_do_not_matter(official_pretrain):
    encoder = eat.load_encoder(official_pretrain)
    clip = 0.9 + 1e-4 * torch.randn(9_000, generator=torch.manual_seed(0))
    expected = encoder(encoder.log_mel(clip))[0]
    for padding in (-5.0, torch.nan):
        waveform = torch.nn.functional.pad(clip, (0, 7_000), value=padding).unsqueeze(0)
        found = FromWaveform(encoder)(waveform, torch.tensor([9_000]))[0]
        assert (found[: len(expected)] - expected).abs().max() < 1e-5


@torch.no_grad()
def test_a_classifier_of_clips_of_any_length(official_finetune):
    classifier = eat.load_classifier(official_finetune)
    classifier.log_mel = classifier.encoder.log_mel
    classifier.activation = None
    waveforms = 0.1 * torch.randn(2, 20_000, generator=torch.manual_seed(0))
    found = FromWaveform(classifier)(waveforms, torch.tensor([20_000, 9_000]))
    for waveform, length, output in zip(waveforms, (20_000, 9_000), found, strict=True):
        expected = classifier(classifier.log_mel(waveform[:length]))[0].sigmoid()
        assert (output - expected).abs().max() < 1e-5


@pytest.mark.slow
def test_graphs_compute_what_torch_computes(tmp_path):
    output = run_with("onnx.txt", "check_onnx.py", tmp_path, str(tmp_path))
    # Nothing else: the exporter's own warnings would only worry people.
    assert output.startswith("onnxruntime ") and output.count("\n") == 1
