"""Export the golden checkpoints to ONNX and use the graphs.

    python check_onnx.py FOLDER

FOLDER is where the graphs go. Run by tests/checkpoint/test_onnx_export.py with the extra `[onnx]`.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import eat
from eat.checkpoint import CheckpointError, convert_checkpoint, load_checkpoint, onnx_export
from eat.checkpoint.building import build_classifier

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
FOLDER = Path(sys.argv[1])


def compute(graph, inputs, lengths=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error that is raised need not be printed too
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name, _ = (value.name for value in session.get_inputs())
    if lengths is None:
        lengths = [inputs.shape[2 if name == "source" else 1]] * len(inputs)
    feed = {name: inputs.numpy(), "lengths": np.array(lengths, dtype=np.int64)}
    (output,) = session.run(None, feed)
    return torch.from_numpy(output)


def assert_close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert (found - expected).abs().max() < tolerance, (found - expected).abs().max()


@torch.no_grad()
def check_same_as_torch(graph, network):
    generator = torch.Generator().manual_seed(0)
    for num_clips in (1, 3):
        for num_frames in (16, 256, 1024):
            source = torch.randn(num_clips, 1, num_frames, 128, generator=generator)
            assert_close(compute(graph, source), network(source))
    lengths = [1024, 300, 5]
    found = compute(graph, source, lengths)
    for clip, length, output in zip(source, lengths, found, strict=True):
        (alone,) = network(clip[None, :, : -(-length // 16) * 16], torch.tensor([length]))
        assert_close(output[: len(alone)], alone)
        padded = network(clip.unsqueeze(0))[0][: len(alone)]  # what the graph must not give
        assert length == 1024 or alone.ndim == 1 or (padded - alone).abs().max() > 1e-2


def clips_of_sound():
    """Speech of 10 and of 1 s, and a part of it, padded with noise to 10 s."""
    recorded = np.load(GOLDEN / "golden_pretrain.npz")
    clips = [torch.from_numpy(recorded[name]) for name in ("wave_10s", "wave_1s")]
    clips.append(clips[0][48_000:77_777])
    batch = torch.randn(3, len(clips[0]), generator=torch.Generator().manual_seed(0))
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return clips, batch


@torch.no_grad()
def check_from_sound():
    """Padded batches give what `eat` gives for each clip alone."""
    clips, batch = clips_of_sound()
    for kind, name in (("pretrain", "tokens"), ("finetune", "probabilities")):
        graph, source = FOLDER / f"{kind}_from_sound.onnx", GOLDEN / f"official_{kind}.pt"
        convert_checkpoint(source, graph, to="onnx", input="waveform")
        values = onnx.load(graph).graph
        assert [value.name for value in values.input] == ["waveform", "lengths"]
        assert [value.name for value in values.output] == [name]
        found = compute(graph, batch, [len(clip) for clip in clips])
        if kind == "pretrain":
            encoder = eat.load_encoder(source)
            for output, clip in zip(found, clips, strict=True):
                expected = eat.extract_features(clip, encoder, "all")
                assert_close(output[: len(expected)], expected)
                assert_close(compute(graph, clip.unsqueeze(0))[0], expected)
            continue
        classifier = eat.load_classifier(source)
        logits = torch.cat([classifier(classifier.log_mel(clip)) for clip in clips])
        assert_close(found.log(), logits.log_softmax(dim=1), 1e-3)
        assert found.max() < 0.9, found  # far from where all probabilities look alike


@torch.no_grad()
def check_other_rates():
    """A graph of 32 kHz, another range and hop; its metadata tell at what rate sound is read."""
    checkpoint = load_checkpoint(GOLDEN / "official_pretrain.pt")
    settings = {"sample_rate_hz": 32_000, "low_hz": 50.0, "high_hz": 14_000.0, "hop_ms": 5.0}
    log_mel = dataclasses.replace(checkpoint.front_end(), **settings, speed=0.5)
    graph = FOLDER / "wide.onnx"
    onnx_export.write(dataclasses.replace(checkpoint, log_mel=log_mel), str(graph), "waveform")
    (description,) = (json.loads(entry.value) for entry in onnx.load(graph).metadata_props)
    assert {key: description[key] for key in settings} == settings
    assert description["reading_rate_hz"] == 64_000
    encoder = eat.load_encoder(GOLDEN / "official_pretrain.pt")
    encoder.log_mel = dataclasses.replace(log_mel, target_length=None)
    clips, batch = clips_of_sound()
    for output, clip in zip(compute(graph, batch, list(map(len, clips))), clips, strict=True):
        expected = eat.extract_features(clip, encoder, "all", sample_rate_hz=64_000)
        assert_close(output[: len(expected)], expected)


@torch.no_grad()
def check_int8():
    clips, batch = clips_of_sound()
    lengths = [len(clip) for clip in clips]
    exact_graphs = {"waveform": "pretrain_from_sound.onnx", "spectrogram": "encoder.onnx"}
    for form, inputs in (("waveform", batch), ("spectrogram", torch.randn(2, 1, 64, 128))):
        graphs = {None: FOLDER / exact_graphs[form], "int8": FOLDER / f"{form}_int8.onnx"}
        options = {"to": "onnx", "input": form, "quantize": "int8"}
        convert_checkpoint(GOLDEN / "official_pretrain.pt", graphs["int8"], **options)
        sizes = lengths if form == "waveform" else [64, 40]
        exact, found = (compute(graph, inputs, sizes) for graph in graphs.values())
        assert not torch.equal(found, exact)
        similarity = torch.nn.functional.cosine_similarity(found, exact, dim=-1)
        assert similarity.min() > 0.999, similarity.min()
        weights = [tensor for tensor in onnx.load(graphs["int8"]).graph.initializer]
        assert sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in weights) >= 12
        assert graphs["int8"].stat().st_size < graphs[None].stat().st_size
    (description,) = (json.loads(entry.value) for entry in onnx.load(graphs["int8"]).metadata_props)
    assert (description["input"], description["quantize"]) == ("spectrogram", "int8")


def check_encoder():
    graph = FOLDER / "encoder.onnx"
    convert_checkpoint(GOLDEN / "official_pretrain.pt", graph, to="onnx")
    check_same_as_torch(graph, eat.load_encoder(GOLDEN / "official_pretrain.pt"))
    recorded = np.load(GOLDEN / "golden_pretrain.npz")
    features = compute(graph, torch.from_numpy(recorded["source"]))
    assert_close(features, torch.from_numpy(recorded["features_128"]))
    too_long = torch.zeros(1, 1, 769 * 16, 128)
    try:
        compute(graph, too_long)
    except Exception as error:  # onnxruntime's own, of no public class
        assert "6144 by 6152" in str(error), error
    else:
        raise AssertionError("a clip beyond the position table was accepted")


def check_classifier():
    graph = FOLDER / "classifier.onnx"
    convert_checkpoint(GOLDEN / "official_finetune.pt", graph, to="onnx")
    check_same_as_torch(graph, eat.load_classifier(GOLDEN / "official_finetune.pt"))
    recorded = np.load(GOLDEN / "golden_finetune.npz")
    logits = compute(graph, torch.from_numpy(recorded["source"]))
    assert_close(logits, torch.from_numpy(recorded["logits"]))


def check_classifier_over_time():
    checkpoint = load_checkpoint(GOLDEN / "official_finetune.pt")
    config = dataclasses.replace(checkpoint.classifier_config, pooling="time", steps_per_row=3)
    head = {key: value for key, value in checkpoint.classifier.items() if "norm" in key}
    head["head.weight"] = torch.randn(9, 8 * 48, generator=torch.Generator().manual_seed(0))
    head["head.bias"] = torch.arange(9.0)
    checkpoint = dataclasses.replace(checkpoint, classifier=head, classifier_config=config)
    onnx_export.write(checkpoint, FOLDER / "time.onnx")
    check_same_as_torch(FOLDER / "time.onnx", build_classifier(checkpoint).eval())
    onnx_export.write(checkpoint, FOLDER / "time_from_sound.onnx", input="waveform")


def check_what_the_file_says():
    model = onnx.load(FOLDER / "classifier.onnx")
    onnx.checker.check_model(model)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert [value.name for value in model.graph.input] == ["source", "lengths"]
    assert [value.name for value in model.graph.output] == ["logits"]
    (description,) = (json.loads(entry.value) for entry in model.metadata_props)
    assert description == {
        "input": "spectrogram",
        "quantize": None,
        **{"mean": -6.627, "std": 5.359, "target_length": 128},
        **{"sample_rate_hz": 16000, "low_hz": 20.0, "high_hz": None, "hop_ms": 10.0, "speed": 1.0},
        "reading_rate_hz": 16000,
        "labels": ["en", "fr", "ru"],
        "activation": "softmax",
    }
    for graph in FOLDER.glob("*.onnx"):
        content = graph.read_bytes()
        for folder in (REPOSITORY, FOLDER, Path(torch.__file__).parent):
            assert str(folder).encode() not in content, (graph, folder)


def check_short_position_table():
    """Checkpoints with the older table of 64 rows take longer clips too."""
    checkpoint = load_checkpoint(GOLDEN / "official_pretrain.pt")
    positions = checkpoint.encoder["positions"][:512]
    checkpoint = dataclasses.replace(
        checkpoint,
        encoder={**checkpoint.encoder, "positions": positions},
        encoder_config=dataclasses.replace(checkpoint.encoder_config, num_position_rows=64),
    )
    onnx_export.write(checkpoint, FOLDER / "short.onnx")
    source = torch.randn(1, 1, 1200, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = eat.load_encoder(GOLDEN / "official_pretrain.pt")(source)
    assert_close(compute(FOLDER / "short.onnx", source), expected)


def check_a_graph_that_differs_is_not_written():
    checkpoint = load_checkpoint(GOLDEN / "official_pretrain.pt")
    onnx_export.TOLERANCE = onnx_export.INT8_TOLERANCE = 0.0
    for quantize in (None, "int8"):
        try:
            onnx_export.write(checkpoint, FOLDER / "different.onnx", quantize=quantize)
        except CheckpointError as error:
            assert "different.onnx: not written: onnxruntime differs from torch by" in str(error)
        else:
            raise AssertionError("a graph that differs was written")
    assert not list(FOLDER.glob("*different*"))


if __name__ == "__main__":
    check_encoder()
    check_classifier()
    check_classifier_over_time()
    check_from_sound()
    check_other_rates()
    check_int8()
    check_what_the_file_says()
    check_short_position_table()
    check_a_graph_that_differs_is_not_written()
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}: all agree")
